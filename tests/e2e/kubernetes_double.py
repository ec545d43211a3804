"""A local double of the part of the Kubernetes API that strongroom uses.

For recoveries: deployments, their scale, Secrets, ExternalSecrets (here). For leadership and dumps as Jobs: Leases, CronJobs,
Jobs and their pods (kubernetes_objects.py, kubernetes_jobs.py), whose containers run as local processes.

It keeps what the API server's own rules are about: resource versions that grow, the content types of patches, `dryRun=All`, field
managers of server-side apply, and the status codes with their `Status` objects (Kubernetes API concepts; API conventions).
"""

from __future__ import annotations

import base64
import copy
import time
from collections.abc import Callable
from typing import Any

from kubernetes_jobs import JOBS, Jobs
from kubernetes_objects import CRON_JOBS, LEASES, PODS, Objects
from kubernetes_rest import NO_SUCH_RESOURCE, ApiServer, Object, Refused, Request

NAMESPACE = "strongroom"
STOPPING_SECONDS = 0.5
PATCHES = {
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}


class Kubernetes(ApiServer):
    """A cluster of some namespaces. Pods come and go half a second after they are asked to."""

    def __init__(self) -> None:
        self.deployments: dict[str, Object] = {}
        self.secrets: dict[str, Object] = {}
        self.external_secrets: dict[str, Object] = {}
        self.external_version = "v1"
        self.changes: list[tuple[float, str, str]] = []
        """When, which object, and to what: changes of these that were made, no dry runs."""
        self.version = 100
        self.selector = ""
        self.objects = Objects()
        for kind in (LEASES, CRON_JOBS, JOBS, PODS):
            self.objects.add_kind(kind)
        super().__init__()
        self.jobs = Jobs(self.objects, self.lock)

    def stop(self) -> None:
        self.jobs.stop()
        super().stop()

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

    def lease(self, name: str, namespace: str = NAMESPACE) -> Object | None:
        """What a Lease says, if there is one."""
        with self.lock:
            found = self.objects.get("leases", namespace, name)
        return found["spec"] if found else None

    def cron_job(self, name: str, container: Object, namespace: str = NAMESPACE, **pod: Any) -> None:
        """A suspended CronJob, whose template has this container; `pod` is what the pod's spec has beside it."""
        named = {"name": "strongroom", "image": "registry.test/strongroom:1"} | container
        spec = {"restartPolicy": "Never", "containers": [named], "terminationGracePeriodSeconds": 30} | pod
        template = {"metadata": {"labels": {"app.kubernetes.io/name": "strongroom"}}, "spec": spec}
        schedule = {"schedule": "0 0 1 1 *", "suspend": True, "concurrencyPolicy": "Allow"}
        limits = {"successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1}
        body = {"kind": "CronJob", "apiVersion": "batch/v1", "metadata": {"name": name}}
        with self.lock:
            self.objects.create("cronjobs", namespace, body | {"spec": schedule | limits | {"jobTemplate": {"spec": {"template": template}}}})

    def remove_cron_job(self, name: str, namespace: str = NAMESPACE) -> None:
        with self.lock:
            self.objects.remove("cronjobs", namespace, name)

    # the API

    def handle(self, request: Request) -> tuple[int, Object]:
        words = (request.group, request.resource)
        is_of_deployment = request.resource == "pods" and request.query.get("labelSelector", "").startswith("app=")
        if request.resource in self.objects.kinds and not is_of_deployment:
            if request.verb != "delete":
                return self.objects.handle(request)
            return self.jobs.delete(request) if words == ("batch", "jobs") else self.objects.delete(request)
        for group, resource, handle in (
            ("apps", "deployments/scale", self._scale),
            ("apps", "deployments", self._deployment),
            ("", "pods", self._pods),
            ("", "secrets", self._secret),
            ("external-secrets.io", "externalsecrets", self._external_secret),
        ):
            if words == (group, resource) and request.verb in ("get", "list", "patch"):
                return 200, self._recovery(request, handle)
        raise NO_SUCH_RESOURCE

    def _recovery(self, request: Request, handle: Callable[[list[str], Any], Object]) -> Object:
        patch = None
        if request.verb == "patch":
            kind = PATCHES.get(request.content_type)
            if kind is None:
                why = f"the body of the request was in an unknown format: {request.content_type}"
                raise Refused(415, "UnsupportedMediaType", why)
            patch = (kind, request.document(), request.query)
        self.selector = request.query.get("labelSelector", "")
        words = [request.namespace, request.name]
        return handle([request.version, *words] if request.resource == "externalsecrets" else words, patch)

    def _changed(self, query: Any, name: str, what: str) -> bool:
        """Whether the change is made; a dry run changes nothing."""
        if query.get("dryRun") == "All":
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
            manager = query.get("fieldManager")
            if kind != "apply" or not manager:
                raise Refused(400, "BadRequest", "fieldManager is required for apply patch")
            wanted = change["metadata"].get("resourceVersion")
            if wanted is not None and wanted != str(self.version):
                raise Refused(409, "Conflict", "the object has been modified")
            values = {key: base64.b64decode(value).decode() for key, value in change.get("data", {}).items()}
            others = [key for key in values if secret["managers"].get(key, manager) != manager]
            changed = [key for key in others if secret["data"].get(key) != values[key]]
            if changed and query.get("force") != "true":
                raise Refused(409, "Conflict", f'Apply failed with 1 conflict: conflict with "kubectl": .data.{changed[0]}')
            shown["data"] |= values
            if self._changed(query, name, f"data {sorted(values)}"):
                secret["data"] |= values
                secret["managers"] |= {key: manager for key in values}
        meta: Object = {"name": words[1], "namespace": words[0], "resourceVersion": str(self.version)}
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
