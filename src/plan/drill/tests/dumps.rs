//! Dumps that are made of what a drill has restored.

use super::*;
use crate::domain::drill::Restored;
use crate::domain::inventory::{Endpoint, Snapshot, StoredRun};
use crate::domain::recovery_point::{PointState, RecoveryPoint};
use crate::domain::run::RunState;
use crate::plan::Plan;
use crate::plan::action::StartDrill;
use crate::plan::backup;
use crate::plan::decision::Reason;
use crate::plan::status::{SlotState, Status};
use crate::policy::finding::Check;
use crate::policy::{DumpFrom, Task};
use crate::testing::{dump, dump_run, snapshot, stored_dump};

/// The month's slot before now.
const MONTH: &str = "2026-11-01T04:00:00Z";
const BAD: &str = "bank.accounts is damaged";

/// The source's dumps are to come from its drills.
fn policy_of(databases: &[&str]) -> Policy {
    let mut policy = with_drills(promises(&[("accounts", databases)]));
    policy.sources.values_mut().for_each(|source| source.dump_from = DumpFrom::Drill);
    policy
}

fn policy() -> Policy {
    policy_of(&["accounts"])
}

/// A world in which the quarter's drill has passed, the instance is up, and the month's dump is due.
fn world(policy: &Policy, mut drills: Vec<StoredDrill>) -> Inventory {
    drills.push(stored(passed(now() - SignedDuration::from_hours(24)), OwnerState::Dead));
    up(with(policy, drills))
}

fn up(mut inventory: Inventory) -> Inventory {
    let mut instances: Vec<Instance> = inventory.instances.as_ref().unwrap().iter().cloned().collect();
    for instance in &mut instances {
        instance.status = "available".to_owned();
        instance.endpoint = Some(Endpoint { host: "db".to_owned(), port: 5432 });
    }
    inventory.instances = Ok(Complete::after_last_page(instances));
    inventory
}

/// A drill in the month's slot, so many seconds later.
fn in_month(second: i64, state: DrillState, owner: OwnerState) -> StoredDrill {
    let mut drill = stored(state, owner);
    drill.record.slot = Slot::at(at(MONTH) + SignedDuration::from_secs(second));
    drill
}

/// A drill in the month's slot that found a snapshot bad an hour ago.
fn found_bad(snapshot: &str) -> StoredDrill {
    let finished_at = now() - SignedDuration::from_hours(1);
    let mut drill = in_month(0, DrillState::BackupBad { finished_at, faults: vec![BAD.to_owned()] }, OwnerState::Dead);
    let moment = at("2026-11-22T03:05:00Z");
    drill.record.restored = Some(Restored {
        point: snapshot.to_owned(),
        data_of: moment,
        recoverable_to: moment,
        class: "db.t3.micro".to_owned(),
    });
    drill
}

fn snapshots(policy: &Policy, inventory: &mut Inventory, slots: &[&str]) {
    let source = policy.sources.values().next().unwrap();
    let all: Vec<Snapshot> = slots.iter().map(|slot| snapshot(policy, source, slot)).collect();
    inventory.snapshots = Ok(Complete::after_last_page(all));
}

fn runs(inventory: &mut Inventory, runs: Vec<StoredRun>) {
    let store = inventory.stores.values_mut().next().unwrap().as_mut().unwrap();
    store.runs = Complete::after_last_page(runs);
}

fn plan(policy: &Policy, inventory: &Inventory) -> Plan {
    crate::plan::plan(policy, inventory, now())
}

fn reasons(plan: &Plan) -> Vec<String> {
    let dumps = plan.decisions.iter().filter(|decision| decision.kind == Kind::Dump);
    dumps.map(|decision| decision.reason.to_string()).collect()
}

/// Why the only dump waits.
fn waits(policy: &Policy, inventory: &Inventory) -> String {
    let plan = plan(policy, inventory);
    assert!(!plan.actions.iter().any(|action| matches!(action, Action::Drill(_) | Action::StartDump(_))), "{plan:?}");
    let [reason] = reasons(&plan).try_into().unwrap();
    reason.strip_prefix("slot 20261101t040000z waits for a drill of a snapshot: ").expect(&reason).to_owned()
}

