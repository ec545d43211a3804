//! Runs under way.

use super::*;

const SLOT: &str = "2026-11-22T03:00:00Z";

/// A snapshot was claimed for the slot, and the dump of the month stands.
fn claimed() -> World {
    let mut world = World::new();
    world.dumps = vec![dump("accounts", "2026-11-01T04:00:00Z", 10, PointState::Good)];
    world.runs = vec![world.snapshot_run(SLOT, OwnerState::Alive)];
    world
}

#[test]
fn the_percentage_of_a_run_is_that_of_its_own_snapshot() {
    let mut world = claimed();
    let others = Snapshot { progress_percent: 7, ..world.own_snapshot("2026-11-15T03:00:00Z") };
    let own = Snapshot { status: "creating".to_owned(), progress_percent: 40, ..world.own_snapshot(SLOT) };
    world.snapshots(vec![others.clone(), own]);
    let now = "2026-11-22T03:10:00Z";
    assert_eq!(world.reason(now, Kind::Snapshot), "run 20261122t030000z-snapshot-1 is under way, 40 %");
    world.snapshots(vec![others]);
    assert_eq!(world.reason(now, Kind::Snapshot), "run 20261122t030000z-snapshot-1 is under way");
}

#[test]
fn a_snapshot_under_way_is_looked_at_again_soon_and_a_dump_reports_by_itself() {
    let mut world = claimed();
    world.policy.cadence.reconcile_interval = SignedDuration::from_hours(1);
    world.policy.cadence.poll_interval = SignedDuration::from_secs(20);
    assert_eq!(world.plan("2026-11-22T03:10:00Z").wake_at, at("2026-11-22T03:10:20Z"));
    world.snapshots(vec![world.own_snapshot(SLOT)]);
    world.dumps.clear();
    world.runs = vec![dump_run("accounts", "2026-11-01T04:00:00Z", OwnerState::Alive)];
    assert_eq!(world.plan(NOON).wake_at, at("2026-11-23T13:00:00Z"));
}

/// It would plan again and again without a pause.
#[test]
fn a_plan_never_wakes_at_its_own_moment() {
    let mut world = claimed();
    world.policy.cadence.poll_interval = SignedDuration::ZERO;
    let now = "2026-11-22T03:10:00Z";
    assert_eq!(world.plan(now).wake_at, at(now) + world.policy.cadence.reconcile_interval);
}

#[test]
fn a_dump_of_one_database_is_no_run_of_the_next() {
    let mut world = World::of(&[("accounts", &["accounts", "audit"])]);
    let mut of_audit = dump_run("accounts", "2026-11-01T04:00:00Z", OwnerState::Alive);
    of_audit.record.run.database = Some("audit".parse().unwrap());
    world.runs = vec![of_audit];
    let plan = world.plan(NOON);
    let reasons: Vec<String> = plan.decisions.iter().map(ToString::to_string).collect();
    let expected = [
        "accounts dump of accounts: slot 20261101t040000z waits for another run of the same source and kind",
        "accounts dump of audit: run 20261101t040000z-dump-audit-1 is under way",
    ];
    assert_eq!(reasons[1..], expected);
}

#[test]
fn a_run_of_another_source_is_not_ones_own() {
    let mut world = World::of(&[("accounts", &["accounts"]), ("cards", &["cards"])]);
    let mut of_cards = world.snapshot_run(SLOT, OwnerState::Alive);
    of_cards.record.source = "cards".parse().unwrap();
    world.runs = vec![of_cards];
    assert!(world.reason(NOON, Kind::Snapshot).starts_with("starts now"), "{}", world.reason(NOON, Kind::Snapshot));
}

