"""Dumps of what a restore drill has restored: production is not read for them, and each proves the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from case import ALL_BUT_THE_FIRST, YEARLY, Case, Config, quick, source
from drills import DRILLS, RETRY, SECONDS, instances, nothing_is_left, records, subnet_group  # noqa: F401
from postgres_tools import MASTER, fresh_instance, psql, row_counts
from sandbox_process import MASTER_PASSWORD, Sandbox
from strongroom_process import Daemon, Strongroom
from waiting import wait_until

SOURCE, INSTANCE = "accounts", "bank-accounts"
ENGINES: list[Config] = [{"engine": "pg_dump"}, {"engine": "parallel", "jobs": 2}]


def configure(case: Case, name: str = SOURCE, dump: Config | None = None, **drill: Any) -> Strongroom:
    wanted = {"schedule": YEARLY, "retry": RETRY, "paths": ["snapshot"], **drill}
    named = {name: source(name, dump_from="drill")}
    return case.configure(snapshot=quick(), dump=quick(**(dump or {})), drill=wanted, drills=DRILLS, sources=named)


def moment_of(case: Case, snapshot: str) -> datetime:
    """The moment of a snapshot's data, as RDS says it."""
    (found,) = [item for item in case.snapshots() if item["DBSnapshotIdentifier"] == snapshot]
    moment: datetime = found["SnapshotCreateTime"]
    return moment


