"""`strongroom restore snapshot` and `restore pitr`: a new instance out of a backup, told step by step."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from case import Case, Config, quick
from postgres_tools import MASTER, psql, row_counts
from sandbox_process import REGION, Sandbox
from strongroom_process import Ended, Strongroom
from waiting import wait_until

SOURCE, INSTANCE = "accounts", "bank-accounts"
NETWORK: Config = {"subnet_group": "bank-db"}
SECONDS = 120


@pytest.fixture(scope="module", autouse=True)
def subnet_group(sandbox: Sandbox) -> None:
    sandbox.subnet_group(NETWORK["subnet_group"])


@pytest.fixture
def strongroom(case: Case) -> Strongroom:
    """Snapshots and dumps of one source; what the sandbox's instances have no network for is configured."""
    return case.configure(SOURCE, snapshot=quick(), dump=quick(engine=None), restore={REGION: NETWORK})


@pytest.fixture
def name(case: Case) -> Iterator[str]:
    """The name of a new instance, which is gone at the end."""
    name = f"{case.name}-again"
    yield name
    delete(case.sandbox, name)


def delete(sandbox: Sandbox, name: str) -> None:
    rds = sandbox.client("rds")
    try:
        rds.modify_db_instance(DBInstanceIdentifier=name, DeletionProtection=False, ApplyImmediately=True)
        rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    except ClientError as error:
        assert error.response["Error"]["Code"] in ("DBInstanceNotFound", "InvalidDBInstanceState"), error


def restore(strongroom: Strongroom, kind: str, *words: str, code: int = 0) -> Ended:
    return strongroom("restore", kind, SOURCE, *words, code=code, seconds=SECONDS)


def details(sandbox: Sandbox, name: str) -> dict[str, Any]:
    found: dict[str, Any] = sandbox.instance(name)
    return found


def changes(case: Case) -> list[str]:
    """What strongroom asked RDS to change or delete."""
    verbs = ("Modify", "Delete", "Reboot", "Stop", "Start")
    return [call["operation"] for verb in verbs for call in case.calls(f"{verb}DBInstance")]


def test_the_newest_snapshot_comes_back_as_a_new_instance_and_every_row_of_it_is_read(
    case: Case, strongroom: Strongroom, name: str
) -> None:
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    before = row_counts(case.sandbox, INSTANCE, SOURCE)
    ended = restore(strongroom, "snapshot", "--as", name, "--single-az")
    assert f"snapshot {case.snapshot_ids()[0]}, data of" in ended.out
    unlogged = {"bank.web_sessions": 0}
    assert row_counts(case.sandbox, name, SOURCE) == before | unlogged, "no snapshot has the rows of unlogged tables"
    read = re.search(r"^fully read   after .*: (\d+) tables, (\d+) rows", ended.out, re.M)
    # Every table, and the materialized view.
    views = psql(case.sandbox, name, SOURCE, "SELECT count(*) FROM bank.monthly_turnover")
    assert read and int(read[2]) == sum((before | unlogged).values()) + int(views[0][0]), ended.out
    assert re.search(r"^available    after .*\nfirst answer after ", ended.out, re.M), ended.out
    for status in ("RDS has taken the order", "creating", "available"):
        assert status in ended.err, ended.err
    new, own = details(case.sandbox, name), details(case.sandbox, INSTANCE)
    for key in ("DBInstanceClass", "BackupRetentionPeriod", "DeletionProtection", "StorageType", "VpcSecurityGroups"):
        assert new[key] == own[key], key
    names = [instance["DBParameterGroups"][0]["DBParameterGroupName"] for instance in (new, own)]
    assert names[0] == names[1]
    assert new["DBSubnetGroup"]["DBSubnetGroupName"] == NETWORK["subnet_group"]
    tags = {tag["Key"]: tag["Value"] for tag in new["TagList"]}
    assert tags == {"strongroom:restored-from": case.snapshot_ids()[0]}, "no tags of the source by RDS's default"
    assert not changes(case), "nothing else was changed"


