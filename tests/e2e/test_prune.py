"""Pruning: exactly what has expired is deleted, by the daemon or by a person, and nothing else ever is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from case import Match, quick
from short_clock import short_clock
from strongroom_process import Strongroom
from vault import (
    AT_ONCE,
    DATABASE,
    INSTANCE,
    SOURCE,
    Vault,
    another_instance,
    create_instance,
    delete_instance,
    keep,
)


def test_a_dry_run_lists_every_recovery_point_with_its_reasons_and_changes_nothing(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(snapshot=keep(1), dump=keep(1))
    snapshots, dumps = vaults.snapshot(strongroom, 2), vaults.dump(strongroom, 2)
    keys = vaults.keys()
    listed = {point["id"]: point for point in strongroom("prune", "--json").json()}
    assert {name: point["fate"] for name, point in listed.items()} == {
        snapshots[0]: "DELETE",
        snapshots[1]: "keep",
        dumps[0]: "DELETE",
        dumps[1]: "keep",
    }
    assert "number 1 of the newest" in listed[dumps[1]]["why"] and "no rule keeps it" in listed[dumps[0]]["why"]
    ended = strongroom("prune")
    assert all(name in ended.out for name in snapshots + dumps)
    assert "nothing was changed" in ended.err and "2 deletion(s)" in ended.err
    assert vaults.keys() == keys and vaults.snapshot_ids() == snapshots
    assert vaults.deletes() == []


def test_confirm_deletes_exactly_what_the_dry_run_says_and_of_a_dump_nothing_but_a_record(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(snapshot=keep(1), dump=keep(1), prune={"automatic": False})
    snapshots, dumps = vaults.snapshot(strongroom, 2), vaults.dump(strongroom, 2)
    manifest, before = vaults.manifest_of(dumps[0]), vaults.versions_of(dumps[0])
    doomed = {name for name, fate in vaults.fates(strongroom).items() if fate == "DELETE"}
    assert doomed == {snapshots[0], dumps[0]}
    ended = strongroom("prune", "--confirm")
    assert all(f"{name} in us-east-1: done" in ended.err for name in doomed), ended.err
    assert vaults.snapshot_ids() == snapshots[1:]
    assert vaults.versions_of(dumps[0]) == [], "no version and no marker of it is left"
    case_of_kept = vaults.manifest_of(dumps[1])
    vaults.assert_whole(case_of_kept)
    record = vaults.prune_record(dumps[0])
    assert record and record["finished_at"] and record["run"] == manifest["run"] and record["reason"]
    named = {(item["key"], item["version_id"]) for item in record["versions"]}
    assert named == {(item["Key"], item["VersionId"]) for item in before}
    assert vaults.prune_record(dumps[1]) is None
    assert vaults.listed(strongroom) == {snapshots[1]: "good", dumps[1]: "good"}
    assert set(vaults.fates(strongroom).values()) == {"keep"}
    assert "deletion" not in strongroom("prune", "--confirm").err, "there is nothing more to do"


def test_confirm_for_one_source_leaves_the_others_alone(vaults: Vault) -> None:
    with another_instance(vaults.sandbox, "annex"):
        strongroom = vaults.configure(SOURCE, "annex", snapshot=keep(1), prune=AT_ONCE)
        for source in (SOURCE, SOURCE, "annex", "annex"):
            strongroom("backup", "snapshot", source)
        before = vaults.snapshot_ids()
        strongroom("prune", "annex", "--confirm")
        (gone,) = set(before) - set(vaults.snapshot_ids())
        assert gone == before[0] and "-annex-" in gone
        assert "no source is called" in strongroom("prune", "attic", "--confirm", code=2).err


def test_the_daemon_deletes_by_itself_what_has_expired_and_counts_it(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(snapshot=keep(1), dump=keep(1))
    snapshots, dumps = vaults.snapshot(strongroom, 2), vaults.dump(strongroom, 2)
    daemon = strongroom.start()
    daemon.wait_for(lambda: vaults.snapshot_ids() == snapshots[1:], "the expired snapshot is gone")
    daemon.wait_for(lambda: (vaults.prune_record(dumps[0]) or {}).get("finished_at"), "the expired dump is gone")
    assert vaults.versions_of(dumps[0]) == []
    for kind in ("snapshot", "dump"):
        labels = {"source": SOURCE, "kind": kind}
        name = "strongroom_prune_deletions_total"
        daemon.wait_for(lambda labels=labels: daemon.metric(name, outcome="success", **labels) == 1, "it is counted")
        assert daemon.metric(name, outcome="failure", **labels) == 0
        counted = {"plane": "primary", **labels}
        daemon.wait_for(
            lambda counted=counted: daemon.metric("strongroom_recovery_points", **counted) == 1, "one is left"
        )
        assert daemon.metric("strongroom_expired_recovery_points", **counted) == 0
    assert len(daemon.lines(f"delete snapshot {snapshots[0]} in us-east-1: done")) == 1
    assert daemon.at_level("WARN", "ERROR") == []
    assert daemon.status()["well"]


def test_a_retention_that_has_not_settled_deletes_nothing(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(snapshot=keep(1), prune={"settle": "1h"})
    snapshots = vaults.snapshot(strongroom, 2)
    daemon = strongroom.start()
    daemon.wait_until_well()
    vaults.wait_for_rounds(daemon)
    assert vaults.deletes() == [] and vaults.snapshot_ids() == snapshots
    assert daemon.metric("strongroom_expired_recovery_points", source=SOURCE, kind="snapshot", plane="primary") == 1
    assert vaults.fates(strongroom) == {snapshots[0]: "DELETE", snapshots[1]: "keep"}, "a person need not wait"


def test_without_automatic_pruning_the_daemon_deletes_nothing(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(snapshot=keep(1), prune={"settle": "0s", "automatic": False})
    snapshots = vaults.snapshot(strongroom, 2)
    daemon = strongroom.start()
    daemon.wait_until_well()
    vaults.wait_for_rounds(daemon)
    assert vaults.deletes() == [] and vaults.snapshot_ids() == snapshots
    assert "strongroom prune --confirm" in vaults.why(strongroom, snapshots[0])


def test_a_pin_holds_until_it_is_released(vaults: Vault) -> None:
    strongroom = vaults.configure_vault(snapshot=keep(1), dump=keep(1))
    snapshots, dumps = vaults.snapshot(strongroom, 2), vaults.dump(strongroom, 2)
    for point in (snapshots[0], dumps[0]):
        assert "is pinned" in strongroom("pin", point, "--reason", "for the auditors").err
    assert "pinned before" in strongroom("pin", dumps[0]).err
    listed = {point["id"]: point for point in strongroom("prune", "--json").json()}
    for point in (snapshots[0], dumps[0]):
        assert (listed[point]["fate"], listed[point]["why"]) == ("keep", "pinned: for the auditors")
    daemon = strongroom.start()
    daemon.wait_until_well()
    vaults.wait_for_rounds(daemon)
    assert vaults.deletes() == []

    for point in (snapshots[0], dumps[0]):
        assert "is released" in strongroom("unpin", point).err
    daemon.wait_for(lambda: vaults.snapshot_ids() == snapshots[1:], "the snapshot goes")
    daemon.wait_for(lambda: not vaults.versions_of(dumps[0]), "the dump goes")
    assert "is not pinned" in strongroom("unpin", dumps[1], code=2).err
    assert "no recovery point" in strongroom("pin", "vault/vault/20010101t000000z", code=2).err


def test_snapshots_of_people_are_never_deleted_whatever_their_names_and_tags(vaults: Vault) -> None:
    """T15. The instance itself bears our mark, and RDS copies it onto each snapshot that somebody makes."""
    strongroom = vaults.configure_vault(snapshot=keep(1))
    first, second = vaults.snapshot(strongroom, 2)
    rds = vaults.sandbox.client("rds")
    (ours,) = [snapshot for snapshot in vaults.snapshots() if snapshot["DBSnapshotIdentifier"] == first]
    instance = vaults.sandbox.instance(INSTANCE)["DBInstanceArn"]
    rds.add_tags_to_resource(ResourceName=instance, Tags=ours["TagList"])
    try:
        inherited = f"{vaults.name}-{SOURCE}-20200101t000000z"
        rds.create_db_snapshot(DBInstanceIdentifier=INSTANCE, DBSnapshotIdentifier=inherited)
        copied = f"{vaults.name}-before-the-release"
        rds.copy_db_snapshot(SourceDBSnapshotIdentifier=first, TargetDBSnapshotIdentifier=copied, CopyTags=True)
        for name in (inherited, copied):
            waiter = rds.get_waiter("db_snapshot_available")
            waiter.wait(DBSnapshotIdentifier=name, WaiterConfig={"Delay": 1})
        human = [one for one in vaults.snapshots() if one["DBSnapshotIdentifier"] in (inherited, copied)]
        owner = {"Key": "strongroom:owner", "Value": f"{vaults.name}/{first}"}
        assert all(owner in one["TagList"] for one in human), "the marks have been copied"

        daemon = strongroom.start()
        daemon.wait_for(lambda: first not in vaults.snapshot_ids(), "our own expired one is deleted")
        vaults.wait_for_rounds(daemon)
        third = vaults.snapshot(strongroom)[0]
        daemon.wait_for(lambda: second not in vaults.snapshot_ids(), "the next one is deleted, too")
        strongroom("prune", "--confirm")
        assert sorted(vaults.snapshot_ids()) == sorted([inherited, copied, third])
        assert [one for one in vaults.snapshots() if one["DBSnapshotIdentifier"] in (inherited, copied)] == human
        assert set(vaults.fates(strongroom)) == {third}, "they are no recovery points of ours at all"
    finally:
        keys = [tag["Key"] for tag in ours["TagList"]]
        rds.remove_tags_from_resource(ResourceName=instance, TagKeys=keys)


@pytest.mark.parametrize(
    ("kind", "operation", "match"),
    [
        ("error500", "DescribeDBSnapshots", {}),
        ("access_denied", "DescribeDBInstances", {}),
        ("error503", "ListObjectVersions", {}),
    ],
)
def test_what_was_not_seen_whole_deletes_nothing_until_it_is_seen_again(
    vaults: Vault, kind: str, operation: str, match: Match
) -> None:
    """T10."""
    strongroom = vaults.configure_vault(snapshot=keep(1), dump=keep(1))
    snapshots, dumps = vaults.snapshot(strongroom, 2), vaults.dump(strongroom, 2)
    vaults.fault(kind, operation, count=None, match=match)
    daemon = strongroom.start()
    daemon.wait_for(lambda: daemon.status().get("unseen"), "the gap shows", 60)
    vaults.wait_for_rounds(daemon)
    assert vaults.deletes() == []
    assert daemon.at_level("WARN"), "somebody is told"
    ended = strongroom("prune", "--confirm", code=3)
    assert "not seen" in ended.err
    assert vaults.deletes() == [] and vaults.snapshot_ids() == snapshots

    vaults.sandbox.clear_faults()
    daemon.wait_for(lambda: vaults.snapshot_ids() == snapshots[1:], "the snapshot goes", 60)
    daemon.wait_for(lambda: not vaults.versions_of(dumps[0]), "the dump goes", 60)
    assert vaults.listed(strongroom) == {snapshots[1]: "good", dumps[1]: "good"}


def test_a_retention_that_shrinks_by_much_deletes_nothing_until_a_person_confirms_it(vaults: Vault) -> None:
    """T13."""
    limits = {"settle": "0s", "max_deletes_per_cycle": 2}
    strongroom = vaults.configure_vault(snapshot=keep(12), prune=limits)
    snapshots = vaults.snapshot(strongroom, 5)
    daemon = strongroom.start()
    daemon.wait_until_well()
    assert vaults.finding(daemon, "retention_shrink") == 0 and daemon.terminate() == 0

    strongroom = vaults.configure_vault(snapshot=keep(1), prune=limits)
    daemon = strongroom.start()
    daemon.wait_for(lambda: vaults.finding(daemon, "retention_shrink") == 1, "it is found")
    vaults.wait_for_rounds(daemon)
    assert vaults.deletes() == [] and vaults.snapshot_ids() == snapshots
    (text,) = vaults.findings(strongroom, "retention_shrink")
    assert "4 recovery points have expired at once" in text and "strongroom prune --confirm" in text
    assert "more have expired at once" in vaults.why(strongroom, snapshots[0])

    strongroom("prune", "--confirm")
    assert vaults.snapshot_ids() == snapshots[-1:]
    daemon.wait_for(lambda: vaults.finding(daemon, "retention_shrink") == 0, "it stands no more")


def test_plan_against_shows_what_a_changed_configuration_would_expire(vaults: Vault, tmp_path: Path) -> None:
    """T13."""
    changed = tmp_path / "changed.toml"
    vaults.configure_vault(snapshot=keep(1)).config.rename(changed)
    strongroom = vaults.configure_vault(snapshot=keep(12))
    snapshots = vaults.snapshot(strongroom, 3)
    text = strongroom("plan", "--against", str(changed)).out
    assert "Would expire: 2\n" in text and "Would be kept, and expire now: 0\n" in text
    expired, _ = text.split("Would be kept")
    assert all(name in expired for name in snapshots[:2]) and snapshots[2] not in expired
    assert vaults.snapshot_ids() == snapshots
    changed.write_text(changed.read_text().replace("keep_last", "kep_last"))
    assert "kep_last" in strongroom("plan", "--against", str(changed), code=2).err


def test_a_daemon_with_a_broken_configuration_refuses_to_start_and_deletes_nothing(vaults: Vault) -> None:
    """T14. There is no reload yet: a changed file counts from the next start on, which refuses a broken one."""
    strongroom = vaults.configure_vault(snapshot=keep(2))
    snapshots = vaults.snapshot(strongroom, 2)
    good = vaults.configure_vault(snapshot=keep(1)).config.read_text()
    for broken in (good + "[", good.replace("keep_last", "kep_last"), good.replace('policy = "p"', 'policy = "q"')):
        strongroom.config.write_text(broken)
        for words in (("run",), ("prune", "--confirm")):
            ended = strongroom(*words, code=2)
            assert str(strongroom.config) in ended.err or "policy" in ended.err, ended.err
    assert vaults.deletes() == [] and vaults.snapshot_ids() == snapshots


@pytest.mark.parametrize("days", [365, -365])
def test_a_clock_that_is_a_year_off_deletes_nothing_until_it_is_right(vaults: Vault, days: int) -> None:
    """T11."""
    snapshots = vaults.snapshot(vaults.configure_vault(snapshot=keep(1)), 3)
    with short_clock(datetime.now(UTC) + timedelta(days=days)) as clock:
        strongroom = vaults.configure_vault(snapshot=keep(1), environment=clock.environment)
        daemon = strongroom.start()
        daemon.wait_for(lambda: vaults.finding(daemon, "clock_skew") == 1, "it is found")
        vaults.wait_for_rounds(daemon, 3)
        assert not [run for run in vaults.runs(SOURCE) if run["run"].startswith(f"{clock.now().year}0101")], "due then"
        assert vaults.deletes() == [] and set(snapshots) <= set(vaults.snapshot_ids())
        assert abs(daemon.metric("strongroom_clock_skew_seconds")) > 364 * 86400
        (text,) = vaults.findings(strongroom, "clock_skew")
        assert ("ahead of" if days > 0 else "behind") in text and "nothing is pruned" in text

        clock.set_right()
        daemon.wait_for(lambda: vaults.finding(daemon, "clock_skew") == 0, "it stands no more", 60)
        daemon.wait_for(lambda: len(vaults.snapshot_ids()) == 1, "what has expired goes", 60)
        vaults.wait_for_rounds(daemon, 3)
        daemon.wait_until_well()
        daemon.wait_for(lambda: set(vaults.run_states(SOURCE)) == {"succeeded"}, "no run goes on", 60)
        assert daemon.terminate() == 0
    slots = [record["run"].split("-")[0] for record in vaults.runs(SOURCE)]
    assert len(slots) == len(set(slots)), "each slot was filled once"


@pytest.mark.parametrize("days", [365, -365])
def test_a_daemon_whose_clock_is_a_year_off_fills_the_slot_of_the_true_year(vaults: Vault, days: int) -> None:
    """T11. A slot of next year that was filled now would be found filled when it comes."""
    with short_clock(datetime.now(UTC) + timedelta(days=days)) as clock:
        daemon = vaults.configure_vault(snapshot=quick(), environment=clock.environment).start()
        daemon.wait_for(lambda: vaults.run_states(SOURCE) == ["succeeded"], "it is made", 60)
        vaults.wait_for_rounds(daemon)
        assert daemon.terminate() == 0
    (record,) = vaults.runs(SOURCE)
    assert record["run"] == f"{datetime.now(UTC).year}0101t040000z-snapshot-1"


@pytest.mark.parametrize("kind", ["cut_request", "drop_response_after_effect"])
def test_a_deletion_that_a_kill_interrupts_is_seen_through_by_the_next_start(vaults: Vault, kind: str) -> None:
    """T17. Killed after the record was written: before the data has gone, or after, with the manifest still there."""
    strongroom = vaults.configure_vault(dump=keep(1))
    old, new = vaults.dump(strongroom, 2)
    before = vaults.versions_of(old)
    vaults.fault(kind, "DeleteObjects", count=None)
    daemon = strongroom.start()
    daemon.wait_for(lambda: vaults.calls("DeleteObjects"), "the data is about to go")
    daemon.kill()
    vaults.sandbox.clear_faults()

    record = vaults.prune_record(old)
    assert record and "finished_at" not in record
    left = vaults.versions_of(old)
    assert [item["Key"] for item in left if item["Key"].endswith("/manifest.json")], "the manifest goes last"
    assert (left == before) == (kind == "cut_request")
    assert vaults.listed(strongroom) == {old: "deleting", new: "good"}, "it counts no more"
    status = strongroom("status", "--json", code=None).json()
    assert old not in str(status)

    restarted = strongroom.start()
    restarted.wait_for(lambda: (vaults.prune_record(old) or {}).get("finished_at"), "the deletion is seen through")
    assert vaults.versions_of(old) == []
    assert vaults.listed(strongroom) == {new: "good"}
    vaults.assert_whole(vaults.manifest_of(new))


@pytest.mark.parametrize("operation", ["DeleteObjects", "DeleteDBSnapshot"])
def test_a_deletion_whose_answer_is_lost_is_done_once_and_well(vaults: Vault, operation: str) -> None:
    """T17."""
    strongroom = vaults.configure_vault(snapshot=keep(1), dump=keep(1))
    snapshots, dumps = vaults.snapshot(strongroom, 2), vaults.dump(strongroom, 2)
    vaults.fault("drop_response_after_effect", operation)
    daemon = strongroom.start()
    daemon.wait_for(lambda: vaults.snapshot_ids() == snapshots[1:], "the snapshot goes")
    daemon.wait_for(lambda: (vaults.prune_record(dumps[0]) or {}).get("finished_at"), "the dump goes")
    for kind in ("snapshot", "dump"):
        labels = {"source": SOURCE, "kind": kind, "outcome": "success"}
        name = "strongroom_prune_deletions_total"
        daemon.wait_for(lambda labels=labels: daemon.metric(name, **labels) == 1, f"the {kind} is counted")
    vaults.wait_for_rounds(daemon)
    assert vaults.versions_of(dumps[0]) == []
    assert vaults.listed(strongroom) == {snapshots[1]: "good", dumps[1]: "good"}
    assert daemon.at_level("ERROR") == []


def test_a_dump_is_pruned_for_good_though_its_slot_is_dumped_again(vaults: Vault) -> None:
    """A prune record that is closed says nothing about a later dump."""
    strongroom = vaults.configure_vault(dump=keep(1))
    old, new = vaults.dump(strongroom, 2)
    strongroom("prune", "--confirm")
    assert vaults.listed(strongroom) == {new: "good"}
    assert old.startswith(f"{SOURCE}/{DATABASE}/")
    newest = vaults.dump(strongroom)[0]
    strongroom("prune", "--confirm")
    assert vaults.listed(strongroom) == {newest: "good"}
    assert vaults.versions_of(old) == vaults.versions_of(new) == []


def test_a_source_that_is_created_anew_is_backed_up_at_once_and_keeps_what_its_predecessor_had(vaults: Vault) -> None:
    """T16."""
    name = "phoenix"
    with another_instance(vaults.sandbox, name):
        strongroom = vaults.configure(name, snapshot=keep(1), dump=keep(1), prune=AT_ONCE)
        for kind in ("snapshot", "dump", "snapshot", "dump"):
            strongroom("backup", kind, name)
        strongroom("prune", "--confirm")
        old = vaults.listed(strongroom)
        assert len(old) == 2 and set(old.values()) == {"good"}
        first = vaults.sandbox.instance(f"bank-{name}")["DbiResourceId"]

        delete_instance(vaults.sandbox, name)
        create_instance(vaults.sandbox, name)
        second = vaults.sandbox.instance(f"bank-{name}")["DbiResourceId"]
        assert second != first
        status = strongroom("status", "--json", code=3).json()
        assert not status["well"], "what the predecessor had is not counted"

        daemon = strongroom.start()
        daemon.wait_until_well()
        vaults.wait_for_rounds(daemon)
        assert vaults.deletes().count("DeleteDBSnapshot") == 1, "as before"
        for kind in ("snapshot", "dump"):
            strongroom("backup", kind, name)
        daemon.wait_for(lambda: len(vaults.listed(strongroom)) == 4, "of the new one, too, one of each is left", 60)
        points = strongroom("list", "--json").json()
        resources = sorted((point["kind"], point["resource"]) for point in points)
        assert resources == sorted((kind, one) for kind in ("dump", "snapshot") for one in (first, second))
        assert set(old) <= {point["id"] for point in points if point["resource"] == first}
        assert {point["state"] for point in points} == {"good"}
        assert daemon.at_level("ERROR") == []


def test_a_dump_of_a_source_created_anew_does_not_replace_its_predecessors_in_the_same_slot(vaults: Vault) -> None:
    """T16. Both are due for the same slot of the schedule."""
    name = "twin"
    with another_instance(vaults.sandbox, name):
        strongroom = vaults.configure(name, dump=keep(1), prune=AT_ONCE)
        daemon = strongroom.start()
        daemon.wait_until_well()
        assert daemon.terminate() == 0
        (old,) = vaults.manifests(name)

        delete_instance(vaults.sandbox, name)
        create_instance(vaults.sandbox, name)
        daemon = strongroom.start()
        daemon.wait_until_well()
        manifests = vaults.manifests(name)
        assert old in manifests and len(manifests) == 2
        for manifest in manifests:
            vaults.assert_whole(manifest)
        assert len({manifest["resource"] for manifest in manifests}) == 2


def one_failed_snapshot(vaults: Vault, strongroom: Strongroom) -> str:
    vaults.sandbox.rds("fail_next_snapshot", instance_id=INSTANCE)
    strongroom("backup", "snapshot", SOURCE, code=1)
    (failed,) = vaults.snapshot_ids("failed")
    return failed


def test_a_failed_snapshot_is_not_cleared_while_there_is_no_good_one(vaults: Vault) -> None:
    """T6."""
    strongroom = vaults.configure_vault(snapshot=keep(1))
    failed = one_failed_snapshot(vaults, strongroom)
    strongroom("prune", "--confirm")
    assert vaults.snapshot_ids("failed") == [failed] and vaults.deletes() == []


def test_a_failed_snapshot_is_cleared_after_a_good_one(vaults: Vault) -> None:
    """T6."""
    strongroom = vaults.configure_vault(snapshot=keep(1))
    one_failed_snapshot(vaults, strongroom)
    good = vaults.snapshot(strongroom)[0]
    strongroom("prune", "--confirm")
    assert [one["DBSnapshotIdentifier"] for one in vaults.snapshots()] == [good]
