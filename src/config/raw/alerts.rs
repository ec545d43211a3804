//! Who is told, and how.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One look that finds trouble may be an accident; the next one, five minutes later, is not.
const DEFAULT_PENDING_FOR: &str = "5m";
/// Once a day: in every shift somebody hears of it, and nobody learns to look away.
const DEFAULT_REPEAT_EVERY: &str = "24h";
/// Ten messages at once are read; after that nobody reads any.
const DEFAULT_STORM_MAX: usize = 10;
/// Once a minute, so that the other side can raise its alarm after a few of them.
const DEFAULT_HEARTBEAT_INTERVAL: &str = "1m";

/// Who is told.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Alerts {
    /// How long trouble has to hold before it is told. "0s" is allowed.
    pub(in crate::config) pending_for: String,
    /// How often what holds still is told again: a duration, or "never".
    pub(in crate::config) repeat_every: String,
    /// Messages to one route at once; when there would be more, they become one that lists all.
    #[schemars(range(min = 1, max = 100))]
    pub(in crate::config) storm_max: usize,
    /// Ways to people, by name.
    pub(in crate::config) routes: BTreeMap<String, Route>,
    /// A dead man's switch: an address that is asked for as long as every obligation holds, and whose owner raises the alarm when
    /// it is not.
    pub(in crate::config) heartbeat: Option<Heartbeat>,
}

impl Default for Alerts {
    fn default() -> Alerts {
        Alerts {
            pending_for: DEFAULT_PENDING_FOR.to_owned(),
            repeat_every: DEFAULT_REPEAT_EVERY.to_owned(),
            storm_max: DEFAULT_STORM_MAX,
            routes: BTreeMap::new(),
            heartbeat: None,
        }
    }
}

/// One way to people: exactly one of the channels, and what goes there.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Route {
    /// ARN of an SNS topic.
    pub(in crate::config) sns_topic: Option<String>,
    /// Addresses of an Alertmanager, or of all members of a cluster, such as "http://alertmanager:9093".
    pub(in crate::config) alertmanager: Option<Vec<String>>,
    /// Where the address of an incoming webhook of Slack is found.
    pub(in crate::config) slack: Option<Secret>,
    /// Where the address of a webhook of a Teams workflow is found.
    pub(in crate::config) teams: Option<Secret>,
    /// Where the routing key of a PagerDuty integration (Events v2) is found.
    pub(in crate::config) pagerduty: Option<Secret>,
    /// Where events to PagerDuty go, if not to its service in the United States.
    pub(in crate::config) pagerduty_url: Option<String>,
    /// Where the address of any other webhook is found. It is sent JSON.
    pub(in crate::config) webhook: Option<Secret>,
    /// The JSON that the webhook is sent, with fields such as {{subject}} in the places of values. Without it: the whole message.
    pub(in crate::config) template: Option<String>,
    /// What goes this way; without it, everything.
    pub(in crate::config) severities: Option<Vec<Severity>>,
    /// The sources whose alerts go this way. Without it: those of all, and those that are about no single source.
    pub(in crate::config) sources: Option<Vec<String>>,
}

/// A secret, in exactly one of the forms `{ secret }`, `{ file }`, `{ env }`. It is never written here itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Secret {
    /// Name or ARN of a Secrets Manager secret whose whole text it is.
    pub(in crate::config) secret: Option<String>,
    /// Absolute path of a file that holds it. It is read anew each time.
    pub(in crate::config) file: Option<String>,
    /// Name of the environment variable that holds it.
    pub(in crate::config) env: Option<String>,
}

/// A dead man's switch.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Heartbeat {
    /// Where its address is found.
    #[schemars(required)]
    pub(in crate::config) url: Option<Secret>,
    /// How often it is asked.
    #[serde(default = "default_heartbeat_interval")]
    pub(in crate::config) interval: String,
}

fn default_heartbeat_interval() -> String {
    DEFAULT_HEARTBEAT_INTERVAL.to_owned()
}

/// How bad it is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Severity {
    /// A promise is broken.
    Critical,
    /// A promise will be broken if nobody acts.
    Warning,
    /// Worth knowing.
    Info,
}
