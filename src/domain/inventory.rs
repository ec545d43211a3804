//! What was seen, when, and what could not be seen.
//!
//! An inventory is evidence: the planner believes nothing else. A section that could not be read is [`Unseen`], never
//! an empty list.

mod old_record;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::account::AccountFacts;
use super::bucket::BucketFacts;
use super::drill::{DrillId, StoredDrill};
use super::dump_login::DumpLogin;
use super::encryption_key::{KeyFacts, KeyName};
use super::id::{DatabaseName, InstanceId, Kind, RegionName, ResourceId, RunId, SnapshotId, SourceId};
pub use super::instance::{Endpoint, Instance, Protection};
use super::key::{DumpId, ObjectKey};
use super::pin::Pin;
use super::prune_record::{ObjectVersion, PruneRecord};
use super::recovery_point::{Plane, RecoveryPoint};
use super::run::{OwnerState, RunRecord};
use super::tags::Tags;
use super::verification::Level;
use super::volume::Volume;
pub use old_record::{OldRecord, RecordOf};

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
    /// When this very snapshot came about: of a copy, when it was copied. Absent while creating.
    pub stored_at: Option<Timestamp>,
    /// Its ARN, by which another region names it.
    pub arn: Option<String>,
    /// Of a copy, the ARN that it was copied from.
    pub copied_from: Option<String>,
    /// The KMS key that it is encrypted with; absent where it is not encrypted.
    pub kms_key: Option<String>,
    /// Allocated storage in bytes.
    pub storage_bytes: u64,
    /// Tags.
    pub tags: Tags,
}

impl Snapshot {
    /// Whether RDS still works on it. A status that is not known is waited out.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        !matches!(self.status.as_str(), "available" | "failed")
    }
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
    /// Versions of objects without a manifest that names them.
    pub versions: Vec<ObjectVersion>,
    /// Their bytes.
    pub size_bytes: u64,
    /// When the newest of them was written, by the store's clock.
    pub newest_at: Option<Timestamp>,
}

/// A multipart upload that was begun and neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// The key that it would become.
    pub key: ObjectKey,
    /// S3's id of it.
    pub upload: String,
}

/// A dump as its manifest and the listing of one bucket show it: what its deletion, its verification and its copy need
/// to know beyond the recovery point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDump {
    /// The recovery point, in the plane of the bucket.
    pub point: RecoveryPoint,
    /// The dump.
    pub dump: DumpId,
    /// The current version of the manifest.
    pub manifest: ObjectVersion,
    /// The manifest's entity tag: whoever acts on the dump reads it again and compares.
    pub etag: String,
    /// Why the store does not show the manifest, if it does not.
    pub manifest_refused: Option<String>,
    /// How much is in it; absent where the manifest cannot be read.
    pub volume: Option<Volume>,
    /// Whether each object that the manifest names stands here: with its size, and where S3 replicates its version.
    pub whole: bool,
    /// What the newest verification of each level found.
    pub verifications: Vec<KnownVerification>,
    /// Whether this very dump was once proven in the other plane, be it still there or not.
    pub other_plane_proven: bool,
    /// What S3 says about the replication of its objects, the worst of all; asked only while the replica is not proven.
    pub replication: Option<Replication>,
}

/// How far a dump's replication by S3 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Replication {
    /// Every object was replicated.
    Completed,
    /// At least one object has not been replicated yet.
    Pending,
    /// S3 has given up at least one object, and does not try again by itself.
    Failed,
    /// At least one object is covered by no rule.
    NoRule,
}

/// A verification, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownVerification {
    /// How deep it went.
    pub level: Level,
    /// When it ended.
    pub at: Timestamp,
    /// What it found.
    pub found: Found,
    /// Until when object lock forbids to delete the dump, as it was seen then.
    pub locked_until: Option<Timestamp>,
}

impl KnownVerification {
    /// Whether it found nothing wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.found == Found::Good
    }
}

/// What a verification found, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Everything is as the manifest says.
    Good,
    /// The first fault.
    Fault(String),
    /// Why the store did not show it.
    Unreadable(String),
}

impl StoredDump {
    /// Why nobody could read it at the last attempt, if so.
    #[must_use]
    pub fn unreadable(&self) -> Option<&str> {
        let recorded = || {
            self.standing_doubts().find_map(|known| match &known.found {
                Found::Unreadable(reason) => Some(reason.as_str()),
                Found::Good | Found::Fault(_) => None,
            })
        };
        self.manifest_refused.as_deref().or_else(recorded)
    }

    /// Verifications that found it bad or unreadable, unless one as deep has found it good since.
    pub fn standing_doubts(&self) -> impl Iterator<Item = &KnownVerification> {
        standing_doubts(&self.verifications)
    }

    /// When every byte of it was last read back and found good, and not later than `latest`: what is dated after that was
    /// written by a clock that is wrong.
    #[must_use]
    pub fn read_back_at(&self, latest: Timestamp) -> Option<Timestamp> {
        let whole = |known: &&KnownVerification| known.level >= Level::L2 && known.is_good() && known.at <= latest;
        self.verifications.iter().filter(whole).map(|known| known.at).max()
    }

    /// When it came to stand where it does, as far as that is known.
    #[must_use]
    pub fn stored_at(&self) -> Timestamp {
        self.point.stored_at.unwrap_or(self.dump.slot.instant())
    }

    /// The moment of its data: a dump that was asked for by hand bears a later slot than one that is made after it.
    #[must_use]
    pub fn moment(&self) -> Timestamp {
        self.point.created_at.unwrap_or(self.dump.slot.instant())
    }
}

