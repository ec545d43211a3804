//! Recovery points: anything that one can restore from.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{DatabaseName, Kind, RegionName, ResourceId, RunId, Slot, SnapshotId, SourceId};
use super::pin::Pin;

/// Where a recovery point lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    /// The region of the source.
    Primary,
    /// The region of the copies.
    Replica,
}

impl Plane {
    /// Both planes, the source's own first.
    pub const ALL: [Plane; 2] = [Plane::Primary, Plane::Replica];

    /// The word for it in labels and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Plane::Primary => "primary",
            Plane::Replica => "replica",
        }
    }
}

/// Whether a recovery point can be relied on, as far as listing tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum PointState {
    /// Whole: an `available` snapshot, or a manifest whose every object is there with its size.
    Good,
    /// Being made; it is not counted as anything yet.
    Pending,
    /// Not to be relied on.
    Bad {
        /// Why.
        reason: String,
    },
    /// The store has shown it once and does not now: whether it can be relied on nobody knows. It counts as good for no other
    /// point, and expires only where a good one in its place would.
    Unreadable {
        /// What the store says.
        reason: String,
    },
    /// Its deletion has begun and will be seen through: a dump whose prune record stands.
    Deleting,
}

impl fmt::Display for PointState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PointState::Good => f.write_str("good"),
            PointState::Pending => f.write_str("pending"),
            PointState::Bad { reason } => write!(f, "bad: {reason}"),
            PointState::Unreadable { reason } => write!(f, "unreadable: {reason}"),
            PointState::Deleting => f.write_str("deleting"),
        }
    }
}

/// One recovery point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecoveryPoint {
    /// What people type to name it: the snapshot id, or `<source>/<database>/<slot>`.
    pub id: String,
    /// The source that it protects.
    pub source: SourceId,
    /// Snapshot or dump.
    pub kind: Kind,
    /// The database, for dumps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseName>,
    /// The identity of the instance that it was made of; an instance re-created under the same name has another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceId>,
    /// The slot that it fills.
    pub slot: Slot,
    /// The run that made it, for dumps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The snapshot that it was taken from, for dumps of what a restore drill has restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_snapshot: Option<SnapshotId>,
    /// Where it lives.
    pub plane: Plane,
    /// The region that it lives in.
    pub region: RegionName,
    /// The moment of the data in it: a snapshot's original creation, a dump's database snapshot. Absent while pending.
    pub created_at: Option<Timestamp>,
    /// When it came to be where it is, by AWS's clock: a snapshot's or copy's own creation, a manifest's `LastModified`.
    pub stored_at: Option<Timestamp>,
    /// Bytes stored (dumps) or allocated (snapshots).
    pub size_bytes: u64,
    /// The newest verification that read every byte of it and found them good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// Kept whatever the policy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
    /// Until when object lock forbids to delete it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
    /// Whether it can be relied on.
    #[serde(flatten)]
    pub state: PointState,
}

impl RecoveryPoint {
    /// Whether one can restore from it.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.state == PointState::Good
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::testing::dump;

    #[test]
    fn a_plane_has_one_word_wherever_it_is_written() {
        for plane in Plane::ALL {
            assert_eq!(serde_json::to_value(plane).unwrap(), plane.as_str());
        }
    }

    #[rstest]
    #[case(PointState::Good, true, "good")]
    #[case(PointState::Pending, false, "pending")]
    #[case(PointState::Bad { reason: "cut off".to_owned() }, false, "bad: cut off")]
    #[case(PointState::Unreadable { reason: "AccessDenied".to_owned() }, false, "unreadable: AccessDenied")]
    #[case(PointState::Deleting, false, "deleting")]
    fn one_restores_from_good_points_only_and_the_others_say_why(
        #[case] state: PointState,
        #[case] is_good: bool,
        #[case] words: &str,
    ) {
        assert_eq!(state.to_string(), words);
        assert_eq!(dump("accounts", "2026-11-01T04:00:00Z", 1, state).is_good(), is_good);
    }
}
