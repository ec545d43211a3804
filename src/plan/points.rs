//! Recovery points of the configured sources, from what RDS and the store show.

use std::cmp::Reverse;

use crate::domain::id::{InstallationId, Kind, Slot};
use crate::domain::inventory::{Inventory, Snapshot};
use crate::domain::recovery_point::{Plane, PointState, RecoveryPoint};
use crate::domain::tags;
use crate::policy::{Policy, SourcePolicy};

/// All recovery points that strongroom made for the configured sources, by kind and database within each source,
/// newest slot first. Sections
/// that could not be seen contribute nothing; [`super::Plan::unseen`] names them.
#[must_use]
pub fn recovery_points(policy: &Policy, inventory: &Inventory) -> Vec<RecoveryPoint> {
    let mut points = Vec::new();
    for source in policy.sources.values() {
        let start = points.len();
        if let Ok(snapshots) = &inventory.snapshots {
            points.extend(snapshots.iter().filter_map(|snapshot| own_snapshot(&policy.installation, source, snapshot)));
        }
        if let Ok(store) = inventory.store(&source.id) {
            points.extend(store.dumps.iter().cloned());
        }
        if let Some(own) = points.get_mut(start..) {
            own.sort_by_key(|point| (point.kind, point.database.clone(), Reverse(point.slot)));
        }
    }
    points
}

/// The snapshot as a recovery point, if its marks prove that this installation made it for this source.
fn own_snapshot(installation: &InstallationId, source: &SourcePolicy, snapshot: &Snapshot) -> Option<RecoveryPoint> {
    let of_source = snapshot.tags.get(tags::SOURCE).is_some_and(|tag| tag == source.id.as_str());
    if !of_source || !tags::prove_ownership(&snapshot.tags, installation, &snapshot.id) {
        return None;
    }
    let slot: Slot = snapshot.tags.get(tags::SLOT)?.parse().ok()?;
    Some(RecoveryPoint {
        id: snapshot.id.to_string(),
        source: source.id.clone(),
        kind: Kind::Snapshot,
        database: None,
        resource: snapshot.resource.clone(),
        slot,
        run: None,
        plane: Plane::Primary,
        created_at: snapshot.created_at,
        size_bytes: snapshot.storage_bytes,
        state: snapshot_state(snapshot),
    })
}

/// An unknown status is neither success nor failure: it is waited for.
fn snapshot_state(snapshot: &Snapshot) -> PointState {
    match snapshot.status.as_str() {
        "available" if snapshot.created_at.is_some() => PointState::Good,
        "failed" => PointState::Bad { reason: "RDS reports that the snapshot failed".to_owned() },
        "deleting" | "deleted" => PointState::Bad { reason: "it is being deleted".to_owned() },
        _ => PointState::Pending,
    }
}
