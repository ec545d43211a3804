"""Dumps that are made by Kubernetes Jobs: begun, adopted, watched and recorded by the daemon, which makes none itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from case import ALL_BUT_THE_FIRST, Case, Config, quick, source
from kubernetes_double import NAMESPACE, Kubernetes
from kubernetes_pods import isolation
from kubernetes_rest import Object
from members import FOLLOWS, LEADS, LEASE, MARGIN, Member, member, second_part_is_on_its_way
from postgres_tools import pg_dumps
from strongroom_process import BINARY, Daemon, Strongroom
from waiting import hold_still, wait_until

TEMPLATE = "strongroom-dump"
CLIENT = "daemon"
INSTANCE = "bank-ledger"
SECONDS = 90
"""A Job is asked about every few seconds, and its process is another start of the program."""
EXECUTOR: Config = {"executor": "kubernetes"}


def job_key(case: Case) -> str:
    """With this access key the processes of Jobs sign."""
    return f"{case.access_key}JOB"


def job_calls(case: Case, operation: str) -> list[dict[str, Any]]:
    return [call for call in case.sandbox.calls(operation) if call["access_key"] == job_key(case)]


def container(config: Path, **more: Any) -> Object:
    """The container of a template, as an image has it that begins the program."""
    env = [{"name": "STRONGROOM_CONFIG", "value": str(config)}]
    return {"args": ["--log-format", "json"], "env": env} | more


def give_jobs_to(cluster: Kubernetes, case: Case, strongroom: Strongroom) -> None:
    """What the image and the node have for every container."""
    scratch = case.directory / "tmp-of-jobs"
    scratch.mkdir()
    cluster.jobs.entrypoint = [str(BINARY)]
    cluster.jobs.environment = strongroom.environment | {"AWS_ACCESS_KEY_ID": job_key(case), "TMPDIR": str(scratch)}


def configure(
    case: Case,
    cluster: Kubernetes,
    *sources: str,
    template: bool = True,
    kubernetes: Config | None = None,
    **changes: Any,
) -> Strongroom:
    """Dumps of these sources by Jobs; `changes` are those of `Case.configure`."""
    file = cluster.kubeconfig(case.directory / "kubeconfig", CLIENT, NAMESPACE)
    own = {"kubeconfig": str(file), "job_template": TEMPLATE} | (kubernetes or {})
    changes = {"dump": quick(), "daemon": EXECUTOR, "kubernetes": own} | changes
    names = sources if sources or "sources" in changes else ("ledger",)
    strongroom = case.configure(*names, **changes)
    give_jobs_to(cluster, case, strongroom)
    if template:
        cluster.cron_job(TEMPLATE, container(strongroom.config))
    return strongroom


@contextmanager
def holding_jobs(case: Case) -> Iterator[None]:
    """Dumps by Jobs stop in mid-table until the end of the block."""
    with case.holding("UploadPart", ALL_BUT_THE_FIRST | {"access_key": f"^{job_key(case)}$"}):
        yield


def wait_for_mid_dump(case: Case, cluster: Kubernetes, daemon: Daemon) -> str:
    """Waits until the Job's dump of the ledger is held; the Job's name."""
    daemon.wait_for(cluster.jobs.names, "there is a Job")
    (name,) = cluster.jobs.names()

    def is_held() -> bool:
        return case.first_part_is_stored() and second_part_is_on_its_way(job_calls(case, "UploadPart"))

    daemon.wait_for(is_held, "the first part is stored and the second on its way", SECONDS)
    daemon.wait_for(lambda: case.run_states("ledger", "dump") == ["running"], "the run is claimed")
    return name


@contextmanager
def in_mid_dump(case: Case, cluster: Kubernetes, strongroom: Strongroom) -> Iterator[tuple[Daemon, str]]:
    """Starts a daemon, and holds the dump of its Job in mid-table."""
    with holding_jobs(case):
        daemon = strongroom.start()
        yield daemon, wait_for_mid_dump(case, cluster, daemon)


def wait_for_failure(case: Case, daemon: Daemon) -> str:
    """Waits until the first run has failed; what its record says."""
    daemon.wait_for(lambda: case.run_states("ledger")[:1] == ["failed"], "the run has failed", SECONDS)
    message: str = case.runs("ledger")[0]["failure"]["message"]
    return message


def assert_made_once(case: Case, attempt: int) -> None:
    """One dump, whole, made by this attempt; nothing of others is left open."""
    (manifest,) = case.manifests("ledger")
    case.assert_whole(manifest)
    assert manifest["run"].endswith(f"-{attempt}")
    wait_until(lambda: not case.uploads(), "no upload is left")


def ancestors(pid: int) -> list[int]:
    """The process and those that it descends from."""
    found = []
    while pid > 1:
        found.append(pid)
        try:
            pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found


def test_a_dump_is_made_by_a_job_that_is_named_after_it(case: Case, cluster: Kubernetes) -> None:
    strongroom = configure(case, cluster, snapshot=quick())
    with in_mid_dump(case, cluster, strongroom) as (daemon, name):
        job = cluster.jobs.job(name)
        clients = pg_dumps(case.sandbox.instance(INSTANCE)["Endpoint"]["Port"])
        assert clients and all(daemon.pid not in ancestors(pid) for pid in clients), "the daemon has no session there"
    daemon.wait_until_well(SECONDS)
    (record,) = case.runs("ledger", "dump")
    slot, attempt = record["run"].split("-")[0], record["run"].rsplit("-", 1)[1]
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) and "ledger" in name, name
    words = ["backup", "dump", "ledger", "--database=ledger", "--slot", slot, "--attempt", attempt]
    (running,) = job["spec"]["template"]["spec"]["containers"]
    assert running["args"] == ["--log-format", "json", *words]
    meta, spec = job["metadata"], job["spec"]
    assert meta["labels"]["app.kubernetes.io/managed-by"] == "strongroom"
    assert meta["annotations"]["strongroom/run"] == record["run"]
    (owner,) = meta["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("CronJob", TEMPLATE)
    assert not owner.get("controller"), "a CronJob deletes failed Jobs that it controls, all but one"
    assert spec["backoffLimit"] == 0 and spec["activeDeadlineSeconds"] > 0 and spec["ttlSecondsAfterFinished"] > 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    (created,) = cluster.asked("create", "jobs")
    assert created.query["fieldValidation"] == "Strict"
    if isolation():
        (pod,) = cluster.jobs.pods_of(name)
        assert record["owner"]["host"] == pod["metadata"]["name"] and record["owner"]["pid"] == 1
    assert record["state"] == "succeeded" and case.calls("UploadPart") == [], "its process alone has written the dump"
    assert_made_once(case, 1)
    (snapshot,) = case.runs("ledger", "snapshot")
    assert snapshot["owner"]["pid"] == daemon.pid, "snapshots are RDS's work: they need no Job"
    assert cluster.jobs.told("complete") == [name] == cluster.jobs.names()
    assert len([line for line in daemon.lines("run succeeded") if line["run.id"] == record["run"]]) == 1
    assert daemon.metric("strongroom_runs_total", source="ledger", kind="dump", outcome="success") == 1
    assert daemon.at_level("ERROR", "WARN") == []
    listed = strongroom("list", "--json", code=None).json()
    assert [point["source"] for point in listed if point["kind"] == "dump"] == ["ledger"]


def test_each_database_has_a_job_and_long_names_are_shortened(case: Case, cluster: Kubernetes) -> None:
    """A Job's name is a label of its pods: 63 characters."""
    long = "what-is-lent-and-what-has-come-back-here"
    sources = {long: source("lending", databases=["lending", "history"])}
    daemon = configure(case, cluster, sources=sources).start()
    daemon.wait_until_well(SECONDS)
    assert case.run_states(long) == ["succeeded", "succeeded"]
    names = cluster.jobs.names()
    assert len(names) == 2 and all(len(name) <= 63 for name in names), names


