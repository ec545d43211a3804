mod evidence;
mod limits;
mod sweeping;
mod telling;

use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use super::*;
use crate::domain::id::{ResourceId, Slot};
use crate::domain::inventory::{ReplicaStore, Replication, Snapshot, Unseen};
use crate::domain::key::DumpId;
use crate::domain::prune_record::{ObjectVersion, PRUNE_RECORD_VERSION, PruneRecord};
use crate::domain::recovery_point::PointState;
use crate::domain::run::{OwnerState, RunState};
use crate::domain::verification::Level;
use crate::plan::{Plan, plan_in_mode};
use crate::policy::retention::RetentionPolicy;
use crate::policy::{ReplicaMode, ReplicaPolicy, SnapshotCopies};
use crate::testing::{
    at, dump, dump_run, inventory, keep_nothing, now, policy as promises, region, remains, snapshot, store,
    stored_dump, verified,
};

/// The newest three stay, of each kind and in each plane.
fn keep_three() -> Retention {
    let (keep_last, min_age) = (NonZeroU32::new(3), SignedDuration::from_hours(24));
    Retention::Rules(RetentionPolicy { keep_last, min_age, ..keep_nothing() })
}

fn policy() -> Policy {
    let mut policy = promises(&[("accounts", &["accounts"])]);
    for source in policy.sources.values_mut() {
        for obligation in &mut source.obligations {
            obligation.retention = keep_three();
            obligation.replica_retention = keep_three();
        }
    }
    policy
}

fn source(policy: &Policy) -> &SourcePolicy {
    policy.sources.values().next().unwrap()
}

/// The last Sundays, the newest first, as slots of snapshots.
const SUNDAYS: [&str; 6] = [
    "2026-11-22T03:00:00Z",
    "2026-11-15T03:00:00Z",
    "2026-11-08T03:00:00Z",
    "2026-11-01T03:00:00Z",
    "2026-10-25T03:00:00Z",
    "2026-10-18T03:00:00Z",
];

/// The first days of the last months.
const FIRSTS: [&str; 5] = [
    "2026-11-01T04:00:00Z",
    "2026-10-01T04:00:00Z",
    "2026-09-01T04:00:00Z",
    "2026-08-01T04:00:00Z",
    "2026-07-01T04:00:00Z",
];

fn snapshots(policy: &Policy, slots: &[&str]) -> Complete<Snapshot> {
    Complete::after_last_page(slots.iter().map(|slot| snapshot(policy, source(policy), slot)).collect())
}

fn dumps(slots: &[&str]) -> Vec<RecoveryPoint> {
    slots.iter().map(|slot| dump("accounts", slot, 100, PointState::Good)).collect()
}

/// Four snapshots and four dumps of which the newest three are kept: one of each has expired.
fn seen(policy: &Policy) -> Inventory {
    let mut inventory = inventory(policy);
    inventory.snapshots = Ok(snapshots(policy, &SUNDAYS[..4]));
    inventory.stores = [(source(policy).id.clone(), Ok(store(dumps(&FIRSTS[..4]), Vec::new(), Vec::new())))].into();
    inventory
}

fn of_accounts(inventory: &mut Inventory) -> &mut crate::domain::inventory::SourceStore {
    inventory.stores.values_mut().next().unwrap().as_mut().unwrap()
}

fn planned(policy: &Policy, inventory: &Inventory) -> Plan {
    plan_in_mode(policy, inventory, Mode::Automatic, now())
}

/// What is deleted, by id and region.
fn deleted(plan: &Plan) -> Vec<String> {
    let deletions = plan.actions.iter().filter(|action| action.deletes_a_point());
    deletions.map(|action| action.subject().to_string()).collect()
}

fn holds(plan: &Plan) -> Vec<Hold> {
    let held = plan.retention.iter().filter_map(|decision| match &decision.fate {
        PointFate::Held(hold) => Some(hold.clone()),
        PointFate::Kept(_) | PointFate::Deleted => None,
    });
    held.collect()
}

