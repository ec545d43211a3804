"""Others change tables while a dump begins and while it runs: it is right, or it fails by name and leaves nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lab
import psycopg
import pytest
from case import ALL_BUT_THE_FIRST, Case, settled
from lab import Database, by_strongroom, dumped
from postgres_tools import fake_pg_dump
from sandbox_process import Sandbox
from strongroom_process import Ended, Strongroom
from waiting import wait_until

ROWS = 1000
TABLES = ("accounts", "cards", "loans")


@pytest.fixture
def case(workshop: Sandbox, tmp_path: Path) -> Iterator[Case]:
    with settled(Case(workshop, tmp_path)) as corner:
        yield corner


@pytest.fixture
def bank(case: Case) -> Iterator[Database]:
    """A small bank, each row of which is worth one."""
    with lab.database(case.sandbox) as made:
        for table in TABLES:
            made.sql(f"CREATE TABLE {table} AS SELECT i, 1 AS worth, repeat('x', 50) AS note FROM generate_series(1, {ROWS}) i")
        made.sql(f"ALTER TABLE accounts ADD PRIMARY KEY (i)", lab.READER)
        yield made


def in_the_gap(case: Case, bank: Database, directory: Path, *statements: str, times: int = 1) -> Strongroom:
    """Runs statements between the snapshot of a dump and pg_dump's locks, in so many of its attempts."""
    sql = directory / "gap.sql"
    sql.write_text(";\n".join(statements) + ";\n")
    attempts = directory / "attempts"
    attempts.mkdir()
    socket = Path(case.sandbox.ready["workdir"]) / "run"
    port = case.sandbox.instance(bank.instance)["Endpoint"]["Port"]
    psql = f"env -u PGPASSFILE -u PGSSLMODE {lab.client(15)}/psql -qX -v ON_ERROR_STOP=1 -h {socket} -p {port}"
    psql += f" -U {lab.ADMIN} -d {bank.name} -f {sql}"
    script = f'n=$(ls {attempts} | wc -l); touch {attempts}/$n; [ $n -ge {times} ] || {psql} >&2; exec "$REAL" "$@"'
    fake = fake_pg_dump(directory / "bin", script)
    strongroom = lab.configure(case, bank)
    strongroom.config.write_text(strongroom.config.read_text().replace(str(lab.client(15)), str(fake)))
    return strongroom


def assert_no_backup(case: Case) -> None:
    """Objects that no manifest names are no backup (the janitor removes them)."""
    assert case.manifests("lab") == [] and case.uploads() == []


def dump(strongroom: Strongroom, code: int = 0) -> Ended:
    return strongroom("backup", "dump", "lab", code=code, seconds=100)


def assert_rows(case: Case, **rows: int) -> None:
    (manifest,) = case.manifests("lab")
    assert {table["name"]: table["rows"] for table in manifest["tables"]} == rows


SWAP = ("ALTER TABLE cards RENAME TO old_cards", "CREATE TABLE cards (LIKE old_cards)", "INSERT INTO cards SELECT * FROM old_cards LIMIT 7")
SCHEMA_SWAP = ("ALTER SCHEMA public RENAME TO old", "CREATE SCHEMA public", "CREATE TABLE public.cards (LIKE old.cards)")
NAMES_EXCHANGED = ("ALTER TABLE loans RENAME worth TO w", "ALTER TABLE loans RENAME i TO worth", "ALTER TABLE loans RENAME w TO i")
IN_THE_GAP = {
    "truncate": (("TRUNCATE cards",), {"accounts": ROWS, "cards": 0, "loans": ROWS}),
    "vacuum_full": (("VACUUM FULL cards",), dict.fromkeys(TABLES, ROWS)),
    "cluster": (("CLUSTER accounts USING accounts_pkey",), dict.fromkeys(TABLES, ROWS)),
    "rewritten": (("ALTER TABLE loans ALTER i TYPE bigint",), dict.fromkeys(TABLES, ROWS)),
    "column_added": (("ALTER TABLE loans ADD extra int DEFAULT 3",), dict.fromkeys(TABLES, ROWS)),
    "column_dropped": (("ALTER TABLE cards DROP note",), dict.fromkeys(TABLES, ROWS)),
    "column_made_anew": (("ALTER TABLE cards DROP note, ADD note text DEFAULT 'y'",), dict.fromkeys(TABLES, ROWS)),
    "columns_exchanged": (NAMES_EXCHANGED, dict.fromkeys(TABLES, ROWS)),
    "swapped": (SWAP, {"accounts": ROWS, "cards": 7, "loans": ROWS, "old_cards": ROWS}),
}


