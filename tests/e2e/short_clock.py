"""A clock that a test steps: what is started on it lives in another year, and goes through months in seconds.

Wall time is moved in every process that has the clock's environment, by a small preloaded library (short_clock.c, which
says why it is not libfaketime's). The clock goes on by itself between two steps, as fast as any. Monotonic time stays
as it is: a step wakes nobody who sleeps.
"""

from __future__ import annotations

import os
import shlex
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ShortClock:
    """One clock for many processes; `directory` must be one that every user can enter and programs can run from."""

    def __init__(self, directory: Path, begin_at: datetime) -> None:
        self.directory = directory
        self._library = directory / "short_clock.so"
        self._file = directory / "offset"
        compiler = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(self._library)]
        subprocess.run([*compiler, str(SOURCE), "-ldl"], check=True, timeout=60)
        self._offset_ns = 0
        self._set(begin_at)

    @property
    def environment(self) -> dict[str, str]:
        """For the processes that shall live on this clock; their children do too."""
        return {"LD_PRELOAD": str(self._library), "SHORT_CLOCK": str(self._file)}

    def now(self) -> datetime:
        return EPOCH + timedelta(microseconds=(time.time_ns() + self._offset_ns) // 1000)

    def step_to(self, moment: datetime) -> None:
        """It is then now, for all at once; never back."""
        now = self.now()
        assert moment >= now, f"{moment} is before {now}"
        self._set(moment)

    def set_right(self) -> None:
        """It is now what it is for the rest of the machine, be that a step back."""
        self._set(datetime.now(UTC))

    def on_this_clock(self, program: Path) -> Path:
        """A directory with this program, for those who start it with an environment of their own making."""
        directory = self.directory / "bin"
        directory.mkdir(exist_ok=True)
        words = " ".join(shlex.quote(f"{name}={value}") for name, value in self.environment.items())
        script = directory / program.name
        script.write_text(f'#!/bin/sh\nexec env {words} {shlex.quote(str(program))} "$@"\n')
        script.chmod(0o755)
        return directory

    def _set(self, moment: datetime) -> None:
        wanted_ns = (moment - EPOCH) // timedelta(microseconds=1) * 1000
        self._offset_ns = wanted_ns - time.time_ns()
        # Eight aligned bytes, written at once and in place: who reads meanwhile sees the time before or the time after.
        file = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(file, struct.pack("=q", self._offset_ns), 0)
        finally:
            os.close(file)


@contextmanager
def short_clock(begin_at: datetime) -> Iterator[ShortClock]:
    """A clock that begins at this moment; gone with its files at the end of the block."""
    # Not one of pytest's directories: the servers run as another user.
    directory = Path(tempfile.mkdtemp(prefix="strongroom-clock-"))
    try:
        directory.chmod(0o755)
        yield ShortClock(directory, begin_at)
    finally:
        shutil.rmtree(directory)
