"""The parallel engine: several connections in one snapshot, an archive that stock pg_restore reads, and proof of each row."""

from __future__ import annotations

import random
import re
import threading
from pathlib import Path

import psycopg
import pytest
from case import Case, Config, quick
from postgres_tools import (
    LARGE_OBJECTS,
    MASTER,
    SCHEMA_OBJECTS,
    follow_restore_md,
    fresh_instance,
    psql,
    row_counts,
)
from sandbox_process import MASTER_PASSWORD, Sandbox

ONCE: Config = {"retry": {"attempts_max": 1}}


def in_parallel(case: Case, source: str, **more: object) -> Config:
    """Dumps a source with the parallel engine; returns the manifest."""
    strongroom = case.configure(source, dump=quick(engine="parallel", jobs=3, **more))
    strongroom("backup", "dump", source)
    (manifest,) = case.manifests(source)
    return manifest


def restored(case: Case, manifest: Config, sandbox: Sandbox, target: str, directory: Path) -> str:
    """Restores a dump word for word as its own instructions say; returns the name of the database."""
    text = case.get(next(key for key in case.keys() if key.endswith("/RESTORE.md"))).decode()
    follow_restore_md(text, sandbox, target, "found_again", directory)
    return "found_again"


@pytest.mark.parametrize("source", ["accounts", "lending"])
def test_a_directory_that_stock_pg_restore_takes_and_every_row_of_it(
    case: Case, sandbox: Sandbox, source: str, tmp_path: Path
) -> None:
    manifest = in_parallel(case, source)
    assert manifest["engine"] == "parallel"
    names = [item["key"].rsplit("/", 1)[1] for item in manifest["objects"]]
    assert names[0] == "toc.dat" and {"globals.sql", "RESTORE.md"} <= set(names)
    assert all(f"{table['dump_id']}.dat.zst" in names for table in manifest["tables"])
    case.assert_whole(manifest)
    with fresh_instance(sandbox) as target:
        database = restored(case, manifest, sandbox, target, tmp_path / "laptop")
        counted = row_counts(sandbox, target, database)
        assert counted == row_counts(sandbox, f"bank-{source}", source)
        assert sum(counted.values()) == manifest["rows"]
        for question in (LARGE_OBJECTS, SCHEMA_OBJECTS):
            assert psql(sandbox, target, database, question) == psql(sandbox, f"bank-{source}", source, question)


def test_what_is_read_back_has_the_rows_and_the_hash_that_were_dumped(case: Case) -> None:
    strongroom = case.configure("lending", dump=quick(engine="parallel", jobs=2))
    strongroom("backup", "dump", "lending")
    (manifest,) = case.manifests("lending")
    ended = strongroom("verify", "--level", "2")
    assert "good at level L2" in ended.out and f"{manifest['rows']} rows" in ended.out


