"""CreateDBInstance, ModifyDBInstance, DeleteDBInstance, stop, start, reboot: each does it to a real server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from moto.rds.models import RDSBackend
from psycopg import sql

from .. import pgbin
from ..pgbin import Installation
from . import checks, errors, events, snapshots
from .checks import Tags
from .model import AutomatedBackup, Instance, Snapshot, instances_of, snapshots_of
from .snapshots import find_instance
from .world import world

RESERVED_NAMES = frozenset(["rdsadmin", "rds_superuser", "rdsrepladmin", "rds_replication", "public"])
DELETABLE = frozenset(
    ["available", "failed", "incompatible-restore", "incompatible-network", "restore-error", "stopped", "storage-full"]
    + [
        "storage-optimization",
        "incompatible-parameters",
        "inaccessible-encryption-credentials",
        "insufficient-capacity",
    ]
)
ONLY_WITHOUT_SNAPSHOT = frozenset(["failed", "incompatible-restore", "incompatible-network", "restore-error"])
MODIFIABLE = frozenset(["available", "storage-optimization", "storage-full", "incompatible-parameters"])

SETTINGS = (
    ("DBInstanceClass", "db_instance_class"),
    ("AllocatedStorage", "allocated_storage"),
    ("MaxAllocatedStorage", "max_allocated_storage"),
    ("StorageType", "storage_type"),
    ("Iops", "iops"),
    ("StorageThroughput", "storage_throughput"),
    ("MultiAZ", "multi_az"),
    ("PubliclyAccessible", "publicly_accessible"),
    ("AutoMinorVersionUpgrade", "auto_minor_version_upgrade"),
    ("CopyTagsToSnapshot", "copy_tags_to_snapshot"),
    ("DeletionProtection", "deletion_protection"),
    ("BackupRetentionPeriod", "backup_retention_period"),
    ("PreferredBackupWindow", "preferred_backup_window"),
    ("PreferredMaintenanceWindow", "preferred_maintenance_window"),
    ("DBParameterGroupName", "db_parameter_group_name"),
    ("OptionGroupName", "option_group_name"),
    ("VpcSecurityGroupIds", "vpc_security_group_ids"),
    ("DBSubnetGroupName", "db_subnet_group_name"),
    ("AvailabilityZone", "availability_zone"),
    ("CACertificateIdentifier", "ca_certificate_identifier"),
    ("LicenseModel", "license_model"),
    ("EnableIAMDatabaseAuthentication", "enable_iam_database_authentication"),
)
"""What create, modify and restore have in common: the request's name, and the attribute's."""


# Creating ----------------------------------------------------------------------------------------------------------


def create(backend: RDSBackend, params: Any, extra: dict[str, Any] | None = None) -> Instance:
    """Starts an empty server; `extra` are settings only a seed can give (`force_ssl`, `iam_roles`)."""
    identifier = new_identifier(backend, params.get("DBInstanceIdentifier"), "DBInstanceIdentifier")
    if params.get("Engine") != "postgres":
        raise errors.invalid_value(f"Invalid DB engine: {params.get('Engine')} (the sandbox has postgres only)")
    user = params.get("MasterUsername")
    if not user or not user[0].isalpha() or user.lower() in RESERVED_NAMES:
        raise errors.invalid_value(f"MasterUsername {user} cannot be used as it is a reserved word used by the engine")
    password = checks.password(params.get("MasterUserPassword"))
    settings = given(params) | {"master_username": user, "master_user_password": password}
    settings["db_name"] = params.get("DBName")
    settings["license_model"] = params.get("LicenseModel") or "postgresql-license"
    settings["backup_retention_period"] = checks.retention(params.get("BackupRetentionPeriod"), 1)
    if params.get("StorageEncrypted"):
        settings["storage_encrypted"] = True
        settings["kms_key_id"] = checks.usable_key(backend, params.get("KmsKeyId") or "alias/aws/rds")
    installation = installed(params.get("EngineVersion"))
    instance = register(backend, identifier, installation, settings | (extra or {}), checks.tags(params.get("Tags")))
    databases = [params["DBName"]] if params.get("DBName") else []

    def fill() -> None:
        instance.cluster.adopt_copy(world().template(installation))
        instance.cluster.start()
        instance.cluster.create_master(user, password, databases)

    launch(instance, fill, lambda: events.record(instance, "RDS-EVENT-0005"), "failed")
    return instance


def register(
    backend: RDSBackend, identifier: str, installation: Installation, settings: dict[str, Any], tags: Tags
) -> Instance:
    """Adds an instance in `creating`, without a server yet."""
    settings = {"db_instance_class": "db.t3.micro", "engine": "postgres"} | settings
    settings["engine_version"] = installation.version
    instance = Instance(  # type: ignore[abstract]
        backend, installation, db_instance_identifier=identifier, tags=tags, **settings
    )
    instances_of(backend)[identifier] = instance
    return instance


def launch(instance: Instance, fill: Callable[[], None], done: Callable[[], None], failed: str) -> None:
    """Runs `fill`, which leaves a serving cluster behind, then the first backup, then `available`."""
    began = time.monotonic()

    def work() -> None:
        instance.cluster.prepare(world().authority)
        fill()
        world().pause(world().timing.creating, began)
        with world().lock:
            instance.instance_create_time = instance.created_internal
        if instance.backup_retention_period > 0:
            backing_up = time.monotonic()
            world().leave(instance, "backing-up")
            done()
            snapshots.automated(instance)
            instance.latest_archived = millis(instance.cluster.archive_now())
            world().pause(world().timing.backing_up, backing_up)
        else:
            done()
        if instance.status in ("creating", "backing-up"):
            world().leave(instance, "available")

    def broken() -> None:
        instance.status = failed

    world().spawn(work, broken)


def millis(moment: Any) -> Any:
    """Rounded down, so that a restore to the time shown never asks for more than there is."""
    return moment.replace(tzinfo=None, microsecond=moment.microsecond // 1000 * 1000)


def given(params: Any) -> dict[str, Any]:
    """The settings among the request's parameters, by attribute."""
    return {name: params[key] for key, name in SETTINGS if params.get(key) is not None}


