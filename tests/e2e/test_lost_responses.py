"""AWS at its worst: answers that get lost after the effect, and storms of errors. What was done counts once."""

from __future__ import annotations

import pytest
from case import Case, quick
from sandbox_process import LEDGER_ROWS

STORM = ("error500", "error503", "slowdown", "html500")
"""Each once in a row: the SDK's fifth attempt is the one that counts."""


@pytest.mark.parametrize("lost", [1, 5], ids=["one_answer", "every_answer"])
def test_a_snapshot_whose_answer_was_lost_is_adopted(case: Case, lost: int) -> None:
    """T1."""
    case.fault("drop_response_after_effect", "CreateDBSnapshot", count=lost)
    daemon = case.configure("ledger", snapshot=quick()).start()
    daemon.wait_for_line("run succeeded")
    assert len(case.snapshots()) == len(case.snapshot_ids()) == 1
    assert case.run_states("ledger") == ["succeeded"]
    assert daemon.at_level("ERROR") == []


def test_sigkill_while_the_answer_is_on_its_way_makes_no_second_snapshot(case: Case) -> None:
    """T1. The answer never comes, as the process is gone by then: the next one finds its own snapshot by its id."""
    strongroom = case.configure("ledger", snapshot=quick())
    case.fault("slow_body", "CreateDBSnapshot", seconds=20)
    daemon = strongroom.start()
    daemon.wait_for(case.snapshots, "RDS has begun the snapshot")
    daemon.kill()
    restarted = strongroom.start()
    restarted.wait_for_line("run succeeded")
    assert len(case.snapshots()) == 1
    assert case.run_states("ledger") == ["succeeded"]
    assert restarted.at_level("ERROR", "WARN") == []


LOST = {
    "complete": ("CompleteMultipartUpload", {}, 0),
    "manifest": ("PutObject", {"key": "/manifest.json$"}, 0),
    "restore_md": ("PutObject", {"key": "/RESTORE.md$"}, 0),
    "claim": ("PutObject", {"key": "/runs/"}, 0),
    "end_of_the_record": ("PutObject", {"key": "/runs/"}, 1),
    "create_upload": ("CreateMultipartUpload", {}, 0),
    "part": ("UploadPart", {"partNumber": "^2$"}, 0),
}


@pytest.mark.parametrize("what", LOST)
def test_a_dump_is_made_once_although_an_answer_of_s3_was_lost(case: Case, what: str) -> None:
    operation, match, after = LOST[what]
    case.fault("drop_response_after_effect", operation, match=match, after=after)
    daemon = case.configure("ledger", dump=quick()).start()
    daemon.wait_until_well(90)
    daemon.wait_for(lambda: "running" not in case.run_states("ledger"), "the record says the end")
    assert case.run_states("ledger") == ["succeeded"]
    (manifest,) = case.manifests("ledger")
    case.assert_whole(manifest)
    assert manifest["rows"] == LEDGER_ROWS
    assert len(case.dump_objects("ledger")) == 4
    assert daemon.at_level("ERROR", "WARN") == []
    daemon.wait_for(lambda: not case.uploads(), "no upload is left open")


@pytest.mark.parametrize("what", ["complete", "manifest", "claim", "end_of_the_record"])
def test_a_dump_is_good_although_every_answer_to_one_request_was_lost(case: Case, what: str) -> None:
    operation, match, after = LOST[what]
    case.fault("drop_response_after_effect", operation, match=match, after=after, count=5)
    daemon = case.configure("lending", dump=quick()).start()
    daemon.wait_until_well(90)
    daemon.wait_for(lambda: "running" not in case.run_states("lending"), "the record says the end")
    assert case.run_states("lending")[-1] == "succeeded"
    manifests = case.manifests("lending")
    assert len(manifests) == 1
    case.assert_whole(manifests[0])


def test_a_storm_of_errors_on_parts_costs_time_and_nothing_else(case: Case) -> None:
    for kind in STORM:
        case.fault(kind, "UploadPart")
    daemon = case.configure("ledger", dump=quick()).start()
    daemon.wait_until_well(90)
    assert case.run_states("ledger") == ["succeeded"]
    (manifest,) = case.manifests("ledger")
    case.assert_whole(manifest)
    faults = [call["fault"] for call in case.calls("UploadPart") if call["fault"]]
    assert sorted(faults) == sorted(STORM)
    assert daemon.at_level("ERROR", "WARN") == []


