"""Runs one pipeline and says what it cost."""

import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import process
from .process import BenchError, tool

SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Figures:
    """What one run cost. Client is everything but PostgreSQL and the store: what a pod pays."""

    wall_seconds: float
    client_cpu_seconds: float
    server_cpu_seconds: float
    store_cpu_seconds: float
    # Largest resident size of any one process, as wait4 reports it.
    peak_rss_mib: float
    # VmHWM of the last stage alone, without its children; sampled, so the very last moment may be missing.
    last_stage_rss_mib: float
    stored_bytes: int

    def as_dict(self) -> dict[str, float | int]:
        return asdict(self)


@dataclass(frozen=True)
class Gauges:
    """What is read before and after each run."""

    server_cpu: Callable[[], float]
    store_cpu: Callable[[], float]
    stored_bytes: Callable[[], int]


def median(runs: Sequence[Figures]) -> Figures:
    """The median of each figure by itself."""
    columns = {name: [getattr(run, name) for run in runs] for name in runs[0].as_dict()}
    return Figures(**{name: statistics.median(values) for name, values in columns.items()})


def pipeline(stages: Sequence[Sequence[str]], environment: dict[str, str], gauges: Gauges) -> Figures:
    """Runs the stages as a shell would, stdout to stdin, the last one's to nowhere."""
    # GNU time and not wait4 from here: a child inherits the peak of the process that forks it, and Python is large.
    gnu_time = tool("time")
    server_cpu, store_cpu, stored = gauges.server_cpu(), gauges.store_cpu(), gauges.stored_bytes()
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        costs = [Path(folder) / f"cost-{number}" for number in range(len(stages))]
        errors = [Path(folder) / f"stderr-{number}" for number in range(len(stages))]
        started = time.monotonic()
        running: list[subprocess.Popen[bytes]] = []
        for number, stage in enumerate(stages):
            last = number + 1 == len(stages)
            with errors[number].open("wb") as error_file:
                running.append(
                    subprocess.Popen(
                        [gnu_time, "-q", "-f", "%U %S %M", "-o", str(costs[number]), "--", *stage],
                        stdin=running[-1].stdout if running else subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL if last else subprocess.PIPE,
                        stderr=error_file,
                        env=environment,
                    )
                )
            if number > 0 and (upstream := running[number - 1].stdout) is not None:
                # Ours as well as the stage's: with both open, a stage that dies would not be noticed upstream.
                upstream.close()
        peak = PeakSampler(running[-1].pid)
        peak.start()
        codes = _wait(running)
        wall = time.monotonic() - started
        peak.finish()
        for stage, code, error in zip(stages, codes, errors, strict=True):
            if code != 0:
                said = error.read_text(errors="replace").strip()[-800:]
                raise BenchError(f"{Path(stage[0]).name} ended with {code}: {said}")
        spent = [[float(field) for field in cost.read_text().split()] for cost in costs]
    return Figures(
        wall_seconds=wall,
        client_cpu_seconds=sum(user + system for user, system, _ in spent),
        server_cpu_seconds=gauges.server_cpu() - server_cpu,
        store_cpu_seconds=gauges.store_cpu() - store_cpu,
        peak_rss_mib=max(rss_kib for _, _, rss_kib in spent) / 1024,
        last_stage_rss_mib=peak.peak_kib / 1024,
        stored_bytes=gauges.stored_bytes() - stored,
    )


def _wait(running: list[subprocess.Popen[bytes]]) -> list[int]:
    try:
        return [stage.wait() for stage in running]
    except BaseException:
        # Interrupted: nothing of ours may go on. GNU time does not pass signals on, so its child comes first.
        for stage in running:
            for child in process.children(stage.pid):
                subprocess.run(["kill", str(child)], check=False)
            stage.kill()
            stage.wait()
        raise


class PeakSampler(threading.Thread):
    """Watches VmHWM of the program under GNU time. The mark only grows, so a slow sampler misses little."""

    def __init__(self, timer_pid: int) -> None:
        super().__init__(daemon=True)
        self.peak_kib = 0
        self._timer_pid = timer_pid
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            for child in process.children(self._timer_pid)[:1]:
                self.peak_kib = max(self.peak_kib, process.memory_kib(child, "VmHWM") or 0)

    def finish(self) -> None:
        self._done.set()
        self.join()
