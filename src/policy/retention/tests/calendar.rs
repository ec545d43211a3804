//! Hours, days, weeks, months and years, where the calendar is odd.

use rstest::rstest;

use super::*;

#[test]
fn each_span_keeps_its_newest_for_as_many_spans_as_have_one() {
    let policy = RetentionPolicy {
        keep_hourly: count(2),
        keep_daily: count(2),
        keep_weekly: count(2),
        keep_monthly: count(2),
        keep_yearly: count(2),
        ..keep_nothing()
    };
    let points = points(&[
        "2024-12-30T04:00:00Z",
        "2024-12-31T04:00:00Z",
        "2027-03-31T04:00:00Z",
        "2027-05-17T04:00:00Z",
        "2027-05-19T04:00:00Z",
        "2027-05-24T04:00:00Z",
        "2027-05-25T03:10:00Z",
        "2027-05-25T03:50:00Z",
        "2027-05-25T04:00:00Z",
    ]);
    insta::assert_snapshot!(decisions(&policy, &points), @r"
    2024-12-30T04:00:00Z expired: no rule keeps it; newest good is 2027-05-25T04:00:00Z
    2024-12-31T04:00:00Z kept: newest of its year
    2027-03-31T04:00:00Z kept: newest of its month
    2027-05-17T04:00:00Z expired: no rule keeps it; newest good is 2027-05-25T04:00:00Z
    2027-05-19T04:00:00Z kept: newest of its week
    2027-05-24T04:00:00Z kept: newest of its day
    2027-05-25T03:10:00Z expired: no rule keeps it; newest good is 2027-05-25T04:00:00Z
    2027-05-25T03:50:00Z kept: newest of its hour
    2027-05-25T04:00:00Z kept: newest of its hour, newest of its day, newest of its week, newest of its month, newest of its year, among the newest that always stay, newest good one
    ");
}

/// The year 2026 has a week 53, to which the first days of January 2027 belong.
#[rstest]
#[case::one_week(1, &["2027-01-04T03:00:00Z"])]
#[case::week_53_is_one_week(2, &["2027-01-03T03:00:00Z", "2027-01-04T03:00:00Z"])]
#[case::the_week_before(3, &["2026-12-27T03:00:00Z", "2027-01-03T03:00:00Z", "2027-01-04T03:00:00Z"])]
fn a_week_goes_over_new_year(#[case] weeks: u32, #[case] expected: &[&str]) {
    let policy = RetentionPolicy { keep_weekly: count(weeks), ..keep_nothing() };
    let points = points(&[
        "2026-12-20T03:00:00Z",
        "2026-12-26T03:00:00Z",
        "2026-12-27T03:00:00Z",
        "2026-12-28T03:00:00Z",
        "2026-12-31T03:00:00Z",
        "2027-01-01T03:00:00Z",
        "2027-01-03T03:00:00Z",
        "2027-01-04T03:00:00Z",
    ]);
    assert_eq!(kept(&policy, &points), expected);
}

/// Monday 30 December 2024 is in week 1 of 2025, and 2025-12-29 in week 1 of 2026: the same number in another year.
#[test]
fn weeks_of_one_number_in_different_years_are_different_weeks() {
    let policy = RetentionPolicy { keep_weekly: count(2), ..keep_nothing() };
    let points =
        points(&["2024-12-25T03:00:00Z", "2024-12-30T03:00:00Z", "2025-12-29T03:00:00Z", "2025-12-31T03:00:00Z"]);
    assert_eq!(kept(&policy, &points), ["2024-12-30T03:00:00Z", "2025-12-31T03:00:00Z"]);
}

#[rstest]
#[case::days(RetentionPolicy { keep_daily: count(3), ..keep_nothing() },
    &["2028-02-28T20:00:00Z", "2028-02-29T20:00:00Z", "2028-03-01T04:00:00Z"])]
#[case::months(RetentionPolicy { keep_monthly: count(2), ..keep_nothing() }, &["2028-02-29T20:00:00Z", "2028-03-01T04:00:00Z"])]
#[case::years(RetentionPolicy { keep_yearly: count(2), ..keep_nothing() }, &["2027-12-31T23:59:59Z", "2028-03-01T04:00:00Z"])]
fn a_leap_day_is_a_day_of_february(#[case] policy: RetentionPolicy, #[case] expected: &[&str]) {
    let points = points(&[
        "2026-02-28T20:00:00Z",
        "2027-12-31T23:59:59Z",
        "2028-01-01T00:00:00Z",
        "2028-02-28T20:00:00Z",
        "2028-02-29T04:00:00Z",
        "2028-02-29T20:00:00Z",
        "2028-03-01T04:00:00Z",
    ]);
    let verdicts = policy.judge(&Complete::after_last_page(points.iter().collect()), at("2028-06-30T12:00:00Z"));
    let kept = verdicts.iter().filter(|verdict| matches!(verdict.fate, Fate::Kept(_)));
    assert_eq!(kept.map(|verdict| verdict.point.id.as_str()).collect::<Vec<_>>(), expected);
}

