//! Whether a slot is filled, due, missed, or to be tried again.

use super::*;

const SLOT: &str = "2026-11-22T03:00:00Z";
const FIRST: &str = "2026-11-01T04:00:00Z";

/// All slots are filled.
fn filled() -> World {
    let mut world = World::new();
    world.snapshots(vec![world.own_snapshot(SLOT)]);
    world.dumps = vec![dump("accounts", FIRST, 10, PointState::Good)];
    world
}

fn succeeded(stored: StoredRun) -> StoredRun {
    let mut stored = stored;
    stored.record.state = RunState::Succeeded { finished_at: at("2026-11-23T11:59:00Z"), size_bytes: 1 };
    stored
}

#[test]
fn the_daemon_wakes_when_the_next_slot_comes_due_by_the_clock_of_aws() {
    let mut world = filled();
    world.policy.cadence.reconcile_interval = SignedDuration::from_hours(30 * 24);
    assert_eq!(world.plan(NOON).wake_at, at("2026-11-29T03:00:00Z"));
    // Ours is ahead.
    world.inventory.clock_skew = Some(SignedDuration::from_mins(-6));
    assert_eq!(world.plan(NOON).wake_at, at("2026-11-29T03:06:00Z"));
}

#[test]
fn what_is_switched_off_is_not_said_to_be_in_trouble() {
    let mut world = filled();
    world.instances(|instance| instance.engine = "mysql".to_owned());
    let trouble = |world: &World| -> Vec<bool> {
        world.plan(NOON).decisions.iter().map(|decision| decision.reason.is_trouble()).collect()
    };
    assert_eq!(trouble(&world), [true, true], "the next slots will be refused");
    world.policy.sources.values_mut().flat_map(|own| &mut own.obligations).for_each(|own| own.suspended = true);
    assert_eq!(trouble(&world), [false, false]);
}

#[test]
fn what_is_switched_off_says_so_also_while_its_latest_slot_is_filled() {
    let mut world = filled();
    world.policy.sources.values_mut().flat_map(|own| &mut own.obligations).for_each(|own| own.suspended = true);
    for decision in world.plan(NOON).decisions {
        assert_eq!(decision.reason, Reason::Suspended);
        assert_eq!(decision.freshness.next_due_at, None, "nothing will start then");
        assert!(decision.freshness.newest_at.is_some() && !decision.freshness.overdue);
    }
}

#[test]
fn a_dump_of_one_database_fills_no_slot_of_another() {
    let mut world = World::of(&[("accounts", &["accounts", "audit"])]);
    world.dumps = vec![dump("accounts", FIRST, 10, PointState::Good)];
    let plan = world.plan(NOON);
    let reasons: Vec<String> = plan.decisions.iter().map(ToString::to_string).collect();
    let expected = [
        "accounts dump of accounts: slot 20261101t040000z is filled",
        "accounts dump of audit: starts now as run 20261101t040000z-dump-audit-1",
    ];
    assert_eq!(reasons[1..], expected);
}

#[test]
fn a_run_may_start_until_the_last_second_of_its_start_deadline() {
    let mut world = filled();
    world.snapshots(Vec::new());
    for obligation in &mut world.policy.sources.values_mut().next().unwrap().obligations {
        obligation.start_deadline = Some(SignedDuration::from_hours(6));
    }
    assert!(world.reason("2026-11-22T09:00:00Z", Kind::Snapshot).starts_with("starts now"));
    assert!(world.reason("2026-11-22T09:00:01Z", Kind::Snapshot).contains("was missed"));
}

/// Their numbers would not fit into the ids of snapshots.
#[test]
fn a_slot_has_no_more_than_999_attempts() {
    let mut world = World::new();
    world.runs = vec![failed(FIRST, 998, "2026-11-22T00:00:00Z")];
    assert!(world.reason(NOON, Kind::Dump).ends_with("20261101t040000z-dump-accounts-999"));
    world.runs = vec![failed(FIRST, 999, "2026-11-22T00:00:00Z")];
    assert_eq!(world.reason(NOON, Kind::Dump), "undecided: slot 20261101t040000z has had 999 attempts");
}

#[test]
fn a_snapshot_that_has_just_succeeded_is_made_again_only_when_it_is_listed_and_not_good() {
    let mut world = filled();
    world.runs = vec![succeeded(world.snapshot_run(SLOT, OwnerState::Alive))];
    let another = world.own_snapshot("2026-11-15T03:00:00Z");
    world.snapshots(vec![another.clone()]);
    assert!(world.reason(NOON, Kind::Snapshot).contains("not listed yet"), "another one is");
    let own = Snapshot { status: "deleting".to_owned(), ..world.own_snapshot(SLOT) };
    world.snapshots(vec![another, own]);
    assert_eq!(world.reason(NOON, Kind::Snapshot), "starts now as run 20261122t030000z-snapshot-2");
}

#[test]
fn a_dump_that_has_just_succeeded_is_made_again_only_when_it_is_listed_and_not_good() {
    let mut world = World::new();
    let run = succeeded(dump_run("accounts", "2026-11-01T04:00:01Z", OwnerState::Alive));
    // The slot itself is taken, so the run was for the second after it.
    let bad = || PointState::Bad { reason: "an object is missing".to_owned() };
    let another = RecoveryPoint {
        run: Some(dump_run("accounts", FIRST, OwnerState::Dead).record.run),
        ..dump("accounts", FIRST, 10, bad())
    };
    let own =
        RecoveryPoint { run: Some(run.record.run.clone()), ..dump("accounts", "2026-11-01T04:00:01Z", 10, bad()) };
    world.runs = vec![run];
    world.dumps = vec![another.clone()];
    assert!(world.reason(NOON, Kind::Dump).contains("not listed yet"), "another one is");
    world.dumps = vec![another, own];
    assert_eq!(world.reason(NOON, Kind::Dump), "starts now as run 20261101t040002z-dump-accounts-1");
}

#[rstest]
#[case::listed_in_order([1, 2])]
#[case::listed_the_last_first([2, 1])]
fn of_several_failures_the_last_one_is_told(#[case] order: [u32; 2]) {
    let mut world = World::new();
    let attempt = |number: u32| {
        let mut stored = failed(FIRST, number, &format!("2026-11-23T11:59:{number}0Z"));
        let RunState::Failed { failure, .. } = &mut stored.record.state else { unreachable!() };
        failure.message = format!("attempt {number} failed");
        stored
    };
    world.runs = order.map(attempt).into();
    let reason = world.reason(NOON, Kind::Dump);
    assert_eq!(
        reason,
        "slot 20261101t040000z failed 2 time(s), next attempt at 2026-11-23T12:01:20Z: attempt 2 failed"
    );
}

#[test]
fn a_client_of_the_servers_own_version_dumps_it() {
    let mut world = World::new();
    world.instances(|instance| instance.engine_version = "17.2".to_owned());
    assert!(world.reason(NOON, Kind::Dump).starts_with("starts now"), "pg_dump is of version 17");
}
