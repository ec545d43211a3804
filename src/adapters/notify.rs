//! Channels: what each one's interface wants to be sent. All of HTTP is in `http`, all secrets in `secrets`.

mod alertmanager;
mod chat;
mod heartbeat;
mod http;
mod pagerduty;
mod secrets;
mod sns;
#[cfg(test)]
mod tests;
mod webhook;

use std::fmt;
use std::sync::Arc;

use aws_config::SdkConfig;

use crate::ports::RequestObserver;
use crate::ports::notifier::{ChannelRef, Heartbeat, Notifier, SecretRef};
use alertmanager::Alertmanager;
use chat::{Slack, Teams};
use heartbeat::HttpHeartbeat;
use http::Http;
use pagerduty::PagerDuty;
use secrets::Secrets;
use sns::Sns;
use webhook::Webhook;

/// What channels are made with.
#[derive(Clone)]
pub struct ChannelKit {
    aws: SdkConfig,
    observer: RequestObserver,
    http: Http,
    secrets: Secrets,
}

impl fmt::Debug for ChannelKit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelKit")
    }
}

impl ChannelKit {
    /// With the credentials of `aws` for topics and secrets.
    #[must_use]
    pub fn new(aws: &SdkConfig, observer: RequestObserver) -> ChannelKit {
        let secrets = Secrets::new(aws, Arc::clone(&observer));
        ChannelKit { aws: aws.clone(), observer, http: Http::new(), secrets }
    }

    /// The channel that the configuration describes.
    #[must_use]
    pub fn channel(&self, wanted: &ChannelRef) -> Arc<dyn Notifier> {
        let (http, secrets) = (self.http.clone(), self.secrets.clone());
        match wanted {
            ChannelRef::Sns { topic } => Arc::new(Sns::new(&self.aws, topic, Arc::clone(&self.observer))),
            ChannelRef::Alertmanager { urls } => Arc::new(Alertmanager { http, urls: urls.clone() }),
            ChannelRef::Slack { url } => Arc::new(Slack { http, secrets, url: url.clone() }),
            ChannelRef::Teams { url } => Arc::new(Teams { http, secrets, url: url.clone() }),
            ChannelRef::PagerDuty { routing_key, url } => {
                Arc::new(PagerDuty { http, secrets, routing_key: routing_key.clone(), url: url.clone() })
            }
            ChannelRef::Webhook { url, template } => {
                Arc::new(Webhook { http, secrets, url: url.clone(), template: template.clone() })
            }
        }
    }

    /// The address that waits to hear that all is well.
    #[must_use]
    pub fn heartbeat(&self, url: &SecretRef) -> Arc<dyn Heartbeat> {
        Arc::new(HttpHeartbeat { http: self.http.clone(), secrets: self.secrets.clone(), url: url.clone() })
    }
}
