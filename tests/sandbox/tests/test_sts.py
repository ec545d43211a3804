"""Sessions of roles: who may have one, what it is called, how long it lasts, and which calls it has made."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from s3_support import (  # noqa: F401
    ACCOUNT,
    PRIMARY,
    Server,
    clean_faults,
    code_of,
    new_bucket,
    s3,
    server,
    status_of,
    wait_until,
)
from test_s3_iam import enforce

pytestmark = pytest.mark.usefixtures("clean_faults")

Key = dict[str, str]


@pytest.fixture
def bucket(s3: Any) -> str:
    return new_bucket(s3)


class Corner:
    """A user, a role that the user may assume, and one that this role may assume: each may list the bucket."""

    def __init__(self, server: Server, bucket: str) -> None:
        self.server, self.name = server, f"r{uuid.uuid4().hex[:8]}"
        self.base, self.function = f"{self.name}-base", f"{self.name}-function"
        iam = server.client("iam")
        iam.create_user(UserName=self.name)
        made = iam.create_access_key(UserName=self.name)["AccessKey"]
        self.user: Key = {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]}
        read = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"}
        iam.put_user_policy(UserName=self.name, PolicyName="p", PolicyDocument=self.policy(self.may(self.base)))
        for role, trusted, rights in (
            (self.base, f"arn:aws:iam::{ACCOUNT}:user/{self.name}", [read, self.may(self.function)]),
            (self.function, self.arn(self.base), [read]),
        ):
            trust = {"Effect": "Allow", "Principal": {"AWS": trusted}, "Action": "sts:AssumeRole"}
            iam.create_role(RoleName=role, AssumeRolePolicyDocument=self.policy(trust), MaxSessionDuration=7200)
            iam.put_role_policy(RoleName=role, PolicyName="p", PolicyDocument=self.policy(*rights))

    def arn(self, role: str) -> str:
        return f"arn:aws:iam::{ACCOUNT}:role/{role}"

    def may(self, role: str) -> dict[str, Any]:
        return {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": self.arn(role)}

    def policy(self, *statements: dict[str, Any]) -> str:
        return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})

    def client(self, service: str, key: Key) -> Any:
        config = Config(retries={"total_max_attempts": 1})
        return boto3.client(service, region_name=PRIMARY, endpoint_url=self.server.endpoint, config=config, **key)

    def assume(self, role: str, by: Key, name: str = "strongroom-bank-observe", **more: Any) -> Key:
        made = self.client("sts", by).assume_role(RoleArn=self.arn(role), RoleSessionName=name, **more)["Credentials"]
        return {
            "aws_access_key_id": made["AccessKeyId"],
            "aws_secret_access_key": made["SecretAccessKey"],
            "aws_session_token": made["SessionToken"],
        }

    def calls(self, operation: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.server.side("GET", f"calls?operation={operation}")["calls"]
        return found


@pytest.fixture
def corner(server: Server, bucket: str) -> Iterator[Corner]:
    """Rights are looked at, and sessions last as long as they are asked for."""
    made = Corner(server, bucket)
    enforce(server, "0")
    yield made
    enforce(server, "inf")
    server.side("POST", "sts/set_session_seconds", {"seconds": None})


def test_a_role_is_assumed_by_whom_it_trusts_and_who_may(corner: Corner) -> None:
    base = corner.assume(corner.base, corner.user)
    corner.assume(corner.function, base)
    with pytest.raises(ClientError) as refused:
        corner.assume(corner.function, corner.user)
    error, who = refused.value.response["Error"], f"arn:aws:iam::{ACCOUNT}:user/{corner.name}"
    arn = corner.arn(corner.function)
    assert error["Message"] == f"User: {who} is not authorized to perform: sts:AssumeRole on resource: {arn}"
    assert error["Code"] == "AccessDenied" and error["Type"] == "Sender"
    assert code_of(lambda: corner.assume(corner.base, base)) == "AccessDenied"


def test_a_call_tells_which_session_has_made_it(corner: Corner, bucket: str) -> None:
    base = corner.assume(corner.base, corner.user, "one")
    function = corner.assume(corner.function, base, "two")
    for key in (base, function):
        corner.client("s3", key).head_bucket(Bucket=bucket)
    made = [(call["role"], call["session"]) for call in corner.calls("HeadBucket") if call["bucket"] == bucket]
    assert made == [(corner.base, "one"), (corner.function, "two")]
    assumed = [(call["role"], call["key"]) for call in corner.calls("AssumeRole") if corner.name in call["key"]]
    assert assumed == [("", corner.arn(corner.base)), (corner.base, corner.arn(corner.function))]


@pytest.mark.parametrize("name", ["with space", "strongroom/bank", "über", "x" * 65])
def test_a_session_has_a_name_that_sts_takes(corner: Corner, name: str) -> None:
    assert code_of(lambda: corner.assume(corner.base, corner.user, name)) == "ValidationError"


def test_a_session_that_comes_from_a_session_lasts_an_hour_at_most(corner: Corner) -> None:
    base = corner.assume(corner.base, corner.user, DurationSeconds=7200)
    corner.assume(corner.function, base, DurationSeconds=3600)
    assert code_of(lambda: corner.assume(corner.function, base, DurationSeconds=3601)) == "ValidationError"
    assert code_of(lambda: corner.assume(corner.base, corner.user, DurationSeconds=7201)) == "ValidationError"


def test_a_session_that_is_over_is_refused_in_the_words_of_each_service(corner: Corner, bucket: str) -> None:
    corner.server.side("POST", "sts/set_session_seconds", {"seconds": 0.5})
    base = corner.assume(corner.base, corner.user)
    corner.client("s3", base).head_bucket(Bucket=bucket)
    ends = time.monotonic() + 0.5
    wait_until(lambda: time.monotonic() > ends, "it is over")
    assert code_of(lambda: corner.client("s3", base).list_objects_v2(Bucket=bucket)) == "ExpiredToken"
    assert code_of(lambda: corner.assume(corner.function, base)) == "ExpiredToken"
    assert code_of(lambda: corner.client("kms", base).list_keys()) == "ExpiredTokenException"
    corner.assume(corner.base, corner.user)


def test_one_role_alone_can_be_refused_by_a_fault(corner: Corner) -> None:
    base = corner.assume(corner.base, corner.user)
    arn = corner.arn(corner.function)
    corner.server.fault("access_denied", service="sts", operation="AssumeRole", match={"key": f"^{arn}$"})
    assert code_of(lambda: corner.assume(corner.function, base)) == "AccessDenied"
    corner.assume(corner.function, base)


def test_faults_can_be_of_one_role(corner: Corner, bucket: str) -> None:
    corner.server.fault("throttle", operation="HeadBucket", match={"role": f"^{corner.function}$"})
    base = corner.assume(corner.base, corner.user)
    function = corner.assume(corner.function, base)
    corner.client("s3", base).head_bucket(Bucket=bucket)
    assert status_of(lambda: corner.client("s3", function).head_bucket(Bucket=bucket)) == 503


def test_secrets_of_sessions_are_told_to_tests(corner: Corner) -> None:
    base = corner.assume(corner.base, corner.user)
    told = corner.server.side("POST", "sts/sessions", {})["result"]
    (session,) = [session for session in told if session["role"] == corner.base]
    assert (session["access_key"], session["secret_key"], session["token"]) == tuple(base.values())
