//! Actions: everything already chosen, so that carrying one out twice, or late, does no harm.

mod drill;
mod dump;

use std::fmt;

use crate::domain::drill::DrillId;
use crate::domain::id::{InstanceId, Kind, RegionName, RunId, SnapshotId, SourceId};
use crate::domain::inventory::{OpenUpload, StoredDump, StoredRun};
use crate::domain::key::DumpId;
use crate::domain::lease::LeaseId;
use crate::domain::prune_record::{ObjectVersion, PruneRecord};
use crate::domain::recovery_point::Plane;
use crate::domain::tags::Tags;
use crate::domain::verification::Level;
use crate::policy::retention::Expired;
pub use drill::{DrillPoint, ReapInstance, StartDrill};
pub use dump::{DumpOfDrill, FromSnapshot, ReadFrom, StartDump};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Begin a snapshot, or ask again for one whose beginning is in doubt.
    CreateSnapshot(CreateSnapshot),
    /// Dump a database.
    StartDump(Box<StartDump>),
    /// Write the end of a run that nobody works on any more.
    CloseRun(Box<CloseRun>),
    /// Drop an upload that an ended run left open.
    AbortUpload(AbortUpload),
    /// Begin a copy of a snapshot in another region.
    CopySnapshot(CopySnapshot),
    /// Delete a snapshot that has expired.
    DeleteSnapshot(DeleteSnapshot),
    /// Have S3 copy a dump to the replica bucket.
    CopyDump(Box<CopyDump>),
    /// Look at a stored dump again.
    Verify(Box<VerifyDump>),
    /// Delete a dump, or see its deletion through.
    DeleteDump(Box<DeleteDump>),
    /// Delete what no backup needs: objects of failed runs, delete markers that hide nothing.
    Sweep(Sweep),
    /// Restore a backup into something temporary, look at it, and throw it away.
    Drill(Box<StartDrill>),
    /// Delete an instance that a drill has left.
    Reap(ReapInstance),
}

/// What an action is about. At most one action is carried out on a subject at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A run.
    Run {
        /// Its source.
        source: SourceId,
        /// The run.
        run: RunId,
    },
    /// A recovery point in one region.
    Point {
        /// Its source.
        source: SourceId,
        /// The region.
        region: RegionName,
        /// What people name it by.
        id: String,
    },
    /// A drill.
    Drill(DrillId),
    /// An instance of a drill.
    Lease {
        /// The source whose backup is in it.
        source: SourceId,
        /// The instance.
        lease: LeaseId,
    },
}

/// Begin a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateSnapshot {
    /// The source.
    pub source: SourceId,
    /// The run.
    pub run: RunId,
    /// Its id: the idempotency key.
    pub snapshot: SnapshotId,
    /// The instance.
    pub instance: InstanceId,
    /// Marks of ownership.
    pub tags: Tags,
    /// Whether the run is claimed already.
    pub claimed: Claimed,
}

/// Whether a run is claimed already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It must be claimed first.
    NotYet,
    /// By this record; the action is a repetition.
    Already(Box<StoredRun>),
}

/// Write the end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseRun {
    /// The record as it was read.
    pub stored: StoredRun,
    /// The instance, whose events explain a failure.
    pub instance: InstanceId,
    /// How it ended.
    pub ending: Ending,
}

/// How a run ended, as the planner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The snapshot is `available`.
    SnapshotAvailable {
        /// Allocated storage in bytes.
        size_bytes: u64,
    },
    /// The manifest stands: the process died between writing it and saying so.
    DumpCommitted {
        /// Bytes stored.
        size_bytes: u64,
    },
    /// It will not succeed any more.
    Failed {
        /// Why.
        reason: String,
    },
    /// Its process died.
    Abandoned,
}

/// Drop an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbortUpload {
    /// The source that it is for.
    pub source: SourceId,
    /// The run that left it.
    pub run: RunId,
    /// The upload.
    pub upload: OpenUpload,
}

/// Begin a copy of a snapshot in another region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySnapshot {
    /// The source.
    pub source: SourceId,
    /// The snapshot to copy.
    pub origin: SnapshotId,
    /// Its ARN.
    pub origin_arn: String,
    /// Its region.
    pub origin_region: RegionName,
    /// Id of the copy: the idempotency key.
    pub target: SnapshotId,
    /// The region of the copy.
    pub region: RegionName,
    /// The KMS key there.
    pub kms_key: Option<String>,
    /// Marks of ownership: the copy's own.
    pub tags: Tags,
}

/// Delete a snapshot. Everything that it needs to know is in the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteSnapshot {
    /// Why it may be deleted.
    pub expired: Expired,
}

