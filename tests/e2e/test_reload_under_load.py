"""Two hundred changed configurations under load: no slot is missed, nothing fails, and nothing is left behind.

A slot comes each four minutes, on a clock that is stepped from one to the next (short_clock.py). In each of them snapshots
and dumps of all sources are made, and one dump is held in the middle while the configuration is changed twenty times: to
good files, which touch the very source that is dumped and bring or take away another one; to bad ones; to ones that need
a restart. A change is a ConfigMap's swap of a link, or an editor's writing in place, and is told by SIGHUP; the last one
is found without. Readers ask the listener all the time.
"""

from __future__ import annotations

import os
import signal
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sandbox_process
from case import Case, quick, source
from postgres_tools import TOOLS
from sandbox_process import BACKUP_USER, BUCKET, KMS_ALIAS, MASTER_PASSWORD, REGION, Seed, role
from short_clock import ShortClock, short_clock
from slot_model import as_id
from strongroom_process import Daemon, Strongroom

STREAMED, *BY_TABLES = STANDING = ("accounts", "cards", "lending")
"""Sources that are in every file: one is dumped as one stream, the others by the parallel engine."""
GUEST = "branch"
"""In every other good file, the last one of each slot among them."""
ROWS = {"accounts": 150_000, "cards": 2_000, "lending": 2_000, "branch": 500}
"""Of hashes, so that the stream has two parts of the smallest size that strongroom takes."""
SPEED = "10"
"""What takes RDS half a second in the sandbox takes it a tenth of that."""

EVERY, SCHEDULE = timedelta(minutes=4), "*/4 * * * *"
"""Less than `prune.clock_skew_max`, and than what a look may take: a step in the middle of one is no reason for doubt."""
BEGIN = datetime(2027, 3, 1, 12, 1, tzinfo=UTC)
FIRST_SLOT = BEGIN - timedelta(minutes=1)
CHANGES, CHANGES_IN_A_SLOT = 200, 20
WARMED_UP = 60
"""After so many changes the process has all that it needs."""
ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}
"""So that what was freed is used again by whoever comes next: glibc's heaps of single threads grow for a while without any leak."""
PATIENCE = 60
"""Seconds: a slot takes four, but not on a machine that compiles meanwhile."""

IN_FORCE = "the configuration was changed, and the change is in force"
UNUSABLE = "the configuration was changed and cannot be used"
NEEDS_RESTART = "these keys need a restart"
AS_BEFORE = "say again what is in force"


def seed() -> Seed:
    """A small server for each source."""

    def instance(name: str) -> dict[str, Any]:
        rows = f"SELECT n, sha512(int4send(n)) AS seal FROM generate_series(1, {ROWS[name]}) AS n"
        return {
            "id": f"bank-{name}",
            "databases": [name],
            "sql": f"CREATE TABLE entries AS {rows}",
            "master_password": MASTER_PASSWORD,
            "backup_retention": 0,
            "roles": [role(f"rds/{name}/backup", f"GRANT pg_read_all_data TO {BACKUP_USER};")],
        }

    return {
        "regions": [REGION],
        "kms_keys": [{"alias": KMS_ALIAS.removeprefix("alias/")}],
        "buckets": [{"name": BUCKET, "versioning": True, "kms": KMS_ALIAS, "hardened": True}],
        "quotas": {"snapshots": 1000},
        "instances": [instance(name) for name in ROWS],
    }


class ConfigMap:
    """A directory as the kubelet fills it: the file is a link into a link, and that one is swapped."""

    def __init__(self, directory: Path, text: str) -> None:
        directory.mkdir()
        self._directory = directory
        self.path = directory / "strongroom.toml"
        self.path.symlink_to("..data/strongroom.toml")
        self._versions = 0
        self.swap(text)

    def swap(self, text: str) -> None:
        self._versions += 1
        version, data, new = (self._directory / name for name in (f"..{self._versions}", "..data", "..data_tmp"))
        version.mkdir()
        (version / self.path.name).write_text(text)
        before = data.resolve()
        new.symlink_to(version.name)
        new.rename(data)
        if before != data:
            (before / self.path.name).unlink()
            before.rmdir()


