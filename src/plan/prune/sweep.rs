//! What no backup needs: deletions that were begun, objects of runs without a manifest, delete markers that hide nothing.

use jiff::{SignedDuration, Timestamp};

use crate::domain::inventory::{DeleteMarker, Inventory, SourceStore};
use crate::domain::run::RunState;
use crate::plan::action::{Action, DeleteDump, Sweep, Swept, Warrant};
use crate::policy::Policy;
use crate::policy::finding::{Check, Finding, Severity};

/// Object versions that one sweep deletes: one request's worth, and the next look finds the rest.
pub(super) const VERSIONS_PER_SWEEP: usize = 1000;
/// Sweeps that begin in one round.
const SWEEPS_PER_ROUND: usize = 4;

/// Deletions that were begun are seen through, whatever the policy says by now: what they name is no backup any more.
pub(super) fn resume(inventory: &Inventory) -> Vec<Action> {
    let stores = inventory.stores.values().flatten();
    let open = stores.flat_map(|store| &store.prunes).filter(|record| record.is_open());
    open.map(|record| Action::DeleteDump(Box::new(DeleteDump { warrant: Warrant::Begun(record.clone()) }))).collect()
}

/// What may be swept now, after its grace.
pub(super) fn sweep(policy: &Policy, inventory: &Inventory, now: Timestamp) -> Vec<Action> {
    let over = |at: Option<Timestamp>| at.is_some_and(|at| now.duration_since(at) > policy.prune.orphan_grace);
    let mut actions = Vec::new();
    for (source, store) in &inventory.stores {
        let Ok(store) = store else { continue };
        // A run whose record is not shown need not have ended.
        if store.refused.is_some() {
            continue;
        }
        for remains in store.remains.iter().filter(|remains| over(remains.newest_at)) {
            if !ended_before_grace(store, &remains.run, policy.prune.orphan_grace, now) {
                continue;
            }
            actions.push(Action::Sweep(Sweep {
                source: source.clone(),
                region: policy.region.clone(),
                what: Swept::RemainsOf(remains.run.clone()),
                versions: remains.versions.iter().take(VERSIONS_PER_SWEEP).cloned().collect(),
                last: Vec::new(),
            }));
        }
        let idle = |marker: &&DeleteMarker| !marker.hides && over(marker.set_at);
        let markers: Vec<_> =
            store.markers.iter().filter(idle).map(|own| own.marker.clone()).take(VERSIONS_PER_SWEEP).collect();
        if !markers.is_empty() {
            actions.push(Action::Sweep(Sweep {
                source: source.clone(),
                region: policy.region.clone(),
                what: Swept::Markers,
                versions: markers,
                last: Vec::new(),
            }));
        }
    }
    actions.truncate(SWEEPS_PER_ROUND);
    actions
}

/// Whether our own record says that the run ended without success, long enough ago. Objects without a record of ours are
/// nobody's that we know, and stay.
fn ended_before_grace(
    store: &SourceStore,
    run: &crate::domain::id::RunId,
    grace: SignedDuration,
    now: Timestamp,
) -> bool {
    store.runs.iter().any(|stored| {
        let record = &stored.record;
        let without_success = match &record.state {
            RunState::Failed { .. } | RunState::Cancelled { .. } | RunState::Abandoned { .. } => true,
            RunState::Running | RunState::Succeeded { .. } => false,
        };
        let ended_at = record.state.finished_at();
        record.run == *run && without_success && ended_at.is_some_and(|at| now.duration_since(at) > grace)
    })
}

/// Dumps that somebody has deleted without naming a version: everything of them is still there.
pub(super) fn hidden(inventory: &Inventory) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (source, store) in &inventory.stores {
        let Ok(store) = store else { continue };
        for marker in store.markers.iter().filter(|marker| marker.hides) {
            let version = marker.marker.version_id.as_deref().unwrap_or("null");
            findings.push(Finding {
                severity: Severity::Warning,
                check: Check::DumpHidden,
                source: Some(source.clone()),
                text: format!(
                    "{} was deleted by somebody, but only hidden: delete its marker, version {version}, to have it back",
                    marker.marker.key
                ),
            });
        }
    }
    findings
}