/// Have S3 copy a dump to the replica bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyDump {
    /// The dump in the primary bucket.
    pub stored: StoredDump,
    /// The region of the replica bucket.
    pub region: RegionName,
}

/// Look at a stored dump again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyDump {
    /// The dump, in the bucket that is looked at.
    pub stored: StoredDump,
    /// How deep.
    pub level: Level,
}

/// Delete a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteDump {
    /// What gives the right to.
    pub warrant: Warrant,
}

/// What gives the right to delete a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warrant {
    /// It has expired; the deletion begins.
    Expired {
        /// The evidence.
        expired: Expired,
        /// The dump as it was seen.
        stored: Box<StoredDump>,
    },
    /// Its deletion has begun: this record stands.
    Begun(PruneRecord),
}

/// Delete what no backup needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// The source.
    pub source: SourceId,
    /// The region of the bucket.
    pub region: RegionName,
    /// What is swept.
    pub what: Swept,
    /// The exact versions.
    pub versions: Vec<ObjectVersion>,
    /// Those that go only when all of `versions` are gone: what stands of an object of which older versions go, which would
    /// stand in its place.
    pub last: Vec<ObjectVersion>,
}

/// What a sweep deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swept {
    /// Objects that a run left which ended without a manifest.
    RemainsOf(RunId),
    /// Delete markers with nothing behind them.
    Markers,
    /// Records of what is long gone.
    OldRecords,
}

impl Warrant {
    /// The dump, its plane and that plane's region.
    #[must_use]
    pub fn dump(&self) -> (&DumpId, Plane, &RegionName) {
        match self {
            Warrant::Expired { expired, stored } => (&stored.dump, expired.plane(), expired.region()),
            Warrant::Begun(record) => (&record.dump, record.plane, &record.region),
        }
    }
}

impl Action {
    /// The source that the action is for.
    #[must_use]
    pub fn source(&self) -> &SourceId {
        match self {
            Action::CreateSnapshot(create) => &create.source,
            Action::StartDump(start) => &start.dump.source,
            Action::CloseRun(close) => &close.stored.record.source,
            Action::AbortUpload(abort) => &abort.source,
            Action::CopySnapshot(copy) => &copy.source,
            Action::DeleteSnapshot(delete) => delete.expired.source(),
            Action::CopyDump(copy) => &copy.stored.dump.source,
            Action::Verify(verify) => &verify.stored.dump.source,
            Action::DeleteDump(delete) => &delete.warrant.dump().0.source,
            Action::Sweep(sweep) => &sweep.source,
            Action::Drill(start) => &start.drill.source,
            Action::Reap(reap) => &reap.source,
        }
    }

    /// The run that the action works on or clears up after; `None` for what is about recovery points.
    #[must_use]
    pub fn run(&self) -> Option<&RunId> {
        match self {
            Action::CreateSnapshot(create) => Some(&create.run),
            Action::StartDump(start) => Some(&start.run),
            Action::CloseRun(close) => Some(&close.stored.record.run),
            Action::AbortUpload(abort) => Some(&abort.run),
            Action::Sweep(Sweep { what: Swept::RemainsOf(run), .. }) => Some(run),
            Action::Sweep(Sweep { what: Swept::Markers | Swept::OldRecords, .. })
            | Action::CopySnapshot(_)
            | Action::DeleteSnapshot(_)
            | Action::CopyDump(_)
            | Action::Verify(_)
            | Action::DeleteDump(_)
            | Action::Drill(_)
            | Action::Reap(_) => None,
        }
    }

    /// What the action is about.
    #[must_use]
    pub fn subject(&self) -> Subject {
        let point = |region: &RegionName, id: String| Subject::Point {
            source: self.source().clone(),
            region: region.clone(),
            id,
        };
        match self {
            // By what is copied: a second attempt under another id is about the same copy.
            Action::CopySnapshot(copy) => point(&copy.region, copy.origin.to_string()),
            Action::DeleteSnapshot(delete) => point(delete.expired.region(), delete.expired.id().to_owned()),
            Action::CopyDump(copy) => point(&copy.region, copy.stored.dump.to_string()),
            Action::Verify(verify) => point(&verify.stored.point.region, verify.stored.dump.to_string()),
            Action::DeleteDump(delete) => {
                let (dump, _, region) = delete.warrant.dump();
                point(region, dump.to_string())
            }
            Action::CreateSnapshot(CreateSnapshot { source, run, .. })
            | Action::AbortUpload(AbortUpload { source, run, .. })
            | Action::Sweep(Sweep { source, what: Swept::RemainsOf(run), .. }) => {
                Subject::Run { source: source.clone(), run: run.clone() }
            }
            Action::Sweep(Sweep { what: Swept::OldRecords, region, .. }) => point(region, "old records".to_owned()),
            Action::Sweep(sweep) => point(&sweep.region, "delete markers".to_owned()),
            Action::Drill(start) => Subject::Drill(start.drill.clone()),
            Action::Reap(reap) => Subject::Lease { source: reap.source.clone(), lease: reap.lease.clone() },
            Action::StartDump(start) => Subject::Run { source: start.dump.source.clone(), run: start.run.clone() },
            Action::CloseRun(close) => {
                Subject::Run { source: close.stored.record.source.clone(), run: close.stored.record.run.clone() }
            }
        }
    }

