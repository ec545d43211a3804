"""Server-side encryption as S3 reports and enforces it (nothing is really encrypted, no client can tell).

Keys are moto's KMS keys: unknown, disabled or doomed ones are refused as S3 refuses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moto.kms.models import kms_backends

from .errors import S3Error, invalid_argument

SSE = "x-amz-server-side-encryption"
SSE_KEY = "x-amz-server-side-encryption-aws-kms-key-id"
SSE_BUCKET_KEY = "x-amz-server-side-encryption-bucket-key-enabled"
KMS_ALGORITHMS = ("aws:kms", "aws:kms:dsse")


@dataclass(frozen=True)
class Encryption:
    """How one object is encrypted; `key_arn` only with KMS."""

    algorithm: str = "AES256"
    key_arn: str | None = None
    bucket_key: bool = False

    @property
    def is_kms(self) -> bool:
        return self.algorithm in KMS_ALGORITHMS

    def headers(self) -> dict[str, str]:
        result = {SSE: self.algorithm}
        if self.key_arn:
            result[SSE_KEY] = self.key_arn
        if self.bucket_key:
            result[SSE_BUCKET_KEY] = "true"
        return result


def default_rule(bucket: Any) -> dict[str, Any]:
    """The bucket's default encryption; every bucket has one since 2023."""
    if bucket.encryption:
        rule: dict[str, Any] = bucket.encryption["Rule"]
        return rule
    return {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": "false"}


def resolve(bucket: Any, headers: Mapping[str, str]) -> Encryption:
    """What a write gets: the request's wish, else the bucket's default. Refuses keys that cannot be used."""
    rule = default_rule(bucket)
    default = rule["ApplyServerSideEncryptionByDefault"]
    algorithm = headers.get(SSE)
    key_id = headers.get(SSE_KEY)
    if algorithm is None:
        algorithm = default["SSEAlgorithm"]
        key_id = key_id or default.get("KMSMasterKeyID")
    elif algorithm not in ("AES256", *KMS_ALGORITHMS):
        raise invalid_argument("The encryption method specified is not supported")
    elif algorithm == default["SSEAlgorithm"]:
        key_id = key_id or default.get("KMSMasterKeyID")
    if algorithm == "AES256":
        if headers.get(SSE_KEY):
            raise invalid_argument(
                "Server Side Encryption with AWS KMS managed key requires HTTP header "
                "x-amz-server-side-encryption : aws:kms"
            )
        return Encryption()
    wish = headers.get(SSE_BUCKET_KEY)
    bucket_key = (wish if wish is not None else str(rule.get("BucketKeyEnabled", "false"))).lower() == "true"
    arn = usable_key(key_id or "alias/aws/s3", bucket.account_id, bucket.region_name)
    return Encryption(algorithm, arn, bucket_key)


def usable_key(key_id: str, account_id: str, region: str) -> str:
    """The ARN of an enabled key in the bucket's region; an S3 error otherwise."""
    key = _find(key_id, account_id, region)
    if key is None:
        raise S3Error("KMS.NotFoundException", f"Key '{key_id}' does not exist")
    if key.key_state == "Disabled":
        raise S3Error("KMS.DisabledException", f"{key.arn} is disabled.")
    if key.key_state != "Enabled":
        raise S3Error("KMS.KMSInvalidStateException", f"{key.arn} is pending deletion.")
    arn: str = key.arn
    return arn


def check_readable(encryption: Encryption, account_id: str, region: str) -> None:
    """Reading needs the key as much as writing does."""
    if encryption.key_arn:
        usable_key(encryption.key_arn, account_id, region)


def _find(key_id: str, account_id: str, region: str) -> Any:
    if key_id.startswith("arn:"):
        _, _, _, arn_region, arn_account, resource = key_id.split(":", 5)
        if arn_region != region:
            return None
        account_id = arn_account
        key_id = resource.removeprefix("key/")
    backend = kms_backends[account_id][region]
    if key_id.startswith("alias/"):
        key_id = backend.get_key_id_from_alias(key_id) or ""
    return backend.keys.get(key_id)