/// The drill that starts.
fn drilled(policy: &Policy, inventory: &Inventory) -> StartDrill {
    let plan = plan(policy, inventory);
    let drills =
        plan.actions.iter().filter_map(|action| if let Action::Drill(start) = action { Some(start) } else { None });
    let [start] = drills.collect::<Vec<_>>().try_into().expect("one drill starts");
    (**start).clone()
}

#[test]
fn a_drill_that_is_due_makes_the_dumps_that_are_due() {
    let policy = policy_of(&["accounts", "audit"]);
    let inventory = up(with(&policy, Vec::new()));
    let planned = plan(&policy, &inventory);
    let actions: Vec<String> = planned.actions.iter().map(ToString::to_string).collect();
    assert_eq!(
        actions,
        ["drill 20261010t060000z-snapshot of accounts: restore snapshot strongroom-accounts-20261122t030000z as \
          strongroom-drill-accounts-20261010t060000z-snapshot, and dump database accounts of it as run \
          20261101t040000z-dump-accounts-1, and dump database audit of it as run 20261101t040000z-dump-audit-1"],
        "and nothing is read from the instance"
    );
    assert_eq!(
        reasons(&planned)[0],
        "run 20261101t040000z-dump-accounts-1 is taken from drill 20261010t060000z-snapshot of accounts of snapshot \
         strongroom-accounts-20261122t030000z, which starts now"
    );
}

/// Drills are quarterly, dumps monthly: a dump is a reason of its own.
#[test]
fn where_no_drill_is_due_one_is_done_in_the_dumps_slot() {
    let policy = policy();
    let start = drilled(&policy, &world(&policy, Vec::new()));
    assert_eq!(start.drill.to_string(), "20261101t040000z-snapshot of accounts");
    assert_eq!(start.dumps.len(), 1);
    let before_any_slot = {
        let mut policy = policy.clone();
        let quarter = "0 6 10 1 *".parse().unwrap();
        policy.sources.values_mut().for_each(|source| source.drill.as_mut().unwrap().schedule = Clone::clone(&quarter));
        drilled(&policy, &up(with(&policy, Vec::new())))
    };
    assert_eq!(before_any_slot.dumps.len(), 1);
}

#[test]
fn the_instance_is_expected_to_stand_as_long_as_its_dumps_may_take() {
    let policy = policy();
    let start = drilled(&policy, &world(&policy, Vec::new()));
    let expires: Timestamp = start.marks[tags::EXPIRES].parse().unwrap();
    assert!(expires >= start.deadline + start.dumps[0].within, "{expires}");
    assert_eq!(start.deadline, now() + SignedDuration::from_hours(24), "and the drill itself gets no longer");
}

#[test]
fn a_dump_that_stands_needs_no_drill() {
    let policy = policy();
    let mut inventory = world(&policy, Vec::new());
    let store = inventory.stores.values_mut().next().unwrap().as_mut().unwrap();
    store.dumps = Complete::after_last_page(vec![stored_dump(dump("accounts", MONTH, 10, PointState::Good))]);
    let planned = plan(&policy, &inventory);
    assert!(planned.actions.is_empty(), "{:?}", planned.actions);
    assert_eq!(reasons(&planned), ["slot 20261101t040000z is filled"]);
}

#[rstest]
#[case::it_is_under_way(
    in_month(0, DrillState::Running, OwnerState::Alive),
    "drill 20261101t040000z-snapshot of accounts is being done"
)]
#[case::it_failed(
    in_month(0, errored(now()), OwnerState::Dead),
    "tried again at 2026-11-23T12:10:00Z, for it failed: no room"
)]
#[case::it_passed_without_the_dump(
    in_month(0, passed(now()), OwnerState::Dead),
    "tried again at 2026-11-23T12:10:00Z, for it failed: drill 20261101t040000z-snapshot of accounts passed, and the dump was \
     not made in it"
)]
fn a_dump_waits_for_its_drill_and_says_how_that_stands(#[case] drill: StoredDrill, #[case] reason: &str) {
    let policy = policy();
    assert_eq!(waits(&policy, &world(&policy, vec![drill])), reason);
}

