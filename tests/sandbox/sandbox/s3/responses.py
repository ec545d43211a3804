"""moto's S3 front with our truth behind it: bodies are streamed and verified, errors get their real status,
authorization asks for the right IAM action. The operations themselves are in the mixins.
"""

from __future__ import annotations

import io
from typing import Any

from moto.core.responses import ActionResult
from moto.s3.exceptions import S3ClientError
from moto.s3.responses import S3Response
from werkzeug.datastructures import ImmutableMultiDict

from .buckets import BucketOperations
from .errors import S3Error, access_denied, status_of
from .ingest import Body, read_body
from .listings import ListOperations
from .objects import ObjectOperations
from .operations import iam_action, operation
from .uploads import UploadOperations
from .writes import WriteOperations

Answer = tuple[int, dict[str, Any], Any]


class SandboxS3Response(
    ObjectOperations, WriteOperations, UploadOperations, ListOperations, BucketOperations, S3Response
):
    """The response class that `install` puts in the place of moto's."""

    received: Body | None = None

    def setup_class(self, request: Any, full_url: str, headers: Any) -> None:  # type: ignore[override]
        form_post = request.method == "POST" and "form-data" in (request.content_type or "")
        self.received = None if form_post else self._receive(request)
        super().setup_class(request, full_url, headers)
        if self.received is not None:
            streams = self._op() in ("PutObject", "UploadPart")
            self.body = b"" if streams else self.received.blob.read()
            self.raw_body = self.body
            if not streams:
                self.received.discard()

    def _receive(self, request: Any) -> Body | None:
        """Takes the body away from Flask, which would hold it in memory."""
        environ = request.environ
        has_body = int(environ.get("CONTENT_LENGTH") or 0) or "HTTP_TRANSFER_ENCODING" in environ
        if not has_body and request.method not in ("PUT", "POST"):
            return None
        about_object = request.method == "POST" and "uploadId" in request.args
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = read_body(environ, headers, body_checksums=not about_object and self._sends_body(request))
        request.__dict__.update(
            data=b"", form=ImmutableMultiDict(), files=ImmutableMultiDict(), stream=io.BytesIO(), _cached_data=b""
        )
        return body

    @staticmethod
    def _sends_body(request: Any) -> bool:
        """CreateMultipartUpload and the copies carry checksum headers that speak of something else."""
        return "uploads" not in request.args and "x-amz-copy-source" not in request.headers

    def _handle_v4_chunk_signatures(self, body: bytes, content_length: int) -> bytes:
        return body

    def _handle_encoded_body(self, body: Any) -> bytes:
        return bytes(body)

    def _op(self) -> str:
        key = self.parse_key_name() if self.bucket_name else ""
        return operation(self.method, self.bucket_name, key or "", dict(self.request.args), self.headers)

    def _set_action(self, action_resource_type: str, method: str, querystring: dict[str, Any]) -> None:
        self.data["Action"] = iam_action(self._op(), querystring)

    def _authenticate_and_authorize_s3_action(
        self, bucket_name: str | None = None, key_name: str | None = None
    ) -> None:
        """Who are you, whose bucket do you mean, and only then: is what you sent intact?"""
        super()._authenticate_and_authorize_s3_action(bucket_name=bucket_name, key_name=key_name)
        self._check_owner("x-amz-expected-bucket-owner", bucket_name)
        source = self.headers.get("x-amz-copy-source")
        if source:
            self._check_owner("x-amz-source-expected-bucket-owner", source.lstrip("/").split("/", 1)[0])
        if self.received is not None and self.received.problem is not None:
            self.received.discard()
            raise self.received.problem

    def _check_owner(self, header: str, bucket_name: str | None) -> None:
        expected = self.headers.get(header)
        if expected and bucket_name and self.backend.get_bucket(bucket_name).account_id != expected:
            raise access_denied()

    # the two entrances, with streaming answers and true statuses

    def bucket_response(self, request: Any, full_url: str, headers: Any) -> Answer:
        self.setup_class(request, full_url, headers)
        self.backend.log_incoming_request(request, self.bucket_name)
        try:
            response = self._bucket_response(request, full_url)
        except S3ClientError as error:
            response = self._error(error)
        return self._send_response(response)

    def key_response(self, request: Any, full_url: str, headers: dict[str, Any]) -> Answer:
        self.setup_class(request, full_url, headers)
        self.backend.log_incoming_request(request, self.bucket_name)
        try:
            response = self._key_response(request, full_url)
        except S3ClientError as error:
            if self.received is not None and not getattr(self, "kept_body", False):
                self.received.discard()
            response = self._error(error)
        return self._send_response(response)

    @classmethod
    def _send_response(cls, response: Any) -> Answer:  # type: ignore[override]
        status, headers, body = super()._send_response(response)
        if not any(name.lower() == "content-type" for name in headers):
            headers["content-type"] = "application/xml"
        return status, headers, body

    def _error(self, error: S3ClientError) -> Answer:
        status, headers, body = self.serialized(ActionResult(error))
        status = status_of(error.code)
        headers.update(getattr(error, "headers", {}))
        return status, headers, body

    def check_bypass(self) -> bool:
        """Whether governance may be bypassed; asking for it needs its own permission."""
        from .object_lock import bypass

        if not bypass(self.headers):
            return False
        action = self.data.get("Action")
        self.data["Action"] = "BypassGovernanceRetention"
        super()._authenticate_and_authorize_s3_action(bucket_name=self.bucket_name, key_name=self.parse_key_name())
        self.data["Action"] = action
        return True

    @property
    def bucket(self) -> Any:
        return self.backend.get_bucket(self.bucket_name)

    def take_body(self) -> Body:
        """The streamed body; from here on the version or part that gets it disposes of it."""
        if self.received is None:
            raise S3Error("MissingRequestBodyError", "Request Body is empty")
        self.kept_body = True
        return self.received
