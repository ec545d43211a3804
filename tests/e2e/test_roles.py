"""The real binary with the rights that deploy/terraform gives it, in a sandbox that enforces them, and what they refuse.

What a double cannot prove: rights on keys that S3, RDS and SNS use on a caller's behalf, `kms:ViaService`, policies of buckets,
keys and topics, tags that AWS knows only minutes later, and whether AWS asks for the very resources that the sandbox asks for
(tests/sandbox/sandbox/iam.py, after the service authorization reference).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sandbox_process
from case import YEARLY, Config, quick, settled, source
from roles import (
    ACCOUNT,
    ALERT_SECRET,
    APPLICATION_SECRET,
    BEFORE_ENFORCEMENT,
    SPLIT,
    SUBNET_GROUP,
    TOPIC,
    Credentials,
    Roles,
    enforce,
    is_refused,
)
from sandbox_process import KMS_ALIAS, REGION, Sandbox
from strongroom_process import Strongroom
from vault import INSTANCE, REPLICA_BUCKET, SOURCE, SPEED, WEST, Vault, keep, seed
from waiting import wait_until

SECONDS = 120


@pytest.fixture(scope="module")
def enforcing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    seeded = seed()
    seeded["sns_topics"] = [TOPIC, "others"]
    seeded["secrets"] = {ALERT_SECRET: {"url": "http://localhost/"}, APPLICATION_SECRET: {"host": "x", "port": 1}, "rds/other": {}}
    directory = tmp_path_factory.mktemp("enforcing")
    running = sandbox_process.start(directory, seeded, "--speed", SPEED, environment=BEFORE_ENFORCEMENT)
    try:
        running.subnet_group(SUBNET_GROUP)
        enforce(running)
        yield running
    finally:
        running.stop()


@pytest.fixture
def corner(enforcing: Sandbox, tmp_path: Path) -> Iterator[tuple[Vault, Roles]]:
    with settled(Vault(enforcing, tmp_path)) as vault:
        roles = Roles(vault)
        roles.make_all()
        yield vault, roles


def configure(vault: Vault, credentials: Credentials) -> Strongroom:
    """As in production: copies and a replica in the second region, drills, a topic, CloudWatch."""
    copies: Config = {"region": WEST, "kms_key": vault.key_arn(KMS_ALIAS), "retention": {"keep_last": 1, "min_keep": 1, "min_age": "1s"}}
    return vault.configure_vault(
        environment=credentials,
        snapshot=keep(1, copy_to=[copies]),
        dump=keep(1, engine=None),
        drill={"schedule": YEARLY, "paths": ["snapshot", "dump"], "retry": quick()["retry"]},
        drills={"subnet_group": SUBNET_GROUP, "security_groups": ["sg-0a1b2c3d"]},
        destination=vault.replica("replicated"),
        alerts={"routes": {"team": {"sns_topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:{TOPIC}"}}},
        cloudwatch={"namespace": "Strongroom"},
        prune={"automatic": False},
    )


def calls_of(sandbox: Sandbox, credentials: Credentials) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sandbox._side("GET", "calls")["calls"]
    return [call for call in found if call["access_key"] == credentials["AWS_ACCESS_KEY_ID"]]


def test_the_daemons_role_is_enough_for_all_of_its_work(corner: tuple[Vault, Roles]) -> None:
    vault, roles = corner
    credentials = roles.assume("daemon")
    strongroom = configure(vault, credentials)
    with vault.replicating():
        strongroom("check", "--online", code=None, seconds=SECONDS)
        snapshots, dumps = vault.snapshot(strongroom, 2), vault.dump(strongroom, 2)
        assert set(vault.listed(strongroom)) == {*snapshots, *dumps}
        for level in ("1", "2", "3"):
            strongroom("verify", SOURCE, "--level", level, seconds=SECONDS)
        ended = strongroom("drill", SOURCE, seconds=SECONDS)
        assert ended.out.count("passed: drill ") == 2, ended.out
        strongroom("alerts", "test", "team")
        strongroom("diagnose", SOURCE, code=None, seconds=SECONDS)
        daemon = strongroom.start()
        daemon.wait_for(lambda: "available" in vault.copy_states().values(), "a copy is there", SECONDS)
        daemon.wait_until_well()
        assert daemon.terminate() == 0
        strongroom("prune", "--confirm", code=None, seconds=SECONDS)
    assert vault.snapshot_ids() == snapshots[1:] and vault.versions_of(dumps[0]) == []
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
    as_daemon = vault.configure_vault(environment=roles.assume("daemon"), snapshot=quick(), sources={SOURCE: own}, restore=network)
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


def refused(service: str, operation: str, region: str = REGION, **parameters: Any) -> Callable[[Roles, Credentials], bool]:
    def ask(roles: Roles, credentials: Credentials) -> bool:
        return is_refused(getattr(roles.client(service, credentials, region), operation), **parameters)

    return ask


def owner(vault: Vault, name: str) -> list[dict[str, str]]:
    return [{"Key": "strongroom:owner", "Value": f"{vault.name}/{name}"}]


def attempts(vault: Vault) -> dict[str, tuple[str | None, Callable[[Roles, Credentials], bool]]]:
    """What is tried, and the function that may; none where nobody may. Most fails for a reason that comes after the rights."""
    own, foreign = f"{vault.name}-x", "by-hand"
    drill, bucket, below = f"{vault.name}-drill-x", {"Bucket": vault.bucket}, f"{vault.name}/x"
    tagged = {"Tags": owner(vault, own)}
    restore = {"DBInstanceIdentifier": drill, "DBSnapshotIdentifier": own, "DBSubnetGroupName": SUBNET_GROUP}
    late = {"SourceDBSnapshotIdentifier": f"arn:aws:rds:{REGION}:{ACCOUNT}:snapshot:{own}"}
    secret = {"SecretId": f"rds/{SOURCE}/backup"}
    return {
        "look at snapshots": ("observe", refused("rds", "describe_db_snapshots")),
        "look at a bucket": ("observe", refused("s3", "get_bucket_policy", **bucket)),
        "look at a key": ("observe", refused("kms", "describe_key", KeyId=KMS_ALIAS)),
        "read a record": ("observe", refused("s3", "get_object", Key=f"{below}.json", **bucket)),
        "read a log": ("observe", refused("rds", "download_db_log_file_portion", DBInstanceIdentifier=INSTANCE, LogFileName="x")),
        "read a dump": ("verify", refused("s3", "get_object", Key=below, **bucket)),
        "read a replica": ("verify", refused("s3", "get_object", WEST, Bucket=REPLICA_BUCKET, Key=below)),
        "make a marked snapshot": ("snapshot", refused("rds", "create_db_snapshot", DBSnapshotIdentifier=own, DBInstanceIdentifier=INSTANCE, **tagged)),
        "make a snapshot without a mark": (None, refused("rds", "create_db_snapshot", DBSnapshotIdentifier=own, DBInstanceIdentifier=INSTANCE)),
        "make a snapshot of another name": (None, refused("rds", "create_db_snapshot", DBSnapshotIdentifier=foreign, DBInstanceIdentifier=INSTANCE, **tagged)),
        "make a snapshot of another instance": (None, refused("rds", "create_db_snapshot", DBSnapshotIdentifier=own, DBInstanceIdentifier="other", **tagged)),
        "copy a snapshot": ("copy", refused("rds", "copy_db_snapshot", WEST, TargetDBSnapshotIdentifier=own, **late, **tagged)),
        "copy a snapshot to another name": (None, refused("rds", "copy_db_snapshot", WEST, TargetDBSnapshotIdentifier=foreign, **late)),
        "delete a snapshot by hand": (None, refused("rds", "delete_db_snapshot", DBSnapshotIdentifier=foreign)),
        "delete a snapshot without a mark": (None, refused("rds", "delete_db_snapshot", DBSnapshotIdentifier=f"{vault.name}-unmarked")),
        "delete a snapshot with another's mark": (None, refused("rds", "delete_db_snapshot", DBSnapshotIdentifier=f"{vault.name}-others")),
        "give a snapshot away": (None, refused("rds", "modify_db_snapshot_attribute", DBSnapshotIdentifier=own, AttributeName="restore", ValuesToAdd=["all"])),
        "restore into a drill": ("drill", refused("rds", "restore_db_instance_from_db_snapshot", **restore, Tags=owner(vault, drill))),
        "restore into a drill without a mark": (None, refused("rds", "restore_db_instance_from_db_snapshot", **restore)),
        "restore elsewhere": (None, refused("rds", "restore_db_instance_from_db_snapshot", **(restore | {"DBInstanceIdentifier": "x"}), **tagged)),
        "restore into another network": (None, refused("rds", "restore_db_instance_from_db_snapshot", **(restore | {"DBSubnetGroupName": "bank-db"}), **tagged)),
        "change production": (None, refused("rds", "modify_db_instance", DBInstanceIdentifier=INSTANCE, BackupRetentionPeriod=0)),
        "delete production": (None, refused("rds", "delete_db_instance", DBInstanceIdentifier=INSTANCE, SkipFinalSnapshot=True)),
        "reboot production": (None, refused("rds", "reboot_db_instance", DBInstanceIdentifier=INSTANCE)),
        "write a dump": ("dump-write", refused("s3", "put_object", Key=below, Body=b"x", **bucket)),
        "write elsewhere": (None, refused("s3", "put_object", Key="elsewhere/x", Body=b"x", **bucket)),
        "write a replica": (None, refused("s3", "put_object", WEST, Bucket=REPLICA_BUCKET, Key=below, Body=b"x")),
        "hide a dump": ("prune", refused("s3", "delete_object", Key=f"{vault.name}/none", **bucket)),
        "delete a version": ("prune", refused("s3", "delete_object", Key=f"{vault.name}/none", VersionId="x", **bucket)),
        "delete a version elsewhere": (None, refused("s3", "delete_object", Key="elsewhere/x", VersionId="x", **bucket)),
        "change a bucket's policy": (None, refused("s3", "put_bucket_policy", Policy="{}", **bucket)),
        "switch versioning off": (None, refused("s3", "put_bucket_versioning", VersioningConfiguration={"Status": "Suspended"}, **bucket)),
        "stop replication": (None, refused("s3", "delete_bucket_replication", **bucket)),
        "read a login": ("dump-write, drill", refused("secretsmanager", "get_secret_value", **secret)),
        "read another secret": (None, refused("secretsmanager", "get_secret_value", SecretId="rds/other")),
        "write an application's secret": (None, refused("secretsmanager", "put_secret_value", SecretId=APPLICATION_SECRET, SecretString="{}")),
        "delete a key": (None, refused("kms", "schedule_key_deletion", KeyId=KMS_ALIAS)),
        "tell another topic": (None, refused("sns", "publish", TopicArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:others", Message="x")),
        "publish elsewhere": (None, refused("cloudwatch", "put_metric_data", Namespace="AWS/RDS", MetricData=[{"MetricName": "x", "Value": 1}])),
        "make a user": (None, refused("iam", "create_user", UserName="x")),
    }


@pytest.fixture
def tempting(corner: tuple[Vault, Roles]) -> tuple[Vault, Roles]:
    """Snapshots that bear our prefix and not our mark stand there."""
    vault, roles = corner
    rds = vault.sandbox.client("rds")
    marks = {f"{vault.name}-unmarked": [], f"{vault.name}-others": [{"Key": "strongroom:owner", "Value": "others/x"}]}
    for name, tags in marks.items():
        rds.create_db_snapshot(DBSnapshotIdentifier=name, DBInstanceIdentifier=INSTANCE, Tags=tags)
        wait_until(lambda name=name: name in vault.snapshot_ids(), "it is there")
    return vault, roles


def test_the_daemon_may_what_one_of_its_functions_may_and_nothing_else(tempting: tuple[Vault, Roles]) -> None:
    vault, roles = tempting
    credentials = roles.assume("daemon")
    unexpected = {
        name: function
        for name, (function, ask) in attempts(vault).items()
        if ask(roles, credentials) != (function is None)
    }
    assert unexpected == {}
    assert {f"{vault.name}-unmarked", f"{vault.name}-others"} <= set(vault.snapshot_ids())


def test_with_split_roles_each_function_may_its_own_and_the_daemon_assumes_it(tempting: tuple[Vault, Roles]) -> None:
    vault, roles = tempting
    base = roles.assume("base")
    tried = attempts(vault)
    for split in SPLIT:
        credentials = roles.assume(split, by=base)
        may = {name for name, (_, ask) in tried.items() if not ask(roles, credentials)}
        should = {name for name, (function, _) in tried.items() if function and split in function.split(", ")}
        # Who writes must see whether it arrived, and who verifies reads records as well.
        should |= {"dump-write": {"read a dump", "read a record"}, "verify": {"read a record"}}.get(split, set())
        assert may == should, split
    may = {name for name, (_, ask) in tried.items() if not ask(roles, base)}
    assert may == {name for name, (function, _) in tried.items() if function == "observe"}


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
    assert not is_refused(s3.put_object, Bucket=vault.bucket, Key=f"{vault.name}/{SOURCE}/recoveries/current.json", Body=b"{}")
    secrets = roles.client("secretsmanager", credentials)
    assert not is_refused(secrets.put_secret_value, SecretId=APPLICATION_SECRET, SecretString=json.dumps({"host": "x", "port": 1}))
    assert is_refused(rds.modify_db_instance, DBInstanceIdentifier="other")
    for name in (INSTANCE, f"{INSTANCE}-recovery-x", f"{vault.name}-drill-x"):
        assert is_refused(rds.delete_db_instance, DBInstanceIdentifier=name, SkipFinalSnapshot=True), name
    assert is_refused(rds.delete_db_snapshot, DBSnapshotIdentifier=f"{vault.name}-x")
    assert is_refused(s3.delete_object, Bucket=vault.bucket, Key=f"{vault.name}/x", VersionId="x")
