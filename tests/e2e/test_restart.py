"""After a restart everything is known again from what exists in AWS; and what the listener says."""

from __future__ import annotations

import json

import pytest
from case import Case, quick
from job import SOURCES, Job
from strongroom_process import Daemon
from waiting import hold_still

DERIVED = (
    "strongroom_last_success_timestamp_seconds",
    "strongroom_expected_interval_seconds",
    "strongroom_next_due_timestamp_seconds",
    "strongroom_overdue",
    "strongroom_recovery_points",
    "strongroom_stored_bytes",
    "strongroom_recovery_point_newest_timestamp_seconds",
    "strongroom_recovery_point_oldest_timestamp_seconds",
    "strongroom_remains_bytes",
    "strongroom_inventory_complete",
    "strongroom_run_in_progress",
)
"""Computed from what exists, so the same before and after a restart."""


def derived(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.split("{")[0] in DERIVED}


@pytest.fixture(scope="module")
def restarted(job: Job) -> Daemon:
    """A daemon on the finished job; stopped with the job."""
    daemon = job.strongroom.start()
    daemon.wait_ready()
    return daemon


def test_nothing_is_made_twice(job: Job, restarted: Daemon) -> None:
    keys, snapshots = job.case.keys(), job.case.snapshot_ids()
    turns = restarted.metric("strongroom_reconcile_duration_seconds_count")
    restarted.wait_for(
        lambda: restarted.metric("strongroom_reconcile_duration_seconds_count") >= turns + 2, "the loop turns twice"
    )
    assert (job.case.keys(), job.case.snapshot_ids()) == (keys, snapshots)
    assert len(snapshots) == len(SOURCES)
    assert restarted.at_level("ERROR", "WARN") == []
    assert restarted.lines("run succeeded") == []


def test_metrics_right_after_a_restart_say_what_they_said_before(job: Job, restarted: Daemon) -> None:
    before, after = derived(job.metrics), derived(restarted.metrics())
    assert after == before
    successes = [value for name, value in after.items() if "last_success" in name]
    assert len(successes) == 4 and all(value > 1e9 for value in successes)


def test_every_series_is_there_from_boot_before_the_first_backup(job: Job) -> None:
    assert set(job.metrics) <= set(job.metrics_at_boot), "no series appears only when something happens"
    boot = job.metrics_at_boot
    for source in SOURCES:
        for kind in ("snapshot", "dump"):
            for outcome in ("success", "failure", "cancelled"):
                assert boot[f'strongroom_runs_total{{kind="{kind}",outcome="{outcome}",source="{source}"}}'] == 0
            database = source if kind == "dump" else ""
            labels = f'{{database="{database}",kind="{kind}",source="{source}"}}'
            assert boot[f"strongroom_last_success_timestamp_seconds{labels}"] == 0
    assert boot['strongroom_runs_total{kind="dump",outcome="success",source="accounts"}'] == 0


def test_counters_moved_where_things_happened(job: Job) -> None:
    for source in SOURCES:
        (manifest,) = job.case.manifests(source)
        dump = f'{{database="{source}",source="{source}"}}'
        assert job.metrics[f"strongroom_dump_bytes_read_total{dump}"] == manifest["uncompressed_bytes"]
        assert job.metrics[f"strongroom_dump_rows_total{dump}"] == manifest["rows"]
        compressed = sum(item["size_bytes"] for item in manifest["objects"] if item["key"].endswith(".zst"))
        assert job.metrics[f"strongroom_dump_bytes_stored_total{dump}"] == compressed
        for kind in ("snapshot", "dump"):
            assert job.metrics[f'strongroom_runs_total{{kind="{kind}",outcome="success",source="{source}"}}'] == 1


def test_the_listener_answers_what_the_contract_lists(restarted: Daemon) -> None:
    assert restarted.http("/livez") == (200, "ok\n")
    assert restarted.http("/readyz") == (200, "ok\n")
    assert restarted.http("/")[0] == 200
    assert restarted.http("/metrics")[0] == 200
    assert restarted.http("/nowhere")[0] == 404


@pytest.mark.parametrize("path", ["/", "/metrics", "/livez", "/readyz", "/api/status", "/nowhere"])
def test_no_other_verb_than_get_and_head_is_known(restarted: Daemon, path: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert restarted.http(path, method)[0] == 405, method


def test_the_api_serves_the_document_that_the_command_prints(job: Job, restarted: Daemon) -> None:
    def without_moments(status: object) -> object:
        """Without the time of the look, from which it grows old, and of RDS's newest restorable moment, which moves on."""
        text = json.loads(json.dumps(status))
        del text["at"], text["stale_at"]
        for source in text["sources"]:
            source["restorable"] = [way for way in source["restorable"] if way["path"] != "pitr"]
        return text

    printed = job.strongroom("status", "--json").json()
    assert printed["well"] is True
    assert without_moments(restarted.status()) == without_moments(printed)
    (accounts, lending) = printed["sources"]
    assert {way["path"] for way in accounts["restorable"]} == {"pitr", "snapshot", "dump"}
    assert {way["path"] for way in lending["restorable"]} == {"snapshot", "dump"}, "no automated backups, no PITR"


def test_a_daemon_that_cannot_see_everything_is_live_and_not_ready(case: Case) -> None:
    case.fault("access_denied", "DescribeDBSnapshots", count=None)
    daemon = case.configure("accounts", snapshot=quick()).start()
    daemon.wait_for(lambda: daemon.status().get("unseen"), "the gap shows in the status")
    assert daemon.http("/livez")[0] == 200
    code, text = daemon.http("/readyz")
    assert (code, text) == (503, "waiting for the first complete inventory\n")
    assert daemon.metric("strongroom_inventory_complete", section="snapshots") == 0
    assert daemon.metric("strongroom_inventory_complete", section="instances") == 1
    hold_still(lambda: not case.snapshots(), "no snapshot is made while the list cannot be seen", 1)
    case.sandbox.clear_faults()
    daemon.wait_ready()
    daemon.wait_for(lambda: case.snapshot_ids(), "the snapshot is made")
