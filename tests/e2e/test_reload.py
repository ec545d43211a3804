"""A changed configuration comes in force while the daemon runs: whole or not at all, and what is under way goes on."""

from __future__ import annotations

import signal

from case import Case, quick
from strongroom_process import Daemon, Strongroom
from waiting import hold_still, wait_until

SOURCE, OTHER = "accounts", "lending"
IN_FORCE = "the configuration was changed, and the change is in force"


def change(strongroom: Strongroom, daemon: Daemon, text: str) -> None:
    strongroom.config.write_text(text)
    daemon.process.send_signal(signal.SIGHUP)


def text_of(case: Case, *sources: str, **parts: object) -> str:
    """The configuration's text for other sources and policies."""
    return case.configure(*sources, **parts).config.read_text()  # type: ignore[arg-type]


def test_a_source_that_is_added_is_backed_up_without_a_restart(case: Case) -> None:
    both = text_of(case, SOURCE, OTHER, snapshot=quick())
    strongroom = case.configure(SOURCE, snapshot=quick())
    daemon = strongroom.start()
    daemon.wait_until_well()
    assert set(daemon.status()["sources"][0]) and len(daemon.status()["sources"]) == 1
    change(strongroom, daemon, both)
    line = daemon.wait_for_line(IN_FORCE)
    assert "sources.lending" in line["keys"], line
    daemon.wait_for(lambda: len(daemon.status()["sources"]) == 2, "it is seen")
    daemon.wait_until_well()
    labels = {"source": OTHER, "database": "", "kind": "snapshot"}
    assert daemon.metric("strongroom_last_success_timestamp_seconds", **labels) > 0
    assert daemon.metric("strongroom_config_last_reload_successful") == 1
    # And one that is taken away is no more spoken of.
    change(strongroom, daemon, text_of(case, SOURCE, snapshot=quick()))
    daemon.wait_for(lambda: len(daemon.status()["sources"]) == 1, "it is gone")
    assert not [name for name in daemon.metrics() if f'source="{OTHER}"' in name]


def test_files_are_read_without_a_signal_too(case: Case) -> None:
    both = text_of(case, SOURCE, OTHER, snapshot=quick())
    strongroom = case.configure(SOURCE, snapshot=quick())
    daemon = strongroom.start()
    daemon.wait_until_well()
    # As editors and ConfigMaps do it: another file in its place.
    beside = strongroom.config.with_suffix(".new")
    beside.write_text(both)
    beside.rename(strongroom.config)
    daemon.wait_for_line(IN_FORCE, seconds=60)


def test_what_needs_a_restart_is_named_and_nothing_of_the_change_is_in_force(case: Case) -> None:
    strongroom = case.configure(SOURCE, snapshot=quick())
    daemon = strongroom.start()
    daemon.wait_until_well()
    text = text_of(case, SOURCE, OTHER, snapshot=quick(), daemon={"grace": "7s"})
    change(strongroom, daemon, text)
    line = daemon.wait_for_line("these keys need a restart")
    assert line["keys"] == "daemon.grace", line
    hold_still(lambda: len(daemon.status()["sources"]) == 1, "nothing is half in force", 3)
    assert daemon.terminate() == 0
    again = strongroom.start()
    again.wait_for(lambda: len(again.status().get("sources", [])) == 2, "after a restart all of it is")


def test_a_dump_that_is_under_way_is_not_disturbed(case: Case) -> None:
    strongroom = case.configure(SOURCE, dump=quick())
    daemon = strongroom.start()
    with case.holding("UploadPart"):
        wait_until(lambda: case.calls("UploadPart"), "a part is on its way")
        text = strongroom.config.read_text()
        assert "keep_all = true" in text
        change(strongroom, daemon, text.replace("keep_all = true", "keep_last = 30"))
        daemon.wait_for_line(IN_FORCE)
    daemon.wait_until_well()
    ended = [line for line in daemon.log if "run.id" in line and "failed" in line["message"]]
    assert not ended, ended
    manifests = [key for key in case.keys() if key.endswith("/manifest.json")]
    assert len(manifests) == 1, "the run that was under way has ended, and made the only dump"
