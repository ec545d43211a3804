//! The rules: the validated desired state, and pure functions that read it.

pub mod alerting;
pub mod drill;
pub mod finding;
pub mod governor;
pub mod posture;
pub mod prune;
pub mod recover;
pub mod restored;
pub mod retention;
pub mod retry;
pub mod schedule;
pub mod verify;
pub mod volume;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;

use jiff::SignedDuration;

use crate::domain::id::{DatabaseName, InstallationId, InstanceId, Kind, RegionName, SourceId};
use crate::domain::manifest::Engine;
use drill::{DrillPolicy, DrillSetup};
use governor::GovernorLimits;
use prune::PrunePolicy;
use recover::RecoverPolicy;
use restored::RegionSetup;
use retention::Retention;
use retry::RetryPolicy;
use schedule::Schedule;
use verify::VerifyPolicy;

/// What the platform team wants, checked and ready to be read. Made by [`crate::config`] only.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Name of this installation.
    pub installation: InstallationId,
    /// First part of snapshot ids.
    pub snapshot_prefix: String,
    /// The region of the instances and of the destination bucket.
    pub region: RegionName,
    /// The destination.
    pub destination: DestinationPolicy,
    /// Protected instances by name.
    pub sources: BTreeMap<SourceId, SourcePolicy>,
    /// How much may happen at once.
    pub limits: Limits,
    /// How often to look.
    pub cadence: Cadence,
    /// What holds deletions back.
    pub prune: PrunePolicy,
    /// When stored dumps are read back.
    pub verify: VerifyPolicy,
    /// What instances get that are restored in a region.
    pub restore: BTreeMap<RegionName, RegionSetup>,
    /// What drills restore into; `None` where there are none.
    pub drills: Option<DrillSetup>,
    /// Whether dumps are made by Jobs of the cluster: then they outlive the process that has begun them.
    pub dumps_by_jobs: bool,
}

/// What the destination must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationPolicy {
    /// The bucket.
    pub bucket: String,
    /// First part of every key, without a slash at its end.
    pub prefix: String,
    /// The KMS key that objects must be encrypted with, as it was configured (ARN, id or alias).
    pub kms_key: Option<String>,
    /// The second bucket, in another region.
    pub replica: Option<ReplicaPolicy>,
}

/// A second bucket in another region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaPolicy {
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub region: RegionName,
    /// Who fills it.
    pub mode: ReplicaMode,
    /// The KMS key that its objects must be encrypted with; `None`: whatever S3 says is taken.
    pub kms_key: Option<String>,
}

/// Who fills the replica bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaMode {
    /// S3 replication: the same version ids in both buckets.
    Replicated,
    /// strongroom has S3 copy each object.
    Copied,
}

/// Copies of snapshots in another region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotCopies {
    /// The region.
    pub region: RegionName,
    /// The KMS key there.
    pub kms_key: Option<String>,
    /// What becomes of the copies in time.
    pub retention: Retention,
}

/// One protected instance.
#[derive(Debug, Clone)]
pub struct SourcePolicy {
    /// Its name.
    pub id: SourceId,
    /// The RDS instance.
    pub instance: InstanceId,
    /// The databases that are dumped.
    pub databases: Vec<DatabaseName>,
    /// Where they are read.
    pub dump_from: DumpFrom,
    /// For how many days RDS is to keep its automated backups; `None` where its environment does not say.
    pub automated_backup_days: Option<RangeInclusive<u32>>,
    /// How they are dumped; `None` where the policy makes no dumps.
    pub dump_settings: Option<DumpSettings>,
    /// Its restore drills.
    pub drill: Option<DrillPolicy>,
    /// How it is recovered.
    pub recover: RecoverPolicy,
    /// What is owed to it: at most one obligation for snapshots, one per database for dumps.
    pub obligations: Vec<Obligation>,
}

