"""Snapshots are real copies taken while the server serves; their states, pages, quotas and tags are AWS's."""

from __future__ import annotations

import random
import threading
from typing import Any

from botocore.exceptions import ClientError
from rds_support import (
    EAST,
    PASSWORD,
    WEST,
    Sandbox,
    code,
    new_instance,
    refused,
    running,
    sandbox_fixture,
    unique,
    wait_for,
)

SEED = {
    "instances": [
        {
            "id": "main",
            "databases": ["bank"],
            "master_password": PASSWORD,
            "sql": "CREATE TABLE account AS SELECT n, n * 10 AS balance FROM generate_series(1, 1000) n;",
            "tags": {"team": "db"},
            "backup_retention": 7,
        }
    ]
}
sandbox = sandbox_fixture(SEED)


def test_a_snapshot_shows_progress_and_times_only_when_it_is_there(sandbox: Sandbox) -> None:
    rds, name = sandbox.client(), unique("Snap")
    tags = [{"Key": "slot", "Value": "20261122t030000z"}]
    made = rds.create_db_snapshot(DBInstanceIdentifier="main", DBSnapshotIdentifier=name, Tags=tags)["DBSnapshot"]
    assert (made["DBSnapshotIdentifier"], made["Status"]) == (name.lower(), "creating")
    assert "SnapshotCreateTime" not in made and "OriginalSnapshotCreateTime" not in made
    assert made["PercentProgress"] < 100
    assert sandbox.instance("main")["DBInstanceStatus"] == "backing-up"
    with refused("InvalidDBInstanceState"):
        rds.create_db_snapshot(DBInstanceIdentifier="main", DBSnapshotIdentifier=unique("snap"))
    with refused("InvalidDBSnapshotState"):
        rds.delete_db_snapshot(DBSnapshotIdentifier=name)
    done = sandbox.wait_snapshot(name)
    assert done["PercentProgress"] == 100
    assert done["SnapshotCreateTime"] == done["OriginalSnapshotCreateTime"]
    assert done["DbiResourceId"] == sandbox.instance("main")["DbiResourceId"]
    assert (done["SnapshotType"], done["TagList"]) == ("manual", tags)
    sandbox.wait_instance("main")
    events = sandbox.events(name.lower(), "db-snapshot")
    assert events == ["Creating manual snapshot", "Manual snapshot created"]


def test_create_describe_and_delete_with_the_cli(sandbox: Sandbox) -> None:
    name = unique("cli")
    words = ["--db-instance-identifier", "main", "--db-snapshot-identifier", name, "--tags", "Key=a,Value=b"]
    made = sandbox.aws("rds", "create-db-snapshot", *words)["DBSnapshot"]
    assert made["Status"] == "creating"
    sandbox.aws("rds", "create-db-snapshot", *words, fails="DBSnapshotAlreadyExists")
    sandbox.wait_snapshot(name)
    sandbox.wait_instance("main")
    found = sandbox.aws("rds", "describe-db-snapshots", "--db-snapshot-identifier", name)["DBSnapshots"][0]
    assert (found["Status"], found["TagList"]) == ("available", [{"Key": "a", "Value": "b"}])
    gone = sandbox.aws("rds", "delete-db-snapshot", "--db-snapshot-identifier", name)["DBSnapshot"]
    assert gone["Status"] == "deleted"
    sandbox.aws("rds", "describe-db-snapshots", "--db-snapshot-identifier", name, fails="DBSnapshotNotFound")