def test_a_table_of_which_a_row_was_exchanged_is_named(case: Case) -> None:
    """Level 2 does not take the manifest's word for the SHA-256 alone: it counts and hashes."""
    strongroom = case.configure("lending", dump=quick(engine="parallel", jobs=2))
    strongroom("backup", "dump", "lending")
    (manifest,) = case.manifests("lending")
    table = max(manifest["tables"], key=lambda table: table["bytes"])
    (item,) = [one for one in manifest["objects"] if one["key"].endswith(f"/{table['dump_id']}.dat.zst")]
    case.sandbox.s3("corrupt", bucket=case.bucket, key=item["key"], offset=item["size_bytes"] // 2)
    ended = strongroom("verify", "--level", "2", code=3)
    assert item["key"] in ended.out and "SHA-256 is" in ended.out


def test_a_large_table_is_split_and_its_parts_add_up(case: Case) -> None:
    manifest = in_parallel(case, "ledger")
    table = max(manifest["tables"], key=lambda table: table["bytes"])
    (item,) = [one for one in manifest["objects"] if one["key"].endswith(f"/{table['dump_id']}.dat.zst")]
    parts = table["parts"]
    assert len(parts) > 1
    assert sum(part["size_bytes"] for part in parts) == item["size_bytes"]
    assert [part["offset"] for part in parts] == [sum(p["size_bytes"] for p in parts[:n]) for n in range(len(parts))]
    assert sum(part["rows"] for part in parts) == table["rows"]
    assert sum(int(part["hash"], 16) for part in parts) % 2**128 == int(table["hash"], 16)
    assert all(part["size_bytes"] >= 5 << 20 for part in parts[:-1])


def test_money_that_moves_while_the_dump_runs_is_never_counted_twice_or_lost(
    case: Case, sandbox: Sandbox, tmp_path: Path
) -> None:
    endpoint = sandbox.instance("bank-lending")["Endpoint"]
    login = {
        "host": endpoint["Address"],
        "port": endpoint["Port"],
        "user": MASTER,
        "password": MASTER_PASSWORD,
        "dbname": "lending",
        "sslmode": "verify-full",
        "sslrootcert": sandbox.ca_file,
        "autocommit": True,
    }
    with psycopg.connect(**login) as session:
        session.execute("CREATE TABLE left_hand AS SELECT i AS id, 1000 AS money FROM generate_series(1, 5000) i")
        session.execute("CREATE TABLE right_hand AS SELECT * FROM left_hand")
        session.execute("GRANT SELECT ON left_hand, right_hand TO strongroom_backup")
    stop = threading.Event()

    def move_money() -> None:
        with psycopg.connect(**(login | {"autocommit": False})) as session:
            while not stop.is_set():
                giver, taker = random.randint(1, 5000), random.randint(1, 5000)
                session.execute("UPDATE left_hand SET money = money - 7 WHERE id = %s", [giver])
                session.execute("UPDATE right_hand SET money = money + 7 WHERE id = %s", [taker])
                session.commit()

    mover = threading.Thread(target=move_money)
    mover.start()
    try:
        manifest = in_parallel(case, "lending")
    finally:
        stop.set()
        mover.join()
    try:
        with fresh_instance(sandbox) as target:
            database = restored(case, manifest, sandbox, target, tmp_path / "laptop")
            total = "SELECT (SELECT sum(money) FROM left_hand) + (SELECT sum(money) FROM right_hand)"
            moved = "SELECT sum(money) < 5000000 FROM left_hand"
            assert psql(sandbox, target, database, total) == [["10000000"]]
            assert psql(sandbox, target, database, moved) == [["t"]], "money moved before the snapshot"
    finally:
        with psycopg.connect(**login) as session:
            session.execute("DROP TABLE left_hand, right_hand")


def test_a_connection_that_dies_in_mid_dump_fails_the_run_and_the_next_attempt_succeeds(case: Case) -> None:
    strongroom = case.configure("ledger", dump=quick(engine="parallel", jobs=2))
    with case.in_mid_dump(strongroom) as daemon:
        killed = case.sandbox.rds("kill_backends", instance_id="bank-ledger", application_name_like="strongroom/%")
        assert killed >= 3, "the coordinator, whoever watches, and the workers"
    daemon.wait_for(lambda: "failed" in case.run_states("ledger"), "the run has failed")
    daemon.wait_until_well()
    assert case.run_states("ledger") == ["failed", "succeeded"]
    (manifest,) = case.manifests("ledger")
    case.assert_whole(manifest)
    assert manifest["run"].endswith("-2")
    assert not case.uploads()


def test_a_worker_that_loses_its_connection_ends_the_run_and_is_named_with_its_table(case: Case, sandbox: Sandbox) -> None:
    strongroom = case.configure("ledger", dump=quick(engine="parallel", jobs=2, **ONCE))
    working = "application_name LIKE 'strongroom/%' AND query LIKE '%COPY (SELECT % FROM ONLY \"public\".\"receipts\" WHERE ctid %'"
    one = f"SELECT pid FROM pg_stat_activity WHERE {working} LIMIT 1"
    with case.in_mid_dump(strongroom) as daemon:
        ended = sandbox.rds("run_sql", id="bank-ledger", sql=f"SELECT pg_terminate_backend(pid) FROM ({one}) AS one")
        assert len(ended) == 1, "a worker, and not the coordinator"
    daemon.wait_for(lambda: "failed" in case.run_states("ledger"), "the run has failed")
    (failed,) = case.runs("ledger")
    message = failed["failure"]["message"]
    # A server that dies while it writes rows cannot say why any more.
    wanted = r"connection [12] of 2 could not go on with table public\.receipts: .*cannot read rows of database ledger"
    assert re.search(wanted, message), message
    assert "stopped_by" not in failed["failure"], "nobody stopped it: it broke"
    assert case.dump_objects("ledger") == []
    daemon.wait_for(lambda: not case.uploads(), "no upload is open")
    daemon.wait_for(lambda: not sandbox.backends("bank-ledger"), "the other sessions are gone")


def test_a_table_that_may_not_be_read_fails_the_dump_and_is_named(case: Case, sandbox: Sandbox) -> None:
    psql(sandbox, "bank-lending", "lending", "CREATE TABLE secret (i int); ALTER TABLE secret ENABLE ROW LEVEL SECURITY")
    try:
        strongroom = case.configure("lending", dump=quick(engine="parallel", **ONCE))
        ended = strongroom("backup", "dump", "lending", code=1)
        assert "secret" in ended.err + ended.out and "row-level security" in ended.err + ended.out
        assert case.manifests("lending") == []
    finally:
        psql(sandbox, "bank-lending", "lending", "DROP TABLE secret")
