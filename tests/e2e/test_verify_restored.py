"""Verification level 4: a dump is restored into a PostgreSQL of its own, of which nothing is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from case import Case, Config, quick
from strongroom_process import BINARY, Ended, Strongroom

ENGINES: list[Config] = [{"engine": "parallel", "jobs": 2}, {"engine": "pg_dump"}]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of user postgres, who may run a server."""
    folder = Path(tempfile.mkdtemp(prefix="l4-", dir="/tmp"))
    shutil.chown(folder, "postgres")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def as_postgres(strongroom: Strongroom, home: Path, *words: str, code: int = 0) -> Ended:
    config = home / "strongroom.toml"
    shutil.copy(strongroom.config, config)
    config.chmod(0o644)
    done = subprocess.run(
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", BINARY, "--config", config, *words],
        env=strongroom.environment | {"TMPDIR": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return Ended(done.returncode, done.stdout, done.stderr)


def assert_nothing_is_left(home: Path) -> None:
    assert [path.name for path in home.iterdir()] == ["strongroom.toml"]
    processes = (Path("/proc") / name / "cmdline" for name in os.listdir("/proc") if name.isdigit())
    assert not any(str(home).encode() in read(path) for path in processes), "a server still runs"


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@pytest.mark.parametrize("dump", ENGINES, ids=lambda dump: str(dump["engine"]))
@pytest.mark.parametrize("source", ["accounts", "lending"])
def test_a_dump_is_restored_and_compared_and_the_server_is_gone(
    case: Case, home: Path, source: str, dump: Config
) -> None:
    strongroom = case.configure(source, dump=quick(**dump))
    strongroom("backup", "dump", source)
    (manifest,) = case.manifests(source)
    ended = as_postgres(strongroom, home, "verify", source, "--level", "4")
    point = f"{source}/{source}/{manifest['slot']}"
    assert f"{point} in us-east-1: good at level L2" in ended.out
    assert f"{point} in us-east-1: good at level L4" in ended.out
    assert f"restored, {manifest['rows']} rows and all sequences compared" in ended.out
    assert_nothing_is_left(home)
    (record,) = case.documents([f"{source}/verifications/{source}/{manifest['slot']}/primary-l4.json"])
    assert (record["result"], record["rows"]) == ("good", manifest["rows"])


def test_without_a_server_to_run_it_says_so_and_records_nothing(case: Case, home: Path) -> None:
    strongroom = case.configure("lending", dump=quick())
    strongroom("backup", "dump", "lending")
    clients = home / "bin"
    clients.mkdir()
    for client in ("pg_dump", "pg_restore"):
        (clients / client).symlink_to(shutil.which(client) or client)
    strongroom = case.configure(
        "lending", dump=quick(), postgres={"ca_file": case.sandbox.ca_file, "bin_dir": str(clients)}
    )
    ended = as_postgres(strongroom, home, "verify", "--level", "4", code=1)
    assert "install PostgreSQL's server, or set `postgres.bin_dir`" in ended.err
    shutil.rmtree(clients)
    assert_nothing_is_left(home)
    assert not [key for key in case.keys("lending/verifications/") if key.endswith("-l4.json")]


def test_root_is_told_to_be_somebody_else(case: Case) -> None:
    strongroom = case.configure("lending", dump=quick())
    strongroom("backup", "dump", "lending")
    ended = strongroom("verify", "--level", "4", code=4)
    assert "PostgreSQL refuses to run as root" in ended.err and "sudo -u postgres" in ended.err
    assert case.keys("lending/verifications/") == [], "nothing was begun"
