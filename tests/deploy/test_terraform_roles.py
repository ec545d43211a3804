"""Roles that are split: each request with its resource, asked of the very role that makes it, and of those that do not.

tests/e2e/test_roles_by_function.py has the real binary make these requests and looks who made them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from botocore import xform_name
from policy_documents import ROLES, Document, fence, listed, of_daemon, of_dump, of_split
from test_terraform import EXAMPLE, blocks, locals_of, one, resources
from test_terraform_policies import ALL, REQUESTS, SPLIT, trust
from tools import KUBERNETES, ROOT, Built, Resource, container_of

sys.path.append(str(ROOT / "tests/sandbox"))

from sandbox.iam_rules import Request, allows  # noqa: E402

ACCOUNT = "111122223333"
RDS, WEST = f"arn:aws:rds:us-east-1:{ACCOUNT}", f"arn:aws:rds:us-west-2:{ACCOUNT}"
SECRETS = f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret"
HOME, REPLICA, COPIED = (f"arn:aws:s3:::bank-backups{end}" for end in ("", "-west", "-copied"))
INSTANCE, SNAPSHOT, DRILL = f"{RDS}:db:bank-cards-prod", f"{RDS}:snapshot:strongroom-a", f"{RDS}:db:strongroom-drill-a"
MADE = {"aws:RequestTag/strongroom:owner": "bank-production/strongroom-a"}
MARKED = {"aws:ResourceTag/strongroom:owner": "bank-production/strongroom-a"}


@dataclass(frozen=True)
class Made:
    """A request of the table, or one of those that stand for many, with one of its resources."""

    name: str
    by: str
    resource: str = "*"
    keys: Mapping[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    """Functions that may do it because of another request of theirs."""

    @property
    def request(self) -> Request:
        return Request(REQUESTS[self.name][0], self.resource, self.keys)


LOOKS = [Made(name, "observe") for name in REQUESTS if re.match(r"(rds Describe|cloudwatch Get)", name)]
SETTINGS = [
    Made(name, "observe", bucket)
    for name in REQUESTS
    for bucket in (HOME, REPLICA)
    if re.match(r"s3 (GetBucket|GetObjectLock|GetPublic|List)", name)
]
WRITES = [
    Made(name, "dump-write", f"{bucket}/strongroom/cards/dumps/x")
    for name, (action, _) in REQUESTS.items()
    for bucket in (HOME, COPIED)
    if action in ("s3:PutObject", "s3:AbortMultipartUpload")
]
MADE_BY = [
    *LOOKS,
    *SETTINGS,
    *WRITES,
    Made("rds DownloadDBLogFilePortion", "observe", INSTANCE),
    Made("kms DescribeKey", "observe", f"arn:aws:kms:us-west-2:{ACCOUNT}:key/any"),
    # Who reads or writes objects may ask whether they are there, else what is missing would look forbidden.
    Made("s3 HeadBucket", "observe", HOME, also=("verify", "dump-write")),
    Made("s3 HeadBucket", "observe", REPLICA, also=("verify",)),
    # What was written is asked for as it stands, and may be read with that right; what is verified, by its version.
    Made("s3 HeadObject", "dump-write", f"{HOME}/strongroom/cards/dumps/x/archive.dump.zst", also=("verify",)),
    Made("s3 HeadObject", "dump-write", f"{COPIED}/strongroom/cards/dumps/x/archive.dump.zst"),
    Made("s3 GetObject", "observe", f"{HOME}/strongroom/cards/runs/x.json", also=("verify", "dump-write")),
    Made("s3 GetObject", "observe", f"{REPLICA}/strongroom/cards/dumps/x/manifest.json", also=("verify",)),
    Made("s3 GetObject", "verify", f"{HOME}/strongroom/cards/dumps/x/archive.dump.zst", also=("dump-write",)),
    Made("s3 GetObject", "verify", f"{REPLICA}/strongroom/cards/dumps/x/archive.dump.zst"),
    Made("s3 HeadObject", "verify", f"{REPLICA}/strongroom/cards/dumps/x/archive.dump.zst"),
    Made("s3 DeleteObjects", "prune", f"{HOME}/strongroom/cards/dumps/x"),
    Made("s3 DeleteObjects", "prune", f"{REPLICA}/strongroom/cards/dumps/x"),
    Made("rds CreateDBSnapshot", "snapshot", INSTANCE, MADE),
    Made("rds CreateDBSnapshot", "snapshot", SNAPSHOT, MADE),
    Made("rds CopyDBSnapshot", "copy", SNAPSHOT, MADE),
    Made("rds CopyDBSnapshot", "copy", f"{WEST}:snapshot:strongroom-a", MADE),
    Made("rds DeleteDBSnapshot", "prune", SNAPSHOT, MARKED),
    Made("rds DeleteDBSnapshot", "prune", f"{WEST}:snapshot:strongroom-a", MARKED),
    *(
        Made(f"rds {name}", "drill", resource, MADE)
        for name, resource in (
            ("CreateDBInstance", DRILL),
            ("RestoreDBInstanceFromDBSnapshot", DRILL),
            ("RestoreDBInstanceFromDBSnapshot", SNAPSHOT),
            ("RestoreDBInstanceToPointInTime", DRILL),
            ("RestoreDBInstanceToPointInTime", INSTANCE),
        )
    ),
    Made("rds DeleteDBInstance", "drill", DRILL, MARKED),
    Made("rds ModifyDBInstance", "drill", DRILL, MARKED),
    # The same login, of the source and of what was restored from it.
    Made("secretsmanager GetSecretValue", "dump-write", f"{SECRETS}:rds/cards/backup-aBcDeF", also=("drill",)),
    Made("secretsmanager GetSecretValue", "drill", f"{SECRETS}:rds/cards/backup-aBcDeF", also=("dump-write",)),
    Made("secretsmanager GetSecretValue", "tell", f"{SECRETS}:strongroom/heartbeat-url-aBcDeF"),
    Made("sns Publish", "tell", f"arn:aws:sns:us-east-1:{ACCOUNT}:database-team"),
    Made("cloudwatch PutMetricData", "tell", "*", {"cloudwatch:namespace": "Strongroom"}),
]
OF_NO_FUNCTION = {"secretsmanager PutSecretValue", "sts AssumeRole"}


def role(function: str) -> list[Document]:
    """All that the role has with which the daemon makes a function's requests."""
    if function in listed("kept"):
        return base()
    return [fence(function), *(ALL[name] for name in of_split(function))]


