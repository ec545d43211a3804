"""The command line as scripts and people use it: exit codes, JSON alone on stdout, progress on terminals only."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess

import pytest
from case import ALL_BUT_THE_FIRST, Case, quick
from job import Job
from strongroom_process import STOP_SECONDS, Strongroom
from waiting import wait_until


def test_a_dump_on_demand_is_a_slot_of_its_own_and_says_what_it_made(case: Case) -> None:
    strongroom = case.configure("lending", dump=quick(), snapshot=quick())
    ended = strongroom("backup", "dump", "lending")
    (record,) = case.runs("lending")
    (manifest,) = case.manifests("lending")
    assert record["state"] == "succeeded" and record["run"] == manifest["run"]
    assert re.fullmatch(rf"run {record['run']} of lending succeeded after \d+ s: [\d.]+ [kM]?B\n", ended.out), ended.out
    case.assert_whole(manifest)
    (decision,) = [one for one in strongroom.plan()["decisions"] if one["kind"] == "dump"]
    assert "is filled" in decision["reason"], "a newer dump fills the scheduled slot, too"


def test_a_snapshot_on_demand_waits_until_it_is_available(case: Case) -> None:
    strongroom = case.configure("ledger", snapshot=quick())
    ended = strongroom("backup", "snapshot", "ledger")
    (record,) = case.runs("ledger")
    assert "succeeded" in ended.out and record["state"] == "succeeded"
    assert case.snapshot_ids() == [record["snapshot"]]


def test_a_backup_that_fails_ends_with_1_and_the_reason(case: Case) -> None:
    case.sandbox.rds("fail_next_snapshot", instance_id="bank-ledger")
    ended = case.configure("ledger", snapshot=quick())("backup", "snapshot", "ledger", code=1)
    assert "RDS reports that snapshot" in ended.err and ended.out == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("backup", "dump", "nobody"), "no source is called `nobody`"),
        (("backup", "snapshot", "nobody"), "no source is called `nobody`"),
        (("backup", "dump", "lending", "--database", "misspelt"), "has no database `misspelt`"),
        (("list", "nobody"), "no source is called `nobody`"),
        (("backup", "dump"), "required"),
        (("frobnicate",), "unrecognized subcommand"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(case: Case, words: tuple[str, ...], says: str) -> None:
    ended = case.configure("lending", dump=quick())(*words, code=2)
    assert says in ended.err and ended.out == ""


def test_a_wrong_configuration_ends_with_2_and_names_file_line_and_the_nearest_key(case: Case) -> None:
    strongroom = case.configure("lending", dump=quick())
    text = strongroom.config.read_text()
    strongroom.config.write_text(text + "[limits]\nconcurent_runs = 3\n")
    for words in (("run",), ("plan",), ("status", "--json"), ("config", "show")):
        ended = strongroom(*words, code=2)
        line = text.count("\n") + 2
        assert f"{strongroom.config}:{line}" in ended.err and "concurrent_runs" in ended.err, ended.err
        assert ended.out == ""


def test_status_ends_with_0_when_all_is_well_and_with_3_when_not(job: Job, case: Case) -> None:
    assert "All is well." in job.strongroom("status").out
    assert job.strongroom("status", "--json").json()["well"] is True
    fresh = case.configure("lending", dump=quick())
    ended = fresh("status", code=3)
    assert "OVERDUE" in ended.out and "NOTHING TO RESTORE FROM" in ended.out and "NOT ALL IS WELL" in ended.out
    assert fresh("status", "--json", code=3).json()["well"] is False


@pytest.mark.parametrize("words", [("status",), ("list",), ("plan",), ("config", "schema")])
def test_json_is_one_document_on_stdout_even_if_everything_is_logged(job: Job, words: tuple[str, ...]) -> None:
    flags = [] if words[0] == "config" else ["--json"]
    ended = job.strongroom("--log-level", "debug", *words, *flags)
    assert isinstance(ended.json(), dict | list)


def test_list_shows_every_recovery_point_once(job: Job) -> None:
    listed = job.strongroom("list", "--json").json()
    assert [(point["source"], point["kind"], point["state"]) for point in listed] == [
        (source, kind, "good") for source in ("accounts", "lending") for kind in ("snapshot", "dump")
    ]
    assert [point["id"] for point in listed if point["kind"] == "snapshot"] == job.case.snapshot_ids()
    only = job.strongroom("list", "lending", "--json").json()
    assert {point["source"] for point in only} == {"lending"} and len(only) == 2
    table = job.strongroom("list").out.splitlines()
    assert table[0].split()[:2] == ["SOURCE", "KIND"] and len(table) == 5


def test_a_list_with_holes_does_not_pass_for_the_whole(job: Job) -> None:
    job.case.fault("access_denied", "DescribeDBSnapshots", count=None)
    try:
        ended = job.strongroom("list", "--json", code=3)
    finally:
        job.case.sandbox.clear_faults()
    assert len(ended.json()) == 2 and "not seen" in ended.err


def test_plan_changes_nothing(case: Case) -> None:
    strongroom = case.configure("lending", snapshot=quick(), dump=quick())
    plan = strongroom.plan()
    assert len(plan["actions"]) == 2
    assert "create snapshot" in strongroom("plan").out
    assert case.keys() == [] and case.snapshots() == []


def on_terminal(strongroom: Strongroom, *words: str) -> tuple[subprocess.Popen[bytes], int]:
    """Begins a command whose stderr is a terminal; returns it and the terminal's other end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        strongroom.command(*words),
        env=strongroom.environment | {"TERM": "xterm", "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    return process, ours


def read_terminal(terminal: int) -> str:
    """What has come so far."""
    text = b""
    while select.select([terminal], [], [], 0.05)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        if not data:
            break
        text += data
    return text.decode(errors="replace")


def test_a_terminal_shows_how_much_was_read_and_stored(case: Case) -> None:
    strongroom = case.configure("ledger", dump=quick())
    shown = ""
    with case.holding("UploadPart", ALL_BUT_THE_FIRST):
        process, terminal = on_terminal(strongroom, "backup", "dump", "ledger")

        def bar_is_there() -> bool:
            nonlocal shown
            shown += read_terminal(terminal)
            return bool(re.search(r"read [1-9][\d.]* MB, stored [1-9][\d.]* MB, [1-9]\d* rows, .*/s.*0:00:", shown))

        try:
            wait_until(bar_is_there, "the bar shows bytes read and stored", 30, lambda: shown)
        except AssertionError:
            process.kill()
            raise
    out, _ = process.communicate(timeout=30)
    os.close(terminal)
    assert process.returncode == 0 and b"succeeded" in out
    assert b"read " not in out, "progress is not part of the output"


def test_no_bar_is_drawn_where_there_is_no_terminal(case: Case) -> None:
    ended = case.configure("ledger", dump=quick())("backup", "dump", "ledger")
    assert "\x1b" not in ended.err + ended.out and "stored" not in ended.err
    assert len(ended.err.splitlines()) == 1, ended.err


@pytest.mark.parametrize("order", [signal.SIGINT, signal.SIGTERM])
def test_a_dump_on_demand_that_is_interrupted_leaves_nothing(case: Case, order: signal.Signals) -> None:
    strongroom = case.configure("ledger", dump=quick())
    with case.holding("UploadPart", ALL_BUT_THE_FIRST):
        process = strongroom.begin("backup", "dump", "ledger")
        wait_until(case.first_part_is_stored, "the first part is stored")
        process.send_signal(order)
        _, err = process.communicate(timeout=STOP_SECONDS)
        assert process.returncode == 1, err
        assert case.uploads() == []
    assert case.dump_objects("ledger") == []
    assert case.run_states("ledger") == ["cancelled"]
    assert "nothing half-done stays visible" in err


def test_check_prints_the_next_five_runs_in_both_time_zones(case: Case) -> None:
    strongroom = case.configure("lending", dump=quick("0 4 1 * *"), time_zone="Europe/London")
    text = strongroom("check", code=None).out
    assert len(re.findall(r"\d{4}-\d{2}-01 0[34]:00", text)) >= 5 and "UTC" in text


def test_completions_and_help_need_no_configuration(case: Case) -> None:
    strongroom = case.configure("lending", dump=quick())
    assert "strongroom" in strongroom("completions", "bash", config=False).out
    assert json.loads(strongroom("config", "schema", config=False).out)
    assert "backup" in strongroom("--help", config=False).out
