"""restic's rules of `forget`, written down once more: what must be left, computed without a line of ours.

Pure, slow and plain on purpose. It shares nothing with the daemon but the meaning of the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

UTC_ZONE = ZoneInfo("UTC")


@dataclass(frozen=True)
class Point:
    """One recovery point of one group: of the points of other groups a rule knows nothing."""

    id: str
    created_at: datetime
    good: bool = True


@dataclass(frozen=True)
class Rules:
    """What to keep. A count of `None` is no rule."""

    keep_last: int | None = None
    keep_hourly: int | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    keep_yearly: int | None = None
    keep_within: timedelta | None = None
    min_keep: int = 1
    min_age: timedelta = timedelta(0)
    zone: ZoneInfo = UTC_ZONE


def hour(at: datetime) -> Hashable:
    # As restic has it: an hour that a clock goes through twice is one.
    return at.year, at.month, at.day, at.hour


def day(at: datetime) -> Hashable:
    return at.year, at.month, at.day


def week(at: datetime) -> Hashable:
    return at.isocalendar()[:2]


def month(at: datetime) -> Hashable:
    return at.year, at.month


def year(at: datetime) -> Hashable:
    return at.year


def kept(points: Iterable[Point], rules: Rules, now: datetime) -> set[str]:
    """The ids of those that stay of one group.

    Only good points fill a rule. One that is not good stays until there is a newer good one; one from the future stays
    and counts for nothing; one younger than `min_age` stays.
    """
    points = list(points)
    past = sorted((point for point in points if point.created_at <= now), key=_age, reverse=True)
    good = [point for point in past if point.good]
    stay = by_rules(good, rules)
    # The newest good ones whatever the rules say. Not only where the rules keep fewer: then a rule that keeps more of the
    # old ones would let go of a new one.
    stay.update(point.id for point in good[: max(rules.min_keep, 1)])
    for point in points:
        future = point.created_at > now
        young = now - point.created_at < rules.min_age
        superseded = point.good or any(other.created_at > point.created_at for other in good)
        if future or young or not superseded:
            stay.add(point.id)
    return stay


def by_rules(good: list[Point], rules: Rules) -> set[str]:
    """What the `keep_*` rules keep of good points, the newest first."""
    stay = {point.id for point in good[: rules.keep_last or 0]}
    calendar: list[tuple[int | None, Callable[[datetime], Hashable]]] = [
        (rules.keep_hourly, hour),
        (rules.keep_daily, day),
        (rules.keep_weekly, week),
        (rules.keep_monthly, month),
        (rules.keep_yearly, year),
    ]
    for count, bucket in calendar:
        newest_of: dict[Hashable, Point] = {}
        for point in good:
            newest_of.setdefault(bucket(point.created_at.astimezone(rules.zone)), point)
        newest = list(newest_of.values())[: count or 0]
        # restic: as long as there is room, the oldest one stays, so that history is as long as it can be.
        if good and count and len(newest) < count:
            newest.append(good[-1])
        stay |= {point.id for point in newest}
    if rules.keep_within is not None:
        stay |= {point.id for point in good if point.created_at >= good[0].created_at - rules.keep_within}
    return stay


def left(points: Iterable[Point], rules: Rules, prunes: Iterable[datetime]) -> set[str]:
    """The ids of those that are left when, as in life, some are pruned while others are still to come."""
    to_come = sorted(points, key=_age)
    there: list[Point] = []
    for now in sorted(prunes):
        there += [point for point in to_come if point.created_at <= now]
        to_come = [point for point in to_come if point.created_at > now]
        stay = kept(there, rules, now)
        there = [point for point in there if point.id in stay]
    return {point.id for point in there + to_come}


def _age(point: Point) -> tuple[datetime, str]:
    return point.created_at, point.id
