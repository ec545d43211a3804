"""Alerts on what was found: for each the trouble is made as it comes about, told once, survived, and mended."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alert_cases import Alerts, assert_told_once, configure
from case import YEARLY, Config, quick, source
from channels import Receiver
from postgres_tools import MASTER, fake_pg_dump
from sandbox_process import BACKUP_USER, KMS_ALIAS, MASTER_PASSWORD
from short_clock import short_clock
from strongroom_process import Strongroom
from test_alerts import CASES as OF_BACKUPS
from vault import (
    AT_ONCE,
    DATABASE,
    INSTANCE,
    SOURCE,
    WEST,
    Vault,
    another_instance,
    create_instance,
    delete_instance,
    keep,
)

DAY_AND_AN_HOUR = 25
NEVER = {"name": "too many", "sql": "SELECT count(*) > 1000000 FROM public.bars"}

Mend = Callable[[], object]
Cause = Callable[[Vault, Receiver], AbstractContextManager[tuple[Strongroom, Mend]]]


@dataclass(frozen=True)
class Trouble:
    """Causes that hold at the same time, and the alerts on them."""

    cause: Cause
    alerts: Alerts


# buckets


@contextmanager
def bare_bucket(vaults: Vault, receiver: Receiver) -> Iterator[tuple[Strongroom, Mend]]:
    """A bucket as S3 makes it."""
    s3, name = vaults.sandbox.client("s3"), f"{vaults.name}-bare"
    s3.create_bucket(Bucket=name)
    vaults.bucket = name
    yield configure(vaults, receiver, SOURCE), lambda: harden(s3, name)


def harden(s3: Any, name: str) -> None:
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=lock)
    by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KMS_ALIAS}
    rule: Config = {"ApplyServerSideEncryptionByDefault": by_default, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    blocks = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=dict.fromkeys(blocks, True))
    arn = f"arn:aws:s3:::{name}"
    plain = {"Bool": {"aws:SecureTransport": "false"}}
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"], "Condition": plain}
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    rule = {"ID": "unfinished", "Status": "Enabled", "Filter": {"Prefix": ""}}
    rule["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": 7}
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [rule]})


# instances


@contextmanager
def open_instance(vaults: Vault, receiver: Receiver) -> Iterator[tuple[Strongroom, Mend]]:
    """An instance that nobody has protected, in an account that is full; RDS archives its log too late."""
    name, instance = "open", "bank-open"
    sandbox, rds, west = vaults.sandbox, vaults.sandbox.client("rds"), vaults.sandbox.client("rds", WEST)
    group = f"{vaults.name}-pg15"
    parameter_group(rds, group, "0")
    # The next snapshot is due at four.
    own = {"DBParameterGroupName": group, "BackupRetentionPeriod": 7, "PreferredBackupWindow": "03:30-04:30"}

    def config(**postgres: str) -> Strongroom:
        sources = {name: source(name, environment="production")}
        wanted = {"production": {"automated_backup_days": {"min": 8, "max": 35}}}
        parts = {"snapshot": quick(copy_to=[{"region": WEST, "kms_key": vaults.key_arn(KMS_ALIAS)}]), "dump": quick()}
        return configure(vaults, receiver, sources=sources, environments=wanted, postgres=postgres, **parts)

    def mend() -> None:
        """Another one in its place, as one that is not encrypted must be replaced; and what is not the instance's."""
        sandbox.rds("set_snapshot_quota", most=1000)
        parameter_group(rds, group, "1")
        parameter_group(west, group, "1")
        delete_instance(sandbox, name)
        safe = {"StorageEncrypted": True, "KmsKeyId": KMS_ALIAS, "DeletionProtection": True}
        create_instance(sandbox, name, **safe, **(own | {"BackupRetentionPeriod": 8, "PreferredBackupWindow": "09:00-09:30"}))
        config(bin_dir=str(fake_pg_dump(vaults.directory / "newer", 'exec "$REAL" "$@"', "pg_dump (PostgreSQL) 16.14")))

    with another_instance(sandbox, name, **own):
        strongroom = config()
        for kind in ("snapshot", "dump"):
            strongroom("backup", kind, name)
        sandbox.rds("set_restorable_lag", id=instance, minutes=60)
        sandbox.rds("set_certificate_end", id=instance, days=30)
        found = rds.get_paginator("describe_db_snapshots").paginate(SnapshotType="manual")
        sandbox.rds("set_snapshot_quota", most=sum(len(page["DBSnapshots"]) for page in found))
        try:
            yield strongroom, mend
        finally:
            sandbox.rds("set_snapshot_quota", most=1000)


