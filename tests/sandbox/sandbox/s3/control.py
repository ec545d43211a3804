"""What the side API may do to stored objects and to replication."""

from __future__ import annotations

from typing import Any

from moto.s3.models import s3_backends

from .keys import StoredKey
from .options import runtime


def flush_replication() -> dict[str, Any]:
    """Replicates everything that waits, now."""
    return {"handled": runtime().replicator.flush()}


def set_replication_delay(seconds: float) -> dict[str, Any]:
    """For what is written from now on; a large value holds objects in PENDING until a flush."""
    runtime().replicator.delay = float(seconds)
    return {"seconds": seconds}


def corrupt(bucket: str, key: str, offset: int = 0, xor: int = 1, version_id: str | None = None) -> dict[str, Any]:
    """Flips stored bits of one version; its checksums, size and ETag stay, as on a disk that lies."""
    version = _find(bucket, key, version_id)
    version.blob.corrupt(int(offset), int(xor))
    return {"version_id": version.version_id}


def truncate(bucket: str, key: str, size: int, version_id: str | None = None) -> dict[str, Any]:
    """Cuts the stored bytes; what the object says about itself stays, except its length."""
    version = _find(bucket, key, version_id)
    version.blob.truncate(int(size))
    return {"version_id": version.version_id, "size": version.size}


def _find(bucket_name: str, key: str, version_id: str | None) -> StoredKey:
    if bucket_name not in s3_backends.bucket_accounts:
        raise LookupError(f"no bucket {bucket_name}")
    partition, account_id = s3_backends.bucket_accounts[bucket_name]
    backend: Any = s3_backends[account_id][partition]
    bucket = backend.get_bucket(bucket_name)
    found = backend.find_version(bucket, key, version_id) if version_id else backend.current(bucket, key)
    if not isinstance(found, StoredKey):
        raise LookupError(f"no object {bucket_name}/{key} ({version_id or 'current'})")
    return found
