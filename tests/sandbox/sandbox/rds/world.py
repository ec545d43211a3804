"""The one state behind all regions: the lock, running servers, background work, and what tests asked to go wrong."""

from __future__ import annotations

import logging
import secrets
import string
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import pgbin
from ..certs import Authority
from ..options import Options
from ..postgres import Cluster

if TYPE_CHECKING:
    from moto.rds.models import RDSBackend

    from .model import AutomatedBackup, Instance, Snapshot

log = logging.getLogger("sandbox.rds")


class Gone(Exception):
    """The resource a background job worked on was taken away, or the sandbox stops: the job ends in silence."""


class World:
    """API calls run one at a time under `lock`; slow work runs in threads and takes the lock to change states."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.timing = options.timing
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.authority = Authority(options.workdir / "ca.pem")
        self.instances_dir = _directory(options.workdir / "instances")
        self.snapshots_dir = _directory(options.workdir / "snapshots")
        self.sockets = pgbin.make_owned(options.workdir / "run")
        self._clusters: dict[int, Cluster] = {}
        self._jobs: set[threading.Thread] = set()
        self.stuck: set[tuple[str, str | None, str]] = set()
        self.doomed: list[tuple[str, str | None]] = []
        self.retained: list[AutomatedBackup] = []
        self.replicated: list[tuple[Instance, str]] = []
        self.stopping = False

    # Servers -------------------------------------------------------------------------------------------------------

    def new_cluster(self, resource_id: str, installation: pgbin.Installation, **settings: Any) -> Cluster:
        cluster = Cluster(resource_id, self.instances_dir / resource_id, self.sockets, installation, **settings)
        with self.lock:
            self._clusters[id(cluster)] = cluster
        return cluster

    def template(self, installation: pgbin.Installation) -> Path:
        return pgbin.template(installation, self.options.cache, self.options.workdir)

    def drop_cluster(self, cluster: Cluster, keep_files: bool = False) -> None:
        cluster.stop(immediate=True)
        with self.lock:
            self._clusters.pop(id(cluster), None)
        if not keep_files:
            cluster.remove()

    def stop_all(self) -> None:
        """Ends every job and every server; a server that a job is about to start is refused."""
        with self.changed:
            self.stopping = True
            self.changed.notify_all()
            clusters, jobs = list(self._clusters.values()), list(self._jobs)
        for cluster in clusters:
            cluster.retired = True
        stoppers = [threading.Thread(target=each.stop, args=(True,)) for each in clusters]
        for thread in stoppers:
            thread.start()
        for thread in stoppers + jobs:
            thread.join(30)
        for cluster in clusters:
            cluster.stop(immediate=True)

    # Background work -----------------------------------------------------------------------------------------------

    def spawn(self, work: Callable[[], None], failed: Callable[[], None] = lambda: None) -> None:
        """Runs `work` in a thread; when it raises, `failed` sets the state AWS would show."""

        def run() -> None:
            try:
                work()
            except Gone:
                pass
            except Exception:
                if not self.stopping:
                    log.exception("background work failed")
                    with self.lock:
                        failed()
            finally:
                with self.lock:
                    self._jobs.discard(threading.current_thread())

        thread = threading.Thread(target=run, daemon=True)
        with self.lock:
            self._jobs.add(thread)
        thread.start()

    def pause(self, seconds: float, began: float | None = None) -> None:
        """Waits until `seconds` have passed since `began`, or since now; ends early when the sandbox stops."""
        until = (began if began is not None else time.monotonic()) + seconds
        with self.changed:
            while not self.stopping and (left := until - time.monotonic()) > 0:
                self.changed.wait(left)
            if self.stopping:
                raise Gone

    def leave(self, resource: Instance | Snapshot, status: str, came: str | None = None) -> bool:
        """Moves a resource out of its state, once nobody holds it there (`stick`) and it still exists.

        With `came`, only out of that state, else it says False: a snapshot that happens in between is waited for, and
        a status set meanwhile by another call or by a test is left alone.
        """
        with self.changed:
            while self._held(resource) or (came and came != resource.status == "backing-up"):
                self._check(resource)
                self.changed.wait(1.0)
            self._check(resource)
            if came not in (None, resource.status):
                return False
            resource.status = status
            self.changed.notify_all()
            return True

    def _check(self, resource: Instance | Snapshot) -> None:
        if self.stopping or resource.removed:
            raise Gone

    def _held(self, resource: Instance | Snapshot) -> bool:
        names = (resource.resource_id, None)
        return any((resource.kind, name, resource.status) in self.stuck for name in names)

    # Faults asked for ----------------------------------------------------------------------------------------------

    def take_doom(self, kind: str, instance_id: str) -> bool:
        """Whether the next thing of this kind is to fail; each order counts once."""
        with self.lock:
            for order in [(kind, instance_id), (kind, None)]:
                with suppress(ValueError):
                    self.doomed.remove(order)
                    return True
        return False


_world: World | None = None


def start(options: Options) -> World:
    global _world
    _world = World(options)
    return _world


def world() -> World:
    assert _world is not None, "the RDS layer is not installed"
    return _world


def stop_world() -> None:
    if _world is not None:
        _world.stop_all()


def backends() -> Iterator[RDSBackend]:
    """Every region's backend, of the one account that the sandbox has."""
    from moto.rds.models import rds_backends

    regions = rds_backends[world().options.account_id]
    return iter([regions[name] for name in world().options.regions])


def now() -> datetime:
    """UTC without a zone, as moto keeps times; whole milliseconds, as RDS shows them."""
    moment = datetime.now(UTC).replace(tzinfo=None)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def resource_identifier() -> str:
    """As `db-ABCDEFGHIJKLMNOPQRSTUVWXYZ`: immutable and unique, unlike an instance's name."""
    alphabet = string.ascii_uppercase + "234567"
    return "db-" + "".join(secrets.choice(alphabet) for _ in range(26))


def _directory(path: Path) -> Path:
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    return path