def parameter_group(rds: Any, name: str, forces_tls: str) -> None:
    """Makes the group, if there is none of this name, and sets it."""
    own = {"DBParameterGroupName": name}
    if not any(each["DBParameterGroupName"] == name for each in rds.describe_db_parameter_groups()["DBParameterGroups"]):
        rds.create_db_parameter_group(DBParameterGroupFamily="postgres15", Description="TLS or not", **own)
    value = {"ParameterName": "rds.force_ssl", "ParameterValue": forces_tls, "ApplyMethod": "immediate"}
    rds.modify_db_parameter_group(Parameters=[value], **own)


@contextmanager
def roles_without_rights(vaults: Vault, receiver: Receiver) -> Iterator[tuple[Strongroom, Mend]]:
    """One login's password is wrong, another's ends soon and may not read; the daemon may not ask for what protects instances."""
    password = vaults.directory / "password"
    login = {"user": MASTER, "password_file": str(password)}
    sources = {SOURCE: source(SOURCE), "annex": source("annex", credentials=login)}

    def set_password(text: str) -> None:
        password.write_text(text)
        password.chmod(0o600)

    def alter(sql: str) -> None:
        vaults.sandbox.rds("run_sql", id=INSTANCE, sql=sql, database=DATABASE)

    with another_instance(vaults.sandbox, "annex"), ExitStack() as broken:
        set_password(MASTER_PASSWORD)
        strongroom = configure(vaults, receiver, sources=sources, dump=quick())
        for name in sources:
            strongroom("backup", "dump", name)
        broken.callback(set_password, MASTER_PASSWORD)
        set_password("wrong")
        broken.callback(alter, f"ALTER ROLE {BACKUP_USER} VALID UNTIL 'infinity'")
        alter(f"ALTER ROLE {BACKUP_USER} VALID UNTIL '{(datetime.now(UTC) + timedelta(days=10)).isoformat()}'")
        broken.callback(alter, f"GRANT pg_read_all_data TO {BACKUP_USER}")
        alter(f"REVOKE pg_read_all_data FROM {BACKUP_USER}")
        broken.callback(vaults.sandbox.clear_faults)
        vaults.fault("access_denied", "DescribeAccountAttributes", None)
        yield strongroom, broken.close


# the second region


@contextmanager
def no_way_west(vaults: Vault, receiver: Receiver) -> Iterator[tuple[Strongroom, Mend]]:
    """One instance's copies have a key that is disabled, for more than a day; the other's can be given to nobody."""

    def config(policy_of_annex: str) -> Strongroom:
        sources = {SOURCE: source(SOURCE, dumps=False), "annex": source("annex", dumps=False, policy=policy_of_annex)}
        here = {"here": {"snapshot": quick()}}
        copies = quick(copy_to=[{"region": WEST, "kms_key": vaults.key_arn("alias/other")}])
        return configure(vaults, receiver, sources=sources, policies=here, snapshot=copies)

    with another_instance(vaults.sandbox, "annex", StorageEncrypted=True), ExitStack() as broken:
        broken.enter_context(vaults.disabled_key("alias/other"))
        strongroom = config("here")
        (snapshot,) = vaults.snapshot(strongroom)
        vaults.sandbox.rds("set_snapshot_age", id=snapshot, hours=DAY_AND_AN_HOUR)
        yield strongroom, lambda: (broken.close(), config("p"))


@contextmanager
def dumps_that_stay(vaults: Vault, receiver: Receiver) -> Iterator[tuple[Strongroom, Mend]]:
    """S3 replicates none of them, and answers to nobody who reads them; one has expired."""
    own = {"dump": keep(1), "prune": AT_ONCE, "destination": vaults.replica("replicated")}
    # A reading that gets no answer ends with the grace, and no sooner.
    strongroom = configure(vaults, receiver, SOURCE, verify={"deadline": "1s"}, daemon={"grace": "2s"}, **own)
    with ExitStack() as broken, ExitStack() as mended:
        broken.enter_context(vaults.replicating(prefix="elsewhere/"))
        vaults.dump(strongroom, 2)
        broken.enter_context(vaults.holding("GetObject", {"key": "/archive.dump"}))

        def mend() -> None:
            broken.close()
            mended.enter_context(vaults.replicating())
            # S3 replicates what is new, and what has expired may then go.
            vaults.dump(strongroom)
            strongroom("verify", "--level", "2")

        yield strongroom, mend


