"""What systemd hears from a daemon that it has started: ready, reloading, alive, stopping; and nothing from anybody else."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from case import Case, quick
from postgres_tools import pg_dumps
from service_manager import Message, ServiceManager, as_systemd_starts, service_manager
from strongroom_process import Daemon, Strongroom
from test_confined import needs_root, shut_in
from waiting import hold_still, wait_until

SOURCE = "accounts"
LISTING = "DescribeDBInstances"
WATCHDOG = 6.0
"""Seconds. The loop turns every two (case.py), and tells of it after a quarter of this."""
TURN = 2.0
ALIVE = {"WATCHDOG": "1"}


@pytest.fixture
def manager(case: Case) -> Iterator[ServiceManager]:
    with service_manager(case.directory) as listening:
        yield listening
        # It must go on reading until the last one that could talk has ended.
        case.close()


def wait_for(manager: ServiceManager, daemon: Daemon, count: int = 1, **values: str) -> Message:
    """Waits until it was told so as many times; the last of these messages."""
    found = daemon.wait_for(lambda: manager.told(**values)[count - 1 :], f"systemd is told {values} {count} times")
    message: Message = found[0]
    return message


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_it_is_ready_when_it_serves_and_not_first_when_aws_has_answered(case: Case, abstract: bool) -> None:
    with service_manager(case.directory, abstract) as manager:
        strongroom = as_systemd_starts(case.configure(SOURCE, snapshot=quick()), manager)
        with case.holding(LISTING):
            daemon = strongroom.start()
            ready = wait_for(manager, daemon, READY="1")
            assert ready.values["STATUS"], "systemctl status shows it"
            assert daemon.http("/livez")[0] == 200 and daemon.http("/readyz")[0] == 503
        daemon.wait_until_well()
        assert manager.messages[0] == ready and len(manager.told(READY="1")) == 1
        assert not manager.told(**ALIVE), "nobody has asked for that"
        assert daemon.terminate() == 0
        assert manager.messages[-1].values == {"STOPPING": "1"}


def reload(strongroom: Strongroom, daemon: Daemon, manager: ServiceManager, text: str) -> str:
    """Changes the file and tells the daemon; what it has systemd say of it."""
    reloads = len(manager.told(RELOADING="1"))
    strongroom.config.write_text(text)
    before = time.monotonic_ns() // 1000
    daemon.process.send_signal(signal.SIGHUP)
    begun = wait_for(manager, daemon, reloads + 1, RELOADING="1")
    assert "READY" not in begun.values and "STATUS" not in begun.values
    # By this systemd knows that it is an answer to its own signal.
    assert before <= int(begun.values["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    done = wait_for(manager, daemon, reloads + 2, READY="1")
    # How the files are may be told in between, but nothing that is an answer.
    between = manager.messages[manager.messages.index(begun) + 1 : manager.messages.index(done)]
    assert all(set(message.values) == {"STATUS"} for message in between), between
    return done.values["STATUS"]


def test_a_reload_is_told_when_it_begins_and_how_it_ended(case: Case, manager: ServiceManager) -> None:
    plain = case.configure(SOURCE, snapshot=quick())
    strongroom = as_systemd_starts(plain, manager)
    daemon = strongroom.start()
    daemon.wait_until_well()
    first = plain.config.read_text()
    assert "keep_all = true" in first
    changed = first.replace("keep_all = true", "keep_last = 30")
    in_force = reload(strongroom, daemon, manager, changed)
    invalid = reload(strongroom, daemon, manager, f"no_such_key = 1\n{changed}")
    restart = reload(strongroom, daemon, manager, changed.replace('"127.0.0.1:0"', '"127.0.0.1:1"'))
    said = [in_force, invalid, restart]
    for words, part in zip(said, ("are in force", "cannot be used", "need a restart"), strict=True):
        assert part in words, said
    assert reload(strongroom, daemon, manager, changed) == in_force, "all is well again"
    assert daemon.terminate() == 0


def test_it_is_alive_while_its_loop_turns_and_silent_while_it_hangs(case: Case, manager: ServiceManager) -> None:
    strongroom = as_systemd_starts(case.configure(SOURCE, snapshot=quick()), manager, WATCHDOG)
    daemon = strongroom.start()
    daemon.wait_until_well()
    since = len(manager.told(**ALIVE))
    wait_for(manager, daemon, since + 4, **ALIVE)
    times = [message.at for message in manager.told(**ALIVE)[since:]]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) >= WATCHDOG / 16, f"it is not told more often than need be: {gaps}"
    assert max(gaps) < WATCHDOG, f"systemd would have killed it: {gaps}"
    with case.holding(LISTING):
        daemon.wait_for(lambda: any(call["status"] is None for call in case.calls(LISTING)), "a look hangs")
        told = len(manager.told(**ALIVE))
        hold_still(lambda: len(manager.told(**ALIVE)) == told, "it does not say that it is alive", WATCHDOG + 1)
        assert daemon.http("/livez")[0] == 200, "the probe is more patient than this watchdog"
    wait_for(manager, daemon, told + 2, **ALIVE)
    assert daemon.terminate() == 0


def test_a_watchdog_of_another_process_is_not_its_own(case: Case, manager: ServiceManager) -> None:
    """Such as that of a service that runs a command of strongroom."""
    plain = case.configure(SOURCE, snapshot=quick())
    other = {"NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    daemon = replace(plain, environment=plain.environment | other).start()
    wait_for(manager, daemon, READY="1")
    daemon.wait_until_well()
    hold_still(lambda: not manager.told(**ALIVE), "it says nothing of that", 2 * TURN)
    assert daemon.terminate() == 0


def test_it_says_that_it_stops_before_it_has(case: Case, manager: ServiceManager) -> None:
    """And of the clients that it has started none can say anything: they do not even know whom to tell."""
    strongroom = as_systemd_starts(case.configure("ledger", dump=quick()), manager, WATCHDOG)
    with case.in_mid_dump(strongroom) as daemon:
        clients = pg_dumps(case.sandbox.instance("bank-ledger")["Endpoint"]["Port"])
        known = [Path(f"/proc/{pid}/environ").read_bytes() for pid in clients]
        assert known and not any(b"NOTIFY_SOCKET" in environment for environment in known)
        began = time.monotonic()
        assert daemon.terminate() == 0
        (stopping,) = manager.told(STOPPING="1")
        assert began <= stopping.at <= time.monotonic()
    assert case.run_states("ledger") == ["cancelled"]
    assert {message.pid for message in manager.messages} == {daemon.pid}


@pytest.mark.parametrize("socket", ["none", "gone"])
def test_where_nobody_listens_it_does_its_work(case: Case, socket: str) -> None:
    plain = case.configure(SOURCE, snapshot=quick())
    told = {"NOTIFY_SOCKET": str(case.directory / "nobody")} if socket == "gone" else {}
    daemon = replace(plain, environment=plain.environment | told).start()
    daemon.wait_until_well()
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.http("/livez")[0] == 200, "it lives")
    assert daemon.terminate() == 0
    assert daemon.at_level("ERROR", "WARN") == []


@needs_root
def test_it_can_say_so_shut_in_as_its_unit_shuts_it_in(case: Case) -> None:
    """The unit's system calls and address families let it."""
    with service_manager(case.directory, abstract=True) as manager:
        strongroom = shut_in(case, case.configure(SOURCE, snapshot=quick(), postgres={"ca_file": "/run/ca.pem"}))
        told = {"NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": str(round(WATCHDOG * 1e6))}
        daemon = replace(strongroom, environment=strongroom.environment | told).start()
        wait_for(manager, daemon, READY="1")
        wait_for(manager, daemon, 2, **ALIVE)
        assert daemon.terminate() == 0
        assert manager.told(STOPPING="1")
