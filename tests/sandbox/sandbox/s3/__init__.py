"""Makes moto's S3 true: see `install`.

moto gives the protocol, the routing, IAM and the bucket configuration; this package replaces what moto only
pretends. What it deliberately does not do: lifecycle rules, bucket policies beyond moto's, storage classes'
restore times, SigV4 chunk signatures.
"""

from __future__ import annotations

from .blobs import BlobStore
from .options import Runtime, S3Options, runtime, set_runtime
from .replication import Replicator


def install(options: S3Options | None = None) -> Runtime:
    """Replaces moto's S3 classes in this process. Call it once, before the first request."""
    import moto.s3.models as models
    import moto.s3.responses as responses

    from .backend import SandboxS3Backend
    from .buckets import get_permission
    from .keys import StoredKey
    from .multipart import StoredMultipart
    from .responses import SandboxS3Response

    chosen = options or S3Options()
    set_runtime(
        Runtime(chosen, BlobStore(chosen.workdir / "s3", chosen.memory_limit), Replicator(chosen.replication_delay))
    )
    models.FakeBucket.get_permission = get_permission  # type: ignore[method-assign]
    models.FakeKey = StoredKey  # type: ignore[misc]
    models.FakeMultipart = StoredMultipart  # type: ignore[misc,assignment]
    responses.FakeKey = StoredKey  # type: ignore[misc,attr-defined]
    responses.S3Response = SandboxS3Response  # type: ignore[misc]
    models.s3_backends.backend = SandboxS3Backend
    models.s3_backends.clear()
    return runtime()


__all__ = ["Runtime", "S3Options", "install", "runtime"]
