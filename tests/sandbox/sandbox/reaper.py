"""Cleans up after a sandbox however it ended, `kill -9` included.

Runs as a separate process whose standard input is a pipe that only the sandbox holds open: its end of file is the
sandbox's death. Then every server whose pid file is under the work directory is stopped, and the directory removed.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path


def servers(workdir: Path) -> list[int]:
    """Process ids from pid files, of processes that still have the directory in their command line."""
    found = []
    for pid_file in workdir.glob("instances/*/data/postmaster.pid"):
        try:
            pid = int(pid_file.read_text().splitlines()[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            continue
        if os.fsencode(workdir) in command:
            found.append(pid)
    return found


def clean(workdir: Path, keep: bool) -> None:
    for attempt in range(100):
        alive = servers(workdir)
        if not alive:
            break
        for pid in alive:
            try:
                os.kill(pid, signal.SIGQUIT if attempt < 50 else signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.1)
    for _ in range(0 if keep else 50):
        shutil.rmtree(workdir, ignore_errors=True)
        if not workdir.exists():
            break
        time.sleep(0.1)  # something that was copying there has not ended yet


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdin.buffer.read()
    clean(Path(sys.argv[1]), keep="--keep" in sys.argv)