def test_a_job_that_was_made_although_nobody_heard_of_it_is_adopted(case: Case, cluster: Kubernetes) -> None:
    strongroom = configure(case, cluster)
    with cluster.faulty("lost", verb="create", resource="jobs", count=1):
        daemon = strongroom.start()
        daemon.wait_until_well(SECONDS)
    codes = [call.code for call in cluster.asked("create", "jobs")]
    assert codes in ([0], [0, 409]), "its answer was lost; whoever asks again hears that it is there"
    assert len(cluster.jobs.names()) == 1 and case.run_states("ledger") == ["succeeded"]
    assert_made_once(case, 1)


DEATHS: dict[str, tuple[Callable[[Kubernetes, str], None], str]] = {
    "out of memory": (lambda cluster, job: cluster.jobs.oom_kill(job), "OOMKilled"),
    "evicted": (lambda cluster, job: cluster.jobs.evict(job), "Evicted"),
    "killed": (lambda cluster, job: cluster.jobs.kill(job), "137"),
    "too long": (lambda cluster, job: cluster.jobs.expire(job), "DeadlineExceeded"),
}


@pytest.mark.parametrize("how", DEATHS)
def test_a_job_that_dies_in_mid_dump_is_recorded_with_the_reason_and_the_next_one_succeeds(
    case: Case, cluster: Kubernetes, how: str
) -> None:
    strongroom = configure(case, cluster)
    die, reason = DEATHS[how]
    with in_mid_dump(case, cluster, strongroom) as (daemon, name):
        die(cluster, name)
        message = wait_for_failure(case, daemon)
    assert reason in message, message
    line = daemon.wait_for_line("run failed")
    assert line["level"] == "ERROR" and line["error"] == message
    daemon.wait_until_well(SECONDS)
    assert case.run_states("ledger") == ["failed", "succeeded"]
    assert_made_once(case, 2)
    (failed,), (complete,) = cluster.jobs.told("failed"), cluster.jobs.told("complete")
    assert failed == name != complete, "each attempt has a Job of its own"
    assert daemon.metric("strongroom_runs_total", source="ledger", kind="dump", outcome="failure") == 1


