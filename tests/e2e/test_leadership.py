"""Several daemons of one installation: one acts, the others look; and whoever acts stops before another one begins."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from alert_cases import AT_ONCE, HOOK, environment, hook
from case import Case, Config, quick
from channels import Receiver
from kubernetes_double import Kubernetes
from members import FOLLOWS, LEADS, LEASE, MARGIN, RECORD, STOPS, Member, at, is_leader, member
from sandbox_process import HOLD_SECONDS
from strongroom_process import Daemon
from waiting import hold_still, wait_until

MODES = ("bucket", "kubernetes")
LONG_LEASE = 20
"""Seconds. Who takes over long before it is over was told to, and has not only waited."""
SOURCE = "lending"
STANDS_BY = "This daemon stands by"


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def pair(
    case: Case, cluster: Kubernetes, mode: str, *sources: str, lease: int = LEASE, **changes: Any
) -> tuple[Member, Member]:
    """Two that may lead; `changes` are those of `Case.configure`."""
    used = cluster if mode == "kubernetes" else None
    first, second = (member(case, name, mode, *sources, cluster=used, lease=lease, **changes) for name in "ab")
    return first, second


def wait_for_takeover(daemon: Daemon, since: float, seconds: float = LEASE + MARGIN) -> None:
    """Waits until it leads, so many seconds after that moment at most."""
    daemon.wait_for_line(LEADS, max(0.1, since + seconds - time.monotonic()))
    assert is_leader(daemon)


def test_a_daemon_that_shares_with_nobody_leads(case: Case) -> None:
    alone = member(case, "a", "none", SOURCE, snapshot=quick())
    daemon = alone.start()
    daemon.wait_until_well()
    assert is_leader(daemon) and daemon.lines(LEADS) == []
    assert case.keys(RECORD.removeprefix("/")) == []


def shows(daemon: Daemon, kind: str) -> bool:
    """Whether its metrics have one recovery point of the source."""
    labels = ("source", SOURCE), ("kind", kind), ("plane", "primary")
    wanted = [f'{name}="{value}"' for name, value in labels]
    found = {name: value for name, value in daemon.metrics().items() if name.startswith("strongroom_recovery_points{")}
    return any(value == 1 for name, value in found.items() if all(label in name for label in wanted))


def wait_for_looks(daemon: Daemon, count: int) -> None:
    def looks() -> float:
        return daemon.metric("strongroom_reconcile_duration_seconds_count")

    wanted = looks() + count
    daemon.wait_for(lambda: looks() >= wanted, f"it looks {count} times")


def test_one_leads_and_only_it_acts(case: Case, cluster: Kubernetes, mode: str, receiver: Receiver) -> None:
    """The other one has everything to show that the leader has, and tells nobody anything."""
    told: Config = {"alerts": AT_ONCE | {"storm_max": 100, "routes": {"hook": hook(receiver)}}}
    told |= {"cloudwatch": {"namespace": case.name}, "environment": environment(receiver)}
    first, second = pair(case, cluster, mode, SOURCE, "accounts", snapshot=quick(), **told)
    with case.sandbox.showing("bank-accounts", "stopped"):
        leader = first.start()
        leader.wait_for_line(LEADS)
        follower = second.start()
        follower.wait_for_line(FOLLOWS)
        leader.wait_for(lambda: case.run_states(SOURCE) == ["succeeded"], "the snapshot is made")
        leader.wait_for(lambda: receiver.told(HOOK, "overdue/accounts/snapshot"), "the other source's is missed")
        follower.wait_for(lambda: shows(follower, "snapshot"), "the follower shows what the leader has made")
        assert is_leader(leader) and not is_leader(follower)
        for path in ("/", f"/sources/{SOURCE}", "/api/status", "/readyz", "/livez"):
            assert follower.http(path)[0] == 200, path
        assert SOURCE in follower.http("/")[1]
        of_leader, of_follower = (json.loads(daemon.http("/api/status")[1]) for daemon in (leader, follower))
        assert of_follower["stands_by"] is True and "stands_by" not in of_leader
        assert STANDS_BY in follower.http("/")[1] and STANDS_BY not in leader.http("/")[1]
        wait_for_looks(follower, 2)
        assert second.wrote() == []
        leader.wait_for(lambda: first.calls("PutMetricData"), "the leader does publish")
        assert receiver.told(HOOK, "overdue/accounts/snapshot") == ["fired"]
    assert case.run_states(SOURCE) == ["succeeded"]
    if mode == "kubernetes":
        lease = cluster.lease(f"strongroom-{case.name}")
        assert lease and lease["leaseDurationSeconds"] == LEASE and lease["leaseTransitions"] == 0, lease
        assert not case.keys(RECORD.removeprefix("/"))
    else:
        assert len(case.keys(RECORD.removeprefix("/"))) == 1
    assert follower.terminate() == 0
    hold_still(lambda: is_leader(leader), "that a follower ends is nothing to the leader", 1)


def test_a_leader_that_is_killed_is_followed_within_its_lease(case: Case, cluster: Kubernetes, mode: str) -> None:
    first, second = pair(case, cluster, mode, "ledger", dump=quick())
    with first.in_mid_dump() as leader:
        follower = second.start()
        follower.wait_for_line(FOLLOWS)
        follower.wait_ready()
        leader.kill()
        killed = time.monotonic()
        wait_for_takeover(follower, killed)
    follower.wait_until_well()
    assert case.run_states("ledger") == ["abandoned", "succeeded"]
    (manifest,) = case.manifests("ledger")
    case.assert_whole(manifest)
    assert manifest["run"].endswith("-2")
    follower.wait_for(lambda: not case.uploads(), "what the dead one had begun is cleared away")


def test_a_leader_that_is_told_to_stop_gives_back_the_lead_at_once(case: Case, cluster: Kubernetes, mode: str) -> None:
    first, second = pair(case, cluster, mode, "ledger", dump=quick(), lease=LONG_LEASE)
    with first.in_mid_dump() as leader:
        follower = second.start()
        follower.wait_for_line(FOLLOWS)
        follower.wait_ready()
        assert leader.terminate() == 0
        wait_for_takeover(follower, time.monotonic(), LONG_LEASE / 2)
    assert leader.lines(STOPS), "it says so itself"
    follower.wait_until_well()
    assert case.run_states("ledger") == ["cancelled", "succeeded"]
    assert leader.at_level("ERROR", "WARN") == follower.at_level("ERROR", "WARN") == []
    if mode == "kubernetes":
        lease = cluster.lease(f"strongroom-{case.name}")
        assert lease and lease["holderIdentity"] and lease["leaseTransitions"] == 1, lease


def test_a_leader_that_was_paused_finds_another_one_and_follows(case: Case, cluster: Kubernetes, mode: str) -> None:
    """As after a machine that hung, or a move of its virtual machine: it has not noticed that time went by."""
    first, second = pair(case, cluster, mode, SOURCE, snapshot=quick())
    with ExitStack() as until_then:
        # Nothing can be done until the first one is asleep; then there is one thing to do.
        until_then.enter_context(case.sandbox.showing(f"bank-{SOURCE}", "modifying"))
        sleeper = first.start()
        sleeper.wait_for_line(LEADS)
        sleeper.wait_for_line("the instance is `modifying`")
        heir = second.start()
        heir.wait_for_line(FOLLOWS)
        heir.wait_ready()
        sleeper.process.send_signal(signal.SIGSTOP)
        paused = time.monotonic()
    try:
        wait_for_takeover(heir, paused)
        heir.wait_for(lambda: case.run_states(SOURCE) == ["succeeded"], "it acts")
    finally:
        sleeper.process.send_signal(signal.SIGCONT)
    woken = time.monotonic()
    sleeper.wait_for_line(STOPS, MARGIN)
    sleeper.wait_for_line(FOLLOWS, max(0.1, woken + LEASE + MARGIN - time.monotonic()))
    hold_still(lambda: is_leader(heir) and not is_leader(sleeper), "the lead stays where it is", 2 * LEASE)
    assert case.run_states(SOURCE) == ["succeeded"] and len(case.snapshots()) == 1, "nothing is done twice"
    assert not first.calls("CreateDBSnapshot")
    assert heir.lines(LEADS) and len(heir.lines(LEADS)) == 1


@contextmanager
def cut_off(case: Case, cluster: Kubernetes, victim: Member, how: str) -> Iterator[None]:
    """Keeps a member from the record of who leads, and from nothing else, until the end of the block."""
    with ExitStack() as faults:
        if how in ("reset", "hang", "late"):
            # What is late has its effect when the block ends. Only writes are: the member can go on reading.
            verb = "update" if how == "late" else None
            faults.enter_context(cluster.faulty(how, client=victim.name, verb=verb, resource="leases"))
        else:
            rule = {"match": victim.only() | {"key": RECORD}}
            for operation in ("GetObject", "HeadObject", "PutObject"):
                fault = {"operation": operation, "seconds": HOLD_SECONDS, **rule}
                faults.enter_context(case.sandbox.faulty({"refused": "error503", "held": "hold"}[how], **fault))
        yield


@pytest.mark.parametrize(
    ("mode", "how"),
    [
        ("kubernetes", "reset"),
        ("kubernetes", "hang"),
        ("kubernetes", "late"),
        ("bucket", "refused"),
        ("bucket", "held"),
    ],
    indirect=["mode"],
)
def test_a_leader_that_cannot_renew_stops_its_dump_before_another_one_makes_it(
    case: Case, cluster: Kubernetes, mode: str, how: str
) -> None:
    first, second = pair(case, cluster, mode, "ledger", dump=quick())
    with first.in_mid_dump() as leader:
        follower = second.start()
        follower.wait_for_line(FOLLOWS)
        follower.wait_ready()
        with cut_off(case, cluster, first, how):
            began = time.monotonic()
            leader.wait_for_line(STOPS, LEASE + MARGIN)
            leader.wait_for(
                lambda: case.run_states("ledger")[:1] == ["cancelled"],
                "its dump is recorded as cancelled",
                max(0.1, began + LEASE + MARGIN - time.monotonic()),
            )
            assert not is_leader(leader)
            wait_for_takeover(follower, began, LEASE + 2 * MARGIN)
            follower.wait_for(lambda: case.manifests("ledger"), "the other one makes the dump", 60)
            assert len(leader.lines(LEADS)) == 1
        leader.wait_for_line(FOLLOWS)
    (stopped,), (led,) = leader.lines(STOPS), follower.lines(LEADS)
    assert at(stopped) < at(led), "never do two lead at once"
    follower.wait_until_well()
    assert case.run_states("ledger") == ["cancelled", "succeeded"]
    (manifest,) = case.manifests("ledger")
    case.assert_whole(manifest)
    assert manifest["run"].endswith("-2")
    hold_still(lambda: is_leader(follower) and not is_leader(leader), "the lead stays where it is", LEASE)
    assert case.uploads() == [] and case.sandbox.backends("bank-ledger") == []


def test_where_nobody_reaches_the_record_nobody_leads_until_somebody_does(
    case: Case, cluster: Kubernetes, mode: str
) -> None:
    members = pair(case, cluster, mode, SOURCE, snapshot=quick())
    how = "hang" if mode == "kubernetes" else "refused"
    daemons = [each.start() for each in members]
    wait_until(lambda: any(daemon.lines(LEADS) for daemon in daemons), "one of them leads")
    for daemon in daemons:
        daemon.wait_ready()
    with ExitStack() as nobody:
        for each in members:
            nobody.enter_context(cut_off(case, cluster, each, how))
        wait_until(lambda: not any(is_leader(daemon) for daemon in daemons), "none leads", LEASE + MARGIN)
        hold_still(lambda: not any(is_leader(daemon) for daemon in daemons), "nobody takes it unseen", 2 * LEASE)
        for daemon in daemons:
            assert daemon.http("/readyz")[0] == 200, "looking goes on"
    wait_until(lambda: sum(is_leader(daemon) for daemon in daemons) == 1, "one leads again", 2 * (LEASE + MARGIN))
    hold_still(lambda: sum(is_leader(daemon) for daemon in daemons) == 1, "and only one", LEASE)
    wait_until(lambda: case.run_states(SOURCE) == ["succeeded"], "it acts")
    assert len(case.snapshots()) == 1


def test_of_two_that_start_together_one_leads(case: Case, cluster: Kubernetes, mode: str) -> None:
    members = pair(case, cluster, mode, SOURCE, snapshot=quick())
    daemons = [each.start() for each in members]
    wait_until(lambda: sum(bool(daemon.lines(LEADS)) for daemon in daemons) == 1, "one leads")
    wait_until(lambda: sum(bool(daemon.lines(FOLLOWS)) for daemon in daemons) == 1, "the other knows it")
    for daemon in daemons:
        daemon.wait_until_well()
    assert sum(is_leader(daemon) for daemon in daemons) == 1
    assert case.run_states(SOURCE) == ["succeeded"]
    (follower,) = [own for own, daemon in zip(members, daemons, strict=True) if not daemon.lines(LEADS)]
    assert follower.wrote() == []


@pytest.mark.parametrize("right", ["get leases", "create leases", "update leases"])
def test_a_right_that_is_missing_is_named(case: Case, cluster: Kubernetes, right: str) -> None:
    cluster.forbidden.add(right)
    alone = member(case, "a", "kubernetes", SOURCE, cluster=cluster, snapshot=quick())
    daemon = alone.start()
    verb, resource = right.split()
    said = f'cannot {verb} resource "{resource}" in API group "coordination.k8s.io"'
    daemon.wait_for(
        lambda: any(said in str(line.get("error")) for line in daemon.at_level("WARN", "ERROR")), f"it says: {said}"
    )
    daemon.wait_for(lambda: not is_leader(daemon), "it does not lead", LEASE + MARGIN)
    daemon.wait_ready()
    assert daemon.http("/")[0] == 200 and daemon.http("/metrics")[0] == 200
    cluster.forbidden.clear()
    daemon.wait_for(lambda: is_leader(daemon), "it leads as soon as it may", 2 * (LEASE + MARGIN))
    daemon.wait_until_well()
