"""Read replicas: a streaming standby of the instance's own server, in the same region; and their promotion."""

from __future__ import annotations

from typing import Any

from moto.rds.models import RDSBackend

from . import checks, errors, events, instances, restore, snapshots
from .model import Instance
from .world import world


def create(backend: RDSBackend, params: Any) -> Instance:
    """CreateDBInstanceReadReplica; the source must have automated backups, as at RDS."""
    source = snapshots.find_instance(backend, params.get("SourceDBInstanceIdentifier"))
    identifier = instances.new_identifier(backend, params.get("DBInstanceIdentifier"), "DBInstanceIdentifier")
    if source.status != "available":
        raise errors.instance_state(f"Instance {source.db_instance_identifier} is currently {source.status}.")
    if source.backup_retention_period == 0:
        raise errors.instance_state(
            f"Automated backups are not enabled for {source.db_instance_identifier}: enable them to make a replica."
        )
    remembered = source.describe_settings()
    settings = {key: value for key, value in remembered.items() if key not in restore.NOT_RESTORED}
    settings["iam"] = settings.pop("enable_iam_database_authentication")
    settings |= {"backup_retention_period": 0, "source_db_instance_identifier": source.db_instance_identifier}
    settings |= instances.given(params)
    settings |= {"force_ssl": source.cluster.force_ssl, "iam_roles": source.cluster.iam_roles}
    tags = checks.tags(params.get("Tags"))
    instance = instances.register(backend, identifier, source.cluster.installation, settings, tags)
    source.replicas.append(identifier)

    def done() -> None:
        events.record(instance, "RDS-EVENT-0005")

    instances.launch(instance, lambda: instance.cluster.follow(source.cluster), done, "failed")
    return instance


def promote(backend: RDSBackend, params: Any) -> Instance:
    """PromoteReadReplica: it is an instance of its own from then on."""
    instance = snapshots.find_instance(backend, params.get("DBInstanceIdentifier"))
    source = instance.source_db_instance_identifier
    if source is None:
        raise errors.instance_state(f"DB Instance {instance.db_instance_identifier} is not a read replica.")

    def promoted() -> None:
        instance.cluster.promote()
        with world().lock:
            instance.source_db_instance_identifier = None
            snapshots.find_instance(backend, source).replicas.remove(instance.db_instance_identifier)

    instance.status = "modifying"
    instances.run_steps(instance, [("modifying", promoted)])
    return instance
