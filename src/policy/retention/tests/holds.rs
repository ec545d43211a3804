//! What keeps a point whatever the policy says.

use rstest::rstest;

use super::*;

const NEWEST: &str = "2027-06-29T04:00:00Z";

/// What becomes of a point beside a newest good one.
fn fate_of(policy: &RetentionPolicy, point: RecoveryPoint) -> String {
    let points = [point, good(NEWEST)];
    judge(policy, &points)[0].fate.to_string()
}

#[test]
fn what_is_pinned_is_kept_for_the_reason_that_was_given() {
    let pinned = |reason| RecoveryPoint { pin: pin(reason), ..good("2027-01-01T04:00:00Z") };
    assert_eq!(fate_of(&keep_nothing(), pinned(Some("audit 2026"))), "kept: pinned: audit 2026");
    assert_eq!(fate_of(&keep_nothing(), pinned(None)), "kept: pinned");
}

#[rstest]
#[case("2027-06-30T12:00:01Z", "kept: locked by the store until 2027-06-30T12:00:01Z")]
#[case("2027-06-30T12:00:00Z", "expired: no rule keeps it; newest good is 2027-06-29T04:00:00Z")]
fn a_lock_holds_until_its_instant(#[case] until: &str, #[case] expected: &str) {
    let locked = RecoveryPoint { locked_until: Some(at(until)), ..good("2027-01-01T04:00:00Z") };
    assert_eq!(fate_of(&keep_nothing(), locked), expected);
}

#[rstest]
#[case::a_day_old(good("2027-06-29T12:00:00Z"), "expired: no rule keeps it; newest good is 2027-06-30T04:00:00Z")]
#[case::a_second_younger(good("2027-06-29T12:00:01Z"), "kept: younger than its minimum age until 2027-06-30T12:00:01Z")]
#[case::copied_later(
    RecoveryPoint { stored_at: Some(at("2027-06-30T11:00:00Z")), ..good("2027-01-01T04:00:00Z") },
    "kept: younger than its minimum age until 2027-07-01T11:00:00Z")]
#[case::stored_before_its_data(
    RecoveryPoint { stored_at: Some(at("2027-01-01T04:00:00Z")), ..good("2027-06-30T03:00:00Z") },
    "kept: younger than its minimum age until 2027-07-01T03:00:00Z")]
#[case::stored_at_an_unknown_time(
    RecoveryPoint { stored_at: None, ..good("2027-06-30T03:00:00Z") },
    "kept: younger than its minimum age until 2027-07-01T03:00:00Z")]
#[case::bad_and_young(bad("2027-06-30T03:00:00Z"), "kept: younger than its minimum age until 2027-07-01T03:00:00Z")]
fn age_counts_from_when_a_point_came_to_be_where_it_is(#[case] point: RecoveryPoint, #[case] expected: &str) {
    let policy = RetentionPolicy { min_age: SignedDuration::from_hours(24), ..keep_nothing() };
    let points = [point, good("2027-06-30T04:00:00Z")];
    assert_eq!(judge(&policy, &points)[0].fate.to_string(), expected);
}

#[test]
fn an_age_beyond_all_time_is_never_reached() {
    let policy = RetentionPolicy { min_age: SignedDuration::MAX, ..keep_nothing() };
    assert_eq!(
        fate_of(&policy, good("2027-01-01T04:00:00Z")),
        "kept: younger than its minimum age until 9999-12-30T22:00:00.999999999Z"
    );
}

#[rstest]
#[case::pending(RecoveryPoint { state: PointState::Pending, created_at: None, ..good(NEWEST) }, "kept: still being made")]
#[case::deleting(RecoveryPoint { state: PointState::Deleting, ..good("2027-01-01T04:00:00Z") }, "kept: its deletion is under way")]
#[case::of_no_known_age(RecoveryPoint { created_at: None, ..good("2027-01-01T04:00:00Z") }, "kept: not identified for certain")]
#[case::of_no_known_instance(RecoveryPoint { resource: None, ..good("2027-01-01T04:00:00Z") }, "kept: not identified for certain")]
#[case::bad_and_of_no_known_instance(RecoveryPoint { resource: None, ..bad("2027-01-01T04:00:00Z") }, "kept: not identified for certain")]
#[case::dated_in_the_future(good("2027-06-30T12:00:01Z"), "kept: dated in the future")]
#[case::stored_in_the_future(
    RecoveryPoint { stored_at: Some(at("2027-06-30T12:00:01Z")), ..good("2027-01-01T04:00:00Z") },
    "kept: dated in the future")]
#[case::bad_and_dated_in_the_future(bad("2027-06-30T12:00:01Z"), "kept: dated in the future")]
#[case::pinned_besides(
    RecoveryPoint { state: PointState::Pending, pin: pin(Some("audit")), locked_until: Some(at("2028-01-01T00:00:00Z")), ..good("2027-01-01T04:00:00Z") },
    "kept: pinned: audit, locked by the store until 2028-01-01T00:00:00Z, still being made")]
