//! The evidence of expiry, without which nothing is deleted.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::id::{DatabaseName, Kind, RegionName, ResourceId, SourceId};
use crate::domain::recovery_point::{Plane, RecoveryPoint};

/// Evidence that a recovery point has expired. Only [`RetentionPolicy::judge`](super::RetentionPolicy::judge) makes it,
/// from a complete listing, and it names the one point that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    id: String,
    source: SourceId,
    created_at: Timestamp,
    group: Arc<JudgedGroup>,
}

/// What all expired points of a group have in common. They share it, because a group can have a hundred thousand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JudgedGroup {
    pub(super) kind: Kind,
    pub(super) database: Option<DatabaseName>,
    pub(super) resource: ResourceId,
    pub(super) plane: Plane,
    pub(super) region: RegionName,
    pub(super) judged_at: Timestamp,
    pub(super) newest_good: String,
}

impl Expired {
    pub(super) fn new(point: &RecoveryPoint, created_at: Timestamp, group: &Arc<JudgedGroup>) -> Expired {
        let (id, source) = (point.id.clone(), point.source.clone());
        Expired { id, source, created_at, group: Arc::clone(group) }
    }

    /// The recovery point, as people name it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its source.
    #[must_use]
    pub fn source(&self) -> &SourceId {
        &self.source
    }

    /// Snapshot or dump.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.group.kind
    }

    /// The database, of a dump.
    #[must_use]
    pub fn database(&self) -> Option<&DatabaseName> {
        self.group.database.as_ref()
    }

    /// `DbiResourceId` of the instance that it was made of.
    #[must_use]
    pub fn resource(&self) -> &ResourceId {
        &self.group.resource
    }

    /// Where it lives.
    #[must_use]
    pub fn plane(&self) -> Plane {
        self.group.plane
    }

    /// The region of that plane.
    #[must_use]
    pub fn region(&self) -> &RegionName {
        &self.group.region
    }

    /// The moment of its data.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// When it was judged.
    #[must_use]
    pub fn judged_at(&self) -> Timestamp {
        self.group.judged_at
    }

    /// The newest good recovery point of its group, which stays.
    #[must_use]
    pub fn newest_good(&self) -> &str {
        &self.group.newest_good
    }
}

impl fmt::Display for Expired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expired: no rule keeps it; newest good is {}", self.group.newest_good)
    }
}