def test_a_job_whose_node_is_emptied_ends_its_run_itself(case: Case, cluster: Kubernetes) -> None:
    """Its process is told, and has time to say so: nothing has failed."""
    strongroom = configure(case, cluster)
    with in_mid_dump(case, cluster, strongroom) as (daemon, name):
        cluster.jobs.drain(name)
        daemon.wait_for(lambda: case.run_states("ledger")[:1] == ["cancelled"], "its process says that it was stopped")
    daemon.wait_until_well(SECONDS)
    assert case.run_states("ledger") == ["cancelled", "succeeded"]
    assert_made_once(case, 2)
    assert daemon.at_level("ERROR") == []


Hindrance = dict[str, Any]
HINDRANCES: dict[str, tuple[Hindrance, str]] = {
    "no node": ({"unschedulable": "0/3 nodes are available: 3 Insufficient memory."}, "Insufficient memory"),
    "no image": ({"unpullable": 'failed to pull image "registry.test/strongroom:1": not found'}, "ImagePull"),
    "no secret": ({"waiting": ("CreateContainerConfigError", 'secret "strongroom" not found')}, 'secret "strongroom"'),
    # A volume that cannot be mounted: only events say more.
    "no volume": ({"waiting": ("ContainerCreating", "")}, "ContainerCreating"),
    "no pod": ({"pods_are_refused": True}, "pod"),
}


@pytest.mark.parametrize("what", HINDRANCES)
def test_a_job_that_does_not_start_is_given_up_and_tells_why(case: Case, cluster: Kubernetes, what: str) -> None:
    hindrance, says = HINDRANCES[what]
    for name, value in hindrance.items():
        setattr(cluster.jobs, name, value)
    strongroom = configure(case, cluster, kubernetes={"job_start_deadline": "3s"})
    daemon = strongroom.start()
    daemon.wait_for(cluster.jobs.names, "there is a Job")
    (name,) = cluster.jobs.names()
    message = wait_for_failure(case, daemon)
    assert says in message, message
    wait_until(lambda: name in cluster.jobs.told("deleted"), "the Job is deleted")
    wait_until(lambda: not cluster.jobs.pods_of(name), "its pod, too")
    assert case.dump_objects("ledger") == []
    for setting in hindrance:
        setattr(cluster.jobs, setting, False if setting == "pods_are_refused" else None if setting == "waiting" else "")
    daemon.wait_until_well(SECONDS)
    states = case.run_states("ledger")
    assert states == ["failed"] * (len(states) - 1) + ["succeeded"]
    assert_made_once(case, len(states))
    assert len(cluster.jobs.names()) == 1, "of those that were given up none is left"


def test_a_job_that_starts_late_but_in_time_is_waited_for(case: Case, cluster: Kubernetes) -> None:
    cluster.jobs.unschedulable = "0/3 nodes are available: 3 Insufficient cpu."
    strongroom = configure(case, cluster, kubernetes={"job_start_deadline": "60s"})
    daemon = strongroom.start()
    daemon.wait_for(cluster.jobs.names, "there is a Job")
    hold_still(
        lambda: len(cluster.jobs.names()) == 1 and "failed" not in case.run_states("ledger"), "it is waited for", 5
    )
    cluster.jobs.unschedulable = ""
    daemon.wait_until_well(SECONDS)
    assert case.run_states("ledger") == ["succeeded"]


