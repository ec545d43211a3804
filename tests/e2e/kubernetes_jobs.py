"""Jobs of the Kubernetes double: what the API server asks of them, and the controllers and the node that work on them.

The container of a Job runs as a local process: the one named `strongroom`, or else the first. Other containers, volumes and
probes are kept and do nothing. What a test wants to go wrong it sets here (`Jobs`).
"""

from __future__ import annotations

import copy
import secrets
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kubernetes_pods as pods
from kubernetes_fields import JOB_SPEC, whole
from kubernetes_objects import Fault, Kind, Objects, label_faults, now
from kubernetes_pods import Container, condition
from kubernetes_rest import Object, Refused, Request, not_found

STEP_SECONDS = 0.02
SCHEDULED_WITHIN = 0.1
"""Seconds until a pod's container runs."""
PULL_AGAIN_SECONDS = 0.5
UID, NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
NODE_GRACE = 30
"""Seconds between SIGTERM and SIGKILL where the pod says nothing."""
LIMIT_REACHED = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
TOO_LONG = ("DeadlineExceeded", "Job was active longer than specified deadline")
DONE = ("CompletionsReached", "Reached expected number of succeeded pods")


def prepare(job: Object) -> None:
    """Defaults, and the selector by which a Job finds its pods."""
    job["status"] = {}
    spec = job.setdefault("spec", {})
    usual = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False}
    for name, value in usual.items():
        spec.setdefault(name, value)
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed")
    template = spec.setdefault("template", {})
    uid, name = job["metadata"]["uid"], job["metadata"]["name"]
    own = {UID: uid, NAME: name, "controller-uid": uid, "job-name": name}
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    template["metadata"]["labels"] = own | labels
    spec.setdefault("selector", {"matchLabels": {UID: uid}})
    pod = template.setdefault("spec", {})
    for name, value in {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": NODE_GRACE,
        "dnsPolicy": "ClusterFirst",
    }.items():
        pod.setdefault(name, value)


def faults(job: Object) -> list[Fault]:
    spec = job["spec"]
    found = [
        (f"spec.{name}", f"Invalid value: {spec[name]}: must be greater than or equal to 0")
        for name in ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")
        if spec.get(name, 0) < 0
    ]
    if spec["selector"] != {"matchLabels": {UID: job["metadata"]["uid"]}}:
        found.append(("spec.selector", f"Invalid value: {spec['selector']}: `selector` not auto-generated"))
    template, pod = spec["template"], spec["template"]["spec"]
    found += label_faults(template["metadata"]["labels"], "spec.template.labels")
    if pod["restartPolicy"] not in ("OnFailure", "Never"):
        found.append(("spec.template.spec.restartPolicy", 'Required value: valid values: "OnFailure", "Never"'))
    if not pod.get("containers"):
        found.append(("spec.template.spec.containers", "Required value"))
    names = [container.get("name") for container in pod.get("containers", [])]
    for number, container in enumerate(pod.get("containers", [])):
        path = f"spec.template.spec.containers[{number}]"
        found += [(f"{path}.{what}", "Required value") for what in ("name", "image") if not container.get(what)]
        found += [
            (f"{path}.env[{at}].name", "Required value")
            for at, env in enumerate(container.get("env", []))
            if not env.get("name")
        ]
        if names.count(container.get("name")) > 1:
            found.append((f"{path}.name", f'Duplicate value: "{container["name"]}"'))
    return found


FROZEN = ("template", "selector", "completions", "completionMode", "podFailurePolicy", "backoffLimitPerIndex")
JOBS = Kind(
    "jobs",
    "batch",
    "Job",
    whole(JOB_SPEC),
    prepare=prepare,
    faults=faults,
    frozen=tuple(("spec", name) for name in FROZEN),
)


@dataclass
class Pod:
    """What the node knows about a pod."""

    namespace: str
    name: str
    job: str
    """The uid of its Job."""
    began: float = field(default_factory=time.monotonic)
    container: Container | None = None
    since: str = ""
    cause: str = ""
    """Why its process was killed, if the node did it."""
    told_at: float | None = None
    grace: float = NODE_GRACE
    code: int | None = None
    is_over: bool = False
    is_counted: bool = False


@dataclass
class Progress:
    """What the controller knows about a Job."""

    began: float = field(default_factory=time.monotonic)
    failing: tuple[str, str] | None = None
    finished: float | None = None


