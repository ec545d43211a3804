"""The Describe calls: filters, pages and times as RDS has them, and those that moto answers with an error page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from moto.rds.models import RDSBackend

from .. import pgbin
from . import checks, errors, events
from .model import AutomatedBackup, Instance, Snapshot, instances_of, snapshots_of
from .snapshots import find_instance
from .world import now, world

INSTANCE_FILTERS = ("db-cluster-id", "db-instance-id", "dbi-resource-id", "domain", "engine")
SNAPSHOT_FILTERS = ("db-instance-id", "db-snapshot-id", "dbi-resource-id", "snapshot-type", "engine")
BACKUP_FILTERS = ("status", "db-instance-id", "dbi-resource-id")
SNAPSHOT_TYPES = ("automated", "manual", "shared", "public", "awsbackup")
EVENT_SOURCES = (
    "db-instance",
    "db-parameter-group",
    "db-security-group",
    "db-snapshot",
    "db-cluster",
    "db-cluster-snapshot",
) + ("custom-engine-version", "db-proxy", "blue-green-deployment", "db-shard-group", "zero-etl")
DEFAULT_EVENT_WINDOW = timedelta(minutes=60)


def instances(backend: RDSBackend, params: Any) -> dict[str, Any]:
    found = list(instances_of(backend).values())
    name = params.get("DBInstanceIdentifier")
    if name:
        found = [find_instance(backend, name.rsplit(":", 1)[-1])]
    wanted = checks.filters(params, INSTANCE_FILTERS)
    found = [each for each in found if _matches(each, wanted)]
    items, marker = checks.page(found, params, lambda each: each.db_instance_identifier)
    return {"DBInstances": items, "Marker": marker}


def snapshots(backend: RDSBackend, params: Any) -> dict[str, Any]:
    kind = params.get("SnapshotType")
    if kind is not None and kind not in SNAPSHOT_TYPES:
        raise errors.invalid_value(f"Invalid snapshot type: {kind}")
    wanted = checks.filters(params, SNAPSHOT_FILTERS)
    found = list(snapshots_of(backend).values())
    if kind == "shared":
        found = cast("list[Snapshot]", list(backend.get_shared_db_snapshots()))
    elif kind is not None:
        wanted["snapshot-type"] = [kind]
    if name := params.get("DBSnapshotIdentifier"):
        short = name.split(":", 6)[6] if name.startswith("arn:") else name
        found = [each for each in found if each.db_snapshot_identifier == short.lower()]
        if not found:
            raise errors.snapshot_not_found(name)
    if instance := params.get("DBInstanceIdentifier"):
        wanted["db-instance-id"] = [instance]
    if resource := params.get("DbiResourceId"):
        wanted["dbi-resource-id"] = [resource]
    found = [each for each in found if _matches(each, wanted)]
    items, marker = checks.page(found, params, lambda each: each.db_snapshot_identifier)
    return {"DBSnapshots": items, "Marker": marker}


def _matches(item: Any, wanted: dict[str, list[str]]) -> bool:
    """All filters must hold, one value of each is enough; identifiers may be ARNs."""
    for name, values in wanted.items():
        lowered = {value.rsplit(":", 1)[-1].lower() if "instance" in name else value.lower() for value in values}
        facts: dict[str, Callable[[], str | None]] = {
            "db-instance-id": lambda: item.db_instance_identifier,
            "db-snapshot-id": lambda: item.db_snapshot_identifier,
            "dbi-resource-id": lambda: item.dbi_resource_id.lower(),
            "snapshot-type": lambda: item.snapshot_type,
            "engine": lambda: item.engine,
            "status": lambda: item.status,
            "db-cluster-id": lambda: None,
            "domain": lambda: None,
        }
        if facts[name]() not in lowered:
            return False
    return True


def event_list(backend: RDSBackend, params: Any) -> dict[str, Any]:
    """The last hour unless asked otherwise, and never more than 14 days."""
    source, kind = params.get("SourceIdentifier"), params.get("SourceType")
    if source and not kind:
        raise errors.invalid_combination("Cannot specify source identifier without source type")
    if kind and kind not in EVENT_SOURCES:
        raise errors.invalid_value(f"Invalid source type: {kind}")
    start, end, duration = _utc(params.get("StartTime")), _utc(params.get("EndTime")), params.get("Duration")
    if duration is not None and (start or end):
        raise errors.invalid_combination("Duration cannot be given with StartTime or EndTime.")
    if start and end and start > end:
        raise errors.invalid_combination("StartTime must not be later than EndTime.")
    if duration is not None and not 1 <= int(duration) <= events.KEPT // timedelta(minutes=1):
        raise errors.invalid_value("Duration must be between 1 and 20160 minutes.")
    window = DEFAULT_EVENT_WINDOW if duration is None else timedelta(minutes=int(duration))
    end = end or now() + timedelta(seconds=1)
    start = start or (end - window if duration is None and params.get("EndTime") else now() - window)
    if start < now() - events.KEPT - timedelta(minutes=1):
        raise errors.invalid_value("Events are kept for 14 days only: the start time is before that.")
    recorded = events.of(backend)
    events.trim(recorded)
    categories = set(params.get("EventCategories") or [])
    found = [
        each
        for each in recorded
        if start <= each.date <= end
        and (not kind or each.source_type == kind)
        and (not source or each.source_identifier == source.lower())
        and (not categories or categories & set(each.event_categories))
    ]
    items, marker = checks.page(found, params, lambda each: each.order)
    return {"Events": items, "Marker": marker}


def _utc(moment: Any) -> datetime | None:
    if moment is None:
        return None
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    result: datetime = moment
    return result.astimezone(UTC).replace(tzinfo=None) if result.tzinfo else result


# Automated backups -------------------------------------------------------------------------------------------------


def automated_backups(backend: RDSBackend, params: Any) -> dict[str, Any]:
    """Of instances that are, of deleted ones whose backups were kept, and those replicated to this region."""
    found: list[AutomatedBackup] = []
    for instance in list(instances_of(backend).values()):
        if instance.backup_retention_period > 0:
            found.append(AutomatedBackup(instance, "active" if instance.base_backups() else "creating"))
    found += [each for each in world().retained if each.instance.region == backend.region_name]
    found += [AutomatedBackup(each, "active", backend.region_name) for each in _replicated_to(backend)]
    wanted = checks.filters(params, BACKUP_FILTERS)
    if name := params.get("DBInstanceIdentifier"):
        wanted["db-instance-id"] = [name]
    if resource := params.get("DbiResourceId"):
        wanted["dbi-resource-id"] = [resource]
    arn = params.get("DBInstanceAutomatedBackupsArn")
    found = [each for each in found if _matches(each, wanted)]
    found = [each for each in found if not arn or arn == each.db_instance_automated_backups_arn]
    if name and not found:
        raise errors.RdsError("DBInstanceAutomatedBackupNotFound", f"No automated backup of {name} was found.")
    items, marker = checks.page(found, params, lambda each: f"{each.dbi_resource_id}/{each.region}")
    return {"DBInstanceAutomatedBackups": items, "Marker": marker}


def _replicated_to(backend: RDSBackend) -> list[Instance]:
    return [instance for instance, region in world().replicated if region == backend.region_name]


# Small ones --------------------------------------------------------------------------------------------------------


def account_attributes(backend: RDSBackend) -> dict[str, Any]:
    manual = [each for each in snapshots_of(backend).values() if each.snapshot_type == "manual"]
    storage = sum(each.allocated_storage for each in instances_of(backend).values())
    quotas = [
        ("DBInstances", len(instances_of(backend)), world().options.quotas.instances),
        ("AllocatedStorage", storage, 100000),
        ("ManualSnapshots", len(manual), world().options.quotas.snapshots),
        ("EventSubscriptions", len(backend.event_subscriptions), 20),
        ("DBSubnetGroups", len(backend.subnet_groups), 50),
        ("DBParameterGroups", len(backend.db_parameter_groups), 50),
        ("OptionGroups", len(backend.option_groups), 20),
        ("DBClusters", len(backend.clusters), 40),
        ("ManualClusterSnapshots", len(backend.cluster_snapshots), 100),
        ("ReadReplicasPerMaster", 0, 15),
    ]
    return {"AccountQuotas": [{"AccountQuotaName": name, "Used": used, "Max": most} for name, used, most in quotas]}


def parameters(backend: RDSBackend, params: Any) -> dict[str, Any]:
    """Of a group what matters here: its own values, and `rds.force_ssl`, which is on by default since version 15."""
    name = params["DBParameterGroupName"]
    group = backend.db_parameter_groups.get(name)
    family = group.family if group else name.removeprefix("default.")
    if not group and family == name:
        raise errors.parameter_group_not_found(name)
    major = int(str(family).removeprefix("postgres"))
    values = {"rds.force_ssl": "1" if major >= 15 else "0"}
    own = group.parameters if group else {}
    values |= {each: value["ParameterValue"] for each, value in own.items() if "ParameterValue" in value}
    items, marker = checks.page(sorted(values.items()), params, lambda each: str(each[0]))
    return {"Parameters": [{"ParameterName": each, "ParameterValue": value} for each, value in items], "Marker": marker}


def engine_versions(params: Any) -> dict[str, Any]:
    """The installed majors; a version nobody has is an empty list, as in AWS."""
    engine, version = params.get("Engine"), params.get("EngineVersion")
    shown = [
        {
            "Engine": "postgres",
            "EngineVersion": each.version,
            "MajorEngineVersion": each.major,
            "DBParameterGroupFamily": f"postgres{each.major}",
            "DBEngineDescription": "PostgreSQL",
            "DBEngineVersionDescription": f"PostgreSQL {each.version}",
            "ValidUpgradeTarget": [],
            "ExportableLogTypes": ["postgresql", "upgrade"],
            "Status": "available",
        }
        for each in pgbin.installations()
        if version in (None, each.major, each.version) and engine in (None, "postgres")
    ]
    items, marker = checks.page(shown, params, lambda each: f"{each['MajorEngineVersion']:0>5}")
    return {"DBEngineVersions": items, "Marker": marker}


def certificates(backend: RDSBackend) -> dict[str, Any]:
    """One authority: the sandbox's own, whose file is named at the start."""
    name = "rds-ca-rsa2048-g1"
    arn = f"arn:{backend.partition}:rds:{backend.region_name}::cert:{name}"
    since = datetime(2024, 1, 1)
    shown = {
        "CertificateIdentifier": name,
        "CertificateType": "CA",
        "CertificateArn": arn,
        "ValidFrom": since,
        "ValidTill": since + timedelta(days=365 * 40),
        "CustomerOverride": False,
    }
    return {"Certificates": [shown], "DefaultCertificateForNewLaunches": name}
