"""A sandbox in a process of its own: a local AWS whose RDS instances are real servers (tests/sandbox/README.md)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
BANK = REPOSITORY / "tests/fixtures/bank"
REGION = "us-east-1"
BUCKET = "bank-backups"
KMS_ALIAS = "alias/bank"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
HOLD_SECONDS = 60
"""A held call goes on by itself after this, so that a test that fails leaves nothing hanging."""

CANARY = "canary-Nightjar-4711"
"""Part of every password in the sandbox, so that a leak of any is found by one search."""
BACKUP_USER = "strongroom_backup"
BACKUP_PASSWORD = f"{CANARY}-backup"
MASTER_PASSWORD = f"{CANARY}-master"

HASHES, FILLERS = 400_000, 320
LEDGER_ROWS = HASHES + FILLERS

Seed = dict[str, Any]
"""What a sandbox begins with (tests/sandbox/README.md)."""


def role(secret: str, grants_sql: str = "") -> dict[str, Any]:
    return {"name": BACKUP_USER, "password": BACKUP_PASSWORD, "secret": secret, "grants_sql": grants_sql}


def seed() -> Seed:
    """Two banks with all that a dump has to carry, and a ledger that no compression makes small."""
    bank = {"sql_files": [str(BANK / "schema.sql"), str(BANK / "data.sql")], "master_password": MASTER_PASSWORD}
    # 26 MB of hashes: four parts of the smallest size that strongroom takes, so that there is a middle to stop in. After
    # them 64 MB on the wire that compress to nothing: more than the sockets' buffers hold (the kernel gives a receiver
    # up to 32 MiB), so that the server is in the middle of the table for as long as the second part is held up.
    hashes = (
        f"CREATE TABLE receipts AS SELECT n, sha512(int4send(n)) AS seal FROM generate_series(1, {HASHES}) AS n "
        f"UNION ALL SELECT {HASHES} + n, convert_to(repeat('x', 100000), 'UTF8') FROM generate_series(1, {FILLERS}) AS n"
    )
    readers = f"GRANT pg_read_all_data TO {BACKUP_USER};"
    token_user = {"name": "token_user", "iam": True, "grants_sql": "GRANT pg_read_all_data TO token_user;"}
    return {
        "regions": [REGION],
        # Many tests share it: that together they use up a quota is none of theirs.
        "quotas": {"snapshots": 1000},
        "kms_keys": [{"alias": KMS_ALIAS.removeprefix("alias/")}],
        "buckets": [{"name": BUCKET, "versioning": True, "kms": KMS_ALIAS, "hardened": True}],
        "secrets": {"rds/malformed": {"username": BACKUP_USER, "passwort": f"{CANARY}-malformed"}},
        "instances": [
            {
                "id": "bank-accounts",
                "databases": ["accounts"],
                **bank,
                "psql_vars": {"scale": "0.05"},
                "backup_retention": 7,
                "roles": [role("rds/accounts/backup")],
            },
            {
                "id": "bank-lending",
                "databases": ["lending", "history"],
                **bank,
                "psql_vars": {"scale": "0.02"},
                "backup_retention": 0,
                "roles": [role("rds/lending/backup")],
            },
            {
                "id": "bank-ledger",
                "databases": ["ledger"],
                "sql": hashes,
                "master_password": MASTER_PASSWORD,
                "backup_retention": 0,
                # Here clients may come without TLS: whoever falls back to plain text is let in, and found in the log.
                "force_ssl": False,
                "roles": [role("rds/ledger/backup", readers), token_user],
            },
        ],
    }


class Sandbox:
    """A running sandbox."""

    def __init__(self, process: subprocess.Popen[str], ready: dict[str, Any]) -> None:
        self.process = process
        self.ready = ready
        self.endpoint: str = ready["endpoint"]
        self.ca_file: str = ready["ca_file"]
        self.credentials = CREDENTIALS
        self._clients: dict[tuple[str, str], Any] = {}

    def client(self, service: str, region: str = REGION) -> Any:
        if (service, region) not in self._clients:
            self._clients[service, region] = boto3.client(
                service,
                region_name=region,
                endpoint_url=self.endpoint,
                aws_access_key_id=self.credentials["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self.credentials["AWS_SECRET_ACCESS_KEY"],
                config=Config(retries={"total_max_attempts": 1}),
            )
        return self._clients[service, region]

    def sign_as(self, key_pair: dict[str, str]) -> None:
        """Clients made from here on have this key; those made before are forgotten."""
        self.credentials = CREDENTIALS | key_pair
        self._clients.clear()

    @property
    def environment(self) -> dict[str, str]:
        """What AWS clients need to come here and nowhere else."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "STRONGROOM_", "PG"))}
        return kept | self.credentials | {"AWS_ENDPOINT_URL": self.endpoint, "AWS_EC2_METADATA_DISABLED": "true"}

    # faults and the list of calls

    def fault(self, kind: str, **rule: Any) -> str:
        made: str = self._side("POST", "faults", {"kind": kind, **rule})["id"]
        return made

    @contextmanager
    def holding(self, **rule: Any) -> Iterator[None]:
        """Calls that match are held up until the end of the block."""
        with self.faulty("hold", **{"seconds": HOLD_SECONDS, **rule}):
            yield

    @contextmanager
    def faulty(self, kind: str, **rule: Any) -> Iterator[None]:
        """Calls that match go wrong until the end of the block."""
        rule_id = self.fault(kind, **{"count": None, **rule})
        try:
            yield
        finally:
            self._side("DELETE", f"faults/{rule_id}")

    def clear_faults(self) -> None:
        self._side("DELETE", "faults")

    def calls(self, operation: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._side("GET", f"calls?operation={operation}")["calls"]
        return found

    # sessions of roles

    def calls_as(self, prefix: str) -> list[dict[str, Any]]:
        """The calls that sessions of roles whose names begin so have made."""
        found: list[dict[str, Any]] = self._side("GET", "calls")["calls"]
        return [call for call in found if call["role"].startswith(prefix)]

    def sessions(self, prefix: str) -> list[dict[str, str]]:
        """The sessions of roles whose names begin so, with their secrets."""
        found: list[dict[str, str]] = self._side("POST", "sts/sessions", {})["result"]
        return [session for session in found if session["role"].startswith(prefix)]

    @contextmanager
    def short_sessions(self, seconds: float) -> Iterator[None]:
        """Sessions that are made in this block last so long, whatever is asked for."""
        self._side("POST", "sts/set_session_seconds", {"seconds": seconds})
        try:
            yield
        finally:
            self._side("POST", "sts/set_session_seconds", {"seconds": None})

    # S3 and RDS behind their APIs

    def s3(self, function: str, **arguments: Any) -> Any:
        return self._side("POST", f"s3/{function}", arguments)

    def rds(self, function: str, **arguments: Any) -> Any:
        return self._side("POST", f"rds/{function}", arguments)["result"]

    def instance(self, identifier: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = self.client("rds").describe_db_instances(DBInstanceIdentifier=identifier)[
            "DBInstances"
        ]
        return found[0]

    @contextmanager
    def showing(self, instance: str, status: str) -> Iterator[None]:
        """The instance shows this status until the end of the block."""
        self.rds("set_instance_status", id=instance, status=status)
        try:
            yield
        finally:
            self.rds("set_instance_status", id=instance, status="available")

    def subnet_group(self, name: str, region: str = REGION) -> None:
        """Makes a DB subnet group: an instance of the sandbox is in none, as at AWS every one is."""
        subnets = [subnet["SubnetId"] for subnet in self.client("ec2", region).describe_subnets()["Subnets"]]
        self.client("rds", region).create_db_subnet_group(
            DBSubnetGroupName=name, DBSubnetGroupDescription="for databases", SubnetIds=subnets[:2]
        )

    @contextmanager
    def stuck(self, status: str) -> Iterator[None]:
        """No instance leaves this status until the end of the block."""
        self.rds("stick", resource_kind="instance", identifier=None, status=status)
        try:
            yield
        finally:
            self.rds("unstick")

    def backends(self, instance: str) -> list[str]:
        """The names of the dumping sessions that the server has."""
        sql = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'strongroom/%'"
        return [row[0] for row in self.rds("run_sql", id=instance, sql=sql)]

    def server_log(self, instance: str) -> str:
        rds = self.client("rds")
        files = rds.describe_db_log_files(DBInstanceIdentifier=instance)["DescribeDBLogFiles"]
        pages = rds.get_paginator("download_db_log_file_portion")
        return "".join(
            page.get("LogFileData", "")
            for file in files
            for page in pages.paginate(DBInstanceIdentifier=instance, LogFileName=file["LogFileName"])
        )

    def settle(self) -> None:
        """Back to a calm state for the next test: no faults, nothing stuck, every instance available."""
        self.clear_faults()
        self.rds("unstick")

        def all_available() -> bool:
            found = self.client("rds").describe_db_instances()["DBInstances"]
            return all(instance["DBInstanceStatus"] == "available" for instance in found)

        wait_until(all_available, "all instances are available again")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)

    def _side(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.endpoint}/sandbox-api/{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)


def start(
    directory: Path, seeded: Seed | None = None, *options: str, environment: dict[str, str] | None = None
) -> Sandbox:
    """Starts a sandbox, with the banks unless told otherwise; it dies with this process."""
    seed_file = directory / "seed.json"
    seed_file.write_text(json.dumps(seeded or seed()))
    memory = Path("/dev/shm")
    # Clusters come and go more quickly in memory than on a disk.
    where = {"SANDBOX_TMP": str(memory)} if os.access(memory, os.W_OK) else {}
    inherited = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    own = {"PYTHONPATH": str(REPOSITORY / "tests/sandbox")} | (environment or {})
    log = directory / "sandbox.err"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--seed", str(seed_file), "--die-with-parent", *options],
            cwd=directory,
            env=where | inherited | own,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the sandbox did not start:\n{log.read_text()}"
    return Sandbox(process, json.loads(line))