def base() -> list[Document]:
    """The daemon's own role where the others are split off, but for what lets it assume those."""
    return [ALL[name] for name in of_daemon(split=True)]


@pytest.mark.parametrize("made", MADE_BY, ids=lambda made: f"{made.name} {made.resource.rsplit(':', 1)[-1]}")
def test_a_request_is_allowed_to_the_role_that_makes_it_and_to_no_other(made: Made) -> None:
    assert made.by in REQUESTS[made.name][1]
    may = {function for function in [*SPLIT, *listed("kept")] if allows(role(function), made.request)}
    assert may == {made.by, *made.also}
    assert allows([ALL[name] for name in of_daemon()], made.request), "the daemon whose roles are not split"


def test_every_request_of_every_function_is_among_them() -> None:
    asked = {(made.name, made.by) for made in MADE_BY}
    told = {(name, function) for name, (_, functions) in REQUESTS.items() for function in functions}
    assert asked == {(name, function) for name, function in told if function != "recover"}
    assert OF_NO_FUNCTION == REQUESTS.keys() - {name for name, _ in asked}


@pytest.mark.parametrize("name", REQUESTS.keys() - OF_NO_FUNCTION)
def test_a_job_that_dumps_makes_those_of_its_functions(name: str) -> None:
    """It assumes no role: all that it asks for is a right of its own."""
    documents = [fence("dump-write"), *(ALL[name] for name in of_dump())]
    for made in (made for made in MADE_BY if made.name == name):
        own = {"dump-write", "observe", "verify"} & {made.by, *made.also}
        assert allows(documents, made.request) == bool(own), made


# Who assumes them


