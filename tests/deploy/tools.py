"""The programs that these tests run, and what they make of the manifests."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
TERRAFORM = ROOT / "deploy/terraform"
TERRAFORM_FILES = sorted(TERRAFORM.glob("**/*.tf"))
UNIT = ROOT / "systemd/strongroom.service"
EXCEPTIONS = ROOT / "deploy/exceptions.yaml"
BINARY = Path(os.environ.get("STRONGROOM_BIN", ROOT / "target/debug/strongroom"))
OVERLAYS = ("production", "staging")
TOOLS = ROOT / "target/tools"
"""What scripts/setup has brought."""

Resource = dict[str, Any]


def tool(name: str) -> Path:
    """A program of tests/deploy/requirements.txt."""
    return TOOLS / "deployment/bin" / name


def kubectl() -> str:
    """The one that scripts/setup has fetched, if it had to."""
    fetched = TOOLS / "kubectl"
    return str(fetched) if fetched.exists() else shutil.which("kubectl") or "kubectl"


def run(*words: str | Path, code: int = 0, env: dict[str, str] | None = None) -> str:
    """What a program says on standard output."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def build(folder: Path) -> str:
    """What `kubectl apply -k` would apply."""
    return run(kubectl(), "kustomize", folder)


def parse(*files: Path) -> dict[Path, Resource]:
    """Files of HCL as checkov's parser reads them, all in one process of its own environment."""
    script = "import hcl2, json, sys; print(json.dumps([hcl2.loads(open(file).read()) for file in sys.argv[1:]]))"
    found: list[Resource] = json.loads(run(tool("python"), "-c", script, *files))
    return dict(zip(files, found, strict=True))


class Built:
    """An overlay, built."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.file = folder / f"{name}.yaml"
        self.file.write_text(build(KUBERNETES / "overlays" / name))
        self.resources: list[Resource] = list(yaml.safe_load_all(self.file.read_text()))
        self.config = folder / name
        """The files of the ConfigMap, as the pod sees them."""
        self.config.mkdir()
        for file, text in self.generated_config["data"].items():
            (self.config / file).write_text(text)

    def of_kind(self, kind: str) -> list[Resource]:
        return [resource for resource in self.resources if resource["kind"] == kind]

    def one(self, kind: str, name: str = "strongroom") -> Resource:
        (found,) = [resource for resource in self.of_kind(kind) if resource["metadata"]["name"] == name]
        return found

    @property
    def generated_config(self) -> Resource:
        (found,) = self.of_kind("ConfigMap")
        return found

    @property
    def pod(self) -> Resource:
        """The daemon's."""
        spec: Resource = self.one("Deployment")["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> Resource:
        return container_of(self.pod)

    @property
    def templates(self) -> list[Resource]:
        """Of every pod there may be: labels, annotations and what it is."""
        deployments = [deployment["spec"]["template"] for deployment in self.of_kind("Deployment")]
        return deployments + [job["spec"]["jobTemplate"]["spec"]["template"] for job in self.of_kind("CronJob")]

    def rights(self, role: str) -> set[tuple[str, str, str]]:
        """What a Role allows, as verb, resource and name; the name is empty where any will do."""
        rules = self.one("Role", role)["rules"]
        return {
            (verb, resource, name)
            for rule in rules
            for verb in rule["verbs"]
            for resource in rule["resources"]
            for name in rule.get("resourceNames", [""])
        }

    def in_force(self) -> Resource:
        """The configuration with its defaults, as the daemon reads it."""
        return tomllib.loads(run(BINARY, "--config", self.config, "config", "show", env={}))


def container_of(pod: Resource) -> Resource:
    """The only one."""
    (container,) = pod["containers"]
    found: Resource = container
    return found


def findings(folder: Path) -> set[tuple[str, str]]:
    """Check and resource of everything that checkov finds in manifests, Dockerfiles and Terraform. It asks nobody."""
    frameworks = ("kubernetes", "dockerfile", "terraform")
    words = ("--framework", *frameworks, "--output", "json", "--skip-download", "--soft-fail", "--quiet")
    reports = json.loads(run(tool("checkov"), "--directory", folder, *words))
    assert {report["check_type"] for report in reports} == set(frameworks)
    found = set()
    for report in reports:
        assert report["summary"]["passed"] > 50 and report["summary"]["parsing_errors"] == 0, report["summary"]
        for check in report["results"]["failed_checks"]:
            # A Dockerfile's resource is its path, perhaps with an instruction.
            resource = "Dockerfile" if report["check_type"] == "dockerfile" else check["resource"]
            found.add((check["check_id"], resource))
    return found


def explained() -> set[tuple[str, str]]:
    """Check and resource of what stays as it is."""
    listed: list[Resource] = yaml.safe_load(EXCEPTIONS.read_text())
    assert all(len(exception["why"]) > 20 for exception in listed)
    return {(exception["check"], resource) for exception in listed for resource in exception["resources"]}


def package_version() -> str:
    version: str = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    return version


def seconds(duration: str) -> float:
    """Of a duration such as `25s` or `1m 30s`."""
    unit = {"s": 1, "m": 60, "h": 3600}
    return sum(float(number) * unit[letter] for number, letter in re.findall(r"(\d+)([smh])", duration))


def mebibytes(size: str) -> float:
    """Of a size such as `64Mi` or `512MiB`."""
    number, letter = re.fullmatch(r"(\d+)([MG])iB?", size).groups()  # type: ignore[union-attr]
    return int(number) * {"M": 1, "G": 1024}[letter]
