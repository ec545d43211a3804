"""Readers over the request's socket: a length-bounded one, and one that decodes `aws-chunked`.

Both give `readinto`, so that a body moves from the socket to the disk through one reused buffer.
"""

from __future__ import annotations

from typing import BinaryIO, Protocol

from .errors import S3Error


class BlockReader(Protocol):
    def readinto(self, buffer: memoryview, /) -> int: ...


class BodyEnded(Exception):
    """The client went away in mid-body: nothing of the request may have an effect."""


class PlainReader:
    """Reads exactly `length` bytes (None: until the stream's own end, for Transfer-Encoding: chunked)."""

    def __init__(self, stream: BinaryIO, length: int | None) -> None:
        self._stream = stream
        self._left = length

    def readinto(self, buffer: memoryview, /) -> int:
        if self._left is None:
            return self._stream.readinto(buffer) or 0  # type: ignore[attr-defined]
        if self._left == 0:
            return 0
        count = self._stream.readinto(buffer[: min(len(buffer), self._left)])  # type: ignore[attr-defined]
        if not count:
            raise BodyEnded
        self._left -= count
        return count

    def readline(self) -> bytes:
        bound = 64 * 1024 if self._left is None else min(self._left, 64 * 1024)
        line = self._stream.readline(bound) if bound else b""
        if self._left is not None:
            self._left -= len(line)
        return line


class AwsChunkedReader:
    """Decodes `size[;chunk-signature=…]CRLF data CRLF … 0 CRLF trailers`.

    Chunk signatures are skipped: the sandbox proves integrity by checksums, not by the client's secret.
    """

    def __init__(self, raw: PlainReader) -> None:
        self._raw = raw
        self._left = 0
        self._done = False
        self._started = False
        self.trailers: dict[str, str] = {}

    def readinto(self, buffer: memoryview, /) -> int:
        if self._left == 0 and not self._done:
            self._next_chunk()
        if self._done:
            return 0
        count = self._raw.readinto(buffer[: min(len(buffer), self._left)])
        if not count:
            raise BodyEnded
        self._left -= count
        return count

    def _next_chunk(self) -> None:
        if self._started:
            self._expect_line_end()
        self._started = True
        line = self._raw.readline()
        if not line.endswith(b"\n"):
            raise BodyEnded
        try:
            self._left = int(line.split(b";", 1)[0].strip(), 16)
        except ValueError:
            raise S3Error("InvalidRequest", "The aws-chunked body is malformed.") from None
        if self._left == 0:
            self._read_trailers()
            self._done = True

    def _expect_line_end(self) -> None:
        line = self._raw.readline()
        if line.strip():
            raise S3Error("IncompleteBody", "The request body terminated unexpectedly")

    def _read_trailers(self) -> None:
        while line := self._raw.readline():
            name, colon, value = line.decode("latin-1").partition(":")
            if colon:
                self.trailers[name.strip().lower()] = value.strip()
