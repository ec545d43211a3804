"""Canaries: no password is found in anything that people or other processes can read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from case import Case, quick, source
from postgres_tools import pg_dumps
from sandbox_process import BACKUP_PASSWORD, BACKUP_USER, CANARY


def command_lines() -> Iterator[tuple[str, str]]:
    """What `ps` shows of every process: its name and its arguments."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield (process / "comm").read_text().strip(), (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue


def test_no_password_is_seen_in_any_argument_file_log_metric_or_object(case: Case) -> None:
    # The key that signs requests is a secret, too, and one more login comes from the environment.
    environment = {"AWS_SECRET_ACCESS_KEY": f"{CANARY}-aws", "LENDING_PASSWORD": BACKUP_PASSWORD}
    from_environment = {"user": BACKUP_USER, "password_env": "LENDING_PASSWORD"}
    sources = {"ledger": source("ledger"), "lending": source("lending", credentials=from_environment)}
    environment["STRONGROOM_LOG_LEVEL"] = "trace"
    strongroom = case.configure(dump=quick(), snapshot=quick(), sources=sources, environment=environment)
    with case.in_mid_dump(strongroom) as daemon:
        port = case.sandbox.instance("bank-ledger")["Endpoint"]["Port"]
        assert pg_dumps(port), "the client runs while it is looked at"
        seen = dict(command_lines())
        assert "pg_dump" in seen
        leaking = [name for name, arguments in command_lines() if CANARY in arguments]
        assert leaking == [], "passwords in arguments"
        environments = [(Path("/proc") / str(pid) / "environ").read_bytes() for pid in pg_dumps(port)]
        assert not any(CANARY.encode() in text for text in environments), "the client gets a file, not the password"
        assert list((case.directory / "tmp").iterdir()) == [], "who is logged in needs no password file any more"
    daemon.wait_until_well()

    assert list((case.directory / "tmp").iterdir()) == [], "no password file stays"
    said = {path: daemon.http(path)[1] for path in ("/metrics", "/api/status", "/")}
    shown = {
        words: strongroom(*words.split()).out
        for words in ("config show", "status --json", "list --json", "plan --json")
    }
    objects = {key: case.get(key).decode() for key in case.keys() if not key.endswith(".zst")}
    assert len(objects) == 2 * 9
    everything = said | shown | objects | {"log": daemon.log_file.read_text()}
    assert [where for where, text in everything.items() if CANARY in text] == []
    assert "password_env" in shown["config show"] and "rds/ledger/backup" in shown["config show"], (
        "references are shown"
    )


def test_no_password_is_seen_when_logins_fail(case: Case) -> None:
    (case.directory / "password").write_text(f"{CANARY}-wrong")
    credentials = {"user": BACKUP_USER, "password_file": str(case.directory / "password")}
    sources = {
        "ledger": source("ledger", credentials=credentials),
        "lending": source("lending", credentials={"secret": "rds/malformed"}),
    }
    environment = {"STRONGROOM_LOG_LEVEL": "trace"}
    daemon = case.configure(dump=quick(retry={"attempts_max": 1}), sources=sources, environment=environment).start()
    daemon.wait_for(lambda: len(daemon.lines("run failed")) == 2, "both have failed")
    assert CANARY not in daemon.log_file.read_text()
    assert CANARY not in daemon.http("/api/status")[1]
    assert not any(CANARY in case.get(key).decode() for key in case.keys())
