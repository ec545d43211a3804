"""Multipart uploads: parts are blobs, and Complete adds up what AWS adds up before it moves any byte."""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers.expat import ExpatError

import xmltodict
from moto.core.utils import utcnow
from moto.s3.models import FakeMultipart

from . import checksums
from .blobs import Blob
from .encryption import Encryption
from .errors import S3Error, bad_digest, invalid_request
from .ingest import Body, digest_blob, digest_of
from .keys import Checksum, PartInfo, etag_of
from .object_lock import Lock
from .options import runtime

MAX_PARTS = 10_000


@dataclass
class Part:
    """One received part."""

    number: int
    blob: Blob
    etag: str
    digest: bytes
    """In the upload's algorithm."""
    sent: dict[str, bytes]
    """The digests known of this part by algorithm, among them the one that the client sent."""
    last_modified: Any = field(default_factory=utcnow)

    @property
    def last_modified_ISO8601(self) -> str:
        return str(self.last_modified.strftime("%Y-%m-%dT%H:%M:%S.000Z"))


class StoredMultipart(FakeMultipart):
    """An upload in progress. Everything but the bytes is fixed when it is created."""

    def __init__(
        self,
        key_name: str,
        bucket: Any,
        headers: Mapping[str, str],
        *,
        metadata: dict[str, str],
        tags: dict[str, str],
        acl: Any,
        encryption: Encryption,
        lock: Lock,
    ) -> None:
        self.key_name = key_name
        self.bucket = bucket
        self.id = base64.urlsafe_b64encode(os.urandom(48)).decode("ascii").replace("-", "_")
        self.initiated = utcnow()
        self.storage = headers.get("x-amz-storage-class", "STANDARD")
        self.metadata = metadata  # type: ignore[assignment]
        self.tags = tags
        self.acl = acl
        self.encryption = encryption
        self.lock = lock
        self.parts: dict[int, Part] = {}  # type: ignore[assignment]
        self.declared, self.checksum_type = _declared_checksum(headers)

    @property
    def algorithm(self) -> str:
        return self.declared or checksums.DEFAULT_ALGORITHM

    def add(self, number: int, body: Body) -> Part:
        """Stores a part; the last of several with one number wins."""
        self._check_algorithm(body.algorithm)
        digest = body.digests.get(self.algorithm) or digest_blob(self.algorithm, body.blob)
        part = Part(number, body.blob, etag_of(body, self.encryption), digest, {**body.digests, self.algorithm: digest})
        previous = self.parts.get(number)
        self.parts[number] = part
        if previous is not None:
            previous.blob.dispose()
        return part

    def _check_algorithm(self, sent: str | None) -> None:
        """Nothing declared: any is taken, as SDKs add one by themselves. Composite: each part must bring its own."""
        lenient = self.declared is None or (sent is None and self.checksum_type == "FULL_OBJECT")
        if sent == self.declared or lenient:
            return
        raise invalid_request(
            f"Checksum Type mismatch occurred, expected checksum Type: {str(self.declared).lower()}, "
            f"actual checksum Type: {(sent or 'null').lower()}"
        )

    def dispose(self) -> None:
        for part in list(self.parts.values()):
            part.blob.dispose()
        self.parts.clear()


def _declared_checksum(headers: Mapping[str, str]) -> tuple[str | None, str]:
    algorithm = headers.get("x-amz-checksum-algorithm")
    checksum_type = headers.get("x-amz-checksum-type")
    if algorithm is None:
        if checksum_type is not None:
            raise invalid_request(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
            )
        return None, "FULL_OBJECT"
    algorithm = algorithm.upper()
    if algorithm not in checksums.ALGORITHMS:
        raise invalid_request(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types"
        )
    checksum_type = (checksum_type or checksums.default_type(algorithm)).upper()
    if not checksums.type_is_possible(algorithm, checksum_type):
        raise invalid_request(
            f"The {checksum_type} checksum type cannot be used with the {algorithm.lower()} checksum algorithm."
        )
    return algorithm, checksum_type


@dataclass(frozen=True)
class AskedPart:
    """A part as CompleteMultipartUpload names it."""

    number: int
    etag: str
    checksums: dict[str, str]


