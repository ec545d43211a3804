//! Who is told: routes, their channels, and the dead man's switch.

use std::collections::{BTreeMap, BTreeSet};

use super::{DURATIONS, check_name};
use crate::config::diagnosis::{Diagnosis, join};
use crate::config::environment::Environment;
use crate::config::secret::channel_secret;
use crate::config::{AlertsConfig, HeartbeatConfig, human, raw};
use crate::domain::alert::Severity;
use crate::domain::id::{RouteName, SourceId};
use crate::policy::alerting::{AlertPolicy, RoutePolicy};
use crate::ports::notifier::{ChannelRef, WebhookTemplate};

/// Where PagerDuty takes events, by its documentation of Events v2.
const PAGERDUTY_URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// A name that is taken, in the label `channel`.
const RESERVED: &str = "heartbeat";
/// The channels, for messages.
const CHANNELS: &str = "give one of `sns_topic`, `alertmanager`, `slack`, `teams`, `pagerduty`, `webhook`";

/// Everything about alerts. `None` if something of it is wrong, which is reported.
pub(super) fn build(file: &raw::File, environment: &Environment, diagnosis: &mut Diagnosis) -> Option<AlertsConfig> {
    let given = &file.alerts;
    let pending_for = diagnosis.parsed("alerts.pending_for", human::duration(&given.pending_for), DURATIONS);
    let repeat_every = match given.repeat_every.as_str() {
        raw::NEVER => Some(None),
        text => {
            let advice = format!("{DURATIONS}, or \"never\"");
            diagnosis.parsed("alerts.repeat_every", human::positive_duration(text), &advice).map(Some)
        }
    };
    if !(1..=100).contains(&given.storm_max) {
        diagnosis.report("alerts.storm_max", "out of range", "write a number from 1 to 100");
    }
    let (mut routes, mut channels) = (BTreeMap::new(), BTreeMap::new());
    for (name, route) in &given.routes {
        check_name("alerts.routes", name, diagnosis);
        if name == RESERVED {
            let problem = format!("`{RESERVED}` is what metrics call the dead man's switch");
            diagnosis.report(&join("alerts.routes", name), problem, "choose another name");
        }
        let key = join("alerts.routes", name);
        let channel = channel(&key, route, environment, diagnosis);
        let sources = sources(&key, route, file, diagnosis);
        let Ok(name) = name.parse::<RouteName>() else { continue };
        if let Some(channel) = channel {
            let repeats = !matches!(channel, ChannelRef::Alertmanager { .. });
            routes.insert(name.clone(), RoutePolicy { severities: severities(route), sources, repeats });
            channels.insert(name, channel);
        }
    }
    note_gaps(&routes, diagnosis);
    let heartbeat = match &given.heartbeat {
        Some(heartbeat) => Some(switch(heartbeat, environment, diagnosis)?),
        None => None,
    };
    let policy =
        AlertPolicy { pending_for: pending_for?, repeat_every: repeat_every?, storm_max: given.storm_max, routes };
    Some(AlertsConfig { policy, channels, heartbeat })
}

/// The one channel of a route.
fn channel(key: &str, route: &raw::Route, environment: &Environment, diagnosis: &mut Diagnosis) -> Option<ChannelRef> {
    let given = [
        route.sns_topic.is_some(),
        route.alertmanager.is_some(),
        route.slack.is_some(),
        route.teams.is_some(),
        route.pagerduty.is_some(),
        route.webhook.is_some(),
    ];
    match given.into_iter().filter(|given| *given).count() {
        1 => {}
        0 if diagnosis.doubts(key) => return None,
        0 => {
            diagnosis.report(key, "it leads nowhere", CHANNELS);
            return None;
        }
        _ => {
            diagnosis.report(key, "several channels in one route", format!("{CHANNELS}, and make a route of each"));
            return None;
        }
    }
    check_companions(key, route, diagnosis);
    let mut secret =
        |name: &str, given: &raw::Secret| channel_secret(&format!("{key}.{name}"), given, environment, diagnosis);
    if let Some(given) = &route.slack {
        return secret("slack", given).map(|url| ChannelRef::Slack { url });
    }
    if let Some(given) = &route.teams {
        return secret("teams", given).map(|url| ChannelRef::Teams { url });
    }
    if let Some(given) = &route.pagerduty {
        let routing_key = secret("pagerduty", given);
        let url = route.pagerduty_url.as_deref().unwrap_or(PAGERDUTY_URL);
        let url = open_url(&format!("{key}.pagerduty_url"), url, diagnosis);
        return Some(ChannelRef::PagerDuty { routing_key: routing_key?, url: url? });
    }
    if let Some(given) = &route.webhook {
        let url = secret("webhook", given);
        let template = template(key, route, diagnosis);
        return Some(ChannelRef::Webhook { url: url?, template: template? });
    }
    match (&route.sns_topic, &route.alertmanager) {
        (Some(topic), _) => topic_arn(&format!("{key}.sns_topic"), topic, diagnosis),
        (None, Some(urls)) => alertmanager(&format!("{key}.alertmanager"), urls, diagnosis),
        (None, None) => None,
    }
}