@pytest.mark.parametrize("end", [Daemon.terminate, Daemon.kill], ids=["told to stop", "killed"])
def test_a_dump_goes_on_while_the_daemon_is_restarted(
    case: Case, cluster: Kubernetes, end: Callable[[Daemon], object]
) -> None:
    strongroom = configure(case, cluster)
    with in_mid_dump(case, cluster, strongroom) as (daemon, name):
        end(daemon)
        assert cluster.jobs.running(name) and case.run_states("ledger") == ["running"]
        restarted = strongroom.start()
        restarted.wait_ready()
        hold_still(lambda: len(cluster.jobs.running(name)) == 1, "the Job goes on", 3)
        assert case.run_states("ledger") == ["running"] and cluster.jobs.names() == [name]
    restarted.wait_until_well(SECONDS)
    assert case.run_states("ledger") == ["succeeded"] and cluster.asked("delete", "jobs") == []
    assert_made_once(case, 1)
    assert cluster.jobs.told("complete") == [name]
    restarted.wait_for_line("run succeeded")
    assert restarted.at_level("ERROR", "WARN") == []


def test_the_next_leader_leaves_the_job_of_the_one_before_alone(case: Case, cluster: Kubernetes) -> None:
    pair = leaders(case, cluster)
    with holding_jobs(case):
        first = pair[0].start()
        first.wait_for_line(LEADS)
        name = wait_for_mid_dump(case, cluster, first)
        second = pair[1].start()
        second.wait_for_line(FOLLOWS)
        first.kill()
        second.wait_for_line(LEADS, LEASE + MARGIN)
        second.wait_ready()
        hold_still(lambda: cluster.jobs.names() == [name] and case.run_states("ledger") == ["running"], "it goes on", 3)
    second.wait_until_well(SECONDS)
    assert case.run_states("ledger") == ["succeeded"] and cluster.jobs.told("complete") == [name]
    assert_made_once(case, 1)


def leaders(case: Case, cluster: Kubernetes) -> tuple[Member, Member]:
    """Two that may lead, whose dumps are made by Jobs."""
    changes: Config = {"dump": quick(), "daemon": EXECUTOR, "kubernetes": {"job_template": TEMPLATE}}
    first, second = (member(case, name, "kubernetes", "ledger", cluster=cluster, **changes) for name in "ab")
    give_jobs_to(cluster, case, first.strongroom)
    cluster.cron_job(TEMPLATE, container(first.strongroom.config))
    return first, second


def test_a_follower_makes_no_job(case: Case, cluster: Kubernetes) -> None:
    first, second = leaders(case, cluster)
    leader = first.start()
    leader.wait_for_line(LEADS)
    follower = second.start()
    follower.wait_for_line(FOLLOWS)
    leader.wait_until_well(SECONDS)
    follower.wait_until_well(SECONDS)
    writes = [call for call in cluster.calls if call.client == "b" and call.verb not in ("get", "list")]
    assert not writes and len(cluster.jobs.names()) == 1


def test_a_cluster_out_of_reach_in_mid_dump_fails_nothing(case: Case, cluster: Kubernetes) -> None:
    """The record of the run in the store says that it goes on, and at last that it has succeeded."""
    strongroom = configure(case, cluster)
    with in_mid_dump(case, cluster, strongroom) as (daemon, name), cluster.cut_off(CLIENT, "reset"):
        hold_still(lambda: case.run_states("ledger") == ["running"], "the run goes on", 5)
        assert cluster.jobs.running(name)
    daemon.wait_until_well(SECONDS)
    assert case.run_states("ledger") == ["succeeded"]
    assert_made_once(case, 1)
    assert daemon.at_level("ERROR") == []


