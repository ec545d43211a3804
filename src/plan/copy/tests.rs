use rstest::rstest;

use super::*;
use crate::domain::id::RegionName;
use crate::domain::inventory::{Complete, ReplicaStore, Unseen};
use crate::plan::{Plan, plan};
use crate::policy::ReplicaPolicy;
use crate::policy::retention::Retention;
use crate::testing::{dump, inventory, now, policy as promises, snapshot, store, stored_dump};

const NEWEST: &str = "2026-11-22T03:00:00Z";
const SECOND: &str = "2026-11-15T03:00:00Z";
const THIRD: &str = "2026-11-08T03:00:00Z";

fn west() -> RegionName {
    "us-west-2".parse().unwrap()
}

fn policy() -> Policy {
    let mut policy = promises(&[("accounts", &["accounts"])]);
    let copies = SnapshotCopies { region: west(), kms_key: Some("alias/dr".to_owned()), retention: Retention::KeepAll };
    policy.sources.values_mut().next().unwrap().obligations[0].copies = vec![copies];
    policy
}

fn snapshots(policy: &Policy, slots: &[&str]) -> Vec<Snapshot> {
    let source = policy.sources.values().next().unwrap();
    let of_slot = |slot: &&str| {
        let snapshot = snapshot(policy, source, slot);
        Snapshot { arn: Some(format!("arn:aws:rds:us-east-1:1:snapshot:{}", snapshot.id)), ..snapshot }
    };
    slots.iter().map(of_slot).collect()
}

/// Snapshots in the source's region, and what the second region shows.
fn seen(policy: &Policy, here: &[&str], there: Vec<Snapshot>) -> Inventory {
    let mut inventory = inventory(policy);
    inventory.snapshots = Ok(Complete::after_last_page(snapshots(policy, here)));
    inventory.copies = [(west(), Ok(Complete::after_last_page(there)))].into();
    inventory
}

fn copies(plan: &Plan) -> Vec<&CopySnapshot> {
    let copies = plan
        .actions
        .iter()
        .filter_map(|action| if let Action::CopySnapshot(copy) = action { Some(copy) } else { None });
    copies.collect()
}

#[test]
fn the_first_copy_is_of_the_newest_snapshot_with_marks_of_its_own() {
    let policy = policy();
    let plan = plan(&policy, &seen(&policy, &[NEWEST, SECOND, THIRD], Vec::new()), now());
    let [copy] = copies(&plan)[..] else { panic!("{:?}", plan.actions) };
    assert_eq!(copy.origin.as_str(), "strongroom-accounts-20261122t030000z");
    assert_eq!(copy.target, copy.origin);
    assert_eq!((copy.region.clone(), copy.kms_key.as_deref()), (west(), Some("alias/dr")));
    assert!(tags::prove_ownership(&copy.tags, &policy.installation, &copy.target));
    assert_eq!(copy.tags.get(tags::SLOT).map(String::as_str), Some("20261122t030000z"));
}

#[test]
fn what_is_newer_than_the_newest_copy_is_copied_the_oldest_first_and_one_at_a_time() {
    let policy = policy();
    let mut there = snapshots(&policy, &[THIRD]);
    let planned = |there: Vec<Snapshot>| plan(&policy, &seen(&policy, &[NEWEST, SECOND, THIRD], there), now());
    let first = planned(there.clone());
    assert_eq!(copies(&first)[0].origin.as_str(), "strongroom-accounts-20261115t030000z");
    there.push(Snapshot { status: "copying".to_owned(), ..snapshots(&policy, &[SECOND]).remove(0) });
    let waiting = planned(there.clone());
    assert!(copies(&waiting).is_empty(), "one is under way");
    assert!(waiting.wake_at <= now() + policy.cadence.poll_interval, "and is looked at soon");
    there[1].status = "available".to_owned();
    assert_eq!(copies(&planned(there.clone()))[0].origin.as_str(), "strongroom-accounts-20261122t030000z");
    there.extend(snapshots(&policy, &[NEWEST]));
    assert!(copies(&planned(there)).is_empty(), "all is copied");
}

#[test]
fn a_failed_copy_is_made_again_under_another_id_and_a_foreign_one_is_left_alone() {
    let policy = policy();
    let mut there = snapshots(&policy, &[NEWEST]);
    there[0].status = "failed".to_owned();
    let mut foreign = there[0].clone();
    foreign.id = "strongroom-accounts-20261122t030000z-c2".parse().unwrap();
    foreign.tags.clear();
    foreign.status = "available".to_owned();
    there.push(foreign);
    let plan = plan(&policy, &seen(&policy, &[NEWEST], there), now());
    let [copy] = copies(&plan)[..] else { panic!("{:?}", plan.actions) };
    assert_eq!(copy.target.as_str(), "strongroom-accounts-20261122t030000z-c3");
    assert!(tags::prove_ownership(&copy.tags, &policy.installation, &copy.target));
}

