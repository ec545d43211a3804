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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::recovery_point::PointState;
    use crate::testing::{at, dump, now, region, stored_dump};

    /// The deletion of a dump with so many versions.
    fn record(versions: usize) -> PruneRecord {
        let stored = stored_dump(dump("accounts", "2026-11-01T04:00:00Z", 1, PointState::Good));
        let key = format!("strongroom/accounts/dumps/accounts/{0}/{0}-dump-accounts-1/38370.dat.zst", stored.dump.slot);
        let version = ObjectVersion { key: ObjectKey::from(key), version_id: Some("v".repeat(32)) };
        PruneRecord {
            version: PRUNE_RECORD_VERSION,
            installation: "bank-prod".parse().unwrap(),
            dump: stored.dump,
            run: "20261101t040000z-dump-accounts-1".parse().unwrap(),
            resource: "db-ABC".parse().unwrap(),
            plane: Plane::Primary,
            region: region(),
            reason: "expired".to_owned(),
            versions: vec![version; versions],
            began_at: now(),
            finished_at: None,
        }
    }

    #[test]
    fn a_deletion_is_open_until_it_has_ended() {
        assert!(record(1).is_open());
        assert!(!PruneRecord { finished_at: Some(at("2026-11-23T12:00:01Z")), ..record(1) }.is_open());
    }

    /// A record that could not be read again would leave a deletion half done.
    #[test]
    fn the_record_of_a_dump_of_a_hundred_thousand_objects_can_be_read() {
        let json = serde_json::to_vec_pretty(&record(100_000)).unwrap();
        assert!((json.len() as u64) < PRUNE_RECORD_BYTES_MAX, "{}", json.len());
    }
}