MISTAKES: dict[str, tuple[str, Config, str]] = {
    "no template": ("", {}, f'"{TEMPLATE}" not found'),
    "may not read it": ("get cronjobs", {"args": []}, 'cannot get resource "cronjobs"'),
    "may not make jobs": ("create jobs", {"args": []}, 'cannot create resource "jobs"'),
    "no such container": ("", {"name": "backup"}, "no container called `strongroom`"),
    "ends at once": ("", {"command": ["true"]}, "Job"),
    "no such program": ("", {"command": ["/no/such/program"]}, "127" if isolation() else "Job"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_template_that_does_not_do_is_told_in_the_record_and_mended_without_a_restart(
    case: Case, cluster: Kubernetes, what: str
) -> None:
    right, changes, says = MISTAKES[what]
    strongroom = configure(case, cluster, template=False)
    good = container(strongroom.config)
    cluster.forbidden |= {right} if right else set()
    if changes:
        cluster.cron_job(TEMPLATE, good | changes)
    daemon = strongroom.start()
    message = wait_for_failure(case, daemon)
    assert says in message, message
    assert case.dump_objects("ledger") == []
    cluster.forbidden.clear()
    cluster.remove_cron_job(TEMPLATE)
    cluster.cron_job(TEMPLATE, good)
    daemon.wait_until_well(SECONDS)
    states = case.run_states("ledger")
    assert states == ["failed"] * (len(states) - 1) + ["succeeded"]
    assert_made_once(case, len(states))


def test_a_policy_may_have_a_template_of_its_own(case: Case, cluster: Kubernetes) -> None:
    """For databases whose dumps need more memory, or another node."""
    big = {"resources": {"limits": {"memory": "8Gi"}}}
    sources = {"ledger": source("ledger", policy="big"), "lending": source("lending")}
    policies = {"big": {"dump": quick(job_template="strongroom-dump-big")}}
    strongroom = configure(case, cluster, sources=sources, policies=policies)
    cluster.cron_job("strongroom-dump-big", container(strongroom.config, **big), nodeSelector={"size": "big"})
    daemon = strongroom.start()
    daemon.wait_until_well(SECONDS)
    made = {}
    for name in cluster.jobs.names():
        job = cluster.jobs.job(name)
        spec = job["spec"]["template"]["spec"]
        dumped = next(word for word in sources if word in spec["containers"][0]["args"])
        limits = spec["containers"][0].get("resources", {}).get("limits", {})
        made[dumped] = (job["metadata"]["ownerReferences"][0]["name"], limits.get("memory"), spec.get("nodeSelector"))
    big_made = ("strongroom-dump-big", "8Gi", {"size": "big"})
    assert made == {"ledger": big_made, "lending": (TEMPLATE, None, None)}
    assert case.run_states("ledger") == case.run_states("lending") == ["succeeded"]


def test_what_the_template_has_beside_comes_along(case: Case, cluster: Kubernetes) -> None:
    """Accounts, volumes, rules of the cluster: what strongroom knows nothing of."""
    strongroom = configure(case, cluster, template=False)
    volumes = [{"name": "tmp", "emptyDir": {"medium": "Memory"}}]
    pod: Config = {
        "serviceAccountName": "dumper",
        "volumes": volumes,
        "tolerations": [{"key": "batch", "operator": "Exists"}],
    }
    mounted = container(strongroom.config, volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}])
    cluster.cron_job(TEMPLATE, mounted, **pod)
    daemon = strongroom.start()
    daemon.wait_until_well(SECONDS)
    (name,) = cluster.jobs.names()
    template = cluster.jobs.job(name)["spec"]["template"]
    assert pod.items() <= template["spec"].items()
    assert template["metadata"]["labels"]["app.kubernetes.io/name"] == "strongroom"
    (running,) = template["spec"]["containers"]
    assert running["volumeMounts"] == mounted["volumeMounts"] and running["image"] == "registry.test/strongroom:1"
    assert running["env"][0] == mounted["env"][0]


@pytest.mark.parametrize("what", [what for what in MISTAKES if "at once" not in what and "program" not in what])
def test_check_online_tells_of_a_template_that_does_not_do_and_makes_nothing(
    case: Case, cluster: Kubernetes, what: str
) -> None:
    right, changes, says = MISTAKES[what]
    strongroom = configure(case, cluster, template=False)
    cluster.cron_job(TEMPLATE, container(strongroom.config))
    assert "Job" not in strongroom("check", "--online", code=None).out
    cluster.remove_cron_job(TEMPLATE)
    cluster.forbidden |= {right} if right else set()
    if changes:
        cluster.cron_job(TEMPLATE, container(strongroom.config) | changes)
    found = strongroom("check", "--online", code=3).out
    assert says in found and TEMPLATE in found, found
    assert cluster.jobs.names() == []


def test_check_online_asks_who_leads_and_where_there_is_no_cluster_says_that_it_has_not(
    case: Case, cluster: Kubernetes
) -> None:
    led: Config = EXECUTOR | {"leader": "kubernetes"}
    strongroom = configure(case, cluster, daemon=led)
    assert "Lease" not in strongroom("check", "--online", code=None).out
    cluster.forbidden.add("get leases")
    found = strongroom("check", "--online", code=3).out
    assert "cannot read Lease" in found and 'cannot get resource "leases"' in found, found
    # As in the pod of a Job, which has no token.
    outside = case.configure("ledger", dump=quick(), daemon=led, kubernetes={"job_template": TEMPLATE})
    checked = outside("check", "--online", code=None)
    assert "there is no cluster to be asked from here" in checked.err, checked.err
    assert "cluster" not in checked.out, checked.out
