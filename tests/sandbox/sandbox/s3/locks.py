"""One lock per (bucket, key), striped: a precondition and the write it guards are one step, as on S3."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STRIPES = [threading.RLock() for _ in range(256)]


@contextmanager
def key_lock(bucket: str, key: str) -> Iterator[None]:
    with _STRIPES[hash((bucket, key)) % len(_STRIPES)]:
        yield
