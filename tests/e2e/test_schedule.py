"""Slots on the real clock: each is filled once, whatever happened before; and how many runs go on at once."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from case import YEARLY, Case, quick, source
from strongroom_process import Daemon

MINUTELY = "* * * * *"


def slots(case: Case, source: str, kind: str) -> list[str]:
    return [record["run"].split("-")[0] for record in case.runs(source, kind)]


def wait_for_runs(daemon: Daemon, case: Case, kind: str, count: int) -> None:
    """Waits until the first runs have succeeded, each of them; the next one comes due within a minute."""

    def done() -> bool:
        return case.run_states("lending", kind)[:count] == ["succeeded"] * count

    daemon.wait_for(done, f"{count} runs of kind {kind} have succeeded", 80)


def as_slot(moment: datetime) -> str:
    return moment.strftime("%Y%m%dt%H%M00z")


def test_after_downtime_only_the_latest_missed_slot_is_filled_and_then_each_next_one_once(case: Case) -> None:
    """The longest test there is, as it waits for the clock: up to one minute and a little more."""
    strongroom = case.configure("lending", snapshot=quick(YEARLY), dump=quick(YEARLY))
    first = strongroom.start()
    first.wait_until_well()
    assert first.terminate() == 0

    # Since then hundreds of thousands of minutes have passed in which nothing ran.
    strongroom = case.configure("lending", snapshot=quick(MINUTELY), dump=quick(MINUTELY))
    began_at = datetime.now(UTC)
    daemon = strongroom.start()
    for kind in ("snapshot", "dump"):
        wait_for_runs(daemon, case, kind, 2)
        assert slots(case, "lending", kind)[1] in {as_slot(began_at), as_slot(began_at + timedelta(minutes=1))}

    for kind in ("snapshot", "dump"):
        wait_for_runs(daemon, case, kind, 3)
        _, before, after, *_ = case.runs("lending", kind)
        due = datetime.strptime(after["run"].split("-")[0], "%Y%m%dt%H%M%Sz").replace(tzinfo=UTC)
        assert as_slot(due - timedelta(minutes=1)) == before["run"].split("-")[0], "two slots in a row"
        late = datetime.fromisoformat(after["started_at"]) - due
        assert timedelta(0) <= late < timedelta(seconds=10), f"it began {late} after its slot"
    assert len(case.manifests("lending")) == 3
    assert len(case.snapshot_ids()) == 3
    assert daemon.at_level("ERROR") == []


def test_a_slot_past_its_start_deadline_is_reported_missed_and_not_made(case: Case) -> None:
    strongroom = case.configure("lending", dump=quick(start_deadline="1h"))
    daemon = strongroom.start()
    line = daemon.wait_for_line("was missed: it could not start by")
    assert line["level"] == "WARN"
    assert case.keys() == []
    assert daemon.metric("strongroom_overdue", source="lending", kind="dump") == 1
    strongroom("status", code=3)


def test_a_suspended_source_is_left_alone_without_complaint(case: Case) -> None:
    strongroom = case.configure(snapshot=quick(), sources={"accounts": source("accounts", dumps=False, suspend=True)})
    daemon = strongroom.start()
    daemon.wait_ready()
    status = daemon.status()
    (own,) = status["sources"][0]["obligations"]
    assert (own["state"], status["well"]) == ("suspended", True), status
    assert case.snapshots() == []
    assert daemon.metric("strongroom_overdue", source="accounts", kind="snapshot") == 0
    assert daemon.at_level("ERROR", "WARN") == []


def test_runs_do_not_overlap_where_only_one_is_allowed(case: Case) -> None:
    strongroom = case.configure(
        "accounts", "lending", "ledger", snapshot=quick(), dump=quick(), limits={"concurrent_runs": 1}
    )
    daemon = strongroom.start()
    daemon.wait_for(lambda: len(daemon.lines("run succeeded")) == 6, "six runs have succeeded", 60)
    records = [record for name in ("accounts", "lending", "ledger") for record in case.runs(name)]
    assert [record["state"] for record in records] == ["succeeded"] * 6
    spans = sorted((datetime.fromisoformat(r["started_at"]), datetime.fromisoformat(r["finished_at"])) for r in records)
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert end <= start, "a run began before the one before it had ended"


def test_both_databases_of_one_source_are_dumped_one_after_the_other(case: Case) -> None:
    """Two dumps at once would hold back vacuum on one server twice over."""
    sources = {"lending": source("lending", databases=["lending", "history"])}
    daemon = case.configure(dump=quick(), sources=sources).start()
    daemon.wait_until_well()
    assert {manifest["database"]: manifest["rows"] > 0 for manifest in case.manifests("lending")} == {
        "lending": True,
        "history": False,
    }
    first, second = case.runs("lending")
    assert datetime.fromisoformat(first["finished_at"]) <= datetime.fromisoformat(second["started_at"])