def test_the_daemon_assumes_roles_and_is_assumed_by_none_of_them() -> None:
    (statement,) = trust("daemon", daemon="arn:d")["Statement"]
    assert (statement["Principal"], statement["Action"]) == ({"AWS": "arn:d"}, "sts:AssumeRole")
    text = (ROLES / "main.tf").read_text()
    (own,) = re.findall(r'resource "aws_iam_role_policy" "daemon_assume" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^ +Action += (.*)$", own, re.MULTILINE) == ['"sts:AssumeRole"'], "sessions bear no tags"
    assert "Resource = [for name in local.split : aws_iam_role.split[name].arn]" in own
    assert not any("sts:" in json.dumps(document) for document in ALL.values())


def test_an_alert_that_a_role_cannot_be_assumed_needs_none() -> None:
    assert listed("kept") == ["tell"] and set(SPLIT) == set(listed("functions")) - {"tell"}


def test_sessions_of_functions_last_as_long_as_iam_lets_them(parsed: dict[Path, Resource]) -> None:
    """An hour, which is what roles have by themselves: more would be refused to a role that comes from a role."""
    (split,) = [body for _, kind, name, body in resources(parsed) if (kind, name) == ("aws_iam_role", "split")]
    assert "max_session_duration" not in split


def test_the_example_splits_them_and_gives_the_configuration_their_names(parsed: dict[Path, Resource]) -> None:
    calls = {name: body for _, name, body in blocks(parsed, "module", EXAMPLE)}
    assert one(calls["roles"]["split_roles"]) is True
    outputs = {name: body for _, name, body in blocks(parsed, "output", EXAMPLE)}
    assert "module.roles.aws_roles" in one(outputs["roles_toml"]["value"])
    # Where the role of a function prunes, the daemon's own is no deleter any more.
    assert "module.roles.daemon_arn" not in (EXAMPLE / "main.tf").read_text()


def test_the_production_overlay_names_the_roles_that_the_example_makes(production: Built) -> None:
    example = locals_of(EXAMPLE / "main.tf")
    named = {name.replace("-", "_"): f"arn:aws:iam::{ACCOUNT}:role/{example['role']}-{name}" for name in SPLIT}
    assert production.in_force()["aws"]["roles"] == named
    (comment,) = re.findall(r'\["(# .*)\\n\[aws\.roles\]\\n"\]', (EXAMPLE / "outputs.tf").read_text())
    lines = [f'{key} = "{arn}"' for key, arn in sorted(named.items())]
    file = "\n".join([comment, "[aws.roles]", *lines, ""])
    assert (KUBERNETES / "overlays/production/21-roles.toml").read_text() == file, "as the output is, to the letter"


def test_functions_are_those_of_the_configuration() -> None:
    schema = json.loads((ROOT / "config/strongroom.schema.json").read_text())
    keys = schema["$defs"]["Roles"]["properties"].keys()
    assert keys == {name.replace("-", "_") for name in listed("functions")}


def test_the_code_makes_each_request_as_the_function_of_the_table() -> None:
    """As far as the name of a client says: `observe` of `self.observe.describe_events()` or of `on_bucket!(self, observe.head_bucket)`."""
    files = [file for file in (ROOT / "src/adapters").glob("**/*.rs") if "tests" not in (*file.parts, file.stem)]
    code = "\n".join(file.read_text() for file in files)
    clients = "|".join(name.replace("-", "_") for name in listed("functions"))
    told = set(re.findall(rf"on_bucket!\(\w+, ({clients})\.(\w+)\)", code))
    told |= set(re.findall(rf"\bself\s*\.({clients})\s*\.(\w+)\(\)", code))
    table = {
        (function.replace("-", "_"), xform_name(request.split()[1]))
        for request, (_, functions) in REQUESTS.items()
        for function in functions
    }
    assert len(told) > 25 and told <= table


@pytest.mark.parametrize(
    ("kind", "name"),
    [("CronJob", "strongroom-dump"), ("CronJob", "strongroom-dump-large"), ("Deployment", "strongroom-recover")],
)
def test_pods_with_roles_of_their_own_assume_none(production: Built, kind: str, name: str) -> None:
    spec = production.one(kind, name)["spec"]
    pod = (spec["jobTemplate"]["spec"] if kind == "CronJob" else spec)["template"]["spec"]
    said = {entry["name"]: entry["value"] for entry in container_of(pod)["env"]}
    assert said["STRONGROOM__AWS__ASSUME_ROLES"] == "false"
    assert "STRONGROOM__AWS__ASSUME_ROLES" not in str(production.pod), "the daemon does"