#[rstest]
#[case::the_same_after_an_error(0, errored(now() - SignedDuration::from_mins(11)), 0, 2)]
#[case::the_same_after_its_process_died(0, DrillState::Running, 0, 2)]
#[case::the_next_after_a_verdict(0, passed(now() - SignedDuration::from_mins(11)), 1, 1)]
fn the_drill_is_done_again_until_the_dump_stands(
    #[case] second: i64,
    #[case] state: DrillState,
    #[case] next: i64,
    #[case] attempt: u32,
) {
    let policy = policy();
    let start = drilled(&policy, &world(&policy, vec![in_month(second, state, OwnerState::Dead)]));
    assert_eq!(start.drill.slot.instant(), at(MONTH) + SignedDuration::from_secs(next));
    assert_eq!((start.attempt, start.dumps.len()), (attempt, 1));
}

/// Each takes hours and an instance.
#[test]
fn drills_for_one_dump_follow_each_other_more_and_more_slowly() {
    let policy = policy();
    let ended = passed(now() - SignedDuration::from_mins(15));
    let spent = (0..2).map(|second| in_month(second, ended.clone(), OwnerState::Dead)).collect();
    assert!(waits(&policy, &world(&policy, spent)).starts_with("tried again at 2026-11-23T12:05:00Z"));
}

#[test]
fn a_snapshot_that_was_found_bad_is_not_dumped_and_the_one_before_is_drilled_in_its_place() {
    let policy = policy();
    let mut inventory = world(&policy, vec![found_bad("strongroom-accounts-20261122t030000z")]);
    snapshots(&policy, &mut inventory, &["2026-11-22T03:00:00Z", "2026-11-15T03:00:00Z"]);
    let start = drilled(&policy, &inventory);
    assert!(start.to_string().contains("restore snapshot strongroom-accounts-20261115t030000z"), "{start}");
    assert_eq!(start.dumps.len(), 1);
    snapshots(&policy, &mut inventory, &["2026-11-22T03:00:00Z"]);
    assert_eq!(
        waits(&policy, &inventory),
        "there is no good snapshot; snapshot strongroom-accounts-20261122t030000z is bad: a restore drill found: \
         bank.accounts is damaged"
    );
}

/// It would pass for a new dump, and be of the month before.
#[test]
fn a_snapshot_from_before_the_slot_before_fills_no_slot() {
    let policy = policy();
    let mut inventory = world(&policy, vec![found_bad("strongroom-accounts-20261122t030000z")]);
    let slots = ["2026-11-22T03:00:00Z", "2026-09-27T03:00:00Z"];
    snapshots(&policy, &mut inventory, &slots);
    let reason = "the newest good snapshot, strongroom-accounts-20260927t030000z, is of 2026-09-27T03:05:00Z, from before the \
                  slot before, 2026-10-01T04:00:00Z, and would fill that; snapshot strongroom-accounts-20261122t030000z is \
                  bad: a restore drill found: bank.accounts is damaged";
    assert_eq!(waits(&policy, &inventory), reason);
    // The quarter's drill is due all the same, and takes no dump along.
    let mut inventory = up(with(&policy, Vec::new()));
    snapshots(&policy, &mut inventory, &slots[1..]);
    assert!(drilled(&policy, &inventory).dumps.is_empty());
    assert!(reasons(&plan(&policy, &inventory))[0].contains("from before the slot before"));
    snapshots(&policy, &mut inventory, &["2026-10-04T03:00:00Z"]);
    assert_eq!(drilled(&policy, &inventory).dumps.len(), 1);
}

