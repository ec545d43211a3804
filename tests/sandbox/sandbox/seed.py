"""The seed file: what it may say, and how it is made true through the sandbox's own endpoint with boto3."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from .options import Options

TOP = {"regions", "instances", "buckets", "secrets", "kms_keys", "sns_topics", "timing", "quotas", "s3"}
INSTANCE = (
    {"id", "region", "engine_version", "databases", "sql_files", "sql", "psql_vars", "master_user", "master_password"}
    | {"backup_retention", "tags", "secret", "roles", "snapshots", "instance_class", "allocated_storage", "kms_key"}
    | {"copy_tags_to_snapshot", "deletion_protection", "force_ssl", "iam", "multi_az"}
)
ROLE = {"name", "password", "grants_sql", "secret", "iam"}
BUCKET = {"name", "region", "versioning", "kms", "object_lock", "replica", "hardened"}
REPLICA = {"bucket", "region"}
S3 = {"memory_limit", "replication_delay", "min_part_size"}
SNAPSHOT = {"id", "tags"}
KMS_KEY = {"alias", "region"}
TOPIC = {"name", "region"}

MASTER_USER = "master"
MASTER_PASSWORD = "sandbox-master-password"


class SeedError(ValueError):
    """The seed file says something that is not understood; the text names the key."""


def load(path: Path | None) -> dict[str, Any]:
    """Reads and checks the file; relative `sql_files` are taken from the file's own directory."""
    if path is None:
        return {}
    try:
        seed: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise SeedError(f"{path}: {error}") from error
    check(seed)
    for instance in seed.get("instances", []):
        instance["sql_files"] = [str(path.parent / name) for name in instance.get("sql_files", [])]
    return seed


def check(seed: dict[str, Any]) -> None:
    _known(seed, TOP, "")
    _known(seed.get("s3", {}), S3, "s3")
    for number, instance in enumerate(seed.get("instances", [])):
        where = f"instances[{number}]"
        _known(instance, INSTANCE, where, required={"id"})
        for index, role in enumerate(instance.get("roles", [])):
            _known(role, ROLE, f"{where}.roles[{index}]", required={"name"})
        for index, snapshot in enumerate(instance.get("snapshots", [])):
            _known(snapshot, SNAPSHOT, f"{where}.snapshots[{index}]", required={"id"})
    for number, bucket in enumerate(seed.get("buckets", [])):
        _known(bucket, BUCKET, f"buckets[{number}]", required={"name"})
        if bucket.get("replica"):
            _known(bucket["replica"], REPLICA, f"buckets[{number}].replica", required=REPLICA)
    for number, key in enumerate(seed.get("kms_keys", [])):
        _known(key, KMS_KEY, f"kms_keys[{number}]", required={"alias"})
    for number, topic in enumerate(seed.get("sns_topics", [])):
        if not isinstance(topic, str):
            _known(topic, TOPIC, f"sns_topics[{number}]", required={"name"})


