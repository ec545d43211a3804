"""The daemon does its work shut in as its unit file and its pod shut it in."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import confined
import pytest
from case import Case, quick, source
from strongroom_process import BINARY, Daemon, Strongroom

LAUNCHER = Path(confined.__file__)
ATTEMPTS = """
import os, socket
def attempt(what, act):
    try: act(); print(what, "done")
    except OSError as error: print(what, "refused")
attempt("write to /", lambda: open("/written", "w"))
attempt("write to /dev/shm", lambda: open("/dev/shm/written", "w"))
attempt("write to scratch", lambda: open(os.environ["TMPDIR"] + "/written", "w"))
attempt("tcp", lambda: socket.socket(socket.AF_INET))
attempt("raw packets", lambda: socket.socket(socket.AF_PACKET))
attempt("become root", lambda: os.setuid(0))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, 1))
print("sees process 1:", os.path.exists("/proc/1"))
"""

# Some containers have a root that may not mount: there is nothing to shut in with.
can_mount = os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
needs_root = pytest.mark.skipif(not can_mount, reason="only root can give up what it has")


@dataclass
class Confined(Strongroom):
    """The binary, shut in."""

    ca_file: str = ""

    def command(self, *words: str, config: bool = True) -> list[str]:
        of_launcher = [sys.executable, str(LAUNCHER), str(self.config), self.ca_file, str(BINARY.resolve())]
        return [*of_launcher, *(["--config", str(confined.CONFIG)] if config else []), *words]


def shut_in(case: Case, strongroom: Strongroom) -> Confined:
    plain = strongroom
    return Confined(plain.config, plain.environment, plain.directory, plain.daemons, plain.at_rest, case.sandbox.ca_file)


def left_in_scratch(daemon: Daemon) -> list[str]:
    """Files in the daemon's own view of its scratch folder."""
    return os.listdir(f"/proc/{daemon.pid}/root{confined.SCRATCH}")


@needs_root
def test_what_is_shut_in_cannot_get_out(tmp_path: Path) -> None:
    """The launcher does what it says."""
    (tmp_path / "file").touch()
    words = [sys.executable, str(LAUNCHER), str(tmp_path / "file"), str(tmp_path / "file"), "/usr/bin/python3", "-c", ATTEMPTS]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "write to / refused",
        "write to /dev/shm refused",
        "write to scratch done",
        "tcp done",
        "raw packets refused",
        "become root refused",
        "priority refused",
        "sees process 1: False",
    ], done.stderr


@needs_root
def test_backups_are_made_and_read_back_by_a_daemon_that_is_shut_in(case: Case) -> None:
    """By both engines: the parallel one, and a stock client that needs its password file."""
    sources = {"accounts": source("accounts"), "lending": source("lending", policy="streamed")}
    streamed = {"dump": quick(engine="pg_dump")}
    plain = case.configure(
        snapshot=quick(),
        dump=quick(engine=None),
        sources=sources,
        policies={"streamed": streamed},
        postgres={"ca_file": str(confined.CA_FILE)},
    )
    strongroom = shut_in(case, plain)
    daemon = strongroom.start()
    daemon.wait_for(lambda: len(daemon.lines("run succeeded")) == 3, "a snapshot and two dumps are made")
    daemon.wait_for(case.at_rest, "both dumps are read back")
    for name in sources:
        (manifest,) = case.manifests(name)
        case.assert_whole(manifest)
    assert daemon.at_level("ERROR", "WARN") == []
    assert left_in_scratch(daemon) == [], "no password file stays"
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    assert f"Uid:\t{confined.USER}\t" in status and "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status
    assert daemon.terminate() == 0
