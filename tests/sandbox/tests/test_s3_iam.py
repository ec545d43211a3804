"""With IAM enforced, each S3 call asks for the action that AWS asks for, and wrong signatures are refused."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from s3_support import PRIMARY, Server, code_of, new_bucket, s3, server, status_of  # noqa: F401


def enforce(server: Server, after: str) -> None:
    url, headers = f"{server.endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    request = urllib.request.Request(url, data=after.encode(), headers=headers, method="POST")
    urllib.request.urlopen(request, timeout=10).read()


class User:
    """A client whose rights are exactly the given actions on the given bucket, or anywhere of another service."""

    def __init__(self, server: Server, bucket: str, *actions: str, service: str = "s3") -> None:
        iam = server.client("iam")
        name = f"user-{uuid.uuid4().hex[:8]}"
        iam.create_user(UserName=name)
        statement = {
            "Effect": "Allow",
            "Action": [f"{service}:{action}" for action in actions],
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"] if service == "s3" else "*",
        }
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        self.key_id, self.secret, self.endpoint = key["AccessKeyId"], key["SecretAccessKey"], server.endpoint

    def client(self, secret: str | None = None) -> Any:
        return boto3.client(
            "s3",
            region_name=PRIMARY,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key_id,
            aws_secret_access_key=secret or self.secret,
            config=Config(retries={"total_max_attempts": 1}),
        )


@pytest.fixture
def enforced(server: Server) -> Iterator[Any]:
    """Makes users first, then switches the enforcement on."""

    def switch_on() -> None:
        enforce(server, "0")

    yield switch_on
    enforce(server, "inf")


def test_a_writer_may_upload_in_parts_and_nothing_else(server: Server, s3: Any, enforced: Any) -> None:
    bucket = new_bucket(s3)
    writer = User(server, bucket, "PutObject").client()
    enforced()
    upload_id = writer.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = writer.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=b"x")
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    writer.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": parts})
    writer.put_object(Bucket=bucket, Key="l", Body=b"x")
    for call in (
        lambda: writer.get_object(Bucket=bucket, Key="k"),
        lambda: writer.list_objects_v2(Bucket=bucket),
        lambda: writer.delete_object(Bucket=bucket, Key="k"),
        lambda: writer.list_multipart_uploads(Bucket=bucket),
        lambda: writer.abort_multipart_upload(Bucket=bucket, Key="k", UploadId="x"),
    ):
        assert code_of(call) == "AccessDenied"
    assert status_of(lambda: writer.head_object(Bucket=bucket, Key="k")) == 403


def test_deleting_a_version_is_another_right_than_deleting(server: Server, s3: Any, enforced: Any) -> None:
    bucket = new_bucket(s3, versioned=True)
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"]
    hider, pruner = User(server, bucket, "DeleteObject").client(), User(server, bucket, "DeleteObjectVersion").client()
    enforced()
    where = {"Bucket": bucket, "Key": "k"}
    assert code_of(lambda: hider.delete_object(**where, VersionId=version)) == "AccessDenied"
    assert code_of(lambda: pruner.delete_object(**where)) == "AccessDenied"
    hider.delete_object(**where)
    pruner.delete_object(**where, VersionId=version)


def test_deleting_many_is_authorized_key_by_key(server: Server, s3: Any, enforced: Any) -> None:
    bucket = new_bucket(s3)
    pruner = User(server, f"{bucket}/mine", "DeleteObject").client()
    enforced()
    objects = [{"Key": "mine/1"}, {"Key": "other/1"}]
    done = pruner.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert [one["Key"] for one in done["Deleted"]] == ["mine/1"]
    assert [(one["Key"], one["Code"]) for one in done["Errors"]] == [("other/1", "AccessDenied")]


def test_bypassing_governance_needs_its_own_right(server: Server, s3: Any, enforced: Any) -> None:
    import datetime

    bucket = new_bucket(s3, lock=True)
    until = datetime.datetime.now(tz=datetime.timezone.utc) + datetime.timedelta(days=1)
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"x", **lock)["VersionId"]
    plain = User(server, bucket, "DeleteObjectVersion").client()
    trusted = User(server, bucket, "DeleteObjectVersion", "BypassGovernanceRetention").client()
    enforced()
    delete = {"Bucket": bucket, "Key": "k", "VersionId": version, "BypassGovernanceRetention": True}
    assert code_of(lambda: plain.delete_object(**delete)) == "AccessDenied"
    trusted.delete_object(**delete)


def test_posture_reads_have_their_own_rights(server: Server, s3: Any, enforced: Any) -> None:
    bucket = new_bucket(s3, lock=True)
    reader = User(
        server,
        bucket,
        "GetBucketVersioning",
        "GetBucketObjectLockConfiguration",
        "GetEncryptionConfiguration",
        "GetReplicationConfiguration",
        "ListBucketVersions",
    ).client()
    enforced()
    reader.get_bucket_versioning(Bucket=bucket)
    reader.get_object_lock_configuration(Bucket=bucket)
    reader.get_bucket_encryption(Bucket=bucket)
    reader.list_object_versions(Bucket=bucket)
    assert code_of(lambda: reader.get_bucket_replication(Bucket=bucket)) == "ReplicationConfigurationNotFoundError"
    assert code_of(lambda: reader.get_bucket_policy(Bucket=bucket)) == "AccessDenied"


def test_a_wrong_secret_is_refused_before_anything_is_stored(server: Server, s3: Any, enforced: Any) -> None:
    bucket = new_bucket(s3)
    user = User(server, bucket, "PutObject")
    enforced()
    forger = user.client(secret="wrong")
    assert code_of(lambda: forger.put_object(Bucket=bucket, Key="k", Body=b"x" * 200_000)) == "SignatureDoesNotMatch"
    enforce(server, "inf")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_signature_is_verified_over_the_query_as_it_was_sent(server: Server, s3: Any, enforced: Any) -> None:
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="a/b c+d/e", Body=b"x")
    user = User(server, bucket, "ListBucket")
    enforced()
    listed = user.client().list_objects_v2(Bucket=bucket, Prefix="a/b c+d/")
    assert [item["Key"] for item in listed["Contents"]] == ["a/b c+d/e"]
    liar = user.client(secret="wrong")
    assert code_of(lambda: liar.list_objects_v2(Bucket=bucket, Prefix="a/b c+d/")) == "SignatureDoesNotMatch"
