//! DB instances, as RDS shows them.

use jiff::Timestamp;

use super::id::{InstanceId, ResourceId};
use super::tags::Tags;

/// An RDS DB instance, as far as strongroom cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Identifier.
    pub id: InstanceId,
    /// Identity.
    pub resource: ResourceId,
    /// Status, in RDS's words.
    pub status: String,
    /// `postgres`, or something that strongroom refuses.
    pub engine: String,
    /// Such as `15.18`.
    pub engine_version: String,
    /// Host and port; absent while the instance is being created.
    pub endpoint: Option<Endpoint>,
    /// Up to when point-in-time restore reaches; absent where automated backups are off.
    pub latest_restorable_at: Option<Timestamp>,
    /// Days that automated backups are kept.
    pub automated_backup_days: u32,
    /// Of a read replica: the instance that it replicates, by its identifier, or by its ARN where that is in another region.
    pub replica_of: Option<String>,
    /// Allocated storage in bytes.
    pub storage_bytes: u64,
    /// ARN of the KMS key that its storage is encrypted under; absent where it is not encrypted.
    pub kms_key: Option<String>,
    /// How it is protected, as RDS says.
    pub protection: Protection,
    /// Tags.
    pub tags: Tags,
}

/// What protects an instance, and what it is protected with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protection {
    /// Whether RDS refuses to delete it.
    pub from_deletion: bool,
    /// The daily time in which RDS makes its automated backup, in UTC, such as `03:00-03:30`.
    pub backup_window: Option<String>,
    /// Until when its TLS certificate is valid.
    pub certificate_until: Option<Timestamp>,
    /// Name of its parameter group.
    pub parameter_group: Option<String>,
}

/// Where an instance listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Instance {
    /// Whether RDS takes a snapshot now. `CreateDBSnapshot` wants `available` or `storage-optimization` (RDS API
    /// reference); the latter can last for days and must not block a slot.
    #[must_use]
    pub fn takes_snapshots(&self) -> bool {
        matches!(self.status.as_str(), "available" | "storage-optimization")
    }

    /// Whether the server can be expected to answer for long: RDS serves while it backs up, modifies or optimises. A status
    /// that is not known to serve is waited out, because an attempt that fails costs more than one that waits.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.endpoint.is_some()
            && matches!(
                self.status.as_str(),
                "available"
                    | "backing-up"
                    | "modifying"
                    | "storage-optimization"
                    | "storage-config-upgrade"
                    | "storage-initialization"
                    | "configuring-enhanced-monitoring"
                    | "configuring-iam-database-auth"
                    | "configuring-log-exports"
                    | "resetting-master-credentials"
            )
    }

    /// Whether this is its name. RDS compares names without case.
    #[must_use]
    pub fn is_called(&self, id: &InstanceId) -> bool {
        self.id.as_str().eq_ignore_ascii_case(id.as_str())
    }

    /// The major version of the server: 15 of `15.18`.
    #[must_use]
    pub fn major_version(&self) -> Option<u32> {
        self.engine_version.split('.').next()?.parse().ok()
    }
}
