//! Actions: everything already chosen, so that carrying one out twice, or late, does no harm.

use std::fmt;

use jiff::Timestamp;

use crate::domain::id::{InstanceId, ResourceId, RunId, SnapshotId, SourceId};
use crate::domain::inventory::{Endpoint, OpenUpload, StoredRun};
use crate::domain::key::DumpId;
use crate::domain::tags::Tags;
use crate::policy::DumpSettings;

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

/// Dump a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartDump {
    /// The run.
    pub run: RunId,
    /// Source, database and slot.
    pub dump: DumpId,
    /// The instance.
    pub instance: InstanceId,
    /// Its identity.
    pub resource: ResourceId,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// How to dump.
    pub settings: DumpSettings,
    /// When the run must have ended.
    pub deadline: Timestamp,
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

impl Action {
    /// The source that the action is for.
    #[must_use]
    pub fn source(&self) -> &SourceId {
        match self {
            Action::CreateSnapshot(create) => &create.source,
            Action::StartDump(start) => &start.dump.source,
            Action::CloseRun(close) => &close.stored.record.source,
            Action::AbortUpload(abort) => &abort.source,
        }
    }

    /// The run that the action belongs to.
    #[must_use]
    pub fn run(&self) -> &RunId {
        match self {
            Action::CreateSnapshot(create) => &create.run,
            Action::StartDump(start) => &start.run,
            Action::CloseRun(close) => &close.stored.record.run,
            Action::AbortUpload(abort) => &abort.run,
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
            Action::StartDump(start) => {
                write!(f, "dump database {} of source {} as run {}", start.dump.database, start.dump.source, start.run)
            }
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
        }
    }
}
