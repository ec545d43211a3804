"""Two daemons that agree, as the component `leadership` has them: one goes on whatever happens to the other, by few rights."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from tools import KUBERNETES, ROOT, Built, Resource, build

SOURCES = ROOT / "src/adapters/kubernetes"
VERBS = {"get": "get", "get_opt": "get", "list": "list", "create": "create", "replace": "update", "delete": "delete"}
"""What a call of the client is in the words of a Role."""
CLIENTS = {
    "leases": "leases",
    "self.leases().await?": "leases",
    'resources(&client, "CronJob")': "cronjobs",
    "Request::new(path)": "jobs",
    "jobs": "jobs",
    "pods": "pods",
}
"""What the sources call on, and which resource that is."""
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where clients look, ours too (`kube::Config::incluster`)."""


def asked_for(source: str) -> set[tuple[str, str]]:
    """Verbs and resources that an adapter asks the cluster for."""
    clients = "|".join(re.escape(client) for client in CLIENTS)
    calls = re.findall(rf"(?<![\w.:])({clients})\.(\w+)\(", (SOURCES / source).read_text())
    unknown = [call for _, call in calls if call not in VERBS]
    assert calls and not unknown, f"{source}: which verbs of a Role are {unknown}?"
    return {(VERBS[call], CLIENTS[client]) for client, call in calls}


@pytest.mark.parametrize(("role", "source"), [("strongroom-leadership", "lease.rs"), ("strongroom-jobs", "jobs.rs")])
def test_the_daemon_may_exactly_what_it_asks_for(production: Built, role: str, source: str) -> None:
    assert {(verb, resource) for verb, resource, _ in production.rights(role)} == asked_for(source)


def test_it_may_write_one_lease_which_is_its_installations(production: Built) -> None:
    lease = f"strongroom-{production.in_force()['installation']}"
    rights = production.rights("strongroom-leadership")
    assert rights == {("get", "leases", lease), ("update", "leases", lease), ("create", "leases", "")}
    (named,) = re.findall(r'KubernetesLock::new\([^"]*"(strongroom-)\{\}"', (ROOT / "src/daemon/assembly.rs").read_text())
    assert lease.startswith(named)


def test_two_stand_apart_and_one_of_them_always_stays(production: Built) -> None:
    deployment = production.one("Deployment")["spec"]
    assert production.in_force()["daemon"]["leader"] == "kubernetes"
    assert deployment["replicas"] == 2 and production.one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    # An update puts nobody out before somebody is ready in their place.
    assert deployment["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    spread = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert {each["topologyKey"] for each in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    for each in spread:
        assert each["whenUnsatisfiable"] == "ScheduleAnyway", "two on one node are better than one"
        assert each["labelSelector"]["matchLabels"].items() <= deployment["template"]["metadata"]["labels"].items()


def token(pod: Resource) -> Resource:
    """The volume that is mounted where clients look for the token."""
    (container,) = pod["containers"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == TOKEN]
    assert mount["readOnly"] is True
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
    projected: Resource = volume["projected"]
    return projected


def test_its_token_is_short_lived_and_only_its_own_pod_has_it(production: Built) -> None:
    (of_account, authority, namespace) = token(production.pod)["sources"]
    assert of_account["serviceAccountToken"] == {"path": "token", "expirationSeconds": 600}, "600 is the least there is"
    assert authority["configMap"]["name"] == "kube-root-ca.crt" and namespace["downwardAPI"]["items"][0]["path"] == "namespace"
    others = [template["spec"] for template in production.templates if template["spec"] != production.pod]
    assert others and not any("projected" in volume for pod in others for volume in pod["volumes"])


@pytest.mark.parametrize("components", [["leadership"], ["jobs"], ["jobs", "leadership"]], ids="-".join)
def test_each_component_does_alone_and_beside_the_other(tmp_path: Path, components: list[str]) -> None:
    """Either brings the token, and both bring it once; each has a file of the configuration of its own."""
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes/overlays/own"
    overlay.mkdir()
    lines = ["resources: [../../base]", f"components: [{', '.join(f'../../components/{name}' for name in components)}]"]
    (overlay / "kustomization.yaml").write_text("\n".join(lines))
    resources: list[Resource] = list(yaml.safe_load_all(build(overlay)))
    (config,) = [resource["data"] for resource in resources if resource["kind"] == "ConfigMap"]
    own = {"leadership": "11-leadership.toml", "jobs": "12-jobs.toml"}
    assert set(config) == {"10-cluster.toml"} | {own[name] for name in components}
    (deployment,) = [resource["spec"] for resource in resources if resource["kind"] == "Deployment"]
    assert token(deployment["template"]["spec"])["sources"]
    assert deployment["replicas"] == (2 if "leadership" in components else 1)
