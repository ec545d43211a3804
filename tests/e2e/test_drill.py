"""Restore drills: a backup comes back in an instance of its own, all of it is looked at, and that instance goes."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError

import pytest
from case import YEARLY, Case, quick
from drills import DRILLS, RETRY, SECONDS, instances, nothing_is_left, records, subnet_group  # noqa: F401
from own_instance import Bank
from postgres_tools import locked, psql, row_counts
from sandbox_process import BACKUP_PASSWORD, BACKUP_USER, CANARY
from strongroom_process import Strongroom
from waiting import wait_until

SOURCE, INSTANCE = "accounts", "bank-accounts"
PATHS = ("snapshot", "pitr", "dump")
PHASES = ["accepted", "available", "connectable", "fully_read", "verified", "torn_down"]
WRITES = 8
"""Of a drill's record, until it has its verdict: claimed, ordered, each phase, the verdict."""


def configure(case: Case, *paths: str, **drill: Any) -> Strongroom:
    wanted = {"schedule": YEARLY, "retry": RETRY, "paths": list(paths or PATHS), **drill}
    return case.configure(SOURCE, snapshot=quick(), dump=quick(engine=None), drill=wanted, drills=DRILLS)


def touched(case: Case) -> set[str]:
    """The instances that strongroom asked RDS to change or delete."""
    verbs = ("Modify", "Delete", "Reboot", "Stop", "Start")
    calls = [call for verb in verbs for call in case.calls(f"{verb}DBInstance")]
    return {call["key"] for call in calls}


@contextmanager
def changed(case: Case, undo: str, *do: str) -> Iterator[None]:
    """Changes the source until the end of the block."""
    for sql in do:
        psql(case.sandbox, INSTANCE, SOURCE, sql)
    try:
        yield
    finally:
        psql(case.sandbox, INSTANCE, SOURCE, undo)


def test_a_backup_comes_back_along_each_path_and_its_evidence_is_chained(case: Case) -> None:
    holds = {"name": "accounts are there", "sql": "SELECT count(*) > 0 FROM bank.accounts"}
    strongroom = configure(case, rto="1h", rpo="30d", assertions=[holds])
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    strongroom("backup", "dump", SOURCE, seconds=SECONDS)
    ended = strongroom("drill", SOURCE, seconds=SECONDS)
    assert ended.out.count("passed: drill ") == 3, ended.out
    by_path = {record["path"]: record for record in records(case)}
    rows = row_counts(case.sandbox, INSTANCE, SOURCE)
    views = int(psql(case.sandbox, INSTANCE, SOURCE, "SELECT count(*) FROM bank.monthly_turnover")[0][0])
    for path, record in by_path.items():
        assert record["state"] == "passed" and record["attempt"] == 1, record
        assert [reached["phase"] for reached in record["phases"]] == PHASES
        # Unlogged tables come back empty but from a dump, and what a view holds is no row of a dump.
        from_rds = sum(rows.values()) - rows["bank.web_sessions"] + views
        assert record["rows"] == (sum(rows.values()) if path == "dump" else from_rds), path
        assert record["restored"]["class"] == "db.t3.micro"
    assert by_path["snapshot"]["restored"]["point"] == case.snapshot_ids()[0]
    (manifest,) = case.manifests(SOURCE)
    assert by_path["dump"]["restored"]["point"] == f"{SOURCE}/{SOURCE}/{manifest['slot']}"
    assert all("previous" not in record for record in by_path.values()), "each path has a chain of its own"
    assert instances(case) == [], "nothing is left"
    assert all("-drill-" in name for name in touched(case)), "no source was touched"
    status = strongroom("status", code=None).out
    assert re.search(r"drill by snapshot: passed .* ago, RTO .*, RPO ", status), status
    assert len(case.calls("RestoreDBInstanceFromDBSnapshot")) == 1
    strongroom("drill", SOURCE, "--path", "snapshot", seconds=SECONDS)
    evidence = strongroom("evidence").out
    verified = len(case.keys(f"{SOURCE}/evidence/"))
    # That the dump was restored and compared, by the drill, is evidence of the dump, too.
    assert verified >= 1 and re.search(rf"{SOURCE}/{SOURCE}/{manifest['slot']} +primary +l4 +good", evidence), evidence
    # One between the two drills, and one less than verifications between those.
    assert f"{verified} of its links were checked, and all hold." in evidence, evidence


