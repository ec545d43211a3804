//! Status: could I restore today, by which path, to when? The same document for the command, the page and `/api/status`.
//!
//! It is computed from the inventory and the plan alone, so it is the same after a restart, and from every replica. Its size
//! is bounded by the configuration: of each obligation at most [`SLOTS_MAX`] slots are told, of each path of a drill
//! [`DRILLS_MAX`] drills, of what is under way and of what comes next [`WORK_MAX`] and [`UPCOMING_MAX`] lines in all. Only
//! findings are told without exception: none may hide another.

mod drills;
mod planes;
mod slots;
mod work;

use jiff::Timestamp;
use serde::Serialize;

use super::Plan;
use super::decision::{Decision, Reason};
use super::points::of_source;
use super::slot_clock::SlotClock;
use super::verify::Readings;
use super::ways_back::{CanRestore, can_restore};
use crate::domain::drill::Verdict;
use crate::domain::id::{DatabaseName, InstallationId, InstanceId, Kind, RegionName, SnapshotId, SourceId};
use crate::domain::inventory::{Inventory, Unseen};
use crate::domain::recovery_point::{Plane, RecoveryPoint};
use crate::policy::finding::{Finding, Severity};
use crate::policy::{Policy, SourcePolicy};
pub use drills::{DRILLS_MAX, DrillView, PastDrill, PhaseTime};
pub use planes::PlaneStatus;
use slots::Calendar;
pub use slots::{SLOTS_MAX, SlotState, SlotStatus};
pub use work::{UPCOMING_MAX, Upcoming, WORK_MAX, Work, WorkKind};

/// The state of everything that is protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whose it is.
    pub installation: InstallationId,
    /// When it was looked.
    pub at: Timestamp,
    /// From then on this document is old, and not to be relied on: by then there should have been several newer ones.
    pub stale_at: Timestamp,
    /// The daemon that tells this does not lead: it looks, and does not act.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stands_by: bool,
    /// Nothing needs a person.
    pub well: bool,
    /// Every source, in the order of their names.
    pub sources: Vec<SourceStatus>,
    /// What is under way, the longest first.
    pub running: Vec<Work>,
    /// What comes next, the soonest first.
    pub upcoming: Vec<Upcoming>,
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
    /// How it stands, in one word.
    pub state: SourceState,
    /// The instance's status in RDS's words; absent if it was not seen.
    pub instance_status: Option<String>,
    /// What is owed to it.
    pub obligations: Vec<ObligationStatus>,
    /// Whether any way back exists today, in any region.
    pub can_restore: CanRestore,
    /// The ways back that exist today.
    pub restorable: Vec<WayBack>,
    /// What was read back of its good dumps, by bucket and database.
    pub read_back: Vec<Readings>,
    /// Its restore drills, by path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drills: Vec<DrillView>,
    /// Where its recovery points are, by kind, database and region.
    pub planes: Vec<PlaneStatus>,
}

/// How a source stands, in one word. What is worse comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// As it should.
    Ok,
    /// All of it is switched off in the configuration.
    Suspended,
    /// A promise will be broken if nobody acts.
    Warning,
    /// A promise is broken, or there is nothing to restore from.
    Critical,
}

impl SourceState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SourceState::Ok => "ok",
            SourceState::Suspended => "suspended",
            SourceState::Warning => "warning",
            SourceState::Critical => "critical",
        }
    }

    /// Whether a person has to look at it.
    #[must_use]
    pub fn needs_a_person(self) -> bool {
        self >= SourceState::Warning
    }
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
    /// From when on it is overdue if nothing new is made; absent where it is suspended. By AWS's clock where ours is wrong.
    pub overdue_at: Option<Timestamp>,
    /// How it stands.
    pub state: ObligationState,
    /// What was decided, and why.
    pub reason: String,
    /// Its latest slots, the oldest first, from the first one of which anything is known.
    pub slots: Vec<SlotStatus>,
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
    /// Seconds that it takes until everything is there, as the last drill along this path has shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_seconds: Option<i64>,
}

impl Status {
    /// The status that a plan and its inventory tell.
    #[must_use]
    pub fn of(policy: &Policy, inventory: &Inventory, plan: &Plan) -> Status {
        let at = inventory.taken_at;
        let mut calendar = Calendar::of(SlotClock::of(policy, inventory).shows(at));
        let of_source = |source| source_status((policy, source), inventory, plan, &mut calendar);
        let sources: Vec<SourceStatus> = policy.sources.values().map(of_source).collect();
        let unseen: Vec<String> =
            plan.unseen.iter().map(|(section, Unseen(why))| format!("{section}: {why}")).collect();
        Status {
            installation: policy.installation.clone(),
            at,
            stale_at: at.saturating_add(policy.cadence.look_age_max()).unwrap_or(Timestamp::MAX),
            stands_by: false,
            well: unseen.is_empty()
                && !sources.iter().any(|source| source.state.needs_a_person())
                && plan.findings.iter().all(|finding| finding.severity == Severity::Info),
            findings: plan.findings.clone(),
            running: work::running(policy, inventory),
            upcoming: work::upcoming(plan, at),
            sources,
            unseen,
            remains_bytes: plan.remains.iter().map(|remains| remains.size_bytes).sum(),
        }
    }
}

