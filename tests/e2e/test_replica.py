"""Dumps from a read replica: a real streaming standby of the instance's own server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from case import ALL_BUT_THE_FIRST, Case, quick, source
from postgres_tools import psql
from sandbox_process import Sandbox
from strongroom_process import Daemon
from waiting import wait_until

ENGINES = [("pg_dump", {}), ("parallel", {"jobs": 2})]
REPLICA = "bank-ledger-replica"
NOW = "SELECT pg_current_wal_lsn()::text, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"


def ask(sandbox: Sandbox, sql: str, instance: str = REPLICA) -> str:
    """The one value that a statement gives."""
    return str(sandbox.rds("run_sql", id=instance, sql=sql)[0][0])


def has_replayed(sandbox: Sandbox, what: str = "replay") -> bool:
    """Whether the replica has replayed, or received, all that its source has written up to now."""
    lsn = ask(sandbox, "SELECT pg_current_wal_lsn()", "bank-ledger")
    return ask(sandbox, f"SELECT pg_last_wal_{what}_lsn() >= '{lsn}'") == "True"


def dumping(sandbox: Sandbox) -> int:
    """Sessions of dumps in the replica."""
    return int(ask(sandbox, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'strongroom/%'"))


def set_replay_patience(sandbox: Sandbox, delay: str) -> None:
    """How long the replica's replay waits for others; production waits half a minute."""
    sandbox.rds("run_sql", id=REPLICA, sql=f"ALTER SYSTEM SET max_standby_streaming_delay = '{delay}'")
    ask(sandbox, "SELECT pg_reload_conf()")


def churn(sandbox: Sandbox) -> None:
    """Removes rows that the dump's snapshot sees: the replica may not apply this."""
    commands = ("CREATE TABLE churn AS SELECT generate_series(1, 10000)", "DELETE FROM churn", "VACUUM churn")
    for sql in (*commands, "DROP TABLE churn"):
        psql(sandbox, "bank-ledger", "ledger", sql)


@pytest.fixture(scope="module")
def replica(sandbox: Sandbox) -> Iterator[str]:
    rds = sandbox.client("rds")

    def keep_backups(days: int) -> None:
        """RDS makes replicas only of what has automated backups; the other tests need none."""
        change = {"DBInstanceIdentifier": "bank-ledger", "BackupRetentionPeriod": days, "ApplyImmediately": True}
        rds.modify_db_instance(**change)
        wait_until(lambda: sandbox.instance("bank-ledger")["BackupRetentionPeriod"] == days, "it is so")
        wait_until(lambda: sandbox.instance("bank-ledger")["DBInstanceStatus"] == "available", "it is through")

    keep_backups(1)
    rds.create_db_instance_read_replica(DBInstanceIdentifier=REPLICA, SourceDBInstanceIdentifier="bank-ledger")
    wait_until(lambda: sandbox.instance(REPLICA)["DBInstanceStatus"] == "available", "there is a replica")
    set_replay_patience(sandbox, "100ms")
    wait_until(lambda: has_replayed(sandbox), "the replica follows")
    yield REPLICA
    rds.delete_db_instance(DBInstanceIdentifier=REPLICA, SkipFinalSnapshot=True)
    keep_backups(0)


@contextmanager
def in_mid_dump(case: Case, sandbox: Sandbox, replica: str, **dump: Any) -> Iterator[Daemon]:
    """The ledger is dumped from the replica, and held in mid-table until the end of the block."""
    ledger = source("ledger", dump_from=replica)
    strongroom = case.configure(dump=quick(**dump), sources={"ledger": ledger})
    with case.holding("UploadPart", ALL_BUT_THE_FIRST):
        daemon = strongroom.start()
        daemon.wait_for(case.second_part_is_on_its_way, "the second part is on its way")
        daemon.wait_for(lambda: dumping(sandbox), "the replica has the sessions")
        yield daemon


@pytest.mark.parametrize(("engine", "jobs"), ENGINES)
def test_a_replica_is_read_and_the_instance_is_left_in_peace(
    case: Case, sandbox: Sandbox, replica: str, engine: str, jobs: dict[str, int]
) -> None:
    before, began_at = sandbox.rds("run_sql", id="bank-ledger", sql=NOW)[0]
    with in_mid_dump(case, sandbox, replica, engine=engine, **jobs) as daemon:
        assert sandbox.backends("bank-ledger") == []
    daemon.wait_until_well()
    (manifest,) = case.manifests("ledger")
    case.assert_whole(manifest)
    ((rows,),) = sandbox.rds("run_sql", id="bank-ledger", database="ledger", sql="SELECT count(*) FROM receipts")
    assert manifest["rows"] == int(rows)
    assert manifest["snapshot_at"] >= began_at, "the moment of the data is by the instance's clock"
    newer = f"SELECT '{manifest['snapshot_lsn']}'::pg_lsn >= '{before}'::pg_lsn"
    assert ask(sandbox, newer) == "True"
    assert manifest["read_from"] == replica and manifest["instance"] == "bank-ledger"
    assert case.run_states("ledger") == ["succeeded"]