@dataclass(frozen=True)
class Change:
    """What the files say next, and what the daemon must say to it."""

    text: str
    told: str


def level_of(number: int) -> int:
    """zstd's, in the how-manieth configuration."""
    return 1 + number // 2 % 4


def has_guest(number: int) -> bool:
    return number % 4 == 3 or number > CHANGES


@dataclass(frozen=True)
class Author:
    """Writes configurations."""

    case: Case
    environment: dict[str, str]
    bin_dir: Path
    """The daemon gives pg_dump an environment without the clock; this one has it."""

    def configure(self, number: int, **more: Any) -> Strongroom:
        """A good one, the how-manieth. Level, jobs and retention change each time, and nothing expires by any of them."""
        snapshot = quick(SCHEDULE, keep_last=1000 + number)
        dump = quick(SCHEDULE, keep_last=2000 + number, compression_level=level_of(number))
        names = [*STANDING, GUEST] if has_guest(number) else STANDING
        return self.case.configure(
            snapshot=snapshot,
            dump=dump | {"engine": None, "jobs": 1 + number % 3},
            policies={"streamed": {"snapshot": snapshot, "dump": dump | {"engine": "pg_dump"}}},
            sources={name: source(name, policy="streamed" if name == STREAMED else "p") for name in names},
            environment=self.environment,
            postgres={"bin_dir": str(self.bin_dir)},
            # The clock leaps from slot to slot: minutes of it say nothing of how long something has lasted.
            alerts={"pending_for": "400d"},
            **more,
        )

    def text(self, number: int, **more: Any) -> str:
        return self.configure(number, **more).config.read_text()


@dataclass(frozen=True)
class Footprint:
    """What a process holds."""

    resident_kib: int
    descriptors: int
    threads: int
    children: int

    @staticmethod
    def of(pid: int) -> Footprint:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        children = [child for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]
        resident, threads = int(status["VmRSS"].split()[0]), int(status["Threads"])
        return Footprint(resident, len(os.listdir(f"/proc/{pid}/fd")), threads, len(children))


