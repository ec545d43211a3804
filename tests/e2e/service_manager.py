"""The side of systemd that a daemon talks to (`sd_notify(3)`): a datagram socket, and what was said on it, by whom and when."""

from __future__ import annotations

import socket
import struct
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strongroom_process import Strongroom

ABSTRACT = "\0"
CREDENTIALS = struct.Struct("3i")
"""Process, user and group of whoever sends (`unix(7)`)."""


@dataclass(frozen=True)
class Message:
    """One datagram."""

    at: float
    """On the clock of `time.monotonic`."""
    pid: int
    values: dict[str, str]


class ServiceManager:
    """Reads all the time: the queue of such a socket is short, and who sends waits for room in it."""

    def __init__(self, address: str) -> None:
        self.variable = f"@{address[1:]}" if address.startswith(ABSTRACT) else address
        self._messages: list[Message] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(address)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            text, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(CREDENTIALS.size))
            if not text:
                return
            ((_, _, sender),) = ancillary
            pid, _, _ = CREDENTIALS.unpack(sender)
            lines = (line.partition("=") for line in text.decode().splitlines())
            values = {name: value for name, _, value in lines}
            self._messages.append(Message(time.monotonic(), pid, values))

    def close(self) -> None:
        # An empty datagram: closing alone wakes nobody who waits for one.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join(10)
        self._socket.close()

    @property
    def messages(self) -> list[Message]:
        return list(self._messages)

    def told(self, **values: str) -> list[Message]:
        """The messages that have these values among theirs."""
        return [message for message in self.messages if values.items() <= message.values.items()]


@contextmanager
def service_manager(directory: Path, abstract: bool = False) -> Iterator[ServiceManager]:
    """One that listens until the end of the block."""
    name = f"notify-{uuid.uuid4().hex[:8]}"
    manager = ServiceManager(f"{ABSTRACT}strongroom/{name}" if abstract else str(directory / name))
    try:
        yield manager
    finally:
        manager.close()


@dataclass
class Started(Strongroom):
    """The binary as systemd starts it: with the process id that the watchdog is for, which is its own."""

    def command(self, *words: str, config: bool = True) -> list[str]:
        return ["sh", "-c", 'WATCHDOG_PID=$$ exec "$@"', "sh", *super().command(*words, config=config)]


def as_systemd_starts(strongroom: Strongroom, manager: ServiceManager, watchdog: float | None = None) -> Started:
    """The same binary and configuration; `watchdog` is WatchdogSec=."""
    plain: Any = strongroom
    told = {"NOTIFY_SOCKET": manager.variable}
    told |= {"WATCHDOG_USEC": str(round(watchdog * 1e6))} if watchdog else {}
    environment = plain.environment | told
    return Started(plain.config, environment, plain.directory, plain.daemons, plain.at_rest)