#[test]
fn what_no_rule_keeps_is_deleted_when_nothing_speaks_against_it() {
    let policy = policy();
    let plan = planned(&policy, &seen(&policy));
    assert_eq!(
        deleted(&plan),
        ["accounts/accounts/20260801t040000z in us-east-1", "strongroom-accounts-20261101t030000z in us-east-1"]
    );
    assert_eq!(plan.retention.len(), 8, "every recovery point has its decision");
    assert!(plan.findings.is_empty(), "{:?}", plan.findings);
}

#[test]
fn of_what_was_planned_the_newest_good_and_the_newest_verified_are_never_part() {
    let mut policy = policy();
    for obligation in &mut policy.sources.values_mut().next().unwrap().obligations {
        let Retention::Rules(rules) = &mut obligation.retention else { unreachable!() };
        rules.keep_last = NonZeroU32::new(1);
    }
    let mut inventory = seen(&policy);
    let mut points = dumps(&FIRSTS[..4]);
    points[3].verified_at = Some(at("2026-08-02T00:00:00Z"));
    inventory.stores = [(source(&policy).id.clone(), Ok(store(points, Vec::new(), Vec::new())))].into();
    let deleted = deleted(&planned(&policy, &inventory));
    assert!(
        !deleted.iter().any(|id| id.contains("20260801t040000z") || id.contains("20261101t040000z")),
        "{deleted:?}"
    );
    assert!(!deleted.iter().any(|id| id.contains("20261122t030000z")), "{deleted:?}");
    assert_eq!(deleted.len(), 5);
}

fn blind() -> Unseen {
    Unseen("page 2 of the listing failed".to_owned())
}

/// Something that goes wrong, and what it must do to deletions.
type Trouble = fn(&mut Policy, &mut Inventory);

#[rstest]
#[case::instances_unseen(|_: &mut Policy, seen: &mut Inventory| seen.instances = Err(blind()), Hold::Unseen(blind()))]
#[case::copies_unseen(|_: &mut Policy, seen: &mut Inventory| { seen.copies.insert("us-west-2".parse().unwrap(), Err(blind())); }, Hold::Unseen(blind()))]
#[case::record_refused(|_: &mut Policy, seen: &mut Inventory| of_accounts(seen).refused = Some(blind()), Hold::Unseen(blind()))]
#[case::replica_unseen(|_: &mut Policy, seen: &mut Inventory| of_accounts(seen).replica = Some(Err(blind())), Hold::Unseen(blind()))]
#[case::aws_time_unknown(|_: &mut Policy, seen: &mut Inventory| seen.clock_skew = None, Hold::ClockSkew { ahead: None })]
#[case::clock_behind(
    |_: &mut Policy, seen: &mut Inventory| seen.clock_skew = Some(SignedDuration::from_secs(301)),
    Hold::ClockSkew { ahead: Some(SignedDuration::from_secs(301)) }
)]
#[case::clock_ahead(
    |_: &mut Policy, seen: &mut Inventory| seen.clock_skew = Some(SignedDuration::from_secs(-301)),
    Hold::ClockSkew { ahead: Some(SignedDuration::from_secs(-301)) }
)]
#[case::retention_just_changed(
    |_: &mut Policy, seen: &mut Inventory| seen.retention_known_for.values_mut().for_each(|known| *known = SignedDuration::from_secs(3599)),
    Hold::Settling { settle: SignedDuration::from_hours(1) }
)]
#[case::retention_never_seen(|_: &mut Policy, seen: &mut Inventory| seen.retention_known_for.clear(), Hold::Settling { settle: SignedDuration::from_hours(1) })]
#[case::suspended(
    |policy: &mut Policy, _: &mut Inventory| {
        policy.sources.values_mut().flat_map(|source| &mut source.obligations).for_each(|own| own.suspended = true);
    },
    Hold::Suspended
)]
#[case::switched_off(|policy: &mut Policy, _: &mut Inventory| policy.prune.automatic = false, Hold::NotAutomatic)]
fn whatever_is_in_doubt_deletes_nothing(#[case] trouble: Trouble, #[case] hold: Hold) {
    let mut policy = policy();
    let mut inventory = seen(&policy);
    trouble(&mut policy, &mut inventory);
    let plan = planned(&policy, &inventory);
    assert_eq!(deleted(&plan), Vec::<String>::new());
    assert_eq!(holds(&plan), [hold.clone(), hold]);
}

