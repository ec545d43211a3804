//! The `policies` part of the files. Snapshot and dump repeat when and how they are made, because serde cannot flatten a
//! struct into one that refuses unknown keys; what they have in common with tables of retention a macro repeats.

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
/// Whoever waits longer is noticed by users. What waits for a dump is DDL, and behind it everybody else.
const DEFAULT_LOCK_WAIT_MAX: &str = "5s";
/// Half of what PostgreSQL lets a table age before it vacuums it against wraparound (`autovacuum_freeze_max_age`).
const DEFAULT_XMIN_AGE_MAX: u32 = 100_000_000;
/// A standby that is further behind is of no use to those who read there, nor to a failover.
const DEFAULT_REPLICA_LAG_MAX: &str = "5m";
/// An instance whose storage is full stops (RDS, state `storage-full`); this lasts long enough for somebody to act.
const DEFAULT_FREE_STORAGE_MIN: &str = "2GiB";
/// Two, because one may turn out to be bad on the day that it is needed.
const DEFAULT_MIN_KEEP: Count = Count::new(2).expect("two is not zero");
/// A day, in which somebody may notice what is wrong with a backup or with the retention, whatever the rules say.
const DEFAULT_MIN_AGE: &str = "24h";

/// A table that has the keys of retention beside its own.
macro_rules! with_retention {
    ($(#[$attribute:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(in crate::config) struct $name {
            $($own)*
            /// Keep the newest so many.
            pub(in crate::config) keep_last: Option<Count>,
            /// Keep the newest of each hour, for so many hours that have one.
            pub(in crate::config) keep_hourly: Option<Count>,
            /// Keep the newest of each day, for so many days that have one.
            pub(in crate::config) keep_daily: Option<Count>,
            /// Keep the newest of each week (Monday to Sunday), for so many weeks that have one.
            pub(in crate::config) keep_weekly: Option<Count>,
            /// Keep the newest of each month, for so many months that have one.
            pub(in crate::config) keep_monthly: Option<Count>,
            /// Keep the newest of each year, for so many years that have one.
            pub(in crate::config) keep_yearly: Option<Count>,
            /// Keep everything that is at most so much older than the newest good one.
            pub(in crate::config) keep_within: Option<String>,
            /// Keep nothing beyond `min_keep`: must be said, as no keep_* at all might be a mistake.
            #[serde(default)]
            pub(in crate::config) keep_none: bool,
            /// Keep everything for ever.
            #[serde(default)]
            pub(in crate::config) keep_all: bool,
            /// Always keep the newest so many good ones, whatever the other rules say.
            #[serde(default = "default_min_keep")]
            pub(in crate::config) min_keep: Count,
            /// Keep everything that has not been there for so long yet, whatever the other rules say.
            #[serde(default = "default_min_age")]
            pub(in crate::config) min_age: String,
        }

        impl From<&$name> for Retention {
            /// The keys of retention as a table of their own.
            fn from(table: &$name) -> Retention {
                Retention {
                    keep_last: table.keep_last,
                    keep_hourly: table.keep_hourly,
                    keep_daily: table.keep_daily,
                    keep_weekly: table.keep_weekly,
                    keep_monthly: table.keep_monthly,
                    keep_yearly: table.keep_yearly,
                    keep_within: table.keep_within.clone(),
                    keep_none: table.keep_none,
                    keep_all: table.keep_all,
                    min_keep: table.min_keep,
                    min_age: table.min_age.clone(),
                }
            }
        }
    };
}

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

with_retention! {
    /// RDS snapshots: when, and for how long they are kept.
    Snapshot {
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
        /// Copies in other regions.
        pub(in crate::config) copy_to: Option<Vec<CopyTo>>,
    }
}

with_retention! {
    /// Logical dumps: when, how, and for how long they are kept.
    Dump {
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
        /// For how long dumps are kept in the replica bucket; without it, for as long as in the destination's.
        pub(in crate::config) replica_retention: Option<Retention>,
        /// How the dump is made.
        #[serde(default)]
        pub(in crate::config) engine: Engine,
        /// zstd level: 1 is fast, 19 is small.
        #[serde(default = "default_compression_level")]
        #[schemars(range(min = 1, max = 19))]
        pub(in crate::config) compression_level: i32,
        /// Connections that the parallel engine reads rows with; 4 unless told. Each costs one more part of memory.
        #[schemars(range(min = 1, max = 64))]
        pub(in crate::config) jobs: Option<Count>,
        /// How much one dump may send to the store, such as "50MB/s"; without it, as much as it can.
        pub(in crate::config) max_bandwidth: Option<String>,
        /// The CronJob whose template the Jobs of these dumps are made from, if it is not `kubernetes.job_template`: for those
        /// that need more memory, or another node.
        pub(in crate::config) job_template: Option<String>,
        /// When a dump gives way to production: it is stopped, and made again as `retry` says.
        #[serde(default)]
        pub(in crate::config) governor: Governor,
    }
}

