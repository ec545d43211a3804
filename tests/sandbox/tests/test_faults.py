"""Faults on demand, in each service's own shape, and the list of calls."""

from __future__ import annotations

import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    FlexibleChecksumError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from s3_support import (  # noqa: F401
    CREDENTIALS,
    MIB,
    PRIMARY,
    Server,
    bucket,
    clean_faults,
    code_of,
    raw,
    s3,
    server,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("clean_faults")

CUT = (ConnectionClosedError, ConnectionError, IncompleteReadError, ResponseStreamingError)


def failure(call: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call()
    answer = caught.value.response
    return str(answer["Error"]["Code"]), int(answer["ResponseMetadata"]["HTTPStatusCode"])


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("throttle", ("SlowDown", 503)),
        ("slowdown", ("SlowDown", 503)),
        ("error500", ("InternalError", 500)),
        ("error503", ("ServiceUnavailable", 503)),
        ("expired_credentials", ("ExpiredToken", 400)),
        ("access_denied", ("AccessDenied", 403)),
    ],
)
def test_s3_errors_have_s3s_shape(server: Server, s3: Any, bucket: str, kind: str, expected: tuple[str, int]) -> None:
    server.fault(kind, service="s3", operation="PutObject")
    assert failure(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"x" * MIB)) == expected
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("throttle", ("Throttling", 400)),
        ("error500", ("InternalFailure", 500)),
        ("error503", ("ServiceUnavailable", 503)),
        ("expired_credentials", ("ExpiredToken", 403)),
        ("access_denied", ("AccessDenied", 403)),
    ],
)
def test_query_services_get_xml_of_their_own(server: Server, kind: str, expected: tuple[str, int]) -> None:
    server.fault(kind, service="sts", operation="GetCallerIdentity")
    assert failure(server.client("sts").get_caller_identity) == expected


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("throttle", ("ThrottlingException", 400)),
        ("error500", ("InternalServiceError", 500)),
        ("expired_credentials", ("ExpiredTokenException", 400)),
        ("access_denied", ("AccessDeniedException", 400)),
    ],
)
def test_json_services_get_json(server: Server, kind: str, expected: tuple[str, int]) -> None:
    server.fault(kind, service="secretsmanager", operation="ListSecrets")
    assert failure(server.client("secretsmanager").list_secrets) == expected


def test_an_html_500_is_no_api_error(server: Server, bucket: str) -> None:
    server.fault("html500", service="s3", operation="GetBucketLocation")
    status, headers, body = raw(server, "GET", f"/{bucket}?location=")
    assert (status, headers["content-type"].split(";")[0]) == (500, "text/html")
    assert b"<html>" in body


def test_an_sdk_retries_until_the_throttling_ends(server: Server, bucket: str) -> None:
    server.fault("throttle", service="s3", operation="PutObject", count=2)
    patient = server.client(retries={"total_max_attempts": 4, "mode": "standard"})
    patient.put_object(Bucket=bucket, Key="k", Body=b"x")
    seen = server.calls(service="s3", operation="PutObject")
    assert [(call["status"], call["fault"]) for call in seen] == [(503, "throttle"), (503, "throttle"), (200, None)]


def test_count_after_and_match_choose_the_calls(server: Server, s3: Any, bucket: str) -> None:
    server.fault("access_denied", service="s3", operation="PutObject", match={"key": "^a/"}, after=1, count=1)
    outcomes = []
    for key in ("b/1", "a/1", "a/2", "a/3"):
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=b"x")
            outcomes.append("ok")
        except ClientError as error:
            outcomes.append(error.response["Error"]["Code"])
    assert outcomes == ["ok", "ok", "AccessDenied", "ok"]
    rule = server.side("GET", "faults")["faults"][0]
    assert (rule["matched"], rule["hits"]) == (2, 1)


