//! Prometheus' Alertmanager, version 2 of its API: `POST /api/v2/alerts`.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use super::http::{Http, Request, open_address};
use crate::domain::alert::{Event, Item, Message};
use crate::ports::PortError;
use crate::ports::notifier::Notifier;

/// Alertmanager lets an alert end when nobody repeats it. It is repeated each minute, and ends after a quarter of an hour: a
/// daemon that is restarted meanwhile ends nothing, and the alerts of one that is gone for good do not stand for ever.
const REFRESH_EVERY: SignedDuration = SignedDuration::from_mins(1);
const ENDS_AFTER: SignedDuration = SignedDuration::from_mins(15);
/// How long a test stands.
const TEST_ENDS_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// One Alertmanager, or every member of a cluster.
#[derive(Debug)]
pub(super) struct Alertmanager {
    pub(super) http: Http,
    pub(super) urls: Vec<String>,
}

#[async_trait]
impl Notifier for Alertmanager {
    async fn notify(&self, message: &Message) -> Result<String, PortError> {
        let body = alerts(message).to_string();
        let (mut answered, mut failed) = (None, None);
        // Each member is told, as Prometheus does it: they agree among themselves on who notifies.
        for url in &self.urls {
            let operation = format!("post alerts to {url}");
            let address = open_address(&format!("{}/api/v2/alerts", url.trim_end_matches('/')));
            let body = Some(body.clone());
            let request = Request { operation: &operation, method: Method::POST, url: &address, body, secret: None };
            match self.http.send(request).await {
                Ok(told) => answered = Some(told),
                Err(error) => failed = Some(error),
            }
        }
        match (answered, failed) {
            (Some(told), _) => Ok(told),
            (None, Some(error)) => Err(error),
            (None, None) => Ok("there is no Alertmanager to tell".to_owned()),
        }
    }

    fn refresh_every(&self) -> Option<SignedDuration> {
        Some(REFRESH_EVERY)
    }
}

/// The alerts as its API takes them (`postableAlerts` of api/v2/openapi.yaml).
pub(super) fn alerts(message: &Message) -> Value {
    if message.event == Event::Test {
        let labels = json!({ "alertname": "StrongroomTest", "installation": message.installation, "severity": "info" });
        let annotations = json!({ "summary": message.subject(), "description": message.text() });
        let ends_at = after(message.at, TEST_ENDS_AFTER);
        return json!([{ "labels": labels, "annotations": annotations, "startsAt": message.at, "endsAt": ends_at }]);
    }
    let alert = |item: &Item| {
        let ends_at = if message.event == Event::Resolved { message.at } else { after(message.at, ENDS_AFTER) };
        json!({ "labels": labels(message, item), "annotations": annotations(item), "startsAt": item.since, "endsAt": ends_at })
    };
    message.items.iter().map(alert).collect()
}

fn after(at: Timestamp, time: SignedDuration) -> Timestamp {
    at.saturating_add(time).unwrap_or(Timestamp::MAX)
}

/// What makes an alert the same one; so nothing that changes while it stands, but for its severity.
fn labels(message: &Message, item: &Item) -> Value {
    let key = &item.alert.key;
    let name: String = key.name.split('_').map(capitalised).collect();
    let mut labels = json!({
        "alertname": format!("Strongroom{name}"),
        "installation": message.installation,
        "severity": item.alert.severity,
    });
    let others = [
        ("source", key.source.as_ref().map(ToString::to_string)),
        ("detail", key.detail.clone()),
        ("database", key.database.as_ref().map(ToString::to_string)),
    ];
    for (name, value) in others {
        if let Some(value) = value {
            labels[name] = Value::from(value);
        }
    }
    labels
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn annotations(item: &Item) -> Value {
    json!({
        "summary": item.alert.headline(),
        "description": format!("{}\n{}", item.alert.what.join("\n"), item.alert.meaning),
        "action": item.alert.action,
    })
}
