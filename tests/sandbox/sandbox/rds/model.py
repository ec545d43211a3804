"""Instances, snapshots and automated backups as the API shows them, each tied to what is really there."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from moto.rds.models import DBInstance, DBSnapshot, RDSBackend

from ..certs import SERVER_DAYS
from ..pgbin import Installation
from ..postgres import Cluster
from .checks import Tags
from .world import now, resource_identifier, world

NO_ENDPOINT = frozenset(["creating", "failed", "incompatible-restore"])
"""In these states AWS shows no endpoint: there is nothing to connect to yet, or ever."""

CARRIED = (
    ("db_instance_class", "engine", "engine_version", "allocated_storage", "max_allocated_storage", "storage_type")
    + ("iops", "storage_throughput", "db_name", "master_username", "multi_az", "license_model", "copy_tags_to_snapshot")
    + ("auto_minor_version_upgrade", "preferred_backup_window", "preferred_maintenance_window")
    + ("backup_retention_period", "enable_iam_database_authentication", "storage_encrypted", "kms_key_id")
)
"""What a snapshot remembers of its instance, and a restore starts from: no groups, tags or protection."""


class Instance(DBInstance):
    """One DB instance; `cluster` is its server."""

    kind = "db-instance"

    def __init__(self, backend: RDSBackend, installation: Installation, **settings: Any) -> None:
        iam = bool(settings.pop("iam", False))
        force_ssl = settings.pop("force_ssl", True)
        iam_roles = tuple(settings.pop("iam_roles", ()))
        super().__init__(backend, **settings)
        if not self.option_group_supplied:
            self.option_group_name = f"default:postgres-{installation.major}"
        self.status = "creating"
        self.removed = False
        self.created_internal = now()
        self.instance_create_time = cast("datetime", None)  # there is none while it is created
        self.enable_iam_database_authentication = iam or self.enable_iam_database_authentication
        self.dbi_resource_id = resource_identifier()
        self.pending_modified_values: dict[str, Any] = {}
        self.latest_archived: datetime | None = None
        self.restorable_lag = timedelta(0)
        self.certificate_until = self.created_internal + timedelta(days=SERVER_DAYS)
        self.backups: list[Snapshot] = []
        self.cluster: Cluster = world().new_cluster(
            self.dbi_resource_id, installation, force_ssl=force_ssl, iam_roles=iam_roles
        )

    @property
    def endpoint(self) -> dict[str, Any] | None:  # type: ignore[override]
        if self.status in NO_ENDPOINT or not self.cluster.port:
            return None
        return {"Address": "localhost", "Port": self.cluster.port, "HostedZoneId": "Z2R2ITUGPM61AM"}

    @property
    def db_instance_port(self) -> int:
        """Zero, as AWS shows: the port is the endpoint's."""
        return 0

    @property
    def latest_restorable_time(self) -> datetime | None:  # type: ignore[override]
        """Absent without automated backups; else what the archived WAL reaches."""
        if self.backup_retention_period == 0 or not self.base_backups():
            return None
        return self.latest_archived and self.latest_archived - self.restorable_lag

    @property
    def certificate_details(self) -> dict[str, Any]:
        """Of the server's own certificate, and not of its authority's."""
        return {"CAIdentifier": self.ca_certificate_identifier, "ValidTill": self.certificate_until}

    @property
    def storage_encryption_type(self) -> str:
        return encryption_type(self.storage_encrypted)

    def base_backups(self) -> list[Snapshot]:
        return [each for each in self.backups if each.status == "available"]

    def describe_settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in CARRIED}


