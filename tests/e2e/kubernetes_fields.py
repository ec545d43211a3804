"""The fields of the objects that the Kubernetes double keeps, and what the API server says of those it does not know.

The names are those of Kubernetes 1.33. `Any` is not looked into: what is in there is nothing that strongroom writes.
"""

from __future__ import annotations

import re
from typing import Any

from kubernetes_rest import Object, Refused

Schema = Any
MAP = "map of strings"
TIME = "time"
MICRO_TIME = "time with microseconds"
WORD = {str: "string", int: "number", bool: "bool", list: "array", dict: "object", float: "number", MAP: "object"}
# Go's layouts: seconds may have a fraction of any length here, and must have six digits there.
FORMS = {
    TIME: re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"),
    MICRO_TIME: re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)"),
}


def any_of(names: str) -> dict[str, Schema]:
    """Fields that are not looked into."""
    return dict.fromkeys(names.split(), Any)


OWNER = {"apiVersion": str, "kind": str, "name": str, "uid": str, "controller": bool, "blockOwnerDeletion": bool}
META: dict[str, Schema] = {
    "name": str,
    "generateName": str,
    "namespace": str,
    "labels": MAP,
    "annotations": MAP,
    "uid": str,
    "resourceVersion": str,
    "generation": int,
    "creationTimestamp": TIME,
    "deletionTimestamp": TIME,
    "deletionGracePeriodSeconds": int,
    "finalizers": [str],
    "ownerReferences": [OWNER],
    "managedFields": [Any],
    "selfLink": str,
}
ENV = {"name": str, "value": str, "valueFrom": Any}
MOUNT = any_of("mountPropagation recursiveReadOnly") | {
    "name": str,
    "mountPath": str,
    "readOnly": bool,
    "subPath": str,
    "subPathExpr": str,
}
CONTAINER = any_of(
    "envFrom lifecycle livenessProbe ports readinessProbe resizePolicy restartPolicyRules securityContext startupProbe "
    "volumeDevices"
) | {
    "name": str,
    "image": str,
    "command": [str],
    "args": [str],
    "env": [ENV],
    "imagePullPolicy": str,
    "resources": {"limits": Any, "requests": Any, "claims": [Any]},
    "restartPolicy": str,
    "stdin": bool,
    "stdinOnce": bool,
    "terminationMessagePath": str,
    "terminationMessagePolicy": str,
    "tty": bool,
    "volumeMounts": [MOUNT],
    "workingDir": str,
}
POD_SPEC = any_of(
    "affinity dnsConfig ephemeralContainers hostAliases imagePullSecrets os overhead readinessGates resourceClaims "
    "resources schedulingGates securityContext tolerations topologySpreadConstraints volumes"
) | {
    "activeDeadlineSeconds": int,
    "automountServiceAccountToken": bool,
    "containers": [CONTAINER],
    "dnsPolicy": str,
    "enableServiceLinks": bool,
    "hostIPC": bool,
    "hostNetwork": bool,
    "hostPID": bool,
    "hostUsers": bool,
    "hostname": str,
    "initContainers": [CONTAINER],
    "nodeName": str,
    "nodeSelector": MAP,
    "preemptionPolicy": str,
    "priority": int,
    "priorityClassName": str,
    "restartPolicy": str,
    "runtimeClassName": str,
    "schedulerName": str,
    "serviceAccount": str,
    "serviceAccountName": str,
    "setHostnameAsFQDN": bool,
    "shareProcessNamespace": bool,
    "subdomain": str,
    "terminationGracePeriodSeconds": int,
}
TEMPLATE = {"metadata": META, "spec": POD_SPEC}
JOB_SPEC = {
    "activeDeadlineSeconds": int,
    "backoffLimit": int,
    "backoffLimitPerIndex": int,
    "completionMode": str,
    "completions": int,
    "managedBy": str,
    "manualSelector": bool,
    "maxFailedIndexes": int,
    "parallelism": int,
    "podFailurePolicy": Any,
    "podReplacementPolicy": str,
    "selector": {"matchLabels": MAP, "matchExpressions": [Any]},
    "successPolicy": Any,
    "suspend": bool,
    "template": TEMPLATE,
    "ttlSecondsAfterFinished": int,
}
LEASE_SPEC = {
    "holderIdentity": str,
    "leaseDurationSeconds": int,
    "acquireTime": MICRO_TIME,
    "renewTime": MICRO_TIME,
    "leaseTransitions": int,
    "strategy": str,
    "preferredHolder": str,
}
CRON_JOB_SPEC = {
    "schedule": str,
    "timeZone": str,
    "startingDeadlineSeconds": int,
    "concurrencyPolicy": str,
    "suspend": bool,
    "jobTemplate": {"metadata": META, "spec": JOB_SPEC},
    "successfulJobsHistoryLimit": int,
    "failedJobsHistoryLimit": int,
}


def whole(spec: Schema) -> Schema:
    return {"apiVersion": str, "kind": str, "metadata": META, "spec": spec, "status": Any}


class Decoder:
    """Reads a document by its fields: those unknown are noted and left out, as are those that are null."""

    def __init__(self, kind: str, version: str) -> None:
        self.kind, self.version = kind, version
        self.unknown: list[str] = []

    def read(self, value: Any, schema: Schema, path: str = "") -> Any:
        if schema is Any:
            return value
        if isinstance(schema, dict):
            self._expect(value, dict, path)
            return self._fields(value, schema, path)
        if isinstance(schema, list):
            self._expect(value, list, path)
            return [self.read(item, schema[0], f"{path}[{number}]") for number, item in enumerate(value)]
        if schema == MAP:
            self._expect(value, dict, path)
            for name, item in value.items():
                self._expect(item, str, f"{path}.{name}")
            return dict(value)
        if schema in FORMS:
            self._expect(value, str, path)
            if not FORMS[schema].fullmatch(value):
                raise self._refused(f'parsing time "{value}": cannot parse it as {schema} ({path})')
            return value
        self._expect(value, schema, path)
        return value

    def _fields(self, value: Object, schema: Object, path: str) -> Object:
        within = f"{path}." if path else ""
        self.unknown += [f'unknown field "{within}{name}"' for name in value if name not in schema]
        known = {name: item for name, item in value.items() if name in schema and item is not None}
        return {name: self.read(item, schema[name], within + name) for name, item in known.items()}

    def _expect(self, value: Any, kind: type, path: str) -> None:
        # In Python a bool is an int, too.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            found = WORD.get(type(value), "null")
            raise self._refused(
                f"json: cannot unmarshal {found} into Go struct field {self.kind}.{path} of type {WORD[kind]}"
            )

    def _refused(self, why: str) -> Refused:
        named = f'{self.kind} in version "{self.version}" cannot be handled as a {self.kind}'
        return Refused(400, "BadRequest", f"{named}: {why}")

    def refuse_unknown(self) -> None:
        if self.unknown:
            raise self._refused(f"strict decoding error: {', '.join(self.unknown)}")
