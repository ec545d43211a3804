"""Dumps that go wrong on the database's side: whatever the client says, nothing bad becomes a backup."""

from __future__ import annotations

from pathlib import Path

import pytest
from case import Case, Config, quick, source
from postgres_tools import fake_pg_dump
from strongroom_process import Daemon

ONCE: Config = {"retry": {"attempts_max": 1}}
"""One attempt and no second one soon, so that what is left of it can be looked at in peace."""


def wait_for_failure(case: Case, daemon: Daemon, name: str) -> str:
    """Waits for the source's run to fail; asserts that nothing of it is visible, and returns what its record says."""
    daemon.wait_for(lambda: "failed" in case.run_states(name), "the run has failed")
    failed = next(record for record in case.runs(name) if record["state"] == "failed")
    assert not [key for key in case.dump_objects(name) if failed["run"] in key], "no object of the run is visible"
    daemon.wait_for(lambda: not case.uploads(), "no upload is open")
    message: str = failed["failure"]["message"]
    # The record is written by the run itself; the log tells of it when the loop comes round.
    line = daemon.wait_for_line("run failed", run__id=failed["run"])
    assert line["level"] == "ERROR" and line["source.id"] == name and line["error"] == message
    counted = lambda: daemon.metric("strongroom_runs_total", source=name, kind="dump", outcome="failure")  # noqa: E731
    daemon.wait_for(counted, "the failure is counted")
    assert counted() == 1 and len(daemon.lines("run failed", run__id=failed["run"])) == 1
    return message


def test_a_backend_that_dies_in_mid_dump_fails_the_run_and_the_next_attempt_succeeds(case: Case) -> None:
    strongroom = case.configure("ledger", dump=quick())
    with case.in_mid_dump(strongroom) as daemon:
        killed = case.sandbox.rds("kill_backends", instance_id="bank-ledger", application_name_like="strongroom/%")
        assert killed == 1
    message = wait_for_failure(case, daemon, "ledger")
    assert "pg_dump ended with exit status: 1" in message and "receipts" in message, message
    daemon.wait_until_well()
    assert case.run_states("ledger") == ["failed", "succeeded"]
    (manifest,) = case.manifests("ledger")
    case.assert_whole(manifest)
    assert manifest["run"].endswith("-2")
    assert len(daemon.at_level("ERROR")) == 1, "one failure, one line"
    assert daemon.metric("strongroom_runs_total", source="ledger", kind="dump", outcome="success") == 1


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (
            '"$REAL" "$@"; echo "pg_dump: error: late trouble" >&2; exit 1',
            "exit status: 1: pg_dump: error: late trouble",
        ),
        ('"$REAL" "$@" | head -c 1000000; exit 0', "the archive ends in the data of a table"),
        ("exit 0", "the archive ends in the header"),
        ('echo "this is no archive"; exit 0', "no custom-format archive of pg_dump"),
        ('"$REAL" "$@"; kill -9 $$', "signal: 9"),
        ('"$REAL" "$@"; echo "and some more"; exit 0', "the archive has unexpected data"),
    ],
    ids=[
        "good_archive_and_status_1",
        "half_an_archive",
        "nothing",
        "no_archive",
        "killed_at_the_end",
        "trailing_bytes",
    ],
)
def test_a_client_that_misbehaves_makes_no_backup(case: Case, tmp_path: Path, script: str, says: str) -> None:
    bin_dir = fake_pg_dump(tmp_path / "bin", script)
    strongroom = case.configure("lending", dump=quick(**ONCE), postgres={"bin_dir": str(bin_dir)})
    daemon = strongroom.start()
    message = wait_for_failure(case, daemon, "lending")
    assert says in message
    assert case.dump_objects("lending") == []
    assert case.manifests("lending") == []
    plan = strongroom.plan()
    assert plan["remains"] == []
    assert "failed 1 time(s), next attempt at" in plan["decisions"][0]["reason"]
    assert strongroom("status", code=3)


def test_a_server_that_is_away_fails_the_run_and_one_that_is_back_is_dumped(case: Case) -> None:
    case.sandbox.rds("stop_postgres", id="bank-ledger", immediate=True)
    try:
        daemon = case.configure("ledger", dump=quick()).start()
        message = wait_for_failure(case, daemon, "ledger")
        assert "connect to database ledger at localhost" in message
    finally:
        case.sandbox.rds("start_postgres", id="bank-ledger")
    daemon.wait_until_well()
    daemon.wait_for(lambda: case.run_states("ledger")[-1] == "succeeded", "the success is recorded")


def test_a_database_that_does_not_exist_fails_by_name(case: Case) -> None:
    sources = {"lending": source("lending", databases=["lending", "misspelt"])}
    daemon = case.configure(dump=quick(**ONCE), sources=sources).start()
    message = wait_for_failure(case, daemon, "lending")
    assert "misspelt" in message
    daemon.wait_for(lambda: case.manifests("lending"), "the other database is dumped all the same")
    assert case.manifests("lending")[0]["database"] == "lending"


@pytest.mark.parametrize("version", ["pg_dump (PostgreSQL) 14.23", "pg_dump (PostgreSQL) 9.6.24"])
def test_a_client_older_than_the_server_is_refused_by_name_before_any_run(
    case: Case, tmp_path: Path, version: str
) -> None:
    bin_dir = fake_pg_dump(tmp_path / "bin", "exit 1", version)
    strongroom = case.configure("lending", dump=quick(), snapshot=quick(), postgres={"bin_dir": str(bin_dir)})
    (refused,) = [one for one in strongroom.plan()["decisions"] if one["kind"] == "dump"]
    major = version.split()[2].split(".")[0]
    assert f"pg_dump {major} cannot dump a server of version 15" in refused["reason"]
    assert "postgresql-client-15" in refused["reason"]

    daemon = strongroom.start()
    daemon.wait_for(lambda: case.run_states("lending", "snapshot") == ["succeeded"], "the snapshot needs no client")
    assert case.runs("lending", "dump") == [], "a run that must fail is not begun"
    (line,) = daemon.lines("cannot dump a server of version 15")
    assert line["level"] == "WARN" and line["source.id"] == "lending"
    (own,) = [one for one in daemon.status()["sources"][0]["obligations"] if one["kind"] == "dump"]
    assert own["state"] == "overdue"
    assert daemon.metric("strongroom_overdue", source="lending", kind="dump") == 1
    strongroom("status", code=3)
    refusal = strongroom("backup", "dump", "lending", code=4)
    assert "cannot dump a server of version 15" in refusal.err


def test_a_client_that_is_not_there_is_said_so_and_snapshots_go_on(case: Case, tmp_path: Path) -> None:
    strongroom = case.configure("lending", dump=quick(), snapshot=quick(), postgres={"bin_dir": str(tmp_path)})
    daemon = strongroom.start()
    daemon.wait_for(lambda: case.run_states("lending", "snapshot") == ["succeeded"], "the snapshot is made")
    assert case.runs("lending", "dump") == []
    assert daemon.metric("strongroom_inventory_complete", section="pg_dump") == 0
    assert str(tmp_path / "pg_dump") in strongroom("plan", code=3).out
