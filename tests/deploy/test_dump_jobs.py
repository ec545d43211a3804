"""The CronJobs that Jobs are made from: never run by themselves, shut in as the daemon is, and of one mind with it."""

from __future__ import annotations

import re

import pytest
from tools import ROOT, Built, Resource, container_of, mebibytes

TEMPLATE, LARGE = "strongroom-dump", "strongroom-dump-large"
CAP = "STRONGROOM__LIMITS__DUMP_MEMORY"
ADAPTER = (ROOT / "src/adapters/kubernetes/jobs.rs").read_text()


@pytest.fixture(params=[TEMPLATE, LARGE])
def cron_job(request: pytest.FixtureRequest, production: Built) -> Resource:
    spec: Resource = production.one("CronJob", request.param)["spec"]
    return spec


def pod_of(cron_job: Resource) -> Resource:
    pod: Resource = cron_job["jobTemplate"]["spec"]["template"]["spec"]
    return pod


def environment(pod: Resource) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container_of(pod)["env"]}


def test_it_never_runs_by_itself(cron_job: Resource) -> None:
    assert cron_job["suspend"] is True and cron_job["concurrencyPolicy"] == "Forbid"
    _, _, day, month, _ = cron_job["schedule"].split()
    assert (day, month) == ("31", "2"), "not even where somebody wakes it"


def test_what_the_daemon_adds_to_is_there_and_nothing_that_it_would_contradict(cron_job: Resource) -> None:
    (named,) = re.findall(r'^const CONTAINER: &str = "(\w+)";', ADAPTER, re.MULTILINE)
    container = container_of(pod_of(cron_job))
    assert container["name"] == named
    # The image begins with the program, and what is added are its arguments.
    assert "command" not in container and "args" not in container
    job = cron_job["jobTemplate"]["spec"]
    assert job["backoffLimit"] == 0 and pod_of(cron_job)["restartPolicy"] == "Never"
    assert "activeDeadlineSeconds" not in job and "ttlSecondsAfterFinished" not in job, "the daemon says"


def test_its_pod_is_the_daemons_as_far_as_both_need_it(production: Built, cron_job: Resource) -> None:
    dump, daemon = pod_of(cron_job), production.pod
    for key in ("securityContext", "nodeSelector", "enableServiceLinks", "terminationGracePeriodSeconds"):
        assert dump[key] == daemon[key], key
    own, theirs = container_of(dump), container_of(daemon)
    for key in ("image", "imagePullPolicy", "securityContext"):
        assert own[key] == theirs[key], key
    assert environment(dump).items() >= environment(daemon).items()
    assert [mount for mount in own["volumeMounts"]] == [mount for mount in theirs["volumeMounts"] if mount["name"] != "cluster"]
    volumes = [volume for volume in daemon["volumes"] if volume["name"] != "cluster"]
    for ours, its in zip(dump["volumes"], volumes, strict=True):
        optional = {"secret": its["secret"] | {"optional": True}} if "secret" in its else {}
        assert ours == its | optional, "page-token is the daemon's matter, so the Secret may be missing here"
    assert not any(key in own for key in ("ports", "livenessProbe", "readinessProbe", "startupProbe"))


def test_no_autoscaler_ends_a_dump_only_to_save_a_node(cron_job: Resource) -> None:
    annotations = cron_job["jobTemplate"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert annotations["karpenter.sh/do-not-disrupt"] == "true"


def test_it_logs_what_the_daemon_would(cron_job: Resource) -> None:
    """Commands are quieter than `run` unless they are told."""
    assert environment(pod_of(cron_job))["STRONGROOM_LOG_LEVEL"] == "info"


def test_its_memory_holds_the_dump_and_is_its_own(production: Built, cron_job: Resource) -> None:
    pod = pod_of(cron_job)
    dumps = mebibytes(environment(pod).get(CAP, production.in_force()["limits"]["dump_memory"]))
    (tmp,) = [volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume]
    resources, clients = container_of(pod)["resources"], 128
    assert mebibytes(resources["limits"]["memory"]) >= dumps + 64 + mebibytes(tmp["sizeLimit"]) + clients
    assert resources["requests"]["memory"] == resources["limits"]["memory"], "a full node evicts what takes more than it asked for"


def test_every_template_that_is_named_is_there_and_may_be_read(production: Built) -> None:
    config = production.in_force()
    assert config["daemon"]["executor"] == "kubernetes"
    named = {config["kubernetes"]["job_template"]}
    named |= {policy["dump"]["job_template"] for policy in config["policies"].values() if policy["dump"].get("job_template")}
    assert named == {TEMPLATE, LARGE}
    assert {cron_job["metadata"]["name"] for cron_job in production.of_kind("CronJob")} == named
    rights = production.rights("strongroom-jobs")
    assert {name for verb, resource, name in rights if resource == "cronjobs"} == named
    assert {name for verb, resource, name in rights if resource != "cronjobs"} == {""}


def test_it_has_an_identity_of_its_own_and_no_rights_in_the_cluster(production: Built, cron_job: Resource) -> None:
    pod = pod_of(cron_job)
    assert pod["serviceAccountName"] == TEMPLATE and pod["automountServiceAccountToken"] is False
    account = production.one("ServiceAccount", TEMPLATE)
    assert account["automountServiceAccountToken"] is False
    role = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert role.endswith(":role/strongroom-production-dump")
    subjects = [subject["name"] for binding in production.of_kind("RoleBinding") for subject in binding["subjects"]]
    assert TEMPLATE not in subjects


def test_the_right_to_make_jobs_is_no_right_to_other_identities(production: Built, cron_job: Resource) -> None:
    """Without this the daemon could run a pod as `recover`. The API server evaluates it; here only the names are compared."""
    policy = production.one("ValidatingAdmissionPolicy", "strongroom-jobs")["spec"]
    (condition,) = policy["matchConditions"]
    daemon = production.pod["serviceAccountName"]
    # Whatever the namespace is called.
    account = f"'system:serviceaccount:' + request.namespace + ':{daemon}'"
    assert condition["expression"] == f"request.userInfo.username == {account}"
    said = " ".join(validation["expression"] for validation in policy["validations"])
    assert f"serviceAccountName == '{pod_of(cron_job)['serviceAccountName']}'" in said
    assert "automountServiceAccountToken" in said and policy["failurePolicy"] == "Fail"
    binding = production.one("ValidatingAdmissionPolicyBinding", "strongroom-jobs")["spec"]
    assert binding == {"policyName": "strongroom-jobs", "validationActions": ["Deny"]}


def test_who_has_no_jobs_has_nothing_of_them(overlays: dict[str, Built]) -> None:
    staging = overlays["staging"]
    assert staging.in_force()["daemon"]["executor"] == "local"
    kinds = {resource["kind"] for resource in staging.resources}
    assert not kinds & {"CronJob", "Role", "RoleBinding", "ValidatingAdmissionPolicy"}
