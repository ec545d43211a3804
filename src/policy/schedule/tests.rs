use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn schedule(pattern: &str, zone: &str) -> Schedule {
    Schedule::parse(pattern, TimeZone::get(zone).unwrap()).unwrap()
}

fn slots(pattern: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
    let until = instant(until);
    schedule(pattern, zone)
        .upcoming(instant(from))
        .take_while(|slot| slot.instant() <= until)
        .map(|slot| slot.to_string())
        .collect()
}

/// A search that began in the repeated hour would find the second of two local times.
#[rstest]
#[case::far_from_any_change("2026-11-20T12:00:00Z", "2026-11-20T12:00:00Z")]
#[case::in_the_repeated_hour("2026-10-25T00:45:00Z", "2026-10-24T12:45:00Z")]
#[case::just_after_it("2026-10-25T12:30:00Z", "2026-10-24T12:30:00Z")]
fn a_search_begins_half_a_day_from_any_change_of_the_clocks(#[case] asked: &str, #[case] begins: &str) {
    assert_eq!(schedule("30 1 * * *", "Europe/London").calm_instant_before(instant(asked)), instant(begins));
}

#[rstest]
// 29 March 2026: 01:00 GMT becomes 02:00 BST. 01:30 does not exist.
#[case::spring_gap("30 1 * * *", "Europe/London", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z",
    &["20260329t010000z", "20260330t003000z"])]
// 25 October 2026: 02:00 BST becomes 01:00 GMT. 01:30 exists twice and counts once.
#[case::autumn_overlap("30 1 * * *", "Europe/London", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z",
    &["20261025t003000z", "20261026t013000z"])]
#[case::two_hours_over_the_gap("0 2,14 * * *", "America/New_York", "2027-03-13T20:00:00Z", "2027-03-15T00:00:00Z",
    &["20270314t070000z", "20270314t180000z"])]
#[case::two_minutes_in_the_gap_are_one_slot("0,30 2 * * *", "America/New_York", "2027-03-13T20:00:00Z", "2027-03-15T00:00:00Z",
    &["20270314t070000z"])]
#[case::two_hours_over_the_overlap("30 1,13 * * *", "America/New_York", "2027-11-07T00:00:00Z", "2027-11-08T00:00:00Z",
    &["20271107t053000z", "20271107t183000z"])]
#[case::two_minutes_in_the_overlap("0,30 1 * * *", "America/New_York", "2027-11-07T00:00:00Z", "2027-11-08T00:00:00Z",
    &["20271107t050000z", "20271107t053000z"])]
#[case::every_hour_follows_elapsed_time("0 * * * *", "America/New_York", "2027-11-07T04:30:00Z", "2027-11-07T07:30:00Z",
    &["20271107t050000z", "20271107t060000z", "20271107t070000z"])]
#[case::weekly_over_the_overlap("0 3 * * Sun", "Europe/London", "2026-10-17T12:00:00Z", "2026-11-02T00:00:00Z",
    &["20261018t020000z", "20261025t030000z", "20261101t030000z"])]
#[case::day_31_skips_short_months("0 4 31 * *", "UTC", "2026-01-01T00:00:00Z", "2026-08-01T00:00:00Z",
    &["20260131t040000z", "20260331t040000z", "20260531t040000z", "20260731t040000z"])]
#[case::last_day("0 4 L * *", "UTC", "2028-01-31T12:00:00Z", "2028-04-01T00:00:00Z",
    &["20280229t040000z", "20280331t040000z"])]
#[case::leap_day("0 4 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2033-01-01T00:00:00Z",
    &["20280229t040000z", "20320229t040000z"])]
#[case::new_year_in_iso_week_53("0 3 * * Sun", "UTC", "2026-12-26T00:00:00Z", "2027-01-04T00:00:00Z",
    &["20261227t030000z", "20270103t030000z"])]
#[case::quarterly("0 6 10 1,4,7,10 *", "UTC", "2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z",
    &["20260110t060000z", "20260410t060000z", "20260710t060000z", "20261010t060000z"])]
fn each_slot_comes_exactly_once(
    #[case] pattern: &str,
    #[case] zone: &str,
    #[case] from: &str,
    #[case] until: &str,
    #[case] expected: &[&str],
) {
    assert_eq!(slots(pattern, zone, from, until), expected);
}

