//! A small policy, and what can be seen of it: what tests of the planner and of the metrics begin with.

pub(crate) mod archive;
pub(crate) mod contract;
pub(crate) mod eventually;
pub(crate) mod fake_postgres;
pub(crate) mod fake_processes;
pub(crate) mod fake_rds;
pub(crate) mod fake_store;
pub(crate) mod faults;
pub(crate) mod fuzz;
pub(crate) mod logged;
pub(crate) mod memory;
pub(crate) mod no_pg_restore;
pub(crate) mod random;
pub(crate) mod sandbox;
pub(crate) mod shared_lock;
pub(crate) mod sim_clock;
mod simulation;
pub(crate) mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};

use crate::domain::account::AccountFacts;
use crate::domain::drill::{
    DRILL_RECORD_VERSION, DrillId, DrillPath, DrillRecord, DrillState, Phase, Reached, Restored, StoredDrill,
};
use crate::domain::id::{Kind, RegionName, RunId, Slot, SnapshotId};
use crate::domain::inventory::{
    Complete, Found, Instance, Inventory, KnownVerification, Protection, Remains, Snapshot, SourceStore, StoredDump,
    StoredRun, ToolVersion,
};
use crate::domain::key::{DumpId, Layout};
use crate::domain::lease::LeaseId;
use crate::domain::manifest::Engine;
use crate::domain::new_instance::{InstanceDetails, InstanceSetup, Network};
use crate::domain::prune_record::ObjectVersion;
use crate::domain::recovery_point::{Plane, PointState, RecoveryPoint};
use crate::domain::run::{OwnerState, ProcessIdentity, RunRecord};
use crate::domain::tags::{self, Tags};
use crate::domain::verification::Level;
use crate::policy::drill::{DrillPolicy, DrillSetup};
use crate::policy::governor::GovernorLimits;
use crate::policy::prune::PrunePolicy;
use crate::policy::recover::RecoverPolicy;
use crate::policy::retention::{Retention, RetentionPolicy};
use crate::policy::retry::RetryPolicy;
use crate::policy::schedule::Schedule;
use crate::policy::verify::VerifyPolicy;
use crate::policy::{
    Cadence, DestinationPolicy, DumpFrom, DumpSettings, Limits, Obligation, Policy, SourcePolicy, Task,
};

