"""What RDS tells: events, log files, quotas, versions; and the services beside it that are needed with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from rds_support import EAST, PASSWORD, WEST, Sandbox, refused, sandbox_fixture, unique, wait_for

SEED = {"instances": [{"id": "main", "master_password": PASSWORD, "backup_retention": 7}]}
sandbox = sandbox_fixture(SEED)


def test_events_are_found_by_source_time_and_category(sandbox: Sandbox) -> None:
    rds, name = sandbox.client(), sandbox.take_snapshot("main")

    def messages(**words: object) -> list[str]:
        return [event["Message"] for event in rds.describe_events(**words)["Events"]]

    assert messages(SourceIdentifier=name, SourceType="db-snapshot") == [
        "Creating manual snapshot",
        "Manual snapshot created",
    ]
    assert "Finished DB Instance backup" in messages(SourceType="db-instance", EventCategories=["backup"])
    assert messages(SourceType="db-instance", EventCategories=["deletion"]) == []
    now = datetime.now(UTC)
    assert messages(StartTime=now - timedelta(days=2), EndTime=now - timedelta(days=1)) == []
    assert messages(StartTime=now - timedelta(minutes=5), SourceIdentifier=name, SourceType="db-snapshot")
    with refused("InvalidParameterCombination"):
        messages(SourceIdentifier=name)
    with refused("InvalidParameterValue"):
        messages(SourceType="db-table")
    with refused("InvalidParameterValue"):
        messages(Duration=20161)


def test_events_show_the_last_hour_unless_asked_and_fourteen_days_at_most(sandbox: Sandbox) -> None:
    for age in (30, 600, 60 * 24 * 13, 60 * 24 * 15):
        sandbox.side(
            "add_event", source_id="old", message=f"{age} minutes old", categories=["failure"], minutes_ago=age
        )
    words = {"SourceIdentifier": "old", "SourceType": "db-instance"}

    def ages(**more: object) -> list[str]:
        return [event["Message"].split()[0] for event in sandbox.client().describe_events(**words, **more)["Events"]]

    assert ages() == ["30"]
    assert ages(Duration=700) == ["600", "30"]
    assert ages(Duration=20160) == [str(60 * 24 * 13), "600", "30"]


def test_events_are_paged(sandbox: Sandbox) -> None:
    for number in range(45):
        sandbox.side("add_event", source_id="many", message=str(number))
    pages = sandbox.client().get_paginator("describe_events")
    found = [
        [event["Message"] for event in page["Events"]]
        for page in pages.paginate(SourceIdentifier="many", SourceType="db-instance", MaxRecords=20)
    ]
    assert [len(page) for page in found] == [20, 20, 5]
    assert [text for page in found for text in page] == [str(number) for number in range(45)]


def test_events_with_the_cli(sandbox: Sandbox) -> None:
    words = ["--source-identifier", "main", "--source-type", "db-instance", "--duration", "60"]
    found = sandbox.aws("rds", "describe-events", *words)["Events"]
    assert "DB instance created" in [event["Message"] for event in found]


def test_log_files_are_the_servers_own(sandbox: Sandbox) -> None:
    rds, mark = sandbox.client(), unique("mark")
    with pytest.raises(psycopg.errors.UndefinedTable):
        sandbox.rows("main", f'SELECT * FROM "{mark}"')
    files = rds.describe_db_log_files(DBInstanceIdentifier="main")["DescribeDBLogFiles"]
    newest = files[-1]["LogFileName"]
    assert newest.startswith("error/postgresql.log.20") and files[-1]["Size"] > 0
    portion = rds.download_db_log_file_portion(DBInstanceIdentifier="main", LogFileName=newest, NumberOfLines=50)
    assert mark in portion["LogFileData"] and portion["AdditionalDataPending"] is False
    whole, marker = "", "0"
    while True:
        part = rds.download_db_log_file_portion(
            DBInstanceIdentifier="main", LogFileName=newest, Marker=marker, NumberOfLines=5
        )
        whole, marker = whole + part["LogFileData"], part["Marker"]
        if not part["AdditionalDataPending"]:
            break
    assert mark in whole and whole.endswith(portion["LogFileData"][-100:])
    assert rds.describe_db_log_files(DBInstanceIdentifier="main", FilenameContains="xyz")["DescribeDBLogFiles"] == []
    for name in ("error/nothing", "../../../etc/passwd", "error/../../postmaster.out"):
        with refused("DBLogFileNotFoundFault"):
            rds.download_db_log_file_portion(DBInstanceIdentifier="main", LogFileName=name)


def test_log_files_with_the_cli(sandbox: Sandbox) -> None:
    found = sandbox.aws("rds", "describe-db-log-files", "--db-instance-identifier", "main")["DescribeDBLogFiles"]
    words = ["--db-instance-identifier", "main", "--log-file-name", found[0]["LogFileName"]]
    text = sandbox.aws("rds", "download-db-log-file-portion", *words, "--starting-token", "0")["LogFileData"]
    assert "database system is ready to accept connections" in text


def test_quotas_versions_maintenance_and_certificates_are_answered(sandbox: Sandbox) -> None:
    rds = sandbox.client()
    quotas = {each["AccountQuotaName"]: each for each in rds.describe_account_attributes()["AccountQuotas"]}
    assert (quotas["ManualSnapshots"]["Max"], quotas["DBInstances"]["Max"]) == (100, 40)
    versions = rds.describe_db_engine_versions(Engine="postgres", EngineVersion="15")["DBEngineVersions"]
    assert versions[0]["DBParameterGroupFamily"] == "postgres15"
    assert rds.describe_db_engine_versions(Engine="postgres", EngineVersion="9.6")["DBEngineVersions"] == []
    assert rds.describe_pending_maintenance_actions()["PendingMaintenanceActions"] == []
    assert rds.describe_certificates()["Certificates"]


def test_quotas_versions_maintenance_and_certificates_with_the_cli(sandbox: Sandbox) -> None:
    assert sandbox.aws("rds", "describe-account-attributes")["AccountQuotas"]
    assert sandbox.aws("rds", "describe-db-engine-versions", "--engine", "postgres")["DBEngineVersions"]
    assert sandbox.aws("rds", "describe-pending-maintenance-actions")["PendingMaintenanceActions"] == []
    assert sandbox.aws("rds", "describe-certificates")["Certificates"]


def test_automated_backups_and_their_replication_to_another_region(sandbox: Sandbox) -> None:
    arn, west = sandbox.instance("main")["DBInstanceArn"], sandbox.client(region=WEST)
    backup = sandbox.client().describe_db_instance_automated_backups(DBInstanceIdentifier="main")
    window = backup["DBInstanceAutomatedBackups"][0]["RestoreWindow"]
    assert window["EarliestTime"] < window["LatestTime"]
    west.start_db_instance_automated_backups_replication(SourceDBInstanceArn=arn)
    found = west.describe_db_instance_automated_backups()["DBInstanceAutomatedBackups"]
    assert [each["DBInstanceArn"] for each in found] == [arn] and found[0]["Region"] == WEST
    west.stop_db_instance_automated_backups_replication(SourceDBInstanceArn=arn)
    assert west.describe_db_instance_automated_backups()["DBInstanceAutomatedBackups"] == []


def test_what_has_no_real_server_is_refused_rather_than_pretended(sandbox: Sandbox) -> None:
    with refused("InvalidAction"):
        sandbox.client().create_db_cluster(DBClusterIdentifier="cluster", Engine="aurora-postgresql")


def test_other_services_and_regions_are_apart(sandbox: Sandbox) -> None:
    assert sandbox.client("sts").get_caller_identity()["Account"] == "123456789012"
    assert sandbox.client(region=WEST).describe_db_instances()["DBInstances"] == []
    assert len(sandbox.client(region=EAST).describe_db_instances()["DBInstances"]) == 1


# What the side API can do ------------------------------------------------------------------------------------------


def test_a_snapshot_fails_when_asked_to_and_can_be_deleted(sandbox: Sandbox) -> None:
    rds, name = sandbox.client(), unique("doomed")
    sandbox.side("fail_next_snapshot", instance_id="main")
    rds.create_db_snapshot(DBInstanceIdentifier="main", DBSnapshotIdentifier=name)
    failed = sandbox.wait_snapshot(name, "failed")
    assert "SnapshotCreateTime" not in failed and failed["PercentProgress"] < 100
    sandbox.wait_instance("main")
    assert f"Snapshot {name} failed" in sandbox.events(name, "db-snapshot")
    with refused("InvalidDBSnapshotState"):
        rds.restore_db_instance_from_db_snapshot(DBInstanceIdentifier=unique("no"), DBSnapshotIdentifier=name)
    rds.delete_db_snapshot(DBSnapshotIdentifier=name)
    sandbox.take_snapshot("main")


def test_a_stuck_snapshot_stays_until_it_is_freed(sandbox: Sandbox) -> None:
    rds, name = sandbox.client(), unique("stuck")
    sandbox.side("stick", resource_kind="snapshot", identifier=name, status="creating")
    rds.create_db_snapshot(DBInstanceIdentifier="main", DBSnapshotIdentifier=name)
    wait_for(lambda: sandbox.snapshot(name)["PercentProgress"] == 99, "99 percent")
    assert sandbox.snapshot(name)["Status"] == "creating"
    sandbox.side("unstick", resource_kind="snapshot", identifier=name, status="creating")
    sandbox.wait_snapshot(name)
    sandbox.wait_instance("main")


def test_any_instance_status_can_be_shown(sandbox: Sandbox) -> None:
    sandbox.side("set_instance_status", id="main", status="inaccessible-encryption-credentials")
    try:
        with refused("InvalidDBInstanceState"):
            sandbox.client().create_db_snapshot(DBInstanceIdentifier="main", DBSnapshotIdentifier=unique("no"))
        assert sandbox.rows("main", "SELECT 1") == [(1,)]
    finally:
        sandbox.side("set_instance_status", id="main", status="available")


def test_sessions_are_killed_by_their_application_name(sandbox: Sandbox) -> None:
    with (
        sandbox.connect("main", application_name="pg_dump") as victim,
        sandbox.connect("main", application_name="psql") as other,
    ):
        assert sandbox.side("kill_backends", instance_id="main", application_name_like="pg_d%") == 1
        with pytest.raises(psycopg.OperationalError):
            victim.execute("SELECT 1")
        assert other.execute("SELECT 1").fetchone() == (1,)


def test_the_server_can_be_taken_away_while_rds_says_available(sandbox: Sandbox) -> None:
    sandbox.side("stop_postgres", id="main", immediate=True)
    with pytest.raises(psycopg.OperationalError, match="refused"):
        sandbox.connect("main")
    assert sandbox.instance("main")["DBInstanceStatus"] == "available"
    before = sandbox.instance("main")["Endpoint"]["Port"]
    assert sandbox.side("start_postgres", id="main") == before
    assert sandbox.side("run_sql", id="main", sql="SELECT 41 + 1") == [["42"]]
    assert sandbox.rows("main", "SELECT 1") == [(1,)]


def test_parameter_groups_say_whether_tls_is_forced(sandbox: Sandbox) -> None:
    rds = sandbox.client()

    def forced(group: str) -> str:
        pages = rds.get_paginator("describe_db_parameters").paginate(DBParameterGroupName=group)
        found = {each["ParameterName"]: each["ParameterValue"] for page in pages for each in page["Parameters"]}
        return str(found["rds.force_ssl"])

    assert (forced("default.postgres15"), forced("default.postgres14")) == ("1", "0")
    name = unique("pg")
    rds.create_db_parameter_group(DBParameterGroupName=name, DBParameterGroupFamily="postgres15", Description="no TLS")
    off = {"ParameterName": "rds.force_ssl", "ParameterValue": "0", "ApplyMethod": "immediate"}
    rds.modify_db_parameter_group(DBParameterGroupName=name, Parameters=[off])
    assert forced(name) == "0"
    with refused("DBParameterGroupNotFound"):
        forced(unique("nowhere"))


def test_what_an_instance_and_a_snapshot_say_of_time_can_be_set(sandbox: Sandbox) -> None:
    now, name = datetime.now(UTC), sandbox.take_snapshot("main")
    details = sandbox.instance("main")["CertificateDetails"]
    assert details["CAIdentifier"] and details["ValidTill"] > now + timedelta(days=365)
    sandbox.side("set_certificate_end", id="main", days=30)
    left = sandbox.instance("main")["CertificateDetails"]["ValidTill"] - now
    assert timedelta(days=29) < left < timedelta(days=31)
    sandbox.side("set_restorable_lag", id="main", minutes=60)
    assert sandbox.instance("main")["LatestRestorableTime"] < now - timedelta(minutes=50)
    sandbox.side("set_restorable_lag", id="main", minutes=0)
    wait_for(lambda: sandbox.instance("main")["LatestRestorableTime"] > now, "it is as new as ever")
    sandbox.side("set_snapshot_age", id=name, hours=25)
    found = sandbox.snapshot(name)
    for moment in (found["SnapshotCreateTime"], found["OriginalSnapshotCreateTime"]):
        assert timedelta(hours=24) < now - moment < timedelta(hours=26)


def test_the_quota_of_snapshots_can_be_lowered(sandbox: Sandbox) -> None:
    sandbox.take_snapshot("main")
    sandbox.side("set_snapshot_quota", most=1)
    try:
        quotas = sandbox.client().describe_account_attributes()["AccountQuotas"]
        assert [each["Max"] for each in quotas if each["AccountQuotaName"] == "ManualSnapshots"] == [1]
        with refused("SnapshotQuotaExceeded"):
            sandbox.take_snapshot("main")
    finally:
        sandbox.side("set_snapshot_quota", most=100)
