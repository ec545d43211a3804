"""The roles of deploy/terraform, made in a sandbox that enforces them."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config as ClientConfig
from botocore.exceptions import ClientError

import sandbox_process
from case import YEARLY, Case, Config, quick
from sandbox_process import BACKUP_USER, KMS_ALIAS, REGION, REPOSITORY, Sandbox
from strongroom_process import Daemon, Strongroom
from vault import INSTANCE, REPLICA_BUCKET, SOURCE, SPEED, WEST, Vault, keep, seed

sys.path.append(str(REPOSITORY / "tests/deploy"))

import policy_documents  # noqa: E402

ACCOUNT = "123456789012"
TOPIC = "database-team"
ALERT_SECRET = "strongroom/heartbeat-url"
APPLICATION_SECRET = "bank/vault/app"
SUBNET_GROUP = "drills"
SPLIT = ("copy", "drill", "dump-write", "observe", "prune", "snapshot", "verify")
BEFORE_ENFORCEMENT = {"INITIAL_NO_AUTH_ACTION_COUNT": "1000000"}

TOKEN_USER = "token_user"
ROUTES: Config = {"routes": {"team": {"sns_topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:{TOPIC}"}}}

Credentials = dict[str, str]


@contextmanager
def enforcing_sandbox(directory: Path) -> Iterator[Sandbox]:
    """A vault, a second region, and what a production installation has beside them."""
    seeded = seed()
    seeded["sns_topics"] = [TOPIC, "others"]
    seeded["secrets"] = {
        ALERT_SECRET: {"url": "http://localhost/"},
        APPLICATION_SECRET: {"host": "x", "port": 1},
        "rds/other": {},
    }
    by_token = {"name": TOKEN_USER, "iam": True, "grants_sql": f"GRANT pg_read_all_data TO {TOKEN_USER};"}
    seeded["instances"][0]["roles"].append(by_token)
    running = sandbox_process.start(directory, seeded, "--speed", SPEED, environment=BEFORE_ENFORCEMENT)
    try:
        running.subnet_group(SUBNET_GROUP)
        enforce(running)
        yield running
    finally:
        running.stop()


def as_in_production(vault: Vault, credentials: Credentials, **changes: Any) -> Strongroom:
    """Copies and a replica in the second region, drills, a topic, CloudWatch."""
    copies: Config = {
        "region": WEST,
        "kms_key": vault.key_arn(KMS_ALIAS),
        "retention": {"keep_last": 1, "min_keep": 1, "min_age": "1s"},
    }
    usual: Config = {
        "snapshot": keep(1, copy_to=[copies]),
        "dump": keep(1, engine=None),
        "drill": {"schedule": YEARLY, "paths": ["snapshot", "dump"], "retry": quick()["retry"]},
        "drills": {"subnet_group": SUBNET_GROUP, "security_groups": ["sg-0a1b2c3d"]},
        "destination": vault.replica("replicated"),
        "alerts": ROUTES,
        "cloudwatch": {"namespace": "Strongroom"},
        "prune": {"automatic": False},
    }
    return vault.configure_vault(environment=credentials, **(usual | changes))


def do_everything(vault: Vault, strongroom: Strongroom, seconds: float) -> Daemon:
    """All that such a configuration asks for, by commands and by a daemon, which has ended then."""
    strongroom("check", "--online", code=None, seconds=seconds)
    snapshots, dumps = vault.snapshot(strongroom, 2), vault.dump(strongroom, 2)
    assert set(vault.listed(strongroom)) == {*snapshots, *dumps}
    for level in ("1", "2", "3"):
        strongroom("verify", SOURCE, "--level", level, seconds=seconds)
    ended = strongroom("drill", SOURCE, seconds=seconds)
    assert ended.out.count("passed: drill ") == 2, ended.out
    strongroom("alerts", "test", "team")
    strongroom("diagnose", SOURCE, code=None, seconds=seconds)
    daemon = strongroom.start()
    daemon.wait_for(lambda: "available" in vault.copy_states().values(), "a copy is there", seconds)
    daemon.wait_until_well()
    assert daemon.terminate() == 0
    strongroom("prune", "--confirm", code=None, seconds=seconds)
    assert vault.snapshot_ids() == snapshots[1:] and vault.versions_of(dumps[0]) == []
    return daemon


def enforce(sandbox: Sandbox) -> None:
    """From here on the sandbox asks policies; we have a user who may do everything."""
    iam = sandbox.client("iam")
    iam.create_user(UserName="admin")
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    iam.put_user_policy(UserName="admin", PolicyName="everything", PolicyDocument=policy([statement]))
    key = iam.create_access_key(UserName="admin")["AccessKey"]
    url, headers = f"{sandbox.endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    request = urllib.request.Request(url, data=b"0", headers=headers, method="POST")
    urllib.request.urlopen(request, timeout=10).read()
    sandbox.sign_as({"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]})


def policy(statements: Iterable[Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@dataclass(frozen=True)
class Roles:
    """Roles whose names begin with that of a test's own corner, and whose rights are about that corner."""

    case: Case

    def documents(self, **changes: Any) -> dict[str, policy_documents.Document]:
        """The policies, for the sandbox's instance, buckets and keys."""
        keys = [self.key(KMS_ALIAS, REGION), self.key(KMS_ALIAS, WEST)]
        secret = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret"
        usual: Config = {
            "account": ACCOUNT,
            "region": REGION,
            "installation": self.case.name,
            "prefix": self.case.name,
            "snapshot_prefix": self.case.name,
            "instances": [INSTANCE],
            "instance_keys": keys[:1],
            "copy_regions": [WEST],
            "copy_keys": keys[1:],
            "bucket": self.case.bucket,
            "replicas": [REPLICA_BUCKET],
            "bucket_keys": keys,
            "key_regions": [REGION, WEST],
            "login_secrets": [f"{secret}:rds/{SOURCE}/backup-*"],
            "token_users": [BACKUP_USER],
            "drill_subnet_groups": [SUBNET_GROUP],
            "topics": [f"arn:aws:sns:{REGION}:{ACCOUNT}:{TOPIC}"],
            "alert_secrets": [f"{secret}:{ALERT_SECRET}-*"],
            "recover_secrets": [f"{secret}:{APPLICATION_SECRET}-*"],
        }
        return policy_documents.documents(**(usual | changes))

    def key(self, alias: str, region: str) -> str:
        described = self.case.sandbox.client("kms", region).describe_key(KeyId=alias)
        arn: str = described["KeyMetadata"]["Arn"]
        return arn

    def arn(self, name: str) -> str:
        return f"arn:aws:iam::{ACCOUNT}:role/{self.case.name}-{name}"

    def by_function(self, **given: Any) -> Config:
        """`aws` of the configuration, with the role of each function that has one."""
        return {"region": REGION, "roles": {name.replace("-", "_"): self.arn(name) for name in SPLIT}} | given

    def trust(self, name: str, trusted: str) -> None:
        """From now on a role lets nobody in but this one."""
        statement = {"Effect": "Allow", "Principal": {"AWS": self.arn(trusted)}, "Action": "sts:AssumeRole"}
        iam = self.case.sandbox.client("iam")
        iam.update_assume_role_policy(RoleName=f"{self.case.name}-{name}", PolicyDocument=policy([statement]))

    def make(self, name: str, documents: dict[str, policy_documents.Document], trusted: str) -> None:
        iam = self.case.sandbox.client("iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": trusted}, "Action": "sts:AssumeRole"}
        iam.create_role(RoleName=f"{self.case.name}-{name}", AssumeRolePolicyDocument=policy([trust]))
        for title, document in documents.items():
            self.give(name, document, title)

    def give(self, name: str, document: policy_documents.Document, title: str = "") -> None:
        """A policy for a role, in place of the one of that title: of its own function, if not told otherwise."""
        iam = self.case.sandbox.client("iam")
        text = json.dumps(document)
        iam.put_role_policy(RoleName=f"{self.case.name}-{name}", PolicyName=title or name, PolicyDocument=text)

    def make_all(self, **changes: Any) -> None:
        """The daemon's role with all rights, that with split_roles, those that it may then assume, and those of others."""
        written = self.documents(**changes)
        root = f"arn:aws:iam::{ACCOUNT}:root"

        def chosen(names: list[str]) -> dict[str, policy_documents.Document]:
            return {name: written[name] for name in names}

        assume = {"Sid": "Assume", "Effect": "Allow", "Action": "sts:AssumeRole"}
        assume["Resource"] = [self.arn(name) for name in SPLIT]  # type: ignore[assignment]
        self.make("daemon", chosen(policy_documents.of_daemon()), root)
        base = chosen(policy_documents.of_daemon(split=True)) | {"assume": json.loads(policy([assume]))}
        self.make("base", base, root)
        self.make("recover", chosen(policy_documents.of_recover()), root)
        fence = {"fence": policy_documents.fence("dump-write")}
        self.make("dump", chosen(policy_documents.of_dump()) | fence, root)
        for name in SPLIT:
            own = chosen(policy_documents.of_split(name)) | {"fence": policy_documents.fence(name)}
            self.make(name, own, self.arn("base"))

    def assume(self, name: str, by: Credentials | None = None) -> Credentials:
        """A session of a role, of an administrator or of whoever has these credentials."""
        sts = self.client("sts", by) if by else self.case.sandbox.client("sts")
        made = sts.assume_role(RoleArn=self.arn(name), RoleSessionName="test")["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
            "AWS_SESSION_TOKEN": made["SessionToken"],
        }

    def client(self, service: str, credentials: Credentials, region: str = REGION) -> Any:
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.case.sandbox.endpoint,
            aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=credentials["AWS_SESSION_TOKEN"],
            config=ClientConfig(retries={"total_max_attempts": 1}),
        )


REFUSALS = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"}


def is_refused(call: Any, /, **parameters: Any) -> bool:
    """Whether it is refused for want of a right. That it fails for another reason means that it was allowed."""
    try:
        call(**parameters)
    except ClientError as error:
        return error.response["Error"]["Code"] in REFUSALS
    return False


def configure_split(vault: Vault, roles: Roles, credentials: Credentials, **changes: Any) -> Strongroom:
    """As in production, with a role for each function of these roles that has one."""
    return as_in_production(vault, credentials, **({"aws": roles.by_function()} | changes))


Split = tuple[Vault, Roles, Credentials]
"""A corner, its roles, and the credentials of a daemon whose functions have roles."""
