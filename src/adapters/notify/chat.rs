//! Incoming webhooks of Slack and of Teams.

use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value, json};

use super::http::{Http, Request};
use super::secrets::Secrets;
use crate::domain::alert::Message;
use crate::ports::PortError;
use crate::ports::notifier::{Notifier, SecretRef};

/// Slack cuts texts of more characters by itself, and not where one would.
const SLACK_CHARS_MAX: usize = 3_500;
/// Teams takes 28 KB in all.
const TEAMS_CHARS_MAX: usize = 5_000;

/// A channel of Slack.
#[derive(Debug)]
pub(super) struct Slack {
    pub(super) http: Http,
    pub(super) secrets: Secrets,
    pub(super) url: SecretRef,
}

#[async_trait]
impl Notifier for Slack {
    async fn notify(&self, message: &Message) -> Result<String, PortError> {
        post(&self.http, &self.secrets, &self.url, "post to Slack", slack(message)).await
    }
}

/// A channel of Teams, by a workflow that posts what a webhook receives.
#[derive(Debug)]
pub(super) struct Teams {
    pub(super) http: Http,
    pub(super) secrets: Secrets,
    pub(super) url: SecretRef,
}

#[async_trait]
impl Notifier for Teams {
    async fn notify(&self, message: &Message) -> Result<String, PortError> {
        post(&self.http, &self.secrets, &self.url, "post to Teams", teams(message)).await
    }
}

async fn post(
    http: &Http,
    secrets: &Secrets,
    url: &SecretRef,
    operation: &str,
    body: Value,
) -> Result<String, PortError> {
    let url = secrets.read(url).await?;
    let body = Some(body.to_string());
    http.send(Request { operation, method: Method::POST, url: &url, body, secret: None }).await
}

/// `text` in Slack's own markup, in which three characters have to be written otherwise (Formatting text for app surfaces).
pub(super) fn slack(message: &Message) -> Value {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let text = escaped(&cut(&message.text(), SLACK_CHARS_MAX));
    json!({ "text": format!("*{}*\n{text}", escaped(&message.subject())) })
}

/// A message with one adaptive card, as the template "Post to a channel when a webhook request is received" takes it.
pub(super) fn teams(message: &Message) -> Value {
    let block = |text: &str, weight: &str| json!({ "type": "TextBlock", "text": text, "weight": weight, "wrap": true });
    let text = cut(&message.text(), TEAMS_CHARS_MAX);
    let lines = text.lines().filter(|line| !line.is_empty()).map(|line| block(line, "Default"));
    let body: Vec<Value> = std::iter::once(block(&message.subject(), "Bolder")).chain(lines).collect();
    let content = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    });
    let attachment = json!({ "contentType": "application/vnd.microsoft.card.adaptive", "content": content });
    json!({ "type": "message", "attachments": [attachment] })
}

fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars_max).collect();
    format!("{kept}\n… and more: see `strongroom alerts`")
}
