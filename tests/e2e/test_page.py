"""The status page in a browser: what a person sees, in every form in which it can be seen."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser import DESKTOP, PHONE, opened, started
from case import Case, quick
from playwright.sync_api import Browser
from sandbox_process import REPOSITORY
from waiting import wait_until

FLEET = REPOSITORY / "target/debug/examples/status_page"
SCREENSHOTS = REPOSITORY / "target/screenshots"
SOURCE = "accounts"
TOKEN = "a token that nobody guesses"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as running:
        yield running


@contextmanager
def fleet(*options: str) -> Iterator[str]:
    """The page of a fleet that is made up; its address. Everything but the inventory is the daemon's own."""
    assert FLEET.exists(), "build it first: cargo build --example status_page"
    process = subprocess.Popen([FLEET, "--listen", "127.0.0.1:0", *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)


FLEETS = {
    "well": (["--sources", "1", "--troubled", "0"], "/", "All is well"),
    "fifty": (["--sources", "50", "--troubled", "20"], "/", "3 of 50 sources need a person"),
    "thousand": (["--sources", "1000", "--troubled", "40"], "/", "25 of 1000 sources need a person"),
    "source": (["--sources", "2", "--troubled", "1"], "/sources/accounts-0000", "accounts-0000 is in trouble"),
    "stale": (["--sources", "1", "--troubled", "0", "--minutes-ago", "90"], "/", "Not seen for 1 h 30 min"),
}


@pytest.fixture(scope="module", params=FLEETS)
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, str, str]]:
    """One of the fleets: its name, the address of its page, and what that says first."""
    options, path, headline = FLEETS[request.param]
    with fleet(*options) as url:
        yield request.param, url + path, headline


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["phone", "desktop"])
def test_the_page_can_be_read_by_everybody_everywhere(
    browser: Browser, served: tuple[str, str, str], size: str, scheme: str
) -> None:
    """On a phone and a desk, in light and dark, by eye and by screen reader, whatever the size of the fleet."""
    name, url, headline = served
    with opened(browser, url, PHONE if size == "phone" else DESKTOP, scheme) as view:
        assert view.headline() == headline
        assert view.width_beyond_the_window() <= 0
        view.screenshot(SCREENSHOTS / f"{name}-{size}-{scheme}.png")
        # What a thousand sources add is more rows of the same; they would take the rules a quarter of a minute.
        if name != "thousand":
            view.page.evaluate("document.querySelectorAll('details').forEach((own) => { own.open = true })")
            assert view.violations() == []
            assert view.width_beyond_the_window() <= 0
        assert view.complaints == []


def test_a_daemon_tells_a_browser_what_it_has_done(case: Case, browser: Browser) -> None:
    """From the first look to a backup of each kind, and to the daemon's end, in one open page."""
    secret = case.directory / "page-token"
    secret.write_text(TOKEN + "\n")
    strongroom = case.configure(SOURCE, snapshot=quick(), dump=quick(), http={"token_file": str(secret)})
    with case.holding("DescribeDBInstances"):
        daemon = strongroom.start()
        code, body = daemon.http("/")
        assert code == 401 and SOURCE not in body
        code, body = ask(daemon.url + "/")
        assert code == 503 and "Nothing has been seen yet" in body
    daemon.wait_for(lambda: ask(daemon.url + "/")[0] == 200, "the first look has ended")
    shown = {"http_credentials": {"username": "me", "password": TOKEN}}
    daemon.wait_for(lambda: json.loads(ask(daemon.url + "/api/status")[1])["well"], "both backups are there")
    daemon.wait_for(case.at_rest, "their records say so")
    with opened(browser, daemon.url, **shown) as view:
        assert view.headline() == "All is well"
        assert "By point-in-time recovery to" in view.text(f"#source-{SOURCE} >> xpath=ancestor::article")
        assert view.page.locator(".slots .mark.kept").count() == 2
        assert view.violations() == [] and view.complaints == []
        # Another backup comes while the page is open, and it is told without a reload.
        view.page.evaluate("window.here = true")
        snapshots = view.page.locator(".numbers div", has_text="Good snapshots")
        assert snapshots.inner_text().split() == ["Good", "snapshots", "1"]
        strongroom("backup", "snapshot", SOURCE)
        refresh = "document.dispatchEvent(new Event('visibilitychange'))"

        def told() -> bool:
            view.page.evaluate(refresh)
            return snapshots.inner_text().split()[-1] == "2"

        wait_until(told, "the page tells of the new snapshot", 20)
        assert view.page.evaluate("window.here") is True
        # The daemon ends: what stands there must not look well.
        assert daemon.terminate() == 0
        view.page.evaluate(refresh)
        view.page.locator("#lost").wait_for(state="visible")
        assert "does not answer since" in view.text("#lost")
        assert view.page.evaluate("document.body.classList.contains('lost')") is True
    document = strongroom("status", "--json").json()
    assert [slot["state"] for owed in document["sources"][0]["obligations"] for slot in owed["slots"]] == ["kept", "kept"]
    assert TOKEN not in daemon.log_file.read_text()


def ask(url: str) -> tuple[int, str]:
    """As a browser does whose user has given the token."""
    login = base64.b64encode(f"me:{TOKEN}".encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {login}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_without_its_script_the_page_is_the_same_and_renews_itself(browser: Browser) -> None:
    with fleet("--sources", "1", "--troubled", "0") as url:
        with opened(browser, url, java_script_enabled=False) as view:
            assert view.page.locator("meta[http-equiv=refresh]").get_attribute("content") == "60"
            plain = view.text("main")
        with opened(browser, url) as view:
            assert view.text("main") == plain


def test_a_token_that_is_too_short_keeps_the_daemon_from_starting(case: Case, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("guess me\n")
    strongroom = case.configure(SOURCE, snapshot=quick(), http={"token_file": str(secret)})
    refused = strongroom("run", code=1)
    assert "shorter than 16 characters" in refused.err and "guess me" not in refused.err