def _known(value: Any, known: set[str], where: str, required: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    if not isinstance(value, dict):
        raise SeedError(f"seed {where or 'file'} must be an object")
    for key in value:
        if key not in known:
            place = f"{where}.{key}" if where else key
            raise SeedError(f"unknown seed key {place}; known: {', '.join(sorted(known))}")
    for key in required - set(value):
        raise SeedError(f"seed {where} lacks the key {key}")


class Seeder:
    """Applies a seed and collects what the start-up line tells."""

    def __init__(self, options: Options, endpoint: str) -> None:
        self.options = options
        self.endpoint = endpoint
        self.seed = options.seed
        self.instances: dict[str, dict[str, Any]] = {}
        self._clients: dict[tuple[str, str], Any] = {}

    def client(self, service: str, region: str | None) -> Any:
        import boto3
        from botocore.config import Config

        region = region or self.options.regions[0]
        if (service, region) not in self._clients:
            self._clients[service, region] = boto3.client(
                service,
                endpoint_url=self.endpoint,
                region_name=region,
                aws_access_key_id="seed",
                aws_secret_access_key="seed",
                config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
            )
        return self._clients[service, region]

    def apply(self) -> None:
        """Does everything the seed says; states take no longer than the work itself meanwhile."""
        from .rds.world import world

        world().timing = self.options.timing.without_waiting()
        self._apply()
        world().timing = self.options.timing

    def _apply(self) -> None:
        for key in self.seed.get("kms_keys", []):
            kms = self.client("kms", key.get("region"))
            arn = kms.create_key()["KeyMetadata"]["Arn"]
            kms.create_alias(AliasName=f"alias/{key['alias'].removeprefix('alias/')}", TargetKeyId=arn)
        for topic in self.seed.get("sns_topics", []):
            topic = {"name": topic} if isinstance(topic, str) else topic
            self.client("sns", topic.get("region")).create_topic(Name=topic["name"])
        for name, value in self.seed.get("secrets", {}).items():
            self._secret(None, name, value)
        for instance in self.seed.get("instances", []):
            self._create_instance(instance)
        self._create_buckets()
        for instance in self.seed.get("instances", []):
            self._fill_instance(instance)

    # Instances -----------------------------------------------------------------------------------------------------

    def _create_instance(self, instance: dict[str, Any]) -> None:
        """Starts it; instances of one seed come up side by side."""
        from .rds import instances as rds_instances
        from .rds.world import world

        databases = instance.get("databases") or ["postgres"]
        params: dict[str, Any] = {
            "DBInstanceIdentifier": instance["id"],
            "Engine": "postgres",
            "EngineVersion": instance.get("engine_version"),
            "DBInstanceClass": instance.get("instance_class", "db.t3.micro"),
            "AllocatedStorage": instance.get("allocated_storage", 20),
            "MasterUsername": instance.get("master_user", MASTER_USER),
            "MasterUserPassword": instance.get("master_password", MASTER_PASSWORD),
            "BackupRetentionPeriod": instance.get("backup_retention", 7),
            "CopyTagsToSnapshot": instance.get("copy_tags_to_snapshot", False),
            "DeletionProtection": instance.get("deletion_protection", False),
            "MultiAZ": instance.get("multi_az", False),
            "Tags": [{"Key": key, "Value": value} for key, value in instance.get("tags", {}).items()],
            "EnableIAMDatabaseAuthentication": instance.get("iam", False),
        }
        if databases[0] != "postgres":
            params["DBName"] = databases[0]
        if instance.get("kms_key"):
            params |= {"StorageEncrypted": True, "KmsKeyId": instance["kms_key"]}
        extra = {
            "force_ssl": instance.get("force_ssl", True),
            "iam_roles": tuple(role["name"] for role in instance.get("roles", []) if role.get("iam")),
        }
        with world().lock:
            rds_instances.create(self._backend(instance), params, extra)

    def _fill_instance(self, instance: dict[str, Any]) -> None:
        cluster = self._wait(instance)
        user = instance.get("master_user", MASTER_USER)
        password = instance.get("master_password", MASTER_PASSWORD)
        databases = instance.get("databases") or ["postgres"]
        for database in databases[1:]:
            cluster.create_database(database, user)
        for role in instance.get("roles", []):
            self._create_role(cluster, role)
        variables = {key: str(value) for key, value in instance.get("psql_vars", {}).items()}
        for name in instance.get("sql_files", []):
            cluster.run_sql(databases[0], user, Path(name), variables)
        if instance.get("sql"):
            cluster.run_sql(databases[0], user, instance["sql"], variables)
        for role in instance.get("roles", []):
            if role.get("grants_sql"):
                for database in databases:
                    cluster.run_sql(database, "rdsadmin", role["grants_sql"], variables)
        where = {"host": "localhost", "port": cluster.port, "dbname": databases[0], "engine": "postgres"}
        if instance.get("secret"):
            self._secret(instance.get("region"), instance["secret"], {"username": user, "password": password} | where)
        for role in instance.get("roles", []):
            if role.get("secret"):
                login = {"username": role["name"], "password": role.get("password", "")}
                self._secret(instance.get("region"), role["secret"], login | where)
        for snapshot in instance.get("snapshots", []):
            self._snapshot(instance, snapshot)
        self.instances[instance["id"]] = {
            "host": "localhost",
            "port": cluster.port,
            "user": user,
            "password": password,
            "databases": databases,
            "resource_id": cluster.name,
            "region": instance.get("region", self.options.regions[0]),
        }

    def _create_role(self, cluster: Any, role: dict[str, Any]) -> None:
        from psycopg import sql

        cluster.admin(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role["name"])))
        if role.get("password"):
            cluster.set_password(role["name"], role["password"])

    def _backend(self, instance: dict[str, Any]) -> Any:
        from moto.rds.models import rds_backends

        region = instance.get("region", self.options.regions[0])
        if region not in self.options.regions:
            raise SeedError(f"instance {instance['id']}: its region {region} is not among the seed's regions")
        return rds_backends[self.options.account_id][region]

    def _wait(self, instance: dict[str, Any]) -> Any:
        """The instance's cluster, once it is available."""
        from .rds.model import instances_of

        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            found = instances_of(self._backend(instance))[instance["id"].lower()]
            if found.status == "available":
                return found.cluster
            if found.status == "failed":
                break
            time.sleep(0.02)
        raise RuntimeError(f"instance {instance['id']} did not become available; see the log")

    def _snapshot(self, instance: dict[str, Any], snapshot: dict[str, Any]) -> None:
        from .rds.model import instances_of, snapshots_of

        rds = self.client("rds", instance.get("region"))
        tags = [{"Key": key, "Value": value} for key, value in snapshot.get("tags", {}).items()]
        rds.create_db_snapshot(DBInstanceIdentifier=instance["id"], DBSnapshotIdentifier=snapshot["id"], Tags=tags)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            found = self._backend(instance)
            done = snapshots_of(found)[snapshot["id"].lower()].status == "available"
            if done and instances_of(found)[instance["id"].lower()].status == "available":
                return
            time.sleep(0.02)
        raise RuntimeError(f"snapshot {snapshot['id']} did not become available; see the log")

    def _secret(self, region: str | None, name: str, value: Any) -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        self.client("secretsmanager", region).create_secret(Name=name, SecretString=text)

    # Buckets -------------------------------------------------------------------------------------------------------

    def _create_buckets(self) -> None:
        buckets = self.seed.get("buckets", [])
        for bucket in buckets:
            region = bucket.get("region") or self.options.regions[0]
            s3 = self.client("s3", region)
            arguments: dict[str, Any] = {"Bucket": bucket["name"]}
            if region != "us-east-1":
                arguments["CreateBucketConfiguration"] = {"LocationConstraint": region}
            if bucket.get("object_lock"):
                arguments["ObjectLockEnabledForBucket"] = True
            s3.create_bucket(**arguments)
            if bucket.get("versioning") or bucket.get("replica"):
                s3.put_bucket_versioning(Bucket=bucket["name"], VersioningConfiguration={"Status": "Enabled"})
            if isinstance(bucket.get("object_lock"), dict):
                configuration = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": bucket["object_lock"]}}
                s3.put_object_lock_configuration(Bucket=bucket["name"], ObjectLockConfiguration=configuration)
            if bucket.get("kms"):
                self._encrypt(s3, bucket, region)
            if bucket.get("hardened"):
                self._harden(s3, bucket["name"])
        for bucket in buckets:
            if bucket.get("replica"):
                self._replicate(bucket)

    def _harden(self, s3: Any, name: str) -> None:
        """As a bucket for backups should be: closed to the public and to plain HTTP, and rid of unfinished uploads."""
        blocks = dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
        )
        s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=blocks)
        arn = f"arn:aws:s3:::{name}"
        deny = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        s3.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
        rule = {
            "ID": "unfinished-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        }
        s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [rule]})

    def _encrypt(self, s3: Any, bucket: dict[str, Any], region: str) -> None:
        """`true` makes a key; a string is an alias or ARN that exists."""
        key = bucket["kms"]
        if key is True:
            key = self.client("kms", region).create_key()["KeyMetadata"]["Arn"]
        rule = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
        s3.put_bucket_encryption(
            Bucket=bucket["name"],
            ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": rule}]},
        )

    def _replicate(self, bucket: dict[str, Any]) -> None:
        rule = {
            "ID": "replica",
            "Status": "Enabled",
            "Priority": 1,
            "Filter": {"Prefix": ""},
            "DeleteMarkerReplication": {"Status": "Disabled"},
            "Destination": {"Bucket": f"arn:aws:s3:::{bucket['replica']['bucket']}"},
        }
        role = f"arn:aws:iam::{self.options.account_id}:role/replication"
        self.client("s3", bucket.get("region")).put_bucket_replication(
            Bucket=bucket["name"], ReplicationConfiguration={"Role": role, "Rules": [rule]}
        )
