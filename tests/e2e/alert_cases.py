"""The life of every alert: told once, not again by a daemon that follows one that was killed, and resolved once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import channels
from case import Case, Config, quick
from channels import Receiver
from sandbox_process import CANARY
from strongroom_process import Daemon, Strongroom
from waiting import hold_still

HOOK = "/hook"
AT_ONCE: Config = {"pending_for": "0s"}
LOOKS_SECONDS = 5
"""Two looks and more: one that would tell again has had its turn."""

Alerts = dict[str, str]
"""How bad each alert is; `overdue/accounts/dump/accounts` is one."""


def hook(receiver: Receiver, **more: Any) -> Config:
    return {"webhook": {"env": "HOOK_URL"}, **more}


def environment(receiver: Receiver) -> dict[str, str]:
    # A token as webhooks have it, which must not be seen anywhere.
    return {"HOOK_URL": f"{receiver.url}{HOOK}", "BEAT_URL": f"{receiver.url}/beat/{CANARY}"}


def configure(case: Case, receiver: Receiver, *sources: str, **changes: Any) -> Strongroom:
    """Accounts or other sources, whose alerts of all severities are told as soon as they hold, each in its own message."""
    told = AT_ONCE | {"storm_max": 100, "routes": {"hook": hook(receiver)}}
    own = {"alerts": told | changes.pop("alerts", {}), "environment": environment(receiver) | changes.pop("environment", {})}
    names = sources if sources or "sources" in changes else ("accounts",)
    return case.configure(*names, **{"snapshot": quick(), **changes}, **own)


def assert_told_once(
    case: Case, receiver: Receiver, strongroom: Strongroom, alerts: Alerts, mend: Callable[[], object]
) -> None:
    """With the causes of all these alerts made; `mend` takes them away while no daemon runs."""

    def each_was(*events: str) -> bool:
        told = {alert: receiver.told(HOOK, alert) for alert in alerts}
        assert told == dict.fromkeys(alerts, list(events)), told
        return True

    daemon = strongroom.start()
    wait_for_each(daemon, alerts, lambda alert: receiver.told(HOOK, alert), "is told")
    wait_for_each(daemon, alerts, lambda alert: firing(daemon, alert, alerts[alert]) == 1, "is a metric")
    for alert, severity in alerts.items():
        said = next(body for body in receiver.bodies(HOOK) if alert in channels.keys(body))
        assert said["severity"] == severity and said["event"] == "fired", said
        for part in ("Since: ", "What it means: ", "What to do: "):
            assert part in said["text"], said["text"]
    # One that is killed before it has written down that a message was taken leaves it to be sent again.
    daemon.wait_for(lambda: ledger(case)["outbox"] == [], "that it was told is written down")
    daemon.kill()
    again = strongroom.start()
    wait_for_each(again, alerts, lambda alert: firing(again, alert, alerts[alert]) == 1, "is known to the next daemon")
    hold_still(lambda: each_was("fired"), "nothing is told again", LOOKS_SECONDS)
    assert again.terminate() == 0
    mend()
    last = strongroom.start()
    wait_for_each(last, alerts, lambda alert: "resolved" in receiver.told(HOOK, alert), "is resolved")
    wait_for_each(last, alerts, lambda alert: firing(last, alert, alerts[alert]) == 0, "is no metric any more")
    hold_still(lambda: each_was("fired", "resolved"), "each was told once", 2)


def wait_for_each(daemon: Daemon, alerts: Alerts, look: Callable[[str], Any], what: str) -> None:
    for alert in alerts:
        daemon.wait_for(lambda alert=alert: look(alert), f"{alert} {what}", 60)


def ledger(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(case.get(f"state/alerts/{case.name}.json"))
    return found


def firing(daemon: Daemon, alert: str, severity: str) -> float:
    """How many alerts of this name fire that are so bad, of whatever source."""
    labels = (f'alert="{alert.split("/")[0]}"', f'severity="{severity}"')
    series = {name: value for name, value in daemon.metrics().items() if name.startswith("strongroom_alerts_firing{")}
    found = [value for name, value in series.items() if all(label in name for label in labels)]
    assert found, f"no series {labels}"
    return sum(found)
