"""A dump gives way to production: it is stopped with a reason, leaves nothing, and is made again later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from case import Case, Config, quick
from postgres_tools import MASTER
from sandbox_process import MASTER_PASSWORD, Sandbox
from strongroom_process import Daemon
from waiting import wait_until

ENGINES = [("pg_dump", {}), ("parallel", {"jobs": 2})]
LATER: Config = {"retry": {"initial_backoff": "15s", "backoff_max": "30s"}}
"""Time enough to see what a stopped dump has left before the next attempt begins."""
LOCKS = "SELECT count(*) FROM pg_locks WHERE pid IN (SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'strongroom/%')"


@contextmanager
def session(sandbox: Sandbox) -> Iterator[psycopg.Connection[Any]]:
    """The master's session in the ledger: production."""
    endpoint = sandbox.instance("bank-ledger")["Endpoint"]
    login = {"user": MASTER, "password": MASTER_PASSWORD, "dbname": "ledger"}
    tls = {"sslmode": "verify-full", "sslrootcert": sandbox.ca_file}
    with psycopg.connect(host=endpoint["Address"], port=endpoint["Port"], autocommit=True, **login, **tls) as made:
        yield made


def lock_as_ddl_does(production: psycopg.Connection[Any]) -> None:
    """Takes and gives back the lock of DDL; in vain if the dump does not give way."""
    production.execute("SET lock_timeout = '30s'")
    production.execute("BEGIN")
    production.execute("LOCK TABLE receipts IN ACCESS EXCLUSIVE MODE")
    production.execute("ROLLBACK")


def in_mid_table(case: Case, daemon: Daemon) -> None:
    """The dump has its locks, and works on the table."""
    daemon.wait_for(lambda: case.calls("UploadPart"), "a part is on its way")


def gave_way(case: Case, daemon: Daemon, cause: str) -> str:
    """Waits until the dump has been stopped; asserts how that is told, and that nothing is left; returns the reason."""
    line = daemon.wait_for_line("run gave way to production")
    assert line["level"] == "WARN" and line["cause"] == cause and line["source.id"] == "ledger"
    record = case.runs("ledger")[0]
    assert record["state"] == "failed" and record["failure"]["stopped_by"] == cause
    reason: str = record["failure"]["message"]
    assert reason == line["reason"] and reason.startswith("stopped by the governor: ")
    assert not [key for key in case.dump_objects("ledger") if record["run"] in key], "nothing of it is visible"
    daemon.wait_for(lambda: not case.uploads(), "no upload is open")
    return reason


@pytest.mark.parametrize(("engine", "jobs"), ENGINES)
def test_ddl_that_waits_for_the_dump_is_let_through_in_time_and_the_dump_is_made_later(
    case: Case, sandbox: Sandbox, engine: str, jobs: dict[str, int]
) -> None:
    limits = {"lock_wait_max": "3s"}
    strongroom = case.configure("ledger", dump=quick(**LATER, engine=engine, governor=limits, **jobs))
    with session(sandbox) as production:
        with case.holding("UploadPart"):
            daemon = strongroom.start()
            in_mid_table(case, daemon)
            lock_as_ddl_does(production)
            assert case.sandbox.rds("run_sql", id="bank-ledger", sql=LOCKS) == [["0"]], "it holds no lock any more"
        reason = gave_way(case, daemon, "lock_wait")
        assert f"session {production.info.backend_pid} has waited" in reason and "a lock on public.receipts" in reason
        daemon.wait_for(lambda: reason in json.dumps(daemon.status()), "the status says why")
        stops = daemon.metric("strongroom_dump_stops_total", source="ledger", cause="lock_wait")
        cancelled = daemon.metric("strongroom_runs_total", source="ledger", kind="dump", outcome="cancelled")
        failed = daemon.metric("strongroom_runs_total", source="ledger", kind="dump", outcome="failure")
        assert (stops, cancelled, failed) == (1, 1, 0)
        daemon.wait_until_well()
        assert daemon.at_level("ERROR") == []
        first, second = case.runs("ledger")
        assert second["state"] == "succeeded"


