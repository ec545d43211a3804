"""Takes a request's body off the socket once: into a blob, through every hash that can be asked about it.

The verdict is kept, not raised: AWS answers "who are you" before "what did you send", so the response class
raises it after the authorization.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import checksums
from .blobs import BLOCK, Blob
from .chunked import AwsChunkedReader, BlockReader, BodyEnded, PlainReader
from .errors import S3Error, bad_digest, invalid_request
from .options import runtime

STREAMING = "STREAMING-"


@dataclass
class Body:
    """A received body and what is known about it."""

    blob: Blob
    digests: dict[str, bytes] = field(default_factory=dict)
    algorithm: str | None = None
    """The one flexible checksum that the client sent (and that was compared), if any."""
    md5_given: bool = False
    problem: S3Error | None = None

    @property
    def md5(self) -> str:
        return self.digests["MD5"].hex()

    def discard(self) -> None:
        self.blob.dispose()


def read_body(environ: dict[str, Any], headers: Mapping[str, str], *, body_checksums: bool) -> Body:
    """Reads and checks a body; header names are in lower case.

    `body_checksums` is False where x-amz-checksum-* speaks of an object instead.
    """
    raw = _raw_reader(environ)
    content_sha256 = headers.get("x-amz-content-sha256", "")
    decoder = AwsChunkedReader(raw) if content_sha256.startswith(STREAMING) else None
    problem, claimed = (None, None)
    if body_checksums:
        problem, claimed = _claimed_algorithm(headers)
    wanted = {"MD5", claimed or checksums.DEFAULT_ALGORITHM}
    if len(content_sha256) == 64:
        wanted.add("SHA256")
    try:
        body = _pump(decoder or raw, wanted)
    except (S3Error, BodyEnded) as error:
        incomplete = S3Error(
            "IncompleteBody",
            "You did not provide the number of bytes specified by the Content-Length HTTP header",
        )
        problem = error if isinstance(error, S3Error) else incomplete
        return Body(runtime().blobs.from_bytes(b""), {"MD5": b""}, problem=problem)
    body.md5_given = "content-md5" in headers
    body.problem = problem or _verify(body, headers, claimed, decoder)
    if claimed and not body.problem:
        body.algorithm = claimed
    return body


def body_of(data: bytes) -> Body:
    """A body for moto's own writes (log delivery, form posts), which never crossed our reader."""
    blob = runtime().blobs.from_bytes(data)
    return Body(blob, {name: digest_of(name, data) for name in ("MD5", checksums.DEFAULT_ALGORITHM)})


def digest_of(algorithm: str, data: bytes) -> bytes:
    one = checksums.hasher(algorithm)
    one.update(data)
    return one.digest()


def digest_blob(algorithm: str, blob: Blob) -> bytes:
    one = checksums.hasher(algorithm)
    for block in blob.blocks(block=BLOCK):
        one.update(block)
    return one.digest()


def _raw_reader(environ: dict[str, Any]) -> PlainReader:
    stream = environ["wsgi.input"]
    if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        return PlainReader(io.BufferedReader(stream, BLOCK), None)  # type: ignore[arg-type]
    return PlainReader(stream, int(environ.get("CONTENT_LENGTH") or 0))


def _pump(reader: BlockReader, wanted: set[str]) -> Body:
    running = {name: checksums.hasher(name) for name in wanted}
    writer = runtime().blobs.writer()
    buffer = memoryview(bytearray(BLOCK))
    try:
        while count := reader.readinto(buffer):
            piece = buffer[:count]
            for one in running.values():
                one.update(piece)
            writer.write(piece)
    except BaseException:
        writer.abandon()
        raise
    return Body(writer.finish(), {name: one.digest() for name, one in running.items()})


def _claimed_algorithm(headers: Mapping[str, str]) -> tuple[S3Error | None, str | None]:
    """Which checksum the client announces, in a header or as a trailer."""
    names = set(headers)
    trailers = {name.strip().lower() for name in headers.get("x-amz-trailer", "").split(",")}
    known = {checksums.header_of(name): name for name in checksums.ALGORITHMS}
    other = {"x-amz-checksum-type", "x-amz-checksum-algorithm", "x-amz-checksum-mode"}
    claims = sorted(n for n in names | trailers if n.startswith(checksums.HEADER_PREFIX) and n not in other)
    if not claims:
        if headers.get("x-amz-sdk-checksum-algorithm"):
            return invalid_request(
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* "
                "or x-amz-trailer headers were found."
            ), None
        return None, None
    if len(claims) > 1:
        return invalid_request(
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        ), None
    if claims[0] not in known:
        return S3Error("NotImplemented", f"The sandbox cannot compute {claims[0]}."), None
    algorithm = known[claims[0]]
    declared = headers.get("x-amz-sdk-checksum-algorithm")
    if declared and declared.upper() != algorithm:
        return invalid_request("Value for x-amz-sdk-checksum-algorithm header is invalid."), None
    return None, algorithm


def _verify(
    body: Body, headers: Mapping[str, str], algorithm: str | None, decoder: AwsChunkedReader | None
) -> S3Error | None:
    content_md5 = headers.get("content-md5")
    if content_md5 is not None and (error := _verify_md5(body, content_md5)):
        return error
    content_sha256 = headers.get("x-amz-content-sha256", "")
    if len(content_sha256) == 64 and body.digests["SHA256"].hex() != content_sha256.lower():
        return S3Error(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
    decoded = headers.get("x-amz-decoded-content-length")
    if decoder is not None and decoded is not None and int(decoded) != body.blob.size:
        return S3Error("IncompleteBody", "The request body terminated unexpectedly")
    if algorithm is None:
        return None
    name = checksums.header_of(algorithm)
    value = headers.get(name) or (decoder.trailers.get(name) if decoder else None)
    if value is None:
        return S3Error("MalformedTrailerError", "The request contained trailing data that was not well-formed.")
    digest = checksums.decode(algorithm, value)
    if digest is None:
        return invalid_request(f"Value for {name} header is invalid.")
    return None if digest == body.digests[algorithm] else bad_digest(algorithm)


def _verify_md5(body: Body, value: str) -> S3Error | None:
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        return S3Error("InvalidDigest", "The Content-MD5 you specified was invalid.")
    if digest != body.digests["MD5"]:
        return S3Error("BadDigest", "The Content-MD5 you specified did not match what we received.")
    return None
