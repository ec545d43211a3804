"""Fault rules: which calls they hit, how often, and the error answers in each protocol's own shape."""

from __future__ import annotations

import itertools
import json
import re
import threading
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from .calls import Call

ERROR_KINDS = {
    "throttle",
    "slowdown",
    "error500",
    "error503",
    "no_capacity",
    "html500",
    "expired_credentials",
    "access_denied",
}
"""Answered before the real handler sees the call."""

EFFECT_KINDS = {
    "delay",
    "hold",
    "cut_request",
    "cut_response",
    "drop_response_after_effect",
    "slow_body",
    "slow_request",
    "corrupt_response",
}
"""The real handler runs, or begins to."""

KINDS = ERROR_KINDS | EFFECT_KINDS


class BadRule(ValueError):
    """A rule that can never work, said so to the test that posted it."""


@dataclass
class Rule:
    """One fault on demand."""

    id: str
    kind: str
    service: str | None = None
    operation: str | None = None
    match: dict[str, re.Pattern[str]] = field(default_factory=dict)
    count: int | None = None
    after: int = 0
    seconds: float = 1.0
    hits: int = 0
    matched: int = 0

    def matches(self, call: Call) -> bool:
        if self.service is not None and self.service != call.service:
            return False
        if self.operation is not None and self.operation != call.operation:
            return False
        return all(pattern.search(_field(call, name)) for name, pattern in self.match.items())

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "service": self.service,
            "operation": self.operation,
            "match": {name: pattern.pattern for name, pattern in self.match.items()},
            "count": self.count,
            "after": self.after,
            "seconds": self.seconds,
            "matched": self.matched,
            "hits": self.hits,
        }


def _field(call: Call, name: str) -> str:
    if name == "query":
        return "&".join(f"{key}={value}" for key, value in call.query.items())
    if name in ("key", "bucket", "region", "access_key", "role"):
        return str(getattr(call, name))
    return call.query.get(name, "")


class RuleBook:
    """All active rules; the first that matches and still has hits left is applied."""

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def add(self, wish: dict[str, Any]) -> Rule:
        unknown = set(wish) - {"service", "operation", "match", "kind", "count", "after", "seconds"}
        if unknown:
            raise BadRule(f"unknown fields: {', '.join(sorted(unknown))}")
        if wish.get("kind") not in KINDS:
            raise BadRule(f"kind must be one of {', '.join(sorted(KINDS))}")
        try:
            match = {name: re.compile(str(pattern)) for name, pattern in (wish.get("match") or {}).items()}
        except re.error as error:
            raise BadRule(f"match is no regular expression: {error}") from None
        rule = Rule(
            id=f"fault-{next(self._numbers)}",
            kind=wish["kind"],
            service=wish.get("service"),
            operation=wish.get("operation"),
            match=match,
            count=wish.get("count", 1),
            after=int(wish.get("after") or 0),
            seconds=float(wish.get("seconds", 1.0)),
        )
        with self._lock:
            self._rules[rule.id] = rule
        return rule

    def take(self, call: Call) -> Rule | None:
        with self._lock:
            for rule in self._rules.values():
                if (rule.count is not None and rule.hits >= rule.count) or not rule.matches(call):
                    continue
                rule.matched += 1
                if rule.matched > rule.after:
                    rule.hits += 1
                    return rule
        return None

    def list(self) -> list[Rule]:
        with self._lock:
            return list(self._rules.values())

    def stands(self, rule: Rule) -> bool:
        """Whether nobody has removed it yet."""
        with self._lock:
            return rule.id in self._rules

    def remove(self, rule_id: str) -> bool:
        with self._lock:
            return self._rules.pop(rule_id, None) is not None

    def clear(self) -> int:
        with self._lock:
            count = len(self._rules)
            self._rules.clear()
            return count


@dataclass(frozen=True)
class ErrorAnswer:
    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


_HTML = b"<html><head><title>500 Internal Server Error</title></head><body><h1>Internal Server Error</h1></body></html>"

_CODES: dict[str, dict[str, tuple[int, str, str]]] = {
    "s3": {
        "throttle": (503, "SlowDown", "Please reduce your request rate."),
        "slowdown": (503, "SlowDown", "Please reduce your request rate."),
        "error500": (500, "InternalError", "We encountered an internal error. Please try again."),
        "error503": (503, "ServiceUnavailable", "Please reduce your request rate."),
        "expired_credentials": (400, "ExpiredToken", "The provided token has expired."),
        "access_denied": (403, "AccessDenied", "Access Denied"),
    },
    "query": {
        "throttle": (400, "Throttling", "Rate exceeded"),
        "slowdown": (400, "Throttling", "Rate exceeded"),
        "error500": (500, "InternalFailure", "An internal error has occurred."),
        "error503": (503, "ServiceUnavailable", "The service is temporarily unavailable."),
        "expired_credentials": (403, "ExpiredToken", "The security token included in the request is expired"),
        "access_denied": (403, "AccessDenied", "User is not authorized to perform this action"),
        "no_capacity": (400, "InsufficientDBInstanceCapacity", "There is no capacity for this class in these zones."),
    },
    "json": {
        "throttle": (400, "ThrottlingException", "Rate exceeded"),
        "slowdown": (400, "ThrottlingException", "Rate exceeded"),
        "error500": (500, "InternalServiceError", "An internal error occurred."),
        "error503": (503, "ServiceUnavailableException", "The service is temporarily unavailable."),
        "expired_credentials": (400, "ExpiredTokenException", "The security token included in the request is expired"),
        "access_denied": (400, "AccessDeniedException", "User is not authorized to perform this action"),
    },
}


def error_answer(kind: str, call: Call, *, is_json: bool, request_id: str) -> ErrorAnswer:
    """The answer that this service's clients know how to read."""
    if kind == "html500":
        return ErrorAnswer(500, "text/html; charset=utf-8", _HTML)
    protocol = "json" if is_json else ("s3" if call.is_s3 else "query")
    status, code, message = _CODES[protocol][kind]
    if protocol == "json":
        body = json.dumps({"__type": code, "message": message}).encode()
        return ErrorAnswer(status, "application/x-amz-json-1.1", body, (("x-amzn-errortype", code),))
    if protocol == "s3":
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{escape(message)}</Message>'
            f"<RequestId>{request_id}</RequestId><HostId>sandbox</HostId></Error>"
        )
        return ErrorAnswer(status, "application/xml", text.encode())
    sender = "Sender" if status < 500 else "Receiver"
    text = (
        f"<ErrorResponse><Error><Type>{sender}</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return ErrorAnswer(status, "text/xml", text.encode())
