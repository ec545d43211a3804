"""Instances are real servers: created, found, changed, stopped and deleted as AWS does it."""

from __future__ import annotations

import psycopg
import pytest
from rds_support import PASSWORD, Sandbox, new_instance, refused, running, sandbox_fixture, unique, wait_for

SEED = {"instances": [{"id": "main", "databases": ["bank"], "master_password": PASSWORD, "tags": {"team": "db"}}]}
sandbox = sandbox_fixture(SEED)


def test_create_gives_a_server_that_speaks_tls_with_a_certificate_of_the_ca(sandbox: Sandbox) -> None:
    name = unique("db")
    made = sandbox.client().create_db_instance(**new_instance(name, DBName="ledger"))["DBInstance"]
    assert made["DBInstanceStatus"] == "creating" and "Endpoint" not in made
    found = sandbox.wait_instance(name)
    assert found["Endpoint"]["Address"] == "localhost"
    assert found["EngineVersion"].startswith("15.")
    assert sandbox.rows(name, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", dbname="ledger") == [(True,)]
    assert sandbox.events(name) == ["DB instance created"]
    sandbox.delete(name)


def test_create_with_the_cli(sandbox: Sandbox) -> None:
    name = unique("cli")
    words = ["--db-instance-class", "db.t3.micro", "--engine", "postgres", "--allocated-storage", "20"]
    words += ["--master-username", "master", "--master-user-password", PASSWORD, "--backup-retention-period", "0"]
    made = sandbox.aws("rds", "create-db-instance", "--db-instance-identifier", name, *words)
    assert made["DBInstance"]["DBInstanceStatus"] == "creating"
    sandbox.wait_instance(name)
    assert sandbox.rows(name, "SELECT 1") == [(1,)]
    sandbox.delete(name)


def test_the_master_is_no_superuser_and_cannot_enter_rdsadmin(sandbox: Sandbox) -> None:
    query = "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = 'master'"
    assert sandbox.rows("main", query) == [(False, True, True)]
    assert sandbox.rows("main", "SELECT pg_has_role('rds_superuser', 'member')") == [(True,)]
    with pytest.raises(psycopg.OperationalError, match="rejects connection"):
        sandbox.connect("main", dbname="rdsadmin")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sandbox.rows("main", "SELECT * FROM pg_authid")


def test_a_connection_without_tls_is_refused(sandbox: Sandbox) -> None:
    port = sandbox.instance("main")["Endpoint"]["Port"]
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(host="localhost", port=port, user="master", password=PASSWORD, sslmode="disable")


def test_describe_filters_by_name_arn_and_resource_id(sandbox: Sandbox) -> None:
    rds, main = sandbox.client(), sandbox.instance("main")
    for name in ("main", "MAIN", main["DBInstanceArn"]):
        assert rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"] == [main] or name
    wanted = [{"Name": "dbi-resource-id", "Values": [main["DbiResourceId"]]}]
    found = rds.describe_db_instances(Filters=wanted)["DBInstances"]
    assert [each["DBInstanceIdentifier"] for each in found] == ["main"]
    assert main["TagList"] == [{"Key": "team", "Value": "db"}]
    with refused("DBInstanceNotFound"):
        rds.describe_db_instances(DBInstanceIdentifier="nobody")
    with refused("InvalidParameterValue"):
        rds.describe_db_instances(Filters=[{"Name": "colour", "Values": ["red"]}])


def test_describe_with_the_cli(sandbox: Sandbox) -> None:
    found = sandbox.aws("rds", "describe-db-instances", "--db-instance-identifier", "main")["DBInstances"][0]
    assert found["DBInstanceStatus"] == "available"
    assert found["DbiResourceId"] == sandbox.ready["instances"]["main"]["resource_id"]


def test_identifiers_versions_and_passwords_that_aws_refuses_are_refused(sandbox: Sandbox) -> None:
    rds = sandbox.client()
    for name in ("1st", "a--b", "ends-", "under_score", "x" * 64, "main snapshot"):
        with refused("InvalidParameterValue"):
            rds.create_db_instance(**new_instance(name))
    with refused("DBInstanceAlreadyExists"):
        rds.create_db_instance(**new_instance("Main"))
    with refused("InvalidParameterCombination"):
        rds.create_db_instance(**new_instance(unique("db"), EngineVersion="9.6.1"))
    for password in ("short", "with a space", 'with"quote', "with@at-sign"):
        with refused("InvalidParameterValue"):
            rds.create_db_instance(**new_instance(unique("db"), MasterUserPassword=password))
    with refused("InvalidParameterValue"):
        rds.create_db_instance(**new_instance(unique("db"), BackupRetentionPeriod=36))


def test_tags_that_aws_refuses_are_refused(sandbox: Sandbox) -> None:
    rds, arn = sandbox.client(), sandbox.instance("main")["DBInstanceArn"]
    for key, value in [("aws:x", "1"), ("rds:x", "1"), ("k", "a,b"), ("k", "{}"), ("k" * 129, "1"), ("k", "v" * 257)]:
        with refused("InvalidParameterValue"):
            rds.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": key, "Value": value}])
    with refused("InvalidParameterValue"):
        rds.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": f"k{n}", "Value": ""} for n in range(51)])
    with refused("DBInstanceNotFound"):
        rds.list_tags_for_resource(ResourceName=arn + "x")


def test_tags_are_added_and_removed(sandbox: Sandbox) -> None:
    rds, arn = sandbox.client(), sandbox.instance("main")["DBInstanceArn"]
    rds.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "owner", "Value": "a/b=c+d@e"}])
    assert {"Key": "owner", "Value": "a/b=c+d@e"} in rds.list_tags_for_resource(ResourceName=arn)["TagList"]
    rds.remove_tags_from_resource(ResourceName=arn, TagKeys=["owner"])
    assert rds.list_tags_for_resource(ResourceName=arn)["TagList"] == [{"Key": "team", "Value": "db"}]