def moment(manifest: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(str(manifest["snapshot_at"]).replace("Z", "+00:00"))


@contextmanager
def sessions_of(sandbox: Sandbox, instance: str) -> Iterator[list[str]]:
    """The names of strongroom's sessions that the server logs until the end of the block; filled in then."""
    sessions: list[str] = []
    before = len(sandbox.server_log(instance).splitlines())
    sandbox.rds("run_sql", id=instance, sql="ALTER SYSTEM SET log_connections = on")
    sandbox.rds("run_sql", id=instance, sql="SELECT pg_reload_conf()")
    try:
        yield sessions
    finally:
        sandbox.rds("run_sql", id=instance, sql="ALTER SYSTEM RESET log_connections")
        sandbox.rds("run_sql", id=instance, sql="SELECT pg_reload_conf()")
    lines = sandbox.server_log(instance).splitlines()[before:]
    named = [line.split("application_name=", 1)[1] for line in lines if "application_name=strongroom/" in line]
    sessions.extend(name.split(" ", 1)[0] for name in named)


@contextmanager
def table_that_changes(case: Case) -> Iterator[str]:
    """A table of three rows on production."""
    table = f"t_{case.name}"
    psql(case.sandbox, INSTANCE, SOURCE, f"CREATE TABLE {table} AS SELECT generate_series(1, 3) AS n")
    psql(case.sandbox, INSTANCE, SOURCE, f"GRANT SELECT ON {table} TO PUBLIC")
    try:
        yield table
    finally:
        psql(case.sandbox, INSTANCE, SOURCE, f"DROP TABLE {table}")


@contextmanager
def in_mid_dump(case: Case, strongroom: Strongroom) -> Iterator[tuple[Daemon, str]]:
    """The ledger's dump is held in mid-table, in the instance of a drill, until the end of the block."""
    with case.holding("UploadPart", ALL_BUT_THE_FIRST):
        daemon = strongroom.start()
        daemon.wait_for(case.second_part_is_on_its_way, "the second part is on its way", seconds=SECONDS)
        (lease,) = instances(case)
        yield daemon, lease


@pytest.mark.parametrize("dump", ENGINES, ids=lambda dump: str(dump["engine"]))
def test_the_dump_is_the_snapshots_and_production_sees_no_session_of_it(
    case: Case, sandbox: Sandbox, tmp_path: Path, dump: Config
) -> None:
    strongroom = configure(case, dump=dump)
    with table_that_changes(case) as table:
        strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
        at_snapshot = row_counts(sandbox, INSTANCE, SOURCE)
        psql(sandbox, INSTANCE, SOURCE, f"DELETE FROM {table} WHERE n > 1")
        with sessions_of(sandbox, INSTANCE) as sessions:
            daemon = strongroom.start()
            daemon.wait_for_line("drill passed", seconds=SECONDS)
            daemon.wait_until_well()
    (snapshot,) = case.snapshot_ids()
    (manifest,) = case.manifests(SOURCE)
    case.assert_whole(manifest)
    assert manifest["from_snapshot"] == snapshot and manifest["instance"] == INSTANCE
    assert moment(manifest) == moment_of(case, snapshot), "it is as old as the snapshot"
    counted = {f"{item['schema']}.{item['name']}": item["rows"] for item in manifest["tables"]}
    assert counted[f"public.{table}"] == 3, "what production has since is not in it"
    said = "no snapshot has the data of what is unlogged, and so not this dump: bank.web_sessions"
    assert said in manifest["warnings"], manifest["warnings"]
    # The first look at production is the drill's, and no other.
    assert sessions and all(name.startswith("strongroom/drill-") for name in sessions), sessions
    (drill,) = records(case)
    assert drill["state"] == "passed" and drill["restored"]["point"] == snapshot
    dumped = f"dump {SOURCE}/{SOURCE}/{manifest['slot']} was made of it by run {manifest['run']}"
    assert any(note.startswith(dumped) for note in drill["notes"]), drill["notes"]
    wait_until(lambda: instances(case) == [], "its instance is gone")
    # It is counted and told as any other dump.
    labels = {"source": SOURCE, "kind": "dump"}
    assert case.run_states(SOURCE, "dump") == ["succeeded"]
    assert daemon.metric("strongroom_runs_total", outcome="success", **labels) == 1
    assert daemon.metric("strongroom_run_in_progress", **labels) == 0
    newest = daemon.metric("strongroom_last_success_timestamp_seconds", database=SOURCE, **labels)
    assert abs(newest - moment_of(case, snapshot).timestamp()) < 1
    assert daemon.terminate() == 0 and not daemon.at_level("ERROR"), daemon.tail()
    assert f"{SOURCE}/{SOURCE}/{manifest['slot']} (from {snapshot})" in strongroom("list").out
    assert f"which is of snapshot {snapshot}" in strongroom("status", code=None).out
    password = tmp_path / "password"
    password.write_text(MASTER_PASSWORD + "\n")
    with fresh_instance(sandbox) as target:
        login = ["--user", MASTER, "--password-file", str(password)]
        into = ["--instance", target, "--into", "back", "--create"]
        ended = strongroom("restore", "dump", SOURCE, *into, *login, seconds=SECONDS)
        assert f"that of snapshot {snapshot}" in ended.out + ended.err
        # What is unlogged is empty in whatever RDS restores.
        assert row_counts(sandbox, target, "back") == at_snapshot | {"bank.web_sessions": 0}


def test_a_login_that_is_newer_than_the_snapshot_is_replaced_by_one_that_only_the_drill_knows(
    case: Case, sandbox: Sandbox, tmp_path: Path
) -> None:
    role, password = f"r_{case.name}", tmp_path / "password"
    password.write_text("correct horse\n")
    strongroom = configure(case, dump={"engine": "parallel", "jobs": 2})
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    login = {"user": role, "password_file": str(password)}
    named = {SOURCE: source(SOURCE, dump_from="drill", credentials=login)}
    wanted = {"schedule": YEARLY, "retry": RETRY, "paths": ["snapshot"]}
    strongroom = case.configure(
        snapshot=quick(), dump=quick(engine="parallel", jobs=2), drill=wanted, drills=DRILLS, sources=named
    )
    create = f"CREATE ROLE {role} LOGIN PASSWORD 'correct horse' IN ROLE pg_read_all_data"
    psql(sandbox, INSTANCE, SOURCE, create)
    try:
        ended = strongroom("backup", "dump", SOURCE, seconds=SECONDS)
    finally:
        psql(sandbox, INSTANCE, SOURCE, f"DROP ROLE {role}")
    (manifest,) = case.manifests(SOURCE)
    case.assert_whole(manifest)
    (changed,) = {call["key"] for call in case.calls("ModifyDBInstance")}
    assert changed.startswith(f"{case.name}-drill-") and "succeeded" in ended.out, ended.out
    assert manifest["from_snapshot"] == case.snapshot_ids()[0] and instances(case) == []


def test_a_dump_by_hand_is_made_in_a_drill_and_says_of_when_it_is_unless_the_instance_is_asked_for(case: Case) -> None:
    strongroom = configure(case)
    ended = strongroom("backup", "dump", SOURCE, code=4)
    assert "waits for a drill of a snapshot: there is no good snapshot" in ended.err, ended.err
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    (snapshot,) = case.snapshot_ids()
    ended = strongroom("backup", "dump", SOURCE, seconds=SECONDS)
    said = f"the dump will have the data of {moment_of(case, snapshot):%Y-%m-%d %H:%M} UTC; --from-instance dumps"
    assert said in ended.err, ended.err
    assert "passed: drill " in ended.out and "succeeded" in ended.out, ended.out
    (manifest,) = case.manifests(SOURCE)
    assert manifest["from_snapshot"] == snapshot and instances(case) == []
    strongroom("backup", "dump", SOURCE, "--from-instance", seconds=SECONDS)
    newest = max(case.manifests(SOURCE), key=moment)
    assert "from_snapshot" not in newest and moment(newest) > moment(manifest)
    assert len(case.calls("RestoreDBInstanceFromDBSnapshot")) == 1


def test_of_a_snapshot_that_is_found_bad_no_dump_is_made_and_the_obligation_says_why(case: Case) -> None:
    never = {"name": "too many", "sql": "SELECT count(*) > 1000000 FROM bank.accounts"}
    strongroom = configure(case, assertions=[never])
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    (snapshot,) = case.snapshot_ids()
    why = (
        f"waits for a drill of a snapshot: there is no good snapshot; snapshot {snapshot} is bad: a restore drill found: "
        f"{SOURCE}: assertion `too many` does not hold"
    )

    def reason(daemon: Daemon) -> str:
        (own,) = [own for own in daemon.status()["sources"][0]["obligations"] if own["kind"] == "dump"]
        return str(own["reason"])

    # It orders another snapshot in the place of the bad one, which RDS does not begin.
    with case.holding("CreateDBSnapshot"):
        daemon = strongroom.start()
        daemon.wait_for_line("drill failed", seconds=SECONDS)
        daemon.wait_for(lambda: why in reason(daemon), "it says why")
        daemon.kill()
    assert case.manifests(SOURCE) == [] and case.runs(SOURCE, "dump") == []


def test_a_daemon_that_is_killed_in_the_midst_of_the_dump_gets_it_done_and_leaves_no_instance(case: Case) -> None:
    strongroom = configure(case, "ledger")
    strongroom("backup", "snapshot", "ledger", seconds=SECONDS)
    with in_mid_dump(case, strongroom) as (daemon, first):
        assert not case.sandbox.backends("bank-ledger"), "production has none of its sessions"
        assert case.sandbox.backends(first), "the drill's instance has them"
        assert [drill["state"] for drill in records(case)] == ["running"], "nobody may take its instance away"
        daemon.kill()
    again = strongroom.start()
    again.wait_for_line("drill passed", seconds=SECONDS)
    again.wait_until_well()
    wait_until(lambda: instances(case) == [], "no instance is left")
    assert case.run_states("ledger", "dump") == ["abandoned", "succeeded"]
    (drill,) = records(case)
    assert drill["state"] == "passed" and drill["attempt"] == 2 and drill["earlier_instances"] == [first]
    (manifest,) = case.manifests("ledger")
    case.assert_whole(manifest)
    assert again.terminate() == 0 and case.uploads() == []


def test_a_dump_that_fails_leaves_the_verdict_and_is_made_in_another_drill(case: Case) -> None:
    strongroom = configure(case, "ledger")
    strongroom("backup", "snapshot", "ledger", seconds=SECONDS)
    with in_mid_dump(case, strongroom) as (daemon, lease):
        case.sandbox.rds("kill_backends", instance_id=lease, application_name_like="strongroom/%dump%")
    daemon.wait_for(lambda: case.run_states("ledger", "dump") == ["failed", "succeeded"], "it is made", SECONDS)
    daemon.wait_for(lambda: len(daemon.lines("drill passed")) == 2, "both drills have ended", SECONDS)
    first, second = records(case)
    assert (first["state"], second["state"]) == ("passed", "passed")
    assert any("was made of it: run" in note and "failed" in note for note in first["notes"]), first["notes"]
    wait_until(lambda: instances(case) == [], "no instance is left")
    labels = {"source": "ledger", "kind": "dump"}
    assert daemon.metric("strongroom_runs_total", outcome="failure", **labels) == 1
    assert daemon.metric("strongroom_runs_total", outcome="success", **labels) == 1
    assert daemon.terminate() == 0


def test_a_dump_that_has_not_what_the_drill_has_read_there_is_none(case: Case) -> None:
    """Somebody changes the drill's instance in between, as a fault of either of the two would."""
    strongroom = configure(case, dump={"engine": "parallel", "jobs": 2})
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    with case.holding("PutObject", {"key": "/runs/.*-dump-"}):
        daemon = strongroom.start()
        daemon.wait_for(lambda: case.calls("PutObject", "-dump-"), "the dump begins", seconds=SECONDS)
        (lease,) = instances(case)
        case.sandbox.rds("run_sql", id=lease, sql="DROP TABLE bank.branches CASCADE", database=SOURCE)
    daemon.wait_for(lambda: case.run_states(SOURCE, "dump") == ["failed", "succeeded"], "it is made", SECONDS)
    failed, _ = case.runs(SOURCE, "dump")
    message = failed["failure"]["message"]
    assert "it is not what the drill has read there: table bank.branches with its" in message, message
    (manifest,) = case.manifests(SOURCE)
    assert manifest["run"] != failed["run"]
    daemon.wait_for(lambda: len(daemon.lines("drill passed")) == 2, "both drills have ended", SECONDS)
    wait_until(lambda: instances(case) == [], "no instance is left")
    assert daemon.terminate() == 0


def test_sigterm_in_the_midst_of_the_dump_keeps_the_verdict_and_the_dump_is_made_later(case: Case) -> None:
    strongroom = configure(case, "ledger")
    strongroom("backup", "snapshot", "ledger", seconds=SECONDS)
    with in_mid_dump(case, strongroom) as (daemon, _):
        assert daemon.terminate() == 0
    assert [drill["state"] for drill in records(case)] == ["passed"]
    assert case.run_states("ledger", "dump") == ["cancelled"] and case.manifests("ledger") == []
    again = strongroom.start()
    again.wait_for_line("drill passed", seconds=SECONDS)
    again.wait_until_well()
    assert case.run_states("ledger", "dump") == ["cancelled", "succeeded"]
    wait_until(lambda: instances(case) == [], "no instance is left")
    assert again.terminate() == 0
