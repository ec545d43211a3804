"""A systemd that runs: process 1 of namespaces of its own, with a copy of this host's files, until it is killed.

Everything that it mounts and starts is in those namespaces and ends with it. What lies outside is a directory that stays
empty, and its cgroups.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from waiting import wait_until

LAUNCHER = Path(__file__).parent / "boot.sh"
SYSTEMD = Path("/usr/lib/systemd/systemd")
NAMESPACES = ("--mount", "--pid", "--fork", "--cgroup", "--uts", "--ipc")
ATTEMPT = """
mount -t tmpfs none "$0" && mkdir "$0/upper" "$0/work" "$0/root" &&
    mount -t overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" none "$0/root"
"""
BOOT_SECONDS = 20


def hierarchies() -> list[Path]:
    """The own cgroup in each hierarchy that systemd can use."""
    mounted: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2":
            mounted[""] = Path(place)
        elif kind == "cgroup":
            mounted |= {option: Path(place) for option in options.split(",")}
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, own = line.split(":", 2)
        name = controllers.split(",")[0]
        # systemd does not use `cpuset`, and a new group in it has no processors.
        if name in mounted and name != "cpuset":
            # In the one hierarchy of cgroup2 a group with processes hands nothing down, unless it is the root.
            found.append(mounted[name] if number == "0" else mounted[name] / own.strip("/"))
    return found


def why_not() -> str:
    """Why none can be booted here; empty where it can."""
    if os.geteuid() != 0:
        return "only root can start a systemd"
    if not SYSTEMD.exists():
        return f"there is no {SYSTEMD}"
    attempt = ["unshare", *NAMESPACES, "sh", "-c", ATTEMPT, "/mnt"]
    tried = subprocess.run(attempt, capture_output=True, text=True)
    if tried.returncode:
        return f"this root may not make namespaces and mount in them: {tried.stderr.strip()}"
    if not hierarchies() or not all(os.access(group, os.W_OK) for group in hierarchies()):
        return "there are no cgroups to be written"
    return ""


class BootedSystemd:
    """A systemd that has booted."""

    def __init__(self, launcher: subprocess.Popen[bytes], pid: int) -> None:
        self.launcher = launcher
        self.pid = pid
        """Of its process 1, on the host."""

    @property
    def root(self) -> Path:
        """Its files, as the host sees them."""
        return Path(f"/proc/{self.pid}/root")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def remove(self, path: str) -> None:
        (self.root / path.lstrip("/")).unlink(missing_ok=True)

    def run(self, *words: str, code: int | None = 0, seconds: float = 60) -> str:
        """What a command of root says there, on both of its outputs."""
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--cgroup", "--uts", "--ipc", "--root", "--wd"]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
        done = subprocess.run(
            [*inside, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        assert code is None or done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def host_pid(self, pid: int) -> int:
        """The host's number of a process there."""
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
                *_, outer, inner = ["", *lines["NSpid"].split()]
                same = os.stat(status.parent / "ns/pid").st_ino == os.stat(f"/proc/{self.pid}/ns/pid").st_ino
                if same and inner == str(pid):
                    return int(outer)
        raise AssertionError(f"there is no process {pid}")


def child_of(pid: int) -> int:
    """Its only child; 0 before there is one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0


@contextmanager
def booted(directory: Path, program: Path) -> Iterator[BootedSystemd]:
    """One that runs until the end of the block, with this program as /usr/bin/strongroom."""
    name = f"strongroom-{uuid.uuid4().hex[:8]}"
    room, log = directory / "room", directory / "boot.log"
    room.mkdir()
    groups = [group / name for group in hierarchies()]
    # It ends with this process, too.
    words = ["setpriv", "--pdeathsig", "KILL", str(LAUNCHER), str(room), str(program.resolve()), *map(str, groups)]
    launcher: subprocess.Popen[bytes] | None = None
    try:
        for group in groups:
            group.mkdir()
        with log.open("wb") as said:
            launcher = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        yield BootedSystemd(launcher, wait_for_boot(launcher, log))
    finally:
        if launcher is not None:
            end(launcher)
        for group in groups:
            remove(group)


def wait_for_boot(launcher: subprocess.Popen[bytes], log: Path) -> int:
    def up() -> bool:
        assert launcher.poll() is None, f"systemd has ended:\n{log.read_text()}"
        pid = child_of(launcher.pid)
        # Before that it is still the script.
        if not pid or os.readlink(f"/proc/{pid}/exe") != str(SYSTEMD.resolve()):
            return False
        return "running" in BootedSystemd(launcher, pid).run("systemctl", "is-system-running", code=None)

    wait_until(up, "systemd has booted", BOOT_SECONDS, log.read_text)
    return child_of(launcher.pid)


def end(launcher: subprocess.Popen[bytes]) -> None:
    """Kills process 1, and the kernel kills all others there and unmounts everything."""
    launcher.kill()
    launcher.wait(10)


def remove(group: Path) -> None:
    """A cgroup and all below, once its processes are gone."""

    def gone() -> bool:
        for folder, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                os.rmdir(folder)
        return not group.exists()

    wait_until(gone, f"{group} is removed", 10)