def test_the_daemon_drills_when_it_is_due_and_shows_what_it_found(case: Case) -> None:
    strongroom = configure(case)
    daemon = strongroom.start()
    daemon.wait_for(lambda: len(daemon.lines("drill passed")) == 3, "all drills have passed", seconds=SECONDS)
    wait_until(lambda: instances(case) == [], "their instances are gone")
    for path in PATHS:
        labels = {"source": SOURCE, "path": path}
        passed = lambda labels=labels: daemon.metric(  # noqa: E731
            "strongroom_drill_last_success_timestamp_seconds", **labels
        )
        daemon.wait_for(lambda passed=passed: passed() > 0, "the metric says so")
        assert daemon.metric("strongroom_rto_seconds", **labels) > 0
        assert daemon.metric("strongroom_drill_phase_seconds", phase="available", **labels) > 0
        assert daemon.metric("strongroom_drill_overdue", **labels) == 0
    assert daemon.terminate() == 0
    assert not daemon.at_level("ERROR"), daemon.tail()
    again = strongroom.start()
    again.wait_ready()
    assert "has its verdict" in strongroom("plan").out
    assert len(records(case)) == 3 and again.terminate() == 0


def test_what_the_source_had_and_the_backup_lacks_is_a_bad_backup_and_named(case: Case) -> None:
    """T28. The restored copy is damaged before it is looked at, as a backup might be."""
    table = f"t_{case.name}"
    strongroom = configure(case, "pitr")
    make = f"CREATE TABLE {table} AS SELECT 1 AS n; GRANT SELECT ON {table} TO PUBLIC"
    with changed(case, f"DROP TABLE {table}", make):
        strongroom("backup", "dump", SOURCE, seconds=SECONDS)
        for damage, fault in [
            (f"DROP TABLE {table}", f"accounts: table public.{table} is missing"),
            (f"DELETE FROM {table}", f"table public.{table} is empty, and had 1 rows in the dump before"),
            ("SELECT setval('bank.statement_number', 1)", "sequence bank.statement_number stands at 1"),
            (
                "REFRESH MATERIALIZED VIEW bank.monthly_turnover WITH NO DATA",
                "materialized view bank.monthly_turnover is not filled",
            ),
        ]:
            assert drill_with_damage(case, strongroom, damage) == 3
            newest = max(records(case), key=lambda record: str(record["started_at"]))
            assert newest["state"] == "backup_bad", newest
            assert any(fault in told for told in newest["faults"]), newest["faults"]
            assert newest["phases"][-1]["phase"] == "torn_down"
        status = strongroom("status", code=3).out
        assert "critical: accounts: the last drill by pitr found the backup bad" in status, status


def test_a_database_that_is_missing_is_a_bad_backup_and_no_wrong_login(case: Case) -> None:
    """T28. The only database is not in the backup."""
    strongroom = configure(case, "pitr")
    with case.sandbox.stuck("creating"):
        process = strongroom.begin("drill", SOURCE)
        (name,) = wait_until(lambda: instances(case), "its instance is being made")
        wait_until(lambda: answers(case, name), "the server of the copy answers")
        case.sandbox.rds("run_sql", id=name, sql=f"ALTER DATABASE {SOURCE} RENAME TO lost", database="postgres")
    out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 3 and f"database {SOURCE} is missing" in out, out
    assert not case.calls("ModifyDBInstance"), "its login was good"