def test_tags_with_the_cli(sandbox: Sandbox) -> None:
    arn = sandbox.instance("main")["DBInstanceArn"]
    sandbox.aws("rds", "add-tags-to-resource", "--resource-name", arn, "--tags", "Key=cli,Value=yes")
    listed = sandbox.aws("rds", "list-tags-for-resource", "--resource-name", arn)["TagList"]
    assert {"Key": "cli", "Value": "yes"} in listed
    sandbox.aws("rds", "remove-tags-from-resource", "--resource-name", arn, "--tag-keys", "cli")


def test_modify_resets_the_master_password_on_the_server(sandbox: Sandbox) -> None:
    name = sandbox.create()
    changed = sandbox.client().modify_db_instance(DBInstanceIdentifier=name, MasterUserPassword="another-password")
    assert changed["DBInstance"]["DBInstanceStatus"] == "resetting-master-credentials"
    assert changed["DBInstance"]["PendingModifiedValues"]["MasterUserPassword"] == "****"
    assert sandbox.wait_instance(name)["PendingModifiedValues"] == {}
    assert sandbox.rows(name, "SELECT 1", password="another-password") == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        sandbox.connect(name)
    assert "Reset master credentials" in sandbox.events(name)
    sandbox.delete(name)


def test_rename_keeps_the_server_and_its_resource_id(sandbox: Sandbox) -> None:
    name, new = sandbox.create(), unique("renamed")
    before = sandbox.instance(name)
    sandbox.client().modify_db_instance(DBInstanceIdentifier=name, NewDBInstanceIdentifier=new, ApplyImmediately=True)
    assert sandbox.instance(name)["DBInstanceStatus"] == "renaming"
    after = sandbox.wait_instance(new)
    assert (after["DbiResourceId"], after["Endpoint"]) == (before["DbiResourceId"], before["Endpoint"])
    with refused("DBInstanceNotFound"):
        sandbox.instance(name)
    assert sandbox.rows(new, "SELECT 1") == [(1,)]
    sandbox.delete(new)


def test_modify_with_the_cli_renames_and_resets(sandbox: Sandbox) -> None:
    name, new = sandbox.create(), unique("renamed")
    words = ["--new-db-instance-identifier", new, "--master-user-password", "password-by-cli", "--apply-immediately"]
    sandbox.aws("rds", "modify-db-instance", "--db-instance-identifier", name, *words)
    sandbox.wait_instance(new)
    assert sandbox.rows(new, "SELECT 1", password="password-by-cli") == [(1,)]
    sandbox.delete(new)


def test_growing_storage_goes_through_storage_optimization_in_which_a_snapshot_is_allowed(sandbox: Sandbox) -> None:
    name = sandbox.create()
    sandbox.side("stick", resource_kind="instance", identifier=name, status="storage-optimization")
    rds = sandbox.client()
    rds.modify_db_instance(DBInstanceIdentifier=name, AllocatedStorage=40, ApplyImmediately=True)
    assert sandbox.wait_instance(name, "storage-optimization")["AllocatedStorage"] == 40
    snapshot = unique("snap")
    rds.create_db_snapshot(DBInstanceIdentifier=name, DBSnapshotIdentifier=snapshot)
    sandbox.wait_snapshot(snapshot)
    sandbox.wait_instance(name, "storage-optimization")
    sandbox.side("unstick")
    sandbox.wait_instance(name)
    with refused("InvalidParameterCombination"):
        rds.modify_db_instance(DBInstanceIdentifier=name, AllocatedStorage=30, ApplyImmediately=True)
    sandbox.delete(name)


