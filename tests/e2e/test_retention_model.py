"""The model of retention against cases worked out by hand; it judges the daemon, so somebody has to judge it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from retention_model import Point, Rules, kept, left

LONDON = ZoneInfo("Europe/London")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def points(*times: str) -> list[Point]:
    return [Point(text, at(text)) for text in times]


def daily(first: str, count: int) -> list[Point]:
    moments = [at(first) + timedelta(days=n) for n in range(count)]
    return [Point(f"{moment:%Y-%m-%d}", moment) for moment in moments]


NOW = at("2027-06-30T12:00")


def test_nothing_is_kept_of_nothing() -> None:
    assert kept([], Rules(keep_last=3, keep_yearly=2, keep_within=timedelta(days=9)), NOW) == set()


def test_without_rules_the_newest_stays() -> None:
    assert kept(daily("2027-06-01", 5), Rules(), NOW) == {"2027-06-05"}


@pytest.mark.parametrize(("count", "oldest"), [(1, 30), (3, 28), (30, 1), (99, 1)])
def test_last_keeps_the_newest_so_many(count: int, oldest: int) -> None:
    expected = {f"2027-06-{day:02}" for day in range(oldest, 31)}
    assert kept(daily("2027-06-01", 30), Rules(keep_last=count), NOW) == expected


def test_the_order_of_the_points_does_not_matter() -> None:
    some = daily("2027-05-01", 60)
    rules = Rules(keep_last=2, keep_weekly=3, keep_monthly=2)
    assert kept(some, rules, NOW) == kept(reversed(some), rules, NOW)


def test_of_each_bucket_the_newest_counts_and_buckets_without_points_do_not() -> None:
    some = points("2027-01-05", "2027-01-20", "2027-03-02", "2027-03-30", "2027-06-01", "2027-06-29")
    assert kept(some, Rules(keep_monthly=2), NOW) == {"2027-03-30", "2027-06-29"}
    assert kept(some, Rules(keep_monthly=3), NOW) == {"2027-01-20", "2027-03-30", "2027-06-29"}


def test_the_oldest_stays_while_a_rule_has_room() -> None:
    some = points("2027-01-05", "2027-01-20", "2027-03-02", "2027-03-30")
    assert kept(some, Rules(keep_monthly=3), NOW) == {"2027-01-05", "2027-01-20", "2027-03-30"}
    assert kept(some, Rules(keep_monthly=2), NOW) == {"2027-01-20", "2027-03-30"}, "it is full"


def test_weeks_are_those_of_iso_8601() -> None:
    # Sunday 3 January 2027 is in week 53 of 2026, and so is Thursday 31 December; Monday begins week 1.
    some = points("2026-12-27", "2026-12-31", "2027-01-03", "2027-01-04")
    assert kept(some, Rules(keep_weekly=2), NOW) == {"2027-01-03", "2027-01-04"}
    assert kept(some, Rules(keep_weekly=3), NOW) == {"2026-12-27", "2027-01-03", "2027-01-04"}


def test_buckets_begin_at_midnight_of_the_zone() -> None:
    some = points("2027-06-01T12:00", "2027-06-01T23:30", "2027-06-02T12:00")
    assert kept(some, Rules(keep_daily=2), NOW) == {"2027-06-01T23:30", "2027-06-02T12:00"}
    assert kept(some, Rules(keep_daily=2, zone=LONDON), NOW) == {"2027-06-01T12:00", "2027-06-02T12:00"}


def test_an_hour_that_comes_twice_is_one() -> None:
    # In London 01:30 on 31 October 2027 comes at 00:30 and at 01:30 UTC.
    some = points("2027-10-30T20:30", "2027-10-31T00:30", "2027-10-31T01:30", "2027-10-31T02:30")
    rules = Rules(keep_hourly=3, zone=LONDON)
    assert kept(some, rules, at("2027-11-01")) == {"2027-10-30T20:30", "2027-10-31T01:30", "2027-10-31T02:30"}


def test_within_is_counted_from_the_newest_and_not_from_now() -> None:
    some = daily("2027-01-01", 30)
    expected = {"2027-01-27", "2027-01-28", "2027-01-29", "2027-01-30"}
    assert kept(some, Rules(keep_within=timedelta(days=3)), NOW) == expected


def test_a_point_stays_if_any_rule_keeps_it() -> None:
    some = daily("2026-12-01", 62)
    rules = Rules(keep_last=2, keep_monthly=2, keep_yearly=1)
    assert kept(some, rules, NOW) == {"2026-12-31", "2027-01-30", "2027-01-31"}


def test_the_least_number_is_made_up_of_the_newest() -> None:
    some = daily("2027-06-01", 5)
    assert kept(some, Rules(min_keep=3), NOW) == {"2027-06-03", "2027-06-04", "2027-06-05"}
    assert kept(some, Rules(keep_last=4, min_keep=3), NOW) == {f"2027-06-0{day}" for day in (2, 3, 4, 5)}


def test_what_is_young_stays() -> None:
    some = daily("2027-06-01", 5)
    rules = Rules(keep_last=1, min_age=timedelta(days=2))
    assert kept(some, rules, at("2027-06-06")) == {"2027-06-05"}, "exactly two days old is old enough"
    assert kept(some, rules, at("2027-06-05T23:59")) == {"2027-06-04", "2027-06-05"}


def test_what_is_not_good_fills_no_rule_and_goes_when_there_is_a_newer_good_one() -> None:
    some = [
        Point("good", at("2027-06-01")),
        Point("bad", at("2027-06-02"), good=False),
        Point("newest", at("2027-06-03"), good=False),
    ]
    rules = Rules(keep_last=1)
    assert kept(some, rules, NOW) == {"good", "bad", "newest"}
    assert kept([*some, Point("new", at("2027-06-04"))], rules, NOW) == {"new"}
    assert kept(some[1:], rules, NOW) == {"bad", "newest"}, "all that there is"


def test_what_is_from_the_future_stays_and_pushes_nothing_out() -> None:
    some = points("2027-06-01", "2027-06-02", "2028-01-01")
    assert kept(some, Rules(keep_last=1), NOW) == {"2027-06-02", "2028-01-01"}


def test_pruning_again_at_the_same_moment_takes_nothing_more() -> None:
    some = daily("2026-01-01", 500)
    rules = Rules(keep_last=3, keep_daily=4, keep_weekly=5, keep_monthly=30, keep_yearly=3, min_keep=2)
    once = kept(some, rules, NOW)
    assert kept([point for point in some if point.id in once], rules, NOW) == once


def test_the_first_of_all_stays_until_the_rule_is_full() -> None:
    some = daily("2027-01-10", 80)
    rules = Rules(keep_monthly=3)
    assert left(some[:40], rules, [point.created_at for point in some[:40]]) == {
        "2027-01-10",
        "2027-01-31",
        "2027-02-18",
    }
    assert left(some, rules, [point.created_at for point in some]) == {"2027-01-31", "2027-02-28", "2027-03-30"}


@pytest.mark.parametrize("every_days", [1, 3, 7, 10])
@pytest.mark.parametrize(
    "rules",
    [
        Rules(keep_last=2, keep_daily=5, keep_weekly=6, keep_monthly=7, keep_yearly=2, zone=LONDON),
        Rules(keep_weekly=4, keep_within=timedelta(days=20), min_age=timedelta(days=9)),
        Rules(keep_yearly=5, min_keep=4),
    ],
)
def test_pruning_all_the_time_leaves_what_pruning_once_leaves(rules: Rules, every_days: int) -> None:
    """So it does not matter how often the daemon has looked."""
    some = daily("2026-01-01", 500)[::every_days]
    moments = [point.created_at + timedelta(hours=1) for point in some]
    assert left(some, rules, moments) == kept(some, rules, moments[-1])


def test_nothing_goes_before_the_first_prune() -> None:
    some = daily("2027-06-01", 5)
    assert left(some, Rules(), []) == {point.id for point in some}
    assert left(some, Rules(), [at("2027-06-03")]) == {"2027-06-03", "2027-06-04", "2027-06-05"}
