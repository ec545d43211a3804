"""Every checksum that a client may send is compared; a wrong one leaves nothing behind."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any

import pytest
from awscrt import checksums as crt
from s3_support import Server, aws, bucket, code_of, raw, raw_code, s3, server  # noqa: F401

BODY = b"the quick brown fox" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()


def b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


GOOD = {
    "CRC32": b64(zlib.crc32(BODY).to_bytes(4, "big")),
    "CRC32C": b64(crt.crc32c(BODY).to_bytes(4, "big")),
    "CRC64NVME": b64(crt.crc64nvme(BODY).to_bytes(8, "big")),
    "SHA1": b64(hashlib.sha1(BODY).digest()),
    "SHA256": b64(hashlib.sha256(BODY).digest()),
}
BAD = {
    "CRC32": b64(bytes(4)),
    "CRC32C": b64(bytes(4)),
    "CRC64NVME": b64(bytes(8)),
    "SHA1": b64(bytes(20)),
    "SHA256": b64(bytes(32)),
}


@pytest.mark.parametrize("algorithm", sorted(GOOD))
def test_a_right_checksum_is_stored_and_given_back(s3: Any, bucket: str, algorithm: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=BODY, **{f"Checksum{algorithm}": GOOD[algorithm]})
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm}"] == GOOD[algorithm]
    assert head["ChecksumType"] == "FULL_OBJECT"
    attributes = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ObjectSize"])
    assert attributes["Checksum"] == {f"Checksum{algorithm}": GOOD[algorithm], "ChecksumType": "FULL_OBJECT"}


@pytest.mark.parametrize("algorithm", sorted(BAD))
def test_a_wrong_checksum_is_a_bad_digest_and_stores_nothing(s3: Any, bucket: str, algorithm: str) -> None:
    put = {"Bucket": bucket, "Key": "k", "Body": BODY, f"Checksum{algorithm}": BAD[algorithm]}
    assert code_of(lambda: s3.put_object(**put)) == "BadDigest"
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_wrong_content_md5_is_a_bad_digest(server: Server, bucket: str) -> None:
    answer = raw(server, "PUT", f"/{bucket}/k", BODY, Content_MD5=b64(bytes(16)))
    assert raw_code(answer) == "BadDigest"


def test_a_content_md5_that_is_none_is_an_invalid_digest(server: Server, bucket: str) -> None:
    assert raw_code(raw(server, "PUT", f"/{bucket}/k", BODY, Content_MD5="abc")) == "InvalidDigest"


def test_a_right_content_md5_passes(server: Server, bucket: str) -> None:
    answer = raw(server, "PUT", f"/{bucket}/k", BODY, Content_MD5=b64(hashlib.md5(BODY).digest()))
    assert answer[0] == 200


def test_a_wrong_payload_hash_is_refused(server: Server, bucket: str) -> None:
    answer = raw(server, "PUT", f"/{bucket}/k", BODY, x_amz_content_sha256="0" * 64)
    assert raw_code(answer) == "XAmzContentSHA256Mismatch"


def test_a_right_payload_hash_passes(server: Server, bucket: str) -> None:
    assert raw(server, "PUT", f"/{bucket}/k", BODY, x_amz_content_sha256=SHA256)[0] == 200


def test_two_checksums_at_once_are_refused(server: Server, bucket: str) -> None:
    headers = {"x-amz-checksum-crc32": GOOD["CRC32"], "x-amz-checksum-sha256": GOOD["SHA256"]}
    assert raw_code(raw(server, "PUT", f"/{bucket}/k", BODY, **headers)) == "InvalidRequest"


def test_a_checksum_of_the_wrong_length_is_refused(server: Server, bucket: str) -> None:
    answer = raw(server, "PUT", f"/{bucket}/k", BODY, **{"x-amz-checksum-crc32": b64(bytes(8))})
    assert raw_code(answer) == "InvalidRequest"


def test_an_announced_checksum_that_does_not_come_is_refused(server: Server, bucket: str) -> None:
    answer = raw(server, "PUT", f"/{bucket}/k", BODY, **{"x-amz-sdk-checksum-algorithm": "SHA256"})
    assert raw_code(answer) == "InvalidRequest"


def test_an_object_without_any_checksum_gets_crc64nvme(server: Server, s3: Any, bucket: str) -> None:
    assert raw(server, "PUT", f"/{bucket}/k", BODY)[0] == 200
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumCRC64NVME"] == GOOD["CRC64NVME"]


def chunked(body: bytes, trailers: dict[str, str], *, signed: bool) -> bytes:
    """An aws-chunked body in two chunks."""
    extension = b";chunk-signature=" + b"0" * 64 if signed else b""
    half = len(body) // 2
    out = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in (body[:half], body[half:]))
    lines = "".join(f"{name}:{value}\r\n" for name, value in trailers.items())
    return out + b"0" + extension + b"\r\n" + lines.encode() + b"\r\n"


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("value, expected", [(GOOD["CRC64NVME"], "200"), (BAD["CRC64NVME"], "BadDigest")])
def test_a_trailing_checksum_is_compared(
    server: Server, s3: Any, bucket: str, signed: bool, value: str, expected: str
) -> None:
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" if signed else "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    answer = raw(
        server,
        "PUT",
        f"/{bucket}/k",
        chunked(BODY, {"x-amz-checksum-crc64nvme": value}, signed=signed),
        x_amz_content_sha256=kind,
        x_amz_trailer="x-amz-checksum-crc64nvme",
        x_amz_decoded_content_length=str(len(BODY)),
        Content_Encoding="aws-chunked",
    )
    assert raw_code(answer) == expected
    if expected == "200":
        got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert got["Body"].read() == BODY
        assert "ContentEncoding" not in got


def test_a_trailer_that_was_announced_must_come(server: Server, bucket: str) -> None:
    answer = raw(
        server,
        "PUT",
        f"/{bucket}/k",
        chunked(BODY, {}, signed=False),
        x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        x_amz_trailer="x-amz-checksum-crc32",
        x_amz_decoded_content_length=str(len(BODY)),
    )
    assert raw_code(answer) == "MalformedTrailerError"


def test_a_decoded_length_that_is_wrong_is_an_incomplete_body(server: Server, bucket: str) -> None:
    answer = raw(
        server,
        "PUT",
        f"/{bucket}/k",
        chunked(BODY, {"x-amz-checksum-crc32": GOOD["CRC32"]}, signed=False),
        x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        x_amz_trailer="x-amz-checksum-crc32",
        x_amz_decoded_content_length=str(len(BODY) + 1),
    )
    assert raw_code(answer) == "IncompleteBody"


def test_boto_streams_a_file_with_a_trailing_checksum(s3: Any, bucket: str, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(BODY)
    with path.open("rb") as body:
        s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumAlgorithm="SHA256")
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["ChecksumSHA256"] == GOOD["SHA256"]


def test_deleting_many_needs_a_checksum(server: Server, bucket: str) -> None:
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    assert raw_code(raw(server, "POST", f"/{bucket}?delete=", body)) == "InvalidRequest"


def test_configuration_bodies_are_verified_too(server: Server, bucket: str) -> None:
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    answer = raw(server, "PUT", f"/{bucket}?versioning=", body, Content_MD5=b64(bytes(16)))
    assert raw_code(answer) == "BadDigest"
