//! What dumps do.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::domain::id::{InstanceId, ResourceId, RunId, SnapshotId};
use crate::domain::inventory::Endpoint;
use crate::domain::key::DumpId;
use crate::policy::DumpSettings;

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
    /// Where it is read.
    pub read_from: ReadFrom,
    /// How to dump.
    pub settings: DumpSettings,
    /// When the run must have ended.
    pub deadline: Timestamp,
}

/// Where a dump is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFrom {
    /// The instance that is read.
    pub instance: InstanceId,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The endpoint of the source's instance, where another one is read that is a replica of it.
    pub replica_of: Option<Endpoint>,
    /// The snapshot that the instance was restored from, where that is a drill's.
    pub restored: Option<FromSnapshot>,
}

/// The snapshot in an instance that a drill has made, and what the drill has read there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromSnapshot {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The moment of its data.
    pub data_of: Timestamp,
    /// Rows of each table of the database that a dump takes, by schema and name, as the drill has counted them.
    pub counted: BTreeMap<String, u64>,
}

/// A dump that a drill makes of what it has restored, once that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpOfDrill {
    /// The run.
    pub run: RunId,
    /// Source, database and slot.
    pub dump: DumpId,
    /// How to dump.
    pub settings: DumpSettings,
    /// How long the run may take from its beginning.
    pub within: SignedDuration,
}

impl fmt::Display for StartDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dump database {} of source {} as run {}", self.dump.database, self.dump.source, self.run)?;
        match (&self.read_from.replica_of, &self.read_from.restored) {
            (Some(_), _) => write!(f, ", read from replica {}", self.read_from.instance),
            (None, Some(FromSnapshot { snapshot, .. })) => {
                write!(f, ", read from {} with snapshot {snapshot}", self.read_from.instance)
            }
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for DumpOfDrill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dump database {} of it as run {}", self.dump.database, self.run)
    }
}