@dataclass
class Story:
    """What has happened, slot by slot."""

    clock: ShortClock
    case: Case
    author: Author
    files: ConfigMap
    daemon: Daemon
    slots: list[datetime] = field(default_factory=lambda: [FIRST_SLOT])
    """Those that have come due, in order."""
    made: list[Change] = field(default_factory=list)
    in_force: int = 0
    """The number of the configuration."""
    held: dict[tuple[str, str], int] = field(default_factory=dict)
    """Dumps that were under way during changes, by source and slot, with the level when they began."""
    footprints: list[Footprint] = field(default_factory=list)
    answers: int = 0
    refused: list[str] = field(default_factory=list)

    def live(self) -> None:
        with self.readers():
            self.wait_until_filled()
            while len(self.made) < CHANGES:
                self.live_through_a_slot()
                if len(self.made) in (WARMED_UP, CHANGES):
                    self.daemon.wait_until_well()
                    self.footprints.append(Footprint.of(self.daemon.pid))
            self.change_without_a_word()

    # slots

    def come_due(self) -> None:
        """The next slot comes. No dump is under way any more: a step of the clock is a time-out for whoever connects."""
        self.slots.append(self.slots[-1] + EVERY)
        self.clock.step_to(self.slots[-1] + timedelta(seconds=1))

    def live_through_a_slot(self) -> None:
        """The dump of one source is under way from before the first change until after the last one."""
        name, slot = STANDING[len(self.slots) % len(STANDING)], as_id(self.slots[-1] + EVERY)
        operation, dump = "UploadPart" if name == STREAMED else "PutObject", f"/{name}/dumps/{name}/{slot}/"
        with self.case.holding(operation, {"key": f"{dump}.*[.](dat|dump)[.]zst"}):
            self.come_due()
            self.held[name, slot] = level_of(self.in_force)
            self.daemon.process.send_signal(signal.SIGHUP)
            under_way = lambda: self.case.sandbox.backends(f"bank-{name}")  # noqa: E731
            self.daemon.wait_for(under_way, f"the dump of {name} is under way", PATIENCE)
            for _ in range(CHANGES_IN_A_SLOT):
                self.change()
            (record,) = self.case.documents([f"{name}/runs/{slot}-dump-{name}-1.json"])
            assert record["state"] == "running", record
        self.wait_until_filled()

    def wait_until_filled(self) -> None:
        """The last slot, of each source that is there."""
        names = [*STANDING, GUEST] if has_guest(self.in_force) else STANDING
        wanted = {(name, run) for name in names for run in runs_of(name, self.slots[-1])}

        def filled() -> bool:
            return wanted <= {(line["source.id"], line["run.id"]) for line in self.daemon.lines("run succeeded")}

        self.daemon.wait_for(filled, f"slot {as_id(self.slots[-1])} is filled for {names}", PATIENCE)

    # changes

    def next_change(self) -> Change:
        """Good ones and others in turn, so that the daemon has something to say to each."""
        number = len(self.made) + 1
        good = self.author.text(number)
        if number % 2:
            return Change(good, IN_FORCE)
        match number // 2 % 5:
            case 0:
                return Change(good + "[nonsense]\n", UNUSABLE)
            case 1:
                return Change(self.author.text(number, daemon={"grace": f"{number}s"}), NEEDS_RESTART)
            case 2:
                return Change(good.rstrip()[:-1], UNUSABLE)
            case 3:
                return Change(self.author.text(number, destination={"outage_tolerance": f"{number}s"}), NEEDS_RESTART)
            case _:
                return Change(good.replace('policy = "p"', 'policy = "gone"'), UNUSABLE)

    def change(self) -> None:
        """The files change, the daemon is told, and has read them."""
        change = self.next_change()
        heard = self.heard(change.told)
        if len(self.made) % 3:
            self.files.swap(change.text)
        else:
            self.files.path.write_text(change.text)
        self.daemon.process.send_signal(signal.SIGHUP)
        self.daemon.wait_for(lambda: self.heard(change.told) > heard, f"change {len(self.made) + 1} is read")
        self.was_read(change)

    def change_without_a_word(self) -> None:
        """The last change is found in the files, while slots come as before."""
        change = self.next_change()
        heard = self.heard(change.told)
        self.files.swap(change.text)
        while self.heard(change.told) == heard:
            self.come_due()
            self.wait_until_filled()
        self.was_read(change)
        self.come_due()
        self.wait_until_filled()
        self.daemon.wait_until_well()

    def heard(self, text: str) -> int:
        """How often the log has it."""
        return self.daemon.log_file.read_text().count(text)

    def was_read(self, change: Change) -> None:
        self.made.append(change)
        if change.told == IN_FORCE:
            self.in_force = len(self.made)

    # readers

    @contextmanager
    def readers(self) -> Iterator[None]:
        """Somebody asks for everything that the listener has, until the end of the block."""
        paths = ("/metrics", "/", "/api/status", "/livez", "/readyz", *(f"/sources/{name}" for name in STANDING))
        url, over = self.daemon.url, threading.Event()
        self.daemon.wait_ready()

        def ask() -> None:
            while not over.wait(0.3):
                for path in paths:
                    try:
                        with urllib.request.urlopen(url + path, timeout=10) as reply:
                            reply.read()
                            self.answers += 1
                    except OSError as error:
                        self.refused.append(f"{path}: {error}")

        reader = threading.Thread(target=ask)
        reader.start()
        try:
            yield
        finally:
            over.set()
            reader.join()


def runs_of(name: str, slot: datetime) -> list[str]:
    """The first attempts at this slot."""
    return [f"{as_id(slot)}-dump-{name}-1", f"{as_id(slot)}-snapshot-1"]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """All of it has happened; the daemon still runs."""
    directory = tmp_path_factory.mktemp("reloads")
    with short_clock(BEGIN) as clock:
        sandbox = sandbox_process.start(directory, seed(), "--speed", SPEED, environment=clock.environment)
        case = Case(sandbox, directory)
        try:
            author = Author(case, clock.environment | ONE_HEAP, clock.on_this_clock(TOOLS / "pg_dump"))
            strongroom = author.configure(0)
            files = ConfigMap(directory / "config", strongroom.config.read_text())
            story = Story(clock, case, author, files, replace(strongroom, config=files.path).start())
            story.live()
            yield story
        finally:
            case.close()
            sandbox.stop()


