"""The main job when it is done: what many tests look at and none changes."""

from __future__ import annotations

from dataclasses import dataclass

from case import Case
from strongroom_process import Daemon, Strongroom

SOURCES = ("accounts", "lending")


@dataclass(frozen=True)
class Job:
    """Two sources with a snapshot and a dump each."""

    case: Case
    strongroom: Strongroom
    daemon: Daemon
    """Ended; its log is complete."""
    metrics_at_boot: dict[str, float]
    """As scraped right after the listener answered, before any backup."""
    metrics: dict[str, float]
    """As scraped when all was well."""
