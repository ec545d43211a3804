use rstest::rstest;

use super::*;
use crate::domain::inventory::{Complete, KnownVerification, ReplicaStore, Unseen};
use crate::domain::recovery_point::RecoveryPoint;
use crate::testing::{at, dump, inventory, now, policy, store, stored_dump, verified};

/// Dumps that nobody has looked at yet.
fn unverified(slots: &[&str]) -> Vec<StoredDump> {
    let dumps = slots.iter().map(|slot| stored_dump(dump("accounts", slot, 100, PointState::Good)));
    dumps.map(|stored| StoredDump { verifications: Vec::new(), ..stored }).collect()
}

/// A dump that was asked for, and read back then.
fn read_at(slot: &str, read: &str) -> StoredDump {
    let [stored] = unverified(&[slot]).try_into().unwrap();
    with(stored, vec![good(Level::L1), verified(Level::L2, at(read))])
}

fn with(stored: StoredDump, verifications: Vec<KnownVerification>) -> StoredDump {
    let whole = verifications.iter().filter(|known| known.level >= Level::L2 && known.is_good());
    let verified_at = whole.map(|known| known.at).max();
    StoredDump {
        point: RecoveryPoint { verified_at, run: Some(run(&stored)), ..stored.point.clone() },
        verifications,
        ..stored
    }
}

fn run(stored: &StoredDump) -> crate::domain::id::RunId {
    format!("{}-dump-accounts-1", stored.dump.slot).parse().unwrap()
}

/// The same in the second region.
fn in_west(stored: StoredDump) -> StoredDump {
    let region = "us-west-2".parse().unwrap();
    StoredDump { point: RecoveryPoint { plane: Plane::Replica, region, ..stored.point }, ..stored }
}

fn found(level: Level, at: Timestamp, found: Found) -> KnownVerification {
    KnownVerification { found, ..verified(level, at) }
}

/// As a later reading that found it bad leaves it.
fn found_bad(stored: StoredDump, when: &str) -> StoredDump {
    let fault = found(Level::L2, at(when), Found::Fault("bits have flipped".to_owned()));
    let mut stored = with(stored, vec![good(Level::L1), fault]);
    stored.point.state = PointState::Bad { reason: "bits have flipped".to_owned() };
    stored
}

fn seen(here: Vec<StoredDump>, there: Option<Vec<StoredDump>>) -> (Policy, Inventory) {
    let policy = policy(&[("accounts", &["accounts"])]);
    let mut inventory = inventory(&policy);
    let mut all = store(Vec::new(), Vec::new(), Vec::new());
    all.dumps = Complete::after_last_page(here);
    all.replica = there.map(|dumps| Ok(ReplicaStore { dumps: Complete::after_last_page(dumps) }));
    inventory.stores = [(policy.sources.keys().next().unwrap().clone(), Ok(all))].into();
    (policy, inventory)
}

fn planned_at(here: Vec<StoredDump>, there: Option<Vec<StoredDump>>, now: Timestamp) -> Verifications {
    let (policy, inventory) = seen(here, there);
    plan_verifications(&policy, &inventory, now)
}

fn words(planned: &Verifications) -> Vec<String> {
    planned.actions.iter().map(ToString::to_string).collect()
}

fn planned(here: Vec<StoredDump>, there: Option<Vec<StoredDump>>) -> Vec<String> {
    words(&planned_at(here, there, now()))
}

fn checks(planned: &Verifications) -> Vec<Check> {
    planned.findings.iter().map(|finding| finding.check).collect()
}

fn good(level: Level) -> KnownVerification {
    verified(level, at("2026-11-02T00:00:00Z"))
}

#[test]
fn each_new_dump_is_asked_for_and_read_back_the_newest_first_one_at_a_time() {
    let mut dumps = unverified(&["2026-11-01T04:00:00Z", "2026-10-01T04:00:00Z"]);
    let newest = "verify dump accounts/accounts/20261101t040000z in us-east-1 at level L2";
    assert_eq!(
        planned(dumps.clone(), None),
        [
            "verify dump accounts/accounts/20261101t040000z in us-east-1 at level L1",
            "verify dump accounts/accounts/20261001t040000z in us-east-1 at level L1",
            newest,
        ]
    );
    dumps.iter_mut().for_each(|stored| stored.verifications = vec![good(Level::L1)]);
    assert_eq!(planned(dumps.clone(), None), [newest]);
    dumps[0].verifications.push(good(Level::L2));
    assert_eq!(
        planned(dumps.clone(), None),
        ["verify dump accounts/accounts/20261001t040000z in us-east-1 at level L2"]
    );
    dumps[1].verifications.push(good(Level::L2));
    assert!(planned(dumps, None).is_empty());
}

