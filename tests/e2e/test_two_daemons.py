"""Two daemons on the same slots, as during a rolling update: each slot is filled once, and nobody is alarmed."""

from __future__ import annotations

from pathlib import Path

from case import Case, quick
from waiting import hold_still

SOURCES = ("accounts", "lending")


def test_two_daemons_fill_each_slot_once_and_without_alarm(case: Case) -> None:
    strongroom = case.configure(*SOURCES, snapshot=quick(), dump=quick())
    daemons = [strongroom.start(), strongroom.start()]
    for daemon in daemons:
        daemon.wait_for(lambda daemon=daemon: daemon.status() and daemon.status()["well"], "every slot is filled")
    for source in SOURCES:
        assert case.run_states(source) == ["succeeded", "succeeded"], "one run of each kind, the first attempt"
        (manifest,) = case.manifests(source)
        case.assert_whole(manifest)
        assert len(case.dump_objects(source)) == 4, "no second run has left anything"
    assert len(case.snapshot_ids()) == len(case.snapshots()) == len(SOURCES)
    for daemon in daemons:
        assert daemon.at_level("ERROR", "WARN") == []
    successes = [line["run.id"] for daemon in daemons for line in daemon.lines("run succeeded")]
    assert len(successes) == len(set(successes)) == 4, "each success is told by one of them"
    for daemon in daemons:
        assert daemon.terminate() == 0


def test_a_daemon_on_another_host_leaves_a_run_alone_whose_lease_stands(case: Case) -> None:
    """Another host is another name in the record: only the lease tells whether its process lives."""
    strongroom = case.configure("ledger", dump=quick())
    with case.in_mid_dump(strongroom) as first:
        second = strongroom.start()
        second.wait_ready()
        plan = strongroom.plan()
        assert "is under way" in plan["decisions"][0]["reason"]
        assert plan["actions"] == []
        hold_still(lambda: len(case.uploads()) == 1, "the other daemon's upload stays", 1)
    second.wait_for(lambda: second.status()["well"], "the dump is made")
    assert case.run_states("ledger") == ["succeeded"]
    assert first.at_level("ERROR", "WARN") == second.at_level("ERROR", "WARN") == []


def test_a_command_and_a_daemon_do_not_dump_one_source_at_once(case: Case, tmp_path: Path) -> None:
    strongroom = case.configure("ledger", dump=quick())
    with case.in_mid_dump(strongroom) as daemon:
        refused = strongroom("backup", "dump", "ledger", code=4)
        assert "is under way" in refused.err and refused.out == ""
    daemon.wait_for(lambda: daemon.status()["well"], "the dump is made")
    assert case.run_states("ledger") == ["succeeded"]