fn what_cannot_be_judged_is_kept_and_counts_as_nothing(#[case] point: RecoveryPoint, #[case] expected: &str) {
    let point = RecoveryPoint { id: "set aside".to_owned(), verified_at: Some(now()), ..point };
    let points = [point, good("2027-05-01T04:00:00Z"), good(NEWEST)];
    let policy = RetentionPolicy { keep_last: count(1), ..keep_nothing() };
    let verdicts = judge(&policy, &points);
    assert_eq!(verdicts[0].fate.to_string(), expected);
    assert_eq!(
        verdicts[1].fate.to_string(),
        "expired: no rule keeps it; newest good is 2027-06-29T04:00:00Z",
        "no place in a rule was taken, and nothing of it is older than it was"
    );
    assert_eq!(
        verdicts[2].fate.to_string(),
        "kept: number 1 of the newest, among the newest that always stay, newest good one"
    );
}

#[test]
fn a_point_made_this_instant_is_not_of_the_future() {
    let points = [good("2027-06-30T12:00:00Z"), good(NEWEST)];
    assert_eq!(kept(&keep_nothing(), &points), ["2027-06-30T12:00:00Z"]);
}

#[test]
fn a_future_date_does_not_move_what_keep_within_counts_from() {
    let policy = RetentionPolicy { keep_within: Some(SignedDuration::from_hours(48)), ..keep_nothing() };
    let points = [good("2027-06-27T04:00:00Z"), good(NEWEST), good("2027-07-09T00:00:00Z")];
    assert_eq!(kept(&policy, &points).len(), 3);
}

#[rstest]
#[case::older_than_the_newest_good_one(
    "2027-06-29T03:59:59Z",
    "expired: no rule keeps it; newest good is 2027-06-29T04:00:00Z"
)]
#[case::as_old("2027-06-29T04:00:00Z", "kept: no newer good one yet")]
#[case::newer("2027-06-29T04:00:01Z", "kept: no newer good one yet")]
fn a_bad_one_expires_once_there_is_a_newer_good_one(#[case] created_at: &str, #[case] expected: &str) {
    let point = RecoveryPoint { id: "bad".to_owned(), ..bad(created_at) };
    assert_eq!(fate_of(&keep_nothing(), point), expected);
}

#[test]
fn a_bad_one_that_is_held_says_everything_that_holds_it() {
    let policy = RetentionPolicy { min_age: SignedDuration::from_hours(72), ..keep_nothing() };
    let point =
        RecoveryPoint { pin: pin(None), locked_until: Some(at("2028-01-01T00:00:00Z")), ..bad("2027-06-30T04:00:00Z") };
    insta::assert_snapshot!(fate_of(&policy, point), @"kept: younger than its minimum age until 2027-07-03T04:00:00Z, pinned, locked by the store until 2028-01-01T00:00:00Z, no newer good one yet");
}

#[test]
fn without_a_good_one_nothing_expires() {
    let of_the_future = good("2028-01-01T00:00:00Z");
    let points = [bad("2027-01-01T04:00:00Z"), bad("2027-02-01T04:00:00Z"), of_the_future];
    insta::assert_snapshot!(decisions(&keep_nothing(), &points), @r"
    2027-01-01T04:00:00Z kept: no newer good one yet
    2027-02-01T04:00:00Z kept: no newer good one yet
    2028-01-01T00:00:00Z kept: dated in the future
    ");
}

#[test]
fn a_point_that_is_listed_twice_takes_no_place_and_never_expires() {
    let policy = RetentionPolicy { keep_last: count(1), ..keep_nothing() };
    let again = RecoveryPoint { id: NEWEST.to_owned(), ..good("2027-06-28T04:00:00Z") };
    let points = [good("2027-05-01T04:00:00Z"), again, good("2027-05-02T04:00:00Z"), good(NEWEST)];
    insta::assert_snapshot!(decisions(&policy, &points), @r"
    2027-05-01T04:00:00Z expired: no rule keeps it; newest good is 2027-05-02T04:00:00Z
    2027-06-29T04:00:00Z kept: not identified for certain
    2027-05-02T04:00:00Z kept: number 1 of the newest, among the newest that always stay, newest good one
    2027-06-29T04:00:00Z kept: not identified for certain
    ");
}

#[test]
fn one_that_nobody_can_read_keeps_its_place_and_takes_none() {
    let policy = RetentionPolicy { keep_last: count(2), ..keep_nothing() };
    let points = [
        good("2027-05-01T04:00:00Z"),
        unreadable("2027-05-02T04:00:00Z"),
        good("2027-05-03T04:00:00Z"),
        unreadable("2027-05-04T04:00:00Z"),
        good("2027-05-05T04:00:00Z"),
        unreadable("2027-05-06T04:00:00Z"),
    ];
    insta::assert_snapshot!(decisions(&policy, &points), @r"
    2027-05-01T04:00:00Z expired: no rule keeps it; newest good is 2027-05-05T04:00:00Z
    2027-05-02T04:00:00Z expired: no rule keeps it; newest good is 2027-05-05T04:00:00Z
    2027-05-03T04:00:00Z kept: number 2 of the newest
    2027-05-04T04:00:00Z kept: number 2 of the newest
    2027-05-05T04:00:00Z kept: number 1 of the newest, among the newest that always stay, newest good one
    2027-05-06T04:00:00Z kept: number 1 of the newest, among the newest that always stay, no newer good one yet
    ");
}
