//! Ways to people, and to machines that tell people.

use std::path::PathBuf;

use async_trait::async_trait;
use jiff::SignedDuration;
use secrecy::SecretString;

use super::PortError;
use crate::domain::alert::Message;

/// One channel.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Delivers a message, within seconds, and says in a few words what was answered. To deliver one twice does no harm.
    ///
    /// # Errors
    /// The channel has not taken it, or nobody knows. Neither the error nor the answer holds the channel's secret.
    async fn notify(&self, message: &Message) -> Result<String, PortError>;

    /// How often it has to hear of all that fires, because it forgets what it is not reminded of; `None`: it does not.
    fn refresh_every(&self) -> Option<SignedDuration> {
        None
    }
}

/// An address that waits to hear that all is well, and raises the alarm when it does not.
#[async_trait]
pub trait Heartbeat: Send + Sync {
    /// Says that all is well.
    ///
    /// # Errors
    /// The address could not be reached, or refuses. The error does not hold the address.
    async fn beat(&self) -> Result<(), PortError>;
}

/// A secret that the configuration refers to: a webhook's address, or the key of an integration.
#[derive(Debug, Clone)]
pub enum SecretRef {
    /// The whole text of a secret in Secrets Manager.
    SecretsManager {
        /// Its name or ARN.
        id: String,
    },
    /// The content of a file. It is read anew each time.
    File {
        /// Its path.
        path: PathBuf,
    },
    /// What stood in the environment at the start.
    Value(SecretString),
}

/// A channel as the configuration describes it.
#[derive(Debug, Clone)]
pub enum ChannelRef {
    /// A topic of SNS.
    Sns {
        /// Its ARN.
        topic: String,
    },
    /// Prometheus' Alertmanager.
    Alertmanager {
        /// Every member of the cluster.
        urls: Vec<String>,
    },
    /// An incoming webhook of Slack.
    Slack {
        /// Its address.
        url: SecretRef,
    },
    /// A webhook of a Teams workflow.
    Teams {
        /// Its address.
        url: SecretRef,
    },
    /// Events v2 of PagerDuty.
    PagerDuty {
        /// The integration's key.
        routing_key: SecretRef,
        /// Where events go.
        url: String,
    },
    /// Any address that takes JSON.
    Webhook {
        /// The address.
        url: SecretRef,
        /// The body; `None`: the whole message.
        template: Option<WebhookTemplate>,
    },
}

/// JSON with `{{fields}}` of a message in the places of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookTemplate(String);

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// It names what a message does not have.
    #[error("there is no field `{{{{{0}}}}}`")]
    UnknownField(String),
    /// Without its fields it is no JSON.
    #[error("it is not JSON once values stand in place of its fields")]
    NotJson,
}

impl WebhookTemplate {
    /// What can stand in double braces.
    pub const FIELDS: [&'static str; 8] =
        ["id", "installation", "event", "severity", "at", "subject", "text", "alerts"];

    /// A template of a text.
    ///
    /// # Errors
    /// It names unknown fields, or is no JSON.
    pub fn parse(text: &str) -> Result<WebhookTemplate, InvalidTemplate> {
        let mut unknown = None;
        let filled = fill(text, |field| {
            if !WebhookTemplate::FIELDS.contains(&field) {
                unknown = Some(field.to_owned());
            }
            // With quotes of its own, so that a field inside of quotes is found.
            "\"\"".to_owned()
        });
        match unknown {
            Some(field) => Err(InvalidTemplate::UnknownField(field)),
            None if serde_json::from_str::<serde_json::Value>(&filled).is_err() => Err(InvalidTemplate::NotJson),
            None => Ok(WebhookTemplate(text.to_owned())),
        }
    }

    /// The body of a message: each field as a JSON value, so that nothing in a text can break out of its place.
    #[must_use]
    pub fn fill(&self, message: &Message) -> String {
        fill(&self.0, |field| {
            let value = match field {
                "id" => serde_json::Value::from(message.id.as_str()),
                "installation" => message.installation.as_str().into(),
                "event" => message.event.as_str().into(),
                "severity" => message.severity().as_str().into(),
                "at" => message.at.to_string().into(),
                "subject" => message.subject().into(),
                "text" => message.text().into(),
                "alerts" => serde_json::to_value(&message.items).unwrap_or_default(),
                _ => serde_json::Value::Null,
            };
            value.to_string()
        })
    }
}

/// The text with what `value` gives in the places of `{{fields}}`.
fn fill(text: &str, mut value: impl FnMut(&str) -> String) -> String {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, field, after)) = rest
        .split_once("{{")
        .and_then(|(before, rest)| rest.split_once("}}").map(|(field, after)| (before, field, after)))
    {
        filled.push_str(before);
        filled.push_str(&value(field.trim()));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::alert::Event;

    fn message() -> Message {
        Message {
            id: "bank-prod-7".to_owned(),
            installation: "bank-prod".parse().unwrap(),
            event: Event::Test,
            at: crate::testing::now(),
            items: Vec::new(),
        }
    }

    #[test]
    fn a_template_puts_values_in_the_places_of_its_fields_and_no_text_breaks_out() {
        let template = WebhookTemplate::parse(r#"{"text": {{ subject }}, "n": 1, "all": {{alerts}}}"#).unwrap();
        let filled = template.fill(&message());
        let body: serde_json::Value = serde_json::from_str(&filled).unwrap();
        assert_eq!(body["text"], message().subject());
        assert_eq!((&body["n"], &body["all"]), (&serde_json::json!(1), &serde_json::json!([])));
    }

    #[rstest]
    #[case::field(r#"{"text": {{headline}}}"#, InvalidTemplate::UnknownField("headline".to_owned()))]
    #[case::quotes(r#"{"text": {{subject}}"#, InvalidTemplate::NotJson)]
    #[case::inside_a_string(r#"{"text": "{{subject}} now"}"#, InvalidTemplate::NotJson)]
    fn what_is_no_template_is_refused(#[case] text: &str, #[case] error: InvalidTemplate) {
        let parsed = WebhookTemplate::parse(text);
        assert_eq!(parsed.unwrap_err(), error);
    }
}