class Jobs:
    """The job controller, the one of CronJobs as far as it cleans up, the garbage collector, the scheduler and a node."""

    def __init__(self, objects: Objects, lock: threading.RLock) -> None:
        self.objects, self.lock = objects, lock
        self.entrypoint: list[str] = []
        """What the image begins, where the container has no `command`."""
        self.environment: dict[str, str] = {}
        """What containers have beside their own `env`: as the node gives them credentials and a path to AWS."""
        self.directory = Path("/tmp")
        self.unschedulable = ""
        """While it is set, new pods find no node, and this is why."""
        self.unpullable = ""
        """While it is set, new pods get no image, and this is why."""
        self.waiting: tuple[str, str] | None = None
        """While it is set, containers of new pods wait for this reason, with this message."""
        self.pods_are_refused = False
        """While it is set, no pod of a Job can be made, as beyond a quota."""
        self.events: list[tuple[float, str, str]] = []
        """When, which Job or pod, and what: created, deleted, complete, failed."""
        self._pods: list[Pod] = []
        self._progress: dict[str, Progress] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(5)
        with self.lock:
            for pod in self._pods:
                if pod.container:
                    pod.container.end()

    # for tests

    def names(self) -> list[str]:
        """The Jobs that there are."""
        with self.lock:
            return sorted(job["metadata"]["name"] for job in self.objects.all("jobs"))

    def job(self, name: str) -> Object:
        with self.lock:
            (found,) = (job for job in self.objects.all("jobs") if job["metadata"]["name"] == name)
            return found

    def pods_of(self, job: str) -> list[Object]:
        with self.lock:
            return [pod for pod in self.objects.all("pods") if pod["metadata"]["labels"].get(NAME) == job]

    def told(self, what: str) -> list[str]:
        """Which Jobs or pods this was told of."""
        with self.lock:
            return [name for _, name, event in self.events if event == what]

    def log(self, pod: str) -> str:
        path = self._log(pod)
        return path.read_text() if path.exists() else ""

    def _log(self, pod: str) -> Path:
        return self.directory / f"pod-{pod}.log"

    def running(self, job: str) -> list[str]:
        """The names of its pods whose process lives."""
        with self.lock:
            named = {pod["metadata"]["name"] for pod in self.pods_of(job)}
            return [pod.name for pod in self._pods if pod.name in named and pod.container and pod.code is None]

    def oom_kill(self, job: str) -> None:
        """The kernel kills the Job's container because it has used up its memory."""
        self._kill(job, "OOMKilled")

    def evict(self, job: str) -> None:
        """The node kills the Job's pod because it is short of memory itself."""
        self._kill(job, "Evicted")

    def kill(self, job: str) -> None:
        """Its process dies, and nobody knows why."""
        self._kill(job, "")

    def expire(self, job: str) -> None:
        """Its `activeDeadlineSeconds` are over, and so is the time that its process had to end by itself."""
        with self.lock:
            found = self.job(job)
            self._progress[found["metadata"]["uid"]].failing = TOO_LONG
            found["status"]["conditions"] = [condition("FailureTarget", True, *TOO_LONG)]
            self.objects.put("jobs", found)
            for pod in self._living(job):
                pod.grace = 0
                if pod.container:
                    pod.container.signal(signal.SIGKILL)
                self._tell_to_stop(pod)

    def drain(self, job: str) -> None:
        """Its node is emptied (eviction API): the pod is deleted, and its process has time to end."""
        with self.lock:
            for pod in self._living(job):
                self._tell_to_stop(pod)

    def _living(self, job: str) -> list[Pod]:
        uid = self.job(job)["metadata"]["uid"]
        return [pod for pod in self._pods if pod.job == uid and not pod.is_over]

    def _kill(self, job: str, cause: str) -> None:
        with self.lock:
            living = [pod for pod in self._living(job) if pod.container]
            assert len(living) == 1, f"{len(living)} pods of {job} run"
            living[0].cause = cause
            assert living[0].container
            living[0].container.signal(signal.SIGKILL)

    # deletions by clients

    def delete(self, request: Request) -> tuple[int, Object]:
        options = request.document() if request.body.strip() else {}
        found = self.objects.get("jobs", request.namespace, request.name)
        if found is None:
            raise not_found(JOBS.qualified, request.name)
        uid = found["metadata"]["uid"]
        if (wanted := options.get("preconditions", {}).get("uid", uid)) != uid:
            why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"
            raise Refused(409, "Conflict", f'Operation cannot be fulfilled on {JOBS.qualified} "{request.name}": {why}')
        # Without a policy pods go on: batch/v1 keeps to what clients were once promised.
        policy = options.get("propagationPolicy") or request.query.get("propagationPolicy") or "Orphan"
        if policy not in ("Orphan", "Background", "Foreground"):
            raise JOBS.invalid(request.name, [("propagationPolicy", f'Invalid value: "{policy}"')])
        if not request.is_dry_run and options.get("dryRun") != ["All"]:
            self._delete(found, policy)
        if policy == "Background":
            details = {"name": request.name, "group": "batch", "kind": "jobs", "uid": uid}
            return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return 200, found

    def _delete(self, job: Object, policy: str) -> None:
        meta = job["metadata"]
        for pod in [pod for pod in self._pods if pod.job == meta["uid"]]:
            if policy == "Orphan":
                pod.job = ""
                self._written(pod, lambda found: found["metadata"].pop("ownerReferences", None))
            else:
                self._tell_to_stop(pod)
        if policy == "Foreground":
            self.objects.put(
                "jobs", job | {"metadata": meta | {"deletionTimestamp": now(), "finalizers": ["foregroundDeletion"]}}
            )
        else:
            self.objects.remove("jobs", meta["namespace"], meta["name"])
        self._tell(meta["name"], "deleted")

    # controllers

    def _work(self) -> None:
        while not self._stopped.wait(STEP_SECONDS):
            with self.lock:
                for pod in self._pods:
                    self._look_after(pod)
                for job in self.objects.all("jobs"):
                    self._sync(job)
                for cron_job in self.objects.all("cronjobs"):
                    self._clean_history(cron_job)
                self._pods = [pod for pod in self._pods if self.objects.get("pods", pod.namespace, pod.name)]

    def _tell(self, name: str, what: str) -> None:
        self.events.append((time.monotonic(), name, what))

    def _sync(self, job: Object) -> None:
        meta, spec, status = job["metadata"], job["spec"], job["status"]
        progress = self._progress.setdefault(meta["uid"], Progress())
        own = [pod for pod in self._pods if pod.job == meta["uid"]]
        living = [pod for pod in own if not pod.is_over]
        if "deletionTimestamp" in meta:
            if not living:
                self.objects.remove("jobs", meta["namespace"], meta["name"])
            return
        if self._is_orphan(meta):
            self._delete(job, "Background")
            return
        if progress.finished is not None:
            age = time.monotonic() - progress.finished
            if "ttlSecondsAfterFinished" in spec and age >= spec["ttlSecondsAfterFinished"]:
                self._delete(job, "Foreground")
            return
        if spec["suspend"]:
            return
        if "startTime" not in status:
            progress.began = time.monotonic()
            status["startTime"] = now()
        for pod in own:
            if pod.is_over and not pod.is_counted:
                pod.is_counted = True
                ended = "succeeded" if pod.code == 0 else "failed"
                status[ended] = status.get(ended, 0) + 1
        self._judge(job, progress, living)
        counts = {
            "active": sum(pod.told_at is None for pod in living),
            "ready": sum(pod.container is not None and pod.told_at is None for pod in living),
            "terminating": sum(pod.told_at is not None for pod in living),
        }
        status |= counts | {"uncountedTerminatedPods": {}}
        if not counts["active"]:
            del status["active"]
        self.objects.put("jobs", job)

    def _judge(self, job: Object, progress: Progress, living: list[Pod]) -> None:
        """Whether the Job has ended; otherwise sees to it that it has a pod."""
        name, spec, status = job["metadata"]["name"], job["spec"], job["status"]
        deadline = spec.get("activeDeadlineSeconds")
        if progress.failing is None:
            if status.get("succeeded", 0) >= spec["completions"]:
                progress.finished = time.monotonic()
                status["conditions"] = [condition(kind, True, *DONE) for kind in ("SuccessCriteriaMet", "Complete")]
                status["completionTime"] = now()
                self._tell(name, "complete")
                return
            if status.get("failed", 0) > spec["backoffLimit"]:
                progress.failing = LIMIT_REACHED
            elif deadline is not None and time.monotonic() - progress.began >= deadline:
                progress.failing = TOO_LONG
            if progress.failing:
                status["conditions"] = [condition("FailureTarget", True, *progress.failing)]
                for pod in living:
                    self._tell_to_stop(pod)
            elif not living and not self.pods_are_refused:
                self._create_pod(job)
        elif not living:
            # Only when nothing of it runs any more.
            progress.finished = time.monotonic()
            status["conditions"].append(condition("Failed", True, *progress.failing))
            self._tell(name, "failed")

    def _is_orphan(self, meta: Object) -> bool:
        """Whether everything is gone that it belongs to: the garbage collector goes by uids."""
        owners = [owner for owner in meta.get("ownerReferences", []) if owner["kind"] == "CronJob"]
        uids = {found["metadata"]["uid"] for found in self.objects.all("cronjobs", meta["namespace"])}
        return bool(owners) and all(owner["uid"] not in uids for owner in owners)

    def _clean_history(self, cron_job: Object) -> None:
        """Finished Jobs of which the CronJob is the controller go, the oldest first, also while it is suspended."""

        def is_own(job: Object) -> bool:
            owners = job["metadata"].get("ownerReferences", [])
            return any(owner.get("controller") and owner["uid"] == cron_job["metadata"]["uid"] for owner in owners)

        for kind, limit in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
            own = [job for job in self.objects.all("jobs", cron_job["metadata"]["namespace"]) if is_own(job)]
            over = [job for job in own if kind in {item["type"] for item in job["status"].get("conditions", [])}]
            over = [job for job in over if "deletionTimestamp" not in job["metadata"]]
            over.sort(key=lambda job: self._progress[job["metadata"]["uid"]].finished or 0)
            for job in over[: max(0, len(over) - cron_job["spec"][limit])]:
                self._delete(job, "Background")

    # the node

    def _create_pod(self, job: Object) -> None:
        meta, template = job["metadata"], copy.deepcopy(job["spec"]["template"])
        name = f"{meta['name'][:57]}-{secrets.token_hex(3)[:5]}"
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
        own = template.setdefault("metadata", {})
        own |= {"name": name, "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}]}
        own["finalizers"] = ["batch.kubernetes.io/job-tracking"]
        self.objects.create("pods", meta["namespace"], template | {"status": {"phase": "Pending"}})
        grace = template["spec"]["terminationGracePeriodSeconds"]
        self._pods.append(Pod(meta["namespace"], name, meta["uid"], grace=grace))
        self._tell(name, "created")

    def _tell_to_stop(self, pod: Pod) -> None:
        """Deletes a pod: it has until its grace is over, and then is gone."""
        if pod.told_at is not None:
            return
        pod.told_at = time.monotonic()
        self._written(pod, lambda found: found["metadata"].update(deletionTimestamp=now()))
        if pod.container:
            pod.container.signal(signal.SIGTERM)

    def _written(self, pod: Pod, change: Any) -> None:
        if found := self.objects.get("pods", pod.namespace, pod.name):
            change(found)
            self.objects.put("pods", found)

    def _look_after(self, pod: Pod) -> None:
        found = self.objects.get("pods", pod.namespace, pod.name)
        if found is None:
            return
        if not pod.is_over:
            status = self._status(pod, found)
            if status is not None:
                self._written(pod, lambda item: item.update(status=status))
        orphaned = not any(job["metadata"]["uid"] == pod.job for job in self.objects.all("jobs")) and pod.job
        if pod.is_over and (orphaned or pod.told_at is not None) and (pod.is_counted or orphaned):
            # Its Job has counted it, or is gone itself: nothing holds it any more.
            self.objects.remove("pods", pod.namespace, pod.name)

    def _status(self, pod: Pod, found: Object) -> Object | None:
        """The pod's status where it has changed; starts and ends its process on the way."""
        own = found["spec"]["containers"]
        container = next((item for item in own if item["name"] == "strongroom"), own[0])
        if pod.container is None:
            if pod.told_at is not None:
                pod.is_over, pod.code = True, pods.KILLED
                return None
            if self.unschedulable:
                return pods.unscheduled(self.unschedulable)
            if (held := self._held(pod, container)) is not None:
                return pods.waiting(container, *held)
            pod.container = self._start(found, container)
            pod.since = now()
            return pods.running(container, pod.since)
        pod.code = pod.container.exit_code()
        if pod.code is not None:
            pod.is_over = True
            self._tell(pod.name, f"ended with {pod.code}")
            return pods.ended(container, pod.code, pod.since, pod.cause)
        if pod.told_at is not None and time.monotonic() - pod.told_at >= pod.grace:
            pod.container.signal(signal.SIGKILL)
        return None

    def _held(self, pod: Pod, container: Object) -> tuple[str, str] | None:
        """Why the container does not run yet, if it does not."""
        age = time.monotonic() - pod.began
        if self.waiting:
            return self.waiting
        if self.unpullable:
            # The kubelet tries, says why it failed, and waits longer each time.
            if age % (2 * PULL_AGAIN_SECONDS) < PULL_AGAIN_SECONDS:
                return "ErrImagePull", self.unpullable
            return "ImagePullBackOff", f'Back-off pulling image "{container["image"]}"'
        return ("ContainerCreating", "") if age < SCHEDULED_WITHIN else None

    def _start(self, found: Object, container: Object) -> Container:
        meta = found["metadata"]
        fields = {"metadata.name": meta["name"], "metadata.namespace": meta["namespace"], "metadata.uid": meta["uid"]}
        environment = dict(self.environment)
        for item in container.get("env", []):
            path = item.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            if "value" in item or path in fields:
                environment[item["name"]] = item.get("value") or fields.get(path, "")
        command = [*(container.get("command") or self.entrypoint), *container.get("args", [])]
        return Container(meta["name"], command, environment, self.directory, self._log(meta["name"]))
