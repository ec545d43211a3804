"""Automated backups: deleting retained ones, and their replication to another region (state only: a restore there reads the
backups and the WAL where they are)."""

from __future__ import annotations

import shutil
from typing import Any

from moto.rds.models import RDSBackend

from . import checks, errors, snapshots
from .model import AutomatedBackup, Instance
from .world import world


def delete_retained(params: Any) -> AutomatedBackup:
    """DeleteDBInstanceAutomatedBackup: only those of deleted instances can be."""
    resource, arn = params.get("DbiResourceId"), params.get("DBInstanceAutomatedBackupsArn")
    for each in list(world().retained):
        if resource == each.dbi_resource_id or (arn and arn == each.db_instance_automated_backups_arn):
            world().retained.remove(each)
            for backup in list(each.instance.backups):
                snapshots.discard(backup)
            shutil.rmtree(each.instance.cluster.home, ignore_errors=True)
            each.status = "deleting"
            return each
    raise errors.RdsError("DBInstanceAutomatedBackupNotFound", f"Automated backup {resource or arn} not found.")


def start(backend: RDSBackend, params: Any) -> AutomatedBackup:
    """Called in the destination region with the instance's ARN, as CopyDBSnapshot is."""
    instance = _source(backend, params["SourceDBInstanceArn"])
    if instance.backup_retention_period == 0:
        raise errors.instance_state(f"{instance.db_instance_identifier} has no automated backups.")
    if instance.storage_encrypted:
        if not params.get("KmsKeyId"):
            raise errors.invalid_combination("KmsKeyId is required to replicate encrypted automated backups.")
        checks.usable_key(backend, params["KmsKeyId"])
    if (instance, backend.region_name) not in world().replicated:
        world().replicated.append((instance, backend.region_name))
    return AutomatedBackup(instance, "pending", backend.region_name)


def stop(backend: RDSBackend, params: Any) -> AutomatedBackup:
    instance = _source(backend, params["SourceDBInstanceArn"])
    if (instance, backend.region_name) not in world().replicated:
        raise errors.RdsError("DBInstanceAutomatedBackupNotFound", "The automated backups are not replicated here.")
    world().replicated.remove((instance, backend.region_name))
    return AutomatedBackup(instance, "replicating-stopped", backend.region_name)


def _source(backend: RDSBackend, arn: str) -> Instance:
    parts = arn.split(":", 6)
    if len(parts) != 7 or parts[5] != "db":
        raise errors.invalid_value(f"Invalid source instance ARN: {arn}")
    return snapshots.find_instance(backend.get_backend("rds", parts[3], parts[4]), parts[6])