/// Keys that mean something only beside another one.
fn check_companions(key: &str, route: &raw::Route, diagnosis: &mut Diagnosis) {
    if route.template.is_some() && route.webhook.is_none() {
        diagnosis.report(&format!("{key}.template"), "only a `webhook` has a template", "remove it");
    }
    if route.pagerduty_url.is_some() && route.pagerduty.is_none() {
        diagnosis.report(&format!("{key}.pagerduty_url"), "there is no `pagerduty` beside it", "remove it");
    }
}

fn topic_arn(key: &str, topic: &str, diagnosis: &mut Diagnosis) -> Option<ChannelRef> {
    let parts: Vec<&str> = topic.split(':').collect();
    if let ["arn", _, "sns", region, account, name] = parts.as_slice()
        && ![region, account, name].iter().any(|part| part.is_empty())
    {
        return Some(ChannelRef::Sns { topic: topic.to_owned() });
    }
    diagnosis.report(key, format!("`{topic}` is not an SNS topic"), "give the ARN of the SNS topic");
    None
}

fn alertmanager(key: &str, urls: &[String], diagnosis: &mut Diagnosis) -> Option<ChannelRef> {
    if urls.is_empty() {
        diagnosis.report(key, "empty", "give the address of each member of the cluster");
        return None;
    }
    let checked: Vec<Option<String>> = urls.iter().map(|url| open_url(key, url, diagnosis)).collect();
    checked.into_iter().collect::<Option<_>>().map(|urls| ChannelRef::Alertmanager { urls })
}

/// An address that is no secret. One with a login in it is not repeated.
fn open_url(key: &str, url: &str, diagnosis: &mut Diagnosis) -> Option<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    if host.contains('@') {
        diagnosis.report(key, "an address with a login in it", "a secret has no place here: let a proxy add it");
        return None;
    }
    if host.is_empty() || url.contains(char::is_whitespace) {
        let advice = "write for example \"http://alertmanager:9093\"";
        diagnosis.report(key, format!("`{url}` is not an address"), advice);
        return None;
    }
    Some(url.to_owned())
}

/// A webhook's template; `Some(None)` where there is none.
fn template(key: &str, route: &raw::Route, diagnosis: &mut Diagnosis) -> Option<Option<WebhookTemplate>> {
    let Some(text) = &route.template else { return Some(None) };
    let fields: Vec<String> = WebhookTemplate::FIELDS.iter().map(|field| format!("{{{{{field}}}}}")).collect();
    let advice = format!("write JSON with fields in the places of values, without quotes: {}", fields.join(", "));
    diagnosis.parsed(&format!("{key}.template"), WebhookTemplate::parse(text), &advice).map(Some)
}

fn severities(route: &raw::Route) -> BTreeSet<Severity> {
    let Some(given) = &route.severities else { return Severity::ALL.into() };
    let given = given.iter().map(|severity| match severity {
        raw::Severity::Critical => Severity::Critical,
        raw::Severity::Warning => Severity::Warning,
        raw::Severity::Info => Severity::Info,
    });
    given.collect()
}

fn sources(key: &str, route: &raw::Route, file: &raw::File, diagnosis: &mut Diagnosis) -> Option<BTreeSet<SourceId>> {
    let given = route.sources.as_ref()?;
    for (index, name) in given.iter().enumerate() {
        if !file.sources.contains_key(name) {
            let key = format!("{key}.sources[{index}]");
            diagnosis.report_unknown_name(&key, ("source", "sources"), name, file.sources.keys());
        }
    }
    Some(given.iter().filter_map(|name| name.parse().ok()).collect())
}

/// What nobody would be told.
fn note_gaps(routes: &BTreeMap<RouteName, RoutePolicy>, diagnosis: &mut Diagnosis) {
    let whole = |route: &RoutePolicy| route.sources.is_none() && route.severities.contains(&Severity::Critical);
    if !routes.is_empty() && !routes.values().any(whole) {
        let text =
            "no route takes critical alerts that are about no single source, such as a bucket that cannot be read";
        diagnosis.note("alerts.routes", text);
    }
}

fn switch(given: &raw::Heartbeat, environment: &Environment, diagnosis: &mut Diagnosis) -> Option<HeartbeatConfig> {
    let key = "alerts.heartbeat.url";
    let url =
        diagnosis.required(key, given.url.as_ref(), "say where the address is found, for example `{ env = \"…\" }`");
    let url = url.and_then(|url| channel_secret(key, url, environment, diagnosis));
    let every = diagnosis.parsed("alerts.heartbeat.interval", human::positive_duration(&given.interval), DURATIONS);
    Some(HeartbeatConfig { url: url?, every: every? })
}