/// A person can have one made of whatever there is. It is a backup, and not the one that the slot is waiting for.
#[rstest]
#[case::of_the_month_before("2026-09-27T03:05:00Z", false)]
#[case::of_this_month("2026-10-04T03:05:00Z", true)]
fn a_dump_of_old_data_fills_no_slot_whenever_it_was_made(#[case] data_of: &str, #[case] fills: bool) {
    let policy = policy();
    let mut inventory = world(&policy, Vec::new());
    let made = dump("accounts", "2026-11-05T10:00:00Z", 10, PointState::Good);
    let made = RecoveryPoint { created_at: Some(at(data_of)), from_snapshot: Some("s".parse().unwrap()), ..made };
    let store = inventory.stores.values_mut().next().unwrap().as_mut().unwrap();
    store.dumps = Complete::after_last_page(vec![stored_dump(made)]);
    let planned = plan(&policy, &inventory);
    let decision = planned.decisions.iter().find(|decision| decision.kind == Kind::Dump).unwrap();
    assert_eq!(matches!(decision.reason, Reason::Satisfied { .. }), fills, "{decision}");
    assert_eq!(decision.freshness.overdue, !fills);
    let status = Status::of(&policy, &inventory, &planned);
    let own = status.sources[0].obligations.iter().find(|own| own.kind == Kind::Dump).unwrap();
    assert_eq!(own.slots.last().unwrap().state == SlotState::Kept, fills, "{:?}", own.slots);
    assert_eq!(own.overdue_at.unwrap() > now(), fills);
}

/// The dump of the slot is damaged: what takes its place may be of the same snapshot.
#[test]
fn what_takes_the_place_of_a_bad_dump_may_be_as_old_as_that() {
    let policy = policy();
    let mut inventory = world(&policy, Vec::new());
    let bad = PointState::Bad { reason: "cut off".to_owned() };
    let store = inventory.stores.values_mut().next().unwrap().as_mut().unwrap();
    store.dumps = Complete::after_last_page(vec![stored_dump(dump("accounts", MONTH, 10, bad))]);
    snapshots(&policy, &mut inventory, &["2026-10-25T03:00:00Z"]);
    let start = drilled(&policy, &inventory);
    assert_eq!(start.dumps.len(), 1);
    assert_eq!(start.dumps[0].run.slot.instant(), at(MONTH) + SignedDuration::from_secs(1));
}

/// Each costs an instance for hours.
#[test]
fn what_was_restored_in_vain_often_enough_waits_for_the_next_snapshot() {
    let policy = policy();
    let most = policy.sources.values().next().unwrap().drill.as_ref().unwrap().retry.attempts_max.get() + 8;
    let in_vain = |second: u32| {
        let ended = passed(now() - SignedDuration::from_hours(24));
        let mut drill = in_month(second.into(), ended, OwnerState::Dead);
        drill.record.restored = found_bad("strongroom-accounts-20261122t030000z").record.restored;
        drill
    };
    let spent = |count: u32| (0..count).map(in_vain).collect();
    assert_eq!(drilled(&policy, &world(&policy, spent(most - 1))).dumps.len(), 1);
    let mut inventory = world(&policy, spent(most));
    let reason = waits(&policy, &inventory);
    assert!(reason.starts_with("snapshot strongroom-accounts-20261122t030000z was restored"), "{reason}");
    snapshots(&policy, &mut inventory, &["2026-11-22T03:00:00Z", "2026-11-23T03:00:00Z"]);
    assert_eq!(drilled(&policy, &inventory).dumps.len(), 1);
}

/// The newest snapshot is bad, and the one before it was restored since, for the dump.
#[test]
fn that_an_older_snapshot_is_good_does_not_make_good_the_newest_one() {
    let policy = policy();
    let bad = found_bad("strongroom-accounts-20261122t030000z");
    let restored = |moment: &str| Restored { data_of: at(moment), ..bad.record.restored.clone().unwrap() };
    let mut older = in_month(1, passed(now()), OwnerState::Dead);
    older.record.restored = Some(restored("2026-11-15T03:05:00Z"));
    let told = |drills| {
        let findings = plan(&policy, &world(&policy, drills)).findings;
        findings.iter().any(|finding| finding.check == Check::DrillFailed)
    };
    assert!(told(vec![bad.clone(), older.clone()]));
    let mut newer = older.clone();
    newer.record.slot = Slot::at(at(MONTH) + SignedDuration::from_secs(2));
    newer.record.restored = Some(restored("2026-11-23T03:05:00Z"));
    assert!(!told(vec![bad, older, newer]));
}