def test_a_replica_that_is_behind_is_waited_for(case: Case, sandbox: Sandbox, replica: str) -> None:
    """What was committed on the instance before the dump began is in the dump, however late the replica is."""
    psql(sandbox, "bank-ledger", "ledger", "CREATE TABLE late AS SELECT generate_series(1, 3) AS i")
    wait_until(lambda: has_replayed(sandbox), "the replica has the table")
    ask(sandbox, "SELECT pg_wal_replay_pause()")
    psql(sandbox, "bank-ledger", "ledger", "INSERT INTO late VALUES (4)")
    resume = threading.Timer(4, lambda: ask(sandbox, "SELECT pg_wal_replay_resume()"))
    resume.start()
    try:
        named = {"ledger": source("ledger", dump_from=replica)}
        case.configure(dump=quick(engine="parallel", jobs=2), sources=named)("backup", "dump", "ledger")
    finally:
        resume.join()
    (manifest,) = case.manifests("ledger")
    assert [table["rows"] for table in manifest["tables"] if table["name"] == "late"] == [4]
    psql(sandbox, "bank-ledger", "ledger", "DROP TABLE late")


def test_unlogged_tables_which_no_replica_has_are_named(case: Case, sandbox: Sandbox, replica: str) -> None:
    psql(sandbox, "bank-ledger", "ledger", "CREATE UNLOGGED TABLE sessions_cache AS SELECT 1 AS i")
    named = {"ledger": source("ledger", dump_from=replica)}
    ended = case.configure(dump=quick(engine="parallel", jobs=2), sources=named)("backup", "dump", "ledger")
    (manifest,) = case.manifests("ledger")
    said = "no replica has the data of what is unlogged, and so not this dump: public.sessions_cache"
    assert said in manifest["warnings"] and said in ended.err, ended.err
    assert [table["name"] for table in manifest["tables"]].count("sessions_cache") == 0
    psql(sandbox, "bank-ledger", "ledger", "DROP TABLE sessions_cache")


@pytest.mark.parametrize(("engine", "jobs"), ENGINES)
def test_a_recovery_conflict_is_told_apart_and_the_dump_is_made_again(
    case: Case, sandbox: Sandbox, replica: str, engine: str, jobs: dict[str, int]
) -> None:
    with in_mid_dump(case, sandbox, replica, engine=engine, **jobs) as daemon:
        churn(sandbox)
        daemon.wait_for(lambda: has_replayed(sandbox, "receive"), "the replica knows of it")
        # Longer than the replay waits. A backend that is writing to us hears of the conflict only when it is done with that, and
        # nothing in the replica shows that it is to end.
        time.sleep(1)
    line = daemon.wait_for_line("run gave way to production")
    assert line["cause"] == "recovery_conflict" and "conflict with recovery" in line["reason"]
    daemon.wait_until_well()
    first, second = case.runs("ledger")
    assert first["failure"]["stopped_by"] == "recovery_conflict" and second["state"] == "succeeded"
    assert not [key for key in case.keys("ledger/dumps/") if first["run"] in key and key.endswith("manifest.json")]
    assert daemon.at_level("ERROR") == []
    assert daemon.metric("strongroom_dump_stops_total", source="ledger", cause="recovery_conflict") == 1


def test_a_dump_that_keeps_its_replica_from_replaying_for_too_long_is_given_up(
    case: Case, sandbox: Sandbox, replica: str
) -> None:
    set_replay_patience(sandbox, "-1")
    try:
        limits = {"lock_wait_max": "off", "replica_lag_max": "2s", "xmin_age_max": 0, "free_storage_min": "off"}
        with in_mid_dump(case, sandbox, replica, engine="parallel", jobs=2, governor=limits) as daemon:
            churn(sandbox)
            line = daemon.wait_for_line("run gave way to production")
        assert line["cause"] == "replica_lag" and "the replica that it is read from has fallen" in line["reason"]
        daemon.wait_for(lambda: has_replayed(sandbox), "the replica goes on")
    finally:
        set_replay_patience(sandbox, "100ms")


def test_a_replica_that_is_promoted_while_it_is_dumped_gives_no_dump(
    case: Case, sandbox: Sandbox, replica: str
) -> None:
    """What is read from then on could be what somebody has written there since. It is the last test that has the replica."""
    with in_mid_dump(case, sandbox, replica, engine="parallel", jobs=2, retry={"attempts_max": 1}):
        sandbox.client("rds").promote_read_replica(DBInstanceIdentifier=replica)
        wait_until(lambda: ask(sandbox, "SELECT pg_is_in_recovery()") == "False", "it is promoted")
    wait_until(lambda: "failed" in case.run_states("ledger"), "the run has ended")
    (record,) = case.runs("ledger")
    assert "it is not in recovery: it was promoted" in record["failure"]["message"]
    assert case.manifests("ledger") == []


def test_an_instance_that_is_no_replica_of_the_source_is_refused(case: Case) -> None:
    """Its databases would be taken for the source's backup."""
    named = {"ledger": source("ledger", dump_from="bank-lending", databases=["postgres"])}
    strongroom = case.configure(dump=quick(), sources=named)
    refused = "`bank-lending` is no replica, not one of this instance: correct `dump_from`, or leave it out"
    assert refused in strongroom("backup", "dump", "ledger", code=4).err
    assert refused in strongroom("check", "--online", code=None).out
    assert case.manifests("ledger") == []
