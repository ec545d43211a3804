//! Recovery points of the configured sources in all planes, from what RDS and the buckets show.

use std::cmp::Reverse;

use crate::domain::drill::{DrillPath, DrillState};
use crate::domain::id::{Kind, RegionName, Slot, SourceId};
use crate::domain::inventory::{Inventory, Snapshot};
use crate::domain::recovery_point::{Plane, PointState, RecoveryPoint};
use crate::domain::tags;
use crate::policy::{Policy, SourcePolicy};

/// All recovery points that strongroom made for the configured sources, by kind, database and plane within each source,
/// newest slot first. Sections that could not be seen contribute nothing; [`super::Plan::unseen`] names them.
#[must_use]
pub fn recovery_points(policy: &Policy, inventory: &Inventory) -> Vec<RecoveryPoint> {
    let mut points = Vec::new();
    for source in policy.sources.values() {
        let mut own: Vec<RecoveryPoint> = snapshots(policy, source, inventory).collect();
        if let Ok(store) = inventory.store(&source.id) {
            for dumps in Plane::ALL.into_iter().filter_map(|plane| store.dumps_in(plane)) {
                own.extend(dumps.iter().map(|stored| stored.point.clone()));
            }
        }
        own.sort_by(|a, b| {
            let key = |point: &RecoveryPoint| (point.kind, point.plane, Reverse(point.slot));
            (a.kind, &a.database, key(a), &a.region, &a.id).cmp(&(b.kind, &b.database, key(b), &b.region, &b.id))
        });
        points.append(&mut own);
    }
    points
}

/// The recovery points of one source among all, which come source by source in the order of their names.
#[must_use]
pub fn of_source<'a>(points: &'a [RecoveryPoint], source: &SourceId) -> &'a [RecoveryPoint] {
    let start = points.partition_point(|point| point.source < *source);
    let from_it = points.get(start..).unwrap_or_default();
    let end = from_it.partition_point(|point| point.source == *source);
    from_it.get(..end).unwrap_or_default()
}

/// Snapshots of a source that are ours, in its region and in those of the copies.
fn snapshots<'a>(
    policy: &'a Policy,
    source: &'a SourcePolicy,
    inventory: &'a Inventory,
) -> impl Iterator<Item = RecoveryPoint> {
    let primary = inventory.snapshots.iter().map(|seen| (Plane::Primary, &policy.region, seen));
    let copies = inventory.copies.iter();
    let copies = copies.filter_map(|(region, seen)| Some((Plane::Replica, region, seen.as_ref().ok()?)));
    primary.chain(copies).flat_map(move |(plane, region, seen)| {
        seen.iter().filter_map(move |snapshot| own_snapshot(policy, source, inventory, (plane, region), snapshot))
    })
}

/// The snapshot as a recovery point, if it is an own one.
fn own_snapshot(
    policy: &Policy,
    source: &SourcePolicy,
    inventory: &Inventory,
    (plane, region): (Plane, &RegionName),
    snapshot: &Snapshot,
) -> Option<RecoveryPoint> {
    if !is_own(policy, &source.id, snapshot) {
        return None;
    }
    let slot: Slot = snapshot.tags.get(tags::SLOT)?.parse().ok()?;
    let pins = inventory.store(&source.id).ok().map(|store| &store.pins);
    let mut state = snapshot_state(snapshot);
    if state == PointState::Good
        && let Some(bad) = found_bad(inventory, source, snapshot)
    {
        state = bad;
    }
    Some(RecoveryPoint {
        id: snapshot.id.to_string(),
        source: source.id.clone(),
        kind: Kind::Snapshot,
        database: None,
        resource: snapshot.resource.clone(),
        slot,
        run: None,
        from_snapshot: None,
        plane,
        region: region.clone(),
        // RDS dates no snapshot that has failed; it is as old as what it was to fill, and counts as nothing anyway.
        created_at: snapshot.created_at.or_else(|| (snapshot.status == "failed").then(|| slot.instant())),
        stored_at: snapshot.stored_at,
        size_bytes: snapshot.storage_bytes,
        verified_at: None,
        pin: pins.and_then(|pins| pins.iter().find(|pin| pin.point == snapshot.id.as_str()).cloned()),
        locked_until: None,
        state,
    })
}

/// Whether a snapshot's marks prove that this installation made it for this source.
pub(super) fn is_own(policy: &Policy, source: &SourceId, snapshot: &Snapshot) -> bool {
    tags::prove_ownership(&snapshot.tags, &policy.installation, &snapshot.id)
        && snapshot.tags.get(tags::SOURCE).is_some_and(|tag| tag == source.as_str())
}