def test_a_rule_can_match_query_parameters(server: Server, s3: Any, bucket: str) -> None:
    server.fault("error500", service="s3", operation="UploadPart", match={"query": "partNumber=2(&|$)"}, count=None)
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = {"Bucket": bucket, "Key": "k", "UploadId": upload_id, "Body": b"x"}
    s3.upload_part(PartNumber=1, **part)
    for _ in range(2):
        assert code_of(lambda: s3.upload_part(PartNumber=2, **part)) == "InternalError"


def test_a_rule_lasts_until_it_is_removed(server: Server, s3: Any, bucket: str) -> None:
    rule = server.fault("error503", service="s3", count=None)
    for _ in range(3):
        assert failure(lambda: s3.head_bucket(Bucket=bucket))[1] == 503
    server.side("DELETE", f"faults/{rule}")
    s3.head_bucket(Bucket=bucket)


def test_a_lost_answer_leaves_the_effect(server: Server, s3: Any, bucket: str) -> None:
    server.fault("drop_response_after_effect", service="s3", operation="PutObject")
    with pytest.raises(CUT):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x" * MIB)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x" * MIB
    call = server.calls(operation="PutObject")[0]
    assert (call["status"], call["fault"]) == (200, "drop_response_after_effect")


def test_a_lost_answer_of_complete_leaves_the_object(server: Server, s3: Any, bucket: str) -> None:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=b"x")
    complete = {
        "Bucket": bucket,
        "Key": "k",
        "UploadId": upload_id,
        "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    }
    server.fault("drop_response_after_effect", service="s3", operation="CompleteMultipartUpload")
    with pytest.raises(CUT):
        s3.complete_multipart_upload(**complete)
    assert code_of(lambda: s3.complete_multipart_upload(**complete)) == "NoSuchUpload"
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 1


def test_a_lost_answer_works_for_other_services_too(server: Server) -> None:
    secrets = server.client("secretsmanager")
    server.fault("drop_response_after_effect", service="secretsmanager", operation="CreateSecret")
    with pytest.raises(CUT):
        secrets.create_secret(Name="lost", SecretString="x")
    assert secrets.get_secret_value(SecretId="lost")["SecretString"] == "x"
    secrets.delete_secret(SecretId="lost", ForceDeleteWithoutRecovery=True)


def test_a_cut_request_has_no_effect(server: Server, s3: Any, bucket: str) -> None:
    server.fault("cut_request", service="s3", operation="PutObject")
    with pytest.raises(CUT):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x" * 8 * MIB)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_cut_answer_ends_in_mid_body(server: Server, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * MIB)
    server.fault("cut_response", service="s3", operation="GetObject")
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["ContentLength"] == MIB
    with pytest.raises(CUT):
        got["Body"].read()


def test_a_corrupt_answer_is_found_by_the_checksum(server: Server, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * MIB)
    server.fault("corrupt_response", service="s3", operation="GetObject")
    with pytest.raises(FlexibleChecksumError):
        s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["Body"].read()
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x" * MIB


def test_a_held_call_goes_on_when_the_rule_is_removed(server: Server, s3: Any, bucket: str) -> None:
    rule = server.fault("hold", service="s3", operation="PutObject", seconds=30)
    with ThreadPoolExecutor() as threads:
        put = threads.submit(s3.put_object, Bucket=bucket, Key="k", Body=b"x")
        wait_until(lambda: server.calls(operation="PutObject"), "the call has come")
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0 and not put.done()
        server.side("DELETE", f"faults/{rule}")
        put.result(timeout=10)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


@pytest.mark.parametrize("kind", ["delay", "slow_body", "slow_request"])
def test_slow_calls_take_their_time(server: Server, s3: Any, bucket: str, kind: str) -> None:
    operation = "PutObject" if kind == "slow_request" else "GetObject"
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * MIB)
    server.fault(kind, service="s3", operation=operation, seconds=0.5)
    started = time.monotonic()
    if operation == "PutObject":
        s3.put_object(Bucket=bucket, Key="k", Body=b"x" * MIB)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x" * MIB
    assert time.monotonic() - started >= 0.4


