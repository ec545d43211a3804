use jiff::SignedDuration;
use rstest::rstest;

use super::*;
use crate::domain::inventory::{Complete, ReplicaStore, StoredRun, Unseen};
use crate::domain::run::{Failure, OwnerState};
use crate::plan::plan;
use crate::plan::status::Status;
use crate::testing::{at, dump, dump_run, inventory, now, policy as promises, store, stored_dump};

/// The monthly slots that have come due, the newest first.
const MONTHS: [&str; 4] =
    ["2026-11-01T04:00:00Z", "2026-10-01T04:00:00Z", "2026-09-01T04:00:00Z", "2026-08-01T04:00:00Z"];

fn policy() -> Policy {
    promises(&[("accounts", &["accounts"])])
}

fn run(slot: &str, state: RunState) -> StoredRun {
    let claimed = dump_run("accounts", slot, OwnerState::Alive);
    StoredRun { record: claimed.record.closed(state), ..claimed }
}

fn succeeded(slot: &str) -> StoredRun {
    run(slot, RunState::Succeeded { finished_at: at(slot) + SignedDuration::from_mins(9), size_bytes: 100 })
}

fn failed(slot: &str) -> StoredRun {
    let failure = Failure { message: "no".to_owned(), rds_events: Vec::new(), stopped_by: None };
    run(slot, RunState::Failed { finished_at: at(slot), failure })
}

fn bad() -> PointState {
    PointState::Bad { reason: "bits have flipped".to_owned() }
}

/// What is told of the dumps of a source whose store holds these.
fn told(policy: &Policy, dumps: Vec<RecoveryPoint>, runs: Vec<StoredRun>) -> Vec<(String, SlotState)> {
    let mut inventory = inventory(policy);
    let source = policy.sources.keys().next().unwrap().clone();
    inventory.stores.insert(source, Ok(store(dumps, runs, Vec::new())));
    of_dumps(policy, &inventory)
}

fn of_dumps(policy: &Policy, inventory: &Inventory) -> Vec<(String, SlotState)> {
    let status = Status::of(policy, inventory, &plan(policy, inventory, now()));
    let day = |slot: &SlotStatus| slot.slot.instant().strftime("%m-%d").to_string();
    status.sources[0].obligations[1].slots.iter().map(|slot| (day(slot), slot.state)).collect()
}

fn good(slot: &str) -> RecoveryPoint {
    dump("accounts", slot, 100, PointState::Good)
}

/// What became of the latest slot, or of the one before where that one is filled.
#[rstest]
#[case::it_is_there(vec![good(MONTHS[0])], vec![succeeded(MONTHS[0])], SlotState::Kept)]
#[case::it_is_there_and_its_record_is_not(vec![good(MONTHS[0])], vec![], SlotState::Kept)]
#[case::made_by_hand_days_later(vec![good("2026-11-09T10:00:00Z")], vec![], SlotState::Kept)]
#[case::made_after_failures(vec![good(MONTHS[0])], vec![failed(MONTHS[0])], SlotState::Kept)]
#[case::found_bad(vec![dump("accounts", MONTHS[0], 1, bad())], vec![succeeded(MONTHS[0])], SlotState::Bad)]
#[case::found_bad_and_its_record_gone(vec![dump("accounts", MONTHS[0], 1, bad())], vec![], SlotState::Bad)]
#[case::never_whole(vec![dump("accounts", MONTHS[0], 1, bad())], vec![failed(MONTHS[0])], SlotState::Failed)]
#[case::each_attempt_failed(vec![], vec![failed(MONTHS[0])], SlotState::Failed)]
#[case::under_way(vec![], vec![run(MONTHS[0], RunState::Running)], SlotState::Running)]
#[case::made_and_not_there(vec![], vec![succeeded(MONTHS[0])], SlotState::Gone)]
#[case::on_its_way_out(vec![dump("accounts", MONTHS[0], 1, PointState::Deleting)], vec![], SlotState::Gone)]
#[case::only_cancelled(vec![], vec![run(MONTHS[0], RunState::Cancelled { finished_at: now() })], SlotState::Missed)]
fn the_latest_slot_is_what_the_store_shows_of_it(
    #[case] dumps: Vec<RecoveryPoint>,
    #[case] runs: Vec<StoredRun>,
    #[case] state: SlotState,
) {
    assert_eq!(told(&policy(), dumps, runs), [("11-01".to_owned(), state)]);
}

#[test]
fn slots_are_told_from_the_first_one_of_which_anything_is_known() {
    let of = |month: usize, state| (MONTHS[month][5..10].to_owned(), state);
    assert_eq!(told(&policy(), vec![], vec![]), [of(0, SlotState::Missed)], "there was never anything");
    let slots = told(&policy(), vec![good(MONTHS[2])], vec![succeeded(MONTHS[3])]);
    let expected = [of(3, SlotState::Gone), of(2, SlotState::Kept), of(1, SlotState::Missed), of(0, SlotState::Missed)];
    assert_eq!(slots, expected);
}