# dumps


@contextmanager
def spoilt_dumps(vaults: Vault, receiver: Receiver) -> Iterator[tuple[Strongroom, Mend]]:
    """A bit of the newer one has flipped, and the other cannot be read; no newer one is made."""
    strongroom = configure(vaults, receiver, SOURCE, dump=quick(suspend=True))
    unreadable, bad = (vaults.archive_of(dump) for dump in vaults.dump(strongroom, 2))
    flip = {"bucket": vaults.bucket, "key": bad["key"], "offset": bad["size_bytes"] // 2}
    vaults.sandbox.s3("corrupt", **flip)
    vaults.fault("access_denied", "GetObject", None, {"key": f"{unreadable['key']}$"})

    def mend() -> None:
        vaults.sandbox.s3("corrupt", **flip)
        vaults.sandbox.clear_faults()
        strongroom("verify", "--level", "2")

    yield strongroom, mend


@contextmanager
def emptied_database(vaults: Vault, receiver: Receiver) -> Iterator[tuple[Strongroom, Mend]]:
    """Half of its rows have gone between two dumps; somebody looks, and says that this is right."""
    strongroom = configure(vaults, receiver, SOURCE, dump=quick())
    vaults.sandbox.rds("run_sql", id=INSTANCE, sql="CREATE TABLE hoard AS TABLE bars", database=DATABASE)
    try:
        vaults.dump(strongroom)
    finally:
        vaults.sandbox.rds("run_sql", id=INSTANCE, sql="DROP TABLE hoard", database=DATABASE)
    (dump,) = vaults.dump(strongroom)
    yield strongroom, lambda: strongroom("pin", dump, "--reason", "moved to the archive")


@contextmanager
def grown_database(vaults: Vault, receiver: Receiver) -> Iterator[tuple[Strongroom, Mend]]:
    """By its manifest the newer dump takes three gibibytes more: to make them would take a test too long."""
    strongroom = configure(vaults, receiver, SOURCE, dump=quick())
    _, grown = vaults.dump(strongroom, 2)
    key = f"{SOURCE}/dumps/{DATABASE}/{grown.rsplit('/', 1)[-1]}/manifest.json"
    manifest = json.loads(vaults.get(key))
    more = {"stored_bytes": manifest["stored_bytes"] + (3 << 30), "uncompressed_bytes": manifest["uncompressed_bytes"] + (12 << 30)}
    where = {"Bucket": vaults.bucket, "Key": f"{vaults.name}/{key}"}
    vaults.sandbox.client("s3").put_object(**where, Body=json.dumps(manifest | more))
    yield strongroom, lambda: vaults.dump(strongroom)


@contextmanager
def shorter_retention(vaults: Vault, receiver: Receiver) -> Iterator[tuple[Strongroom, Mend]]:
    """Somebody has changed it, and two snapshots of three would go."""
    limits = {"settle": "0s", "max_deletes_per_cycle": 1}
    vaults.snapshot(configure(vaults, receiver, SOURCE, snapshot=keep(12), prune=limits), 3)
    strongroom = configure(vaults, receiver, SOURCE, snapshot=keep(1), prune=limits)
    yield strongroom, lambda: strongroom("prune", "--confirm")


@contextmanager
def clock_of_yesterday(vaults: Vault, receiver: Receiver) -> Iterator[tuple[Strongroom, Mend]]:
    """By it the newest snapshot is of tomorrow."""
    own = {"snapshot": keep(5), "prune": AT_ONCE}
    vaults.snapshot(configure(vaults, receiver, SOURCE, **own))
    with short_clock(datetime.now(UTC) - timedelta(days=1)) as clock:
        yield configure(vaults, receiver, SOURCE, environment=clock.environment, **own), clock.set_right


@contextmanager
def drills_that_fail(vaults: Vault, receiver: Receiver) -> Iterator[tuple[Strongroom, Mend]]:
    """One finds the backup bad, and takes long to find it; the other has nothing to restore."""
    drills = {"subnet_group": f"{vaults.name}-drills", "security_groups": ["sg-0a1b2c3d"]}
    vaults.sandbox.subnet_group(drills["subnet_group"])

    def config(*paths: str, poll_interval: str = "1s", **more: Any) -> Strongroom:
        own = {"drill": {"schedule": YEARLY, "paths": list(paths), **more}, "drills": drills}
        every = {"poll_interval": poll_interval}
        return configure(vaults, receiver, sources={SOURCE: source(SOURCE)}, daemon=every, **own)

    # Nobody sees sooner that the restored instance is there; the drill afterwards must not be slower than this one.
    strongroom = config("snapshot", "pitr", rto="1s", poll_interval="4s", assertions=[NEVER])
    vaults.snapshot(strongroom)

    def mend() -> None:
        vaults.snapshot(config("snapshot"))
        strongroom("drill", SOURCE)

    yield strongroom, mend


TROUBLES = {
    "bucket": Trouble(
        bare_bucket,
        {
            "bucket_versioning": "critical",
            "bucket_encryption": "warning",
            "bucket_lock": "info",
            "bucket_public_access": "critical",
            "bucket_tls": "warning",
            "bucket_lifecycle": "warning",
        },
    ),
    "instance": Trouble(
        open_instance,
        {
            "automated_backups/open": "warning",
            "restorable_lag/open": "warning",
            "backup_window/open": "info",
            "storage_encryption/open": "warning",
            "deletion_protection/open": "warning",
            "client_version/open": "info",
            "force_tls/open": "warning",
            "certificate_expiry/open": "warning",
            "parameter_group/open": "warning",
            "snapshot_quota": "critical",
        },
    ),
    "rights": Trouble(
        roles_without_rights,
        {
            "dump_login/annex": "warning",
            "login_expiry/vault": "warning",
            "dump_rights/vault": "warning",
            "protection_unseen": "info",
        },
    ),
    "keys": Trouble(
        no_way_west, {"key_state/vault": "critical", "snapshot_copy/vault": "warning", "managed_key/annex": "warning"}
    ),
    "replication": Trouble(
        dumps_that_stay,
        {
            "replication/vault": "critical",
            "bucket_replication": "critical",
            "prune_held/vault": "info",
            "verification_overdue/vault": "warning",
        },
    ),
    "dumps": Trouble(spoilt_dumps, {"dump_bad/vault": "critical", "dump_unreadable/vault": "critical"}),
    "rows": Trouble(emptied_database, {"anomaly/vault": "warning"}),
    "bytes": Trouble(grown_database, {"storage_growth/vault": "warning"}),
    "retention": Trouble(shorter_retention, {"retention_shrink": "critical"}),
    "clock": Trouble(clock_of_yesterday, {"clock_skew": "critical", "future_dated/vault": "warning"}),
    "drills": Trouble(
        drills_that_fail,
        {"drill_failed/vault": "critical", "drill_overdue/vault": "warning", "drill_objective/vault": "warning"},
    ),
}

WITHOUT = {
    "config_invalid": "no daemon starts with a configuration that it cannot use, so there is none to survive a kill: it has "
    "a test of its own in test_alerts.py",
}
"""Alerts that do not lead the life of the others, and why."""


def test_every_alert_that_there_is_has_its_cause_made(vaults: Vault) -> None:
    series = vaults.configure(SOURCE, snapshot=quick()).start().metrics()
    there_are = {found[1] for name in series if (found := re.match(r'strongroom_alerts_firing\{alert="(\w+)"', name))}
    made = [alert for alert, *_ in OF_BACKUPS] + [alert for trouble in TROUBLES.values() for alert in trouble.alerts]
    names = [alert.split("/")[0] for alert in made]
    assert sorted([*names, *WITHOUT]) == sorted(there_are), "each once"


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=list(TROUBLES))
def test_alerts_on_what_was_found_are_told_once_survive_a_kill_and_are_resolved(
    vaults: Vault, receiver: Receiver, trouble: Trouble
) -> None:
    with trouble.cause(vaults, receiver) as (strongroom, mend):
        assert_told_once(vaults, receiver, strongroom, trouble.alerts, mend)
