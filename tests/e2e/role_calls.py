"""Which role makes which request, where each function has one; read off the sandbox's list of calls."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

from roles import ALERT_SECRET, Credentials
from vault import SOURCE, Vault

BASE = "base"
TELL = BASE
"""The function that has no role: the process's own credentials."""
# Service and operation, and the function whose role asks. The first that fits.
MADE_BY = [
    (r"sts AssumeRole", {BASE}),
    (r"rds (Describe\w+|DownloadDBLogFilePortion)", {"observe"}),
    (r"(monitoring|cloudwatch) GetMetricStatistics", {"observe"}),
    (r"kms DescribeKey", {"observe"}),
    (r"s3 (List\w+|HeadBucket|GetBucket\w+|GetObjectLockConfiguration|GetPublicAccessBlock)", {"observe"}),
    (r"s3 GetObject \S+\.json", {"observe"}),
    (r"s3 GetObject \S+", {"verify"}),
    (r"s3 HeadObject \S+ version", {"verify"}),
    # Who has written it sees whether it arrived; and a replica's versions are not known to who verifies.
    (r"s3 HeadObject \S+", {"dump-write", "verify"}),
    (r"s3 (PutObject|UploadPart|CopyObject|UploadPartCopy|\w+MultipartUpload) \S+", {"dump-write"}),
    (r"s3 DeleteObjects", {"prune"}),
    (r"rds CreateDBSnapshot", {"snapshot"}),
    (r"rds CopyDBSnapshot", {"copy"}),
    (r"rds DeleteDBSnapshot", {"prune"}),
    (r"rds (RestoreDB\w+|CreateDBInstance|ModifyDBInstance|DeleteDBInstance)", {"drill"}),
    (rf"secretsmanager GetSecretValue {ALERT_SECRET}", {TELL}),
    (rf"secretsmanager GetSecretValue rds/{SOURCE}/backup", {"dump-write", "drill"}),
    (r"sns Publish", {TELL}),
    (r"(monitoring|cloudwatch) PutMetricData", {TELL}),
]

Call = dict[str, Any]


def calls(vault: Vault) -> list[Call]:
    """What the sessions of this corner's roles have asked for."""
    return vault.sandbox.calls_as(f"{vault.name}-")


def who(vault: Vault, call: Call) -> str:
    """The function whose role has made a call."""
    made_by: str = call["role"].removeprefix(f"{vault.name}-")
    return made_by


def expected(call: Call) -> set[str]:
    """The functions that a request is of."""
    by_version = " version" if "versionId" in call["query"] else ""
    text = f"{call['service']} {call['operation']} {call['key']}{by_version}"
    for pattern, functions in MADE_BY:
        if re.match(rf"{pattern}(\s|$)", text):
            return functions
    raise AssertionError(f"the table does not have {text}")


def assert_each_by_its_own(vault: Vault, *wanted: str) -> None:
    """Every request was made by the role of its function and none was refused; those that are wanted are among them."""
    wrong = defaultdict(set)
    for call in calls(vault):
        if who(vault, call) not in expected(call):
            wrong[f"{call['service']} {call['operation']}"].add((who(vault, call), call["key"]))
    assert not wrong, dict(wrong)
    refused = [call for call in calls(vault) if call["status"] in (401, 403)]
    assert not refused, refused
    missing = set(wanted) - {call["operation"] for call in calls(vault)}
    assert not missing, missing


def assumed(vault: Vault, by: Credentials | None = None, since: int = 0) -> Counter[str]:
    """How often each role was asked for, by whoever has these credentials, after the call of this number."""
    found = [call for call in calls(vault) if call["operation"] == "AssumeRole" and call["number"] > since]
    own = [call for call in found if by is None or call["access_key"] == by["AWS_ACCESS_KEY_ID"]]
    return Counter(call["key"].rpartition("/")[2].removeprefix(f"{vault.name}-") for call in own)


def last(vault: Vault) -> int:
    """The number of the last call."""
    return max((call["number"] for call in calls(vault)), default=0)
