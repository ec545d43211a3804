"""Several daemons of one installation, told apart by what they sign with: each has an access key and a kubeconfig of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from case import ALL_BUT_THE_FIRST, Case, Config
from kubernetes_double import NAMESPACE, Kubernetes
from strongroom_process import Daemon, LogLine, Strongroom

LEASE = 6
"""Seconds; twice the shortest that the configuration takes, as a busy machine may be slow to answer."""
MARGIN = 5
"""Seconds for what a busy machine adds to the lease."""
RECORD = "/state/leader"
"""In the key of the object that says who leads."""
LEADS, FOLLOWS, STOPS = "this process leads", "another process leads", "no longer leading"
WRITES = (
    "PutObject",
    "CopyObject",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "DeleteObject",
    "DeleteObjects",
    "CreateDBSnapshot",
    "CopyDBSnapshot",
    "DeleteDBSnapshot",
    "AddTagsToResource",
    "RestoreDBInstanceFromDBSnapshot",
    "DeleteDBInstance",
    "PutMetricData",
    "Publish",
)
"""What changes something at AWS, or tells somebody something."""


@dataclass(frozen=True)
class Member:
    """One of the processes that may lead."""

    case: Case
    name: str
    strongroom: Strongroom
    access_key: str

    def start(self) -> Daemon:
        return self.strongroom.start()

    def calls(self, operation: str, key_part: str = "") -> list[dict[str, Any]]:
        found = self.case.sandbox.calls(operation)
        return [call for call in found if call["access_key"] == self.access_key and key_part in call["key"]]

    def wrote(self) -> list[tuple[str, str]]:
        """Every call of it that changes something, but for the record of who leads."""
        found = [(operation, call["key"]) for operation in WRITES for call in self.calls(operation)]
        return [(operation, key) for operation, key in found if RECORD not in key]

    @contextmanager
    def in_mid_dump(self) -> Iterator[Daemon]:
        """Starts it, and holds its dump of the ledger in mid-table, not that of another member."""
        with self.case.holding("UploadPart", ALL_BUT_THE_FIRST | self.only()):
            daemon = self.start()
            daemon.wait_for_line(LEADS)
            daemon.wait_for(self.case.first_part_is_stored, "the first part is stored")
            daemon.wait_for(
                lambda: second_part_is_on_its_way(self.calls("UploadPart")), "the second part is on its way"
            )
            yield daemon

    def only(self) -> dict[str, str]:
        """For faults: calls of this member and of nobody else."""
        return {"access_key": f"^{self.access_key}$"}


def member(
    case: Case,
    name: str,
    mode: str,
    *sources: str,
    cluster: Kubernetes | None = None,
    lease: int = LEASE,
    **changes: Any,
) -> Member:
    """A process that may lead, with a configuration of its own; `changes` are those of `Case.configure`."""
    daemon: Config = {"leader": mode} | ({"leader_lease": f"{lease}s"} if mode != "none" else {})
    changes["daemon"] = daemon | changes.get("daemon", {})
    if cluster:
        file = cluster.kubeconfig(case.directory / f"kubeconfig-{name}", name, NAMESPACE)
        changes["kubernetes"] = {"kubeconfig": str(file)} | changes.get("kubernetes", {})
    access_key = f"{case.access_key}{name.upper()}"
    environment = changes.pop("environment", {}) | {"AWS_ACCESS_KEY_ID": access_key}
    written = case.configure(*sources, environment=environment, **changes)
    own = written.config.rename(case.directory / f"{name}.toml")
    return Member(case, name, replace(written, config=own), access_key)


def second_part_is_on_its_way(uploads: list[dict[str, Any]]) -> bool:
    return any(call["query"].get("partNumber") == "2" for call in uploads)


def at(line: LogLine) -> datetime:
    """When a log line was written."""
    return datetime.fromisoformat(line["timestamp"])


def is_leader(daemon: Daemon) -> bool:
    return daemon.metric("strongroom_leader") == 1
