"""What the roles of deploy/terraform may and may not, read off their documents. tests/e2e/test_roles.py tries it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from policy_documents import Document, documents, fence, flatten, listed, of_daemon, of_dump, of_recover, of_split
from test_terraform import GIVEN
from tools import ROOT, TERRAFORM, run, tool

sys.path.append(str(ROOT / "tests/sandbox"))

from sandbox.iam_rules import Request, allows, like, several  # noqa: E402

FUNCTIONS = listed("functions")
SPLIT = [name for name in FUNCTIONS if name != "tell"]
ALL = documents(
    **(
        GIVEN
        | {
            "alert_secrets": ["arn:aws:secretsmanager:us-east-1:111122223333:secret:strongroom/heartbeat-url-*"],
            "recover_secrets": ["arn:aws:secretsmanager:us-east-1:111122223333:secret:bank/cards/app-*"],
            "copied_replicas": ["bank-backups-copied"],
        }
    )
)
ADMINISTRATOR: Document = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}

# Each request that the code makes, the right that it needs, and the function whose role makes it where roles are split: one, but for
# what is divided by keys (records and all other objects) or by what it is for (what was written and what stands; secrets). Whoever
# recovers makes some by themselves.
REQUESTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "cloudwatch GetMetricStatistics": ("cloudwatch:GetMetricStatistics", ("observe",)),
    "cloudwatch PutMetricData": ("cloudwatch:PutMetricData", ("tell",)),
    "kms DescribeKey": ("kms:DescribeKey", ("observe",)),
    "rds CopyDBSnapshot": ("rds:CopyDBSnapshot", ("copy",)),
    "rds CreateDBInstance": ("rds:CreateDBInstance", ("drill",)),
    "rds CreateDBSnapshot": ("rds:CreateDBSnapshot", ("snapshot",)),
    "rds DeleteDBInstance": ("rds:DeleteDBInstance", ("drill",)),
    "rds DeleteDBSnapshot": ("rds:DeleteDBSnapshot", ("prune",)),
    "rds DescribeAccountAttributes": ("rds:DescribeAccountAttributes", ("observe",)),
    "rds DescribeDBInstanceAutomatedBackups": ("rds:DescribeDBInstanceAutomatedBackups", ("observe",)),
    "rds DescribeDBInstances": ("rds:DescribeDBInstances", ("observe",)),
    "rds DescribeDBLogFiles": ("rds:DescribeDBLogFiles", ("observe",)),
    "rds DescribeDBParameters": ("rds:DescribeDBParameters", ("observe",)),
    "rds DescribeDBSnapshots": ("rds:DescribeDBSnapshots", ("observe",)),
    "rds DescribeEvents": ("rds:DescribeEvents", ("observe",)),
    "rds DescribePendingMaintenanceActions": ("rds:DescribePendingMaintenanceActions", ("observe",)),
    "rds DownloadDBLogFilePortion": ("rds:DownloadDBLogFilePortion", ("observe",)),
    "rds ModifyDBInstance": ("rds:ModifyDBInstance", ("drill", "recover")),
    "rds RestoreDBInstanceFromDBSnapshot": ("rds:RestoreDBInstanceFromDBSnapshot", ("drill", "recover")),
    "rds RestoreDBInstanceToPointInTime": ("rds:RestoreDBInstanceToPointInTime", ("drill", "recover")),
    "s3 AbortMultipartUpload": ("s3:AbortMultipartUpload", ("dump-write",)),
    "s3 CompleteMultipartUpload": ("s3:PutObject", ("dump-write",)),
    "s3 CopyObject": ("s3:PutObject", ("dump-write",)),
    "s3 CreateMultipartUpload": ("s3:PutObject", ("dump-write",)),
    "s3 DeleteObjects": ("s3:DeleteObjectVersion", ("prune",)),
    "s3 GetBucketEncryption": ("s3:GetEncryptionConfiguration", ("observe",)),
    "s3 GetBucketLifecycleConfiguration": ("s3:GetLifecycleConfiguration", ("observe",)),
    "s3 GetBucketPolicy": ("s3:GetBucketPolicy", ("observe",)),
    "s3 GetBucketReplication": ("s3:GetReplicationConfiguration", ("observe",)),
    "s3 GetBucketVersioning": ("s3:GetBucketVersioning", ("observe",)),
    "s3 GetObject": ("s3:GetObject", ("observe", "verify")),
    "s3 GetObjectLockConfiguration": ("s3:GetBucketObjectLockConfiguration", ("observe",)),
    "s3 GetPublicAccessBlock": ("s3:GetBucketPublicAccessBlock", ("observe",)),
    "s3 HeadBucket": ("s3:ListBucket", ("observe",)),
    "s3 HeadObject": ("s3:GetObject", ("verify", "dump-write")),
    "s3 ListMultipartUploads": ("s3:ListBucketMultipartUploads", ("observe",)),
    "s3 ListObjectVersions": ("s3:ListBucketVersions", ("observe",)),
    "s3 PutObject": ("s3:PutObject", ("dump-write", "recover")),
    "s3 UploadPart": ("s3:PutObject", ("dump-write",)),
    "s3 UploadPartCopy": ("s3:PutObject", ("dump-write",)),
    "secretsmanager GetSecretValue": ("secretsmanager:GetSecretValue", ("tell", "dump-write", "drill", "recover")),
    "secretsmanager PutSecretValue": ("secretsmanager:PutSecretValue", ("recover",)),
    "sns Publish": ("sns:Publish", ("tell",)),
    # With the credentials of the process, whose role may (modules/roles/main.tf).
    "sts AssumeRole": ("sts:AssumeRole", ()),
}

# Rights that no request of a function is named after, and why they are needed.
COMPANIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "kms:CreateGrant": ("RDS reads and writes storage by a grant", ("copy", "drill", "recover")),
    "kms:Decrypt": (
        "parts of uploads, and everything that is read",
        ("observe", "verify", "dump-write", "copy", "drill", "tell", "recover"),
    ),
    "kms:DescribeKey": ("RDS looks at a key for the caller", ("copy", "drill", "recover")),
    "kms:Encrypt": ("copies of snapshots", ("copy",)),
    "kms:GenerateDataKey": ("objects and messages that are written", ("dump-write", "tell", "recover")),
    "kms:GenerateDataKey*": ("storage of snapshots and instances", ("copy", "drill", "recover")),
    "kms:ReEncrypt*": ("copies of snapshots", ("copy",)),
    "rds-db:connect": ("logins by token", ("dump-write", "drill", "recover")),
    "rds:AddTagsToResource": ("tags in the call that makes something", ("snapshot", "copy", "drill", "recover")),
    "s3:DeleteObject": ("DeleteObjects asks for it beside that for versions", ("prune",)),
    "s3:GetObjectLegalHold": ("without it S3 keeps quiet about locks", ("verify",)),
    "s3:GetObjectRetention": ("without it S3 keeps quiet about locks", ("verify",)),
    "s3:GetObjectVersion": ("all but records are read and copied by their version", ("verify", "dump-write")),
    "s3:ListBucket": (
        "without it S3 says of what is missing that it is forbidden",
        ("observe", "verify", "dump-write"),
    ),
}


def statements(document: Document, effect: str) -> Iterator[dict[str, Any]]:
    return (statement for statement in document["Statement"] if statement["Effect"] == effect)


def allowed(document: Document) -> set[str]:
    return {action for statement in statements(document, "Allow") for action in several(statement["Action"])}


# The right rights


def test_the_table_is_of_exactly_the_requests_that_the_code_makes() -> None:
    files = [
        file for file in (ROOT / "src/adapters").glob("**/*.rs") if "tests" not in file.parts and file.stem != "tests"
    ]
    code = "\n".join(file.read_text() for file in files)
    called = set(re.findall(r"\.(\w+)\(\)", code)) | set(re.findall(r"on_bucket!\(\w+, \w+\.(\w+)\)", code))
    session = botocore.session.get_session()
    made = {
        f"{service} {operation}"
        for service in re.findall(r"aws-sdk-(\w+) = ", (ROOT / "Cargo.toml").read_text())
        for operation in session.get_service_model(service).operation_names
        if xform_name(operation) in called
    }
    assert made == REQUESTS.keys()


def test_what_is_counted_by_name_is_in_the_table() -> None:
    listed_in_code = (ROOT / "src/telemetry/metrics/aws.rs").read_text().split("const OTHER")[0]
    counted = set(re.findall(r'"([A-Z]\w+)"', listed_in_code))
    assert len(counted) > 25 and counted <= {request.split()[1] for request in REQUESTS}


@pytest.mark.parametrize("function", [*FUNCTIONS, "recover"])
def test_a_function_may_what_its_requests_need_and_nothing_else(function: str) -> None:
    needed = {action for action, functions in REQUESTS.values() if function in functions}
    needed |= {action for action, (_, functions) in COMPANIONS.items() if function in functions}
    assert allowed(ALL[function]) == needed


def test_the_daemon_may_what_the_readme_says() -> None:
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (readme,) = [json.loads(block) for block in blocks if '"Sid": "Look"' in block]
    own = {action for name in FUNCTIONS for action in allowed(ALL[name])}
    assert own == allowed(readme)


def test_every_action_exists() -> None:
    """In the service authorization reference, as policy_sentry has it."""
    templates = [file for file in TERRAFORM.glob("modules/*/policy.json.tftpl")]
    found = {
        action
        for document in [*ALL.values(), *map(raw, templates)]
        for statement in document["Statement"]
        for action in several(statement["Action"])
    }
    services = sorted({action.split(":")[0] for action in found})
    script = (
        "import json, sys; from policy_sentry.querying.actions import get_actions_for_service as of; "
        "print(json.dumps([action for service in sys.argv[1:] for action in of(service)]))"
    )
    known: list[str] = json.loads(run(tool("python"), "-c", script, *services))
    assert [action for action in sorted(found) if not any(like(action, one) for one in known)] == []


def raw(template: Path) -> Document:
    """A template with its names left in, each list of them as one."""
    text = re.sub(r"\$\{jsonencode\((\w+)\)\}", r'"${\1}"', template.read_text())
    return {"Statement": json.loads(text)}


def test_everything_that_can_be_narrowed_is() -> None:
    everywhere = {
        action
        for name in [*FUNCTIONS, "recover"]
        for statement in statements(ALL[name], "Allow")
        for action in several(statement["Action"])
        if "*" in statement["Resource"] and "Condition" not in statement
    }
    only_looks = {action for action in everywhere if re.match(r"(rds:Describe|cloudwatch:Get)", action)}
    assert everywhere == only_looks


def test_roles_are_small_enough_for_iam() -> None:
    """Managed policies have 6,144 characters, a role's own 10,240 together, and ten can be attached."""
    size = {name: len(json.dumps(document, separators=(",", ":"))) for name, document in ALL.items()}
    assert all(size[name] < 6144 / 2 for name in [*FUNCTIONS, "recover"]), "half of it is for longer lists of names"
    assert len(FUNCTIONS) < 10 and size["guard"] + size["production"] < 10240 / 2


