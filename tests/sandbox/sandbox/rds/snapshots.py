"""CreateDBSnapshot, CopyDBSnapshot, DeleteDBSnapshot: real copies of real clusters."""

from __future__ import annotations

import shutil
import time
from typing import Any, cast

from moto.rds.models import RDSBackend

from .. import pgbin
from . import checks, errors, events
from .checks import Tags
from .model import Instance, Snapshot, instances_of, snapshots_of
from .world import Gone, now, world

MAY_SNAPSHOT = frozenset(["available", "storage-optimization"])
DELETABLE = frozenset(["available", "failed"])


def create(
    backend: RDSBackend, instance_id: str, identifier: str, tags: Tags, states: frozenset[str] = MAY_SNAPSHOT
) -> Snapshot:
    """Starts a manual snapshot of an instance in one of `states`; the instance is `backing-up` meanwhile."""
    instance = find_instance(backend, instance_id)
    if identifier in snapshots_of(backend):
        raise errors.snapshot_exists(identifier)
    if instance.status not in states:
        raise errors.instance_state(
            f"Cannot create a snapshot because the database instance {instance.db_instance_identifier} "
            f"is not currently in the available state. (current state: {instance.status})"
        )
    check_quota(backend)
    if instance.storage_encrypted and instance.kms_key_id:
        checks.usable_key(backend, instance.kms_key_id)
    return begin(instance, identifier, "manual", tags or copied_tags(instance))


def begin(instance: Instance, identifier: str, snapshot_type: str, tags: Tags) -> Snapshot:
    """Registers a snapshot in `creating`; its files are taken by `take`, in a thread."""
    snapshot = Snapshot(instance.backend, instance, identifier, snapshot_type, tags, "creating")
    snapshots_of(instance.backend)[identifier] = snapshot
    if snapshot_type == "manual":
        doomed = world().take_doom("snapshot", instance.db_instance_identifier)
        events.record(snapshot, "RDS-EVENT-0040")
        before = instance.status
        instance.status = "backing-up"
        world().spawn(lambda: _manual(instance, snapshot, before, doomed), lambda: _lost(instance, snapshot, before))
    return snapshot


def _manual(instance: Instance, snapshot: Snapshot, before: str, doomed: bool) -> None:
    began = time.monotonic()
    if doomed:
        world().pause(world().timing.snapshot, began)
        world().leave(snapshot, "failed")
        events.record(snapshot, "sandbox-snapshot-failed", source=snapshot.db_snapshot_identifier)
    else:
        take(instance, snapshot)
    world().pause(world().timing.backing_up, began)
    if instance.status == "backing-up":
        world().leave(instance, before)


def take(instance: Instance, snapshot: Snapshot) -> None:
    """Copies the running cluster, waits out the state's least time, and makes the snapshot available."""
    began = time.monotonic()

    def progress(share: float) -> None:
        snapshot.real_progress = share

    if instance.cluster.running:
        instance.cluster.physical_copy(snapshot.files, progress)
    else:
        pgbin.copy_tree(instance.cluster.data, snapshot.files)
    _share_with_previous(snapshot)
    snapshot.real_progress = 1.0
    taken = now()
    world().pause(world().timing.snapshot, began)
    with world().lock:
        world().leave(snapshot, "available")
        snapshot.snapshot_database_time = taken
        snapshot.complete()
        events.record(snapshot, "RDS-EVENT-0042" if snapshot.snapshot_type == "manual" else "RDS-EVENT-0091")


def _share_with_previous(snapshot: Snapshot) -> None:
    """A year of weekly snapshots would otherwise fill the memory that they are kept in."""
    with world().lock:
        others = [
            each
            for each in snapshots_of(snapshot.backend).values()
            if each.dbi_resource_id == snapshot.dbi_resource_id and each.status == "available"
        ]
    if others:
        pgbin.share(others[-1].files, snapshot.files)


def _lost(instance: Instance, snapshot: Snapshot, before: str) -> None:
    snapshot.status = "failed"
    if instance.status == "backing-up":
        instance.status = before
    events.record(snapshot, "sandbox-snapshot-failed", source=snapshot.db_snapshot_identifier)


