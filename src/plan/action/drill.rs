//! What drills do.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::dump::DumpOfDrill;
use crate::domain::drill::{Assertion, DrillId, StoredDrill};
use crate::domain::id::{DatabaseName, InstanceId, ResourceId, SnapshotId, SourceId};
use crate::domain::inventory::{Endpoint, StoredDump};
use crate::domain::key::DumpId;
use crate::domain::lease::LeaseId;
use crate::domain::tags::Tags;
use crate::policy::drill::DrillSetup;

/// Do a drill, from the claim on it to its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartDrill {
    /// The drill.
    pub drill: DrillId,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The record of the attempt before.
    pub before: Option<StoredDrill>,
    /// The evidence that this one is chained to.
    pub previous: Option<DrillId>,
    /// The instance that is restored into.
    pub lease: LeaseId,
    /// Its marks of ownership.
    pub marks: Tags,
    /// The source's instance.
    pub instance: InstanceId,
    /// Its identity.
    pub resource: ResourceId,
    /// Where it listens.
    pub source_endpoint: Option<Endpoint>,
    /// What is restored.
    pub point: DrillPoint,
    /// The databases that are looked at.
    pub databases: Vec<DatabaseName>,
    /// The newest good dump of each.
    pub dumps_before: Vec<DumpId>,
    /// How many percent fewer rows than in that dump a table may have, if that is limited.
    pub fewer_rows_max_percent: Option<u8>,
    /// What must be true.
    pub assertions: Vec<Assertion>,
    /// What is restored into.
    pub setup: DrillSetup,
    /// Between two looks at the instance.
    pub poll_interval: SignedDuration,
    /// When it must have come to what it finds.
    pub deadline: Timestamp,
    /// Dumps that are then made of what was restored, one after the other.
    pub dumps: Vec<DumpOfDrill>,
}

/// What a drill restores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrillPoint {
    /// A snapshot.
    Snapshot {
        /// Its id.
        snapshot: SnapshotId,
        /// The moment of its data.
        data_of: Timestamp,
    },
    /// Automated backups, as far as they reach.
    Latest,
    /// A dump of each database.
    Dumps(Vec<StoredDump>),
}

/// Delete an instance on which no drill works any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReapInstance {
    /// The source whose backup was in it.
    pub source: SourceId,
    /// The instance.
    pub lease: LeaseId,
}

impl StartDrill {
    /// What must be true of a database.
    #[must_use]
    pub fn assertions_of(&self, database: &DatabaseName) -> Vec<Assertion> {
        self.assertions.iter().filter(|own| own.database == *database).cloned().collect()
    }
}

impl fmt::Display for StartDrill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "drill {}: restore ", self.drill)?;
        match &self.point {
            DrillPoint::Snapshot { snapshot, .. } => write!(f, "snapshot {snapshot}")?,
            DrillPoint::Latest => write!(f, "automated backups of {}", self.instance)?,
            DrillPoint::Dumps(dumps) => {
                let dumps: Vec<String> = dumps.iter().map(|stored| stored.dump.to_string()).collect();
                write!(f, "dumps {}", dumps.join(", "))?;
            }
        }
        write!(f, " as {}", self.lease)?;
        self.dumps.iter().try_for_each(|dump| write!(f, ", and {dump}"))
    }
}
