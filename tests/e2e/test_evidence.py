"""`strongroom evidence`: what was restored and read back, and whether its records are those that were written."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from case import Case
from strongroom_process import Strongroom

SOURCE = "accounts"
ENDED = "2026-%02d-10T06:40:00Z"


def record(case: Case, month: int, seconds: int, previous: dict[str, str] | None, **state: Any) -> dict[str, Any]:
    """The evidence of a drill of the tenth of a month, as strongroom writes it."""
    started = f"2026-{month:02d}-10T06:00:00Z"
    read = f"2026-{month:02d}-10T06:{seconds // 60:02d}:{seconds % 60:02d}Z"
    return {
        "version": 1,
        "installation": case.name,
        "source": SOURCE,
        "slot": f"2026{month:02d}10t060000z",
        "path": "snapshot",
        "attempt": 1,
        "owner": {"host": "pod-1", "pid_space": "b/1", "pid": 7, "start_ticks": 9},
        "started_at": started,
        "ordered_at": started,
        "lease_until": started,
        "instance": f"{case.name}-drill-{SOURCE}-2026{month:02d}10t060000z-snapshot",
        "restored": {"point": f"snap-{month}", "data_of": f"2026-{month:02d}-08T03:00:00Z", "recoverable_to": f"2026-{month:02d}-08T03:00:00Z", "class": "db.r6g.large"},
        "phases": [{"phase": "accepted", "at": started}, {"phase": "fully_read", "at": read}],
        **({"previous": previous} if previous else {}),
        **({"state": "passed", "finished_at": ENDED % month, "tables": 3, "rows": 12} | state),
    }


def put(case: Case, document: dict[str, Any]) -> dict[str, str]:
    """Stores a record and returns the link to it."""
    key = f"{case.name}/{SOURCE}/drills/{document['slot']}-snapshot.json"
    body = json.dumps(document, indent=2).encode()
    case.sandbox.client("s3").put_object(Bucket=case.bucket, Key=key, Body=body)
    return {"key": key, "sha256": hashlib.sha256(body).hexdigest()}


@pytest.fixture
def strongroom(case: Case) -> Strongroom:
    return case.configure(SOURCE, dump={"schedule": "0 4 1 * *", "keep_all": True})


def evidence(strongroom: Strongroom, *words: str, code: int = 0) -> str:
    return strongroom("evidence", "--since", "2026-01-01T00:00:00Z", *words, code=code).out


def test_a_chain_that_holds_is_told_with_what_was_restored(case: Case, strongroom: Strongroom, tmp_path: Path) -> None:
    first = put(case, record(case, 1, 700, None))
    second = put(case, record(case, 4, 900, first))
    put(case, record(case, 7, 1500, second))
    out = evidence(strongroom)
    assert "2 of its links were checked, and all hold." in out
    assert re.search(r"2026-07-10 06:40 UTC +accounts +snapshot +passed +25 min", out), out
    page = tmp_path / "evidence.html"
    evidence(strongroom, "--html", str(page))
    assert_page(page.read_text(), bars=3)
    document = json.loads(evidence(strongroom, "--json"))
    assert [drill["rto_seconds"] for drill in document["drills"]] == [700, 900, 1500]
    assert document["chain"] == {"links": 2, "broken": [], "unread": []}
    only = strongroom("evidence", "--since", "2026-06-01T00:00:00Z").out
    assert "2026-07-10" in only and "2026-04-10" not in only


def test_a_record_that_was_changed_or_taken_away_is_named(case: Case, strongroom: Strongroom) -> None:
    first = put(case, record(case, 1, 700, None))
    second = put(case, record(case, 4, 900, first))
    put(case, record(case, 7, 1500, second))
    put(case, record(case, 4, 60, first))
    out = evidence(strongroom, code=3)
    assert "20260410t060000z-snapshot.json is not what it was when drill 20260710t060000z-snapshot of accounts" in out
    case.sandbox.client("s3").delete_object(Bucket=case.bucket, Key=first["key"])
    out = evidence(strongroom, code=3)
    assert "20260110t060000z-snapshot.json is missing, and later evidence names it" in out, out


def test_a_bad_backup_and_hostile_names_are_shown_as_text(case: Case, strongroom: Strongroom, tmp_path: Path) -> None:
    bad = {"state": "backup_bad", "finished_at": ENDED % 7, "faults": ["table <script>alert(1)</script> is missing"]}
    put(case, record(case, 7, 1500, None, **bad))
    page = tmp_path / "evidence.html"
    out = evidence(strongroom, "--html", str(page), code=3)
    assert "backup bad" in out and "table <script>" in out
    text = page.read_text()
    assert "<script>" not in text and "&lt;script&gt;alert(1)" in text
    assert_page(text, bars=1)


class Elements(HTMLParser):
    """Which elements a page has, and whether each that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag


def assert_page(text: str, bars: int) -> None:
    """The page is whole, and asks nobody for anything."""
    elements = Elements()
    elements.feed(text)
    assert elements.open == [] and elements.seen.count("rect") == bars, elements.seen
    assert not re.search(r"https?://|<link|<script|url\(", text)
