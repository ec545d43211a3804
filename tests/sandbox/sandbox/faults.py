"""WSGI middleware: counts every AWS call, applies faults on demand, and serves the side API below /sandbox-api/.

It sits outside of moto, so a fault hits what a network or an AWS front end would hit: before the handler, in
the middle of a body, or after the effect.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from . import sessions
from .calls import Call, CallLog, identify
from .fault_rules import ERROR_KINDS, Rule, RuleBook, error_answer
from .side_api import SideApi

StartResponse = Callable[..., Any]
Environ = dict[str, Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

UNCOUNTED = ("/sandbox-api/", "/moto-api", "/favicon.ico", "/latest/")
"""Not AWS calls of anybody we test: never listed, never faulted."""

DRAIN_BLOCK = 1024 * 1024

HOLD_LOOK = 0.02
"""Seconds between two looks at whether a held call may go on."""


class ConnectionCut(ConnectionError):
    """Tells the server that the connection is gone; it then logs nothing and goes on."""


class Faults:
    """The middleware around the whole moto application."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.rules = RuleBook()
        self.calls = CallLog()
        self._side_api = SideApi(self.rules, self.calls)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith("/sandbox-api/"):
            return self._side_api(environ, start_response)
        if path.startswith(UNCOUNTED):
            return self._app(environ, start_response)
        call = identify(environ)
        call.role, call.session = sessions.role_and_name(call.access_key)
        self.calls.add(call)
        if sessions.is_over(call.access_key):
            return _answer_error("expired_credentials", call, environ, start_response)
        rule = self.rules.take(call)
        if rule is None:
            return self._run(environ, start_response, call)
        call.fault = rule.kind
        if rule.kind in ERROR_KINDS:
            return _answer_error(rule.kind, call, environ, start_response)
        return getattr(self, f"_{rule.kind}")(rule, environ, start_response, call)  # type: ignore[no-any-return]

    def _run(self, environ: Environ, start_response: StartResponse, call: Call) -> Iterable[bytes]:
        def note_status(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            call.status = int(status.split(" ", 1)[0])
            call.seconds = time.time() - call.time
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        return self._app(environ, note_status)

    # one method per kind of fault that lets the real handler run

    def _delay(self, rule: Rule, environ: Environ, start_response: StartResponse, call: Call) -> Iterable[bytes]:
        time.sleep(rule.seconds)
        return self._run(environ, start_response, call)

    def _hold(self, rule: Rule, environ: Environ, start_response: StartResponse, call: Call) -> Iterable[bytes]:
        """Goes on when the rule is removed, at the latest after `seconds`: for tests that wait for something else."""
        until = time.monotonic() + rule.seconds
        while self.rules.stands(rule) and time.monotonic() < until:
            time.sleep(HOLD_LOOK)
        return self._run(environ, start_response, call)

    def _slow_request(self, rule: Rule, environ: Environ, start_response: StartResponse, call: Call) -> Iterable[bytes]:
        """The request's body is taken in slowly, over about `seconds`."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"] = _SlowInput(environ["wsgi.input"], length, rule.seconds)
        return self._run(environ, start_response, call)

    def _cut_request(self, rule: Rule, environ: Environ, start_response: StartResponse, call: Call) -> Iterable[bytes]:
        """Half of the request's body is read, then the connection is reset; the handler never runs."""
        half = int(environ.get("CONTENT_LENGTH") or 0) // 2
        _drain(environ["wsgi.input"], half)
        _reset_connection(environ)
        raise ConnectionCut("cut_request")

    def _drop_response_after_effect(
        self, rule: Rule, environ: Environ, start_response: StartResponse, call: Call
    ) -> Iterable[bytes]:
        """The effect is complete, the client hears nothing."""
        _consume(self._run(environ, _swallow, call))
        _reset_connection(environ)
        raise ConnectionCut("drop_response_after_effect")

    def _cut_response(self, rule: Rule, environ: Environ, start_response: StartResponse, call: Call) -> Iterable[bytes]:
        """Headers that promise everything, half of the body, then nothing."""
        body = b"".join(self._run(environ, start_response, call))
        return _then_cut(body[: len(body) // 2], environ)

    def _slow_body(self, rule: Rule, environ: Environ, start_response: StartResponse, call: Call) -> Iterable[bytes]:
        return _spread(b"".join(self._run(environ, start_response, call)), rule.seconds)

    def _corrupt_response(
        self, rule: Rule, environ: Environ, start_response: StartResponse, call: Call
    ) -> Iterable[bytes]:
        """One bit in the middle of the body is wrong; length and headers are right."""
        body = bytearray(b"".join(self._run(environ, start_response, call)))
        if body:
            body[len(body) // 2] ^= 0x01
        return [bytes(body)]


def _answer_error(kind: str, call: Call, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Takes the request in first: a reset in mid-upload would be another fault than the one asked for."""
    _drain(environ["wsgi.input"], int(environ.get("CONTENT_LENGTH") or 0))
    request_id = str(uuid.uuid4())
    answer = error_answer(kind, call, is_json="HTTP_X_AMZ_TARGET" in environ, request_id=request_id)
    call.status = answer.status
    call.seconds = time.time() - call.time
    headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body))), *answer.headers]
    headers.append(("x-amz-request-id", request_id))
    start_response(f"{answer.status} Fault", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]


def _drain(stream: BinaryIO, length: int) -> None:
    while length > 0:
        data = stream.read(min(length, DRAIN_BLOCK))
        if not data:
            return
        length -= len(data)


def _consume(body: Iterable[bytes]) -> None:
    try:
        for _ in body:
            pass
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()


def _swallow(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
    return lambda data: None


def _reset_connection(environ: Environ) -> None:
    """Ends the connection as a dying host does: RST instead of a polite end."""
    connection: socket.socket | None = environ.get("werkzeug.socket")
    if connection is None:
        raise RuntimeError("the server does not give its socket: faults that cut need werkzeug's")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # A copy of the descriptor is closed by the server later; shutting down makes the end visible at once.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _then_cut(head: bytes, environ: Environ) -> Iterator[bytes]:
    yield head
    connection: socket.socket | None = environ.get("werkzeug.socket")
    if connection is not None:
        connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionCut("cut_response")


def _spread(body: bytes, seconds: float, pieces: int = 20) -> Iterator[bytes]:
    size = max(1, -(-len(body) // pieces))
    for start in range(0, len(body), size):
        time.sleep(seconds / pieces)
        yield body[start : start + size]


class _SlowInput:
    """A request body that arrives at an even, low rate."""

    def __init__(self, stream: BinaryIO, length: int, seconds: float) -> None:
        self._stream = stream
        self._pause_per_byte = seconds / length if length else 0.0
        self._block = max(1, length // 20)

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size if 0 <= size < self._block else self._block)
        time.sleep(len(data) * self._pause_per_byte)
        return data

    def readinto(self, buffer: memoryview) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readline(self, size: int = -1) -> bytes:
        return self._stream.readline(size)
