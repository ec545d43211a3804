"""`strongroom diagnose`: what is wrong with an instance, in plain sentences, and a bundle without secrets."""

from __future__ import annotations

import json
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from case import Case, quick
from postgres_tools import MASTER, locked, psql, tools_environment
from sandbox_process import MASTER_PASSWORD
from strongroom_process import Strongroom
from waiting import wait_until

SOURCE, INSTANCE = "accounts", "bank-accounts"
CANARY = "canary-4711"


@pytest.fixture
def strongroom(case: Case) -> Strongroom:
    return case.configure(SOURCE, snapshot=quick(), dump=quick(engine=None))


def test_what_is_known_of_an_instance_is_told(case: Case, strongroom: Strongroom) -> None:
    ended = strongroom("diagnose", SOURCE, code=None)
    assert ended.code in (0, 3), ended.err
    for part in ("instance    available, ", "storage     ", "restorable  20", "server      ", "quota       ", "event       "):
        assert f"\n{part}" in ended.out, ended.out
    document = strongroom("diagnose", SOURCE, "--json", code=None).json()
    assert document["state"]["status"] == "available" and document["server"]["connections_max"] > 0
    assert not [call for verb in ("Modify", "Delete", "Create") for call in case.calls(f"{verb}DBInstance")]
    ended = strongroom("diagnose", "nobody", code=2)
    assert "no source is called `nobody`" in ended.err


def test_who_blocks_whom_is_named_with_what_to_do(case: Case, strongroom: Strongroom) -> None:
    table = f"held_{case.name}"
    psql(case.sandbox, INSTANCE, SOURCE, f"CREATE TABLE {table} (n int)")
    waits = ["psql", "-h", "localhost", "-U", MASTER, "-d", SOURCE, "-c", f"SELECT '{CANARY}' FROM {table}"]
    environment = tools_environment(case.sandbox, INSTANCE)
    try:
        with locked(case.sandbox, INSTANCE, SOURCE, table):
            waiter = subprocess.Popen(waits, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            found = wait_until(lambda: find_wait(strongroom), "the wait is seen", 30)
            time.sleep(max(0, 31 - found["seconds"]))
            ended = strongroom("diagnose", SOURCE, code=3)
            words = f"process {found['pid']} has waited "
            assert words in ended.out and f"processes {found['blocked_by']} hold" in ended.out, ended.out
            assert CANARY not in ended.out, "no query is shown"
        assert waiter.wait(20) == 0
    finally:
        psql(case.sandbox, INSTANCE, SOURCE, f"DROP TABLE {table}")


def find_wait(strongroom: Strongroom) -> dict[str, Any] | None:
    waits = strongroom("diagnose", SOURCE, "--json", code=None).json()["server"]["lock_waits"]
    return next(iter(waits), None)


def test_a_bundle_has_everything_for_whoever_helps_and_no_secret(case: Case, strongroom: Strongroom) -> None:
    # A password in a statement, and a row in the detail of an error: both are in the server's log.
    slow = f"SET statement_timeout = 1; SELECT pg_sleep(1), '{CANARY}'"
    for statement in (f"ALTER ROLE nobody_{case.name} PASSWORD '{CANARY}'", f"SELECT '{CANARY}'::int", slow):
        with pytest.raises(AssertionError):
            psql(case.sandbox, INSTANCE, SOURCE, statement)
    environment = {"STRONGROOM_CANARY": CANARY}
    own = {"instance": INSTANCE, "policy": "p", "databases": [SOURCE]}
    own["credentials"] = {"user": "strongroom_backup", "password_env": "STRONGROOM_CANARY"}
    broken = case.configure(
        snapshot=quick(), dump=quick(engine=None), sources={SOURCE: own}, environment=environment
    )
    path: Path = case.directory / "bundle.json"
    ended = broken("diagnose", SOURCE, "--bundle", str(path), code=3)
    assert "its server could not be seen" in ended.out, "the password is wrong"
    assert "look through it before you hand it on" in ended.err
    text = path.read_text()
    bundle = json.loads(text)
    assert {"strongroom", "diagnosis", "status", "decisions", "config"} <= bundle.keys()
    assert bundle["config"]["sources"][SOURCE]["credentials"]["password_env"] == "STRONGROOM_CANARY"
    log = bundle["diagnosis"]["log"]
    assert any("canceling statement due to statement timeout" in line for line in log["lines"]), log
    for secret in (CANARY, MASTER_PASSWORD, case.access_key):
        assert secret not in text + ended.out + ended.err, secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ended = broken("diagnose", SOURCE, "--bundle", str(path), code=2)
    assert "is there already" in ended.err and path.read_text() == text


def test_what_cannot_be_asked_is_told_and_the_rest_is_asked_all_the_same(case: Case, strongroom: Strongroom) -> None:
    case.fault("access_denied", "DescribeDBLogFiles", count=None)
    ended = strongroom("diagnose", SOURCE, code=3)
    assert "its log could not be seen: cannot list log files" in ended.out, ended.out
    assert "\nserver      " in ended.out and "\nquota       " in ended.out


def test_an_instance_that_is_gone_is_named_with_the_way_back(case: Case) -> None:
    own = {"instance": f"{case.name}-gone", "policy": "p", "databases": [SOURCE]}
    own["credentials"] = {"secret": f"rds/{SOURCE}/backup"}
    strongroom = case.configure(snapshot=quick(), dump=quick(engine=None), sources={SOURCE: own})
    ended = strongroom("diagnose", SOURCE, code=3)
    assert f"there is no instance {case.name}-gone" in ended.out
    assert f"`strongroom recover loss {SOURCE}` brings it back" in ended.out
