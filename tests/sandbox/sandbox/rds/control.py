"""What tests may do to RDS from outside its API. The side API calls these as POST /sandbox-api/rds/<function>."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg

from . import errors
from .events import RdsEvent
from .events import of as events_of
from .model import Instance, instances_of, snapshots_of
from .world import backends, now, world

__all__ = ["fail_next_snapshot", "fail_next_copy", "stick", "unstick", "set_instance_status", "set_snapshot_status", "set_instance_quota"] + [
    "kill_backends",
    "add_event",
    "stop_postgres",
    "start_postgres",
    "run_sql",
    "set_snapshot_quota",
    "set_restorable_lag",
    "set_certificate_end",
    "set_snapshot_age",
]
"""What the side API may call."""

KINDS = {
    "db-instance": "db-instance",
    "instance": "db-instance",
    "db-snapshot": "db-snapshot",
    "snapshot": "db-snapshot",
}


def fail_next_snapshot(instance_id: str | None = None) -> None:
    """The next manual snapshot, of this instance or of any, ends `failed` after its time."""
    with world().lock:
        world().doomed.append(("snapshot", instance_id))


def fail_next_copy(instance_id: str | None = None) -> None:
    """The next snapshot copy, of this source instance or of any, ends `failed` after its time."""
    with world().lock:
        world().doomed.append(("copy", instance_id))


def stick(resource_kind: str, identifier: str | None, status: str) -> None:
    """A resource that would leave `status` stays there, until `unstick`; without identifier every one does."""
    with world().changed:
        world().stuck.add((_kind(resource_kind), identifier.lower() if identifier else None, status))


def unstick(resource_kind: str | None = None, identifier: str | None = None, status: str | None = None) -> None:
    """Undoes `stick`; without arguments all of them."""
    kind = _kind(resource_kind) if resource_kind else None
    name = identifier.lower() if identifier else None
    with world().changed:
        world().stuck -= {
            held
            for held in world().stuck
            if kind in (None, held[0]) and name in (None, held[1]) and status in (None, held[2])
        }
        world().changed.notify_all()


def set_instance_quota(most: int) -> None:
    """How many instances the account may have in a region, from now on."""
    world().options.quotas.instances = most


def set_snapshot_quota(most: int) -> None:
    """How many manual snapshots the account may have in a region, from now on."""
    world().options.quotas.snapshots = most


def set_restorable_lag(id: str, minutes: float) -> None:
    """LatestRestorableTime is so much earlier than what is archived; what can be restored stays the same."""
    with world().lock:
        _instance(id).restorable_lag = timedelta(minutes=minutes)


def set_certificate_end(id: str, days: float) -> None:
    """What RDS tells of the server's certificate; the certificate itself stays valid."""
    with world().lock:
        _instance(id).certificate_until = now() + timedelta(days=days)


def set_snapshot_age(id: str, hours: float) -> None:
    """Dates a snapshot and its data, as if both were of so long ago."""
    with world().lock:
        for backend in backends():
            if snapshot := snapshots_of(backend).get(id.lower()):
                snapshot.completed = now() - timedelta(hours=hours)
                snapshot.original_snapshot_create_time = snapshot.completed
                return
    raise errors.snapshot_not_found(id)


def set_instance_status(id: str, status: str) -> None:
    """Shows any status; the server itself goes on."""
    with world().changed:
        _instance(id).status = status
        world().changed.notify_all()


def set_snapshot_status(id: str, status: str) -> None:
    with world().changed:
        for backend in backends():
            if snapshot := snapshots_of(backend).get(id.lower()):
                snapshot.status = status
                world().changed.notify_all()
                return
    raise errors.snapshot_not_found(id)


def kill_backends(instance_id: str, application_name_like: str | None = None) -> int:
    """Terminates client sessions, all or those whose application_name is LIKE the pattern; says how many."""
    rows = _instance(instance_id).cluster.admin(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND usename <> 'rdsadmin' AND application_name LIKE %s",
        [application_name_like or "%"],
    )
    return len(rows)


def add_event(
    source_id: str,
    message: str,
    categories: list[str] | None = None,
    source_type: str = "db-instance",
    minutes_ago: float = 0,
    region: str | None = None,
) -> None:
    """Records an event of any text and age, for what the sandbox cannot make happen."""
    resource_type = "db" if source_type == "db-instance" else "snapshot"
    with world().lock:
        for backend in backends():
            if region in (None, backend.region_name):
                arn = f"arn:aws:rds:{backend.region_name}:{backend.account_id}:{resource_type}:{source_id}"
                date = now() - timedelta(minutes=minutes_ago)
                events_of(backend).append(RdsEvent(arn, source_id, source_type, message, categories or [], date))
                return


def stop_postgres(id: str, immediate: bool = False) -> None:
    """Takes the server away while RDS still says `available`; `immediate` as a crash does."""
    _instance(id).cluster.stop(immediate)


def start_postgres(id: str) -> int:
    """Starts it again, on the same port unless another process took it; says which."""
    cluster = _instance(id).cluster
    if not cluster.running:
        cluster.start()
    return cluster.port


def run_sql(id: str, sql: str, database: str = "postgres") -> list[list[Any]]:
    """One statement as rdsadmin, and its rows: for tests that have no PostgreSQL client at hand."""
    with _instance(id).cluster.connect(database) as session:
        cursor = session.execute(sql)
        try:
            return [[str(value) if value is not None else None for value in row] for row in cursor.fetchall()]
        except psycopg.ProgrammingError:
            return []


def _kind(name: str) -> str:
    try:
        return KINDS[name]
    except KeyError:
        raise errors.invalid_value(f"unknown resource kind {name}; known: {', '.join(KINDS)}") from None


def _instance(identifier: str) -> Instance:
    with world().lock:
        for backend in backends():
            found = instances_of(backend).get(identifier.lower())
            if found is not None:
                return found
    raise errors.instance_not_found(identifier)
