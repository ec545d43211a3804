//! The `policies` part of the files. Snapshot and dump repeat their common keys, because serde cannot flatten a struct
//! into one that refuses unknown keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Count;
use crate::policy::DEFAULT_COMPLETION_DEADLINE;

/// No jitter: one installation rarely has enough sources to trouble RDS, and due times stay readable.
const DEFAULT_JITTER: &str = "0s";
/// Most failures of AWS and of networks are over in a minute.
const DEFAULT_INITIAL_BACKOFF: &str = "1m";
/// An hour between attempts is soon enough for a weekly or monthly promise.
const DEFAULT_BACKOFF_MAX: &str = "1h";
/// Eight attempts last about two hours: longer than a failover or a maintenance window.
const DEFAULT_ATTEMPTS_MAX: u32 = 8;
/// zstd's own default: level 3 keeps up with one connection's COPY; higher levels cost more time than they save space.
const DEFAULT_COMPRESSION_LEVEL: i32 = 3;

/// What is owed to the sources that name this policy.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Policy {
    /// RDS snapshots of the instance.
    pub(in crate::config) snapshot: Option<Snapshot>,
    /// Logical dumps of each of its databases.
    pub(in crate::config) dump: Option<Dump>,
    /// Restore drills.
    pub(in crate::config) drill: Option<Drill>,
}

/// RDS snapshots: when, and for how long they are kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Snapshot {
    /// Cron expression of five fields: minute, hour, day of month, month, weekday. `L` is the last day.
    #[schemars(required)]
    pub(in crate::config) schedule: Option<String>,
    /// Starts are spread over this time after the slot, each source always at the same place in it.
    #[serde(default = "default_jitter")]
    pub(in crate::config) jitter: String,
    /// How late after its slot a run may still start. Without it: until the next slot.
    pub(in crate::config) start_deadline: Option<String>,
    /// How long a run may take.
    #[serde(default = "default_completion_deadline")]
    pub(in crate::config) completion_deadline: String,
    /// How failures are repeated.
    #[serde(default)]
    pub(in crate::config) retry: Retry,
    /// Nothing is started; what there is is kept.
    #[serde(default)]
    pub(in crate::config) suspend: bool,
    /// Keep the newest so many.
    pub(in crate::config) keep_last: Option<Count>,
    /// Keep the last of each hour, for so many hours that have one.
    pub(in crate::config) keep_hourly: Option<Count>,
    /// Keep the last of each day, for so many days that have one.
    pub(in crate::config) keep_daily: Option<Count>,
    /// Keep the last of each week, for so many weeks that have one.
    pub(in crate::config) keep_weekly: Option<Count>,
    /// Keep the last of each month, for so many months that have one.
    pub(in crate::config) keep_monthly: Option<Count>,
    /// Keep the last of each year, for so many years that have one.
    pub(in crate::config) keep_yearly: Option<Count>,
    /// Keep everything younger than this.
    pub(in crate::config) keep_within: Option<String>,
    /// Keep nothing beyond `min_keep`: must be said, as no keep_* at all might be a mistake.
    pub(in crate::config) keep_none: Option<bool>,
    /// Never go below so many, whatever the other rules say.
    pub(in crate::config) min_keep: Option<Count>,
    /// Copies in other regions.
    pub(in crate::config) copy_to: Option<Vec<CopyTo>>,
}

