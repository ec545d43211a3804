//! Whether anything at all is left to restore a source from: one answer for alerts, the status and the page.

use serde::Serialize;

use super::points::of_source;
use crate::domain::inventory::Inventory;
use crate::domain::recovery_point::RecoveryPoint;
use crate::policy::SourcePolicy;

/// Whether a source could be restored today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CanRestore {
    /// There is a good recovery point, or a point in time that RDS would restore.
    Yes,
    /// Everything was seen, and there is nothing.
    No,
    /// Nothing was seen, and not everything could be.
    Unknown,
}

/// Whether a source could be restored, by any path and in any region.
#[must_use]
pub fn can_restore(source: &SourcePolicy, inventory: &Inventory, points: &[RecoveryPoint]) -> CanRestore {
    let instance = inventory.instance(&source.instance).ok().flatten();
    let in_time = instance.is_some_and(|instance| instance.latest_restorable_at.is_some());
    if in_time || of_source(points, &source.id).iter().any(RecoveryPoint::is_good) {
        return CanRestore::Yes;
    }
    let store_is_seen = inventory
        .store(&source.id)
        .is_ok_and(|store| !matches!(store.replica, Some(Err(_))) && store.refused.is_none());
    let is_seen = inventory.instances.is_ok()
        && inventory.snapshots.is_ok()
        && inventory.copies.values().all(Result::is_ok)
        && store_is_seen;
    if is_seen { CanRestore::No } else { CanRestore::Unknown }
}