#[rstest]
#[case::at_the_limit(|_: &mut Policy, seen: &mut Inventory| seen.clock_skew = Some(SignedDuration::from_secs(300)))]
#[case::at_the_limit_behind(|_: &mut Policy, seen: &mut Inventory| seen.clock_skew = Some(SignedDuration::from_secs(-300)))]
#[case::just_settled(|_: &mut Policy, seen: &mut Inventory| seen.retention_known_for.values_mut().for_each(|known| *known = SignedDuration::from_hours(1)))]
fn at_its_very_limit_nothing_is_held(#[case] fine: Trouble) {
    let mut policy = policy();
    let mut inventory = seen(&policy);
    fine(&mut policy, &mut inventory);
    assert_eq!(deleted(&planned(&policy, &inventory)).len(), 2);
}

#[test]
fn a_listing_that_failed_leaves_what_it_would_have_shown_alone() {
    let policy = policy();
    let mut inventory = seen(&policy);
    inventory.snapshots = Err(blind());
    let plan = planned(&policy, &inventory);
    assert_eq!(deleted(&plan), Vec::<String>::new(), "not even dumps: while RDS answers badly nothing is deleted");
    let mut inventory = seen(&policy);
    inventory.stores.values_mut().for_each(|store| *store = Err(blind()));
    let plan = planned(&policy, &inventory);
    assert_eq!((deleted(&plan), holds(&plan)), (Vec::new(), vec![Hold::Unseen(blind())]), "pins are in the store");
}

#[test]
fn a_point_from_the_future_and_what_is_held_back_in_doubt_are_told() {
    let policy = policy();
    let mut inventory = seen(&policy);
    let mut all: Vec<Snapshot> = snapshots(&policy, &SUNDAYS[..4]).iter().cloned().collect();
    all[3].created_at = Some(at("2030-01-01T00:00:00Z"));
    inventory.snapshots = Ok(Complete::after_last_page(all));
    let checks = |inventory: &Inventory| {
        let findings = planned(&policy, inventory).findings;
        findings.iter().map(|finding| (finding.severity, finding.check)).collect::<Vec<_>>()
    };
    assert_eq!(checks(&inventory), [(Severity::Warning, Check::FutureDated)]);
    inventory.instances = Err(blind());
    assert_eq!(checks(&inventory), [(Severity::Warning, Check::FutureDated), (Severity::Info, Check::PruneHeld)]);
}

#[test]
fn while_a_kind_is_overdue_nothing_of_it_is_deleted() {
    let policy = policy();
    let mut inventory = seen(&policy);
    inventory.snapshots = Ok(snapshots(&policy, &SUNDAYS[1..6]));
    let plan = planned(&policy, &inventory);
    assert_eq!(deleted(&plan), ["accounts/accounts/20260801t040000z in us-east-1"], "dumps are fresh");
    assert_eq!(holds(&plan), [Hold::Overdue, Hold::Overdue]);
}

#[test]
fn the_good_replica_of_a_bad_dump_is_not_newer_than_it() {
    let mut policy = policy();
    let replica = ReplicaPolicy {
        bucket: "bank-dr".to_owned(),
        region: "us-west-2".parse().unwrap(),
        mode: ReplicaMode::Replicated,
        kms_key: None,
    };
    policy.destination.replica = Some(replica);
    let mut points = dumps(&FIRSTS);
    points[1].state = PointState::Bad { reason: "bits have flipped".to_owned() };
    let mut inventory = seen(&policy);
    inventory.stores = [(source(&policy).id.clone(), Ok(store(points, Vec::new(), Vec::new())))].into();
    let verified_at = Some(at("2026-11-20T00:00:00Z"));
    let region = "us-west-2".parse().unwrap();
    let there = RecoveryPoint { plane: Plane::Replica, region, verified_at, ..dumps(&FIRSTS).remove(1) };
    let dumps = Complete::after_last_page(vec![stored_dump(there)]);
    of_accounts(&mut inventory).replica = Some(Ok(ReplicaStore { dumps }));
    let bad = Hold::DumpBad { id: "accounts/accounts/20261001t040000z".to_owned() };
    assert!(holds(&planned(&policy, &inventory)).contains(&bad));
}

