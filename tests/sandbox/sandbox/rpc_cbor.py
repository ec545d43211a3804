"""RPC v2 with CBOR, which SDKs speak with CloudWatch and moto does not: told to moto in JSON, and back."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable
from typing import Any

import botocore.session
import cbor2
from botocore.model import Shape
from botocore.parsers import create_parser

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]

PROTOCOL = "rpc-v2-cbor"
PATH = re.compile(r"^/service/(?P<service>[^/]+)/operation/(?P<operation>[^/]+)$")
CLOUDWATCH = "GraniteServiceVersion20100801"

AS_IT_CAME = "sandbox.as_it_came"
"""Where the environment keeps what the signature of a translated request is of: its path, headers and body."""


def operation(environ: dict[str, Any]) -> str | None:
    """The operation that a request in this protocol is for."""
    if environ.get("HTTP_SMITHY_PROTOCOL") != PROTOCOL:
        return None
    match = PATH.match(environ.get("PATH_INFO", ""))
    return match["operation"] if match and match["service"] == CLOUDWATCH else None


def translate(app: WsgiApp) -> WsgiApp:
    """An application that takes what `app` takes, and this protocol besides."""
    model = botocore.session.get_session().get_service_model("cloudwatch")
    parser = create_parser("json")

    def translated(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        called = operation(environ)
        if called is None:
            return app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        told = json.dumps(cbor2.loads(body) if body else {}, default=lambda time: time.timestamp()).encode()
        in_json = environ | {
            AS_IT_CAME: (
                environ["RAW_URI"],
                {"Content-Type": environ.get("CONTENT_TYPE", ""), "Content-Length": str(len(body))},
                body,
            ),
            "PATH_INFO": "/",
            "RAW_URI": "/",
            "REQUEST_URI": "/",
            "CONTENT_TYPE": "application/x-amz-json-1.0",
            "CONTENT_LENGTH": str(len(told)),
            "HTTP_X_AMZ_TARGET": f"{CLOUDWATCH}.{called}",
            "wsgi.input": io.BytesIO(told),
        }
        answered: dict[str, Any] = {}

        def take(status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
            answered.update(status=status, headers=headers)

        text = b"".join(app(in_json, take))
        answer = _read(text)
        if answered["status"].startswith("2"):
            shape = model.operation_model(called).output_shape
            parsed = parser.parse({"body": text or b"{}", "headers": {}, "status_code": 200}, shape)
            parsed.pop("ResponseMetadata", None)
            answer = _in_types(parsed, shape) if shape else {}
        packed = cbor2.dumps(answer, datetime_as_timestamp=True)
        kept = [(name, value) for name, value in answered["headers"] if name.lower() not in ("content-type", "content-length")]
        form = [("Content-Type", "application/cbor"), ("Content-Length", str(len(packed))), ("smithy-protocol", PROTOCOL)]
        start_response(answered["status"], kept + form)
        return [packed]

    return translated


def _read(text: bytes) -> dict[str, Any]:
    """What moto has answered: JSON, but XML where it refuses a signature or a right."""
    if not text.startswith(b"<"):
        return dict(json.loads(text)) if text else {}
    error = ElementTree.fromstring(text)
    return {"__type": error.findtext(".//{*}Code"), "message": error.findtext(".//{*}Message")}


def _in_types(value: Any, shape: Shape) -> Any:
    """The value with the types of its shape: JSON has one kind of number, CBOR has several."""
    match shape.type_name:
        case "structure":
            return {name: _in_types(own, shape.members[name]) for name, own in value.items() if name in shape.members}
        case "list":
            return [_in_types(own, shape.member) for own in value]
        case "map":
            return {name: _in_types(own, shape.value) for name, own in value.items()}
        case "double" | "float":
            return float(value)
        case _:
            return value
