"""moto's S3 state, with versions kept in order, deletes as AWS does them, and moto's own writers still working."""

from __future__ import annotations

import uuid
from typing import Any

from moto.s3 import notifications
from moto.s3.models import S3Backend

from . import object_lock
from .encryption import Encryption, resolve
from .errors import S3Error, invalid_request
from .ingest import body_of
from .keys import Checksum, DeleteMarker, NewVersion, StoredKey, etag_of
from .locks import key_lock
from .object_lock import Lock
from .options import runtime

Version = StoredKey | DeleteMarker


class SandboxS3Backend(S3Backend):
    """The backend that `install` puts in the place of moto's."""

    def reset(self) -> None:
        runtime().replicator.clear()
        super().reset()

    # versions

    def versions(self, bucket: Any, key_name: str) -> list[Version]:
        """All versions of a key, oldest first."""
        return list(bucket.keys.getlist(key_name, []))

    def current(self, bucket: Any, key_name: str) -> StoredKey | None:
        versions = self.versions(bucket, key_name)
        return versions[-1] if versions and isinstance(versions[-1], StoredKey) else None

    def find_version(self, bucket: Any, key_name: str, version_id: str) -> Version | None:
        for version in self.versions(bucket, key_name):
            if version.version_id == version_id:
                return version
        return None

    def insert(self, bucket: Any, version: Version) -> None:
        """Makes a version visible, in the order of creation; without versioning it takes the `null` version's place."""
        with key_lock(bucket.name, version.name):
            versions = self.versions(bucket, version.name)
            if version.version_id == "null":
                versions = [other for other in versions if other.version_id != "null"]
            versions.append(version)
            versions.sort(key=lambda one: one.sequence)
            bucket.keys.setlist(version.name, versions)

    def create_version(self, bucket: Any, new: NewVersion, event: str | None = "PUT") -> StoredKey:
        """A new version of an object. Replication's first status is set before anybody can see it."""
        fresh_id = str(uuid.uuid4()) if bucket.is_versioned else "null"
        key = StoredKey(
            name=new.name,
            bucket_name=bucket.name,
            value=new.blob,
            account_id=bucket.account_id,
            region_name=self.region_name,
            storage=new.storage,
            etag=new.etag,
            is_versioned=bucket.versioning_status is not None,
            version_id=new.version_id or fresh_id,
            encryption=new.encryption.algorithm,
            kms_key_id=new.encryption.key_arn,
            lock_mode=new.lock.mode,
            lock_legal_status=new.lock.hold,
            lock_until=new.lock.until,
        )
        key.sse = new.encryption
        key.part_infos = new.parts
        _set_checksum(key, new.checksum)
        key.set_metadata(new.metadata)
        key.set_storage_class(new.storage)
        key.set_acl(new.acl or bucket.acl)
        if new.last_modified is not None:
            key.last_modified = new.last_modified
        if new.sequence is not None:
            key.sequence = new.sequence
        if new.tags:
            self.put_object_tagging(key, new.tags)
        replicator = runtime().replicator
        key.replication_status = new.replication_status or replicator.first_status(bucket, key, new.tags)
        self.insert(bucket, key)
        if key.replication_status == "PENDING":
            replicator.schedule(bucket, key)
        if event is not None:
            _notify(self.account_id, event, bucket, key)
        return key

    def put_object(self, bucket_name: str, key_name: str, value: Any, **kwargs: Any) -> StoredKey:  # type: ignore[override]
        """For moto's own callers: access log delivery and browser form posts."""
        bucket = self.get_bucket(bucket_name)
        body = body_of(value if isinstance(value, bytes) else str(value).encode())
        encryption = resolve(bucket, {})
        new = NewVersion(
            name=key_name,
            blob=body.blob,
            etag=etag_of(body, encryption),
            checksum=Checksum("CRC64NVME", "FULL_OBJECT", body.digests["CRC64NVME"]),
            encryption=encryption,
            storage=kwargs.get("storage"),
        )
        return self.create_version(bucket, new, kwargs.get("request_method", "PUT"))

    # deletes

    def delete_object(  # type: ignore[override]
        self, bucket_name: str, key_name: str, version_id: str | None = None, bypass: bool = False
    ) -> tuple[bool, dict[str, Any]]:
        bucket = self.get_bucket(bucket_name)
        with key_lock(bucket_name, key_name):
            if version_id is None:
                return True, self._delete_current(bucket, key_name)
            return True, self._delete_version(bucket, key_name, version_id, bypass)

    def _delete_current(self, bucket: Any, key_name: str) -> dict[str, Any]:
        if bucket.versioning_status is None:
            if key_name in bucket.keys:
                bucket.keys.pop(key_name)
            return {}
        marker = DeleteMarker(key_name, version_id=None if bucket.is_versioned else "null")
        replicator = runtime().replicator
        marker.replication_status = replicator.first_marker_status(bucket, marker)
        self.insert(bucket, marker)
        if marker.replication_status == "PENDING":
            replicator.schedule(bucket, marker)
        return {"version-id": marker.version_id, "delete-marker": "true"}

    def _delete_version(self, bucket: Any, key_name: str, version_id: str, may_bypass: bool) -> dict[str, Any]:
        version = self.find_version(bucket, key_name, version_id)
        meta: dict[str, Any] = {"version-id": version_id}
        if version is None:
            return meta
        object_lock.check_delete(version, may_bypass=may_bypass)
        if isinstance(version, DeleteMarker):
            meta["delete-marker"] = "true"
        rest = [other for other in self.versions(bucket, key_name) if other is not version]
        if rest:
            bucket.keys.setlist(key_name, rest)
        else:
            bucket.keys.pop(key_name)
        return meta

    # object lock and versioning

    def put_bucket_versioning(self, bucket_name: str, status: str) -> None:
        bucket = self.get_bucket(bucket_name)
        if status != "Enabled":
            if bucket.object_lock_enabled:
                raise S3Error(
                    "InvalidBucketState",
                    "An Object Lock configuration is present on this bucket, so the versioning state cannot be "
                    "changed.",
                )
            if self.get_bucket_replication(bucket_name):
                raise S3Error(
                    "InvalidBucketState",
                    "A replication configuration is present on this bucket, so you cannot change the versioning "
                    "state. To change the versioning state, first delete the replication configuration.",
                )
        bucket.versioning_status = status

    def lockable(self, bucket_name: str, key_name: str, version_id: str | None) -> StoredKey:
        """The version that a retention or legal hold call means."""
        bucket = self.get_bucket(bucket_name)
        if not bucket.object_lock_enabled:
            raise invalid_request(object_lock.MISSING)
        versions = self.versions(bucket, key_name)
        if version_id is None:
            version = versions[-1] if versions else None
        else:
            version = self.find_version(bucket, key_name, version_id)
        if isinstance(version, DeleteMarker):
            raise S3Error("MethodNotAllowed", "The specified method is not allowed against this resource.")
        if version is None and version_id is not None:
            raise S3Error("NoSuchVersion", "The specified version does not exist.")
        if version is None:
            raise S3Error("NoSuchKey", "The specified key does not exist.")
        return version

    # multipart uploads

    def upload(self, bucket_name: str, upload_id: str) -> Any:
        found = self.get_bucket(bucket_name).multiparts.get(upload_id)
        if found is None:
            raise S3Error(
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, "
                "or the upload may have been aborted or completed.",
            )
        return found