fn source_status(
    (policy, source): (&Policy, &SourcePolicy),
    inventory: &Inventory,
    plan: &Plan,
    calendar: &mut Calendar,
) -> SourceStatus {
    let instance = inventory.instance(&source.instance).ok().flatten();
    let points = of_source(&plan.points, &source.id);
    let decisions = plan.decisions.iter().filter(|decision| decision.source == source.id);
    // The planner decides on obligations in the order in which the policy has them.
    let own = source.obligations.iter().zip(decisions).map(|(obligation, decision)| {
        let resource = instance.map(|instance| &instance.resource);
        let view = slots::View { policy, source, obligation, inventory, points, resource };
        obligation_status(decision, &view, calendar)
    });
    let obligations: Vec<ObligationStatus> = own.collect();
    let drills = drills::of_source(source, inventory, plan);
    let pitr = instance.and_then(|instance| instance.latest_restorable_at);
    let pitr = pitr.map(|to| WayBack {
        path: "pitr",
        database: None,
        to,
        from: None,
        from_snapshot: None,
        region: None,
        expected_seconds: expected("pitr", &drills),
    });
    let newest = newest_points(source, plan).into_iter().filter_map(|point| to_way_back(point, &drills));
    let restorable: Vec<WayBack> = pitr.into_iter().chain(newest).collect();
    let can_restore = can_restore(source, inventory, &plan.points);
    SourceStatus {
        source: source.id.clone(),
        instance: source.instance.clone(),
        state: source_state(source, &obligations, can_restore, &plan.findings),
        can_restore,
        instance_status: instance.map(|instance| instance.status.clone()),
        obligations,
        restorable,
        drills,
        planes: planes::of_source(points, inventory.taken_at),
        read_back: plan.readings.iter().filter(|own| own.source == source.id).cloned().collect(),
    }
}

/// The worst of what is said of a source.
fn source_state(
    source: &SourcePolicy,
    obligations: &[ObligationStatus],
    can_restore: CanRestore,
    findings: &[Finding],
) -> SourceState {
    let of_obligation = obligations.iter().map(|own| match own.state {
        ObligationState::Ok | ObligationState::Suspended => SourceState::Ok,
        ObligationState::Trouble => SourceState::Warning,
        ObligationState::Overdue => SourceState::Critical,
    });
    let own = findings.iter().filter(|finding| finding.source.as_ref() == Some(&source.id));
    let of_finding = own.map(|finding| match finding.severity {
        Severity::Info => SourceState::Ok,
        Severity::Warning => SourceState::Warning,
        Severity::Critical => SourceState::Critical,
    });
    let is_off = obligations.iter().all(|own| own.state == ObligationState::Suspended);
    // Not to know is no good news either.
    let nothing = (can_restore != CanRestore::Yes).then_some(SourceState::Critical);
    let off = is_off.then_some(SourceState::Suspended);
    of_obligation.chain(of_finding).chain(nothing).chain(off).max().unwrap_or(SourceState::Ok)
}

fn obligation_status(decision: &Decision, view: &slots::View<'_>, calendar: &mut Calendar) -> ObligationStatus {
    ObligationStatus {
        kind: decision.kind,
        database: decision.database.clone(),
        newest_at: decision.freshness.newest_at,
        expected_interval_seconds: decision.freshness.expected_interval.as_secs(),
        next_due_at: decision.freshness.next_due_at,
        overdue_at: view.overdue_at(calendar),
        state: obligation_state(decision),
        reason: decision.reason.to_string(),
        slots: view.slots(calendar),
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

fn to_way_back(point: &RecoveryPoint, drills: &[DrillView]) -> Option<WayBack> {
    let is_here = point.plane == Plane::Primary;
    Some(WayBack {
        // Drills restore where the source is; how long it takes elsewhere nobody has seen.
        expected_seconds: expected(point.kind.as_str(), drills).filter(|_| is_here),
        path: point.kind.as_str(),
        database: point.database.clone(),
        to: point.created_at?,
        from: Some(point.id.clone()),
        from_snapshot: point.from_snapshot.clone(),
        region: (!is_here).then(|| point.region.clone()),
    })
}

/// How long a restore along a path takes, if the last drill along it was passed.
fn expected(path: &str, drills: &[DrillView]) -> Option<i64> {
    let own = drills.iter().map(|own| &own.status).find(|own| own.path.as_str() == path)?;
    own.recovery_seconds.filter(|_| own.last == Some(Verdict::Passed))
}

#[cfg(test)]
mod tests;
