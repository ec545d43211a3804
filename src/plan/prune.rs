//! Pruning: which recovery points are deleted now, which wait although they have expired, and why.
//!
//! Retention says what has expired; that is necessary and not sufficient. Everything here only ever holds back: a point that
//! no rule keeps is deleted when nothing speaks against it, and not knowing speaks against it.

mod evidence;
mod hold;
mod sweep;

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::action::{Action, DeleteDump, DeleteSnapshot, Warrant};
use super::decision::Decision;
use crate::domain::id::{DatabaseName, Kind, RegionName, SourceId};
use crate::domain::inventory::{Complete, Inventory, StoredDump};
use crate::domain::recovery_point::{Plane, RecoveryPoint};
use crate::policy::finding::{Check, Finding, Severity};
use crate::policy::retention::{Expired, Fate, KeepRule, Retention};
use crate::policy::{Obligation, Policy, SourcePolicy, Task};
pub use hold::Hold;
use hold::{Holds, Limits, View};

/// Who decides that what has expired is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The daemon, by itself: within the limits, and only by a retention that has settled.
    Automatic,
    /// A person who has looked at the list: `strongroom prune --confirm`.
    Confirmed,
}

/// What becomes of one recovery point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointDecision {
    /// The point.
    pub point: RecoveryPoint,
    /// What becomes of it, and why.
    pub fate: PointFate,
}

/// What becomes of a recovery point, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointFate {
    /// It is kept, by these rules.
    Kept(Vec<KeepRule>),
    /// It has expired and stays for now.
    Held(Hold),
    /// It has expired and is deleted now.
    Deleted,
}

/// What was planned about deletions.
#[derive(Debug, Default)]
pub(super) struct Pruning {
    pub(super) actions: Vec<Action>,
    pub(super) decisions: Vec<PointDecision>,
    pub(super) findings: Vec<Finding>,
}

/// Recovery points that are judged together: those of one source, kind and database in one plane and region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shelf {
    source: SourceId,
    kind: Kind,
    database: Option<DatabaseName>,
    plane: Plane,
    region: RegionName,
}

impl Shelf {
    fn of(point: &RecoveryPoint) -> Shelf {
        Shelf {
            source: point.source.clone(),
            kind: point.kind,
            database: point.database.clone(),
            plane: point.plane,
            region: point.region.clone(),
        }
    }
}

pub(super) fn plan_prune(
    policy: &Policy,
    inventory: &Inventory,
    points: &[RecoveryPoint],
    decisions: &[Decision],
    mode: Mode,
    now: Timestamp,
) -> Pruning {
    let mut pruning = Pruning::default();
    let holds = Holds { policy, inventory, mode };
    let mut overdue: BTreeMap<&SourceId, Vec<Kind>> = BTreeMap::new();
    for decision in decisions.iter().filter(|decision| decision.freshness.overdue) {
        overdue.entry(&decision.source).or_default().push(decision.kind);
    }
    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    let mut shelves = 0;
    // Points come source by source.
    for points in points.chunk_by(|a, b| a.source == b.source) {
        let Some(source) = points.first().and_then(|first| policy.sources.get(&first.source)) else { continue };
        let overdue = overdue.get(&source.id).map_or(&[][..], Vec::as_slice);
        let view = View { source, points, overdue };
        let mut of_source: BTreeMap<Shelf, Vec<&RecoveryPoint>> = BTreeMap::new();
        for point in points {
            of_source.entry(Shelf::of(point)).or_default().push(point);
        }
        shelves += of_source.len();
        for (shelf, points) in &of_source {
            judge_shelf(&holds, &view, shelf, points, now, &mut pruning, &mut candidates);
        }
    }
    limit(&Limits::new(policy, inventory, points.len(), shelves, mode), candidates, inventory, &mut pruning);
    pruning.decisions.sort_by(|a, b| {
        let key = |decision: &PointDecision| (Shelf::of(&decision.point), std::cmp::Reverse(decision.point.slot));
        key(a).cmp(&key(b))
    });
    let told: Vec<Finding> =
        pruning.decisions.chunk_by(|a, b| a.point.source == b.point.source).flat_map(told).collect();
    pruning.findings.extend(told);
    pruning.actions.extend(sweep::resume(inventory));
    if holds.clock().is_none() {
        pruning.actions.extend(sweep::sweep(policy, inventory, now));
        if policy.prune.automatic || mode == Mode::Confirmed {
            pruning.actions.extend(evidence::sweep(policy, inventory, now));
        }
    }
    pruning.findings.extend(holds.findings());
    pruning.findings.extend(sweep::hidden(inventory));
    pruning
}

