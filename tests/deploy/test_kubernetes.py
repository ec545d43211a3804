"""The manifests as they are applied: right in form, closed down, and of one mind with the configuration and the README."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import prometheus_rule
import pytest
import yaml
from tools import BINARY, KUBERNETES, ROOT, Built, Resource, build, mebibytes, package_version, run, seconds, tool

VERSIONS = ("1.31", "1.34", "1.37")
OPERATORS_KINDS = {"PrometheusRule", "ServiceMonitor"}
"""Kinds of the Prometheus Operator, which Kubernetes has no schemas of."""
LAST_WORD = 3
"""Seconds that the daemon waits for a message after its grace (src/daemon.rs)."""
MARGIN = 10


def validated(file: Path, version: str) -> subprocess.CompletedProcess[str]:
    words = (tool("kubernetes-validate"), "--strict", "--kubernetes-version", version, file)
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_has_the_form_that_the_api_wants(overlay: Built, version: str) -> None:
    done = validated(overlay.file, version)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    unknown = set(re.findall(r"Couldn't find schema for kind (\w+)", said))
    assert unknown == OPERATORS_KINDS
    assert said.count(" passed for resource ") == len(overlay.resources) - len(OPERATORS_KINDS)


def test_a_key_that_the_api_does_not_know_is_found(production: Built, tmp_path: Path) -> None:
    """The validation can fail."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(production.file.read_text().replace("readOnlyRootFilesystem", "readonlyRootFilesystem", 1))
    done = validated(wrong, VERSIONS[-1])
    assert done.returncode == 1 and "readonlyRootFilesystem" in done.stdout + done.stderr


def pods(overlay: Built) -> list[Resource]:
    return [template["spec"] for template in overlay.templates]


