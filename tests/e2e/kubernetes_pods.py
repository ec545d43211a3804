"""Containers of the Kubernetes double: local processes that have, where the kernel lets us, PIDs and a host name of their own.

So the process of a Job is to the daemon what it is in a cluster: nobody whom it finds in its own process table. And its
first process is PID 1, to which a signal comes only if it wants it, and with which all others end.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from kubernetes_objects import now
from kubernetes_rest import Object

NAMESPACES = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
UNPRIVILEGED = [*NAMESPACES, "--user", "--map-root-user"]
START = ["sh", "-c", 'hostname "$0" && exec "$@"']
KILLED = 128 + signal.SIGKILL


@functools.cache
def isolation() -> list[str]:
    """The words before a container's name and command; none where processes cannot have namespaces of their own."""
    for words in (NAMESPACES, UNPRIVILEGED):
        try:
            tried = subprocess.run([*words, *START, "pod", "true"], check=False, capture_output=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if tried.returncode == 0:
            return [*words, *START]
    return []


class Container:
    """A container that has begun."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], directory: Path, log: Path) -> None:
        before = isolation()
        with log.open("ab") as said:
            self.process = subprocess.Popen(
                [*before, name, *command] if before else command,
                env=environment,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        self.is_apart = bool(before)
        self.was_killed = False

    def exit_code(self) -> int | None:
        """As a container runtime tells it: 128 and the signal, where one has ended it."""
        code = self.process.poll()
        if code is not None and self.was_killed:
            # unshare ends as its child does, but not from this signal.
            return KILLED
        return 128 - code if code is not None and code < 0 else code

    def first(self) -> int | None:
        """The PID that its first process has outside."""
        if not self.is_apart:
            return self.process.pid
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def signal(self, number: signal.Signals) -> None:
        pid = self.first()
        if pid is None or self.process.poll() is not None:
            return
        try:
            if number == signal.SIGKILL and not self.is_apart:
                # Where no PID namespace ends the others along with it.
                for other in session(pid):
                    os.kill(other, number)
            os.kill(pid, number)
            self.was_killed = self.was_killed or number == signal.SIGKILL
        except ProcessLookupError:
            pass

    def end(self) -> None:
        """Ends it for good, whatever it does."""
        self.signal(signal.SIGKILL)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


def session(leader: int) -> list[int]:
    """The processes of a session, its leader last."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # Behind the name, which may hold spaces: state, parent, process group, session.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader:
            found.append(int(folder.name))
    return sorted(found, key=lambda pid: (pid == leader, pid))


# what the kubelet and the scheduler write of a pod


def condition(kind: str, holds: bool, reason: str = "", message: str = "") -> Object:
    told = {"reason": reason, "message": message}
    since = {"lastProbeTime": None, "lastTransitionTime": now()}
    return {"type": kind, "status": str(holds), **since} | {name: text for name, text in told.items() if text}


def unscheduled(message: str) -> Object:
    return {
        "phase": "Pending",
        "conditions": [condition("PodScheduled", False, "Unschedulable", message)],
        "qosClass": "Burstable",
    }


def on_node(phase: str, container: Object, state: Object, ready: bool = False, **more: Any) -> Object:
    """The status of a pod that a node has taken, with its one container."""
    ended = "terminated" in state
    why = ("PodCompleted" if phase == "Succeeded" else "PodFailed") if ended else "ContainersNotReady"
    conditions = [
        condition("Initialized", True),
        condition("Ready", ready, "" if ready else why),
        condition("ContainersReady", ready, "" if ready else why),
        condition("PodScheduled", True),
    ]
    told = {
        "name": container["name"],
        "image": container["image"],
        "imageID": "" if "waiting" in state else f"{container['image']}@sha256:{'0' * 64}",
        "state": state,
        "lastState": {},
        "ready": ready,
        "started": "running" in state,
        "restartCount": 0,
    }
    status: Object = {"phase": phase, "conditions": conditions, "hostIP": "10.0.0.1", "qosClass": "Burstable"}
    return status | {"containerStatuses": [told]} | more


def waiting(container: Object, reason: str, message: str) -> Object:
    told = {"reason": reason} | ({"message": message} if message else {})
    return on_node("Pending", container, {"waiting": told})


def running(container: Object, since: str) -> Object:
    return on_node("Running", container, {"running": {"startedAt": since}}, ready=True)


EVICTED = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 12Ki. "


def ended(container: Object, code: int, since: str, cause: str = "") -> Object:
    """Of a container that has ended by itself, or for this cause: `OOMKilled`, `Evicted`."""
    reason = "OOMKilled" if cause == "OOMKilled" else "Completed" if code == 0 else "Error"
    state = {
        "exitCode": code,
        "reason": reason,
        "startedAt": since,
        "finishedAt": now(),
        "containerID": "containerd://0",
    }
    status = on_node("Failed" if code else "Succeeded", container, {"terminated": state})
    if cause == "Evicted":
        status |= {"reason": "Evicted", "message": EVICTED}
        status["conditions"].append(condition("DisruptionTarget", True, "TerminationByKubelet", EVICTED))
    return status
