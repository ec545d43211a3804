//! Status: could I restore today, by which path, to when? The same document for the command, the page and `/api/status`.

use jiff::Timestamp;
use serde::Serialize;

use super::Plan;
use super::decision::{Decision, Reason};
use super::drill::DrillStatus;
use super::points::of_source;
use super::verify::Readings;
use crate::domain::id::{DatabaseName, InstanceId, Kind, RegionName, SnapshotId, SourceId};
use crate::domain::inventory::{Inventory, Unseen};
use crate::domain::recovery_point::{Plane, RecoveryPoint};
use crate::policy::finding::{Finding, Severity};
use crate::policy::{Policy, SourcePolicy};

/// The state of everything that is protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// When it was looked.
    pub at: Timestamp,
    /// Nothing needs a person.
    pub well: bool,
    /// Every source, in the order of their names.
    pub sources: Vec<SourceStatus>,
    /// What a person should know about, the worst first.
    pub findings: Vec<Finding>,
    /// What could not be seen.
    pub unseen: Vec<String>,
    /// Bytes that dead runs left in the store.
    pub remains_bytes: u64,
}

/// The state of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// The source.
    pub source: SourceId,
    /// Its instance.
    pub instance: InstanceId,
    /// The instance's status in RDS's words; absent if it was not seen.
    pub instance_status: Option<String>,
    /// What is owed to it.
    pub obligations: Vec<ObligationStatus>,
    /// The ways back that exist today.
    pub restorable: Vec<WayBack>,
    /// What was read back of its good dumps, by bucket and database.
    pub read_back: Vec<Readings>,
    /// Its restore drills, by path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drills: Vec<DrillStatus>,
}

/// The state of one obligation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObligationStatus {
    /// Snapshot or dump.
    pub kind: Kind,
    /// The database, for dumps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseName>,
    /// The moment of the newest good recovery point's data.
    pub newest_at: Option<Timestamp>,
    /// Seconds from one slot to the next.
    pub expected_interval_seconds: i64,
    /// The next start.
    pub next_due_at: Option<Timestamp>,
    /// How it stands.
    pub state: ObligationState,
    /// What was decided, and why.
    pub reason: String,
}

/// How an obligation stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ObligationState {
    /// As it should.
    Ok,
    /// Switched off in the configuration.
    Suspended,
    /// A person may have to act.
    Trouble,
    /// The latest slot should have been filled by now and is not.
    Overdue,
}

/// A way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WayBack {
    /// `pitr`, `snapshot` or `dump`.
    pub path: &'static str,
    /// The database, for dumps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseName>,
    /// The latest moment that it leads to.
    pub to: Timestamp,
    /// What is restored from; absent for point-in-time recovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The snapshot that a dump was taken from, where a drill has made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_snapshot: Option<SnapshotId>,
    /// The region that it is restored in; absent where that is the instance's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
}

impl Status {
    /// The status that a plan and its inventory tell.
    #[must_use]
    pub fn of(policy: &Policy, inventory: &Inventory, plan: &Plan) -> Status {
        let sources: Vec<SourceStatus> =
            policy.sources.values().map(|source| source_status(source, inventory, plan)).collect();
        let trouble = |source: &SourceStatus| {
            let bad = |own: &ObligationStatus| matches!(own.state, ObligationState::Trouble | ObligationState::Overdue);
            source.restorable.is_empty() || source.obligations.iter().any(bad)
        };
        let unseen: Vec<String> =
            plan.unseen.iter().map(|(section, Unseen(why))| format!("{section}: {why}")).collect();
        Status {
            at: inventory.taken_at,
            well: unseen.is_empty()
                && !sources.iter().any(trouble)
                && plan.findings.iter().all(|finding| finding.severity == Severity::Info),
            findings: plan.findings.clone(),
            sources,
            unseen,
            remains_bytes: plan.remains.iter().map(|remains| remains.size_bytes).sum(),
        }
    }
}

fn source_status(source: &SourcePolicy, inventory: &Inventory, plan: &Plan) -> SourceStatus {
    let instance = inventory.instance(&source.instance).ok().flatten();
    let decisions = plan.decisions.iter().filter(|decision| decision.source == source.id);
    let pitr = instance.and_then(|instance| instance.latest_restorable_at);
    let pitr =
        pitr.map(|to| WayBack { path: "pitr", database: None, to, from: None, from_snapshot: None, region: None });
    let newest = newest_points(source, plan).into_iter().filter_map(to_way_back);
    SourceStatus {
        source: source.id.clone(),
        instance: source.instance.clone(),
        instance_status: instance.map(|instance| instance.status.clone()),
        obligations: decisions.map(obligation_status).collect(),
        restorable: pitr.into_iter().chain(newest).collect(),
        drills: plan.drills.iter().filter(|own| own.source == source.id).map(DrillStatus::of).collect(),
        read_back: plan.readings.iter().filter(|own| own.source == source.id).cloned().collect(),
    }
}

fn obligation_status(decision: &Decision) -> ObligationStatus {
    ObligationStatus {
        kind: decision.kind,
        database: decision.database.clone(),
        newest_at: decision.freshness.newest_at,
        expected_interval_seconds: decision.freshness.expected_interval.as_secs(),
        next_due_at: decision.freshness.next_due_at,
        state: obligation_state(decision),
        reason: decision.reason.to_string(),
    }
}

fn obligation_state(decision: &Decision) -> ObligationState {
    if decision.freshness.overdue {
        ObligationState::Overdue
    } else if decision.reason.is_trouble() {
        ObligationState::Trouble
    } else if decision.reason == Reason::Suspended {
        ObligationState::Suspended
    } else {
        ObligationState::Ok
    }
}

/// The newest good point of each kind, database and region. Old instances of the name count: they can be restored.
fn newest_points<'a>(source: &SourcePolicy, plan: &'a Plan) -> Vec<&'a RecoveryPoint> {
    let good = of_source(&plan.points, &source.id).iter().filter(|point| point.is_good());
    let mut newest: Vec<&RecoveryPoint> = Vec::new();
    for point in good {
        let shelf = |point: &RecoveryPoint| (point.kind, point.database.clone(), point.region.clone());
        let same = |other: &&mut &RecoveryPoint| shelf(other) == shelf(point);
        match newest.iter_mut().find(same) {
            Some(known) if known.created_at < point.created_at => *known = point,
            Some(_) => {}
            None => newest.push(point),
        }
    }
    newest
}

fn to_way_back(point: &RecoveryPoint) -> Option<WayBack> {
    Some(WayBack {
        path: point.kind.as_str(),
        database: point.database.clone(),
        to: point.created_at?,
        from: Some(point.id.clone()),
        from_snapshot: point.from_snapshot.clone(),
        region: (point.plane == Plane::Replica).then(|| point.region.clone()),
    })
}

#[cfg(test)]
mod tests;
