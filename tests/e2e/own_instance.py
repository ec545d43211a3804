"""An instance of a test's own, for what no other test should see: renames, deletions, damage."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from case import Case, Config
from postgres_tools import psql
from sandbox_process import Sandbox
from waiting import wait_until

SOURCE, TEMPLATE = "accounts", "bank-accounts"
NETWORK: Config = {"subnet_group": "bank-db"}
SEED = "own-instances-seed"


def seed_snapshot(sandbox: Sandbox) -> str:
    """A snapshot that every such instance is made of."""
    sandbox.subnet_group(NETWORK["subnet_group"])
    rds = sandbox.client("rds")

    def status() -> str:
        try:
            found: str = rds.describe_db_snapshots(DBSnapshotIdentifier=SEED)["DBSnapshots"][0]["Status"]
        except rds.exceptions.DBSnapshotNotFoundFault:
            rds.create_db_snapshot(DBSnapshotIdentifier=SEED, DBInstanceIdentifier=TEMPLATE)
            return "ordered"
        return found

    wait_until(lambda: status() == "available", "the snapshot is whole")
    return SEED


class Bank:
    """An instance of this test's own, with a table of seven rows; whatever bears its name is gone at the end."""

    def __init__(self, case: Case, seed: str) -> None:
        self.case, self.sandbox = case, case.sandbox
        self.instance = f"{case.name}-core"
        self.rds = case.sandbox.client("rds")
        own = {"DBSubnetGroupName": NETWORK["subnet_group"], "BackupRetentionPeriod": 7}
        self.rds.restore_db_instance_from_db_snapshot(
            DBInstanceIdentifier=self.instance, DBSnapshotIdentifier=seed, **own
        )
        wait_until(lambda: self.details()["DBInstanceStatus"] == "available", "the test's own instance is there", 60)
        self.sql("CREATE TABLE precious AS SELECT n FROM generate_series(1, 7) AS n; GRANT SELECT ON precious TO PUBLIC")
        self.resource = self.details()["DbiResourceId"]

    def details(self, name: str = "") -> dict[str, Any]:
        found: dict[str, Any] = self.sandbox.instance(name or self.instance)
        return found

    def sql(self, text: str, name: str = "") -> list[list[str]]:
        return psql(self.sandbox, name or self.instance, SOURCE, text)

    def rows(self, name: str = "") -> str:
        return self.sql("SELECT count(*) FROM precious", name)[0][0]

    def moment_before(self, sql: str) -> str:
        """Does something, and returns a moment before it that can be restored to."""
        # The second before it must be one that the instance can be restored to, and have all rows.
        time.sleep(3.2)
        before = datetime.now(UTC)
        time.sleep(1.2)
        self.sql(sql)
        reached = lambda: self.details()["LatestRestorableTime"] > before  # noqa: E731
        wait_until(reached, "the log is archived")
        return before.strftime("%Y-%m-%dT%H:%M:%SZ")

    def names(self) -> list[str]:
        found = self.rds.describe_db_instances()["DBInstances"]
        return sorted(one["DBInstanceIdentifier"] for one in found if one["DBInstanceIdentifier"].startswith(self.instance))

    def close(self) -> None:
        for name in self.names():
            try:
                self.rds.modify_db_instance(DBInstanceIdentifier=name, DeletionProtection=False, ApplyImmediately=True)
                self.rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
            except ClientError as error:
                assert error.response["Error"]["Code"] in ("DBInstanceNotFound", "InvalidDBInstanceState"), error