/// What the decisions about one source's points have to tell.
fn told(decisions: &[PointDecision]) -> Vec<Finding> {
    let finding = |severity, check, decision: &PointDecision, text| Finding {
        severity,
        check,
        source: Some(decision.point.source.clone()),
        text,
    };
    let mut findings = Vec::new();
    let is_future =
        |own: &&PointDecision| matches!(&own.fate, PointFate::Kept(rules) if rules.contains(&KeepRule::FutureDated));
    if let Some(first) = decisions.iter().find(is_future) {
        let text = format!(
            "{} is dated in the future: some clock was wrong, so it is kept and counts as no backup",
            first.point.id
        );
        findings.push(finding(Severity::Warning, Check::FutureDated, first, text));
    }
    let mut held = decisions.iter().filter(|own| matches!(&own.fate, PointFate::Held(hold) if hold.is_doubt()));
    if let Some(first) = held.next()
        && let PointFate::Held(hold) = &first.fate
    {
        let text = format!("{} recovery point(s) have expired and stay, the first because {hold}", held.count() + 1);
        findings.push(finding(Severity::Info, Check::PruneHeld, first, text));
    }
    findings
}

/// A point that has expired and that nothing about itself or its shelf holds back.
struct Candidate<'a> {
    shelf: Shelf,
    point: &'a RecoveryPoint,
    expired: Expired,
}

/// Judges one shelf: kept and held points are decided, the others become candidates.
fn judge_shelf<'a>(
    holds: &Holds<'_>,
    view: &View<'a>,
    shelf: &Shelf,
    points: &[&'a RecoveryPoint],
    now: Timestamp,
    pruning: &mut Pruning,
    candidates: &mut Vec<Candidate<'a>>,
) {
    // What could not be listed whole is not judged at all; `Complete` is handed on from the listing that the points are of.
    let Some(listed) = complete(holds.inventory, shelf, points) else { return };
    let keep = |rule: KeepRule| Fate::Kept(vec![rule]);
    let verdicts: Vec<(&RecoveryPoint, Fate)> = match retention(view.source, shelf) {
        Some(retention) => retention.judge(&listed, now).into_iter().map(|own| (own.point, own.fate)).collect(),
        None => points.iter().map(|point| (*point, keep(KeepRule::NoPolicy))).collect(),
    };
    let suspended = obligation(view.source, shelf).is_some_and(|own| own.suspended).then_some(Hold::Suspended);
    let of_shelf = suspended.or_else(|| holds.of_shelf(view, shelf));
    for (point, fate) in verdicts {
        let decided = match fate {
            Fate::Kept(rules) => PointFate::Kept(rules),
            Fate::Expired(expired) => match of_shelf.clone().or_else(|| holds.of_point(view, point)) {
                Some(hold) => PointFate::Held(hold),
                None => {
                    candidates.push(Candidate { shelf: shelf.clone(), point, expired });
                    continue;
                }
            },
        };
        pruning.decisions.push(PointDecision { point: point.clone(), fate: decided });
    }
}

/// The points of a shelf as the complete listing that they are, if the section that they are of was seen whole.
fn complete<'a>(
    inventory: &Inventory,
    shelf: &Shelf,
    points: &[&'a RecoveryPoint],
) -> Option<Complete<&'a RecoveryPoint>> {
    match (shelf.kind, shelf.plane) {
        (Kind::Snapshot, Plane::Primary) => Some(inventory.snapshots.as_ref().ok()?.derive(|_| points.to_vec())),
        (Kind::Snapshot, Plane::Replica) => {
            Some(inventory.copies.get(&shelf.region)?.as_ref().ok()?.derive(|_| points.to_vec()))
        }
        (Kind::Dump, plane) => Some(inventory.store(&shelf.source).ok()?.dumps_in(plane)?.derive(|_| points.to_vec())),
    }
}

