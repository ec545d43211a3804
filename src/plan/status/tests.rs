use jiff::SignedDuration;
use rstest::rstest;

use super::*;
use crate::domain::inventory::{Complete, DeleteMarker, Endpoint, Instance, ReplicaStore, SourceStore, StoredRun};
use crate::domain::recovery_point::PointState;
use crate::domain::run::{OwnerState, RunState};
use crate::plan::plan;
use crate::testing::{
    at, dump, dump_run, inventory, now, passed_drill, policy as promises, remains, snapshot, store, stored_dump,
    with_drills,
};

const FIRST: &str = "2026-11-01T04:00:00Z";
const SUNDAY: &str = "2026-11-22T03:00:00Z";

fn policy() -> Policy {
    promises(&[("accounts", &["accounts"])])
}

/// Everything is backed up, and everything is up.
fn seen(policy: &Policy) -> Inventory {
    let mut inventory = inventory(policy);
    for (source, seen) in &mut inventory.stores {
        let dump = dump(source.as_str(), FIRST, 100, PointState::Good);
        *seen = Ok(store(vec![dump], Vec::new(), Vec::new()));
    }
    instances(&mut inventory, |instance| {
        instance.status = "available".to_owned();
        instance.endpoint = Some(Endpoint { host: "db".to_owned(), port: 5432 });
    });
    inventory
}

fn instances(inventory: &mut Inventory, change: fn(&mut Instance)) {
    let mut instances: Vec<Instance> = inventory.instances.as_ref().unwrap().iter().cloned().collect();
    instances.iter_mut().for_each(change);
    inventory.instances = Ok(Complete::after_last_page(instances));
}

fn of_accounts(inventory: &mut Inventory) -> &mut SourceStore {
    inventory.stores.values_mut().next().unwrap().as_mut().unwrap()
}

fn status(policy: &Policy, inventory: &Inventory) -> Status {
    Status::of(policy, inventory, &plan(policy, inventory, now()))
}

/// The marker of a dump that somebody has hidden.
fn hide_a_dump(inventory: &mut Inventory) {
    let manifest = of_accounts(inventory).dumps.iter().next().unwrap().manifest.clone();
    let hiding = DeleteMarker { marker: manifest, set_at: Some(now()), hides: true };
    of_accounts(inventory).markers = Complete::after_last_page(vec![hiding]);
}

/// An older dump that was found bad, and a newer one that was not.
fn spoil_an_older_dump(inventory: &mut Inventory) {
    let bad = PointState::Bad { reason: "bits have flipped".to_owned() };
    let dumps = [dump("accounts", FIRST, 100, PointState::Good), dump("accounts", "2026-10-01T04:00:00Z", 100, bad)];
    of_accounts(inventory).dumps = Complete::after_last_page(dumps.map(stored_dump).into());
}

/// Something that is seen, or not, and whether anything needs a person then.
type Event = fn(&mut Policy, &mut Inventory);

#[rstest]
#[case::nothing(|_: &mut Policy, _: &mut Inventory| {}, true)]
#[case::worth_knowing_only(|_: &mut Policy, seen: &mut Inventory| spoil_an_older_dump(seen), true)]
#[case::a_warning(|_: &mut Policy, seen: &mut Inventory| hide_a_dump(seen), false)]
#[case::not_all_seen(
    |_: &mut Policy, seen: &mut Inventory| { seen.buckets.insert(Plane::Primary, Err(Unseen("denied".to_owned()))); },
    false
)]
#[case::the_next_dump_will_be_refused(
    |_: &mut Policy, seen: &mut Inventory| instances(seen, |own| own.engine_version = "18.1".to_owned()),
    false
)]
#[case::a_snapshot_is_overdue(
    |_: &mut Policy, seen: &mut Inventory| seen.snapshots = Ok(Complete::after_last_page(Vec::new())),
    false
)]
#[case::switched_off_and_nothing_to_restore_from(
    |policy: &mut Policy, seen: &mut Inventory| {
        policy.sources.values_mut().flat_map(|own| &mut own.obligations).for_each(|own| own.suspended = true);
        seen.snapshots = Ok(Complete::after_last_page(Vec::new()));
        of_accounts(seen).dumps = Complete::after_last_page(Vec::new());
        instances(seen, |own| own.latest_restorable_at = None);
    },
    false
)]
fn all_is_well_while_nothing_needs_a_person(#[case] event: Event, #[case] well: bool) {
    let mut policy = policy();
    let mut inventory = seen(&policy);
    event(&mut policy, &mut inventory);
    let status = status(&policy, &inventory);
    assert_eq!(status.well, well, "{status:#?}");
}