#[test]
fn a_dump_that_was_found_bad_holds_its_source_until_a_newer_one_is_read_back_whole() {
    let policy = policy();
    let mut points = dumps(&FIRSTS);
    points[1].state = PointState::Bad { reason: "bits have flipped".to_owned() };
    let mut inventory = seen(&policy);
    inventory.stores = [(source(&policy).id.clone(), Ok(store(points.clone(), Vec::new(), Vec::new())))].into();
    let mut list: Vec<StoredDump> = points.iter().cloned().map(stored_dump).collect();
    list[1].verifications = vec![crate::domain::inventory::KnownVerification {
        found: crate::domain::inventory::Found::Fault("bits have flipped".to_owned()),
        ..verified(Level::L2, at("2026-11-20T00:00:00Z"))
    }];
    of_accounts(&mut inventory).dumps = Complete::after_last_page(list.clone());
    let plan = planned(&policy, &inventory);
    assert_eq!(deleted(&plan), Vec::<String>::new(), "not even snapshots: they are what there is now");
    assert_eq!(holds(&plan), vec![Hold::DumpBad { id: "accounts/accounts/20261001t040000z".to_owned() }; 3]);
    assert!(plan.findings.iter().any(|finding| finding.check == Check::DumpBad), "{:?}", plan.findings);
    list[0].point.verified_at = Some(at("2026-11-19T00:00:00Z"));
    of_accounts(&mut inventory).dumps = Complete::after_last_page(list.clone());
    assert_eq!(
        deleted(&planned(&policy, &inventory)),
        Vec::<String>::new(),
        "it was read before the other was found bad"
    );
    list[0].point.verified_at = Some(at("2026-11-21T00:00:00Z"));
    of_accounts(&mut inventory).dumps = Complete::after_last_page(list);
    let plan = planned(&policy, &inventory);
    assert_eq!(
        deleted(&plan),
        [
            "accounts/accounts/20260701t040000z in us-east-1",
            "accounts/accounts/20261001t040000z in us-east-1",
            "strongroom-accounts-20261101t030000z in us-east-1"
        ],
        "the bad one too, for a newer good one stands"
    );
}

#[test]
fn a_replica_that_is_bad_or_unreadable_holds_its_source_until_a_newer_replica_is_read_back() {
    use crate::domain::inventory::{Found, KnownVerification};
    let mut policy = policy();
    policy.destination.replica = Some(replica());
    let found = |found| KnownVerification { found, ..verified(Level::L2, at("2026-11-20T00:00:00Z")) };
    for found in [found(Found::Fault("flipped".to_owned())), found(Found::Unreadable("AccessDenied".to_owned()))] {
        let mut here: Vec<StoredDump> = dumps(&FIRSTS[..4]).into_iter().map(stored_dump).collect();
        here[0].point.verified_at = Some(at("2026-11-22T00:00:00Z"));
        let mut there = in_west(&FIRSTS[..3]);
        there[1].verifications = vec![found];
        there[1].point.state = PointState::Bad { reason: "bits have flipped".to_owned() };
        let mut inventory = seen(&policy);
        of_accounts(&mut inventory).dumps = Complete::after_last_page(here);
        let replicas = |dumps| Some(Ok(ReplicaStore { dumps: Complete::after_last_page(dumps) }));
        of_accounts(&mut inventory).replica = replicas(there.clone());
        let plan = planned(&policy, &inventory);
        assert_eq!(deleted(&plan), Vec::<String>::new(), "a newer dump in the other bucket says nothing of this one");
        assert!(holds(&plan).contains(&Hold::DumpBad { id: "accounts/accounts/20261001t040000z".to_owned() }));
        there[0].point.verified_at = Some(at("2026-11-21T00:00:00Z"));
        of_accounts(&mut inventory).replica = replicas(there);
        assert!(!deleted(&planned(&policy, &inventory)).is_empty());
    }
}

