"""What one sandbox was asked to be: the arguments and the seed, as plain values every layer may read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]
DEFAULT_CACHE = Path(os.environ.get("SANDBOX_CACHE", REPOSITORY / "target" / "sandbox-cache"))


@dataclass
class Timing:
    """The least time, in seconds, that a resource spends in a state; real work may take longer."""

    creating: float = 0.5
    snapshot: float = 0.6
    backing_up: float = 0.4
    copying: float = 0.6
    deleting: float = 0.4
    renaming: float = 0.4
    modifying: float = 0.4
    storage_optimization: float = 0.6
    resetting_master_credentials: float = 0.3
    rebooting: float = 0.3
    stopping: float = 0.3
    starting: float = 0.3
    wal_interval: float = 1.0
    """How often WAL is archived when nothing filled a segment; RDS does it every five minutes."""

    @classmethod
    def from_seed(cls, values: dict[str, Any], speed: float) -> Timing:
        """Times of the seed, each divided by `speed`; the WAL interval is left alone, for it is no waiting time."""
        known = {each.name for each in fields(cls)}
        for key in values:
            if key not in known:
                raise ValueError(f"unknown seed key timing.{key}; known: {', '.join(sorted(known))}")
        timing = cls(**{key: float(value) for key, value in values.items()})
        for name in known - {"wal_interval"}:
            setattr(timing, name, getattr(timing, name) / speed)
        return timing

    def without_waiting(self) -> Timing:
        """For seeding: nobody wants to watch that."""
        return Timing(**{each.name: 0.0 for each in fields(self)} | {"wal_interval": self.wal_interval})


@dataclass
class Quotas:
    """AWS's defaults; a seed lowers them where a test cannot afford forty servers."""

    snapshots: int = 100
    instances: int = 40
    copies: int = 20

    @classmethod
    def from_seed(cls, values: dict[str, Any]) -> Quotas:
        known = {each.name for each in fields(cls)}
        for key in values:
            if key not in known:
                raise ValueError(f"unknown seed key quotas.{key}; known: {', '.join(sorted(known))}")
        return cls(**{key: int(value) for key, value in values.items()})


@dataclass
class Options:
    workdir: Path
    account_id: str = "123456789012"
    regions: list[str] = field(default_factory=lambda: ["us-east-1", "us-west-2"])
    timing: Timing = field(default_factory=Timing)
    quotas: Quotas = field(default_factory=Quotas)
    speed: float = 1.0
    cache: Path = DEFAULT_CACHE
    ca_file: Path | None = None
    seed: dict[str, Any] = field(default_factory=dict)
