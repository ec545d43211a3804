"""Replication really copies, with AWS's statuses, exclusions and delays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from s3_support import (  # noqa: F401
    ACCOUNT,
    MIB,
    PRIMARY,
    SECONDARY,
    Server,
    bucket,
    code_of,
    new_bucket,
    s3,
    server,
    versioned,
    wait_until,
)

ROLE = f"arn:aws:iam::{ACCOUNT}:role/replication"


@pytest.fixture
def there(server: Server) -> Any:
    """A client in the other region."""
    return server.client(region=SECONDARY)


@pytest.fixture
def target(there: Any) -> str:
    return new_bucket(there, SECONDARY, versioned=True)


@pytest.fixture
def held(server: Server) -> Iterator[None]:
    """Nothing is replicated before a flush."""
    server.side("POST", "s3/replication-delay", {"seconds": 3600})
    yield
    server.side("POST", "s3/flush-replication", {})
    server.side("POST", "s3/replication-delay", {"seconds": 0.2})


def replicate(s3: Any, source: str, target: str, prefix: str = "", **more: Any) -> None:
    destination = {"Bucket": f"arn:aws:s3:::{target}", **more.pop("Destination", {})}
    rule = {
        "ID": "dr",
        "Status": "Enabled",
        "Priority": 1,
        "Filter": {"Prefix": prefix},
        "DeleteMarkerReplication": {"Status": "Disabled"},
        "Destination": destination,
        **more,
    }
    s3.put_bucket_replication(Bucket=source, ReplicationConfiguration={"Role": ROLE, "Rules": [rule]})


def flush(server: Server) -> None:
    server.side("POST", "s3/flush-replication", {})


def status(client: Any, bucket: str, key: str = "k", **more: Any) -> str | None:
    found: str | None = client.head_object(Bucket=bucket, Key=key, **more).get("ReplicationStatus")
    return found


def test_an_object_goes_from_pending_to_completed_and_is_a_replica_there(
    server: Server, s3: Any, there: Any, versioned: str, target: str, held: None
) -> None:
    replicate(s3, versioned, target)
    done = s3.put_object(Bucket=versioned, Key="k", Body=b"data" * MIB, Metadata={"a": "b"}, Tagging="t=1")
    assert status(s3, versioned) == "PENDING"
    assert there.list_objects_v2(Bucket=target)["KeyCount"] == 0
    flush(server)
    assert status(s3, versioned) == "COMPLETED"
    copy = there.get_object(Bucket=target, Key="k", VersionId=done["VersionId"], ChecksumMode="ENABLED")
    assert copy["Body"].read() == b"data" * MIB
    assert (copy["ReplicationStatus"], copy["Metadata"], copy["ETag"]) == ("REPLICA", {"a": "b"}, done["ETag"])
    assert copy["ChecksumCRC32"] == done["ChecksumCRC32"]
    assert there.get_object_tagging(Bucket=target, Key="k")["TagSet"] == [{"Key": "t", "Value": "1"}]


def test_without_a_flush_it_happens_after_the_delay(s3: Any, there: Any, versioned: str, target: str) -> None:
    replicate(s3, versioned, target)
    s3.put_object(Bucket=versioned, Key="k", Body=b"x")
    wait_until(lambda: status(s3, versioned) == "COMPLETED", "the copy")
    assert status(there, target) == "REPLICA"


def test_multipart_objects_keep_their_checksum(
    server: Server, s3: Any, there: Any, versioned: str, target: str
) -> None:
    replicate(s3, versioned, target)
    upload_id = s3.create_multipart_upload(
        Bucket=versioned, Key="k", ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
    )["UploadId"]
    part = s3.upload_part(
        Bucket=versioned, Key="k", UploadId=upload_id, PartNumber=1, Body=b"x" * MIB, ChecksumAlgorithm="CRC64NVME"
    )
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    done = s3.complete_multipart_upload(Bucket=versioned, Key="k", UploadId=upload_id, MultipartUpload={"Parts": parts})
    flush(server)
    copy = there.head_object(Bucket=target, Key="k", VersionId=done["VersionId"], ChecksumMode="ENABLED")
    assert (copy["ChecksumCRC64NVME"], copy["ChecksumType"]) == (done["ChecksumCRC64NVME"], "FULL_OBJECT")


def test_a_prefix_that_does_not_match_leaves_no_header(
    server: Server, s3: Any, there: Any, versioned: str, target: str
) -> None:
    replicate(s3, versioned, target, prefix="in/")
    for key in ("in/k", "out/k"):
        s3.put_object(Bucket=versioned, Key=key, Body=b"x")
    flush(server)
    assert (status(s3, versioned, "in/k"), status(s3, versioned, "out/k")) == ("COMPLETED", None)
    assert [one["Key"] for one in there.list_objects_v2(Bucket=target)["Contents"]] == ["in/k"]


def test_objects_from_before_the_rule_are_not_replicated(
    server: Server, s3: Any, there: Any, versioned: str, target: str
) -> None:
    s3.put_object(Bucket=versioned, Key="k", Body=b"x")
    replicate(s3, versioned, target)
    flush(server)
    assert status(s3, versioned) is None


def test_a_disabled_rule_does_nothing(server: Server, s3: Any, versioned: str, target: str) -> None:
    replicate(s3, versioned, target, Status="Disabled")
    s3.put_object(Bucket=versioned, Key="k", Body=b"x")
    assert status(s3, versioned) is None


def test_kms_objects_need_the_selection_criteria(
    server: Server, s3: Any, there: Any, versioned: str, target: str
) -> None:
    key = server.client("kms").create_key()["KeyMetadata"]["Arn"]
    put = {"Bucket": versioned, "Key": "k", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    replicate(s3, versioned, target)
    s3.put_object(Body=b"1", **put)
    flush(server)
    assert status(s3, versioned) is None
    replica_key = server.client("kms", SECONDARY).create_key()["KeyMetadata"]["Arn"]
    replicate(
        s3,
        versioned,
        target,
        SourceSelectionCriteria={"SseKmsEncryptedObjects": {"Status": "Enabled"}},
        Destination={"EncryptionConfiguration": {"ReplicaKmsKeyID": replica_key}},
    )
    s3.put_object(Body=b"2", **put)
    flush(server)
    assert status(s3, versioned) == "COMPLETED"
    copy = there.head_object(Bucket=target, Key="k")
    assert (copy["ReplicationStatus"], copy["SSEKMSKeyId"]) == ("REPLICA", replica_key)


def test_a_disabled_replica_key_fails_the_replication(
    server: Server, s3: Any, there: Any, versioned: str, target: str, held: None
) -> None:
    kms = server.client("kms", SECONDARY)
    replica_key = kms.create_key()["KeyMetadata"]["Arn"]
    replicate(
        s3,
        versioned,
        target,
        SourceSelectionCriteria={"SseKmsEncryptedObjects": {"Status": "Enabled"}},
        Destination={"EncryptionConfiguration": {"ReplicaKmsKeyID": replica_key}},
    )
    s3.put_object(Bucket=versioned, Key="k", Body=b"x", ServerSideEncryption="aws:kms")
    kms.disable_key(KeyId=replica_key)
    flush(server)
    assert status(s3, versioned) == "FAILED"


@pytest.mark.parametrize("fate", ["deleted", "suspended"])
def test_a_target_that_cannot_take_it_makes_it_failed(
    server: Server, s3: Any, there: Any, versioned: str, target: str, held: None, fate: str
) -> None:
    replicate(s3, versioned, target)
    s3.put_object(Bucket=versioned, Key="k", Body=b"x")
    if fate == "deleted":
        there.delete_bucket(Bucket=target)
    else:
        there.put_bucket_versioning(Bucket=target, VersioningConfiguration={"Status": "Suspended"})
    flush(server)
    assert status(s3, versioned) == "FAILED"


def test_deleting_a_pending_version_loses_the_copy(
    server: Server, s3: Any, there: Any, versioned: str, target: str, held: None
) -> None:
    replicate(s3, versioned, target)
    done = s3.put_object(Bucket=versioned, Key="k", Body=b"x")
    s3.delete_object(Bucket=versioned, Key="k", VersionId=done["VersionId"])
    flush(server)
    assert there.list_objects_v2(Bucket=target)["KeyCount"] == 0


def test_version_deletes_never_travel(server: Server, s3: Any, there: Any, versioned: str, target: str) -> None:
    replicate(s3, versioned, target, DeleteMarkerReplication={"Status": "Enabled"})
    done = s3.put_object(Bucket=versioned, Key="k", Body=b"x")
    flush(server)
    s3.delete_object(Bucket=versioned, Key="k", VersionId=done["VersionId"])
    flush(server)
    assert there.get_object(Bucket=target, Key="k", VersionId=done["VersionId"])["Body"].read() == b"x"


@pytest.mark.parametrize("wanted", [True, False])
def test_delete_markers_travel_only_if_configured(
    server: Server, s3: Any, there: Any, versioned: str, target: str, wanted: bool
) -> None:
    replicate(s3, versioned, target, DeleteMarkerReplication={"Status": "Enabled" if wanted else "Disabled"})
    s3.put_object(Bucket=versioned, Key="k", Body=b"x")
    marker = s3.delete_object(Bucket=versioned, Key="k")["VersionId"]
    flush(server)
    markers = there.list_object_versions(Bucket=target).get("DeleteMarkers", [])
    assert [one["VersionId"] for one in markers] == ([marker] if wanted else [])


def test_the_lock_travels_with_the_object(server: Server, s3: Any, there: Any) -> None:
    import datetime

    until = datetime.datetime.now(tz=datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(days=3)
    source, target = new_bucket(s3, lock=True), new_bucket(there, SECONDARY, lock=True)
    replicate(s3, source, target)
    done = s3.put_object(
        Bucket=source, Key="k", Body=b"x", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until
    )
    flush(server)
    where = {"Bucket": target, "Key": "k", "VersionId": done["VersionId"]}
    assert there.get_object_retention(**where)["Retention"] == {"Mode": "COMPLIANCE", "RetainUntilDate": until}
    assert code_of(lambda: there.delete_object(**where)) == "AccessDenied"


def test_replicas_are_not_replicated_back(server: Server, s3: Any, there: Any, versioned: str, target: str) -> None:
    replicate(s3, versioned, target)
    replicate(there, target, versioned)
    s3.put_object(Bucket=versioned, Key="k", Body=b"x")
    flush(server)
    assert (status(s3, versioned), status(there, target)) == ("COMPLETED", "REPLICA")
    assert len(s3.list_object_versions(Bucket=versioned)["Versions"]) == 1


def test_a_late_copy_of_an_old_version_is_not_the_current_one(
    server: Server, s3: Any, there: Any, versioned: str, target: str, held: None
) -> None:
    replicate(s3, versioned, target)
    for body in (b"old", b"new"):
        s3.put_object(Bucket=versioned, Key="k", Body=body)
    flush(server)
    assert there.get_object(Bucket=target, Key="k")["Body"].read() == b"new"


def test_the_configuration_is_read_back_whole(s3: Any, versioned: str, target: str) -> None:
    replicate(
        s3,
        versioned,
        target,
        prefix="dumps/",
        SourceSelectionCriteria={"SseKmsEncryptedObjects": {"Status": "Enabled"}},
        Destination={"EncryptionConfiguration": {"ReplicaKmsKeyID": "arn:aws:kms:eu-west-1:1:key/x"}},
    )
    rule = s3.get_bucket_replication(Bucket=versioned)["ReplicationConfiguration"]["Rules"][0]
    assert rule["Filter"] == {"Prefix": "dumps/"}
    assert rule["SourceSelectionCriteria"] == {"SseKmsEncryptedObjects": {"Status": "Enabled"}}
    assert rule["Destination"]["EncryptionConfiguration"]["ReplicaKmsKeyID"].endswith("key/x")


def test_a_target_that_is_missing_or_unversioned_is_refused(s3: Any, there: Any, versioned: str) -> None:
    unversioned = new_bucket(there, SECONDARY)
    for target in ("no-such-bucket-anywhere", unversioned):
        assert code_of(lambda target=target: replicate(s3, versioned, target)) == "InvalidRequest"


def test_versioning_of_a_replicated_bucket_cannot_be_suspended(s3: Any, versioned: str, target: str) -> None:
    replicate(s3, versioned, target)
    suspend = {"Bucket": versioned, "VersioningConfiguration": {"Status": "Suspended"}}
    assert code_of(lambda: s3.put_bucket_versioning(**suspend)) == "InvalidBucketState"
