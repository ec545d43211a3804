//! The address of a dead man's switch: a service that raises the alarm when it is not asked for a while.

use async_trait::async_trait;
use reqwest::Method;

use super::http::{Http, Request};
use super::secrets::Secrets;
use crate::ports::PortError;
use crate::ports::notifier::{Heartbeat, SecretRef};

/// An address that is asked.
#[derive(Debug)]
pub(super) struct HttpHeartbeat {
    pub(super) http: Http,
    pub(super) secrets: Secrets,
    pub(super) url: SecretRef,
}

#[async_trait]
impl Heartbeat for HttpHeartbeat {
    async fn beat(&self) -> Result<(), PortError> {
        let url = self.secrets.read(&self.url).await?;
        let request =
            Request { operation: "send the heartbeat", method: Method::GET, url: &url, body: None, secret: None };
        self.http.send(request).await.map(drop)
    }
}
