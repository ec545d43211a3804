//! Numbers for CloudWatch's alarms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What custom metrics are called where nothing else is said.
const DEFAULT_NAMESPACE: &str = "Strongroom";
/// CloudWatch's alarms look once a minute.
const DEFAULT_EVERY: &str = "1m";

/// Publishes how old backups are, and that the daemon lives, as custom metrics of CloudWatch, for alarms that ring when they are
/// missing. Without this table nothing is published.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct CloudWatch {
    /// The namespace.
    pub(in crate::config) namespace: String,
    /// How often, at least a minute. Each number and time costs a request's worth of metric.
    pub(in crate::config) every: String,
}

impl Default for CloudWatch {
    fn default() -> Self {
        CloudWatch { namespace: DEFAULT_NAMESPACE.to_owned(), every: DEFAULT_EVERY.to_owned() }
    }
}
