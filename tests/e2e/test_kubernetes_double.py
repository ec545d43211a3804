"""The Kubernetes double itself: that it is as strict as the API server where strongroom relies on it, and runs Jobs."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any

import pytest
from kubernetes_double import NAMESPACE, Kubernetes
from kubernetes_pods import isolation
from kubernetes_rest import TOKEN, Object
from waiting import hold_still, wait_until

LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
BATCH = f"/apis/batch/v1/namespaces/{NAMESPACE}"
JOBS = f"{BATCH}/jobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
MOMENT = "2026-01-01T00:00:00.000000Z"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Kubernetes]:
    running = Kubernetes()
    running.jobs.directory = tmp_path
    running.jobs.environment = {"PATH": "/usr/bin:/bin"}
    yield running
    running.stop()


def ask(
    cluster: Kubernetes, method: str, path: str, body: Any = None, client: str = "a", kind: str = "application/json"
) -> tuple[int, Object]:
    headers = {"Authorization": f"Bearer {TOKEN}-{client}", "Content-Type": kind}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(cluster.address + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def refused(answer: tuple[int, Object]) -> tuple[int, str]:
    code, status = answer
    assert status["kind"] == "Status" and status["status"] == "Failure" and status["code"] == code, status
    return code, status["reason"]


def lease(holder: str = "a", version: str | None = None, **spec: Any) -> Object:
    body: Object = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "strongroom-x"}}
    body["metadata"] |= {"resourceVersion": version} if version else {}
    usual = {"holderIdentity": holder, "leaseDurationSeconds": 3, "renewTime": MOMENT, "leaseTransitions": 0}
    return body | {"spec": usual | spec}


def script(text: str, **spec: Any) -> Object:
    """A Job whose container is this shell script."""
    container = {"name": "strongroom", "image": "x", "command": ["sh", "-c", text]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 1}}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "one"}}
    return body | {"spec": {"backoffLimit": 0, "template": template} | spec}


def conditions(cluster: Kubernetes, name: str = "one") -> dict[str, str]:
    """The conditions that hold, and their reasons."""
    found = ask(cluster, "GET", f"{JOBS}/{name}")[1]["status"].get("conditions", [])
    return {item["type"]: item["reason"] for item in found if item["status"] == "True"}


def ended(cluster: Kubernetes, name: str = "one") -> dict[str, str]:
    wait_until(lambda: conditions(cluster, name).keys() & {"Complete", "Failed"}, f"Job {name} has ended", 10)
    return conditions(cluster, name)


def wait_for_process(cluster: Kubernetes, name: str = "one") -> None:
    wait_until(lambda: cluster.jobs.running(name), f"the process of Job {name} runs", 10)
    wait_until(lambda: "ready" in cluster.jobs.log(cluster.jobs.running(name)[0]), "it says so", 10)


def test_a_lease_is_made_once_and_replaced_only_by_whoever_has_seen_it(cluster: Kubernetes) -> None:
    assert refused(ask(cluster, "GET", f"{LEASES}/strongroom-x")) == (404, "NotFound")
    code, made = ask(cluster, "POST", LEASES, lease())
    assert code == 201 and made["metadata"]["uid"] and made["spec"]["holderIdentity"] == "a"
    assert refused(ask(cluster, "POST", LEASES, lease("b"))) == (409, "AlreadyExists")
    version = made["metadata"]["resourceVersion"]
    code, renewed = ask(
        cluster, "PUT", f"{LEASES}/strongroom-x", lease("a", version, renewTime="2026-01-01T00:00:01.000000Z")
    )
    assert code == 200 and int(renewed["metadata"]["resourceVersion"]) > int(version)
    assert refused(ask(cluster, "PUT", f"{LEASES}/strongroom-x", lease("b", version))) == (409, "Conflict")
    assert refused(ask(cluster, "PUT", f"{LEASES}/strongroom-x", lease("b"))) == (422, "Invalid"), "without a version"
    assert refused(ask(cluster, "POST", LEASES, lease("b", version)))[0] == 500, "a version of what is not there yet"
    # Released, and taken by another one. One that is gone is made by a PUT, whatever version that names.
    code, free = ask(cluster, "PUT", f"{LEASES}/strongroom-x", lease("", renewed["metadata"]["resourceVersion"]))
    assert code == 200 and free["spec"]["holderIdentity"] == ""
    assert ask(cluster, "DELETE", f"{LEASES}/strongroom-x")[0] == 200
    assert ask(cluster, "PUT", f"{LEASES}/strongroom-x", lease("b", version))[0] == 201
    held = cluster.lease("strongroom-x")
    assert held and held["holderIdentity"] == "b"


def test_of_twenty_who_replace_one_version_exactly_one_wins(cluster: Kubernetes) -> None:
    version = ask(cluster, "POST", LEASES, lease())[1]["metadata"]["resourceVersion"]
    answers: list[int] = []
    together = threading.Barrier(20)

    def replace(number: int) -> None:
        together.wait()
        answers.append(ask(cluster, "PUT", f"{LEASES}/strongroom-x", lease(f"holder-{number}", version))[0])

    racing = [threading.Thread(target=replace, args=[number]) for number in range(20)]
    for thread in racing:
        thread.start()
    for thread in racing:
        thread.join()
    assert sorted(answers) == [200] + [409] * 19


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"leaseDurationSeconds": 0}, 422),
        ({"leaseDurationSeconds": "3"}, 400),
        ({"renewTime": "2026-01-01T00:00:00Z"}, 400),
        ({"renewTime": "2026-01-01T00:00:00.000000000Z"}, 400),
        ({"renewTime": None}, 201),
        ({"holderIdentity": None}, 201),
        ({"holderName": "misspelt"}, 400),
    ],
)
def test_a_lease_is_read_field_by_field(cluster: Kubernetes, spec: Object, code: int) -> None:
    assert ask(cluster, "POST", f"{LEASES}?fieldValidation=Strict", lease(**spec))[0] == code


def test_one_client_is_cut_off_and_the_other_is_not(cluster: Kubernetes) -> None:
    version = ask(cluster, "POST", LEASES, lease())[1]["metadata"]["resourceVersion"]
    with cluster.cut_off("a", "reset"):
        with pytest.raises((urllib.error.URLError, RemoteDisconnected, ConnectionError)):
            ask(cluster, "GET", f"{LEASES}/strongroom-x")
        assert ask(cluster, "GET", f"{LEASES}/strongroom-x", client="b")[0] == 200
    answers = []
    with cluster.faulty("late", client="a", verb="update"):
        late = threading.Thread(
            target=lambda: answers.append(ask(cluster, "PUT", f"{LEASES}/strongroom-x", lease("a", version)))
        )
        late.start()
        wait_until(lambda: cluster.asked("update", "leases", "a"), "the write is on its way")
        assert ask(cluster, "PUT", f"{LEASES}/strongroom-x", lease("b", version), client="b")[0] == 200
    late.join()
    assert refused(answers[0]) == (409, "Conflict"), "whoever comes late has lost"
    with cluster.faulty("lost", client="b", verb="delete"), pytest.raises(RemoteDisconnected):
        ask(cluster, "DELETE", f"{LEASES}/strongroom-x", client="b")
    assert cluster.lease("strongroom-x") is None
    with cluster.faulty("error", count=1, code=500):
        assert ask(cluster, "GET", LEASES)[0] == 500 and ask(cluster, "GET", LEASES)[0] == 200


def test_rights_are_asked_for_by_verb_and_resource(cluster: Kubernetes) -> None:
    cluster.cron_job("strongroom-dump", {"args": []})
    assert ask(cluster, "GET", f"{BATCH}/cronjobs/strongroom-dump")[1]["spec"]["suspend"] is True
    cluster.forbidden.add("get cronjobs")
    answer = ask(cluster, "GET", f"{BATCH}/cronjobs/strongroom-dump")
    assert refused(answer) == (403, "Forbidden")
    assert 'cannot get resource "cronjobs" in API group "batch" in the namespace "strongroom"' in answer[1]["message"]
    assert ask(cluster, "GET", f"{BATCH}/cronjobs")[0] == 200, "to list is another right"


def test_a_job_with_a_mistake_is_refused_as_the_api_server_does(cluster: Kubernetes) -> None:
    strict = f"{JOBS}?fieldValidation=Strict"
    wrong = script("true", ttlSecondsAfterFinish=1)
    answer = ask(cluster, "POST", strict, wrong)
    assert refused(answer) == (400, "BadRequest")
    assert answer[1]["message"].endswith('strict decoding error: unknown field "spec.ttlSecondsAfterFinish"')
    wrong = script("true")
    wrong["spec"]["template"]["spec"]["containers"][0]["arguments"] = []
    assert (
        'unknown field "spec.template.spec.containers[0].arguments"'
        in ask(cluster, "POST", strict, wrong)[1]["message"]
    )
    del wrong["spec"]["template"]["spec"]["restartPolicy"]
    assert refused(ask(cluster, "POST", JOBS, wrong)) == (422, "Invalid"), "Always is no policy of a Job"
    for meta in ({"name": "n" * 64}, {"name": "One"}, {"name": "one", "labels": {"x": "a:b"}}, {"name": ""}):
        assert refused(ask(cluster, "POST", strict, script("true") | {"metadata": meta})) == (422, "Invalid"), meta
    code, tried = ask(cluster, "POST", f"{strict}&dryRun=All", script("true"))
    assert code == 201 and tried["spec"]["completions"] == 1 and not cluster.jobs.names()


def test_a_job_runs_its_container_to_the_end_and_tells_how(cluster: Kubernetes) -> None:
    job = script('echo "ready $0 $WHO $(hostname) $$"')
    container = job["spec"]["template"]["spec"]["containers"][0]
    container["args"] = ["backup"]
    container["env"] = [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    assert ask(cluster, "POST", f"{JOBS}?fieldValidation=Strict", job)[0] == 201
    assert refused(ask(cluster, "POST", JOBS, job)) == (409, "AlreadyExists")
    assert ended(cluster) == {"SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}
    code, found = ask(cluster, "GET", f"{PODS}?labelSelector=batch.kubernetes.io%2Fjob-name%3Done")
    (pod,) = found["items"]
    assert code == 200 and pod["status"]["phase"] == "Succeeded"
    name = pod["metadata"]["name"]
    assert cluster.jobs.log(name).startswith(f"ready backup {name} ")
    if isolation():
        assert cluster.jobs.log(name).endswith(f"{name} 1\n"), "a host name and PIDs of its own"
    job = ask(cluster, "GET", f"{JOBS}/one")[1]
    assert job["status"]["succeeded"] == 1 and "active" not in job["status"] and job["status"]["completionTime"]
    changed = job | {"spec": job["spec"] | {"template": job["spec"]["template"] | {"metadata": {"labels": {"a": "b"}}}}}
    answer = ask(cluster, "PUT", f"{JOBS}/one", changed)
    assert refused(answer) == (422, "Invalid") and "spec.template: " in answer[1]["message"]


def terminated(cluster: Kubernetes) -> Object:
    (pod,) = cluster.jobs.pods_of("one")
    state: Object = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return state


def test_a_container_that_fails_or_is_killed_says_so(cluster: Kubernetes) -> None:
    ask(cluster, "POST", JOBS, script("exit 3"))
    assert ended(cluster) == {"FailureTarget": "BackoffLimitExceeded", "Failed": "BackoffLimitExceeded"}
    assert (terminated(cluster)["exitCode"], terminated(cluster)["reason"]) == (3, "Error")
    for kill, reason, phase in ((cluster.jobs.oom_kill, "OOMKilled", None), (cluster.jobs.evict, "Error", "Evicted")):
        ask(cluster, "DELETE", f"{JOBS}/one?propagationPolicy=Background")
        wait_until(lambda: not cluster.jobs.pods_of("one"), "the pod is gone")
        ask(cluster, "POST", JOBS, script("echo ready; sleep 60"))
        wait_for_process(cluster)
        kill("one")
        assert ended(cluster)["Failed"] == "BackoffLimitExceeded"
        assert (terminated(cluster)["exitCode"], terminated(cluster)["reason"]) == (137, reason)
        assert cluster.jobs.pods_of("one")[0]["status"].get("reason") == phase


def test_pods_that_do_not_start_say_why_and_start_when_they_can(cluster: Kubernetes) -> None:
    cluster.jobs.unschedulable = "0/3 nodes are available: 3 Insufficient memory."
    ask(cluster, "POST", JOBS, script("true"))

    def status() -> Object:
        found = cluster.jobs.pods_of("one")
        return found[0]["status"] if found else {}

    wait_until(lambda: status().get("conditions"), "the scheduler has looked")
    assert status()["phase"] == "Pending" and "containerStatuses" not in status()
    (scheduled,) = status()["conditions"]
    assert (scheduled["type"], scheduled["status"], scheduled["reason"]) == ("PodScheduled", "False", "Unschedulable")
    assert ask(cluster, "GET", f"{JOBS}/one")[1]["status"]["active"] == 1
    cluster.jobs.unschedulable, cluster.jobs.unpullable = "", 'failed to pull image "x": not found'
    seen: set[str] = set()

    def both_seen() -> bool:
        for container in status().get("containerStatuses", []):
            seen.add(container["state"]["waiting"]["reason"])
        return {"ErrImagePull", "ImagePullBackOff"} <= seen

    wait_until(both_seen, "both reasons are seen", 5)
    cluster.jobs.unpullable = ""
    assert "Complete" in ended(cluster)


def test_a_job_that_takes_too_long_is_stopped_and_its_pod_is_gone(cluster: Kubernetes) -> None:
    ask(
        cluster,
        "POST",
        JOBS,
        script("trap 'echo told; exit 1' TERM; echo ready; sleep 60 & wait", activeDeadlineSeconds=1),
    )
    wait_for_process(cluster)
    (pod,) = cluster.jobs.running("one")
    assert ended(cluster) == {"FailureTarget": "DeadlineExceeded", "Failed": "DeadlineExceeded"}
    assert "told" in cluster.jobs.log(pod)
    wait_until(lambda: not cluster.jobs.pods_of("one"), "no pod is left to ask for the reason")
    ask(cluster, "POST", JOBS, script("echo ready; sleep 60") | {"metadata": {"name": "two"}})
    wait_for_process(cluster, "two")
    cluster.jobs.expire("two")
    assert ended(cluster, "two")["Failed"] == "DeadlineExceeded"
    wait_until(lambda: not cluster.jobs.pods_of("two"), "that of the other is gone, too")


def test_a_deleted_jobs_process_is_told_to_end_and_then_is_made_to(cluster: Kubernetes) -> None:
    ask(cluster, "POST", JOBS, script("trap 'echo told' TERM; echo ready; while :; do sleep 0.1; done"))
    wait_for_process(cluster)
    (pod,) = cluster.jobs.running("one")
    began = time.monotonic()
    code, status = ask(cluster, "DELETE", f"{JOBS}/one", {"propagationPolicy": "Background"})
    assert code == 200 and status["status"] == "Success" and not cluster.jobs.names()
    assert refused(ask(cluster, "DELETE", f"{JOBS}/one")) == (404, "NotFound")
    wait_until(lambda: not cluster.jobs.pods_of("one"), "the pod is gone", 5)
    assert time.monotonic() - began >= 1, "its grace was kept"
    assert "told" in cluster.jobs.log(pod)


def test_a_job_deleted_without_a_policy_leaves_its_pod(cluster: Kubernetes) -> None:
    ask(cluster, "POST", JOBS, script("echo ready; sleep 60"))
    wait_for_process(cluster)
    assert ask(cluster, "DELETE", f"{JOBS}/one")[0] == 200 and not cluster.jobs.names()
    hold_still(lambda: len(cluster.jobs.running("one")) == 1, "the process goes on", 0.3)


def owned(cluster: Kubernetes, uid: str | None = None, **more: Any) -> Object:
    found = ask(cluster, "GET", f"{BATCH}/cronjobs/template")[1]["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "template", "uid": uid or found["uid"]} | more
    return {"ownerReferences": [owner]}


def test_jobs_go_with_their_owner_and_when_their_time_is_over(cluster: Kubernetes) -> None:
    cluster.cron_job("template", {"args": []})
    for name, meta in (("kept", owned(cluster)), ("stray", owned(cluster, "not-its-uid"))):
        ask(cluster, "POST", JOBS, script("sleep 60") | {"metadata": {"name": name} | meta})
    wait_until(lambda: cluster.jobs.names() == ["kept"], "what belongs to nothing is gone")
    ask(cluster, "POST", JOBS, script("true", ttlSecondsAfterFinished=1))
    ended(cluster)
    wait_until(lambda: cluster.jobs.names() == ["kept"], "its time is over", 5)
    cluster.remove_cron_job("template")
    wait_until(lambda: not cluster.jobs.names(), "its owner is gone")


def test_a_controlling_cron_job_keeps_one_failed_job(cluster: Kubernetes) -> None:
    """So a Job that is to be asked how it ended has the CronJob for an owner, not for its controller."""
    cluster.cron_job("template", {"args": []})
    for number in range(3):
        meta = owned(cluster, controller=number < 2)
        ask(cluster, "POST", JOBS, script("exit 1") | {"metadata": {"name": f"job-{number}"} | meta})
        wait_until(lambda number=number: f"job-{number}" in cluster.jobs.told("failed"), "it has failed")  # type: ignore[misc]
    wait_until(lambda: cluster.jobs.names() == ["job-1", "job-2"], "the older one is gone")


def test_a_drained_node_deletes_the_pod_and_a_process_that_ends_well_counts_as_a_success(cluster: Kubernetes) -> None:
    ask(cluster, "POST", JOBS, script("trap 'exit 0' TERM; echo ready; sleep 60 & wait"))
    wait_for_process(cluster)
    cluster.jobs.drain("one")
    assert "Complete" in ended(cluster)
    wait_until(lambda: not cluster.jobs.pods_of("one"), "no pod is left")