/// Where the dumps of a source are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DumpFrom {
    /// On the source's own instance.
    #[default]
    Instance,
    /// On this read replica of it.
    Replica(InstanceId),
    /// On what a restore drill has restored of a snapshot of it.
    Drill,
}

impl DumpFrom {
    /// The read replica, where it is one.
    #[must_use]
    pub fn replica(&self) -> Option<&InstanceId> {
        match self {
            DumpFrom::Replica(replica) => Some(replica),
            DumpFrom::Instance | DumpFrom::Drill => None,
        }
    }
}

/// How long a run may take where the configuration does not say: a day, because RDS gives no bound on a snapshot, and a
/// dump that takes longer holds back vacuum on the whole server.
pub const DEFAULT_COMPLETION_DEADLINE: SignedDuration = SignedDuration::from_hours(24);

impl SourcePolicy {
    /// The databases that are dumped now.
    pub fn dumped_databases(&self) -> impl Iterator<Item = &DatabaseName> {
        self.obligations.iter().filter(|own| !own.suspended).filter_map(|own| own.task.database())
    }

    /// All rules of retention, in a fixed order: two policies whose lists are equal expire the same.
    pub fn retentions(&self) -> impl Iterator<Item = &Retention> {
        self.obligations.iter().flat_map(|obligation| {
            let copies = obligation.copies.iter().map(|copies| &copies.retention);
            [&obligation.retention, &obligation.replica_retention].into_iter().chain(copies)
        })
    }

    /// How long a run of a kind may take.
    #[must_use]
    pub fn completion_deadline(&self, kind: Kind) -> SignedDuration {
        let of_kind = self.obligations.iter().find(|obligation| obligation.task.kind() == kind);
        of_kind.map_or(DEFAULT_COMPLETION_DEADLINE, |obligation| obligation.completion_deadline)
    }
}

/// A promise: a recovery point of one kind at each slot of a schedule.
#[derive(Debug, Clone)]
pub struct Obligation {
    /// Snapshot or dump, and of what.
    pub task: Task,
    /// When.
    pub schedule: Schedule,
    /// How failures are repeated.
    pub retry: RetryPolicy,
    /// How late after its slot a run may still start; `None`: until the next slot.
    pub start_deadline: Option<SignedDuration>,
    /// How long a run may take.
    pub completion_deadline: SignedDuration,
    /// Written down but not carried out for now.
    pub suspended: bool,
    /// What becomes of the recovery points in the source's region in time.
    pub retention: Retention,
    /// Of dumps: what becomes of them in the replica bucket.
    pub replica_retention: Retention,
    /// Of snapshots: where they are copied to.
    pub copies: Vec<SnapshotCopies>,
}

/// What a run makes, with all that it needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// An RDS snapshot of the instance.
    Snapshot,
    /// A logical dump of one database.
    Dump {
        /// The database.
        database: DatabaseName,
        /// How to make it.
        settings: DumpSettings,
    },
}

impl Task {
    /// Snapshot or dump.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Task::Snapshot => Kind::Snapshot,
            Task::Dump { .. } => Kind::Dump,
        }
    }

    /// The database, for dumps.
    #[must_use]
    pub fn database(&self) -> Option<&DatabaseName> {
        match self {
            Task::Snapshot => None,
            Task::Dump { database, .. } => Some(database),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Task::Snapshot => f.write_str("snapshot"),
            Task::Dump { database, .. } => write!(f, "dump of {database}"),
        }
    }
}

/// How to make a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpSettings {
    /// Which engine.
    pub engine: Engine,
    /// zstd level, 1 to 19.
    pub compression_level: i32,
    /// Connections that the parallel engine reads rows with.
    pub jobs: usize,
    /// What it may do to others.
    pub governor: GovernorLimits,
    /// How many bytes it may send to the store in a second; `None`: as many as it can.
    pub bandwidth_max: Option<NonZeroU64>,
    /// What its Job is made from; `None`: as all others.
    pub job_template: Option<String>,
}

