"""The second region: copies of snapshots, replicas of dumps, and what is pruned where, and when not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from case import Config
from postgres_tools import MASTER, psql, row_counts, run, tools_environment
from sandbox_process import KMS_ALIAS, MASTER_PASSWORD, REGION
from strongroom_process import Daemon
from vault import COPIES_AT_ONCE, INSTANCE, REPLICA_BUCKET, ROWS, SOURCE, WEST, Vault, another_instance, keep
from waiting import wait_until

DUMPS = {"source": SOURCE, "kind": "dump"}
SNAPSHOTS = {"source": SOURCE, "kind": "snapshot"}


def copied(vaults: Vault, last: int, key: str = KMS_ALIAS) -> Config:
    """Copies to the second region, of which the newest so many are kept."""
    retention = {"keep_last": last, "min_keep": 1, "min_age": "1s"}
    return {"copy_to": [{"region": WEST, "kms_key": vaults.key_arn(key), "retention": retention}]}


def points(daemon: Daemon, plane: str, labels: dict[str, str]) -> float:
    return daemon.metric("strongroom_recovery_points", plane=plane, **labels)


# copies of snapshots


def test_a_copy_has_marks_of_its_own_its_regions_key_and_the_moment_of_its_data(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(snapshot=keep(1, **copied(vaults, 1)))
    name = vaults.snapshot(strongroom)[0]
    daemon = strongroom.start()
    daemon.wait_for(lambda: vaults.copy_states() == {name: "available"}, "the copy is there")
    (original,), (copy,) = vaults.snapshots(), vaults.copies()
    assert copy["OriginalSnapshotCreateTime"] == original["OriginalSnapshotCreateTime"]
    assert copy["SourceDBSnapshotIdentifier"] == original["DBSnapshotArn"]
    assert copy["Encrypted"] and copy["KmsKeyId"] == vaults.key_arn(KMS_ALIAS) != original["KmsKeyId"]
    tags = {tag["Key"]: tag["Value"] for tag in copy["TagList"]}
    assert tags["strongroom:owner"] == f"{vaults.name}/{name}" and tags["strongroom:source"] == SOURCE
    daemon.wait_for(lambda: points(daemon, "replica", SNAPSHOTS) == 1, "it is counted")
    assert points(daemon, "primary", SNAPSHOTS) == 1
    assert vaults.listed(strongroom, "replica") == {name: "good"}
    assert daemon.at_level("WARN", "ERROR") == []


def test_copies_are_pruned_by_a_retention_of_their_own_and_the_newest_stays(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(snapshot=keep(1, **copied(vaults, 2)))
    daemon = strongroom.start()
    daemon.wait_until_well()
    made = vaults.snapshot_ids()
    for _ in range(3):
        made += vaults.snapshot(strongroom)
        newest = made[-1]
        daemon.wait_for(
            lambda newest=newest: vaults.copy_states().get(newest) == "available", "the newest is copied", 60
        )
    daemon.wait_for(lambda: vaults.snapshot_ids() == made[-1:], "one snapshot is left", 60)
    daemon.wait_for(lambda: list(vaults.copy_states()) == sorted(made[-2:]), "two copies are left", 60)
    vaults.wait_for_rounds(daemon)
    assert list(vaults.copy_states()) == sorted(made[-2:]) and vaults.snapshot_ids() == made[-1:]
    assert len(vaults.calls("CopyDBSnapshot")) == 4
    assert daemon.at_level("ERROR") == []


def test_the_newest_copy_stays_although_all_snapshots_are_gone(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(snapshot=keep(1, **copied(vaults, 1)))
    name = vaults.snapshot(strongroom)[0]
    daemon = strongroom.start()
    daemon.wait_for(lambda: vaults.copy_states() == {name: "available"}, "the copy is there")
    assert daemon.terminate() == 0
    vaults.sandbox.client("rds").delete_db_snapshot(DBSnapshotIdentifier=name)
    strongroom("prune", "--confirm")
    assert vaults.copy_states() == {name: "available"}


def test_a_snapshot_is_not_pruned_while_it_is_copied_and_is_copied_once(vaults: Vault) -> None:
    """T8. RDS keeps a copy at `copying` for hours; deleting its source would end it."""
    strongroom = vaults.configure_vault(snapshot=keep(1, **copied(vaults, 5)))
    vaults.sandbox.rds("stick", resource_kind="snapshot", identifier=None, status="copying")
    first = vaults.snapshot(strongroom)[0]
    daemon = strongroom.start()
    daemon.wait_for(lambda: vaults.copy_states() == {first: "copying"}, "the copy is under way")
    second = vaults.snapshot(strongroom)[0]
    daemon.wait_for(lambda: points(daemon, "primary", SNAPSHOTS) == 2, "the second is seen")
    vaults.wait_for_rounds(daemon, 3)
    assert vaults.snapshot_ids() == [first, second] and "DeleteDBSnapshot" not in vaults.deletes()
    assert len(vaults.calls("CopyDBSnapshot")) == 1
    assert "not proven yet" in vaults.why(strongroom, first)
    strongroom("prune", "--confirm")
    assert vaults.snapshot_ids() == [first, second], "a person's word does not end a copy either"

    vaults.sandbox.rds("unstick")
    daemon.wait_for(lambda: vaults.copy_states() == {first: "available", second: "available"}, "both arrive", 60)
    daemon.wait_for(lambda: vaults.snapshot_ids() == [second], "what has expired goes", 60)
    assert len(vaults.calls("CopyDBSnapshot")) == 2


def test_a_region_that_takes_no_further_copy_is_asked_again_until_it_does(vaults: Vault) -> None:
    """T8."""
    strongroom = vaults.configure_vault(snapshot=keep(1, **copied(vaults, 5)))
    first = vaults.snapshot(strongroom)[0]
    (original,) = vaults.snapshots()
    west = vaults.sandbox.client("rds", WEST)
    vaults.sandbox.rds("stick", resource_kind="snapshot", identifier=None, status="copying")
    human = [f"human-{vaults.name}-{number}" for number in range(COPIES_AT_ONCE)]
    try:
        for name in human:
            west.copy_db_snapshot(
                SourceDBSnapshotIdentifier=original["DBSnapshotArn"],
                TargetDBSnapshotIdentifier=name,
                SourceRegion=REGION,
                KmsKeyId=vaults.key_arn(KMS_ALIAS),
            )
        daemon = strongroom.start()
        line = daemon.wait_for_line("copy snapshot", level="WARN")
        assert "snapshot copies in progress" in line["error"]
        vaults.wait_for_rounds(daemon)
        assert vaults.snapshot_ids() == [first] and vaults.copies() == []
        vaults.sandbox.rds("unstick")
        daemon.wait_for(lambda: vaults.copy_states() == {first: "available"}, "it is copied", 90)
        assert daemon.at_level("ERROR") == []
    finally:
        vaults.sandbox.rds("unstick")
        for name in human:
            west.get_waiter("db_snapshot_available").wait(DBSnapshotIdentifier=name, WaiterConfig={"Delay": 1})
            west.delete_db_snapshot(DBSnapshotIdentifier=name)


def test_a_disabled_key_is_told_and_the_snapshot_counts_in_one_region_only(vaults: Vault) -> None:
    """T9."""
    strongroom = vaults.configure_vault(snapshot=keep(1, **copied(vaults, 1, "alias/other")))
    with vaults.disabled_key("alias/other"):
        first, second = vaults.snapshot(strongroom, 2)
        daemon = strongroom.start()
        line = daemon.wait_for_line("copy snapshot", level="WARN")
        assert "KMSKeyNotAccessible" in line["error"] and line["source.id"] == SOURCE
        daemon.wait_for(lambda: points(daemon, "primary", SNAPSHOTS) >= 1, "the snapshot itself counts")
        assert points(daemon, "replica", SNAPSHOTS) == 0
        vaults.wait_for_rounds(daemon)
        assert second in vaults.snapshot_ids() and vaults.listed(strongroom, "replica") == {}
        assert len(vaults.calls("CopyDBSnapshot")) < 5, "it does not insist"
        assert vaults.finding(daemon, "key_state", source=SOURCE) == 1
        (text,) = vaults.findings(strongroom, "key_state")
        assert vaults.key_arn("alias/other") in text and "is disabled" in text and f"snapshots in {WEST}" in text
    daemon.wait_for(lambda: vaults.copy_states() == {second: "available"}, "it is copied with the key", 90)
    (copy,) = vaults.copies()
    assert copy["KmsKeyId"] == vaults.key_arn("alias/other")
    assert first != second
    daemon.wait_for(lambda: vaults.finding(daemon, "key_state", source=SOURCE) == 0, "the finding goes with its cause")


def test_an_instance_under_the_key_of_aws_is_found_until_its_copies_have_one_of_ours(vaults: Vault) -> None:
    with another_instance(vaults.sandbox, "annex", StorageEncrypted=True):
        (text,) = vaults.findings(vaults.configure("annex", snapshot=keep(1)), "managed_key")
        assert "instance bank-annex is encrypted under a key that AWS manages" in text
        assert vaults.findings(vaults.configure("annex", snapshot=keep(1, **copied(vaults, 1))), "managed_key") == []


def test_a_copy_that_rds_fails_is_made_again_under_another_name(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(snapshot=keep(1, **copied(vaults, 1)))
    vaults.sandbox.rds("fail_next_copy", instance_id=INSTANCE)
    name = vaults.snapshot(strongroom)[0]
    daemon = strongroom.start()
    daemon.wait_for(lambda: vaults.copy_states().get(f"{name}-c2") == "available", "another one is made", 90)
    assert vaults.copy_states()[name] == "failed", "it stays until there is a newer good one"
    newer = vaults.snapshot(strongroom)[0]
    daemon.wait_for(lambda: vaults.copy_states() == {newer: "available"}, "the failed one is cleared", 90)
    daemon.wait_for(lambda: vaults.snapshot_ids() == [newer], "and its source is pruned", 60)


# replicas of dumps that S3 makes


def test_a_replica_counts_when_it_is_proven_and_each_region_is_pruned_by_itself(vaults: Vault) -> None:
    retention = {"keep_last": 2, "min_keep": 1, "min_age": "1s"}
    with vaults.replicating():
        # The newest that was read back there stays, whatever the retention says.
        strongroom = vaults.configure_vault(
            dump=keep(1, replica_retention=retention),
            destination=vaults.replica("replicated"),
            verify={"replica_interval": "1s"},
        )
        daemon = strongroom.start()
        daemon.wait_until_well()
        daemon.wait_for(lambda: points(daemon, "replica", DUMPS) == 1, "the replica is proven", 60)
        assert set(vaults.listed(strongroom, "replica").values()) == {"good"}
        (scheduled,) = vaults.listed(strongroom)
        made = [scheduled, *vaults.dump(strongroom, 2)]
        wanted = dict.fromkeys(made[-2:], "good")
        daemon.wait_for(lambda: vaults.listed(strongroom, "replica") == wanted, "two are left there", 90)
        daemon.wait_for(lambda: vaults.listed(strongroom) == {made[-1]: "good"}, "one is left here", 60)
        assert vaults.versions_of(made[0], REPLICA_BUCKET) == []
        assert vaults.prune_record(made[0], "replica") and vaults.prune_record(made[0], "primary")
        ended = strongroom("verify", "--level", "2")
        assert f"{made[-1]} in {WEST}: good at level L2" in ended.out
        daemon.wait_for(lambda: daemon.metric("strongroom_replication_pending", source=SOURCE) == 0, "none waits")
        assert daemon.at_level("ERROR") == []


def test_a_dump_that_is_not_replicated_yet_is_neither_counted_there_nor_pruned_here(vaults: Vault) -> None:
    """T24."""
    with vaults.replicating():
        strongroom = vaults.configure_vault(dump=keep(1), destination=vaults.replica("replicated"))
        with vaults.slow_replication():
            old, new = vaults.dump(strongroom, 2)
            daemon = strongroom.start()
            daemon.wait_for(lambda: daemon.metric("strongroom_replication_pending", source=SOURCE) == 2, "both wait")
            daemon.wait_for(lambda: daemon.metric("strongroom_replication_lag_seconds", source=SOURCE) > 1, "for long")
            vaults.wait_for_rounds(daemon)
            assert vaults.deletes() == [] and points(daemon, "replica", DUMPS) == 0
            assert vaults.listed(strongroom) == {old: "good", new: "good"}
            assert vaults.listed(strongroom, "replica") == {}
            assert "not proven yet" in vaults.why(strongroom, old)
            assert vaults.finding(daemon, "replication", source=SOURCE) == 0, "an hour is no wonder"
        daemon.wait_for(lambda: vaults.listed(strongroom, "replica") == {new: "good"}, "it arrives", 60)
        daemon.wait_for(lambda: vaults.listed(strongroom) == {new: "good"}, "what has expired goes", 60)


@contextmanager
def no_rule(vaults: Vault) -> Iterator[None]:
    with vaults.replicating(prefix="elsewhere/"):
        yield


@contextmanager
def failing(vaults: Vault) -> Iterator[None]:
    with vaults.replicating("alias/other"), vaults.disabled_key("alias/other"):
        yield


@contextmanager
def another_key(vaults: Vault) -> Iterator[None]:
    with vaults.replicating("alias/other"):
        yield


@pytest.mark.parametrize(
    ("broken", "check", "says"),
    [
        pytest.param(no_rule, "replication", "no replication rule covers it", id="no-rule"),
        pytest.param(failing, "replication", "S3 gave up its replication", id="failed"),
        pytest.param(another_key, "dump_bad", "is encrypted with", id="wrong-key"),
    ],
)
def test_each_way_in_which_replication_breaks_is_a_finding_and_nothing_is_pruned(
    vaults: Vault, broken: Any, check: str, says: str
) -> None:
    """T24."""
    with ExitStack() as stack:
        stack.enter_context(broken(vaults))
        strongroom = vaults.configure_vault(dump=keep(1), destination=vaults.replica("replicated"))
        old, new = vaults.dump(strongroom, 2)
        daemon = strongroom.start()
        daemon.wait_for(lambda: vaults.finding(daemon, check, source=SOURCE) == 2, "each dump is a finding", 60)
        vaults.wait_for_rounds(daemon)
        assert vaults.deletes() == []
        assert vaults.listed(strongroom) == {old: "good", new: "good"}
        assert "good" not in vaults.listed(strongroom, "replica").values()
        assert points(daemon, "replica", DUMPS) == 0
        texts = vaults.findings(strongroom, check)
        assert len(texts) == 2 and all(says in text for text in texts), texts


def test_a_rule_that_would_not_replicate_is_found_before_anything_is_lost(vaults: Vault) -> None:
    """T24. Read from the bucket itself, without any dump."""
    says = {
        no_rule: "no replication rule brings everything below",
        another_key: "its replication encrypts with",
    }
    for broken, text in says.items():
        with broken(vaults):
            strongroom = vaults.configure_vault(dump=keep(1), destination=vaults.replica("replicated"))
            (found,) = vaults.findings(strongroom, "bucket_replication")
            assert text in found
    with vaults.replicating():
        assert vaults.findings(strongroom, "bucket_replication") == []


# replicas of dumps that strongroom makes


def restore_from_replica(vaults: Vault, dump: str, directory: Path) -> dict[str, int]:
    """The rows of each table, restored with stock tools from the second region alone."""
    s3 = vaults.sandbox.client("s3", WEST)
    source, database, slot = dump.split("/")
    listed = s3.list_objects_v2(Bucket=REPLICA_BUCKET, Prefix=f"{vaults.name}/{source}/dumps/{database}/{slot}/")
    (key,) = [item["Key"] for item in listed["Contents"] if item["Key"].endswith("/archive.dump.zst")]
    archive = directory / "archive.dump.zst"
    s3.download_file(REPLICA_BUCKET, key, str(archive))
    subprocess.run(["zstd", "-q", "-d", str(archive)], check=True)
    target = f"again_{vaults.name}"
    psql(vaults.sandbox, INSTANCE, "postgres", f"CREATE DATABASE {target}")
    restore = ["pg_restore", "-h", "localhost", "-U", MASTER, "--exit-on-error", "-d", target]
    run([*restore, str(archive.with_suffix(""))], tools_environment(vaults.sandbox, INSTANCE))
    return row_counts(vaults.sandbox, INSTANCE, target)


def test_strongroom_copies_dumps_itself_and_they_restore_from_there(vaults: Vault, tmp_path: Path) -> None:
    strongroom = vaults.configure_vault(dump=keep(1), destination=vaults.replica("copied"))
    daemon = strongroom.start()
    daemon.wait_until_well()
    daemon.wait_for_line("dump copied")
    daemon.wait_for(lambda: points(daemon, "replica", DUMPS) == 1, "the copy is proven", 60)
    (dump,) = vaults.listed(strongroom)
    assert vaults.listed(strongroom, "replica") == {dump: "good"}
    assert f"{dump} in {WEST}: good at level L2" in strongroom("verify", "--level", "2").out
    assert restore_from_replica(vaults, dump, tmp_path) == {"public.bars": ROWS}
    assert len(daemon.lines("dump copied")) == 1
    assert daemon.at_level("WARN", "ERROR") == []


def test_a_damaged_copy_is_bad_in_its_region_only(vaults: Vault) -> None:
    """T23."""
    strongroom = vaults.configure_vault(dump=keep(1), destination=vaults.replica("copied"))
    daemon = strongroom.start()
    daemon.wait_until_well()
    daemon.wait_for(lambda: points(daemon, "replica", DUMPS) == 1, "the copy is proven", 60)
    (dump,) = vaults.listed(strongroom)
    archive = vaults.archive_of(dump)
    vaults.sandbox.s3("corrupt", bucket=REPLICA_BUCKET, key=archive["key"], offset=archive["size_bytes"] // 2)
    ended = strongroom("verify", "--level", "2", code=3)
    assert f"{dump} in {WEST}: BAD at level L2" in ended.out and f"{dump} in {REGION}: good at level L2" in ended.out
    assert vaults.listed(strongroom) == {dump: "good"}
    assert vaults.listed(strongroom, "replica") == {dump: "bad"}
    daemon.wait_for(lambda: points(daemon, "replica", DUMPS) == 0, "it is not counted")


def test_a_replica_that_is_spoilt_later_is_found_by_the_sample_and_counts_again_once_it_is_mended(
    vaults: Vault,
) -> None:
    """T23. The bit flips after the replica was proven and read; flipping it back is the repair."""
    strongroom = vaults.configure_vault(
        dump=keep(1), destination=vaults.replica("copied"), verify={"replica_interval": "2s"}
    )
    daemon = strongroom.start()
    daemon.wait_until_well()
    daemon.wait_for_line("dump verified at level L2", point__region=WEST)
    (dump,) = vaults.listed(strongroom)
    archive = vaults.archive_of(dump)
    flip = {"bucket": REPLICA_BUCKET, "key": archive["key"], "offset": archive["size_bytes"] // 2}
    vaults.sandbox.s3("corrupt", **flip)
    line = daemon.wait_for_line("dump is bad", point__region=WEST)
    assert archive["key"] in line["faults"]
    assert (vaults.listed(strongroom), vaults.listed(strongroom, "replica")) == ({dump: "good"}, {dump: "bad"})
    newer = vaults.dump(strongroom)[0]
    daemon.wait_for(lambda: vaults.listed(strongroom, "replica").get(newer) == "good", "a newer one is copied", 60)
    daemon.wait_for(lambda: vaults.listed(strongroom) == {newer: "good"}, "its reading lifts the doubt", 60)

    vaults.sandbox.s3("corrupt", **(flip | {"key": vaults.archive_of(newer)["key"]}))
    daemon.wait_for_line("dump is bad", point__id=newer, point__region=WEST)
    third = {"automatic": False}
    strongroom = vaults.configure_vault(dump=keep(1), destination=vaults.replica("copied"), prune=third)
    assert "good at level L1" in strongroom("verify", "--plane", "replica", "--from", newer).out
    assert vaults.listed(strongroom, "replica")[newer] == "bad", "asking is not reading"
    assert f"{newer} in {WEST}: BAD at level L2" in strongroom("verify", "--level", "3", code=3).out
    vaults.sandbox.s3("corrupt", **(flip | {"key": vaults.archive_of(newer)["key"]}))
    ended = strongroom("verify", "--level", "3", "--from", newer)
    assert f"{newer} in {WEST}: good at level L2" in ended.out and REGION not in ended.out
    assert vaults.listed(strongroom, "replica")[newer] == "good"
    assert "leave out `--plane primary`" in strongroom("verify", "--level", "3", "--plane", "primary", code=2).err


def test_a_replica_that_nobody_can_read_is_told_as_such_and_is_no_copy(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(
        dump=keep(1), destination=vaults.replica("copied"), verify={"replica_interval": "2s"}
    )
    daemon = strongroom.start()
    daemon.wait_until_well()
    daemon.wait_for_line("dump verified at level L2", point__region=WEST)
    (dump,) = vaults.listed(strongroom)
    with vaults.disabled_key(KMS_ALIAS):
        line = daemon.wait_for_line("dump cannot be read at level L2", point__region=WEST)
        assert line["level"] == "ERROR" and line["point.id"] == dump
        daemon.wait_for(lambda: vaults.finding(daemon, "dump_unreadable", source=SOURCE) == 1, "it is a finding")
        assert points(daemon, "replica", DUMPS) == 0 and points(daemon, "primary", DUMPS) == 1
        assert vaults.finding(daemon, "dump_bad", source=SOURCE) == 0, "nobody knows that it is bad"
        assert daemon.lines("dump is bad") == []
    ended = strongroom("verify", "--level", "3")
    assert f"{dump} in {WEST}: good at level L2" in ended.out
    daemon.wait_for(lambda: points(daemon, "replica", DUMPS) == 1, "it counts again")


# the first region is gone


def test_a_dump_comes_back_from_the_second_region_when_the_first_is_gone(vaults: Vault, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(MASTER_PASSWORD)
    with vaults.replicating():
        strongroom = vaults.configure_vault(
            dump=keep(1, engine="parallel", jobs=2), destination=vaults.replica("replicated")
        )
        (dump,) = vaults.dump(strongroom)
        made = len(vaults.versions_of(dump))
        wait_until(lambda: len(vaults.versions_of(dump, REPLICA_BUCKET)) == made, "it is replicated")
    port = str(vaults.sandbox.instance(INSTANCE)["Endpoint"]["Port"])
    server = ["--host", "localhost", "--port", port, "--user", MASTER, "--password-file", str(password)]
    into = ["--into", f"{vaults.name}_west", "--create"]
    with gone(vaults):
        ended = strongroom("restore", "dump", SOURCE, *server, *into, code=2)
        assert "--plane replica takes the dump from the second region" in ended.err
        ended = strongroom("restore", "dump", SOURCE, *server, *into, "--plane", "replica", seconds=120)
    assert f"{ROWS} rows compared with the dump by count and hash, all equal" in ended.out
    assert "whether a dump was verified is not known" in ended.err
    psql(vaults.sandbox, INSTANCE, "postgres", f"DROP DATABASE {vaults.name}_west")


@contextmanager
def gone(vaults: Vault) -> Iterator[None]:
    """The first bucket answers nobody."""
    for operation in S3_READS:
        vaults.fault("access_denied", operation, None, {"bucket": f"^{vaults.bucket}$"})
    try:
        yield
    finally:
        vaults.sandbox.clear_faults()


S3_READS = ["ListObjectVersions", "GetObject", "HeadObject", "ListMultipartUploads"]
