"""The HTTP of the Kubernetes double: who asks for what, faults between a client and the API server, and `Status` objects.

A client is known by its bearer token, so that one of two daemons can be cut off and the other not.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
TOKEN = "not-a-real-token"
SERVICE_ACCOUNT = "system:serviceaccount:strongroom:strongroom"
PATH = re.compile(r"^/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)/namespaces/(?P<namespace>[^/]+)/(?P<resource>[^/]+)"
                  r"(?:/(?P<name>[^/]+)(?:/(?P<part>[^/]+))?)?$")  # fmt: skip
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
LOOK_EVERY = 0.01


class Refused(Exception):
    """What the API answers instead."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details or {}

    @property
    def status(self) -> Object:
        said = {"message": self.message, "reason": self.reason, "details": self.details, "code": self.code}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"} | said


def not_found(resource: str, name: str) -> Refused:
    return Refused(404, "NotFound", f'{resource} "{name}" not found', {"name": name, "kind": resource})


NO_SUCH_RESOURCE = Refused(404, "NotFound", "the server could not find the requested resource")


@dataclass(frozen=True)
class Request:
    """One request, taken apart as the API server does it before it looks at rights."""

    client: str
    verb: str
    """In the words of a Role: get, list, create, update, patch, delete."""
    group: str
    version: str
    namespace: str
    resource: str
    """With the subresource, if there is one: `deployments/scale`."""
    name: str
    query: dict[str, str]
    content_type: str
    body: bytes

    @property
    def is_dry_run(self) -> bool:
        return self.query.get("dryRun") == "All"

    def document(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Refused(400, "BadRequest", f"the object provided is unrecognized: {error}") from None


@dataclass
class Call:
    """A request as tests ask for it afterwards."""

    at: float
    client: str
    verb: str
    resource: str
    name: str
    query: dict[str, str]
    code: int = 0
    """What was answered; 0 while there is no answer, and for good where a fault swallowed it."""


@dataclass
class Fault:
    """Something between clients and the API server; what is None is any.

    `reset` closes the connection before anything is done, `hang` does so too but only when the fault is over, `late` has
    the effect when the fault is over, `lost` has the effect and no answer, `error` answers `code`.
    """

    kind: str
    client: str | None = None
    verb: str | None = None
    resource: str | None = None
    count: int | None = None
    code: int = 503
    over: threading.Event = field(default_factory=threading.Event)

    def meets(self, request: Request) -> bool:
        if self.over.is_set() or self.count == 0:
            return False
        wanted = ((self.client, request.client), (self.verb, request.verb), (self.resource, request.resource))
        return all(own in (None, theirs) for own, theirs in wanted)


class Swallowed(Exception):
    """The client gets no answer."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    """Many may come at once, and none is to be turned away by the kernel."""


class ApiServer:
    """Takes requests, applies faults and rights, and answers what `handle` does."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.forbidden: set[str] = set()
        """Verbs and resources that the service account has no right to, such as `patch deployments/scale`."""
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                try:
                    code, found = api.answer(self.command, self.path, self.headers, body)
                except Swallowed:
                    self.close_connection = True
                    return
                text = json.dumps(found).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        for fault in self.faults:
            fault.over.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def kubeconfig(self, path: Path, client: str = "", namespace: str = "") -> Path:
        """Writes a kubeconfig for it; the client's name is what faults and `calls` have."""
        context = {"cluster": "double", "user": "double"} | ({"namespace": namespace} if namespace else {})
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "double",
            "clusters": [{"name": "double", "cluster": {"server": self.address}}],
            "users": [{"name": "double", "user": {"token": f"{TOKEN}-{client}" if client else TOKEN}}],
            "contexts": [{"name": "double", "context": context}],
        }
        path.write_text(json.dumps(config))
        return path

    # faults and what was asked

    @contextmanager
    def faulty(self, kind: str, **what: Any) -> Iterator[Fault]:
        """A fault until the end of the block (`Fault`)."""
        assert kind in ("reset", "hang", "late", "lost", "error"), kind
        fault = Fault(kind, **what)
        with self.lock:
            self.faults.append(fault)
        try:
            yield fault
        finally:
            fault.over.set()

    @contextmanager
    def cut_off(self, client: str, how: str = "hang", resource: str | None = None) -> Iterator[Fault]:
        """This client does not reach the API server until the end of the block, or no objects of one resource there."""
        with self.faulty(how, client=client, resource=resource) as fault:
            yield fault

    def asked(self, verb: str, resource: str, client: str | None = None) -> list[Call]:
        """The calls of this verb on this resource, of one client or of all, dry runs too."""
        with self.lock:
            found = [call for call in self.calls if (call.verb, call.resource) == (verb, resource)]
        return [call for call in found if client in (None, call.client)]

    # the API

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, Object]:
        token = str(headers.get("Authorization", "")).removeprefix("Bearer ")
        if token != TOKEN and not token.startswith(f"{TOKEN}-"):
            return 401, Refused(401, "Unauthorized", "Unauthorized").status
        try:
            request = parse(method, target, token.removeprefix(TOKEN).removeprefix("-"), headers, body)
        except Refused as refused:
            return refused.code, refused.status
        call = Call(time.monotonic(), request.client, request.verb, request.resource, request.name, request.query)
        with self.lock:
            self.calls.append(call)
            fault = next((fault for fault in self.faults if fault.meets(request)), None)
            if fault and fault.count is not None:
                fault.count -= 1
        if fault and fault.kind in ("hang", "late"):
            fault.over.wait()
        if fault and fault.kind in ("reset", "hang"):
            raise Swallowed
        if fault and fault.kind == "error":
            call.code = fault.code
            return fault.code, Refused(fault.code, "ServiceUnavailable", "the server is currently unable").status
        code, found = self._handled(request)
        if fault and fault.kind == "lost":
            raise Swallowed
        call.code = code
        return code, found

    def _handled(self, request: Request) -> tuple[int, Object]:
        try:
            with self.lock:
                if f"{request.verb} {request.resource}" in self.forbidden:
                    raise forbidden(request)
                return self.handle(request)
        except Refused as refused:
            return refused.code, refused.status

    def handle(self, request: Request) -> tuple[int, Object]:
        """The status code and the document; the lock is held."""
        raise NO_SUCH_RESOURCE


def parse(method: str, target: str, client: str, headers: Any, body: bytes) -> Request:
    url = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    found = PATH.match(url.path)
    if not found:
        raise NO_SUCH_RESOURCE
    name, part = found["name"] or "", found["part"]
    verb = VERBS.get(method) or ("get" if name else "list")
    if query.get("watch") in ("true", "1"):
        raise Refused(405, "MethodNotAllowed", "the double has no watches")
    resource = f"{found['resource']}/{part}" if part else found["resource"]
    content_type = str(headers.get("Content-Type", "")).partition(";")[0]
    group, version, namespace = found["group"] or "", found["version"], found["namespace"]
    return Request(client, verb, group, version, namespace, resource, name, query, content_type, body)


def forbidden(request: Request) -> Refused:
    resource, group = request.resource, request.group
    kind = f"{resource}.{group}" if group else resource
    named = f' "{request.name}"' if request.name else ""
    may_not = (
        f'cannot {request.verb} resource "{resource}" in API group "{group}" in the namespace "{request.namespace}"'
    )
    message = f'{kind}{named} is forbidden: User "{SERVICE_ACCOUNT}" {may_not}'
    return Refused(403, "Forbidden", message, {"name": request.name, "group": group, "kind": resource})
