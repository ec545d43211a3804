"""Restores start real servers: from a snapshot's files, and by WAL replay up to a moment."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from rds_support import PASSWORD, Sandbox, refused, sandbox_fixture, unique, wait_for

SEED = {
    "instances": [
        {"id": "main", "master_password": PASSWORD, "tags": {"team": "db"}, "backup_retention": 7},
        {"id": "bare", "master_password": PASSWORD, "backup_retention": 0},
    ]
}
sandbox = sandbox_fixture(SEED)


def server_time(sandbox: Sandbox, identifier: str = "main") -> datetime:
    moment: datetime = sandbox.rows(identifier, "SELECT clock_timestamp()")[0][0]
    return moment


def wait_restorable(sandbox: Sandbox, moment: datetime, identifier: str = "main") -> datetime:
    def reached() -> datetime | None:
        latest: datetime = sandbox.instance(identifier)["LatestRestorableTime"]
        return latest if latest >= moment else None

    found: datetime = wait_for(reached, f"LatestRestorableTime of {identifier} at {moment}")
    return found


def test_a_restore_to_before_the_deletion_finds_the_rows(sandbox: Sandbox) -> None:
    rds = sandbox.client()
    sandbox.rows("main", "CREATE TABLE pitr AS SELECT generate_series(1, 500) AS n")
    before = server_time(sandbox)
    time.sleep(0.01)  # the moment is between two commits, whatever the clock's step
    sandbox.rows("main", "DELETE FROM pitr WHERE n > 100")
    wait_restorable(sandbox, server_time(sandbox))
    restored, latest = unique("pitr"), unique("latest")
    made = rds.restore_db_instance_to_point_in_time(
        SourceDBInstanceIdentifier="main", TargetDBInstanceIdentifier=restored, RestoreTime=before
    )["DBInstance"]
    assert made["DBInstanceStatus"] == "creating" and made["DbiResourceId"] != sandbox.instance("main")["DbiResourceId"]
    sandbox.wait_instance(restored)
    assert sandbox.rows(restored, "SELECT count(*) FROM pitr") == [(500,)]
    assert sandbox.rows("main", "SELECT count(*) FROM pitr") == [(100,)]
    sandbox.rows(restored, "INSERT INTO pitr VALUES (501)")
    assert f"Restored from DB instance main to {restored}" in sandbox.events(restored)

    rds.restore_db_instance_to_point_in_time(
        SourceDBInstanceIdentifier="main", TargetDBInstanceIdentifier=latest, UseLatestRestorableTime=True
    )
    sandbox.wait_instance(latest)
    assert sandbox.rows(latest, "SELECT count(*) FROM pitr") == [(100,)]

    # the restored instance is on a timeline of its own and has backups of its own
    moment = server_time(sandbox, restored)
    time.sleep(0.01)
    sandbox.rows(restored, "DROP TABLE pitr")
    wait_restorable(sandbox, server_time(sandbox, restored), restored)
    again = unique("again")
    rds.restore_db_instance_to_point_in_time(
        SourceDBInstanceIdentifier=restored, TargetDBInstanceIdentifier=again, RestoreTime=moment
    )
    sandbox.wait_instance(again)
    assert sandbox.rows(again, "SELECT count(*) FROM pitr") == [(501,)]
    snapshot = sandbox.take_snapshot(again)
    rds.restore_db_instance_from_db_snapshot(DBInstanceIdentifier=unique("third"), DBSnapshotIdentifier=snapshot)
    for each in (restored, latest, again):
        sandbox.delete(each)


def test_point_in_time_with_the_cli(sandbox: Sandbox) -> None:
    restored = unique("pitr")
    words = [
        "--target-db-instance-identifier",
        restored,
        "--use-latest-restorable-time",
        "--backup-retention-period",
        "0",
    ]
    sandbox.aws("rds", "restore-db-instance-to-point-in-time", "--source-db-instance-identifier", "main", *words)
    assert sandbox.wait_instance(restored)["BackupRetentionPeriod"] == 0
    assert sandbox.rows(restored, "SELECT pg_is_in_recovery()") == [(False,)]
    sandbox.delete(restored)


def test_latest_restorable_time_moves_without_writes_and_is_absent_without_backups(sandbox: Sandbox) -> None:
    first = wait_restorable(sandbox, datetime(2000, 1, 1, tzinfo=UTC))
    assert wait_restorable(sandbox, first + timedelta(seconds=1)) > first
    assert "LatestRestorableTime" not in sandbox.instance("bare")


def test_times_that_cannot_be_restored_to_are_refused(sandbox: Sandbox) -> None:
    rds, target = sandbox.client(), unique("pitr")
    main = {"SourceDBInstanceIdentifier": "main", "TargetDBInstanceIdentifier": target}
    now = datetime.now(UTC)
    for moment in (now + timedelta(minutes=5), now - timedelta(days=1)):
        with refused("InvalidParameterValue"):
            rds.restore_db_instance_to_point_in_time(**main, RestoreTime=moment)
    for words in ({}, {"UseLatestRestorableTime": True, "RestoreTime": now}):
        with refused("InvalidParameterCombination"):
            rds.restore_db_instance_to_point_in_time(**main, **words)
    with refused("PointInTimeRestoreNotEnabled"):
        rds.restore_db_instance_to_point_in_time(
            SourceDBInstanceIdentifier="bare", TargetDBInstanceIdentifier=target, UseLatestRestorableTime=True
        )
    with refused("DBInstanceNotFound"):
        rds.restore_db_instance_to_point_in_time(
            SourceDBInstanceIdentifier="nobody", TargetDBInstanceIdentifier=target, UseLatestRestorableTime=True
        )
    with refused("DBInstanceAlreadyExists"):
        rds.restore_db_instance_to_point_in_time(
            SourceDBInstanceIdentifier="main", TargetDBInstanceIdentifier="bare", UseLatestRestorableTime=True
        )


def test_a_snapshot_restores_with_the_password_of_its_time_and_the_tags_of_the_source(sandbox: Sandbox) -> None:
    rds, restored, tagged = sandbox.client(), unique("restored"), unique("tagged")
    source = sandbox.create(Tags=[{"Key": "team", "Value": "cards"}])
    snapshot = sandbox.take_snapshot(source)
    rds.modify_db_instance(DBInstanceIdentifier=source, MasterUserPassword="a-later-password")
    sandbox.wait_instance(source)
    made = rds.restore_db_instance_from_db_snapshot(DBInstanceIdentifier=restored, DBSnapshotIdentifier=snapshot)
    assert made["DBInstance"]["DBInstanceStatus"] == "creating" and "Endpoint" not in made["DBInstance"]
    own = [{"Key": "drill", "Value": "yes"}]
    rds.restore_db_instance_from_db_snapshot(DBInstanceIdentifier=tagged, DBSnapshotIdentifier=snapshot, Tags=own)
    found = sandbox.wait_instance(restored)
    assert found["TagList"] == [{"Key": "team", "Value": "cards"}]
    assert sandbox.wait_instance(tagged)["TagList"] == own
    assert found["Endpoint"]["Port"] != sandbox.instance(source)["Endpoint"]["Port"]
    assert sandbox.rows(restored, "SELECT 1") == [(1,)]
    with pytest.raises(psycopg.OperationalError):
        sandbox.connect(restored, password="a-later-password")
    assert f"Restored from snapshot {snapshot}" in sandbox.events(restored)
    for each in (source, restored, tagged):
        sandbox.delete(each)


def test_restore_from_snapshot_with_the_cli(sandbox: Sandbox) -> None:
    snapshot, restored = sandbox.take_snapshot("bare"), unique("restored")
    words = ["--db-snapshot-identifier", snapshot, "--db-instance-class", "db.r6g.large", "--no-publicly-accessible"]
    sandbox.aws("rds", "restore-db-instance-from-db-snapshot", "--db-instance-identifier", restored, *words)
    assert sandbox.wait_instance(restored)["DBInstanceClass"] == "db.r6g.large"
    words[1] = "nothing"
    command = ["rds", "restore-db-instance-from-db-snapshot", "--db-instance-identifier", unique("no"), *words]
    sandbox.aws(*command, fails="DBSnapshotNotFound")
    sandbox.delete(restored)


def test_a_snapshot_in_the_making_and_one_with_a_disabled_key_are_not_restored(sandbox: Sandbox) -> None:
    rds, kms = sandbox.client(), sandbox.client("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    source, snapshot = sandbox.create(StorageEncrypted=True, KmsKeyId=key), unique("snap")
    rds.create_db_snapshot(DBInstanceIdentifier=source, DBSnapshotIdentifier=snapshot)
    words = {"DBInstanceIdentifier": unique("restored"), "DBSnapshotIdentifier": snapshot}
    with refused("InvalidDBSnapshotState"):
        rds.restore_db_instance_from_db_snapshot(**words)
    sandbox.wait_snapshot(snapshot)
    kms.disable_key(KeyId=key)
    with refused("KMSKeyNotAccessibleFault"):
        rds.restore_db_instance_from_db_snapshot(**words)
    kms.enable_key(KeyId=key)
    with refused("InvalidParameterValue"):
        rds.restore_db_instance_from_db_snapshot(**words, AllocatedStorage=5)
    with refused("DBInstanceAlreadyExists"):
        rds.restore_db_instance_from_db_snapshot(**words | {"DBInstanceIdentifier": source})
    sandbox.wait_instance(source)
    sandbox.delete(source)


def test_a_read_replica_follows_its_source_until_it_is_promoted(sandbox: Sandbox) -> None:
    rds, source, replica = sandbox.client(), sandbox.create(BackupRetentionPeriod=1), unique("replica")
    with refused("InvalidDBInstanceState"):
        rds.create_db_instance_read_replica(DBInstanceIdentifier=replica, SourceDBInstanceIdentifier="bare")
    rds.create_db_instance_read_replica(DBInstanceIdentifier=replica, SourceDBInstanceIdentifier=source)
    shown = sandbox.wait_instance(replica)
    assert shown["ReadReplicaSourceDBInstanceIdentifier"] == source
    assert sandbox.instance(source)["ReadReplicaDBInstanceIdentifiers"] == [replica]
    sandbox.rows(source, "CREATE TABLE followed AS SELECT 1 AS n")
    wait_for(lambda: sandbox.rows(replica, "SELECT to_regclass('followed') IS NOT NULL") == [(True,)], "it follows")
    assert sandbox.rows(replica, "SELECT pg_is_in_recovery(), n FROM followed") == [(True, 1)]
    rds.promote_read_replica(DBInstanceIdentifier=replica)
    wait_for(lambda: "ReadReplicaSourceDBInstanceIdentifier" not in sandbox.wait_instance(replica), "it is promoted")
    sandbox.rows(replica, "CREATE TABLE own AS SELECT 2 AS n")
    assert sandbox.instance(source)["ReadReplicaDBInstanceIdentifiers"] == []
    for name in (replica, source):
        sandbox.delete(name)


def test_kept_automated_backups_restore_an_instance_that_was_deleted(sandbox: Sandbox) -> None:
    rds, restored = sandbox.client(), unique("undead")
    source = sandbox.create(BackupRetentionPeriod=1)
    sandbox.rows(source, "CREATE TABLE kept AS SELECT 1 AS n")
    resource = sandbox.instance(source)["DbiResourceId"]
    rds.delete_db_instance(DBInstanceIdentifier=source, SkipFinalSnapshot=True, DeleteAutomatedBackups=False)
    sandbox.wait_gone(source)
    backup = rds.describe_db_instance_automated_backups(DbiResourceId=resource)["DBInstanceAutomatedBackups"][0]
    assert backup["Status"] == "retained" and backup["RestoreWindow"]["LatestTime"]
    rds.restore_db_instance_to_point_in_time(
        SourceDbiResourceId=resource, TargetDBInstanceIdentifier=restored, UseLatestRestorableTime=True
    )
    sandbox.wait_instance(restored)
    assert sandbox.rows(restored, "SELECT n FROM kept") == [(1,)]
    listed = sandbox.aws("rds", "describe-db-instance-automated-backups", "--dbi-resource-id", resource)
    assert listed["DBInstanceAutomatedBackups"][0]["DBInstanceIdentifier"] == source
    sandbox.aws("rds", "delete-db-instance-automated-backup", "--dbi-resource-id", resource)
    with refused("DBInstanceNotFound"):
        rds.restore_db_instance_to_point_in_time(
            SourceDbiResourceId=resource, TargetDBInstanceIdentifier=unique("no"), UseLatestRestorableTime=True
        )
    sandbox.delete(restored)


def test_turning_backups_on_takes_one_and_off_removes_it(sandbox: Sandbox) -> None:
    rds, name = sandbox.client(), sandbox.create()
    rds.modify_db_instance(DBInstanceIdentifier=name, BackupRetentionPeriod=3, ApplyImmediately=True)
    assert sandbox.wait_instance(name)["BackupRetentionPeriod"] == 3
    assert len(rds.describe_db_snapshots(DBInstanceIdentifier=name, SnapshotType="automated")["DBSnapshots"]) == 1
    wait_for(lambda: "LatestRestorableTime" in sandbox.instance(name), "LatestRestorableTime")
    rds.modify_db_instance(DBInstanceIdentifier=name, BackupRetentionPeriod=0, ApplyImmediately=True)
    sandbox.wait_instance(name)
    assert rds.describe_db_snapshots(DBInstanceIdentifier=name)["DBSnapshots"] == []
    assert sandbox.events(name)[-1] == "Disabled automated backups"
    sandbox.delete(name)