def automated(instance: Instance) -> None:
    """Takes the automated backup of an instance in place: the base of point-in-time restores."""
    identifier = f"rds:{instance.db_instance_identifier}-{now():%Y-%m-%d-%H-%M}"
    with world().lock:
        while identifier in snapshots_of(instance.backend):
            identifier += "-1"
        snapshot = begin(instance, identifier, "automated", copied_tags(instance))
        instance.backups.append(snapshot)
        events.record(instance, "RDS-EVENT-0001")
        events.record(snapshot, "RDS-EVENT-0090")
    take(instance, snapshot)
    events.record(instance, "RDS-EVENT-0002")


# Copies ------------------------------------------------------------------------------------------------------------


def copy(backend: RDSBackend, params: Any) -> Snapshot:
    """CopyDBSnapshot in the region of `backend`; the source may be named by the ARN of another region's snapshot."""
    target_id = checks.identifier(params.get("TargetDBSnapshotIdentifier"), "TargetDBSnapshotIdentifier", 255)
    tags = checks.tags(params.get("Tags"))
    source = find(backend, params["SourceDBSnapshotIdentifier"])
    crosses = source.region != backend.region_name
    if target_id in snapshots_of(backend):
        raise errors.snapshot_exists(target_id)
    if source.status != "available":
        raise errors.snapshot_state(
            f"Cannot copy a snapshot that is not in the available state. (current state: {source.status})"
        )
    key = params.get("KmsKeyId")
    if source.encrypted and crosses and not key:
        raise errors.invalid_combination(
            "A KMS key of the destination region is required (KmsKeyId) to copy an encrypted snapshot across regions."
        )
    key = checks.usable_key(backend, key) if key else None
    if source.encrypted and source.kms_key_id:
        checks.usable_key(source.backend, source.kms_key_id)
    check_quota(backend)
    _check_copies(backend)
    if not tags and params.get("CopyTags"):
        tags = list(source.tags)
    snapshot = _register_copy(backend, source, target_id, tags, key, crosses)
    doomed = world().take_doom("copy", source.db_instance_identifier)
    world().spawn(lambda: _copy_files(source, snapshot, doomed), lambda: _cancel_copy(snapshot))
    return snapshot


def _register_copy(
    backend: RDSBackend, source: Snapshot, target_id: str, tags: Tags, key: str | None, crosses: bool
) -> Snapshot:
    snapshot = Snapshot(backend, cast("Instance", source.database), target_id, "manual", tags, "copying")
    kept: tuple[str, ...] = (
        "installation",
        "settings",
        "instance_tags",
        "instance_create_time",
        "allocated_storage",
        "port",
        "iops",
    )
    kept += ("dbi_resource_id", "db_instance_identifier", "engine_version", "master_username", "storage_type")
    kept += ("original_snapshot_create_time", "snapshot_database_time", "backup_retention_period", "force_ssl")
    for name in kept + ("iam_roles",):
        setattr(snapshot, name, getattr(source, name))
    snapshot.kms_key_id = key or source.kms_key_id
    snapshot.encrypted = snapshot.storage_encrypted = snapshot.kms_key_id is not None
    snapshot.settings = source.settings | {"kms_key_id": snapshot.kms_key_id, "storage_encrypted": snapshot.encrypted}
    snapshot.copy_of = source
    snapshot.expected = world().timing.copying
    if crosses:
        snapshot.source_region = source.region
        snapshot.source_db_snapshot_identifier = source.arn
        events.record(snapshot, "RDS-EVENT-0059", source=source.db_snapshot_identifier, region=source.region)
    else:
        events.record(snapshot, "RDS-EVENT-0196", source=source.db_snapshot_identifier)
    if any(each.dbi_resource_id == snapshot.dbi_resource_id for each in _copying(backend)):
        snapshot.status = "pending"  # copies of one source instance go one after the other
    snapshots_of(backend)[target_id] = snapshot
    return snapshot


