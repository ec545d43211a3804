"""The checksum algorithms of S3: one pass over the bytes, all of it in C, plus the two ways to add up parts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from awscrt import checksums as crt

Buffer = bytes | bytearray | memoryview


class Hasher(Protocol):
    """The part of hashlib's interface that we use."""

    def update(self, data: Buffer, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    """A running CRC behind hashlib's interface."""

    def __init__(self, function: Callable[[Any, int], int], width: int) -> None:
        self._function = function
        self._width = width
        self._value = 0

    def update(self, data: Buffer, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._width, "big")


_FACTORIES: dict[str, Callable[[], Hasher]] = {
    "CRC32": lambda: _Crc(zlib.crc32, 4),
    "CRC32C": lambda: _Crc(crt.crc32c, 4),
    "CRC64NVME": lambda: _Crc(crt.crc64nvme, 8),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
    "SHA512": hashlib.sha512,
    "MD5": lambda: hashlib.md5(usedforsecurity=False),
}

_COMBINE: dict[str, tuple[Callable[[int, int, int], int], int]] = {
    "CRC32": (crt.combine_crc32, 4),
    "CRC32C": (crt.combine_crc32c, 4),
    "CRC64NVME": (crt.combine_crc64nvme, 8),
}

ALGORITHMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256", "SHA512", "MD5")
"""What a client may ask for (the XXHASH family is refused by name)."""

DEFAULT_ALGORITHM = "CRC64NVME"
"""What S3 adds by itself when a client sends nothing."""

HEADER_PREFIX = "x-amz-checksum-"


def hasher(algorithm: str) -> Hasher:
    return _FACTORIES[algorithm]()


def header_of(algorithm: str) -> str:
    return HEADER_PREFIX + algorithm.lower()


def default_type(algorithm: str) -> str:
    """The ChecksumType that CreateMultipartUpload implies when none is given."""
    return "FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE"


def type_is_possible(algorithm: str, checksum_type: str) -> bool:
    if checksum_type == "FULL_OBJECT":
        return algorithm in _COMBINE
    return checksum_type == "COMPOSITE" and algorithm != "CRC64NVME"


def b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def decode(algorithm: str, value: str) -> bytes | None:
    """The digest in a header's value, or None if it cannot be one of this algorithm."""
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == len(hasher(algorithm).digest()) else None


def combine(algorithm: str, parts: Iterable[tuple[bytes, int]]) -> bytes:
    """The CRC of the concatenation of parts, from each part's CRC and length: no byte is read again."""
    function, width = _COMBINE[algorithm]
    total = 0
    for digest, size in parts:
        total = function(total, int.from_bytes(digest, "big"), size)
    return total.to_bytes(width, "big")


def composite(algorithm: str, digests: Sequence[bytes]) -> bytes:
    """The checksum of the parts' checksums."""
    running = hasher(algorithm)
    for digest in digests:
        running.update(digest)
    return running.digest()
