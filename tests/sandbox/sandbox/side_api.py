"""The side API: JSON over HTTP for tests and demos, below /sandbox-api/. Never counted, never faulted."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from . import sessions
from .calls import CallLog
from .fault_rules import BadRule, RuleBook

Environ = dict[str, Any]
Reply = tuple[int, Any]


class BadRequest(Exception):
    """A request that makes no sense; its text goes back to the caller."""


class SideApi:
    """Routes of the form METHOD /sandbox-api/<a>/<b>."""

    def __init__(self, rules: RuleBook, calls: CallLog) -> None:
        self._rules = rules
        self._calls = calls

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            status, reply = self._route(environ)
        except (BadRequest, BadRule) as error:
            status, reply = 400, {"error": str(error)}
        except Exception as error:
            status, reply = 500, {"error": f"{type(error).__name__}: {error}"}
        body = json.dumps(reply, default=str).encode()
        start_response(
            f"{status} {'OK' if status < 400 else 'Error'}",
            [("Content-Type", "application/json"), ("Content-Length", str(len(body)))],
        )
        return [body]

    def _route(self, environ: Environ) -> Reply:
        method = environ["REQUEST_METHOD"]
        path = environ["PATH_INFO"].removeprefix("/sandbox-api/").strip("/").split("/")
        match [method, *path]:
            case ["GET", "health"]:
                return 200, {"status": "ok"}
            case ["POST", "faults"]:
                return 201, self._rules.add(_json(environ)).as_json()
            case ["GET", "faults"]:
                return 200, {"faults": [rule.as_json() for rule in self._rules.list()]}
            case ["DELETE", "faults"]:
                return 200, {"removed": self._rules.clear()}
            case ["DELETE", "faults", rule_id]:
                return (200, {"removed": 1}) if self._rules.remove(rule_id) else (404, {"error": f"no {rule_id}"})
            case ["GET", "calls"]:
                return 200, self._list_calls(environ)
            case ["DELETE", "calls"]:
                self._calls.reset()
                return 200, {}
            case ["POST", "s3", name]:
                return 200, _s3(name, _json(environ))
            case ["POST", "rds", name]:
                return 200, {"result": _rds(name, _json(environ))}
            case ["POST", "sts", name]:
                return 200, {"result": _sts(name, _json(environ))}
        return 404, {"error": f"no such call: {method} {environ['PATH_INFO']}"}

    def _list_calls(self, environ: Environ) -> dict[str, Any]:
        query = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        since = float(query["since"]) if "since" in query else None
        found = self._calls.find(query.get("service"), query.get("operation"), since)
        counts: dict[str, int] = {}
        for call in found:
            name = f"{call.service}:{call.operation}"
            counts[name] = counts.get(name, 0) + 1
        return {"count": len(found), "counts": counts, "calls": [call.as_json() for call in found]}


def _json(environ: Environ) -> dict[str, Any]:
    raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    try:
        value = json.loads(raw or b"{}")
    except ValueError as error:
        raise BadRequest(f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return value


def _s3(name: str, wish: dict[str, Any]) -> dict[str, Any]:
    from .s3 import control

    functions: dict[str, Callable[..., dict[str, Any]]] = {
        "flush-replication": control.flush_replication,
        "replication-delay": control.set_replication_delay,
        "corrupt": control.corrupt,
        "truncate": control.truncate,
    }
    if name not in functions:
        raise BadRequest(f"no such S3 control: {name}")
    return _call(functions[name], wish)


def _rds(name: str, wish: dict[str, Any]) -> Any:
    """Only what the RDS layer publishes; imported late, because S3 alone must run without PostgreSQL."""
    control = importlib.import_module("sandbox.rds.control")
    if name not in control.__all__:
        raise BadRequest(f"no such RDS control: {name}")
    return _call(getattr(control, name), wish)


def _sts(name: str, wish: dict[str, Any]) -> Any:
    if name not in sessions.__all__:
        raise BadRequest(f"no such STS control: {name}")
    return _call(getattr(sessions, name), wish)


def _call(function: Callable[..., Any], wish: dict[str, Any]) -> Any:
    try:
        inspect.signature(function).bind(**wish)
    except TypeError as error:
        raise BadRequest(f"{function.__name__}: {error}") from None
    return function(**wish)
