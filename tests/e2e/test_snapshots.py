"""Snapshots and everything that RDS may answer to the wish for one."""

from __future__ import annotations

from case import Case, quick
from strongroom_process import Daemon, Strongroom
from waiting import hold_still

INSTANCE = "bank-ledger"


def planned_snapshot(strongroom: Strongroom) -> str:
    """The id that the next snapshot will have, as the plan says it."""
    (action,) = strongroom.plan()["actions"]
    verb, kind, name, *_ = action.split()
    assert (verb, kind) == ("create", "snapshot"), action
    return str(name)


def wait_for_success(daemon: Daemon) -> None:
    """A slot is filled as soon as its snapshot is available; the record of the run follows."""
    daemon.wait_for_line("run succeeded")
    daemon.wait_until_well()


def test_an_instance_that_is_busy_is_waited_for(case: Case) -> None:
    """T4."""
    strongroom = case.configure("ledger", snapshot=quick())
    with case.sandbox.showing(INSTANCE, "modifying"):
        daemon = strongroom.start()
        line = daemon.wait_for_line("the instance is `modifying`")
        assert line["level"] == "WARN" and line["source.id"] == "ledger"
        hold_still(lambda: not case.snapshots() and not case.runs("ledger"), "nothing is begun", 1)
        (own,) = daemon.status()["sources"][0]["obligations"]
        assert own["state"] in ("trouble", "overdue") and "modifying" in own["reason"]
    wait_for_success(daemon)
    assert case.run_states("ledger") == ["succeeded"]
    assert len(case.snapshot_ids()) == 1
    assert daemon.at_level("ERROR") == []


def test_an_instance_that_became_busy_just_now_is_asked_again_by_the_same_run(case: Case) -> None:
    """T4. Between looking and asking its state may change: RDS refuses, and the slot's run goes on waiting."""
    strongroom = case.configure("ledger", snapshot=quick())
    with case.holding("CreateDBSnapshot"):
        daemon = strongroom.start()
        daemon.wait_for(lambda: case.calls("CreateDBSnapshot"), "the snapshot is asked for")
        case.sandbox.rds("set_instance_status", id=INSTANCE, status="backing-up")
    line = daemon.wait_for_line("the snapshot has to wait")
    assert line["level"] == "INFO" and "InvalidDBInstanceState" in line["error"]
    case.sandbox.rds("set_instance_status", id=INSTANCE, status="available")
    wait_for_success(daemon)
    assert case.run_states("ledger") == ["succeeded"]
    assert len(case.snapshots()) == 1
    assert daemon.at_level("ERROR") == []


def test_storage_optimization_is_no_reason_to_wait(case: Case) -> None:
    """T5."""
    strongroom = case.configure("ledger", snapshot=quick())
    with case.sandbox.showing(INSTANCE, "storage-optimization"):
        daemon = strongroom.start()
        daemon.wait_for(lambda: case.run_states("ledger") == ["succeeded"], "the snapshot is taken all the same")
    assert len(case.snapshot_ids()) == 1


def test_a_snapshot_that_rds_fails_is_recorded_with_its_events_and_made_again(case: Case) -> None:
    """T6."""
    case.sandbox.rds("fail_next_snapshot", instance_id=INSTANCE)
    story = f"The database was short of patience ({case.name})"
    case.sandbox.rds("add_event", source_id=INSTANCE, message=story, categories=["failure"])
    daemon = case.configure("ledger", snapshot=quick()).start()
    wait_for_success(daemon)
    failed, succeeded = case.runs("ledger")
    assert (failed["state"], succeeded["state"]) == ("failed", "succeeded")
    assert f"RDS reports that snapshot {failed['snapshot']} failed" in failed["failure"]["message"]
    assert story in [event["message"] for event in failed["failure"]["rds_events"]]
    assert succeeded["snapshot"] == f"{failed['snapshot']}-2"
    assert case.snapshot_ids() == [succeeded["snapshot"]]
    assert case.snapshot_ids("failed") == [failed["snapshot"]], "the failed one is kept for whoever asks why"
    (line,) = daemon.at_level("ERROR")
    assert line["run.id"] == failed["run"] and story in line["rds_events"]
    assert daemon.metric("strongroom_recovery_points", source="ledger", kind="snapshot", plane="primary") == 1
    for outcome in ("failure", "success"):
        assert daemon.metric("strongroom_runs_total", source="ledger", kind="snapshot", outcome=outcome) == 1


