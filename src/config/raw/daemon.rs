//! The daemon itself: where it listens, how often it looks, who leads, and who makes dumps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The loopback: what is served needs no token unless one is given, so whoever opens it decides to.
const DEFAULT_LISTEN: &str = "127.0.0.1:9187";
/// Five seconds less than the thirty that Kubernetes gives before it kills.
const DEFAULT_GRACE: &str = "25s";
/// Schedules ring on their own; this only bounds how long anything else stays unnoticed.
const DEFAULT_RECONCILE_INTERVAL: &str = "5m";
/// Snapshots take minutes, and RDS throttles those who ask every second.
const DEFAULT_POLL_INTERVAL: &str = "15s";

/// The daemon itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Daemon {
    /// Address and port of the status page, /api/status, /metrics, /livez and /readyz. Who may read them is said in `http`.
    pub(in crate::config) listen: String,
    /// How long runs may take to stop when the daemon is told to.
    pub(in crate::config) grace: String,
    /// How often to look at everything when nothing is due.
    pub(in crate::config) reconcile_interval: String,
    /// How often to look while a snapshot is being made.
    pub(in crate::config) poll_interval: String,
    /// How several processes of this installation agree on the one that acts; the others look, and show what they see.
    pub(in crate::config) leader: Leader,
    /// How long the others wait for a leader that is silent: whole seconds, "3s" to "10m". Without it "60s" with
    /// `leader = "kubernetes"`, and "5m" with "bucket", where each renewal is one more version of an object. A leader that cannot
    /// renew for three fifths of it stops its work.
    pub(in crate::config) leader_lease: Option<String>,
    /// Who makes dumps.
    pub(in crate::config) executor: ExecutorKind,
}

impl Default for Daemon {
    fn default() -> Self {
        Daemon {
            listen: DEFAULT_LISTEN.to_owned(),
            grace: DEFAULT_GRACE.to_owned(),
            reconcile_interval: DEFAULT_RECONCILE_INTERVAL.to_owned(),
            poll_interval: DEFAULT_POLL_INTERVAL.to_owned(),
            leader: Leader::default(),
            leader_lease: None,
            executor: ExecutorKind::default(),
        }
    }
}

/// How several processes agree on the one that acts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Leader {
    /// There is only one, and it acts.
    #[default]
    None,
    /// By an object in the destination bucket.
    Bucket,
    /// By a Lease in the namespace that strongroom runs in.
    Kubernetes,
}

/// Who makes dumps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum ExecutorKind {
    /// The daemon's own process.
    #[default]
    Local,
    /// One Kubernetes Job for each, made from `kubernetes.job_template`.
    Kubernetes,
}
