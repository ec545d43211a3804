"""Keeps LatestRestorableTime moving: archives the WAL of every instance that has automated backups."""

from __future__ import annotations

import logging
import threading

import psycopg

from ..postgres import PostgresError
from .instances import millis
from .model import Instance, instances_of
from .world import Gone, backends, world

log = logging.getLogger("sandbox.wal")

_busy: set[Instance] = set()

QUIET = frozenset(["creating", "stopped", "stopping", "starting", "rebooting", "deleting", "failed"])


def run() -> None:
    """Starts the thread that does what RDS does each five minutes."""
    threading.Thread(target=_loop, name="wal", daemon=True).start()


def _loop() -> None:
    while True:
        try:
            world().pause(world().timing.wal_interval)
        except Gone:
            return
        with world().lock:
            instances = [each for backend in backends() for each in instances_of(backend).values()]
        for instance in instances:
            if instance.backup_retention_period > 0 and instance.status not in QUIET and instance not in _busy:
                _busy.add(instance)
                threading.Thread(target=archive, args=(instance,), daemon=True).start()


def archive(instance: Instance) -> None:
    """One instance; a server that is just being stopped or killed keeps its old time, as in AWS.

    Each has its thread, for one that has much WAL to archive after a load must not hold up the others.
    """
    try:
        if instance.cluster.running:
            instance.latest_archived = millis(instance.cluster.archive_now())
    except (psycopg.Error, PostgresError) as error:
        if not world().stopping and not instance.removed:
            log.warning("%s: no WAL archived: %s", instance.db_instance_identifier, error)
    finally:
        _busy.discard(instance)
