"""Multipart uploads: lifetimes, sizes, checksums of parts and of the whole, listings."""

from __future__ import annotations

import base64
import datetime
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from awscrt import checksums as crt
from s3_support import (  # noqa: F401
    MIB,
    Server,
    bucket,
    code_of,
    new_bucket,
    raw,
    raw_code,
    s3,
    server,
    status_of,
    versioned,
    wait_until,
)

FIVE = os.urandom(5 * MIB)
TAIL = b"the last part may be small"


def b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def crc64(data: bytes) -> str:
    return b64(crt.crc64nvme(data).to_bytes(8, "big"))


class Upload:
    """An upload in progress, with as little ceremony as tests like."""

    def __init__(self, s3: Any, bucket: str, key: str = "k", **create: Any) -> None:
        self.s3 = s3
        self.where = {"Bucket": bucket, "Key": key}
        self.id = s3.create_multipart_upload(**self.where, **create)["UploadId"]
        self.parts: list[dict[str, Any]] = []

    def part(self, number: int, body: bytes, **more: Any) -> dict[str, Any]:
        done = self.s3.upload_part(**self.where, UploadId=self.id, PartNumber=number, Body=body, **more)
        sums = {name: value for name, value in done.items() if name.startswith("Checksum") and name != "ChecksumType"}
        self.parts.append({"PartNumber": number, "ETag": done["ETag"], **sums})
        return dict(done)

    def complete(self, **more: Any) -> dict[str, Any]:
        return dict(
            self.s3.complete_multipart_upload(
                **self.where, UploadId=self.id, MultipartUpload={"Parts": self.parts}, **more
            )
        )


