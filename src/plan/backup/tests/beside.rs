//! Slots whose key is taken.

use super::*;
use crate::domain::recovery_point::Plane;

#[test]
fn a_slot_whose_manifest_is_bad_or_of_a_former_instance_is_filled_beside_it() {
    let mut world = World::new();
    let bad = PointState::Bad { reason: "an object is missing".to_owned() };
    world.dumps = vec![dump("accounts", "2026-11-01T04:00:00Z", 10, bad)];
    assert!(world.reason(NOON, Kind::Dump).ends_with("20261101t040001z-dump-accounts-1"), "manifests stay as they are");
    world.dumps.push(dump("accounts", "2026-11-01T04:00:01Z", 10, PointState::Good));
    assert_eq!(world.reason(NOON, Kind::Dump), "slot 20261101t040000z is filled");
}

/// What was pruned here, or lost, may stand there under the very key that the new one would have.
#[test]
fn a_slot_whose_manifest_stands_in_the_replica_bucket_is_filled_beside_it() {
    let beside = "20261101t040001z-dump-accounts-1";
    let mut world = World::new();
    let replica =
        RecoveryPoint { plane: Plane::Replica, ..dump("accounts", "2026-11-01T04:00:00Z", 10, PointState::Good) };
    world.replica = Some(Ok(vec![replica]));
    assert!(world.reason(NOON, Kind::Dump).ends_with(beside), "{}", world.reason(NOON, Kind::Dump));
    // Where nobody sees it, the record of the run tells.
    world.replica = Some(Err(Unseen("AccessDenied".to_owned())));
    assert!(world.reason(NOON, Kind::Dump).ends_with("20261101t040000z-dump-accounts-1"), "there never was one");
    let mut run = dump_run("accounts", "2026-11-01T04:00:00Z", OwnerState::Dead);
    run.record.state = RunState::Succeeded { finished_at: at("2026-11-01T04:10:00Z"), size_bytes: 10 };
    world.runs = vec![run];
    assert!(world.reason(NOON, Kind::Dump).ends_with(beside), "{}", world.reason(NOON, Kind::Dump));
}