#[test]
fn a_verification_that_failed_is_not_repeated_by_itself() {
    let dump = found_bad(read_at("2026-11-01T04:00:00Z", "2026-11-01T05:00:00Z"), "2026-11-02T00:00:00Z");
    assert!(planned(vec![dump], None).is_empty());
}

#[test]
fn a_loss_that_only_the_listing_shows_is_recorded() {
    let lost = |run: bool| {
        let mut dump = read_at("2026-11-01T04:00:00Z", "2026-11-01T05:00:00Z");
        dump.point.state = PointState::Bad { reason: "an object is missing".to_owned() };
        dump.point.run = dump.point.run.filter(|_| run);
        StoredDump { whole: false, ..dump }
    };
    let asked = ["verify dump accounts/accounts/20261101t040000z in us-east-1 at level L1"];
    assert_eq!(planned(vec![lost(true)], None), asked);
    assert!(planned(vec![lost(false)], None).is_empty(), "without a manifest nobody knows what is lost");
    let (policy, mut inventory) = seen(vec![lost(true)], None);
    inventory.stores.values_mut().flatten().for_each(|store| store.refused = Some(Unseen("a record".to_owned())));
    assert!(words(&plan_verifications(&policy, &inventory, now())).is_empty(), "it may be the record of its deletion");
    let fault = found(Level::L1, now(), Found::Fault("an object is missing".to_owned()));
    assert!(planned(vec![StoredDump { verifications: vec![fault], ..lost(true) }], None).is_empty());
}

#[test]
fn a_replica_is_asked_for_as_soon_as_it_is_whole_and_that_is_its_proof() {
    let west = |whole| {
        let dumps = unverified(&["2026-11-01T04:00:00Z"]).into_iter();
        let there = dumps.map(|stored| StoredDump {
            whole,
            point: RecoveryPoint {
                plane: Plane::Replica,
                region: "us-west-2".parse().unwrap(),
                state: PointState::Pending,
                ..stored.point
            },
            ..stored
        });
        there.collect::<Vec<_>>()
    };
    assert!(planned(Vec::new(), Some(west(false))).is_empty());
    assert_eq!(
        planned(Vec::new(), Some(west(true))),
        ["verify dump accounts/accounts/20261101t040000z in us-west-2 at level L1"]
    );
}

/// First days of twelve months, the newest first.
const MONTHS: [&str; 12] = [
    "2026-11-01",
    "2026-10-01",
    "2026-09-01",
    "2026-08-01",
    "2026-07-01",
    "2026-06-01",
    "2026-05-01",
    "2026-04-01",
    "2026-03-01",
    "2026-02-01",
    "2026-01-01",
    "2025-12-01",
];

#[test]
fn all_that_are_kept_are_read_again_within_a_cycle_spread_evenly_over_it() {
    const DAY: SignedDuration = SignedDuration::from_hours(24);
    let began_at = now();
    // All at once, as after an upgrade.
    let mut dumps: Vec<StoredDump> =
        MONTHS.iter().map(|day| read_at(&format!("{day}T04:00:00Z"), "2026-11-23T11:00:00Z")).collect();
    let mut clock = began_at;
    let mut readings = Vec::new();
    while clock < began_at + DAY * 180 {
        let planned = planned_at(dumps.clone(), None, clock);
        assert_eq!(checks(&planned), [], "{clock}");
        match planned.actions.as_slice() {
            [] => clock = planned.wake_at.expect("there is always a next turn"),
            [Action::Verify(verify)] => {
                readings.push(clock);
                let read = dumps.iter_mut().find(|own| own.dump == verify.stored.dump).unwrap();
                *read = read_at(&format!("{}", read.dump.slot.instant()), &clock.to_string());
            }
            more => panic!("{more:?}"),
        }
    }
    // Twelve dumps in ninety days: one every seven and a half, in two cycles.
    assert!((23..=24).contains(&readings.len()), "{readings:?}");
    for pair in readings.windows(2) {
        assert_eq!(pair[1].duration_since(pair[0]), DAY * 15 / 2);
    }
}

#[test]
fn after_a_long_silence_those_that_are_late_are_read_at_twice_the_pace_and_told() {
    let dumps: Vec<StoredDump> =
        MONTHS[..9].iter().map(|day| read_at(&format!("{day}T04:00:00Z"), "2026-07-01T00:00:00Z")).collect();
    let planned = planned_at(dumps.clone(), None, now());
    assert_eq!(words(&planned).len(), 1, "never all that are late at once");
    assert_eq!(checks(&planned), [Check::VerificationOverdue]);
    assert_eq!(planned.readings[0].overdue, 9);
    let mut dumps = dumps;
    dumps[8] = read_at(&format!("{}T04:00:00Z", MONTHS[8]), "2026-11-23T12:00:00Z");
    let planned = planned_at(dumps, None, now());
    assert_eq!((words(&planned).len(), planned.wake_at), (0, Some(now() + SignedDuration::from_hours(5 * 24))));
}

