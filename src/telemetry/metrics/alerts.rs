//! What fires, and what became of messages about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, OnceLock, PoisonError};

use prometheus::{GaugeVec, IntCounterVec};

use super::exposition::Exposition;
use super::family::{Family, counters, gauges};
use crate::domain::alert::{AlertKey, Severity};
use crate::domain::id::SourceId;
use crate::plan::alert::Cause;

/// Source, alert, severity.
type Series = (String, String, Severity);

/// Series of alerts: of each alert at the severities that it can have, and of each source that one has fired for.
///
/// Not of each source from the beginning: a thousand of them would have sixty thousand series of zero.
#[derive(Debug)]
pub(super) struct AlertMetrics {
    firing: Family<GaugeVec, 3>,
    notifications: Family<IntCounterVec, 2>,
    /// Series that have been above zero.
    fired: Mutex<BTreeSet<Series>>,
    channels: OnceLock<Vec<String>>,
}

impl AlertMetrics {
    pub(super) fn register(exposition: &Exposition) -> prometheus::Result<AlertMetrics> {
        let metrics = AlertMetrics {
            firing: gauges(
                exposition,
                "strongroom_alerts_firing",
                ["source", "alert", "severity"],
                "Alerts that fire. `source` is empty for those that are about no single source; of a source there is a series once \
                 one has fired.",
            )?,
            notifications: counters(
                exposition,
                "strongroom_notifications_total",
                ["channel", "outcome"],
                "Messages that were given to a route, by the route's name, and heartbeats; one that is tried again counts again.",
            )?,
            fired: Mutex::default(),
            channels: OnceLock::new(),
        };
        for cause in Cause::all() {
            for severity in cause.severities() {
                metrics.firing.set(["", cause.name(), severity.as_str()], 0.0);
            }
        }
        Ok(metrics)
    }

    /// The channels that messages can be given to: their series exist from now on.
    pub(super) fn watch_channels(&self, channels: Vec<String>) {
        let channels = self.channels.get_or_init(|| channels);
        let wanted =
            channels.iter().flat_map(|channel| ["success", "failure"].map(|outcome| [channel.as_str(), outcome]));
        self.notifications.keep_exactly(wanted);
    }

    /// These fire, and no others.
    pub(super) fn firing(&self, alerts: &[(AlertKey, Severity)]) {
        let mut counts: BTreeMap<Series, f64> = BTreeMap::new();
        for (key, severity) in alerts {
            let source = key.source.as_ref().map_or("", SourceId::as_str).to_owned();
            *counts.entry((source, key.name.clone(), *severity)).or_default() += 1.0;
        }
        let mut fired = self.fired.lock().unwrap_or_else(PoisonError::into_inner);
        fired.extend(counts.keys().cloned());
        for series in fired.iter() {
            let count = counts.get(series).copied().unwrap_or(0.0);
            self.firing.set([&series.0, &series.1, series.2.as_str()], count);
        }
    }

    /// A message was taken by its channel, or was not.
    pub(super) fn notified(&self, channel: &str, taken: bool) {
        let outcome = if taken { "success" } else { "failure" };
        self.notifications.with([channel, outcome], |counter| counter.inc());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;
    use crate::testing::{policy, series};

    fn key(name: &str, source: Option<&str>, detail: &str) -> AlertKey {
        let source = source.map(|source| source.parse().unwrap());
        AlertKey { name: name.to_owned(), source, detail: Some(detail.to_owned()), database: None }
    }

    #[test]
    fn what_fires_is_counted_and_what_has_ended_is_zero_and_stays() {
        let metrics = Metrics::new(&policy(&[("accounts", &["accounts"])])).unwrap();
        let at_boot = series(&metrics.render());
        assert_eq!(at_boot[r#"strongroom_alerts_firing{alert="overdue",severity="critical",source=""}"#], 0.0);
        let overdue = r#"strongroom_alerts_firing{alert="overdue",severity="critical",source="accounts"}"#;
        let two = ["snapshot", "dump"].map(|kind| (key("overdue", Some("accounts"), kind), Severity::Critical));
        metrics.alerts_firing(&two);
        assert_eq!(series(&metrics.render())[overdue], 2.0);
        metrics.alerts_firing(&[(key("dump_bad", Some("accounts"), "x"), Severity::Info)]);
        let seen = series(&metrics.render());
        assert_eq!(seen[overdue], 0.0);
        assert_eq!(seen[r#"strongroom_alerts_firing{alert="dump_bad",severity="info",source="accounts"}"#], 1.0);
    }

    #[test]
    fn each_channel_has_its_series_before_the_first_message() {
        let metrics = Metrics::new(&policy(&[("accounts", &["accounts"])])).unwrap();
        metrics.watch_channels(vec!["team".to_owned()]);
        metrics.notified("team", false);
        let seen = series(&metrics.render());
        assert_eq!(seen[r#"strongroom_notifications_total{channel="team",outcome="success"}"#], 0.0);
        assert_eq!(seen[r#"strongroom_notifications_total{channel="team",outcome="failure"}"#], 1.0);
    }
}