def crc64_upload(s3: Any, bucket: str, key: str = "k") -> Upload:
    return Upload(s3, bucket, key, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT")


def two_parts(upload: Upload, algorithm: str = "CRC64NVME") -> Upload:
    upload.part(1, FIVE, ChecksumAlgorithm=algorithm)
    upload.part(2, TAIL, ChecksumAlgorithm=algorithm)
    return upload


def test_the_bytes_come_back_as_they_were_sent(s3: Any, bucket: str) -> None:
    two_parts(crc64_upload(s3, bucket)).complete()
    assert s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["Body"].read() == FIVE + TAIL


def test_a_full_object_checksum_is_of_the_whole_object(s3: Any, bucket: str) -> None:
    upload = two_parts(crc64_upload(s3, bucket))
    whole = crc64(FIVE + TAIL)
    done = upload.complete(ChecksumCRC64NVME=whole, ChecksumType="FULL_OBJECT", MpuObjectSize=len(FIVE + TAIL))
    assert (done["ChecksumCRC64NVME"], done["ChecksumType"]) == (whole, "FULL_OBJECT")
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head["ChecksumCRC64NVME"], head["ChecksumType"]) == (whole, "FULL_OBJECT")
    attributes = s3.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ObjectParts", "ObjectSize", "ETag"]
    )
    assert attributes["Checksum"] == {"ChecksumCRC64NVME": whole, "ChecksumType": "FULL_OBJECT"}
    assert attributes["ObjectSize"] == len(FIVE + TAIL)
    assert attributes["ObjectParts"]["TotalPartsCount"] == 2
    assert [part["Size"] for part in attributes["ObjectParts"]["Parts"]] == [len(FIVE), len(TAIL)]


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C"])
def test_other_crcs_can_be_full_object_too(s3: Any, bucket: str, algorithm: str) -> None:
    upload = two_parts(Upload(s3, bucket, ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT"), algorithm)
    function = {"CRC32": crt.crc32, "CRC32C": crt.crc32c}[algorithm]
    assert upload.complete()[f"Checksum{algorithm}"] == b64(function(FIVE + TAIL).to_bytes(4, "big"))


def test_a_composite_checksum_is_of_the_parts_checksums(s3: Any, bucket: str) -> None:
    upload = two_parts(Upload(s3, bucket, ChecksumAlgorithm="SHA256"), "SHA256")
    composite = hashlib.sha256(hashlib.sha256(FIVE).digest() + hashlib.sha256(TAIL).digest()).digest()
    done = upload.complete()
    assert (done["ChecksumSHA256"], done["ChecksumType"]) == (f"{b64(composite)}-2", "COMPOSITE")
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["ChecksumSHA256"] == f"{b64(composite)}-2"
    attributes = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum"])
    assert attributes["Checksum"] == {"ChecksumSHA256": b64(composite), "ChecksumType": "COMPOSITE"}


def test_a_composite_crc32c_is_right(s3: Any, bucket: str) -> None:
    upload = two_parts(Upload(s3, bucket, ChecksumAlgorithm="CRC32C"), "CRC32C")
    parts = b"".join(crt.crc32c(part).to_bytes(4, "big") for part in (FIVE, TAIL))
    assert upload.complete()["ChecksumCRC32C"] == f"{b64(crt.crc32c(parts).to_bytes(4, 'big'))}-2"


def test_a_wrong_whole_checksum_is_a_bad_digest_and_the_upload_stays(s3: Any, bucket: str) -> None:
    upload = two_parts(crc64_upload(s3, bucket))
    assert code_of(lambda: upload.complete(ChecksumCRC64NVME=crc64(b"other"))) == "BadDigest"
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    upload.complete(ChecksumCRC64NVME=crc64(FIVE + TAIL))


def test_a_wrong_object_size_is_refused(s3: Any, bucket: str) -> None:
    upload = two_parts(crc64_upload(s3, bucket))
    assert code_of(lambda: upload.complete(MpuObjectSize=7)) == "InvalidRequest"


def test_another_checksum_type_than_declared_is_refused(s3: Any, bucket: str) -> None:
    upload = two_parts(crc64_upload(s3, bucket))
    assert code_of(lambda: upload.complete(ChecksumType="COMPOSITE")) == "InvalidRequest"


def test_crc64nvme_cannot_be_composite(s3: Any, bucket: str) -> None:
    create = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "COMPOSITE"}
    assert code_of(lambda: Upload(s3, bucket, **create)) == "InvalidRequest"


def test_a_part_with_a_wrong_checksum_is_a_bad_digest_and_not_kept(s3: Any, bucket: str) -> None:
    upload = crc64_upload(s3, bucket)
    assert code_of(lambda: upload.part(1, FIVE, ChecksumCRC64NVME=crc64(b"other"))) == "BadDigest"
    assert "Parts" not in s3.list_parts(**upload.where, UploadId=upload.id)


def test_a_part_with_another_algorithm_than_declared_is_refused(s3: Any, bucket: str) -> None:
    upload = crc64_upload(s3, bucket)
    assert code_of(lambda: upload.part(1, FIVE, ChecksumAlgorithm="SHA256")) == "InvalidRequest"


def test_without_a_declared_algorithm_parts_may_bring_any_and_the_whole_gets_crc64nvme(s3: Any, bucket: str) -> None:
    done = two_parts(Upload(s3, bucket), "CRC32").complete()
    assert (done["ChecksumCRC64NVME"], done["ChecksumType"]) == (crc64(FIVE + TAIL), "FULL_OBJECT")


def test_a_composite_upload_needs_a_checksum_with_every_part(server: Server, s3: Any, bucket: str) -> None:
    upload = Upload(s3, bucket, ChecksumAlgorithm="SHA256")
    answer = raw(server, "PUT", f"/{bucket}/k?partNumber=1&uploadId={upload.id}", TAIL)
    assert raw_code(answer) == "InvalidRequest"


def test_a_part_checksum_that_differs_at_complete_is_an_invalid_part(s3: Any, bucket: str) -> None:
    upload = two_parts(crc64_upload(s3, bucket))
    upload.parts[0]["ChecksumCRC64NVME"] = crc64(b"other")
    assert code_of(upload.complete) == "InvalidPart"


def test_a_composite_upload_needs_every_parts_checksum_at_complete(s3: Any, bucket: str) -> None:
    upload = two_parts(Upload(s3, bucket, ChecksumAlgorithm="SHA256"), "SHA256")
    del upload.parts[1]["ChecksumSHA256"]
    assert code_of(upload.complete) == "InvalidRequest"


def test_a_wrong_etag_is_an_invalid_part(s3: Any, bucket: str) -> None:
    upload = two_parts(crc64_upload(s3, bucket))
    upload.parts[0]["ETag"] = '"00000000000000000000000000000000"'
    assert code_of(upload.complete) == "InvalidPart"


def test_parts_must_be_named_in_order(s3: Any, bucket: str) -> None:
    upload = two_parts(crc64_upload(s3, bucket))
    upload.parts.reverse()
    assert code_of(upload.complete) == "InvalidPartOrder"


def test_a_gap_in_the_numbers_is_an_internal_error_with_checksums(s3: Any, bucket: str) -> None:
    upload = crc64_upload(s3, bucket)
    upload.part(1, FIVE, ChecksumAlgorithm="CRC64NVME")
    upload.part(3, TAIL, ChecksumAlgorithm="CRC64NVME")
    assert status_of(upload.complete) == 500


def test_only_the_last_part_may_be_small(s3: Any, bucket: str) -> None:
    upload = crc64_upload(s3, bucket)
    upload.part(1, TAIL, ChecksumAlgorithm="CRC64NVME")
    upload.part(2, TAIL, ChecksumAlgorithm="CRC64NVME")
    assert code_of(upload.complete) == "EntityTooSmall"


def test_no_parts_is_malformed(s3: Any, bucket: str) -> None:
    assert code_of(crc64_upload(s3, bucket).complete) == "MalformedXML"


def test_a_part_number_beyond_ten_thousand_is_refused(s3: Any, bucket: str) -> None:
    upload = crc64_upload(s3, bucket)
    assert code_of(lambda: upload.part(10001, TAIL, ChecksumAlgorithm="CRC64NVME")) == "InvalidArgument"


def test_a_part_sent_twice_counts_once_and_the_last_wins(s3: Any, bucket: str) -> None:
    upload = crc64_upload(s3, bucket)
    upload.part(1, b"first", ChecksumAlgorithm="CRC64NVME")
    upload.parts.clear()
    upload.part(1, b"second", ChecksumAlgorithm="CRC64NVME")
    upload.complete()
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"second"


def test_after_abort_the_upload_is_unknown_to_every_call(s3: Any, bucket: str) -> None:
    upload = two_parts(crc64_upload(s3, bucket))
    s3.abort_multipart_upload(**upload.where, UploadId=upload.id)
    assert code_of(lambda: upload.part(3, TAIL, ChecksumAlgorithm="CRC64NVME")) == "NoSuchUpload"
    assert code_of(upload.complete) == "NoSuchUpload"
    assert code_of(lambda: s3.list_parts(**upload.where, UploadId=upload.id)) == "NoSuchUpload"
    assert code_of(lambda: s3.abort_multipart_upload(**upload.where, UploadId=upload.id)) == "NoSuchUpload"


def test_after_complete_the_upload_is_unknown(s3: Any, bucket: str) -> None:
    upload = two_parts(crc64_upload(s3, bucket))
    upload.complete()
    assert code_of(upload.complete) == "NoSuchUpload"
    assert code_of(lambda: upload.part(3, TAIL, ChecksumAlgorithm="CRC64NVME")) == "NoSuchUpload"


def test_initiated_is_the_real_time(s3: Any, bucket: str) -> None:
    before = datetime.datetime.now(tz=datetime.timezone.utc) - datetime.timedelta(seconds=2)
    crc64_upload(s3, bucket)
    initiated = s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["Initiated"]
    assert before <= initiated <= datetime.datetime.now(tz=datetime.timezone.utc)


def test_listed_parts_have_sizes_and_checksums_and_pages(s3: Any, bucket: str) -> None:
    upload = crc64_upload(s3, bucket)
    for number in (1, 2, 3):
        upload.part(number, b"x" * number, ChecksumAlgorithm="CRC64NVME")
    page = s3.list_parts(**upload.where, UploadId=upload.id, MaxParts=2)
    assert [part["PartNumber"] for part in page["Parts"]] == [1, 2]
    assert (page["IsTruncated"], page["NextPartNumberMarker"]) == (True, 2)
    rest = s3.list_parts(**upload.where, UploadId=upload.id, PartNumberMarker=2)
    assert [(part["PartNumber"], part["Size"], part["ChecksumCRC64NVME"]) for part in rest["Parts"]] == [
        (3, 3, crc64(b"xxx"))
    ]
    assert (rest["IsTruncated"], rest["ChecksumAlgorithm"], rest["ChecksumType"]) == (False, "CRC64NVME", "FULL_OBJECT")


def test_uploads_are_listed_by_prefix_in_pages(s3: Any, bucket: str) -> None:
    ids = [crc64_upload(s3, bucket, key).id for key in ("a/1", "a/1", "a/2", "b/1")]
    seen, markers = [], {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, Prefix="a/", MaxUploads=1, **markers)
        seen += [(upload["Key"], upload["UploadId"]) for upload in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert sorted(seen) == sorted(zip(("a/1", "a/1", "a/2"), ids[:3], strict=True))
    delimited = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [one["Prefix"] for one in delimited["CommonPrefixes"]] == ["a/", "b/"]


def test_metadata_tags_and_class_are_fixed_at_create(s3: Any, bucket: str) -> None:
    upload = Upload(
        s3, bucket, Metadata={"run": "7"}, Tagging="owner=us", StorageClass="STANDARD_IA", ContentType="a/b"
    )
    upload.part(1, TAIL)
    upload.complete()
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["Metadata"], head["StorageClass"], head["ContentType"]) == ({"run": "7"}, "STANDARD_IA", "a/b")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "owner", "Value": "us"}]


