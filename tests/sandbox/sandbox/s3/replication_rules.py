"""Replication configurations: reading them from XML, refusing what AWS refuses, and finding the rules of an object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from moto.s3.models import s3_backends

from .errors import S3Error, invalid_request
from .keys import DeleteMarker, StoredKey


@dataclass(frozen=True)
class Rule:
    """One rule, flattened."""

    enabled: bool
    priority: int
    prefix: str
    bucket: str
    tags: dict[str, str] = field(default_factory=dict)
    storage_class: str | None = None
    replica_key: str | None = None
    kms_objects: bool = False
    delete_markers: bool = False

    def covers(self, name: str, tags: dict[str, str]) -> bool:
        tagged = all(tags.get(key) == value for key, value in self.tags.items())
        return self.enabled and name.startswith(self.prefix) and tagged


def rules_of(bucket: Any) -> list[Rule]:
    config = getattr(bucket, "replication", None)
    return [_rule(raw) for raw in config["Rule"]] if config else []


def _rule(raw: dict[str, Any]) -> Rule:
    destination = raw["Destination"]
    where = raw.get("Filter") or {}
    both = where.get("And") or {}
    tags = both.get("Tag") or where.get("Tag") or []
    prefix = raw.get("Prefix") or where.get("Prefix") or both.get("Prefix") or ""
    criteria = (raw.get("SourceSelectionCriteria") or {}).get("SseKmsEncryptedObjects") or {}
    return Rule(
        enabled=raw["Status"] == "Enabled",
        priority=int(raw.get("Priority") or 0),
        prefix=prefix,
        bucket=destination["Bucket"].rpartition(":")[2],
        tags={tag["Key"]: tag["Value"] for tag in (tags if isinstance(tags, list) else [tags])},
        storage_class=destination.get("StorageClass"),
        replica_key=(destination.get("EncryptionConfiguration") or {}).get("ReplicaKmsKeyID"),
        kms_objects=criteria.get("Status") == "Enabled",
        delete_markers=(raw.get("DeleteMarkerReplication") or {}).get("Status") == "Enabled",
    )


def _one_per_destination(found: list[Rule]) -> list[Rule]:
    """Of several rules to one bucket the highest priority wins."""
    best: dict[str, Rule] = {}
    for rule in sorted(found, key=lambda one: one.priority):
        best[rule.bucket] = rule
    return list(best.values())


def matching(bucket: Any, key: StoredKey, tags: dict[str, str]) -> list[Rule]:
    """The rules that replicate this object. Replicas are never replicated again."""
    if key.replication_status == "REPLICA" or not bucket.is_versioned:
        return []
    covering = _one_per_destination([rule for rule in rules_of(bucket) if rule.covers(key.name, tags)])
    return [rule for rule in covering if rule.kms_objects or not key.sse.is_kms]


def matching_marker(bucket: Any, marker: DeleteMarker) -> list[Rule]:
    if marker.replication_status == "REPLICA" or not bucket.is_versioned:
        return []
    covering = _one_per_destination(
        [rule for rule in rules_of(bucket) if not rule.tags and rule.covers(marker.name, {})]
    )
    return [rule for rule in covering if rule.delete_markers]


def check(config: dict[str, Any]) -> None:
    """What AWS refuses in PutBucketReplication."""
    for rule in (_rule(raw) for raw in config["Rule"]):
        where = s3_backends.bucket_accounts.get(rule.bucket)
        bucket = s3_backends[where[1]][where[0]].buckets.get(rule.bucket) if where else None
        if bucket is None:
            raise invalid_request("Destination bucket must exist.")
        if not bucket.is_versioned:
            raise invalid_request("Destination bucket must have versioning enabled.")
        if rule.kms_objects and not rule.replica_key:
            raise invalid_request("SseKmsEncryptedObjects and EncryptionConfiguration must be given together.")


def as_listed(raw: dict[str, Any]) -> dict[str, Any]:
    """A stored rule in the shape of GetBucketReplication; moto forgets half of it."""
    rule = {name: value for name, value in raw.items() if not name.startswith("@")}
    rule["Priority"] = int(rule.get("Priority") or 0)
    if "Filter" in rule:
        rule["Filter"] = _as_listed_filter(rule["Filter"] or {})
    rule.setdefault("DeleteMarkerReplication", {"Status": "Disabled"})
    return rule


def _as_listed_filter(where: dict[str, Any]) -> dict[str, Any]:
    if "And" in where:
        tags = where["And"].get("Tag") or []
        return {
            "And": {
                "Prefix": where["And"].get("Prefix") or "",
                "Tags": tags if isinstance(tags, list) else [tags],
            }
        }
    if "Tag" in where:
        return {"Tag": where["Tag"]}
    return {"Prefix": where.get("Prefix") or ""}


def normalise(config: dict[str, Any]) -> dict[str, Any]:
    rules = config.get("Rule")
    if not rules or not config.get("Role"):
        raise S3Error(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    config["Rule"] = rules if isinstance(rules, list) else [rules]
    return config
