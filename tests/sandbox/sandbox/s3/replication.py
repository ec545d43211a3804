"""Replication that happens: a queue with a delay, worked off by one thread, with AWS's statuses and exclusions."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

from moto.s3.models import s3_backends

from . import replication_rules as rules
from .encryption import Encryption, resolve, usable_key
from .errors import S3Error
from .keys import DeleteMarker, StoredKey
from .locks import key_lock
from .object_lock import Lock

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One version to carry over. It names the version: a version deleted meanwhile is not copied."""

    account_id: str
    bucket: str
    key: str
    version_id: str


class Replicator:
    """The background worker. `delay` may be changed while it runs."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self._queue: list[tuple[float, int, Job]] = []
        self._numbers = itertools.count()
        self._wake = threading.Condition()
        self._working = threading.Lock()
        self._thread: threading.Thread | None = None

    # called from requests

    def first_status(self, bucket: Any, key: StoredKey, tags: dict[str, str]) -> str | None:
        """PENDING if some rule wants this new object, else None: AWS then sends no header at all."""
        return "PENDING" if rules.matching(bucket, key, tags) else None

    def first_marker_status(self, bucket: Any, marker: DeleteMarker) -> str | None:
        return "PENDING" if rules.matching_marker(bucket, marker) else None

    def schedule(self, bucket: Any, version: StoredKey | DeleteMarker) -> None:
        job = Job(bucket.account_id, bucket.name, version.name, version.version_id)
        with self._wake:
            heapq.heappush(self._queue, (time.monotonic() + self.delay, next(self._numbers), job))
            self._start()
            self._wake.notify()

    # called from the side API

    def flush(self) -> int:
        """Does all that waits, due or not; returns how many versions were handled."""
        count = 0
        while job := self._take(everything=True):
            self._run(job)
            count += 1
        with self._working:
            return count

    def pending(self) -> int:
        with self._wake:
            return len(self._queue)

    def clear(self) -> None:
        with self._wake:
            self._queue.clear()

    # the worker

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="s3-replication", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            job = self._take(everything=False)
            if job is not None:
                self._run(job)
                continue
            with self._wake:
                due = self._queue[0][0] - time.monotonic() if self._queue else None
                if due is None or due > 0:
                    self._wake.wait(due)

    def _take(self, *, everything: bool) -> Job | None:
        with self._wake:
            if self._queue and (everything or self._queue[0][0] <= time.monotonic()):
                return heapq.heappop(self._queue)[2]
            return None

    def _run(self, job: Job) -> None:
        with self._working:
            try:
                _replicate(job)
            except Exception:
                log.exception("replication of %s failed in the sandbox itself", job)


def _replicate(job: Job) -> None:
    backend: Any = s3_backends[job.account_id]["aws"]
    bucket = backend.buckets.get(job.bucket)
    version = backend.find_version(bucket, job.key, job.version_id) if bucket else None
    if version is None:
        return
    if isinstance(version, DeleteMarker):
        wanted = rules.matching_marker(bucket, version)
        outcomes = [_copy_marker(version, rule) for rule in wanted]
    else:
        tags = backend.tagger.get_tag_dict_for_resource(version.arn)
        wanted = rules.matching(bucket, version, tags)
        outcomes = [_copy_object(bucket, version, rule, tags) for rule in wanted]
    version.replication_status = "COMPLETED" if outcomes and all(outcomes) else "FAILED"


def _target(rule: rules.Rule) -> tuple[Any, Any] | None:
    """The destination's backend and bucket, if it can take replicas now."""
    where = s3_backends.bucket_accounts.get(rule.bucket)
    if where is None:
        return None
    partition, account_id = where
    backend: Any = s3_backends[account_id][partition]
    bucket = backend.buckets.get(rule.bucket)
    return (backend, bucket) if bucket is not None and bucket.is_versioned else None


def _copy_marker(marker: DeleteMarker, rule: rules.Rule) -> bool:
    target = _target(rule)
    if target is None:
        return False
    backend, bucket = target
    with key_lock(bucket.name, marker.name):
        if backend.find_version(bucket, marker.name, marker.version_id) is None:
            backend.insert(bucket, DeleteMarker(marker.name, marker.version_id, marker.sequence, "REPLICA"))
    return True


def _copy_object(source_bucket: Any, source: StoredKey, rule: rules.Rule, tags: dict[str, str]) -> bool:
    from .backend import copy_spec

    target = _target(rule)
    if target is None:
        return False
    backend, bucket = target
    has_lock = bool(source.lock_mode or source.lock_legal_status)
    if has_lock and not bucket.object_lock_enabled:
        return False
    try:
        if source.sse.key_arn:
            usable_key(source.sse.key_arn, source_bucket.account_id, source_bucket.region_name)
        encryption = _replica_encryption(source, rule, bucket)
    except S3Error:
        return False
    lock = Lock(source.lock_mode, source.lock_until, source.lock_legal_status)
    with key_lock(bucket.name, source.name):
        if backend.find_version(bucket, source.name, source.version_id) is not None:
            return True
        new = copy_spec(source, source.name, encryption, lock)
        new.version_id = source.version_id
        new.sequence = source.sequence
        new.last_modified = source.last_modified
        new.replication_status = "REPLICA"
        new.storage = rule.storage_class or source.storage_class
        new.tags = tags
        backend.create_version(bucket, new, event=None)
    return True


def _replica_encryption(source: StoredKey, rule: rules.Rule, bucket: Any) -> Encryption:
    if source.sse.is_kms:
        arn = usable_key(rule.replica_key or "", bucket.account_id, bucket.region_name)
        return Encryption(source.sse.algorithm, arn, resolve(bucket, {}).bucket_key)
    return Encryption()
