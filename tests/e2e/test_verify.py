"""Verification: a dump that is not what its manifest says is found, named, and relied on by nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from strongroom_process import Daemon
from vault import ROWS, SOURCE, Vault, keep
from waiting import wait_until

BAD = "dump is bad: its verification at level"


def flip_a_bit(vaults: Vault, key: str, size: int) -> None:
    vaults.sandbox.s3("corrupt", bucket=vaults.bucket, key=key, offset=size // 2)


def truncate(vaults: Vault, key: str, size: int) -> None:
    vaults.sandbox.s3("truncate", bucket=vaults.bucket, key=key, size=size // 2)


def remove(vaults: Vault, key: str, size: int) -> None:
    s3 = vaults.sandbox.client("s3")
    version = s3.head_object(Bucket=vaults.bucket, Key=key)["VersionId"]
    s3.delete_object(Bucket=vaults.bucket, Key=key, VersionId=version)


def swap(vaults: Vault, key: str, size: int) -> None:
    """Another object of the same size under the same key, in the place of the one that the manifest names."""
    s3 = vaults.sandbox.client("s3")
    remove(vaults, key, size)
    s3.put_object(Bucket=vaults.bucket, Key=key, Body=bytes(size))


DAMAGES = [
    pytest.param(flip_a_bit, "SHA-256 is", id="bit-flip"),
    pytest.param(truncate, "bytes instead of", id="truncated"),
    pytest.param(remove, "is missing", id="missing"),
    pytest.param(swap, "", id="swapped"),
]
Damage = Callable[[Vault, str, int], None]


def damage_archive(vaults: Vault, damage: Damage, dump: str) -> str:
    archive = vaults.archive_of(dump)
    damage(vaults, archive["key"], archive["size_bytes"])
    key: str = archive["key"]
    return key


def newest(vaults: Vault, dump: str) -> float:
    return datetime.fromisoformat(vaults.manifest_of(dump)["snapshot_at"]).timestamp()


def test_a_good_dump_is_read_back_with_every_row(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(dump=keep(1))
    dump = vaults.dump(strongroom)[0]
    assert "good at level L1" in strongroom("verify").out
    ended = strongroom("verify", SOURCE, "--level", "2", "--from", dump)
    assert f"{dump} in us-east-1: good at level L2" in ended.out and f"{ROWS} rows" in ended.out
    (point,) = strongroom("list", "--json").json()
    assert point["verified_at"]
    assert "no such dump" in strongroom("verify", "--from", "vault/vault/20010101t000000z", code=2).err


def test_each_verification_is_evidence_that_nobody_changes_unseen(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(dump=keep(1))
    dump = vaults.dump(strongroom)[0]
    for level in ("1", "2", "2"):
        strongroom("verify", SOURCE, "--level", level, "--from", dump)
    keys = vaults.keys(f"{SOURCE}/evidence/")
    assert len(keys) >= 3 and keys[-1].endswith(f"/evidence/{len(keys):010}.json"), keys
    told = strongroom("evidence").out
    assert len(re.findall(rf"{dump} +primary +l2 +good", told)) >= 2, "each of them, and not only the newest"
    assert f"{len(keys) - 1} of its links were checked, and all hold." in told
    s3, key = vaults.sandbox.client("s3"), f"{vaults.name}/{keys[1]}"
    text = s3.get_object(Bucket=vaults.bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=vaults.bucket, Key=key, Body=text.replace(b'"good"', b'"good" '))
    told = strongroom("evidence", code=3).out
    assert f"{key} is not what it was when {vaults.name}/{keys[2]} was written" in told
    s3.delete_object(Bucket=vaults.bucket, Key=key)
    assert f"BROKEN: {key} is missing" in strongroom("evidence", code=3).out
    s3.delete_object(Bucket=vaults.bucket, Key=f"{vaults.name}/{keys[-1]}")
    strongroom("verify", SOURCE, "--level", "1", "--from", dump)
    newest = vaults.keys(f"{SOURCE}/evidence/")[-1]
    assert newest.endswith(f"/{len(keys) + 1:010}.json"), "the last is hidden, and its number is not given again"


def test_the_daemon_reads_the_newest_dump_back_once_and_says_when(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(dump=keep(1))
    dump = vaults.dump(strongroom)[0]
    daemon = strongroom.start()
    for level in (1, 2):
        line = daemon.wait_for_line(f"dump verified at level L{level}")
        assert line["point.id"] == dump
    labels = {"source": SOURCE, "kind": "dump"}
    daemon.wait_for(
        lambda: all(daemon.metric("strongroom_verified_timestamp_seconds", level=f"l{n}", **labels) for n in (1, 2)),
        "the metrics say when",
    )
    vaults.wait_for_rounds(daemon)
    assert len(daemon.lines("dump verified at level")) == 2
    assert daemon.at_level("WARN", "ERROR") == []


@pytest.mark.parametrize(("damage", "how"), DAMAGES)
def test_a_damaged_dump_is_found_and_holds_all_pruning_until_a_newer_one_is_verified(
    vaults: Vault, damage: Damage, how: str
) -> None:
    """T23."""
    strongroom = vaults.configure_vault(dump=keep(1))
    old, good, bad = vaults.dump(strongroom, 3)
    key = damage_archive(vaults, damage, bad)
    ended = strongroom("verify", "--level", "2", code=3)
    assert f"{bad} in us-east-1: BAD at level L2" in ended.out
    assert any(key in line and how in line for line in ended.out.splitlines()), ended.out
    for dump in (old, good):
        assert f"{dump} in us-east-1: good at level L2" in ended.out
    assert vaults.listed(strongroom) == {old: "good", good: "good", bad: "bad"}

    daemon = strongroom.start()
    daemon.wait_for(lambda: vaults.finding(daemon, "dump_bad", source=SOURCE) == 1, "it is a finding")
    vaults.wait_for_rounds(daemon)
    assert vaults.deletes() == []
    assert f"dump {bad} was found bad" in vaults.why(strongroom, old)
    labels = {"source": SOURCE, "kind": "dump"}
    assert daemon.metric("strongroom_recovery_points", plane="primary", **labels) == 2
    assert abs(daemon.metric("strongroom_last_success_timestamp_seconds", **labels) - newest(vaults, good)) < 1
    (text,) = vaults.findings(strongroom, "dump_bad")
    assert bad in text and "do not rely on it" in text

    fresh = vaults.dump(strongroom)[0]
    daemon.wait_for(lambda: vaults.listed(strongroom) == {fresh: "good"}, "all that has expired goes", 60)
    assert [item for dump in (old, good, bad) for item in vaults.versions_of(dump)] == []
    daemon.wait_for(lambda: vaults.finding(daemon, "dump_bad", source=SOURCE) == 0, "the finding stands no more")


def test_a_bit_that_flips_is_an_error_in_the_log_and_the_daemon_dumps_again(vaults: Vault) -> None:
    """T23. No person and no command is needed for it."""
    strongroom = vaults.configure_vault(dump=keep(2))
    bad = vaults.dump(strongroom)[0]
    key = damage_archive(vaults, flip_a_bit, bad)
    daemon = strongroom.start()
    line = daemon.wait_for_line(BAD)
    assert line["level"] == "ERROR" and line["point.id"] == bad and key in line["faults"]
    daemon.wait_for(lambda: list(vaults.listed(strongroom).values()).count("good") == 1, "another one is made", 60)
    vaults.wait_for_rounds(daemon)
    assert vaults.listed(strongroom)[bad] == "bad"
    assert len(daemon.lines(BAD)) == 1, "it is said once"


def test_what_is_kept_is_read_back_again_and_a_bit_that_flips_meanwhile_is_found(vaults: Vault) -> None:
    """T23. All were good when they were made; nobody runs `verify`, and the daemon is restarted in between."""
    turns = {"cycle": "4s"}
    strongroom = vaults.configure_vault(dump=keep(2), prune={"automatic": False}, verify=turns)
    old, new = vaults.dump(strongroom, 2)
    daemon = strongroom.start()
    wait = daemon.wait_for
    wait(lambda: read_back(daemon, old) >= 2 and read_back(daemon, new) >= 2, "each has its turn again", 60)
    assert daemon.at_level("WARN", "ERROR") == []
    assert daemon.terminate() == 0

    key = damage_archive(vaults, flip_a_bit, old)
    daemon = vaults.configure_vault(dump=keep(1), prune={"automatic": False}, verify=turns).start()
    line = daemon.wait_for_line(BAD, seconds=60)
    assert line["level"] == "ERROR" and line["point.id"] == old and key in line["faults"]
    assert vaults.listed(strongroom) == {old: "bad", new: "good"}
    read_before = read_back(daemon, new)
    daemon.wait_for(lambda: read_back(daemon, new) > read_before, "the newer one is read again")
    assert daemon.terminate() == 0
    daemon = vaults.configure_vault(dump=keep(1)).start()
    daemon.wait_for(lambda: vaults.versions_of(old) == [], "it was read since, so the bad one goes", 60)
    assert vaults.listed(strongroom) == {new: "good"}


def read_back(daemon: Daemon, dump: str) -> int:
    return len(daemon.lines("dump verified at level L2", point__id=dump))


def test_the_status_says_what_was_read_back_and_what_is_late(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(dump=keep(2), verify={"deadline": "1s", "cycle": "1s"})
    first, second = vaults.dump(strongroom, 2)

    def status() -> Any:
        return strongroom("status", "--json", code=None).json()["sources"][0]["read_back"]

    wait_until(lambda: status()[0]["overdue"] == 2, "both are late")
    assert (status()[0]["dumps"], status()[0]["read_back"]) == (2, 0)
    (text,) = vaults.findings(strongroom, "verification_overdue")
    assert "2 dump(s) of vault in us-east-1 should have been read back by now" in text
    assert "read back: 0 of 2; 2 OVERDUE" in strongroom("status", code=3).out
    strongroom = vaults.configure_vault(dump=keep(2))
    strongroom("verify", "--level", "2")
    assert vaults.findings(strongroom, "verification_overdue") == []
    assert (status()[0]["overdue"], status()[0]["read_back"]) == (0, 2)
    assert "read back: 2 of 2, the oldest reading" in strongroom("status", code=None).out
    assert "dumps are read back within 1 d, all that are kept once more every 90 d" in strongroom("check").out
    assert first != second


def test_a_manifest_whose_claims_are_altered_is_found_at_once(vaults: Vault) -> None:
    """T23. The dump was read back whole before; what its manifest says now was never proven."""
    strongroom = vaults.configure_vault(dump=keep(1, engine="parallel", jobs=2), prune={"automatic": False})
    dump = vaults.dump(strongroom)[0]
    strongroom("verify", "--level", "2")
    manifest = vaults.manifest_of(dump)
    manifest["tables"][0]["rows"] += 1
    source, database, slot = dump.split("/")
    key = f"{vaults.name}/{source}/dumps/{database}/{slot}/manifest.json"
    vaults.sandbox.client("s3").put_object(Bucket=vaults.bucket, Key=key, Body=json.dumps(manifest).encode())
    daemon = strongroom.start()
    line = daemon.wait_for_line(BAD)
    assert line["point.id"] == dump
    assert f"table public.bars has {ROWS} rows and" in line["faults"] and f"instead of {ROWS + 1}" in line["faults"]


@pytest.mark.parametrize(("damage", "how"), DAMAGES)
def test_a_damaged_object_of_a_table_is_named_with_its_table(vaults: Vault, damage: Damage, how: str) -> None:
    """T23."""
    strongroom = vaults.configure_vault(dump=keep(1, engine="parallel", jobs=2))
    dump = vaults.dump(strongroom)[0]
    (item,) = [item for item in vaults.manifest_of(dump)["objects"] if item["key"].endswith(".dat.zst")]
    damage(vaults, item["key"], item["size_bytes"])
    ended = strongroom("verify", "--level", "2", code=3)
    named = f"{item['key']} (table public.bars)"
    assert any(named in line and how in line for line in ended.out.splitlines()), ended.out


def test_an_object_that_the_manifest_leaves_out_is_missed(vaults: Vault) -> None:
    """T23. The table of contents knows what there must be, whatever the manifest says."""
    strongroom = vaults.configure_vault(dump=keep(1, engine="parallel", jobs=2))
    dump = vaults.dump(strongroom)[0]
    manifest = vaults.manifest_of(dump)
    manifest["tables"] = []
    manifest["objects"] = [item for item in manifest["objects"] if not item["key"].endswith(".dat.zst")]
    source, database, slot = dump.split("/")
    key = f"{vaults.name}/{source}/dumps/{database}/{slot}/manifest.json"
    vaults.sandbox.client("s3").put_object(Bucket=vaults.bucket, Key=key, Body=json.dumps(manifest).encode())
    ended = strongroom("verify", "--level", "2", code=3)
    assert "table public.bars is in toc.dat and not in the manifest" in ended.out


def test_an_object_that_is_lost_after_it_was_verified_makes_its_dump_bad_and_holds_pruning(vaults: Vault) -> None:
    """T23. Nobody runs `verify`: the listing shows it."""
    strongroom = vaults.configure_vault(dump=keep(1), prune={"automatic": False})
    old, good, bad = vaults.dump(strongroom, 3)
    strongroom("verify", "--level", "2")
    damage_archive(vaults, remove, bad)
    assert vaults.listed(strongroom) == {old: "good", good: "good", bad: "bad"}
    daemon = vaults.configure_vault(dump=keep(1)).start()
    daemon.wait_for(lambda: vaults.finding(daemon, "dump_bad", source=SOURCE) == 1, "it is a finding")
    vaults.wait_for_rounds(daemon)
    assert vaults.deletes() == []


def test_a_dump_whose_manifest_is_damaged_is_no_backup_and_is_not_deleted(vaults: Vault) -> None:
    """T23."""
    strongroom = vaults.configure_vault(dump=keep(1))
    old, bad = vaults.dump(strongroom, 2)
    source, database, slot = bad.split("/")
    key = f"{vaults.name}/{source}/dumps/{database}/{slot}/manifest.json"
    vaults.sandbox.client("s3").put_object(Bucket=vaults.bucket, Key=key, Body=b"{}")
    assert vaults.listed(strongroom) == {old: "good", bad: "bad"}
    strongroom("prune", "--confirm", code=None)
    assert vaults.versions_of(old) and vaults.versions_of(bad)
    assert vaults.listed(strongroom) == {old: "good", bad: "bad"}