def test_changes_without_apply_immediately_stay_pending(sandbox: Sandbox) -> None:
    changed = sandbox.client().modify_db_instance(DBInstanceIdentifier="main", DBInstanceClass="db.m6g.large")
    assert changed["DBInstance"]["DBInstanceStatus"] == "available"
    assert changed["DBInstance"]["PendingModifiedValues"] == {"DBInstanceClass": "db.m6g.large"}
    assert changed["DBInstance"]["DBInstanceClass"] == "db.t3.micro"


def test_stop_start_and_reboot_are_true(sandbox: Sandbox) -> None:
    name, rds = sandbox.create(), sandbox.client()
    sandbox.rows(name, "CREATE TABLE kept AS SELECT 7 AS n")
    assert rds.stop_db_instance(DBInstanceIdentifier=name)["DBInstance"]["DBInstanceStatus"] == "stopping"
    with refused("InvalidDBInstanceState"):
        rds.create_db_snapshot(DBInstanceIdentifier=name, DBSnapshotIdentifier=unique("snap"))
    sandbox.wait_instance(name, "stopped")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        sandbox.connect(name)
    with refused("InvalidDBInstanceState"):
        rds.reboot_db_instance(DBInstanceIdentifier=name)
    rds.start_db_instance(DBInstanceIdentifier=name)
    sandbox.wait_instance(name)
    started = sandbox.rows(name, "SELECT pg_postmaster_start_time(), n FROM kept")
    rds.reboot_db_instance(DBInstanceIdentifier=name)
    sandbox.wait_instance(name)
    rebooted = sandbox.rows(name, "SELECT pg_postmaster_start_time(), n FROM kept")
    assert rebooted[0][0] > started[0][0] and rebooted[0][1] == 7
    sandbox.delete(name)


def test_stop_start_and_reboot_with_the_cli(sandbox: Sandbox) -> None:
    name = sandbox.create()
    for action, status in [("stop", "stopped"), ("start", "available"), ("reboot", "available")]:
        sandbox.aws("rds", f"{action}-db-instance", "--db-instance-identifier", name)
        sandbox.wait_instance(name, status)
    sandbox.delete(name)


def test_delete_needs_a_decision_about_the_final_snapshot_and_takes_it(sandbox: Sandbox) -> None:
    name, rds, final = sandbox.create(), sandbox.client(), unique("final")
    sandbox.rows(name, "CREATE TABLE last_words AS SELECT 'so long' AS text")
    with refused("InvalidParameterCombination"):
        rds.delete_db_instance(DBInstanceIdentifier=name)
    with refused("InvalidParameterCombination"):
        rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True, FinalDBSnapshotIdentifier=final)
    gone = rds.delete_db_instance(DBInstanceIdentifier=name, FinalDBSnapshotIdentifier=final)["DBInstance"]
    assert gone["DBInstanceStatus"] == "deleting"
    with refused("InvalidDBInstanceState"):
        rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    sandbox.wait_gone(name)
    assert sandbox.snapshot(final)["Status"] == "available"
    restored = unique("restored")
    rds.restore_db_instance_from_db_snapshot(DBInstanceIdentifier=restored, DBSnapshotIdentifier=final)
    sandbox.wait_instance(restored)
    assert sandbox.rows(restored, "SELECT text FROM last_words") == [("so long",)]
    sandbox.delete(restored)


def test_delete_with_the_cli_ends_the_server_and_its_files(sandbox: Sandbox) -> None:
    name = sandbox.create()
    home = sandbox.workdir / "instances" / sandbox.instance(name)["DbiResourceId"]
    assert home.is_dir()
    sandbox.aws("rds", "delete-db-instance", "--db-instance-identifier", name, "--skip-final-snapshot")
    sandbox.wait_gone(name)
    wait_for(lambda: not home.exists(), "files gone")


def test_a_protected_instance_is_not_deleted(sandbox: Sandbox) -> None:
    name, rds = sandbox.create(DeletionProtection=True), sandbox.client()
    with refused("InvalidParameterCombination"):
        rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    rds.modify_db_instance(DBInstanceIdentifier=name, DeletionProtection=False)
    sandbox.delete(name)


def test_instances_are_paged_and_limited_by_the_quota() -> None:
    with running({"quotas": {"instances": 1}, "instances": [{"id": "only", "backup_retention": 0}]}) as sandbox:
        rds = sandbox.client()
        with refused("InstanceQuotaExceeded"):
            rds.create_db_instance(**new_instance("second"))
        for size in (19, 101):
            with refused("InvalidParameterValue"):
                rds.describe_db_instances(MaxRecords=size)
        assert len(rds.describe_db_instances(MaxRecords=20)["DBInstances"]) == 1
