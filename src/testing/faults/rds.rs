//! RDS with faults.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Faulty, Operation};
use crate::domain::id::{InstanceId, SnapshotId};
use crate::domain::inventory::{Complete, Instance, Snapshot};
use crate::domain::run::RdsEvent;
use crate::domain::tags::Tags;
use crate::ports::PortError;
use crate::ports::rds::{Rds, SnapshotCopyRequest};

#[async_trait]
impl Rds for Faulty<dyn Rds> {
    async fn instances(&self) -> Result<Complete<Instance>, PortError> {
        self.faults.around(Operation::Instances, "", self.port.instances()).await
    }

    async fn snapshots(&self) -> Result<Complete<Snapshot>, PortError> {
        self.faults.around(Operation::Snapshots, "", self.port.snapshots()).await
    }

    async fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, PortError> {
        self.faults.around(Operation::Snapshot, id.as_str(), self.port.snapshot(id)).await
    }

    async fn create_snapshot(&self, id: &SnapshotId, instance: &InstanceId, tags: &Tags) -> Result<(), PortError> {
        let call = self.port.create_snapshot(id, instance, tags);
        self.faults.around(Operation::CreateSnapshot, id.as_str(), call).await
    }

    async fn copy_snapshot(&self, copy: &SnapshotCopyRequest) -> Result<(), PortError> {
        self.faults.around(Operation::CopySnapshot, copy.target.as_str(), self.port.copy_snapshot(copy)).await
    }

    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), PortError> {
        self.faults.around(Operation::DeleteSnapshot, id.as_str(), self.port.delete_snapshot(id)).await
    }

    async fn instance_events(&self, instance: &InstanceId, since: Timestamp) -> Result<Vec<RdsEvent>, PortError> {
        let call = self.port.instance_events(instance, since);
        self.faults.around(Operation::InstanceEvents, instance.as_str(), call).await
    }
}
