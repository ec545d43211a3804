//! What is seen of the fleet: half a year of weekly snapshots, a year of monthly dumps, a year of quarterly drills.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use strongroom::domain::account::AccountFacts;
use strongroom::domain::drill::{DRILL_RECORD_VERSION, DrillPath, DrillRecord, DrillState, Phase, Reached, Restored};
use strongroom::domain::drill::{DrillId, StoredDrill};
use strongroom::domain::id::{Kind, RunId, Slot, SnapshotId};
use strongroom::domain::inventory::Found;
use strongroom::domain::inventory::{
    Complete, Endpoint, Instance, Inventory, KnownVerification, Protection, ReplicaStore, Snapshot, SourceStore,
    StoredDump, StoredRun, ToolVersion,
};
use strongroom::domain::key::{DumpId, Layout};
use strongroom::domain::lease::LeaseId;
use strongroom::domain::prune_record::ObjectVersion;
use strongroom::domain::recovery_point::{Plane, PointState, RecoveryPoint};
use strongroom::domain::run::{Failure, OwnerState, ProcessIdentity, RunRecord, RunState};
use strongroom::domain::tags;
use strongroom::domain::verification::Level;
use strongroom::policy::{Obligation, Policy, SourcePolicy};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const GIB: u64 = 1 << 30;

/// What goes wrong with a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// Its newest snapshot failed, as did each attempt since.
    Failing,
    /// Its newest dump was found bad.
    BadDump,
    /// Its instance is gone.
    Lost,
    /// A slot in the past was never tried.
    Gap,
}

impl Trouble {
    fn of(index: usize, every: usize) -> Trouble {
        let Some(number) = index.checked_div(every).filter(|_| index.checked_rem(every) == Some(0)) else {
            return Trouble::None;
        };
        [Trouble::Failing, Trouble::BadDump, Trouble::Lost, Trouble::Gap][number % 4]
    }
}

/// The name of a source.
pub(super) fn name(index: usize) -> String {
    let what = ["accounts", "cards", "ledger", "loans", "payments", "savings"];
    format!("{}-{:04}", what[index % what.len()], index)
}

/// One round's look at all of it.
pub(super) fn inventory(policy: &Policy, troubled: usize, now: Timestamp) -> anyhow::Result<Inventory> {
    let (mut instances, mut snapshots, mut stores) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (index, source) in policy.sources.values().enumerate() {
        let look = Look { policy, source, index, trouble: Trouble::of(index, troubled), now };
        if look.trouble != Trouble::Lost {
            instances.push(look.instance()?);
        }
        let (made, store) = look.store()?;
        snapshots.extend(made);
        stores.insert(source.id.clone(), Ok(store));
    }
    Ok(Inventory {
        logins: BTreeMap::new(),
        taken_at: now,
        instances: Ok(Complete::after_last_page(instances)),
        snapshots: Ok(Complete::after_last_page(snapshots)),
        copies: BTreeMap::new(),
        stores,
        pg_dump: Ok(Some(ToolVersion { major: 17, text: "pg_dump (PostgreSQL) 17.6".to_owned() })),
        buckets: BTreeMap::new(),
        keys: Ok(BTreeMap::new()),
        account: AccountFacts::default(),
        clock_skew: Some(SignedDuration::ZERO),
        retention_known_for: policy.sources.keys().map(|id| (id.clone(), SignedDuration::from_hours(24))).collect(),
        deleted_lately: 0,
        in_flight: BTreeSet::new(),
        drills_in_flight: BTreeSet::new(),
        in_drills: BTreeSet::new(),
    })
}

/// One source.
struct Look<'a> {
    policy: &'a Policy,
    source: &'a SourcePolicy,
    index: usize,
    trouble: Trouble,
    now: Timestamp,
}

