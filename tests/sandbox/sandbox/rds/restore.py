"""Restores: a new server from a snapshot's files, or from a base backup with WAL replayed up to a moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from moto.rds.models import RDSBackend

from ..pgbin import Installation
from . import checks, errors, events, instances, snapshots
from .model import Instance, Snapshot, automated_backup_arn, instances_of
from .world import world

NOT_RESTORED = frozenset(["engine", "engine_version"])


def from_snapshot(backend: RDSBackend, params: Any) -> Instance:
    """RestoreDBInstanceFromDBSnapshot; roles and passwords are the snapshot's."""
    name = params.get("DBSnapshotIdentifier")
    if not name:
        raise errors.invalid_combination("DBSnapshotIdentifier is required.")
    snapshot = snapshots.find(backend, name)
    if snapshot.region != backend.region_name:
        raise errors.snapshot_not_found(name)
    identifier = instances.new_identifier(backend, params.get("DBInstanceIdentifier"), "DBInstanceIdentifier")
    if snapshot.status != "available":
        raise errors.snapshot_state(
            f"The snapshot {snapshot.db_snapshot_identifier} is not available for restore. "
            f"(current state: {snapshot.status})"
        )
    instance = _new_instance(
        backend, identifier, snapshot.installation, snapshot.settings, snapshot.instance_tags, params, _extra(snapshot)
    )

    def fill() -> None:
        instance.cluster.adopt_copy(snapshot.files)
        instance.cluster.start()

    def done() -> None:
        events.record(instance, "RDS-EVENT-0043", source=snapshot.db_snapshot_identifier)

    instances.launch(instance, fill, done, "incompatible-restore")
    return instance


def to_point_in_time(backend: RDSBackend, params: Any) -> Instance:
    """RestoreDBInstanceToPointInTime by real WAL replay; works for a deleted instance whose backups were kept."""
    source = _source(backend, params)
    identifier = instances.new_identifier(
        backend, params.get("TargetDBInstanceIdentifier"), "TargetDBInstanceIdentifier"
    )
    latest, moment = bool(params.get("UseLatestRestorableTime")), params.get("RestoreTime")
    if latest == (moment is not None):
        raise errors.invalid_combination("Specify either RestoreTime or UseLatestRestorableTime, and not both.")
    if source.backup_retention_period == 0:
        raise errors.RdsError(
            "PointInTimeRestoreNotEnabled",
            f"Point-in-time restore is not enabled for {source.db_instance_identifier}: its retention period is 0.",
        )
    reach = source.latest_archived
    bases = [each for each in source.base_backups() if each.completed]
    if reach is None or not bases:
        raise errors.instance_state(f"{source.db_instance_identifier} has no automated backup to restore from yet.")
    target = reach if latest else _naive(moment)
    if target > reach:
        raise errors.invalid_value(
            f"The restore time {target:%Y-%m-%dT%H:%M:%SZ} is later than the latest restorable time "
            f"{reach:%Y-%m-%dT%H:%M:%SZ} of {source.db_instance_identifier}."
        )
    usable = [(each.snapshot_database_time, each) for each in bases if each.snapshot_database_time]
    usable = [pair for pair in usable if pair[0] <= target]
    if not usable:
        raise errors.invalid_value(
            f"The restore time {target:%Y-%m-%dT%H:%M:%SZ} is before the earliest restorable time."
        )
    base = max(usable, key=lambda pair: pair[0])[1]
    tags = list(source.tags)
    instance = _new_instance(
        backend, identifier, source.cluster.installation, source.describe_settings(), tags, params, _extra(base)
    )

    def fill() -> None:
        instance.cluster.adopt_copy(base.files)
        instance.cluster.recover_to(source.cluster.archive, target.replace(tzinfo=UTC))

    def done() -> None:
        words = {"source": source.db_instance_identifier, "target": identifier}
        events.record(instance, "RDS-EVENT-0019", **words)

    instances.launch(instance, fill, done, "incompatible-restore")
    return instance


def _source(backend: RDSBackend, params: Any) -> Instance:
    """By name, by resource id, or by the ARN of the automated backup."""
    name, resource = params.get("SourceDBInstanceIdentifier"), params.get("SourceDbiResourceId")
    arn = params.get("SourceDBInstanceAutomatedBackupsArn")
    if sum(value is not None for value in (name, resource, arn)) != 1:
        raise errors.invalid_combination("Specify exactly one source instance, resource id or automated backup.")
    if name:
        return snapshots.find_instance(backend, name.rsplit(":", 1)[-1])
    here = [each for each in world().retained if each.region == backend.region_name]
    for instance in [*instances_of(backend).values(), *(each.instance for each in here)]:
        if resource == instance.dbi_resource_id or arn == automated_backup_arn(instance, backend.region_name):
            return instance
    # What was replicated here is found by its ARN alone: the instance is one of another region.
    for instance, region in world().replicated:
        if region == backend.region_name and arn == automated_backup_arn(instance, region):
            return instance
    if resource:
        raise errors.instance_not_found(resource)
    raise errors.RdsError("DBInstanceAutomatedBackupNotFound", f"Automated backup {arn} not found.")


def _new_instance(
    backend: RDSBackend,
    identifier: str,
    installation: Installation,
    remembered: dict[str, Any],
    source_tags: checks.Tags,
    params: Any,
    extra: dict[str, Any],
) -> Instance:
    """Settings of the source, then those of the request; the source's tags only when the request has none."""
    overrides = instances.given(params)
    if "allocated_storage" in overrides and overrides["allocated_storage"] < remembered["allocated_storage"]:
        raise errors.invalid_value("The allocated storage size can't be less than the source snapshot or backup size.")
    overrides["backup_retention_period"] = checks.retention(
        params.get("BackupRetentionPeriod"), remembered["backup_retention_period"]
    )
    if remembered["storage_encrypted"] and remembered["kms_key_id"]:
        checks.usable_key(backend, remembered["kms_key_id"])
    if params.get("Engine") not in (None, "postgres"):
        raise errors.invalid_combination("The engine of a restored instance must be the source's.")
    settings = {key: value for key, value in remembered.items() if key not in NOT_RESTORED}
    iam = settings.pop("enable_iam_database_authentication")
    settings["iam"] = overrides.pop("enable_iam_database_authentication", iam)
    tags = checks.tags(params.get("Tags")) or list(source_tags)
    return instances.register(backend, identifier, installation, settings | overrides | extra, tags)


def _extra(base: Snapshot) -> dict[str, Any]:
    return {"force_ssl": base.force_ssl, "iam_roles": base.iam_roles}


def _naive(moment: Any) -> datetime:
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    result: datetime = moment
    return result.astimezone(UTC).replace(tzinfo=None) if result.tzinfo else result
