//! RDS in one region.

use async_trait::async_trait;
use jiff::Timestamp;

use super::PortError;
use crate::domain::id::{InstanceId, RegionName, SnapshotId};
use crate::domain::inventory::{Complete, Instance, Snapshot};
use crate::domain::run::RdsEvent;
use crate::domain::tags::Tags;

/// A copy of a snapshot into the region that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotCopyRequest {
    /// ARN of the snapshot to copy, of any region.
    pub source_arn: String,
    /// The region of that snapshot.
    pub source_region: RegionName,
    /// Id of the copy.
    pub target: SnapshotId,
    /// KMS key of this region; must be given where the source is encrypted.
    pub kms_key: Option<String>,
    /// Marks of ownership: the copy's own.
    pub tags: Tags,
}

/// The operations of RDS that strongroom uses.
#[async_trait]
pub trait Rds: Send + Sync {
    /// All DB instances of the region.
    async fn instances(&self) -> Result<Complete<Instance>, PortError>;

    /// All manual snapshots of the region, with their tags.
    async fn snapshots(&self) -> Result<Complete<Snapshot>, PortError>;

    /// One snapshot; `None` where there is none of that id.
    async fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, PortError>;

    /// Begins a snapshot. The id is the idempotency key: RDS refuses a second one with `AlreadyExists`, and an instance
    /// that is busy with `WrongState`.
    async fn create_snapshot(&self, id: &SnapshotId, instance: &InstanceId, tags: &Tags) -> Result<(), PortError>;

    /// Begins a copy into this region. The target's id is the idempotency key: a second one is refused with
    /// `AlreadyExists`; `Throttled` says that too many copies are under way here.
    async fn copy_snapshot(&self, copy: &SnapshotCopyRequest) -> Result<(), PortError>;

    /// Deletes a manual snapshot for good. `NotFound` where there is none; `WrongState` where it is neither available nor
    /// failed.
    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), PortError>;

    /// Events of an instance from `since` on, oldest first. RDS keeps them for 14 days.
    async fn instance_events(&self, instance: &InstanceId, since: Timestamp) -> Result<Vec<RdsEvent>, PortError>;
}
