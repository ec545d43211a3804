//! Restore drills: a backup is restored into something temporary, looked at, and thrown away; what was found is evidence.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{DatabaseName, InstallationId, InvalidId, Slot, SourceId};
use super::lease::LeaseId;
use super::run::{LEASE, OwnerState, ProcessIdentity};

/// Version of the record that this code writes.
pub const DRILL_RECORD_VERSION: u32 = 1;
/// Largest record that is written or read.
pub const DRILL_RECORD_BYTES_MAX: u64 = 1 << 20;
/// Faults that are told one by one; of more, how many there are.
pub const FAULTS_MAX: usize = 50;

/// From what a drill restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DrillPath {
    /// A snapshot.
    Snapshot,
    /// RDS's automated backups, to a moment.
    Pitr,
    /// Dumps, into an empty instance.
    Dump,
}

impl DrillPath {
    /// All paths, in the order in which people read them.
    pub const ALL: [DrillPath; 3] = [DrillPath::Snapshot, DrillPath::Pitr, DrillPath::Dump];

    /// The word for it: in keys, labels and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DrillPath::Snapshot => "snapshot",
            DrillPath::Pitr => "pitr",
            DrillPath::Dump => "dump",
        }
    }
}

impl fmt::Display for DrillPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DrillPath {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<DrillPath, InvalidId> {
        let known = DrillPath::ALL.into_iter().find(|path| path.as_str() == text);
        known.ok_or_else(|| InvalidId::new("drill path", text, "use snapshot, pitr or dump"))
    }
}

/// One drill: a slot of a source's schedule, along one path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DrillId {
    /// The source.
    pub source: SourceId,
    /// The slot.
    pub slot: Slot,
    /// The path.
    pub path: DrillPath,
}

impl fmt::Display for DrillId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} of {}", self.slot, self.path, self.source)
    }
}

/// Something that must be true of a restored database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// What it is called in evidence.
    pub name: String,
    /// The database.
    pub database: DatabaseName,
    /// A query whose only row has one value, which is true.
    pub sql: String,
}

/// The steps of a drill, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// RDS has taken the order.
    Accepted,
    /// RDS says that the instance is available.
    Available,
    /// Its server has answered a question.
    Connectable,
    /// Every row of it was read.
    FullyRead,
    /// What came back was compared with what must be there.
    Verified,
    /// The instance is gone again.
    TornDown,
}

impl Phase {
    /// All phases.
    pub const ALL: [Phase; 6] =
        [Phase::Accepted, Phase::Available, Phase::Connectable, Phase::FullyRead, Phase::Verified, Phase::TornDown];

    /// The word for it, in labels and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Accepted => "accepted",
            Phase::Available => "available",
            Phase::Connectable => "connectable",
            Phase::FullyRead => "fully_read",
            Phase::Verified => "verified",
            Phase::TornDown => "torn_down",
        }
    }
}

/// A phase that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reached {
    /// Which.
    pub phase: Phase,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Restored {
    /// The snapshot, the identity of the instance whose automated backups were taken, or the dumps.
    pub point: String,
    /// The moment of the data.
    #[schemars(with = "String")]
    pub data_of: Timestamp,
    /// The newest moment that could have been restored to along this path when the drill began: what was written since would
    /// have been lost.
    #[schemars(with = "String")]
    pub recoverable_to: Timestamp,
    /// The class of the instance: times are only comparable among equal ones.
    pub class: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum DrillState {
    /// It is being done.
    Running,
    /// The backup came back as it must.
    Passed {
        /// When it ended.
        #[schemars(with = "String")]
        finished_at: Timestamp,
        /// Tables that were read.
        tables: u64,
        /// Their rows.
        rows: u64,
    },
    /// It came back, and is not what it must be: it is not to be relied on.
    BackupBad {
        /// When it ended.
        #[schemars(with = "String")]
        finished_at: Timestamp,
        /// What is wrong, table by table.
        faults: Vec<String>,
    },
    /// The drill could not be carried out, which says nothing of the backup.
    Errored {
        /// When it ended.
        #[schemars(with = "String")]
        finished_at: Timestamp,
        /// Why.
        message: String,
    },
}

/// What a drill came to, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The backup came back as it must.
    Passed,
    /// It is not to be relied on.
    BackupBad,
    /// That says nothing of the backup.
    NotCarriedOut,
}

impl Verdict {
    /// The words for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::BackupBad => "backup bad",
            Verdict::NotCarriedOut => "not carried out",
        }
    }
}

