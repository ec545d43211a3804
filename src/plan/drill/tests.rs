//! Which drills start, and which instances go.

mod dumps;

use rstest::rstest;

use super::*;
use crate::domain::drill::{DRILL_RECORD_VERSION, Phase, Reached};
use crate::domain::inventory::Complete;
use crate::domain::run::{OwnerState, ProcessIdentity};
use crate::domain::tags::Tags;
use crate::plan::backup::plan_backups;
use crate::testing::{at, inventory, now, policy as promises, with_drills};

/// The quarter's slot before now.
const SLOT: &str = "2026-10-10T06:00:00Z";

fn policy() -> Policy {
    with_drills(promises(&[("accounts", &["accounts"])]))
}

fn drill() -> DrillId {
    DrillId { source: "accounts".parse().unwrap(), slot: Slot::at(at(SLOT)), path: DrillPath::Snapshot }
}

fn lease(attempt: u32) -> LeaseId {
    LeaseId::for_drill("strongroom", &drill(), attempt)
}

fn stored(state: DrillState, owner: OwnerState) -> StoredDrill {
    let process = ProcessIdentity { host: "pod-1".to_owned(), pid_space: "b/1".to_owned(), pid: 7, start_ticks: 9 };
    let started_at = now() - SignedDuration::from_hours(2);
    let record = DrillRecord {
        version: DRILL_RECORD_VERSION,
        installation: "bank-prod".parse().unwrap(),
        source: "accounts".parse().unwrap(),
        slot: drill().slot,
        path: DrillPath::Snapshot,
        attempt: 1,
        owner: process,
        started_at,
        ordered_at: Some(started_at),
        lease_until: now(),
        instance: lease(1),
        earlier_instances: Vec::new(),
        earlier_errors: Vec::new(),
        restored: None,
        phases: vec![Reached { phase: Phase::FullyRead, at: started_at + SignedDuration::from_mins(40) }],
        notes: Vec::new(),
        previous: None,
        state,
    };
    StoredDrill { record, etag: "e1".to_owned(), owner, unchanged_for: SignedDuration::ZERO }
}

fn with(policy: &Policy, drills: Vec<StoredDrill>) -> Inventory {
    let mut inventory = inventory(policy);
    let store = inventory.stores.values_mut().next().unwrap().as_mut().unwrap();
    store.drills = Complete::after_last_page(drills);
    inventory
}

fn passed(finished_at: Timestamp) -> DrillState {
    DrillState::Passed { finished_at, tables: 3, rows: 12 }
}

fn errored(finished_at: Timestamp) -> DrillState {
    DrillState::Errored { finished_at, message: "no room".to_owned() }
}

/// Adds an instance to what RDS lists.
fn add_instance(inventory: &mut Inventory, id: &str, status: &str, tags: Tags) {
    let all = inventory.instances.as_ref().unwrap();
    let mut instances: Vec<Instance> = all.iter().cloned().collect();
    let first = instances[0].clone();
    instances.push(Instance { id: id.parse().unwrap(), status: status.to_owned(), tags, ..first });
    inventory.instances = Ok(Complete::after_last_page(instances));
}

fn marks(lease: &LeaseId, expires_at: Timestamp) -> Tags {
    tags::for_lease(&"bank-prod".parse().unwrap(), lease, &drill(), &"db-ABC".parse().unwrap(), expires_at)
}

fn planned(policy: &Policy, inventory: &Inventory) -> Drills {
    let points = crate::plan::points::recovery_points(policy, inventory);
    let mut backups = plan_backups(policy, inventory, &points, now());
    plan_drills(policy, inventory, &points, &mut backups, now())
}

fn only_reason(policy: &Policy, inventory: &Inventory) -> String {
    let drills = planned(policy, inventory);
    assert_eq!(drills.decisions.len(), 1);
    drills.decisions[0].to_string()
}

fn reaped(policy: &Policy, inventory: &Inventory) -> Vec<String> {
    let actions = planned(policy, inventory).actions.into_iter();
    actions.filter(|action| matches!(action, Action::Reap(_))).map(|action| action.to_string()).collect()
}

#[test]
fn the_newest_good_snapshot_is_restored_under_a_name_that_says_so() {
    let policy = policy();
    let drills = planned(&policy, &with(&policy, Vec::new()));
    let [action] = drills.actions.as_slice() else { panic!("{:?}", drills.actions) };
    assert_eq!(
        action.to_string(),
        "drill 20261010t060000z-snapshot of accounts: restore snapshot strongroom-accounts-20261122t030000z as \
         strongroom-drill-accounts-20261010t060000z-snapshot"
    );
    let Action::Drill(start) = action else { panic!() };
    assert!(tags::prove_lease(&start.marks, &policy.installation, &start.lease));
}

#[rstest]
#[case::passed(passed(now()), OwnerState::Dead, "slot 20261010t060000z has its verdict")]
#[case::bad(DrillState::BackupBad { finished_at: now(), faults: vec!["x".to_owned()] }, OwnerState::Dead, "slot 20261010t060000z has its verdict")]
#[case::under_way(DrillState::Running, OwnerState::Alive, "drill 20261010t060000z-snapshot of accounts is being done")]
#[case::failed_just_now(
    errored(now()),
    OwnerState::Dead,
    "tried again at 2026-11-23T12:10:00Z, for it failed: no room"
)]
#[case::failed_before(errored(now() - SignedDuration::from_mins(11)), OwnerState::Dead, "drill 20261010t060000z-snapshot of accounts starts now")]
#[case::left(DrillState::Running, OwnerState::Dead, "drill 20261010t060000z-snapshot of accounts starts now")]
fn a_slot_is_drilled_until_it_has_a_verdict(
    #[case] state: DrillState,
    #[case] owner: OwnerState,
    #[case] reason: &str,
) {
    let policy = policy();
    let inventory = with(&policy, vec![stored(state, owner)]);
    assert_eq!(only_reason(&policy, &inventory), format!("accounts drill by snapshot: {reason}"));
}