#[test]
fn drills_that_are_suspended_or_have_no_room_hold_back_the_dump() {
    let mut policy = policy();
    let mut inventory = world(&policy, Vec::new());
    add_instance(&mut inventory, lease(7).as_instance().as_str(), "available", Tags::new());
    assert_eq!(
        waits(&policy, &inventory),
        "waits until fewer instances of drills stand than `drills.instances_max`, 1"
    );
    policy.sources.values_mut().for_each(|source| source.drill.as_mut().unwrap().suspended = true);
    assert_eq!(waits(&policy, &world(&policy, Vec::new())), "suspended in the configuration");
    let planned = plan(&policy, &world(&policy, Vec::new()));
    assert!(planned.decisions.iter().any(|decision| decision.kind == Kind::Dump && decision.reason.is_trouble()));
    policy.drills = None;
    assert_eq!(waits(&policy, &world(&policy, Vec::new())), "no drill of this source restores snapshots");
}

/// Otherwise the drill would be done again at once, and the dump would need another one.
#[test]
fn what_a_dead_process_left_is_closed_first_and_then_one_drill_makes_the_next_attempt() {
    let mut policy = policy();
    policy.drills.as_mut().unwrap().instances_max = 2;
    let mut inventory = world(&policy, vec![in_month(0, DrillState::Running, OwnerState::Dead)]);
    let left = dump_run("accounts", MONTH, OwnerState::Dead);
    runs(&mut inventory, vec![left.clone()]);
    let planned = plan(&policy, &inventory);
    let actions: Vec<String> = planned.actions.iter().map(ToString::to_string).collect();
    assert_eq!(actions.len(), 1, "{actions:?}");
    assert!(actions[0].starts_with("close run 20261101t040000z-dump-accounts-1 of accounts"), "{actions:?}");
    let mut closed = left;
    closed.record.state = RunState::Abandoned { finished_at: now() };
    runs(&mut inventory, vec![closed]);
    let start = drilled(&policy, &inventory);
    assert_eq!((start.attempt, start.dumps[0].run.attempt), (2, 2));
    // The quarter's own drill waits for it, too.
    let mut inventory = up(with(&policy, Vec::new()));
    runs(&mut inventory, vec![dump_run("accounts", MONTH, OwnerState::Elsewhere)]);
    let planned = plan(&policy, &inventory);
    assert!(planned.actions.is_empty(), "{:?}", planned.actions);
    assert!(planned.drills[0].reason.to_string().starts_with("waits until run 20261101t040000z-dump-accounts-1"));
}

#[test]
fn a_dump_that_a_drill_of_this_process_makes_is_nobodys_remains() {
    let policy = policy();
    let mut inventory = world(&policy, vec![in_month(0, DrillState::Running, OwnerState::This)]);
    let making = dump_run("accounts", MONTH, OwnerState::Dead);
    inventory.in_drills.insert(("accounts".parse().unwrap(), making.record.run.clone()));
    inventory.drills_in_flight.insert(DrillId { slot: Slot::at(at(MONTH)), ..drill() });
    runs(&mut inventory, vec![making]);
    let planned = plan(&policy, &inventory);
    assert!(planned.actions.is_empty(), "{:?}", planned.actions);
    assert_eq!(reasons(&planned), ["run 20261101t040000z-dump-accounts-1 is under way"]);
}

#[test]
fn a_dump_by_hand_is_made_in_a_drill_unless_the_instance_is_asked_for() {
    let mut policy = policy();
    let source: SourceId = "accounts".parse().unwrap();
    let mut tasks = policy.sources[&source].obligations.iter().map(|own| own.task.clone());
    let task = tasks.find(|task| matches!(task, Task::Dump { .. })).unwrap();
    let idle = world(&policy, Vec::new());
    let Ok(Action::Drill(start)) = backup::manual(&policy, &idle, &source, &task, now()) else { panic!() };
    assert_eq!(start.dumps[0].run.to_string(), "20261123t120000z-dump-accounts-1");
    assert_eq!(start.drill.slot.instant(), now());
    let busy = world(&policy, vec![in_month(0, DrillState::Running, OwnerState::Alive)]);
    let refused = backup::manual(&policy, &busy, &source, &task, now());
    let Err(backup::Refusal::NotNow(Reason::WaitsForDrill { why: DrillReason::Running(_), .. })) = refused else {
        panic!("{refused:?}")
    };
    policy.sources.get_mut(&source).unwrap().dump_from = DumpFrom::Instance;
    assert!(matches!(backup::manual(&policy, &busy, &source, &task, now()), Ok(Action::StartDump(_))));
}
