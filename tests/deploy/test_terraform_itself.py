"""What Terraform itself makes of the modules, where it is installed: it is in no registry of packages, so nobody brings it. It has no
provider, and needs none for what is here.
"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import policy_documents
import pytest
from test_terraform import GIVEN, LEAST
from tools import KUBERNETES, TERRAFORM, run

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="there is no terraform")

IRSA = {"provider_arn": "arn:aws:iam::111122223333:oidc-provider/x", "namespace": "n", "service_account": "s"}
POD = {"cluster_arn": "arn:aws:eks:us-east-1:111122223333:cluster/c", "namespace": "n", "service_account": "s"}
ROLE_ARN = "arn:aws:iam::111122223333:role/r"
KEY_ARN = "arn:aws:kms:us-east-1:111122223333:key/k"
NO_DOCUMENTS = {name: "" for name in ("guard", "production", "observe", "tell")}

# By module: variables that are good, and changes to them of which each is good or bad.
CHOICES: dict[str, tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]] = {
    "alarms": (
        {"region": "r", "installation": "i", "topic_arns": ["t"], "sources": {"a": {"snapshot_hours": 1}}},
        [{"sources": {"a": {"drill_hours": {"pitr": 1}}}}, {"sources": {"a": {"storage_bytes": {"dump": 1}}}}],
        [{"sources": {"a": {"drill_hours": {"pit": 1}}}}, {"interval_seconds": 90}, {"topic_arns": []}],
    ),
    "bucket": (
        {"name": "bank-backups", "region": "r", "kms_key_arn": KEY_ARN, "deleter_arns": [ROLE_ARN]},
        [{"lock": {"mode": "GOVERNANCE", "days": 1}}],
        [
            {"lock": {"mode": "NONE", "days": 1}},
            {"deleter_arns": ["*"]},
            {"kms_key_arn": "alias/a"},
            {"hidden_days": 1},
        ],
    ),
    "key": (
        {"alias": "bank", "purpose": "p", "region": "r", "administrator_arns": [ROLE_ARN]},
        [{"services": ["cloudwatch"]}],
        [{"alias": "alias/bank"}, {"administrator_arns": []}, {"deletion_days": 3}],
    ),
    "policies": (
        {name: GIVEN[name] for name in LEAST},
        [GIVEN],
        [{"account": "1"}, {"instances": []}, {"instances": ["*"]}, {"installation": "*"}, {"snapshot_prefix": "*"}],
    ),
    "roles": (
        {"name": "n", "documents": NO_DOCUMENTS, "trust": {"irsa": IRSA}},
        [{"trust": {"pod_identity": POD}}, {"trust": {"ec2": True}}, {"recover_service_account": "r", "dump_service_account": "d"}],
        [
            {"trust": {}},
            {"trust": {"irsa": IRSA, "ec2": True}},
            {"trust": {"irsa": IRSA | {"namespace": "*"}}},
            {"trust": {"irsa": IRSA | {"provider_arn": "x"}}},
            {"trust": {"ec2": True}, "recover_service_account": "r"},
            {"trust": {"ec2": True}, "dump_service_account": "d"},
            {"documents": {}},
        ],
    ),
}


def test_it_formats_and_renders_likewise(tmp_path: Path) -> None:
    run("terraform", "fmt", "-check", "-recursive", TERRAFORM)
    for given in (GIVEN, {name: GIVEN[name] for name in LEAST}):
        lines = [f"{name} = {json.dumps(value)}" for name, value in given.items()]
        module = "\n".join([f"source = {json.dumps(str(policy_documents.POLICIES))}", *lines])
        root = f'module "policies" {{\n{module}\n}}\noutput "documents" {{\n  value = module.policies.documents\n}}\n'
        (tmp_path / "main.tf").write_text(root)
        run("terraform", f"-chdir={tmp_path}", "init", "-input=false")
        run("terraform", f"-chdir={tmp_path}", "apply", "-auto-approve", "-input=false")
        rendered = json.loads(run("terraform", f"-chdir={tmp_path}", "output", "-json", "documents"))
        documents = {name: json.loads(text) for name, text in rendered.items()}
        assert documents == policy_documents.documents(**given)


def test_it_writes_the_file_of_the_overlay(tmp_path: Path) -> None:
    """The output roles_toml, with the map that the module has as its output."""
    file = KUBERNETES / "overlays/production/21-roles.toml"
    roles = tomllib.loads(file.read_text())["aws"]["roles"]
    outputs = (TERRAFORM / "examples/bank/outputs.tf").read_text()
    (output,) = re.findall(r'^output "roles_toml" \{\n.*?^\}', outputs, re.MULTILINE | re.DOTALL)
    text = output.replace("module.roles.aws_roles", "local.roles")
    (tmp_path / "main.tf").write_text(f"locals {{\n  roles = {json.dumps(roles)}\n}}\n{text}\n")
    run("terraform", f"-chdir={tmp_path}", "apply", "-auto-approve", "-input=false")
    assert run("terraform", f"-chdir={tmp_path}", "output", "-raw", "roles_toml") == file.read_text()


@pytest.mark.parametrize("module", CHOICES)
def test_it_takes_what_is_good_and_refuses_what_is_not(module: str, tmp_path: Path) -> None:
    """The variables of a module alone are one that needs no provider."""
    shutil.copy(TERRAFORM / "modules" / module / "variables.tf", tmp_path)
    least, good, bad = CHOICES[module]

    def plan(changes: dict[str, Any], code: int) -> None:
        (tmp_path / "terraform.tfvars.json").write_text(json.dumps(least | changes))
        run("terraform", f"-chdir={tmp_path}", "plan", "-input=false", code=code)

    for changes in [{}, *good]:
        plan(changes, 0)
    for changes in bad:
        plan(changes, 1)