def test_a_delay_beyond_the_clients_patience_is_a_timeout(server: Server, bucket: str) -> None:
    server.fault("delay", service="s3", operation="HeadBucket", seconds=1.0)
    with pytest.raises(ReadTimeoutError):
        server.client(read_timeout=0.2).head_bucket(Bucket=bucket)


def test_calls_are_named_counted_and_attributed(server: Server, s3: Any, bucket: str) -> None:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="a/k")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="a/k", UploadId=upload_id, PartNumber=1, Body=b"x")
    s3.list_parts(Bucket=bucket, Key="a/k", UploadId=upload_id)
    s3.list_multipart_uploads(Bucket=bucket)
    s3.complete_multipart_upload(
        Bucket=bucket,
        Key="a/k",
        UploadId=upload_id,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    s3.head_object(Bucket=bucket, Key="a/k")
    s3.get_object_attributes(Bucket=bucket, Key="a/k", ObjectAttributes=["ETag"])
    s3.list_objects_v2(Bucket=bucket)
    s3.list_object_versions(Bucket=bucket)
    s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a/k")
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "b"}]})
    s3.get_bucket_versioning(Bucket=bucket)
    server.client("sts").get_caller_identity()
    server.client("rds").describe_db_snapshots(DBInstanceIdentifier="orders")
    server.client("kms").list_keys()
    found = [call for call in server.calls() if call["bucket"] in ("", bucket)]
    assert [(call["service"], call["operation"]) for call in found] == [
        ("s3", "CreateBucket"),
        ("s3", "CreateMultipartUpload"),
        ("s3", "UploadPart"),
        ("s3", "ListParts"),
        ("s3", "ListMultipartUploads"),
        ("s3", "CompleteMultipartUpload"),
        ("s3", "HeadObject"),
        ("s3", "GetObjectAttributes"),
        ("s3", "ListObjectsV2"),
        ("s3", "ListObjectVersions"),
        ("s3", "CopyObject"),
        ("s3", "DeleteObjects"),
        ("s3", "GetBucketVersioning"),
        ("sts", "GetCallerIdentity"),
        ("rds", "DescribeDBSnapshots"),
        ("kms", "ListKeys"),
    ]
    assert {call["access_key"] for call in found} == {CREDENTIALS["aws_access_key_id"]}
    assert found[2]["key"] == "a/k"
    assert found[14]["key"] == "orders"
    assert all(call["region"] == PRIMARY and call["status"] == 200 for call in found)


def test_calls_can_be_asked_since_a_time_and_reset(server: Server, s3: Any, bucket: str) -> None:
    s3.head_bucket(Bucket=bucket)
    since = time.time()
    s3.list_objects_v2(Bucket=bucket)
    assert [call["operation"] for call in server.calls(since=str(since))] == ["ListObjectsV2"]
    counts = server.side("GET", "calls?service=s3")["counts"]
    assert (counts["s3:HeadBucket"], counts["s3:ListObjectsV2"]) == (1, 1)
    server.side("DELETE", "calls")
    assert server.calls() == []


def test_the_side_api_is_neither_counted_nor_faulted(server: Server) -> None:
    server.fault("error500", count=None)
    assert server.side("GET", "health")["status"] == "ok"
    assert server.calls() == []


@pytest.mark.parametrize(
    "wish",
    [{"kind": "nonsense"}, {"kind": "throttle", "matches": {}}, {"kind": "throttle", "match": {"key": "("}}, {}],
)
def test_a_rule_that_cannot_work_is_refused(server: Server, wish: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.side("POST", "faults", wish)
    assert caught.value.code == 400


def test_unknown_side_calls_say_so(server: Server) -> None:
    for method, path, expected in (("GET", "nonsense", 404), ("POST", "s3/nonsense", 400)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            server.side(method, path, {} if method == "POST" else None)
        assert caught.value.code == expected
