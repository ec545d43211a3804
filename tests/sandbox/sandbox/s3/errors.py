"""S3 errors with AWS's codes, messages and HTTP status.

moto takes the status from botocore's model, which does not know most S3 codes; here every code that clients
branch on has its own.
"""

from __future__ import annotations

from moto.s3.exceptions import S3ClientError

STATUS: dict[str, int] = {
    "AccessDenied": 403,
    "BucketAlreadyExists": 409,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "ExpiredToken": 400,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidBucketState": 409,
    "InvalidObjectState": 403,
    "InvalidRange": 416,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "NoSuchBucket": 404,
    "NoSuchBucketPolicy": 404,
    "NoSuchCORSConfiguration": 404,
    "NoSuchKey": 404,
    "NoSuchLifecycleConfiguration": 404,
    "NoSuchObjectLockConfiguration": 404,
    "NoSuchPublicAccessBlockConfiguration": 404,
    "NoSuchTagSet": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NoSuchWebsiteConfiguration": 404,
    "NotImplemented": 501,
    "ObjectLockConfigurationNotFoundError": 404,
    "OwnershipControlsNotFoundError": 404,
    "PreconditionFailed": 412,
    "ReplicationConfigurationNotFoundError": 404,
    "ServerSideEncryptionConfigurationNotFoundError": 404,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
}
"""Codes whose status is not 400."""


class S3Error(S3ClientError):
    """An error given by code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)


def status_of(code: str) -> int:
    return STATUS.get(code, 400)


def access_denied(message: str = "Access Denied") -> S3Error:
    return S3Error("AccessDenied", message)


def locked() -> S3Error:
    return access_denied("Access Denied because object protected by object lock.")


def bad_digest(what: str) -> S3Error:
    return S3Error("BadDigest", f"The {what} you specified did not match the calculated checksum.")


def invalid_request(message: str) -> S3Error:
    return S3Error("InvalidRequest", message)


def invalid_argument(message: str) -> S3Error:
    return S3Error("InvalidArgument", message)