def test_of_two_that_ask_for_one_identifier_at_once_one_gets_it(sandbox: Sandbox) -> None:
    name, answers = unique("race"), []

    def ask() -> None:
        try:
            sandbox.client().create_db_snapshot(DBInstanceIdentifier="main", DBSnapshotIdentifier=name)
            answers.append("made")
        except ClientError as error:
            answers.append(code(error))

    askers = [threading.Thread(target=ask) for _ in range(6)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert sorted(answers) == ["DBSnapshotAlreadyExists"] * 5 + ["made"]
    sandbox.wait_snapshot(name)
    sandbox.wait_instance("main")


def test_a_snapshot_taken_under_writes_restores_to_a_consistent_state(sandbox: Sandbox) -> None:
    stop = threading.Event()

    def move_money() -> None:
        with sandbox.connect("main", dbname="bank") as session:
            while not stop.is_set():
                with session.transaction():
                    session.execute("UPDATE account SET balance = balance + 1 WHERE n = 1000")
                    payer = random.randrange(1, 1000)
                    session.execute("UPDATE account SET balance = balance - 1 WHERE n = %s", [payer])

    movers = [threading.Thread(target=move_money) for _ in range(2)]
    for mover in movers:
        mover.start()
    try:
        name = sandbox.take_snapshot("main")
    finally:
        stop.set()
        for mover in movers:
            mover.join()
    restored = unique("restored")
    sandbox.client().restore_db_instance_from_db_snapshot(
        DBInstanceIdentifier=restored, DBSnapshotIdentifier=name, BackupRetentionPeriod=0
    )
    sandbox.wait_instance(restored)
    total = sandbox.rows(restored, "SELECT sum(balance), count(*) FROM account", dbname="bank")
    assert total == [(10 * 1000 * 1001 // 2, 1000)]
    moved = sandbox.rows(restored, "SELECT balance > 10000 FROM account WHERE n = 1000", dbname="bank")
    assert moved == [(True,)]
    sandbox.delete(restored)


def test_snapshots_share_files_that_did_not_change_and_each_restores_to_its_own_state(sandbox: Sandbox) -> None:
    rds, count = sandbox.client(), "SELECT count(*) FROM grown"
    sandbox.rows("main", "CREATE TABLE grown AS SELECT generate_series(1, 10) AS n")
    older = sandbox.take_snapshot("main")
    sandbox.rows("main", "INSERT INTO grown SELECT generate_series(11, 5000)")
    newer = sandbox.take_snapshot("main")
    files = [path for path in (sandbox.workdir / "snapshots").rglob("*") if path.is_file()]
    assert sum(path.stat().st_nlink > 1 for path in files) > len(files) // 2
    for snapshot, rows in ((older, 10), (newer, 5000)):
        restored = unique("restored")
        rds.restore_db_instance_from_db_snapshot(
            DBInstanceIdentifier=restored, DBSnapshotIdentifier=snapshot, BackupRetentionPeriod=0
        )
        sandbox.wait_instance(restored)
        assert sandbox.rows(restored, count) == [(rows,)]
        sandbox.rows(restored, "DELETE FROM grown")
        sandbox.delete(restored)
        rds.delete_db_snapshot(DBSnapshotIdentifier=snapshot)


def test_snapshots_are_found_by_instance_type_and_resource_id(sandbox: Sandbox) -> None:
    rds, name = sandbox.client(), sandbox.take_snapshot("main")
    resource = sandbox.instance("main")["DbiResourceId"]

    def names(**words: object) -> list[str]:
        return [each["DBSnapshotIdentifier"] for each in rds.describe_db_snapshots(**words)["DBSnapshots"]]

    assert name in names(DBInstanceIdentifier="main", SnapshotType="manual")
    assert name not in names(SnapshotType="automated")
    automated = names(SnapshotType="automated")
    assert automated and all(each.startswith("rds:main-") for each in automated)
    assert set(automated) | {name} <= set(names(DbiResourceId=resource))
    assert names(DBInstanceIdentifier="nobody") == []
    assert names(Filters=[{"Name": "db-snapshot-id", "Values": [name]}]) == [name]
    with refused("DBSnapshotNotFound"):
        names(DBSnapshotIdentifier="nothing")


def test_automated_snapshots_are_not_deletable(sandbox: Sandbox) -> None:
    automated = sandbox.client().describe_db_snapshots(SnapshotType="automated")["DBSnapshots"][0]
    with refused("InvalidDBSnapshotState"):
        sandbox.client().delete_db_snapshot(DBSnapshotIdentifier=automated["DBSnapshotIdentifier"])


def test_names_that_aws_refuses_are_refused_and_255_letters_are_not_too_many(sandbox: Sandbox) -> None:
    rds = sandbox.client()
    for name in ("rds:mine", "1st", "a--b", "ends-", "under_score", "x" * 256):
        with refused("InvalidParameterValue"):
            rds.create_db_snapshot(DBInstanceIdentifier="main", DBSnapshotIdentifier=name)
    with refused("DBInstanceNotFound"):
        rds.create_db_snapshot(DBInstanceIdentifier="nobody", DBSnapshotIdentifier="snap")
    sandbox.take_snapshot("main", "x" * 255)


def test_copy_tags_to_snapshot_copies_the_instance_tags_unless_others_are_given(sandbox: Sandbox) -> None:
    sandbox.client().modify_db_instance(DBInstanceIdentifier="main", CopyTagsToSnapshot=True)
    try:
        copied, own = sandbox.take_snapshot("main"), [{"Key": "own", "Value": "1"}]
        assert sandbox.snapshot(copied)["TagList"] == [{"Key": "team", "Value": "db"}]
        assert sandbox.snapshot(sandbox.take_snapshot("main", Tags=own))["TagList"] == own
    finally:
        sandbox.client().modify_db_instance(DBInstanceIdentifier="main", CopyTagsToSnapshot=False)


def test_pages_of_snapshots_hold_each_once_although_some_come_and_go_in_between(sandbox: Sandbox) -> None:
    rds, source = sandbox.client(), sandbox.take_snapshot("main")
    names = [f"page-{number:02}" for number in range(23)]
    for name in names:
        rds.copy_db_snapshot(SourceDBSnapshotIdentifier=source, TargetDBSnapshotIdentifier=name)
        if name == names[11]:
            sandbox.wait_snapshot(name)
    sandbox.wait_snapshot(names[-1])
    first = rds.describe_db_snapshots(SnapshotType="manual", MaxRecords=20)
    assert len(first["DBSnapshots"]) == 20 and first["Marker"]
    rds.delete_db_snapshot(DBSnapshotIdentifier=names[0])
    second = rds.describe_db_snapshots(SnapshotType="manual", MaxRecords=20, Marker=first["Marker"])
    found = [each["DBSnapshotIdentifier"] for page in (first, second) for each in page["DBSnapshots"]]
    assert len(set(found)) == len(found) and set(names) <= set(found) and "Marker" not in second
    paginated = sandbox.aws("rds", "describe-db-snapshots", "--snapshot-type", "manual", "--page-size", "20")
    assert len(paginated["DBSnapshots"]) == len(found) - 1
    for size in (19, 101):
        with refused("InvalidParameterValue"):
            rds.describe_db_snapshots(MaxRecords=size)
    with refused("InvalidParameterValue"):
        rds.describe_db_snapshots(Marker="nonsense!")


def test_the_quota_counts_manual_snapshots_only() -> None:
    seed = {"quotas": {"snapshots": 2}, "instances": [{"id": "main", "snapshots": [{"id": "one"}, {"id": "two"}]}]}
    with running(seed) as sandbox:
        assert len(sandbox.client().describe_db_snapshots()["DBSnapshots"]) == 3
        with refused("SnapshotQuotaExceeded"):
            sandbox.client().create_db_snapshot(DBInstanceIdentifier="main", DBSnapshotIdentifier="three")
        quotas = sandbox.client().describe_account_attributes()["AccountQuotas"]
        assert {"AccountQuotaName": "ManualSnapshots", "Used": 2, "Max": 2} in quotas


# Copies ------------------------------------------------------------------------------------------------------------


def encrypted_snapshot(sandbox: Sandbox) -> tuple[str, str, str]:
    """An instance under a key of its own, and a snapshot of it: instance, snapshot, key."""
    key = sandbox.client("kms").create_key()["KeyMetadata"]["Arn"]
    name = sandbox.create(StorageEncrypted=True, KmsKeyId=key)
    return name, sandbox.take_snapshot(name), key


def test_a_copy_to_another_region_of_an_encrypted_snapshot_needs_an_enabled_key_there(sandbox: Sandbox) -> None:
    instance, snapshot, key = encrypted_snapshot(sandbox)
    source, west, kms = sandbox.snapshot(snapshot), sandbox.client(region=WEST), sandbox.client("kms", WEST)
    assert source["Encrypted"] and source["KmsKeyId"] == key and source["StorageEncryptionType"] == "sse-kms"
    target = kms.create_key()["KeyMetadata"]["Arn"]
    words = {"SourceDBSnapshotIdentifier": source["DBSnapshotArn"], "TargetDBSnapshotIdentifier": unique("copy")}
    with refused("InvalidParameterCombination"):
        west.copy_db_snapshot(**words)
    with refused("KMSKeyNotAccessibleFault"):
        west.copy_db_snapshot(**words, KmsKeyId=key)
    kms.disable_key(KeyId=target)
    with refused("KMSKeyNotAccessibleFault"):
        west.copy_db_snapshot(**words, KmsKeyId=target)
    kms.enable_key(KeyId=target)
    made = west.copy_db_snapshot(**words, KmsKeyId=target, SourceRegion=EAST)["DBSnapshot"]
    assert made["Status"] == "copying" and "SnapshotCreateTime" not in made
    copy = sandbox.wait_snapshot(words["TargetDBSnapshotIdentifier"], region=WEST)
    assert copy["KmsKeyId"] == target and copy["Encrypted"]
    assert (copy["SourceRegion"], copy["SourceDBSnapshotIdentifier"]) == (EAST, source["DBSnapshotArn"])
    assert copy["OriginalSnapshotCreateTime"] == source["OriginalSnapshotCreateTime"]
    assert copy["SnapshotCreateTime"] > source["SnapshotCreateTime"]
    assert copy["DbiResourceId"] == source["DbiResourceId"] and copy["TagList"] == []
    texts = sandbox.events(words["TargetDBSnapshotIdentifier"], "db-snapshot", WEST)
    assert [text.split()[0] for text in texts] == ["Started", "Finished"]
    sandbox.delete(instance)


def test_the_copy_restores_in_its_region_even_when_the_source_is_gone(sandbox: Sandbox) -> None:
    snapshot, copy, restored = sandbox.take_snapshot("main"), unique("copy"), unique("west")
    arn = sandbox.snapshot(snapshot)["DBSnapshotArn"]
    words = ["--source-db-snapshot-identifier", arn, "--target-db-snapshot-identifier", copy, "--copy-tags"]
    sandbox.aws("rds", "copy-db-snapshot", *words, "--source-region", EAST, region=WEST)
    sandbox.wait_snapshot(copy, region=WEST)
    sandbox.client().delete_db_snapshot(DBSnapshotIdentifier=snapshot)
    west = sandbox.client(region=WEST)
    west.restore_db_instance_from_db_snapshot(DBInstanceIdentifier=restored, DBSnapshotIdentifier=copy)
    found = sandbox.wait_instance(restored, region=WEST)
    assert found["DBInstanceArn"].split(":")[3] == WEST
    assert sandbox.rows(restored, "SELECT count(*) FROM account", dbname="bank", region=WEST) == [(1000,)]


def test_a_copy_in_the_same_region_copies_tags_when_asked(sandbox: Sandbox) -> None:
    tags = [{"Key": "slot", "Value": "now"}]
    source, rds = sandbox.take_snapshot("main", Tags=tags), sandbox.client()
    other = [{"Key": "other", "Value": "1"}]
    cases: list[tuple[dict[str, Any], list[dict[str, str]]]] = [
        ({}, []),
        ({"CopyTags": True}, tags),
        ({"CopyTags": True, "Tags": other}, other),
    ]
    for words, expected in cases:
        name = unique("copy")
        rds.copy_db_snapshot(SourceDBSnapshotIdentifier=source, TargetDBSnapshotIdentifier=name, **words)
        found = sandbox.wait_snapshot(name)
        assert found["TagList"] == expected and "SourceRegion" not in found
    with refused("DBSnapshotNotFound"):
        rds.copy_db_snapshot(SourceDBSnapshotIdentifier="nothing", TargetDBSnapshotIdentifier=unique("copy"))
    with refused("DBSnapshotAlreadyExists"):
        rds.copy_db_snapshot(SourceDBSnapshotIdentifier=source, TargetDBSnapshotIdentifier=source)


def test_a_copy_fails_when_asked_to(sandbox: Sandbox) -> None:
    source, name = sandbox.take_snapshot("main"), unique("doomed")
    sandbox.side("fail_next_copy", instance_id="main")
    sandbox.client().copy_db_snapshot(SourceDBSnapshotIdentifier=source, TargetDBSnapshotIdentifier=name)
    sandbox.wait_snapshot(name, "failed")
    assert sandbox.events(name, "db-snapshot")[-1] == f"Canceled snapshot copy request of {source}."


def test_copies_of_one_instance_queue_and_more_than_twenty_at_once_are_refused(sandbox: Sandbox) -> None:
    source, west = sandbox.take_snapshot("main"), sandbox.client(region=WEST)
    arn = sandbox.snapshot(source)["DBSnapshotArn"]
    sandbox.side("stick", resource_kind="snapshot", identifier=None, status="copying")
    names = [unique("queued") for _ in range(21)]
    for name in names[:20]:
        west.copy_db_snapshot(SourceDBSnapshotIdentifier=arn, TargetDBSnapshotIdentifier=name)
    with refused("SnapshotQuotaExceeded"):
        west.copy_db_snapshot(SourceDBSnapshotIdentifier=arn, TargetDBSnapshotIdentifier=names[20])
    statuses = [sandbox.snapshot(name, WEST)["Status"] for name in names[:20]]
    assert sorted(statuses) == ["copying"] + ["pending"] * 19
    assert sandbox.snapshot(names[19], WEST)["PercentProgress"] == 0
    sandbox.client().delete_db_snapshot(DBSnapshotIdentifier=source)
    sandbox.side("unstick")
    wait_for(lambda: {sandbox.snapshot(name, WEST)["Status"] for name in names[:20]} == {"failed"}, "copies cancelled")
    texts = sandbox.events(names[0], "db-snapshot", WEST)
    assert texts[-1].startswith("Canceled snapshot copy request")


def test_snapshots_of_an_instance_that_is_created_are_refused(sandbox: Sandbox) -> None:
    name = unique("db")
    sandbox.client().create_db_instance(**new_instance(name))
    with refused("InvalidDBInstanceState"):
        sandbox.client().create_db_snapshot(DBInstanceIdentifier=name, DBSnapshotIdentifier=unique("snap"))
    with refused("InvalidDBInstanceState"):
        sandbox.client().delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    sandbox.wait_instance(name)
    sandbox.delete(name)
