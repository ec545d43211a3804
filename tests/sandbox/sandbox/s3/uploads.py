"""The operations on multipart uploads."""

from __future__ import annotations

from typing import Any

from moto.s3.utils import metadata_from_headers

from . import checksums, object_lock
from .base import Answer, parameter, xml
from .encryption import check_readable, resolve
from .errors import S3Error, invalid_argument
from .ingest import Body
from .keys import NewVersion, StoredKey
from .listing import limit_of, page_of
from .locks import key_lock
from .multipart import MAX_PARTS, StoredMultipart, asked_parts, assemble
from .objects import OWNER
from .options import runtime


class UploadOperations:
    """Mixed into the response class."""

    def _key_response_post(
        self: Any, request: Any, body: bytes, bucket_name: str, query: dict[str, Any], key_name: str
    ) -> Answer:
        if "uploads" not in query and "uploadId" not in query:
            return super()._key_response_post(request, body, bucket_name, query, key_name)  # type: ignore[misc]
        self._set_action("KEY", "POST", query)
        self._authenticate_and_authorize_s3_action(bucket_name=bucket_name, key_name=key_name)
        return self.create_upload(key_name) if "uploads" in query else self.complete_upload(key_name)

    def create_upload(self: Any, key_name: str) -> Answer:
        bucket = self.bucket
        upload = StoredMultipart(
            key_name,
            bucket,
            self.headers,
            metadata=dict(metadata_from_headers(self.headers)),
            tags=self._tagging_from_headers(self.headers),
            acl=self._acl_from_headers(self.headers),
            encryption=resolve(bucket, self.headers),
            lock=object_lock.for_write(bucket, self.headers),
        )
        bucket.multiparts[upload.id] = upload
        headers = dict(upload.encryption.headers())
        if upload.declared:
            headers["x-amz-checksum-algorithm"] = upload.declared
            headers["x-amz-checksum-type"] = upload.checksum_type
        result = {"Bucket": bucket.name, "Key": key_name, "UploadId": upload.id}
        return xml(self, "CreateMultipartUpload", result, headers)

    def find_upload(self: Any) -> StoredMultipart:
        upload = self.backend.upload(self.bucket_name, parameter(self, "uploadId") or "")
        if upload.key_name != self.parse_key_name():
            raise S3Error("NoSuchUpload", "The specified upload does not exist.")
        return upload

    def _part_number(self: Any) -> int:
        text = parameter(self, "partNumber") or ""
        if not text.isdigit() or not 1 <= int(text) <= MAX_PARTS:
            raise invalid_argument("Part number must be an integer between 1 and 10000, inclusive")
        return int(text)

    def upload_part(self: Any) -> Answer:
        upload = self.find_upload()
        check_readable(upload.encryption, self.bucket.account_id, self.bucket.region_name)
        number = self._part_number()
        body: Body = self.received
        with key_lock(self.bucket_name, upload.key_name):
            self.find_upload()  # it may have been aborted or completed while the bytes came in
            part = upload.add(number, body)
            self.take_body()
        headers = {"ETag": f'"{part.etag}"', **upload.encryption.headers()}
        algorithm = body.algorithm or upload.algorithm
        headers[checksums.header_of(algorithm)] = checksums.b64(part.sent[algorithm])
        return 200, headers, ""

    def upload_part_copy(self: Any) -> Answer:
        upload = self.find_upload()
        source, _ = self.copy_source()
        body = _copied_body(source, self.headers.get("x-amz-copy-source-range"), upload.algorithm)
        body.algorithm = upload.declared
        with key_lock(self.bucket_name, upload.key_name):
            self.find_upload()
            part = upload.add(self._part_number(), body)
        result = {"LastModified": part.last_modified_ISO8601, "ETag": f'"{part.etag}"'}
        if upload.declared:
            result[f"Checksum{upload.declared}"] = checksums.b64(part.digest)
        return xml(self, "UploadPartCopy", {"CopyPartResult": result}, dict(upload.encryption.headers()))

    def complete_upload(self: Any, key_name: str) -> Answer:
        """Conditions first: with If-None-Match a repeated Complete is 412, without it NoSuchUpload."""
        bucket = self.bucket
        asked = asked_parts(self.body)
        with key_lock(self.bucket_name, key_name):
            self.check_conditions(key_name)
            upload = self.find_upload()
            check_readable(upload.encryption, bucket.account_id, bucket.region_name)
            done = assemble(upload, asked, self.headers)
            new = NewVersion(
                name=key_name,
                blob=done.blob,
                etag=done.etag,
                checksum=done.checksum,
                encryption=upload.encryption,
                lock=upload.lock,
                storage=upload.storage,
                metadata=dict(upload.metadata),
                tags=upload.tags,
                acl=upload.acl,
                parts=done.parts,
                last_modified=upload.initiated,
            )
            key = self.backend.create_version(bucket, new, "COMPLETE")
            del bucket.multiparts[upload.id]
        headers = dict(key.sse.headers())
        if bucket.versioning_status:
            headers["x-amz-version-id"] = key.version_id
        result = {
            "Location": f"https://{bucket.name}.s3.{bucket.region_name}.amazonaws.com/{key_name}",
            "Bucket": bucket.name,
            "Key": key_name,
            "ETag": key.etag,
            f"Checksum{key.checksum.algorithm}": key.checksum.value,
            "ChecksumType": key.checksum.type,
        }
        return xml(self, "CompleteMultipartUpload", result, headers)

    def abort_multipart_upload(self: Any) -> Answer:
        with key_lock(self.bucket_name, self.parse_key_name()):
            del self.bucket.multiparts[self.find_upload().id]
        return 204, {}, ""

    def list_parts(self: Any) -> Answer:
        upload = self.find_upload()
        limit = limit_of(parameter(self, "max-parts"), "max-parts")
        marker = int(parameter(self, "part-number-marker") or 0)
        rest = [part for number, part in sorted(upload.parts.items()) if number > marker]
        shown = rest[:limit]
        parts = []
        for part in shown:
            one = {
                "PartNumber": part.number,
                "LastModified": part.last_modified_ISO8601,
                "ETag": f'"{part.etag}"',
                "Size": part.blob.size,
            }
            if upload.declared:
                one[f"Checksum{upload.declared}"] = checksums.b64(part.digest)
            parts.append(one)
        result = {
            "Bucket": self.bucket_name,
            "Key": upload.key_name,
            "UploadId": upload.id,
            "StorageClass": upload.storage,
            "Initiator": OWNER,
            "Owner": OWNER,
            "PartNumberMarker": marker,
            "NextPartNumberMarker": shown[-1].number if shown else marker,
            "MaxParts": limit,
            "IsTruncated": len(rest) > len(shown),
            "Parts": parts,
            "ChecksumAlgorithm": upload.declared,
            "ChecksumType": upload.checksum_type if upload.declared else None,
        }
        return xml(self, "ListParts", result)

    def list_multipart_uploads(self: Any) -> Answer:
        prefix, delimiter = parameter(self, "prefix") or "", parameter(self, "delimiter") or None
        key_marker, id_marker = parameter(self, "key-marker") or "", parameter(self, "upload-id-marker") or ""
        limit = limit_of(parameter(self, "max-uploads"), "max-uploads")
        every = sorted(
            self.backend.get_bucket(self.bucket_name).multiparts.copy().values(),
            key=lambda one: (one.key_name, one.initiated, one.id),
        )
        page = page_of(
            _after(every, key_marker, id_marker),
            prefix=prefix,
            delimiter=delimiter,
            limit=limit,
            after=key_marker if not id_marker else "",
        )
        result: dict[str, Any] = {
            "Bucket": self.bucket_name,
            "Prefix": prefix,
            "Delimiter": delimiter,
            "KeyMarker": key_marker,
            "UploadIdMarker": id_marker if key_marker else "",
            "MaxUploads": limit,
            "IsTruncated": page.truncated,
            "Uploads": [_listed(upload) for upload in page.items],
            "CommonPrefixes": [{"Prefix": one} for one in page.prefixes],
        }
        if page.truncated:
            result["NextKeyMarker"] = page.last
            result["NextUploadIdMarker"] = page.last_item.id if page.last_item else ""
        return xml(self, "ListMultipartUploads", result)


