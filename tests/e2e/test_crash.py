"""Daemons that end in mid-dump, by force or by order: never a manifest without its objects; the next start repairs."""

from __future__ import annotations

import signal
import stat
import time

import pytest
from case import Case, quick
from postgres_tools import locked, pg_dumps
from sandbox_process import LEDGER_ROWS
from strongroom_process import STOP_SECONDS, Daemon
from waiting import wait_until

INSTANCE = "bank-ledger"


def wait_until_nothing_dumps(case: Case) -> None:
    port = case.sandbox.instance(INSTANCE)["Endpoint"]["Port"]
    wait_until(lambda: not pg_dumps(port), "no pg_dump is left", 10, lambda: pg_dumps(port))
    wait_until(lambda: not case.sandbox.backends(INSTANCE), "no session is left", 10)


def test_sigkill_in_mid_dump_leaves_no_backup_and_the_next_start_makes_it(case: Case) -> None:
    """T17."""
    strongroom = case.configure("ledger", dump=quick())
    with case.in_mid_dump(strongroom) as daemon:
        daemon.kill()
    wait_until_nothing_dumps(case)
    assert case.dump_objects("ledger") == [], "nothing half-done is visible"
    assert len(case.uploads()) == 1
    assert case.run_states("ledger") == ["running"], "nobody has told its end yet"
    assert any("its process" in action and "is gone" in action for action in strongroom.plan()["actions"])

    restarted = strongroom.start()
    restarted.wait_until_well()
    restarted.wait_for(lambda: not case.uploads(), "the left upload is aborted")
    (manifest,) = case.manifests("ledger")
    case.assert_whole(manifest)
    assert case.run_states("ledger") == ["abandoned", "succeeded"]
    assert manifest["run"].endswith("-2") and manifest["rows"] == LEDGER_ROWS
    assert len(restarted.lines("run closed: the process that worked on it is gone")) == 1
    assert restarted.metric("strongroom_runs_total", source="ledger", kind="dump", outcome="failure") == 1
    assert restarted.terminate() == 0


@pytest.mark.parametrize("last", ["globals.sql", "RESTORE.md", "manifest.json"])
def test_sigkill_between_two_objects_leaves_remains_that_the_plan_knows(case: Case, last: str) -> None:
    """T17."""
    strongroom = case.configure("lending", dump=quick())
    case.fault("cut_request", "PutObject", count=None, match={"key": f"/{last}$"})
    daemon = strongroom.start()
    daemon.wait_for(lambda: case.calls("PutObject", last), f"{last} is about to be written")
    daemon.kill()
    case.sandbox.clear_faults()
    left = case.dump_objects("lending")
    assert any(key.endswith("archive.dump.zst") for key in left) and not any("manifest" in key for key in left)

    restarted = strongroom.start()
    restarted.wait_until_well()
    (manifest,) = case.manifests("lending")
    case.assert_whole(manifest)
    assert case.run_states("lending") == ["abandoned", "succeeded"]
    (remains,) = strongroom.plan()["remains"]
    assert remains["source"] == "lending" and remains["run"].endswith("-1")
    assert sorted(remains["objects"]) == [f"{case.name}/{key}" for key in left]
    assert restarted.metric("strongroom_remains_bytes", source="lending") == remains["size_bytes"] > 0