def test_every_slot_has_one_run_of_each_kind_and_each_has_succeeded(lived: Story) -> None:
    """By the clock, and not by what this test has stepped through."""
    count = (lived.clock.now() - FIRST_SLOT) // EVERY + 1
    slots = [FIRST_SLOT + n * EVERY for n in range(count)]
    assert slots == lived.slots and count > CHANGES / CHANGES_IN_A_SLOT
    for name in STANDING:
        found = {record["run"]: record["state"] for record in lived.case.runs(name)}
        assert found == {run: "succeeded" for slot in slots for run in runs_of(name, slot)}


def test_every_slot_has_one_good_snapshot_and_one_whole_dump(lived: Story) -> None:
    snapshots = lived.case.snapshots()
    for name in STANDING:
        own = {s["DBSnapshotIdentifier"]: s["Status"] for s in snapshots if s["DBInstanceIdentifier"] == f"bank-{name}"}
        assert own == {f"{lived.case.name}-{name}-{as_id(slot)}": "available" for slot in lived.slots}
        manifests = lived.case.manifests(name)
        assert [manifest["slot"] for manifest in manifests] == [as_id(slot) for slot in lived.slots]
        for manifest in manifests:
            lived.case.assert_whole(manifest)
            assert manifest["rows"] == ROWS[name]
    assert lived.case.uploads() == []


def test_what_was_under_way_went_on_by_the_configuration_that_it_began_with(lived: Story) -> None:
    assert len(lived.held) == CHANGES / CHANGES_IN_A_SLOT
    for name in STANDING:
        levels = {manifest["slot"]: manifest["compression"]["level"] for manifest in lived.case.manifests(name)}
        began = {slot: level for (own, slot), level in lived.held.items() if own == name}
        assert {slot: levels[slot] for slot in began} == began
        assert len(set(began.values())) > 1, "it was not always the same one"


def test_a_source_that_comes_and_goes_is_backed_up_while_it_is_there(lived: Story) -> None:
    """It goes while its backups are under way, and is there again before the next slot."""
    runs = {record["run"]: record["state"] for record in lived.case.runs(GUEST)}
    assert runs == {run: "succeeded" for slot in lived.slots[1:] for run in runs_of(GUEST, slot)}


def test_each_change_was_told_and_nothing_else_went_wrong(lived: Story) -> None:
    """T14."""

    def said(*levels: str) -> list[str]:
        return [line["message"] for line in lived.daemon.at_level(*levels)]

    assert len(lived.made) == CHANGES + 1
    for text in (IN_FORCE, UNUSABLE, NEEDS_RESTART):
        assert len(lived.daemon.lines(text)) == sum(change.told == text for change in lived.made), text
    assert [message for message in said("ERROR") if UNUSABLE not in message] == []
    assert [message for message in said("WARN") if NEEDS_RESTART not in message] == []
    assert lived.daemon.metric("strongroom_config_last_reload_successful") == 1


def test_nothing_is_left_behind_in_the_one_process_that_there_was(lived: Story) -> None:
    assert [daemon.pid for daemon in lived.case.daemons] == [lived.daemon.pid]
    assert lived.daemon.process.poll() is None
    assert len(lived.daemon.lines("strongroom has started")) == 1
    before, after = lived.footprints
    assert after.resident_kib < before.resident_kib + 8192, lived.footprints
    assert after.descriptors <= before.descriptors + 6, lived.footprints
    assert after.threads <= before.threads + 4, lived.footprints
    assert after.children == 0, lived.footprints


def test_who_asked_meanwhile_was_always_answered(lived: Story) -> None:
    assert lived.refused == []
    assert lived.answers > CHANGES