/// It would be a success without a backup.
#[test]
fn a_dead_run_is_not_credited_with_the_dump_of_another() {
    let mut world = World::new();
    let stored = dump_run("accounts", "2026-11-23T11:59:00Z", OwnerState::Dead);
    let mut of_another = dump("accounts", "2026-11-01T04:00:00Z", 10, PointState::Good);
    of_another.run = Some(dump_run("accounts", "2026-11-01T04:00:00Z", OwnerState::Dead).record.run);
    let mut damaged = dump("accounts", "2026-11-23T11:59:00Z", 10, PointState::Pending);
    damaged.run = Some(stored.record.run.clone());
    world.dumps = vec![of_another, damaged];
    world.runs = vec![stored];
    let plan = world.plan(NOON);
    let endings: Vec<&Ending> = plan
        .actions
        .iter()
        .filter_map(|action| if let Action::CloseRun(close) = action { Some(&close.ending) } else { None })
        .collect();
    assert_eq!(endings, [&Ending::Abandoned]);
}

#[test]
fn a_snapshot_has_until_the_last_second_of_its_deadline() {
    let mut world = claimed();
    world.snapshots(vec![Snapshot { status: "creating".to_owned(), ..world.own_snapshot(SLOT) }]);
    assert_eq!(world.actions("2026-11-22T15:00:00Z"), Vec::<String>::new());
    assert!(world.actions("2026-11-22T15:00:01Z")[0].starts_with("record failure of run"));
}

/// Taken at its word the run would be a year late, or have a year left; and its snapshot would be made a second time.
#[rstest]
#[case::a_year_behind("2025-11-22T03:00:00Z")]
#[case::a_year_ahead("2027-11-22T03:00:00Z")]
fn a_run_that_a_wrong_clock_began_has_its_deadline_from_when_it_was_seen(#[case] started_at: &str) {
    let mut world = claimed();
    world.runs[0].record.started_at = at(started_at);
    world.snapshots(vec![Snapshot { status: "creating".to_owned(), ..world.own_snapshot(SLOT) }]);
    let hours = SignedDuration::from_hours;
    world.runs[0].unchanged_for = hours(12);
    assert_eq!(world.actions("2026-11-22T20:00:00Z"), Vec::<String>::new());
    world.runs[0].unchanged_for = hours(12) + SignedDuration::from_secs(1);
    assert!(world.actions("2026-11-22T20:00:00Z")[0].starts_with("record failure of run"));
}

#[test]
fn a_clock_that_is_a_year_ahead_gives_up_no_snapshot() {
    let mut world = claimed();
    world.snapshots(vec![Snapshot { status: "creating".to_owned(), ..world.own_snapshot(SLOT) }]);
    world.inventory.clock_skew = Some(-SignedDuration::from_hours(365 * 24));
    assert_eq!(world.actions("2027-11-22T14:59:00Z"), Vec::<String>::new());
}

/// It was made after the claim, so it is ours as soon as its tags are shown.
#[test]
fn a_snapshot_whose_tags_are_not_shown_yet_is_waited_for_until_its_deadline() {
    let mut world = claimed();
    let mut untagged = world.own_snapshot(SLOT);
    untagged.tags.clear();
    world.snapshots(vec![untagged.clone()]);
    assert_eq!(world.actions("2026-11-22T15:00:00Z"), Vec::<String>::new());
    assert!(world.actions("2026-11-22T15:00:01Z")[0].contains("was not made by this installation"));
    untagged.created_at = Some(at(SLOT));
    world.snapshots(vec![untagged]);
    assert_eq!(world.actions("2026-11-22T05:00:00Z"), Vec::<String>::new(), "made in the second of the claim");
}

#[test]
fn an_available_snapshot_that_rds_has_not_dated_is_neither_a_success_nor_somebody_elses() {
    let mut world = claimed();
    world.snapshots(vec![Snapshot { created_at: None, ..world.own_snapshot(SLOT) }]);
    assert_eq!(world.actions("2026-11-22T05:00:00Z"), Vec::<String>::new());
    let late = world.actions("2026-11-22T15:00:01Z");
    assert!(late[0].contains("was still `available` at its deadline"), "{late:?}");
}
