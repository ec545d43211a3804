//! SNS through the AWS SDK, in the topic's region.

use std::fmt;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sns::Client;
use aws_sdk_sns::config::retry::RetryConfig;
use aws_sdk_sns::config::timeout::TimeoutConfig;
use aws_sdk_sns::types::MessageAttributeValue;

use crate::adapters::aws::{CountRequests, in_region, port_error};
use crate::domain::alert::Message;
use crate::domain::id::RegionName;
use crate::ports::notifier::Notifier;
use crate::ports::{ErrorKind, PortError, RequestObserver};

/// SNS takes up to 100 characters of ASCII as a subject, and 256 KiB as a message (SNS API reference, Publish).
const SUBJECT_CHARS_MAX: usize = 100;
const MESSAGE_BYTES_MAX: usize = 250 << 10;

/// A topic.
pub(super) struct Sns {
    client: Client,
    topic: String,
}

impl fmt::Debug for Sns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sns({})", self.topic)
    }
}

impl Sns {
    pub(super) fn new(aws: &SdkConfig, topic: &str, observer: RequestObserver) -> Sns {
        let region: Option<RegionName> = topic.split(':').nth(3).and_then(|region| region.parse().ok());
        let aws = region.map_or_else(|| aws.clone(), |region| in_region(aws, &region));
        // Patience is the ledger's: it tries again for days, and others wait behind this one.
        let limits = TimeoutConfig::builder()
            .operation_timeout(std::time::Duration::from_secs(10))
            .connect_timeout(std::time::Duration::from_secs(5))
            .build();
        let config = aws_sdk_sns::config::Builder::from(&aws)
            .timeout_config(limits)
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .interceptor(CountRequests(observer))
            .build();
        Sns { client: Client::from_conf(config), topic: topic.to_owned() }
    }
}

#[async_trait]
impl Notifier for Sns {
    async fn notify(&self, message: &Message) -> Result<String, PortError> {
        let named = || format!("publish to {}", self.topic);
        let attribute = |value: &str| MessageAttributeValue::builder().data_type("String").string_value(value).build();
        let invalid = |error| PortError::new(named(), ErrorKind::Invalid).because(format!("{error}"));
        let mut request = self
            .client
            .publish()
            .topic_arn(&self.topic)
            .subject(subject(&message.subject()))
            .message(cut(message.text(), MESSAGE_BYTES_MAX))
            .message_attributes("event", attribute(message.event.as_str()).map_err(invalid)?)
            .message_attributes("severity", attribute(message.severity().as_str()).map_err(invalid)?)
            .message_attributes("installation", attribute(message.installation.as_str()).map_err(invalid)?);
        if self.topic.ends_with(".fifo") {
            request = request.message_group_id(message.installation.as_str()).message_deduplication_id(&message.id);
        }
        let published = request.send().await.map_err(|error| port_error(named(), error))?;
        Ok(format!("SNS message {}", published.message_id().unwrap_or("without an id")))
    }
}

/// What SNS takes as a subject: others it refuses, and with them the whole message.
fn subject(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' });
    plain.take(SUBJECT_CHARS_MAX).collect()
}

/// The beginning of a text that is too long, cut between two characters.
fn cut(mut text: String, bytes_max: usize) -> String {
    const MORE: &str = "\n… and more: see `strongroom alerts`\n";
    if text.len() > bytes_max {
        let end = (0..=bytes_max.saturating_sub(MORE.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(MORE);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_what_sns_takes_and_a_long_text_is_cut_between_characters() {
        let long = subject(&format!("[CRITICAL] König\n{}", "x".repeat(200)));
        assert_eq!((long.len(), long.is_ascii()), (SUBJECT_CHARS_MAX, true), "{long}");
        assert!(long.starts_with("[CRITICAL] K?nig?x"), "{long}");
        let text = cut("ö".repeat(1_000), 101);
        assert!(text.len() <= 101 && text.ends_with("see `strongroom alerts`\n"), "{text}");
        assert_eq!(cut("short".to_owned(), 101), "short");
    }
}