with_retention! {
    /// For how long something is kept.
    Retention {}
}

/// How a dump is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Engine {
    /// One pg_dump, streamed: the stock client and nothing else, slower and with more of its processor.
    PgDump,
    /// Several connections in one snapshot; large tables are split.
    #[default]
    Parallel,
}

/// What a dump may do to others before it is stopped. "off" is without a limit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Governor {
    /// How long another session may wait for a lock of the dump, or "off".
    pub(in crate::config) lock_wait_max: String,
    /// How many transactions may begin on the server while the dump holds back vacuum; 0 is without a limit.
    #[schemars(range(max = 2_000_000_000))]
    pub(in crate::config) xmin_age_max: u32,
    /// How far a standby of the server may fall behind while the dump runs, or "off". Only a login with the rights of
    /// pg_monitor sees that.
    pub(in crate::config) replica_lag_max: String,
    /// How much of the server's storage must stay free while the dump runs, such as "2GiB", or "off". Needs the right to
    /// `cloudwatch:GetMetricStatistics`.
    pub(in crate::config) free_storage_min: String,
}

impl Default for Governor {
    fn default() -> Self {
        Governor {
            lock_wait_max: DEFAULT_LOCK_WAIT_MAX.to_owned(),
            xmin_age_max: DEFAULT_XMIN_AGE_MAX,
            replica_lag_max: DEFAULT_REPLICA_LAG_MAX.to_owned(),
            free_storage_min: DEFAULT_FREE_STORAGE_MIN.to_owned(),
        }
    }
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
    /// For how long the copies are kept; without it, for as long as the snapshots themselves.
    pub(in crate::config) retention: Option<Retention>,
}

/// Restore drills: restore into something temporary, check, tear down.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Drill {
    /// Cron expression of five fields: minute, hour, day of month, month, weekday.
    #[schemars(required)]
    pub(in crate::config) schedule: Option<String>,
    /// From what to restore; without it, from everything that the policy makes, and to the newest moment.
    pub(in crate::config) paths: Option<Vec<DrillPath>>,
    /// How long a restore may take, from the order to the last row that was read.
    pub(in crate::config) rto: Option<String>,
    /// How old the restored data may be; where `pitr` is drilled, along that path only.
    pub(in crate::config) rpo: Option<String>,
    /// How long a drill may take. Its instance is deleted then, whatever it has come to.
    #[serde(default = "default_completion_deadline")]
    pub(in crate::config) completion_deadline: String,
    /// How drills are repeated that could not be carried out. A verdict on a backup is not.
    #[serde(default)]
    pub(in crate::config) retry: Retry,
    /// Nothing is started.
    #[serde(default)]
    pub(in crate::config) suspend: bool,
    /// How many percent fewer rows a table may have than in the newest dump from before the backup: 0 where tables only grow. Without
    /// it only what is gone, or empty, is a fault.
    #[schemars(range(max = 100))]
    pub(in crate::config) fewer_rows_max_percent: Option<u8>,
    /// What must be true of what came back.
    #[serde(default)]
    pub(in crate::config) assertions: Vec<Assertion>,
}

/// Something that must be true of a restored database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Assertion {
    /// What evidence calls it.
    #[schemars(required)]
    pub(in crate::config) name: Option<String>,
    /// The database; may be left out where each source of the policy has only one.
    pub(in crate::config) database: Option<String>,
    /// A query that gives one boolean, such as "SELECT count(*) > 0 FROM bank.accounts".
    #[schemars(required)]
    pub(in crate::config) sql: Option<String>,
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

fn default_min_keep() -> Count {
    DEFAULT_MIN_KEEP
}

fn default_min_age() -> String {
    DEFAULT_MIN_AGE.to_owned()
}
