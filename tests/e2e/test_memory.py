"""What a dump holds in memory: its share, however slow the store is and however large the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from case import Case, quick
from postgres_tools import psql
from sandbox_process import Sandbox
from strongroom_process import Daemon

MIB = 1 << 20
BASE = 64 * MIB
"""The process itself: code, TLS, the AWS clients, what it has seen (README)."""
ROWS = 2_000_000
"""Of 64 random bytes each: 128 MB that nothing makes smaller, and twice that as text. The kernel keeps up to 32 MiB for each
connection and a part is 8 MiB, so most of it cannot be anywhere but in the server."""

WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name LIKE 'strongroom/%' AND state = 'active' AND wait_event = 'ClientWrite' AND query LIKE '%COPY %'
"""


@contextmanager
def vault(sandbox: Sandbox) -> Iterator[None]:
    """A large table in the ledger, until the end of the block."""
    rows = f"SELECT n, sha512(int4send(n)) AS seal FROM generate_series(1, {ROWS}) AS n"
    psql(sandbox, "bank-ledger", "ledger", f"CREATE TABLE vault AS {rows}")
    try:
        yield
    finally:
        psql(sandbox, "bank-ledger", "ledger", "DROP TABLE vault")


def peak_bytes(daemon: Daemon) -> int:
    """The most memory that the process has had in RAM."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize(("engine", "jobs"), [("parallel", {"jobs": 2}), ("pg_dump", {})])
def test_a_store_that_takes_nothing_holds_up_the_server_and_fills_no_memory(
    case: Case, sandbox: Sandbox, engine: str, jobs: dict[str, int]
) -> None:
    strongroom = case.configure("ledger", dump=quick(engine=engine, **jobs))
    with vault(sandbox):
        with case.holding("UploadPart"):
            daemon = strongroom.start()

            def all_wait() -> bool:
                (row,) = case.sandbox.rds("run_sql", id="bank-ledger", sql=WAITING)
                return int(row[0]) >= jobs.get("jobs", 1)

            daemon.wait_for(all_wait, "each connection's server waits until somebody reads")
            share = daemon.metric("strongroom_dump_memory_in_use_bytes")
            assert 0 < share <= daemon.metric("strongroom_dump_memory_limit_bytes")
            held = peak_bytes(daemon)
            read = daemon.metric("strongroom_dump_bytes_read_total", source="ledger", database="ledger")
        daemon.wait_until_well(seconds=120)
        (manifest,) = case.manifests("ledger")
    assert read < manifest["uncompressed_bytes"] / 2, "it had not read everything, to keep it somewhere"
    assert held <= BASE + share, f"{held / MIB:.0f} MiB with a share of {share / MIB:.0f} MiB"
    assert manifest["stored_bytes"] > 2 * share, "the dump is larger than what it may hold"
    # The daemon reads the dump back after that, which takes memory of its own, and not that of the dump.
    daemon.wait_for(lambda: daemon.metric("strongroom_dump_memory_in_use_bytes") == 0, "the share is given back")
    print(f"{engine}: {held / MIB:.0f} MiB at a share of {share / MIB:.0f}, {peak_bytes(daemon) / MIB:.0f} MiB at the end")


def test_a_dump_waits_for_the_memory_of_another_and_holds_no_snapshot_meanwhile(case: Case, sandbox: Sandbox) -> None:
    """The parallel dump of the ledger takes 46 of 64 MiB."""
    memory = {"concurrent_runs": 2, "dump_memory": "64MiB"}
    strongroom = case.configure("ledger", "lending", dump=quick(engine="parallel", jobs=2), limits=memory)
    with case.holding("UploadPart", {"key": "/ledger/"}), case.holding("PutObject", {"key": "/lending/dumps/.*dat.zst"}):
        daemon = strongroom.start()
        line = daemon.wait_for_line("the dump waits for memory that other dumps hold")
        waiting, other = line["source.id"], {"ledger": "lending", "lending": "ledger"}[line["source.id"]]
        daemon.wait_for(lambda: sandbox.backends(f"bank-{other}"), "the other one is under way")
        assert sandbox.backends(f"bank-{waiting}") == []
    daemon.wait_until_well()
    assert case.run_states("ledger") + case.run_states("lending") == ["succeeded"] * 2
