"""strongroom.service in a systemd that runs: files where an administrator puts them, orders by systemctl, a log in the journal."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from booted_systemd import BootedSystemd
from case import Case
from sandbox_process import CANARY
from strongroom_process import Daemon, LogLine

UNIT = "strongroom.service"
PLACE = f"/usr/lib/systemd/system/{UNIT}"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/test.conf"
CONFIG, ENVIRONMENT, CA_FILE = "/etc/strongroom/strongroom.toml", "/etc/strongroom/environment", "/etc/ssl/rds.pem"
STORED, LOADED = "/etc/credstore/strongroom.page-token", f"/run/credentials/{UNIT}/page-token"
TOKEN = f"{CANARY}-page-token"


class Service(Daemon):
    """strongroom.service in a booted systemd."""

    def __init__(self, case: Case, systemd: BootedSystemd) -> None:
        # What ends when all is lost is systemd: a daemon that ends may be started again.
        super().__init__(systemd.launcher, Path(), case.at_rest)
        self.case = case
        self.systemd = systemd
        self.port = free_port()
        self._began = time.time()

    def configure(self, *sources: str, settings: dict[str, str] | None = None, **parts: Any) -> None:
        """All that the unit's head asks for; `settings` are keys of [Service] that differ."""
        daemon = {"listen": f"127.0.0.1:{self.port}", "poll_interval": "1s", "reconcile_interval": "2s"}
        ours = {"daemon": daemon, "postgres": {"ca_file": CA_FILE}, "http": {"token_file": LOADED}}
        strongroom = self.case.configure(*sources, **ours | parts)
        self.systemd.write(CONFIG, strongroom.config.read_text())
        aws = {name: value for name, value in strongroom.environment.items() if name.startswith("AWS_")}
        aws["AWS_SECRET_ACCESS_KEY"] = f"{CANARY}-aws"
        # Root's alone: who reads them is systemd.
        self.systemd.write(ENVIRONMENT, "".join(f"{name}={value}\n" for name, value in aws.items()), 0o600)
        self.systemd.write(STORED, TOKEN, 0o600)
        self.systemd.write(CA_FILE, Path(self.case.sandbox.ca_file).read_text())
        # Who listens elsewhere than at 9187 allows that port.
        self.override(SocketBindAllow=f"tcp:{self.port}", **settings or {})

    def override(self, **settings: str) -> None:
        self.systemd.write(DROP_IN, "[Service]\n" + "".join(f"{key}={value}\n" for key, value in settings.items()))
        self.systemd.run("systemctl", "daemon-reload")

    def order(self, word: str, code: int = 0) -> float:
        """`systemctl WORD`; the seconds that it took."""
        began = time.monotonic()
        try:
            self.systemd.run("systemctl", word, UNIT, code=code)
        except AssertionError as error:
            error.add_note(self.tail())
            raise
        return time.monotonic() - began

    def show(self, *names: str) -> list[str]:
        """Properties, as `systemctl show` has them."""
        shown = self.systemd.run("systemctl", "show", f"--property={','.join(names)}", UNIT)
        values = dict(line.split("=", 1) for line in shown.splitlines())
        return [values[name] for name in names]

    @property
    def main_pid(self) -> int:
        """As systemd counts; 0 while there is none."""
        return int(self.show("MainPID")[0])

    @property
    def pid(self) -> int:
        """As the host counts."""
        return self.systemd.host_pid(self.main_pid)

    def started_again(self, before: int) -> bool:
        """Whether another process has taken its place, and serves."""
        return self.main_pid not in (0, before) and self.show("ActiveState") == ["active"]

    # what it says

    def journal(self, *words: str) -> str:
        # Not after a cursor: with words to match journalctl 252 leaves out the first match, too.
        return self.systemd.run("journalctl", "--output=cat", f"--since=@{self._began:.6f}", *words)

    @property
    def log(self) -> list[LogLine]:
        """Everything that was written to its outputs, by whom it starts, too: each line is JSON."""
        lines = self.journal(f"_SYSTEMD_UNIT={UNIT}", "_TRANSPORT=stdout").splitlines()
        return [json.loads(line) for line in lines if not line.startswith("-- ")]

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self.journal().splitlines()[-lines:])

    # its listener

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def http(self, path: str, method: str = "GET") -> tuple[int, str]:
        return self.ask(path, TOKEN, method)

    def ask(self, path: str, token: str, method: str = "GET") -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def clear(self) -> None:
        """Ends it at once and forgets everything about it."""
        for words in (["kill", "--signal=KILL"], ["stop"], ["reset-failed"]):
            self.systemd.run("systemctl", *words, UNIT, code=None)
        for file in (DROP_IN, CONFIG, ENVIRONMENT, STORED):
            self.systemd.remove(file)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
