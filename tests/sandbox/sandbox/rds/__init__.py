"""The RDS truth layer: replaces the parts of moto's RDS that only pretend.

`install` must run before the first RDS request, for moto builds its tables of actions then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.rds.models import RDSBackend
from moto.rds.responses import RDSResponse

from ..options import Options
from . import checks, describe, errors, instances, logs, read_replicas, replication, restore, snapshots, tagging, wal
from .model import instances_of, snapshots_of
from .world import World, start, world

Handler = Callable[[RDSBackend, Any], dict[str, Any]]


def _create_db_snapshot(backend: RDSBackend, params: Any) -> dict[str, Any]:
    identifier = checks.identifier(params.get("DBSnapshotIdentifier"), "DBSnapshotIdentifier", 255)
    tags = checks.tags(params.get("Tags"))
    return {"DBSnapshot": snapshots.create(backend, params["DBInstanceIdentifier"], identifier, tags)}


def _stop_db_instance(backend: RDSBackend, params: Any) -> dict[str, Any]:
    name = params["DBInstanceIdentifier"]
    return {"DBInstance": instances.stop(backend, name, params.get("DBSnapshotIdentifier"))}


def _refuse(backend: RDSBackend, params: Any) -> dict[str, Any]:
    raise errors.RdsError("InvalidAction", "The sandbox has no real server for this action.")


HANDLERS: dict[str, Handler] = {
    "create_db_instance": lambda backend, params: {"DBInstance": instances.create(backend, params)},
    "modify_db_instance": lambda backend, params: {"DBInstance": instances.modify(backend, params)},
    "delete_db_instance": lambda backend, params: {"DBInstance": instances.delete(backend, params)},
    "stop_db_instance": _stop_db_instance,
    "start_db_instance": lambda backend, params: {
        "DBInstance": instances.start(backend, params["DBInstanceIdentifier"])
    },
    "reboot_db_instance": lambda backend, params: {
        "DBInstance": instances.reboot(backend, params["DBInstanceIdentifier"])
    },
    "describe_db_instances": describe.instances,
    "create_db_snapshot": _create_db_snapshot,
    "copy_db_snapshot": lambda backend, params: {"DBSnapshot": snapshots.copy(backend, params)},
    "delete_db_snapshot": lambda backend, params: {
        "DBSnapshot": snapshots.delete(backend, params["DBSnapshotIdentifier"])
    },
    "describe_db_snapshots": describe.snapshots,
    "restore_db_instance_from_db_snapshot": lambda backend, params: {
        "DBInstance": restore.from_snapshot(backend, params)
    },
    "restore_db_instance_to_point_in_time": lambda backend, params: {
        "DBInstance": restore.to_point_in_time(backend, params)
    },
    "describe_events": describe.event_list,
    "describe_db_log_files": logs.files,
    "download_db_log_file_portion": logs.portion,
    "describe_account_attributes": lambda backend, _: describe.account_attributes(backend),
    "describe_db_parameters": describe.parameters,
    "describe_db_engine_versions": lambda _, params: describe.engine_versions(params),
    "describe_pending_maintenance_actions": lambda *_: {"PendingMaintenanceActions": []},
    "describe_certificates": lambda backend, _: describe.certificates(backend),
    "describe_db_instance_automated_backups": describe.automated_backups,
    "delete_db_instance_automated_backup": lambda _, params: {
        "DBInstanceAutomatedBackup": replication.delete_retained(params)
    },
    "start_db_instance_automated_backups_replication": lambda backend, params: {
        "DBInstanceAutomatedBackup": replication.start(backend, params)
    },
    "stop_db_instance_automated_backups_replication": lambda backend, params: {
        "DBInstanceAutomatedBackup": replication.stop(backend, params)
    },
    "list_tags_for_resource": lambda backend, params: {"TagList": tagging.listed(backend, params["ResourceName"])},
    "create_db_instance_read_replica": lambda backend, params: {
        "DBInstance": read_replicas.create(backend, params)
    },
    "promote_read_replica": lambda backend, params: {"DBInstance": read_replicas.promote(backend, params)},
    "create_blue_green_deployment": _refuse,
    "create_db_cluster": _refuse,
}


def install(options: Options) -> World:
    """Patches moto in this process and starts the thread that archives WAL."""
    made = start(options)
    for name, handler in HANDLERS.items():
        setattr(RDSResponse, name, _method(handler))
    RDSResponse.add_tags_to_resource = _add_tags  # type: ignore[method-assign]
    RDSResponse.remove_tags_from_resource = _remove_tags  # type: ignore[method-assign]
    _serialise_calls()
    _stop_servers_on_reset()
    wal.run()
    return made


def _method(handler: Handler) -> Callable[[RDSResponse], ActionResult]:
    def method(self: RDSResponse) -> ActionResult:
        return ActionResult(handler(self.backend, self.params))

    return method


def _add_tags(self: RDSResponse) -> ActionResult:
    tagging.add(self.backend, self.params["ResourceName"], self.params.get("Tags"))
    return EmptyResult()


def _remove_tags(self: RDSResponse) -> ActionResult:
    tagging.remove(self.backend, self.params["ResourceName"], self.params.get("TagKeys") or [])
    return EmptyResult()


def _serialise_calls() -> None:
    """One RDS call at a time, its answer written out included: states change in other threads."""
    original = RDSResponse.call_action

    def call_action(self: RDSResponse) -> Any:
        with world().lock:
            return original(self)

    RDSResponse.call_action = call_action  # type: ignore[assignment,method-assign]


def _stop_servers_on_reset() -> None:
    """POST /moto-api/reset empties moto's state; servers nobody can name any more must not go on."""
    original = RDSBackend.reset

    def reset(self: RDSBackend) -> None:
        with world().changed:
            for instance in list(instances_of(self).values()):
                instance.removed = True
                world().drop_cluster(instance.cluster)
            for snapshot in list(snapshots_of(self).values()):
                snapshots.discard(snapshot)
            world().retained.clear()
            world().replicated.clear()
            world().stuck.clear()
            world().doomed.clear()
            world().changed.notify_all()
        original(self)

    RDSBackend.reset = reset  # type: ignore[assignment,method-assign]