def _copy_files(source: Snapshot, snapshot: Snapshot, doomed: bool) -> None:
    with world().changed:
        while snapshot.status == "pending":
            if world().stopping or snapshot.removed:
                raise Gone
            others = [each for each in _copying(snapshot.backend) if each.dbi_resource_id == snapshot.dbi_resource_id]
            if not others:
                snapshot.began = time.monotonic()
                snapshot.status = "copying"
                break
            world().changed.wait(1.0)
        if snapshot.status != "copying":
            raise Gone
    pgbin.copy_tree(source.files, snapshot.files)
    snapshot.real_progress = 1.0
    world().pause(world().timing.copying, snapshot.began)
    with world().lock:
        if doomed:
            _cancel_copy(snapshot)
            return
        if not world().leave(snapshot, "available", came="copying"):
            raise Gone
        snapshot.complete()
        words = {"source": source.db_snapshot_identifier, "region": source.region, "minutes": 1}
        events.record(snapshot, "RDS-EVENT-0060" if snapshot.source_region else "RDS-EVENT-0197", **words)


def _cancel_copy(snapshot: Snapshot) -> None:
    source = snapshot.copy_of
    assert source
    if snapshot.status == "failed":
        return  # the source was deleted, and then its files were not there
    snapshot.status = "failed"
    words = {"source": source.db_snapshot_identifier, "region": source.region}
    events.record(snapshot, "RDS-EVENT-0061" if snapshot.source_region else "RDS-EVENT-0190", **words)


def _copying(backend: RDSBackend) -> list[Snapshot]:
    return [each for each in snapshots_of(backend).values() if each.status == "copying"]


def _check_copies(backend: RDSBackend) -> None:
    busy = [each for each in snapshots_of(backend).values() if each.status in ("copying", "pending")]
    if len(busy) >= world().options.quotas.copies:
        raise errors.RdsError(
            "SnapshotQuotaExceeded",
            f"Cannot have more than {world().options.quotas.copies} snapshot copies in progress in one region",
        )


# Deleting ----------------------------------------------------------------------------------------------------------


def delete(backend: RDSBackend, identifier: str) -> Snapshot:
    """Removes a manual snapshot; copies being made of it are cancelled, as AWS says."""
    snapshot = snapshots_of(backend).get(identifier.lower())
    if snapshot is None:
        raise errors.snapshot_not_found(identifier)
    if snapshot.snapshot_type != "manual":
        raise errors.snapshot_state("Only manual snapshots may be deleted.")
    if snapshot.status not in DELETABLE:
        raise errors.snapshot_state(
            f"Cannot delete the snapshot because it is not currently in the available state. "
            f"(current state: {snapshot.status})"
        )
    discard(snapshot)
    events.record(snapshot, "RDS-EVENT-0041")
    return snapshot


def discard(snapshot: Snapshot) -> None:
    """Takes a snapshot and its files away, whatever its type."""
    from .world import backends

    snapshots_of(snapshot.backend).pop(snapshot.db_snapshot_identifier, None)
    snapshot.removed = True
    snapshot.status = "deleted"
    for backend in backends():
        for other in snapshots_of(backend).values():
            if other.copy_of is snapshot and other.status in ("copying", "pending"):
                _cancel_copy(other)
    shutil.rmtree(snapshot.files, ignore_errors=True)


# Finding -----------------------------------------------------------------------------------------------------------


def find(backend: RDSBackend, name: str) -> Snapshot:
    """By identifier, or by ARN in any region."""
    identifier = name
    if name.startswith("arn:"):
        parts = name.split(":", 6)
        if len(parts) != 7 or parts[2] != "rds" or parts[5] != "snapshot":
            raise errors.invalid_value(
                f"The parameter SourceDBSnapshotIdentifier is not a valid identifier. {checks.IDENTIFIER_RULE}"
            )
        backend, identifier = backend.get_backend("rds", parts[3], parts[4]), parts[6]
    snapshot = snapshots_of(backend).get(identifier.lower())
    if snapshot is None:
        raise errors.snapshot_not_found(name)
    return snapshot


def find_instance(backend: RDSBackend, identifier: str | None) -> Instance:
    instance = instances_of(backend).get((identifier or "").lower())
    if instance is None:
        raise errors.instance_not_found(identifier or "")
    return instance


def check_quota(backend: RDSBackend) -> None:
    manual = [each for each in snapshots_of(backend).values() if each.snapshot_type == "manual"]
    if len(manual) >= world().options.quotas.snapshots:
        raise errors.snapshot_quota(world().options.quotas.snapshots)


def copied_tags(instance: Instance) -> Tags:
    return list(instance.tags) if instance.copy_tags_to_snapshot else []
