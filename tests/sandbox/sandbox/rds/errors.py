"""RDS's errors by their code on the wire. moto has some of them with other codes or texts, so all of ours are here."""

from __future__ import annotations

from moto.core.exceptions import ServiceException


class RdsError(ServiceException):
    """A refusal as AWS words it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)


def instance_not_found(identifier: str) -> RdsError:
    return RdsError("DBInstanceNotFound", f"DBInstance {identifier} not found.")


def instance_exists() -> RdsError:
    return RdsError("DBInstanceAlreadyExists", "DB instance already exists")


def instance_state(message: str) -> RdsError:
    return RdsError("InvalidDBInstanceState", message)


def instance_quota() -> RdsError:
    return RdsError("InstanceQuotaExceeded", "DB Instance quota exceeded")


def parameter_group_not_found(name: str) -> RdsError:
    return RdsError("DBParameterGroupNotFound", f"DBParameterGroup not found: {name}")


def snapshot_not_found(identifier: str) -> RdsError:
    return RdsError("DBSnapshotNotFound", f"DBSnapshot {identifier} not found.")


def snapshot_exists(identifier: str) -> RdsError:
    text = f"Cannot create the snapshot because a snapshot with the identifier {identifier} already exists."
    return RdsError("DBSnapshotAlreadyExists", text)


def snapshot_state(message: str) -> RdsError:
    return RdsError("InvalidDBSnapshotState", message)


def snapshot_quota(quota: int) -> RdsError:
    return RdsError("SnapshotQuotaExceeded", f"Cannot create more than {quota} manual snapshots")


def key_not_accessible(key: str) -> RdsError:
    text = f"The specified KMS key [{key}] does not exist, is not enabled or you do not have permissions to access it."
    return RdsError("KMSKeyNotAccessibleFault", text)


def invalid_value(message: str) -> RdsError:
    return RdsError("InvalidParameterValue", message)


def invalid_combination(message: str) -> RdsError:
    return RdsError("InvalidParameterCombination", message)