# The wrong ones

ACCOUNT = "111122223333"
OWN, OTHER = "bank-production/strongroom-a", "bank-staging/strongroom-a"
RDS = f"arn:aws:rds:us-east-1:{ACCOUNT}"
FORBIDDEN = [
    Request("rds:ModifyDBInstance", f"{RDS}:db:bank-accounts-prod"),
    Request("rds:DeleteDBInstance", f"{RDS}:db:bank-accounts-prod"),
    Request("rds:DeleteDBInstance", f"{RDS}:db:somebody-elses"),
    Request("rds:RebootDBInstance", f"{RDS}:db:bank-cards-prod"),
    Request("rds:DeleteDBSnapshot", f"{RDS}:snapshot:by-hand", {"aws:ResourceTag/strongroom:owner": OWN}),
    Request("rds:DeleteDBSnapshot", f"{RDS}:snapshot:strongroom-a"),
    Request("rds:DeleteDBSnapshot", f"{RDS}:snapshot:strongroom-a", {"aws:ResourceTag/strongroom:owner": OTHER}),
    Request("rds:ModifyDBSnapshotAttribute", f"{RDS}:snapshot:strongroom-a"),
    Request("rds:StartExportTask", f"{RDS}:snapshot:strongroom-a"),
    Request("s3:DeleteObjectVersion", "arn:aws:s3:::bank-backups/elsewhere/x"),
    Request("s3:PutObject", "arn:aws:s3:::bank-backups/elsewhere/x"),
    Request("s3:BypassGovernanceRetention", "arn:aws:s3:::bank-backups/strongroom/x"),
    Request("s3:PutObjectRetention", "arn:aws:s3:::bank-backups/strongroom/x"),
    *(
        Request(f"s3:{action}", "arn:aws:s3:::bank-backups")
        for action in (
            "DeleteBucket",
            "DeleteBucketPolicy",
            "PutBucketObjectLockConfiguration",
            "PutBucketPolicy",
            "PutBucketPublicAccessBlock",
            "PutBucketVersioning",
            "PutEncryptionConfiguration",
            "PutLifecycleConfiguration",
            "PutReplicationConfiguration",
        )
    ),
    *(
        Request(f"kms:{action}", f"arn:aws:kms:us-east-1:{ACCOUNT}:key/b")
        for action in ("DisableKey", "PutKeyPolicy", "ScheduleKeyDeletion", "UpdateAlias")
    ),
    Request("iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/strongroom-production"),
]


