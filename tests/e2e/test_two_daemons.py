"""Two daemons on the same slots, as during a rolling update: each slot is filled once, and nobody is alarmed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from case import Case, quick
from sandbox_process import BUCKET
from strongroom_process import Strongroom
from waiting import hold_still

SOURCES = ("accounts", "lending")


def test_two_daemons_fill_each_slot_once_and_without_alarm(case: Case) -> None:
    """T2."""
    strongroom = case.configure(*SOURCES, snapshot=quick(), dump=quick())
    daemons = [strongroom.start(), strongroom.start()]
    for daemon in daemons:
        daemon.wait_until_well()
    for source in SOURCES:
        assert case.run_states(source) == ["succeeded", "succeeded"], "one run of each kind, the first attempt"
        (manifest,) = case.manifests(source)
        case.assert_whole(manifest)
        assert len(case.dump_objects(source)) == 4, "no second run has left anything"
    assert len(case.snapshot_ids()) == len(case.snapshots()) == len(SOURCES)
    for daemon in daemons:
        assert daemon.at_level("ERROR", "WARN") == []
    successes = [(line["source.id"], line["run.id"]) for daemon in daemons for line in daemon.lines("run succeeded")]
    assert len(successes) == len(set(successes)) == 4, "each success is told by one of them"
    for daemon in daemons:
        assert daemon.terminate() == 0


def test_a_second_daemon_leaves_the_first_ones_run_alone(case: Case) -> None:
    strongroom = case.configure("ledger", dump=quick())
    with case.in_mid_dump(strongroom) as first:
        second = strongroom.start()
        second.wait_ready()
        plan = strongroom.plan()
        assert "is under way" in plan["decisions"][0]["reason"]
        assert plan["actions"] == []
        hold_still(lambda: len(case.uploads()) == 1, "the other daemon's upload stays", 1)
    second.wait_until_well()
    assert case.run_states("ledger") == ["succeeded"]
    assert first.at_level("ERROR", "WARN") == second.at_level("ERROR", "WARN") == []


def claim_from_another_host(case: Case, strongroom: Strongroom) -> str:
    """Writes the record of a run that a daemon elsewhere claims to work on; returns the run."""
    (action,) = strongroom.plan()["actions"]
    run = str(action.rsplit(" ", 1)[1])
    now = datetime.now(UTC)
    record = {
        "version": 1,
        "installation": case.name,
        "run": run,
        "source": "lending",
        "owner": {"host": "another-node", "pid_space": "boot/pid:[1]", "pid": 7, "start_ticks": 9},
        "started_at": (now - timedelta(hours=1)).isoformat(),
        "lease_until": (now + timedelta(minutes=5)).isoformat(),
        "state": "running",
    }
    key = f"{case.name}/lending/runs/{run}.json"
    case.sandbox.client("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps(record).encode())
    return run


def test_a_run_of_another_host_is_left_alone_while_its_lease_stands(case: Case) -> None:
    """Whether a process elsewhere lives cannot be asked: its claim stands for as long as the lease does."""
    strongroom = case.configure("lending", dump=quick())
    run = claim_from_another_host(case, strongroom)
    daemon = strongroom.start()
    daemon.wait_ready()
    turns = daemon.metric("strongroom_reconcile_duration_seconds_count")
    daemon.wait_for(
        lambda: daemon.metric("strongroom_reconcile_duration_seconds_count") > turns, "the daemon looks again"
    )
    assert case.run_states("lending") == ["running"] and case.dump_objects("lending") == []
    assert run in daemon.status()["sources"][0]["obligations"][0]["reason"]


def test_a_command_and_a_daemon_do_not_dump_one_source_at_once(case: Case) -> None:
    strongroom = case.configure("ledger", dump=quick())
    with case.in_mid_dump(strongroom) as daemon:
        refused = strongroom("backup", "dump", "ledger", code=4)
        assert "is under way" in refused.err and refused.out == ""
    daemon.wait_until_well()
    assert case.run_states("ledger") == ["succeeded"]
