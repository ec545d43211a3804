"""The policies of deploy/terraform, rendered without Terraform, so that they are tested wherever there is Python.

What is read here is what Terraform reads. Of its language only as much is understood as modules/policies/main.tf is written
in: texts with names in them, and lists of such texts. A test compares with Terraform itself where that is installed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

TERRAFORM = Path(__file__).parents[2] / "deploy/terraform"
POLICIES = TERRAFORM / "modules/policies"
ROLES = TERRAFORM / "modules/roles"

Document = dict[str, Any]
Values = dict[str, Any]

VARIABLE = re.compile(r'^variable "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
DEFAULT = re.compile(r"^  default +=(.*)$", re.MULTILINE)
VALUE = re.compile(r"^    (\w+) += (.+)$", re.MULTILINE)
COMPREHENSION = re.compile(r'\[for (\w+) in var\.(\w+) : "(.*)"\]')
NAME = re.compile(r"\$\{(?:var\.)?(\w+)\}")
IN_JSON = re.compile(r"\$\{jsonencode\((\w+)\)\}")


def documents(**given: Any) -> dict[str, Document]:
    """The output `documents` of the module policies with these variables."""
    inputs = defaults() | given
    found = {file.name.removesuffix(".json.tftpl"): file for file in (POLICIES / "statements").glob("*.json.tftpl")}
    without_purpose = {
        name
        for name, inputs_of in (("copy", "copy_regions"), ("drill", "drill_subnet_groups"))
        if not inputs[inputs_of]
    }
    named = values(inputs)
    return {name: document(file, named) for name, file in found.items() if name not in without_purpose}


def document(template: Path, named: Values) -> Document:
    """A template with these values; a statement about nothing falls away."""
    statements = []
    for statement in json.loads(fill(template.read_text(), named)):
        if "Resource" in statement:
            statement["Resource"] = flatten(statement["Resource"])
        if statement.get("Resource", [""]):
            statements.append(statement)
    return {"Version": "2012-10-17", "Statement": statements}


def fill(text: str, named: Values) -> str:
    text = IN_JSON.sub(lambda match: json.dumps(named[match[1]]), text)
    return NAME.sub(lambda match: str(named[match[1]]), text)


def flatten(value: Any) -> list[Any]:
    return [inner for item in value for inner in flatten(item)] if isinstance(value, list) else [value]


def defaults() -> Values:
    """The variables of the module that need not be given."""
    declared = VARIABLE.findall((POLICIES / "variables.tf").read_text())
    return {name: json.loads(found[1]) for name, body in declared if (found := DEFAULT.search(body))}


def values(inputs: Values) -> Values:
    """`local.values` of the module."""
    (block,) = re.findall(r"^  values = \{\n(.*?)^  \}", (POLICIES / "main.tf").read_text(), re.MULTILINE | re.DOTALL)
    return {name: value(expression, inputs) for name, expression in VALUE.findall(block)}


def value(expression: str, inputs: Values) -> Any:
    if match := COMPREHENSION.fullmatch(expression):
        return [fill(match[3], inputs | {match[1]: item}) for item in inputs[match[2]]]
    if match := re.fullmatch(r"var\.(\w+)", expression):
        return inputs[match[1]]
    (text,) = re.findall(r'^"(.*)"$', expression)
    return fill(text, inputs)


def listed(name: str) -> list[str]:
    """A list among the locals of the module roles."""
    (found,) = re.findall(rf"^  {name} += (\[.*\])$", (ROLES / "main.tf").read_text(), re.MULTILINE)
    names: list[str] = json.loads(found)
    return names


def of_daemon(split: bool = False) -> list[str]:
    """The names of the documents of the daemon's role, those that deny among them."""
    return [*listed("kept" if split else "functions"), "guard", "production"]


def of_recover() -> list[str]:
    return [*listed("recover_has"), "guard"]


def of_dump() -> list[str]:
    return [*listed("dump_has"), "guard", "production"]


def of_split(function: str) -> list[str]:
    return [function, "guard", "production"]


def fence(function: str) -> Document:
    """What a role of one function is denied because others do it."""
    fences: dict[str, list[str]] = json.loads((ROLES / "fences.json").read_text())
    actions = sorted(action for owner, own in fences.items() if owner != function for action in own)
    statement = {"Sid": "OtherRolesDoThis", "Effect": "Deny", "Action": actions, "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [statement]}
