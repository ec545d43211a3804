//! Who may read what the daemon serves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may read what the daemon serves. Without a token, everybody who reaches `daemon.listen`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Http {
    /// Absolute path of a file that holds the token that readers of the status page and of /api/status have to show: at least
    /// 16 characters. It is read anew each time.
    pub(in crate::config) token_file: Option<String>,
    /// Name of the environment variable that holds that token.
    pub(in crate::config) token_env: Option<String>,
    /// Whether /metrics asks for the token, too.
    pub(in crate::config) token_for_metrics: bool,
    /// Whether /livez and /readyz ask for it, too.
    pub(in crate::config) token_for_probes: bool,
}
