"""Fixtures and helpers of the RDS tests: one sandbox per module, instances of their own where a test changes them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

EAST, WEST = "us-east-1", "us-west-2"
SANDBOX = Path(__file__).resolve().parents[1]
CREDENTIALS = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "secret"}
PASSWORD = "correct-horse-battery"


class Sandbox:
    """A running sandbox as a test sees it."""

    def __init__(self, process: subprocess.Popen[str], ready: dict[str, Any]) -> None:
        self.process = process
        self.ready = ready
        self.endpoint: str = ready["endpoint"]
        self.workdir = Path(ready["workdir"])
        self._clients: dict[tuple[str, str], Any] = {}

    def client(self, service: str = "rds", region: str = EAST) -> Any:
        if (service, region) not in self._clients:
            self._clients[service, region] = boto3.client(
                service,
                region_name=region,
                endpoint_url=self.endpoint,
                config=Config(retries={"total_max_attempts": 1}),
                **CREDENTIALS,
            )
        return self._clients[service, region]

    def aws(self, *words: str, region: str = EAST, fails: str | None = None) -> Any:
        """Runs the aws CLI and returns its JSON; with `fails`, expects that error code and returns its text."""
        command = [str(Path(sys.executable).with_name("aws")), "--endpoint-url", self.endpoint, "--region", region]
        environment = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_MAX_ATTEMPTS": "1"}
        kept = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        done = subprocess.run(
            [*command, "--output", "json", *words], capture_output=True, text=True, env=kept | environment
        )
        if fails is not None:
            assert done.returncode != 0 and f"({fails})" in done.stderr, done.stdout + done.stderr
            return done.stderr
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def side(self, function: str, **words: Any) -> Any:
        request = urllib.request.Request(
            f"{self.endpoint}/sandbox-api/rds/{function}", data=json.dumps(words).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)["result"]

    def instance(self, identifier: str, region: str = EAST) -> dict[str, Any]:
        found: list[dict[str, Any]] = self.client(region=region).describe_db_instances(DBInstanceIdentifier=identifier)[
            "DBInstances"
        ]
        return found[0]

    def snapshot(self, identifier: str, region: str = EAST) -> dict[str, Any]:
        found: list[dict[str, Any]] = self.client(region=region).describe_db_snapshots(DBSnapshotIdentifier=identifier)[
            "DBSnapshots"
        ]
        return found[0]

    def wait_instance(self, identifier: str, status: str = "available", region: str = EAST) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            with suppress(ClientError):
                found = self.instance(identifier, region)
                assert found["DBInstanceStatus"] not in {"failed", "incompatible-restore"} - {status}, self.log()
                return found if found["DBInstanceStatus"] == status else None
            return None

        found: dict[str, Any] = wait_for(there, f"instance {identifier} {status}")
        return found

    def wait_snapshot(self, identifier: str, status: str = "available", region: str = EAST) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            found = self.snapshot(identifier, region)
            assert found["Status"] != "failed" or status == "failed", self.log()
            return found if found["Status"] == status else None

        found: dict[str, Any] = wait_for(there, f"snapshot {identifier} {status}")
        return found

    def wait_gone(self, identifier: str) -> None:
        def gone() -> bool:
            try:
                self.instance(identifier)
            except ClientError as error:
                return code(error) == "DBInstanceNotFound"
            return False

        wait_for(gone, f"instance {identifier} gone")

    def create(self, identifier: str | None = None, region: str = EAST, **more: Any) -> str:
        """Makes an instance without automated backups, the quickest kind, and waits for it."""
        identifier = identifier or unique("db")
        self.client(region=region).create_db_instance(**new_instance(identifier, **more))
        self.wait_instance(identifier, region=region)
        return identifier

    def take_snapshot(self, instance: str, identifier: str | None = None, **more: Any) -> str:
        identifier = identifier or unique("snap")
        self.client().create_db_snapshot(DBInstanceIdentifier=instance, DBSnapshotIdentifier=identifier, **more)
        self.wait_snapshot(identifier)
        self.wait_instance(instance)
        return identifier

    def delete(self, identifier: str) -> None:
        self.client().delete_db_instance(DBInstanceIdentifier=identifier, SkipFinalSnapshot=True)
        self.wait_gone(identifier)

    def connect(self, identifier: str, password: str = PASSWORD, region: str = EAST, **more: Any) -> Any:
        """As a careful client does: TLS, the server's name and certificate verified."""
        endpoint = self.instance(identifier, region)["Endpoint"]
        settings = {"user": "master", "dbname": "postgres"} | more
        return psycopg.connect(
            host=endpoint["Address"],
            port=endpoint["Port"],
            password=password,
            sslmode="verify-full",
            sslrootcert=self.ready["ca_file"],
            autocommit=True,
            **settings,
        )

    def rows(self, identifier: str, statement: str, **more: Any) -> list[tuple[Any, ...]]:
        with self.connect(identifier, **more) as session:
            cursor = session.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def events(self, identifier: str, kind: str = "db-instance", region: str = EAST) -> list[str]:
        found = self.client(region=region).describe_events(SourceIdentifier=identifier, SourceType=kind)["Events"]
        return [event["Message"] for event in found]

    def log(self) -> str:
        path = self.workdir / "sandbox.log"
        return path.read_text()[-5000:] if path.exists() else "no log"


def new_instance(identifier: str, **more: Any) -> dict[str, Any]:
    return {
        "DBInstanceIdentifier": identifier,
        "DBInstanceClass": "db.t3.micro",
        "Engine": "postgres",
        "AllocatedStorage": 20,
        "MasterUsername": "master",
        "MasterUserPassword": PASSWORD,
        "BackupRetentionPeriod": 0,
    } | more


def wait_for(predicate: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Polls until the predicate says something true; the bound is generous, for machines are shared."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = predicate()
        if found:
            return found
        time.sleep(0.03)
    pytest.fail(f"waited {seconds} s for {what}")


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def code(error: Any) -> str:
    return str((getattr(error, "value", None) or error).response["Error"]["Code"])


@contextmanager
def refused(expected: str) -> Iterator[None]:
    """The block's call must be refused with this code."""
    with pytest.raises(ClientError) as error:
        yield
    assert code(error) == expected, error.value


@contextmanager
def running(seed: dict[str, Any] | None = None, *words: str) -> Iterator[Sandbox]:
    """A sandbox for the block; the file it is seeded from is gone afterwards."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(seed or {}, file)
        file.flush()
        command = [sys.executable, "-m", "sandbox", "--seed", file.name, "--speed", "3", "--die-with-parent", *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
        assert process.stdout
        line = process.stdout.readline()
    try:
        assert line, "the sandbox did not start; see its messages above"
        yield Sandbox(process, json.loads(line))
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
        process.stdout.close()


def environment() -> dict[str, str]:
    """Memory for files where there is enough: ext4 is slow at making as many files as are deleted all the time."""
    found = os.environ | {"PYTHONPATH": str(SANDBOX)}
    with suppress(OSError):
        if shutil.disk_usage("/dev/shm").free > 2 << 30:
            found.setdefault("SANDBOX_TMP", "/dev/shm")
    return found


def sandbox_fixture(seed: dict[str, Any] | None = None) -> Any:
    """A fixture of one sandbox for all tests of a module."""

    @pytest.fixture(scope="module", name="sandbox")
    def fixture() -> Iterator[Sandbox]:
        with running(seed) as found:
            yield found

    return fixture


def servers_of(workdir: Path) -> list[str]:
    """Command lines of living processes that name the work directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(workdir) in text:
                found.append(text)
    return found