@pytest.mark.parametrize("kind", ["cut_request", "cut_response"])
def test_connections_that_break_in_mid_part_are_repeated(case: Case, kind: str) -> None:
    case.fault(kind, "UploadPart", count=2)
    daemon = case.configure("ledger", dump=quick()).start()
    daemon.wait_until_well(90)
    assert case.run_states("ledger") == ["succeeded"]
    case.assert_whole(case.manifests("ledger")[0])


def test_an_outage_of_the_store_is_waited_out_by_the_run_that_it_hits(case: Case) -> None:
    """Longer than the SDK repeats a request: what was read from the database for hours must not be thrown away."""
    case.fault("error503", "UploadPart", count=None)
    daemon = case.configure("lending", dump=quick(), destination={"outage_tolerance": "5m"}).start()
    line = daemon.wait_for_line("the store does not answer well, the request is repeated")
    assert line["level"] == "WARN" and "upload part 1 of" in line["error"] and "ServiceUnavailable" in line["error"]
    assert line["run.id"] == case.runs("lending")[0]["run"]
    case.sandbox.clear_faults()
    daemon.wait_until_well(90)
    assert case.run_states("lending") == ["succeeded"]
    case.assert_whole(case.manifests("lending")[0])
    assert daemon.at_level("ERROR") == []


def test_an_outage_that_lasts_fails_the_run_cleanly_and_the_next_attempt_succeeds(case: Case) -> None:
    case.fault("error503", "UploadPart", count=None)
    daemon = case.configure("lending", dump=quick()).start()
    line = daemon.wait_for_line("run failed", 60)
    assert "upload part 1 of" in line["error"] and "ServiceUnavailable" in line["error"]
    assert case.dump_objects("lending") == []
    case.sandbox.clear_faults()
    daemon.wait_until_well(90)
    assert case.run_states("lending")[-1] == "succeeded"
    daemon.wait_for(lambda: not case.uploads(), "no upload is left open")


def test_an_outage_beyond_the_deadline_fails_the_run_cleanly_and_the_next_attempt_succeeds(case: Case) -> None:
    case.fault("error503", "UploadPart", count=None)
    daemon = case.configure("lending", dump=quick(completion_deadline="3s")).start()
    line = daemon.wait_for_line("run failed")
    assert "had not ended at its deadline" in line["error"]
    assert case.dump_objects("lending") == []
    case.sandbox.clear_faults()
    daemon.wait_until_well(90)
    assert case.run_states("lending")[-1] == "succeeded"
    daemon.wait_for(lambda: not case.uploads(), "no upload is left open")


def test_denied_access_is_told_with_what_was_denied(case: Case) -> None:
    case.fault("access_denied", "CreateMultipartUpload", count=None)
    daemon = case.configure("lending", dump=quick(retry={"attempts_max": 1})).start()
    line = daemon.wait_for_line("run failed")
    assert "begin the upload of" in line["error"] and "AccessDenied" in line["error"]


def test_lists_that_are_refused_delay_and_decide_nothing(case: Case) -> None:
    """T10. What cannot be seen is not taken for missing: no second backup because a list was refused."""
    strongroom = case.configure("lending", snapshot=quick(), dump=quick())
    daemon = strongroom.start()
    daemon.wait_until_well(90)
    keys, snapshots = case.keys(), case.snapshot_ids()
    assert daemon.terminate() == 0
    for operation in ("ListObjectVersions", "DescribeDBSnapshots"):
        case.fault("access_denied", operation, count=None)
    restarted = strongroom.start()
    restarted.wait_for(lambda: restarted.status().get("unseen"), "the gaps show", 60)
    assert case.keys() == keys and case.snapshot_ids() == snapshots
    case.sandbox.clear_faults()
    restarted.wait_until_well(90)
    assert case.keys() == keys and case.snapshot_ids() == snapshots