@pytest.mark.parametrize("name", IN_THE_GAP)
def test_a_table_changed_before_it_was_locked_is_dumped_as_it_is_then(
    case: Case, bank: Database, tmp_path: Path, name: str
) -> None:
    """A snapshot sees nothing of a table that was emptied, rewritten or exchanged since: the dump begins anew."""
    statements, rows = IN_THE_GAP[name]
    strongroom = in_the_gap(case, bank, tmp_path, *statements)
    assert "it begins anew" in dump(strongroom).err
    assert_rows(case, **rows)
    strongroom("verify", "--level", "2")


@pytest.mark.parametrize("statements", [("DROP TABLE cards",), SCHEMA_SWAP], ids=["drop", "schema"])
def test_a_table_that_is_gone_when_it_is_to_be_locked_fails_the_run_by_name(
    case: Case, bank: Database, tmp_path: Path, statements: tuple[str, ...]
) -> None:
    strongroom = in_the_gap(case, bank, tmp_path, *statements, times=9)
    ended = dump(strongroom, code=1)
    assert "cards" in ended.out + ended.err or "public" in ended.out + ended.err, ended.err
    assert_no_backup(case)


def test_a_table_that_is_rewritten_each_time_fails_the_run_by_name(
    case: Case, bank: Database, tmp_path: Path
) -> None:
    ended = dump(in_the_gap(case, bank, tmp_path, "TRUNCATE cards", times=9), code=1)
    assert "cards were rewritten" in ended.out + ended.err
    assert_no_backup(case)