@pytest.mark.parametrize(
    "request_", FORBIDDEN, ids=lambda request: f"{request.action} {request.resource.rsplit(':', 1)[1]}"
)
def test_it_stays_denied_to_the_daemon_although_somebody_makes_it_an_administrator(request_: Request) -> None:
    assert not allows([ADMINISTRATOR, *(ALL[name] for name in of_daemon())], request_)
    assert not allows([ADMINISTRATOR, *(ALL[name] for name in of_dump())], request_)
    for function in SPLIT:
        assert not allows([ADMINISTRATOR, *(ALL[name] for name in of_split(function))], request_)
    if request_.action not in ("rds:ModifyDBInstance", "rds:RebootDBInstance"):
        assert not allows([ADMINISTRATOR, *(ALL[name] for name in of_recover())], request_)


def test_what_a_denial_is_narrowed_to_is_done_all_the_same() -> None:
    daemon = [ALL[name] for name in of_daemon()]
    marked = {"aws:ResourceTag/strongroom:owner": OWN}
    for request in (
        Request("rds:DeleteDBSnapshot", f"{RDS}:snapshot:strongroom-a", marked),
        Request("rds:DeleteDBSnapshot", f"arn:aws:rds:us-west-2:{ACCOUNT}:snapshot:strongroom-a", marked),
        Request("rds:DeleteDBInstance", f"{RDS}:db:strongroom-drill-a", marked),
        Request("s3:DeleteObjectVersion", "arn:aws:s3:::bank-backups/strongroom/x"),
        Request("s3:DeleteObjectVersion", "arn:aws:s3:::bank-backups-west/strongroom/x"),
        Request("s3:PutObject", "arn:aws:s3:::bank-backups-copied/strongroom/x"),
    ):
        assert allows(daemon, request), request