def test_a_dump_that_was_damaged_since_is_a_bad_backup_and_its_table_is_named(case: Case) -> None:
    """T28. A bit of a table's object flips."""
    strongroom = configure(case, "dump")
    strongroom("backup", "dump", SOURCE, seconds=SECONDS)
    (manifest,) = case.manifests(SOURCE)
    table = next(table for table in manifest["tables"] if table["name"] == "accounts")
    key = next(item["key"] for item in manifest["objects"] if f"/{table['dump_id']}.dat" in item["key"])
    case.sandbox.s3("corrupt", bucket=case.bucket, key=key, offset=40)
    ended = strongroom("drill", SOURCE, code=3, seconds=SECONDS)
    assert "this backup is not to be relied on" in ended.out and "bank.accounts" in ended.out, ended.out
    (record,) = records(case)
    assert record["state"] == "backup_bad" and instances(case) == []


def drill_with_damage(case: Case, strongroom: Strongroom, sql: str) -> int:
    """Drills, and changes the restored copy by `sql` before RDS shows it as available; returns how it ended."""
    with case.sandbox.stuck("creating"):
        process = strongroom.begin("drill", SOURCE, "--path", "pitr")
        (name,) = wait_until(lambda: instances(case), "its instance is being made")
        wait_until(lambda: answers(case, name), "the server of the copy answers")
        case.sandbox.rds("run_sql", id=name, sql=sql, database=SOURCE)
    process.communicate(timeout=SECONDS)
    return process.returncode


def answers(case: Case, name: str) -> bool:
    """Whether the server of a copy takes writes, whatever RDS shows of its instance."""
    try:
        recovering = case.sandbox.rds("run_sql", id=name, sql="SELECT pg_is_in_recovery()", database=SOURCE)
    except HTTPError:
        return False
    return recovering[0][0] in (False, "f", "False", "false")


def test_an_assertion_that_does_not_hold_fails_the_drill_and_one_that_cannot_be_asked_is_no_verdict(case: Case) -> None:
    wrong = {"name": "misspelt", "sql": "SELECT count(*) > 0 FROM bank.acounts"}
    number = {"name": "no yes or no", "sql": "SELECT count(*) FROM bank.accounts"}
    more = {"name": "more than a question", "sql": "SELECT true; DROP TABLE bank.accounts"}
    strongroom = configure(case, "snapshot")
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    for assertion in (wrong, number, more):
        strongroom = configure(case, "snapshot", assertions=[assertion])
        ended = strongroom("drill", SOURCE, code=1, seconds=SECONDS)
        assert f"ask assertion `{assertion['name']}` of the source" in ended.out, ended.out
        assert "says nothing of the backup" in ended.out
    assert not case.calls("RestoreDBInstanceFromDBSnapshot"), "nothing was restored for them"
    never = {"name": "too many", "sql": "SELECT count(*) > 1000000 FROM bank.accounts"}
    strongroom = configure(case, "snapshot", assertions=[never])
    ended = strongroom("drill", SOURCE, code=3, seconds=SECONDS)
    assert "fault       accounts: assertion `too many` does not hold" in ended.out, ended.out
    ended = strongroom("drill", SOURCE, code=4, seconds=SECONDS)
    assert "there is no good snapshot" in ended.err, "what was found bad is no backup any more"
    assert "bad: a restore drill found" in strongroom("list").out


