use rstest::rstest;

use super::*;
use crate::domain::id::{Kind, Slot};
use crate::domain::recovery_point::PointState;
use crate::testing::{at, dump, inventory, policy, snapshot, store, stored_dump, verified};

const SLOT: &str = "2026-11-01T04:00:00Z";

fn instance() -> Instance {
    inventory(&policy(&[("accounts", &[])])).instances.unwrap().iter().next().unwrap().clone()
}

fn a_dump() -> StoredDump {
    stored_dump(dump("accounts", SLOT, 1, PointState::Good))
}

fn found(level: Level, minute: i64, found: Found) -> KnownVerification {
    KnownVerification { found, ..verified(level, at(SLOT) + SignedDuration::from_mins(minute)) }
}

fn fault() -> Found {
    Found::Fault("cut off".to_owned())
}

fn unreadable() -> Found {
    Found::Unreadable("AccessDenied".to_owned())
}

#[test]
fn what_is_made_of_a_whole_listing_is_as_whole() {
    let listing = Complete::after_last_page(vec![3, 1, 2]);
    assert_eq!((listing.len(), listing.is_empty()), (3, false));
    assert_eq!(listing.iter().collect::<Vec<_>>(), listing.into_iter().collect::<Vec<_>>());
    assert_eq!(listing.derive(|all| all[1..].to_vec()), Complete::after_last_page(vec![1, 2]));
    let none = listing.derive(|_| Vec::<i32>::new());
    assert_eq!((none.len(), none.is_empty()), (0, true));
}

/// RDS API reference, `CreateDBSnapshot`; and a server that optimises its storage, for days maybe, must not go without.
#[rstest]
#[case("available", true, true)]
#[case("storage-optimization", true, true)]
#[case("backing-up", false, true)]
#[case("modifying", false, true)]
#[case("creating", false, false)]
#[case("stopped", false, false)]
#[case("a-status-of-next-year", false, false)]
fn a_status_says_what_can_be_asked_of_an_instance(
    #[case] status: &str,
    #[case] takes_snapshots: bool,
    #[case] serves: bool,
) {
    let endpoint = Some(Endpoint { host: "db".to_owned(), port: 5432 });
    let reachable = Instance { status: status.to_owned(), endpoint, ..instance() };
    assert_eq!((reachable.takes_snapshots(), reachable.serves()), (takes_snapshots, serves));
    let not_yet = Instance { endpoint: None, ..reachable };
    assert!(!not_yet.serves(), "nobody can say where");
}

#[rstest]
#[case("bank-accounts", true)]
#[case("BANK-Accounts", true)]
#[case("bank-account", false)]
fn an_instance_is_found_by_its_name_without_regard_to_case(#[case] name: &str, #[case] expected: bool) {
    let instance = instance();
    assert_eq!(instance.is_called(&name.parse().unwrap()), expected);
}

#[rstest]
#[case("15.18", Some(15))]
#[case("16", Some(16))]
#[case("9.6.24", Some(9))]
#[case("", None)]
#[case("next", None)]
fn the_major_version_is_the_first_number(#[case] version: &str, #[case] major: Option<u32>) {
    assert_eq!(Instance { engine_version: version.to_owned(), ..instance() }.major_version(), major);
}

#[rstest]
#[case("available", false)]
#[case("failed", false)]
#[case("creating", true)]
#[case("copying", true)]
#[case("a-status-of-next-year", true)]
fn a_snapshot_is_under_way_until_it_has_come_to_an_end(#[case] status: &str, #[case] expected: bool) {
    let policy = policy(&[("accounts", &[])]);
    let of = snapshot(&policy, &policy.sources[&"accounts".parse().unwrap()], SLOT);
    assert_eq!(Snapshot { status: status.to_owned(), ..of }.is_under_way(), expected);
}

/// A doubt is lifted by proof, and proof looks later and at least as deep.
#[rstest]
#[case::nothing_since(None, true)]
#[case::as_deep_and_later(Some(found(Level::L2, 11, Found::Good)), false)]
#[case::deeper_and_later(Some(found(Level::L4, 11, Found::Good)), false)]
#[case::at_the_same_moment(Some(found(Level::L2, 10, Found::Good)), true)]
#[case::before(Some(found(Level::L4, 9, Found::Good)), true)]
#[case::less_deep(Some(found(Level::L1, 11, Found::Good)), true)]
#[case::not_good_itself(Some(found(Level::L4, 11, fault())), true)]
fn a_doubt_stands_until_one_as_deep_has_found_the_dump_good_since(
    #[case] other: Option<KnownVerification>,
    #[case] stands: bool,
    #[values(fault(), unreadable())] what: Found,
) {
    let doubt = found(Level::L2, 10, what);
    let verifications: Vec<_> = [doubt.clone()].into_iter().chain(other).collect();
    assert_eq!(standing_doubts(&verifications).any(|standing| *standing == doubt), stands);
    let dump = StoredDump { verifications, ..a_dump() };
    assert_eq!(dump.standing_doubts().any(|standing| *standing == doubt), stands);
    assert!(dump.standing_doubts().all(|standing| !standing.is_good()), "what is good is no doubt");
}