#[rstest]
#[case(19, 1)]
#[case(20, 0)]
fn a_region_takes_twenty_copies_at_once_whoever_makes_them(#[case] under_way: usize, #[case] planned: usize) {
    let policy = policy();
    let of_others = (0..under_way).map(|number| {
        let mut copy = snapshots(&policy, &[NEWEST]).remove(0);
        copy.id = format!("others-{number}").parse().unwrap();
        copy.tags.clear();
        copy.status = "copying".to_owned();
        copy
    });
    let plan = plan(&policy, &seen(&policy, &[NEWEST], of_others.collect()), now());
    assert_eq!(copies(&plan).len(), planned);
}

#[test]
fn what_cannot_be_seen_is_not_copied() {
    let policy = policy();
    let mut inventory = seen(&policy, &[NEWEST], Vec::new());
    inventory.copies = [(west(), Err(Unseen("no answer".to_owned())))].into();
    assert!(copies(&plan(&policy, &inventory, now())).is_empty());
    let mut inventory = seen(&policy, &[NEWEST], Vec::new());
    inventory.snapshots = Err(Unseen("no answer".to_owned()));
    assert!(copies(&plan(&policy, &inventory, now())).is_empty());
}

#[test]
fn neither_a_snapshot_in_the_making_nor_one_of_a_former_instance_nor_a_dump_is_copied_for_one() {
    let policy = policy();
    let in_the_making =
        |own: Snapshot| Snapshot { status: "creating".to_owned(), created_at: None, stored_at: None, ..own };
    let of_a_former_instance = |own: Snapshot| Snapshot { resource: Some("db-BEFORE".parse().unwrap()), ..own };
    let origin = |newest: Snapshot| {
        let mut all = snapshots(&policy, &[SECOND]);
        all.push(newest);
        let mut inventory = seen(&policy, &[], Vec::new());
        inventory.snapshots = Ok(Complete::after_last_page(all));
        for own in inventory.stores.values_mut() {
            let newer_dump = dump("accounts", "2026-11-23T04:00:00Z", 100, PointState::Good);
            *own = Ok(store(vec![newer_dump], Vec::new(), Vec::new()));
        }
        let plan = plan(&policy, &inventory, now());
        copies(&plan).iter().map(|copy| copy.origin.to_string()).collect::<Vec<_>>()
    };
    let newest = || snapshots(&policy, &[NEWEST]).remove(0);
    assert_eq!(origin(newest()), ["strongroom-accounts-20261122t030000z"]);
    for newest in [in_the_making(newest()), of_a_former_instance(newest())] {
        assert_eq!(origin(newest), ["strongroom-accounts-20261115t030000z"]);
    }
}

#[test]
fn copies_that_begin_in_one_round_count_among_the_twenty() {
    let mut policy = promises(&[("accounts", &[]), ("cards", &[])]);
    for source in policy.sources.values_mut() {
        source.obligations[0].copies =
            vec![SnapshotCopies { region: west(), kms_key: None, retention: Retention::KeepAll }];
    }
    let under_way = |count: usize| {
        let of_others = (0..count).map(|number| {
            let id = format!("others-{number}").parse().unwrap();
            let status = "copying".to_owned();
            Snapshot { id, status, tags: tags::Tags::new(), ..snapshots(&policy, &[NEWEST]).remove(0) }
        });
        let mut inventory = inventory(&policy);
        let own = policy.sources.values().map(|source| {
            let snapshot = snapshot(&policy, source, NEWEST);
            Snapshot { arn: Some(format!("arn:aws:rds:us-east-1:1:snapshot:{}", snapshot.id)), ..snapshot }
        });
        inventory.snapshots = Ok(Complete::after_last_page(own.collect()));
        inventory.copies = [(west(), Ok(Complete::after_last_page(of_others.collect())))].into();
        copies(&plan(&policy, &inventory, now())).len()
    };
    assert_eq!((under_way(18), under_way(19)), (2, 1));
}

#[test]
fn the_last_snapshots_of_an_instance_that_is_lost_are_copied_all_the_same() {
    let policy = policy();
    let mut inventory = seen(&policy, &[NEWEST], Vec::new());
    inventory.instances = Ok(Complete::after_last_page(Vec::new()));
    assert_eq!(copies(&plan(&policy, &inventory, now())).len(), 1);
}

#[test]
fn a_copy_that_is_missing_after_a_day_is_a_finding() {
    let policy = policy();
    let mut inventory = seen(&policy, &[NEWEST], Vec::new());
    let finding = |inventory: &Inventory| {
        plan(&policy, inventory, now()).findings.iter().any(|finding| finding.check == Check::SnapshotCopy)
    };
    assert!(finding(&inventory), "the snapshot is 33 hours old");
    let mut young = snapshots(&policy, &[NEWEST]);
    young[0].stored_at = Some(now() - COPY_LATE);
    inventory.snapshots = Ok(Complete::after_last_page(young));
    assert!(!finding(&inventory));
}

