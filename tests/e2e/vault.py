"""A small source whose backups take a moment, and a second region: for tests of what becomes of backups afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from case import Case, Config, quick
from postgres_tools import MASTER
from sandbox_process import BACKUP_USER, BUCKET, KMS_ALIAS, MASTER_PASSWORD, REGION, Sandbox, Seed, role
from strongroom_process import Daemon, Strongroom
from waiting import wait_until

SOURCE = "vault"
INSTANCE = f"bank-{SOURCE}"
DATABASE = SOURCE
ROWS = 20_000
WEST = "us-west-2"
REPLICA_BUCKET = f"{BUCKET}-dr"
LOCKED_BUCKET = f"{BUCKET}-locked"
SPEED = "10"
"""What takes RDS half a second in the sandbox takes it a tenth of that."""
COPIES_AT_ONCE = 2
"""Snapshot copies that may be under way in a region; AWS allows twenty."""
AT_ONCE: Config = {"settle": "0s"}
"""The daemon prunes as soon as something has expired."""


def seed() -> Seed:
    """One small vault, encrypted; a bucket, one in the second region, and one that locks what it is given."""
    hashes = f"CREATE TABLE bars AS SELECT n, sha512(int4send(n)) AS seal FROM generate_series(1, {ROWS}) AS n"
    readers = f"GRANT pg_read_all_data TO {BACKUP_USER};"
    key = KMS_ALIAS.removeprefix("alias/")
    lock = {"Mode": "COMPLIANCE", "Days": 1}
    bucket = {"versioning": True, "kms": KMS_ALIAS, "hardened": True}
    return {
        "regions": [REGION, WEST],
        "kms_keys": [{"alias": key}, {"alias": key, "region": WEST}, {"alias": "other", "region": WEST}],
        "buckets": [
            {"name": BUCKET, **bucket},
            {"name": REPLICA_BUCKET, "region": WEST, **bucket},
            {"name": LOCKED_BUCKET, "object_lock": lock, **bucket},
        ],
        "quotas": {"copies": COPIES_AT_ONCE, "snapshots": 1000},
        "s3": {"replication_delay": 0.1},
        "instances": [
            {
                "id": INSTANCE,
                "databases": [DATABASE],
                "sql": hashes,
                "master_password": MASTER_PASSWORD,
                "backup_retention": 0,
                "kms_key": KMS_ALIAS,
                "copy_tags_to_snapshot": True,
                "roles": [role(f"rds/{SOURCE}/backup", readers)],
            }
        ],
    }


def keep(last: int, **more: Any) -> Config:
    """A schedule whose backups expire at once, but for the newest so many."""
    return quick(keep_last=last, min_keep=1, min_age="10ms", **more)


@contextmanager
def another_instance(sandbox: Sandbox, name: str, **more: Any) -> Iterator[None]:
    """An instance beside the vault, with a database and a login of that name; gone at the end of the block."""
    secrets = sandbox.client("secretsmanager")
    login = {"username": MASTER, "password": MASTER_PASSWORD}
    secrets.create_secret(Name=f"rds/{name}/backup", SecretString=json.dumps(login))
    create_instance(sandbox, name, **more)
    try:
        yield
    finally:
        delete_instance(sandbox, name)
        secrets.delete_secret(SecretId=f"rds/{name}/backup", ForceDeleteWithoutRecovery=True)


def create_instance(sandbox: Sandbox, name: str, **more: Any) -> None:
    instance = f"bank-{name}"
    usual = {"Engine": "postgres", "DBInstanceClass": "db.t3.micro", "AllocatedStorage": 20, "BackupRetentionPeriod": 0}
    sandbox.client("rds").create_db_instance(
        DBInstanceIdentifier=instance,
        DBName=name,
        MasterUsername=MASTER,
        MasterUserPassword=MASTER_PASSWORD,
        **(usual | more),
    )
    wait_until(lambda: sandbox.instance(instance)["DBInstanceStatus"] == "available", f"{instance} is available")


def delete_instance(sandbox: Sandbox, name: str) -> None:
    rds = sandbox.client("rds")
    rds.modify_db_instance(DBInstanceIdentifier=f"bank-{name}", DeletionProtection=False, ApplyImmediately=True)
    rds.delete_db_instance(DBInstanceIdentifier=f"bank-{name}", SkipFinalSnapshot=True)

    def is_gone() -> bool:
        found = rds.describe_db_instances()["DBInstances"]
        return all(instance["DBInstanceIdentifier"] != f"bank-{name}" for instance in found)

    wait_until(is_gone, f"bank-{name} is gone")


class Vault(Case):
    """One test's own corner of it."""

    def configure_vault(self, **changes: Any) -> Strongroom:
        """Prunes at once, unless told otherwise."""
        return self.configure(SOURCE, **({"prune": AT_ONCE} | changes))

    # backups on demand: each is a slot of its own

    def snapshot(self, strongroom: Strongroom, count: int = 1) -> list[str]:
        """Makes snapshots one after the other; their ids."""
        return [self._made(strongroom, "snapshot")["snapshot"] for _ in range(count)]

    def dump(self, strongroom: Strongroom, count: int = 1) -> list[str]:
        """Makes dumps one after the other; their ids."""
        made = [self._made(strongroom, "dump") for _ in range(count)]
        return [f"{SOURCE}/{DATABASE}/{record['run'].split('-')[0]}" for record in made]

    def _made(self, strongroom: Strongroom, kind: str) -> dict[str, Any]:
        before = {record["run"] for record in self.runs(SOURCE, kind)}
        # A slot is a second, and so is a run of it.
        wait_until(lambda: all(f"{datetime.now(UTC):%Y%m%dt%H%M%Sz}-" not in run for run in before), "a second is over")
        strongroom("backup", kind, SOURCE)
        (made,) = [record for record in self.runs(SOURCE, kind) if record["run"] not in before]
        return made

    def wait_for_rounds(self, daemon: Daemon, rounds: int = 2) -> None:
        """Waits until the daemon has looked so many times more."""

        def looks() -> float:
            return daemon.metric("strongroom_reconcile_duration_seconds_count")

        wanted = looks() + rounds
        daemon.wait_for(lambda: looks() >= wanted, f"the daemon looks {rounds} times", 60)

    def finding(self, daemon: Daemon, check: str, severity: str = "critical", source: str = "") -> float:
        """How many findings of a check stand, as the metrics have it."""
        return daemon.metric("strongroom_posture_findings", source=source, check=check, severity=severity)

    def deletes(self) -> list[str]:
        """The deletions that strongroom has asked AWS for."""
        names = ("DeleteObjects", "DeleteObject", "DeleteDBSnapshot")
        return [call["operation"] for name in names for call in self.calls(name)]

    # what the CLI says

    def fates(self, strongroom: Strongroom, *words: str) -> dict[str, str]:
        """What `strongroom prune` would do with each recovery point of the first region."""
        listed = strongroom("prune", "--json", *words, code=None).json()
        return {point["id"]: point["fate"] for point in listed if point["region"] == REGION}

    def why(self, strongroom: Strongroom, point: str, region: str = REGION) -> str:
        """What `strongroom plan` says about one recovery point: what the daemon would do by itself, and why."""
        found = [line for line in strongroom.plan()["retention"] if (line["id"], line["region"]) == (point, region)]
        assert len(found) == 1, f"{len(found)} lines about {point} in {region}"
        return f"{found[0]['fate']}: {found[0]['why']}"

    def findings(self, strongroom: Strongroom, check: str) -> list[str]:
        return [finding["text"] for finding in strongroom.plan()["findings"] if finding["check"] == check]

    def listed(self, strongroom: Strongroom, plane: str = "primary") -> dict[str, str]:
        """State by id of each recovery point of a plane."""
        points = strongroom("list", "--json", code=None).json()
        return {point["id"]: point["state"] for point in points if point["plane"] == plane}

    # what the stores have

    def versions(self, below: str = "", bucket: str | None = None) -> list[dict[str, Any]]:
        """Every version and delete marker below this test's prefix."""
        pages = self.sandbox.client("s3").get_paginator("list_object_versions")
        found = pages.paginate(Bucket=bucket or self.bucket, Prefix=f"{self.name}/{below}")
        return [item for page in found for kind in ("Versions", "DeleteMarkers") for item in page.get(kind, [])]

    def versions_of(self, dump: str, bucket: str | None = None) -> list[dict[str, Any]]:
        source, database, slot = dump.split("/")
        return self.versions(f"{source}/dumps/{database}/{slot}/", bucket)

    def prune_record(self, dump: str, plane: str = "primary") -> dict[str, Any] | None:
        source, database, slot = dump.split("/")
        try:
            found: dict[str, Any] = json.loads(self.get(f"{source}/prunes/{plane}/{database}/{slot}.json"))
            return found
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchKey", error
            return None

    def manifest_of(self, dump: str) -> dict[str, Any]:
        slot = dump.rsplit("/", 1)[1]
        (manifest,) = [manifest for manifest in self.manifests(SOURCE) if manifest["slot"] == slot]
        return manifest

    def archive_of(self, dump: str) -> dict[str, Any]:
        """The archive, as the manifest describes it."""
        objects = self.manifest_of(dump)["objects"]
        (archive,) = [item for item in objects if item["key"].endswith("/archive.dump.zst")]
        found: dict[str, Any] = archive
        return found

    # the second region

    @contextmanager
    def replicating(self, key: str = KMS_ALIAS, prefix: str | None = None) -> Iterator[None]:
        """S3 replicates this test's objects, or those below another prefix, and encrypts them with a key there."""
        rule = {
            "ID": "replica",
            "Status": "Enabled",
            "Priority": 1,
            "Filter": {"Prefix": f"{self.name}/" if prefix is None else prefix},
            "DeleteMarkerReplication": {"Status": "Disabled"},
            "SourceSelectionCriteria": {"SseKmsEncryptedObjects": {"Status": "Enabled"}},
            "Destination": {
                "Bucket": f"arn:aws:s3:::{REPLICA_BUCKET}",
                "EncryptionConfiguration": {"ReplicaKmsKeyID": self.key_arn(key)},
            },
        }
        s3 = self.sandbox.client("s3")
        role = "arn:aws:iam::123456789012:role/replication"
        s3.put_bucket_replication(Bucket=self.bucket, ReplicationConfiguration={"Role": role, "Rules": [rule]})
        try:
            yield
        finally:
            s3.delete_bucket_replication(Bucket=self.bucket)

    @contextmanager
    def slow_replication(self) -> Iterator[None]:
        """What is written in this block stays PENDING until it is flushed."""
        self.sandbox.s3("replication-delay", seconds=3600)
        try:
            yield
        finally:
            self.sandbox.s3("replication-delay", seconds=0.1)
            self.sandbox.s3("flush-replication")

    @contextmanager
    def disabled_key(self, alias: str) -> Iterator[None]:
        """A key of the second region cannot be used until the end of the block."""
        kms, key = self.sandbox.client("kms", WEST), self.key_arn(alias)
        kms.disable_key(KeyId=key)
        try:
            yield
        finally:
            kms.enable_key(KeyId=key)

    def replica(self, mode: str) -> Config:
        """The replica bucket, with the key that its objects must be encrypted with, for `destination`."""
        return {"replica": {"bucket": REPLICA_BUCKET, "region": WEST, "mode": mode, "kms_key": self.key_arn(KMS_ALIAS)}}

    def key_arn(self, alias: str, region: str = WEST) -> str:
        described = self.sandbox.client("kms", region).describe_key(KeyId=alias)
        arn: str = described["KeyMetadata"]["Arn"]
        return arn

    def copies(self) -> list[dict[str, Any]]:
        """The snapshots with this test's prefix in the second region, by id."""
        pages = self.sandbox.client("rds", WEST).get_paginator("describe_db_snapshots")
        found = [item for page in pages.paginate(SnapshotType="manual") for item in page["DBSnapshots"]]
        own = [item for item in found if item["DBSnapshotIdentifier"].startswith(f"{self.name}-")]
        return sorted(own, key=lambda item: str(item["DBSnapshotIdentifier"]))

    def copy_states(self) -> dict[str, str]:
        return {copy["DBSnapshotIdentifier"]: copy["Status"] for copy in self.copies()}
