"""Which slots must be filled: two schedules by the calendar, and by nothing of ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

SUNDAY = 6

Span = tuple[datetime, datetime]


def days(begin: datetime, end: datetime) -> Iterator[date]:
    """Every day that has a part between the two, wherever on earth."""
    first = begin.date() - timedelta(days=1)
    return (first + timedelta(days=n) for n in range((end.date() - first).days + 2))


def at(day: date, hour: int, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(hour), zone).astimezone(UTC)


def sundays(begin: datetime, end: datetime, hour: int, zone: ZoneInfo) -> list[datetime]:
    """Sundays at this hour, from `begin` to `end`."""
    found = (at(day, hour, zone) for day in days(begin, end) if day.weekday() == SUNDAY)
    return [slot for slot in found if begin <= slot <= end]


def firsts(begin: datetime, end: datetime, hour: int, zone: ZoneInfo) -> list[datetime]:
    """Firsts of a month at this hour, from `begin` to `end`."""
    found = (at(day, hour, zone) for day in days(begin, end) if day.day == 1)
    return [slot for slot in found if begin <= slot <= end]


def latest(slots: Iterable[datetime], moment: datetime) -> datetime:
    """The slot that is due at this moment."""
    return max(slot for slot in slots if slot <= moment)


def filled(slots: list[datetime], lived: Span, downtimes: Iterable[Span] = ()) -> list[datetime]:
    """What a daemon fills that lives through a span with these downtimes, in order.

    Each slot that comes while it runs; and of those from before each start the latest, if that is not filled yet.
    """
    begin, end = lived
    downtimes = list(downtimes)

    def runs_at(moment: datetime) -> bool:
        return begin <= moment <= end and not any(down <= moment < up for down, up in downtimes)

    at_starts = {latest(slots, start) for start in [begin, *(up for _, up in downtimes)]}
    return sorted(at_starts | {slot for slot in slots if runs_at(slot)})


def as_id(slot: datetime) -> str:
    """A slot as ids and keys have it: in UTC, whatever the zone of the schedule."""
    return f"{slot.astimezone(UTC):%Y%m%dt%H%M%Sz}"
