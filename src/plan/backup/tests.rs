use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use super::*;
use crate::domain::inventory::{Complete, OpenUpload, ReplicaStore, Snapshot, StoredRun, Unseen};
use crate::domain::key::Layout;
use crate::domain::recovery_point::PointState;
use crate::domain::run::{Failure, OwnerState, RunState};
use crate::plan::action::Ending;
use crate::testing::{at, dump, dump_run, inventory, policy, snapshot, store, stored_dump};

mod beside;
mod manual;
mod slots;
mod under_way;

mod replica;

/// One source with one database, its instance up, and nothing backed up yet.
struct World {
    policy: Policy,
    inventory: Inventory,
    dumps: Vec<RecoveryPoint>,
    /// What the replica bucket shows, if there is one.
    replica: Option<Result<Vec<RecoveryPoint>, Unseen>>,
    runs: Vec<StoredRun>,
    uploads: Vec<OpenUpload>,
}

impl World {
    fn new() -> World {
        World::of(&[("accounts", &["accounts"])])
    }

    fn of(sources: &[(&str, &[&str])]) -> World {
        let policy = policy(sources);
        let mut inventory = inventory(&policy);
        inventory.snapshots = Ok(Complete::after_last_page(Vec::new()));
        let (dumps, runs, uploads) = (Vec::new(), Vec::new(), Vec::new());
        let mut world = World { policy, inventory, dumps, replica: None, runs, uploads };
        world.instances(|instance| {
            instance.status = "available".to_owned();
            instance.endpoint = Some(crate::domain::inventory::Endpoint { host: "db".to_owned(), port: 5432 });
        });
        world
    }

    fn instances(&mut self, change: impl Fn(&mut Instance)) {
        let mut instances: Vec<Instance> = self.inventory.instances.as_ref().unwrap().iter().cloned().collect();
        instances.iter_mut().for_each(change);
        self.inventory.instances = Ok(Complete::after_last_page(instances));
    }

    fn snapshots(&mut self, snapshots: Vec<Snapshot>) {
        self.inventory.snapshots = Ok(Complete::after_last_page(snapshots));
    }

    fn own_snapshot(&self, slot: &str) -> Snapshot {
        snapshot(&self.policy, self.policy.sources.values().next().unwrap(), slot)
    }

    fn snapshot_run(&self, slot: &str, owner: OwnerState) -> StoredRun {
        let own = self.own_snapshot(slot);
        let mut stored = dump_run("accounts", slot, owner);
        stored.record.run.kind = Kind::Snapshot;
        stored.record.run.database = None;
        stored.record.snapshot = Some(own.id);
        stored
    }

    fn plan(&self, now: &str) -> crate::plan::Plan {
        let mut inventory = self.inventory.clone();
        for (source, seen) in &mut inventory.stores {
            let of_source = |id: &SourceId| id == source;
            let mut own = store(
                self.dumps.iter().filter(|dump| of_source(&dump.source)).cloned().collect(),
                self.runs.iter().filter(|stored| of_source(&stored.record.source)).cloned().collect(),
                Vec::new(),
            );
            own.uploads = Complete::after_last_page(self.uploads.clone());
            own.replica = self.replica.clone().map(|seen| {
                let dumps = seen?.into_iter().map(stored_dump).collect();
                Ok(ReplicaStore { dumps: Complete::after_last_page(dumps) })
            });
            *seen = Ok(own);
        }
        crate::plan::plan(&self.policy, &inventory, at(now))
    }

    fn actions(&self, now: &str) -> Vec<String> {
        self.plan(now).actions.iter().map(ToString::to_string).collect()
    }

    fn reason(&self, now: &str, kind: Kind) -> String {
        let plan = self.plan(now);
        plan.decisions.iter().find(|decision| decision.kind == kind).unwrap().reason.to_string()
    }
}

fn failed(slot: &str, attempt: u32, finished_at: &str) -> StoredRun {
    let mut stored = dump_run("accounts", slot, OwnerState::Dead);
    stored.record.run.attempt = attempt;
    let failure =
        Failure { message: "pg_dump ended with exit status: 1".to_owned(), rds_events: Vec::new(), stopped_by: None };
    stored.record.state = RunState::Failed { finished_at: at(finished_at), failure };
    stored
}

