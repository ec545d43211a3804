//! Verification: which stored dumps are looked at again, and how deep.
//!
//! Each dump is asked for object by object (level 1) as soon as it stands, in each bucket; that is also the proof that a
//! replica is one. The newest dump of each database is read back whole (level 2) once.

use super::action::{Action, VerifyDump};
use crate::domain::inventory::{Inventory, StoredDump};
use crate::domain::recovery_point::{Plane, PointState};
use crate::domain::verification::Level;
use crate::policy::Policy;

/// Level 1 verifications that are planned in one round: each takes a request per object.
const L1_PER_ROUND: usize = 16;

pub(super) fn plan_verifications(policy: &Policy, inventory: &Inventory) -> Vec<Action> {
    let mut light = Vec::new();
    let mut deep = Vec::new();
    for source in policy.sources.values() {
        let Ok(store) = inventory.store(&source.id) else { continue };
        for stored in Plane::ALL.into_iter().filter_map(|plane| store.dumps_in(plane)).flatten() {
            if is_new(stored) {
                light.push(verify(stored, Level::L1));
            }
        }
        for database in &source.databases {
            let good = store.dumps.iter().filter(|stored| stored.dump.database == *database && stored.point.is_good());
            let newest = good.max_by_key(|stored| stored.dump.slot);
            deep.extend(
                newest.filter(|stored| !was_verified(stored, Level::L2)).map(|stored| verify(stored, Level::L2)),
            );
        }
    }
    light.truncate(L1_PER_ROUND);
    // As many as there are runs at once: each reads and decompresses as much as a dump writes.
    deep.truncate(policy.limits.concurrent_runs);
    light.append(&mut deep);
    light
}

/// Whether everything of a dump stands and nobody has asked for it yet.
fn is_new(stored: &StoredDump) -> bool {
    let counts = match (&stored.point.state, stored.point.plane) {
        (PointState::Good, _) | (PointState::Pending, Plane::Replica) => stored.whole,
        (PointState::Pending, Plane::Primary) | (PointState::Bad { .. } | PointState::Deleting, _) => false,
    };
    counts && stored.verifications.is_empty()
}

fn was_verified(stored: &StoredDump, level: Level) -> bool {
    stored.verifications.iter().any(|known| known.level >= level)
}

fn verify(stored: &StoredDump, level: Level) -> Action {
    Action::Verify(Box::new(VerifyDump { stored: stored.clone(), level }))
}

#[cfg(test)]
mod tests;