@pytest.mark.parametrize("function", SPLIT)
def test_a_right_that_is_given_to_the_wrong_role_stays_without_effect(function: str) -> None:
    others = {"rds:DeleteDBSnapshot": "prune", "s3:DeleteObjectVersion": "prune", "s3:PutObject": "dump-write"}
    others |= {
        "rds:CreateDBSnapshot": "snapshot",
        "rds:CopyDBSnapshot": "copy",
        "rds:RestoreDBInstanceFromDBSnapshot": "drill",
    }
    for action, owner in others.items():
        assert allows([ADMINISTRATOR, fence(function)], Request(action)) == (owner == function), action
    assert not set(flatten(fence(function)["Statement"][0]["Action"])) & allowed(ALL[function]), "it would deny its own"


def test_a_job_that_dumps_writes_and_can_delete_nothing() -> None:
    """Whatever somebody adds to its role: it has the fence of who writes dumps."""
    role = [fence("dump-write"), *(ALL[name] for name in of_dump())]
    assert allows(role, Request("s3:PutObject", "arn:aws:s3:::bank-backups/strongroom/x"))
    for action in ("s3:DeleteObjectVersion", "rds:DeleteDBSnapshot", "rds:CreateDBSnapshot", "rds:DeleteDBInstance"):
        assert not allows([ADMINISTRATOR, *role], Request(action)), action


def test_without_copies_and_drills_there_are_no_rights_for_them() -> None:
    least = documents(
        **{
            name: GIVEN[name]
            for name in ("account", "region", "installation", "instances", "bucket", "bucket_keys", "key_regions")
        }
    )
    assert ALL.keys() - least.keys() == {"copy", "drill"}
    text = json.dumps(least)
    assert "us-west-2:111122223333:snapshot" not in text and "bank-backups-west" not in text
    assert "sns:Publish" not in text and "rds-db:connect" not in text


# Who may come in


def trust(name: str, **values: str) -> Document:
    text = (TERRAFORM / f"modules/roles/trust/{name}.json.tftpl").read_text()
    for key, value in values.items():
        text = text.replace(f"${{{key}}}", value)
    assert "${" not in text
    return {"Statement": [{**statement, "Resource": "*"} for statement in json.loads(text)]}


def test_irsa_lets_exactly_one_service_account_in() -> None:
    issuer = "oidc.eks.us-east-1.amazonaws.com/id/X"
    document = trust("irsa", provider="arn:p", issuer=issuer, namespace="strongroom", service_account="strongroom")
    action = "sts:AssumeRoleWithWebIdentity"

    def comes_in(sub: str, aud: str = "sts.amazonaws.com") -> bool:
        return allows([document], Request(action, "*", {f"{issuer}:sub": sub, f"{issuer}:aud": aud}))

    assert comes_in("system:serviceaccount:strongroom:strongroom")
    for sub in ("system:serviceaccount:strongroom:default", "system:serviceaccount:other:strongroom"):
        assert not comes_in(sub)
    assert not comes_in("system:serviceaccount:strongroom:strongroom", "somebody")
    assert not allows([document], Request(action)), "no claims at all"


