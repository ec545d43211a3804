"""IAM mode: what a call needs, resource by resource and with its tags, is asked of the policies of whoever signed it.

moto asks about the action alone: of every service but S3 it takes the resource to be `*`, which no statement about an ARN
allows, and it takes a condition that does not hold for a denial. Here the calls that change something have the resources of
AWS's service authorization reference; calls that only look are about `*`, as moto has it.

Still not as AWS has it: rights on KMS keys that S3, RDS or SNS use on a caller's behalf, `kms:ViaService`, the policies of
buckets, keys and topics, and tags that AWS knows only minutes later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

import cbor2
from moto.core.exceptions import AccessDeniedError
from moto.iam.access_control import IAMPolicy, IAMRequestBase

from .iam_rules import Request, allows, like, several

# The parameters of RDS calls that name a resource, and of what kind it is. `!` marks the one that is to be made and tagged.
RDS: dict[str, dict[str, str]] = {
    "AddTagsToResource": {"ResourceName": "arn"},
    "CopyDBSnapshot": {"SourceDBSnapshotIdentifier": "snapshot", "TargetDBSnapshotIdentifier": "snapshot!"},
    "CreateDBInstance": {"DBInstanceIdentifier": "db!", "DBSubnetGroupName": "subgrp", "DBParameterGroupName": "pg"},
    "CreateDBSnapshot": {"DBInstanceIdentifier": "db", "DBSnapshotIdentifier": "snapshot!"},
    "DeleteDBInstance": {"DBInstanceIdentifier": "db"},
    "DeleteDBSnapshot": {"DBSnapshotIdentifier": "snapshot"},
    "DescribeDBLogFiles": {"DBInstanceIdentifier": "db"},
    "DownloadDBLogFilePortion": {"DBInstanceIdentifier": "db"},
    "ModifyDBInstance": {"DBInstanceIdentifier": "db", "DBParameterGroupName": "pg"},
    "ModifyDBSnapshotAttribute": {"DBSnapshotIdentifier": "snapshot"},
    "RebootDBInstance": {"DBInstanceIdentifier": "db"},
    "RestoreDBInstanceFromDBSnapshot": {
        "DBInstanceIdentifier": "db!",
        "DBSnapshotIdentifier": "snapshot",
        "DBSubnetGroupName": "subgrp",
        "DBParameterGroupName": "pg",
    },
    "RestoreDBInstanceToPointInTime": {
        "SourceDBInstanceIdentifier": "db",
        "TargetDBInstanceIdentifier": "db!",
        "DBSubnetGroupName": "subgrp",
        "DBParameterGroupName": "pg",
    },
    "StopDBInstance": {"DBInstanceIdentifier": "db"},
}
TAG = re.compile(r"^Tags\.(?:member|Tag)\.(\d+)\.(Key|Value)$")


def install() -> None:
    IAMRequestBase.check_action_permitted = check


def check(self: IAMRequestBase, resource: str) -> None:
    # CloudWatch's rights bear another name than its signatures.
    service, operation = self._action.split(":", 1)
    service = {"monitoring": "cloudwatch"}.get(service, service)
    if (service, operation) == ("sts", "GetCallerIdentity"):
        return
    documents = [IAMPolicy(policy)._policy_json for policy in self._access_key.collect_policies()]
    for request in needs(self, service, operation, resource):
        if not allows(documents, request):
            refuse(self, request)
    if (service, operation) == ("sts", "AssumeRole") and not is_trusted(self):
        refuse(self, Request("sts:AssumeRole", flat(self._data)["RoleArn"]))


def refuse(self: IAMRequestBase, request: Request) -> None:
    """In AWS's words and in the form of the protocol: moto's is one that newer SDKs find no code in."""
    if self._service == "s3":
        self._raise_access_denied()
    raise Refused(self._access_key.arn, request, in_json="X-Amz-Target" in self._headers)


class Refused(AccessDeniedError):
    def __init__(self, who: str, request: Request, in_json: bool) -> None:
        super().__init__(who, request.action)
        text = f"{self.message} on resource: {request.resource}"
        if in_json:
            self.description = json.dumps({"__type": self.error_type, "message": text})
            self.content_type = "application/x-amz-json-1.1"
        else:
            error = f"<Type>Sender</Type><Code>{self.error_type}</Code><Message>{escape(text)}</Message>"
            self.description = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"


def needs(self: IAMRequestBase, service: str, operation: str, resource: str) -> Iterator[Request]:
    """The rights that a call needs, all of them."""
    action, data = f"{service}:{operation}", flat(self._data)
    if service == "rds" and operation in RDS:
        yield from of_rds(self, operation, data)
    elif service == "sts" and operation == "AssumeRole":
        yield Request(action, data["RoleArn"])
    elif service == "sns" and operation == "Publish":
        yield Request(action, data.get("TopicArn") or data["TargetArn"])
    elif service == "secretsmanager":
        yield Request(action, secret(self, body(self).get("SecretId", "*")))
    elif service == "kms":
        yield Request(action, key(self, body(self).get("KeyId", "*")))
    elif service == "cloudwatch" and operation == "PutMetricData":
        namespace = data.get("Namespace") or body(self).get("Namespace", "")
        yield Request(action, "*", {"cloudwatch:namespace": namespace})
    else:
        yield Request(action, resource)


def of_rds(self: IAMRequestBase, operation: str, data: Mapping[str, str]) -> Iterator[Request]:
    new_tags = {f"aws:RequestTag/{key}": value for key, value in tags_in(data).items()}
    for parameter, kind in RDS[operation].items():
        if name := data.get(parameter):
            arn = (
                name
                if name.startswith("arn:")
                else f"arn:aws:rds:{self._region}:{self.account_id}:{kind.strip('!')}:{name}"
            )
            own_tags = {f"aws:ResourceTag/{key}": value for key, value in tags_of(arn).items()}
            yield Request(f"rds:{operation}", arn, new_tags | own_tags)
            if kind.endswith("!") and new_tags:
                yield Request("rds:AddTagsToResource", arn, new_tags)


def flat(data: Any) -> dict[str, str]:
    """moto has some parameters as lists of one."""
    return {name: str(several(value)[0]) for name, value in (data or {}).items() if several(value)}


def body(self: IAMRequestBase) -> dict[str, Any]:
    """The parameters of a call in JSON, or in CBOR (rpc_cbor.py)."""
    try:
        found = json.loads(self._body or b"{}")
    except ValueError:
        found = cbor2.loads(self._body)
    return found if isinstance(found, dict) else {}


def tags_in(data: Mapping[str, str]) -> dict[str, str]:
    """The tags that a call gives to what it makes."""
    parts: dict[str, dict[str, str]] = {}
    for name, value in data.items():
        if match := TAG.match(name):
            parts.setdefault(match[1], {})[match[2]] = value
    return {tag["Key"]: tag.get("Value", "") for tag in parts.values()}


def tags_of(arn: str) -> dict[str, str]:
    """The tags that a resource has; none where there is no such resource."""
    from moto.rds.models import rds_backends

    _, _, _, region, account, kind, name = arn.split(":", 6)
    backend = rds_backends[account][region]
    held: dict[str, Mapping[str, Any]] = {"db": backend.databases, "snapshot": backend.database_snapshots}
    found = held.get(kind, {}).get(name)
    return {tag["Key"]: tag["Value"] for tag in found.get_tags()} if found else {}


def secret(self: IAMRequestBase, name: str) -> str:
    """The ARN of a secret, which ends in six characters of AWS's own."""
    from moto.secretsmanager.models import secretsmanager_backends

    secrets = secretsmanager_backends[self.account_id][self._region].secrets
    found = secrets.get(name)
    return found.arn if found else f"arn:aws:secretsmanager:{self._region}:{self.account_id}:secret:{name}-??????"


def key(self: IAMRequestBase, name: str) -> str:
    """The ARN of a key, by whatever name it is called."""
    from moto.kms.models import kms_backends

    if ":key/" in name:
        return name
    backend = kms_backends[self.account_id][self._region]
    held = backend.keys.get(backend.any_id_to_key_id(name))
    return str(held.arn) if held else "*"


def is_trusted(self: IAMRequestBase) -> bool:
    """Whether the role that is to be assumed trusts whoever asks: a user, or the role of a session."""
    role = self.backend.get_role_by_arn(flat(self._data)["RoleArn"])
    who = self._access_key.arn
    if match := re.fullmatch(r"(arn:[^:]+):sts::(\d+):assumed-role/([^/]+)/.*", who):
        who = f"{match[1]}:iam::{match[2]}:role/{match[3]}"
    document = json.loads(role.assume_role_policy_document)
    principals = [
        principal
        for statement in several(document["Statement"])
        if statement["Effect"] == "Allow" and "sts:AssumeRole" in several(statement["Action"])
        for principal in several(statement.get("Principal", {}).get("AWS", []))
    ]
    root = f"arn:aws:iam::{self.account_id}:root"
    return any(principal in ("*", root, self.account_id) or like(principal, who) for principal in principals)