def test_sigkill_after_the_manifest_and_before_the_record_is_still_a_success(case: Case) -> None:
    """T17."""
    strongroom = case.configure("lending", dump=quick())
    # The first write of the record is the claim, the second its end.
    case.fault("cut_request", "PutObject", count=None, match={"key": "/lending/runs/"}, after=1)
    daemon = strongroom.start()
    daemon.wait_for(lambda: case.manifests("lending"), "the manifest is written")
    daemon.kill()
    case.sandbox.clear_faults()
    assert case.run_states("lending") == ["running"]

    restarted = strongroom.start()
    restarted.wait_for(lambda: case.run_states("lending") == ["succeeded"], "the success is recorded")
    restarted.wait_until_well()
    (manifest,) = case.manifests("lending")
    assert manifest["run"].endswith("-1"), "the dump that was made counts, and no second one is made"
    assert restarted.at_level("ERROR", "WARN") == []


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_mid_dump_ends_it_cleanly_and_soon(case: Case, order: signal.Signals) -> None:
    strongroom = case.configure("ledger", dump=quick())
    with case.in_mid_dump(strongroom) as daemon:
        told_at = time.monotonic()
        daemon.process.send_signal(order)
        assert daemon.process.wait(STOP_SECONDS) == 0
        took = time.monotonic() - told_at
        assert took < 10, f"it took {took:.1f} s although nothing forced it to wait"
        assert case.uploads() == [], "the upload is aborted before the process ends"
    wait_until_nothing_dumps(case)
    assert case.dump_objects("ledger") == []
    assert case.run_states("ledger") == ["cancelled"]
    assert daemon.at_level("ERROR", "WARN") == []
    assert list((case.directory / "tmp").iterdir()) == [], "no password file stays"

    restarted = strongroom.start()
    restarted.wait_until_well()
    assert case.run_states("ledger") == ["cancelled", "succeeded"]
    (manifest,) = case.manifests("ledger")
    case.assert_whole(manifest)


def wait_for_lock(case: Case, daemon: Daemon) -> None:
    sql = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'strongroom/%' AND wait_event_type = 'Lock'"
    daemon.wait_for(lambda: case.sandbox.rds("run_sql", id=INSTANCE, sql=sql), "the dump waits for the lock")


def test_a_signal_while_the_dump_waits_for_a_lock_ends_it_too(case: Case) -> None:
    """Before its first byte the client hangs in the server, not in the pipe; and its password file is still there."""
    strongroom = case.configure("ledger", dump=quick())
    with locked(case.sandbox, INSTANCE, "ledger", "receipts"):
        daemon = strongroom.start()
        wait_for_lock(case, daemon)
        (file,) = (case.directory / "tmp").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, "the password file is for this user only"
        assert daemon.terminate() == 0
        assert not pg_dumps(case.sandbox.instance(INSTANCE)["Endpoint"]["Port"])
    wait_until_nothing_dumps(case)
    assert case.run_states("ledger") == ["cancelled"] and case.uploads() == []
    assert list((case.directory / "tmp").iterdir()) == []


def test_sigkill_while_the_dump_waits_for_a_lock_ends_the_client_when_the_lock_is_free(case: Case) -> None:
    strongroom = case.configure("ledger", dump=quick())
    with locked(case.sandbox, INSTANCE, "ledger", "receipts"):
        daemon = strongroom.start()
        wait_for_lock(case, daemon)
        daemon.kill()
    wait_until_nothing_dumps(case)
    assert case.dump_objects("ledger") == []
    restarted = strongroom.start()
    restarted.wait_until_well()
    assert case.run_states("ledger") == ["abandoned", "succeeded"]


def test_a_second_signal_ends_at_once_and_the_next_start_cleans_up(case: Case) -> None:
    strongroom = case.configure("ledger", dump=quick())
    # An abort that hangs: without it the first signal's clean end is too quick for a second one.
    with case.holding("AbortMultipartUpload"), case.in_mid_dump(strongroom) as daemon:
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for_line("a signal: stopping")
        daemon.wait_for(lambda: case.calls("AbortMultipartUpload"), "it aborts")
        assert daemon.terminate() == 0
    wait_until_nothing_dumps(case)
    assert len(daemon.lines("a second signal")) == 1
    restarted = strongroom.start()
    restarted.wait_until_well()
    restarted.wait_for(lambda: not case.uploads(), "no upload is left")
    assert case.run_states("ledger") == ["abandoned", "succeeded"]