#[rstest]
#[case::backed_up(|_: &mut Policy, _: &mut Inventory| {}, ObligationState::Ok)]
#[case::switched_off(
    |policy: &mut Policy, seen: &mut Inventory| {
        seen.snapshots = Ok(Complete::after_last_page(Vec::new()));
        policy.sources.values_mut().flat_map(|own| &mut own.obligations).for_each(|own| own.suspended = true);
    },
    ObligationState::Suspended
)]
#[case::the_next_will_be_refused(
    |_: &mut Policy, seen: &mut Inventory| instances(seen, |own| own.engine = "mysql".to_owned()),
    ObligationState::Trouble
)]
#[case::overdue_and_refused(
    |_: &mut Policy, seen: &mut Inventory| {
        instances(seen, |own| own.engine = "mysql".to_owned());
        seen.snapshots = Ok(Complete::after_last_page(Vec::new()));
    },
    ObligationState::Overdue
)]
fn one_word_says_how_a_backup_stands_the_worst_first(#[case] event: Event, #[case] state: ObligationState) {
    let mut policy = policy();
    let mut inventory = seen(&policy);
    event(&mut policy, &mut inventory);
    let of_snapshots = &status(&policy, &inventory).sources[0].obligations[0];
    assert_eq!((of_snapshots.kind, of_snapshots.state), (Kind::Snapshot, state));
}

#[test]
fn each_source_shows_what_is_owed_to_it_and_nothing_of_the_others() {
    let policy = promises(&[("accounts", &["accounts"]), ("cards", &["cards"])]);
    let mut inventory = seen(&policy);
    of_accounts(&mut inventory).remains =
        Complete::after_last_page(vec![remains("accounts", FIRST, 30), remains("accounts", FIRST, 12)]);
    let status = status(&policy, &inventory);
    let names = |database: &Option<DatabaseName>| database.as_ref().map(ToString::to_string);
    for (source, name) in status.sources.iter().zip(["accounts", "cards"]) {
        assert_eq!((source.source.as_str(), source.instance.as_str()), (name, format!("bank-{name}").as_str()));
        let owed: Vec<_> = source.obligations.iter().map(|own| (own.kind, names(&own.database))).collect();
        assert_eq!(owed, [(Kind::Snapshot, None), (Kind::Dump, Some(name.to_owned()))]);
        let read: Vec<String> = source.read_back.iter().map(|own| own.database.to_string()).collect();
        assert_eq!(read, [name]);
    }
    assert_eq!((status.sources.len(), status.remains_bytes, status.at), (2, 42, now()));
    let of_dumps = &status.sources[0].obligations[1];
    assert_eq!(of_dumps.newest_at, Some(at(FIRST)));
    assert_eq!(of_dumps.next_due_at, Some(at("2026-12-01T04:00:00Z")));
    assert_eq!(of_dumps.expected_interval_seconds, 30 * 24 * 3600);
    assert_eq!(of_dumps.reason, "slot 20261101t040000z is filled");
}

/// A way back in one line.
fn ways(status: &Status) -> Vec<String> {
    let ways = status.sources[0].restorable.iter().map(|way| {
        let of = way.database.as_ref().map(ToString::to_string).unwrap_or_default();
        let region = way.region.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{} {of} {region} {} {}", way.path, way.to, way.from.as_deref().unwrap_or_default())
    });
    ways.collect()
}

#[test]
fn the_ways_back_are_to_the_newest_moment_of_each_kind_database_and_region() {
    let policy = promises(&[("accounts", &["accounts", "audit"])]);
    let mut inventory = seen(&policy);
    let source = policy.sources.values().next().unwrap();
    let slots = [SUNDAY, "2026-11-15T03:00:00Z"];
    inventory.snapshots = Ok(Complete::after_last_page(slots.map(|slot| snapshot(&policy, source, slot)).into()));
    let copies = slots[1..].iter().map(|slot| snapshot(&policy, source, slot)).collect();
    inventory.copies = [("us-west-2".parse().unwrap(), Ok(Complete::after_last_page(copies)))].into();
    let of = |database: &str, slot: &str, moment: &str| {
        let point = dump("accounts", slot, 100, PointState::Good);
        let id = format!("accounts/{database}/{}", point.slot);
        let database = Some(database.parse().unwrap());
        stored_dump(RecoveryPoint { id, database, created_at: Some(at(moment)), ..point })
    };
    // One that was asked for by hand bears the later slot, and is of an earlier moment than the one that came after it.
    let by_hand = of("accounts", "2026-11-01T04:00:05Z", "2026-11-01T04:00:05Z");
    let scheduled = of("accounts", FIRST, "2026-11-01T04:00:09Z");
    let bad = PointState::Bad { reason: "an object is missing".to_owned() };
    let newer_bad = stored_dump(dump("accounts", "2026-11-20T04:00:00Z", 100, bad));
    let older = of("audit", "2026-10-01T04:00:00Z", "2026-10-01T04:00:00Z");
    let here = vec![newer_bad, by_hand, scheduled.clone(), of("audit", FIRST, FIRST), older];
    let there = RecoveryPoint { plane: Plane::Replica, region: "us-west-2".parse().unwrap(), ..scheduled.point };
    let store = of_accounts(&mut inventory);
    store.dumps = Complete::after_last_page(here);
    store.replica = Some(Ok(ReplicaStore { dumps: Complete::after_last_page(vec![stored_dump(there)]) }));
    assert_eq!(
        ways(&status(&policy, &inventory)),
        [
            "pitr   2026-11-23T11:55:00Z ",
            "snapshot   2026-11-22T03:05:00Z strongroom-accounts-20261122t030000z",
            "snapshot  us-west-2 2026-11-15T03:05:00Z strongroom-accounts-20261115t030000z",
            "dump accounts  2026-11-01T04:00:09Z accounts/accounts/20261101t040000z",
            "dump accounts us-west-2 2026-11-01T04:00:09Z accounts/accounts/20261101t040000z",
            "dump audit  2026-11-01T04:00:00Z accounts/audit/20261101t040000z",
        ]
    );
}

