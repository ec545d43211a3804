//! Records of runs, verifications and deletions that are older than evidence is kept, and tell of nothing that stands.
//!
//! They say how every backup came to be and to go, and the planner itself reads them: which attempts a slot has had, whose
//! remains an object is. So what has to be known before one goes is that nothing is left which it explains.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::sweep::VERSIONS_PER_SWEEP;
use crate::domain::id::{DatabaseName, Kind, RunId, Slot, SnapshotId, SourceId};
use crate::domain::inventory::{Inventory, OldRecord, RecordOf, Snapshot, SourceStore};
use crate::domain::key::DumpId;
use crate::domain::run::RunRecord;
use crate::domain::tags;
use crate::plan::action::{Action, Sweep, Swept};
use crate::plan::points::is_own;
use crate::policy::Policy;

/// The old records of each source that may go now, a thousand versions at a time. Where anything was not seen whole, all
/// stay.
pub(super) fn sweep(policy: &Policy, inventory: &Inventory, now: Timestamp) -> Vec<Action> {
    let Some(since) = policy.prune.evidence_since(now) else { return Vec::new() };
    let stores = inventory.stores.iter().filter_map(|(source, store)| Some((source, store.as_ref().ok()?)));
    let busy = stores.filter(|(_, store)| !store.old_records.is_empty());
    busy.filter_map(|(source, store)| of_source(policy, inventory, source, store, since)).collect()
}

fn of_source(
    policy: &Policy,
    inventory: &Inventory,
    source: &SourceId,
    store: &SourceStore,
    since: Timestamp,
) -> Option<Action> {
    let standing = Standing::of(policy, inventory, source, store)?;
    let (mut versions, mut last) = (Vec::new(), Vec::new());
    let is_old = |record: &&OldRecord| record.slot().instant() < since && record.written_at < since;
    for record in store.old_records.iter().filter(is_old).filter(|record| !standing.needs(record)) {
        let Some((newest, older)) = record.versions.split_first() else { continue };
        let room = VERSIONS_PER_SWEEP.saturating_sub(versions.len() + last.len());
        if older.len() < room {
            versions.extend(older.iter().cloned());
            last.push(newest.clone());
        } else {
            // The oldest of many, and the others another time.
            versions.extend(older.iter().rev().take(room).cloned());
            break;
        }
    }
    let (source, region) = (source.clone(), policy.region.clone());
    let goes = !versions.is_empty() || !last.is_empty();
    goes.then_some(Action::Sweep(Sweep { source, region, what: Swept::OldRecords, versions, last }))
}

/// What stands of a source, all of it seen, and what the planner decides by.
struct Standing<'a> {
    snapshots: BTreeSet<&'a SnapshotId>,
    /// Slots of our own snapshots, copies under other ids included.
    snapshot_slots: BTreeSet<Slot>,
    /// In either plane, good or bad, or on their way out.
    dumps: BTreeSet<&'a DumpId>,
    runs: BTreeMap<&'a RunId, &'a RunRecord>,
    /// The newest attempts of a task say what its next one is.
    newest: BTreeMap<(Kind, Option<&'a DatabaseName>), Slot>,
    /// Runs of which something is left.
    left: BTreeSet<&'a RunId>,
    uploads: Vec<&'a str>,
}

impl<'a> Standing<'a> {
    fn of(
        policy: &Policy,
        inventory: &'a Inventory,
        source: &SourceId,
        store: &'a SourceStore,
    ) -> Option<Standing<'a>> {
        let mut snapshots: Vec<&Snapshot> = inventory.snapshots.as_ref().ok()?.iter().collect();
        for copies in inventory.copies.values() {
            snapshots.extend(copies.as_ref().ok()?);
        }
        let mut dumps: BTreeSet<&DumpId> = store.dumps.iter().map(|stored| &stored.dump).collect();
        if let Some(replica) = &store.replica {
            dumps.extend(replica.as_ref().ok()?.dumps.iter().map(|stored| &stored.dump));
        }
        dumps.extend(store.prunes.iter().filter(|record| record.is_open()).map(|record| &record.dump));
        let runs: BTreeMap<&RunId, &RunRecord> =
            store.runs.iter().map(|stored| (&stored.record.run, &stored.record)).collect();
        let mut newest = BTreeMap::new();
        for run in runs.keys() {
            let slot = newest.entry((run.kind, run.database.as_ref())).or_insert(run.slot);
            *slot = run.slot.max(*slot);
        }
        let ours = |snapshot: &&&Snapshot| is_own(policy, source, snapshot);
        let slot = |snapshot: &&Snapshot| snapshot.tags.get(tags::SLOT)?.parse().ok();
        Some(Standing {
            snapshot_slots: snapshots.iter().filter(ours).filter_map(slot).collect(),
            snapshots: snapshots.iter().map(|snapshot| &snapshot.id).collect(),
            dumps,
            runs,
            newest,
            left: store.remains.iter().map(|remains| &remains.run).collect(),
            uploads: store.uploads.iter().map(|upload| upload.key.as_str()).collect(),
        })
    }

    /// Whether a record tells of something that is still there, or that the planner still decides by.
    fn needs(&self, record: &OldRecord) -> bool {
        match &record.of {
            RecordOf::Run(run) => self.needs_run(run),
            RecordOf::Deletion(dump, _) | RecordOf::Verification(dump, _) => self.dumps.contains(dump),
        }
    }

    fn needs_run(&self, run: &RunId) -> bool {
        let Some(record) = self.runs.get(run) else { return true };
        let made = match &run.database {
            None => {
                self.snapshot_slots.contains(&run.slot)
                    || record.snapshot.as_ref().is_none_or(|id| self.snapshots.contains(id))
            }
            Some(database) => {
                let dump = DumpId { source: record.source.clone(), database: database.clone(), slot: run.slot };
                self.dumps.contains(&dump)
            }
        };
        let directory = format!("/{run}/");
        let left = self.left.contains(run) || self.uploads.iter().any(|key| key.contains(&directory));
        let newest = self.newest.get(&(run.kind, run.database.as_ref()));
        made || left || newest.is_none_or(|newest| run.slot >= *newest)
    }
}