def test_a_part_of_an_object_can_be_read(s3: Any, bucket: str) -> None:
    two_parts(crc64_upload(s3, bucket)).complete()
    got = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert (got["Body"].read(), got["PartsCount"]) == (TAIL, 2)
    assert s3.head_object(Bucket=bucket, Key="k", PartNumber=1)["ContentLength"] == len(FIVE)


def test_a_part_can_be_copied_from_an_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=FIVE)
    upload = crc64_upload(s3, bucket)
    copied = s3.upload_part_copy(
        **upload.where,
        UploadId=upload.id,
        PartNumber=1,
        CopySource=f"{bucket}/source",
        CopySourceRange="bytes=0-99",
    )["CopyPartResult"]
    upload.parts.append({"PartNumber": 1, "ETag": copied["ETag"], "ChecksumCRC64NVME": copied["ChecksumCRC64NVME"]})
    upload.complete()
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == FIVE[:100]


def test_a_body_cut_by_the_client_is_no_part(server: Server, s3: Any, bucket: str) -> None:
    import socket

    upload = crc64_upload(s3, bucket)
    host, port = server.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = (
            f"PUT /{bucket}/k?partNumber=1&uploadId={upload.id} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            "Authorization: AWS4-HMAC-SHA256 Credential=A/20260101/eu-central-1/s3/aws4_request\r\n\r\n"
        )
        connection.sendall(head.encode() + b"x" * 500)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    assert "Parts" not in s3.list_parts(**upload.where, UploadId=upload.id)


