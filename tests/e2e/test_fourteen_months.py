"""Fourteen months with weekly snapshots and monthly dumps, on a clock that is stepped from slot to slot.

Nothing of the daemon is replaced; it has a year of its own, and so have RDS, S3 and the servers (timelapse.py). What
there must be is computed from the calendar (slot_model.py), and what there is is asked of AWS.
"""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from postgres_tools import TOOLS
from sandbox_process import BUCKET
from retention_model import Point, Rules, left
from slot_model import as_id, filled, firsts, latest, sundays
from timelapse import DATABASE, INSTANCE, ROWS, SOURCE, Timelapse, timelapse
from waiting import hold_still, wait_until

ZONE = ZoneInfo("Europe/London")
BEGIN = datetime(2027, 1, 1, tzinfo=UTC)
END = datetime(2028, 3, 2, tzinfo=UTC)
"""In between both changes of the clocks of London, each on a Sunday, and a 29th of February."""

DOWN = datetime(2027, 7, 26, 12, tzinfo=UTC)
UP = DOWN + timedelta(weeks=3, hours=1)
"""Three Sundays and one first of a month pass in between."""

KILLED = datetime(2027, 11, 21, 3, tzinfo=UTC)
"""While RDS makes the snapshot of this slot."""

AFTER_SLOT = timedelta(seconds=5)
AT_MOST = timedelta(minutes=15)
"""What is made for a slot is made so soon after it: never at the time of another one."""
BEFORE = BEGIN - timedelta(days=40)
SNAPSHOT_RULES = Rules(keep_weekly=6, keep_monthly=5, min_keep=3, min_age=timedelta(days=1), zone=ZONE)
DUMP_RULES = Rules(keep_monthly=4, keep_yearly=2, min_keep=2, min_age=timedelta(days=1), zone=ZONE)
POLICIES = {
    "snapshot": {"schedule": "0 3 * * Sun", "keep_weekly": 6, "keep_monthly": 5, "min_keep": 3},
    "dump": {"schedule": "0 4 1 * *", "keep_monthly": 4, "keep_yearly": 2},
}
# A cycle is an hour of real time, in which fourteen months pass here.
PRUNE = {"settle": "0s", "max_deletes_per_cycle": 1000}
SNAPSHOT_SLOTS = sundays(BEFORE, END, 3, ZONE)
DUMP_SLOTS = firsts(BEFORE, END, 4, ZONE)
SNAPSHOTS = filled(SNAPSHOT_SLOTS, (BEGIN, END), [(DOWN, UP)])
DUMPS = filled(DUMP_SLOTS, (BEGIN, END), [(DOWN, UP)])


def due(moment: datetime) -> tuple[datetime, datetime]:
    """The slots that a daemon has filled when it has had its look at this moment."""
    return latest(SNAPSHOT_SLOTS, moment), latest(DUMP_SLOTS, moment)


def made_at(slot: datetime) -> datetime:
    """When a slot that is filled was filled, but for what the work took: at once, or at the start after it."""
    return UP if DOWN < slot < UP else max(slot, BEGIN)


def expected(slots: list[datetime], rules: Rules) -> list[datetime]:
    """The slots whose backups are left when it is pruned after each of them."""
    points = [Point(as_id(slot), made_at(slot)) for slot in slots]
    ids = left(points, rules, [point.created_at + AT_MOST for point in points])
    return [slot for slot in slots if as_id(slot) in ids]


