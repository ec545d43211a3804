"""Objects of the Kubernetes double as the API server keeps them: resource versions that grow, conflicts, names, dry runs.

What a resource has of its own (defaults, what is invalid, what never changes) is in a `Kind`.
"""

from __future__ import annotations

import copy
import re
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubernetes_fields import CRON_JOB_SPEC, LEASE_SPEC, Decoder, Schema, whole
from kubernetes_rest import NO_SUCH_RESOURCE, Object, Refused, Request, not_found

SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL_VALUE = re.compile(r"(?=.{0,63}$)(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
LABEL_NAME = re.compile(r"([a-z0-9.-]{1,253}/)?(?=.{1,63}$)([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
Fault = tuple[str, str]
"""A field's path, and what is wrong with it."""
Key = tuple[str, str, str]
"""Resource, namespace, name."""


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def no_faults(_: Object) -> list[Fault]:
    return []


@dataclass(frozen=True)
class Kind:
    """A resource, and what the API server knows about it in particular."""

    resource: str
    group: str
    kind: str
    schema: Schema
    create_by_put: bool = False
    """Whether a PUT of a name that is not there makes it."""
    put_without_version: bool = True
    """Whether a PUT without a resource version replaces whatever is there."""
    prepare: Callable[[Object], None] = lambda _: None
    """Sets defaults of a new object, which has its uid already."""
    faults: Callable[[Object], list[Fault]] = no_faults
    frozen: tuple[tuple[str, ...], ...] = ()
    """Fields that never change."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"

    @property
    def qualified(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource

    def invalid(self, name: str, faults: list[Fault]) -> Refused:
        kind = f"{self.kind}.{self.group}" if self.group else self.kind
        told = [f"{path}: {what}" for path, what in faults]
        message = f'{kind} "{name}" is invalid: {told[0] if len(told) == 1 else "[" + ", ".join(told) + "]"}'
        causes = [{"reason": "FieldValueInvalid", "message": what, "field": path} for path, what in faults]
        return Refused(
            422, "Invalid", message, {"name": name, "group": self.group, "kind": self.kind, "causes": causes}
        )


def lease_faults(lease: Object) -> list[Fault]:
    spec = lease.get("spec", {})
    found = []
    if (seconds := spec.get("leaseDurationSeconds", 1)) <= 0:
        found.append(("spec.leaseDurationSeconds", f"Invalid value: {seconds}: must be greater than 0"))
    if (count := spec.get("leaseTransitions", 0)) < 0:
        found.append(("spec.leaseTransitions", f"Invalid value: {count}: must be greater than or equal to 0"))
    return found


LEASES = Kind(
    "leases",
    "coordination.k8s.io",
    "Lease",
    whole(LEASE_SPEC),
    create_by_put=True,
    put_without_version=False,
    faults=lease_faults,
)
CRON_JOBS = Kind("cronjobs", "batch", "CronJob", whole(CRON_JOB_SPEC))
PODS = Kind("pods", "", "Pod", whole(Any))


class Objects:
    """All that there is, by resource, namespace and name. Whoever calls holds the API server's lock."""

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}
        self.found: dict[Key, Object] = {}
        self.version = 1000

    def add_kind(self, kind: Kind) -> None:
        self.kinds[kind.resource] = kind

    # of the double itself

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        found = self.found.get((resource, namespace, name))
        return copy.deepcopy(found)

    def all(self, resource: str, namespace: str | None = None) -> list[Object]:
        found = [item for key, item in self.found.items() if key[0] == resource and namespace in (None, key[1])]
        return copy.deepcopy(found)

    def put(self, resource: str, body: Object) -> Object:
        """Writes what a controller writes: no checks, and a new version only if something is different."""
        key = (resource, body["metadata"]["namespace"], body["metadata"]["name"])
        if self.found.get(key) != body:
            self.version += 1
            body = copy.deepcopy(body)
            body["metadata"]["resourceVersion"] = str(self.version)
            self.found[key] = body
        return copy.deepcopy(body)

    def remove(self, resource: str, namespace: str, name: str) -> None:
        self.version += 1
        self.found.pop((resource, namespace, name), None)

    def create(self, resource: str, namespace: str, body: Object) -> Object:
        """As by a client with every right."""
        return self._create(self.kinds[resource], namespace, copy.deepcopy(body), dry=False)

    # of clients

    def handle(self, request: Request) -> tuple[int, Object]:
        kind = self.kinds.get(request.resource)
        if kind is None or (kind.group, "v1") != (request.group, request.version):
            raise NO_SUCH_RESOURCE
        match request.verb:
            case "get":
                return 200, self._find(kind, request)
            case "list":
                return 200, self._list(kind, request)
            case "create":
                return 201, self._create(kind, request.namespace, self._decoded(kind, request), request.is_dry_run)
            case "update":
                return self._replace(kind, request, self._decoded(kind, request))
            case "patch":
                return self._patch(kind, request)
        raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def delete(self, request: Request) -> tuple[int, Object]:
        """Of what has no dependents."""
        kind = self.kinds[request.resource]
        found = self._find(kind, request)
        if not request.is_dry_run:
            self.remove(kind.resource, request.namespace, request.name)
        details = {"name": request.name, "group": kind.group, "kind": kind.resource, "uid": found["metadata"]["uid"]}
        return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _find(self, kind: Kind, request: Request) -> Object:
        found = self.get(kind.resource, request.namespace, request.name)
        if found is None:
            raise not_found(kind.qualified, request.name)
        return found

    def _list(self, kind: Kind, request: Request) -> Object:
        wanted = selector(request.query.get("labelSelector", ""))
        found = self.all(kind.resource, request.namespace)
        # In lists the API leaves out what all items have in common.
        items = [
            {name: item[name] for name in item if name not in ("kind", "apiVersion")} for item in found if wanted(item)
        ]
        meta = {"resourceVersion": str(self.version)}
        return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta, "items": items}

    def _decoded(self, kind: Kind, request: Request) -> Object:
        if request.content_type != "application/json":
            why = f"the body of the request was in an unknown format - accepted media types: application/json, not {request.content_type}"
            raise Refused(415, "UnsupportedMediaType", why)
        return self._decode(kind, request, request.document())

    def _decode(self, kind: Kind, request: Request, document: Object) -> Object:
        decoder = Decoder(kind.kind, "v1")
        body: Object = decoder.read(document, kind.schema)
        if request.query.get("fieldValidation") == "Strict":
            decoder.refuse_unknown()
        said = (body.get("apiVersion", kind.api_version), body.get("kind", kind.kind))
        if said != (kind.api_version, kind.kind):
            why = f"the API version in the data ({said[0]}, {said[1]}) does not match the expected one ({kind.api_version})"
            raise Refused(400, "BadRequest", why)
        meta = body.setdefault("metadata", {})
        if meta.setdefault("namespace", request.namespace) != request.namespace:
            raise Refused(
                400,
                "BadRequest",
                "the namespace of the provided object does not match the namespace sent on the request",
            )
        if request.name and meta.setdefault("name", request.name) != request.name:
            raise Refused(
                400,
                "BadRequest",
                f"the name of the object ({meta['name']}) does not match the name on the URL ({request.name})",
            )
        return body | {"apiVersion": kind.api_version, "kind": kind.kind}

    def _create(self, kind: Kind, namespace: str, body: Object, dry: bool) -> Object:
        meta = body.setdefault("metadata", {})
        if not meta.get("name") and meta.get("generateName"):
            # The whole has 63 characters at most, five of them random.
            meta["name"] = f"{meta['generateName'][:58]}{secrets.token_hex(3)[:5]}"
        if meta.get("resourceVersion"):
            raise Refused(500, "InternalError", "resourceVersion should not be set on objects to be created")
        if not meta.get("name"):
            raise kind.invalid("", [("metadata.name", "Required value: name or generateName is required")])
        name = meta["name"]
        given = {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
        meta |= given
        meta.pop("managedFields", None)
        kind.prepare(body)
        if faults := meta_faults(meta, "metadata") + kind.faults(body):
            raise kind.invalid(name, faults)
        if (kind.resource, namespace, name) in self.found:
            details = {"name": name, "group": kind.group, "kind": kind.resource}
            raise Refused(409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', details)
        return body if dry else self.put(kind.resource, body)

    def _replace(self, kind: Kind, request: Request, body: Object) -> tuple[int, Object]:
        meta = body["metadata"]
        old = self.get(kind.resource, request.namespace, request.name)
        if old is None:
            if not kind.create_by_put:
                raise not_found(kind.qualified, request.name)
            # The version of what was there once is no hindrance.
            meta.pop("resourceVersion", None)
            return 201, self._create(kind, request.namespace, body, request.is_dry_run)
        stands = old["metadata"]
        details = {"name": request.name, "group": kind.group, "kind": kind.resource}
        conflict = f'Operation cannot be fulfilled on {kind.qualified} "{request.name}": '
        if meta.get("uid", stands["uid"]) != stands["uid"]:
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {stands['uid']}"
            raise Refused(409, "Conflict", conflict + why, details)
        version = meta.get("resourceVersion")
        if not version and not kind.put_without_version:
            raise kind.invalid(
                request.name, [("metadata.resourceVersion", "Invalid value: 0: must be specified for an update")]
            )
        if version and version != stands["resourceVersion"]:
            raise Refused(409, "Conflict", conflict + MODIFIED, details)
        for name in ("uid", "creationTimestamp", "generation", "deletionTimestamp"):
            meta.pop(name, None)
            meta |= {name: stands[name]} if name in stands else {}
        meta["resourceVersion"] = stands["resourceVersion"]
        if "status" in old:
            body["status"] = old["status"]
        if body.get("spec") != old.get("spec") and "generation" in stands:
            meta["generation"] = stands["generation"] + 1
        faults = meta_faults(meta, "metadata") + kind.faults(body)
        for path in kind.frozen:
            if (value := within(body, path)) != within(old, path):
                faults.append((".".join(path), f"Invalid value: {value}: field is immutable"))
        if faults:
            raise kind.invalid(request.name, faults)
        return 200, body if request.is_dry_run else self.put(kind.resource, body)

    def _patch(self, kind: Kind, request: Request) -> tuple[int, Object]:
        if request.content_type != "application/merge-patch+json":
            raise Refused(415, "UnsupportedMediaType", f"the double knows no patch of type {request.content_type} here")
        merged = merge(self._find(kind, request), request.document())
        return self._replace(kind, request, self._decode(kind, request, merged))


def within(body: Object, path: tuple[str, ...]) -> Any:
    found: Any = body
    for name in path:
        found = (found or {}).get(name)
    return found


def merge(value: Any, change: Any) -> Any:
    """A JSON merge patch."""
    if not isinstance(change, dict):
        return change
    old = value if isinstance(value, dict) else {}
    merged = old | {name: merge(old.get(name), item) for name, item in change.items()}
    return {name: item for name, item in merged.items() if item is not None}


def label_faults(labels: dict[str, str], path: str) -> list[Fault]:
    found = [
        (path, f'Invalid value: "{name}": name part must consist of alphanumeric characters')
        for name in labels
        if not LABEL_NAME.fullmatch(name)
    ]
    for value in labels.values():
        if len(value) > 63:
            found.append((path, f'Invalid value: "{value}": must be no more than 63 characters'))
        elif not LABEL_VALUE.fullmatch(value):
            found.append(
                (
                    path,
                    f'Invalid value: "{value}": a valid label must be an empty string or consist of alphanumeric characters',
                )
            )
    return found


def meta_faults(meta: Object, path: str) -> list[Fault]:
    """What is wrong with an object's name, labels, annotations and owners."""
    found = []
    if "name" in meta and not SUBDOMAIN.fullmatch(meta["name"]):
        why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
        found.append((f"{path}.name", f'Invalid value: "{meta["name"]}": {why}'))
    found += label_faults(meta.get("labels", {}), f"{path}.labels")
    # The names of annotations follow the rule of labels in lower case; their values are free.
    found += label_faults(
        dict.fromkeys((name.lower() for name in meta.get("annotations", {})), ""), f"{path}.annotations"
    )
    for owner in meta.get("ownerReferences", []):
        missing = [name for name in ("apiVersion", "kind", "name", "uid") if not owner.get(name)]
        found += [
            (f"{path}.ownerReferences.{name}", f'Invalid value: "": {name} must not be empty') for name in missing
        ]
    if sum(bool(owner.get("controller")) for owner in meta.get("ownerReferences", [])) > 1:
        found.append((f"{path}.ownerReferences", "Invalid value: only one reference can have Controller set to true"))
    return found


def selector(text: str) -> Callable[[Object], bool]:
    """What a label selector lets through: `a=b`, `a!=b`, `a`, `!a`, `a in (b,c)`, and several of them with commas."""
    terms = [term.strip() for term in re.split(r",(?![^(]*\))", text) if term.strip()]

    def holds(labels: dict[str, str], term: str) -> bool:
        if found := re.fullmatch(r"(\S+)\s+(in|notin)\s+\((.*)\)", term):
            values = {value.strip() for value in found[3].split(",")}
            return (labels.get(found[1]) in values) == (found[2] == "in")
        if "!=" in term:
            name, _, value = term.partition("!=")
            return labels.get(name.strip()) != value.strip()
        if "=" in term:
            name, value = re.split("==?", term, maxsplit=1)
            return labels.get(name.strip()) == value.strip()
        return term[1:] not in labels if term.startswith("!") else term in labels

    return lambda item: all(holds(item["metadata"].get("labels", {}), term) for term in terms)
