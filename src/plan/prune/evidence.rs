//! Records of runs, verifications and deletions that are older than evidence is kept, and tell of nothing that stands.
//!
//! They say how every backup came to be and to go, and the planner itself reads them: which attempts a slot has had, whose
//! remains an object is. So what has to be known before one goes is that nothing is left which it explains.

use super::sweep::VERSIONS_PER_SWEEP;
use crate::domain::id::{RunId, SnapshotId, SourceId};
use crate::domain::inventory::{Inventory, OldRecord, RecordOf, SourceStore};
use crate::domain::key::DumpId;
use crate::plan::action::{Action, Sweep, Swept};
use crate::policy::Policy;

/// The old records of each source that may go now, a thousand versions at a time. Where anything was not seen whole, all
/// stay.
pub(super) fn sweep(policy: &Policy, inventory: &Inventory) -> Vec<Action> {
    let sources = inventory.stores.iter();
    sources.filter_map(|(source, store)| of_source(policy, inventory, source, store.as_ref().ok()?)).collect()
}

fn of_source(policy: &Policy, inventory: &Inventory, source: &SourceId, store: &SourceStore) -> Option<Action> {
    let standing = Standing::of(inventory, store)?;
    let mut versions = Vec::new();
    for record in store.old_records.iter().filter(|record| !standing.needs(record)) {
        if versions.len() + record.versions.len() > VERSIONS_PER_SWEEP {
            break;
        }
        versions.extend(record.versions.iter().cloned());
    }
    (!versions.is_empty()).then(|| {
        Action::Sweep(Sweep {
            source: source.clone(),
            region: policy.region.clone(),
            what: Swept::OldRecords,
            versions,
        })
    })
}

/// What stands of a source, all of it seen.
struct Standing<'a> {
    inventory: &'a Inventory,
    store: &'a SourceStore,
}

impl<'a> Standing<'a> {
    fn of(inventory: &'a Inventory, store: &'a SourceStore) -> Option<Standing<'a>> {
        let snapshots = inventory.snapshots.is_ok() && inventory.copies.values().all(Result::is_ok);
        let dumps = store.replica.as_ref().is_none_or(Result::is_ok);
        (snapshots && dumps).then_some(Standing { inventory, store })
    }

    /// Whether a record tells of something that is still there, or that the planner still decides by.
    fn needs(&self, record: &OldRecord) -> bool {
        match &record.of {
            RecordOf::Run(run) => self.needs_run(run),
            RecordOf::Deletion(dump, _) | RecordOf::Verification(dump, _) => self.has_dump(dump),
        }
    }

    fn needs_run(&self, run: &RunId) -> bool {
        let of_task = |other: &RunId| other.kind == run.kind && other.database == run.database;
        let runs = || self.store.runs.iter().map(|stored| &stored.record);
        // The newest attempts of a task say what its next one is.
        let newest = runs().filter(|record| of_task(&record.run)).map(|record| record.run.slot).max();
        let Some(record) = runs().find(|record| record.run == *run) else { return true };
        let made = match &run.database {
            None => record.snapshot.as_ref().is_none_or(|id| self.has_snapshot(id)),
            Some(database) => {
                self.has_dump(&DumpId { source: record.source.clone(), database: database.clone(), slot: run.slot })
            }
        };
        let directory = format!("/{run}/");
        let left = self.store.remains.iter().any(|remains| remains.run == *run)
            || self.store.uploads.iter().any(|upload| upload.key.as_str().contains(&directory));
        newest.is_none_or(|newest| run.slot >= newest) || made || left
    }

    fn has_snapshot(&self, id: &SnapshotId) -> bool {
        let primary = self.inventory.snapshots.iter();
        let copies = self.inventory.copies.values().flatten();
        primary.chain(copies).flatten().any(|snapshot| snapshot.id == *id)
    }

    /// In either plane, good or bad, or on its way out.
    fn has_dump(&self, dump: &DumpId) -> bool {
        let replica = self.store.replica.iter().flatten().flat_map(|replica| &replica.dumps);
        self.store.dumps.iter().chain(replica).any(|stored| stored.dump == *dump)
            || self.store.prunes.iter().any(|record| record.is_open() && record.dump == *dump)
    }
}