#[test]
fn where_no_instance_is_seen_the_ways_back_that_need_none_are_shown() {
    let policy = policy();
    let mut inventory = seen(&policy);
    inventory.instances = Err(Unseen("throttled".to_owned()));
    let status = status(&policy, &inventory);
    assert_eq!(status.sources[0].instance_status, None);
    assert_eq!(status.unseen, ["instances: throttled"]);
    assert_eq!(
        ways(&status),
        [
            "snapshot   2026-11-22T03:05:00Z strongroom-accounts-20261122t030000z",
            "dump accounts  2026-11-01T04:00:00Z accounts/accounts/20261101t040000z",
        ]
    );
}

/// One word says whether a person has to look, and it is never better than what is said of all.
#[rstest]
#[case::nothing(|_: &mut Policy, _: &mut Inventory| {}, SourceState::Ok)]
#[case::worth_knowing_only(|_: &mut Policy, seen: &mut Inventory| spoil_an_older_dump(seen), SourceState::Ok)]
#[case::a_warning(|_: &mut Policy, seen: &mut Inventory| hide_a_dump(seen), SourceState::Warning)]
#[case::overdue(
    |_: &mut Policy, seen: &mut Inventory| seen.snapshots = Ok(Complete::after_last_page(Vec::new())),
    SourceState::Critical
)]
#[case::switched_off(
    |policy: &mut Policy, _: &mut Inventory| {
        policy.sources.values_mut().flat_map(|own| &mut own.obligations).for_each(|own| own.suspended = true);
    },
    SourceState::Suspended
)]
#[case::nothing_to_restore_from(
    |_: &mut Policy, seen: &mut Inventory| {
        seen.snapshots = Ok(Complete::after_last_page(Vec::new()));
        of_accounts(seen).dumps = Complete::after_last_page(Vec::new());
        instances(seen, |own| own.latest_restorable_at = None);
    },
    SourceState::Critical
)]
fn a_source_stands_as_badly_as_the_worst_that_is_said_of_it(#[case] event: Event, #[case] state: SourceState) {
    let mut policy = policy();
    let mut inventory = seen(&policy);
    event(&mut policy, &mut inventory);
    let status = status(&policy, &inventory);
    assert_eq!(status.sources[0].state, state, "{status:#?}");
    assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    assert!(!(status.well && state.needs_a_person()));
}

#[test]
fn the_document_is_old_when_three_looks_and_a_grace_have_passed() {
    let policy = policy();
    assert_eq!(status(&policy, &seen(&policy)).stale_at, at("2026-11-23T12:08:00Z"));
}

#[test]
fn what_is_under_way_and_what_comes_next_is_told_in_the_order_of_time() {
    let policy = promises(&[("accounts", &["accounts"]), ("cards", &["cards"])]);
    let mut inventory = seen(&policy);
    let running = dump_run("accounts", "2026-11-23T11:30:00Z", OwnerState::Alive);
    let ended = dump_run("accounts", FIRST, OwnerState::Dead);
    let finished_at = at(FIRST) + SignedDuration::from_mins(40);
    let ended = StoredRun { record: ended.record.closed(RunState::Succeeded { finished_at, size_bytes: 1 }), ..ended };
    let left = dump_run("accounts", "2026-11-23T09:00:00Z", OwnerState::Dead);
    of_accounts(&mut inventory).runs = Complete::after_last_page(vec![running, ended, left]);
    let status = status(&policy, &inventory);
    let [work] = &status.running[..] else { panic!("what a dead process left is not under way: {:?}", status.running) };
    assert_eq!((work.id.as_str(), work.usual_seconds), ("20261123t113000z-dump-accounts-1", Some(40 * 60)));
    let next: Vec<String> =
        status.upcoming.iter().map(|next| format!("{} {} {}", next.at, next.source, next.kind.as_str())).collect();
    assert_eq!(
        next,
        [
            "2026-11-29T03:00:00Z accounts snapshot",
            "2026-11-29T03:00:00Z cards snapshot",
            "2026-12-01T04:00:00Z accounts dump",
            "2026-12-01T04:00:00Z cards dump",
        ]
    );
}