const NOON: &str = "2026-11-23T12:00:00Z";

#[test]
fn after_downtime_the_latest_missed_slot_is_caught_up_and_earlier_ones_are_not() {
    insta::assert_snapshot!(World::new().actions(NOON).join("\n"), @r"
    dump database accounts of source accounts as run 20261101t040000z-dump-accounts-1
    create snapshot strongroom-accounts-20261122t030000z of instance bank-accounts
    ");
}

#[test]
fn a_filled_slot_plans_nothing_until_the_next() {
    let mut world = World::new();
    world.snapshots(vec![world.own_snapshot("2026-11-22T03:00:00Z")]);
    world.dumps = vec![dump("accounts", "2026-11-01T04:00:00Z", 10, PointState::Good)];
    assert_eq!(world.actions(NOON), Vec::<String>::new());
    assert_eq!(world.actions("2026-11-29T02:59:59Z"), Vec::<String>::new());
    assert_eq!(world.actions("2026-11-29T03:00:00Z").len(), 1);
}

#[test]
fn a_backup_by_hand_after_the_slot_fills_it() {
    let mut world = World::new();
    world.snapshots(vec![world.own_snapshot("2026-11-23T09:15:00Z")]);
    assert_eq!(world.reason(NOON, Kind::Snapshot), "slot 20261122t030000z is filled");
}

#[test]
fn a_point_from_the_future_does_not_silence_the_schedule() {
    let mut world = World::new();
    world.dumps = vec![dump("accounts", "2027-11-01T04:00:00Z", 10, PointState::Good)];
    assert!(world.reason(NOON, Kind::Dump).starts_with("starts now"));
}

#[rstest]
#[case::bad_dump(PointState::Bad { reason: "an object is missing".to_owned() })]
#[case::pending(PointState::Pending)]
fn what_is_not_good_fills_no_slot(#[case] state: PointState) {
    let mut world = World::new();
    world.dumps = vec![dump("accounts", "2026-11-01T04:00:00Z", 10, state)];
    assert!(world.reason(NOON, Kind::Dump).starts_with("starts now"));
}

#[test]
fn a_slot_that_was_never_filled_stays_overdue_when_the_next_comes_due() {
    let world = World::new();
    let overdue = |now: &str| world.plan(now).decisions.iter().all(|decision| decision.freshness.overdue);
    assert!(overdue("2026-11-28T12:00:00Z"));
    assert!(overdue("2026-11-29T03:00:01Z"), "a new slot, and still nothing");
}

#[test]
fn a_run_that_has_just_succeeded_is_not_repeated_because_its_point_is_not_listed_yet() {
    let mut world = World::new();
    let mut stored = dump_run("accounts", "2026-11-01T04:00:00Z", OwnerState::Alive);
    stored.record.state = RunState::Succeeded { finished_at: at("2026-11-23T11:59:00Z"), size_bytes: 1 };
    world.runs = vec![stored];
    assert!(world.reason(NOON, Kind::Dump).contains("not listed yet"));
    assert!(world.reason("2026-11-23T12:14:00Z", Kind::Dump).ends_with("dump-accounts-2"));
}

/// It is noon of the 23rd at AWS, whatever our clock shows: the weekly slot is that of the 22nd.
#[rstest]
#[case::a_year_ahead("2027-11-23T12:00:00Z")]
#[case::before_the_slot("2026-11-22T02:00:00Z")]
#[case::a_year_behind("2025-11-23T12:00:00Z")]
fn slots_come_due_by_the_clock_of_aws_where_ours_is_known_to_be_wrong(#[case] ours: &str) {
    let mut world = World::new();
    let ahead = at(NOON).duration_since(at(ours));
    world.inventory.clock_skew = Some(ahead);
    assert_eq!(world.reason(ours, Kind::Snapshot), "starts now as run 20261122t030000z-snapshot-1");
    world.snapshots(vec![world.own_snapshot("2026-11-22T03:00:00Z")]);
    assert_eq!(world.reason(ours, Kind::Snapshot), "slot 20261122t030000z is filled");
    let plan = world.plan(ours);
    assert!(!plan.decisions[0].freshness.overdue);
    assert!(
        plan.wake_at.duration_since(at(ours)).is_positive() && plan.wake_at.duration_since(at(ours)) <= ahead.abs()
    );
}

#[test]
fn a_clock_that_is_nearly_right_is_ours() {
    let mut world = World::new();
    world.inventory.clock_skew = Some(SignedDuration::from_mins(-5));
    assert!(world.reason("2026-11-22T03:00:01Z", Kind::Snapshot).contains("20261122t030000z"));
    world.inventory.clock_skew = Some(SignedDuration::from_mins(-6));
    assert!(world.reason("2026-11-22T03:00:01Z", Kind::Snapshot).contains("20261115t030000z"));
}

#[test]
fn what_will_refuse_the_next_slot_is_told_while_the_present_one_is_filled() {
    let mut world = World::new();
    world.dumps = vec![dump("accounts", "2026-11-01T04:00:00Z", 10, PointState::Good)];
    world.instances(|instance| instance.engine_version = "18.1".to_owned());
    assert!(world.reason(NOON, Kind::Dump).contains("cannot dump a server of version 18"));
}

#[test]
fn backups_of_a_former_instance_of_the_name_do_not_count() {
    let mut world = World::new();
    world.snapshots(vec![world.own_snapshot("2026-11-22T03:00:00Z")]);
    world.dumps = vec![dump("accounts", "2026-11-01T04:00:00Z", 10, PointState::Good)];
    world.instances(|instance| instance.resource = "db-NEW".parse().unwrap());
    assert_eq!(world.actions(NOON).len(), 2);
    let freshness = &world.plan(NOON).decisions[0].freshness;
    assert_eq!((freshness.newest_at, freshness.overdue), (None, true));
}

#[test]
fn a_snapshot_that_only_carries_copied_tags_does_not_count() {
    let mut world = World::new();
    let mut by_hand = world.own_snapshot("2026-11-22T03:00:00Z");
    by_hand.id = "before-the-release".parse().unwrap();
    world.snapshots(vec![by_hand]);
    assert!(world.reason(NOON, Kind::Snapshot).starts_with("starts now"));
}

#[test]
fn a_failed_attempt_is_repeated_after_its_back_off_under_the_next_number() {
    let mut world = World::new();
    world.runs = vec![failed("2026-11-01T04:00:00Z", 1, "2026-11-23T11:59:30Z")];
    insta::assert_snapshot!(world.reason(NOON, Kind::Dump), @"slot 20261101t040000z failed 1 time(s), next attempt at 2026-11-23T12:00:30Z: pg_dump ended with exit status: 1");
    assert_eq!(world.plan(NOON).wake_at, at("2026-11-23T12:00:30Z"));
    assert!(world.reason("2026-11-23T12:00:30Z", Kind::Dump).ends_with("dump-accounts-2"));
}

#[test]
fn attempts_go_on_at_a_slow_pace_and_the_next_slot_starts_anew() {
    let mut world = World::new();
    world.runs = (1..=8).map(|attempt| failed("2026-11-01T04:00:00Z", attempt, "2026-11-02T00:00:00Z")).collect();
    assert!(world.reason("2026-11-02T05:59:59Z", Kind::Dump).contains("next attempt at 2026-11-02T06:00:00Z"));
    assert!(world.reason("2026-11-02T06:00:00Z", Kind::Dump).ends_with("20261101t040000z-dump-accounts-9"));
    assert!(world.reason("2026-12-01T04:00:00Z", Kind::Dump).ends_with("20261201t040000z-dump-accounts-1"));
}

#[test]
fn a_slot_whose_start_deadline_has_passed_is_reported_missed() {
    let mut world = World::new();
    for obligation in &mut world.policy.sources.values_mut().next().unwrap().obligations {
        obligation.start_deadline = Some(SignedDuration::from_hours(6));
    }
    assert_eq!(world.actions(NOON), Vec::<String>::new());
    insta::assert_snapshot!(world.reason(NOON, Kind::Snapshot), @"slot 20261122t030000z was missed: it could not start by 2026-11-22T09:00:00Z; `strongroom backup` makes one now");
}

#[rstest]
#[case::storage_optimization("storage-optimization", true)]
#[case::backing_up("backing-up", false)]
#[case::modifying("modifying", false)]
#[case::unheard_of("quantum-rebalancing", false)]
fn a_snapshot_starts_only_from_states_that_rds_takes_one_in(#[case] status: &str, #[case] starts: bool) {
    let mut world = World::new();
    world.instances(|instance| instance.status = status.to_owned());
    assert_eq!(world.reason(NOON, Kind::Snapshot).starts_with("starts now"), starts);
}

#[test]
fn a_client_older_than_the_server_is_refused_by_name_before_any_run() {
    let mut world = World::new();
    world.instances(|instance| instance.engine_version = "18.1".to_owned());
    insta::assert_snapshot!(world.reason(NOON, Kind::Dump), @"pg_dump 17 cannot dump a server of version 18: install postgresql-client-18 and set `postgres.bin_dir`");
}

#[rstest]
#[case::dead(OwnerState::Dead, true)]
#[case::of_this_process_but_not_in_its_hands(OwnerState::This, true)]
#[case::alive(OwnerState::Alive, false)]
#[case::elsewhere_with_a_lease(OwnerState::Elsewhere, false)]
fn a_dump_is_closed_as_abandoned_only_if_its_process_is_gone(#[case] owner: OwnerState, #[case] closed: bool) {
    let mut world = World::new();
    world.runs = vec![dump_run("accounts", "2026-11-23T11:59:00Z", owner)];
    let closes = world
        .plan(NOON)
        .actions
        .iter()
        .any(|action| matches!(action, Action::CloseRun(close) if close.ending == Ending::Abandoned));
    assert_eq!(closes, closed);
    assert!(world.reason(NOON, Kind::Dump).contains("is under way"), "no second run beside it");
}

#[test]
fn a_run_elsewhere_whose_lease_has_ended_is_closed() {
    let mut world = World::new();
    let mut stored = dump_run("accounts", "2026-11-23T11:59:00Z", OwnerState::Elsewhere);
    stored.unchanged_for = SignedDuration::from_mins(15);
    world.runs = vec![stored.clone()];
    assert_eq!(world.actions(NOON).len(), 1, "the snapshot that is due");
    stored.unchanged_for += SignedDuration::from_secs(1);
    world.runs = vec![stored];
    assert_eq!(world.actions(NOON).len(), 2, "and the end of the run");
}

#[test]
fn a_process_that_died_after_its_manifest_has_succeeded() {
    let mut world = World::new();
    let stored = dump_run("accounts", "2026-11-01T04:00:00Z", OwnerState::Dead);
    let mut point = dump("accounts", "2026-11-01T04:00:00Z", 10, PointState::Good);
    point.run = Some(stored.record.run.clone());
    world.dumps = vec![point];
    world.runs = vec![stored];
    let plan = world.plan(NOON);
    assert!(plan.actions.iter().any(|action| {
        matches!(action, Action::CloseRun(close) if close.ending == Ending::DumpCommitted { size_bytes: 10 })
    }));
}

#[test]
fn a_first_crash_is_repeated_at_once_and_a_second_one_backs_off() {
    let abandoned = |attempt: u32, finished_at: &str| {
        let mut stored = failed("2026-11-01T04:00:00Z", attempt, finished_at);
        stored.record.state = RunState::Abandoned { finished_at: at(finished_at) };
        stored
    };
    let mut world = World::new();
    world.runs = vec![abandoned(1, "2026-11-23T11:59:59Z")];
    assert!(world.reason(NOON, Kind::Dump).ends_with("dump-accounts-2"));
    world.runs.push(abandoned(2, "2026-11-23T11:59:59Z"));
    assert!(world.reason(NOON, Kind::Dump).contains("next attempt at 2026-11-23T12:00:59Z"));
}

/// What RDS shows about the snapshot of a claimed run, and what follows.
#[rstest]
#[case::available("available", OwnerState::Dead, "record success of run")]
#[case::failed("failed", OwnerState::Alive, "record failure of run")]
#[case::creating("creating", OwnerState::Dead, "")]
#[case::unheard_of("quantum-copying", OwnerState::Dead, "")]
fn a_snapshot_under_way_is_judged_by_what_rds_shows(
    #[case] status: &str,
    #[case] owner: OwnerState,
    #[case] expected: &str,
) {
    let mut world = World::new();
    let slot = "2026-11-22T03:00:00Z";
    let mut own = world.own_snapshot(slot);
    own.status = status.to_owned();
    world.snapshots(vec![own]);
    world.runs = vec![world.snapshot_run(slot, owner)];
    world.dumps = vec![dump("accounts", "2026-11-01T04:00:00Z", 10, PointState::Good)];
    let actions = world.actions("2026-11-22T05:00:00Z").join("\n");
    assert_eq!(actions.is_empty(), expected.is_empty(), "{actions}");
    assert!(actions.starts_with(expected), "{actions}");
}

#[test]
fn a_snapshot_whose_request_was_lost_is_asked_for_again_under_the_same_id() {
    let mut world = World::new();
    world.dumps = vec![dump("accounts", "2026-11-01T04:00:00Z", 10, PointState::Good)];
    world.runs = vec![world.snapshot_run("2026-11-22T03:00:00Z", OwnerState::Dead)];
    let actions = world.actions("2026-11-22T03:01:00Z");
    assert_eq!(actions, ["ask again for snapshot strongroom-accounts-20261122t030000z of instance bank-accounts"]);
    world.runs = vec![world.snapshot_run("2026-11-22T03:00:00Z", OwnerState::Alive)];
    assert_eq!(world.actions("2026-11-22T03:01:00Z"), Vec::<String>::new(), "its process may be about to ask");
}

#[test]
fn a_snapshot_stuck_past_its_deadline_fails_and_is_repeated_under_another_id() {
    let mut world = World::new();
    let slot = "2026-11-22T03:00:00Z";
    let mut own = world.own_snapshot(slot);
    own.status = "creating".to_owned();
    world.snapshots(vec![own]);
    let mut stored = world.snapshot_run(slot, OwnerState::Alive);
    world.runs = vec![stored.clone()];
    world.dumps = vec![dump("accounts", "2026-11-01T04:00:00Z", 10, PointState::Good)];
    let late = "2026-11-22T15:00:01Z";
    assert!(world.actions(late)[0].contains("was still `creating` at its deadline"));
    let failure = Failure { message: "stuck".to_owned(), rds_events: Vec::new(), stopped_by: None };
    stored.record.state = RunState::Failed { finished_at: at(late), failure };
    world.runs = vec![stored];
    assert_eq!(
        world.actions("2026-11-22T15:01:01Z"),
        ["create snapshot strongroom-accounts-20261122t030000z-2 of instance bank-accounts"]
    );
}

#[test]
fn a_foreign_snapshot_under_our_id_fails_the_run_and_is_left_alone() {
    let mut world = World::new();
    let slot = "2026-11-22T03:00:00Z";
    let mut foreign = world.own_snapshot(slot);
    foreign.tags.clear();
    foreign.created_at = Some(at("2026-11-22T02:00:00Z"));
    world.snapshots(vec![foreign]);
    world.runs = vec![world.snapshot_run(slot, OwnerState::Alive)];
    let plan = world.plan("2026-11-22T05:00:00Z");
    assert!(plan.actions[0].to_string().contains("was not made by this installation"));
    assert!(plan.points.is_empty(), "it is nobody's recovery point");
}

#[rstest]
#[case::instances(|inventory: &mut Inventory| inventory.instances = Err(Unseen("throttled".to_owned())))]
#[case::snapshots(|inventory: &mut Inventory| inventory.snapshots = Err(Unseen("throttled".to_owned())))]
#[case::pg_dump(|inventory: &mut Inventory| inventory.pg_dump = Err(Unseen("not found".to_owned())))]
fn what_cannot_be_seen_starts_nothing_that_depends_on_it(#[case] hide: fn(&mut Inventory)) {
    let mut world = World::new();
    hide(&mut world.inventory);
    let plan = world.plan(NOON);
    assert_eq!(plan.unseen.len(), 1);
    assert!(plan.actions.len() < 2, "{:?}", plan.actions);
}

#[test]
fn a_store_that_cannot_be_read_starts_nothing_of_its_source() {
    let world = World::new();
    let mut inventory = world.inventory.clone();
    for seen in inventory.stores.values_mut() {
        *seen = Err(Unseen("access denied".to_owned()));
    }
    let plan = crate::plan::plan(&world.policy, &inventory, at(NOON));
    assert!(plan.actions.is_empty());
    assert!(plan.decisions.iter().all(|decision| decision.reason.to_string() == "undecided: access denied"));
}

#[test]
fn databases_of_one_source_are_dumped_one_after_the_other() {
    let world = World::of(&[("accounts", &["accounts", "audit"])]);
    let dumps = world.plan(NOON).actions.iter().filter(|action| matches!(action, Action::StartDump(_))).count();
    assert_eq!(dumps, 1);
}

#[test]
fn no_more_runs_start_than_the_limit_allows_and_the_longest_due_go_first() {
    let mut world = World::of(&[("accounts", &["accounts"]), ("cards", &["cards"]), ("loans", &["loans"])]);
    world.policy.limits.concurrent_runs = 2;
    let actions = world.actions(NOON);
    assert_eq!(actions.len(), 2);
    assert!(actions.iter().all(|action| action.starts_with("dump database")), "the dumps are due since the 1st");
    assert!(world.reason(NOON, Kind::Snapshot).contains("2 run(s) are under way"));
}

#[test]
fn an_upload_is_aborted_only_when_its_run_is_over() {
    let mut world = World::new();
    let stored = failed("2026-11-01T04:00:00Z", 1, "2026-11-23T11:59:30Z");
    let id = DumpId {
        source: "accounts".parse().unwrap(),
        database: "accounts".parse().unwrap(),
        slot: stored.record.run.slot,
    };
    let key = Layout::new("strongroom").dump_object(&id, &stored.record.run, "archive.dump.zst");
    world.uploads = vec![OpenUpload { key, upload: "u".to_owned() }];
    let aborts = |world: &World| world.actions(NOON).iter().filter(|action| action.starts_with("abort")).count();
    assert_eq!(aborts(&world), 0, "without a record nobody knows whose it is");
    world.runs = vec![dump_run("accounts", "2026-11-01T04:00:00Z", OwnerState::Alive)];
    assert_eq!(aborts(&world), 0, "its run goes on");
    world.runs = vec![stored];
    assert_eq!(aborts(&world), 1);
}

#[test]
fn a_person_meets_the_same_rules_as_the_schedule() {
    let mut world = World::new();
    let now: Timestamp = at(NOON);
    let source: SourceId = "accounts".parse().unwrap();
    let ask = |world: &World, source: &SourceId| {
        let mut inventory = world.inventory.clone();
        let own = store(Vec::new(), world.runs.clone(), Vec::new());
        inventory.stores.insert(source.clone(), Ok(own));
        manual(&world.policy, &inventory, source, &Task::Snapshot, now).map(|action| action.to_string())
    };
    assert_eq!(
        ask(&world, &source).unwrap(),
        "create snapshot strongroom-accounts-20261123t120000z of instance bank-accounts"
    );
    world.inventory.clock_skew = Some(SignedDuration::from_hours(-24 * 365));
    assert!(
        ask(&world, &source).unwrap().contains("strongroom-accounts-20251123t120000z"),
        "our clock is a year ahead"
    );
    world.inventory.clock_skew = Some(SignedDuration::ZERO);
    assert!(matches!(ask(&world, &"nobody".parse().unwrap()), Err(Refusal::UnknownSource(_))));
    world.runs = vec![world.snapshot_run("2026-11-22T03:00:00Z", OwnerState::Alive)];
    assert!(matches!(ask(&world, &source), Err(Refusal::NotNow(Reason::Running { .. }))));
    let mut ended = world.snapshot_run(NOON, OwnerState::Alive);
    ended.record.state = RunState::Succeeded { finished_at: now, size_bytes: 1 };
    world.runs = vec![ended];
    assert!(ask(&world, &source).unwrap().contains("strongroom-accounts-20261123t120001z"), "two in one second");
    world.runs.clear();
    world.instances(|instance| instance.status = "modifying".to_owned());
    assert!(matches!(ask(&world, &source), Err(Refusal::NotNow(Reason::InstanceNotReady { .. }))));
}
