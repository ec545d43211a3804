"""A daemon whose functions have roles of their own, which it assumes: who makes which request, and what becomes of a role that
cannot be assumed, of sessions that end, and of processes that assume none.

What a double cannot prove is in test_roles.py; and a login by an RDS token is verified by nobody here, so that whose token it was is
seen only by the session that was made for it.
"""

from __future__ import annotations

import re

import pytest

from case import YEARLY, Config, quick, source
from channels import Receiver
from role_calls import BASE, assert_each_by_its_own, assumed, calls, last, who
from roles import ALERT_SECRET, ROUTES, SPLIT, SUBNET_GROUP, TOKEN_USER, Credentials, Roles, Split, configure_split, do_everything
from sandbox_process import REGION
from strongroom_process import Daemon, Strongroom
from vault import INSTANCE, REPLICA_BUCKET, SOURCE, Vault, keep

SECONDS = 60
FINDINGS = 3
"""The exit code of a command that has something to tell."""
ALONE: Credentials = {"STRONGROOM__AWS__ASSUME_ROLES": "false"}

def heartbeat(vault: Vault, receiver: Receiver) -> Config:
    """A pulse, to an address that is a secret."""
    secrets = vault.sandbox.client("secretsmanager")
    secrets.put_secret_value(SecretId=ALERT_SECRET, SecretString=f"{receiver.url}/beat")
    return {"heartbeat": {"url": {"secret": ALERT_SECRET}, "interval": "1s"}}


def wait_until_well(daemon: Daemon) -> None:
    """Not until dumps were read back: with a replica that takes turns between the buckets."""
    daemon.wait_for(lambda: daemon.status().get("well"), "every slot is filled", SECONDS)


# Who asks


def test_each_request_is_made_by_the_role_of_its_function(split: Split, receiver: Receiver) -> None:
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials, alerts=ROUTES | heartbeat(vault, receiver))
    with vault.replicating():
        daemon = do_everything(vault, strongroom, SECONDS)
        assert daemon.at_level("ERROR") == [] and receiver.requests
        # The other engine sends one stream.
        vault.dump(configure_split(vault, roles, credentials, dump=keep(2)))
    of_snapshots = ("CreateDBSnapshot", "CopyDBSnapshot", "DeleteDBSnapshot")
    of_drills = ("RestoreDBInstanceFromDBSnapshot", "CreateDBInstance", "DeleteDBInstance")
    of_objects = ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject", "HeadObject")
    looks = ("DownloadDBLogFilePortion", "GetMetricStatistics", "DescribeKey", "ListObjectVersions", "HeadBucket")
    the_rest = ("GetObject", "DeleteObjects", "GetSecretValue", "Publish", "PutMetricData")
    assert_each_by_its_own(vault, *of_snapshots, *of_drills, *of_objects, *looks, *the_rest)
    by_key = {
        (who(vault, call), call["key"].endswith(".json")) for call in calls(vault) if call["operation"] == "GetObject"
    }
    assert by_key == {("observe", True), ("verify", False)}
    logins = {who(vault, call) for call in calls(vault) if call["operation"] == "GetSecretValue"}
    assert logins == {"dump-write", "drill", BASE}
    names = {call["session"] for call in calls(vault) if who(vault, call) != BASE}
    assert names == {f"strongroom-{vault.name}-{function}" for function in SPLIT}


def test_a_process_assumes_each_role_once_whatever_it_does(split: Split) -> None:
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials, prune={"settle": "0s"})
    strongroom("config", "show")
    assert not assumed(vault), "nothing is asked of AWS"
    with vault.replicating():
        daemon = strongroom.start()
        wait_until_well(daemon)
        daemon.wait_for(lambda: vault.copy_states(), "a copy is begun", SECONDS)
        made = vault.snapshot_ids()
        others = roles.assume(BASE)
        vault.snapshot(configure_split(vault, roles, others, prune={"settle": "0s"}))
        daemon.wait_for(lambda: not set(made) & set(vault.snapshot_ids()), "the daemon prunes", SECONDS)
        vault.wait_for_rounds(daemon, 3)
        assert daemon.terminate() == 0
    assert_each_by_its_own(vault)
    assert assumed(vault, credentials) == dict.fromkeys(SPLIT, 1)
    assert assumed(vault, others) == {"observe": 1, "dump-write": 1, "snapshot": 1}, "those alone that it has work for"


def test_copies_into_a_second_bucket_are_made_by_who_writes(split: Split) -> None:
    vault, roles, credentials = split
    roles.give("dump-write", roles.documents(copied_replicas=[REPLICA_BUCKET])["dump-write"])
    strongroom = configure_split(vault, roles, credentials, destination=vault.replica("copied"), prune={"settle": "0s"})
    (first,) = vault.dump(strongroom)
    daemon = strongroom.start()
    daemon.wait_for(lambda: vault.listed(strongroom, "replica").get(first) == "good", "it is copied", SECONDS)
    assert daemon.terminate() == 0
    assert_each_by_its_own(vault, "CopyObject")


