"""Object versions and delete markers: moto's classes, with their bytes in blobs and their truth beside them."""

from __future__ import annotations

import datetime
import itertools
import uuid
from dataclasses import dataclass, field
from typing import Any

from moto.core.utils import utcnow
from moto.s3.models import FakeDeleteMarker, FakeKey

from . import checksums
from .blobs import Blob
from .encryption import Encryption
from .ingest import Body, digest_of
from .object_lock import Lock
from .options import runtime

_sequence = itertools.count(1)

KEPT_METADATA = {
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-robots-tag",
    "x-amz-website-redirect-location",
}


@dataclass(frozen=True)
class Checksum:
    """The flexible checksum of a whole object."""

    algorithm: str
    type: str
    digest: bytes
    parts: int = 1

    @property
    def value(self) -> str:
        """As in headers and in CompleteMultipartUpload: composite ones say how many parts."""
        return f"{self.plain}-{self.parts}" if self.type == "COMPOSITE" else self.plain

    @property
    def plain(self) -> str:
        return checksums.b64(self.digest)

    def headers(self) -> dict[str, str]:
        return {checksums.header_of(self.algorithm): self.value, "x-amz-checksum-type": self.type}


@dataclass(frozen=True)
class PartInfo:
    """What a completed object remembers about one of its parts."""

    number: int
    offset: int
    size: int
    checksum: str


@dataclass
class NewVersion:
    """Everything that makes a version, gathered before it becomes visible."""

    name: str
    blob: Blob
    etag: str
    checksum: Checksum
    encryption: Encryption = field(default_factory=Encryption)
    lock: Lock = field(default_factory=Lock)
    storage: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    acl: Any = None
    parts: list[PartInfo] = field(default_factory=list)
    last_modified: datetime.datetime | None = None
    version_id: str | None = None
    sequence: int | None = None
    replication_status: str | None = None


def next_sequence() -> int:
    return next(_sequence)


def etag_of(body: Body, encryption: Encryption) -> str:
    """An MD5 only without KMS: clients must not rely on it, so here they cannot."""
    if encryption.is_kms:
        return digest_of("MD5", body.digests["MD5"] + str(encryption.key_arn).encode()).hex()
    return body.md5


class StoredKey(FakeKey):
    """A version whose bytes are a blob. `sequence` orders versions of a key, also across replicas."""

    blob: Blob
    checksum: Checksum
    sse: Encryption

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.sequence = next_sequence()
        self.replication_status: str | None = None
        self.part_infos: list[PartInfo] = []
        self.sse = Encryption()
        super().__init__(*args, **kwargs)

    @property
    def value(self) -> bytes:  # type: ignore[override]
        return self.blob.read()

    @value.setter
    def value(self, new_value: Blob | bytes | str) -> None:
        if isinstance(new_value, str):
            new_value = new_value.encode()
        self.blob = new_value if isinstance(new_value, Blob) else runtime().blobs.from_bytes(new_value)
        self.contentsize = self.blob.size

    @property
    def etag(self) -> str:
        return f'"{self._etag}"'

    @property
    def size(self) -> int:
        return self.blob.size

    def set_metadata(self, metadata: Any, replace: bool = False) -> None:
        kept = {k: v for k, v in dict(metadata).items() if _is_object_metadata(k)}
        super().set_metadata(kept, replace)

    @property
    def response_dict(self) -> dict[str, Any]:
        res = super().response_dict
        res.pop("x-amz-sdk-checksum-algorithm", None)
        for name in [n for n in res if n.startswith("x-amz-server-side-encryption")]:
            del res[name]
        res.update(self.sse.headers())
        if self.replication_status:
            res["x-amz-replication-status"] = self.replication_status
        return res

    def dispose(self, garbage: bool = False) -> None:
        if not self.disposed:
            self.blob.dispose()
        super().dispose(garbage=False)


def _is_object_metadata(name: str) -> bool:
    lowered = name.lower()
    return lowered.startswith("x-amz-meta-") or lowered in KEPT_METADATA


class DeleteMarker(FakeDeleteMarker):
    """A delete marker that needs no object below it, as on AWS."""

    def __init__(
        self,
        name: str,
        version_id: str | None = None,
        sequence: int | None = None,
        replication_status: str | None = None,
    ) -> None:
        self.key = None  # type: ignore[assignment]
        self.name = name
        self.last_modified = utcnow()
        self._version_id = version_id or str(uuid.uuid4())
        self.sequence = sequence if sequence is not None else next_sequence()
        self.replication_status = replication_status

    def dispose(self) -> None:
        """Nothing is stored; moto's store calls this on every version it drops."""
