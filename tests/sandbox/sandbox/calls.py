"""Which AWS call an HTTP request is, seen from outside of moto; and the list of all calls so far."""

from __future__ import annotations

import io
import re
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from . import rpc_cbor
from .s3.operations import operation as s3_operation

SMALL_BODY = 1024 * 1024
FORM_AS_IT_CAME = "sandbox.form_as_it_came"
"""Where the environment keeps the text of a form, which moto has only taken apart: spaces, say, are written in two ways."""
KEPT_CALLS = 200_000

_ID_PARAMETERS = (
    "TargetDBSnapshotIdentifier",
    "DBSnapshotIdentifier",
    "TargetDBInstanceIdentifier",
    "DBInstanceIdentifier",
    "SourceIdentifier",
    "DBParameterGroupName",
    "ResourceName",
    "RoleArn",
    "TopicArn",
)


@dataclass
class Call:
    """One request, from its arrival to its last byte."""

    service: str
    operation: str
    key: str
    bucket: str
    query: dict[str, str]
    region: str
    access_key: str
    role: str = ""
    """The name of the role whose session has made it."""
    session: str = ""
    """The name of that session."""
    time: float = field(default_factory=time.time)
    number: int = 0
    status: int | None = None
    fault: str | None = None
    seconds: float | None = None

    @property
    def is_s3(self) -> bool:
        return self.service == "s3"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def identify(environ: dict[str, Any]) -> Call:
    """Reads names only: of the body at most a small form or JSON document, which it puts back."""
    query = {name: values[0] for name, values in parse_qs(_query_string(environ), keep_blank_values=True).items()}
    access_key, region, service = _credential(environ, query)
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        return _json_call(environ, target, service, query, region, access_key)
    called = rpc_cbor.operation(environ)
    if called:
        return Call(service, called, "", "", query, region, access_key)
    form = _form(environ)
    action = form.get("Action") or query.get("Action")
    if action and service != "s3":
        key = next((form[name] for name in _ID_PARAMETERS if name in form), "")
        return Call(service or "unknown", action, key, "", {**query, **form}, region, access_key)
    return _s3_call(environ, service or "s3", query, region, access_key)


def _query_string(environ: dict[str, Any]) -> str:
    return str(environ.get("QUERY_STRING", ""))


def _credential(environ: dict[str, Any], query: dict[str, str]) -> tuple[str, str, str]:
    """(access key, region, service) from the signature's scope, in the header or in a presigned URL."""
    header = environ.get("HTTP_AUTHORIZATION", "")
    match = re.search(r"Credential=([^,\s]+)", header)
    scope = match.group(1) if match else unquote(query.get("X-Amz-Credential", ""))
    pieces = scope.split("/")
    if len(pieces) < 5:
        return "", "", ""
    return pieces[0], pieces[2], pieces[3].lower()


def _json_call(
    environ: dict[str, Any], target: str, service: str, query: dict[str, str], region: str, access_key: str
) -> Call:
    text = _small_body(environ).decode("utf-8", "replace")
    names = "|".join(("SecretId", "KeyId", *_ID_PARAMETERS))
    match = re.search(rf'"(?:{names})"\s*:\s*"([^"]*)"', text)
    operation = target.rpartition(".")[2]
    return Call(
        service or target.partition(".")[0].lower(),
        operation,
        match.group(1) if match else "",
        "",
        query,
        region,
        access_key,
    )


def _s3_call(environ: dict[str, Any], service: str, query: dict[str, str], region: str, access_key: str) -> Call:
    path = environ.get("PATH_INFO", "/").encode("latin-1", "replace").decode("utf-8", "replace").lstrip("/")
    bucket, _, key = path.partition("/")
    headers = {"x-amz-copy-source"} if "HTTP_X_AMZ_COPY_SOURCE" in environ else set()
    if service != "s3":
        return Call(service, environ["REQUEST_METHOD"], path, "", query, region, access_key)
    operation = s3_operation(environ["REQUEST_METHOD"], bucket, key, query, headers)
    return Call("s3", operation, key, bucket, query, region, access_key)


def _form(environ: dict[str, Any]) -> dict[str, str]:
    if not str(environ.get("CONTENT_TYPE", "")).startswith("application/x-www-form-urlencoded"):
        return {}
    environ[FORM_AS_IT_CAME] = _small_body(environ)
    text = environ[FORM_AS_IT_CAME].decode("utf-8", "replace")
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}


def _small_body(environ: dict[str, Any]) -> bytes:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if not 0 < length <= SMALL_BODY:
        return b""
    body: bytes = environ["wsgi.input"].read(length)
    environ["wsgi.input"] = io.BytesIO(body)
    if environ.get("HTTP_CONTENT_ENCODING") == "gzip":
        import gzip

        return gzip.decompress(body)
    return body


class CallLog:
    """Every call, in the order of arrival; the newest two hundred thousand."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=KEPT_CALLS)
        self._lock = threading.Lock()
        self._count = 0

    def add(self, call: Call) -> None:
        with self._lock:
            self._count += 1
            call.number = self._count
            self._calls.append(call)

    def find(self, service: str | None, operation: str | None, since: float | None) -> list[Call]:
        with self._lock:
            calls = list(self._calls)
        return [
            call
            for call in calls
            if (service is None or call.service == service)
            and (operation is None or call.operation == operation)
            and (since is None or call.time >= since)
        ]

    def reset(self) -> None:
        with self._lock:
            self._calls.clear()