def test_rows_that_were_deleted_are_back_at_the_moment_before(case: Case, strongroom: Strongroom, name: str) -> None:
    table = f"lost_{case.name}"
    psql(case.sandbox, INSTANCE, SOURCE, f"CREATE TABLE {table} AS SELECT 7 AS n; GRANT SELECT ON {table} TO PUBLIC")
    try:
        time.sleep(1.1)
        before = datetime.now(UTC)
        time.sleep(1.1)
        psql(case.sandbox, INSTANCE, SOURCE, f"DELETE FROM {table}")
        moment = before.strftime("%Y-%m-%dT%H:%M:%SZ")
        reached = lambda: details(case.sandbox, INSTANCE)["LatestRestorableTime"] > before  # noqa: E731
        wait_until(reached, "the log is archived")
        ended = restore(strongroom, "pitr", "--to", moment, "--as", name)
        assert f"up to {moment}" in ended.out and "fully read" in ended.out, ended.out
        assert psql(case.sandbox, name, SOURCE, f"SELECT n FROM {table}") == [["7"]]
        assert psql(case.sandbox, INSTANCE, SOURCE, f"SELECT count(*) FROM {table}") == [["0"]], "the source stays"
        assert not changes(case)
    finally:
        psql(case.sandbox, INSTANCE, SOURCE, f"DROP TABLE {table}")


def test_a_moment_out_of_reach_is_refused_with_the_window_that_there_is(case: Case, strongroom: Strongroom) -> None:
    for moment in ("2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"):
        ended = restore(strongroom, "pitr", "--to", moment, code=4)
        window = rf"{moment} cannot be restored to: instance {INSTANCE} can, from 20\S+Z to 20\S+Z \(db-"
        assert re.search(window, ended.err), ended.err
    ended = restore(strongroom, "pitr", "--to", "yesterday", code=2)
    assert "write a time with its zone" in ended.err
    assert not case.calls("RestoreDBInstanceToPointInTime")


def test_a_dry_run_says_what_would_be_done_and_does_nothing(case: Case, strongroom: Strongroom) -> None:
    ended = restore(strongroom, "pitr", "--to", "latest", "--class", "db.r6g.large", "--dry-run")
    assert re.search(rf"^as          {INSTANCE}-pitr-\S+z in {REGION}, db.r6g.large, one zone$", ended.out, re.M)
    assert re.search("subnet group bank-db, security groups sg-[0-9a-f]+$", ended.out, re.M)
    assert "alarms, event subscriptions" in ended.out
    assert not case.calls("RestoreDBInstanceToPointInTime")


def test_what_nobody_tells_is_asked_for_and_not_left_to_rds(case: Case) -> None:
    strongroom = case.configure(SOURCE, snapshot=quick(), dump=quick(engine=None))
    ended = restore(strongroom, "pitr", "--to", "latest", code=2)
    assert "nobody says the subnet group of the new instance" in ended.err
    assert f"restore.{REGION}" in ended.err


def test_a_name_in_use_is_refused_and_its_instance_stays_as_it_is(case: Case, strongroom: Strongroom) -> None:
    ended = restore(strongroom, "pitr", "--to", "latest", "--as", "bank-lending", code=1)
    assert "the name is in use" in ended.err and "--as" in ended.err
    ended = restore(strongroom, "pitr", "--to", "latest", "--as", INSTANCE, code=4)
    assert "is the name of a source's instance" in ended.err
    assert not changes(case)


def test_where_aws_has_no_room_the_next_class_is_taken(case: Case, name: str) -> None:
    network = NETWORK | {"instance_classes": ["db.r6g.large", "db.r5.large"]}
    strongroom = case.configure(SOURCE, snapshot=quick(), dump=quick(engine=None), restore={REGION: network})
    case.fault("no_capacity", "RestoreDBInstanceToPointInTime")
    ended = restore(strongroom, "pitr", "--to", "latest", "--as", name, "--no-read")
    assert "AWS has no room for db.t3.micro now" in ended.err and "class db.r6g.large" in ended.err
    assert details(case.sandbox, name)["DBInstanceClass"] == "db.r6g.large"
    assert "fully read" not in ended.out


