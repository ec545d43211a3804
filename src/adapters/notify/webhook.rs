//! Any address that takes JSON.

use async_trait::async_trait;
use reqwest::Method;
use serde_json::json;

use super::http::{Http, Request};
use super::secrets::Secrets;
use crate::domain::alert::Message;
use crate::ports::PortError;
use crate::ports::notifier::{Notifier, SecretRef, WebhookTemplate};

/// A webhook.
#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) http: Http,
    pub(super) secrets: Secrets,
    pub(super) url: SecretRef,
    pub(super) template: Option<WebhookTemplate>,
}

#[async_trait]
impl Notifier for Webhook {
    async fn notify(&self, message: &Message) -> Result<String, PortError> {
        let url = self.secrets.read(&self.url).await?;
        let body = Some(self.template.as_ref().map_or_else(|| whole(message), |template| template.fill(message)));
        self.http
            .send(Request { operation: "post to the webhook", method: Method::POST, url: &url, body, secret: None })
            .await
    }
}

/// Everything that a message has.
fn whole(message: &Message) -> String {
    json!({
        "id": message.id,
        "installation": message.installation,
        "event": message.event,
        "severity": message.severity(),
        "at": message.at,
        "subject": message.subject(),
        "text": message.text(),
        "alerts": message.items,
    })
    .to_string()
}
