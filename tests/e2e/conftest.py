"""One sandbox per worker, because its start is dear, and a corner of its own in it for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
import sandbox_process
import vault
from case import Case, settled, source
from channels import Receiver
from job import Job
from kubernetes_double import Kubernetes
from own_instance import Bank, seed_snapshot
from role_calls import BASE
from roles import Roles, Split, enforcing_sandbox
from sandbox_process import Sandbox
from vault import Vault


CHANGES = ("ModifyDBInstance", "DeleteDBInstance", "RebootDBInstance", "StopDBInstance", "StartDBInstance", "PromoteReadReplica")
"""Everything that would do something to an instance that is there."""


def assert_no_source_was_changed(sandbox: Sandbox) -> None:
    """Of all tests together: strongroom changes and deletes instances of drills, and renames what a recovery has approved."""
    for operation in CHANGES:
        # What tests do by themselves is signed with another key.
        for call in (call for call in sandbox.calls(operation) if call["access_key"].startswith("AKIA")):
            prefix = call["access_key"].removeprefix("AKIA").lower()
            of_drill = call["key"].startswith(f"{prefix}-drill-")
            asked = {name for name in call["query"] if name not in ("Action", "Version", "DBInstanceIdentifier")}
            is_rename = operation == "ModifyDBInstance" and asked == {"NewDBInstanceIdentifier", "ApplyImmediately"}
            assert of_drill or is_rename, f"{operation} of {call['key']}: {sorted(asked)}"


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    running = sandbox_process.start(tmp_path_factory.mktemp("sandbox"))
    try:
        yield running
        assert_no_source_was_changed(running)
    finally:
        running.stop()


@pytest.fixture
def case(sandbox: Sandbox, tmp_path: Path) -> Iterator[Case]:
    """A corner whose daemons end and whose faults are gone after the test, also after one that failed."""
    with settled(Case(sandbox, tmp_path)) as corner:
        yield corner


@pytest.fixture
def bank(case: Case) -> Iterator[Bank]:
    """An instance of this test's own in the shared sandbox."""
    bank = Bank(case, seed_snapshot(case.sandbox))
    yield bank
    bank.close()


@pytest.fixture
def cluster(case: Case) -> Iterator[Kubernetes]:
    """A Kubernetes cluster of this test's own; what its Jobs say is beside the daemons' logs."""
    running = Kubernetes()
    running.jobs.directory = case.directory
    yield running
    # Daemons end before what they talk to.
    case.close()
    running.stop()


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A server for databases of any shape (lab.py), and nothing else."""
    running = sandbox_process.start(tmp_path_factory.mktemp("workshop"), lab.seed(15))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def two_regions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Small, quick, and with a second region: for tests of what becomes of backups once they are made."""
    running = sandbox_process.start(tmp_path_factory.mktemp("vault"), vault.seed(), "--speed", vault.SPEED)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def vaults(two_regions: Sandbox, tmp_path: Path) -> Iterator[Vault]:
    """A corner there."""
    with settled(Vault(two_regions, tmp_path)) as corner:
        yield corner


@pytest.fixture(scope="session")
def enforcing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Like it, and each call needs a right."""
    with enforcing_sandbox(tmp_path_factory.mktemp("enforcing")) as running:
        yield running


@pytest.fixture
def corner(enforcing: Sandbox, tmp_path: Path) -> Iterator[tuple[Vault, Roles]]:
    """A corner there, with the roles of deploy/terraform for it."""
    with settled(Vault(enforcing, tmp_path)) as own:
        roles = Roles(own)
        roles.make_all()
        yield own, roles


@pytest.fixture
def split(corner: tuple[Vault, Roles]) -> Split:
    """A corner, its roles, and the credentials of a daemon whose functions have roles."""
    vault, roles = corner
    return vault, roles, roles.assume(BASE)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Whom alerts are told."""
    running = Receiver()
    yield running
    running.close()


@pytest.fixture(scope="session")
def job(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """The main job, done once: two sources, a weekly snapshot and a monthly dump of each. The daemon has ended."""
    snapshot, dump = {"schedule": "0 3 * * Sun", "keep_weekly": 8}, {"schedule": "0 4 1 * *", "keep_monthly": 24}
    with settled(Case(sandbox, tmp_path_factory.mktemp("job"))) as corner:
        # One source by either engine.
        sources = {"accounts": source("accounts"), "lending": source("lending", policy="streamed")}
        streamed = {"snapshot": snapshot, "dump": dump | {"engine": "pg_dump"}}
        dump["engine"] = None
        strongroom = corner.configure(
            time_zone="Europe/London", sources=sources, policies={"streamed": streamed}, snapshot=snapshot, dump=dump
        )
        daemon = strongroom.start()
        metrics_at_boot = daemon.metrics()
        daemon.wait_ready()
        daemon.wait_for(lambda: len(daemon.lines("run succeeded")) == 4, "four runs have succeeded")
        daemon.wait_until_well()
        metrics = daemon.metrics()
        assert daemon.terminate() == 0
        yield Job(corner, strongroom, daemon, metrics_at_boot, metrics)