#[test]
fn each_place_tells_how_many_good_ones_it_has_and_how_much_came_lately() {
    let policy = policy();
    let mut inventory = seen(&policy);
    let bad = PointState::Bad { reason: "bits have flipped".to_owned() };
    let here = [
        dump("accounts", FIRST, 100, PointState::Good),
        dump("accounts", "2026-10-01T04:00:00Z", 90, PointState::Good),
        dump("accounts", "2026-09-01T04:00:00Z", 80, bad),
    ];
    let there = RecoveryPoint { plane: Plane::Replica, region: "us-west-2".parse().unwrap(), ..here[1].clone() };
    of_accounts(&mut inventory).dumps = Complete::after_last_page(here.map(stored_dump).into());
    of_accounts(&mut inventory).replica =
        Some(Ok(ReplicaStore { dumps: Complete::after_last_page(vec![stored_dump(there)]) }));
    let planes = status(&policy, &inventory).sources[0].planes.clone();
    let told: Vec<_> = planes.iter().map(|own| (own.kind, own.region.as_str(), own.points, own.others)).collect();
    assert_eq!(
        told,
        [(Kind::Snapshot, "us-east-1", 1, 0), (Kind::Dump, "us-east-1", 2, 1), (Kind::Dump, "us-west-2", 1, 0)]
    );
    let bytes: Vec<_> = planes.iter().map(|own| (own.stored_bytes, own.added_30_days_bytes)).collect();
    assert_eq!(bytes, [(100, 100), (270, 100), (90, 0)]);
    let of_dumps = &planes[1];
    assert_eq!((of_dumps.oldest_at, of_dumps.newest_at), (Some(at("2026-10-01T04:00:00Z")), Some(at(FIRST))));
}

/// The keys of the document are a contract; values are read elsewhere.
#[test]
fn the_keys_of_the_document_are_a_contract() {
    let policy = with_drills(policy());
    let mut inventory = seen(&policy);
    of_accounts(&mut inventory).drills = Complete::after_last_page(vec![passed_drill("accounts")]);
    let running = dump_run("accounts", "2026-11-23T11:30:00Z", OwnerState::Alive);
    of_accounts(&mut inventory).runs = Complete::after_last_page(vec![running]);
    hide_a_dump(&mut inventory);
    let document = serde_json::to_value(status(&policy, &inventory)).unwrap();
    let mut keys = std::collections::BTreeSet::new();
    collect_keys("", &document, &mut keys);
    insta::assert_snapshot!(keys.into_iter().collect::<Vec<_>>().join("\n"));
}

fn collect_keys(path: &str, value: &serde_json::Value, keys: &mut std::collections::BTreeSet<String>) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        keys.insert(format!("{path}{key}"));
        collect_keys(&format!("{path}{key}."), inner, keys);
    }
    value.as_array().into_iter().flatten().for_each(|item| collect_keys(path, item, keys));
}

#[test]
fn a_drill_tells_how_long_each_phase_took_and_how_long_a_restore_will_take() {
    let policy = with_drills(policy());
    let mut inventory = seen(&policy);
    let passed = passed_drill("accounts");
    of_accounts(&mut inventory).drills = Complete::after_last_page(vec![passed.clone()]);
    let of_accounts = &status(&policy, &inventory).sources[0];
    let [view] = &of_accounts.drills[..] else { panic!("one path") };
    let [last] = &view.last_drills[..] else { panic!("one drill") };
    let phases: Vec<_> = last.phases.iter().map(|time| (time.phase.as_str(), time.seconds)).collect();
    assert_eq!(phases, [("accepted", 10), ("available", 290), ("fully_read", 600)]);
    assert_eq!((last.recovery_seconds, view.recovery_seconds_max), (Some(900), Some(1800)));
    let expected: Vec<_> = of_accounts.restorable.iter().map(|way| (way.path, way.expected_seconds)).collect();
    assert_eq!(expected, [("pitr", None), ("snapshot", Some(900)), ("dump", None)]);
}
