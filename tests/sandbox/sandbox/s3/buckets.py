"""Bucket configuration: object lock, replication and default encryption, whose effects the sandbox enforces, and what
moto forgets or misnames of the rest.
"""

from __future__ import annotations

import json
from typing import Any

from flask import request

from ..iam_rules import Request, concerns, several
from . import object_lock
from . import replication_rules as rules
from .base import Answer, xml
from .encryption import default_rule
from .errors import S3Error


SEEN = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}
"""The sandbox stands for HTTPS, so a statement that denies plain HTTP denies nothing."""
ENCRYPTION = "x-amz-server-side-encryption"


def get_permission(bucket: Any, action: str, resource: str) -> Any:
    """What a bucket's policy says, of which moto knows no conditions. Who asks is not known here: statements about them are
    left out.
    """
    from moto.iam.access_control import PermissionResult

    statements = several(json.loads(bucket.policy)["Statement"]) if bucket.policy is not None else []
    header = request.headers.get(ENCRYPTION)
    keys = SEEN | ({f"s3:{ENCRYPTION}": header} if header else {})
    effects = {
        each["Effect"]
        for each in statements
        if "aws:PrincipalArn" not in json.dumps(each.get("Condition", {}))
        and concerns(each, Request(action, resource, keys))
    }
    if "Deny" in effects:
        return PermissionResult.DENIED
    return PermissionResult.PERMITTED if effects else PermissionResult.NEUTRAL


class BucketOperations:
    """Mixed into the response class."""

    def _bucket_response_put(self: Any, request: Any, bucket_name: str, querystring: dict[str, Any]) -> Any:
        if "object-lock" in querystring:
            self._set_action("BUCKET", "PUT", querystring)
            self._authenticate_and_authorize_s3_action(bucket_name=bucket_name)
            return self.put_object_lock_configuration()
        if "replication" in querystring:
            self._set_action("BUCKET", "PUT", querystring)
            self._authenticate_and_authorize_s3_action(bucket_name=bucket_name)
            return self.put_bucket_replication()
        answer = super()._bucket_response_put(request, bucket_name, querystring)  # type: ignore[misc]
        if "lifecycle" in querystring:
            self.bucket.lifecycle_as_put = self.body
        return answer

    def get_bucket_lifecycle(self: Any) -> Answer:
        """What was put, which moto has checked: of a filter it keeps neither sizes nor, beside them, the prefix."""
        if not self.backend.get_bucket_lifecycle(self.bucket_name):
            raise S3Error("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist")
        return 200, {"content-type": "application/xml"}, self.bucket.lifecycle_as_put

    def get_bucket_versioning(self: Any) -> Answer:
        """A bucket that never had versions answers with an empty element; moto with no body at all."""
        status = self.backend.get_bucket_versioning(self.bucket_name)
        inner = f"<Status>{status}</Status>" if status else ""
        root = f'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</VersioningConfiguration>'
        return 200, {"content-type": "application/xml"}, f'<?xml version="1.0" encoding="UTF-8"?>\n{root}'

    def put_object_lock_configuration(self: Any) -> Answer:
        bucket = self.bucket
        if not bucket.is_versioned:
            raise S3Error(
                "InvalidBucketState",
                "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
            )
        mode, days, years = object_lock.bucket_config_from_xml(self.body)
        bucket.object_lock_enabled = True
        bucket.default_lock_mode, bucket.default_lock_days, bucket.default_lock_years = mode, days, years
        return 200, {}, ""

    def get_object_lock_configuration(self: Any) -> Answer:
        bucket = self.bucket
        if not bucket.object_lock_enabled:
            raise S3Error(
                "ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket"
            )
        config: dict[str, Any] = {"ObjectLockEnabled": "Enabled"}
        if bucket.default_lock_mode:
            retention: dict[str, Any] = {"Mode": bucket.default_lock_mode}
            unit = "Years" if bucket.default_lock_years else "Days"
            retention[unit] = int(bucket.default_lock_years or bucket.default_lock_days)
            config["Rule"] = {"DefaultRetention": retention}
        return xml(self, "GetObjectLockConfiguration", {"ObjectLockConfiguration": config})

    def put_bucket_replication(self: Any) -> Answer:
        bucket = self.bucket
        if not bucket.is_versioned:
            raise S3Error(
                "InvalidRequest", "Versioning must be 'Enabled' on the bucket to apply a replication configuration"
            )
        config = rules.normalise(self._replication_config_from_xml(self.body))
        rules.check(config)
        self.backend.put_bucket_replication(self.bucket_name, config)
        return 200, {}, ""

    def get_bucket_replication(self: Any) -> Answer:
        config = self.backend.get_bucket_replication(self.bucket_name)
        if not config:
            raise S3Error("ReplicationConfigurationNotFoundError", "The replication configuration was not found")
        listed = {"Role": config["Role"], "Rules": [rules.as_listed(rule) for rule in config["Rule"]]}
        return xml(self, "GetBucketReplication", {"ReplicationConfiguration": listed})

    def get_bucket_encryption(self: Any) -> Answer:
        rule = default_rule(self.bucket)
        listed = {
            "ApplyServerSideEncryptionByDefault": rule["ApplyServerSideEncryptionByDefault"],
            "BucketKeyEnabled": str(rule.get("BucketKeyEnabled", "false")).lower() == "true",
        }
        return xml(self, "GetBucketEncryption", {"ServerSideEncryptionConfiguration": {"Rules": [listed]}})