def test_a_foreign_snapshot_with_our_id_is_a_collision_and_stays_untouched(case: Case) -> None:
    """T3."""
    strongroom = case.configure("ledger", snapshot=quick())
    name = planned_snapshot(strongroom)
    rds = case.sandbox.client("rds")
    rds.create_db_snapshot(DBInstanceIdentifier=INSTANCE, DBSnapshotIdentifier=name)
    rds.get_waiter("db_snapshot_available").wait(DBSnapshotIdentifier=name, WaiterConfig={"Delay": 1})
    (foreign,) = case.snapshots()
    daemon = strongroom.start()
    wait_for_success(daemon)
    failed, succeeded = case.runs("ledger")
    assert failed["state"] == "failed"
    assert f"snapshot {name} exists and was not made by this installation" in failed["failure"]["message"]
    assert (succeeded["state"], succeeded["snapshot"]) == ("succeeded", f"{name}-2")
    untouched, _ = case.snapshots()
    assert untouched == foreign
    listed = strongroom("list", "--json").json()
    assert [point["id"] for point in listed] == [f"{name}-2"], "a foreign snapshot is no recovery point of ours"


def test_our_marks_on_another_snapshot_prove_nothing(case: Case) -> None:
    """T15. RDS copies tags between resources, so a mark counts only on the snapshot whose name it bears."""
    strongroom = case.configure("ledger", snapshot=quick())
    name = planned_snapshot(strongroom)
    resource = case.sandbox.instance(INSTANCE)["DbiResourceId"]
    marks = {
        "strongroom:owner": f"{case.name}/{name}",
        "strongroom:source": "ledger",
        "strongroom:slot": name.rsplit("-", 1)[1],
        "strongroom:kind": "snapshot",
        "strongroom:resource": resource,
    }
    tags = [{"Key": key, "Value": value} for key, value in marks.items()]
    rds = case.sandbox.client("rds")
    copied = f"{case.name}-before-the-release"
    rds.create_db_snapshot(DBInstanceIdentifier=INSTANCE, DBSnapshotIdentifier=copied, Tags=tags)
    rds.get_waiter("db_snapshot_available").wait(DBSnapshotIdentifier=copied, WaiterConfig={"Delay": 1})
    assert planned_snapshot(strongroom) == name, "it does not fill the slot"
    assert strongroom("list", "--json").json() == []


def test_an_unknown_status_of_the_instance_is_waited_out(case: Case) -> None:
    """T7."""
    strongroom = case.configure("ledger", snapshot=quick())
    with case.sandbox.showing(INSTANCE, "quantum-rebalancing"):
        daemon = strongroom.start()
        daemon.wait_for_line("the instance is `quantum-rebalancing`")
        assert daemon.http("/livez")[0] == 200
    wait_for_success(daemon)
    assert case.run_states("ledger") == ["succeeded"]


def test_an_unknown_status_of_the_snapshot_is_neither_success_nor_failure(case: Case) -> None:
    """T7."""
    strongroom = case.configure("ledger", snapshot=quick())
    name = planned_snapshot(strongroom)
    for status in ("creating", "hibernating"):
        case.sandbox.rds("stick", resource_kind="snapshot", identifier=name, status=status)
    daemon = strongroom.start()
    daemon.wait_for(case.snapshots, "RDS makes the snapshot")
    case.sandbox.rds("set_snapshot_status", id=name, status="hibernating")
    turns = daemon.metric("strongroom_reconcile_duration_seconds_count")
    daemon.wait_for(
        lambda: daemon.metric("strongroom_reconcile_duration_seconds_count") >= turns + 2, "the daemon looks twice"
    )
    assert case.run_states("ledger") == ["running"]
    (point,) = strongroom("list", "--json").json()
    assert point["state"] == "pending"
    case.sandbox.rds("unstick")
    daemon.wait_for_line("run succeeded")
    assert case.run_states("ledger") == ["succeeded"]
    assert daemon.at_level("ERROR") == []


def test_a_snapshot_that_is_still_made_at_its_deadline_fails_the_run(case: Case) -> None:
    """T6."""
    strongroom = case.configure("ledger", snapshot=quick(completion_deadline="2s", retry={"attempts_max": 1}))
    name = planned_snapshot(strongroom)
    case.sandbox.rds("stick", resource_kind="snapshot", identifier=name, status="creating")
    daemon = strongroom.start()
    line = daemon.wait_for_line("run failed")
    assert f"snapshot {name} was still `creating` at its deadline" in line["error"]
    assert daemon.metric("strongroom_overdue", source="ledger", kind="snapshot") == 1