#[test]
fn a_single_dump_is_read_again_when_the_cycle_is_over() {
    let dump = || vec![read_at("2026-11-01T04:00:00Z", "2026-11-01T05:00:00Z")];
    let again = at("2027-01-30T05:00:00Z");
    let planned = planned_at(dump(), None, again - SignedDuration::from_secs(1));
    assert_eq!((words(&planned).len(), planned.wake_at), (0, Some(again)));
    assert_eq!(words(&planned_at(dump(), None, again)).len(), 1);
    let (mut policy, inventory) = seen(dump(), None);
    policy.verify.cycle = None;
    let never = plan_verifications(&policy, &inventory, again + SignedDuration::from_hours(10_000));
    assert_eq!((words(&never).len(), checks(&never), never.wake_at), (0, vec![], None));
}

#[test]
fn first_readings_do_not_put_off_the_turns_of_the_others() {
    // A dump each day, each read at once, and an old one whose turn it is.
    let mut dumps = vec![read_at("2026-06-01T04:00:00Z", "2026-08-20T00:00:00Z")];
    for day in 14..=23 {
        dumps.push(read_at(&format!("2026-11-{day}T04:00:00Z"), &format!("2026-11-{day}T05:00:00Z")));
    }
    assert_eq!(planned(dumps, None), ["verify dump accounts/accounts/20260601t040000z in us-east-1 at level L2"]);
}

#[test]
fn a_dump_that_was_not_read_back_in_its_first_day_is_a_finding() {
    let mut dump = unverified(&["2026-11-22T12:00:00Z"]);
    dump[0].verifications = vec![good(Level::L1)];
    assert_eq!(checks(&planned_at(dump.clone(), None, now())), []);
    let later = planned_at(dump.clone(), None, now() + SignedDuration::from_secs(1));
    assert_eq!(checks(&later), [Check::VerificationOverdue]);
    let (policy, mut inventory) = seen(dump, None);
    inventory.clock_skew = Some(SignedDuration::from_hours(-24 * 365));
    let next_year = plan_verifications(&policy, &inventory, now() + SignedDuration::from_hours(24 * 365));
    assert_eq!(checks(&next_year), [], "by a wrong clock nothing is late");
    assert_eq!(words(&next_year).len(), 1, "what is new is read all the same");
}

#[test]
fn a_reading_that_a_wrong_clock_has_dated_in_the_future_is_none() {
    let dump = vec![read_at("2026-11-01T04:00:00Z", "2027-11-01T05:00:00Z")];
    assert_eq!(planned(dump, None), ["verify dump accounts/accounts/20261101t040000z in us-east-1 at level L2"]);
}

#[test]
fn when_one_turns_out_to_be_bad_the_newest_is_read_again_at_once_and_once() {
    let bad = || found_bad(read_at("2026-08-01T04:00:00Z", "2026-08-01T05:00:00Z"), "2026-11-23T10:00:00Z");
    let newer = |read: &str| read_at("2026-11-01T04:00:00Z", read);
    let other = || read_at("2026-09-01T04:00:00Z", "2026-11-20T05:00:00Z");
    assert_eq!(
        planned(vec![bad(), other(), newer("2026-11-22T05:00:00Z")], None),
        ["verify dump accounts/accounts/20261101t040000z in us-east-1 at level L2"]
    );
    assert!(planned(vec![bad(), other(), newer("2026-11-23T11:00:00Z")], None).is_empty());
    assert!(
        planned(vec![bad(), read_at("2026-07-01T04:00:00Z", "2026-11-22T05:00:00Z")], None).is_empty(),
        "it is older"
    );
}

#[test]
fn of_the_replicas_one_of_each_database_is_read_each_week_the_newest_first() {
    let here = || vec![read_at("2026-11-01T04:00:00Z", "2026-11-01T05:00:00Z")];
    let asked = |slot: &str| {
        let [stored] = unverified(&[slot]).try_into().unwrap();
        in_west(with(stored, vec![good(Level::L1)]))
    };
    let read = |slot, when| in_west(read_at(slot, when));
    let level_2 = |slot: &str| vec![format!("verify dump accounts/accounts/{slot} in us-west-2 at level L2")];
    let there = vec![asked("2026-10-01T04:00:00Z"), asked("2026-11-01T04:00:00Z")];
    assert_eq!(planned(here(), Some(there)), level_2("20261101t040000z"));
    let there = |when| vec![asked("2026-10-01T04:00:00Z"), read("2026-11-01T04:00:00Z", when)];
    let planned_there = |when| planned_at(here(), Some(there(when)), now());
    let waits = planned_there("2026-11-16T12:00:01Z");
    assert_eq!((words(&waits), waits.wake_at), (Vec::new(), Some(now() + SignedDuration::from_secs(1))));
    assert_eq!(
        words(&planned_there("2026-11-16T12:00:00Z")),
        level_2("20261001t040000z"),
        "then those that never were"
    );
    assert_eq!(checks(&planned_there("2026-11-15T12:00:00Z")), []);
    assert_eq!(checks(&planned_there("2026-11-15T11:59:59Z")), [Check::VerificationOverdue]);
    let both = vec![
        read("2026-10-01T04:00:00Z", "2026-11-02T00:00:00Z"),
        read("2026-11-01T04:00:00Z", "2026-11-01T06:00:00Z"),
    ];
    assert_eq!(planned(here(), Some(both)), level_2("20261101t040000z"), "then the one that was the longest ago");
}