def test_a_large_upload_stays_out_of_memory(server: Server, s3: Any, bucket: str) -> None:
    """256 MiB in, completed and read back; the process grows by buffers only."""
    upload = crc64_upload(s3, bucket)
    body = os.urandom(32 * MIB)
    before = server.rss_bytes()

    def send(number: int) -> dict[str, Any]:
        done = s3.upload_part(
            **upload.where, UploadId=upload.id, PartNumber=number, Body=body, ChecksumAlgorithm="CRC64NVME"
        )
        return {"PartNumber": number, "ETag": done["ETag"], "ChecksumCRC64NVME": done["ChecksumCRC64NVME"]}

    with ThreadPoolExecutor(2) as pool:
        upload.parts = list(pool.map(send, range(1, 9)))
    upload.complete()
    digest = hashlib.sha256()
    stream = s3.get_object(Bucket=bucket, Key="k")["Body"]
    for block in stream.iter_chunks(MIB):
        digest.update(block)
    assert digest.digest() == hashlib.sha256(body * 8).digest()
    assert server.peak_rss_bytes() - before < 48 * MIB
    s3.delete_object(Bucket=bucket, Key="k")
    blobs = server.workdir / "s3"
    wait_until(lambda: sum(one.stat().st_size for one in blobs.iterdir()) < 128 * MIB, "the bytes are gone")
