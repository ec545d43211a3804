"""`strongroom restore dump`: from the store into a database, with every row compared."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from case import Case, Config, quick
from postgres_tools import LARGE_OBJECTS, MASTER, SCHEMA_OBJECTS, fresh_instance, psql, row_counts, tools_environment
from sandbox_process import MASTER_PASSWORD, Sandbox
from strongroom_process import Ended, Strongroom
from waiting import wait_until

ENGINES: list[Config] = [{"engine": "parallel", "jobs": 3}, {"engine": "pg_dump"}]


@pytest.fixture(scope="module")
def target(sandbox: Sandbox) -> Iterator[str]:
    """An empty instance to restore into; each test uses a database of its own."""
    with fresh_instance(sandbox) as name:
        yield name


@pytest.fixture
def login(tmp_path: Path) -> list[str]:
    file = tmp_path / "password"
    file.write_text(MASTER_PASSWORD + "\n")
    return ["--user", MASTER, "--password-file", str(file)]


def dumped(case: Case, source: str, **dump: object) -> Strongroom:
    strongroom = case.configure(source, dump=quick(**dump))
    strongroom("backup", "dump", source)
    return strongroom


def restore(strongroom: Strongroom, source: str, target: str, login: list[str], *more: str, code: int = 0) -> Ended:
    return strongroom("restore", "dump", source, "--instance", target, *login, *more, code=code, seconds=120)


@pytest.mark.parametrize("dump", ENGINES, ids=lambda dump: str(dump["engine"]))
@pytest.mark.parametrize("source", ["accounts", "lending"])
def test_a_dump_comes_back_whole_with_its_roles_and_every_row_compared(
    case: Case, sandbox: Sandbox, target: str, login: list[str], source: str, dump: Config
) -> None:
    strongroom = dumped(case, source, **dump)
    (manifest,) = case.manifests(source)
    database = f"{source}_by_{dump['engine']}"
    ended = restore(strongroom, source, target, login, "--into", database, "--create", "--jobs", "3")
    assert f"{manifest['rows']} rows compared with the dump" in ended.out, ended.out
    restored = row_counts(sandbox, target, database)
    assert restored == row_counts(sandbox, f"bank-{source}", source)
    for question in (LARGE_OBJECTS, SCHEMA_OBJECTS):
        assert psql(sandbox, target, database, question) == psql(sandbox, f"bank-{source}", source, question)
    comment = f"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{database}'"
    assert psql(sandbox, target, database, comment) == [[""]], "the mark of an unfinished restore is gone"
    there = {name for (name,) in psql(sandbox, target, database, "SELECT rolname FROM pg_roles")}
    assert set(manifest["roles"]) <= there


def test_the_parts_of_a_large_table_come_over_several_connections(
    case: Case, sandbox: Sandbox, target: str, login: list[str]
) -> None:
    strongroom = dumped(case, "ledger", engine="parallel", jobs=2)
    ended = restore(strongroom, "ledger", target, login, "--into", "ledger_again", "--create", "--jobs", "2")
    assert "all equal" in ended.out
    assert row_counts(sandbox, target, "ledger_again") == row_counts(sandbox, "bank-ledger", "ledger")


def test_one_table_comes_with_what_it_needs_and_with_its_indexes(
    case: Case, sandbox: Sandbox, target: str, login: list[str]
) -> None:
    strongroom = dumped(case, "accounts", engine="parallel", jobs=2)
    restore(strongroom, "accounts", target, login, "--into", "one_table", "--create", "--table", "bank.accounts")
    restored = row_counts(sandbox, target, "one_table")
    assert restored == {"bank.accounts": row_counts(sandbox, "bank-accounts", "accounts")["bank.accounts"]}
    indexes = "SELECT indexname FROM pg_indexes WHERE tablename = 'accounts' ORDER BY 1"
    assert psql(sandbox, target, "one_table", indexes) == psql(sandbox, "bank-accounts", "accounts", indexes)
    ended = restore(strongroom, "accounts", target, login, "--into", "none", "--create", "--table", "acounts", code=2)
    assert "table acounts (tables are named schema.table)" in ended.err


def test_a_partitioned_table_comes_with_its_partitions(
    case: Case, sandbox: Sandbox, target: str, login: list[str]
) -> None:
    strongroom = dumped(case, "accounts", engine="parallel", jobs=2)
    table = "bank.transactions"
    restore(strongroom, "accounts", target, login, "--into", "partitioned", "--create", "--table", table)
    count = f"SELECT count(*) FROM {table}"
    assert psql(sandbox, target, "partitioned", count) == psql(sandbox, "bank-accounts", "accounts", count)


def test_what_is_there_is_not_touched(case: Case, sandbox: Sandbox, target: str, login: list[str]) -> None:
    strongroom = dumped(case, "lending", engine="parallel", jobs=2)
    psql(sandbox, target, "postgres", "CREATE DATABASE precious")
    ended = restore(strongroom, "lending", target, login, "--into", "precious", "--create", code=4)
    assert "database precious is there already" in ended.err
    psql(sandbox, target, "precious", "CREATE TABLE of_somebody (id int)")
    ended = restore(strongroom, "lending", target, login, "--into", "precious", code=4)
    assert "not empty, it has public.of_somebody" in ended.err
    psql(sandbox, target, "precious", "DROP TABLE of_somebody")
    restore(strongroom, "lending", target, login, "--into", "precious")
    assert row_counts(sandbox, target, "precious") == row_counts(sandbox, "bank-lending", "lending")


def test_a_restore_that_died_is_run_again(case: Case, sandbox: Sandbox, target: str, login: list[str]) -> None:
    strongroom = dumped(case, "ledger", engine="parallel", jobs=2)
    into = ["--into", "twice", "--create", "--jobs", "2"]
    with case.holding("GetObject", match={"key": "dat.zst"}):
        process = strongroom.begin("restore", "dump", "ledger", "--instance", target, *login, *into)
        wait_until(lambda: psql(sandbox, target, "postgres", MARKED) == [["twice"]], "the database is made")
        process.kill()
        process.wait()
    ended = restore(strongroom, "ledger", target, login, *into)
    assert "all equal" in ended.out
    assert row_counts(sandbox, target, "twice") == row_counts(sandbox, "bank-ledger", "ledger")
    assert psql(sandbox, target, "postgres", MARKED) == []


MARKED = (
    "SELECT datname FROM pg_database WHERE shobj_description(oid, 'pg_database') LIKE 'strongroom: the restore of %'"
)


def test_a_restore_that_is_stopped_ends_at_once_and_says_what_to_do(
    case: Case, sandbox: Sandbox, target: str, login: list[str]
) -> None:
    strongroom = dumped(case, "lending", engine="parallel", jobs=2)
    with case.holding("GetObject", match={"key": "dat.zst"}):
        process = strongroom.begin(
            "restore", "dump", "lending", "--instance", target, *login, "--into", "stopped", "--create"
        )
        wait_until(lambda: psql(sandbox, target, "postgres", MARKED) == [["stopped"]], "the database is made")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "the restore was stopped; with --create it can be run again" in said
    restore(strongroom, "lending", target, login, "--into", "stopped", "--create")


def test_a_row_that_was_exchanged_is_not_taken(case: Case, sandbox: Sandbox, target: str, login: list[str]) -> None:
    strongroom = dumped(case, "lending", engine="parallel", jobs=2)
    (manifest,) = case.manifests("lending")
    table = max(manifest["tables"], key=lambda table: table["bytes"])
    (item,) = [one for one in manifest["objects"] if one["key"].endswith(f"/{table['dump_id']}.dat.zst")]
    sandbox.s3("corrupt", bucket=case.bucket, key=item["key"], offset=item["size_bytes"] // 2)
    ended = restore(strongroom, "lending", target, login, "--into", "spoilt", "--create", code=1)
    assert "spoilt" not in ended.out.splitlines()[-1], "it does not say that it restored anything"
    count = f"SELECT count(*) FROM {table['schema']}.{table['name']}"
    assert psql(sandbox, target, "spoilt", count) == [["0"]]


def test_wrong_orders_are_refused_in_words(case: Case, target: str, login: list[str]) -> None:
    strongroom = dumped(case, "lending", engine="parallel", jobs=2)
    into = ["--into", "nowhere"]
    ended = strongroom("restore", "dump", "lending", *into, *login, "--instance", "no-such-instance", code=2)
    assert "RDS has no instance no-such-instance" in ended.err
    ended = strongroom("restore", "dump", "lending", *into, "--instance", target, "--user", MASTER, code=2)
    assert "--secret, or --user with --password-file or --iam" in ended.err
    ended = restore(strongroom, "lending", target, login, *into, "--from", "lending/lending/20200101t000000z", code=2)
    assert "there is no dump lending/lending/20200101t000000z" in ended.err
    ended = restore(strongroom, "lending", target, login, *into, "--plane", "replica", code=2)
    assert "no replica bucket is configured" in ended.err
    ended = restore(strongroom, "lending", target, login, *into, "--create", "--dry-run")
    assert "database nowhere" in ended.out and "which is made" in ended.out
    assert MASTER_PASSWORD not in ended.out + ended.err


def test_the_password_is_in_no_argument(case: Case, sandbox: Sandbox, target: str, login: list[str]) -> None:
    """pg_restore gets it in a file that only this user can read."""
    strongroom = dumped(case, "lending", engine="parallel", jobs=2)
    restore(strongroom, "lending", target, login, "--into", "quiet", "--create")
    assert MASTER_PASSWORD not in " ".join(strongroom.command("restore", *login))
    assert tools_environment(sandbox, target)["PGPASSWORD"] == MASTER_PASSWORD
