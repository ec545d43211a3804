"""ListObjects, ListObjectsV2 and ListObjectVersions: sorted, paged, and without a copy of any body."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from .base import Answer, parameter, xml
from .errors import invalid_argument
from .keys import DeleteMarker, StoredKey
from .listing import Page, limit_of, name_of, page_of, token_of
from .objects import OWNER


class ListOperations:
    """Mixed into the response class."""

    def _object_page(self: Any, after: str) -> Page[StoredKey]:
        return page_of(
            sorted(_pairs(self.bucket), key=lambda pair: pair[0]),
            prefix=parameter(self, "prefix") or "",
            delimiter=parameter(self, "delimiter") or None,
            limit=limit_of(parameter(self, "max-keys"), "max-keys"),
            after=after,
        )

    def _common_fields(self: Any, page: Page[Any]) -> dict[str, Any]:
        encode = _encoder(parameter(self, "encoding-type"))
        delimiter = parameter(self, "delimiter")
        result: dict[str, Any] = {
            "Name": self.bucket_name,
            "Prefix": encode(parameter(self, "prefix") or ""),
            "MaxKeys": limit_of(parameter(self, "max-keys"), "max-keys"),
            "IsTruncated": page.truncated,
            "CommonPrefixes": [{"Prefix": encode(one)} for one in page.prefixes],
        }
        if delimiter:
            result["Delimiter"] = encode(delimiter)
        if parameter(self, "encoding-type"):
            result["EncodingType"] = "url"
        return result

    def list_objects(self: Any) -> Answer:
        marker = parameter(self, "marker") or ""
        page = self._object_page(marker)
        encode = _encoder(parameter(self, "encoding-type"))
        result = self._common_fields(page)
        result["Marker"] = encode(marker)
        result["Contents"] = [_entry(key, encode, owner=True) for key in page.items]
        if page.truncated and parameter(self, "delimiter"):
            result["NextMarker"] = encode(page.last or "")
        return xml(self, "ListObjects", result)

    def list_objects_v2(self: Any) -> Answer:
        token = parameter(self, "continuation-token")
        if token == "":
            raise invalid_argument("The continuation token provided is incorrect")
        start_after = parameter(self, "start-after") or ""
        page = self._object_page(name_of(token) if token else start_after)
        encode = _encoder(parameter(self, "encoding-type"))
        owner = parameter(self, "fetch-owner") == "true"
        result = self._common_fields(page)
        result["KeyCount"] = len(page.items) + len(page.prefixes)
        result["Contents"] = [_entry(key, encode, owner=owner) for key in page.items]
        if token:
            result["ContinuationToken"] = token
        if start_after:
            result["StartAfter"] = encode(start_after)
        if page.truncated:
            result["NextContinuationToken"] = token_of(page.last or "")
        return xml(self, "ListObjectsV2", result)

    def list_object_versions(self: Any) -> Answer:
        key_marker, id_marker = parameter(self, "key-marker") or "", parameter(self, "version-id-marker") or ""
        if id_marker and not key_marker:
            raise invalid_argument("A version-id marker cannot be specified without a key marker.")
        page = page_of(
            _versions_after(self.bucket, key_marker, id_marker),
            prefix=parameter(self, "prefix") or "",
            delimiter=parameter(self, "delimiter") or None,
            limit=limit_of(parameter(self, "max-keys"), "max-keys"),
            after="" if id_marker else key_marker,
        )
        encode = _encoder(parameter(self, "encoding-type"))
        result = self._common_fields(page)
        result["KeyMarker"] = encode(key_marker)
        result["VersionIdMarker"] = id_marker
        items = [(version, _version_entry(version, latest, encode)) for version, latest in page.items]
        result["Versions"] = [entry for version, entry in items if isinstance(version, StoredKey)]
        result["DeleteMarkers"] = [entry for version, entry in items if isinstance(version, DeleteMarker)]
        if page.truncated:
            result["NextKeyMarker"] = encode(page.last or "")
            if page.last_item is not None:
                result["NextVersionIdMarker"] = page.last_item[0].version_id
        return xml(self, "ListObjectVersions", result)


Listed = tuple[StoredKey | DeleteMarker, bool]


def _pairs(bucket: Any) -> list[tuple[str, StoredKey]]:
    """Current objects; a delete marker on top hides a key."""
    return [(name, all_[-1]) for name, all_ in dict(bucket.keys.iterlists()).items() if isinstance(all_[-1], StoredKey)]


def _versions_after(bucket: Any, key_marker: str, id_marker: str) -> list[tuple[str, Listed]]:
    """All versions, newest first within a key, from behind the marked one on."""
    every: list[tuple[str, Listed]] = []
    for name, versions in sorted(dict(bucket.keys.iterlists()).items()):
        every.extend((name, (version, version is versions[-1])) for version in reversed(versions))
    if not id_marker:
        return every
    for index, (name, (version, _)) in enumerate(every):
        if name == key_marker and version.version_id == id_marker:
            return every[index + 1 :]
    return [(name, listed) for name, listed in every if name > key_marker]


def _encoder(encoding: str | None) -> Any:
    if encoding is None:
        return lambda text: text
    if encoding != "url":
        raise invalid_argument("Invalid Encoding Method specified in Request")
    return quote


def _entry(key: StoredKey, encode: Any, *, owner: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "Key": encode(key.name),
        "LastModified": key.last_modified_ISO8601,
        "ETag": key.etag,
        "Size": key.size,
        "StorageClass": key.storage_class,
        "ChecksumAlgorithm": [key.checksum.algorithm],
        "ChecksumType": key.checksum.type,
    }
    if owner:
        entry["Owner"] = OWNER
    return entry


def _version_entry(version: StoredKey | DeleteMarker, latest: bool, encode: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "Key": encode(version.name),
        "VersionId": version.version_id,
        "IsLatest": latest,
        "LastModified": version.last_modified_ISO8601,
        "Owner": OWNER,
    }
    if isinstance(version, StoredKey):
        entry.update(
            ETag=version.etag,
            Size=version.size,
            StorageClass=version.storage_class,
            ChecksumAlgorithm=[version.checksum.algorithm],
            ChecksumType=version.checksum.type,
        )
    return entry