def live(lapse: Timelapse) -> None:
    """The whole story, in the order of its time."""
    story: dict[datetime, Callable[[datetime], None]] = {}

    def let_slot_pass(moment: datetime) -> None:
        lapse.advance_to(moment, *due(moment))

    for slot in SNAPSHOT_SLOTS + DUMP_SLOTS:
        if BEGIN < slot < DOWN or slot > UP:
            story[slot + AFTER_SLOT] = let_slot_pass

    def go_down(moment: datetime) -> None:
        lapse.clock.step_to(moment)
        assert lapse.daemon.terminate() == 0

    def come_up(moment: datetime) -> None:
        lapse.clock.step_to(moment)
        lapse.start()
        lapse.settle(*due(moment))

    def be_killed(moment: datetime) -> None:
        lapse.clock.step_to(moment)
        identifier, sandbox = lapse.snapshot_id(KILLED), lapse.case.sandbox
        sandbox.rds("stick", resource_kind="snapshot", identifier=identifier, status="creating")
        lapse.look()
        lapse.daemon.wait_for(lambda: lapse.snapshot_status(identifier) == "creating", "RDS makes the snapshot")
        lapse.daemon.kill()
        lapse.clock.step_to(moment + AT_MOST / 2)
        sandbox.rds("unstick")
        lapse.start()
        lapse.settle(*due(moment))

    assert KILLED + AFTER_SLOT in story
    story |= {DOWN: go_down, UP: come_up, KILLED + AFTER_SLOT: be_killed} | people(lapse)

    lapse.start()
    lapse.settle(*due(BEGIN))
    for moment in sorted(story):
        story[moment](moment)
    lapse.clock.step_to(END)


def people(lapse: Timelapse) -> dict[datetime, Callable[[datetime], None]]:
    """Snapshots that people make with RDS, ever more like ours. The days have no slot."""

    def ours(moment: datetime) -> str:
        return lapse.snapshot_id(latest(SNAPSHOT_SLOTS, moment))

    def plain(moment: datetime) -> None:
        lapse.clock.step_to(moment)
        lapse.snapshot_by_hand("before-the-migration")

    def with_our_prefix(moment: datetime) -> None:
        lapse.clock.step_to(moment)
        lapse.snapshot_by_hand(lapse.snapshot_id(moment))

    def copied_with_our_tags(moment: datetime) -> None:
        lapse.clock.step_to(moment)
        lapse.copy_by_hand(ours(moment), "release-27-6")

    def with_our_prefix_and_our_tags(moment: datetime) -> None:
        lapse.clock.step_to(moment)
        tags = (lapse.find_snapshot(ours(moment)) or {})["TagList"]
        lapse.snapshot_by_hand(lapse.snapshot_id(moment), tags)

    return {
        datetime(2027, 2, 10, 10, tzinfo=UTC): plain,
        datetime(2027, 5, 12, 10, tzinfo=UTC): with_our_prefix,
        datetime(2027, 6, 16, 10, tzinfo=UTC): copied_with_our_tags,
        datetime(2027, 10, 6, 10, tzinfo=UTC): with_our_prefix_and_our_tags,
    }


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timelapse]:
    """The story has been lived through; the daemon still runs."""
    with timelapse(tmp_path_factory.mktemp("timelapse"), BEGIN, time_zone=ZONE.key, prune=PRUNE, **POLICIES) as lapse:
        live(lapse)
        yield lapse


def test_the_calendar_has_the_changes_of_the_clocks_and_the_downtime_in_it() -> None:
    """What the other tests rely on, written down by hand."""
    assert (len(SNAPSHOTS), len(DUMPS)) == (60, 16)
    assert [as_id(slot) for slot in SNAPSHOTS[:2]] == ["20261227t030000z", "20270103t030000z"]
    assert [as_id(slot) for slot in DUMPS[:2]] == ["20261201t040000z", "20270101t040000z"]
    in_snapshots = {as_id(slot) for slot in SNAPSHOTS}
    assert in_snapshots >= {"20270321t030000z", "20270328t020000z", "20271024t020000z", "20271031t030000z"}
    assert in_snapshots & {"20270801t020000z", "20270808t020000z", "20270815t020000z"} == {"20270815t020000z"}
    assert as_id(DUMPS[-1]) == "20280301t040000z" and "20270801t030000z" in {as_id(slot) for slot in DUMPS}


