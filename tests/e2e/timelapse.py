"""The real daemon, the sandbox and its servers, all on one short clock, which a test steps from slot to slot."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import sandbox_process
from botocore.exceptions import ClientError
from case import Case, Config, source
from postgres_tools import TOOLS
from sandbox_process import BACKUP_USER, BUCKET, KMS_ALIAS, MASTER_PASSWORD, REGION, Sandbox, Seed, role
from short_clock import ShortClock, short_clock
from slot_model import as_id
from strongroom_process import Daemon, Strongroom

SOURCE = "vault"
INSTANCE = f"bank-{SOURCE}"
DATABASE = SOURCE
ROWS = 9
PATIENCE = 120
"""Seconds: a slot takes half of one, but not on a machine that compiles meanwhile."""
SPEED = "20"
"""What takes RDS half a second in the sandbox takes it a twentieth of that."""
CALLS_BEFORE_AUTHENTICATION = "1000000"
"""More than the seed needs: from then on, and not before, signatures are verified."""


def seed() -> Seed:
    """One small vault."""
    readers = f"GRANT pg_read_all_data TO {BACKUP_USER};"
    return {
        "regions": [REGION],
        "kms_keys": [{"alias": KMS_ALIAS.removeprefix("alias/")}],
        "buckets": [{"name": BUCKET, "versioning": True, "kms": KMS_ALIAS, "hardened": True}],
        "instances": [
            {
                "id": INSTANCE,
                "databases": [DATABASE],
                "sql": f"CREATE TABLE bars AS SELECT n AS serial FROM generate_series(1, {ROWS}) AS n",
                "master_password": MASTER_PASSWORD,
                "backup_retention": 0,
                "roles": [role(f"rds/{SOURCE}/backup", readers)],
            }
        ],
    }


@dataclass
class Timelapse:
    """Months of one source's life. `advance_to` is the way through them."""

    clock: ShortClock
    case: Case
    strongroom: Strongroom
    human_snapshots: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What people have made with RDS themselves, as it was when it was there."""

    # the daemon

    @property
    def daemon(self) -> Daemon:
        return self.case.daemons[-1]

    def start(self) -> None:
        """Starts the daemon; a signal to look finds it listening."""
        self.strongroom.start().wait_for_line("strongroom has started")

    def look(self) -> None:
        """The daemon looks now, and not when its next bell rings."""
        self.daemon.process.send_signal(signal.SIGHUP)

    def log(self, *levels: str) -> list[dict[str, Any]]:
        """What all daemons so far have said at these levels."""
        return [line for daemon in self.case.daemons for line in daemon.at_level(*levels)]

    # time

    def advance_to(self, moment: datetime, snapshot: datetime, dump: datetime) -> None:
        """It becomes this moment; returns when the slots that are due then are filled and the runs have ended."""
        self.clock.step_to(moment)
        self.settle(snapshot, dump)

    def settle(self, snapshot: datetime, dump: datetime) -> None:
        """Returns when these slots are filled and their runs have ended."""
        self.look()
        seen: list[bool] = []

        def settled() -> bool:
            available = self.snapshot_status(self.snapshot_id(snapshot)) == "available"
            # RDS does not tell when it has made a snapshot, so the daemon would find out at its next poll.
            if available and seen == [False]:
                self.look()
            seen[:] = [available]
            return available and self.succeeded("snapshot", snapshot) and self.succeeded(f"dump-{DATABASE}", dump)

        self.daemon.wait_for(settled, f"snapshot {as_id(snapshot)} and dump {as_id(dump)} are there", PATIENCE)

    # people

    def snapshot_by_hand(self, identifier: str, tags: list[dict[str, str]] | None = None) -> None:
        """A person makes a snapshot."""
        rds = self.case.sandbox.client("rds")
        rds.create_db_snapshot(DBInstanceIdentifier=INSTANCE, DBSnapshotIdentifier=identifier, Tags=tags or [])
        self._remember(identifier)

    def copy_by_hand(self, original: str, identifier: str) -> None:
        """A person copies a snapshot with all its tags."""
        rds = self.case.sandbox.client("rds")
        names = {"SourceDBSnapshotIdentifier": original, "TargetDBSnapshotIdentifier": identifier}
        rds.copy_db_snapshot(**names, CopyTags=True)
        self._remember(identifier)

    def _remember(self, identifier: str) -> None:
        def ready() -> bool:
            instance = self.case.sandbox.instance(INSTANCE)
            return {instance["DBInstanceStatus"], self.snapshot_status(identifier)} == {"available"}

        self.daemon.wait_for(ready, f"snapshot {identifier} is available, and so is the instance")
        self.human_snapshots[identifier] = self.find_snapshot(identifier) or {}

    # what there is, as AWS lists it

    def snapshot_id(self, slot: datetime) -> str:
        """The id that the daemon's snapshot of this slot has."""
        return f"{self.case.name}-{SOURCE}-{as_id(slot)}"

    def find_snapshot(self, identifier: str) -> dict[str, Any] | None:
        try:
            found = self.case.sandbox.client("rds").describe_db_snapshots(DBSnapshotIdentifier=identifier)
        except ClientError as error:
            assert error.response["Error"]["Code"].startswith("DBSnapshotNotFound"), error
            return None
        (snapshot,) = found["DBSnapshots"]
        return dict(snapshot)

    def snapshot_status(self, identifier: str) -> str | None:
        return (self.find_snapshot(identifier) or {}).get("Status")

    def all_snapshots(self) -> list[dict[str, Any]]:
        """Every snapshot that is there, whoever has made it, in the order of the ids."""
        pages = self.case.sandbox.client("rds").get_paginator("describe_db_snapshots").paginate()
        return sorted((item for page in pages for item in page["DBSnapshots"]), key=lambda s: s["DBSnapshotIdentifier"])

    def succeeded(self, task: str, slot: datetime) -> bool:
        """Whether the first run of this slot has succeeded."""
        s3 = self.case.sandbox.client("s3")
        key = f"{self.case.name}/{SOURCE}/runs/{as_id(slot)}-{task}-1.json"
        try:
            record = json.load(s3.get_object(Bucket=BUCKET, Key=key)["Body"])
        except s3.exceptions.NoSuchKey:
            return False
        return bool(record["state"] == "succeeded")

    def objects(self, below: str = "") -> list[dict[str, Any]]:
        """Every object that the source has in the store, below this part of its keys."""
        pages = self.case.sandbox.client("s3").get_paginator("list_objects_v2")
        prefix = f"{self.case.name}/{SOURCE}/{below}"
        return [item for page in pages.paginate(Bucket=BUCKET, Prefix=prefix) for item in page.get("Contents", [])]


