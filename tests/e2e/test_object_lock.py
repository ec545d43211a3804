"""Object lock: what is locked stays, the daemon says until when, and it neither insists nor asks to be let around."""

from __future__ import annotations

from vault import LOCKED_BUCKET, SOURCE, Vault, keep


def test_a_locked_dump_is_kept_until_its_lock_ends_and_is_never_asked_to_go(vaults: Vault) -> None:
    """T25."""
    vaults.bucket = LOCKED_BUCKET
    strongroom = vaults.configure_vault(dump=keep(1))
    old, new = vaults.dump(strongroom, 2)
    before = vaults.versions_of(old)
    daemon = strongroom.start()
    daemon.wait_until_well()
    daemon.wait_for(lambda: len(daemon.lines("dump verified at level L1")) == 2, "both are looked at")
    vaults.wait_for_rounds(daemon, 4)
    assert vaults.deletes() == [], "not even tried"
    assert vaults.versions_of(old) == before and vaults.prune_record(old) is None
    assert daemon.metric("strongroom_prune_deletions_total", source=SOURCE, kind="dump", outcome="failure") == 0
    assert daemon.at_level("ERROR") == []
    assert "locked by the store until" in vaults.why(strongroom, old)
    points = {point["id"]: point for point in strongroom("list", "--json").json()}
    assert all(points[dump]["locked_until"] for dump in (old, new))
    assert vaults.fates(strongroom, "--confirm") == {old: "keep", new: "keep"}
    assert vaults.deletes() == []


def test_a_lock_that_nobody_has_looked_at_yet_is_found_just_before_the_deletion(vaults: Vault) -> None:
    """T25. The command refuses, with the date; nothing is begun."""
    vaults.bucket = LOCKED_BUCKET
    strongroom = vaults.configure_vault(dump=keep(1))
    old, _ = vaults.dump(strongroom, 2)
    before = vaults.versions_of(old)
    ended = strongroom("prune", "--confirm", code=4)
    assert "held back: object lock forbids it until" in ended.err
    assert vaults.deletes() == [] and vaults.prune_record(old) is None
    assert vaults.versions_of(old) == before
    assert vaults.listed(strongroom)[old] == "good", "it still counts"


def test_the_bucket_says_how_its_lock_and_the_retention_differ(vaults: Vault) -> None:
    """T25. Locked for longer than the policy keeps it: known before the first refusal."""
    vaults.bucket = LOCKED_BUCKET
    strongroom = vaults.configure_vault(dump=keep(1))
    assert vaults.findings(strongroom, "bucket_lock") == [], "a day is less than any dump stays"
    vaults.bucket = LOCKED_BUCKET.removesuffix("-locked")
    (text,) = vaults.findings(vaults.configure_vault(dump=keep(1)), "bucket_lock")
    assert "object lock is off" in text