/// A Monday noon: the weekly slot of the 22nd and the monthly one of the 1st have passed.
pub(crate) fn now() -> Timestamp {
    at("2026-11-23T12:00:00Z")
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Looks every minute.
pub(crate) fn cadence() -> Cadence {
    Cadence { reconcile_interval: SignedDuration::from_mins(1), poll_interval: SignedDuration::from_secs(15) }
}

/// Sources with their databases: a weekly snapshot of each, a monthly dump of each database.
pub(crate) fn policy(sources: &[(&str, &[&str])]) -> Policy {
    let sources = sources.iter().map(|(id, databases)| (id.parse().unwrap(), source(id, databases)));
    Policy {
        installation: "bank-prod".parse().unwrap(),
        snapshot_prefix: "strongroom".to_owned(),
        region: region(),
        destination: DestinationPolicy {
            bucket: "bank-backups".to_owned(),
            prefix: "strongroom".to_owned(),
            kms_key: None,
            replica: None,
        },
        sources: sources.collect(),
        limits: Limits { concurrent_runs: 4, dump_memory_bytes: 1 << 30 },
        cadence: cadence(),
        prune: PrunePolicy {
            automatic: true,
            deletes_per_cycle: 10,
            settle: SignedDuration::from_hours(1),
            orphan_grace: SignedDuration::from_hours(7 * 24),
            keep_evidence: None,
            clock_skew_max: SignedDuration::from_mins(5),
        },
        verify: VerifyPolicy {
            deadline: SignedDuration::from_hours(24),
            cycle: Some(SignedDuration::from_hours(90 * 24)),
            replica_interval: Some(SignedDuration::from_hours(7 * 24)),
        },
        restore: BTreeMap::new(),
        drills: None,
        dumps_by_jobs: false,
    }
}

/// The same with restore drills of snapshots, quarterly, for every source.
pub(crate) fn with_drills(mut policy: Policy) -> Policy {
    policy.drills = Some(DrillSetup {
        network: Network { subnet_group: Some("drills".to_owned()), security_groups: vec!["sg-1".to_owned()] },
        parameter_group: None,
        classes: Vec::new(),
        instances_max: 1,
    });
    for source in policy.sources.values_mut() {
        source.drill = Some(DrillPolicy {
            schedule: Schedule::parse("0 6 10 1,4,7,10 *", jiff::tz::TimeZone::UTC).unwrap(),
            paths: vec![DrillPath::Snapshot],
            retry: RetryPolicy {
                initial_backoff: SignedDuration::from_mins(10),
                backoff_max: SignedDuration::from_hours(1),
                attempts_max: NonZeroU32::new(3).unwrap(),
            },
            completion_deadline: SignedDuration::from_hours(24),
            suspended: false,
            recovery_time_max: Some(SignedDuration::from_mins(30)),
            data_loss_max: None,
            fewer_rows_max_percent: None,
            assertions: Vec::new(),
        });
    }
    policy
}

/// Rules that keep the newest good one, as any do, and nothing else.
pub(crate) fn keep_nothing() -> RetentionPolicy {
    RetentionPolicy {
        keep_last: None,
        keep_hourly: None,
        keep_daily: None,
        keep_weekly: None,
        keep_monthly: None,
        keep_yearly: None,
        keep_within: None,
        min_keep: NonZeroU32::MIN,
        min_age: SignedDuration::ZERO,
        zone: jiff::tz::TimeZone::UTC,
    }
}

/// The region of everything that is not a copy.
pub(crate) fn region() -> RegionName {
    "us-east-1".parse().unwrap()
}

fn source(id: &str, databases: &[&str]) -> SourcePolicy {
    let settings = DumpSettings {
        engine: Engine::PgDump,
        compression_level: 3,
        jobs: 2,
        // A look each second would make simulated months slow.
        governor: GovernorLimits::default(),
        bandwidth_max: None,
        job_template: None,
    };
    let databases: Vec<_> = databases.iter().map(|database| database.parse().unwrap()).collect();
    let dumps = databases.iter().map(|database| {
        obligation(Task::Dump { database: Clone::clone(database), settings: settings.clone() }, "0 4 1 * *")
    });
    let obligations = std::iter::once(obligation(Task::Snapshot, "0 3 * * Sun")).chain(dumps).collect();
    SourcePolicy {
        drill: None,
        recover: RecoverPolicy::default(),
        id: id.parse().unwrap(),
        instance: format!("bank-{id}").parse().unwrap(),
        databases,
        dump_from: DumpFrom::Instance,
        automated_backup_days: None,
        dump_settings: Some(settings),
        obligations,
    }
}

fn obligation(task: Task, schedule: &str) -> Obligation {
    Obligation {
        task,
        schedule: schedule.parse().unwrap(),
        retry: RetryPolicy {
            initial_backoff: SignedDuration::from_mins(1),
            backoff_max: SignedDuration::from_hours(1),
            attempts_max: NonZeroU32::new(8).unwrap(),
        },
        start_deadline: None,
        completion_deadline: SignedDuration::from_hours(12),
        suspended: false,
        retention: Retention::KeepAll,
        replica_retention: Retention::KeepAll,
        copies: Vec::new(),
    }
}

/// Everything seen: each source has its instance, the snapshot of the 22nd, no dump, and a run and remains of none.
pub(crate) fn inventory(policy: &Policy) -> Inventory {
    let instances = policy.sources.values().map(instance).collect();
    let snapshots = policy.sources.values().map(|source| snapshot(policy, source, "2026-11-22T03:00:00Z")).collect();
    Inventory {
        taken_at: now(),
        instances: Ok(Complete::after_last_page(instances)),
        snapshots: Ok(Complete::after_last_page(snapshots)),
        stores: policy.sources.keys().map(|id| (id.clone(), Ok(store(Vec::new(), Vec::new(), Vec::new())))).collect(),
        pg_dump: Ok(Some(ToolVersion { major: 17, text: "pg_dump (PostgreSQL) 17.6".to_owned() })),
        copies: BTreeMap::new(),
        buckets: BTreeMap::new(),
        keys: Ok(BTreeMap::new()),
        account: AccountFacts::default(),
        logins: BTreeMap::new(),
        clock_skew: Some(SignedDuration::ZERO),
        retention_known_for: policy.sources.keys().map(|id| (id.clone(), SignedDuration::from_hours(24))).collect(),
        deleted_lately: 0,
        in_flight: BTreeSet::new(),
        drills_in_flight: BTreeSet::new(),
        in_drills: BTreeSet::new(),
    }
}

fn instance(source: &SourcePolicy) -> Instance {
    Instance {
        id: source.instance.clone(),
        resource: "db-ABC".parse().unwrap(),
        // Takes no snapshots and serves nobody, so that no plan of these tests starts a run by itself.
        status: "stopped".to_owned(),
        engine: "postgres".to_owned(),
        engine_version: "15.18".to_owned(),
        endpoint: None,
        latest_restorable_at: Some(at("2026-11-23T11:55:00Z")),
        automated_backup_days: 7,
        replica_of: None,
        storage_bytes: 100,
        kms_key: Some("own".to_owned()),
        protection: Protection { from_deletion: true, ..Protection::default() },
        tags: Tags::new(),
    }
}

/// The instance of a source, with all that a restore has to carry over.
pub(crate) fn instance_details() -> InstanceDetails {
    let policy = policy(&[("accounts", &["accounts"])]);
    let instance = inventory(&policy).instances.unwrap().iter().next().unwrap().clone();
    let setup = InstanceSetup {
        class: "db.m6g.xlarge".to_owned(),
        network: Network { subnet_group: Some("bank".to_owned()), security_groups: vec!["sg-1".to_owned()] },
        parameter_group: Some("bank-pg15".to_owned()),
        multi_az: true,
        is_public: false,
        iam_login: true,
        deletion_protection: true,
        automated_backup_days: 14,
        copies_tags_to_snapshots: true,
        minor_upgrades: false,
        ca: Some("rds-ca-rsa2048-g1".to_owned()),
        log_exports: vec!["postgresql".to_owned()],
        lifecycle_support: Some("open-source-rds-extended-support-disabled".to_owned()),
        storage_type: Some("io2".to_owned()),
        iops: Some(12_000),
        storage_throughput: None,
        tags: Tags::new(),
    };
    InstanceDetails {
        instance,
        setup,
        master_user: Some("master".to_owned()),
        not_restorable: vec!["Performance Insights".to_owned()],
    }
}

/// An available snapshot of ours, five minutes younger than its slot.
pub(crate) fn snapshot(policy: &Policy, source: &SourcePolicy, slot: &str) -> Snapshot {
    let run = RunId { slot: Slot::at(at(slot)), kind: Kind::Snapshot, database: None, attempt: 1 };
    let id = SnapshotId::for_slot(&policy.snapshot_prefix, &source.id, run.slot, 1);
    let resource = "db-ABC".parse().unwrap();
    Snapshot {
        tags: tags::for_snapshot(&policy.installation, &id, &source.id, &resource, &run),
        id,
        instance: source.instance.clone(),
        resource: Some(resource),
        status: "available".to_owned(),
        progress_percent: 100,
        created_at: Some(at(slot) + SignedDuration::from_mins(5)),
        stored_at: Some(at(slot) + SignedDuration::from_mins(5)),
        arn: None,
        copied_from: None,
        kms_key: None,
        storage_bytes: 100,
    }
}

pub(crate) fn store(dumps: Vec<RecoveryPoint>, runs: Vec<StoredRun>, remains: Vec<Remains>) -> SourceStore {
    SourceStore {
        dumps: Complete::after_last_page(dumps.into_iter().map(stored_dump).collect()),
        replica: None,
        prunes: Complete::after_last_page(Vec::new()),
        pins: Complete::after_last_page(Vec::new()),
        markers: Complete::after_last_page(Vec::new()),
        drills: Complete::after_last_page(Vec::new()),
        old_records: Complete::after_last_page(Vec::new()),
        runs: Complete::after_last_page(runs),
        remains: Complete::after_last_page(remains),
        uploads: Complete::after_last_page(Vec::new()),
        refused: None,
    }
}

/// A verification that found nothing wrong.
pub(crate) fn verified(level: Level, at: Timestamp) -> KnownVerification {
    KnownVerification { level, at, found: Found::Good, locked_until: None }
}

/// A dump that was verified at every level; nothing more is known of it but its recovery point.
pub(crate) fn stored_dump(point: RecoveryPoint) -> StoredDump {
    let database = point.database.clone().expect("a dump has a database");
    let dump = DumpId { source: point.source.clone(), database, slot: point.slot };
    StoredDump {
        manifest: ObjectVersion { key: Layout::new("strongroom").manifest(&dump), version_id: Some("m".to_owned()) },
        dump,
        etag: "e".to_owned(),
        manifest_refused: None,
        volume: None,
        whole: true,
        verifications: Level::ALL.map(|level| verified(level, at("2026-11-01T05:00:00Z"))).into(),
        other_plane_proven: false,
        replication: None,
        point,
    }
}

pub(crate) fn dump(source: &str, slot: &str, size_bytes: u64, state: PointState) -> RecoveryPoint {
    RecoveryPoint {
        id: format!("{source}/{source}/{}", Slot::at(at(slot))),
        source: source.parse().unwrap(),
        kind: Kind::Dump,
        database: Some(source.parse().unwrap()),
        resource: Some("db-ABC".parse().unwrap()),
        run: None,
        from_snapshot: None,
        slot: Slot::at(at(slot)),
        plane: Plane::Primary,
        region: region(),
        created_at: Some(at(slot)),
        stored_at: Some(at(slot)),
        verified_at: None,
        pin: None,
        locked_until: None,
        size_bytes,
        state,
    }
}

/// A dump run that a process on this host, living or dead, has recorded as running.
pub(crate) fn dump_run(source: &str, slot: &str, owner: OwnerState) -> StoredRun {
    let run = RunId { slot: Slot::at(at(slot)), kind: Kind::Dump, database: Some(source.parse().unwrap()), attempt: 1 };
    let process = ProcessIdentity { host: "pod-1".into(), pid_space: "b/1".into(), pid: 7, start_ticks: 9 };
    StoredRun {
        record: RunRecord::claim("bank-prod".parse().unwrap(), run, source.parse().unwrap(), process, at(slot)),
        etag: "e".to_owned(),
        owner,
        unchanged_for: SignedDuration::ZERO,
    }
}

/// A restore drill of the newest snapshot that took a quarter of an hour, and was passed.
pub(crate) fn passed_drill(source: &str) -> StoredDrill {
    let ordered_at = at("2026-10-10T06:00:00Z");
    let drill = DrillId { source: source.parse().unwrap(), slot: Slot::at(ordered_at), path: DrillPath::Snapshot };
    let reached = |phase, seconds| Reached { phase, at: ordered_at + SignedDuration::from_secs(seconds) };
    let record = DrillRecord {
        version: DRILL_RECORD_VERSION,
        installation: "bank-prod".parse().unwrap(),
        instance: LeaseId::for_drill("strongroom", &drill, 1),
        source: drill.source,
        slot: drill.slot,
        path: drill.path,
        attempt: 1,
        owner: ProcessIdentity { host: "pod-1".into(), pid_space: "b/1".into(), pid: 7, start_ticks: 9 },
        started_at: ordered_at,
        ordered_at: Some(ordered_at),
        lease_until: ordered_at,
        earlier_instances: Vec::new(),
        earlier_errors: Vec::new(),
        restored: Some(Restored {
            point: "strongroom-accounts-20261004t030000z".to_owned(),
            data_of: at("2026-10-04T03:05:00Z"),
            recoverable_to: at("2026-10-04T03:05:00Z"),
            class: "db.t3.large".to_owned(),
        }),
        phases: vec![reached(Phase::Accepted, 10), reached(Phase::Available, 300), reached(Phase::FullyRead, 900)],
        notes: Vec::new(),
        previous: None,
        state: DrillState::Passed { finished_at: at("2026-10-10T06:30:00Z"), tables: 3, rows: 9 },
    };
    StoredDrill { record, etag: "e".to_owned(), owner: OwnerState::Dead, unchanged_for: SignedDuration::ZERO }
}

pub(crate) fn remains(source: &str, slot: &str, size_bytes: u64) -> Remains {
    let slot = Slot::at(at(slot));
    let database = Some(source.parse().unwrap());
    Remains {
        dump: DumpId { source: source.parse().unwrap(), database: source.parse().unwrap(), slot },
        run: RunId { slot, kind: Kind::Dump, database, attempt: 1 },
        versions: Vec::new(),
        size_bytes,
        newest_at: Some(slot.instant()),
    }
}

/// Series of a rendered registry with their values; those of the process, which nobody can foresee, left out.
pub(crate) fn series(rendered: &str) -> BTreeMap<String, f64> {
    let lines = rendered.lines().filter(|line| !line.starts_with('#') && !line.starts_with("process_"));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}
