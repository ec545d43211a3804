"""`strongroom recover`: the runbook's three disasters, played; interrupted at each step, undone, and refused."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from case import Case, Config, quick
from kubernetes_double import Kubernetes
from own_instance import NETWORK, SOURCE, Bank
from sandbox_process import REGION
from strongroom_process import Ended, Strongroom
from waiting import wait_until

SECONDS = 180
WRITER, READER = "bank/ledger", "bank/reports"
STEPS = ["stop_writers", "restore", "verify", "switch", "start_writers"]


@pytest.fixture
def kubernetes() -> Iterator[Kubernetes]:
    cluster = Kubernetes()
    cluster.deployment(WRITER, 3)
    cluster.deployment(READER, 1)
    yield cluster
    cluster.stop()


def configure(case: Case, bank: Bank, kubernetes: Kubernetes | None, drill: Config | None = None, **recover: Any) -> Strongroom:
    changes: Config = {}
    if kubernetes:
        recover = {"deployments": [WRITER], "restarts": [READER]} | recover
        changes["kubernetes"] = {"kubeconfig": str(kubernetes.kubeconfig(case.directory / "kubeconfig"))}
    if drill:
        changes["drills"] = {"subnet_group": NETWORK["subnet_group"], "security_groups": ["sg-0a1b2c3d"]}
    own = {"instance": bank.instance, "policy": "p", "databases": [SOURCE], "recover": recover}
    own["credentials"] = {"secret": f"rds/{SOURCE}/backup"}
    snapshot = quick()
    return case.configure(
        snapshot=snapshot, drill=drill, sources={SOURCE: own}, restore={REGION: NETWORK}, **changes
    )


def recover(strongroom: Strongroom, *words: str, code: int = 0) -> Ended:
    return strongroom("recover", *words, code=code, seconds=SECONDS)


def journal(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(case.get(f"{SOURCE}/recoveries/current.json"))
    return found


def renames(case: Case) -> list[dict[str, Any]]:
    return case.calls("ModifyDBInstance")


def test_rows_that_were_deleted_are_back_under_the_same_name_and_the_old_instance_is_kept(
    case: Case, bank: Bank, kubernetes: Kubernetes
) -> None:
    strongroom = configure(case, bank, kubernetes)
    moment = bank.moment_before("DELETE FROM precious")
    ended = recover(strongroom, "deletion", SOURCE, "--before", moment, "--yes")
    assert bank.rows() == "7" and bank.details()["DbiResourceId"] != bank.resource
    aside = [name for name in bank.names() if "-before-" in name]
    assert len(aside) == 1 and bank.details(aside[0])["DbiResourceId"] == bank.resource
    assert bank.rows(aside[0]) == "0", "the old one is as it was"
    assert bank.names() == sorted([bank.instance, *aside]), "nothing else is left"
    assert f"differs     {SOURCE}: public.precious: 7 rows, and now 0 rows" in ended.err, ended.err
    assert f"recovered   {SOURCE} is served by instance {bank.instance}" in ended.out
    # Nothing was restored while something wrote, and all of it runs again.
    stopped, started = (next(at for at, name, what in kubernetes.changes if (name, what) == (WRITER, f"replicas {n}")) for n in (0, 3))
    assert stopped < started and kubernetes.replicas(WRITER) == 3
    assert kubernetes.deployments[READER]["annotations"], "readers have new connections"
    record = journal(case)
    assert record["state"] == "done" and [step["step"] for step in record["steps"]] == STEPS
    assert {step["approved_by"] for step in record["steps"]} == {"option"}
    assert not case.calls("DeleteDBInstance") and len(renames(case)) == 2
    # And back.
    ended = recover(strongroom, "undo", SOURCE, "--yes")
    assert bank.details()["DbiResourceId"] == bank.resource and bank.rows() == "0"
    assert kubernetes.replicas(WRITER) == 3 and journal(case)["state"] == "undone"
    assert bank.names() == sorted([bank.instance, record["new"]])
    recover(strongroom, "undo", SOURCE, "--yes", code=4)


def test_a_damaged_database_comes_back_from_the_newest_snapshot_and_a_secret_leads_there(
    case: Case, bank: Bank, kubernetes: Kubernetes
) -> None:
    kubernetes.secret("bank/core-db", host=bank.details()["Endpoint"]["Address"], DB_PORT="1", password="kept")
    switch = {"switch": "kubernetes_secret", "secret": "bank/core-db", "port_key": "DB_PORT"}
    strongroom = configure(case, bank, kubernetes, **switch)
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    bank.sql("DROP TABLE precious")
    ended = recover(strongroom, "corruption", SOURCE, "--yes")
    new = journal(case)["new"]
    assert bank.rows(new) == "7" and bank.names() == sorted([bank.instance, new])
    values = kubernetes.secrets["bank/core-db"]["data"]
    assert values["DB_PORT"] == str(bank.details(new)["Endpoint"]["Port"]) and values["password"] == "kept"
    assert f"{SOURCE}: public.precious: 7 rows, and now no such table" in ended.err, ended.err
    pinned = [key for key in case.keys(f"{SOURCE}/pins/") if case.snapshot_ids()[0] in key]
    assert pinned and f"`strongroom unpin {case.snapshot_ids()[0]}`" in ended.err
    assert f'write `instance = "{new}"` under [sources.{SOURCE}]' in ended.out
    assert not renames(case)
    recover(strongroom, "undo", SOURCE, "--yes")
    assert kubernetes.secrets["bank/core-db"]["data"]["DB_PORT"] == "1"
    assert "kept" not in json.dumps(journal(case))


def test_an_instance_that_is_gone_comes_back_under_its_name(case: Case, bank: Bank) -> None:
    strongroom = configure(case, bank, None)
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    bank.close()
    wait_until(lambda: not bank.names(), "the instance is gone", 60)
    network = {REGION: NETWORK | {"security_groups": ["sg-0a1b2c3d"], "parameter_group": "default.postgres15", "instance_classes": ["db.t3.micro"]}}
    own = {"instance": bank.instance, "policy": "p", "databases": [SOURCE, "lost"]}
    own["credentials"] = {"secret": f"rds/{SOURCE}/backup"}
    strongroom = case.configure(snapshot=quick(), sources={SOURCE: own}, restore=network)
    ended = recover(strongroom, "loss", SOURCE, "--yes", code=1)
    assert "there is no such instance" in ended.out and "stop it yourself" in ended.err
    assert "database lost is not in the restored instance" in ended.err
    assert f"`strongroom restore dump {SOURCE} --database lost --into lost --create --instance NAME" in ended.err
    bank.sql("CREATE DATABASE lost", journal(case)["new"])
    ended = recover(strongroom, "loss", SOURCE, "--yes")
    assert bank.names() == [bank.instance] and bank.rows() == "7"
    assert "to undo" not in ended.out, "there is nothing to go back to"
    recover(strongroom, "undo", SOURCE, "--yes", code=4)


def test_a_secret_of_aws_leads_to_the_new_instance_and_is_fetched_at_once(
    case: Case, bank: Bank, kubernetes: Kubernetes
) -> None:
    secrets = case.sandbox.client("secretsmanager")
    name = f"{case.name}/app"
    secrets.create_secret(Name=name, SecretString=json.dumps({"host": "old", "port": 1, "password": "hush-hush"}))
    kubernetes.external_secret("bank/core-db")
    kubernetes.external_version = "v1beta1"
    switch = {"switch": "secrets_manager", "secret": name, "port_key": "port", "external_secrets": ["bank/core-db"]}
    strongroom = configure(case, bank, kubernetes, **switch)
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    ended = recover(strongroom, "corruption", SOURCE, "--yes")
    endpoint = bank.details(journal(case)["new"])["Endpoint"]
    value = json.loads(secrets.get_secret_value(SecretId=name)["SecretString"])
    assert value == {"host": endpoint["Address"], "port": endpoint["Port"], "password": "hush-hush"}
    assert kubernetes.external_secrets["bank/core-db"]["annotations"]["force-sync"]
    assert "hush-hush" not in ended.out + ended.err + json.dumps(journal(case))


JOURNALED = {"first look": 2, "stop_writers": 3, "restore": 6, "verify": 8, "switch": 10, "start_writers": 12}
"""How often the journal has been written before that which tells of this; the first time it is begun, then each approval."""


@pytest.mark.parametrize("what", JOURNALED)
def test_whoever_is_killed_after_a_step_and_before_its_end_is_noted_goes_on(
    case: Case, bank: Bank, kubernetes: Kubernetes, what: str
) -> None:
    strongroom = configure(case, bank, kubernetes)
    moment = bank.moment_before("DELETE FROM precious")
    words = ("deletion", SOURCE, "--before", moment, "--yes")
    written = lambda: len(case.calls("PutObject", "/recoveries/"))  # noqa: E731
    with case.holding("PutObject", {"key": "/recoveries/"}, after=JOURNALED[what]):
        begun = strongroom.begin("recover", *words)
        wait_until(lambda: begun.poll() is not None or written() > JOURNALED[what], f"{what} is about to be noted", SECONDS)
        begun.kill()
        _, err = begun.communicate(timeout=10)
        assert written() == JOURNALED[what] + 1, err
    ended = recover(strongroom, *words)
    assert "going on with the recovery" in ended.err
    assert bank.rows() == "7" and kubernetes.replicas(WRITER) == 3, ended.err
    assert len(bank.names()) == 2 and journal(case)["state"] == "done"
    assert [call["status"] for call in case.calls("RestoreDBInstanceToPointInTime")].count(200) == 1, "one instance was made"
    assert journal(case)["writers"] == [{"deployment": WRITER, "replicas": 3}]
    assert len(renames(case)) == 2, "nothing was renamed twice"


def test_nothing_is_done_where_nobody_approves_it(case: Case, bank: Bank, kubernetes: Kubernetes) -> None:
    strongroom = configure(case, bank, kubernetes)
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    ended = recover(strongroom, "corruption", SOURCE, code=4)
    assert "nobody is at a terminal to approve the steps: --yes" in ended.err
    ended = recover(strongroom, "corruption", SOURCE, "--dry-run")
    for words in ("1  stop what writes: bank/ledger to 0 replicas", "no drill has measured", f"becomes {bank.instance}"):
        assert words in ended.out, ended.out
    assert "candidate   snapshot" in ended.out and "the Kubernetes cluster would do its part" in ended.err
    kubernetes.forbidden.add("patch deployments/scale")
    ended = recover(strongroom, "corruption", SOURCE, "--dry-run", code=1)
    assert "cannot scale deployment bank/ledger to 0: Forbidden" in ended.err
    assert not kubernetes.changes and bank.names() == [bank.instance]
    assert not case.keys(f"{SOURCE}/recoveries/") and not renames(case)
    ended = recover(strongroom, "deletion", SOURCE, "--yes", code=2)
    assert "say when it happened with --before" in ended.err


def test_what_is_wrong_with_what_came_back_is_not_switched_to(case: Case, bank: Bank) -> None:
    true_of_it = [{"name": "seven", "sql": "SELECT count(*) = 7 FROM public.precious", "database": SOURCE}]
    drill = {"schedule": "0 6 1 1 *", "paths": ["snapshot"], "assertions": true_of_it, "suspend": True}
    bank.sql("DELETE FROM precious WHERE n = 3")
    strongroom = configure(case, bank, None, drill=drill)
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    ended = recover(strongroom, "corruption", SOURCE, "--yes", code=1)
    assert f"fault       {SOURCE}: assertion `seven` does not hold" in ended.err
    assert "nothing was switched" in ended.err and not renames(case)
    ended = recover(strongroom, "corruption", SOURCE, "--yes", "--despite-faults")
    assert bank.rows() == "6" and bank.details()["DbiResourceId"] != bank.resource


def test_what_is_scaled_up_again_holds_the_switch_back(case: Case, bank: Bank, kubernetes: Kubernetes) -> None:
    strongroom = configure(case, bank, kubernetes)
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    begun = strongroom.begin("recover", "corruption", SOURCE, "--yes")
    wait_until(lambda: case.calls("RestoreDBInstanceFromDBSnapshot"), "it is being restored", 60)
    kubernetes.deployment(WRITER, 2)
    _, err = begun.communicate(timeout=SECONDS)
    assert begun.returncode == 1 and f"deployment {WRITER} is to have 2 replicas again" in err, err
    assert not renames(case)
    kubernetes.deployment(WRITER, 0)
    recover(strongroom, "corruption", SOURCE, "--yes")
    assert kubernetes.replicas(WRITER) == 3, "as many as it had at first"


def test_an_open_recovery_is_finished_or_given_up_before_another_one(case: Case, bank: Bank, kubernetes: Kubernetes) -> None:
    strongroom = configure(case, bank, kubernetes)
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    answers = at_terminal(strongroom, "recover", "corruption", SOURCE, answers=["y", "n"])
    assert "step 2 of 5: restore snapshot" in answers and "the same command goes on with it" in answers, answers
    assert kubernetes.replicas(WRITER) == 0 and not case.calls("RestoreDBInstanceFromDBSnapshot")
    assert journal(case)["steps"][0]["approved_by"] == "person"
    ended = recover(strongroom, "loss", SOURCE, "--yes", code=4)
    assert "is about corruption" in ended.err and "recover abandon" in ended.err
    ended = recover(strongroom, "abandon", SOURCE, "--yes")
    assert f"{WRITER} had 3 replicas" in ended.err and journal(case)["state"] == "abandoned"
    recover(strongroom, "abandon", SOURCE, "--yes", code=4)
    moment = bank.moment_before("DELETE FROM precious")
    recover(strongroom, "deletion", SOURCE, "--before", moment, "--yes")
    assert bank.rows() == "7" and len(case.keys(f"{SOURCE}/recoveries/")) == 3, "two that have ended, and the current one"
    assert kubernetes.replicas(WRITER) == 3, "as many as the one that was given up had found"


def at_terminal(strongroom: Strongroom, *words: str, answers: list[str]) -> str:
    """Runs a command at a terminal, and answers its questions in this order."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        strongroom.command(*words),
        env=strongroom.environment,
        cwd=strongroom.directory,
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        close_fds=True,
    )
    os.close(theirs)
    said = ""
    deadline = time.monotonic() + SECONDS
    asked = 0
    while time.monotonic() < deadline:
        try:
            said += os.read(ours, 4096).decode(errors="replace")
        except OSError:
            break
        if said.count("[y/N]") > asked and asked < len(answers):
            os.write(ours, f"{answers[asked]}\n".encode())
            asked += 1
    process.wait(10)
    os.close(ours)
    return said


def test_a_secret_that_an_operator_fills_is_not_written_past_it(
    case: Case, bank: Bank, kubernetes: Kubernetes, tmp_path: Path
) -> None:
    kubernetes.secret("bank/core-db", manager="externalsecrets.external-secrets.io/core", host="old")
    strongroom = configure(case, bank, kubernetes, switch="kubernetes_secret", secret="bank/core-db")
    strongroom("backup", "snapshot", SOURCE, seconds=SECONDS)
    ended = recover(strongroom, "corruption", SOURCE, "--yes", code=1)
    assert 'set `switch = "secrets_manager"`' in ended.err
    assert not kubernetes.changes and not case.calls("RestoreDBInstanceFromDBSnapshot"), "that is seen before anything is done"
