"""Runs a program shut in as `systemd/strongroom.service` and the pod of `deploy/kubernetes` shut the daemon in.

    confined.py CONFIG CA_FILE PROGRAM [WORD]...

Needs root, to give it up: a view of the files in which everything is read-only but a small /tmp in memory (TMPDIR); a user
that is nobody; no capability, and none to be had; only the system calls and address families of the unit; no memory that is
first written and then run. This reads the unit and does by hand what systemd would do; test_systemd_itself.py has systemd do it.
The program finds CONFIG and CA_FILE in ROOM, its own file as ROOM/program.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

UNIT = Path(__file__).parents[2] / "systemd/strongroom.service"
ROOM = Path("/run")
CONFIG, CA_FILE, PROGRAM, SCRATCH = ROOM / "strongroom.toml", ROOM / "ca.pem", ROOM / "program", ROOM / "tmp"
USER = 10001
SCRATCH_BYTES = 64 << 20

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS = 0x20000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 24, 38, 65
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
EQUAL = 4


def call(function: str, *arguments: object) -> int:
    result: int = getattr(LIBC, function)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{function}{arguments}")
    return result


def mount(source: str | Path, target: Path, kind: str = "none", flags: int = 0, options: str = "") -> None:
    words = (str(source), str(target), kind)
    call("mount", *(word.encode() for word in words), ctypes.c_ulong(flags), options.encode())


def furnish(config: Path, ca_file: Path, program: Path) -> None:
    """A view of the files of our own, with what the program needs, and nothing to write to but its scratch folder."""
    call("unshare", CLONE_NEWNS)
    mount("none", Path("/"), flags=MS_REC | MS_PRIVATE)
    others = [Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    opened = os.open(program, os.O_PATH)
    mount("room", ROOM, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    shutil.copy(config, CONFIG)
    shutil.copy(ca_file, CA_FILE)
    PROGRAM.touch()
    mount(f"/proc/self/fd/{opened}", PROGRAM, flags=MS_BIND)
    os.close(opened)
    for file in (CONFIG, CA_FILE):
        file.chmod(0o444)
    SCRATCH.mkdir()
    mount("scratch", SCRATCH, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, f"size={SCRATCH_BYTES},mode=700,uid={USER},gid={USER}")
    # Other users' processes are not to be seen.
    mount("proc", Path("/proc"), "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=invisible")
    for place in {Path("/"), ROOM, *others}:
        if place.is_dir() and not str(place).startswith(("/proc", "/dev/pts")):
            mount("none", place, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID)


def become_nobody() -> None:
    for capability in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
        call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    os.umask(0o077)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def of_unit(key: str) -> list[str]:
    """Words of all lines of a key."""
    return " ".join(re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)).split()


def members(group: str) -> set[str]:
    """The system calls of a group such as `@system-service`."""
    if not group.startswith("@"):
        return {group}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True).stdout
    names = [line.strip() for line in listed.splitlines()[1:]]
    return set().union(*(members(name) for name in names if name and not name.startswith("#")))


def system_calls() -> set[str]:
    """Those of the unit's allow list; a line that begins with `~` takes away."""
    allowed: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        named = set().union(*(members(group) for group in line.removeprefix("~").split()))
        allowed = allowed - named if line.startswith("~") else allowed | named
    return allowed


class Compare(ctypes.Structure):
    """`struct scmp_arg_cmp` of libseccomp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("unused", ctypes.c_uint64),
    )


def filter_system_calls(names: set[str], families: list[int]) -> None:
    """What is not named ends in EPERM, a socket of another family too."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(REFUSE | errno.EPERM))
    for name in names - {"socket"}:
        number = library.seccomp_syscall_resolve_name(name.encode())
        # Negative: this machine has no such call.
        if number >= 0 and library.seccomp_rule_add_array(context, ALLOW, number, 0, None):
            raise OSError(f"no rule for {name}")
    number = library.seccomp_syscall_resolve_name(b"socket")
    for family in families:
        if library.seccomp_rule_add_array(context, ALLOW, number, 1, ctypes.byref(Compare(0, EQUAL, family, 0))):
            raise OSError("no rule for sockets")
    if library.seccomp_load(context):
        raise OSError("the filter is not accepted")


def main() -> None:
    config, ca_file, program, *words = sys.argv[1:]
    # All of the unit now: a user that is nobody may have no right to read it.
    refuses_new_code = of_unit("MemoryDenyWriteExecute") == ["yes"]
    names, families = system_calls(), [getattr(socket, family).value for family in of_unit("RestrictAddressFamilies")]
    furnish(Path(config), Path(ca_file), Path(program))
    become_nobody()
    if refuses_new_code:
        # Linux 6.3 or newer; before that systemd uses a filter of its own.
        try:
            call("prctl", PR_SET_MDWE, 1, 0, 0, 0)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
    filter_system_calls(names, families)
    # As systemd has it for a user without a home.
    os.chdir("/")
    os.execve(PROGRAM, [str(PROGRAM), *words], {**os.environ, "TMPDIR": str(SCRATCH), "HOME": "/"})


if __name__ == "__main__":
    main()
