"""The Terraform modules, as far as they can be looked at without an account: nothing here was ever applied."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import policy_documents
import provider_schema
from tools import ROOT, TERRAFORM, TERRAFORM_FILES, TOOLS, Built, Resource, parse

EXAMPLE = TERRAFORM / "examples/bank"
TFVARS = EXAMPLE / "bank.tfvars"
MODULES = sorted(folder for folder in (TERRAFORM / "modules").iterdir())
PARTS = ("variables.tf", "outputs.tf", "main.tf", "versions.tf")
META = {"for_each", "count", "depends_on", "provider", "lifecycle", "dynamic", "__start_line__", "__end_line__"}
"""What Terraform itself knows of every resource."""
GIVEN: dict[str, Any] = {
    "account": "111122223333",
    "region": "us-east-1",
    "installation": "bank-production",
    "instances": ["bank-accounts-prod", "bank-cards-prod"],
    "instance_keys": ["arn:aws:kms:us-east-1:111122223333:key/i"],
    "copy_regions": ["us-west-2"],
    "copy_keys": ["arn:aws:kms:us-west-2:111122223333:key/c"],
    "bucket": "bank-backups",
    "replicas": ["bank-backups-west"],
    "bucket_keys": ["arn:aws:kms:us-east-1:111122223333:key/b"],
    "key_regions": ["us-east-1", "us-west-2"],
    "login_secrets": ["arn:aws:secretsmanager:us-east-1:111122223333:secret:rds/cards/backup-*"],
    "token_users": ["strongroom_backup"],
    "drill_subnet_groups": ["bank-drills"],
    "topics": ["arn:aws:sns:us-east-1:111122223333:database-team"],
    "topic_keys": ["arn:aws:kms:us-east-1:111122223333:key/t"],
}
LEAST = ("account", "region", "installation", "instances", "bucket", "bucket_keys", "key_regions")


def blocks(parsed: dict[Path, Resource], kind: str, *folders: Path) -> Iterator[tuple[Path, str, Resource]]:
    """File, name and body of each block with one label."""
    for file, content in parsed.items():
        if not folders or file.parent in folders:
            for block in content.get(kind, []):
                for name, body in block.items():
                    yield file, name, body


def resources(parsed: dict[Path, Resource]) -> Iterator[tuple[Path, str, str, Resource]]:
    for file, kind, named in blocks(parsed, "resource"):
        for name, body in named.items():
            yield file, kind, name, body


def one(value: Any) -> Any:
    """The parser has a list of one around each value."""
    (found,) = value if isinstance(value, list) else [value]
    return found


# As Terraform wants it


def test_every_file_is_formatted_as_terraform_formats_it() -> None:
    """By the formatter that `terraform fmt` calls; what that does beyond it is about a syntax that nobody writes any more."""
    texts = {str(file): file.read_text() for file in [*TERRAFORM_FILES, TFVARS]}
    words = ["node", str(Path(__file__).with_name("hcl_format.cjs")), str(TOOLS / "hcl-formatter")]
    done = subprocess.run(words, input=json.dumps(texts), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [name for name, text in json.loads(done.stdout).items() if text != texts[name]] == []


def test_the_example_has_values_for_all_that_it_asks_for(parsed: dict[Path, Resource]) -> None:
    given = parse(TFVARS)[TFVARS].keys() - META
    variables = {name: body for _, name, body in blocks(parsed, "variable", EXAMPLE)}
    assert {name for name, body in variables.items() if "default" not in body} <= given <= variables.keys()


def test_every_argument_is_one_that_the_provider_has(parsed: dict[Path, Resource]) -> None:
    schema = json.loads(provider_schema.SCHEMA.read_text())
    found = {kind for _, kind, _, _ in resources(parsed)}
    assert found == schema.keys() - {"provider"} == provider_schema.resources()
    wrong = [
        f"{file.parent.name}: {kind}.{name}: {problem}"
        for file, kind, name, body in resources(parsed)
        for problem in problems(body, schema[kind])
    ]
    assert wrong == []


def problems(body: Resource, shape: dict[str, Any]) -> Iterator[str]:
    """Arguments that are not known, or are missing."""
    known = {name.removesuffix("!"): inner for name, inner in shape.items()}
    dynamic = {name: one(inner["content"]) for block in body.get("dynamic", []) for name, inner in block.items()}
    given = {name: value for name, value in body.items() if name not in META} | dynamic
    yield from (f"no argument {name}" for name in given.keys() - known.keys())
    yield from (f"{name[:-1]} is missing" for name in shape if name.endswith("!") and name[:-1] not in given)
    for name, value in given.items():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(known.get(name), dict) and isinstance(inner, dict):
                yield from (f"{name}: {problem}" for problem in problems(inner, known[name]))


def test_every_module_says_what_it_takes_and_gives(parsed: dict[Path, Resource]) -> None:
    for folder in [*MODULES, EXAMPLE]:
        assert {file.name for file in folder.glob("*.tf")} == set(PARTS), folder
        (terraform,) = parsed[folder / "versions.tf"]["terraform"]
        assert one(terraform["required_version"]) == ">= 1.9"
        providers = one(terraform.get("required_providers", {}))
        # A major version of the provider changes what arguments mean.
        pinned = {} if folder.name == "policies" else {"source": "hashicorp/aws", "version": ">= 6.0, < 7.0"}
        assert one(providers.get("aws", {})) == pinned, folder
    for file, name, body in [*blocks(parsed, "variable"), *blocks(parsed, "output")]:
        assert len(one(body["description"])) > 10, f"{file}: {name}"
    for file, name, body in blocks(parsed, "variable"):
        assert "type" in body, f"{file}: {name}"
    readme = (TERRAFORM / "README.md").read_text()
    assert [folder.name for folder in MODULES if f"`{folder.name}`" not in readme] == []


def test_modules_are_given_what_they_take_and_asked_for_what_they_have(parsed: dict[Path, Resource]) -> None:
    source = {name: (EXAMPLE / one(body["source"])).resolve() for _, name, body in blocks(parsed, "module", EXAMPLE)}
    assert set(source.values()) == set(MODULES), "the example has every module"
    for _, name, body in blocks(parsed, "module", EXAMPLE):
        variables = {name: inner for _, name, inner in blocks(parsed, "variable", source[name])}
        given = body.keys() - META - {"source"}
        assert given <= variables.keys(), name
        assert {name for name, inner in variables.items() if "default" not in inner} <= given, name
    asked = re.findall(r"\bmodule\.(\w+)\.(\w+)", "".join(file.read_text() for file in EXAMPLE.glob("*.tf")))
    for name, output in asked:
        assert output in {found for _, found, _ in blocks(parsed, "output", source[name])}, f"module.{name}.{output}"


def test_every_name_in_a_template_is_given_to_it() -> None:
    for template in TERRAFORM.glob("modules/*/**/*.tftpl"):
        asked = set(re.findall(r"\$\{(?:jsonencode\()?(\w+)", template.read_text()))
        if template.is_relative_to(policy_documents.POLICIES):
            assert asked <= policy_documents.values(policy_documents.defaults() | GIVEN).keys(), template
        else:
            main = next(folder for folder in template.parents if folder in MODULES) / "main.tf"
            # Where there is nothing to fill in, it is read as a file.
            given, *_ = re.findall(rf"{re.escape(template.name)}\", \{{(.*?)\}}\)", main.read_text(), re.DOTALL) or [""]
            assert asked == set(re.findall(r"\b(\w+) += ", given)), template


# As strongroom wants it


def test_alarms_watch_what_the_daemon_publishes(parsed: dict[Path, Resource]) -> None:
    text = (ROOT / "src/domain/published.rs").read_text()
    names = dict(re.findall(r'MetricName::(\w+) => "(\w+)"', text))
    units = {
        names[name]: unit
        for alternatives, unit in re.findall(r"((?:MetricName::\w+(?: \| )?)+) => Unit::(\w+)", text)
        for name in re.findall(r"MetricName::(\w+)", alternatives)
    }
    sink = (ROOT / "src/adapters/aws_metric_sink.rs").read_text()
    dimensions = set(re.findall(r'dimension\("(\w+)"', sink))
    alarms = {one(body["metric_name"]): body for _, kind, _, body in resources(parsed) if kind.endswith("_alarm")}
    assert alarms.keys() == units.keys() == set(names.values())
    for name, alarm in alarms.items():
        of_source = set() if name == "Heartbeat" else dimensions
        assert set(one(alarm.get("dimensions", {}))) == of_source, name
        assert one(alarm["unit"]) == units[name], name
        # README, "CloudWatch": what nobody sees whole is not published, and over three periods.
        assert one(alarm["treat_missing_data"]) == "breaching" and one(alarm["evaluation_periods"]) == 3
        assert one(alarm["period"]) == "${var.interval_seconds}" and one(alarm["namespace"]) == "${var.namespace}"
        assert one(alarm["alarm_actions"]) == one(alarm["ok_actions"]) == "${var.topic_arns}"


def test_alarms_have_the_kinds_that_the_daemon_publishes() -> None:
    variables = (TERRAFORM / "modules/alarms/variables.tf").read_text()
    paths, kinds = (set(json.loads(found)) for found in re.findall(r"contains\((\[.*?\]), \w+\)", variables))
    drill = (ROOT / "src/domain/drill.rs").read_text()
    assert paths == set(re.findall(r'DrillPath::\w+ => "(\w+)"', drill))
    assert kinds == set(re.findall(r'Kind::\w+ => "(\w+)"', (ROOT / "src/domain/id.rs").read_text()))


def test_defaults_are_those_of_the_configuration(production: Built, parsed: dict[Path, Resource]) -> None:
    config = production.in_force()
    wanted = {
        "prefix": config["destination"]["prefix"],
        "snapshot_prefix": config["snapshot_prefix"],
        "namespace": config["cloudwatch"]["namespace"],
        "interval_seconds": 60,
    }
    assert config["cloudwatch"]["interval"] == "1m"
    for file, name, body in blocks(parsed, "variable"):
        if name in wanted:
            assert one(body["default"]) == wanted[name], f"{file}: {name}"


def test_the_example_is_what_the_production_overlay_needs(production: Built, parsed: dict[Path, Resource]) -> None:
    config, example = production.in_force(), locals_of(EXAMPLE / "main.tf")
    policies = config["policies"].values()
    (copy_region,) = {copy["region"] for policy in policies for copy in policy["snapshot"]["copy_to"]}
    destination, replica = config["destination"], config["destination"]["replica"]
    assert example["account"] == destination["expected_owner"] and example["region"] == config["aws"]["region"]
    assert example["installation"] == config["installation"]
    assert example["bucket"] == destination["bucket"] and example["replica"] == replica["bucket"]
    assert example["replica_region"] == replica["region"] == copy_region
    assert replica["mode"] == "replicated"
    assert example["instances"] == [source["instance"] for source in config["sources"].values()]
    (route,) = config["alerts"]["routes"].values()
    assert route["sns_topic"] == f"arn:aws:sns:{example['region']}:{example['account']}:{example['topic']}"
    calls = {name: body for _, name, body in blocks(parsed, "module", EXAMPLE)}
    assert f"alias/{one(calls['bucket_key']['alias'])}" == destination["kms_key"]
    rights = calls["policies"]
    assert one(rights["drill_subnet_groups"]) == [config["drills"]["subnet_group"]]
    logins = [source["credentials"] for source in config["sources"].values()]
    assert one(rights["token_users"]) == sorted({login["user"] for login in logins if login.get("iam")})
    secrets = [f"${{local.secrets}}:{login['secret']}-*" for login in logins if "secret" in login]
    assert one(rights["login_secrets"]) == secrets
    addresses = [config["alerts"]["heartbeat"]["url"]["secret"]]
    assert one(rights["alert_secrets"]) == [f"${{local.secrets}}:{name}-*" for name in addresses]
    switched = [
        source["recover"]["secret"]
        for source in config["sources"].values()
        if source["recover"]["switch"] == "secrets_manager"
    ]
    assert one(rights["recover_secrets"]) == [f"${{local.secrets}}:{name}-*" for name in switched]


def test_the_example_gives_the_service_accounts_their_roles(production: Built) -> None:
    example = locals_of(EXAMPLE / "main.tf")
    suffixes = {"service_account": "", "recovery_account": "-recover", "dump_account": "-dump"}
    for account, suffix in ((example[name], suffix) for name, suffix in suffixes.items()):
        metadata = production.one("ServiceAccount", account)["metadata"]
        role = metadata["annotations"]["eks.amazonaws.com/role-arn"]
        assert role == f"arn:aws:iam::{example['account']}:role/{example['role']}{suffix}"
        assert metadata["namespace"] == example["namespace"]


def locals_of(file: Path) -> dict[str, Any]:
    """The locals that are plain texts or lists of them."""
    found = re.findall(r'^  (\w+) += ("[^"$]*"|\["[^$\n]*"\])$', file.read_text(), re.MULTILINE)
    return {name: json.loads(value) for name, value in found}