/// How much may happen at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Runs of any kind, over all sources.
    pub concurrent_runs: usize,
    /// Bytes that all dumps together may hold in memory.
    pub dump_memory_bytes: u64,
}

/// How often to look.
#[derive(Debug, Clone, Copy)]
pub struct Cadence {
    /// Between two looks when nothing is going on.
    pub reconcile_interval: SignedDuration,
    /// Between two looks while a snapshot is being made.
    pub poll_interval: SignedDuration,
}

/// Looks that may fail to come before what was seen last counts as old.
const MISSED_LOOKS: i32 = 3;
/// Time that one look may take beside its interval, on top of missed looks: listings that AWS throttles are retried for
/// minutes and are no reason to raise an alarm.
const LOOK_GRACE: SignedDuration = SignedDuration::from_mins(5);

impl Cadence {
    /// How old a look may be before something is wrong with whoever looks.
    #[must_use]
    pub fn look_age_max(&self) -> SignedDuration {
        self.reconcile_interval.saturating_mul(MISSED_LOOKS).saturating_add(LOOK_GRACE)
    }
}

impl Policy {
    /// Every obligation with its source, in the order of the sources' names.
    pub fn obligations(&self) -> impl Iterator<Item = (&SourcePolicy, &Obligation)> {
        self.sources.values().flat_map(|source| source.obligations.iter().map(move |obligation| (source, obligation)))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::testing::{keep_nothing, policy};

    fn source(databases: &[&str]) -> SourcePolicy {
        policy(&[("accounts", databases)]).sources.into_values().next().unwrap()
    }

    /// A change of any of them is what must be known for a while before it deletes anything.
    #[test]
    fn the_rules_of_every_place_where_recovery_points_lie_are_told_in_a_fixed_order() {
        let keep = |last| Retention::Rules(retention::RetentionPolicy { keep_last: last, ..keep_nothing() });
        let rules: Vec<Retention> = (1..=6).map(|last| keep(std::num::NonZeroU32::new(last))).collect();
        let mut source = source(&["accounts"]);
        let [snapshots, dumps] = source.obligations.as_mut_slice() else { panic!("{source:?}") };
        let copies = |region: &str, of: usize| SnapshotCopies {
            region: region.parse().unwrap(),
            kms_key: None,
            retention: rules[of].clone(),
        };
        (snapshots.retention, snapshots.replica_retention) = (rules[0].clone(), rules[1].clone());
        snapshots.copies = vec![copies("us-west-2", 2), copies("eu-west-1", 3)];
        (dumps.retention, dumps.replica_retention) = (rules[4].clone(), rules[5].clone());
        assert_eq!(source.retentions().collect::<Vec<_>>(), rules.iter().collect::<Vec<_>>());
    }

    #[rstest]
    #[case::both(&["accounts"], 3, 5)]
    #[case::nothing_is_dumped(&[], 3, 24)]
    fn each_kind_of_run_has_its_own_deadline_and_a_day_where_none_is_configured(
        #[case] databases: &[&str],
        #[case] snapshot_hours: i64,
        #[case] dump_hours: i64,
    ) {
        let mut source = source(databases);
        for (obligation, hours) in source.obligations.iter_mut().zip([3, 5]) {
            obligation.completion_deadline = SignedDuration::from_hours(hours);
        }
        assert_eq!(source.completion_deadline(Kind::Snapshot), SignedDuration::from_hours(snapshot_hours));
        assert_eq!(source.completion_deadline(Kind::Dump), SignedDuration::from_hours(dump_hours));
    }

    #[test]
    fn a_task_says_what_is_made_and_of_which_database() {
        let tasks =
            source(&["accounts", "audit"]).obligations.into_iter().map(|obligation| obligation.task.to_string());
        assert_eq!(tasks.collect::<Vec<_>>(), ["snapshot", "dump of accounts", "dump of audit"]);
    }
}
