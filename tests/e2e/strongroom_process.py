"""The real binary: as a command that ends, and as a daemon that is watched through its log and its listener."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox_process import REPOSITORY
from waiting import wait_until

BINARY = Path(os.environ.get("STRONGROOM_BIN", REPOSITORY / "target/debug/strongroom"))
STOP_SECONDS = 25
"""A daemon that was told to stop must be gone by then, whatever it was doing (RELIABILITY.md, T18)."""

LogLine = dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)


class Daemon:
    """A running `strongroom run`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, at_rest: Callable[[], bool]) -> None:
        self.process = process
        self.log_file = log
        self._at_rest = at_rest

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> list[LogLine]:
        lines = self.log_file.read_text().split("\n")
        # The last piece is empty, or a line that is just being written.
        return [json.loads(line) for line in lines[:-1] if line.startswith("{")]

    def lines(self, message: str, **fields: str) -> list[LogLine]:
        """Log lines whose message contains this, and whose fields (dots as `__`) are these."""
        wanted = {name.replace("__", "."): value for name, value in fields.items()}
        return [
            line for line in self.log if message in line["message"] and all(line.get(k) == v for k, v in wanted.items())
        ]

    def at_level(self, *levels: str) -> list[LogLine]:
        return [line for line in self.log if line["level"] in levels]

    def wait_for(self, look: Callable[[], Any], what: str, seconds: float = 40) -> Any:
        """Waits for something to happen while the daemon lives."""

        def alive_and_true() -> Any:
            value = look()
            assert value or self.process.poll() is None, f"the daemon has ended:\n{self.tail()}"
            return value

        return wait_until(alive_and_true, what, seconds, self.tail)

    def wait_for_line(self, message: str, seconds: float = 40, **fields: str) -> LogLine:
        lines: list[LogLine] = self.wait_for(
            lambda: self.lines(message, **fields), f"the log says `{message}` {fields or ''}", seconds
        )
        return lines[0]

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self.log_file.read_text().splitlines()[-lines:])

    # its listener

    @property
    def url(self) -> str:
        return f"http://{self.wait_for_line('strongroom has started')['http.address']}"

    def http(self, path: str, method: str = "GET") -> tuple[int, str]:
        request = urllib.request.Request(self.url + path, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait_ready(self) -> None:
        self.wait_for(lambda: self.http("/readyz")[0] == 200, "the daemon is ready")

    def status(self) -> dict[str, Any]:
        """The status document; empty before the first look at AWS."""
        found: dict[str, Any] | None = json.loads(self.http("/api/status")[1])
        return found or {}

    def metrics(self) -> dict[str, float]:
        """Every series by name and labels, labels in the order in which they are written."""
        text = self.http("/metrics")[1]
        series = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in series}

    def metric(self, name: str, **labels: str) -> float:
        """The one series of this name with these labels among its own."""
        found = [
            value
            for series, value in self.metrics().items()
            if re.split("[{]", series)[0] == name and all(f'{k}="{v}"' in series for k, v in labels.items())
        ]
        assert len(found) == 1, f"{len(found)} series {name}{labels}"
        return found[0]

    def wait_until_well(self, seconds: float = 60) -> None:
        """Waits until every slot is filled and the records of the runs say so."""

        # A slot is filled as soon as its backup is there; the record of the run follows.
        self.wait_for(lambda: self.status().get("well") and self._at_rest(), "every slot is filled", seconds)

    # its end

    def terminate(self) -> int:
        """Tells it to stop, as systemd and Kubernetes do; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """Ends it without a word, as the OOM killer does."""
        self.process.kill()
        self.process.wait(10)


@dataclass
class Strongroom:
    """The binary with one configuration."""

    config: Path
    environment: dict[str, str]
    directory: Path
    daemons: list[Daemon]
    at_rest: Callable[[], bool]
    """Whether no run is recorded as running."""

    def command(self, *words: str, config: bool = True) -> list[str]:
        return [str(BINARY), *(["--config", str(self.config)] if config else []), *words]

    def __call__(self, *words: str, code: int | None = 0, config: bool = True, seconds: float = 60) -> Ended:
        """Runs a command to its end, and expects this exit code."""
        done = subprocess.run(
            self.command(*words, config=config),
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        ended = Ended(done.returncode, done.stdout, done.stderr)
        assert code is None or ended.code == code, f"{words} ended with {ended.code}:\n{ended.out}{ended.err}"
        return ended

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Begins a command that the test goes on beside; it is stopped at the end of the test."""
        process = subprocess.Popen(
            self.command(*words),
            env=self.environment,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.daemons.append(Daemon(process, self.directory / "unlogged", self.at_rest))  # type: ignore[arg-type]
        return process

    def start(self) -> Daemon:
        """Starts the daemon."""
        log = self.directory / f"daemon-{len(self.daemons) + 1}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                self.command("--log-format", "json", "run"),
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        daemon = Daemon(process, log, self.at_rest)
        self.daemons.append(daemon)
        return daemon

    def plan(self) -> dict[str, Any]:
        found: dict[str, Any] = self("plan", "--json", code=None).json()
        return found
