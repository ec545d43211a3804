"""Stock PostgreSQL tools against a sandbox's servers: what a person without strongroom has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sandbox_process import MASTER_PASSWORD, Sandbox
from waiting import wait_until

MASTER = "master"
TOOLS = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=Path("/usr/bin"))
"""Where Debian keeps pg_dump and its kin; the newest, as strongroom takes it."""


def tools_environment(sandbox: Sandbox, instance: str) -> dict[str, str]:
    """For psql, pg_restore, aws and zstd: the instance's port and login, TLS verified, all tools in PATH."""
    endpoint = sandbox.instance(instance)["Endpoint"]
    path = os.pathsep.join([str(TOOLS), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    login = {"PGPORT": str(endpoint["Port"]), "PGPASSWORD": MASTER_PASSWORD}
    tls = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": sandbox.ca_file}
    return sandbox.environment | login | tls | {"PATH": path}


def run(command: list[str] | str, environment: dict[str, str], directory: Path | None = None) -> str:
    """Runs a command, or a script as `sh -e` does, and returns its output."""
    words = ["sh", "-e", "-c", command] if isinstance(command, str) else command
    done = subprocess.run(words, env=environment, cwd=directory, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def follow_restore_md(text: str, sandbox: Sandbox, target: str, database: str, directory: Path) -> None:
    """Does word for word what a dump's own instructions say, in a directory made for it."""
    steps = re.findall(r"^```sh\n(.*?)^```", text, flags=re.S | re.M)
    assert len(steps) == 3, text
    script = "".join(steps).replace("HOST", "localhost").replace("MASTER", MASTER).replace("TARGET", database)
    directory.mkdir()
    run(script, tools_environment(sandbox, target), directory)


@contextmanager
def locked(sandbox: Sandbox, instance: str, database: str, table: str, port: int = 0) -> Iterator[None]:
    """Holds a lock on a table that a dump has to wait for, until the end of the block.

    The port is needed where RDS does not show the instance's endpoint yet.
    """
    with psycopg.connect(
        host="localhost",
        port=port or sandbox.instance(instance)["Endpoint"]["Port"],
        user=MASTER,
        password=MASTER_PASSWORD,
        dbname=database,
        sslmode="verify-full",
        sslrootcert=sandbox.ca_file,
    ) as session:
        session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


def psql(sandbox: Sandbox, instance: str, database: str, sql: str) -> list[list[str]]:
    """Rows of a statement, as the master user."""
    command = ["psql", "-h", "localhost", "-U", MASTER, "-d", database, "-v", "ON_ERROR_STOP=1", "-AtX", "-F", "\t"]
    out = run([*command, "-c", sql], tools_environment(sandbox, instance))
    return [line.split("\t") for line in out.splitlines()]


TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1
"""
COUNT = f"""
SELECT name, (xpath('/row/c/text()', query_to_xml('SELECT count(*) AS c FROM ' || name, false, true, '')))[1]
FROM ({TABLES}) AS tables (name)
"""


def row_counts(sandbox: Sandbox, instance: str, database: str) -> dict[str, int]:
    """The exact number of rows of each table, partitions one by one; names quoted where SQL needs it."""
    return {name: int(count) for name, count in psql(sandbox, instance, database, COUNT)}


LARGE_OBJECTS = "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid"
SCHEMA_OBJECTS = """
SELECT 'indexes', count(*) FROM pg_indexes WHERE schemaname IN ('bank', 'audit')
UNION ALL SELECT 'constraints', count(*) FROM pg_constraint WHERE connamespace::regnamespace::text IN ('bank', 'audit')
UNION ALL SELECT 'triggers', count(*) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'views', count(*) FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'bank'::regnamespace
UNION ALL SELECT 'turnover', count(*) FROM bank.monthly_turnover
UNION ALL SELECT 'grants', count(*) FROM information_schema.table_privileges WHERE table_schema IN ('bank', 'audit')
UNION ALL SELECT 'next statement', last_value FROM bank.statement_number
UNION ALL SELECT 'next payment', last_value FROM bank.payment_reference
ORDER BY 1
"""


@contextmanager
def fresh_instance(sandbox: Sandbox) -> Iterator[str]:
    """An empty instance, as one makes it to restore into."""
    name = f"restore-{uuid.uuid4().hex[:8]}"
    rds = sandbox.client("rds")
    rds.create_db_instance(
        DBInstanceIdentifier=name,
        Engine="postgres",
        DBInstanceClass="db.t3.micro",
        AllocatedStorage=20,
        MasterUsername=MASTER,
        MasterUserPassword=MASTER_PASSWORD,
        BackupRetentionPeriod=0,
    )
    try:
        wait_until(lambda: sandbox.instance(name)["DBInstanceStatus"] == "available", f"instance {name} is available")
        yield name
    finally:
        rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)


def pg_dumps(port: int) -> list[int]:
    """Process ids of dump clients that talk to the server on this port."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "comm").read_text().strip()
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if name == "pg_dump" and f"PGPORT={port}".encode() in environment:
            found.append(int(process.name))
    return found


def fake_pg_dump(directory: Path, script: str, version: str = "") -> Path:
    """A directory for `postgres.bin_dir` whose pg_dump is this shell script; `$REAL` is the true one."""
    real = shutil.which("pg_dump", path=str(TOOLS)) or "pg_dump"
    says = f'echo "{version}"' if version else f'"{real}" --version'
    directory.mkdir()
    program = directory / "pg_dump"
    program.write_text(f'#!/bin/sh\nREAL={real}\nif [ "$1" = --version ]; then {says}; exit 0; fi\n{script}\n')
    program.chmod(0o755)
    return directory
