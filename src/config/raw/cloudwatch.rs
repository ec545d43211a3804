//! Numbers for CloudWatch's alarms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What custom metrics are called where nothing else is said.
const DEFAULT_NAMESPACE: &str = "Strongroom";
/// CloudWatch's alarms look once a minute.
const DEFAULT_INTERVAL: &str = "1m";

/// Publishes how old backups are, and that the daemon lives, as custom metrics of CloudWatch, for alarms that ring when they are
/// missing. Without this table nothing is published.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct CloudWatch {
    /// The namespace.
    pub(in crate::config) namespace: String,
    /// How often, at least a minute. More often than that no alarm looks.
    pub(in crate::config) interval: String,
}

impl Default for CloudWatch {
    fn default() -> Self {
        CloudWatch { namespace: DEFAULT_NAMESPACE.to_owned(), interval: DEFAULT_INTERVAL.to_owned() }
    }
}
