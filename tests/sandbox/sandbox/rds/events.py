"""RDS's events, with the texts and categories of AWS. DescribeEvents shows neither ids nor more than 14 days."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from moto.rds.models import RDSBackend

from .world import now

if TYPE_CHECKING:
    from .model import Instance, Snapshot

KEPT = timedelta(days=14)

TEXTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "RDS-EVENT-0001": ("Backing up DB instance", ("backup",)),
    "RDS-EVENT-0002": ("Finished DB Instance backup", ("backup",)),
    "RDS-EVENT-0003": ("DB instance deleted", ("deletion",)),
    "RDS-EVENT-0004": ("DB instance shutdown", ("availability",)),
    "RDS-EVENT-0005": ("DB instance created", ("creation",)),
    "RDS-EVENT-0006": ("DB instance restarted", ("availability",)),
    "RDS-EVENT-0016": ("Reset master credentials", ("configuration change",)),
    "RDS-EVENT-0017": ("Finished applying modification to allocated storage", ("configuration change",)),
    "RDS-EVENT-0019": ("Restored from DB instance {source} to {target}", ("restoration",)),
    "RDS-EVENT-0028": ("Disabled automated backups", ("backup",)),
    "RDS-EVENT-0032": ("Enabled automated backups", ("backup",)),
    "RDS-EVENT-0040": ("Creating manual snapshot", ("creation",)),
    "RDS-EVENT-0041": ("Manual snapshot deleted", ("deletion",)),
    "RDS-EVENT-0042": ("Manual snapshot created", ("creation",)),
    "RDS-EVENT-0043": ("Restored from snapshot {source}", ("restoration",)),
    "RDS-EVENT-0059": ("Started copy of snapshot {source} from region {region}.", ("notification",)),
    "RDS-EVENT-0060": (
        "Finished copy of snapshot {source} from region {region} in {minutes} minutes.",
        ("notification",),
    ),
    "RDS-EVENT-0061": ("Canceled snapshot copy request of {source} from region {region}.", ("notification",)),
    "RDS-EVENT-0087": ("DB instance stopped", ("notification",)),
    "RDS-EVENT-0088": ("DB instance started", ("notification",)),
    "RDS-EVENT-0090": ("Creating automated snapshot", ("creation",)),
    "RDS-EVENT-0091": ("Automated snapshot created", ("creation",)),
    "RDS-EVENT-0190": ("Canceled snapshot copy request of {source}.", ("notification",)),
    "RDS-EVENT-0196": ("Started copy of snapshot {source}.", ("notification",)),
    "RDS-EVENT-0197": ("Finished copy of snapshot {source}.", ("notification",)),
    "sandbox-renamed": ("Renamed instance from {source} to {target}", ("notification",)),
    "sandbox-snapshot-failed": ("Snapshot {source} failed", ("failure", "backup")),
}

_numbers = itertools.count()


class RdsEvent:
    """As DescribeEvents shows it; `number` keeps the order of events of one millisecond."""

    def __init__(
        self, arn: str, identifier: str, source_type: str, message: str, categories: list[str], date: datetime
    ) -> None:
        self.source_arn = arn
        self.source_identifier = identifier
        self.source_type = source_type
        self.message = message
        self.event_categories = categories
        self.date = date
        self.number = next(_numbers)

    @property
    def order(self) -> str:
        return f"{self.date.isoformat(timespec='milliseconds')}#{self.number:012d}"


def record(resource: Instance | Snapshot, event: str, **words: Any) -> None:
    text, categories = TEXTS[event]
    of(resource.backend).append(
        RdsEvent(
            resource.arn,
            resource.resource_id,
            resource.event_source_type,
            text.format(**words),
            list(categories),
            now(),
        )
    )


def of(backend: RDSBackend) -> list[RdsEvent]:
    """A region's events: moto's list, holding ours."""
    return cast("list[RdsEvent]", backend.events)


def trim(events: list[RdsEvent]) -> None:
    oldest = now() - KEPT
    events[:] = [each for each in events if each.date >= oldest]