def test_a_login_that_a_backup_does_not_have_is_replaced_by_who_drills(split: Split) -> None:
    """There was no such user when the snapshot was made: the restored instance gets a new master password."""
    vault, roles, credentials = split
    (file := vault.directory / "password").write_text(vault.name)
    own = {SOURCE: source(SOURCE, credentials={"user": vault.name, "password_file": str(file)})}
    strongroom = configure_split(vault, roles, credentials, sources=own, drill={"schedule": YEARLY, "paths": ["snapshot"]})
    vault.snapshot(strongroom)
    for sql in (f"CREATE ROLE {vault.name} LOGIN PASSWORD '{vault.name}'", f"GRANT pg_read_all_data TO {vault.name}"):
        vault.sandbox.rds("run_sql", id=INSTANCE, sql=sql)
    ended = strongroom("drill", SOURCE, seconds=SECONDS)
    assert "passed: drill " in ended.out
    assert_each_by_its_own(vault, "ModifyDBInstance")


def test_a_token_is_made_with_the_role_that_the_login_is_for(split: Split) -> None:
    vault, roles, credentials = split
    by_token = source(SOURCE, credentials={"user": TOKEN_USER, "iam": True})
    strongroom = vault.configure(
        dump=quick(), sources={SOURCE: by_token}, aws=roles.by_function(), environment=credentials
    )
    strongroom("diagnose", SOURCE, code=None, seconds=SECONDS)
    assert assumed(vault)["dump-write"] == 1, "for the token: it writes nothing"
    vault.dump(strongroom)
    assert_each_by_its_own(vault, "PutObject")


# A role that cannot be assumed


def assert_names(roles: Roles, text: str, function: str) -> None:
    """The key in the configuration, the role, and AWS's words."""
    assert f"aws.roles.{function.replace('-', '_')}" in text, text
    assert roles.arn(function) in text and "AccessDenied" in text, text


def test_a_role_that_cannot_be_assumed_stops_its_function_alone(split: Split) -> None:
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials)
    with vault.replicating():
        snapshots, dumps = vault.snapshot(strongroom, 2), vault.dump(strongroom, 2)
        roles.trust("prune", "recover")
        refused = strongroom("prune", "--confirm", code=1, seconds=SECONDS)
        assert_names(roles, refused.err + refused.out, "prune")
        assert vault.deletes() == [] and set(vault.snapshot_ids()) == set(snapshots)
        assert vault.versions_of(dumps[0]) != []
        checked = strongroom("check", "--online", code=FINDINGS, seconds=SECONDS)
        assert_names(roles, checked.out, "prune")
        assert set(re.findall(r"aws\.roles\.(\w+)", checked.out)) == {"prune"}, checked.out
        # The others work.
        vault.snapshot(strongroom), vault.dump(strongroom)
        strongroom("verify", SOURCE, "--level", "2", seconds=SECONDS)
        roles.trust("prune", BASE)
        strongroom("prune", "--confirm", code=None, seconds=SECONDS)
    assert not set(snapshots) & set(vault.snapshot_ids())


def test_a_daemon_goes_on_without_it_and_has_it_back_without_a_restart(split: Split) -> None:
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials, prune={"settle": "0s"})
    with vault.replicating():
        roles.trust("prune", "recover")
        (first,) = vault.snapshot(strongroom)
        daemon = strongroom.start()
        wait_until_well(daemon)
        (second,) = vault.snapshot(strongroom)
        daemon.wait_for(lambda: roles.arn("prune") in daemon.log_file.read_text(), "the log tells", SECONDS)
        assert_names(roles, daemon.log_file.read_text(), "prune")
        assert {first, second} <= set(vault.snapshot_ids())
        roles.trust("prune", BASE)
        daemon.wait_for(lambda: first not in vault.snapshot_ids(), "it prunes", SECONDS)
        assert daemon.terminate() == 0


@pytest.mark.parametrize("kind", ["dump", "snapshot"])
def test_who_cannot_write_begins_nothing(split: Split, kind: str) -> None:
    """Neither the record that it is under way, nor anything that this record would be of."""
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials)
    roles.trust("dump-write", "recover")
    refused = strongroom("backup", kind, SOURCE, code=1, seconds=SECONDS)
    assert_names(roles, refused.err, "dump-write")
    assert vault.keys() == [] and vault.uploads() == [] and vault.snapshots() == []
    assert not {"CreateDBSnapshot", "CreateMultipartUpload", "PutObject"} & {call["operation"] for call in calls(vault)}


