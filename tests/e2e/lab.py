"""Databases of any shape on servers of any major: made, dumped, restored by both ways, and compared by stock pg_dump."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
from case import Case, Config, quick, source
from postgres_tools import MASTER, TOOLS, run, tools_environment
from sandbox_process import BANK, BUCKET, KMS_ALIAS, MASTER_PASSWORD, REGION, REPOSITORY, Sandbox, Seed, role
from strongroom_process import Ended, Strongroom

ADMIN = "rdsadmin"
"""The servers' superuser, who comes in through the socket alone."""
SECRET = "rds/lab/backup"
MAJORS = REPOSITORY / "target/majors"


def server(major: int) -> Path:
    """The programs of a server that `scripts/majors` has fetched."""
    return MAJORS / f"server-{major}" / "bin"


def client(major: int) -> Path:
    """The clients of a major: Debian's, or those that `scripts/majors` has fetched."""
    return MAJORS / f"client-{major}" / "bin" if major > 15 else TOOLS


def seed(*majors: int) -> Seed:
    """A bucket, and an instance of each major."""
    instances = [
        {
            "id": f"lab-{major}",
            "engine_version": str(major),
            "databases": ["bank"],
            "master_password": MASTER_PASSWORD,
            "backup_retention": 0,
            # Restored objects are of every kind, some of which only a superuser can make.
            "roles": [role(f"{SECRET}/{major}", f"ALTER ROLE {MASTER} SUPERUSER")],
        }
        for major in majors
    ]
    bucket = {"name": BUCKET, "versioning": True, "kms": KMS_ALIAS}
    return {
        "regions": [REGION],
        "kms_keys": [{"alias": KMS_ALIAS.removeprefix("alias/")}],
        "buckets": [bucket],
        "instances": instances,
    }


@dataclass(frozen=True)
class Database:
    """One database on an instance of the lab."""

    sandbox: Sandbox
    instance: str
    name: str

    def connect(self, user: str = ADMIN, **more: Any) -> psycopg.Connection[Any]:
        port = self.sandbox.instance(self.instance)["Endpoint"]["Port"]
        socket = os.path.join(self.sandbox.ready["workdir"], "run")
        return psycopg.connect(host=socket, port=port, user=user, dbname=self.name, autocommit=True, **more)

    def sql(self, *statements: str, user: str = ADMIN) -> None:
        with self.connect(user) as session:
            for statement in statements:
                session.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.connect() as session:
            return session.execute(query).fetchall()

    @property
    def major(self) -> int:
        return int(self.instance.rsplit("-", 1)[1])

    def beside(self, name: str, major: int | None = None) -> Database:
        """Another database, on this instance or on that of another major; nobody has made it yet."""
        return replace(self, name=name, instance=f"lab-{major or self.major}")

    def environment(self) -> dict[str, str]:
        """For stock tools as the superuser."""
        port = str(self.sandbox.instance(self.instance)["Endpoint"]["Port"])
        login = {"PGHOST": os.path.join(self.sandbox.ready["workdir"], "run"), "PGPORT": port, "PGUSER": ADMIN}
        return self.sandbox.environment | login | {"PATH": f"{client(self.major)}:{os.environ['PATH']}"}

    def pg_dump(self, *options: str, major: int | None = None) -> str:
        """The whole database as stock pg_dump writes it; rows sorted, since their order means nothing."""
        environment = self.environment()
        command = [str(client(major or self.major) / "pg_dump"), *options, self.name]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        # Bytes one by one: a database of encoding SQL_ASCII holds any.
        return normalised(done.stdout.decode("latin-1"))


NOISE = re.compile(r"^(-- Dumped |-- Started |-- Completed |\\restrict |\\unrestrict ).*\n", re.M)
ROWS = re.compile(r"^(COPY .*? FROM stdin;\n)(.*?)^\\\.\n", re.M | re.S)


def normalised(text: str) -> str:
    def in_order(copy: re.Match[str]) -> str:
        # Not `splitlines`: to it a line ends at other characters too.
        return copy[1] + "\n".join(sorted(copy[2].split("\n"))) + "\n\\.\n"

    return ROWS.sub(in_order, NOISE.sub("", text))


def assert_same(one: str, other: str) -> None:
    """Whether two texts are equal; shows the first lines that differ and not megabytes of them."""
    if one == other:
        return
    lines, others = one.split("\n"), other.split("\n")
    at = next((n for n, pair in enumerate(zip(lines, others)) if pair[0] != pair[1]), min(len(lines), len(others)))
    around = slice(max(0, at - 8), at + 8)
    shown = ["\n".join(line[:300] for line in text[around]) for text in (lines, others)]
    raise AssertionError(f"they differ from line {at}:\n--- one\n{shown[0]}\n--- other\n{shown[1]}")