impl DrillState {
    /// What it came to; `None` while it is being done.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        match self {
            DrillState::Running => None,
            DrillState::Passed { .. } => Some(Verdict::Passed),
            DrillState::BackupBad { .. } => Some(Verdict::BackupBad),
            DrillState::Errored { .. } => Some(Verdict::NotCarriedOut),
        }
    }

    /// When it ended, if it has.
    #[must_use]
    pub fn finished_at(&self) -> Option<Timestamp> {
        match self {
            DrillState::Running => None,
            DrillState::Passed { finished_at, .. }
            | DrillState::BackupBad { finished_at, .. }
            | DrillState::Errored { finished_at, .. } => Some(*finished_at),
        }
    }

    /// Whether it says something of the backup, so that the drill need not be done again.
    #[must_use]
    pub fn is_verdict(&self) -> bool {
        matches!(self.verdict(), Some(Verdict::Passed | Verdict::BackupBad))
    }
}

/// The record of a drill: the claim on it while it is done, the ledger of what it has made, and the evidence when it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillRecord {
    /// Version of this format.
    pub version: u32,
    /// The installation that does it.
    pub installation: InstallationId,
    /// The source.
    pub source: SourceId,
    /// The slot.
    #[schemars(with = "String")]
    pub slot: Slot,
    /// The path.
    pub path: DrillPath,
    /// Attempts so far, this one included.
    pub attempt: u32,
    /// Who works on it.
    pub owner: ProcessIdentity,
    /// When this attempt began.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// When RDS was asked for the instance: from then on a restore is timed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ordered_at: Option<Timestamp>,
    /// Until when the claim stands without renewal, by its owner's clock.
    #[schemars(with = "String")]
    pub lease_until: Timestamp,
    /// The instance of this attempt; written down before RDS is asked for it.
    pub instance: LeaseId,
    /// Instances of earlier attempts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_instances: Vec<LeaseId>,
    /// Why earlier attempts failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_errors: Vec<String>,
    /// What is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
    /// The phases of this attempt that were reached.
    #[serde(default)]
    pub phases: Vec<Reached>,
    /// What nobody can know about what came back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The evidence before this one: its hash, so that none can be taken out or changed unseen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Link>,
    /// Where it stands.
    #[serde(flatten)]
    pub state: DrillState,
}

/// The record of a drill and the version of it that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDrill {
    /// The record.
    pub record: DrillRecord,
    /// Its entity tag: a write on top of it must match.
    pub etag: String,
    /// What is known about its owner.
    pub owner: OwnerState,
    /// How long this version of it has been seen to stand, by this process's own monotonic clock.
    pub unchanged_for: SignedDuration,
}

/// A link of the chain of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// The key of the record.
    pub key: String,
    /// SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
}

impl DrillRecord {
    /// Which drill it is of.
    #[must_use]
    pub fn id(&self) -> DrillId {
        DrillId { source: self.source.clone(), slot: self.slot, path: self.path }
    }

    /// The same claim with its lease counted from `now`.
    #[must_use]
    pub fn renewed(&self, now: Timestamp) -> DrillRecord {
        DrillRecord { lease_until: now.saturating_add(LEASE).unwrap_or(Timestamp::MAX), ..self.clone() }
    }

    /// When a phase was reached.
    #[must_use]
    pub fn reached_at(&self, phase: Phase) -> Option<Timestamp> {
        self.phases.iter().find(|reached| reached.phase == phase).map(|reached| reached.at)
    }

    /// How long it took from the order until a phase was reached.
    #[must_use]
    pub fn took_until(&self, phase: Phase) -> Option<SignedDuration> {
        Some(self.reached_at(phase)?.duration_since(self.ordered_at?))
    }

    /// How long a restore takes until everything is there and as fast as it will be: the recovery time.
    #[must_use]
    pub fn recovery_time(&self) -> Option<SignedDuration> {
        self.took_until(Phase::FullyRead)
    }

    /// How much would have been lost: what was written since the newest moment that could be restored to.
    #[must_use]
    pub fn data_loss(&self) -> Option<SignedDuration> {
        Some(self.started_at.duration_since(self.restored.as_ref()?.recoverable_to).max(SignedDuration::ZERO))
    }

    /// How long its instance stood and was paid for, from the order until RDS did not show it any more.
    #[must_use]
    pub fn instance_time(&self) -> Option<SignedDuration> {
        self.took_until(Phase::TornDown)
    }

    /// Every instance that was ever ordered for it.
    pub fn instances(&self) -> impl Iterator<Item = &LeaseId> {
        self.earlier_instances.iter().chain([&self.instance])
    }
}