def test_a_snapshot_that_its_role_cannot_make_is_recorded_as_failed(split: Split) -> None:
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials)
    roles.trust("snapshot", "recover")
    refused = strongroom("backup", "snapshot", SOURCE, code=1, seconds=SECONDS)
    assert_names(roles, refused.err, "snapshot")
    (record,) = vault.runs(SOURCE)
    assert record["state"] == "failed", record
    assert_names(roles, record["failure"]["message"], "snapshot")
    vault.dump(strongroom)


def test_a_drill_that_its_role_cannot_make_leaves_nothing(split: Split) -> None:
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials)
    vault.snapshot(strongroom)
    roles.trust("drill", "recover")
    refused = strongroom("drill", SOURCE, code=1, seconds=SECONDS)
    assert_names(roles, refused.err + refused.out, "drill")
    assert [
        one for one in vault.sandbox.client("rds").describe_db_instances()["DBInstances"] if "drill" in str(one)
    ] == []


def test_the_check_names_every_role_that_cannot_be_assumed(split: Split) -> None:
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials)
    for function in SPLIT:
        roles.trust(function, "recover")
    checked = strongroom("check", "--online", code=FINDINGS, seconds=SECONDS)
    for function in SPLIT:
        assert_names(roles, checked.out, function)


def test_an_alert_that_a_role_cannot_be_assumed_gets_through(split: Split) -> None:
    vault, roles, credentials = split
    strongroom = configure_split(vault, roles, credentials)
    for function in SPLIT:
        roles.trust(function, "recover")
    strongroom("alerts", "test", "team")
    assert [call["status"] for call in calls(vault) if call["operation"] == "Publish"] == [200]


# Processes that assume none


@pytest.mark.parametrize("where", ["file", "environment"])
def test_who_is_told_to_assume_none_keeps_its_own_credentials(corner: tuple[Vault, Roles], where: str) -> None:
    vault, roles = corner
    given: Config = {"assume_roles": False} if where == "file" else {}
    environment = roles.assume("daemon") | (ALONE if where == "environment" else {})
    strongroom = configure_split(vault, roles, environment, aws=roles.by_function(**given))
    with vault.replicating():
        vault.snapshot(strongroom), vault.dump(strongroom)
        strongroom("check", "--online", code=None, seconds=SECONDS)
    assert {who(vault, call) for call in calls(vault)} == {"daemon"} and not assumed(vault)
    assert [call for call in calls(vault) if call["status"] in (401, 403)] == []


def test_a_job_dumps_with_the_role_of_its_pod(corner: tuple[Vault, Roles]) -> None:
    """What the process of a Job runs is `backup dump`, with the daemon's configuration."""
    vault, roles = corner
    with vault.replicating():
        (dump,) = vault.dump(configure_split(vault, roles, roles.assume("dump") | ALONE))
        assert {who(vault, call) for call in calls(vault)} == {"dump"}
        assert [call for call in calls(vault) if call["status"] in (401, 403)] == []
        # Without it the pod would ask for roles that do not trust it.
        refused = configure_split(vault, roles, roles.assume("dump"))("backup", "dump", SOURCE, code=4, seconds=SECONDS)
    assert "aws.roles." in refused.err and "AccessDenied" in refused.err
    assert len(vault.manifests(SOURCE)) == 1 and vault.manifest_of(dump)


def test_whoever_recovers_assumes_none_whatever_is_configured(corner: tuple[Vault, Roles]) -> None:
    vault, roles = corner
    network = {REGION: {"subnet_group": SUBNET_GROUP, "security_groups": ["sg-0a1b2c3d"]}}

    def configured(credentials: Credentials) -> Strongroom:
        own = {SOURCE: source(SOURCE, recover={})}
        aws = roles.by_function()
        return vault.configure_vault(environment=credentials, snapshot=quick(), sources=own, restore=network, aws=aws)

    resource = vault.sandbox.instance(INSTANCE)["DbiResourceId"]
    configured(roles.assume(BASE))("backup", "snapshot", SOURCE)
    before = last(vault)
    person = configured(roles.assume("recover"))
    person("recover", "corruption", SOURCE, "--yes", seconds=SECONDS)
    assert vault.sandbox.instance(INSTANCE)["DbiResourceId"] != resource
    person("recover", "undo", SOURCE, "--yes", seconds=SECONDS)
    assert vault.sandbox.instance(INSTANCE)["DbiResourceId"] == resource
    made = [call for call in calls(vault) if call["number"] > before]
    assert {who(vault, call) for call in made} == {"recover"} and not assumed(vault, since=before)
    assert [call for call in made if call["status"] in (401, 403)] == []
