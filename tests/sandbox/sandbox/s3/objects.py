"""Reading objects: GET with Range and parts, HEAD, attributes, and deletes, retention and legal hold."""

from __future__ import annotations

from typing import Any

import xmltodict
from moto.core.utils import str_to_rfc_1123_datetime
from moto.s3.exceptions import PreconditionFailed

from . import object_lock
from .base import Answer, parameter, xml
from .encryption import check_readable
from .errors import S3Error, invalid_argument
from .keys import DeleteMarker, StoredKey

OWNER = {"ID": "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a", "DisplayName": "webfile"}


class ObjectOperations:
    """Mixed into the response class."""

    def _key_response_get(self: Any, query: dict[str, Any], key_name: str) -> Answer:
        self._set_action("KEY", "GET", query)
        self._authenticate_and_authorize_s3_action(bucket_name=self.bucket_name, key_name=key_name)
        if query.get("uploadId"):
            return self.list_parts()
        for name, handler in (
            ("acl", self.get_object_acl),
            ("tagging", self.get_object_tagging),
            ("legal-hold", self.get_object_legal_hold),
            ("retention", self.get_object_retention),
            ("attributes", self.get_object_attributes),
        ):
            if name in query:
                return handler()
        return self.get_object()

    def find_key(self: Any) -> StoredKey:
        """The asked version, or the error that AWS gives, with the headers that tell about delete markers."""
        key_name = self.parse_key_name()
        version_id = parameter(self, "versionId")
        bucket = self.bucket
        versions = self.backend.versions(bucket, key_name)
        if version_id is not None:
            found = self.backend.find_version(bucket, key_name, version_id)
            if found is None:
                raise S3Error("NoSuchVersion", "The specified version does not exist.")
        else:
            found = versions[-1] if versions else None
        if isinstance(found, DeleteMarker):
            code = ("NoSuchKey", "The specified key does not exist.")
            if version_id is not None:
                code = ("MethodNotAllowed", "The specified method is not allowed against this resource.")
            error = S3Error(*code)
            error.headers = {"x-amz-delete-marker": "true", "x-amz-version-id": found.version_id}  # type: ignore[attr-defined]
            raise error
        if found is None:
            raise S3Error("NoSuchKey", "The specified key does not exist.")
        return found

    def _unmodified(self: Any, key: StoredKey) -> bool:
        """Evaluates the conditional headers: raises 412, returns True for 304."""
        match, none_match = self.headers.get("If-Match"), self.headers.get("If-None-Match")
        tag = key.etag.strip('"')
        modified = key.last_modified.replace(microsecond=0)
        if match:
            self._require_match(match, tag)
        elif (since := self.headers.get("If-Unmodified-Since")) and modified > str_to_rfc_1123_datetime(since):
            raise PreconditionFailed("If-Unmodified-Since")
        if none_match:
            return bool(none_match == "*" or none_match.strip('"') == tag)
        since = self.headers.get("If-Modified-Since")
        return bool(since and modified <= str_to_rfc_1123_datetime(since))

    @staticmethod
    def _require_match(match: str, tag: str) -> None:
        if match != "*" and match.strip('"') != tag:
            raise PreconditionFailed("If-Match")

    def _object_headers(self: Any, key: StoredKey) -> dict[str, Any]:
        headers: dict[str, Any] = self._get_cors_headers_other()
        headers.update(key.metadata)
        headers.update(key.response_dict)
        headers["Accept-Ranges"] = "bytes"
        for name, value in self.request.args.items():
            if name.startswith("response-"):
                headers[name.removeprefix("response-")] = value
        return headers

    def get_object(self: Any) -> Answer:
        key = self.find_key()
        check_readable(key.sse, key.account_id, self.bucket.region_name)
        return self._object_answer(key, with_body=True)

    def head_object(self: Any, bucket_name: str, query: dict[str, Any], key_name: str, headers: Any) -> Answer:
        self._set_action("KEY", "HEAD", query)
        self._authenticate_and_authorize_s3_action(bucket_name=bucket_name, key_name=key_name)
        return self._object_answer(self.find_key(), with_body=False)

    def _object_answer(self: Any, key: StoredKey, *, with_body: bool) -> Answer:
        headers = self._object_headers(key)
        if self._unmodified(key):
            return 304, {name: value for name, value in headers.items() if not name.startswith("content-")}, b""
        wants_checksum = self.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"
        status, start, length = 200, 0, key.size
        if part := parameter(self, "partNumber"):
            start, length = self._part_range(key, int(part), headers)
            status = 206
        elif asked := _range(self.headers.get("Range"), key.size):
            start, length = asked
            status = 206
        elif wants_checksum:
            headers.update(key.checksum.headers())
        if status == 206:
            headers["content-range"] = f"bytes {start}-{start + length - 1}/{key.size}"
        headers["content-length"] = str(length)
        return status, headers, key.blob.blocks(start, length) if with_body else b""

    def _part_range(self: Any, key: StoredKey, number: int, headers: dict[str, Any]) -> tuple[int, int]:
        if not key.part_infos:
            if number != 1:
                raise S3Error("InvalidPartNumber", "The requested partnumber is not satisfiable")
            return 0, key.size
        for part in key.part_infos:
            if part.number == number:
                headers["x-amz-mp-parts-count"] = str(len(key.part_infos))
                return part.offset, part.size
        raise S3Error("InvalidPartNumber", "The requested partnumber is not satisfiable")

    def get_object_attributes(self: Any) -> Answer:
        key = self.find_key()
        wanted = {name.strip() for name in self.headers.get("x-amz-object-attributes", "").split(",")}
        if wanted == {""}:
            raise invalid_argument("The x-amz-object-attributes header is missing")
        result: dict[str, Any] = {}
        if "ETag" in wanted:
            result["ETag"] = key.etag.strip('"')
        if "Checksum" in wanted:
            value = {f"Checksum{key.checksum.algorithm}": key.checksum.plain}
            result["Checksum"] = {**value, "ChecksumType": key.checksum.type}
        if "ObjectSize" in wanted:
            result["ObjectSize"] = key.size
        if "StorageClass" in wanted:
            result["StorageClass"] = key.storage_class
        if "ObjectParts" in wanted and key.part_infos:
            result["ObjectParts"] = self._object_parts(key)
        headers = {"last-modified": key.last_modified_RFC1123}
        if key._is_versioned:
            headers["x-amz-version-id"] = key.version_id
        return xml(self, "GetObjectAttributes", result, headers)

    def _object_parts(self: Any, key: StoredKey) -> dict[str, Any]:
        limit = min(int(self.headers.get("x-amz-max-parts") or 1000), 1000)
        marker = int(self.headers.get("x-amz-part-number-marker") or 0)
        rest = [part for part in key.part_infos if part.number > marker]
        shown = rest[:limit]
        field = f"Checksum{key.checksum.algorithm}"
        return {
            "TotalPartsCount": len(key.part_infos),
            "PartNumberMarker": marker,
            "NextPartNumberMarker": shown[-1].number if shown else marker,
            "MaxParts": limit,
            "IsTruncated": len(rest) > len(shown),
            "Parts": [{"PartNumber": p.number, "Size": p.size, field: p.checksum} for p in shown],
        }

    # object lock

    def get_object_retention(self: Any) -> Answer:
        key = self.backend.lockable(self.bucket_name, self.parse_key_name(), parameter(self, "versionId"))
        if not key.lock_mode:
            raise S3Error(
                "NoSuchObjectLockConfiguration", "The specified object does not have a ObjectLock configuration"
            )
        return xml(
            self, "GetObjectRetention", {"Retention": {"Mode": key.lock_mode, "RetainUntilDate": key.lock_until}}
        )

    def put_object_retention(self: Any) -> Answer:
        key = self.backend.lockable(self.bucket_name, self.parse_key_name(), parameter(self, "versionId"))
        mode, until = object_lock.retention_from_xml(self.body)
        object_lock.change_retention(key, mode, until, may_bypass=self.check_bypass())
        return 200, {}, ""

    def get_object_legal_hold(self: Any) -> Answer:
        key = self.backend.lockable(self.bucket_name, self.parse_key_name(), parameter(self, "versionId"))
        if not key.lock_legal_status:
            raise S3Error(
                "NoSuchObjectLockConfiguration", "The specified object does not have a ObjectLock configuration"
            )
        return xml(self, "GetObjectLegalHold", {"LegalHold": {"Status": key.lock_legal_status}})

    def put_object_legal_hold(self: Any) -> Answer:
        key = self.backend.lockable(self.bucket_name, self.parse_key_name(), parameter(self, "versionId"))
        status = (xmltodict.parse(self.body).get("LegalHold") or {}).get("Status") if self.body else None
        if status not in ("ON", "OFF"):
            raise S3Error(
                "MalformedXML",
                "The XML you provided was not well-formed or did not validate against our published schema",
            )
        key.lock_legal_status = status
        return 200, {}, ""

    # deletes

    def delete_object(self: Any) -> Answer:
        key_name = self.parse_key_name()
        if if_match := self.headers.get("If-Match"):
            current = self.backend.current(self.bucket, key_name)
            if current is None:
                raise S3Error("NoSuchKey", "The specified key does not exist.")
            if if_match != "*" and if_match.strip('"') != current.etag.strip('"'):
                raise PreconditionFailed("If-Match")
        _, meta = self.backend.delete_object(
            self.bucket_name, key_name, version_id=parameter(self, "versionId"), bypass=self.check_bypass()
        )
        return 204, {f"x-amz-{name}": value for name, value in meta.items()}, ""

    def _bucket_response_delete_keys(self: Any, bucket_name: str, authenticated: bool = True) -> Answer:
        if self.received and not (self.received.md5_given or self.received.algorithm):
            raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
        request = xmltodict.parse(self.body, strip_whitespace=False, force_list=("Object",))["Delete"]
        objects = request.get("Object") or []
        if not 1 <= len(objects) <= 1000:
            raise S3Error(
                "MalformedXML",
                "The XML you provided was not well-formed or did not validate against our published schema",
            )
        may_bypass = self.check_bypass()
        deleted: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        for one in objects:
            outcome = self._delete_one(bucket_name, one["Key"], one.get("VersionId"), may_bypass)
            (errors if "Code" in outcome else deleted).append(outcome)
        quiet = str(request.get("Quiet", "false")).strip().lower() == "true"
        return xml(self, "DeleteObjects", {"Deleted": [] if quiet else deleted, "Errors": errors})

    def _delete_one(self: Any, bucket_name: str, key: str, version_id: str | None, may_bypass: bool) -> dict[str, Any]:
        """One key of DeleteObjects, authorized on its own, as AWS does."""
        named: dict[str, Any] = {"Key": key, "VersionId": version_id or None}
        self.data["Action"] = "DeleteObjectVersion" if version_id else "DeleteObject"
        try:
            self._authenticate_and_authorize_s3_action(bucket_name=bucket_name, key_name=key)
            _, meta = self.backend.delete_object(bucket_name, key, version_id=version_id, bypass=may_bypass)
        except S3Error as error:
            return {**named, "Code": error.code, "Message": error.message}
        except Exception as error:
            if getattr(error, "code", None) != "AccessDenied":
                raise
            return {**named, "Code": "AccessDenied", "Message": "Access Denied"}
        if meta.get("delete-marker"):
            named.update(DeleteMarker=True, DeleteMarkerVersionId=meta["version-id"])
        return named


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """(start, length) of a satisfiable single range; None if the header is to be ignored."""
    if not header or not header.startswith("bytes=") or "," in header:
        return None
    first, dash, last = header.removeprefix("bytes=").partition("-")
    if not dash or not (first or last) or not (first + last).isdigit():
        return None
    if first:
        start, end = int(first), min(int(last) if last else size - 1, size - 1)
        if last and int(last) < start:
            return None
    else:
        start, end = max(0, size - int(last)), size - 1
    if start >= size or (not first and int(last) == 0):
        raise S3Error("InvalidRange", "The requested range is not satisfiable")
    return start, end - start + 1