@pytest.mark.parametrize("phase", ["accepted", "connectable", "verified"])
def test_a_daemon_that_is_killed_in_a_drill_leaves_no_instance_and_comes_to_the_right_verdict(
    case: Case, phase: str
) -> None:
    """T27. Killed when the instance is ordered, when its server answers, and when it is deleted."""
    strongroom = configure(case, "snapshot")
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    with case.sandbox.stuck("deleting" if phase == "verified" else "creating"):
        daemon = strongroom.start()
        (first,) = daemon.wait_for(lambda: instances(case), "the instance is being made")
        if phase == "connectable":
            wait_until(lambda: answers(case, first), "the server of the copy answers")
            # A table that somebody has locked cannot be read to its end.
            port = int(case.sandbox.rds("run_sql", id=first, sql="SHOW port")[0][0])
            with locked(case.sandbox, first, SOURCE, "bank.accounts", port):
                case.sandbox.rds("unstick")
                daemon.wait_for(lambda: reached(case) == phase, "its server has answered", seconds=SECONDS)
                daemon.kill()
        elif phase == "verified":
            daemon.wait_for(lambda: case.calls("DeleteDBInstance"), "it is deleted", seconds=SECONDS)
        daemon.kill()
    again = strongroom.start()
    if phase != "verified":
        again.wait_for_line("drill passed", seconds=SECONDS)
    wait_until(lambda: instances(case) == [], "no instance is left")
    (record,) = records(case)
    assert record["state"] == "passed", record
    if phase == "verified":
        assert record["attempt"] == 1, "what was found was written before the instance was deleted"
    else:
        assert record["attempt"] == 2 and record["earlier_instances"] == [first], record
        assert "is gone" in record["earlier_errors"][0]
    assert touched(case) <= {first, record["instance"]}
    assert again.terminate() == 0


@pytest.mark.parametrize("written", range(WRITES))
def test_a_daemon_that_is_killed_at_any_write_of_the_record_leaves_no_instance(case: Case, written: int) -> None:
    """T27. Killed with each write of its record under way: what it tells of has happened, and nobody may ever know."""
    strongroom = configure(case, "snapshot")
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    writes = lambda: len(case.calls("PutObject", "/drills/"))  # noqa: E731
    with case.holding("PutObject", {"key": "/drills/"}, after=written):
        daemon = strongroom.start()
        daemon.wait_for(lambda: writes() > written, f"write {written + 1} is on its way", seconds=SECONDS)
        daemon.kill()
    again = strongroom.start()
    again.wait_for(lambda: verdicts(case) == ["passed"], "the verdict is right", seconds=SECONDS)
    wait_until(lambda: instances(case) == [], "no instance is left", 60)
    (record,) = records(case)
    assert touched(case) <= {record["instance"], *record.get("earlier_instances", [])}
    assert again.terminate() == 0


def verdicts(case: Case) -> list[str]:
    return [str(record["state"]) for record in records(case)]


def reached(case: Case) -> str:
    """The last phase that is written down of the only drill."""
    found = records(case)
    phases = found[0]["phases"] if found else []
    return str(phases[-1]["phase"]) if phases else ""


def test_an_order_that_rds_refuses_is_no_verdict_and_is_tried_again(case: Case) -> None:
    """T26. AWS has no room for the class, and then it has."""
    strongroom = configure(case, "snapshot")
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    case.fault("no_capacity", "RestoreDBInstanceFromDBSnapshot", count=1)
    daemon = strongroom.start()
    line = daemon.wait_for_line("drill could not be carried out, which says nothing of the backup; it is tried again")
    assert "no room for this class" in str(line)
    daemon.wait_for_line("drill passed", seconds=SECONDS)
    (record,) = records(case)
    assert record["attempt"] == 2 and "no room" in record["earlier_errors"][0], record
    assert daemon.terminate() == 0 and instances(case) == []


def test_a_drill_leaves_room_for_a_restore_in_earnest(case: Case) -> None:
    """T26. The account may have one instance more: it is not the drill's."""
    strongroom = configure(case, "snapshot")
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    there = len(case.sandbox.client("rds").describe_db_instances()["DBInstances"])
    case.sandbox.rds("set_instance_quota", most=there + 1)
    try:
        ended = strongroom("drill", SOURCE, code=1, seconds=SECONDS)
    finally:
        case.sandbox.rds("set_instance_quota", most=40)
    wanted = f"the account has {there} of {there + 1} instances: the drill would take 1, and as much must be left"
    assert wanted in ended.out + ended.err, ended
    assert case.calls("RestoreDBInstanceFromDBSnapshot") == [] and instances(case) == []
    assert records(case)[0]["state"] == "errored"
    strongroom("drill", SOURCE, seconds=SECONDS)


