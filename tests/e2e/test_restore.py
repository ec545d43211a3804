"""Restoring with stock tools only: a dump that nobody can restore without strongroom is no backup."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from job import SOURCES, Job
from postgres_tools import (
    LARGE_OBJECTS,
    MASTER,
    SCHEMA_OBJECTS,
    follow_restore_md,
    fresh_instance,
    psql,
    row_counts,
    run,
    tools_environment,
)
from sandbox_process import BUCKET, Sandbox


@pytest.fixture(scope="module")
def target(sandbox: Sandbox) -> Iterator[str]:
    """An empty instance to restore into; each test uses a database of its own."""
    with fresh_instance(sandbox) as name:
        yield name


def download(job: Job, source: str, name: str, directory: Path) -> Path:
    """An object of the source's dump, fetched with the aws CLI."""
    (manifest,) = job.case.manifests(source)
    (key,) = [item["key"] for item in manifest["objects"] if item["key"].endswith(f"/{name}")]
    environment = tools_environment(job.case.sandbox, f"bank-{source}")
    run(["aws", "s3", "cp", "--only-show-errors", f"s3://{BUCKET}/{key}", str(directory / name)], environment)
    return directory / name


def assert_same_as_source(job: Job, source: str, target: str, database: str) -> None:
    sandbox = job.case.sandbox
    (manifest,) = job.case.manifests(source)
    restored = row_counts(sandbox, target, database)
    assert restored == row_counts(sandbox, f"bank-{source}", source)
    assert sum(restored.values()) == manifest["rows"]
    for question in (LARGE_OBJECTS, SCHEMA_OBJECTS):
        assert psql(sandbox, target, database, question) == psql(sandbox, f"bank-{source}", source, question)


def test_globals_create_the_roles_on_a_fresh_server_and_do_no_harm_a_second_time(
    job: Job, target: str, tmp_path: Path
) -> None:
    file = download(job, "accounts", "globals.sql", tmp_path)
    environment = tools_environment(job.case.sandbox, target)
    command = [
        "psql",
        "-h",
        "localhost",
        "-U",
        MASTER,
        "-d",
        "postgres",
        "-X",
        "-v",
        "ON_ERROR_STOP=1",
        "-f",
        str(file),
    ]
    run(command, environment)
    run(command, environment)
    roles = psql(
        job.case.sandbox,
        target,
        "postgres",
        "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname ~ '^(bank|strong)'",
    )
    assert sorted(roles) == [["bank_app", "f"], ["bank_reporting", "f"], ["strongroom_backup", "t"]]
    members = "SELECT pg_has_role('strongroom_backup', 'pg_read_all_data', 'USAGE')"
    assert psql(job.case.sandbox, target, "postgres", members) == [["t"]]


def test_a_dump_in_one_file_restores_with_stock_pg_restore_and_has_every_row(
    job: Job, target: str, tmp_path: Path
) -> None:
    source = "lending"
    environment = tools_environment(job.case.sandbox, target)
    roles = download(job, source, "globals.sql", tmp_path)
    run(["psql", "-h", "localhost", "-U", MASTER, "-d", "postgres", "-Xq", "-f", str(roles)], environment)
    archive = download(job, source, "archive.dump.zst", tmp_path)
    run(["zstd", "-q", "-d", str(archive)], environment)
    database = f"plain_{source}"
    psql(job.case.sandbox, target, "postgres", f"CREATE DATABASE {database}")
    restore = ["pg_restore", "-h", "localhost", "-U", MASTER, "--exit-on-error", "-d", database]
    run([*restore, str(archive.with_suffix(""))], environment)
    assert_same_as_source(job, source, target, database)


@pytest.mark.parametrize("source", SOURCES)
def test_the_instructions_in_restore_md_restore_the_dump_word_for_word(
    job: Job, sandbox: Sandbox, source: str, tmp_path: Path
) -> None:
    text = download(job, source, "RESTORE.md", tmp_path).read_text()
    with fresh_instance(sandbox) as target:
        follow_restore_md(text, sandbox, target, "found_again", tmp_path / "a person's laptop")
        assert_same_as_source(job, source, target, "found_again")


def test_one_changed_bit_is_found_by_zstd_before_anything_is_restored(job: Job, tmp_path: Path) -> None:
    archive = download(job, "lending", "archive.dump.zst", tmp_path)
    damaged = bytearray(archive.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    archive.write_bytes(damaged)
    done = subprocess.run(["zstd", "-t", str(archive)], capture_output=True, text=True)
    assert done.returncode != 0, "the frames carry content checksums"
