"""What somebody with a role of deploy/terraform might try, and whose function it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from case import Case
from roles import ACCOUNT, APPLICATION_SECRET, SUBNET_GROUP, TOPIC, Credentials, Roles, is_refused
from sandbox_process import KMS_ALIAS, REGION
from vault import INSTANCE, REPLICA_BUCKET, SOURCE, WEST

Parameters = dict[str, Any]


@dataclass(frozen=True)
class Attempt:
    """A call. Most fail for a reason that comes after the rights."""

    what: str
    functions: tuple[str, ...]
    """That may; none where nobody may."""
    service: str
    operation: str
    parameters: Parameters = field(default_factory=dict)
    region: str = REGION

    def is_allowed(self, roles: Roles, credentials: Credentials) -> bool:
        client = roles.client(self.service, credentials, self.region)
        return not is_refused(getattr(client, self.operation), **self.parameters)


NOBODY = ()
READERS = ("observe", "verify", "dump-write")
"""Who verifies asks for records as well, and who writes must see whether it arrived."""


def attempts(case: Case) -> list[Attempt]:
    return [*looks(case), *of_snapshots(case), *of_instances(case), *of_objects(case), *of_the_rest()]


def marked(case: Case, name: str) -> Parameters:
    return {"Tags": [{"Key": "strongroom:owner", "Value": f"{case.name}/{name}"}]}


def looks(case: Case) -> list[Attempt]:
    bucket, log = {"Bucket": case.bucket}, {"DBInstanceIdentifier": INSTANCE, "LogFileName": "x"}
    return [
        Attempt("look at snapshots", ("observe",), "rds", "describe_db_snapshots"),
        Attempt("look at a bucket", ("observe",), "s3", "get_bucket_policy", bucket),
        Attempt("look at a key", ("observe",), "kms", "describe_key", {"KeyId": KMS_ALIAS}),
        Attempt("read a log", ("observe",), "rds", "download_db_log_file_portion", log),
    ]


def of_snapshots(case: Case) -> list[Attempt]:
    own, foreign = f"{case.name}-x", "by-hand"
    make = {"DBSnapshotIdentifier": own, "DBInstanceIdentifier": INSTANCE}
    other_name, other_instance = {"DBSnapshotIdentifier": foreign}, {"DBInstanceIdentifier": "other"}
    mark = marked(case, own)
    copy = {"SourceDBSnapshotIdentifier": f"arn:aws:rds:{REGION}:{ACCOUNT}:snapshot:{own}", **mark}
    give = {"DBSnapshotIdentifier": own, "AttributeName": "restore", "ValuesToAdd": ["all"]}
    unmarked, others = ({"DBSnapshotIdentifier": f"{case.name}-{end}"} for end in ("unmarked", "others"))
    return [
        Attempt("make a marked snapshot", ("snapshot",), "rds", "create_db_snapshot", make | mark),
        Attempt("make one without a mark", NOBODY, "rds", "create_db_snapshot", make),
        Attempt("make one of another name", NOBODY, "rds", "create_db_snapshot", make | mark | other_name),
        Attempt("make one of another instance", NOBODY, "rds", "create_db_snapshot", make | mark | other_instance),
        Attempt(
            "copy a snapshot", ("copy",), "rds", "copy_db_snapshot", copy | {"TargetDBSnapshotIdentifier": own}, WEST
        ),
        Attempt(
            "copy to another name",
            NOBODY,
            "rds",
            "copy_db_snapshot",
            copy | {"TargetDBSnapshotIdentifier": foreign},
            WEST,
        ),
        Attempt("delete a snapshot by hand", NOBODY, "rds", "delete_db_snapshot", other_name),
        Attempt("delete one without a mark", NOBODY, "rds", "delete_db_snapshot", unmarked),
        Attempt("delete one with another's mark", NOBODY, "rds", "delete_db_snapshot", others),
        Attempt("give a snapshot away", NOBODY, "rds", "modify_db_snapshot_attribute", give),
    ]


def of_instances(case: Case) -> list[Attempt]:
    drill, production = {"DBInstanceIdentifier": f"{case.name}-drill-x"}, {"DBInstanceIdentifier": INSTANCE}
    restore = drill | {"DBSnapshotIdentifier": f"{case.name}-x", "DBSubnetGroupName": SUBNET_GROUP}
    mark = marked(case, f"{case.name}-drill-x")
    operation = "restore_db_instance_from_db_snapshot"
    other_network = {"DBSubnetGroupName": "bank-db"}
    return [
        Attempt("restore into a drill", ("drill",), "rds", operation, restore | mark),
        Attempt("restore into a drill without a mark", NOBODY, "rds", operation, restore),
        Attempt("restore elsewhere", NOBODY, "rds", operation, restore | mark | {"DBInstanceIdentifier": "x"}),
        Attempt("restore into another network", NOBODY, "rds", operation, restore | mark | other_network),
        Attempt("change production", NOBODY, "rds", "modify_db_instance", production | {"BackupRetentionPeriod": 0}),
        Attempt("delete production", NOBODY, "rds", "delete_db_instance", production | {"SkipFinalSnapshot": True}),
        Attempt("reboot production", NOBODY, "rds", "reboot_db_instance", production),
    ]


def of_objects(case: Case) -> list[Attempt]:
    bucket = {"Bucket": case.bucket}
    below, elsewhere, record = (
        bucket | {"Key": key} for key in (f"{case.name}/x", "elsewhere/x", f"{case.name}/none.json")
    )
    replica = {"Bucket": REPLICA_BUCKET, "Key": f"{case.name}/x"}
    body, version = {"Body": b"x"}, {"VersionId": "x"}
    suspended = {"VersioningConfiguration": {"Status": "Suspended"}}
    return [
        Attempt("read a record", READERS, "s3", "get_object", record),
        Attempt("read a dump", ("verify", "dump-write"), "s3", "get_object", below),
        Attempt("read a replica", ("verify",), "s3", "get_object", replica, WEST),
        Attempt("write a dump", ("dump-write",), "s3", "put_object", below | body),
        Attempt("write elsewhere", NOBODY, "s3", "put_object", elsewhere | body),
        Attempt("write a replica", NOBODY, "s3", "put_object", replica | body, WEST),
        Attempt("hide a dump", ("prune",), "s3", "delete_object", bucket | {"Key": f"{case.name}/none"}),
        Attempt("delete a version", ("prune",), "s3", "delete_object", below | version),
        Attempt("delete a version elsewhere", NOBODY, "s3", "delete_object", elsewhere | version),
        Attempt("change a bucket's policy", NOBODY, "s3", "put_bucket_policy", bucket | {"Policy": "{}"}),
        Attempt("switch versioning off", NOBODY, "s3", "put_bucket_versioning", bucket | suspended),
        Attempt("stop replication", NOBODY, "s3", "delete_bucket_replication", bucket),
    ]


def of_the_rest() -> list[Attempt]:
    others = {"TopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:others", "Message": "x"}
    own_topic = others | {"TopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:{TOPIC}"}
    metric = {"Namespace": "AWS/RDS", "MetricData": [{"MetricName": "x", "Value": 1}]}
    login, application = {"SecretId": f"rds/{SOURCE}/backup"}, {"SecretId": APPLICATION_SECRET}
    change = application | {"SecretString": "{}"}
    return [
        Attempt("read a login", ("dump-write", "drill"), "secretsmanager", "get_secret_value", login),
        Attempt("read another secret", NOBODY, "secretsmanager", "get_secret_value", {"SecretId": "rds/other"}),
        Attempt("write an application's secret", NOBODY, "secretsmanager", "put_secret_value", change),
        Attempt("tell the topic", ("tell",), "sns", "publish", own_topic),
        Attempt("tell another topic", NOBODY, "sns", "publish", others),
        Attempt("publish elsewhere", NOBODY, "cloudwatch", "put_metric_data", metric),
        Attempt("publish numbers", ("tell",), "cloudwatch", "put_metric_data", metric | {"Namespace": "Strongroom"}),
        Attempt("delete a key", NOBODY, "kms", "schedule_key_deletion", {"KeyId": KMS_ALIAS}),
        Attempt("make a user", NOBODY, "iam", "create_user", {"UserName": "x"}),
    ]
