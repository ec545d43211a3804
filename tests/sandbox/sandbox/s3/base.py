"""What the operation mixins may expect of the class they are mixed into."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .backend import SandboxS3Backend
    from .ingest import Body

Answer = tuple[int, dict[str, Any], Any]


class Front(Protocol):
    """The parts of moto's response class and of ours that operations use."""

    backend: SandboxS3Backend
    bucket: Any
    bucket_name: str
    headers: Any
    body: bytes
    data: dict[str, Any]
    querystring: dict[str, Any]
    request: Any
    received: Body | None

    def parse_key_name(self) -> str: ...
    def serialized(self, action_result: Any) -> Answer: ...
    def take_body(self) -> Body: ...
    def check_bypass(self) -> bool: ...
    def _authenticate_and_authorize_s3_action(
        self, bucket_name: str | None = None, key_name: str | None = None
    ) -> None: ...
    def _set_action(self, action_resource_type: str, method: str, querystring: dict[str, Any]) -> None: ...
    def _get_cors_headers_other(self) -> dict[str, Any]: ...
    def _tagging_from_headers(self, headers: Any) -> dict[str, str]: ...
    def _acl_from_headers(self, headers: Any) -> Any: ...


def parameter(front: Any, name: str) -> str | None:
    """A query parameter, decoded, or None."""
    value: str | None = front.request.args.get(name)
    return value


#: Root elements as S3 writes them; moto derives others from its model. SDKs in typed languages refuse a wrong root.
AWS_ROOTS = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "ListParts": "ListPartsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListObjectVersions": "ListVersionsResult",
    "DeleteObjects": "DeleteResult",
    "GetObjectAttributes": "GetObjectAttributesResponse",
}


def with_aws_root(operation: str, body: Any) -> Any:
    """The body with the root element that S3 gives it."""
    wanted = AWS_ROOTS.get(operation)
    if wanted is None:
        return body
    text = body.decode() if isinstance(body, bytes) else body
    found = re.search(r"<(?![?!])([A-Za-z0-9]+)", text)
    if found is None or found.group(1) == wanted:
        return body
    root = found.group(1)
    text = text.replace(f"<{root}", f"<{wanted}", 1)
    head, _, tail = text.rpartition(f"</{root}>")
    return f"{head}</{wanted}>{tail}"


def xml(front: Any, operation: str, result: dict[str, Any], headers: dict[str, Any] | None = None) -> Answer:
    """An answer with an XML body in the operation's shape."""
    from moto.core.responses import ActionResult

    front.data["Action"] = operation
    status, answer_headers, body = front.serialized(ActionResult(result))
    answer_headers.update(headers or {})
    return status, answer_headers, with_aws_root(operation, body)