    /// Whether the action takes a recovery point away. Seeing a deletion through that was begun takes none: what it names is
    /// no backup any more.
    #[must_use]
    pub fn deletes_a_point(&self) -> bool {
        let goes_on = matches!(self, Action::DeleteDump(delete) if matches!(delete.warrant, Warrant::Begun(_)));
        self.deleted_kind().is_some() && !goes_on
    }

    /// The kind of recovery point that the action deletes, or goes on deleting.
    #[must_use]
    pub fn deleted_kind(&self) -> Option<Kind> {
        match self {
            Action::DeleteSnapshot(_) => Some(Kind::Snapshot),
            Action::DeleteDump(_) => Some(Kind::Dump),
            Action::CreateSnapshot(_)
            | Action::StartDump(_)
            | Action::CloseRun(_)
            | Action::AbortUpload(_)
            | Action::CopySnapshot(_)
            | Action::CopyDump(_)
            | Action::Verify(_)
            | Action::Sweep(_)
            | Action::Drill(_)
            | Action::Reap(_) => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Run { source, run } => write!(f, "run {run} of {source}"),
            Subject::Point { region, id, .. } => write!(f, "{id} in {region}"),
            Subject::Drill(drill) => write!(f, "drill {drill}"),
            Subject::Lease { lease, .. } => write!(f, "instance {lease}"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::CreateSnapshot(create) => {
                let verb = if create.claimed == Claimed::NotYet { "create" } else { "ask again for" };
                write!(f, "{verb} snapshot {} of instance {}", create.snapshot, create.instance)
            }
            Action::StartDump(start) => start.fmt(f),
            Action::Drill(start) => start.fmt(f),
            Action::Reap(reap) => write!(f, "delete instance {} of a drill that is over", reap.lease),
            Action::CloseRun(close) => {
                let record = &close.stored.record;
                match &close.ending {
                    Ending::SnapshotAvailable { .. } | Ending::DumpCommitted { .. } => {
                        write!(f, "record success of run {} of {}", record.run, record.source)
                    }
                    Ending::Failed { reason } => {
                        write!(f, "record failure of run {} of {}: {reason}", record.run, record.source)
                    }
                    Ending::Abandoned => {
                        write!(f, "close run {} of {}: its process {} is gone", record.run, record.source, record.owner)
                    }
                }
            }
            Action::AbortUpload(abort) => {
                write!(f, "abort the upload of {} that run {} left open", abort.upload.key, abort.run)
            }
            Action::CopySnapshot(copy) => {
                write!(
                    f,
                    "copy snapshot {} of {} to {} as {}",
                    copy.origin, copy.origin_region, copy.region, copy.target
                )
            }
            Action::DeleteSnapshot(delete) => {
                write!(f, "delete snapshot {} in {}", delete.expired.id(), delete.expired.region())
            }
            Action::CopyDump(copy) => write!(f, "copy dump {} to {}", copy.stored.dump, copy.region),
            Action::Verify(verify) => {
                write!(
                    f,
                    "verify dump {} in {} at level {}",
                    verify.stored.dump, verify.stored.point.region, verify.level
                )
            }
            Action::DeleteDump(delete) => {
                let (dump, _, region) = delete.warrant.dump();
                let verb = if let Warrant::Begun(_) = delete.warrant { "go on deleting" } else { "delete" };
                write!(f, "{verb} dump {dump} in {region}")
            }
            Action::Sweep(Sweep { what: Swept::RemainsOf(run), source, versions, .. }) => {
                write!(
                    f,
                    "delete {} object version(s) that run {run} of {source} left without a manifest",
                    versions.len()
                )
            }
            Action::Sweep(Sweep { what: Swept::Markers, source, versions, .. }) => {
                write!(f, "delete {} delete marker(s) of {source} that hide nothing", versions.len())
            }
            Action::Sweep(Sweep { what: Swept::OldRecords, source, versions, last, .. }) => {
                write!(
                    f,
                    "delete {} version(s) of records of {source} that are older than evidence is kept",
                    versions.len() + last.len()
                )
            }
        }
    }
}