/// A slot that has just come due is not missed before its time is over.
#[test]
fn a_slot_is_due_until_its_run_should_have_ended() {
    let mut policy = policy();
    for (hours, state) in [(22 * 24, SlotState::Missed), (23 * 24, SlotState::Due)] {
        for own in policy.sources.values_mut().flat_map(|source| &mut source.obligations) {
            own.completion_deadline = SignedDuration::from_hours(hours);
        }
        assert_eq!(told(&policy, vec![], vec![])[0].1, state, "{hours}");
    }
}

/// An empty listing and one that failed are not the same: nothing may look missed, or kept, that nobody has looked for.
#[test]
fn what_could_not_be_seen_is_unknown() {
    let policy = policy();
    let mut inventory = inventory(&policy);
    for seen in inventory.stores.values_mut() {
        *seen = Err(Unseen("AccessDenied".to_owned()));
    }
    assert_eq!(of_dumps(&policy, &inventory)[0].1, SlotState::Unknown);
    for seen in inventory.stores.values_mut() {
        let mut refused = store(vec![], vec![], vec![]);
        refused.refused = Some(Unseen("a record".to_owned()));
        *seen = Ok(refused);
    }
    assert_eq!(of_dumps(&policy, &inventory)[0].1, SlotState::Unknown);
}

/// Where records of that time have been removed, no attempt is no proof that there was none.
#[test]
fn beyond_the_evidence_nothing_is_called_missed() {
    let mut policy = policy();
    let dumps = || vec![good(MONTHS[3]), good(MONTHS[0])];
    let states =
        |policy: &Policy| told(policy, dumps(), vec![]).into_iter().map(|(_, state)| state).collect::<Vec<_>>();
    assert_eq!(states(&policy)[1..3], [SlotState::Missed, SlotState::Missed]);
    policy.prune.keep_evidence = Some(SignedDuration::from_hours(24 * 60));
    assert_eq!(states(&policy)[1..3], [SlotState::Unknown, SlotState::Missed]);
}

#[test]
fn a_dump_that_stands_in_the_second_region_only_is_told_apart() {
    let policy = policy();
    let mut inventory = inventory(&policy);
    let there = stored_dump(RecoveryPoint { plane: Plane::Replica, ..good(MONTHS[0]) });
    for seen in inventory.stores.values_mut().flatten() {
        seen.replica = Some(Ok(ReplicaStore { dumps: Complete::after_last_page(vec![there.clone()]) }));
    }
    assert_eq!(of_dumps(&policy, &inventory)[0].1, SlotState::KeptElsewhere);
}

/// As the planner counts: what is of an instance that bore the name before protects nothing today.
#[test]
fn a_dump_of_another_instance_of_that_name_fills_no_slot() {
    let other = RecoveryPoint { resource: Some("db-OLD".parse().unwrap()), ..good(MONTHS[0]) };
    assert_eq!(told(&policy(), vec![other], vec![])[0].1, SlotState::Gone);
}

#[test]
fn no_more_slots_are_told_than_the_document_is_to_have() {
    let mut policy = policy();
    for own in policy.sources.values_mut().flat_map(|source| &mut source.obligations) {
        own.schedule = "*/10 * * * *".parse().unwrap();
    }
    let slots = told(&policy, vec![good("2026-11-01T04:00:00Z")], vec![succeeded("2026-11-23T06:00:00Z")]);
    assert_eq!(slots.len(), 1, "of none of the latest anything is known");
    let slots = told(&policy, vec![], vec![succeeded("2026-11-23T07:40:00Z"), succeeded("2026-11-23T07:50:00Z")]);
    assert_eq!((slots.len(), slots[0].1), (SLOTS_MAX, SlotState::Gone));
}

/// The moment from which the planner says `overdue`, and not a second off.
#[rstest]
#[case::never_made(vec![], "2026-11-01T16:00:00Z")]
#[case::the_latest_is_there(vec![good(MONTHS[0])], "2026-12-01T16:00:00Z")]
#[case::the_one_before_is_there(vec![good(MONTHS[1])], "2026-11-01T16:00:00Z")]
#[case::two_were_missed(vec![good(MONTHS[2])], "2026-10-01T16:00:00Z")]
fn a_backup_is_overdue_when_the_run_of_the_first_open_slot_should_have_ended(
    #[case] dumps: Vec<RecoveryPoint>,
    #[case] overdue_at: &str,
) {
    let policy = policy();
    let mut inventory = inventory(&policy);
    for seen in inventory.stores.values_mut() {
        *seen = Ok(store(dumps.clone(), Vec::new(), Vec::new()));
    }
    for (moment, is_overdue) in [(at(overdue_at), true), (at(overdue_at) - SignedDuration::from_secs(1), false)] {
        inventory.taken_at = moment;
        let plan = plan(&policy, &inventory, moment);
        // Of a time before it was made nothing is asked.
        if dumps.iter().any(|point| point.slot.instant() > moment) || (dumps.is_empty() && !is_overdue) {
            continue;
        }
        let owed = &Status::of(&policy, &inventory, &plan).sources[0].obligations[1];
        assert_eq!(owed.overdue_at, Some(at(overdue_at)), "{moment}");
        assert_eq!(plan.decisions[1].freshness.overdue, is_overdue, "{moment}");
    }
}
