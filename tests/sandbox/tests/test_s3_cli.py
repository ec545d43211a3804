"""The aws command drives each operation: a client that nobody here wrote, and the one that operators use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from s3_support import (  # noqa: F401
    ACCOUNT,
    MIB,
    SECONDARY,
    AwsCli,
    Server,
    aws,
    bucket,
    new_bucket,
    s3,
    server,
    versioned,
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small"
    path.write_bytes(b"hello from the command line")
    return path


def at(bucket: str, key: str = "k") -> list[str]:
    return ["--bucket", bucket, "--key", key]


def test_s3_cp_and_ls_carry_a_large_file_both_ways(aws: AwsCli, bucket: str, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(bytes(range(256)) * 4096 * 20)
    assert aws.run("s3", "cp", "--no-progress", str(source), f"s3://{bucket}/dumps/file").returncode == 0
    listed = aws.run("s3", "ls", "--recursive", f"s3://{bucket}/")
    assert "dumps/file" in listed.stdout
    assert str(20 * MIB) in listed.stdout
    assert aws.run("s3", "cp", "--no-progress", f"s3://{bucket}/dumps/file", str(back)).returncode == 0
    assert back.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_put_object_with_each_checksum(aws: AwsCli, bucket: str, small: Path, algorithm: str) -> None:
    put = aws.json("s3api", "put-object", *at(bucket), "--body", str(small), "--checksum-algorithm", algorithm)
    head = aws.json("s3api", "head-object", *at(bucket), "--checksum-mode", "ENABLED")
    assert head[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]


def test_put_object_with_a_wrong_checksum(aws: AwsCli, bucket: str, small: Path) -> None:
    error = aws.error("s3api", "put-object", *at(bucket), "--body", str(small), "--checksum-crc32", "AAAAAA==")
    assert "BadDigest" in error


def test_put_object_if_none_match(aws: AwsCli, bucket: str, small: Path) -> None:
    put = ["s3api", "put-object", *at(bucket), "--body", str(small), "--if-none-match", "*"]
    aws.json(*put)
    assert "PreconditionFailed" in aws.error(*put)


def test_get_object_with_a_range(aws: AwsCli, s3: Any, bucket: str, tmp_path: Path) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    out = tmp_path / "out"
    aws.json("s3api", "get-object", *at(bucket), "--range", "bytes=2-4", str(out))
    assert out.read_bytes() == b"234"


def test_a_multipart_upload_step_by_step(aws: AwsCli, bucket: str, small: Path, tmp_path: Path) -> None:
    created = aws.json(
        "s3api",
        "create-multipart-upload",
        *at(bucket),
        "--checksum-algorithm",
        "CRC64NVME",
        "--checksum-type",
        "FULL_OBJECT",
    )
    upload = ["--upload-id", created["UploadId"]]
    listed = aws.json("s3api", "list-multipart-uploads", "--bucket", bucket)
    assert [one["UploadId"] for one in listed["Uploads"]] == [created["UploadId"]]
    part = aws.json(
        "s3api",
        "upload-part",
        *at(bucket),
        *upload,
        "--part-number",
        "1",
        "--body",
        str(small),
        "--checksum-algorithm",
        "CRC64NVME",
    )
    parts = aws.json("s3api", "list-parts", *at(bucket), *upload)["Parts"]
    assert parts[0]["ChecksumCRC64NVME"] == part["ChecksumCRC64NVME"]
    named = {"PartNumber": 1, "ETag": part["ETag"], "ChecksumCRC64NVME": part["ChecksumCRC64NVME"]}
    complete = ["s3api", "complete-multipart-upload", *at(bucket), *upload]
    complete += ["--multipart-upload", json.dumps({"Parts": [named]})]
    assert "InvalidRequest" in aws.error(*complete, "--mpu-object-size", "1")
    done = aws.json(*complete, "--mpu-object-size", str(small.stat().st_size))
    assert (done["ChecksumCRC64NVME"], done["ChecksumType"]) == (part["ChecksumCRC64NVME"], "FULL_OBJECT")
    assert "NoSuchUpload" in aws.error(*complete)


def test_abort_multipart_upload(aws: AwsCli, bucket: str) -> None:
    created = aws.json("s3api", "create-multipart-upload", *at(bucket))
    upload = ["--upload-id", created["UploadId"]]
    aws.json("s3api", "abort-multipart-upload", *at(bucket), *upload)
    assert "NoSuchUpload" in aws.error("s3api", "list-parts", *at(bucket), *upload)


def test_get_object_attributes(aws: AwsCli, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ChecksumAlgorithm="SHA256")
    found = aws.json("s3api", "get-object-attributes", *at(bucket), "--object-attributes", "Checksum", "ObjectSize")
    assert (found["ObjectSize"], found["Checksum"]["ChecksumType"]) == (1, "FULL_OBJECT")


def test_list_objects_v2_pages_by_itself(aws: AwsCli, s3: Any, bucket: str) -> None:
    for number in range(5):
        s3.put_object(Bucket=bucket, Key=f"k{number}", Body=b"")
    found = aws.json("s3api", "list-objects-v2", "--bucket", bucket, "--page-size", "2")
    assert [one["Key"] for one in found["Contents"]] == [f"k{number}" for number in range(5)]


def test_versions_delete_markers_and_undelete(aws: AwsCli, s3: Any, versioned: str) -> None:
    s3.put_object(Bucket=versioned, Key="k", Body=b"x")
    marker = aws.json("s3api", "delete-object", *at(versioned))
    assert marker["DeleteMarker"] is True
    found = aws.json("s3api", "list-object-versions", "--bucket", versioned)
    assert (len(found["Versions"]), len(found["DeleteMarkers"])) == (1, 1)
    aws.json("s3api", "delete-object", *at(versioned), "--version-id", marker["VersionId"])
    assert aws.json("s3api", "head-object", *at(versioned))["ContentLength"] == 1


def test_delete_objects(aws: AwsCli, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    wish = json.dumps({"Objects": [{"Key": "k"}]})
    assert aws.json("s3api", "delete-objects", "--bucket", bucket, "--delete", wish)["Deleted"] == [{"Key": "k"}]


def test_retention_and_legal_hold(aws: AwsCli, s3: Any) -> None:
    locked = new_bucket(s3, lock=True)
    version = s3.put_object(Bucket=locked, Key="k", Body=b"x")["VersionId"]
    where = [*at(locked), "--version-id", version]
    retain = ["s3api", "put-object-retention", *where, "--retention"]
    aws.json(*retain, "Mode=COMPLIANCE,RetainUntilDate=2099-01-02T00:00:00Z")
    shorter = aws.error(*retain, "Mode=COMPLIANCE,RetainUntilDate=2098-01-01T00:00:00Z")
    assert "AccessDenied" in shorter
    assert aws.json("s3api", "get-object-retention", *where)["Retention"]["RetainUntilDate"].startswith("2099-01-02")
    aws.json("s3api", "put-object-legal-hold", *where, "--legal-hold", "Status=ON")
    assert aws.json("s3api", "get-object-legal-hold", *where)["LegalHold"]["Status"] == "ON"
    assert "AccessDenied" in aws.error("s3api", "delete-object", *where)


def test_object_lock_configuration(aws: AwsCli, s3: Any) -> None:
    locked = new_bucket(s3, lock=True)
    config = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 7}}}
    where = ["--bucket", locked]
    wish = ["--object-lock-configuration", json.dumps(config)]
    aws.json("s3api", "put-object-lock-configuration", *where, *wish)
    assert aws.json("s3api", "get-object-lock-configuration", *where)["ObjectLockConfiguration"] == config


def test_replication_to_the_other_region(aws: AwsCli, server: Server, s3: Any, versioned: str) -> None:
    target = new_bucket(server.client(region=SECONDARY), SECONDARY, versioned=True)
    rule = {
        "Status": "Enabled",
        "Priority": 1,
        "Filter": {"Prefix": ""},
        "DeleteMarkerReplication": {"Status": "Disabled"},
        "Destination": {"Bucket": f"arn:aws:s3:::{target}"},
    }
    config = json.dumps({"Role": f"arn:aws:iam::{ACCOUNT}:role/r", "Rules": [rule]})
    aws.json("s3api", "put-bucket-replication", "--bucket", versioned, "--replication-configuration", config)
    version = s3.put_object(Bucket=versioned, Key="k", Body=b"x")["VersionId"]
    server.side("POST", "s3/flush-replication", {})
    assert aws.json("s3api", "head-object", *at(versioned))["ReplicationStatus"] == "COMPLETED"
    copy = aws.json("s3api", "head-object", *at(target), "--version-id", version, region=SECONDARY)
    assert copy["ReplicationStatus"] == "REPLICA"


def test_sse_kms(aws: AwsCli, bucket: str, small: Path) -> None:
    key = aws.json("kms", "create-key")["KeyMetadata"]["Arn"]
    kms = ["--server-side-encryption", "aws:kms", "--ssekms-key-id", key, "--bucket-key-enabled"]
    aws.json("s3api", "put-object", *at(bucket), "--body", str(small), *kms)
    head = aws.json("s3api", "head-object", *at(bucket))
    assert (head["SSEKMSKeyId"], head["BucketKeyEnabled"]) == (key, True)


def test_the_wrong_expected_owner(aws: AwsCli, bucket: str) -> None:
    error = aws.error("s3api", "list-objects-v2", "--bucket", bucket, "--expected-bucket-owner", "999999999999")
    assert "AccessDenied" in error


def test_the_command_retries_through_throttling(aws: AwsCli, server: Server, bucket: str, small: Path) -> None:
    server.fault("throttle", service="s3", operation="PutObject", match={"bucket": bucket}, count=1)
    done = aws.run("s3", "cp", "--no-progress", str(small), f"s3://{bucket}/k", AWS_MAX_ATTEMPTS="4")
    assert done.returncode == 0, done.stderr