/// Two instances of one name would be one too many: the next attempt has a name of its own, and the first is cleared away.
#[test]
fn a_drill_that_died_is_done_again_in_an_instance_of_its_own_once_the_first_is_gone() {
    let policy = policy();
    let mut inventory = with(&policy, vec![stored(DrillState::Running, OwnerState::Dead)]);
    let drills = planned(&policy, &inventory);
    let Some(Action::Drill(start)) = drills.actions.first() else { panic!("{:?}", drills.actions) };
    assert_eq!((start.attempt, &start.lease), (2, &lease(2)));
    add_instance(&mut inventory, lease(1).as_instance().as_str(), "available", Tags::new());
    let drills = planned(&policy, &inventory);
    assert_eq!(drills.actions.len(), 1, "{:?}", drills.actions);
    assert!(matches!(drills.actions[0], Action::Reap(_)), "even where its tags cannot be read");
    assert!(matches!(drills.decisions[0].reason, DrillReason::Queued { limit: 1 }));
}

#[rstest]
#[case::over(passed(now()), OwnerState::Dead, 1)]
#[case::died(DrillState::Running, OwnerState::Dead, 1)]
#[case::under_way_here(DrillState::Running, OwnerState::Alive, 0)]
#[case::under_way_elsewhere(DrillState::Running, OwnerState::Elsewhere, 0)]
fn an_instance_goes_when_nobody_works_on_its_drill_any_more(
    #[case] state: DrillState,
    #[case] owner: OwnerState,
    #[case] reaps: usize,
) {
    let policy = policy();
    let mut inventory = with(&policy, vec![stored(state, owner)]);
    add_instance(&mut inventory, lease(1).as_instance().as_str(), "available", marks(&lease(1), now()));
    assert_eq!(reaped(&policy, &inventory).len(), reaps);
    let mut here = with(&policy, vec![stored(DrillState::Running, OwnerState::This)]);
    add_instance(&mut here, lease(1).as_instance().as_str(), "available", Tags::new());
    here.drills_in_flight.insert(drill());
    assert!(reaped(&policy, &here).is_empty(), "this process works on it");
}

#[rstest]
#[case::in_its_time(SignedDuration::from_hours(1), 0)]
#[case::past_its_time(SignedDuration::from_secs(-1), 1)]
fn an_instance_that_no_record_names_goes_by_its_own_mark_when_its_time_is_over(
    #[case] left: SignedDuration,
    #[case] reaps: usize,
) {
    let policy = policy();
    let mut inventory = with(&policy, Vec::new());
    let orphan = LeaseId::for_drill("strongroom", &drill(), 7);
    add_instance(&mut inventory, orphan.as_instance().as_str(), "available", marks(&orphan, now() + left));
    assert_eq!(reaped(&policy, &inventory).len(), reaps);
}

/// Restored instances inherit tags, and records can be written by anybody who may write to the bucket.
#[test]
fn nothing_else_is_ever_reaped() {
    let policy = policy();
    let long_ago = now() - SignedDuration::from_hours(99);
    let mut inventory = with(&policy, vec![stored(passed(now()), OwnerState::Dead)]);
    let mut of_production = marks(&lease(1), long_ago);
    of_production.insert(tags::OWNER.to_owned(), "bank-prod/bank-lending".to_owned());
    add_instance(&mut inventory, "bank-lending", "available", of_production);
    // Its name is like ours, its mark is of another instance: somebody has restored a snapshot of ours under it.
    add_instance(&mut inventory, "strongroom-drill-by-hand", "available", marks(&lease(1), long_ago));
    add_instance(&mut inventory, "other-drill-accounts", "available", marks(&lease(1), long_ago));
    // It goes already.
    add_instance(&mut inventory, lease(1).as_instance().as_str(), "deleting", marks(&lease(1), long_ago));
    assert_eq!(reaped(&policy, &inventory), [""; 0]);
    inventory.instances = Err(Unseen("throttled".to_owned()));
    assert_eq!(reaped(&policy, &inventory), [""; 0]);
}

#[test]
fn what_was_found_is_told_with_what_was_missed() {
    let policy = policy();
    let tell = |state| {
        let inventory = with(&policy, vec![stored(state, OwnerState::Dead)]);
        let findings = planned(&policy, &inventory).findings;
        findings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let slow = "warning: accounts: the last drill by snapshot: recovery took 40m, and the policy wants at most 30m";
    assert_eq!(tell(passed(now())), [slow]);
    let bad = DrillState::BackupBad { finished_at: now(), faults: vec!["table bank.a is missing".to_owned()] };
    assert_eq!(
        tell(bad),
        [
            "critical: accounts: the last drill by snapshot found the backup bad (table bank.a is missing): look at it, and \
             make another backup",
            slow
        ]
    );
    // Due for six weeks.
    assert!(
        tell(errored(now()))[0].starts_with("warning: accounts: the drill by snapshot that was due has no verdict")
    );
}
