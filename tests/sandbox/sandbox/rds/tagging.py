"""Tags by ARN, with RDS's rules; a resource that is not there is an error, where moto answers with success."""

from __future__ import annotations

from typing import Any

from moto.rds.models import RDSBackend

from . import checks, errors
from .model import instances_of, snapshots_of


def _resource(backend: RDSBackend, arn: str) -> Any:
    parts = arn.split(":", 6)
    if len(parts) != 7 or parts[2] != "rds":
        raise errors.invalid_value(f"Invalid resource name: {arn}")
    kind, name = parts[5], parts[6]
    if parts[3] != backend.region_name:
        raise errors.invalid_value(f"The resource {arn} is not in region {backend.region_name}.")
    if kind == "db" and name not in instances_of(backend):
        raise errors.instance_not_found(name)
    if kind == "snapshot" and name not in snapshots_of(backend):
        raise errors.snapshot_not_found(name)
    if kind == "db":
        return instances_of(backend)[name]
    if kind == "snapshot":
        return snapshots_of(backend)[name]
    return backend._find_resource(kind, name)


def listed(backend: RDSBackend, arn: str) -> list[dict[str, str]]:
    resource = _resource(backend, arn)
    return resource.get_tags() if resource else []


def add(backend: RDSBackend, arn: str, tags: Any) -> None:
    resource, new = _resource(backend, arn), checks.tags(tags)
    if resource:
        keys = {each["Key"] for each in new}
        checks.tags([each for each in resource.get_tags() if each["Key"] not in keys] + new)
        resource.add_tags(new)


def remove(backend: RDSBackend, arn: str, keys: list[str]) -> None:
    resource = _resource(backend, arn)
    if resource:
        resource.remove_tags(keys)