fn with_replica(mode: ReplicaMode) -> Policy {
    let mut policy = promises(&[("accounts", &["accounts"])]);
    policy.destination.replica =
        Some(ReplicaPolicy { bucket: "bank-dr".to_owned(), region: west(), mode, kms_key: None });
    policy
}

fn dumps(slots: &[&str]) -> Vec<StoredDump> {
    slots.iter().map(|slot| stored_dump(dump("accounts", slot, 100, PointState::Good))).collect()
}

fn in_buckets(policy: &Policy, here: Vec<StoredDump>, there: Vec<StoredDump>) -> Inventory {
    let mut inventory = inventory(policy);
    let mut store = store(Vec::new(), Vec::new(), Vec::new());
    store.dumps = Complete::after_last_page(here);
    store.replica = Some(Ok(ReplicaStore { dumps: Complete::after_last_page(there) }));
    inventory.stores = [(policy.sources.keys().next().unwrap().clone(), Ok(store))].into();
    inventory
}

fn copied_dumps(policy: &Policy, inventory: &Inventory) -> Vec<String> {
    let plan = plan(policy, inventory, now());
    let copies = plan.actions.iter().filter(|action| matches!(action, Action::CopyDump(_)));
    copies.map(ToString::to_string).collect()
}

#[test]
fn where_strongroom_copies_dumps_it_copies_what_is_newer_than_the_newest_copy() {
    let policy = with_replica(ReplicaMode::Copied);
    let here = dumps(&["2026-11-01T04:00:00Z", "2026-10-01T04:00:00Z", "2026-09-01T04:00:00Z"]);
    let first = copied_dumps(&policy, &in_buckets(&policy, here.clone(), Vec::new()));
    assert_eq!(first, ["copy dump accounts/accounts/20261101t040000z to us-west-2"]);
    let there = dumps(&["2026-09-01T04:00:00Z"]);
    let next = copied_dumps(&policy, &in_buckets(&policy, here.clone(), there));
    assert_eq!(next, ["copy dump accounts/accounts/20261001t040000z to us-west-2"]);
    assert!(copied_dumps(&policy, &in_buckets(&policy, here.clone(), here.clone())).is_empty());
    let by_s3 = with_replica(ReplicaMode::Replicated);
    assert!(copied_dumps(&by_s3, &in_buckets(&by_s3, here, Vec::new())).is_empty(), "S3 does it by itself");
}

#[test]
fn neither_a_bad_dump_nor_one_that_was_proven_there_before_is_copied() {
    let policy = with_replica(ReplicaMode::Copied);
    let older = "copy dump accounts/accounts/20261001t040000z to us-west-2";
    let copied = |newest: fn(&mut StoredDump)| {
        let mut here = dumps(&["2026-11-01T04:00:00Z", "2026-10-01T04:00:00Z"]);
        newest(&mut here[0]);
        copied_dumps(&policy, &in_buckets(&policy, here, Vec::new()))
    };
    assert_eq!(copied(|newest| newest.point.state = PointState::Bad { reason: "flipped".to_owned() }), [older]);
    assert_eq!(copied(|newest| newest.other_plane_proven = true), [older], "it may have been pruned there since");
}

#[rstest]
#[case::young(Replication::Pending, 60, None)]
#[case::late(Replication::Pending, 61, Some(Severity::Warning))]
#[case::late_for_a_whole_day(Replication::Pending, 24 * 60, Some(Severity::Warning))]
#[case::lost(Replication::Pending, 24 * 60 + 1, Some(Severity::Critical))]
#[case::failed(Replication::Failed, 1, Some(Severity::Critical))]
#[case::no_rule(Replication::NoRule, 1, Some(Severity::Critical))]
#[case::just_done(Replication::Completed, 60, None)]
#[case::done_elsewhere(Replication::Completed, 61, Some(Severity::Warning))]
fn each_way_in_which_replication_goes_wrong_is_told(
    #[case] status: Replication,
    #[case] age_minutes: i64,
    #[case] expected: Option<Severity>,
) {
    let policy = with_replica(ReplicaMode::Replicated);
    let mut here = dumps(&["2026-11-01T04:00:00Z"]);
    here[0].replication = Some(status);
    here[0].point.stored_at = Some(now() - SignedDuration::from_mins(age_minutes));
    let plan = plan(&policy, &in_buckets(&policy, here, Vec::new()), now());
    let found = plan.findings.iter().find(|finding| finding.check == Check::Replication);
    assert_eq!(found.map(|finding| finding.severity), expected, "{:?}", plan.findings);
}