def test_an_interrupted_restore_is_gone_on_with(case: Case, strongroom: Strongroom, name: str) -> None:
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    case.sandbox.rds("stick", resource_kind="instance", identifier=name, status="creating")
    begun = strongroom.begin("restore", "snapshot", SOURCE, "--as", name)
    wait_until(lambda: case.calls("RestoreDBInstanceFromDBSnapshot"), "RDS has the order")
    wait_until(lambda: case.sandbox.instance(name)["DBInstanceStatus"] == "creating", "it is being made")
    begun.send_signal(signal.SIGINT)
    _, err = begun.communicate(timeout=30)
    assert begun.returncode == 1 and f"the same command with --as {name} waits for it again" in err, err
    case.sandbox.rds("unstick")
    ended = restore(strongroom, "snapshot", "--as", name)
    assert "an earlier attempt had ordered it: going on" in ended.err and "fully read" in ended.out
    ended = restore(strongroom, "pitr", "--to", "latest", "--as", name, code=1)
    assert "the name is in use" in ended.err, "it was made of something else"


def test_a_status_that_ends_the_wait_says_what_it_means(case: Case, strongroom: Strongroom, name: str) -> None:
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    for status in ("creating", "incompatible-network"):
        case.sandbox.rds("stick", resource_kind="instance", identifier=name, status=status)
    begun = strongroom.begin("restore", "snapshot", SOURCE, "--as", name)
    wait_until(lambda: case.calls("RestoreDBInstanceFromDBSnapshot"), "RDS has the order")
    case.sandbox.rds("set_instance_status", id=name, status="incompatible-network")
    _, err = begun.communicate(timeout=60)
    assert begun.returncode == 1 and f"instance {name} is incompatible-network: the subnets" in err, err
    assert not changes(case)
    case.sandbox.rds("unstick")


def test_a_snapshot_by_hand_comes_back_and_one_of_another_instance_is_refused(
    case: Case, strongroom: Strongroom, name: str
) -> None:
    rds = case.sandbox.client("rds")
    for instance in (INSTANCE, "bank-lending"):
        snapshot = f"{case.name}-of-{instance}"
        rds.create_db_snapshot(DBSnapshotIdentifier=snapshot, DBInstanceIdentifier=instance)
        whole = lambda s=snapshot: s in case.snapshot_ids()  # noqa: E731
        wait_until(whole, "the snapshot is whole")
    ended = restore(strongroom, "snapshot", "--from", f"{case.name}-of-bank-lending", code=4)
    assert "is of instance bank-lending, and source accounts is bank-accounts" in ended.err
    ended = restore(strongroom, "snapshot", "--from", f"{case.name}-of-{INSTANCE}", "--as", name)
    assert "fully read" in ended.out
    ended = restore(strongroom, "snapshot", "--from", "nothing-of-that-name", code=2)
    assert "there is no snapshot nothing-of-that-name in us-east-1" in ended.err


def test_a_login_that_is_not_in_the_data_is_told(case: Case, strongroom: Strongroom, name: str) -> None:
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    secret = case.sandbox.client("secretsmanager")
    secret.create_secret(Name=f"{case.name}/wrong", SecretString='{"username": "nobody", "password": "none"}')
    changed = {"sources": {SOURCE: {"instance": INSTANCE, "policy": "p", "databases": [SOURCE]}}}
    changed["sources"][SOURCE]["credentials"] = {"secret": f"{case.name}/wrong"}
    other = case.configure(snapshot=quick(), dump=quick(engine=None), restore={REGION: NETWORK}, **changed)
    ended = restore(other, "snapshot", "--as", name, code=1)
    assert "available    after" in ended.out and "restored as" in ended.out, "it is there all the same"
    assert "users and passwords of its data's moment" in ended.err, ended.err
    assert MASTER not in ended.err
