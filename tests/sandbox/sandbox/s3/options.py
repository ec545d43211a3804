"""Settings of the S3 layer, and the one place where its running parts find each other.

moto builds its response and backend objects itself, so nothing can be handed to them through a constructor;
`RUNTIME` is therefore the only module-level state of this package.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .blobs import BlobStore
    from .replication import Replicator


def _default_workdir() -> Path:
    return Path(tempfile.mkdtemp(prefix="sandbox-s3-"))


@dataclass(frozen=True)
class S3Options:
    """What a caller may choose; the defaults suit tests."""

    workdir: Path = field(default_factory=_default_workdir)
    memory_limit: int = 64 * 1024
    """Bodies up to this many bytes stay in memory; larger ones are files below `workdir`."""
    replication_delay: float = 1.0
    """Seconds between a write and its copy in the other bucket."""
    min_part_size: int = 5 * 1024 * 1024
    """Every part but the last must be at least this large (EntityTooSmall)."""


@dataclass
class Runtime:
    """What `install` set up for this process."""

    options: S3Options
    blobs: BlobStore
    replicator: Replicator


_runtime: list[Runtime] = []


def set_runtime(runtime: Runtime) -> None:
    _runtime[:] = [runtime]


def runtime() -> Runtime:
    """The running layer; an error if `install` was not called, which is a bug of the caller."""
    if not _runtime:
        raise RuntimeError("sandbox.s3.install() was not called")
    return _runtime[0]
