"""Alerts: each has its cause made, is told once, survives a daemon that is killed, and is resolved once the cause is gone."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import channels
import pytest
from alert_cases import HOOK, LOOKS_SECONDS, assert_told_once, configure, hook
from case import Case, Config, quick
from channels import Receiver, Topic
from sandbox_process import BUCKET, CANARY
from strongroom_process import Strongroom
from waiting import hold_still

SOURCE = "accounts"
INSTANCE = "bank-accounts"


# the causes: each holds for as long as its block


@contextmanager
def stopped_instance(case: Case, strongroom: Strongroom) -> Iterator[None]:
    with case.sandbox.showing(INSTANCE, "stopped"):
        yield


@contextmanager
def blind(case: Case, strongroom: Strongroom) -> Iterator[None]:
    case.fault("access_denied", "DescribeDBSnapshots", count=None)
    yield
    case.sandbox.clear_faults()


@contextmanager
def refused_snapshots(case: Case, strongroom: Strongroom) -> Iterator[None]:
    case.sandbox.rds("fail_next_snapshot", instance_id=INSTANCE)
    yield
    # The next slow attempt is six hours away: a person makes one, as the alert says.
    strongroom("backup", "snapshot", SOURCE)


@contextmanager
def wrong_name(case: Case, strongroom: Strongroom) -> Iterator[None]:
    text = strongroom.config.read_text()
    strongroom.config.write_text(text.replace(f'"{INSTANCE}"', '"bank-nowhere"'))
    yield
    strongroom.config.write_text(text)


@contextmanager
def stopped_lending(case: Case, strongroom: Strongroom) -> Iterator[None]:
    """RDS keeps no backups of this one, and neither has anybody else."""
    with case.sandbox.showing("bank-lending", "stopped"):
        yield


@contextmanager
def too_late(case: Case, strongroom: Strongroom) -> Iterator[None]:
    yield
    strongroom("backup", "snapshot", SOURCE)


@contextmanager
def hidden_dump(case: Case, strongroom: Strongroom) -> Iterator[None]:
    strongroom("backup", "dump", SOURCE)
    [key] = [key for key in case.keys() if key.endswith("/manifest.json")]
    s3 = case.sandbox.client("s3")
    where = {"Bucket": BUCKET, "Key": f"{case.name}/{key}"}
    marker = s3.delete_object(**where)["VersionId"]
    yield
    s3.delete_object(**where, VersionId=marker)


Cause = Callable[[Case, Strongroom], AbstractContextManager[None]]

ONE_ATTEMPT = quick(retry={"initial_backoff": "1s", "backoff_max": "2s", "attempts_max": 1})

CASES = [
    ("late/accounts/snapshot", "warning", stopped_instance, {}),
    ("overdue/accounts/snapshot", "critical", stopped_instance, {}),
    ("unseen/snapshots", "critical", blind, {}),
    ("failed/accounts/snapshot", "warning", refused_snapshots, {"snapshot": ONE_ATTEMPT}),
    ("cannot_back_up/accounts/snapshot", "critical", wrong_name, {}),
    ("not_restorable/lending", "critical", stopped_lending, {"names": ["lending"]}),
    ("missed/accounts/snapshot", "critical", too_late, {"snapshot": quick(start_deadline="1m")}),
    ("dump_hidden/accounts", "warning", hidden_dump, {"dump": quick()}),
]


@pytest.mark.parametrize(
    ("alert", "severity", "cause", "changes"),
    CASES,
    ids=lambda value: value.split("/")[0] if isinstance(value, str) else "",
)
def test_an_alert_is_told_once_survives_a_kill_and_is_resolved(
    case: Case, receiver: Receiver, alert: str, severity: str, cause: Cause, changes: Config
) -> None:
    own = {name: value for name, value in changes.items() if name != "names"}
    strongroom = configure(case, receiver, *changes.get("names", [SOURCE]), **own)
    with ExitStack() as stack:
        stack.enter_context(cause(case, strongroom))
        assert_told_once(case, receiver, strongroom, {alert: severity}, mend=stack.close)


def test_a_configuration_that_cannot_be_used_is_told_before_a_restart_fails_on_it(
    case: Case, receiver: Receiver
) -> None:
    strongroom = configure(case, receiver)
    daemon = strongroom.start()
    daemon.wait_ready()
    good = strongroom.config.read_text()
    strongroom.config.write_text(f'{good}\n[sources.cards]\npolicy = "{CANARY}"\n')
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for(lambda: receiver.told(HOOK, "config_invalid"), "it is told")
    [said] = [body for body in receiver.bodies(HOOK) if "config_invalid" in channels.keys(body)]
    assert "strongroom.toml:" in said["text"], said
    assert "strongroom check" in said["text"] and CANARY not in json.dumps(said), "no value is repeated"
    assert daemon.metric("strongroom_config_last_reload_successful") == 0
    assert CANARY not in daemon.log_file.read_text()
    strongroom.config.write_text(good)
    # Nobody rings now: it is read each half minute.
    daemon.wait_for(lambda: receiver.told(HOOK, "config_invalid") == ["fired", "resolved"], "it is resolved", 60)
    assert daemon.metric("strongroom_config_last_reload_successful") == 1
    assert daemon.terminate() == 0


def test_not_seeing_resolves_nothing(case: Case, receiver: Receiver) -> None:
    strongroom = configure(case, receiver)
    alert = "overdue/accounts/snapshot"
    with case.sandbox.showing(INSTANCE, "stopped"):
        daemon = strongroom.start()
        daemon.wait_for(lambda: receiver.told(HOOK, alert), "it is overdue")
        with blind(case, strongroom):
            daemon.wait_for(lambda: receiver.told(HOOK, "unseen/snapshots"), "it is blind")
            hold_still(lambda: receiver.told(HOOK, alert) == ["fired"], "nothing is resolved", LOOKS_SECONDS)
    daemon.wait_for(lambda: receiver.told(HOOK, alert) == ["fired", "resolved"], "the snapshot is made")


def test_two_daemons_tell_once(case: Case, receiver: Receiver) -> None:
    strongroom = configure(case, receiver)
    with case.sandbox.showing(INSTANCE, "stopped"):
        pair = [strongroom.start(), strongroom.start()]
        for daemon in pair:
            daemon.wait_ready()
        alerts = ("late/accounts/snapshot", "overdue/accounts/snapshot")
        pair[0].wait_for(lambda: all(receiver.told(HOOK, alert) for alert in alerts), "both are told")
        hold_still(lambda: all(receiver.told(HOOK, alert) == ["fired"] for alert in alerts), "once", LOOKS_SECONDS)
    pair[0].wait_for(lambda: all("resolved" in receiver.told(HOOK, alert) for alert in alerts), "both are resolved")
    hold_still(lambda: all(receiver.told(HOOK, alert) == ["fired", "resolved"] for alert in alerts), "once", 3)


def test_a_channel_that_was_down_hears_of_it_later_and_the_command_says_so(case: Case, receiver: Receiver) -> None:
    receiver.status = 503
    strongroom = configure(case, receiver)
    alert = "overdue/accounts/snapshot"
    with case.sandbox.showing(INSTANCE, "stopped"):
        daemon = strongroom.start()
        daemon.wait_for_line("message not delivered, it is tried again", event="fired", route="hook")
        report = strongroom("alerts", "--json", code=3).json()
        waiting = [item for item in report["undelivered"] if item["event"] == "fired"]
        assert {item["route"] for item in waiting} == {"hook"}, waiting
        # The worst comes first; what waits behind it was not even tried.
        assert "503" in waiting[0]["last_error"] and "overdue" in waiting[0]["subject"], waiting
        assert "NOT DELIVERED to hook" in strongroom("alerts", code=3).out
        assert daemon.metric("strongroom_notifications_total", channel="hook", outcome="failure") >= 1
        daemon.kill()
        receiver.status = 200
        again = strongroom.start()
        # The first attempt is repeated after half a minute, and that of a daemon which was killed after three.
        again.wait_for(lambda: receiver.told(HOOK, alert), "it arrives", 240)
        assert strongroom("alerts", "--json", code=3).json()["undelivered"] == []
    again.wait_for(lambda: receiver.told(HOOK, alert) == ["fired", "resolved"], "it is resolved")


def test_the_heartbeat_beats_only_while_every_obligation_holds(case: Case, receiver: Receiver) -> None:
    beat = {"heartbeat": {"url": {"env": "BEAT_URL"}, "interval": "1s"}}
    strongroom = configure(case, receiver, alerts=beat)
    path = f"/beat/{CANARY}"
    beats = lambda: [method for method, seen, _ in receiver.requests if seen == path]  # noqa: E731
    with case.sandbox.showing(INSTANCE, "stopped"):
        daemon = strongroom.start()
        daemon.wait_for(lambda: receiver.told(HOOK, "overdue/accounts/snapshot"), "it is overdue")
        hold_still(lambda: not beats(), "the heart stands still", 3)
    daemon.wait_for(lambda: len(beats()) >= 2, "it beats again", 60)
    assert set(beats()) == {"GET"}
    assert daemon.metric("strongroom_notifications_total", channel="heartbeat", outcome="success") >= 2
    daemon.terminate()
    assert CANARY not in daemon.log_file.read_text()


def test_sns_hears_of_the_beginning_and_of_the_end(case: Case, receiver: Receiver) -> None:
    topic = Topic(case.sandbox, case.name)
    routes = {"routes": {"team": {"sns_topic": topic.arn, "severities": ["critical"]}}}
    strongroom = configure(case, receiver, alerts=routes)
    tried = strongroom("alerts", "test", "team")
    assert tried.out.startswith("team has taken the message: SNS message "), tried.out
    assert topic.subjects() == [f"[TEST] strongroom {case.name}: a test message, nothing is the matter"]
    with case.sandbox.showing(INSTANCE, "stopped"):
        daemon = strongroom.start()
        fired = f"[CRITICAL] strongroom {case.name}: overdue of accounts: snapshot"
        daemon.wait_for(lambda: fired in topic.subjects(), "the topic hears of it")
    ended = f"[RESOLVED] strongroom {case.name}: overdue of accounts: snapshot"
    daemon.wait_for(lambda: ended in topic.subjects(), "the topic hears of the end")
    assert topic.subjects()[1:] == [fired, ended], "and of nothing that is less than critical"
    message = topic.messages()[1]
    assert message["MessageAttributes"]["severity"] == {"Type": "String", "Value": "critical"}
    assert "strongroom diagnose accounts" in message["Message"]


def test_alertmanager_has_it_for_as_long_as_it_holds(case: Case, receiver: Receiver, tmp_path: Path) -> None:
    with channels.alertmanager(tmp_path, f"{receiver.url}/am") as server:
        strongroom = configure(case, receiver, alerts={"routes": {"machines": {"alertmanager": [server]}}})
        assert "has taken the message" in strongroom("alerts", "test", "machines").out
        names = lambda: {alert["labels"]["alertname"] for alert in channels.standing(server)}  # noqa: E731
        assert names() == {"StrongroomTest"}
        with case.sandbox.showing(INSTANCE, "stopped"):
            daemon = strongroom.start()
            daemon.wait_for(lambda: "StrongroomOverdue" in names(), "Alertmanager has it")
            alert = next(alert for alert in channels.standing(server) if alert["labels"]["alertname"] == "StrongroomOverdue")
            labels = {"installation": case.name, "severity": "critical", "source": SOURCE, "detail": "snapshot"}
            assert labels.items() <= alert["labels"].items(), alert
            told = lambda status: [  # noqa: E731
                own
                for body in receiver.bodies("/am")
                for own in body["alerts"]
                if own["labels"]["alertname"] == "StrongroomOverdue" and own["status"] == status
            ]
            daemon.wait_for(lambda: told("firing"), "it notifies")
        daemon.wait_for(lambda: "StrongroomOverdue" not in names(), "it is over")
        daemon.wait_for(lambda: told("resolved"), "it says so")
        assert len(told("firing")) == 1


def test_a_route_that_does_not_work_is_found_by_trying_it(case: Case, receiver: Receiver) -> None:
    strongroom = configure(case, receiver)
    assert strongroom("alerts", "test", "hook").out == "hook has taken the message: status 200 OK\n"
    assert receiver.bodies(HOOK)[0]["event"] == "test"
    receiver.status = 403
    refused = strongroom("alerts", "test", "hook", code=1)
    assert "status 403" in refused.err and receiver.url not in refused.err, refused.err
    unknown = strongroom("alerts", "test", "hock", code=2)
    assert "no route is called `hock`" in unknown.err


def test_a_storm_is_one_message(case: Case, receiver: Receiver) -> None:
    alerts = {"storm_max": 1, "routes": {"hook": hook(receiver, severities=["critical"])}}
    strongroom = configure(case, receiver, SOURCE, "lending", alerts=alerts)
    with case.sandbox.showing(INSTANCE, "stopped"), case.sandbox.showing("bank-lending", "stopped"):
        daemon = strongroom.start()
        daemon.wait_for(lambda: receiver.bodies(HOOK), "it is told")
        [storm] = receiver.bodies(HOOK)
        assert {"overdue/accounts/snapshot", "overdue/lending/snapshot"} <= set(channels.keys(storm)), storm
        assert f"{len(storm['alerts'])} alerts" in storm["subject"]
