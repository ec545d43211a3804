"""Sessions of the roles that the daemon assumes: renewed before they end, also in the middle of an upload; got again after they ended;
kept where STS is away for a while; and never told to anybody.

strongroom renews five minutes before the end, so a session of 303 seconds is renewed after three.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from case import Config, quick
from role_calls import BASE, assert_each_by_its_own, assumed, calls, who
from roles import SPLIT, Split, configure_split
from strongroom_process import BINARY, Strongroom
from vault import SOURCE, Vault, keep
from waiting import wait_until

SECONDS = 60
RENEWED_BEFORE = 300.0
SOON = 3.0
"""Seconds until a session is renewed."""
FINDINGS = 3
"""The exit code of a command that has something to tell."""
AWAY: Config = {"service": "sts", "operation": "AssumeRole"}


def made(vault: Vault, function: str, *operations: str) -> list[dict[str, Any]]:
    """The calls of these operations that the role of a function has made."""
    return [call for call in calls(vault) if who(vault, call) == function and call["operation"] in operations]


@contextmanager
def held_upload(vault: Vault, strongroom: Strongroom, operation: str, seconds: float) -> Iterator[None]:
    """A dump whose upload stands still for so long after what is done in the block, and then must come to a good end."""
    match = {"role": f"^{vault.name}-dump-write$", "key": "/dumps/"}
    with vault.sandbox.holding(operation=operation, match=match):
        dumping = strongroom.begin("backup", "dump", SOURCE)
        wait_until(lambda: made(vault, "dump-write", operation) or dumping.poll() is not None, "the upload is held", 60)
        yield
        ends = time.monotonic() + seconds
        wait_until(lambda: time.monotonic() > ends, "time goes by", seconds + 1)
    out, err = dumping.communicate(timeout=SECONDS)
    assert dumping.returncode == 0, out + err


UPLOADS = ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")


def keys_of_uploads(vault: Vault) -> list[set[str]]:
    """For each upload the access keys that it was made with."""
    by_id: dict[str, set[str]] = {}
    for call in made(vault, "dump-write", *UPLOADS):
        if upload := call["query"].get("uploadId"):
            by_id.setdefault(upload, set()).add(call["access_key"])
    return list(by_id.values())


def test_a_session_is_renewed_in_the_middle_of_an_upload(split: Split) -> None:
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials, dump=keep(2))
    with vault.replicating(), vault.sandbox.short_sessions(RENEWED_BEFORE + SOON):
        with held_upload(vault, strongroom, "UploadPart", SOON):
            pass
    assert_each_by_its_own(vault, *UPLOADS)
    assert max(len(keys) for keys in keys_of_uploads(vault)) >= 2, "begun with one key, completed with another"
    assert assumed(vault)["dump-write"] >= 2
    (manifest,) = vault.manifests(SOURCE)
    vault.assert_whole(manifest)


def test_a_session_that_has_ended_is_replaced(split: Split) -> None:
    """As after a laptop's sleep: nothing is asked with credentials that are over."""
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials, dump=keep(2))
    with vault.replicating(), vault.sandbox.short_sessions(SOON):
        with held_upload(vault, strongroom, "UploadPart", SOON + 1):
            pass
    assert_each_by_its_own(vault, *UPLOADS)
    (manifest,) = vault.manifests(SOURCE)
    vault.assert_whole(manifest)


def test_a_daemon_renews_each_role_and_no_more_often_than_it_must(split: Split) -> None:
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials)
    with vault.replicating(), vault.sandbox.short_sessions(RENEWED_BEFORE + SOON):
        began = time.monotonic()
        daemon = strongroom.start()
        daemon.wait_for(lambda: daemon.status().get("well"), "every slot is filled", SECONDS)
        daemon.wait_for(lambda: assumed(vault)["observe"] >= 4, "it is renewed thrice", SECONDS)
        lasted = time.monotonic() - began
        assert daemon.terminate() == 0
    assert daemon.at_level("ERROR") == [] and not daemon.lines("cannot be renewed")
    assert_each_by_its_own(vault)
    for function, times in assumed(vault).items():
        assert times <= 1 + lasted / SOON, (function, times, lasted)


@pytest.mark.parametrize("kind", ["error503", "throttle", "access_denied", "hold"])
def test_what_cannot_be_renewed_yet_is_used_until_it_ends(split: Split, kind: str) -> None:
    """STS may be away, or the right be gone: the session is still good for minutes, and a warning tells."""
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials, dump=None, drill=None, snapshot=quick())
    sandbox = vault.sandbox
    with vault.replicating(), sandbox.short_sessions(RENEWED_BEFORE + SOON):
        daemon = strongroom.start()
        daemon.wait_for(lambda: daemon.status().get("well"), "every slot is filled", SECONDS)
        with sandbox.faulty(kind, **AWAY, seconds=60):
            told = daemon.wait_for_line("cannot be renewed yet", SECONDS)
            vault.wait_for_rounds(daemon, 3)
            assert daemon.status()["well"] and daemon.at_level("ERROR") == []
        assert told["level"] == "WARN" and told["function"] in SPLIT and told["error"], told
    assert daemon.terminate() == 0
    assert [call for call in calls(vault) if call["operation"] != "AssumeRole" and call["status"] in (401, 403)] == []


