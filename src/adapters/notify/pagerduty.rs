//! PagerDuty's Events API v2: one event for each thread, so that a storm is one incident.

use async_trait::async_trait;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::http::{Http, Request, open_address};
use super::secrets::Secrets;
use crate::domain::alert::{Event, Item, Message, Severity};
use crate::ports::PortError;
use crate::ports::notifier::{Notifier, SecretRef};

/// PagerDuty's limits: characters of a summary, and of a key.
const SUMMARY_CHARS_MAX: usize = 1024;
const KEY_CHARS_MAX: usize = 255;

/// An integration of a service.
#[derive(Debug)]
pub(super) struct PagerDuty {
    pub(super) http: Http,
    pub(super) secrets: Secrets,
    pub(super) routing_key: SecretRef,
    pub(super) url: String,
}

#[async_trait]
impl Notifier for PagerDuty {
    async fn notify(&self, message: &Message) -> Result<String, PortError> {
        let key = self.secrets.read(&self.routing_key).await?;
        let url = open_address(&self.url);
        let mut answered = String::new();
        // A repeated event joins the incident that its key has, so those that went through before a failure do no harm.
        for mut event in events(message) {
            event["routing_key"] = Value::from(key.expose_secret());
            let (operation, body) = ("send an event to PagerDuty", Some(event.to_string()));
            let request = Request { operation, method: Method::POST, url: &url, body, secret: Some(&key) };
            answered = self.http.send(request).await?;
        }
        Ok(answered)
    }
}

/// The events of a message, without the key of the integration.
pub(super) fn events(message: &Message) -> Vec<Value> {
    if message.event == Event::Test {
        // An incident that is over at once: whoever is on call is not woken for long.
        let key = dedup_key(message, "test");
        return vec![trigger(message, &key, &[]), json!({ "event_action": "resolve", "dedup_key": key })];
    }
    let mut threads: Vec<&str> = Vec::new();
    for item in &message.items {
        if !threads.contains(&item.thread.as_str()) {
            threads.push(&item.thread);
        }
    }
    let of_thread = |thread: &str| {
        let items: Vec<&Item> = message.items.iter().filter(|item| item.thread == thread).collect();
        let key = dedup_key(message, thread);
        match message.event {
            Event::Resolved if items.iter().any(|item| item.thread_ends) => {
                Some(json!({ "event_action": "resolve", "dedup_key": key }))
            }
            // Others of its storm go on: the incident stands.
            Event::Resolved => None,
            Event::Fired | Event::Repeated | Event::Refreshed | Event::Test => Some(trigger(message, &key, &items)),
        }
    };
    threads.into_iter().filter_map(of_thread).collect()
}

fn trigger(message: &Message, key: &str, items: &[&Item]) -> Value {
    let summary = match items {
        [only] => format!("strongroom {}: {}", message.installation, only.alert.headline()),
        _ => message.subject(),
    };
    let worst = items.iter().map(|item| item.alert.severity).max().unwrap_or(Severity::Info);
    let details: Vec<Value> = items
        .iter()
        .map(|item| {
            let alert = &item.alert;
            json!({ "alert": alert.headline(), "what": alert.what, "since": item.since, "meaning": alert.meaning,
                    "action": alert.action })
        })
        .collect();
    let only_source = match items {
        [only] => only.alert.key.source.as_ref().map(ToString::to_string),
        _ => None,
    };
    let mut payload = json!({
        "summary": summary.chars().take(SUMMARY_CHARS_MAX).collect::<String>(),
        "source": only_source.unwrap_or_else(|| message.installation.to_string()),
        "severity": worst.as_str(),
        "timestamp": message.at,
        "component": "strongroom",
        "group": message.installation,
        "custom_details": { "alerts": details },
    });
    if let [only] = items {
        payload["class"] = Value::from(only.alert.key.name.as_str());
    }
    json!({ "event_action": "trigger", "dedup_key": key, "client": "strongroom", "payload": payload })
}

/// The incident's key. One that is too long keeps its beginning and gets a hash, so that two never become one.
fn dedup_key(message: &Message, thread: &str) -> String {
    let key = format!("{}/{thread}", message.installation);
    if key.chars().count() <= KEY_CHARS_MAX {
        return key;
    }
    let hash: String = Sha256::digest(key.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = key.chars().take(KEY_CHARS_MAX - 1 - hash.len()).collect();
    format!("{kept}-{hash}")
}
