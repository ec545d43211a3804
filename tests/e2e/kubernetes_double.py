"""A local double of the part of the Kubernetes API that a recovery uses: deployments, their scale, Secrets, ExternalSecrets.

It keeps what the API server's own rules are about: resource versions that grow, the content types of patches, `dryRun=All`, field
managers of server-side apply, and the status codes with their `Status` objects (Kubernetes API concepts; API conventions).
"""

from __future__ import annotations

import base64
import copy
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
STOPPING_SECONDS = 0.5
TOKEN = "not-a-real-token"
PATCHES = {
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
SCALE = re.compile(r"^/apis/apps/v1/namespaces/([^/]+)/deployments/([^/]+)/scale$")
DEPLOYMENT = re.compile(r"^/apis/apps/v1/namespaces/([^/]+)/deployments/([^/]+)$")
PODS = re.compile(r"^/api/v1/namespaces/([^/]+)/pods$")
SECRET = re.compile(r"^/api/v1/namespaces/([^/]+)/secrets/([^/]+)$")
EXTERNAL = re.compile(r"^/apis/external-secrets.io/(v1|v1beta1)/namespaces/([^/]+)/externalsecrets/([^/]+)$")


class Refused(Exception):
    """What the API answers instead."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


class Kubernetes:
    """A cluster of some namespaces. Pods come and go half a second after they are asked to."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.deployments: dict[str, Object] = {}
        self.secrets: dict[str, Object] = {}
        self.external_secrets: dict[str, Object] = {}
        self.external_version = "v1"
        self.forbidden: set[str] = set()
        """Verbs and resources that the service account has no right to, such as `patch deployments/scale`."""
        self.changes: list[tuple[float, str, str]] = []
        """When, which object, and to what: changes that were made, no dry runs."""
        self.version = 100
        self.selector = ""
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:  # noqa: N802
                self.answer("get")

            def do_PATCH(self) -> None:  # noqa: N802
                self.answer("patch")

            def answer(self, verb: str) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                try:
                    if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                        raise Refused(401, "Unauthorized", "Unauthorized")
                    code, found = 200, double.handle(verb, self.path, self.headers.get("Content-Type", ""), body)
                except Refused as refused:
                    code = refused.code
                    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
                    found = status | {"message": refused.message, "reason": refused.reason, "code": refused.code}
                text = json.dumps(found).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def kubeconfig(self, path: Path) -> Path:
        """Writes a kubeconfig for it."""
        address = f"http://127.0.0.1:{self.server.server_address[1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "double",
            "clusters": [{"name": "double", "cluster": {"server": address}}],
            "users": [{"name": "double", "user": {"token": TOKEN}}],
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": "double"}}],
        }
        path.write_text(json.dumps(config))
        return path

    # what there is

    def deployment(self, name: str, replicas: int) -> None:
        self.deployments[name] = {"wanted": replicas, "running": replicas, "due": 0.0, "annotations": {}}

    def secret(self, name: str, owner: str | None = None, manager: str = "kubectl", **values: str) -> None:
        owners = [{"apiVersion": "external-secrets.io/v1", "kind": owner, "name": "x", "uid": "1"}] if owner else []
        self.secrets[name] = {"data": dict(values), "managers": {key: manager for key in values}, "owners": owners}

    def external_secret(self, name: str) -> None:
        self.external_secrets[name] = {"annotations": {}}

    def replicas(self, name: str) -> int:
        wanted: int = self.deployments[name]["wanted"]
        return wanted

    # the API

    def handle(self, verb: str, target: str, content_type: str, body: bytes) -> Object:
        url = urlsplit(target)
        query = parse_qs(url.query)
        patch = None
        if verb == "patch":
            kind = PATCHES.get(content_type)
            if kind is None:
                raise Refused(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {content_type}")
            patch = (kind, json.loads(body), query)
        with self.lock:
            self.selector = query.get("labelSelector", [""])[0]
            for pattern, resource, handle in (
                (SCALE, "deployments/scale", self._scale),
                (DEPLOYMENT, "deployments", self._deployment),
                (PODS, "pods", self._pods),
                (SECRET, "secrets", self._secret),
                (EXTERNAL, "externalsecrets", self._external_secret),
            ):
                if found := pattern.match(url.path):
                    if f"{verb} {resource}" in self.forbidden:
                        raise Refused(403, "Forbidden", f'{resource} is forbidden: User "strongroom" cannot {verb}')
                    answer: Object = handle(list(found.groups()), patch)
                    return answer
        raise Refused(404, "NotFound", "the server could not find the requested resource")

    def _changed(self, query: Any, name: str, what: str) -> bool:
        """Whether the change is made; a dry run changes nothing."""
        if query.get("dryRun") == ["All"]:
            return False
        self.version += 1
        self.changes.append((time.monotonic(), name, what))
        return True

    def _find(self, objects: dict[str, Object], name: str, resource: str) -> Object:
        if name not in objects:
            raise Refused(404, "NotFound", f'{resource} "{name.partition("/")[2]}" not found')
        return objects[name]

    def _scale(self, words: list[str], patch: Any) -> Object:
        name = "/".join(words)
        deployment = self._find(self.deployments, name, "deployments.apps")
        if patch:
            kind, change, query = patch
            if kind != "merge" or set(change) != {"spec"}:
                raise Refused(422, "Invalid", "a scale has only spec.replicas")
            replicas = change["spec"]["replicas"]
            if self._changed(query, name, f"replicas {replicas}"):
                deployment.update(wanted=replicas, due=time.monotonic() + STOPPING_SECONDS)
        # Go leaves out numbers that are 0 here. Pods that are ending count no more.
        spec = {"replicas": deployment["wanted"]} if deployment["wanted"] else {}
        status = {"replicas": deployment["wanted"], "selector": f"app={words[1]}"}
        meta = {"name": words[1], "namespace": words[0], "resourceVersion": str(self.version)}
        return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status}

    def _pods(self, words: list[str], patch: Any) -> Object:
        """Pods of the deployment whose name the selector has; those that were told to end stay for a while."""
        assert patch is None
        name = f"{words[0]}/{self.selector.removeprefix('app=')}"
        deployment = self._find(self.deployments, name, "deployments.apps")
        if time.monotonic() >= deployment["due"]:
            deployment["running"] = deployment["wanted"]
        meta = [{"name": f"pod-{number}", "namespace": words[0]} for number in range(deployment["running"])]
        items = [{"metadata": own, "spec": {"containers": []}, "status": {"phase": "Running"}} for own in meta]
        return {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": str(self.version)}, "items": items}

    def _deployment(self, words: list[str], patch: Any) -> Object:
        name = "/".join(words)
        deployment = self._find(self.deployments, name, "deployments.apps")
        if patch:
            kind, change, query = patch
            annotations = change["spec"]["template"]["metadata"]["annotations"]
            assert kind == "strategic", kind
            if self._changed(query, name, "restart"):
                deployment["annotations"] |= annotations
        meta = {"name": words[1], "namespace": words[0], "resourceVersion": str(self.version)}
        template = {"metadata": {"annotations": deployment["annotations"]}, "spec": {"containers": []}}
        spec = {"replicas": deployment["wanted"], "selector": {"matchLabels": {"app": "x"}}, "template": template}
        return {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": meta, "spec": spec}

    def _secret(self, words: list[str], patch: Any) -> Object:
        name = "/".join(words)
        secret = self._find(self.secrets, name, "secrets")
        shown = copy.deepcopy(secret)
        if patch:
            kind, change, query = patch
            manager = query.get("fieldManager", [None])[0]
            if kind != "apply" or not manager:
                raise Refused(400, "BadRequest", "fieldManager is required for apply patch")
            wanted = change["metadata"].get("resourceVersion")
            if wanted is not None and wanted != str(self.version):
                raise Refused(409, "Conflict", "the object has been modified")
            values = {key: base64.b64decode(value).decode() for key, value in change.get("data", {}).items()}
            others = [key for key in values if secret["managers"].get(key, manager) != manager]
            changed = [key for key in others if secret["data"].get(key) != values[key]]
            if changed and query.get("force") != ["true"]:
                raise Refused(409, "Conflict", f'Apply failed with 1 conflict: conflict with "kubectl": .data.{changed[0]}')
            shown["data"] |= values
            if self._changed(query, name, f"data {sorted(values)}"):
                secret["data"] |= values
                secret["managers"] |= {key: manager for key in values}
        meta = {"name": words[1], "namespace": words[0], "resourceVersion": str(self.version)}
        data = {key: base64.b64encode(value.encode()).decode() for key, value in shown["data"].items()}
        meta |= {"ownerReferences": secret["owners"]} if secret["owners"] else {}
        meta["managedFields"] = [{"manager": manager} for manager in sorted(set(secret["managers"].values()))]
        return {"kind": "Secret", "apiVersion": "v1", "metadata": meta, "type": "Opaque", "data": data}

    def _external_secret(self, words: list[str], patch: Any) -> Object:
        version, name = words[0], "/".join(words[1:])
        if version != self.external_version:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        external = self._find(self.external_secrets, name, "externalsecrets.external-secrets.io")
        if patch:
            kind, change, query = patch
            assert kind == "merge", kind
            if self._changed(query, name, "refresh"):
                external["annotations"] |= change["metadata"]["annotations"]
                external["refreshed"] = time.monotonic() + STOPPING_SECONDS
        fetched = external.get("refreshed", 0)
        stands = fetched if time.monotonic() >= fetched else 0
        meta = {"name": words[2], "namespace": words[1], "annotations": external["annotations"]}
        return {"kind": "ExternalSecret", "apiVersion": f"external-secrets.io/{version}", "metadata": meta, "status": {"refreshTime": str(stands)}}