def new_identifier(backend: RDSBackend, value: str | None, parameter: str) -> str:
    identifier = checks.identifier(value, parameter, 63)
    if identifier in instances_of(backend):
        raise errors.instance_exists()
    if len(instances_of(backend)) >= world().options.quotas.instances:
        raise errors.instance_quota()
    return identifier


def installed(version: str | None) -> Installation:
    found = pgbin.find(version)
    if found is None:
        have = ", ".join(each.version for each in pgbin.installations())
        raise errors.invalid_combination(f"Cannot find version {version} for postgres (the sandbox has {have})")
    return found


# Deleting ----------------------------------------------------------------------------------------------------------


def delete(backend: RDSBackend, params: Any) -> Instance:
    instance = find_instance(backend, params.get("DBInstanceIdentifier"))
    final, skip = params.get("FinalDBSnapshotIdentifier"), bool(params.get("SkipFinalSnapshot"))
    if instance.deletion_protection:
        raise errors.invalid_combination(
            "Cannot delete protected DB Instance, please disable deletion protection and try again."
        )
    if skip and final:
        raise errors.invalid_combination(
            "FinalDBSnapshotIdentifier can not be specified when deleting with SkipFinalSnapshot."
        )
    if not skip and not final:
        raise errors.invalid_combination("FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.")
    name = instance.db_instance_identifier
    if instance.status == "deleting":
        raise errors.instance_state(f"Instance {name} is already being deleted.")
    if instance.status not in DELETABLE:
        raise errors.instance_state(f"Instance {name} is currently {instance.status} - try again later.")
    if final and instance.status in ONLY_WITHOUT_SNAPSHOT:
        raise errors.instance_state(f"A final snapshot of {name} cannot be taken in state {instance.status}.")
    snapshot = None
    if final:
        final = checks.identifier(final, "FinalDBSnapshotIdentifier", 255)
        if final in snapshots_of(backend):
            raise errors.snapshot_exists(final)
        snapshots.check_quota(backend)
        snapshot = Snapshot(backend, instance, final, "manual", snapshots.copied_tags(instance), "creating")
        snapshots_of(backend)[final] = snapshot
        events.record(snapshot, "RDS-EVENT-0040")
    keep = params.get("DeleteAutomatedBackups") is False and instance.backup_retention_period > 0
    instance.status = "deleting"
    began = time.monotonic()

    def work() -> None:
        if snapshot is not None:
            snapshots.take(instance, snapshot)
        if keep and instance.cluster.running:
            instance.latest_archived = millis(instance.cluster.archive_now())
        world().pause(world().timing.deleting, began)
        world().leave(instance, "deleting")
        instance.cluster.stop(immediate=True)
        with world().lock:
            _forget(backend, instance, keep)

    def stuck() -> None:
        if snapshot is not None and snapshot.status == "creating":
            snapshot.status = "failed"
        instance.status = "failed"

    world().spawn(work, stuck)
    return instance