#[rstest]
#[case("* * * * * *")]
#[case("0 3 * *")]
#[case("61 3 * * *")]
#[case("every sunday")]
#[case("")]
fn what_is_no_expression_of_five_fields_is_refused(#[case] pattern: &str) {
    let error = pattern.parse::<Schedule>().unwrap_err();
    assert!(matches!(error, InvalidSchedule::Syntax { .. }), "{error}");
}

#[test]
fn a_day_that_no_month_has_is_refused() {
    assert_eq!("0 0 30 2 *".parse::<Schedule>().unwrap_err(), InvalidSchedule::Never("0 0 30 2 *".into()));
}

#[test]
fn jitter_delays_the_start_and_leaves_the_slot() {
    let schedule = schedule("0 3 * * *", "UTC").with_jitter(SignedDuration::from_mins(60), "accounts/snapshot");
    let again = schedule.clone().with_jitter(SignedDuration::from_mins(60), "accounts/snapshot");
    assert_eq!(schedule.delay(), again.delay());
    assert!(schedule.delay() > SignedDuration::ZERO && schedule.delay() < SignedDuration::from_mins(60));
    let slot: Slot = "20260601t030000z".parse().unwrap();
    let start = schedule.start_of(slot);
    assert_eq!(schedule.latest_due(start), Some(slot));
    assert_eq!(schedule.latest_due(start - SignedDuration::from_secs(1)), Some("20260531t030000z".parse().unwrap()));
}

/// With one key more there is one start more; they must not crowd into the first minutes.
#[test]
fn jitter_spreads_the_starts_of_many_over_all_of_it() {
    let delay = |source: u32| {
        let hourly =
            schedule("0 3 * * *", "UTC").with_jitter(SignedDuration::from_hours(1), &format!("s{source}/snapshot"));
        hourly.delay().as_mins()
    };
    let mut quarters = [0; 4];
    for source in 0..100 {
        quarters[usize::try_from(delay(source) / 15).unwrap()] += 1;
    }
    assert!(quarters.iter().all(|starts| (10..=40).contains(starts)), "{quarters:?}");
}

#[rstest]
#[case(SignedDuration::ZERO)]
#[case(SignedDuration::from_secs(-5))]
fn without_jitter_a_run_starts_at_its_slot(#[case] jitter: SignedDuration) {
    let schedule = schedule("0 3 * * *", "UTC").with_jitter(jitter, "accounts/snapshot");
    let slot: Slot = "20260601t030000z".parse().unwrap();
    assert_eq!(schedule.start_of(slot), slot.instant());
}

#[test]
fn a_schedule_reads_as_it_was_written_and_names_its_zone() {
    let weekly = schedule("0 3 * * Sun", "Europe/London");
    assert_eq!((weekly.to_string().as_str(), weekly.zone_name()), ("0 3 * * Sun", "Europe/London"));
    assert_eq!(weekly.zone(), &TimeZone::get("Europe/London").unwrap());
    assert_eq!(format!("{weekly:?}"), "Schedule(0 3 * * Sun, Europe/London, +PT0S)");
    assert_eq!("@weekly".parse::<Schedule>().unwrap().zone_name(), "UTC");
}

/// 7 November 2027: 02:00 EDT becomes 01:00 EST at 06:00 UTC, and the hour from one to two comes again.
#[rstest]
#[case::that_follows_elapsed_time("0 * * * *", "20271107t060000z")]
#[case::at_a_named_hour("0 1 * * *", "20271107t050000z")]
fn what_comes_due_in_a_repeated_hour_is_only_what_follows_elapsed_time(#[case] pattern: &str, #[case] latest: &str) {
    let schedule = schedule(pattern, "America/New_York");
    assert_eq!(schedule.latest_due(instant("2027-11-07T06:10:00Z")), Some(latest.parse().unwrap()));
}

/// 2100 is no leap year. One that follows elapsed time is looked for in windows, and the longest must reach this far.
#[rstest]
#[case::at_a_named_hour("0 3 29 2 *", "20960229t030000z")]
#[case::all_day("0 * 29 2 *", "20960229t230000z")]
fn the_latest_leap_day_is_found_eight_years_later(#[case] pattern: &str, #[case] latest: &str) {
    let schedule = schedule(pattern, "UTC");
    assert_eq!(schedule.latest_due(instant("2104-02-28T12:00:00Z")), Some(latest.parse().unwrap()));
}