def copy_spec(source: StoredKey, name: str, encryption: Encryption, lock: Lock) -> NewVersion:
    """The new version that a copy of `source` starts from."""
    return NewVersion(
        name=name,
        blob=source.blob.link(),
        etag=source.etag.strip('"'),
        checksum=source.checksum,
        encryption=encryption,
        lock=lock,
        storage=source.storage_class,
        metadata=dict(source.metadata),
        parts=list(source.part_infos),
    )


def _set_checksum(key: StoredKey, checksum: Checksum) -> None:
    key.checksum = checksum
    key.checksum_algorithm = checksum.algorithm
    key.checksum_type = checksum.type
    key.checksum_value = checksum.plain
    key.checksum_parts = checksum.parts


_EVENTS = {
    "PUT": notifications.S3NotificationEvent.OBJECT_CREATED_PUT_EVENT,
    "POST": notifications.S3NotificationEvent.OBJECT_CREATED_POST_EVENT,
    "COPY": notifications.S3NotificationEvent.OBJECT_CREATED_COPY_EVENT,
    "COMPLETE": notifications.S3NotificationEvent.OBJECT_CREATED_COMPLETE_MULTIPART_UPLOAD_EVENT,
}


def _notify(account_id: str, event: str, bucket: Any, key: StoredKey) -> None:
    notifications.send_event(account_id, _EVENTS[event], bucket, key)
