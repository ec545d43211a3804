"""Stored bytes: small ones in memory, larger ones as files; never a whole large body in memory.

A copy (CopyObject, replica) is a hard link, and the two operations that damage bytes on purpose break the link
first, so that damage stays with the object it was asked for.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

BLOCK = 1024 * 1024


class Blob:
    """An immutable run of bytes with a length; `path` is None while it fits in memory."""

    def __init__(self, store: BlobStore, path: Path | None, data: bytes, size: int) -> None:
        self._store = store
        self._path = path
        self._data = data
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        """True even when empty: moto writes `body or b""`, which would lose the blob."""
        return True

    @property
    def path(self) -> Path | None:
        return self._path

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        return b"".join(self.blocks(start, length))

    def blocks(self, start: int = 0, length: int | None = None, block: int = 256 * 1024) -> Iterator[bytes]:
        """The asked bytes block by block; the file is opened at once, so a later delete does not cut the reader."""
        left = max(0, self.size - start) if length is None else length
        if self._path is None:
            return iter([self._data[start : start + left]])
        handle = self._path.open("rb", buffering=0)
        return _file_blocks(handle, start, left, block)

    def link(self) -> Blob:
        """The same bytes under a life of their own."""
        if self._path is None:
            return Blob(self._store, None, self._data, self.size)
        path = self._store.new_path()
        os.link(self._path, path)
        return Blob(self._store, path, b"", self.size)

    def corrupt(self, offset: int, xor: int) -> None:
        """Flips stored bits, as a disk that lies would: nothing else of the object changes."""
        if not 0 <= offset < self.size:
            raise ValueError(f"offset {offset} is outside of {self.size} bytes")
        if self._path is None:
            data = bytearray(self._data)
            data[offset] ^= xor
            self._data = bytes(data)
            return
        self._own_file()
        with self._path.open("r+b") as handle:
            handle.seek(offset)
            value = handle.read(1)[0]
            handle.seek(offset)
            handle.write(bytes([value ^ xor]))

    def truncate(self, size: int) -> None:
        if not 0 <= size <= self.size:
            raise ValueError(f"cannot cut {self.size} bytes to {size}")
        if self._path is None:
            self._data = self._data[:size]
        else:
            self._own_file()
            os.truncate(self._path, size)
        self.size = size

    def dispose(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _own_file(self) -> None:
        assert self._path is not None
        if self._path.stat().st_nlink > 1:
            own = self._store.new_path()
            shutil.copyfile(self._path, own)
            os.replace(own, self._path)


def _file_blocks(handle: object, start: int, left: int, block: int) -> Iterator[bytes]:
    with handle:  # type: ignore[attr-defined]
        handle.seek(start)  # type: ignore[attr-defined]
        while left > 0:
            data = handle.read(min(block, left))  # type: ignore[attr-defined]
            if not data:
                return
            left -= len(data)
            yield data


class BlobWriter:
    """Takes a body of unknown length; moves to a file once it outgrows the memory limit."""

    def __init__(self, store: BlobStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._memory = bytearray()
        self._path: Path | None = None
        self._handle: int | None = None
        self.size = 0

    def write(self, data: memoryview | bytes) -> None:
        self.size += len(data)
        if self._handle is None:
            if self.size <= self._limit:
                self._memory += data
                return
            self._path = self._store.new_path()
            self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            _write_all(self._handle, memoryview(bytes(self._memory)))
            self._memory = bytearray()
        _write_all(self._handle, memoryview(data))

    def finish(self) -> Blob:
        self._close()
        return Blob(self._store, self._path, bytes(self._memory), self.size)

    def abandon(self) -> None:
        self._close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _write_all(handle: int, data: memoryview) -> None:
    while len(data):
        data = data[os.write(handle, data) :]


class BlobStore:
    """A folder of numbered files."""

    def __init__(self, folder: Path, memory_limit: int) -> None:
        self._folder = folder
        self._memory_limit = memory_limit
        self._numbers = itertools.count()
        folder.mkdir(parents=True, exist_ok=True)

    def new_path(self) -> Path:
        return self._folder / f"{os.getpid()}-{next(self._numbers)}.blob"

    def writer(self) -> BlobWriter:
        return BlobWriter(self, self._memory_limit)

    def from_bytes(self, data: bytes) -> Blob:
        writer = self.writer()
        writer.write(data)
        return writer.finish()

    def concatenate(self, blobs: list[Blob]) -> Blob:
        """One blob from many, by the kernel where both are files; the sources stay as they are."""
        if len(blobs) == 1:
            return blobs[0].link()
        total = sum(blob.size for blob in blobs)
        if total <= self._memory_limit:
            return self.from_bytes(b"".join(blob.read() for blob in blobs))
        path = self.new_path()
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            for blob in blobs:
                _append(target, blob)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(target)
        return Blob(self, path, b"", total)


def _append(target: int, blob: Blob) -> None:
    if blob.path is None:
        _write_all(target, memoryview(blob.read()))
        return
    source = os.open(blob.path, os.O_RDONLY)
    try:
        left = blob.size
        while left > 0:
            moved = os.copy_file_range(source, target, left)
            if moved == 0:
                raise OSError("a stored part is shorter than it was")
            left -= moved
    finally:
        os.close(source)
