"""The unit file in a systemd that runs. Only the network is the host's: the sandbox listens there."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from booted_service import CONFIG, LOADED, PLACE, STORED, TOKEN, UNIT, Service, free_port
from booted_systemd import BootedSystemd, booted, why_not
from case import ALL_BUT_THE_FIRST, Case, quick, source
from postgres_tools import pg_dumps
from sandbox_process import CANARY, REPOSITORY
from strongroom_process import BINARY
from waiting import wait_until

reason = why_not()
pytestmark = pytest.mark.skipif(bool(reason), reason=reason)

SOURCE = "accounts"
LISTING = "DescribeDBInstances"
GRACE = 25
"""Seconds; `daemon.grace`."""
DYNAMIC_USERS = range(61184, 65520)
MEMORY_MAX, TASKS_MAX = 1536 << 20, 256
UNIT_FILE = REPOSITORY / "systemd" / UNIT
EXPOSURE_MAX = 1.5
"""As in tests/deploy, which ask systemd before it runs the unit."""
ATTEMPTS_FILE = "/usr/local/lib/attempts.py"
ATTEMPTS = """
import ctypes, mmap, os, socket, sys
def attempt(what, act):
    try: act(); print(what, "done")
    except OSError as error: print(what, "refused")
def unshare():
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000): raise OSError(ctypes.get_errno(), "unshare")
attempt("write to /", lambda: open("/written", "w"))
attempt("write to /etc/strongroom", lambda: open("/etc/strongroom/written", "w"))
attempt("read the logins of root", lambda: open("/etc/strongroom/environment"))
attempt("write to /tmp", lambda: open("/tmp/written", "w"))
attempt("tcp", lambda: socket.socket(socket.AF_INET))
attempt("its port", lambda: socket.socket().bind(("127.0.0.1", int(sys.argv[1]))))
attempt("another port", lambda: socket.socket().bind(("127.0.0.1", int(sys.argv[2]))))
attempt("raw packets", lambda: socket.socket(socket.AF_PACKET))
attempt("become root", lambda: os.setuid(0))
attempt("a namespace", unshare)
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, 1))
attempt("code that was data", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC))
"""


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootedSystemd]:
    """With the unit as scripts/package makes it, where the Debian package puts it."""
    directory = tmp_path_factory.mktemp("systemd")
    made = directory / "package"
    subprocess.run([REPOSITORY / "scripts/package", "files", BINARY.resolve(), made], check=True, timeout=60)
    with booted(directory, BINARY) as running:
        running.write(PLACE, (made / "systemd" / UNIT).read_text())
        yield running


@pytest.fixture
def service(case: Case, systemd: BootedSystemd) -> Iterator[Service]:
    running = Service(case, systemd)
    try:
        yield running
    finally:
        running.clear()


def test_start_returns_when_it_serves_and_status_says_how_it_is(service: Service) -> None:
    service.configure(SOURCE, snapshot=quick())
    with service.case.holding(LISTING):
        service.order("start")
        assert service.http("/livez")[0] == 200 and service.http("/readyz")[0] == 503, "AWS has not answered"
        said = service.systemd.run("systemctl", "status", UNIT)
        assert "active (running)" in said and re.search('^ +Status: "looking after its sources', said, re.MULTILINE), said
    service.wait_until_well()


def test_a_secret_of_roots_alone_is_read_by_the_daemon_and_never_told(service: Service) -> None:
    service.configure(SOURCE, snapshot=quick())
    service.order("start")
    service.wait_until_well()
    assert service.ask("/api/status", "")[0] == 401 and service.ask("/api/status", TOKEN)[0] == 200
    secret = Path(f"/proc/{service.pid}/root{LOADED}")
    assert secret.read_text() == TOKEN and secret.stat().st_mode & 0o007 == 0
    # It was copied when the daemon started.
    service.systemd.write(STORED, f"{TOKEN}-2", 0o600)
    service.order("reload")
    assert service.ask("/api/status", TOKEN)[0] == 200
    service.order("restart")
    assert service.ask("/", TOKEN)[0] == 401 and service.ask("/", f"{TOKEN}-2")[0] != 401
    assert service.lines("strongroom has started") and CANARY not in service.journal()
    environment = Path(f"/proc/{service.pid}/environ").read_bytes()
    assert TOKEN.encode() not in environment and b"MALLOC_ARENA_MAX=1" in environment


def test_who_does_not_start_five_times_is_left_to_a_person(service: Service) -> None:
    """Here without the credential that its configuration names."""
    service.configure(SOURCE, snapshot=quick(), settings={"RestartSec": "50ms"})
    service.systemd.remove(STORED)
    service.order("start", code=1)
    wait_until(lambda: service.show("ActiveState") == ["failed"], "systemd gives up", 20, service.tail)
    assert service.show("Result", "ExecMainStatus", "NRestarts") == ["exit-code", "1", "5"]
    assert service.journal().count(f"cannot read the token of the status page from {LOADED}") == 5


def test_a_reload_puts_a_good_file_in_force_and_no_bad_one(service: Service) -> None:
    service.configure(SOURCE, snapshot=quick())
    service.order("start")
    service.wait_until_well()
    before = service.main_pid
    file = service.systemd.root / CONFIG.lstrip("/")
    changed = file.read_text().replace("keep_all = true", "keep_last = 30")
    assert reload(service, changed, "are in force") == 1
    assert reload(service, "no_such_key = 1\n", "cannot be used") == 0
    assert reload(service, changed, "are in force") == 1
    assert service.main_pid == before


def reload(service: Service, text: str, words: str) -> float:
    """Changes the file and waits until `systemctl status` says so; whether the daemon is content."""
    service.systemd.write(CONFIG, text)
    service.order("reload")
    service.wait_for(lambda: words in service.show("StatusText")[0], f"`systemctl status` says that they {words}", 10)
    assert service.show("ActiveState", "SubState", "NRestarts") == ["active", "running", "0"]
    return service.metric("strongroom_config_last_reload_successful")


def test_backups_are_made_and_read_back_under_all_that_the_unit_forbids(service: Service) -> None:
    """By both engines: the parallel one, and a stock client that needs its password file."""
    case = service.case
    sources = {"accounts": source("accounts"), "lending": source("lending", policy="streamed")}
    streamed = {"dump": quick(engine="pg_dump")}
    service.configure(snapshot=quick(), dump=quick(engine=None), sources=sources, policies={"streamed": streamed})
    service.order("start")
    service.wait_for(lambda: len(service.lines("run succeeded")) == 3, "a snapshot and two dumps are made")
    service.wait_for(case.at_rest, "both dumps are read back")
    for name in sources:
        (manifest,) = case.manifests(name)
        case.assert_whole(manifest)
    assert service.at_level("ERROR", "WARN") == []
    assert_it_is_shut_in(service)
    assert service.order("stop") < GRACE
    assert not private_tmp(service), "its /tmp is gone with it"
    assert CANARY not in service.journal()


def assert_it_is_shut_in(service: Service) -> None:
    process = Path(f"/proc/{service.pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    assert int(status["Uid"].split()[0]) in DYNAMIC_USERS, status["Uid"]
    nothing = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16)
    wanted = nothing | {"Seccomp": "2", "NoNewPrivs": "1"}
    assert {key: status[key] for key in wanted} == wanted
    assert os.listdir(process / "root/tmp") == [], "no password file stays"
    assert private_tmp(service), "its /tmp is not the others'"
    limits = {
        "memory/{}/memory.limit_in_bytes": MEMORY_MAX,
        "{}/memory.max": MEMORY_MAX,
        "pids/{}/pids.max": TASKS_MAX,
        "{}/pids.max": TASKS_MAX,
    }
    files = {service.systemd.root / "sys/fs/cgroup" / name.format(f"system.slice/{UNIT}"): limit for name, limit in limits.items()}
    # Of one kind of hierarchy or the other. On a host that keeps these controllers for itself there is nothing to see, but then
    # for both.
    found = {file: int(file.read_text()) for file in files if file.exists()}
    assert found == {file: files[file] for file in found} and len(found) in (0, 2), found


def private_tmp(service: Service) -> list[Path]:
    return list((service.systemd.root / "tmp").glob(f"systemd-private-*-{UNIT}-*"))


def test_stop_ends_it_in_mid_dump_within_the_grace(service: Service) -> None:
    case = service.case
    service.configure("ledger", dump=quick())
    with case.holding("UploadPart", ALL_BUT_THE_FIRST):
        service.order("start")
        service.wait_for(case.second_part_is_on_its_way, "a dump is under way")
        port = case.sandbox.instance("bank-ledger")["Endpoint"]["Port"]
        (client,) = pg_dumps(port)
        assert b"MALLOC_ARENA_MAX" not in Path(f"/proc/{client}/environ").read_bytes(), "that is for the daemon"
        assert service.order("stop") < GRACE
    assert not pg_dumps(port)
    assert service.show("ActiveState", "Result", "ExecMainStatus") == ["inactive", "success", "0"]
    assert case.run_states("ledger") == ["cancelled"] and case.uploads() == []


def test_a_wrong_configuration_is_not_tried_again(service: Service) -> None:
    service.configure(SOURCE, snapshot=quick(), settings={"RestartSec": "100ms"})
    service.systemd.write(CONFIG, "no_such_key = 1\n")
    service.order("start", code=1)
    assert service.show("ActiveState", "Result", "ExecMainStatus", "NRestarts") == ["failed", "exit-code", "2", "0"]
    assert "no_such_key" in service.tail()


def test_who_is_killed_is_started_again(service: Service) -> None:
    service.configure(SOURCE, snapshot=quick(), settings={"RestartSec": "100ms"})
    service.order("start")
    service.wait_until_well()
    before = service.main_pid
    service.systemd.run("kill", "-KILL", str(before))
    service.wait_for(lambda: service.started_again(before), "systemd has started it again")
    assert service.show("NRestarts") == ["1"]
    service.wait_until_well()


def test_who_stands_still_is_killed_and_started_again(service: Service) -> None:
    service.configure(SOURCE, snapshot=quick(), settings={"RestartSec": "100ms", "WatchdogSec": "15"})
    service.order("start")
    service.wait_until_well()
    before = service.main_pid
    service.systemd.run("kill", "-STOP", str(before))
    service.wait_for(lambda: service.started_again(before), "systemd has started it again")
    assert "Watchdog timeout" in service.journal() and service.show("NRestarts") == ["1"]
    service.wait_until_well()


def test_systemd_that_runs_it_finds_little_exposed(service: Service) -> None:
    service.configure(SOURCE, snapshot=quick())
    service.order("start")
    said = service.systemd.run("systemd-analyze", "security", f"--threshold={EXPOSURE_MAX * 10:.0f}", UNIT)
    assert f"Overall exposure level for {UNIT}" in said


def test_what_the_unit_forbids_is_refused(service: Service) -> None:
    """To another program in its place."""
    service.configure(SOURCE, snapshot=quick())
    service.systemd.write(ATTEMPTS_FILE, ATTEMPTS)
    program = f"\nExecStart=/usr/bin/python3 {ATTEMPTS_FILE} {service.port} {free_port()}"
    allowed = f"tcp:{service.port}"
    service.override(Type="oneshot", Restart="no", ExecStart=program, WatchdogSec="0", SocketBindAllow=allowed)
    service.order("start")
    said = service.journal(f"_SYSTEMD_UNIT={UNIT}").splitlines()
    assert [line for line in said if line.endswith((" refused", " done"))] == [
        "write to / refused",
        "write to /etc/strongroom refused",
        "read the logins of root refused",
        "write to /tmp done",
        "tcp done",
        "its port done",
        f"another port {'refused' if can_forbid_ports(service.systemd) else 'done'}",
        "raw packets refused",
        "become root refused",
        "a namespace refused",
        "priority refused",
        "code that was data refused",
    ]


def can_forbid_ports(systemd: BootedSystemd) -> bool:
    """By a program in the kernel, for a cgroup of the one hierarchy."""
    built = "+BPF_FRAMEWORK" in systemd.run("systemctl", "--version") and list(systemd.root.glob("usr/lib/*/libbpf.so.*"))
    return bool(built) and (systemd.root / "sys/fs/cgroup/cgroup.procs").exists()


def test_a_command_by_hand_is_the_same_user_and_has_the_same_secrets(service: Service) -> None:
    """As the unit's head has it."""
    if not (service.systemd.root / "run/dbus/system_bus_socket").exists():
        pytest.skip("there is no D-Bus here: scripts/setup deployment")
    service.configure(SOURCE, snapshot=quick())
    service.order("start")
    service.wait_until_well()
    (command,) = re.findall(r"^#   (systemd-run .* )strongroom status$", UNIT_FILE.read_text(), re.MULTILINE)
    by_hand = command.split()
    assert "All is well" in service.systemd.run(*by_hand, "strongroom", "status")
    assert TOKEN in service.systemd.run(*by_hand, "cat", LOADED)
