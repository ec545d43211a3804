"""How an instance is protected: told with what it means, gone once it is mended, and never changed by strongroom."""

from __future__ import annotations

import json
from typing import Any

from case import Case, quick
from own_instance import SOURCE, Bank
from strongroom_process import Strongroom
from waiting import wait_until

GROUP = "posture-pg15"


def configure(case: Case, bank: Bank, days: tuple[int, int]) -> Strongroom:
    own = {"instance": bank.instance, "policy": "p", "environment": "own"}
    wanted = {"automated_backup_days": {"min": days[0], "max": days[1]}}
    return case.configure(snapshot=quick(), sources={SOURCE: own}, environments={"own": wanted})


def findings(strongroom: Strongroom) -> dict[str, tuple[str, str]]:
    """What is told of the source, by its check: how bad it is, and the text."""
    status: dict[str, Any] = json.loads(strongroom("status", "--json", code=None).out)
    return {own["check"]: (own["severity"], own["text"]) for own in status["findings"] if own.get("source") == SOURCE}


def open_group(rds: Any, forced: str) -> None:
    """A parameter group that forces TLS or does not."""
    own = {"DBParameterGroupName": GROUP}
    if not any(each["DBParameterGroupName"] == GROUP for each in rds.describe_db_parameter_groups()["DBParameterGroups"]):
        rds.create_db_parameter_group(DBParameterGroupFamily="postgres15", Description="TLS or not", **own)
    value = {"ParameterName": "rds.force_ssl", "ParameterValue": forced, "ApplyMethod": "immediate"}
    rds.modify_db_parameter_group(Parameters=[value], **own)


def test_what_protects_an_instance_is_told_until_it_is_mended(case: Case, bank: Bank) -> None:
    strongroom = configure(case, bank, (8, 35))
    rds = case.sandbox.client("rds")
    change = {"DBInstanceIdentifier": bank.instance, "ApplyImmediately": True}
    open_group(rds, "0")
    rds.modify_db_instance(DeletionProtection=False, DBParameterGroupName=GROUP, **change)
    wait_until(lambda: bank.details()["DBInstanceStatus"] == "available", "it is changed")
    found = findings(strongroom)
    for check in ("storage_encryption", "deletion_protection", "force_tls", "automated_backups"):
        assert found[check][0] == "warning", found
    assert "for 7 days, and the environment asks for 8 to 35" in found["automated_backups"][1]
    # Mended, one after the other.
    open_group(rds, "1")
    rds.modify_db_instance(DeletionProtection=True, BackupRetentionPeriod=8, **change)
    wait_until(lambda: bank.details()["DBInstanceStatus"] == "available", "it is changed")
    found = findings(strongroom)
    assert set(found) == {"storage_encryption"}, found
    # And what nobody may do to production.
    rds.modify_db_instance(BackupRetentionPeriod=0, **change)
    wait_until(lambda: bank.details()["BackupRetentionPeriod"] == 0, "RDS makes no backups any more")
    assert findings(strongroom)["automated_backups"][0] == "critical"
    assert strongroom("status", code=None).code == 3
    changes = [call for verb in ("Modify", "Delete", "Reboot") for call in case.calls(f"{verb}DBInstance")]
    assert not changes and not case.calls("ModifyDBParameterGroup"), "it is told, and never changed"


def test_an_environment_that_wants_no_backups_is_content_without(case: Case, bank: Bank) -> None:
    strongroom = configure(case, bank, (0, 0))
    rds = case.sandbox.client("rds")
    rds.modify_db_instance(DBInstanceIdentifier=bank.instance, BackupRetentionPeriod=0, ApplyImmediately=True)
    wait_until(lambda: bank.details()["BackupRetentionPeriod"] == 0, "RDS makes no backups any more")
    found = findings(strongroom)
    assert "automated_backups" not in found and {severity for severity, _ in found.values()} == {"info"}, found


def test_rights_that_are_missing_are_told_and_stop_nothing(case: Case, bank: Bank) -> None:
    strongroom = configure(case, bank, (7, 35))
    for operation in ("DescribeDBParameters", "DescribeAccountAttributes"):
        case.fault("access_denied", operation, count=None)
    told = strongroom("status", code=None).out
    assert "allow rds:DescribeDBParameters" in told and "allow rds:DescribeAccountAttributes" in told, told
    strongroom("backup", "snapshot", SOURCE, seconds=60)