def test_what_is_left_of_the_snapshots_is_exactly_what_the_retention_says(lived: Timelapse) -> None:
    kept = {lived.snapshot_id(slot) for slot in expected(SNAPSHOTS, SNAPSHOT_RULES)}
    assert 6 + 3 <= len(kept) <= 6 + 5 < len(SNAPSHOTS)

    def ours() -> dict[str, str]:
        found = {snapshot["DBSnapshotIdentifier"]: snapshot["Status"] for snapshot in lived.all_snapshots()}
        return {name: status for name, status in found.items() if name not in lived.human_snapshots}

    wait_until(lambda: ours() == dict.fromkeys(kept, "available"), "all others are gone", 30, lambda: str(sorted(ours())))
    hold_still(lambda: ours().keys() == kept, "nothing more is deleted", 3)


def test_what_is_left_of_the_dumps_is_exactly_what_the_retention_says(lived: Timelapse) -> None:
    kept = [as_id(slot) for slot in expected(DUMPS, DUMP_RULES)]
    assert 4 <= len(kept) <= 4 + 2 < len(DUMPS)
    manifests = lambda: [manifest["slot"] for manifest in lived.case.manifests(SOURCE)]  # noqa: E731
    wait_until(lambda: manifests() == kept, "all others are gone", 30, lambda: str(manifests()))
    left_over = lived.case.manifests(SOURCE)
    for manifest in left_over:
        lived.case.assert_whole(manifest)
        assert manifest["rows"] == ROWS
    named = {item["key"] for manifest in left_over for item in manifest["objects"]}
    keys = {item["Key"] for item in lived.objects("dumps/")}
    assert keys - named == {key for key in keys if key.endswith("/manifest.json")}, "nothing else is there"
    assert lived.case.uploads() == []


def test_of_a_pruned_dump_no_version_is_left_and_a_record_tells_of_it(lived: Timelapse) -> None:
    kept = {as_id(slot) for slot in expected(DUMPS, DUMP_RULES)}
    records = {item["Key"]: item for item in lived.objects("prunes/")}
    pruned = {key.rsplit("/", 1)[1].removesuffix(".json") for key in records}
    assert pruned == {as_id(slot) for slot in DUMPS} - kept
    s3 = lived.case.sandbox.client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=f"{lived.case.name}/{SOURCE}/dumps/"):
        assert page.get("DeleteMarkers", []) == []
        assert {version["Key"].split("/")[4] for version in page.get("Versions", [])} <= kept


def test_every_slot_took_one_run_that_succeeded(lived: Timelapse) -> None:
    """T12."""
    runs = lived.case.runs(SOURCE)
    assert {run["state"] for run in runs} == {"succeeded"}
    snapshots = [f"{as_id(slot)}-snapshot-1" for slot in SNAPSHOTS]
    dumps = [f"{as_id(slot)}-dump-{DATABASE}-1" for slot in DUMPS]
    assert sorted(run["run"] for run in runs) == sorted(snapshots + dumps)


def test_what_people_made_is_untouched(lived: Timelapse) -> None:
    """T15."""
    assert len(lived.human_snapshots) == 4
    for identifier, before in lived.human_snapshots.items():
        assert lived.find_snapshot(identifier) == before


def test_nothing_was_wrong_in_all_that_time(lived: Timelapse) -> None:
    assert len(lived.case.daemons) == 3
    assert lived.log("ERROR", "WARN") == []
    lived.daemon.wait_until_well()


def test_all_that_has_a_clock_shows_the_same_time(lived: Timelapse) -> None:
    """The rig itself: without this the tests above could pass on a clock that stands still."""

    def is_now(moment: datetime) -> bool:
        return abs(moment - lived.clock.now()) < timedelta(seconds=30)

    sandbox = lived.case.sandbox
    with urllib.request.urlopen(f"{sandbox.endpoint}/moto-api/config", timeout=10) as reply:
        assert is_now(parsedate_to_datetime(reply.headers["Date"])), "HTTP"
    ((of_server,),) = sandbox.rds("run_sql", id=INSTANCE, sql="SELECT now()::text")
    assert is_now(datetime.fromisoformat(of_server)), "PostgreSQL"
    heard = len(lived.daemon.lines("SIGHUP"))
    lived.look()
    line = lived.daemon.wait_for(lambda: lived.daemon.lines("SIGHUP")[heard:], "the daemon hears")[0]
    assert is_now(datetime.fromisoformat(line["timestamp"])), "the daemon"


