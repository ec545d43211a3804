#!/usr/bin/env python3
"""Measures strongroom against the pipelines that people write by hand, in one run on one machine.

It makes a PostgreSQL 15 cluster of its own (TLS, certificate checked), loads the bank of tests/fixtures/bank, starts
null_s3, and measures each pipeline several times in alternating order:

  dump       pg_dump -Fc -Z0                          what reading costs
  zstd       pg_dump -Fc -Z0 | zstd                   the baseline for CPU
  aws        … | zstd -3 | aws s3 cp - s3://…         the baseline for time of engine "pg_dump"
  threads    … | zstd -T0 | aws s3 cp - s3://…        the baseline for time of engine "parallel"
  directory  pg_dump -Fd -j2; aws s3 cp --recursive   what its manual suggests for speed
  daemon     strongroom backup dump, "pg_dump"        the same work, and a manifest
  parallel   strongroom backup dump, "parallel"       the same work, hashed row by row

There are no assertions on time: a shared machine lies about seconds. Read the ratios.
`--memory` measures the daemon's memory at two sizes, `--idle` what a daemon with nothing to do costs, `--restore` what the
way back does: `aws s3 cp --recursive; pg_restore -j2` against `strongroom restore dump`, and reading every row back.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from harness import by_jobs, idle, report
from harness.cluster import Cluster
from harness.config import Source, Tuning, write_account, write_config
from harness.measure import Figures, Gauges, median, pipeline
from harness.process import BenchError, say, tool
from harness.store import BUCKET, NullStore, aws_cli, build
from harness.way_back import WayBack

# About 300 MB and 3 GB of COPY text.
MEMORY_SCALES = (2.0, 20.0)
STRONGROOM = ["daemon", "parallel"]
PIPELINES = ["dump", "zstd", "aws", "threads", "directory", *STRONGROOM]


def main() -> int:
    options = arguments()
    # An end by signal must still stop the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with workplace(options.folder) as folder:
            figures = measure(options, folder)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/strongroom", help="the daemon; skipped when absent (default: %(default)s)")
    parser.add_argument("--null-s3", help="a built null_s3; without it cargo builds one")
    parser.add_argument("--scale", type=float, default=20, help="size of the bank, 1 = 160 MB of COPY text (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="runs of each pipeline; medians are shown (default: %(default)s)")
    parser.add_argument("--engine", default="pg_dump", choices=["pg_dump", "parallel"], help="of --memory and --idle (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=4, help="connections of the parallel engine (default: %(default)s)")
    parser.add_argument("--level", type=int, default=3, help="zstd level of the daemon and its baseline (default: %(default)s)")
    parser.add_argument("--parts-in-flight", type=int, default=4, help="of the daemon's upload (default: %(default)s)")
    parser.add_argument("--part-mib", type=int, default=16, help="part size of the daemon's upload (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=PIPELINES, help="only these pipelines")
    parser.add_argument("--json", metavar="FILE", help="write every figure of every run there")
    parser.add_argument("--folder", type=Path, help="where to make the cluster (default: a temporary folder)")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--memory", action="store_true", help="the daemon's peak memory at 300 MB and 3 GB")
    mode.add_argument("--idle", action="store_true", help="an idle daemon: memory, CPU, time to ready")
    mode.add_argument("--by-jobs", action="store_true", help="how throughput grows with --jobs where each connection is held to a rate")
    mode.add_argument("--restore", action="store_true", help="restoring a bank and one table of its size, and reading them back")
    mode.add_argument("--tables", type=int, metavar="N", help="N tables of ten rows in place of a bank")
    parser.add_argument("--sources", type=int, default=50, metavar="N", help="of --idle (default: %(default)s)")
    parser.add_argument("--idle-seconds", type=float, default=60, help="how long to watch it (default: %(default)s)")
    parser.add_argument("--generated", type=float, metavar="GB", help="of --memory: 0.3 GB and so many of rows that are generated, in place of a bank")
    parser.add_argument("--incompressible", action="store_true", help="of --generated: rows by chance, which need as much disk")
    parser.add_argument("--pg-restore", type=Path, metavar="FILE", help="of --restore by hand (default: PostgreSQL 15's)")
    return parser.parse_args()


@contextmanager
def workplace(parent: Path | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="strongroom-bench-", dir=parent))
    # The server runs as another user and has to get to its data.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    binary = Path(options.binary).resolve()
    null_s3 = Path(options.null_s3).resolve() if options.null_s3 else build()
    tuning = Tuning(options.engine, options.level, options.parts_in_flight, options.part_mib, options.jobs)
    if options.idle:
        require(binary)
        return idle.measure(binary, null_s3, folder, tuning, options.sources, options.idle_seconds)
    if options.memory or options.by_jobs or options.restore:
        require(binary)
    # What is restored to is a server as RDS has it where it makes automated backups: nothing is loaded past the log.
    cluster = Cluster(folder, "replica" if options.restore else "minimal")
    try:
        cluster.start()
        if options.by_jobs:
            return by_jobs.measure(cluster, null_s3, folder, tuning, options.scale, by_config(cluster, binary, folder))
        if options.restore:
            way_back = WayBack(cluster, null_s3, binary, folder, tuning, options.pg_restore)
            try:
                return way_back.measure(options.scale, options.repetitions)
            finally:
                way_back.stop()
        scales = memory_scales(options) if options.memory else (options.scale,)
        if options.tables:
            cluster.load_tables("tables", options.tables)
            sources = [source(cluster, "tables")]
        elif options.memory and options.generated:
            make = cluster.load_incompressible if options.incompressible else cluster.load_generated
            sources = [generate(cluster, make, f"bank{number}", gigabytes) for number, gigabytes in enumerate(scales, 1)]
        else:
            sources = [load(cluster, f"bank{number}", scale) for number, scale in enumerate(scales, 1)]
        store = NullStore(null_s3, write_account(folder / "account.json", sources))
        try:
            configs = {
                engine: write_config(folder / f"{engine}.toml", sources, replace(tuning, engine=engine), cluster.ca_file)
                for engine in ("pg_dump", "parallel")
            }
            bench = Bench(cluster, store, binary, configs, folder)
            if options.memory:
                return bench.memory(sources, scales, tuning)
            return bench.compare(sources[0], options)
        finally:
            store.stop()
    finally:
        cluster.stop()


def require(binary: Path) -> None:
    if not binary.exists():
        raise BenchError(f"there is no {binary}: `cargo build --release` makes it, --binary names another")


def load(cluster: Cluster, name: str, scale: float) -> Source:
    cluster.load_bank(name, scale)
    return source(cluster, name)


def memory_scales(options: argparse.Namespace) -> tuple[float, ...]:
    """Of a bank, or in gigabytes of generated rows."""
    return (0.3, options.generated) if options.generated else MEMORY_SCALES


def generate(cluster: Cluster, make: Callable[[str, float], None], name: str, gigabytes: float) -> Source:
    make(name, gigabytes)
    return source(cluster, name)


def source(cluster: Cluster, name: str) -> Source:
    return Source(name, name, cluster.port, cluster.password, cluster.version())


def by_config(cluster: Cluster, binary: Path, folder: Path) -> by_jobs.Dump:
    """Dumps a source by the parallel engine as a configuration has it."""

    def dump(source: Source, config: Path, store: NullStore) -> Figures:
        return Bench(cluster, store, binary, {"parallel": config}, folder).run("parallel", source, 0, 1)

    return dump


class Bench:
    """The pipelines over one cluster and one store."""

    def __init__(self, cluster: Cluster, store: NullStore, binary: Path, configs: dict[str, Path], folder: Path) -> None:
        self.cluster = cluster
        self.store = store
        self.binary = binary
        # By engine.
        self.configs = configs
        self.folder = folder
        self.gauges = Gauges(cluster.cpu_seconds, store.cpu_seconds, lambda: int(store.stats()["stored_bytes"]))

    def stages(self, name: str, source: Source, level: int, attempt: int) -> list[list[str]]:
        pg_dump = str(self.cluster.bin / "pg_dump")
        dump = [pg_dump, "-Fc", "-Z0"]
        zstd = [tool("zstd"), "-q", "-c"]
        upload = [aws_cli(), "s3", "cp", "-", f"s3://{BUCKET}/by-hand/{name}-{attempt}.dump.zst"]
        match name:
            case "dump":
                return [dump]
            case "zstd":
                return [dump, [*zstd, "-T1", f"-{level}"]]
            case "aws":
                # As people write it: level 3, and what the aws command does by default.
                return [dump, [*zstd, "-T1", "-3"], upload]
            case "threads":
                return [dump, [*zstd, "-T0", f"-{level}"], upload]
            case "directory":
                target = self.folder / "directory"
                script = f"rm -rf '{target}'; '{pg_dump}' -Fd -j2 -f '{target}' && '{aws_cli()}' s3 cp --quiet --recursive '{target}' s3://{BUCKET}/by-hand/{attempt}/"
                return [["sh", "-c", script]]
            case _:
                engine = "parallel" if name == "parallel" else "pg_dump"
                return [[str(self.binary), "--config", str(self.configs[engine]), "backup", "dump", source.name]]

    def run(self, name: str, source: Source, level: int, attempt: int) -> Figures:
        environment = self.cluster.environment(source.database)
        if name in STRONGROOM:
            # It must find its way by itself: endpoint from RDS, password from Secrets Manager.
            environment = {key: value for key, value in environment.items() if not key.startswith("PG")}
            environment["PATH"] = f"{self.cluster.bin}:{environment['PATH']}"
        environment |= self.store.environment()
        figures = pipeline(self.stages(name, source, level, attempt), environment, self.gauges)
        if name not in ("dump", "zstd") and figures.stored_bytes == 0:
            raise BenchError(f"{name} ended well but stored nothing")
        say(f"{name}: {figures.wall_seconds:.1f} s, client CPU {figures.client_cpu_seconds:.1f} s")
        return figures

    def compare(self, source: Source, options: argparse.Namespace) -> dict[str, object]:
        names = options.only or PIPELINES
        if not self.binary.exists():
            say(f"there is no {self.binary}, so strongroom is left out: `cargo build --release` makes it, --binary names another")
            names = [name for name in names if name not in STRONGROOM]
        say("warming up")
        self.run("dump", source, options.level, 0)
        runs: dict[str, list[Figures]] = {name: [] for name in names}
        for attempt in range(1, options.repetitions + 1):
            # There and back, so that what drifts over minutes hits first and last alike.
            for name in names if attempt % 2 else reversed(names):
                runs[name].append(self.run(name, source, options.level, attempt))
        medians = {name: median(figures) for name, figures in runs.items()}
        print(report.comparison(medians, options.level, options.jobs))
        every_run = {name: [figures.as_dict() for figures in each] for name, each in runs.items()}
        return {"scale": options.scale, "level": options.level, "jobs": options.jobs, "runs": every_run}

    def memory(self, sources: list[Source], scales: tuple[float, ...], tuning: Tuning) -> dict[str, object]:
        name = "parallel" if tuning.engine == "parallel" else "daemon"
        figures = {scale: self.run(name, source, tuning.level, 1) for scale, source in zip(scales, sources, strict=True)}
        print(report.memory(figures, tuning))
        return {"memory": {f"{scale:g}": each.as_dict() for scale, each in figures.items()}}


if __name__ == "__main__":
    sys.exit(main())
