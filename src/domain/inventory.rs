//! What was seen, when, and what could not be seen.
//!
//! An inventory is evidence: the planner believes nothing else. A section that could not be read is [`Unseen`], never
//! an empty list.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::id::{InstanceId, ResourceId, RunId, SnapshotId, SourceId};
use super::key::{DumpId, ObjectKey};
use super::recovery_point::RecoveryPoint;
use super::run::{OwnerState, RunRecord};
use super::tags::Tags;

/// A listing whose last page was read. Only a reader that has seen the end of a listing makes one, so a function that
/// takes it cannot be given a partial one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complete<T>(Vec<T>);

impl<T> Complete<T> {
    /// Marks a listing as complete. To be called in one kind of place only: where the last page has just been read.
    #[must_use]
    pub fn after_last_page(items: Vec<T>) -> Complete<T> {
        Complete(items)
    }

    /// Something else made of the whole listing, which is as complete.
    #[must_use]
    pub fn derive<U>(&self, derive: impl FnOnce(&[T]) -> Vec<U>) -> Complete<U> {
        Complete(derive(&self.0))
    }

    /// The items, in listing order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a, T> IntoIterator for &'a Complete<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Why a section could not be seen, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen(pub String);

/// A section of the inventory: seen whole, or not seen.
pub type Observed<T> = Result<T, Unseen>;

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
    /// Allocated storage in bytes.
    pub storage_bytes: u64,
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

    /// The major version of the server: 15 of `15.18`.
    #[must_use]
    pub fn major_version(&self) -> Option<u32> {
        self.engine_version.split('.').next()?.parse().ok()
    }
}

/// A DB snapshot, ours or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Identifier.
    pub id: SnapshotId,
    /// The instance it was taken of.
    pub instance: InstanceId,
    /// The identity of the instance it was taken of.
    pub resource: Option<ResourceId>,
    /// Status, in RDS's words.
    pub status: String,
    /// Percent done.
    pub progress_percent: u8,
    /// When the data is of; absent while creating. It does not change when a snapshot is copied.
    pub created_at: Option<Timestamp>,
    /// Allocated storage in bytes.
    pub storage_bytes: u64,
    /// Tags.
    pub tags: Tags,
}

/// A run record and the version of it that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRun {
    /// The record.
    pub record: RunRecord,
    /// Its entity tag: a write on top of it must match.
    pub etag: String,
    /// What is known about its owner.
    pub owner: OwnerState,
    /// How long this version of it has been seen to stand, by this process's own monotonic clock. Leases are measured with
    /// it: instants that another machine's clock has written prove nothing about this one's.
    pub unchanged_for: SignedDuration,
}

/// What a dead or failed run has left in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    /// The dump that was attempted.
    pub dump: DumpId,
    /// The run.
    pub run: RunId,
    /// Objects without a manifest that names them.
    pub objects: Vec<ObjectKey>,
    /// Their bytes.
    pub size_bytes: u64,
}

/// A multipart upload that was begun and neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// The key that it would become.
    pub key: ObjectKey,
    /// S3's id of it.
    pub upload: String,
}

/// What the store holds for one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStore {
    /// Dumps: every manifest, good or bad.
    pub dumps: Complete<RecoveryPoint>,
    /// Every attempt.
    pub runs: Complete<StoredRun>,
    /// Objects that no manifest names.
    pub remains: Complete<Remains>,
    /// Uploads still open.
    pub uploads: Complete<OpenUpload>,
}

/// A version of the `pg_dump` on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolVersion {
    /// Major version.
    pub major: u32,
    /// The line that it prints.
    pub text: String,
}

/// Everything that was seen in one round.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// When the round began.
    pub taken_at: Timestamp,
    /// All instances of the region.
    pub instances: Observed<Complete<Instance>>,
    /// All manual snapshots of the region.
    pub snapshots: Observed<Complete<Snapshot>>,
    /// The store, per source.
    pub stores: BTreeMap<SourceId, Observed<SourceStore>>,
    /// The dump client; `None` where nothing is dumped.
    pub pg_dump: Observed<Option<ToolVersion>>,
    /// Runs that this very process works on.
    pub in_flight: BTreeSet<(SourceId, RunId)>,
}

impl Inventory {
    /// The store of a source; a source that was not looked at is unseen.
    ///
    /// # Errors
    /// The reason why it could not be read.
    pub fn store(&self, source: &SourceId) -> Result<&SourceStore, Unseen> {
        match self.stores.get(source) {
            Some(Ok(store)) => Ok(store),
            Some(Err(unseen)) => Err(unseen.clone()),
            None => Err(Unseen(format!("the store of source {source} was not read"))),
        }
    }

    /// The instance with an identifier, `None` where RDS has none of that name. RDS compares names without case.
    ///
    /// # Errors
    /// The instances could not be listed.
    pub fn instance(&self, id: &InstanceId) -> Result<Option<&Instance>, Unseen> {
        let instances = self.instances.as_ref().map_err(Clone::clone)?;
        Ok(instances.iter().find(|instance| instance.id.as_str().eq_ignore_ascii_case(id.as_str())))
    }
}