def _after(every: list[StoredMultipart], key_marker: str, id_marker: str) -> list[tuple[str, StoredMultipart]]:
    """Uploads of the marker's key continue behind the marked one; without an upload id the key is done."""
    named = [(upload.key_name, upload) for upload in every]
    if not key_marker or not id_marker:
        return named
    for index, (name, upload) in enumerate(named):
        if name == key_marker and upload.id == id_marker:
            return named[index + 1 :]
    return [(name, upload) for name, upload in named if name > key_marker]


def _listed(upload: StoredMultipart) -> dict[str, Any]:
    return {
        "Key": upload.key_name,
        "UploadId": upload.id,
        "Initiator": OWNER,
        "Owner": OWNER,
        "StorageClass": upload.storage,
        "Initiated": upload.initiated.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "ChecksumAlgorithm": upload.declared,
        "ChecksumType": upload.checksum_type if upload.declared else None,
    }


def _copied_body(source: StoredKey, wanted: str | None, algorithm: str) -> Body:
    start, length = 0, source.size
    if wanted:
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        if not (first.isdigit() and last.isdigit()) or not int(first) <= int(last) < source.size:
            raise invalid_argument("The x-amz-copy-source-range value must be of the form bytes=first-last")
        start, length = int(first), int(last) - int(first) + 1
    writer = runtime().blobs.writer()
    running = {name: checksums.hasher(name) for name in {"MD5", algorithm}}
    for block in source.blob.blocks(start, length):
        writer.write(block)
        for one in running.values():
            one.update(block)
    return Body(writer.finish(), {name: one.digest() for name, one in running.items()})