#[test]
fn a_dump_that_nobody_can_read_is_not_said_to_be_bad_and_holds_its_source() {
    use crate::domain::inventory::{Found, KnownVerification};
    let policy = policy();
    let mut here: Vec<StoredDump> = dumps(&FIRSTS[..4]).into_iter().map(stored_dump).collect();
    let denied = Found::Unreadable("AccessDenied".to_owned());
    here[0].verifications =
        vec![KnownVerification { found: denied, ..verified(Level::L2, at("2026-11-20T00:00:00Z")) }];
    let mut inventory = seen(&policy);
    of_accounts(&mut inventory).dumps = Complete::after_last_page(here);
    let plan = planned(&policy, &inventory);
    assert_eq!(deleted(&plan), Vec::<String>::new());
    let checks: Vec<Check> = plan.findings.iter().map(|finding| finding.check).collect();
    assert!(checks.contains(&Check::DumpUnreadable) && !checks.contains(&Check::DumpBad), "{checks:?}");
}

fn with_copies(policy: &mut Policy) {
    let copies = SnapshotCopies { region: west(), kms_key: None, retention: keep_three() };
    policy.sources.values_mut().next().unwrap().obligations[0].copies = vec![copies];
}

fn west() -> RegionName {
    "us-west-2".parse().unwrap()
}

#[test]
fn a_snapshot_whose_copy_is_awaited_or_under_way_stays() {
    let mut policy = policy();
    with_copies(&mut policy);
    let mut inventory = seen(&policy);
    for snapshot in [0, 1, 2, 3].map(|index: usize| index) {
        let mut all: Vec<Snapshot> = inventory.snapshots.as_ref().unwrap().iter().cloned().collect();
        all[snapshot].arn = Some(format!("arn:aws:rds:us-east-1:1:snapshot:{}", all[snapshot].id));
        inventory.snapshots = Ok(Complete::after_last_page(all));
    }
    // The oldest was copied, nothing since: all others are awaited, and the newest three are kept anyway.
    let oldest = snapshots(&policy, &SUNDAYS[4..5]);
    inventory.copies = [(west(), Ok(oldest))].into();
    let plan = planned(&policy, &inventory);
    assert_eq!(holds(&plan), [Hold::Replicating]);
    // The copy of it is under way.
    let mut copying: Vec<Snapshot> = snapshots(&policy, &SUNDAYS[3..4]).iter().cloned().collect();
    copying[0].status = "copying".to_owned();
    copying[0].copied_from = Some("arn:aws:rds:us-east-1:1:snapshot:strongroom-accounts-20261101t030000z".to_owned());
    inventory.copies = [(west(), Ok(Complete::after_last_page(copying.clone())))].into();
    assert_eq!(holds(&planned(&policy, &inventory)), [Hold::Replicating]);
    // Copied: it goes.
    copying[0].status = "available".to_owned();
    let newer = snapshots(&policy, &SUNDAYS[..1]);
    copying.extend(newer.iter().cloned());
    inventory.copies = [(west(), Ok(Complete::after_last_page(copying)))].into();
    assert!(
        deleted(&planned(&policy, &inventory))
            .contains(&"strongroom-accounts-20261101t030000z in us-east-1".to_owned())
    );
    // It is another one that is awaited.
    inventory.copies = [(west(), Ok(snapshots(&policy, &SUNDAYS[1..4])))].into();
    assert!(
        deleted(&planned(&policy, &inventory))
            .contains(&"strongroom-accounts-20261101t030000z in us-east-1".to_owned())
    );
}

#[test]
fn copies_are_pruned_by_their_own_retention_and_their_newest_never() {
    let mut policy = policy();
    with_copies(&mut policy);
    let Retention::Rules(rules) = &mut policy.sources.values_mut().next().unwrap().obligations[0].copies[0].retention
    else {
        unreachable!()
    };
    rules.keep_last = NonZeroU32::new(1);
    let mut inventory = seen(&policy);
    inventory.copies = [(west(), Ok(snapshots(&policy, &SUNDAYS[..2])))].into();
    let plan = planned(&policy, &inventory);
    assert!(
        deleted(&plan).contains(&"strongroom-accounts-20261115t030000z in us-west-2".to_owned()),
        "{:?}",
        deleted(&plan)
    );
    inventory.copies = [(west(), Ok(snapshots(&policy, &SUNDAYS[3..4])))].into();
    assert!(deleted(&planned(&policy, &inventory)).iter().all(|id| !id.contains("us-west-2")));
}