def test_a_moments_refusal_by_sts_fails_nothing(split: Split) -> None:
    """The SDK asks again."""
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials)
    for kind in ("throttle", "error500"):
        vault.sandbox.fault(kind, **AWAY, count=2)
        vault.snapshot(strongroom)


def test_sts_away_is_told_as_what_it_is_and_everything_works_after_it(split: Split) -> None:
    """No request piles up behind another: the daemon ends when it is told to, and looks again when STS is back."""
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials)
    with vault.replicating():
        with vault.sandbox.faulty("error503", **AWAY):
            daemon = strongroom.start()
            daemon.wait_for(lambda: "aws.roles.observe" in daemon.log_file.read_text(), "the log tells", SECONDS)
            assert daemon.http("/livez")[0] == 200 and daemon.http("/readyz")[0] != 200
        daemon.wait_for(lambda: daemon.status().get("well"), "every slot is filled", SECONDS)
        with vault.sandbox.faulty("error503", **AWAY):
            assert daemon.terminate() == 0


@pytest.mark.parametrize(("kind", "most"), [("access_denied", 2), ("error503", 10)])
def test_all_who_wait_for_a_role_hear_of_one_failure(split: Split, kind: str, most: int) -> None:
    """Else each request asks STS again, one after the other: with a thousand sources a look would last for hours."""
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials)
    with vault.sandbox.faulty(kind, **AWAY):
        strongroom("list", code=FINDINGS, seconds=SECONDS * 2)
    # The SDK asks five times by itself.
    assert 1 <= assumed(vault)["observe"] <= most


# Secrets


def command_lines_and_environments() -> Iterator[tuple[str, str]]:
    """What can be read of every process, by its name and number."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            yield f"{(process / 'comm').read_text().strip()} {process.name}", text.decode(errors="replace")
        except OSError:
            continue


def test_no_secret_of_a_session_is_seen_anywhere(split: Split) -> None:
    vault, roles, credentials = split
    trace = credentials | {"STRONGROOM_LOG_LEVEL": "trace"}
    strongroom = configure_split(vault, roles, trace, dump=keep(2))
    said: dict[str, str] = {}
    match = {"role": f"^{vault.name}-dump-write$", "key": "/dumps/"}
    with vault.replicating():
        with vault.sandbox.holding(operation="UploadPart", match=match):
            daemon = strongroom.start()
            daemon.wait_for(lambda: made(vault, "dump-write", "UploadPart"), "it dumps", SECONDS)
            said |= {f"process {name}": text for name, text in command_lines_and_environments()}
        daemon.wait_for(lambda: daemon.status().get("well"), "every slot is filled", SECONDS)
        said |= {path: daemon.http(path)[1] for path in ("/metrics", "/api/status", "/")}
        for words in (
            "config show",
            "status --json",
            "list --json",
            "plan --json",
            "check --online",
            "alerts test team",
        ):
            ended = strongroom(*words.split(), code=None, seconds=SECONDS)
            said[words] = ended.out + ended.err
        # What goes wrong is told with more words.
        roles.trust("prune", "recover")
        vault.sandbox.fault("expired_credentials", operation="HeadObject", match={"role": f"^{vault.name}-verify$"})
        for words in ("prune --confirm", "check --online", f"verify {SOURCE} --level 1"):
            ended = strongroom(*words.split(), code=None, seconds=SECONDS)
            said[f"{words}, refused"] = ended.out + ended.err
        assert daemon.terminate() == 0
    said["log"] = daemon.log_file.read_text()
    said |= {key: vault.get(key).decode() for key in vault.keys() if key.endswith((".json", ".md"))}
    found = vault.sandbox.sessions(f"{vault.name}-")
    secrets = {
        text
        for session in found
        for text in (session["secret_key"], session["token"])
        if session["role"] != f"{vault.name}-{BASE}"
    }
    assert len(secrets) >= 2 * len(SPLIT)
    assert [where for where, text in said.items() if any(secret in text for secret in secrets)] == []
    own = {credentials["AWS_SECRET_ACCESS_KEY"], credentials["AWS_SESSION_TOKEN"]}
    of_others = {where: text for where, text in said.items() if not where.startswith(f"process {BINARY.name[:15]} ")}
    assert [where for where, text in of_others.items() if any(secret in text for secret in own)] == []
