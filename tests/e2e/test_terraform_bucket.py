"""The buckets that deploy/terraform makes, made in the sandbox: the checks of the real binary find nothing to say of them.

Read from the modules' own files, argument by argument: what S3's API calls otherwise than Terraform stands in `NAMES`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from case import quick
from sandbox_process import KMS_ALIAS, REGION, REPOSITORY
from vault import SOURCE, WEST, Vault

sys.path.append(str(REPOSITORY / "tests/deploy"))

from tools import TERRAFORM, parse  # noqa: E402

NAMES = {
    "id": "ID",
    "kms_master_key_id": "KMSMasterKeyID",
    "replica_kms_key_id": "ReplicaKmsKeyID",
    "sse_algorithm": "SSEAlgorithm",
    "rule": "Rules",
}
LISTS = {"rule"}
SKIPPED = {"region", "role", "depends_on", "lifecycle", "dynamic", "__start_line__", "__end_line__"}
"""What is about Terraform, or is given by the call."""


def module(name: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The one resource of each type, and the variables that have a default."""
    folder = TERRAFORM / "modules" / name
    main, variables = parse(folder / "main.tf", folder / "variables.tf").values()
    resources = {kind: body for block in main["resource"] for kind, named in block.items() for body in named.values()}
    declared = {name: body for block in variables["variable"] for name, body in block.items()}
    return resources, {name: one(body["default"]) for name, body in declared.items() if "default" in body}


def one(value: Any) -> Any:
    (found,) = value if isinstance(value, list) else [value]
    return found


def argument(body: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A block as S3's API has it."""
    found = {}
    for name, value in body.items():
        if name not in SKIPPED:
            inner = [argument(item, given) if isinstance(item, dict) else resolved(item, given) for item in value]
            called = NAMES.get(name) or "".join(word.capitalize() for word in name.split("_"))
            found[called] = inner if name in LISTS else one(inner)
    return found


def resolved(value: Any, given: dict[str, Any]) -> Any:
    """With the variables in it."""
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"\$\{var\.([\w.]+)\}", value)
    return reach(whole[1], given) if whole else re.sub(r"\$\{var\.([\w.]+)\}", lambda m: str(reach(m[1], given)), value)


def reach(path: str, given: dict[str, Any]) -> Any:
    for name in path.split("."):
        given = given[name]
    return given


def make(vault: Vault, name: str, region: str) -> str:
    """A bucket of the module; the ARN of its key."""
    s3, key = vault.sandbox.client("s3", region), vault.key_arn(KMS_ALIAS, region)
    resources, defaults = module("bucket")
    given = defaults | {"name": name, "kms_key_arn": key, "prefix": vault.name}
    where = {} if region == REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    assert resources["aws_s3_bucket"]["object_lock_enabled"] == [True]
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True, **where)

    def settings(kind: str) -> dict[str, Any]:
        return {name: value for name, value in argument(resources[kind], given).items() if name != "Bucket"}

    s3.put_bucket_versioning(Bucket=name, **settings("aws_s3_bucket_versioning"))
    lock = settings("aws_s3_bucket_object_lock_configuration")
    enabled = {"ObjectLockEnabled": "Enabled", "Rule": one(lock["Rules"])}
    s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=enabled)
    encryption = settings("aws_s3_bucket_server_side_encryption_configuration")
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration=encryption)
    public = settings("aws_s3_bucket_public_access_block")
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=public)
    ownership = settings("aws_s3_bucket_ownership_controls")
    s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=ownership)
    lifecycle = settings("aws_s3_bucket_lifecycle_configuration")
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=lifecycle)
    text = (TERRAFORM / "modules/bucket/policy.json.tftpl").read_text().replace("${bucket}", f"arn:aws:s3:::{name}")
    statements = json.loads(text.replace("${jsonencode(deleters)}", '["arn:aws:iam::123456789012:role/daemon"]'))
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    return key


@pytest.fixture
def buckets(vaults: Vault) -> Iterator[tuple[str, str]]:
    """A destination and its replica, and the rule from one to the other."""
    names = f"{vaults.name}-bucket", f"{vaults.name}-replica"
    make(vaults, names[0], REGION)
    key = make(vaults, names[1], WEST)
    resources, _ = module("replication")
    given = {
        "prefix": vaults.name,
        "source_bucket": {"name": names[0]},
        "replica_bucket": {"arn": f"arn:aws:s3:::{names[1]}", "kms_key_arn": key},
    }
    rule = argument(resources["aws_s3_bucket_replication_configuration"], given)
    replication = {"Role": "arn:aws:iam::123456789012:role/replication", "Rules": rule["Rules"]}
    vaults.sandbox.client("s3").put_bucket_replication(Bucket=rule["Bucket"], ReplicationConfiguration=replication)
    vaults.bucket = names[0]
    yield names


def test_the_checks_find_nothing_to_say_of_the_modules_buckets(vaults: Vault, buckets: tuple[str, str]) -> None:
    replica = vaults.replica("replicated")
    replica["replica"]["bucket"] = buckets[1]
    strongroom = vaults.configure_vault(dump=quick(engine=None), destination=replica | {"bucket": buckets[0]})
    strongroom("backup", "dump", SOURCE)
    strongroom("verify", SOURCE, "--level", "3")
    found = [finding for finding in strongroom.plan()["findings"] if finding["check"].startswith("bucket_")]
    assert found == []


def test_what_asks_for_another_encryption_is_refused(vaults: Vault, buckets: tuple[str, str]) -> None:
    s3 = vaults.sandbox.client("s3")
    s3.put_object(Bucket=buckets[0], Key=f"{vaults.name}/x", Body=b"x", ServerSideEncryption="aws:kms")
    with pytest.raises(ClientError, match="403"):
        s3.put_object(Bucket=buckets[0], Key=f"{vaults.name}/x", Body=b"x", ServerSideEncryption="AES256")


def test_the_same_checks_see_what_is_taken_away(vaults: Vault, buckets: tuple[str, str]) -> None:
    s3 = vaults.sandbox.client("s3")
    s3.delete_bucket_policy(Bucket=buckets[0])
    s3.delete_bucket_lifecycle(Bucket=buckets[0])
    s3.delete_bucket_replication(Bucket=buckets[0])
    replica = vaults.replica("replicated")
    replica["replica"]["bucket"] = buckets[1]
    strongroom = vaults.configure_vault(dump=quick(engine=None), destination=replica | {"bucket": buckets[0]})
    found = {finding["check"] for finding in strongroom.plan()["findings"]}
    assert {"bucket_tls", "bucket_lifecycle", "bucket_replication"} <= found