#[rstest]
#[case::asked(Level::L1)]
#[case::read(Level::L2)]
fn what_nobody_could_read_is_told_and_tried_again_after_some_hours(#[case] level: Level) {
    let denied = |when: Timestamp| {
        let [stored] = unverified(&["2026-11-01T04:00:00Z"]).try_into().unwrap();
        let mut known = vec![found(level, when, Found::Unreadable("AccessDenied".to_owned()))];
        known.extend((level == Level::L2).then(|| good(Level::L1)));
        let mut stored = in_west(with(stored, known));
        stored.point.state = PointState::Bad { reason: "nobody could read it".to_owned() };
        stored
    };
    let soon = planned_at(Vec::new(), Some(vec![denied(now() - SignedDuration::from_hours(5))]), now());
    assert_eq!((words(&soon), checks(&soon)), (Vec::new(), vec![Check::DumpUnreadable]));
    let later = planned_at(Vec::new(), Some(vec![denied(now() - SLOW_PACE)]), now());
    assert_eq!(
        words(&later),
        [format!("verify dump accounts/accounts/20261101t040000z in us-west-2 at level {level}")]
    );
    let dated_wrongly = planned_at(Vec::new(), Some(vec![denied(at("2027-11-01T00:00:00Z"))]), now());
    assert_eq!(words(&dated_wrongly).len(), 1);
}

#[test]
fn a_round_begins_only_so_many() {
    let months: Vec<String> = MONTHS.iter().map(|day| format!("{day}T04:00:00Z")).collect();
    let months: Vec<&str> = months.iter().map(String::as_str).collect();
    let mut many = unverified(&months);
    many.extend(unverified(
        &months
            .iter()
            .map(|slot| slot.replace("-01T", "-15T"))
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    ));
    assert_eq!(planned(many, None).len(), L1_PER_ROUND + 1);
}

/// Two dumps: each is read again in half a cycle.
#[test]
fn until_the_cycle_is_over_nothing_is_late_and_the_pace_is_the_usual_one() {
    let half_a_cycle = SignedDuration::from_hours(45 * 24);
    let (oldest, newest) = ("2026-08-25T12:00:00Z", "2026-11-22T00:00:00Z");
    let dumps = vec![read_at("2026-08-01T04:00:00Z", oldest), read_at("2026-09-01T04:00:00Z", newest)];
    assert_eq!(at(oldest) + half_a_cycle * 2, now());
    assert_eq!(planned_at(dumps.clone(), None, now()).wake_at, Some(at(newest) + half_a_cycle));
    let late = planned_at(dumps, None, now() + SignedDuration::from_secs(1));
    assert_eq!(late.wake_at, Some(at(newest) + half_a_cycle / 2));
}

#[rstest]
#[case::at_its_deadline("2026-09-02T04:00:00Z", "2026-10-09T12:00:00Z")]
#[case::after_its_deadline("2026-09-02T04:00:01Z", "2026-10-17T04:00:01Z")]
fn a_first_reading_puts_off_a_turn_only_if_it_was_late(#[case] first_read: &str, #[case] turn: &str) {
    let dumps =
        vec![read_at("2026-08-01T04:00:00Z", "2026-08-25T12:00:00Z"), read_at("2026-09-01T04:00:00Z", first_read)];
    assert_eq!(planned_at(dumps, None, at("2026-10-01T00:00:00Z")).wake_at, Some(at(turn)));
}

#[rstest]
#[case::in_its_last_second("2026-11-22T12:00:00Z", &[])]
#[case::a_second_late("2026-11-22T11:59:59Z", &[Check::VerificationOverdue])]
fn a_first_replica_is_read_back_within_its_first_day(#[case] stored: &str, #[case] told: &[Check]) {
    let [dump] = unverified(&["2026-11-01T04:00:00Z"]).try_into().unwrap();
    let mut dump = in_west(with(dump, vec![good(Level::L1)]));
    dump.point.stored_at = Some(at(stored));
    assert_eq!(checks(&planned_at(Vec::new(), Some(vec![dump]), now())), told);
}
