"""What S3 is asked for: checksums and conditions; and what becomes of a dump whose objects go missing."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from botocore.exceptions import ClientError
from case import Case, quick
from sandbox_process import BUCKET


def test_every_part_carries_a_crc64nvme_and_the_upload_asks_for_one_of_the_whole_object(case: Case) -> None:
    strongroom = case.configure("ledger", dump=quick())
    with case.in_mid_dump(strongroom) as daemon:
        (upload,) = case.uploads()
        assert (upload["ChecksumAlgorithm"], upload["ChecksumType"]) == ("CRC64NVME", "FULL_OBJECT")
        (part,) = case.parts()
        assert part["ChecksumCRC64NVME"] and part["Size"] == 8 << 20
    daemon.wait_until_well()
    (manifest,) = case.manifests("ledger")
    archive = next(item for item in manifest["objects"] if item["key"].endswith(".zst"))
    facts = case.sandbox.client("s3").get_object_attributes(
        Bucket=BUCKET, Key=archive["key"], ObjectAttributes=["Checksum", "ObjectParts", "ObjectSize"]
    )
    assert facts["Checksum"] == {"ChecksumCRC64NVME": archive["crc64nvme"], "ChecksumType": "FULL_OBJECT"}
    assert facts["ObjectSize"] == archive["size_bytes"]
    assert facts["ObjectParts"]["TotalPartsCount"] >= 3


@pytest.mark.parametrize("name", ["manifest.json", "RESTORE.md"])
def test_an_object_that_somebody_else_has_written_is_never_overwritten(case: Case, name: str) -> None:
    strongroom = case.configure("lending", dump=quick(retry={"attempts_max": 1}))
    with case.holding("PutObject", {"key": f"/{name}$"}):
        daemon = strongroom.start()
        (call,) = daemon.wait_for(lambda: case.calls("PutObject", name), f"{name} is about to be written")
        case.sandbox.client("s3").put_object(Bucket=BUCKET, Key=call["key"], Body=b"somebody else's")
    line = daemon.wait_for_line("run failed")
    assert call["key"] in line["error"]
    found = case.sandbox.client("s3").get_object(Bucket=BUCKET, Key=call["key"])["Body"].read()
    assert found == b"somebody else's"
    versions = case.sandbox.client("s3").list_object_versions(Bucket=BUCKET, Prefix=call["key"])["Versions"]
    assert len(versions) == 1
    assert case.run_states("lending")[0] == "failed"


def test_a_bucket_of_another_owner_is_not_written_to(case: Case) -> None:
    owner = {"expected_owner": "999999999999"}
    daemon = case.configure("lending", dump=quick(), destination=owner).start()
    line = daemon.wait_for_line("undecided: ")
    assert "AccessDenied" in line["message"] and line["level"] == "WARN"
    assert case.keys() == []


def delete_for_good(key: str, case: Case) -> None:
    s3 = case.sandbox.client("s3")
    for version in s3.list_object_versions(Bucket=BUCKET, Prefix=key)["Versions"]:
        s3.delete_object(Bucket=BUCKET, Key=key, VersionId=version["VersionId"])
    with pytest.raises(ClientError):
        s3.head_object(Bucket=BUCKET, Key=key)


def backdate(case: Case, hours: int) -> None:
    """Makes the run of the only record an old one: what a fresh one made may just not be listed yet."""
    (record,) = case.runs("lending")
    for moment in ("started_at", "finished_at"):
        record[moment] = (datetime.fromisoformat(record[moment]) - timedelta(hours=hours)).isoformat()
    key = f"{case.name}/lending/runs/{record['run']}.json"
    case.sandbox.client("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps(record).encode())


def test_a_dump_that_lost_an_object_is_called_bad_and_its_slot_is_dumped_again(case: Case) -> None:
    strongroom = case.configure("lending", dump=quick())
    daemon = strongroom.start()
    daemon.wait_for_line("run succeeded")
    assert daemon.terminate() == 0
    (manifest,) = case.manifests("lending")
    archive = manifest["objects"][0]["key"]
    delete_for_good(archive, case)
    backdate(case, hours=1)

    (point,) = strongroom("list", "--json").json()
    assert (point["state"], point["reason"]) == ("bad", f"{archive} is missing")
    status = strongroom("status", "--json", code=3).json()
    assert not status["well"]
    assert [way["path"] for way in status["sources"][0]["restorable"]] == [], "a bad dump is no way back"

    restarted = strongroom.start()
    restarted.wait_for_line("run succeeded")
    good, bad = sorted(strongroom("list", "--json").json(), key=lambda point: str(point["state"]), reverse=True)
    assert (good["state"], bad) == ("good", point), "the bad manifest is not overwritten"
    newest = case.manifests("lending")[-1]
    assert newest["run"] == good["run"] != manifest["run"]
    case.assert_whole(newest)
    restarted.wait_until_well()
    (told,) = restarted.at_level("ERROR")
    assert told["message"].startswith("dump is bad") and archive in json.dumps(told), told


def test_a_manifest_that_cannot_be_read_is_bad_and_named(case: Case) -> None:
    strongroom = case.configure("lending", dump=quick())
    strongroom("backup", "dump", "lending")
    (key,) = [key for key in case.keys("lending/dumps/") if key.endswith("/manifest.json")]
    case.sandbox.client("s3").put_object(Bucket=BUCKET, Key=f"{case.name}/{key}", Body=b"{ not json")
    (point,) = strongroom("list", "--json").json()
    assert point["state"] == "bad" and "not a manifest" in point["reason"]
