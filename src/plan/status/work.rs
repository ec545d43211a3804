//! What is under way, and what comes next.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::domain::drill::{DrillPath, DrillState, Phase, StoredDrill};
use crate::domain::id::{DatabaseName, Kind, SourceId};
use crate::domain::inventory::{Inventory, SourceStore, StoredRun};
use crate::domain::run::{RunRecord, RunState};
use crate::plan::Plan;
use crate::plan::drill::is_worked_on;
use crate::policy::{Policy, SourcePolicy};

/// Most lines about what is under way.
pub const WORK_MAX: usize = 100;
/// Most lines about what comes next.
pub const UPCOMING_MAX: usize = 20;

/// What is done, or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkKind {
    /// An RDS snapshot is made.
    Snapshot,
    /// A database is dumped.
    Dump,
    /// A backup is restored, looked at and thrown away.
    Drill,
}

impl WorkKind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            WorkKind::Snapshot => "snapshot",
            WorkKind::Dump => "dump",
            WorkKind::Drill => "drill",
        }
    }
}

impl From<Kind> for WorkKind {
    fn from(kind: Kind) -> WorkKind {
        match kind {
            Kind::Snapshot => WorkKind::Snapshot,
            Kind::Dump => WorkKind::Dump,
        }
    }
}

/// Something that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Work {
    /// The source.
    pub source: SourceId,
    /// What is done.
    pub kind: WorkKind,
    /// The database, for dumps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseName>,
    /// The path, for drills.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<DrillPath>,
    /// The run or the drill, as the log names it.
    pub id: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Percent done, where RDS says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Of a drill, the last phase that it has reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Seconds that the last one like it took that succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usual_seconds: Option<i64>,
}

/// Something that is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upcoming {
    /// When it starts.
    pub at: Timestamp,
    /// The source.
    pub source: SourceId,
    /// What will be done.
    pub kind: WorkKind,
    /// The database, for dumps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseName>,
    /// The path, for drills.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<DrillPath>,
}

/// Everything that is under way and recorded; what is read back is not.
pub(super) fn running(policy: &Policy, inventory: &Inventory) -> Vec<Work> {
    let mut running = Vec::new();
    for source in policy.sources.values() {
        let Ok(store) = inventory.store(&source.id) else { continue };
        let runs = store.runs.iter().filter(|stored| is_under_way(source, stored, inventory));
        running.extend(runs.map(|stored| of_run(source, stored, store, inventory)));
        let drills = store.drills.iter().filter(|stored| is_worked_on(inventory, stored));
        running.extend(drills.map(|stored| of_drill(stored, store)));
    }
    running.sort_by(|a, b| (a.started_at, &a.source, &a.id).cmp(&(b.started_at, &b.source, &b.id)));
    running.truncate(WORK_MAX);
    running
}

/// A snapshot is made by RDS, whoever lives; a dump dies with its process.
fn is_under_way(source: &SourcePolicy, stored: &StoredRun, inventory: &Inventory) -> bool {
    let record = &stored.record;
    let is_ours = || inventory.in_flight.contains(&(source.id.clone(), record.run.clone()));
    let lives = || record.run.kind == Kind::Snapshot || !stored.owner.has_left(stored.unchanged_for) || is_ours();
    record.state == RunState::Running && lives()
}

fn of_run(source: &SourcePolicy, stored: &StoredRun, store: &SourceStore, inventory: &Inventory) -> Work {
    let RunRecord { run, started_at, snapshot, .. } = &stored.record;
    let snapshots = inventory.snapshots.iter().flatten();
    let mut own = snapshots.filter(|seen| snapshot.as_ref() == Some(&seen.id));
    Work {
        source: source.id.clone(),
        kind: run.kind.into(),
        database: run.database.clone(),
        path: None,
        id: run.to_string(),
        started_at: *started_at,
        percent: own.next().map(|seen| seen.progress_percent),
        phase: None,
        usual_seconds: usual(&stored.record, store).map(|took| took.as_secs()),
    }
}

/// How long the last run of the same kind and database took that succeeded.
fn usual(record: &RunRecord, store: &SourceStore) -> Option<SignedDuration> {
    let alike = |other: &&RunRecord| other.run.kind == record.run.kind && other.run.database == record.run.database;
    let others = store.runs.iter().map(|stored| &stored.record).filter(alike);
    let took = others.filter_map(|other| match other.state {
        RunState::Succeeded { finished_at, .. } => Some((finished_at, finished_at.duration_since(other.started_at))),
        RunState::Running | RunState::Failed { .. } | RunState::Cancelled { .. } | RunState::Abandoned { .. } => None,
    });
    took.max_by_key(|(finished_at, _)| *finished_at).map(|(_, took)| took)
}

fn of_drill(stored: &StoredDrill, store: &SourceStore) -> Work {
    let record = &stored.record;
    let passed = store.drills.iter().map(|other| &other.record).filter_map(|other| match other.state {
        DrillState::Passed { finished_at, .. } if other.path == record.path => {
            Some((finished_at, finished_at.duration_since(other.started_at)))
        }
        DrillState::Passed { .. } | DrillState::Running | DrillState::BackupBad { .. } | DrillState::Errored { .. } => {
            None
        }
    });
    Work {
        source: record.source.clone(),
        kind: WorkKind::Drill,
        database: None,
        path: Some(record.path),
        id: record.id().to_string(),
        started_at: record.started_at,
        percent: None,
        phase: record.phases.last().map(|reached| reached.phase),
        usual_seconds: passed.max_by_key(|(finished_at, _)| *finished_at).map(|(_, took)| took.as_secs()),
    }
}

/// The next starts over all sources.
pub(super) fn upcoming(plan: &Plan, now: Timestamp) -> Vec<Upcoming> {
    let backups = plan.decisions.iter().filter_map(|decision| {
        Some(Upcoming {
            at: decision.freshness.next_due_at?,
            source: decision.source.clone(),
            kind: decision.kind.into(),
            database: decision.database.clone(),
            path: None,
        })
    });
    let drills = plan.drills.iter().filter_map(|decision| {
        Some(Upcoming {
            at: decision.next_due_at?,
            source: decision.source.clone(),
            kind: WorkKind::Drill,
            database: None,
            path: Some(decision.path),
        })
    });
    let mut upcoming: Vec<Upcoming> = backups.chain(drills).filter(|next| next.at > now).collect();
    let order = |next: &Upcoming| (next.at, next.source.clone(), next.kind, next.database.clone(), next.path);
    upcoming.sort_by_cached_key(order);
    upcoming.truncate(UPCOMING_MAX);
    upcoming
}
