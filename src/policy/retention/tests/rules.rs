//! Each rule alone, and how rules add up.

use rstest::rstest;

use super::*;

const FIVE_DAYS: [&str; 5] = [
    "2027-05-01T04:00:00Z",
    "2027-05-02T04:00:00Z",
    "2027-05-03T04:00:00Z",
    "2027-05-04T04:00:00Z",
    "2027-05-05T04:00:00Z",
];

#[test]
fn each_rule_says_why_it_keeps_a_point_and_the_rest_has_expired() {
    let policy = RetentionPolicy {
        keep_last: count(2),
        keep_daily: count(3),
        keep_monthly: count(2),
        keep_within: Some(SignedDuration::from_hours(24)),
        min_keep: NonZeroU32::new(2).unwrap(),
        ..keep_nothing()
    };
    let points = [
        good("2027-03-31T04:00:00Z"),
        verified("2027-04-29T04:00:00Z"),
        good("2027-04-30T04:00:00Z"),
        good("2027-05-04T04:00:00Z"),
        good("2027-05-05T03:00:00Z"),
        good("2027-05-05T04:00:00Z"),
    ];
    insta::assert_snapshot!(decisions(&policy, &points), @r"
    2027-03-31T04:00:00Z expired: no rule keeps it; newest good is 2027-05-05T04:00:00Z
    2027-04-29T04:00:00Z kept: newest verified one
    2027-04-30T04:00:00Z kept: newest of its day, newest of its month
    2027-05-04T04:00:00Z kept: newest of its day, not much older than the newest
    2027-05-05T03:00:00Z kept: number 2 of the newest, not much older than the newest, among the newest that always stay
    2027-05-05T04:00:00Z kept: number 1 of the newest, newest of its day, newest of its month, not much older than the newest, among the newest that always stay, newest good one
    ");
}

#[rstest]
#[case::one(1, &FIVE_DAYS[4..])]
#[case::three(3, &FIVE_DAYS[2..])]
#[case::as_many_as_there_are(5, &FIVE_DAYS)]
#[case::more_than_there_are(9, &FIVE_DAYS)]
fn keep_last_keeps_so_many_of_the_newest(#[case] last: u32, #[case] expected: &[&str]) {
    let policy = RetentionPolicy { keep_last: count(last), ..keep_nothing() };
    assert_eq!(kept(&policy, &points(&FIVE_DAYS)), expected);
}

#[rstest]
#[case::to_the_second(48, &FIVE_DAYS[2..])]
#[case::all(96, &FIVE_DAYS)]
#[case::none_but_the_newest(0, &FIVE_DAYS[4..])]
fn keep_within_counts_from_the_newest_good_one_and_not_from_now(#[case] hours: i64, #[case] expected: &[&str]) {
    let within = SignedDuration::from_hours(hours);
    let policy = RetentionPolicy { keep_within: Some(within), ..keep_nothing() };
    assert_eq!(kept(&policy, &points(&FIVE_DAYS)), expected);
    let a_second_less = RetentionPolicy { keep_within: Some(within - SignedDuration::from_secs(1)), ..keep_nothing() };
    assert_eq!(kept(&a_second_less, &points(&FIVE_DAYS)).len(), expected.len().max(2) - 1);
}

#[rstest]
#[case::one(1, &FIVE_DAYS[4..])]
#[case::two(2, &FIVE_DAYS[3..])]
#[case::more_than_there_are(9, &FIVE_DAYS)]
fn the_least_number_is_kept_where_no_other_rule_keeps_anything(#[case] min_keep: u32, #[case] expected: &[&str]) {
    let policy = RetentionPolicy { min_keep: NonZeroU32::new(min_keep).unwrap(), ..keep_nothing() };
    assert_eq!(kept(&policy, &points(&FIVE_DAYS)), expected);
}

#[test]
fn a_rule_that_is_added_takes_no_other_point_away() {
    let floor = RetentionPolicy { min_keep: NonZeroU32::new(3).unwrap(), ..keep_nothing() };
    let wider = RetentionPolicy { keep_within: Some(SignedDuration::from_hours(1)), ..floor.clone() };
    let mut points = points(&FIVE_DAYS);
    points[0].pin = pin(None);
    assert_eq!(kept(&floor, &points), [FIVE_DAYS[0], FIVE_DAYS[2], FIVE_DAYS[3], FIVE_DAYS[4]]);
    assert_eq!(kept(&wider, &points), kept(&floor, &points));
}

#[test]
fn the_newest_verified_one_is_kept_beside_newer_ones_that_nobody_has_verified() {
    let points = [
        verified("2027-01-01T04:00:00Z"),
        verified("2027-02-01T04:00:00Z"),
        good("2027-03-01T04:00:00Z"),
        bad("2027-02-02T04:00:00Z"),
    ];
    insta::assert_snapshot!(decisions(&keep_nothing(), &points), @r"
    2027-01-01T04:00:00Z expired: no rule keeps it; newest good is 2027-03-01T04:00:00Z
    2027-02-01T04:00:00Z kept: newest verified one
    2027-03-01T04:00:00Z kept: among the newest that always stay, newest good one
    2027-02-02T04:00:00Z expired: no rule keeps it; newest good is 2027-03-01T04:00:00Z
    ");
}

#[test]
fn what_was_verified_last_is_not_what_is_newest_of_the_verified() {
    let verified_late = RecoveryPoint { verified_at: Some(now()), ..good("2027-01-01T04:00:00Z") };
    let points = [verified_late, verified("2027-02-01T04:00:00Z"), good("2027-03-01T04:00:00Z")];
    assert_eq!(kept(&keep_nothing(), &points), ["2027-02-01T04:00:00Z", "2027-03-01T04:00:00Z"]);
}

#[test]
fn of_two_that_were_made_at_one_moment_the_id_decides() {
    let twin = |id: &str| RecoveryPoint { id: id.to_owned(), ..good("2027-03-01T04:00:00Z") };
    for points in [[twin("a"), twin("b")], [twin("b"), twin("a")]] {
        assert_eq!(kept(&keep_nothing(), &points), ["b"]);
    }
}

#[test]
fn groups_are_judged_alone() {
    let old = good("2027-01-01T04:00:00Z");
    let of_another = |change: fn(&mut RecoveryPoint)| {
        let mut point = old.clone();
        change(&mut point);
        point
    };
    let others = [
        ("instance", of_another(|point| point.resource = Some("db-PREDECESSOR".parse().unwrap()))),
        ("kind", of_another(|point| point.kind = crate::domain::id::Kind::Snapshot)),
        ("database", of_another(|point| point.database = Some("audit".parse().unwrap()))),
        ("no database", of_another(|point| point.database = None)),
        ("plane", of_another(|point| point.plane = Plane::Replica)),
        ("region", of_another(|point| point.region = "us-west-2".parse().unwrap())),
    ];
    let newest = good("2027-03-01T04:00:00Z");
    assert_eq!(kept(&keep_nothing(), &[old.clone(), newest.clone()]), ["2027-03-01T04:00:00Z"]);
    for (difference, other) in others {
        assert_eq!(kept(&keep_nothing(), &[other, newest.clone()]).len(), 2, "they differ in {difference}");
    }
    let renamed = of_another(|point| point.source = "old-name".parse().unwrap());
    assert_eq!(kept(&keep_nothing(), &[renamed, newest]).len(), 1, "the source's name is no identity");
}

#[test]
fn where_everything_is_kept_nothing_else_is_asked() {
    let listing = points(&FIVE_DAYS);
    let verdicts = Retention::KeepAll.judge(&Complete::after_last_page(listing.iter().collect()), now());
    assert_eq!(verdicts.len(), 5);
    assert!(verdicts.iter().all(|verdict| verdict.fate == Fate::Kept(vec![KeepRule::KeepAll])));
    assert!(verdicts.iter().zip(&listing).all(|(verdict, point)| verdict.point == point));
}

#[test]
fn retention_by_rules_judges_as_its_policy_does() {
    let policy = RetentionPolicy { keep_daily: count(2), ..keep_nothing() };
    let listing = points(&FIVE_DAYS);
    let verdicts = Retention::Rules(policy.clone()).judge(&Complete::after_last_page(listing.iter().collect()), now());
    assert_eq!(verdicts, judge(&policy, &listing));
    assert!(verdicts.iter().any(|verdict| matches!(verdict.fate, Fate::Expired(_))));
}

#[test]
fn a_retention_in_another_zone_differs_in_nothing_else() {
    let policy = RetentionPolicy { keep_daily: count(2), ..keep_nothing() };
    let in_london = RetentionPolicy { zone: london(), ..policy.clone() };
    assert_eq!(Retention::Rules(policy).in_zone(&london()), Retention::Rules(in_london));
    assert_eq!(Retention::KeepAll.in_zone(&london()), Retention::KeepAll);
}

/// A dump that a drill has made in a slot, of a snapshot's moment.
fn of_snapshot(slot: &str, data_of: &str) -> RecoveryPoint {
    let snapshot = format!("snap-{}", &data_of[..10]).parse().unwrap();
    RecoveryPoint {
        created_at: Some(at(data_of)),
        stored_at: Some(at(slot)),
        from_snapshot: Some(snapshot),
        ..good(slot)
    }
}

/// The 1st of November 2026 is a Sunday: its dump has data of that day, and that of December data of the 29th of November.
#[test]
fn dumps_out_of_drills_are_filed_by_their_slots_so_that_no_month_goes_without() {
    let policy = RetentionPolicy { keep_monthly: count(5), ..keep_nothing() };
    let points = [
        of_snapshot("2026-10-01T08:00:00Z", "2026-09-27T03:00:00Z"),
        of_snapshot("2026-11-01T08:00:00Z", "2026-11-01T03:00:00Z"),
        of_snapshot("2026-12-01T08:00:00Z", "2026-11-29T03:00:00Z"),
        of_snapshot("2027-01-01T08:00:00Z", "2026-12-27T03:00:00Z"),
        of_snapshot("2027-02-01T08:00:00Z", "2027-01-31T03:00:00Z"),
    ];
    assert_eq!(kept(&policy, &points).len(), points.len());
    // Whoever has one more made in a month gets the newest data of that month, not the newest slot.
    let of_old_data = of_snapshot("2026-11-20T08:00:00Z", "2026-10-25T03:00:00Z");
    let with_it: Vec<RecoveryPoint> = points.iter().cloned().chain([of_old_data.clone()]).collect();
    assert!(!kept(&policy, &with_it).contains(&of_old_data.id.as_str()));
}

#[test]
fn several_dumps_of_one_snapshot_take_one_place() {
    let policy = RetentionPolicy { keep_last: count(2), ..keep_nothing() };
    let again = |slot| of_snapshot(slot, "2027-05-30T03:00:00Z");
    let points = [
        of_snapshot("2027-04-01T08:00:00Z", "2027-03-28T03:00:00Z"),
        of_snapshot("2027-05-01T08:00:00Z", "2027-04-25T03:00:00Z"),
        again("2027-06-01T08:00:00Z"),
        again("2027-06-02T08:00:00Z"),
    ];
    assert_eq!(kept(&policy, &points), points[1..].iter().map(|point| point.id.as_str()).collect::<Vec<_>>());
}

#[test]
fn evidence_names_the_one_point_that_it_is_about() {
    let old =
        RecoveryPoint { source: "old-name".parse().unwrap(), plane: Plane::Replica, ..good("2027-01-01T04:00:00Z") };
    let newest = RecoveryPoint { plane: Plane::Replica, ..good("2027-03-01T04:00:00Z") };
    let points = [old.clone(), newest.clone()];
    let verdicts = judge(&keep_nothing(), &points);
    let Fate::Expired(expired) = &verdicts[0].fate else { panic!("{}", verdicts[0].fate) };
    assert_eq!(expired.id(), old.id);
    assert_eq!(expired.source(), &old.source);
    assert_eq!(expired.kind(), old.kind);
    assert_eq!(expired.database(), old.database.as_ref());
    assert_eq!(Some(expired.resource()), old.resource.as_ref());
    assert_eq!(expired.plane(), old.plane);
    assert_eq!(expired.region(), &old.region);
    assert_eq!(Some(expired.created_at()), old.created_at);
    assert_eq!(expired.judged_at(), now());
    assert_eq!(expired.newest_good(), newest.id);
    assert_eq!(expired.to_string(), "expired: no rule keeps it; newest good is 2027-03-01T04:00:00Z");
}

#[test]
fn every_reason_reads_as_plain_words() {
    let until = at("2027-07-01T00:00:00Z");
    let rules = [
        KeepRule::KeepAll,
        KeepRule::Last(2),
        KeepRule::Hourly,
        KeepRule::Daily,
        KeepRule::Weekly,
        KeepRule::Monthly,
        KeepRule::Yearly,
        KeepRule::Oldest,
        KeepRule::Within,
        KeepRule::MinKeep,
        KeepRule::NewestGood,
        KeepRule::NewestVerified,
        KeepRule::TooYoung { until },
        KeepRule::Pinned { reason: Some("audit 2026".to_owned()) },
        KeepRule::Pinned { reason: None },
        KeepRule::Locked { until },
        KeepRule::Pending,
        KeepRule::Deleting,
        KeepRule::FutureDated,
        KeepRule::Unidentified,
        KeepRule::NoNewerGood,
    ];
    let words: Vec<String> = rules.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(words.join("\n"), @r"
    everything is kept
    number 2 of the newest
    newest of its hour
    newest of its day
    newest of its week
    newest of its month
    newest of its year
    oldest of all
    not much older than the newest
    among the newest that always stay
    newest good one
    newest verified one
    younger than its minimum age until 2027-07-01T00:00:00Z
    pinned: audit 2026
    pinned
    locked by the store until 2027-07-01T00:00:00Z
    still being made
    its deletion is under way
    dated in the future
    not identified for certain
    no newer good one yet
    ");
}
