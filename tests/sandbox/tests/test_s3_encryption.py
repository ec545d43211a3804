"""SSE as clients see it, KMS keys that cannot be used, and the expected bucket owner."""

from __future__ import annotations

from typing import Any

import pytest
from s3_support import (  # noqa: F401
    ACCOUNT,
    PRIMARY,
    SECONDARY,
    Server,
    bucket,
    code_of,
    new_bucket,
    s3,
    server,
    status_of,
)


@pytest.fixture
def kms(server: Server) -> Any:
    return server.client("kms")


@pytest.fixture
def key_arn(kms: Any) -> str:
    return str(kms.create_key()["KeyMetadata"]["Arn"])


def kms_put(s3: Any, bucket: str, key_id: str, **more: Any) -> Any:
    return s3.put_object(
        Bucket=bucket, Key="k", Body=b"secret", ServerSideEncryption="aws:kms", SSEKMSKeyId=key_id, **more
    )


def test_by_default_objects_are_encrypted_with_s3s_own_keys(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert s3.head_object(Bucket=bucket, Key="k")["ServerSideEncryption"] == "AES256"
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def test_head_shows_the_key_and_the_bucket_key(s3: Any, bucket: str, key_arn: str) -> None:
    kms_put(s3, bucket, key_arn, BucketKeyEnabled=True)
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"], head["BucketKeyEnabled"]) == ("aws:kms", key_arn, True)


@pytest.mark.parametrize("form", ["id", "alias", "alias-arn"])
def test_a_key_given_in_another_form_is_shown_as_arn(s3: Any, kms: Any, bucket: str, key_arn: str, form: str) -> None:
    alias = f"alias/{bucket}"
    kms.create_alias(AliasName=alias, TargetKeyId=key_arn)
    forms = {"id": key_arn.rpartition("/")[2], "alias": alias, "alias-arn": f"arn:aws:kms:{PRIMARY}:{ACCOUNT}:{alias}"}
    kms_put(s3, bucket, forms[form])
    assert s3.head_object(Bucket=bucket, Key="k")["SSEKMSKeyId"] == key_arn


def test_kms_without_a_key_uses_the_managed_one(s3: Any, kms: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms")
    shown = s3.head_object(Bucket=bucket, Key="k")["SSEKMSKeyId"]
    assert shown == kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["Arn"]


def test_the_buckets_default_applies_to_puts_and_uploads(s3: Any, bucket: str, key_arn: str) -> None:
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key_arn},
        "BucketKeyEnabled": True,
    }
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_object(Bucket=bucket, Key="put", Body=b"x")
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="mpu")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="mpu", UploadId=upload_id, PartNumber=1, Body=b"x")
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    done = s3.complete_multipart_upload(Bucket=bucket, Key="mpu", UploadId=upload_id, MultipartUpload={"Parts": parts})
    assert done["SSEKMSKeyId"] == key_arn
    for key in ("put", "mpu"):
        head = s3.head_object(Bucket=bucket, Key=key)
        assert (head["SSEKMSKeyId"], head["BucketKeyEnabled"]) == (key_arn, True)


def test_an_upload_keeps_the_encryption_it_was_created_with(s3: Any, bucket: str, key_arn: str) -> None:
    created = s3.create_multipart_upload(
        Bucket=bucket, Key="k", ServerSideEncryption="aws:kms", SSEKMSKeyId=key_arn, BucketKeyEnabled=True
    )
    assert (created["SSEKMSKeyId"], created["BucketKeyEnabled"]) == (key_arn, True)
    part = s3.upload_part(Bucket=bucket, Key="k", UploadId=created["UploadId"], PartNumber=1, Body=b"x")
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=created["UploadId"], MultipartUpload={"Parts": parts})
    assert s3.head_object(Bucket=bucket, Key="k")["SSEKMSKeyId"] == key_arn


def test_an_unknown_key_is_refused(s3: Any, bucket: str) -> None:
    assert code_of(lambda: kms_put(s3, bucket, "11111111-2222-3333-4444-555555555555")) == "KMS.NotFoundException"


def test_a_key_of_another_region_is_refused(server: Server, s3: Any, bucket: str) -> None:
    other = server.client("kms", SECONDARY).create_key()["KeyMetadata"]["Arn"]
    assert code_of(lambda: kms_put(s3, bucket, other)) == "KMS.NotFoundException"


def test_a_disabled_key_neither_writes_nor_reads(s3: Any, kms: Any, bucket: str, key_arn: str) -> None:
    kms_put(s3, bucket, key_arn)
    kms.disable_key(KeyId=key_arn)
    assert code_of(lambda: kms_put(s3, bucket, key_arn)) == "KMS.DisabledException"
    assert code_of(lambda: s3.get_object(Bucket=bucket, Key="k")) == "KMS.DisabledException"
    kms.enable_key(KeyId=key_arn)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"secret"


def test_a_disabled_key_stops_an_upload_in_progress(s3: Any, kms: Any, bucket: str, key_arn: str) -> None:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k", ServerSideEncryption="aws:kms", SSEKMSKeyId=key_arn)[
        "UploadId"
    ]
    kms.disable_key(KeyId=key_arn)
    part = {"Bucket": bucket, "Key": "k", "UploadId": upload_id, "PartNumber": 1, "Body": b"x"}
    assert code_of(lambda: s3.upload_part(**part)) == "KMS.DisabledException"


def test_a_key_pending_deletion_is_refused(s3: Any, kms: Any, bucket: str, key_arn: str) -> None:
    kms.schedule_key_deletion(KeyId=key_arn, PendingWindowInDays=7)
    assert code_of(lambda: kms_put(s3, bucket, key_arn)) == "KMS.KMSInvalidStateException"


def test_the_etag_of_a_kms_object_is_no_md5(s3: Any, bucket: str, key_arn: str) -> None:
    plain = s3.put_object(Bucket=bucket, Key="k", Body=b"secret")["ETag"]
    assert kms_put(s3, bucket, key_arn)["ETag"] != plain


def test_the_wrong_owner_is_denied_everywhere(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ExpectedBucketOwner=ACCOUNT)
    wrong = {"Bucket": bucket, "ExpectedBucketOwner": "999999999999"}
    for call in (
        lambda: s3.put_object(Key="k", Body=b"y", **wrong),
        lambda: s3.get_object(Key="k", **wrong),
        lambda: s3.list_objects_v2(**wrong),
        lambda: s3.create_multipart_upload(Key="k", **wrong),
        lambda: s3.delete_object(Key="k", **wrong),
        lambda: s3.get_bucket_versioning(**wrong),
    ):
        assert code_of(call) == "AccessDenied"
    assert status_of(lambda: s3.head_object(Key="k", **wrong)) == 403
    assert status_of(lambda: s3.head_bucket(**wrong)) == 403
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