@contextmanager
def timelapse(
    directory: Path, begin_at: datetime, snapshot: Config, dump: Config, **changes: Any
) -> Iterator[Timelapse]:
    """A source with these policies, retention among them, and `begin_at` as its now; the daemon is not started yet."""
    with short_clock(begin_at) as clock:
        environment = clock.environment | {"INITIAL_NO_AUTH_ACTION_COUNT": CALLS_BEFORE_AUTHENTICATION}
        sandbox = sandbox_process.start(directory, seed(), "--speed", SPEED, environment=environment)
        case = Case(sandbox, directory)
        try:
            authenticate(sandbox)
            strongroom = case.configure(
                # The clock leaps over weeks: what was due meanwhile is found at a look, and seen to before the next.
                alerts={"pending_for": "400d"},
                snapshot=snapshot,
                dump=dump,
                environment=clock.environment | sandbox.credentials,
                sources={SOURCE: source(SOURCE)},
                # It gives pg_dump an environment without the clock.
                postgres={"bin_dir": str(clock.on_this_clock(TOOLS / "pg_dump"))},
                **changes,
            )
            yield Timelapse(clock, case, strongroom)
        finally:
            case.close()
            sandbox.stop()


def authenticate(sandbox: Sandbox) -> None:
    """From here on the sandbox verifies each signature; we have a user who may do everything."""
    iam = sandbox.client("iam")
    iam.create_user(UserName="strongroom")
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="strongroom", PolicyName="everything", PolicyDocument=document)
    key = iam.create_access_key(UserName="strongroom")["AccessKey"]
    pair = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    url, headers = f"{sandbox.endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    request = urllib.request.Request(url, data=b"0", headers=headers, method="POST")
    urllib.request.urlopen(request, timeout=10).read()
    sandbox.sign_as(pair)
