"""Names: which S3 operation a request is, and which IAM action it needs. Both AWS's spelling."""

from __future__ import annotations

from collections.abc import Container, Mapping

_BUCKET_SUBRESOURCES: dict[str, tuple[str, str]] = {
    "accelerate": ("BucketAccelerateConfiguration", "AccelerateConfiguration"),
    "acl": ("BucketAcl", "BucketAcl"),
    "cors": ("BucketCors", "BucketCORS"),
    "encryption": ("BucketEncryption", "EncryptionConfiguration"),
    "inventory": ("BucketInventoryConfiguration", "InventoryConfiguration"),
    "lifecycle": ("BucketLifecycleConfiguration", "LifecycleConfiguration"),
    "location": ("BucketLocation", "BucketLocation"),
    "logging": ("BucketLogging", "BucketLogging"),
    "notification": ("BucketNotificationConfiguration", "BucketNotification"),
    "object-lock": ("ObjectLockConfiguration", "BucketObjectLockConfiguration"),
    "ownershipControls": ("BucketOwnershipControls", "BucketOwnershipControls"),
    "policy": ("BucketPolicy", "BucketPolicy"),
    "policyStatus": ("BucketPolicyStatus", "BucketPolicyStatus"),
    "publicAccessBlock": ("PublicAccessBlock", "BucketPublicAccessBlock"),
    "replication": ("BucketReplication", "ReplicationConfiguration"),
    "tagging": ("BucketTagging", "BucketTagging"),
    "versioning": ("BucketVersioning", "BucketVersioning"),
    "website": ("BucketWebsite", "BucketWebsite"),
}
"""Query parameter: (operation without its verb, IAM action without its verb)."""

_DELETE_IS_PUT = {"cors", "encryption", "lifecycle", "ownershipControls", "publicAccessBlock", "replication", "tagging"}
"""Deleting these needs the Put… permission."""

_OBJECT_SUBRESOURCES: dict[str, str] = {
    "acl": "ObjectAcl",
    "attributes": "ObjectAttributes",
    "legal-hold": "ObjectLegalHold",
    "retention": "ObjectRetention",
    "tagging": "ObjectTagging",
}

_VERSIONED_ACTIONS = {
    "GetObject": "GetObjectVersion",
    "GetObjectAcl": "GetObjectVersionAcl",
    "GetObjectAttributes": "GetObjectVersionAttributes",
    "GetObjectTagging": "GetObjectVersionTagging",
    "PutObjectTagging": "PutObjectVersionTagging",
    "DeleteObjectTagging": "DeleteObjectVersionTagging",
    "DeleteObject": "DeleteObjectVersion",
}

_ACTIONS = {
    "AbortMultipartUpload": "AbortMultipartUpload",
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteObjects": "DeleteObject",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
}


def operation(method: str, bucket: str, key: str, query: Mapping[str, object], headers: Container[str]) -> str:
    """The operation's name from what the HTTP request shows."""
    if not bucket:
        return "ListBuckets"
    if key:
        return _object_operation(method, query, "x-amz-copy-source" in headers)
    return _bucket_operation(method, query)


def _bucket_operation(method: str, query: Mapping[str, object]) -> str:
    verb = method.capitalize()
    if method == "HEAD":
        return "HeadBucket"
    if method == "POST":
        return "DeleteObjects" if "delete" in query else "PostObject"
    for name, (suffix, _) in _BUCKET_SUBRESOURCES.items():
        if name in query:
            return verb + suffix
    if method == "GET":
        if "uploads" in query:
            return "ListMultipartUploads"
        if "versions" in query:
            return "ListObjectVersions"
        return "ListObjectsV2" if query.get("list-type") in ("2", ["2"]) else "ListObjects"
    return {"PUT": "CreateBucket", "DELETE": "DeleteBucket"}.get(method, verb + "Bucket")


def _object_operation(method: str, query: Mapping[str, object], copies: bool) -> str:
    verb = method.capitalize()
    if method == "POST":
        return _post_operation(query)
    if "uploadId" in query:
        if method == "PUT":
            return "UploadPartCopy" if copies else "UploadPart"
        return {"GET": "ListParts", "DELETE": "AbortMultipartUpload"}.get(method, verb + "Object")
    for name, suffix in _OBJECT_SUBRESOURCES.items():
        if name in query:
            return verb + suffix
    if method == "PUT" and copies:
        return "CopyObject"
    return verb + "Object"


def _post_operation(query: Mapping[str, object]) -> str:
    if "uploads" in query:
        return "CreateMultipartUpload"
    if "uploadId" in query:
        return "CompleteMultipartUpload"
    if "restore" in query:
        return "RestoreObject"
    return "SelectObjectContent" if "select" in query else "PostObject"


def iam_action(name: str, query: Mapping[str, object]) -> str:
    """The IAM action (without `s3:`) of an operation."""
    action = _ACTIONS.get(name)
    if action is None:
        action = _bucket_action(name)
    if "versionId" in query:
        action = _VERSIONED_ACTIONS.get(action, action)
    return action


def _bucket_action(name: str) -> str:
    for parameter, (suffix, action) in _BUCKET_SUBRESOURCES.items():
        for verb in ("Get", "Put", "Delete"):
            if name == verb + suffix:
                as_put = verb == "Delete" and parameter in _DELETE_IS_PUT
                return ("Put" if as_put else verb) + action
    return name