@contextmanager
def database(sandbox: Sandbox, major: int = 15, options: str = "") -> Iterator[Database]:
    """A new database of the master's, with a role that may read everything; gone at the end."""
    made = Database(sandbox, f"lab-{major}", f"d{uuid.uuid4().hex[:8]}")
    create(made, options)
    try:
        yield made
    finally:
        drop(made)


def create(made: Database, options: str = "") -> Database:
    made.beside("postgres").sql(f"CREATE DATABASE {made.name} OWNER {MASTER} TEMPLATE template0 {options}")
    return made


def drop(made: Database) -> None:
    made.beside("postgres").sql(f"DROP DATABASE IF EXISTS {made.name} WITH (FORCE)")


def fill(bank: Database, scale: str) -> Database:
    """Puts the bank into a database."""
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", f"scale={scale}", "-d", bank.name]
    files = [word for name in ("schema.sql", "data.sql") for word in ("-f", str(BANK / name))]
    run(command + files, bank.environment() | {"PGUSER": MASTER, "PATH": f"{TOOLS}:{os.environ['PATH']}"})
    return bank


READER = "GRANT pg_read_all_data TO strongroom_backup"
"""What a dump needs, but for large objects: those have rights of their own."""


def configure(case: Case, of: Database, bin_major: int | None = None, **dump: object) -> Strongroom:
    """A configuration that dumps a database of the lab by the parallel engine."""
    lab = source(
        "lab", instance=of.instance, databases=[of.name], credentials={"secret": f"{SECRET}/{of.major}"}
    )
    postgres = {"bin_dir": str(client(bin_major or of.major))}
    settings: Config = {"engine": "parallel", "jobs": 2, "retry": {"attempts_max": 1}} | dump
    return case.configure(dump=quick(**settings), sources={"lab": lab}, postgres=postgres)


def dumped(case: Case, of: Database, bin_major: int | None = None, **dump: object) -> tuple[Strongroom, Config]:
    """Dumps a database by the parallel engine; returns what dumped it and the manifest."""
    strongroom = configure(case, of, bin_major, **dump)
    strongroom("backup", "dump", "lab", seconds=180)
    (manifest,) = case.manifests("lab")
    return strongroom, manifest


def download(case: Case, manifest: Config, directory: Path) -> Path:
    """The objects of a dump, as the `aws` command brings them."""
    prefix = manifest["objects"][0]["key"].rsplit("/", 1)[0]
    environment = tools_environment(case.sandbox, manifest["instance"])
    run(["aws", "s3", "cp", "--quiet", "--recursive", f"s3://{case.bucket}/{prefix}/", str(directory)], environment)
    return directory


def by_pg_restore(archive: Path, into: Database, major: int | None = None) -> None:
    """Restores a downloaded archive by stock pg_restore into a database that is made for it."""
    program = str(client(major or into.major) / "pg_restore")
    command = [program, "--jobs", "3", "--dbname", into.name, str(archive)]
    done = subprocess.run(command, env=into.environment(), capture_output=True, text=True, timeout=120)
    if done.returncode:
        # A newer client makes a setting that older servers do not know (RESTORE.md says so).
        errors = [line for line in done.stderr.splitlines() if "pg_restore: error:" in line]
        assert errors and all('parameter "transaction_timeout"' in line for line in errors), done.stderr
        assert (major or into.major) > into.major, done.stderr


def decompress(archive: Path) -> None:
    """As RESTORE.md says it for clients that were built without zstd."""
    for file in archive.glob("*.zst"):
        subprocess.run(["zstd", "--decompress", "--rm", "--quiet", str(file)], check=True)


def by_strongroom(
    strongroom: Strongroom, directory: Path, into: Database, *options: str, code: int = 0
) -> Ended:
    """Restores by `strongroom restore dump` into a database that it makes."""
    password = directory / "password"
    password.write_text(MASTER_PASSWORD + "\n")
    login = ["--user", MASTER, "--password-file", str(password), "--instance", into.instance]
    words = ["restore", "dump", "lab", *login, "--into", into.name, "--create", "--jobs", "3", *options]
    return strongroom(*words, code=code, seconds=180)


def round_trip(case: Case, source: Database, directory: Path, options: str = "", **dump: object) -> Config:
    """Dumps a database and restores it by both ways; all three are the same to stock pg_dump. Returns the manifest."""
    strongroom, manifest = dumped(case, source, **dump)
    by_stock, by_us = source.beside(f"{source.name}_stock"), source.beside(f"{source.name}_ours")
    try:
        archive = download(case, manifest, directory / source.name)
        decompress(archive)
        by_pg_restore(archive, create(by_stock, options))
        ended = by_strongroom(strongroom, directory, by_us)
        assert f"{manifest['rows']} rows compared with the dump" in ended.out
        original = source.pg_dump()
        assert_same(original, by_stock.pg_dump())
        assert_same(original, by_us.pg_dump())
        ended = strongroom("verify", "--level", "2")
        assert "good at level L2" in ended.out
    finally:
        drop(by_stock)
        drop(by_us)
    return manifest
