"""`python3 -m sandbox --seed FILE.json`: starts, seeds, says in one line of JSON where everything is, and serves."""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from . import seed
from .options import DEFAULT_CACHE, Options, Quotas, Timing

PR_SET_PDEATHSIG = 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sandbox", description=__doc__)
    parser.add_argument("--seed", type=Path, help="JSON file of what there shall be at the start")
    parser.add_argument("--port", type=int, default=0, help="port of the endpoint (default: a free one)")
    parser.add_argument(
        "--workdir", type=Path, help="where everything is kept (default: a new directory in $SANDBOX_TMP, or /tmp)"
    )
    parser.add_argument("--speed", type=float, default=1.0, help="divides the times that states take")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="where initialised clusters are kept")
    parser.add_argument("--keep", action="store_true", help="leave the work directory behind")
    parser.add_argument("--verbose", action="store_true", help="log on standard error instead of workdir/sandbox.log")
    parser.add_argument("--die-with-parent", action="store_true", help="stop when the starting process ends")
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    if chosen.die_with_parent:
        _die_with_parent()
    stop = Stop()
    try:
        told = seed.load(chosen.seed)
        timing = Timing.from_seed(told.get("timing", {}), chosen.speed)
        quotas = Quotas.from_seed(told.get("quotas", {}))
    except (ValueError, OSError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2
    workdir = _workdir(chosen.workdir)
    options = Options(workdir, timing=timing, quotas=quotas, speed=chosen.speed, cache=chosen.cache, seed=told)
    options.regions = told.get("regions") or options.regions
    _log(workdir, chosen.verbose)
    reaper = _start_reaper(workdir, chosen.keep)
    try:
        return _serve(options, chosen.port, stop)
    finally:
        from .rds.world import stop_world

        stop_world()
        logging.shutdown()
        assert reaper.stdin
        reaper.stdin.close()
        reaper.wait(30)
        if not chosen.keep:
            shutil.rmtree(workdir, ignore_errors=True)


class Stop:
    """SIGTERM or SIGINT, whichever thread the kernel gives it to.

    A handler in Python only runs when the main thread does, and a main thread that waits for a lock is not woken by a
    signal that another thread took. The interpreter writes each signal to a socket from any thread; that wakes.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    def wait(self) -> None:
        """Returns once there was a signal, also one from before."""
        self._reader.recv(1)


def _serve(options: Options, port: int, stop: Stop) -> int:
    from . import server

    server.install_layers(options)
    running = server.Server(options, port)
    running.start()
    seeder = seed.Seeder(options, running.endpoint)
    try:
        seeder.apply()
    except Exception as error:
        logging.exception("seeding failed")
        log = options.workdir / "sandbox.log"  # it goes with the work directory, so its end is shown
        print(log.read_text()[-4000:] if log.exists() else "", file=sys.stderr)
        print(f"sandbox: seeding failed: {error}", file=sys.stderr)
        return 1
    running.open_doors()
    ready = {
        "endpoint": running.endpoint,
        "ca_file": str(options.ca_file),
        "workdir": str(options.workdir),
        "instances": seeder.instances,
        "buckets": [bucket["name"] for bucket in options.seed.get("buckets", [])],
        "regions": options.regions,
        "pid": os.getpid(),
    }
    print(json.dumps(ready), flush=True)
    stop.wait()
    running.stop()
    return 0


def _workdir(chosen: Path | None) -> Path:
    """Searchable for the user that PostgreSQL runs as, up to the root."""
    if chosen is None:
        workdir = Path(tempfile.mkdtemp(prefix="strongroom-sandbox-", dir=os.environ.get("SANDBOX_TMP", "/tmp")))
    else:
        workdir = chosen.resolve()
        workdir.mkdir(parents=True, exist_ok=True)
        if any(workdir.iterdir()):
            raise SystemExit(f"sandbox: --workdir {workdir} is not empty")
    workdir.chmod(0o755)
    for parent in workdir.parents:
        if not parent.stat().st_mode & 0o001:
            raise SystemExit(f"sandbox: {parent} is not searchable for the user postgres; choose another --workdir")
    if len(str(workdir)) > 80:
        raise SystemExit(f"sandbox: --workdir {workdir} is too long for the path of a Unix socket")
    return workdir


def _log(workdir: Path, verbose: bool) -> None:
    """moto and werkzeug print to standard output here and there; that is kept for our one line."""
    target = logging.StreamHandler(sys.stderr) if verbose else logging.FileHandler(workdir / "sandbox.log")
    target.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[target])
    for noisy in ("botocore", "boto3", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _start_reaper(workdir: Path, keep: bool) -> subprocess.Popen[bytes]:
    """See `reaper`. In its own session, so that a signal to our process group does not end it."""
    script = Path(__file__).with_name("reaper.py")
    command = [sys.executable, "-I", "-S", str(script), str(workdir)] + (["--keep"] if keep else [])
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