def test_a_snapshot_that_holds_back_vacuum_for_too_many_transactions_is_given_up(case: Case, sandbox: Sandbox) -> None:
    limits = {"lock_wait_max": "off", "replica_lag_max": "off", "xmin_age_max": 50}
    strongroom = case.configure("ledger", dump=quick(**LATER, engine="parallel", jobs=2, governor=limits))
    with session(sandbox) as production:
        with case.holding("UploadPart"):
            daemon = strongroom.start()
            in_mid_table(case, daemon)
            for _ in range(60):
                production.execute("SELECT pg_current_xact_id()")
            daemon.wait_for(lambda: not sandbox.backends("bank-ledger"), "nothing holds back vacuum any more")
        reason = gave_way(case, daemon, "xmin_age")
        assert "`xmin_age_max` is 50" in reason
        daemon.wait_until_well()


def measure_free_storage(sandbox: Sandbox, instance: str, size_bytes: int, minutes_ago: int) -> None:
    """As RDS does each minute."""
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    of = [{"Name": "DBInstanceIdentifier", "Value": instance}]
    point = {"MetricName": "FreeStorageSpace", "Dimensions": of, "Value": size_bytes, "Timestamp": at}
    sandbox.client("cloudwatch").put_metric_data(Namespace="AWS/RDS", MetricData=[point])


def test_a_dump_whose_server_runs_out_of_room_is_given_up(case: Case, sandbox: Sandbox) -> None:
    limits = {"lock_wait_max": "off", "replica_lag_max": "off", "xmin_age_max": 0, "free_storage_min": "2GiB"}
    strongroom = case.configure("ledger", dump=quick(**LATER, engine="parallel", jobs=2, governor=limits))
    # Less than there must be, and more than half of that is gone as soon as it is asked for again.
    measure_free_storage(sandbox, "bank-ledger", 1 << 30, minutes_ago=5)
    with case.holding("UploadPart"):
        daemon = strongroom.start()
        in_mid_table(case, daemon)
        daemon.wait_for(lambda: [call for call in case.calls("GetMetricStatistics") if call["status"]], "it is known")
        measure_free_storage(sandbox, "bank-ledger", 1 << 28, minutes_ago=1)
        reason = gave_way(case, daemon, "free_storage")
    assert "only 0.25 GiB of the server's storage is free, and 1.00 GiB was when the dump began" in reason
    stops = daemon.metric("strongroom_dump_stops_total", source="ledger", cause="free_storage")
    assert stops == 1


def test_a_dump_of_which_others_wait_for_something_else_goes_on(case: Case, sandbox: Sandbox) -> None:
    """One that waits for a lock of a third party, and one with an older snapshot than the dump's, are not its doing."""
    limits = {"lock_wait_max": "1s", "xmin_age_max": 50}
    strongroom = case.configure("ledger", dump=quick(engine="parallel", jobs=2, governor=limits))
    with session(sandbox) as older, session(sandbox) as holder, session(sandbox) as waiting:
        older.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        older.execute("SELECT count(*) FROM pg_class")
        holder.execute("CREATE TEMPORARY TABLE own (i int)")
        holder.execute("SELECT pg_advisory_lock(1)")
        with case.holding("UploadPart"):
            daemon = strongroom.start()
            in_mid_table(case, daemon)
            for _ in range(60):
                holder.execute("SELECT pg_current_xact_id()")
            waiting.execute("SET lock_timeout = '3s'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                waiting.execute("SELECT pg_advisory_lock(1)")
        daemon.wait_until_well()
    assert case.run_states("ledger") == ["succeeded"]
    assert daemon.lines("gave way") == []


def test_a_backup_by_hand_gives_way_too_and_says_so(case: Case, sandbox: Sandbox) -> None:
    strongroom = case.configure("ledger", dump=quick(engine="parallel", jobs=2))
    with session(sandbox) as production:
        with case.holding("UploadPart"):
            backup = strongroom.begin("backup", "dump", "ledger")
            wait_until(lambda: case.calls("UploadPart"), "a part is on its way")
            lock_as_ddl_does(production)
        _, errors = backup.communicate(timeout=30)
    assert backup.returncode == 1
    assert "gave way to production" in errors and "has waited" in errors