def asked_parts(body: bytes) -> list[AskedPart]:
    malformed = S3Error(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
    try:
        document = xmltodict.parse(body, force_list=("Part",))
        parts = (document["CompleteMultipartUpload"] or {}).get("Part") or []
        result = [_asked_part(part) for part in parts]
    except (ExpatError, KeyError, TypeError, ValueError):
        raise malformed from None
    if not result:
        raise malformed
    for before, after in itertools.pairwise(result):
        if after.number <= before.number:
            raise S3Error(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            )
    return result


def _asked_part(part: Mapping[str, str]) -> AskedPart:
    given = {name.removeprefix("Checksum"): value for name, value in part.items() if name.startswith("Checksum")}
    return AskedPart(int(part["PartNumber"]), part["ETag"].replace('"', ""), given)


@dataclass
class Assembled:
    """A completed upload, before it is a version."""

    blob: Blob
    etag: str
    checksum: Checksum
    parts: list[PartInfo]


def assemble(upload: StoredMultipart, asked: list[AskedPart], headers: Mapping[str, str]) -> Assembled:
    """Checks everything the request says, then concatenates on disk."""
    parts = [_matching(upload, one) for one in asked]
    _check_sizes(parts, headers)
    if upload.declared and [part.number for part in parts] != list(range(1, len(parts) + 1)):
        raise S3Error("InternalError", "We encountered an internal error. Please try again.")
    checksum = _whole_checksum(upload, parts)
    _check_claim(checksum, headers)
    etags = b"".join(bytes.fromhex(part.etag) for part in parts)
    return Assembled(
        blob=runtime().blobs.concatenate([part.blob for part in parts]),
        etag=f"{digest_of('MD5', etags).hex()}-{len(parts)}",
        checksum=checksum,
        parts=_part_infos(parts),
    )


def _matching(upload: StoredMultipart, asked: AskedPart) -> Part:
    invalid = S3Error(
        "InvalidPart",
        "One or more of the specified parts could not be found. The part may not have been uploaded, "
        "or the specified entity tag may not match the part's entity tag.",
    )
    part = upload.parts.get(asked.number)
    if part is None or part.etag != asked.etag:
        raise invalid
    if upload.checksum_type == "COMPOSITE" and upload.declared not in asked.checksums:
        raise invalid_request(
            f"The upload was created using a {upload.algorithm.lower()} checksum. The complete request must "
            f"include the checksum for each part. It was missing for part {asked.number} in the request."
        )
    for algorithm, value in asked.checksums.items():
        if algorithm not in part.sent or value != checksums.b64(part.sent[algorithm]):
            raise invalid
    return part


def _check_sizes(parts: list[Part], headers: Mapping[str, str]) -> None:
    minimum = runtime().options.min_part_size
    if any(part.blob.size < minimum for part in parts[:-1]):
        raise S3Error("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
    claimed = headers.get("x-amz-mp-object-size")
    total = sum(part.blob.size for part in parts)
    if claimed is not None and claimed != str(total):
        raise invalid_request(
            f"The provided 'x-amz-mp-object-size' header value {claimed} does not match what was computed: {total}"
        )


def _whole_checksum(upload: StoredMultipart, parts: list[Part]) -> Checksum:
    if upload.checksum_type == "COMPOSITE":
        digest = checksums.composite(upload.algorithm, [part.digest for part in parts])
    else:
        digest = checksums.combine(upload.algorithm, ((part.digest, part.blob.size) for part in parts))
    return Checksum(upload.algorithm, upload.checksum_type, digest, len(parts))


def _check_claim(checksum: Checksum, headers: Mapping[str, str]) -> None:
    """x-amz-checksum-* of CompleteMultipartUpload speaks of the whole object."""
    claimed_type = headers.get("x-amz-checksum-type")
    if claimed_type is not None and claimed_type.upper() != checksum.type:
        raise invalid_request(
            f"The upload was created using the {checksum.type} checksum mode. "
            "The complete request must use the same checksum mode."
        )
    for algorithm in checksums.ALGORITHMS:
        value = headers.get(checksums.header_of(algorithm))
        if value is None:
            continue
        if algorithm != checksum.algorithm:
            raise invalid_request(
                f"Checksum Type mismatch occurred, expected checksum Type: {checksum.algorithm.lower()}, "
                f"actual checksum Type: {algorithm.lower()}"
            )
        if value not in (checksum.plain, checksum.value):
            raise bad_digest(algorithm)


def _part_infos(parts: list[Part]) -> list[PartInfo]:
    offset, infos = 0, []
    for part in parts:
        infos.append(PartInfo(part.number, offset, part.blob.size, checksums.b64(part.digest)))
        offset += part.blob.size
    return infos