def _forget(backend: RDSBackend, instance: Instance, keep: bool) -> None:
    instances_of(backend).pop(instance.db_instance_identifier, None)
    instance.removed = True
    if keep:
        world().retained.append(AutomatedBackup(instance, "retained"))
    else:
        for backup in list(instance.backups):
            snapshots.discard(backup)
    events.record(instance, "RDS-EVENT-0003")
    world().drop_cluster(instance.cluster, keep_files=keep)


# Modifying ---------------------------------------------------------------------------------------------------------


def modify(backend: RDSBackend, params: Any) -> Instance:
    """Password and protection change as soon as possible; the rest with ApplyImmediately, else it stays pending."""
    instance = find_instance(backend, params.get("DBInstanceIdentifier"))
    if instance.status not in MODIFIABLE:
        raise errors.instance_state(f"Database instance is not in available state. (current state: {instance.status})")
    settings = given(params)
    if "backup_retention_period" in settings:
        settings["backup_retention_period"] = checks.retention(settings["backup_retention_period"], 1)
    if settings.get("allocated_storage", instance.allocated_storage) < instance.allocated_storage:
        raise errors.invalid_combination("Requested size (in GB) cannot be less than the current size.")
    new_name = params.get("NewDBInstanceIdentifier")
    if new_name and new_name.lower() != instance.db_instance_identifier:
        new_name = checks.identifier(new_name, "NewDBInstanceIdentifier", 63)
        if new_name in instances_of(backend):
            raise errors.instance_exists()
    else:
        new_name = None
    password = params.get("MasterUserPassword")
    if password is not None:
        checks.password(password)
    for name in ("deletion_protection", "copy_tags_to_snapshot"):
        if name in settings:
            setattr(instance, name, settings.pop(name))
    pending = {key: settings[name] for key, name in SETTINGS if name in settings}
    if new_name:
        pending["DBInstanceIdentifier"] = new_name
    if password:
        pending["MasterUserPassword"] = "****"
    instance.pending_modified_values |= pending
    if not params.get("ApplyImmediately"):
        settings, new_name = {}, None
    steps = []
    if password:
        steps.append(("resetting-master-credentials", lambda: _reset_password(instance, password)))
    if settings:
        steps.append(("modifying", lambda: _apply(instance, settings)))
    if "allocated_storage" in settings:
        steps.append(("storage-optimization", lambda: events.record(instance, "RDS-EVENT-0017")))
    if new_name:
        steps.append(("renaming", lambda: _rename(backend, instance, new_name)))
    if steps:
        instance.status = steps[0][0]
        run_steps(instance, steps)
    return instance


def run_steps(instance: Instance, steps: list[tuple[str, Callable[[], None]]], end: str = "available") -> None:
    """Goes through states, doing each one's work inside it."""

    def work() -> None:
        for position, (status, act) in enumerate(steps):
            began = time.monotonic()
            act()
            world().pause(getattr(world().timing, status.replace("-", "_")), began)
            following = steps[position + 1][0] if position + 1 < len(steps) else end
            world().leave(instance, following, came=status)

    def broken() -> None:
        instance.status = "failed"

    world().spawn(work, broken)


