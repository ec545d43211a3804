//! Copies in a second region: RDS copies snapshots, S3 copies objects; the order is ours.

use tokio_util::sync::CancellationToken;

use super::verify::exact;
use super::{Executor, Outcome};
use crate::domain::manifest::StoredObject;
use crate::domain::prune_record::ObjectVersion;
use crate::domain::recovery_point::Plane;
use crate::plan::action::{CopyDump, CopySnapshot};
use crate::ports::object_store::{CopySource, ObjectStore};
use crate::ports::rds::SnapshotCopyRequest;
use crate::ports::{ErrorKind, PortError};

impl Executor {
    pub(super) async fn copy_snapshot(&self, copy: &CopySnapshot) -> Result<Outcome, PortError> {
        let request = SnapshotCopyRequest {
            source_arn: copy.origin_arn.clone(),
            source_region: copy.origin_region.clone(),
            target: copy.target.clone(),
            kms_key: copy.kms_key.clone(),
            tags: copy.tags.clone(),
        };
        match self.rds(&copy.region)?.copy_snapshot(&request).await {
            Ok(()) => Ok(Outcome::CopyBegun),
            // The answer to an earlier request was lost, or the id is somebody else's: the planner reads it from the tags.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Outcome::CopyBegun),
            Err(error) => Err(error),
        }
    }

    /// Copies every object of a dump, and its manifest last. What stands there already is compared.
    pub(super) async fn copy_dump(&self, copy: &CopyDump, token: &CancellationToken) -> Result<Outcome, PortError> {
        let stored = &copy.stored;
        let replica = self.bucket(Plane::Replica)?;
        let manifest = match self.same_manifest(self.ports.store.as_ref(), stored).await? {
            Ok(manifest) => manifest,
            Err(outcome) => return Ok(outcome),
        };
        for object in &manifest.objects {
            if token.is_cancelled() {
                return Ok(Outcome::Stopped);
            }
            self.copy_object(replica, exact(object), object.size_bytes).await?;
            let copied = replica.head(&object.key).await?;
            if let Some(difference) = difference(object, copied.size_bytes, copied.crc64nvme.as_deref()) {
                return Err(PortError::new(format!("copy {} to the replica bucket", object.key), ErrorKind::Invalid)
                    .because(difference));
            }
        }
        let facts = self.ports.store.head_version(&stored.manifest).await?;
        self.copy_object(replica, stored.manifest.clone(), facts.size_bytes).await?;
        Ok(Outcome::DumpCopied { objects: manifest.objects.len() + 1 })
    }

    /// Copies one object to the key that it has; one that stands there already is left for the comparison that follows.
    async fn copy_object(
        &self,
        replica: &dyn ObjectStore,
        object: ObjectVersion,
        size_bytes: u64,
    ) -> Result<(), PortError> {
        let source = CopySource { bucket: self.settings.bucket.clone(), object, size_bytes };
        match replica.copy_from(&source, &source.object.key).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            copied => copied,
        }
    }
}

fn difference(object: &StoredObject, size_bytes: u64, crc64nvme: Option<&str>) -> Option<String> {
    if size_bytes != object.size_bytes {
        return Some(format!("{size_bytes} bytes stand there instead of {}", object.size_bytes));
    }
    let crc = crc64nvme.filter(|crc| *crc != object.crc64nvme)?;
    Some(format!("CRC64NVME {crc} stands there instead of {}", object.crc64nvme))
}
