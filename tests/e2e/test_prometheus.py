"""Prometheus itself: what it makes of the daemon's metrics, and of the rules in `deploy/prometheus`."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from case import YEARLY, Case, quick
from strongroom_process import Daemon
from waiting import wait_until

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "target/tools/prometheus/usr/bin"
RULES = ROOT / "deploy/prometheus/rules.yaml"
TESTS = ROOT / "deploy/prometheus/tests.yaml"
TESTS_OF_A_MONTH = ROOT / "deploy/prometheus/tests-month.yaml"
DASHBOARD = ROOT / "deploy/grafana/strongroom.json"
SOURCE = "accounts"
GROUP = "drills-that-are-suspended"


def promtool(*words: str, given: str | None = None) -> str:
    done = subprocess.run([PROGRAMS / "promtool", *words], input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def alerts() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_the_rules_are_right_and_each_is_tested() -> None:
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(TESTS), str(TESTS_OF_A_MONTH))
    tested = set(re.findall(r'alertname="(\w+)"', TESTS.read_text() + TESTS_OF_A_MONTH.read_text()))
    assert tested == {alert["alert"] for alert in alerts()}


def test_a_rule_that_is_slower_than_its_test_allows_is_found(tmp_path: Path) -> None:
    """The tests of the rules can fail."""
    (tmp_path / RULES.name).write_text(RULES.read_text().replace("for: 5m", "for: 50m"))
    (tmp_path / TESTS.name).write_text(TESTS.read_text())
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("test", "rules", str(tmp_path / TESTS.name))


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_says_what_it_means_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "description", "action"}


@pytest.fixture
def daemon(case: Case) -> Daemon:
    case.sandbox.subnet_group(GROUP)
    # Written down and not carried out: their series are there, and say so.
    drill = {"schedule": YEARLY, "suspend": True}
    drills = {"subnet_group": GROUP, "security_groups": ["sg-0a1b2c3d"]}
    # Nobody listens there, and nothing is told: the series of the channel is there.
    routes = {"routes": {"team": {"webhook": {"env": "HOOK_URL"}}}}
    own = {"alerts": routes, "environment": {"HOOK_URL": "http://127.0.0.1:9/"}}
    strongroom = case.configure(SOURCE, snapshot=quick(), dump=quick(engine=None), drill=drill, drills=drills, **own)
    daemon = strongroom.start()
    daemon.wait_until_well()
    return daemon


EACH_SECOND = {"scrape_interval": "1s", "evaluation_interval": "1s"}


@contextmanager
def prometheus(folder: Path, target: str, every: dict[str, str] = EACH_SECOND, **more: Any) -> Iterator[str]:
    """The server, which scrapes one target and evaluates our rules; its address."""
    scrape = {"job_name": "strongroom", "static_configs": [{"targets": [target]}]}
    config = folder / "prometheus.yaml"
    wanted = {"global": every, "rule_files": [str(RULES)], "scrape_configs": [scrape], **more}
    config.write_text(yaml.safe_dump(wanted))
    promtool("check", "config", str(config))
    log = folder / "prometheus.log"
    command = [PROGRAMS / "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with log.open("w") as to:
        # It takes a free port and says which.
        process = subprocess.Popen([*command, "--web.listen-address=127.0.0.1:0"], stdout=to, stderr=to)
    try:
        said = re.compile(r"Listening on\"? address=(127\.0\.0\.1:\d+)")
        server: str = wait_until(lambda: said.search(log.read_text()), "prometheus listens")[1]
        wait_until(lambda: is_ready(server), "prometheus is ready")
        yield server
    finally:
        process.terminate()
        process.wait(20)


def is_ready(server: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{server}/-/ready", timeout=10) as reply:
            return bool(reply.status == 200)
    except urllib.error.HTTPError:
        return False


def ask(server: str, query: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"http://{server}/api/v1/query?query={urllib.parse.quote(query)}", timeout=10) as reply:
        result: list[dict[str, Any]] = json.load(reply)["data"]["result"]
    return result


def test_prometheus_scrapes_the_daemon_and_evaluates_the_rules(daemon: Daemon, tmp_path: Path) -> None:
    exposed = daemon.http("/metrics")[1]
    assert promtool("check", "metrics", given=exposed).strip() == ""
    known = {line.split()[2] for line in exposed.splitlines() if line.startswith("# TYPE")}
    named = set(re.findall(r"\bstrongroom_[a-z_]+", RULES.read_text() + DASHBOARD.read_text()))
    named = {re.sub(r"_bucket$", "", name) for name in named}
    assert named <= known, f"rules name what nobody exposes: {named - known}"
    labels = {name for expression in RULES.read_text().splitlines() for name in re.findall(r"labels\.(\w+)", expression)}
    given = set(re.findall(r'[{,](\w+)="', exposed)) | {"instance"}
    assert labels <= given, f"texts name labels that nobody gives: {labels - given}"
    with prometheus(tmp_path, daemon.url.removeprefix("http://")) as server:
        wait_until(lambda: ask(server, "up == 1"), "it has scraped")
        wait_until(lambda: len(ask(server, "strongroom:backup_age_seconds")) == 2, "it has evaluated")
        age = {row["metric"]["kind"]: float(row["value"][1]) for row in ask(server, "strongroom:backup_age_seconds")}
        assert set(age) == {"snapshot", "dump"} and all(0 <= seconds < 600 for seconds in age.values()), age
        # It may have evaluated once before it had scraped.
        calm = lambda: ask(server, 'ALERTS{severity="critical"}') == []  # noqa: E731
        wait_until(calm, "nothing is even pending")
        answered = [query for query in queries() if ask(server, query)]
        assert len(answered) >= len(queries()) - 6, f"only these panels show anything: {answered}"


def queries() -> list[str]:
    """What the panels of the dashboard ask, for all sources."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"].replace("$source", ".*") for panel in panels for target in panel.get("targets", [])]


def test_the_dashboard_has_panels_that_do_not_overlap_and_a_word_on_each() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        assert panel["type"] == "row" or panel["description"], panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken and x < 24, f"{panel['title']} lies over {taken.get((x, y))}"
                taken[x, y] = panel["title"]
    assert len({panel["id"] for panel in panels}) == len(panels)