#[rstest]
#[case::never_in_doubt(None, vec![found(Level::L2, 1, Found::Good)], None)]
#[case::when_it_was_verified(None, vec![found(Level::L1, 1, unreadable())], Some("AccessDenied"))]
#[case::and_read_since(None, vec![found(Level::L1, 1, unreadable()), found(Level::L2, 2, Found::Good)], None)]
#[case::bad_is_readable(None, vec![found(Level::L2, 1, fault())], None)]
#[case::and_bad_besides(
    None,
    vec![found(Level::L2, 1, fault()), found(Level::L1, 1, unreadable())],
    Some("AccessDenied")
)]
#[case::at_this_look(Some("archived"), vec![found(Level::L1, 1, unreadable())], Some("archived"))]
fn what_nobody_could_read_says_what_the_store_said_last(
    #[case] refused: Option<&str>,
    #[case] verifications: Vec<KnownVerification>,
    #[case] reason: Option<&str>,
) {
    let dump = StoredDump { verifications, manifest_refused: refused.map(str::to_owned), ..a_dump() };
    assert_eq!(dump.unreadable(), reason);
}

#[rstest]
#[case::never(vec![], None)]
#[case::only_looked_at(vec![found(Level::L1, 5, Found::Good)], None)]
#[case::found_bad(vec![found(Level::L2, 5, fault())], None)]
#[case::read(vec![found(Level::L2, 5, Found::Good)], Some(5))]
#[case::restored_later(vec![found(Level::L4, 7, Found::Good), found(Level::L2, 5, Found::Good)], Some(7))]
#[case::just_now(vec![found(Level::L2, 10, Found::Good)], Some(10))]
#[case::by_a_clock_that_is_wrong(vec![found(Level::L2, 11, Found::Good), found(Level::L4, 3, Found::Good)], Some(3))]
fn a_dump_was_read_back_when_every_byte_was_last_found_good(
    #[case] verifications: Vec<KnownVerification>,
    #[case] minute: Option<i64>,
) {
    let after = |minute| at(SLOT) + SignedDuration::from_mins(minute);
    let dump = StoredDump { verifications, ..a_dump() };
    assert_eq!(dump.read_back_at(after(10)), minute.map(after));
}

#[test]
fn a_dump_of_unknown_age_is_taken_to_be_as_old_as_its_slot() {
    let known = a_dump();
    let (moment, stored_at) = (at("2026-11-01T04:07:00Z"), at("2026-11-01T05:30:00Z"));
    let point = RecoveryPoint { created_at: Some(moment), stored_at: Some(stored_at), ..known.point.clone() };
    let known = StoredDump { point, ..known };
    assert_eq!((known.moment(), known.stored_at()), (moment, stored_at));
    let point = RecoveryPoint { created_at: None, stored_at: None, ..known.point.clone() };
    let unknown = StoredDump { point, ..known };
    assert_eq!((unknown.moment(), unknown.stored_at()), (at(SLOT), at(SLOT)));
}

#[test]
fn a_record_tells_of_the_slot_of_what_it_is_about() {
    let dump = a_dump().dump;
    let run = RunId { slot: dump.slot, kind: Kind::Dump, database: Some(dump.database.clone()), attempt: 2 };
    let of = [
        RecordOf::Run(run),
        RecordOf::Deletion(dump.clone(), Plane::Primary),
        RecordOf::Verification(dump, Plane::Replica),
    ];
    for of in of {
        let record = OldRecord { of, written_at: at("2027-01-01T00:00:00Z"), versions: Vec::new() };
        assert_eq!(record.slot(), Slot::at(at(SLOT)));
    }
}

#[test]
fn a_replica_that_was_not_seen_has_no_dumps_and_not_none() {
    let own = store(vec![a_dump().point], Vec::new(), Vec::new());
    let elsewhere = Complete::after_last_page(vec![a_dump(), a_dump()]);
    let with = |replica| SourceStore { replica, ..own.clone() };
    let seen = with(Some(Ok(ReplicaStore { dumps: elsewhere.clone() })));
    assert_eq!(seen.dumps_in(Plane::Primary), Some(&own.dumps));
    assert_eq!(seen.dumps_in(Plane::Replica), Some(&elsewhere));
    assert_eq!(with(None).dumps_in(Plane::Replica), None);
    assert_eq!(with(Some(Err(Unseen("no rights".to_owned())))).dumps_in(Plane::Replica), None);
}

#[test]
fn what_was_not_looked_at_is_unseen_and_not_empty() {
    let policy = policy(&[("accounts", &["accounts"]), ("cards", &["cards"])]);
    let mut seen = inventory(&policy);
    let (accounts, cards) = ("accounts".parse().unwrap(), "cards".parse().unwrap());
    let unseen = Unseen("ListObjects: throttled".to_owned());
    seen.stores.insert(cards, Err(unseen.clone()));
    assert_eq!(seen.store(&accounts), Ok(&store(Vec::new(), Vec::new(), Vec::new())));
    assert_eq!(seen.store(&"cards".parse().unwrap()), Err(unseen.clone()));
    let nobody = seen.store(&"loans".parse().unwrap()).unwrap_err();
    assert_eq!(nobody.0, "the store of source loans was not read");

    let called = |inventory: &Inventory, name: &str| {
        let found = inventory.instance(&name.parse().unwrap());
        found.map(|found| found.map(|instance| instance.id.to_string()))
    };
    assert_eq!(called(&seen, "BANK-CARDS"), Ok(Some("bank-cards".to_owned())));
    assert_eq!(called(&seen, "bank-loans"), Ok(None));
    assert_eq!(called(&Inventory { instances: Err(unseen.clone()), ..seen }, "bank-cards"), Err(unseen));
}
