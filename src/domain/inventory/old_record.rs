//! Records of what is long gone.

use jiff::Timestamp;

use crate::domain::id::{RunId, Slot};
use crate::domain::key::DumpId;
use crate::domain::prune_record::ObjectVersion;
use crate::domain::recovery_point::Plane;

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordOf {
    /// A run that has ended.
    Run(RunId),
    /// The deletion of a dump in a plane, which has ended.
    Deletion(DumpId, Plane),
    /// A verification of a dump in a plane.
    Verification(DumpId, Plane),
}

/// A record of ours that is older than evidence is kept, with every version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldRecord {
    /// What it is about.
    pub of: RecordOf,
    /// When its newest version was written, by S3's clock.
    pub written_at: Timestamp,
    /// Its versions, the newest first.
    pub versions: Vec<ObjectVersion>,
}

impl OldRecord {
    /// The slot that it tells of.
    #[must_use]
    pub fn slot(&self) -> Slot {
        match &self.of {
            RecordOf::Run(run) => run.slot,
            RecordOf::Deletion(dump, _) | RecordOf::Verification(dump, _) => dump.slot,
        }
    }
}