/// What the newest drill that restored a snapshot says of it, if that is nothing good.
fn found_bad(inventory: &Inventory, source: &SourcePolicy, snapshot: &Snapshot) -> Option<PointState> {
    let drills = inventory.store(&source.id).ok()?.drills.iter().map(|stored| &stored.record);
    let of_it = drills.filter(|record| {
        record.path == DrillPath::Snapshot
            && record.restored.as_ref().is_some_and(|restored| restored.point == snapshot.id.as_str())
    });
    let newest = of_it.filter(|record| record.state.is_verdict()).max_by_key(|record| record.state.finished_at())?;
    match &newest.state {
        DrillState::BackupBad { faults, .. } => {
            let first = faults.first().map_or("it says not what", String::as_str);
            Some(PointState::Bad { reason: format!("a restore drill found: {first}") })
        }
        DrillState::Running | DrillState::Passed { .. } | DrillState::Errored { .. } => None,
    }
}

/// An unknown status is neither success nor failure: it is waited for.
fn snapshot_state(snapshot: &Snapshot) -> PointState {
    match snapshot.status.as_str() {
        "available" if snapshot.created_at.is_some() => PointState::Good,
        "failed" => PointState::Bad { reason: "RDS reports that the snapshot failed".to_owned() },
        "deleting" | "deleted" => PointState::Deleting,
        _ => PointState::Pending,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::inventory::Complete;
    use crate::domain::pin::{PIN_VERSION, Pin};
    use crate::testing::{at, dump, inventory, now, policy as promises, snapshot};

    const SLOT: &str = "2026-11-22T03:00:00Z";
    const OLDER: &str = "2026-11-15T03:00:00Z";

    fn policy() -> Policy {
        promises(&[("accounts", &[])])
    }

    /// Own snapshots of these slots.
    fn snapshots(policy: &Policy, slots: &[&str]) -> Vec<Snapshot> {
        let source = policy.sources.values().next().unwrap();
        slots.iter().map(|slot| snapshot(policy, source, slot)).collect()
    }

    fn points(policy: &Policy, snapshots: Vec<Snapshot>) -> Vec<RecoveryPoint> {
        let mut inventory = inventory(policy);
        inventory.snapshots = Ok(Complete::after_last_page(snapshots));
        recovery_points(policy, &inventory)
    }

    fn failed() -> PointState {
        PointState::Bad { reason: "RDS reports that the snapshot failed".to_owned() }
    }

    #[rstest]
    #[case::available("available", Some(SLOT), PointState::Good, Some(SLOT))]
    #[case::available_and_not_dated_yet("available", None, PointState::Pending, None)]
    #[case::being_made("creating", None, PointState::Pending, None)]
    #[case::unheard_of("quantum-copying", Some(SLOT), PointState::Pending, Some(SLOT))]
    #[case::failed_and_never_dated_by_rds("failed", None, failed(), Some(SLOT))]
    #[case::being_deleted("deleting", Some(SLOT), PointState::Deleting, Some(SLOT))]
    fn only_an_available_snapshot_that_rds_has_dated_is_good(
        #[case] status: &str,
        #[case] dated: Option<&str>,
        #[case] state: PointState,
        #[case] moment: Option<&str>,
    ) {
        let policy = policy();
        let mut own = snapshots(&policy, &[SLOT]);
        (own[0].status, own[0].created_at) = (status.to_owned(), dated.map(at));
        let [point] = &points(&policy, own)[..] else { panic!("one snapshot is one point") };
        assert_eq!((&point.state, point.created_at), (&state, moment.map(at)));
    }

    #[test]
    fn a_pin_is_of_the_snapshot_that_it_names_and_of_no_other() {
        let policy = policy();
        let own = snapshots(&policy, &[SLOT, OLDER]);
        let pin = Pin { version: PIN_VERSION, point: own[1].id.to_string(), reason: None, pinned_at: now() };
        let mut inventory = inventory(&policy);
        inventory.snapshots = Ok(Complete::after_last_page(own));
        for store in inventory.stores.values_mut().flatten() {
            store.pins = Complete::after_last_page(vec![pin.clone()]);
        }
        let pins: Vec<_> = recovery_points(&policy, &inventory).into_iter().map(|point| point.pin).collect();
        assert_eq!(pins, [None, Some(pin)]);
    }

    #[test]
    fn the_points_of_a_source_are_all_of_its_own_and_none_of_its_neighbours() {
        let of = |source: &str| [SLOT, OLDER].map(|slot| dump(source, slot, 100, PointState::Good));
        let all = [of("accounts"), of("cards"), of("loans")].concat();
        for source in ["accounts", "cards", "loans"] {
            assert_eq!(of_source(&all, &source.parse().unwrap()), of(source));
        }
        assert!(of_source(&all, &"bonds".parse().unwrap()).is_empty());
    }
}
