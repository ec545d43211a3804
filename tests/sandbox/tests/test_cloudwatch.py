"""CloudWatch: as the SDKs speak with it, and whom it answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from rds_support import EAST, Sandbox, sandbox_fixture
from test_s3_iam import User, enforce

ANYBODY = Credentials("AKIATEST", "secret")
sandbox = sandbox_fixture({})


def test_it_takes_gzipped_bodies(sandbox: Sandbox) -> None:
    metrics = [
        {"MetricName": "Age", "Dimensions": [{"Name": "Source", "Value": "x" * 200 + str(number)}], "Value": number}
        for number in range(200)
    ]
    cloudwatch = sandbox.client("cloudwatch")
    cloudwatch.put_metric_data(Namespace="Strongroom", MetricData=metrics)
    found = cloudwatch.get_paginator("list_metrics").paginate(Namespace="Strongroom").build_full_result()
    assert len(found["Metrics"]) == 200


def test_it_is_spoken_with_in_cbor_as_newer_sdks_do(sandbox: Sandbox) -> None:
    of = [{"Name": "DBInstanceIdentifier", "Value": "main"}]
    now = datetime.now(UTC).replace(microsecond=0)
    point = {"MetricName": "FreeStorageSpace", "Dimensions": of, "Value": 5_000_000_000.0, "Timestamp": now}
    status, answer = in_cbor(sandbox, "PutMetricData", {"Namespace": "AWS/RDS", "MetricData": [point]})
    assert (status, answer) == (200, {})
    asked = {
        "Namespace": "AWS/RDS",
        "MetricName": "FreeStorageSpace",
        "Dimensions": of,
        "StartTime": now - timedelta(minutes=5),
        "EndTime": now + timedelta(minutes=1),
        "Period": 60,
        "Statistics": ["Minimum"],
    }
    status, answer = in_cbor(sandbox, "GetMetricStatistics", asked)
    (found,) = answer["Datapoints"]
    assert status == 200 and (found["Timestamp"], found["Minimum"]) == (now, 5_000_000_000.0)
    assert isinstance(found["Minimum"], float)
    status, answer = in_cbor(sandbox, "GetMetricStatistics", {**asked, "Statistics": []})
    assert status == 400 and answer["__type"].endswith("#InvalidParameterCombinationException")


@pytest.fixture
def put_only(sandbox: Sandbox) -> Iterator[Credentials]:
    """The key of someone who may put metrics and no more, while signatures and rights are looked at."""
    user = User(sandbox, "", "PutMetricData", service="cloudwatch")
    enforce(sandbox, "0")
    yield Credentials(user.key_id, user.secret)
    enforce(sandbox, "inf")


def test_its_signatures_and_rights_are_looked_at_in_cbor_too(sandbox: Sandbox, put_only: Credentials) -> None:
    metric = {"Namespace": "Strongroom", "MetricData": [{"MetricName": "Age", "Value": 1.0}]}
    assert in_cbor(sandbox, "PutMetricData", metric, put_only) == (200, {})
    status, answer = in_cbor(sandbox, "PutMetricData", metric, Credentials(put_only.access_key, "another"))
    assert status == 403 and answer["__type"] == "SignatureDoesNotMatch"
    status, answer = in_cbor(sandbox, "ListMetrics", {}, put_only)
    assert status == 403 and answer["__type"] == "AccessDenied" and "cloudwatch:ListMetrics" in answer["message"]


def in_cbor(
    sandbox: Sandbox, operation: str, parameters: dict[str, Any], key: Credentials = ANYBODY
) -> tuple[int, dict[str, Any]]:
    """One call as the AWS SDK for Rust makes it; its status and answer."""
    url = f"{sandbox.endpoint}/service/GraniteServiceVersion20100801/operation/{operation}"
    body = cbor2.dumps(parameters, datetime_as_timestamp=True)
    headers = {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}
    request = AWSRequest("POST", url, headers, body)
    SigV4Auth(key, "monitoring", EAST).add_auth(request)
    with requests.post(url, body, headers=dict(request.headers), timeout=10) as answer:
        assert answer.headers["smithy-protocol"] == "rpc-v2-cbor"
        return answer.status_code, cbor2.loads(answer.content)
