"""The main job: two sources, a snapshot and a dump of each, seen with boto3 and nothing of strongroom's own."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime

import pytest
from case import Case
from job import SOURCES, Job
from postgres_tools import row_counts
from sandbox_process import BUCKET, KMS_ALIAS

SLOT = r"\d{8}t\d{6}z"
ENGINES = {"accounts": "parallel", "lending": "pg_dump"}
"""The default one, and the other."""


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_gets_one_snapshot_and_one_dump_and_their_runs_are_recorded(job: Job, source: str) -> None:
    assert [item for item in job.case.snapshot_ids() if f"-{source}-" in item] == [
        job.case.snapshot_ids()[SOURCES.index(source)]
    ]
    assert len(job.case.manifests(source)) == 1
    runs = job.case.runs(source)
    assert {record["run"].split("-")[1]: record["state"] for record in runs} == {
        "snapshot": "succeeded",
        "dump": "succeeded",
    }
    for record in runs:
        assert record["version"] == 1 and record["source"] == source
        assert instant(record["started_at"]) <= instant(record["finished_at"])
        assert record["size_bytes"] > 0
        assert record["owner"]["pid"] == job.daemon.pid


@pytest.mark.parametrize("source", SOURCES)
def test_objects_are_laid_out_as_the_contract_says(job: Job, source: str) -> None:
    run = rf"{SLOT}-dump-{source}-1"
    names = [item["key"].rsplit("/", 1)[1] for item in job.case.manifests(source)[0]["objects"]]
    expected = [
        *(rf"{source}/dumps/{source}/{SLOT}/{run}/{re.escape(name)}" for name in sorted(names)),
        rf"{source}/dumps/{source}/{SLOT}/manifest\.json",
        rf"{source}/evidence/0000000001\.json",
        rf"{source}/evidence/0000000002\.json",
        rf"{source}/runs/{run}\.json",
        rf"{source}/runs/{SLOT}-snapshot-1\.json",
        rf"{source}/verifications/{source}/{SLOT}/primary-l1\.json",
        rf"{source}/verifications/{source}/{SLOT}/primary-l2\.json",
    ]
    found = job.case.keys(f"{source}/")
    assert len(found) == len(expected), found
    for key, pattern in zip(found, expected, strict=True):
        assert re.fullmatch(pattern, key), f"{key} is not {pattern}"
    slots = {re.search(SLOT, key).group() for key in found if re.search(SLOT, key) and "-snapshot-" not in key}  # type: ignore[union-attr]
    assert len(slots) == 1, "all objects of a dump bear the slot that it fills"
    assert slots.pop().endswith(("t040000z", "t030000z")), "the first of the month at four in London"


@pytest.mark.parametrize("source", SOURCES)
def test_the_manifest_says_what_was_dumped_from_where_and_with_what(job: Job, source: str) -> None:
    (manifest,) = job.case.manifests(source)
    instance = job.case.sandbox.instance(f"bank-{source}")
    assert manifest["version"] == 1
    assert manifest["installation"] == job.case.name
    assert (manifest["source"], manifest["database"], manifest["instance"]) == (source, source, f"bank-{source}")
    assert manifest["resource"] == instance["DbiResourceId"]
    assert manifest["engine"] == ENGINES[source]
    assert manifest["versions"]["server"].startswith(instance["EngineVersion"].split(".")[0])
    assert manifest["versions"]["pg_dump"].startswith("pg_dump (PostgreSQL)")
    assert instant(manifest["started_at"]) <= instant(manifest["snapshot_at"]) <= instant(manifest["finished_at"])
    assert re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", manifest["snapshot_lsn"])
    assert manifest["compression"] == {"algorithm": "zstd", "level": 3}
    assert manifest["stored_bytes"] == sum(item["size_bytes"] for item in manifest["objects"])
    assert manifest["uncompressed_bytes"] > manifest["stored_bytes"]
    assert manifest["rows"] == sum(table["rows"] for table in manifest["tables"])
    assert {"name": "plpgsql", "version": "1.0"} in manifest["extensions"]
    assert {"bank_app", "bank_reporting", "strongroom_backup"} <= set(manifest["roles"])
    assert re.fullmatch("[0-9a-f]{64}", manifest["config_sha256"])


@pytest.mark.parametrize("source", SOURCES)
def test_the_manifest_counts_the_rows_of_every_table_as_the_source_does(job: Job, source: str) -> None:
    (manifest,) = job.case.manifests(source)
    counted = row_counts(job.case.sandbox, f"bank-{source}", source)
    in_manifest = {(table["schema"], table["name"]): table["rows"] for table in manifest["tables"]}
    unquoted = {tuple(part.strip('"') for part in name.split(".", 1)): rows for name, rows in counted.items()}
    assert in_manifest == unquoted
    assert manifest["rows"] > 10_000, "a test with next to no data proves nothing"
    assert manifest["large_objects"]["count"] == 2


@pytest.mark.parametrize("source", SOURCES)
def test_every_object_has_the_bytes_and_checksums_that_the_manifest_names(job: Job, source: str) -> None:
    s3 = job.case.sandbox.client("s3")
    (manifest,) = job.case.manifests(source)
    names = [item["key"].rsplit("/", 1)[1] for item in manifest["objects"]]
    if ENGINES[source] == "pg_dump":
        assert sorted(names) == ["RESTORE.md", "archive.dump.zst", "globals.sql"]
    else:
        tables = {f"{table['dump_id']}.dat.zst" for table in manifest["tables"]}
        large = {name for name in names if re.fullmatch(r"blobs?_\w+\.(toc|dat\.zst)|blobs\.toc", name)}
        assert set(names) == tables | large | {"RESTORE.md", "globals.sql", "toc.dat"} and large
    for item in manifest["objects"]:
        where = {"Bucket": BUCKET, "Key": item["key"], "VersionId": item["version_id"]}
        found = s3.get_object(ChecksumMode="ENABLED", **where)
        body = found["Body"].read()
        assert len(body) == item["size_bytes"]
        assert hashlib.sha256(body).hexdigest() == item["sha256"]
        assert found["ChecksumCRC64NVME"] == item["crc64nvme"] == crc64nvme(body)
        assert found["ChecksumType"] == "FULL_OBJECT"


def crc64nvme(data: bytes) -> str:
    """AWS's own implementation, not ours."""
    from awscrt import checksums

    return base64.b64encode(checksums.crc64nvme(data).to_bytes(8, "big")).decode()