/// The retention of a shelf; `None` where the policy speaks of no such backups (any more).
fn retention<'a>(source: &'a SourcePolicy, shelf: &Shelf) -> Option<&'a Retention> {
    let obligation = obligation(source, shelf)?;
    match (shelf.kind, shelf.plane) {
        (Kind::Snapshot | Kind::Dump, Plane::Primary) => Some(&obligation.retention),
        (Kind::Dump, Plane::Replica) => Some(&obligation.replica_retention),
        (Kind::Snapshot, Plane::Replica) => {
            let copies = obligation.copies.iter().find(|copies| copies.region == shelf.region);
            copies.map(|copies| &copies.retention)
        }
    }
}

/// The obligation whose backups stand on a shelf.
fn obligation<'a>(source: &'a SourcePolicy, shelf: &Shelf) -> Option<&'a Obligation> {
    let of_shelf = |task: &Task| task.kind() == shelf.kind && task.database() == shelf.database.as_ref();
    source.obligations.iter().find(|obligation| of_shelf(&obligation.task))
}

/// Lets through as many candidates as the limits allow, the oldest first, and holds the others.
fn limit(limits: &Limits, mut candidates: Vec<Candidate<'_>>, inventory: &Inventory, pruning: &mut Pruning) {
    let mut of_shelf: BTreeMap<Shelf, usize> = BTreeMap::new();
    for candidate in &candidates {
        *of_shelf.entry(candidate.shelf.clone()).or_default() += 1;
    }
    let total = candidates.len();
    let mut room = limits.room;
    candidates.sort_by(|a, b| {
        (a.expired.created_at(), &a.shelf, &a.point.id).cmp(&(b.expired.created_at(), &b.shelf, &b.point.id))
    });
    for candidate in candidates {
        let of_shelf = of_shelf.get(&candidate.shelf).copied().unwrap_or(0);
        let hold = limits.hold(of_shelf, total).or_else(|| {
            if room == 0 {
                return Some(Hold::Capped { deletes_per_cycle: limits.deletes_per_cycle });
            }
            room -= 1;
            None
        });
        let point = candidate.point.clone();
        let fate = match hold {
            Some(hold) => PointFate::Held(hold),
            None => match delete(inventory, candidate.expired) {
                Some(action) => {
                    pruning.actions.push(action);
                    PointFate::Deleted
                }
                None => PointFate::Held(Hold::NotFound),
            },
        };
        pruning.decisions.push(PointDecision { point, fate });
    }
    if of_shelf.values().any(|count| limits.hold(*count, total).is_some()) {
        pruning.findings.push(Finding {
            severity: Severity::Critical,
            check: Check::RetentionShrink,
            source: None,
            text: format!(
                "{total} recovery points have expired at once, more than is deleted without a person ({} of one kind of a \
                 source, {} of all): look at `strongroom prune`, then run `strongroom prune --confirm`, or put the retention \
                 right",
                limits.of_shelf_max, limits.total_max
            ),
        });
    }
}

/// The action that deletes what has expired.
fn delete(inventory: &Inventory, expired: Expired) -> Option<Action> {
    match expired.kind() {
        Kind::Snapshot => Some(Action::DeleteSnapshot(DeleteSnapshot { expired })),
        Kind::Dump => {
            let dumps = inventory.store(expired.source()).ok()?.dumps_in(expired.plane())?;
            let is_it = |stored: &&StoredDump| stored.point.id == expired.id();
            let stored = Box::new(dumps.iter().find(is_it)?.clone());
            Some(Action::DeleteDump(Box::new(DeleteDump { warrant: Warrant::Expired { expired, stored } })))
        }
    }
}

#[cfg(test)]
mod tests;
