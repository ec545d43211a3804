"""Numbers for CloudWatch's alarms: there while all is seen, and missing when nobody looks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from case import Case, quick
from waiting import wait_until

SOURCE = "accounts"


def newest(case: Case, name: str, **dimensions: str) -> float | None:
    """The newest number of a metric."""
    now = datetime.now(UTC)
    asked = [{"Name": key, "Value": value} for key, value in sorted(dimensions.items(), reverse=True)]
    found = case.sandbox.client("cloudwatch").get_metric_statistics(
        Namespace=case.name,
        MetricName=name,
        Dimensions=asked,
        StartTime=now - timedelta(minutes=10),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Maximum"],
    )["Datapoints"]
    return max(found, key=lambda point: point["Timestamp"])["Maximum"] if found else None


def test_the_numbers_that_alarms_watch_are_published(case: Case) -> None:
    strongroom = case.configure(SOURCE, snapshot=quick(), cloudwatch={"namespace": case.name})
    strongroom("backup", "snapshot", SOURCE, seconds=60)
    daemon = strongroom.start()
    daemon.wait_for(lambda: newest(case, "Heartbeat") == 1.0, "the heartbeat is there")
    age = newest(case, "LastSuccessAge", Source=SOURCE, Kind="snapshot")
    assert age is not None and 0 <= age < 60, age
    assert newest(case, "Overdue", Source=SOURCE, Kind="snapshot") == 0.0
    assert (newest(case, "StoredBytes", Source=SOURCE, Kind="snapshot") or 0) > 0
    assert newest(case, "RunFailures", Source=SOURCE, Kind="snapshot") == 0.0


def test_that_it_cannot_publish_disturbs_no_backup(case: Case) -> None:
    strongroom = case.configure(SOURCE, snapshot=quick(), cloudwatch={"namespace": case.name})
    case.fault("access_denied", "PutMetricData", count=None)
    daemon = strongroom.start()
    daemon.wait_for(lambda: daemon.lines("metrics cannot be published"), "it says so")
    wait_until(lambda: case.snapshot_ids(), "a snapshot is made all the same")
    assert newest(case, "Heartbeat") is None
    assert json.loads(strongroom("status", "--json", code=None).out)["sources"]