def test_every_object_is_encrypted_with_the_configured_key(job: Job) -> None:
    s3 = job.case.sandbox.client("s3")
    arn = job.case.sandbox.client("kms").describe_key(KeyId=KMS_ALIAS)["KeyMetadata"]["Arn"]
    keys = job.case.keys()
    assert len(keys) > 16
    for key in keys:
        found = s3.head_object(Bucket=BUCKET, Key=f"{job.case.name}/{key}")
        assert found["ServerSideEncryption"] == "aws:kms", key
        assert found["SSEKMSKeyId"] in (arn, KMS_ALIAS), key
    for source in SOURCES:
        (manifest,) = job.case.manifests(source)
        assert all(item["kms_key"] for item in manifest["objects"])


@pytest.mark.parametrize("source", SOURCES)
def test_a_snapshot_is_named_after_its_slot_and_its_owner_tag_names_the_snapshot_itself(job: Job, source: str) -> None:
    (snapshot,) = [item for item in job.case.snapshots() if f"-{source}-" in item["DBSnapshotIdentifier"]]
    name = snapshot["DBSnapshotIdentifier"]
    match = re.fullmatch(rf"{job.case.name}-{source}-({SLOT})", name)
    assert match, name
    tags = {tag["Key"]: tag["Value"] for tag in snapshot["TagList"]}
    assert tags == {
        "strongroom:owner": f"{job.case.name}/{name}",
        "strongroom:source": source,
        "strongroom:slot": match.group(1),
        "strongroom:kind": "snapshot",
        "strongroom:resource": job.case.sandbox.instance(f"bank-{source}")["DbiResourceId"],
    }


def test_the_log_has_one_line_per_transition_and_none_that_calls_for_a_person(job: Job) -> None:
    assert job.daemon.at_level("ERROR", "WARN") == []
    assert len(job.daemon.lines("run succeeded")) == 4
    for line in job.daemon.lines("run succeeded"):
        assert {"timestamp", "source.id", "run.id", "size_bytes", "duration_ms"} <= set(line)
    assert len(job.daemon.lines("strongroom has stopped")) == 1


def test_nothing_is_left_open_when_the_job_is_done(case: Case, job: Job) -> None:
    assert job.case.uploads() == []
    assert list((job.case.directory / "tmp").iterdir()) == [], "no password file and no scratch stays"
    assert job.strongroom.plan()["remains"] == []