class Snapshot(DBSnapshot):
    """One DB snapshot; `files` is the physical copy, absent until it is complete."""

    kind = "db-snapshot"

    def __init__(
        self, backend: RDSBackend, instance: Instance, identifier: str, snapshot_type: str, tags: Tags, status: str
    ) -> None:
        super().__init__(backend, instance, identifier, snapshot_type, tags=tags)
        self.tags = tags
        self.status = status
        self.removed = False
        self.settings = instance.describe_settings()
        self.installation = instance.cluster.installation
        self.force_ssl = instance.cluster.force_ssl
        self.iam_roles = instance.cluster.iam_roles
        self.instance_tags: Tags = list(instance.tags)
        self.instance_create_time = instance.instance_create_time
        self.availability_zone = instance.availability_zone
        self.port = instance.cluster.port
        self.multi_tenant = False
        self.dedicated_log_volume = False
        self.vpc_id = "vpc-sandbox"
        for name in ("storage_type", "iops", "storage_throughput", "license_model", "option_group_name"):
            setattr(self, name, getattr(instance, name))
        self.backup_retention_period = instance.backup_retention_period
        self.preferred_backup_window = instance.preferred_backup_window
        self.completed: datetime | None = None
        self.original_snapshot_create_time = cast("datetime", None)
        self.snapshot_database_time: datetime | None = None
        self.source_region: str | None = None
        self.source_db_snapshot_identifier: str | None = None
        self.copy_of: Snapshot | None = None
        self.began = time.monotonic()
        self.expected = world().timing.snapshot
        self.real_progress = 0.0

    @property
    def files(self) -> Path:
        return world().snapshots_dir / f"{id(self):x}-{self.dbi_resource_id}"

    @property
    def snapshot_create_time(self) -> datetime | None:  # type: ignore[override]
        return self.completed

    @property
    def storage_encryption_type(self) -> str:
        return encryption_type(self.encrypted)

    @property
    def percent_progress(self) -> int:
        """The slower of the copy and the clock; 100 only when the snapshot is there."""
        if self.status == "available":
            return 100
        if self.status == "pending":
            return 0
        by_clock = (time.monotonic() - self.began) / max(self.expected, 0.001)
        return int(99 * max(0.0, min(by_clock, self.real_progress, 1.0)))

    def complete(self) -> None:
        """Times appear only when the snapshot is there, as in AWS."""
        self.completed = now()
        if self.original_snapshot_create_time is None:
            self.original_snapshot_create_time = self.completed


def instances_of(backend: RDSBackend) -> MutableMapping[str, Instance]:
    """A region's instances: moto's own dictionary, in which this layer puts nothing but its own kind."""
    return cast("MutableMapping[str, Instance]", backend.databases)


def snapshots_of(backend: RDSBackend) -> MutableMapping[str, Snapshot]:
    return cast("MutableMapping[str, Snapshot]", backend.database_snapshots)


class AutomatedBackup:
    """What DescribeDBInstanceAutomatedBackups shows; of a deleted instance too, when its backups were kept."""

    def __init__(self, instance: Instance, status: str, region: str | None = None) -> None:
        backups = instance.base_backups()
        earliest = min((each.completed for each in backups if each.completed), default=None)
        self.instance = instance
        self.status = status
        self.region = region or instance.region
        self.db_instance_arn = instance.arn
        self.dbi_resource_id = instance.dbi_resource_id
        self.db_instance_identifier = instance.db_instance_identifier
        self.restore_window = {"EarliestTime": earliest, "LatestTime": instance.latest_archived}
        self.encrypted = instance.storage_encrypted
        self.port = instance.cluster.port
        self.tag_list = instance.tags
        self.instance_create_time = instance.instance_create_time
        self.iam_database_authentication_enabled = instance.enable_iam_database_authentication
        self.storage_encryption_type = instance.storage_encryption_type
        for name in (
            "allocated_storage",
            "availability_zone",
            "engine",
            "engine_version",
            "license_model",
            "kms_key_id",
        ):
            setattr(self, name, getattr(instance, name))
        for name in ("storage_type", "iops", "option_group_name", "master_username", "backup_retention_period"):
            setattr(self, name, getattr(instance, name))
        self.preferred_backup_window = instance.preferred_backup_window
        self.backup_target = "region"
        self.db_instance_automated_backups_arn = automated_backup_arn(instance, self.region)


def automated_backup_arn(instance: Instance, region: str) -> str:
    name = f"ab-{instance.dbi_resource_id.removeprefix('db-').lower()}"
    return f"arn:{instance.partition}:rds:{region}:{instance.account_id}:auto-backup:{name}"


def encryption_type(encrypted: bool) -> str:
    return "sse-kms" if encrypted else "none"