def test_pod_identity_lets_one_service_account_of_one_cluster_in() -> None:
    cluster = f"arn:aws:eks:us-east-1:{ACCOUNT}:cluster/bank"
    document = trust(
        "pod-identity", account=ACCOUNT, cluster=cluster, namespace="strongroom", service_account="strongroom"
    )
    keys = {
        "aws:RequestTag/kubernetes-namespace": "strongroom",
        "aws:RequestTag/kubernetes-service-account": "strongroom",
        "aws:SourceAccount": ACCOUNT,
        "aws:SourceArn": cluster,
    }
    assert allows([document], Request("sts:AssumeRole", "*", keys))
    for key in keys:
        assert not allows([document], Request("sts:AssumeRole", "*", keys | {key: "another"})), key


def test_a_host_and_the_daemon_come_in_as_what_they_are() -> None:
    (host,), (daemon,) = trust("ec2")["Statement"], trust("daemon", daemon="arn:d")["Statement"]
    assert host["Principal"] == {"Service": "ec2.amazonaws.com"} and daemon["Principal"] == {"AWS": "arn:d"}


# What buckets, keys and topics allow


def resource_policy(module: str, **values: Any) -> Document:
    text = (TERRAFORM / f"modules/{module}/policy.json.tftpl").read_text()
    for name, value in values.items():
        text = text.replace(f"${{jsonencode({name})}}", json.dumps(value)).replace(f"${{{name}}}", str(value))
    assert "${" not in text
    return {"Statement": json.loads(text)}


def test_buckets_are_reached_over_tls_and_versions_deleted_by_the_deleters_alone() -> None:
    bucket, pruner = "arn:aws:s3:::bank-backups", f"arn:aws:iam::{ACCOUNT}:role/strongroom-production"
    both = [ADMINISTRATOR, resource_policy("bucket", bucket=bucket, deleters=[pruner])]
    good = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3", "aws:PrincipalArn": pruner}

    def may(action: str, resource: str = f"{bucket}/strongroom/x", **changed: str) -> bool:
        keys = good | {key.replace("__", ":").replace("_", "-"): value for key, value in changed.items()}
        return allows(both, Request(f"s3:{action}", resource, keys))

    assert may("GetObject") and may("PutObject") and may("DeleteObjectVersion") and may("ListBucket", bucket)
    for action, resource in (("GetObject", f"{bucket}/x"), ("ListBucket", bucket)):
        assert not may(action, resource, aws__SecureTransport="false")
        assert not may(action, resource, s3__TlsVersion="1.1")
    assert may("PutObject", s3__x_amz_server_side_encryption="aws:kms")
    assert not may("PutObject", s3__x_amz_server_side_encryption="AES256")
    somebody = f"arn:aws:iam::{ACCOUNT}:role/somebody"
    assert may("GetObject", aws__PrincipalArn=somebody) and not may("DeleteObjectVersion", aws__PrincipalArn=somebody)
    assert not may("BypassGovernanceRetention")


def test_keys_are_lost_by_administrators_alone_and_used_by_services_of_this_account() -> None:
    administrator = f"arn:aws:iam::{ACCOUNT}:role/platform"
    document = resource_policy(
        "key", partition="aws", account=ACCOUNT, administrators=[administrator], services=["cloudwatch.amazonaws.com"]
    )
    for who, may in ((administrator, True), (f"arn:aws:iam::{ACCOUNT}:role/strongroom-production", False)):
        for action in ("ScheduleKeyDeletion", "DisableKey", "PutKeyPolicy", "DisableKeyRotation"):
            assert allows([document], Request(f"kms:{action}", "*", {"aws:PrincipalArn": who})) == may
        assert allows([document], Request("kms:Decrypt", "*", {"aws:PrincipalArn": who}))
    (service,) = [one for one in document["Statement"] if "Service" in one["Principal"]]
    assert service["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


def test_topics_take_messages_over_tls_and_from_this_account() -> None:
    document = resource_policy("alerts", account=ACCOUNT, topic="arn:t")
    assert allows([document], Request("sns:Publish", "arn:t", {"aws:SecureTransport": "true"}))
    assert not allows([document, ADMINISTRATOR], Request("sns:Publish", "arn:t", {"aws:SecureTransport": "false"}))
    (alarms,) = [one for one in document["Statement"] if "Service" in one["Principal"]]
    assert alarms["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    assert {action for one in document["Statement"] for action in several(one["Action"])} <= {
        "sns:GetTopicAttributes",
        "sns:Publish",
        "sns:Subscribe",
    }