fn replica() -> ReplicaPolicy {
    ReplicaPolicy { bucket: "bank-dr".to_owned(), region: west(), mode: ReplicaMode::Replicated, kms_key: None }
}

fn in_west(slots: &[&str]) -> Vec<StoredDump> {
    let points = dumps(slots).into_iter().map(|point| RecoveryPoint { plane: Plane::Replica, region: west(), ..point });
    points.map(stored_dump).collect()
}

#[test]
fn a_dump_that_is_not_proven_in_the_replica_bucket_stays() {
    let mut policy = policy();
    policy.destination.replica = Some(replica());
    let mut inventory = seen(&policy);
    let there = |dumps| Some(Ok(ReplicaStore { dumps: Complete::after_last_page(dumps) }));
    of_accounts(&mut inventory).replica = there(Vec::new());
    assert_eq!(holds(&planned(&policy, &inventory)), [Hold::Replicating]);
    of_accounts(&mut inventory).replica = there(in_west(&FIRSTS[3..4]));
    assert!(holds(&planned(&policy, &inventory)).is_empty(), "it is there");
    for status in [Replication::Pending, Replication::Failed] {
        let mut inventory = seen(&policy);
        let mut here: Vec<StoredDump> = dumps(&FIRSTS[..4]).into_iter().map(stored_dump).collect();
        here[3].replication = Some(status);
        of_accounts(&mut inventory).dumps = Complete::after_last_page(here.clone());
        of_accounts(&mut inventory).replica = there(in_west(&FIRSTS[..1]));
        assert_eq!(holds(&planned(&policy, &inventory)), [Hold::Replicating], "a newer one is there, but not this");
        here[3].other_plane_proven = true;
        of_accounts(&mut inventory).dumps = Complete::after_last_page(here);
        assert!(holds(&planned(&policy, &inventory)).is_empty());
    }
    of_accounts(&mut inventory).replica = there(in_west(&FIRSTS[..1]));
    assert!(holds(&planned(&policy, &inventory)).is_empty(), "it is from before the replica, or pruned there already");
}

#[test]
fn a_predecessor_of_the_instance_keeps_its_last_backup_for_ever() {
    let policy = policy();
    let mut inventory = seen(&policy);
    let before: ResourceId = "db-BEFORE".parse().unwrap();
    let mut all: Vec<Snapshot> = snapshots(&policy, &SUNDAYS).iter().cloned().collect();
    for snapshot in &mut all[2..] {
        snapshot.resource = Some(before.clone());
    }
    inventory.snapshots = Ok(Complete::after_last_page(all));
    let plan = planned(&policy, &inventory);
    let deleted: Vec<String> = deleted(&plan).into_iter().filter(|id| id.starts_with("strongroom")).collect();
    assert_eq!(deleted, ["strongroom-accounts-20261018t030000z in us-east-1"], "three of the predecessor's four stay");
}

#[test]
fn snapshots_of_others_are_not_even_looked_at() {
    let policy = policy();
    let mut inventory = seen(&policy);
    let mut all: Vec<Snapshot> = snapshots(&policy, &SUNDAYS).iter().cloned().collect();
    for (index, snapshot) in all[3..].iter_mut().enumerate() {
        // By hand, under our prefix, with the marks of another snapshot copied onto it.
        snapshot.id = format!("strongroom-accounts-by-hand-{index}").parse().unwrap();
    }
    inventory.snapshots = Ok(Complete::after_last_page(all));
    let plan = planned(&policy, &inventory);
    assert_eq!(deleted(&plan), ["accounts/accounts/20260801t040000z in us-east-1"]);
    assert!(plan.retention.iter().all(|decision| !decision.point.id.contains("by-hand")));
}

#[test]
fn what_no_policy_speaks_of_any_more_is_kept() {
    let mut policy = policy();
    policy.sources.values_mut().next().unwrap().obligations.truncate(1);
    let plan = planned(&policy, &seen(&policy));
    let of_dumps = plan.retention.iter().filter(|decision| decision.point.kind == Kind::Dump);
    assert!(of_dumps.into_iter().all(|decision| decision.fate == PointFate::Kept(vec![KeepRule::NoPolicy])));
}