def test_every_pod_meets_the_restricted_standard(overlay: Built) -> None:
    """Pod Security Standards, `restricted`, and a root file system that nobody can write to."""
    namespace = overlay.one("Namespace")["metadata"]["labels"]
    assert namespace["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(overlay):
        assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC", "initContainers"))
        assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] >= 10000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        kinds = {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]}
        assert kinds <= {"configMap", "secret", "emptyDir", "projected"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert (context["allowPrivilegeEscalation"], context["privileged"]) == (False, False)
            assert context["readOnlyRootFilesystem"] is True
            assert all("hostPort" not in port for port in container.get("ports", []))


def test_there_is_one_daemon_and_never_two_unless_they_agree(overlay: Built) -> None:
    deployment = overlay.one("Deployment")["spec"]
    agree = overlay.in_force()["daemon"]["leader"] != "none"
    assert agree or (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    budget = overlay.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1, "else no node could be drained"
    assert budget["selector"] == deployment["selector"]


def test_names_and_namespaces_are_those_that_belong_together(overlay: Built) -> None:
    cluster_wide = {"Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    for resource in overlay.resources:
        metadata = resource["metadata"]
        expected = None if resource["kind"] in cluster_wide else "strongroom"
        of_recover = resource["kind"] in ("Role", "RoleBinding") and metadata["name"] == "strongroom-recover"
        expected = "bank" if of_recover else expected
        assert metadata.get("namespace") == expected, f"{resource['kind']} {metadata['name']}"
        assert metadata["labels"]["app.kubernetes.io/name"] == "strongroom"
    for deployment in overlay.of_kind("Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_images_are_of_this_version_and_from_a_registry(overlay: Built) -> None:
    images = {container["image"] for pod in pods(overlay) for container in pod["containers"]}
    (image,) = images
    assert re.fullmatch(rf"[^/]+\.amazonaws\.com/strongroom:{re.escape(package_version())}", image)


# The configuration


def test_the_real_binary_accepts_the_configuration(overlay: Built) -> None:
    said = run(BINARY, "--config", overlay.config, "check", env={})
    assert "The configuration is good." in said


def test_a_changed_configuration_stops_no_daemon(tmp_path: Path) -> None:
    """The Deployment is the same: a wrong one would else take the place of the daemon that runs, and end at once."""
    copy = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, copy)
    file = copy / "overlays/staging/20-bank.toml"
    before, config_before = deployment_and_config(copy)
    file.write_text(file.read_text().replace("keep_weekly = 4", "keep_weekly = 5"))
    after, config_after = deployment_and_config(copy)
    assert config_before != config_after and before == after
    # Mounted whole: a single file, by `subPath`, would never change in the pod.
    (container,) = after["spec"]["template"]["spec"]["containers"]
    assert not any("subPath" in mount for mount in container["volumeMounts"])


def deployment_and_config(kubernetes: Path) -> tuple[Resource, Resource]:
    resources = list(yaml.safe_load_all(build(kubernetes / "overlays/staging")))
    (deployment,) = [resource for resource in resources if resource["kind"] == "Deployment"]
    (config,) = [resource for resource in resources if resource["kind"] == "ConfigMap"]
    return deployment, config


def test_ports_probes_and_policy_lead_to_the_listener(overlay: Built) -> None:
    address, port = overlay.in_force()["daemon"]["listen"].rsplit(":", 1)
    assert address == "0.0.0.0", "the loopback of a pod is reached by nobody"
    assert overlay.container["ports"] == [{"name": "http", "containerPort": int(port)}]
    for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert overlay.container[probe]["httpGet"] == {"path": path, "port": "http"}
    (service,) = overlay.of_kind("Service")
    assert service["spec"]["ports"] == [{"name": "http", "port": int(port), "targetPort": "http"}]
    deployments = overlay.of_kind("Deployment")
    labels = [deployment["spec"]["template"]["metadata"]["labels"] for deployment in deployments]
    led_to = [label for label in labels if service["spec"]["selector"].items() <= label.items()]
    assert led_to == [overlay.one("Deployment")["spec"]["template"]["metadata"]["labels"]]
    policy = overlay.one("NetworkPolicy", "strongroom-http")["spec"]
    (ingress,) = policy["ingress"]
    assert ingress["ports"] == [{"port": "http", "protocol": "TCP"}] and ingress["from"]
    assert [label for label in labels if policy["podSelector"]["matchLabels"].items() <= label.items()] == led_to


def test_nobody_reaches_any_other_pod(overlay: Built) -> None:
    """Of several policies each lets in what it does: what all pods have in common lets in nobody."""
    common, *others = sorted(overlay.of_kind("NetworkPolicy"), key=lambda policy: str(policy["metadata"]["name"]))
    assert "Ingress" in common["spec"]["policyTypes"] and "ingress" not in common["spec"]
    selected = common["spec"]["podSelector"]["matchLabels"].items()
    assert all(selected <= template["metadata"]["labels"].items() for template in overlay.templates)
    assert [policy["metadata"]["name"] for policy in others] == ["strongroom-http"]


def test_the_policy_lets_out_what_is_needed_and_never_to_instance_metadata(overlay: Built) -> None:
    policy = overlay.one("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    ports = [{port["port"] for port in rule["ports"]} for rule in policy["egress"]]
    assert ports == [{53}, {5432}, {443}, {80}]
    databases, everywhere = policy["egress"][1]["to"], policy["egress"][2]["to"]
    assert all(block["ipBlock"]["cidr"] != "10.0.0.0/8" for block in databases), "the overlay names its subnets"
    assert everywhere == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]
    environment = {entry["name"]: entry["value"] for entry in overlay.container["env"]}
    assert environment["AWS_EC2_METADATA_DISABLED"] == "true"


def test_the_pod_is_given_the_time_that_the_daemon_takes_to_end(overlay: Built) -> None:
    grace = seconds(overlay.in_force()["daemon"]["grace"])
    assert overlay.pod["terminationGracePeriodSeconds"] >= grace + LAST_WORD + MARGIN


def test_memory_holds_all_dumps_and_what_is_in_tmp(overlay: Built) -> None:
    """README, "Memory": the dumps' share and 64 MiB; here also /tmp, and the stock clients."""
    dumps = mebibytes(overlay.in_force()["limits"]["dump_memory"])
    (tmp,) = [volume["emptyDir"] for volume in overlay.pod["volumes"] if "emptyDir" in volume]
    assert tmp["medium"] == "Memory", "passwords never reach a disk"
    clients = 128
    limit = mebibytes(overlay.container["resources"]["limits"]["memory"])
    assert limit >= dumps + 64 + mebibytes(tmp["sizeLimit"]) + clients


def test_files_that_the_configuration_names_are_mounted(overlay: Built) -> None:
    config = overlay.in_force()
    mounts = {mount["mountPath"]: mount for mount in overlay.container["volumeMounts"]}
    for file in (config["postgres"]["ca_file"], config["http"]["token_file"]):
        assert mounts[str(Path(file).parent)]["readOnly"] is True
    environment = {entry["name"]: entry["value"] for entry in overlay.container["env"]}
    assert mounts[environment["STRONGROOM_CONFIG"]]["readOnly"] is True
    assert environment["TMPDIR"] in mounts and "readOnly" not in mounts[environment["TMPDIR"]]


# Identities


def test_the_daemon_may_in_the_cluster_what_it_is_configured_to_do(overlay: Built) -> None:
    """Nothing, unless it shares the work with another one, or has Jobs do it."""
    assert overlay.pod["automountServiceAccountToken"] is False
    account = overlay.one("ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    role = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert role.endswith(f":role/strongroom-{overlay.name}")
    daemon = overlay.in_force()["daemon"]
    wanted = {name for name, key in (("leadership", "leader"), ("jobs", "executor")) if daemon[key] == "kubernetes"}
    bound = {binding["roleRef"]["name"]: binding["subjects"] for binding in overlay.of_kind("RoleBinding")}
    bound.pop("strongroom-recover", None)
    assert bound == {f"strongroom-{name}": [account_of("strongroom")] for name in wanted}
    assert any("projected" in volume for volume in overlay.pod["volumes"]) == bool(wanted), "its token"
    assert not overlay.of_kind("ClusterRole") + overlay.of_kind("ClusterRoleBinding")


def account_of(name: str) -> Resource:
    return {"kind": "ServiceAccount", "name": name, "namespace": "strongroom"}


def named_by(production: Built) -> dict[str, set[str]]:
    """Kubernetes names, as namespace/name, of all sources, by the kind of resource that `recover` touches."""
    named: dict[str, set[str]] = {"deployments/scale": set(), "deployments": set(), "secrets": set(), "externalsecrets": set()}
    for source in production.in_force()["sources"].values():
        recover = source.get("recover", {})
        named["deployments/scale"] |= set(recover.get("deployments", []))
        named["deployments"] |= set(recover.get("restarts", []))
        named["externalsecrets"] |= set(recover.get("external_secrets", []))
        if recover.get("switch") == "kubernetes_secret":
            named["secrets"].add(recover["secret"])
    return named


def test_recover_may_exactly_what_the_configuration_names(production: Built) -> None:
    may: dict[str, set[str]] = {}
    role = production.one("Role", "strongroom-recover")
    assert production.one("RoleBinding", "strongroom-recover")["subjects"] == [account_of("strongroom-recover")]
    for rule in role["rules"]:
        (resource,) = rule["resources"]
        names = {f"{role['metadata']['namespace']}/{name}" for name in rule.get("resourceNames", [])}
        may.setdefault(resource, set()).update(names)
    assert may.pop("pods") == set(), "a list cannot be narrowed to names"
    assert may == named_by(production)


def test_the_rights_of_recover_are_those_of_the_readme(production: Built) -> None:
    (block,) = re.findall(r"```yaml\n(rules:\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    key = lambda rule: (tuple(rule["apiGroups"]), tuple(rule["resources"]), tuple(rule["verbs"]))  # noqa: E731
    role = production.one("Role", "strongroom-recover")
    assert [key(rule) for rule in role["rules"]] == [key(rule) for rule in yaml.safe_load(block)["rules"]]


def test_nobody_recovers_unless_a_person_wants_it(production: Built, overlays: dict[str, Built]) -> None:
    recover = production.one("Deployment", "strongroom-recover")["spec"]
    assert recover["replicas"] == 0 and recover["template"]["spec"]["serviceAccountName"] == "strongroom-recover"
    (container,) = recover["template"]["spec"]["containers"]
    assert container["command"] == ["sleep", "infinity"]
    assert not [one for one in overlays["staging"].resources if "recover" in one["metadata"]["name"]]


# Prometheus


def test_the_operators_rules_are_those_of_prometheus(overlay: Built) -> None:
    advice = "run python3 tests/deploy/prometheus_rule.py"
    assert prometheus_rule.RESOURCE.read_text() == prometheus_rule.rendered(), advice
    rules = yaml.safe_load(prometheus_rule.RULES.read_text())
    assert overlay.one("PrometheusRule")["spec"] == rules and len(rules["groups"]) > 1


def test_the_monitor_scrapes_the_service(overlay: Built) -> None:
    monitor = overlay.one("ServiceMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= overlay.one("Service")["metadata"]["labels"].items()
    (endpoint,) = monitor["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
