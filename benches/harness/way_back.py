"""What restoring a dump costs, against what anybody does without strongroom; and what reading it back does."""

import json
import os
import re
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from . import report
from .cluster import Cluster
from .config import Source, Tuning, write_account, write_config
from .measure import Figures, Gauges, median, pipeline
from .process import BenchError, run, say, tool
from .store import BUCKET, NullStore, aws_cli

DATABASE = "restored"
# pg_restore reads frames of zstd since version 16; an older one is given what `zstd -d` makes of them.
READS_ZSTD_SINCE = 16
RATE_WANTED_MB_PER_S = 400
WANTED = {"bank": 0.90, "one": 0.70}
TITLES = {"bank": "the bank, 18 tables", "one": "one table"}


class WayBack:
    """A bank, and one table of its size: both dumped once, then restored and read back several times."""

    def __init__(self, cluster: Cluster, null_s3: Path, binary: Path, folder: Path, tuning: Tuning, pg_restore: Path | None) -> None:
        self.cluster = cluster
        self.binary = binary
        self.folder = folder
        self.tuning = replace(tuning, engine="parallel")
        self.pg_restore = pg_restore or cluster.bin / "pg_restore"
        self.sources = [Source(name, name, cluster.port, cluster.password, cluster.version()) for name in TITLES]
        self.store = NullStore(null_s3, write_account(folder / "account.json", self.sources), "--keep-all")
        self.config = write_config(folder / "strongroom.toml", self.sources, self.tuning, cluster.ca_file)
        # The restoring user's, who is none that a source is dumped with.
        self.password_file = folder / "restoring-password"
        self.password_file.touch(0o600)
        self.password_file.write_text(cluster.password)

    def measure(self, scale: float, repetitions: int) -> dict[str, object]:
        load = {"bank": self.cluster.load_bank, "one": self.cluster.load_one_table}
        for name in TITLES:
            load[name](name, scale)
        self.cluster.psql("one", "-c", "ALTER TABLE facts ADD PRIMARY KEY (id)", "-c", "CHECKPOINT")
        found: dict[str, object] = {}
        rows = [["restore (medians)", "wall s", "client CPU s", "server CPU s", "peak RSS MiB", "wall : by hand", "wanted"]]
        reading = [["reading back, level 2", "rows MB", "wall s", "client CPU s", "MB/s of CPU", "wanted"]]
        for source in self.sources:
            self._run(["backup", "dump", source.name])
            manifest = self._manifest(source)
            ways: dict[str, Callable[[], Figures]] = {
                "by hand": lambda source=source, manifest=manifest: self._by_hand(source, manifest),
                "strongroom": lambda source=source: self._restore(source, "--no-compare"),
                "compared": lambda source=source: self._restore(source),
                "read back": lambda source=source: self._run(["verify", source.name, "--level", "2"]),
            }
            runs: dict[str, list[Figures]] = {name: [] for name in ways}
            for attempt in range(repetitions):
                # There and back, so that what drifts over minutes hits first and last alike.
                for name in list(ways) if attempt % 2 else reversed(ways):
                    runs[name].append(ways[name]())
                    say(f"{source.name}, {name}: {runs[name][-1].wall_seconds:.1f} s")
            medians = {name: median(figures) for name, figures in runs.items()}
            rows += self._rows(source, medians)
            read, mb = medians["read back"], manifest["uncompressed_bytes"] / 1e6
            rate = mb / read.client_cpu_seconds
            costs = [f"{mb:.0f}", f"{read.wall_seconds:.1f}", f"{read.client_cpu_seconds:.1f}", f"{rate:.0f}"]
            reading.append([TITLES[source.name], *costs, f"at least {RATE_WANTED_MB_PER_S}"])
            found[source.name] = {name: [figures.as_dict() for figures in each] for name, each in runs.items()}
        print(report.table(rows))
        print()
        print(report.table(reading))
        return {"scale": scale, "jobs": self.tuning.jobs, "runs": found}

    def stop(self) -> None:
        self.store.stop()

    def _rows(self, source: Source, medians: dict[str, Figures]) -> list[list[str]]:
        ways = {
            "by hand": "aws s3 cp --recursive; pg_restore -j2",
            "strongroom": f"strongroom, {self.tuning.jobs} jobs, not compared",
            "compared": "the same, every row compared",
        }
        rows = []
        for name, title in ways.items():
            own = medians[name]
            wanted = f"at most {WANTED[source.name]:.2f}" if name == "strongroom" else ""
            figures = [own.wall_seconds, own.client_cpu_seconds, own.server_cpu_seconds]
            ratio = own.wall_seconds / medians["by hand"].wall_seconds
            costs = [f"{figure:.1f}" for figure in figures]
            rows.append([f"{TITLES[source.name]}: {title}", *costs, f"{own.peak_rss_mib:.0f}", f"{ratio:.2f}", wanted])
        return rows

    def _manifest(self, source: Source) -> dict[str, object]:
        with urllib.request.urlopen(f"{self.store.endpoint}/{BUCKET}?list-type=2&prefix=strongroom/{source.name}/dumps/", timeout=10) as listing:
            keys = re.findall(r"<Key>([^<]*/manifest\.json)</Key>", listing.read().decode())
        if len(keys) != 1:
            raise BenchError(f"{len(keys)} dumps of {source.name} where one was made")
        with urllib.request.urlopen(f"{self.store.endpoint}/{BUCKET}/{keys[0]}", timeout=10) as object_:
            manifest = json.load(object_)
        return manifest | {"folder": f"{Path(keys[0]).parent}/{manifest['run']}"}

    def _run(self, arguments: list[str]) -> Figures:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        environment["PATH"] = f"{self.cluster.bin}:{environment['PATH']}"
        return self._measured([str(self.binary), "--config", str(self.config), *arguments], environment)

    def _measured(self, command: list[str], environment: dict[str, str]) -> Figures:
        gauges = Gauges(self.cluster.cpu_seconds, self.store.cpu_seconds, lambda: int(self.store.stats()["stored_bytes"]))
        return pipeline([command], environment | self.store.environment(), gauges)

    def _restore(self, source: Source, *options: str) -> Figures:
        login = ["--host", "localhost", "--port", str(self.cluster.port), "--user", "postgres", "--password-file", str(self.password_file)]
        wanted = ["restore", "dump", source.name, "--into", DATABASE, "--jobs", str(self.tuning.jobs), *login, *options]
        return self._into_new_database(lambda: self._run(wanted))

    def _by_hand(self, source: Source, manifest: dict[str, object]) -> Figures:
        target = self.folder / "by-hand"
        steps = [
            f"rm -rf '{target}'",
            f"'{aws_cli()}' s3 cp --quiet --recursive s3://{BUCKET}/{manifest['folder']}/ '{target}'",
        ]
        if self._major() < READS_ZSTD_SINCE:
            steps.append(f"'{tool('zstd')}' -dq --rm -r '{target}'")
        # An owner or a right of a role that is there is as in strongroom's restore.
        said = self.folder / "by-hand.err"
        # A newer client sets what an older server does not know, says so, and goes on.
        other_errors = f"grep '^pg_restore: error' '{said}' | grep -v transaction_timeout >&2"
        steps.append(f"{{ '{self.pg_restore}' -j2 -d {DATABASE} '{target}' 2>'{said}' || ! {other_errors}; }}")
        environment = self.cluster.environment(DATABASE, user="postgres")
        return self._into_new_database(lambda: self._measured(["sh", "-c", " && ".join(steps)], environment))

    def _into_new_database(self, restore: Callable[[], Figures]) -> Figures:
        make = ["-c", f"DROP DATABASE IF EXISTS {DATABASE}", "-c", f"CREATE DATABASE {DATABASE} TEMPLATE template0"]
        self.cluster.psql("postgres", *make, "-c", "CHECKPOINT")
        # What the run before has left to be written is not this one's.
        os.sync()
        return restore()

    def _major(self) -> int:
        # "pg_restore (PostgreSQL) 17.6 (Debian 17.6-1)"
        return int(run([self.pg_restore, "--version"]).split()[2].split(".")[0])