impl Look<'_> {
    fn owed(&self, kind: Kind) -> anyhow::Result<&Obligation> {
        self.source.obligations.iter().find(|own| own.task.kind() == kind).context("the policy owes both kinds")
    }

    fn resource(&self) -> anyhow::Result<strongroom::domain::id::ResourceId> {
        Ok(format!("db-{:04}", self.index).parse()?)
    }

    fn instance(&self) -> anyhow::Result<Instance> {
        Ok(Instance {
            id: self.source.instance.clone(),
            resource: self.resource()?,
            status: if self.trouble == Trouble::Failing { "storage-full" } else { "available" }.to_owned(),
            engine: "postgres".to_owned(),
            engine_version: "15.18".to_owned(),
            endpoint: Some(Endpoint { host: "db.example".to_owned(), port: 5432 }),
            latest_restorable_at: Some(self.now - MINUTE * 4),
            automated_backup_days: 14,
            replica_of: None,
            storage_bytes: 200 * GIB,
            kms_key: Some("arn:aws:kms:us-east-1:111122223333:key/bank".to_owned()),
            protection: Protection { from_deletion: true, ..Protection::default() },
            tags: tags::Tags::new(),
        })
    }

    /// Its snapshots, and what the buckets hold for it.
    fn store(&self) -> anyhow::Result<(Vec<Snapshot>, SourceStore)> {
        let (mut snapshots, mut runs, mut dumps, mut replica) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let weekly = self.owed(Kind::Snapshot)?.schedule.slots_until(self.now, 26);
        for (age, slot) in weekly.iter().rev().enumerate() {
            let is_bad = self.trouble == Trouble::Failing && age < 2;
            match self.run(Kind::Snapshot, *slot, is_bad)? {
                // The third month of it is a gap.
                _ if self.trouble == Trouble::Gap && (age == 0 || age == 3) => {}
                run => {
                    // Eight are kept.
                    if age < 8 && !is_bad {
                        snapshots.push(self.snapshot(*slot, &run)?);
                    }
                    runs.push(run);
                }
            }
        }
        let monthly = self.owed(Kind::Dump)?.schedule.slots_until(self.now, 12);
        for (age, slot) in monthly.iter().rev().enumerate() {
            let run = self.run(Kind::Dump, *slot, false)?;
            let is_bad = self.trouble == Trouble::BadDump && age == 0;
            dumps.push(self.dump(*slot, &run, age, Plane::Primary, is_bad)?);
            replica.push(self.dump(*slot, &run, age, Plane::Replica, false)?);
            runs.push(run);
        }
        if self.index % 97 == 3 {
            // Somebody has asked for another dump.
            let began_at = self.now - MINUTE * 25;
            let mut run = self.run(Kind::Dump, Slot::at(began_at), false)?;
            (run.record.started_at, run.record.state) = (began_at, RunState::Running);
            runs.push(run);
        }
        let store = SourceStore {
            dumps: Complete::after_last_page(dumps),
            replica: Some(Ok(ReplicaStore { dumps: Complete::after_last_page(replica) })),
            prunes: Complete::after_last_page(Vec::new()),
            pins: Complete::after_last_page(Vec::new()),
            markers: Complete::after_last_page(Vec::new()),
            runs: Complete::after_last_page(runs),
            drills: Complete::after_last_page(self.drills()?),
            remains: Complete::after_last_page(Vec::new()),
            uploads: Complete::after_last_page(Vec::new()),
            old_records: Complete::after_last_page(Vec::new()),
            refused: None,
        };
        Ok((snapshots, store))
    }

    fn run(&self, kind: Kind, slot: Slot, fails: bool) -> anyhow::Result<StoredRun> {
        let database = (kind == Kind::Dump).then(|| self.source.databases.first().cloned()).flatten();
        let run = RunId { slot, kind, database, attempt: 1 };
        let began_at = slot.instant() + MINUTE;
        let finished_at = slot.instant() + MINUTE * 31;
        let message = "the instance has no storage left".to_owned();
        let state = match fails {
            true => {
                RunState::Failed { finished_at, failure: Failure { message, rds_events: Vec::new(), stopped_by: None } }
            }
            false => RunState::Succeeded { finished_at, size_bytes: GIB },
        };
        let record =
            RunRecord::claim(self.policy.installation.clone(), run, self.source.id.clone(), process(), began_at);
        Ok(StoredRun {
            record: record.closed(state),
            etag: "e".to_owned(),
            owner: OwnerState::Alive,
            unchanged_for: SignedDuration::ZERO,
        })
    }

    fn snapshot(&self, slot: Slot, run: &StoredRun) -> anyhow::Result<Snapshot> {
        let id = SnapshotId::for_slot(&self.policy.snapshot_prefix, &self.source.id, slot, 1);
        let resource = self.resource()?;
        let created_at = Some(slot.instant() + MINUTE * 5);
        Ok(Snapshot {
            tags: tags::for_snapshot(&self.policy.installation, &id, &self.source.id, &resource, &run.record.run),
            id,
            instance: self.source.instance.clone(),
            resource: Some(resource),
            status: "available".to_owned(),
            progress_percent: 100,
            created_at,
            stored_at: created_at,
            arn: None,
            copied_from: None,
            kms_key: None,
            storage_bytes: 200 * GIB,
        })
    }

    /// Each dump is a little larger than the one before.
    fn dump(&self, slot: Slot, run: &StoredRun, age: usize, plane: Plane, is_bad: bool) -> anyhow::Result<StoredDump> {
        let database = self.source.databases.first().cloned().context("there is a database")?;
        let dump = DumpId { source: self.source.id.clone(), database: database.clone(), slot };
        let region = match plane {
            Plane::Primary => self.policy.region.clone(),
            Plane::Replica => "us-west-2".parse()?,
        };
        // Each is read back again every few weeks.
        let days = i32::try_from(age % 6)?;
        let read_at = (self.now - MINUTE * 60 * 24 * days - MINUTE * 45).max(slot.instant() + MINUTE * 90);
        let of_level = |level| KnownVerification { level, at: read_at, found: Found::Good, locked_until: None };
        let reason = "object 4012.dat.zst: its bytes are not those that were stored".to_owned();
        let age = u64::try_from(age)?;
        let point = RecoveryPoint {
            id: format!("{}/{database}/{slot}", self.source.id),
            source: self.source.id.clone(),
            kind: Kind::Dump,
            database: Some(database),
            resource: Some(self.resource()?),
            slot,
            run: Some(run.record.run.clone()),
            plane,
            region,
            created_at: Some(slot.instant() + MINUTE * 2),
            stored_at: Some(slot.instant() + MINUTE * 31),
            from_snapshot: None,
            size_bytes: (40 + u64::try_from(self.index % 7)?) * GIB - age * GIB - (age % 3) * (GIB / 2),
            verified_at: Some(read_at),
            pin: None,
            locked_until: None,
            state: if is_bad { PointState::Bad { reason } } else { PointState::Good },
        };
        Ok(StoredDump {
            volume: None,
            manifest: ObjectVersion {
                key: Layout::new("strongroom").manifest(&dump),
                version_id: Some("m".to_owned()),
            },
            dump,
            etag: "e".to_owned(),
            manifest_refused: None,
            whole: true,
            verifications: Level::ALL.map(of_level).into(),
            other_plane_proven: true,
            replication: None,
            point,
        })
    }

    fn drills(&self) -> anyhow::Result<Vec<StoredDrill>> {
        let wanted = self.source.drill.as_ref().context("the policy has drills")?;
        let mut drills = Vec::new();
        for (age, slot) in wanted.schedule.slots_until(self.now, 4).iter().rev().enumerate() {
            for path in DrillPath::ALL {
                let drill = DrillId { source: self.source.id.clone(), slot: *slot, path };
                drills.push(self.drill(&drill, i32::try_from(age)?)?);
            }
        }
        Ok(drills)
    }

    /// A restore from dumps takes longer, and each was a little faster before.
    fn drill(&self, drill: &DrillId, age: i32) -> anyhow::Result<StoredDrill> {
        let started_at = drill.slot.instant();
        let slow = if drill.path == DrillPath::Dump { 3 } else { 1 };
        let minutes = [1, 12 - age, 2, 18 * slow - age, 3, 6];
        let mut at = started_at;
        let phases = Phase::ALL.into_iter().zip(minutes).map(|(phase, minutes)| {
            at += MINUTE * minutes;
            Reached { phase, at }
        });
        let phases: Vec<Reached> = phases.collect();
        let finished_at = phases.last().map_or(started_at, |reached| reached.at);
        let lost = if drill.path == DrillPath::Pitr { MINUTE * 4 } else { MINUTE * 60 * 24 };
        let record = DrillRecord {
            version: DRILL_RECORD_VERSION,
            installation: self.policy.installation.clone(),
            source: drill.source.clone(),
            slot: drill.slot,
            path: drill.path,
            attempt: 1,
            owner: process(),
            started_at,
            ordered_at: Some(started_at),
            lease_until: started_at,
            instance: LeaseId::for_drill(&self.policy.snapshot_prefix, drill, 1),
            earlier_instances: Vec::new(),
            earlier_errors: Vec::new(),
            restored: Some(Restored {
                point: "the newest".to_owned(),
                data_of: started_at - lost,
                recoverable_to: started_at - lost,
                class: "db.r6g.large".to_owned(),
            }),
            phases,
            notes: Vec::new(),
            previous: None,
            state: DrillState::Passed { finished_at, tables: 120, rows: 48_000_000 },
        };
        Ok(StoredDrill { record, etag: "e".to_owned(), owner: OwnerState::Alive, unchanged_for: SignedDuration::ZERO })
    }
}

fn process() -> ProcessIdentity {
    ProcessIdentity { host: "strongroom-0".to_owned(), pid_space: "b/1".to_owned(), pid: 7, start_ticks: 9 }
}