/// Of verifications of one dump those that found it bad or unreadable, unless one as deep has found it good since.
pub fn standing_doubts(verifications: &[KnownVerification]) -> impl Iterator<Item = &KnownVerification> {
    let refuted = |doubt: &KnownVerification| {
        verifications.iter().any(|known| known.is_good() && known.level >= doubt.level && known.at > doubt.at)
    };
    verifications.iter().filter(move |known| !known.is_good() && !refuted(known))
}

/// A replica bucket's side of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStore {
    /// Dumps whose manifest stands in the replica bucket, whole or not.
    pub dumps: Complete<StoredDump>,
}

/// Objects of ours whose deletion hides behind a marker, or is only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteMarker {
    /// The marker itself.
    pub marker: ObjectVersion,
    /// When it was set, by the store's clock.
    pub set_at: Option<Timestamp>,
    /// Whether an older version of the object still stands behind it.
    pub hides: bool,
}

/// What the store holds for one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStore {
    /// Dumps: every manifest, good or bad, in the primary bucket.
    pub dumps: Complete<StoredDump>,
    /// The same in the replica bucket; `None` where none is configured.
    pub replica: Option<Observed<ReplicaStore>>,
    /// Deletions of dumps that have begun and not ended, in either plane.
    pub prunes: Complete<PruneRecord>,
    /// Pins on recovery points of the source, snapshots included.
    pub pins: Complete<Pin>,
    /// Delete markers on our keys in the primary bucket.
    pub markers: Complete<DeleteMarker>,
    /// Every attempt.
    pub runs: Complete<StoredRun>,
    /// Every drill.
    pub drills: Complete<StoredDrill>,
    /// Objects that no manifest names.
    pub remains: Complete<Remains>,
    /// Uploads still open.
    pub uploads: Complete<OpenUpload>,
    /// Records that are older than evidence is kept; none where it is kept for ever.
    pub old_records: Complete<OldRecord>,
    /// Manifests and records that the store refused to show: nothing of the source is deleted then; it is backed up all the same.
    pub refused: Option<Unseen>,
}

/// A version of the `pg_dump` on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolVersion {
    /// Major version.
    pub major: u32,
    /// The line that it prints.
    pub text: String,
}

impl SourceStore {
    /// The dumps of a plane, if that plane is configured and was seen.
    #[must_use]
    pub fn dumps_in(&self, plane: Plane) -> Option<&Complete<StoredDump>> {
        match plane {
            Plane::Primary => Some(&self.dumps),
            Plane::Replica => match &self.replica {
                Some(Ok(replica)) => Some(&replica.dumps),
                Some(Err(_)) | None => None,
            },
        }
    }
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
    /// All manual snapshots of each region that snapshots are copied to.
    pub copies: BTreeMap<RegionName, Observed<Complete<Snapshot>>>,
    /// The store, per source.
    pub stores: BTreeMap<SourceId, Observed<SourceStore>>,
    /// The dump client; `None` where nothing is dumped.
    pub pg_dump: Observed<Option<ToolVersion>>,
    /// How the destination's buckets are set up; looked at from time to time.
    pub buckets: BTreeMap<Plane, Observed<BucketFacts>>,
    /// The KMS keys that backups are encrypted under, as far as we may ask; looked at from time to time.
    pub keys: Observed<BTreeMap<KeyName, KeyFacts>>,
    /// What the account allows, and how parameter groups are set; looked at from time to time.
    pub account: AccountFacts,
    /// The logins that databases are dumped with, where they were asked; looked at from time to time.
    pub logins: BTreeMap<SourceId, BTreeMap<DatabaseName, Observed<DumpLogin>>>,
    /// How far AWS's clock is ahead of ours, by its answers; absent where none said.
    pub clock_skew: Option<SignedDuration>,
    /// For how long this process has known the retention that is in force for a source, by its monotonic clock.
    pub retention_known_for: BTreeMap<SourceId, SignedDuration>,
    /// Deletions of recovery points that this process began within the last cycle.
    pub deleted_lately: usize,
    /// Runs that this very process works on.
    pub in_flight: BTreeSet<(SourceId, RunId)>,
    /// Drills that it works on.
    pub drills_in_flight: BTreeSet<DrillId>,
    /// Dumps that those will make of what they restore, or make already.
    pub in_drills: BTreeSet<(SourceId, RunId)>,
}

impl Inventory {
    /// Whether the section that holds the recovery points of a source and kind was seen.
    #[must_use]
    pub fn sees_points(&self, source: &SourceId, kind: Kind) -> bool {
        match kind {
            Kind::Snapshot => self.snapshots.is_ok(),
            Kind::Dump => self.store(source).is_ok(),
        }
    }

    /// Whether it is known which of them count as well: that depends on which instance bears the source's name today.
    #[must_use]
    pub fn sees_counting_points(&self, source: &SourceId, kind: Kind) -> bool {
        self.sees_points(source, kind) && self.instances.is_ok()
    }

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

    /// The instance with an identifier, `None` where RDS has none of that name.
    ///
    /// # Errors
    /// The instances could not be listed.
    pub fn instance(&self, id: &InstanceId) -> Result<Option<&Instance>, Unseen> {
        let instances = self.instances.as_ref().map_err(Clone::clone)?;
        Ok(instances.iter().find(|instance| instance.is_called(id)))
    }
}

#[cfg(test)]
mod tests;
