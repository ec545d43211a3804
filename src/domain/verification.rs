//! Verifications: what was found when a stored dump was looked at again.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::drill::Link;
use super::id::{InstallationId, RegionName, RunId};
use super::key::DumpId;
use super::recovery_point::Plane;

/// Version of the verification record that this code writes.
pub const VERIFICATION_VERSION: u32 = 1;
/// Largest verification record that is read.
pub const VERIFICATION_BYTES_MAX: u64 = 1 << 20;
/// Version of the evidence that this code writes.
pub const EVIDENCE_VERSION: u32 = 1;
/// Largest piece of evidence that is read: a verification and a few lines more.
pub const EVIDENCE_BYTES_MAX: u64 = VERIFICATION_BYTES_MAX + (1 << 12);

/// How deep a verification goes. Level 3 is level 2 in the replica region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every object is asked for: size, checksum, version, KMS key. No byte is read.
    L1,
    /// Every byte is read back: SHA-256, decompression, every table's rows.
    L2,
    /// It is restored into PostgreSQL, and what stands there is compared with what was dumped.
    L4,
}

impl Level {
    /// All levels, the lightest first.
    pub const ALL: [Level; 3] = [Level::L1, Level::L2, Level::L4];

    /// The word for it in keys and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Level::L1 => "l1",
            Level::L2 => "l2",
            Level::L4 => "l4",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::L1 => "L1",
            Level::L2 => "L2",
            Level::L4 => "L4",
        })
    }
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Verdict {
    /// Everything is as the manifest says.
    Good {
        /// Objects looked at.
        objects: u64,
        /// Bytes read back; 0 at level 1.
        bytes: u64,
        /// Rows counted; 0 at level 1.
        rows: u64,
    },
    /// The dump is not what its manifest says.
    Bad {
        /// Each fault in one line: which object or table, and how.
        faults: Vec<String>,
    },
    /// The store refuses to show it: for want of a right or of a key, or because it lies in an archive. Whether its bytes are
    /// right nobody knows.
    Unreadable {
        /// Which object, and what the store says.
        reason: String,
    },
}

/// The newest verification of one level of one dump in one plane:
/// `<prefix>/<source>/verifications/<database>/<slot>/<plane>-<level>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// Version of this format.
    pub version: u32,
    /// The installation that verified.
    pub installation: InstallationId,
    /// Source, database and slot.
    #[serde(flatten)]
    pub dump: DumpId,
    /// The run that made the dump: another dump of the same slot is another dump.
    #[schemars(with = "String")]
    pub run: RunId,
    /// The entity tag of the manifest that it was compared with: one that was altered since is another claim, for which this
    /// result is no proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_etag: Option<String>,
    /// Where it was looked at.
    pub plane: Plane,
    /// The region of that plane.
    pub region: RegionName,
    /// How deep.
    pub level: Level,
    /// When it began.
    #[schemars(with = "String")]
    pub began_at: Timestamp,
    /// When it ended.
    #[schemars(with = "String")]
    pub finished_at: Timestamp,
    /// Until when object lock forbids to delete any of its objects, as it was seen then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub locked_until: Option<Timestamp>,
    /// What was found.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// A verification as evidence: written once, numbered without a gap within its source, and never deleted by us:
/// `<prefix>/<source>/evidence/<number>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceOfVerification {
    /// Version of this format.
    pub version: u32,
    /// 1 for a source's first.
    pub number: u64,
    /// The one before by its hash, so that none can be taken out or changed unseen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Link>,
    /// What was found.
    pub verification: Verification,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::recovery_point::PointState;
    use crate::testing::{dump, now, region, stored_dump};

    #[test]
    fn a_level_has_one_word_in_records_and_one_for_people() {
        for level in Level::ALL {
            assert_eq!(serde_json::to_value(level).unwrap(), level.as_str());
            assert_eq!(level.to_string(), level.as_str().to_uppercase());
            assert_eq!(format!("{level:<4}|"), format!("{level}  |"), "tables have columns");
        }
    }

    /// A verification whose record could not be read would be made again and again.
    #[test]
    fn the_record_of_as_many_faults_as_are_told_can_be_read() {
        let stored = stored_dump(dump("accounts", "2026-11-01T04:00:00Z", 1, PointState::Good));
        let verification = Verification {
            version: VERIFICATION_VERSION,
            installation: "bank-prod".parse().unwrap(),
            dump: stored.dump,
            run: "20261101t040000z-dump-accounts-1".parse().unwrap(),
            manifest_etag: Some(stored.etag),
            plane: Plane::Primary,
            region: region(),
            level: Level::L2,
            began_at: now(),
            finished_at: now(),
            locked_until: None,
            verdict: Verdict::Bad { faults: vec!["f".repeat(2_000); 100] },
        };
        let json = serde_json::to_vec_pretty(&verification).unwrap();
        assert!((json.len() as u64) < VERIFICATION_BYTES_MAX, "{}", json.len());
    }
}