def test_a_login_that_is_newer_than_the_backup_gives_way_to_a_new_master_password(case: Case, bank: Bank) -> None:
    secrets = case.sandbox.client("secretsmanager")
    name, later = f"{case.name}/login", f"{CANARY}-later"
    secrets.create_secret(Name=name, SecretString=json.dumps({"username": BACKUP_USER, "password": BACKUP_PASSWORD}))
    own = {"instance": bank.instance, "policy": "p", "databases": [SOURCE], "credentials": {"secret": name}}
    drill = {"schedule": YEARLY, "retry": RETRY, "paths": ["snapshot"]}
    strongroom = case.configure(snapshot=quick(), drill=drill, sources={SOURCE: own}, drills=DRILLS)
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    bank.sql(f"ALTER ROLE {BACKUP_USER} PASSWORD '{later}'")
    secrets.put_secret_value(SecretId=name, SecretString=json.dumps({"username": BACKUP_USER, "password": later}))
    ended = strongroom("drill", SOURCE, seconds=SECONDS)
    assert "passed: drill " in ended.out, ended.err
    (record,) = records(case)
    assert record["state"] == "passed" and record["rows"] > 7, record
    changed = case.calls("ModifyDBInstance")
    assert [call["key"] for call in changed if call["status"] == 200] == [record["instance"]], "and no other instance's"
    assert later not in ended.out + ended.err + json.dumps(record) and instances(case) == []


def test_sigterm_in_a_drill_takes_its_instance_along(case: Case) -> None:
    """T26. A drill that is stopped leaves nothing standing."""
    strongroom = configure(case, "snapshot")
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    daemon = strongroom.start()
    daemon.wait_for(lambda: instances(case), "the instance is being made")
    name = instances(case)[0]
    wait_until(lambda: case.sandbox.instance(name)["DBInstanceStatus"] == "available", "it is there")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(40) == 0
    wait_until(lambda: instances(case) == [], "it is gone")
    assert records(case)[0]["state"] in ("errored", "passed"), json.dumps(records(case))


def test_an_instance_of_production_is_never_reaped_whatever_says_so(case: Case) -> None:
    """T27. A record that names a source's instance, and marks of ours on an instance that is not ours."""
    strongroom = configure(case, "snapshot")
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    strongroom("drill", SOURCE, seconds=SECONDS)
    (key,) = [key for key in case.keys() if "/drills/" in key]
    record = json.loads(case.get(key))
    record["instance"] = "bank-lending"
    case.sandbox.client("s3").put_object(Bucket=case.bucket, Key=f"{case.name}/{key}", Body=json.dumps(record))
    rds = case.sandbox.client("rds")
    arn = case.sandbox.instance("bank-lending")["DBInstanceArn"]
    tags = {"strongroom:owner": f"{case.name}/bank-lending", "strongroom:expires": "2020-01-01T00:00:00Z"}
    marks = [{"Key": name, "Value": value} for name, value in tags.items()]
    rds.add_tags_to_resource(ResourceName=arn, Tags=marks)
    try:
        daemon = strongroom.start()
        daemon.wait_ready()
        wait_until(lambda: len(case.calls("DescribeDBInstances")) > 5, "it has looked several times")
        assert daemon.terminate() == 0
        assert all(name.startswith(f"{case.name}-drill-") for name in touched(case))
        assert case.sandbox.instance("bank-lending")["DBInstanceStatus"] == "available"
    finally:
        rds.remove_tags_from_resource(ResourceName=arn, TagKeys=list(tags))
