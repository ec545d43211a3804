//! Prune records: written before the first object of a dump is deleted, and closed after the last.
//!
//! A record that is open is a tombstone: what it names is no backup any more, and its deletion is seen through by whoever
//! finds it. All of them stand in the primary bucket, so that replication cannot carry one to a plane that it does not name.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{InstallationId, RegionName, ResourceId, RunId};
use super::key::{DumpId, ObjectKey};
use super::recovery_point::Plane;

/// Version of the prune record that this code writes.
pub const PRUNE_RECORD_VERSION: u32 = 1;
/// Largest prune record that is written or read.
pub const PRUNE_RECORD_BYTES_MAX: u64 = 64 << 20;

/// One version of one object: what a deletion names, so that it can hit nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ObjectVersion {
    /// Its key.
    pub key: ObjectKey,
    /// Its version; absent only in a bucket that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
}

/// The deletion of one dump in one plane: `<prefix>/<source>/prunes/<plane>/<database>/<slot>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PruneRecord {
    /// Version of this format.
    pub version: u32,
    /// The installation that deletes.
    pub installation: InstallationId,
    /// Source, database and slot.
    #[serde(flatten)]
    pub dump: DumpId,
    /// The run that made the dump.
    #[schemars(with = "String")]
    pub run: RunId,
    /// `DbiResourceId` of the instance dumped.
    pub resource: ResourceId,
    /// Where it is deleted.
    pub plane: Plane,
    /// The region of that plane.
    pub region: RegionName,
    /// Why it may be deleted.
    pub reason: String,
    /// Every version of every object of the dump, in the order of their deletion: the manifest is the last.
    pub versions: Vec<ObjectVersion>,
    /// When the deletion began.
    #[schemars(with = "String")]
    pub began_at: Timestamp,
    /// When the last version was gone; absent while the deletion goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
}

impl PruneRecord {
    /// Whether the deletion has begun and not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.finished_at.is_none()
    }
}
