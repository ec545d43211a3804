//! RDS in one region.

use async_trait::async_trait;
use jiff::Timestamp;

use super::PortError;
use crate::domain::id::{InstanceId, SnapshotId};
use crate::domain::inventory::{Complete, Instance, Snapshot};
use crate::domain::run::RdsEvent;
use crate::domain::tags::Tags;

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

    /// Events of an instance from `since` on, oldest first. RDS keeps them for 14 days.
    async fn instance_events(&self, instance: &InstanceId, since: Timestamp) -> Result<Vec<RdsEvent>, PortError>;
}
