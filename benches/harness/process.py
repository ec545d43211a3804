"""Processes: starting them, their CPU time and memory as the kernel counts them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """Something without which there is nothing to measure. The message is for the person at the terminal."""


def say(message: str) -> None:
    """Progress; figures go to stdout."""
    print(f"bench: {message}", file=sys.stderr, flush=True)


def tool(name: str) -> str:
    """The path of a program that must be there."""
    path = shutil.which(name)
    if path is None:
        raise BenchError(f"`{name}` is not installed")
    return path


def run(command: Sequence[str | Path], **options: object) -> str:
    """Runs to the end and gives stdout; a failure carries what the command said."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise BenchError(f"{Path(str(command[0])).name} failed ({done.returncode}): {done.stderr.strip()[-800:]}")
    return done.stdout


def stop(process: subprocess.Popen[str], how: signal.Signals, grace_seconds: float = 20) -> None:
    """Asks a process of ours to end, and ends it when it does not."""
    if process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def cpu_seconds(pid: int, *, with_reaped: bool = False) -> float:
    """User and system time of a process, with that of the children it has waited for when asked."""
    try:
        # The name in the second field may hold spaces; what follows its closing bracket is plain.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    ticks = sum(int(field) for field in fields[11 : 15 if with_reaped else 13])
    return ticks / TICKS_PER_SECOND


def children(pid: int) -> list[int]:
    """Direct children, of every thread."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def memory_kib(pid: int, field: str) -> int | None:
    """`VmRSS` or `VmHWM` of a process, or nothing when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    values = [int(line.split()[1]) for line in lines if line.startswith(f"{field}:")]
    return values[0] if values else None
