"""Writing whole objects: PutObject, CopyObject and the conditions on them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote

from moto.s3.exceptions import PreconditionFailed
from moto.s3.utils import metadata_from_headers

from . import checksums, object_lock
from .backend import copy_spec
from .base import Answer, parameter, xml
from .encryption import Encryption, check_readable, resolve
from .errors import S3Error, invalid_request
from .ingest import Body, digest_blob, digest_of
from .keys import Checksum, DeleteMarker, NewVersion, StoredKey, etag_of
from .locks import key_lock


class WriteOperations:
    """Mixed into the response class."""

    def _key_response_put(self: Any, query: dict[str, Any], key_name: str) -> Answer:
        self._set_action("KEY", "PUT", query)
        self._authenticate_and_authorize_s3_action(bucket_name=self.bucket_name, key_name=key_name)
        copies = "x-amz-copy-source" in self.headers
        if query.get("uploadId") and query.get("partNumber"):
            return self.upload_part_copy() if copies else self.upload_part()
        for name, handler in (
            ("retention", self.put_object_retention),
            ("legal-hold", self.put_object_legal_hold),
            ("acl", self.put_object_acl),
            ("tagging", self.put_object_tagging),
        ):
            if name in query:
                return handler()
        return self.copy_object() if copies else self.put_object()

    def _get_checksum(self: Any, response_headers: dict[str, Any]) -> tuple[str, str | None]:
        """moto's remaining callers echo a checksum they did not compute; ours were verified on the way in."""
        return "", None

    def check_conditions(self: Any, key_name: str) -> None:
        """If-None-Match and If-Match of a write; the caller holds the key's lock until the write is visible."""
        if_match, if_none_match = self.headers.get("If-Match"), self.headers.get("If-None-Match")
        if not if_match and not if_none_match:
            return
        current = self.backend.current(self.bucket, key_name)
        if if_none_match:
            if if_none_match != "*":
                raise S3Error("NotImplemented", "A header you provided implies functionality that is not implemented")
            if current is not None:
                raise PreconditionFailed("If-None-Match")
        if if_match:
            if current is None:
                raise S3Error("NoSuchKey", "The specified key does not exist.")
            if if_match.strip('"') != current.etag.strip('"'):
                raise PreconditionFailed("If-Match")

    def put_object(self: Any) -> Answer:
        key_name, bucket = self.parse_key_name(), self.bucket
        received = self.received
        encryption = resolve(bucket, self.headers)
        lock = object_lock.for_write(bucket, self.headers)
        if object_lock.needs_checksum(bucket, self.headers) and not (received.md5_given or received.algorithm):
            raise invalid_request(
                "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests "
                "with Object Lock parameters"
            )
        tags = self._tagging_from_headers(self.headers)
        with key_lock(self.bucket_name, key_name):
            self.check_conditions(key_name)
            body = self.take_body()
            new = NewVersion(
                name=key_name,
                blob=body.blob,
                etag=etag_of(body, encryption),
                checksum=checksum_of(body),
                encryption=encryption,
                lock=lock,
                storage=self.headers.get("x-amz-storage-class", "STANDARD"),
                metadata=dict(metadata_from_headers(self.headers)),
                tags=tags,
                acl=self._acl_from_headers(self.headers),
            )
            key = self.backend.create_version(bucket, new)
        headers = {"ETag": key.etag, **encryption.headers(), **key.checksum.headers()}
        if bucket.versioning_status:
            headers["x-amz-version-id"] = key.version_id
        return 200, headers, ""

    def copy_source(self: Any) -> tuple[StoredKey, Any]:
        """The version that x-amz-copy-source names, and its bucket."""
        path, _, query = self.headers["x-amz-copy-source"].partition("?")
        bucket_name, _, key_name = unquote(path).lstrip("/").partition("/")
        bucket = self.backend.get_bucket(bucket_name)
        version_id = parse_qs(query).get("versionId", [None])[0]
        found = (
            self.backend.find_version(bucket, key_name, version_id)
            if version_id
            else self.backend.current(bucket, key_name)
        )
        if isinstance(found, DeleteMarker):
            raise invalid_request(
                "The source of a copy request may not specifically refer to a delete marker by version id."
            )
        if found is None:
            code = "NoSuchVersion" if version_id else "NoSuchKey"
            raise S3Error(code, f"The specified {'version' if version_id else 'key'} does not exist.")
        check_readable(found.sse, found.account_id, bucket.region_name)
        self._check_copy_conditions(found)
        return found, bucket

    def _check_copy_conditions(self: Any, source: StoredKey) -> None:
        match = self.headers.get("x-amz-copy-source-if-match")
        none_match = self.headers.get("x-amz-copy-source-if-none-match")
        tag = source.etag.strip('"')
        if (match and match.strip('"') != tag) or (none_match and none_match.strip('"') == tag):
            raise PreconditionFailed("x-amz-copy-source-If-Match")

    def copy_object(self: Any) -> Answer:
        source, source_bucket = self.copy_source()
        key_name, bucket = self.parse_key_name(), self.bucket
        replaces = self.headers.get("x-amz-metadata-directive", "COPY").upper() == "REPLACE"
        changes = replaces or any(
            name.startswith(("x-amz-server-side-encryption", "x-amz-storage-class", "x-amz-website", "x-amz-checksum-"))
            for name in (header.lower() for header in dict(self.headers))
        )
        same = source.name == key_name and source_bucket is bucket
        if same and not changes and source is self.backend.current(bucket, key_name):
            raise invalid_request(
                "This copy request is illegal because it is trying to copy an object to itself without changing the "
                "object's metadata, storage class, website redirect location or encryption attributes."
            )
        encryption = resolve(bucket, self.headers)
        new = copy_spec(source, key_name, encryption, object_lock.for_write(bucket, self.headers))
        new.parts = []
        new.etag = _copied_etag(source, encryption)
        new.checksum = self._copied_checksum(source)
        new.storage = self.headers.get("x-amz-storage-class", "STANDARD")
        if replaces:
            new.metadata = dict(metadata_from_headers(self.headers))
        if self.headers.get("x-amz-tagging-directive", "COPY").upper() == "REPLACE":
            new.tags = self._tagging_from_headers(self.headers)
        else:
            new.tags = self.backend.tagger.get_tag_dict_for_resource(source.arn)
        new.acl = self._acl_from_headers(self.headers)
        with key_lock(self.bucket_name, key_name):
            self.check_conditions(key_name)
            key = self.backend.create_version(bucket, new, "COPY")
        return self._copy_answer(source, source_bucket, key, bucket)

    def _copied_checksum(self: Any, source: StoredKey) -> Checksum:
        """A copy is one piece: its checksum is of the whole object, in the asked or the source's algorithm."""
        asked = self.headers.get("x-amz-checksum-algorithm")
        algorithm = (asked or source.checksum.algorithm).upper()
        if algorithm == source.checksum.algorithm and source.checksum.type == "FULL_OBJECT":
            return Checksum(algorithm, "FULL_OBJECT", source.checksum.digest)
        return Checksum(algorithm, "FULL_OBJECT", digest_blob(algorithm, source.blob))

    def _copy_answer(self: Any, source: StoredKey, source_bucket: Any, key: StoredKey, bucket: Any) -> Answer:
        headers = dict(key.sse.headers())
        if bucket.versioning_status:
            headers["x-amz-version-id"] = key.version_id
        if source_bucket.versioning_status:
            headers["x-amz-copy-source-version-id"] = source.version_id
        result = {
            "ETag": key.etag,
            "LastModified": key.last_modified_ISO8601,
            f"Checksum{key.checksum.algorithm}": key.checksum.value,
            "ChecksumType": key.checksum.type,
        }
        return xml(self, "CopyObject", {"CopyObjectResult": result}, headers)

    def put_object_tagging(self: Any) -> Answer:
        key = self.find_key()
        self.backend.put_object_tagging(key=key, tags=self._tagging_from_xml())
        return 200, {"x-amz-version-id": key.version_id} if parameter(self, "versionId") else {}, ""


def checksum_of(body: Body) -> Checksum:
    algorithm = body.algorithm or checksums.DEFAULT_ALGORITHM
    return Checksum(algorithm, "FULL_OBJECT", body.digests[algorithm])


def _copied_etag(source: StoredKey, encryption: Encryption) -> str:
    """The MD5 of the bytes, also where the source's was made of parts; opaque with KMS."""
    if encryption.is_kms:
        return digest_of("MD5", f"{source.etag}{encryption}".encode()).hex()
    tag = source.etag.strip('"')
    return tag if "-" not in tag and not source.sse.is_kms else digest_blob("MD5", source.blob).hex()