def test_all_that_was_made_has_the_time_of_its_slot(lived: Timelapse) -> None:
    def is_of(slot: datetime, moment: datetime) -> bool:
        return made_at(slot) <= moment < made_at(slot) + AT_MOST

    s3 = lived.case.sandbox.client("s3")
    for slot in expected(SNAPSHOTS, SNAPSHOT_RULES):
        snapshot = lived.find_snapshot(lived.snapshot_id(slot)) or {}
        for name in ("SnapshotCreateTime", "OriginalSnapshotCreateTime", "SnapshotDatabaseTime"):
            assert is_of(slot, snapshot[name]), f"{name} of {snapshot['DBSnapshotIdentifier']}: {snapshot[name]}"
    for slot, manifest in zip(expected(DUMPS, DUMP_RULES), lived.case.manifests(SOURCE), strict=True):
        assert is_of(slot, datetime.fromisoformat(manifest["snapshot_at"])), manifest["snapshot_at"]
        for item in manifest["objects"]:
            stored = s3.head_object(Bucket=BUCKET, Key=item["key"])
            assert is_of(slot, stored["LastModified"]), f"{item['key']}: {stored['LastModified']}"
    archive = next(item for item in lived.objects("dumps/") if item["Key"].endswith("/archive.dump.zst"))
    packed = s3.get_object(Bucket=BUCKET, Key=archive["Key"])["Body"].read()
    unpacked = subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=True).stdout
    listed = subprocess.run([TOOLS / "pg_restore", "--list"], input=unpacked, capture_output=True, check=True).stdout
    oldest = expected(DUMPS, DUMP_RULES)[0]
    assert f"Archive created at {oldest:%Y-%m-%d}".encode() in listed, "pg_dump had another time"


EVIDENCE_DAYS = 90


def test_records_that_are_older_than_evidence_is_kept_go_and_those_of_what_stands_stay(lived: Timelapse) -> None:
    """The last test here: it takes away what others look at."""
    lived.daemon.wait_until_well()
    assert lived.daemon.terminate() == 0
    text = lived.strongroom.config.read_text()
    lived.strongroom.config.write_text(text.replace('settle = "0s"', f'settle = "0s", keep_evidence = "{EVIDENCE_DAYS}d"'))
    since = END - timedelta(days=EVIDENCE_DAYS)
    standing = {as_id(slot) for slot in expected(SNAPSHOTS, SNAPSHOT_RULES) + expected(DUMPS, DUMP_RULES)}

    def stays(item: dict[str, Any]) -> bool:
        _, _, kind, *rest = item["Key"].split("/")
        slot = {"runs": lambda: rest[0][:16], "prunes": lambda: rest[2][:16], "verifications": lambda: rest[1]}[kind]()
        return slot in standing or slot >= as_id(since) or item["LastModified"] >= since

    records = [item for kind in ("runs/", "prunes/", "verifications/") for item in lived.objects(kind)]
    kept = {item["Key"] for item in records if stays(item)}
    assert 20 < len(kept) < len(records) - 40
    dry = lived.strongroom("prune", code=None)
    assert "records of vault that are older than evidence is kept" in dry.err, dry.err
    lived.strongroom("prune", "--confirm")
    left = {item["Key"] for kind in ("runs/", "prunes/", "verifications/") for item in lived.objects(kind)}
    assert left == kept
    s3 = lived.case.sandbox.client("s3")
    for kind in ("runs/", "prunes/", "verifications/"):
        prefix = f"{lived.case.name}/{SOURCE}/{kind}"
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=prefix):
            assert page.get("DeleteMarkers", []) == []
            assert {version["Key"] for version in page.get("Versions", [])} <= kept, "no version is left"
    assert "older than evidence" not in lived.strongroom("prune", code=None).err
