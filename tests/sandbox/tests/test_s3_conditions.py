"""If-None-Match and If-Match decide races: exactly one writer wins, always."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from botocore.exceptions import ClientError
from s3_support import Server, bucket, code_of, s3, server, versioned  # noqa: F401

RACERS = 4
ROUNDS = 10


def race(server: Server, act: Callable[[Any, int], Any]) -> list[str]:
    """All racers act at once with clients of their own; "won", or the error's code."""
    clients = [server.client() for _ in range(RACERS)]
    start = Barrier(RACERS)

    def run(number: int) -> str:
        start.wait(10)
        try:
            act(clients[number], number)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "won"

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(run, range(RACERS)))


ONE_WINNER = ["PreconditionFailed"] * (RACERS - 1) + ["won"]


def test_of_racing_puts_exactly_one_wins(server: Server, s3: Any, versioned: str) -> None:
    for round_ in range(ROUNDS):
        key = f"put-{round_}"
        body = b"x" * 200_000

        def act(client: Any, number: int, key: str = key, body: bytes = body) -> None:
            client.put_object(Bucket=versioned, Key=key, Body=body + bytes([number]), IfNoneMatch="*")

        assert sorted(race(server, act)) == ONE_WINNER
        assert len(s3.list_object_versions(Bucket=versioned, Prefix=key)["Versions"]) == 1


def test_of_racing_completes_exactly_one_wins(server: Server, s3: Any, versioned: str) -> None:
    for round_ in range(ROUNDS):
        key = f"complete-{round_}"
        uploads = []
        for number in range(RACERS):
            upload_id = s3.create_multipart_upload(Bucket=versioned, Key=key)["UploadId"]
            part = s3.upload_part(
                Bucket=versioned, Key=key, UploadId=upload_id, PartNumber=1, Body=bytes([number]) * 100_000
            )
            given = {name: part[name] for name in ("ETag", "ChecksumCRC32") if name in part}
            uploads.append((upload_id, [{"PartNumber": 1, **given}]))

        def act(client: Any, number: int, key: str = key, uploads: list[Any] = uploads) -> None:
            upload_id, parts = uploads[number]
            client.complete_multipart_upload(
                Bucket=versioned, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )

        assert sorted(race(server, act)) == ONE_WINNER
        assert len(s3.list_object_versions(Bucket=versioned, Prefix=key)["Versions"]) == 1


def test_of_racing_updates_with_if_match_exactly_one_wins(server: Server, s3: Any, bucket: str) -> None:
    for round_ in range(ROUNDS):
        etag = s3.put_object(Bucket=bucket, Key="lease", Body=f"round {round_}".encode())["ETag"]

        def act(client: Any, number: int, etag: str = etag) -> None:
            client.put_object(Bucket=bucket, Key="lease", Body=f"racer {number}".encode(), IfMatch=etag)

        assert sorted(race(server, act)) == ONE_WINNER


def test_a_delete_marker_counts_as_absent(s3: Any, versioned: str) -> None:
    s3.put_object(Bucket=versioned, Key="k", Body=b"1")
    s3.delete_object(Bucket=versioned, Key="k")
    s3.put_object(Bucket=versioned, Key="k", Body=b"2", IfNoneMatch="*")


def test_if_match_on_a_missing_key_is_no_such_key(s3: Any, bucket: str) -> None:
    assert code_of(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"", IfMatch='"abc"')) == "NoSuchKey"


def test_a_repeated_conditional_complete_is_precondition_failed(s3: Any, bucket: str) -> None:
    """What a client sees that retries after a lost answer."""
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=b"x")
    parts = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]}]
    complete = {"Bucket": bucket, "Key": "k", "UploadId": upload_id, "MultipartUpload": {"Parts": parts}}
    s3.complete_multipart_upload(**complete, IfNoneMatch="*")
    assert code_of(lambda: s3.complete_multipart_upload(**complete, IfNoneMatch="*")) == "PreconditionFailed"


def test_deleting_with_a_stale_etag_is_refused(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    assert code_of(lambda: s3.delete_object(Bucket=bucket, Key="k", IfMatch='"abc"')) == "PreconditionFailed"


def test_reading_with_conditions(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    assert s3.get_object(Bucket=bucket, Key="k", IfMatch=etag)["Body"].read() == b"1"
    assert code_of(lambda: s3.get_object(Bucket=bucket, Key="k", IfMatch='"x"')) == "PreconditionFailed"
    assert code_of(lambda: s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=etag)) == "304"