/// Logical dumps: when, how, and for how long they are kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Dump {
    /// Cron expression of five fields: minute, hour, day of month, month, weekday. `L` is the last day.
    #[schemars(required)]
    pub(in crate::config) schedule: Option<String>,
    /// Starts are spread over this time after the slot, each database always at the same place in it.
    #[serde(default = "default_jitter")]
    pub(in crate::config) jitter: String,
    /// How late after its slot a run may still start. Without it: until the next slot.
    pub(in crate::config) start_deadline: Option<String>,
    /// How long a run may take. A dump holds back vacuum on the whole server for as long as it runs.
    #[serde(default = "default_completion_deadline")]
    pub(in crate::config) completion_deadline: String,
    /// How failures are repeated.
    #[serde(default)]
    pub(in crate::config) retry: Retry,
    /// Nothing is started; what there is is kept.
    #[serde(default)]
    pub(in crate::config) suspend: bool,
    /// Keep the newest so many.
    pub(in crate::config) keep_last: Option<Count>,
    /// Keep the last of each hour, for so many hours that have one.
    pub(in crate::config) keep_hourly: Option<Count>,
    /// Keep the last of each day, for so many days that have one.
    pub(in crate::config) keep_daily: Option<Count>,
    /// Keep the last of each week, for so many weeks that have one.
    pub(in crate::config) keep_weekly: Option<Count>,
    /// Keep the last of each month, for so many months that have one.
    pub(in crate::config) keep_monthly: Option<Count>,
    /// Keep the last of each year, for so many years that have one.
    pub(in crate::config) keep_yearly: Option<Count>,
    /// Keep everything younger than this.
    pub(in crate::config) keep_within: Option<String>,
    /// Keep nothing beyond `min_keep`: must be said, as no keep_* at all might be a mistake.
    pub(in crate::config) keep_none: Option<bool>,
    /// Never go below so many, whatever the other rules say.
    pub(in crate::config) min_keep: Option<Count>,
    /// How the dump is made.
    #[serde(default)]
    pub(in crate::config) engine: Engine,
    /// zstd level: 1 is fast, 19 is small.
    #[serde(default = "default_compression_level")]
    #[schemars(range(min = 1, max = 19))]
    pub(in crate::config) compression_level: i32,
    /// Connections of the parallel engine.
    pub(in crate::config) jobs: Option<Count>,
}

/// How a dump is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Engine {
    /// One pg_dump, streamed.
    #[default]
    PgDump,
    /// Several connections. Not available in this version.
    Parallel,
}

/// How failures are repeated: the wait doubles from `initial_backoff` up to `backoff_max`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Retry {
    /// Wait after the first failure.
    pub(in crate::config) initial_backoff: String,
    /// Longest wait.
    pub(in crate::config) backoff_max: String,
    /// Attempts per slot, the first included.
    #[schemars(range(min = 1, max = 100))]
    pub(in crate::config) attempts_max: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            initial_backoff: DEFAULT_INITIAL_BACKOFF.to_owned(),
            backoff_max: DEFAULT_BACKOFF_MAX.to_owned(),
            attempts_max: DEFAULT_ATTEMPTS_MAX,
        }
    }
}

/// A copy of each snapshot in another region.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct CopyTo {
    /// The region.
    #[schemars(required)]
    pub(in crate::config) region: Option<String>,
    /// The KMS key there; encrypted snapshots need one.
    pub(in crate::config) kms_key: Option<String>,
}

/// Restore drills: restore into something temporary, check, tear down.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Drill {
    /// Cron expression of five fields: minute, hour, day of month, month, weekday.
    #[schemars(required)]
    pub(in crate::config) schedule: Option<String>,
    /// From what to restore; without it, from everything that the policy makes.
    pub(in crate::config) paths: Option<Vec<DrillPath>>,
    /// How long a restore may take.
    pub(in crate::config) rto: Option<String>,
    /// How old the restored data may be.
    pub(in crate::config) rpo: Option<String>,
}

/// From what a drill restores.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum DrillPath {
    /// A snapshot.
    Snapshot,
    /// RDS point-in-time recovery.
    Pitr,
    /// A dump.
    Dump,
}

fn default_jitter() -> String {
    DEFAULT_JITTER.to_owned()
}

fn default_completion_deadline() -> String {
    format!("{DEFAULT_COMPLETION_DEADLINE:#}")
}

fn default_compression_level() -> i32 {
    DEFAULT_COMPRESSION_LEVEL
}
