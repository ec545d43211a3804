"""What is shipped for a cluster does there: the daemon gets along with the rights of its Roles, and Jobs with their template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from case import Case, quick
from kubernetes_double import NAMESPACE, Kubernetes
from kubernetes_rest import Object
from members import LEASE
from test_jobs import CLIENT, SECONDS, assert_made_once, configure, wait_for_failure
from waiting import wait_until

COMPONENTS = Path(__file__).parents[2] / "deploy/kubernetes/components"
TEMPLATE = "strongroom-dump"

Right = tuple[str, str, str]


def rights(installation: str) -> set[Right]:
    """Verb, resource and name that the daemon's Roles allow; the name is empty where any will do."""
    found: set[Right] = set()
    for component in ("leadership", "jobs"):
        role, _ = yaml.safe_load_all((COMPONENTS / component / "roles.yaml").read_text())
        for rule in role["rules"]:
            (resource,) = rule["resources"]
            # As an overlay sets it.
            names = [f"strongroom-{installation}"] if resource == "leases" and "resourceNames" in rule else rule.get("resourceNames", [""])
            found |= {(verb, resource, name) for verb in rule["verbs"] for name in names}
    return found


class AllBut(set[str]):
    """Everything is forbidden that is not allowed."""

    def __init__(self, allowed: set[Right]) -> None:
        super().__init__()
        self.allowed = {f"{verb} {resource}" for verb, resource, _ in allowed}

    def __contains__(self, asked: object) -> bool:
        return asked not in self.allowed


def shipped_template(config: Path, scratch: Path) -> Object:
    """The CronJob, with what differs where containers are processes of this machine."""
    found: Object = yaml.safe_load((COMPONENTS / "jobs/template/cronjob.yaml").read_text())
    (container,) = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    here = {"STRONGROOM_CONFIG": str(config), "TMPDIR": str(scratch)}
    assert here.keys() <= {entry["name"] for entry in container["env"]}
    container["env"] = [entry | {"value": here.get(entry["name"], entry["value"])} for entry in container["env"]]
    del found["metadata"]["namespace"]
    # The API server's defaults, which the double does not know.
    found["spec"] |= {"successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1}
    return found


def test_the_daemon_uses_exactly_the_rights_that_it_is_given(case: Case, cluster: Kubernetes) -> None:
    """It leads, has a dump made, and deletes a Job that does not begin."""
    allowed = rights(case.name)
    cluster.forbidden = AllBut(allowed)
    cluster.jobs.unschedulable = "0/3 nodes are available: 3 Insufficient memory."
    daemon_settings: dict[str, Any] = {"leader": "kubernetes", "leader_lease": f"{LEASE}s", "executor": "kubernetes"}
    strongroom = configure(
        case, cluster, template=False, daemon=daemon_settings, kubernetes={"job_template": TEMPLATE, "job_start_deadline": "3s"}
    )
    with cluster.lock:
        cluster.objects.create("cronjobs", NAMESPACE, shipped_template(strongroom.config, case.directory / "tmp-of-jobs"))
    daemon = strongroom.start()
    assert "Insufficient memory" in wait_for_failure(case, daemon)
    wait_until(lambda: cluster.jobs.told("deleted"), "the Job is deleted")
    cluster.jobs.unschedulable = ""
    daemon.wait_until_well(SECONDS)
    assert_made_once(case, len(case.run_states("ledger")))
    used: set[Right] = set()
    for call in (call for call in cluster.calls if call.client == CLIENT):
        fitting = {right for right in allowed if right[:2] == (call.verb, call.resource) and right[2] in ("", call.name)}
        assert fitting and call.code != 403, call
        used |= fitting
    assert used == allowed, "and needs every one of them"
    (job,) = [cluster.jobs.job(name) for name in cluster.jobs.names()]
    pod = job["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == TEMPLATE and pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["args"][:2] == ["backup", "dump"]
    assert daemon.terminate() == 0