def test_a_table_that_somebody_keeps_locked_fails_the_run_by_name_and_keeps_nobody_waiting(
    case: Case, bank: Database
) -> None:
    strongroom = lab.configure(case, bank)
    with bank.connect() as holder, bank.connect() as other:
        with holder.transaction():
            holder.execute("LOCK TABLE cards IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            ended = dump(strongroom, code=1)
            assert time.monotonic() - began < 60
            said = ended.out + ended.err
            assert "public.cards" in said and "locked" in said, said
            # Nothing of ours is left to wait for.
            other.execute("SET lock_timeout = '1s'")
            other.execute("ALTER TABLE accounts ADD later int")
    assert_no_backup(case)
    assert not case.sandbox.rds("run_sql", id=bank.instance, sql=OURS)


OURS = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'strongroom/%'"


@contextmanager
def in_mid_dump(case: Case, bank: Database, strongroom: Strongroom) -> Iterator[list[Ended]]:
    """A dump that has its locks and is in the middle of its largest table; the others wait for their turn."""
    ended: list[Ended] = []
    with case.holding("UploadPart", ALL_BUT_THE_FIRST):
        running = threading.Thread(target=lambda: ended.append(strongroom("backup", "dump", "lab", code=None, seconds=100)))
        running.start()
        wait_until(case.second_part_is_on_its_way, "the second part is on its way")
        yield ended
    running.join()


STATEMENTS = {
    "truncate": "TRUNCATE cards",
    "drop": "DROP TABLE cards",
    "column": "ALTER TABLE cards ADD extra int",
    "rename": "ALTER TABLE cards RENAME TO old_cards",
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_whoever_waits_for_the_dump_does_not_keep_it_from_the_table(
    case: Case, bank: Database, name: str
) -> None:
    """A worker that asked for a lock behind them would wait for ever: they wait for the coordinator, which waits for it."""
    bank.sql(LARGE)
    strongroom = lab.configure(case, bank, jobs=1)
    with bank.connect() as other:
        with in_mid_dump(case, bank, strongroom) as ended:
            waiting = threading.Thread(target=lambda: other.execute(STATEMENTS[name]))
            waiting.start()
            blocked = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '" + bank.name + "'"
            wait_until(lambda: case.sandbox.rds("run_sql", id=bank.instance, sql=blocked), "the other waits for us")
        waiting.join(30)
        assert not waiting.is_alive()
    assert ended[0].code == 0, ended[0].err
    assert_rows(case, accounts=ROWS, cards=ROWS, loans=ROWS, large=40_000)


LARGE = """
CREATE TABLE large AS SELECT i, (SELECT string_agg(md5(random()::text || i || j), '') FROM generate_series(1, 40) j) AS noise
FROM generate_series(1, 40000) i
"""


def test_a_schema_that_is_exchanged_during_the_dump_fails_it_by_name(case: Case, bank: Database) -> None:
    """Renaming a schema needs no lock on its tables: a worker would read the new one's, which its snapshot does not see."""
    bank.sql(LARGE)
    strongroom = lab.configure(case, bank, jobs=1)
    with in_mid_dump(case, bank, strongroom) as ended:
        # At one moment: a table that is missing for a while fails the dump as well, but by another way.
        with bank.connect() as other, other.transaction():
            other.execute("ALTER SCHEMA public RENAME TO old")
            other.execute("CREATE SCHEMA public")
            for table in (*TABLES, "large"):
                other.execute(f"CREATE TABLE public.{table} (LIKE old.{table})")
    assert ended[0].code == 1, ended[0].out
    assert '"public"."cards"' in ended[0].out + ended[0].err
    assert_no_backup(case)


@pytest.mark.parametrize("back", [False, True], ids=["renamed", "and_back"])
def test_an_enumeration_whose_label_is_renamed_during_the_dump_fails_it_by_name(
    case: Case, bank: Database, back: bool
) -> None:
    """That needs no lock: rows that were read before have the old label, and the archive makes one of the two."""
    bank.sql("CREATE TYPE state AS ENUM ('open', 'shut')", "ALTER TABLE loans ADD state state DEFAULT 'open'", LARGE)
    strongroom = lab.configure(case, bank, jobs=1)
    with in_mid_dump(case, bank, strongroom) as ended:
        bank.sql("ALTER TYPE state RENAME VALUE 'open' TO 'active'")
        if back:
            bank.sql("ALTER TYPE state RENAME VALUE 'active' TO 'open'")
    assert ended[0].code == 1, ended[0].out
    assert "labels of type public.state" in ended[0].out + ended[0].err, ended[0].err
    assert_no_backup(case)


def test_money_that_moves_between_two_tables_is_the_same_sum_in_the_dump(
    case: Case, bank: Database, tmp_path: Path
) -> None:
    bank.sql("ALTER TABLE loans ADD PRIMARY KEY (i)", LARGE)
    stop = threading.Event()

    def move(seed: int) -> None:
        with bank.connect() as session:
            step = seed
            while not stop.is_set():
                step = (step * 48271) % 2147483647
                with session.transaction():
                    session.execute(f"UPDATE accounts SET worth = worth - 3 WHERE i = {step % ROWS + 1}")
                    session.execute(f"UPDATE loans SET worth = worth + 3 WHERE i = {step // 7 % ROWS + 1}")

    movers = [threading.Thread(target=move, args=(seed,)) for seed in (11, 12)]
    for mover in movers:
        mover.start()
    copy = bank.beside(f"{bank.name}_copy")
    try:
        strongroom, _ = dumped(case, bank)
        stop.set()
        by_strongroom(strongroom, tmp_path, copy)
        ((total, moved),) = copy.rows(
            "SELECT (SELECT sum(worth) FROM accounts) + (SELECT sum(worth) FROM loans), (SELECT sum(worth) FROM loans)"
        )
        assert total == 2 * ROWS
        assert moved > ROWS, "money moved before the snapshot"
    finally:
        stop.set()
        for mover in movers:
            mover.join()
        lab.drop(copy)
