"""Object lock refuses what AWS refuses, and reads back what was set."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from s3_support import Server, bucket, code_of, new_bucket, raw, raw_code, s3, server, versioned  # noqa: F401

NOW = datetime.datetime.now(tz=datetime.timezone.utc).replace(microsecond=0)


def days(count: float) -> datetime.datetime:
    return NOW + datetime.timedelta(days=count)


@pytest.fixture
def locked(s3: Any) -> str:
    return new_bucket(s3, lock=True)


class Object:
    """One version with a retention."""

    def __init__(self, s3: Any, bucket: str, mode: str | None, until: datetime.datetime | None = None) -> None:
        lock = {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": until or days(10)} if mode else {}
        done = s3.put_object(Bucket=bucket, Key="k", Body=b"x", **lock)
        self.s3 = s3
        self.where = {"Bucket": bucket, "Key": "k", "VersionId": done["VersionId"]}

    def retain(self, mode: str, until: datetime.datetime, **more: Any) -> Any:
        return self.s3.put_object_retention(**self.where, Retention={"Mode": mode, "RetainUntilDate": until}, **more)

    def delete(self, **more: Any) -> Any:
        return self.s3.delete_object(**self.where, **more)


def test_retention_is_read_back_as_set(s3: Any, locked: str) -> None:
    one = Object(s3, locked, "COMPLIANCE", days(10))
    retention = s3.get_object_retention(**one.where)["Retention"]
    assert (retention["Mode"], retention["RetainUntilDate"]) == ("COMPLIANCE", days(10))
    head = s3.head_object(**one.where)
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == ("COMPLIANCE", days(10))


def test_compliance_can_be_extended_but_not_shortened_or_changed(s3: Any, locked: str) -> None:
    one = Object(s3, locked, "COMPLIANCE")
    one.retain("COMPLIANCE", days(20))
    assert code_of(lambda: one.retain("COMPLIANCE", days(15))) == "AccessDenied"
    assert code_of(lambda: one.retain("COMPLIANCE", days(15), BypassGovernanceRetention=True)) == "AccessDenied"
    assert code_of(lambda: one.retain("GOVERNANCE", days(30), BypassGovernanceRetention=True)) == "AccessDenied"
    assert s3.get_object_retention(**one.where)["Retention"]["RetainUntilDate"] == days(20)


def test_compliance_forbids_deletion_even_with_bypass(s3: Any, locked: str) -> None:
    one = Object(s3, locked, "COMPLIANCE")
    assert code_of(one.delete) == "AccessDenied"
    assert code_of(lambda: one.delete(BypassGovernanceRetention=True)) == "AccessDenied"


def test_governance_can_be_shortened_only_with_bypass(s3: Any, locked: str) -> None:
    one = Object(s3, locked, "GOVERNANCE")
    one.retain("GOVERNANCE", days(20))
    assert code_of(lambda: one.retain("GOVERNANCE", days(5))) == "AccessDenied"
    one.retain("GOVERNANCE", days(5), BypassGovernanceRetention=True)
    assert s3.get_object_retention(**one.where)["Retention"]["RetainUntilDate"] == days(5)


def test_governance_forbids_deletion_without_bypass(s3: Any, locked: str) -> None:
    one = Object(s3, locked, "GOVERNANCE")
    assert code_of(one.delete) == "AccessDenied"
    assert code_of(lambda: one.delete(BypassGovernanceRetention=False)) == "AccessDenied"
    one.delete(BypassGovernanceRetention=True)
    assert code_of(lambda: s3.get_object(**one.where)) == "NoSuchVersion"


def test_a_legal_hold_stands_alone_until_it_is_lifted(s3: Any, locked: str) -> None:
    one = Object(s3, locked, None)
    s3.put_object_legal_hold(**one.where, LegalHold={"Status": "ON"})
    assert s3.get_object_legal_hold(**one.where)["LegalHold"]["Status"] == "ON"
    assert code_of(lambda: one.delete(BypassGovernanceRetention=True)) == "AccessDenied"
    s3.put_object_legal_hold(**one.where, LegalHold={"Status": "OFF"})
    one.delete()


def test_a_plain_delete_only_hides_a_locked_object(s3: Any, locked: str) -> None:
    one = Object(s3, locked, "COMPLIANCE")
    assert s3.delete_object(Bucket=locked, Key="k")["DeleteMarker"] is True
    assert s3.get_object(**one.where)["Body"].read() == b"x"


def test_deleting_many_reports_the_locked_one_inside_a_200(s3: Any, locked: str) -> None:
    one = Object(s3, locked, "COMPLIANCE")
    free = s3.put_object(Bucket=locked, Key="free", Body=b"x")["VersionId"]
    objects = [{"Key": "k", "VersionId": one.where["VersionId"]}, {"Key": "free", "VersionId": free}]
    done = s3.delete_objects(Bucket=locked, Delete={"Objects": objects})
    assert [item["Key"] for item in done["Deleted"]] == ["free"]
    error = done["Errors"][0]
    assert (error["Key"], error["VersionId"], error["Code"]) == ("k", one.where["VersionId"], "AccessDenied")


def test_the_default_retention_is_readable_and_applied(s3: Any, locked: str) -> None:
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}
    config = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    s3.put_object_lock_configuration(Bucket=locked, ObjectLockConfiguration=config)
    assert s3.get_object_lock_configuration(Bucket=locked)["ObjectLockConfiguration"] == config
    one = Object(s3, locked, None)
    retention = s3.get_object_retention(**one.where)["Retention"]
    assert retention["Mode"] == "COMPLIANCE"
    assert abs(retention["RetainUntilDate"] - days(30)) < datetime.timedelta(minutes=5)
    assert code_of(one.delete) == "AccessDenied"


def test_an_explicit_retention_overrides_the_default(s3: Any, locked: str) -> None:
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Years": 1}}
    s3.put_object_lock_configuration(
        Bucket=locked, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    one = Object(s3, locked, "GOVERNANCE", days(1))
    assert s3.get_object_retention(**one.where)["Retention"]["Mode"] == "GOVERNANCE"


def test_an_upload_takes_its_lock_from_its_creation(s3: Any, locked: str) -> None:
    upload_id = s3.create_multipart_upload(
        Bucket=locked, Key="k", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=days(9)
    )["UploadId"]
    part = s3.upload_part(Bucket=locked, Key="k", UploadId=upload_id, PartNumber=1, Body=b"x")
    done = s3.complete_multipart_upload(
        Bucket=locked, Key="k", UploadId=upload_id, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    where = {"Bucket": locked, "Key": "k", "VersionId": done["VersionId"]}
    assert s3.get_object_retention(**where)["Retention"] == {"Mode": "COMPLIANCE", "RetainUntilDate": days(9)}


def test_a_locked_upload_needs_a_checksum(server: Server, locked: str) -> None:
    headers = {
        "x-amz-object-lock-mode": "COMPLIANCE",
        "x-amz-object-lock-retain-until-date": days(1).isoformat().replace("+00:00", "Z"),
    }
    assert raw_code(raw(server, "PUT", f"/{locked}/k", b"x", **headers)) == "InvalidRequest"


def test_a_date_in_the_past_is_refused(s3: Any, locked: str) -> None:
    assert code_of(lambda: Object(s3, locked, "COMPLIANCE", days(-1))) == "InvalidArgument"


def test_a_bucket_without_lock_takes_no_retention(s3: Any, versioned: str) -> None:
    assert code_of(lambda: Object(s3, versioned, "COMPLIANCE")) == "InvalidRequest"
    assert code_of(lambda: s3.get_object_lock_configuration(Bucket=versioned)) == "ObjectLockConfigurationNotFoundError"


def test_an_object_without_retention_says_so(s3: Any, locked: str) -> None:
    one = Object(s3, locked, None)
    assert code_of(lambda: s3.get_object_retention(**one.where)) == "NoSuchObjectLockConfiguration"


def test_lock_can_be_enabled_on_a_versioned_bucket_that_has_objects(s3: Any, versioned: str) -> None:
    s3.put_object(Bucket=versioned, Key="old", Body=b"x")
    s3.put_object_lock_configuration(Bucket=versioned, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    Object(s3, versioned, "COMPLIANCE")


def test_lock_needs_versioning(s3: Any, bucket: str) -> None:
    config = {"ObjectLockEnabled": "Enabled"}
    assert (
        code_of(lambda: s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=config))
        == "InvalidBucketState"
    )


def test_versioning_cannot_be_suspended_on_a_locked_bucket(s3: Any, locked: str) -> None:
    suspend = {"Bucket": locked, "VersioningConfiguration": {"Status": "Suspended"}}
    assert code_of(lambda: s3.put_bucket_versioning(**suspend)) == "InvalidBucketState"
