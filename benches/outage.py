"""How long until somebody is called: strongroom dies, hangs, or is cut off from AWS, under the shipped rules.

Takes half an hour. Real Prometheus and Alertmanager, with intervals as in production; the daemon runs against the sandbox.

    scripts/setup && cargo build
    target/sandbox-venv/bin/python benches/outage.py
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/sandbox")]

import sandbox_process  # noqa: E402
import test_prometheus  # noqa: E402
import yaml  # noqa: E402
from case import Case, quick, settled  # noqa: E402
from channels import Receiver, alertmanager  # noqa: E402
from strongroom_process import Daemon  # noqa: E402
from waiting import wait_until  # noqa: E402

SOURCE = "accounts"
LIMIT_MINUTES = 30
INTERVALS = {"scrape_interval": "15s", "evaluation_interval": "15s"}
"""As Prometheus is usually run."""
AWS = ("DescribeDBInstances", "DescribeDBSnapshots", "ListObjectVersions", "ListObjectsV2", "GetObject", "PutObject")


def dies(_: Case, daemon: Daemon) -> None:
    daemon.kill()


def hangs(_: Case, daemon: Daemon) -> None:
    daemon.process.send_signal(signal.SIGSTOP)


def is_cut_off(case: Case, _: Daemon) -> None:
    for operation in AWS:
        case.fault("access_denied", operation, count=None)


def first_call(case: Case, what: object, folder: Path) -> tuple[str, float]:
    """Breaks it, and waits until Alertmanager has told somebody; what was told, and after how many minutes."""
    receiver = Receiver()
    daemon = case.configure(SOURCE, snapshot=quick()).start()
    daemon.wait_until_well()
    with alertmanager(folder, f"{receiver.url}/hook") as manager:
        alerting = {"alertmanagers": [{"static_configs": [{"targets": [manager.removeprefix("http://")]}]}]}
        with test_prometheus.prometheus(folder, daemon.url.removeprefix("http://"), INTERVALS, alerting=alerting) as server:
            wait_until(lambda: test_prometheus.ask(server, "up == 1"), "it is scraped", 60)
            time.sleep(60)
            assert not receiver.requests, "nothing is the matter yet"
            what(case, daemon)  # type: ignore[operator]
            began = time.monotonic()
            wait_until(lambda: receiver.requests, "somebody is called", LIMIT_MINUTES * 60 * 1.2)
            minutes = (time.monotonic() - began) / 60
    daemon.process.send_signal(signal.SIGCONT)
    names = {alert["labels"]["alertname"] for _, _, body in receiver.requests for alert in body.get("alerts", [])}
    receiver.close()
    return ", ".join(sorted(names)), minutes


def one(what: object, base: Path) -> float:
    """One outage, in a sandbox of its own: what is mended at the end of one must not mend another."""
    name = getattr(what, "__name__", "")
    folder = base / name
    folder.mkdir()
    sandbox = sandbox_process.start(folder)
    try:
        with settled(Case(sandbox, folder)) as case:
            alerts, minutes = first_call(case, what, folder)
    finally:
        sandbox.stop()
    print(f"strongroom {name.replace('_', ' ')}: {alerts} after {minutes:.1f} min", flush=True)
    return minutes


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="outage-") as base, ThreadPoolExecutor() as pool:
        # Whoever was never called has ended in an error, which comes out here.
        minutes = list(pool.map(lambda what: one(what, Path(base)), (dies, hangs, is_cut_off)))
    return 0 if max(minutes) <= LIMIT_MINUTES else 1


if __name__ == "__main__":
    sys.exit(main())
