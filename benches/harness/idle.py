"""What a daemon costs while it has nothing to do."""

import http.client
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

from . import process, report
from .cluster import free_port
from .config import Source, Tuning, write_account, write_config
from .process import BenchError, say
from .store import NullStore

READY_SECONDS_MAX = 30
# The first inventory and its allocations are start-up, not idling.
SETTLE_SECONDS = 5
READY_POLL_SECONDS = 0.01


def measure(binary: Path, null_s3: Path, folder: Path, tuning: Tuning, count: int, seconds: float) -> dict[str, object]:
    # No database behind these: an idle daemon has no reason to connect.
    sources = [Source(f"source{number:02}", "bank", 1, "unused") for number in range(1, count + 1)]
    tuning = replace(tuning, http_port=free_port())
    store = NullStore(null_s3, write_account(folder / "account.json", sources))
    try:
        config = write_config(folder / "strongroom.toml", sources, tuning, None)
        with (folder / "daemon.log").open("w") as log:
            started = time.monotonic()
            daemon = subprocess.Popen(
                [str(binary), "--config", str(config), "run"],
                env=os.environ | store.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
            )
        try:
            wait_ready(daemon, tuning.http_port, folder / "daemon.log")
            ready_seconds = time.monotonic() - started
            say(f"ready after {ready_seconds:.2f} s; watching for {seconds:g} s")
            return watch(daemon, store, count, ready_seconds, seconds)
        finally:
            process.stop(daemon, signal.SIGTERM)
    finally:
        store.stop()


def wait_ready(daemon: subprocess.Popen[str], port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        if daemon.poll() is not None:
            raise BenchError(f"strongroom run ended with {daemon.returncode}: {log.read_text()[-800:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
                if answer.status == http.HTTPStatus.OK:
                    return
        except (urllib.error.URLError, http.client.HTTPException, OSError):
            pass
        time.sleep(READY_POLL_SECONDS)
    raise BenchError(f"not ready after {READY_SECONDS_MAX} s: {log.read_text()[-800:]}")


def watch(
    daemon: subprocess.Popen[str], store: NullStore, count: int, ready_seconds: float, seconds: float
) -> dict[str, object]:
    time.sleep(SETTLE_SECONDS)
    requests = sum(store.stats()["requests"].values())
    cpu, begin = process.cpu_seconds(daemon.pid, with_reaped=True), time.monotonic()
    time.sleep(seconds)
    spent = process.cpu_seconds(daemon.pid, with_reaped=True) - cpu
    cpu_percent = 100 * spent / (time.monotonic() - begin)
    figures = {
        "sources": count,
        "ready_seconds": round(ready_seconds, 3),
        "cpu_percent": round(cpu_percent, 3),
        "rss_mib": round((process.memory_kib(daemon.pid, "VmRSS") or 0) / 1024, 1),
        "peak_rss_mib": round((process.memory_kib(daemon.pid, "VmHWM") or 0) / 1024, 1),
        "requests": sum(store.stats()["requests"].values()) - requests,
    }
    rows = [
        [f"idle, {count} sources", "measured", "wanted"],
        ["time to ready, s", f"{ready_seconds:.2f}", "under 1"],
        ["CPU, % of a core", f"{cpu_percent:.2f}", "under 0.5"],
        ["RSS, MiB", str(figures["rss_mib"]), "under 30"],
        ["peak RSS, MiB", str(figures["peak_rss_mib"]), ""],
        ["AWS requests while watched", str(figures["requests"]), ""],
    ]
    print(report.table(rows))
    return {"idle": figures}