/// Patterns that fire a few times a day to once a year, in zones that change at different hours, or never.
fn any_schedule() -> impl Strategy<Value = Schedule> {
    let patterns = prop::sample::select(vec![
        "30 1 * * *",
        "0 2 * * *",
        "15 */6 * * *",
        "0,30 1,2 * * *",
        "0 3 * * Sun",
        "0 4 1 * *",
        "0 0 29 2 *",
    ]);
    let zones = prop::sample::select(vec![
        "UTC",
        "Europe/London",
        "America/New_York",
        "Australia/Lord_Howe",
        "Pacific/Auckland",
        "America/Santiago",
        "Asia/Kolkata",
    ]);
    (patterns, zones).prop_map(|(pattern, zone)| schedule(pattern, zone))
}

proptest! {
    /// Asked at any moment, overlaps included, the latest slot is the one before the next, and each is found from both
    /// sides: a restart at a bad moment neither loses nor doubles a slot.
    #[test]
    fn latest_and_next_are_neighbours(schedule in any_schedule(), second in 1_700_000_000_i64..1_900_000_000) {
        let now = Timestamp::from_second(second).unwrap();
        let latest = schedule.latest_due(now).unwrap();
        let next = schedule.next_after(now).unwrap();
        prop_assert!(latest.instant() <= now && now < next.instant());
        prop_assert_eq!(schedule.next_after(latest.instant()), Some(next));
        prop_assert_eq!(schedule.latest_due(latest.instant()), Some(latest));
    }

    /// Looked for from the other side, and from long before, it is the same one: also in the hour around a change of offset.
    #[test]
    fn the_latest_is_the_last_of_those_that_came(schedule in any_schedule(), change in 0_usize..8, off_s in -7200_i64..7200) {
        let year = instant("2026-01-01T00:00:00Z");
        let changes = schedule.zone().following(year).map(|change| change.timestamp());
        let now = changes.chain([year]).nth(change).unwrap_or(year) + SignedDuration::from_secs(off_s);
        let from = now - SignedDuration::from_hours(24 * 366 * 5);
        let last = schedule.upcoming(from).take_while(|slot| slot.instant() <= now).last();
        prop_assert_eq!(schedule.latest_due(now), last);
    }

    #[test]
    fn parsing_outside_text_never_panics(text in ".{0,30}") {
        prop_assert!(text.parse::<Schedule>().is_ok() || text.parse::<Schedule>().is_err());
    }
}

#[rstest]
#[case::weekly("0 3 * * Sun", &["2026-11-08T03:00:00Z", "2026-11-15T03:00:00Z", "2026-11-22T03:00:00Z"])]
#[case::monthly("0 4 1 * *", &["2026-09-01T04:00:00Z", "2026-10-01T04:00:00Z", "2026-11-01T04:00:00Z"])]
#[case::all_day("0 */12 * * *", &["2026-11-22T12:00:00Z", "2026-11-23T00:00:00Z", "2026-11-23T12:00:00Z"])]
#[case::yearly_and_all_day("0 * 1 1 *", &["2026-01-01T21:00:00Z", "2026-01-01T22:00:00Z", "2026-01-01T23:00:00Z"])]
fn the_last_slots_end_with_the_moment_itself_and_are_told_from_the_oldest(#[case] cron: &str, #[case] slots: &[&str]) {
    let schedule: Schedule = cron.parse().unwrap();
    let told: Vec<String> = schedule
        .slots_until(instant("2026-11-23T12:00:00Z"), 3)
        .iter()
        .map(|slot| slot.instant().to_string())
        .collect();
    assert_eq!(told, slots);
    assert_eq!(schedule.slots_until(instant("2026-11-23T12:00:00Z"), 0), []);
}

#[test]
fn two_times_in_one_gap_are_one_of_the_last_slots() {
    let zone = parse_zone("Europe/London").unwrap();
    let schedule = Schedule::parse("10,40 1 * * *", zone).unwrap();
    let slots = schedule.slots_until(instant("2026-03-29T12:00:00Z"), 3);
    let told: Vec<String> = slots.iter().map(|slot| slot.instant().to_string()).collect();
    assert_eq!(told, ["2026-03-28T01:40:00Z", "2026-03-29T01:00:00Z"]);
}