def _reset_password(instance: Instance, password: str) -> None:
    instance.cluster.set_password(str(instance.master_username), password)
    with world().lock:
        instance.pending_modified_values.pop("MasterUserPassword", None)
        events.record(instance, "RDS-EVENT-0016")


def _apply(instance: Instance, settings: dict[str, Any]) -> None:
    before = instance.backup_retention_period
    with world().lock:
        for key, name in SETTINGS:
            if name in settings:
                setattr(instance, name, settings[name])
                instance.pending_modified_values.pop(key, None)
    after = instance.backup_retention_period
    if before == 0 and after > 0:
        events.record(instance, "RDS-EVENT-0032")
        snapshots.automated(instance)
    elif before > 0 and after == 0:
        events.record(instance, "RDS-EVENT-0028")
        with world().lock:
            for backup in list(instance.backups):
                snapshots.discard(backup)
            instance.backups.clear()


def _rename(backend: RDSBackend, instance: Instance, name: str) -> None:
    """The old name serves until the state has lasted its time; then only the new one does."""
    world().pause(world().timing.renaming)
    with world().lock:
        old = instance.db_instance_identifier
        instances_of(backend).pop(old)
        instance.db_instance_identifier = name
        instances_of(backend)[name] = instance
        instance.pending_modified_values.pop("DBInstanceIdentifier", None)
        events.record(instance, "sandbox-renamed", source=old, target=name)


# Stopping, starting, rebooting -------------------------------------------------------------------------------------


def stop(backend: RDSBackend, identifier: str, snapshot_id: str | None) -> Instance:
    instance = find_instance(backend, identifier)
    _require(instance, "available", "stop")
    snapshot = None
    if snapshot_id:
        snapshot_id = checks.identifier(snapshot_id, "DBSnapshotIdentifier", 255)
        if snapshot_id in snapshots_of(backend):
            raise errors.snapshot_exists(snapshot_id)
        snapshots.check_quota(backend)
        tags = snapshots.copied_tags(instance)
        snapshot = Snapshot(backend, instance, snapshot_id, "manual", tags, "creating")
        snapshots_of(backend)[snapshot_id] = snapshot
        events.record(snapshot, "RDS-EVENT-0040")
    instance.status = "stopping"

    def act() -> None:
        if snapshot is not None:
            snapshots.take(instance, snapshot)
        instance.cluster.stop()
        events.record(instance, "RDS-EVENT-0087")

    run_steps(instance, [("stopping", act)], end="stopped")
    return instance


def start(backend: RDSBackend, identifier: str) -> Instance:
    instance = find_instance(backend, identifier)
    _require(instance, "stopped", "start")
    instance.status = "starting"

    def act() -> None:
        instance.cluster.start()
        events.record(instance, "RDS-EVENT-0088")

    run_steps(instance, [("starting", act)])
    return instance


def reboot(backend: RDSBackend, identifier: str) -> Instance:
    instance = find_instance(backend, identifier)
    _require(instance, "available", "reboot")
    instance.status = "rebooting"

    def act() -> None:
        events.record(instance, "RDS-EVENT-0004")
        instance.cluster.stop()
        instance.cluster.start()
        events.record(instance, "RDS-EVENT-0006")

    run_steps(instance, [("rebooting", act)])
    return instance


def _require(instance: Instance, status: str, verb: str) -> None:
    if instance.status != status:
        raise errors.instance_state(
            f"Cannot {verb} instance {instance.db_instance_identifier} in state {instance.status}: it must be {status}."
        )


def database_names(instance: Instance) -> list[str]:
    """The user's databases, without RDS's own and templates."""
    names = instance.cluster.admin(
        sql.SQL("SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'rdsadmin' ORDER BY 1")
    )
    return [name for (name,) in names]
