//! DB instances as they are set up, and as a restore makes new ones.

use jiff::Timestamp;

use super::id::{InstanceId, ResourceId, SnapshotId};
use super::inventory::Instance;
use super::lease::LeaseId;
use super::tags::Tags;

/// How an instance is set up: what a restore has to carry over by hand, because RDS gives a new instance its defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSetup {
    /// Class, such as `db.r6g.large`.
    pub class: String,
    /// Where it is in the network.
    pub network: Network,
    /// Name of its parameter group.
    pub parameter_group: Option<String>,
    /// Whether it has a standby in another zone.
    pub multi_az: bool,
    /// Whether it has a public address.
    pub is_public: bool,
    /// Whether users may log in with IAM tokens.
    pub iam_login: bool,
    /// Whether RDS refuses to delete it.
    pub deletion_protection: bool,
    /// Days that automated backups are kept; 0: none are made.
    pub automated_backup_days: u32,
    /// Whether its snapshots get its tags.
    pub copies_tags_to_snapshots: bool,
    /// Whether RDS installs minor versions by itself.
    pub minor_upgrades: bool,
    /// Certificate authority of its TLS certificate.
    pub ca: Option<String>,
    /// Logs that are exported to CloudWatch.
    pub log_exports: Vec<String>,
    /// Whether the engine may go on, for a fee, once its community support has ended.
    pub lifecycle_support: Option<String>,
    /// Such as `gp3`.
    pub storage_type: Option<String>,
    /// Provisioned operations in a second.
    pub iops: Option<u32>,
    /// Provisioned throughput in MiB/s.
    pub storage_throughput: Option<u32>,
    /// Tags.
    pub tags: Tags,
}

/// Where an instance is in the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Name of its subnet group.
    pub subnet_group: Option<String>,
    /// Ids of its security groups.
    pub security_groups: Vec<String>,
}

/// An instance with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceDetails {
    /// What matters elsewhere, too.
    pub instance: Instance,
    /// How it is set up.
    pub setup: InstanceSetup,
    /// Its master user.
    pub master_user: Option<String>,
    /// What it has that no restore gives to a new instance, in words.
    pub not_restorable: Vec<String>,
}

/// From what an instance is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreFrom {
    /// A snapshot of the same region.
    Snapshot(SnapshotId),
    /// Automated backups, up to a moment.
    Time {
        /// Whose.
        backups: AutomatedBackups,
        /// Up to when.
        to: Timestamp,
    },
}

/// Automated backups of one instance, as RDS keeps them, also when that instance is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutomatedBackups {
    /// The instance that they are of.
    pub instance: InstanceId,
    /// Its identity.
    pub resource: ResourceId,
    /// Their ARN: restores name it where the instance itself is not in the region any more.
    pub arn: Option<String>,
    /// Whether they are of an instance of another region, and were replicated to where they are listed.
    pub is_replicated: bool,
    /// The earliest moment to restore to; absent while there is none yet.
    pub earliest: Option<Timestamp>,
    /// The latest.
    pub latest: Option<Timestamp>,
    /// The KMS key that they are encrypted under, in their region.
    pub kms_key: Option<String>,
    /// Whether they are encrypted, if RDS says so.
    pub is_encrypted: Option<bool>,
    /// `active` while the instance exists, `retained` after it, in RDS's words.
    pub status: String,
}

impl AutomatedBackups {
    /// Whether a moment can be restored to.
    #[must_use]
    pub fn reach(&self, moment: Timestamp) -> bool {
        self.earliest.is_none_or(|earliest| earliest <= moment) && self.latest.is_some_and(|latest| moment <= latest)
    }
}

/// An instance that is to be made by a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInstance {
    /// Its identifier.
    pub id: InstanceId,
    /// From what.
    pub from: RestoreFrom,
    /// How it is set up.
    pub setup: InstanceSetup,
}

/// An instance without anything in it that is to be made for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmptyInstance {
    /// Its identifier.
    pub id: LeaseId,
    /// How it is set up.
    pub setup: InstanceSetup,
    /// The version of its engine, such as `15.18`.
    pub engine_version: String,
    /// Its storage in bytes.
    pub storage_bytes: u64,
    /// The KMS key of its storage; `None`: not encrypted.
    pub kms_key: Option<String>,
    /// Name of its master user.
    pub master_user: String,
}

/// Statuses that a new instance does not leave by itself (RDS user guide, DB instance status).
#[must_use]
pub fn trouble_of(status: &str) -> Option<&'static str> {
    Some(match status {
        "failed" => "RDS could not make it",
        "incompatible-restore" | "restore-error" => "the backup cannot be restored: try another one",
        "incompatible-network" => {
            "the subnets have no free addresses or lack the network's settings: name another subnet group"
        }
        "incompatible-parameters" => "the parameter group does not fit its class: name another group or a larger class",
        "incompatible-option-group" => "its option group does not fit",
        "insufficient-capacity" => "AWS has no room for its class now: take another class, or try later",
        "inaccessible-encryption-credentials" | "inaccessible-encryption-credentials-recoverable" => {
            "the KMS key of its storage cannot be used: enable it, or grant its use"
        }
        "storage-full" => "its storage is full",
        "deleting" => "somebody deletes it",
        _ => return None,
    })
}