/// 28 March 2027: 01:00 GMT becomes 02:00 BST, so the hour from one to two is missing and the day has 23 hours.
#[test]
fn a_spring_day_in_london_has_an_hour_less() {
    let policy = RetentionPolicy { keep_hourly: count(3), keep_daily: count(2), zone: london(), ..keep_nothing() };
    let points = points(&[
        "2027-03-27T23:59:59Z",
        "2027-03-28T00:00:00Z",
        "2027-03-28T00:59:59Z",
        "2027-03-28T01:00:00Z",
        "2027-03-28T22:59:59Z",
        "2027-03-28T23:00:00Z",
    ]);
    insta::assert_snapshot!(decisions(&policy, &points), @r"
    2027-03-27T23:59:59Z expired: no rule keeps it; newest good is 2027-03-28T23:00:00Z
    2027-03-28T00:00:00Z expired: no rule keeps it; newest good is 2027-03-28T23:00:00Z
    2027-03-28T00:59:59Z expired: no rule keeps it; newest good is 2027-03-28T23:00:00Z
    2027-03-28T01:00:00Z kept: newest of its hour
    2027-03-28T22:59:59Z kept: newest of its hour, newest of its day
    2027-03-28T23:00:00Z kept: newest of its hour, newest of its day, among the newest that always stay, newest good one
    ");
}

/// 25 October 2026: 02:00 BST becomes 01:00 GMT, so the hour from one to two comes twice and the day has 25 hours.
#[test]
fn an_autumn_day_in_london_has_an_hour_twice_and_each_counts() {
    let policy = RetentionPolicy { keep_hourly: count(3), keep_daily: count(2), zone: london(), ..keep_nothing() };
    let points = points(&[
        "2026-10-24T22:59:59Z",
        "2026-10-24T23:00:00Z",
        "2026-10-25T00:10:00Z",
        "2026-10-25T00:50:00Z",
        "2026-10-25T01:10:00Z",
        "2026-10-25T01:50:00Z",
        "2026-10-25T23:59:59Z",
    ]);
    insta::assert_snapshot!(decisions(&policy, &points), @r"
    2026-10-24T22:59:59Z kept: newest of its day
    2026-10-24T23:00:00Z expired: no rule keeps it; newest good is 2026-10-25T23:59:59Z
    2026-10-25T00:10:00Z expired: no rule keeps it; newest good is 2026-10-25T23:59:59Z
    2026-10-25T00:50:00Z kept: newest of its hour
    2026-10-25T01:10:00Z expired: no rule keeps it; newest good is 2026-10-25T23:59:59Z
    2026-10-25T01:50:00Z kept: newest of its hour
    2026-10-25T23:59:59Z kept: newest of its hour, newest of its day, among the newest that always stay, newest good one
    ");
}

#[test]
fn days_begin_at_midnight_of_the_zone() {
    let in_utc = RetentionPolicy { keep_daily: count(2), ..keep_nothing() };
    let in_new_york = RetentionPolicy { zone: TimeZone::get("America/New_York").unwrap(), ..in_utc.clone() };
    let points = points(&["2027-05-02T01:00:00Z", "2027-05-02T05:00:00Z", "2027-05-03T01:00:00Z"]);
    assert_eq!(kept(&in_utc, &points), ["2027-05-02T05:00:00Z", "2027-05-03T01:00:00Z"]);
    assert_eq!(kept(&in_new_york, &points), ["2027-05-02T01:00:00Z", "2027-05-03T01:00:00Z"]);
}

const ONE_MONTH_AND_TWO_DAYS: [&str; 3] = ["2027-05-02T04:00:00Z", "2027-05-03T04:00:00Z", "2027-05-04T04:00:00Z"];

#[rstest]
#[case::short_of_months(RetentionPolicy { keep_monthly: count(2), ..keep_nothing() },
    "2027-05-02T04:00:00Z kept: oldest of all")]
#[case::full(RetentionPolicy { keep_monthly: count(1), ..keep_nothing() },
    "2027-05-02T04:00:00Z expired: no rule keeps it; newest good is 2027-05-04T04:00:00Z")]
#[case::short_of_two_rules(RetentionPolicy { keep_monthly: count(2), keep_yearly: count(2), ..keep_nothing() },
    "2027-05-02T04:00:00Z kept: oldest of all")]
#[case::the_newest_of_its_own_span(RetentionPolicy { keep_daily: count(4), ..keep_nothing() },
    "2027-05-02T04:00:00Z kept: newest of its day")]
fn while_a_rule_is_not_full_history_is_kept_to_its_beginning(#[case] policy: RetentionPolicy, #[case] oldest: &str) {
    let points = points(&ONE_MONTH_AND_TWO_DAYS);
    assert_eq!(decisions(&policy, &points).lines().next(), Some(oldest));
}

#[test]
fn the_oldest_is_the_oldest_good_one() {
    let policy = RetentionPolicy { keep_monthly: count(2), ..keep_nothing() };
    let points = [bad("2027-05-01T04:00:00Z"), good("2027-05-02T04:00:00Z"), good("2027-05-03T04:00:00Z")];
    assert_eq!(kept(&policy, &points), ["2027-05-02T04:00:00Z", "2027-05-03T04:00:00Z"]);
}
