"""Restores in the second region, out of what was copied and replicated there: the way back when a region is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from case import Config
from postgres_tools import psql
from sandbox_process import KMS_ALIAS
from test_second_region import copied
from vault import ROWS, SOURCE, WEST, Vault, another_instance, keep
from waiting import wait_until

NETWORK: Config = {
    "subnet_group": "bank-db-west",
    "security_groups": ["sg-0a1b2c3d"],
    "parameter_group": "default.postgres15",
}
SECONDS = 120


@pytest.fixture(scope="module", autouse=True)
def subnet_group(two_regions: Any) -> None:
    two_regions.subnet_group(NETWORK["subnet_group"], WEST)


@pytest.fixture
def name(vaults: Vault) -> Iterator[str]:
    """The name of an instance in the second region, which is gone at the end."""
    name, rds = f"{vaults.name}-again", vaults.sandbox.client("rds", WEST)
    yield name
    try:
        rds.modify_db_instance(DBInstanceIdentifier=name, DeletionProtection=False, ApplyImmediately=True)
        rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    except ClientError as error:
        assert error.response["Error"]["Code"] in ("DBInstanceNotFound", "InvalidDBInstanceState"), error


def west(vaults: Vault, name: str) -> dict[str, Any]:
    found = vaults.sandbox.client("rds", WEST).describe_db_instances(DBInstanceIdentifier=name)
    instance: dict[str, Any] = found["DBInstances"][0]
    return instance


def test_the_copy_of_a_snapshot_comes_back_in_its_region(vaults: Vault, name: str) -> None:
    strongroom = vaults.configure_vault(snapshot=keep(1, **copied(vaults, 1)), dump=keep(1), restore={WEST: NETWORK})
    snapshot = vaults.snapshot(strongroom)[0]
    daemon = strongroom.start()
    daemon.wait_for(lambda: vaults.copy_states() == {snapshot: "available"}, "the copy is there")
    assert daemon.terminate() == 0
    ended = strongroom("restore", "snapshot", SOURCE, "--plane", "replica", "--as", name, seconds=SECONDS)
    assert f"snapshot {snapshot}, data of" in ended.out and WEST in ended.out, ended.out
    assert f"1 tables, {ROWS} rows" in ended.out, ended.out
    made = west(vaults, name)
    assert made["KmsKeyId"] == vaults.key_arn(KMS_ALIAS), "under the key of its region"
    assert made["DBSubnetGroup"]["DBSubnetGroupName"] == NETWORK["subnet_group"]
    assert [own["VpcSecurityGroupId"] for own in made["VpcSecurityGroups"]] == NETWORK["security_groups"]
    standing = vaults.sandbox.client("rds").describe_db_instances()["DBInstances"]
    assert name not in {own["DBInstanceIdentifier"] for own in standing}, "nothing was made in the sources' region"


def test_replicated_backups_come_back_in_the_region_that_they_are_in(vaults: Vault, name: str) -> None:
    source = "ledger"
    rds, away = vaults.sandbox.client("rds"), vaults.sandbox.client("rds", WEST)
    with another_instance(vaults.sandbox, source):
        rds.modify_db_instance(DBInstanceIdentifier=f"bank-{source}", BackupRetentionPeriod=7, ApplyImmediately=True)
        psql(vaults.sandbox, f"bank-{source}", source, "CREATE TABLE bars AS SELECT generate_series(1, 77) AS n")
        arn = vaults.sandbox.instance(f"bank-{source}")["DBInstanceArn"]
        replicate = away.start_db_instance_automated_backups_replication
        wait_until(lambda: vaults.sandbox.instance(f"bank-{source}")["DBInstanceStatus"] == "available", "it is modified")
        replicate(SourceDBInstanceArn=arn, BackupRetentionPeriod=7, KmsKeyId=vaults.key_arn(KMS_ALIAS))

        def reaches_some_seconds() -> bool:
            (backups,) = away.describe_db_instance_automated_backups()["DBInstanceAutomatedBackups"]
            earliest, latest = (backups["RestoreWindow"].get(end) for end in ("EarliestTime", "LatestTime"))
            return bool(earliest and latest and latest - earliest > timedelta(seconds=3))

        wait_until(reaches_some_seconds, "something is replicated")
        strongroom = vaults.configure(source, snapshot=keep(1, **copied(vaults, 1)), dump=keep(1), restore={WEST: NETWORK})
        ended = strongroom("restore", "pitr", source, "--plane", "replica", "--as", name, "--to", "latest", seconds=SECONDS)
        assert "77 rows" in ended.out, ended.out
        assert west(vaults, name)["DBInstanceStatus"] == "available"
