"""The real binary with the rights that deploy/terraform gives it, in a sandbox that enforces them, and what they refuse.

What a double cannot prove: rights on keys that S3, RDS and SNS use on a caller's behalf, `kms:ViaService`, policies of buckets,
keys and topics, tags that AWS knows only minutes later, and whether AWS asks for the very resources that the sandbox asks for
(tests/sandbox/sandbox/iam.py, after the service authorization reference).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from case import Config, quick, source
from role_attempts import attempts
from roles import APPLICATION_SECRET, SPLIT, SUBNET_GROUP, Credentials, Roles, as_in_production, do_everything, is_refused
from sandbox_process import REGION, Sandbox
from vault import INSTANCE, SOURCE, Vault
from waiting import wait_until

SECONDS = 120


def calls_of(sandbox: Sandbox, credentials: Credentials) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sandbox._side("GET", "calls")["calls"]
    return [call for call in found if call["access_key"] == credentials["AWS_ACCESS_KEY_ID"]]


def test_the_daemons_role_is_enough_for_all_of_its_work(corner: tuple[Vault, Roles]) -> None:
    vault, roles = corner
    credentials = roles.assume("daemon")
    strongroom = as_in_production(vault, credentials)
    with vault.replicating():
        do_everything(vault, strongroom, SECONDS)
    made = calls_of(vault.sandbox, credentials)
    wanted = {"CopyDBSnapshot", "DeleteDBSnapshot", "DeleteObjects", "PutMetricData", "Publish", "CreateDBInstance"}
    wanted |= {"RestoreDBInstanceFromDBSnapshot", "DeleteDBInstance", "DownloadDBLogFilePortion", "GetSecretValue"}
    assert wanted <= {call["operation"] for call in made}
    assert [call for call in made if call["status"] in (401, 403)] == []


def test_the_role_of_recover_is_enough_to_recover_and_to_go_back(corner: tuple[Vault, Roles]) -> None:
    vault, roles = corner
    resource = vault.sandbox.instance(INSTANCE)["DbiResourceId"]
    own = source(SOURCE, recover={})
    network = {REGION: {"subnet_group": SUBNET_GROUP, "security_groups": ["sg-0a1b2c3d"]}}
    as_daemon = vault.configure_vault(
        environment=roles.assume("daemon"), snapshot=quick(), sources={SOURCE: own}, restore=network
    )
    as_daemon("backup", "snapshot", SOURCE)
    credentials = roles.assume("recover")
    person = vault.configure_vault(environment=credentials, snapshot=quick(), sources={SOURCE: own}, restore=network)
    person("recover", "corruption", SOURCE, "--yes", seconds=SECONDS)
    assert vault.sandbox.instance(INSTANCE)["DbiResourceId"] != resource
    person("recover", "undo", SOURCE, "--yes", seconds=SECONDS)
    assert vault.sandbox.instance(INSTANCE)["DbiResourceId"] == resource
    made = calls_of(vault.sandbox, credentials)
    assert {"RestoreDBInstanceFromDBSnapshot", "ModifyDBInstance", "PutObject"} <= {call["operation"] for call in made}
    assert [call for call in made if call["status"] in (401, 403)] == []


def test_the_role_of_jobs_is_enough_for_a_dump(corner: tuple[Vault, Roles]) -> None:
    """What the process of a Job runs is `backup dump`."""
    vault, roles = corner
    credentials = roles.assume("dump")
    with vault.replicating():
        (dump,) = vault.dump(as_in_production(vault, credentials))
    assert vault.listed(as_in_production(vault, credentials)) == {dump: "good"}
    made = calls_of(vault.sandbox, credentials)
    assert {"GetSecretValue", "PutObject"} <= {call["operation"] for call in made}
    assert [call for call in made if call["status"] in (401, 403)] == []


@pytest.fixture
def tempting(corner: tuple[Vault, Roles]) -> tuple[Vault, Roles]:
    """Snapshots that bear our prefix and not our mark stand there."""
    vault, roles = corner
    rds = vault.sandbox.client("rds")
    marks: Config = {
        f"{vault.name}-unmarked": [],
        f"{vault.name}-others": [{"Key": "strongroom:owner", "Value": "others/x"}],
    }
    for name, tags in marks.items():
        rds.create_db_snapshot(DBSnapshotIdentifier=name, DBInstanceIdentifier=INSTANCE, Tags=tags)
        # The instance is busy until it is there.
        wait_until(lambda: vault.snapshot_ids("creating") == [], "it is there")
    return vault, roles


def test_the_daemon_may_what_one_of_its_functions_may_and_nothing_else(tempting: tuple[Vault, Roles]) -> None:
    vault, roles = tempting
    credentials = roles.assume("daemon")
    tried = attempts(vault)
    may = {attempt.what for attempt in tried if attempt.is_allowed(roles, credentials)}
    assert may == {attempt.what for attempt in tried if attempt.functions}
    assert {f"{vault.name}-unmarked", f"{vault.name}-others"} <= set(vault.snapshot_ids())


def test_a_job_that_dumps_may_that_and_look_and_nothing_else(tempting: tuple[Vault, Roles]) -> None:
    vault, roles = tempting
    credentials = roles.assume("dump")
    tried = attempts(vault)
    may = {attempt.what for attempt in tried if attempt.is_allowed(roles, credentials)}
    assert may == {attempt.what for attempt in tried if {"observe", "dump-write", "verify"} & set(attempt.functions)}


def test_with_split_roles_each_function_may_its_own_and_the_daemon_assumes_it(tempting: tuple[Vault, Roles]) -> None:
    vault, roles = tempting
    base = roles.assume("base")
    tried = attempts(vault)
    for function in SPLIT:
        credentials = roles.assume(function, by=base)
        may = {attempt.what for attempt in tried if attempt.is_allowed(roles, credentials)}
        assert may == {attempt.what for attempt in tried if function in attempt.functions}, function
    may = {attempt.what for attempt in tried if attempt.is_allowed(roles, base)}
    assert may == {attempt.what for attempt in tried if "tell" in attempt.functions}


def test_nobody_else_assumes_the_role_of_a_function(corner: tuple[Vault, Roles]) -> None:
    _, roles = corner
    for who in ("daemon", "recover"):
        sts = roles.client("sts", roles.assume(who))
        assert is_refused(sts.assume_role, RoleArn=roles.arn("prune"), RoleSessionName="test")


def test_who_recovers_may_rename_production_and_delete_nothing(corner: tuple[Vault, Roles]) -> None:
    vault, roles = corner
    credentials = roles.assume("recover")
    rds, s3 = roles.client("rds", credentials), roles.client("s3", credentials)
    restored = {"DBInstanceIdentifier": f"{INSTANCE}-recovery-x", "DBSnapshotIdentifier": "none"}
    assert not is_refused(rds.restore_db_instance_from_db_snapshot, **restored)
    assert not is_refused(rds.modify_db_instance, DBInstanceIdentifier=f"{INSTANCE}-recovery-x")
    assert not is_refused(rds.modify_db_instance, DBInstanceIdentifier=INSTANCE)
    assert not is_refused(
        s3.put_object, Bucket=vault.bucket, Key=f"{vault.name}/{SOURCE}/recoveries/current.json", Body=b"{}"
    )
    secrets = roles.client("secretsmanager", credentials)
    assert not is_refused(
        secrets.put_secret_value, SecretId=APPLICATION_SECRET, SecretString=json.dumps({"host": "x", "port": 1})
    )
    assert is_refused(rds.modify_db_instance, DBInstanceIdentifier="other")
    for name in (INSTANCE, f"{INSTANCE}-recovery-x", f"{vault.name}-drill-x"):
        assert is_refused(rds.delete_db_instance, DBInstanceIdentifier=name, SkipFinalSnapshot=True), name
    assert is_refused(rds.delete_db_snapshot, DBSnapshotIdentifier=f"{vault.name}-x")
    assert is_refused(s3.delete_object, Bucket=vault.bucket, Key=f"{vault.name}/x", VersionId="x")
