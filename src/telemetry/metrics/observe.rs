//! Every gauge that follows from what exists, set in one place from one inventory and the plan made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use super::{Metrics, RunOutcome, aws, seconds_of};
use crate::domain::id::{Kind, RunId, SourceId};
use crate::domain::inventory::Inventory;
use crate::domain::recovery_point::{Plane, RecoveryPoint};
use crate::domain::run::{RunState, StopCause};
use crate::domain::verification::Level;
use crate::plan::action::Action;
use crate::plan::alert::{Cause, unsure_kinds};
use crate::plan::decision::Decision;
use crate::plan::points::of_source;
use crate::plan::prune::PointFate;
use crate::plan::{Plan, section};
use crate::policy::finding::{Check, Severity};
use crate::policy::{Policy, SourcePolicy};

/// Everywhere a recovery point can live.
const PLANES: [Plane; 2] = Plane::ALL;
/// The ladder of verification: where and how deep, and what it is called.
const VERIFIED: [(Plane, Level, &str); 4] = [
    (Plane::Primary, Level::L1, "l1"),
    (Plane::Primary, Level::L2, "l2"),
    (Plane::Replica, Level::L2, "l3"),
    (Plane::Primary, Level::L4, "l4"),
];
/// What deletions come to.
const DELETIONS: [RunOutcome; 2] = [RunOutcome::Success, RunOutcome::Failure];

impl Metrics {
    /// Sets every derived gauge, and brings the series in line with the sources of the policy: new ones appear, those of
    /// sources that left it go. To be called once a turn, with a plan made of this policy and inventory.
    pub fn observe(&self, policy: &Policy, inventory: &Inventory, plan: &Plan) {
        let shape = shape(policy);
        if *self.shape.lock().unwrap_or_else(PoisonError::into_inner) != shape {
            self.keep_series(policy);
        }
        self.observe_sections(policy, inventory, plan);
        for decision in &plan.decisions {
            self.observe_freshness(inventory, decision);
        }
        let running = running(inventory, plan);
        for source in policy.sources.values() {
            self.observe_runs(inventory, source, &running);
            self.observe_points(inventory, source, of_source(&plan.points, &source.id));
            self.observe_instance(inventory, source);
            self.observe_remains(inventory, source);
            self.observe_dumps(inventory, source);
        }
        self.observe_expired(policy, plan);
        self.drills.observe(policy, inventory, plan);
        self.observe_findings(policy, inventory, plan);
        if let Some(ahead) = inventory.clock_skew {
            self.care.clock_skew.set(ahead.as_secs_f64());
        }
        self.exposition.refresh();
    }

    /// Makes every series of a policy, and drops those of what it does not have any more.
    pub(super) fn keep_series(&self, policy: &Policy) {
        *self.shape.lock().unwrap_or_else(PoisonError::into_inner) = shape(policy);
        let sources = || policy.sources.keys().map(SourceId::as_str);
        let kinds = || sources().flat_map(|source| Kind::ALL.map(|kind| (source, kind.as_str())));
        let outcomes = RunOutcome::ALL.map(RunOutcome::as_str);
        let in_section = section::ALL.map(|section| [section]);
        self.daemon.inventory_complete.keep_exactly(in_section);

        let freshness = &self.freshness;
        for family in [&freshness.last_success, &freshness.expected_interval, &freshness.next_due, &freshness.overdue] {
            family.keep_exactly(policy.obligations().map(|(source, obligation)| {
                let database = obligation.task.database().map_or("", |database| database.as_str());
                [source.id.as_str(), database, obligation.task.kind().as_str()]
            }));
        }

        let of_run = || kinds().map(|(source, kind)| [source, kind]);
        self.runs
            .ended
            .keep_exactly(kinds().flat_map(|(source, kind)| outcomes.map(|outcome| [source, kind, outcome])));
        self.runs.duration.keep_exactly(of_run());
        self.runs.in_progress.keep_exactly(of_run());
        for family in [&self.runs.dump_read_bytes, &self.runs.dump_stored_bytes, &self.runs.dump_rows] {
            family.keep_exactly(
                policy
                    .sources
                    .values()
                    .flat_map(|source| source.databases.iter().map(|database| [source.id.as_str(), database.as_str()])),
            );
        }

        let causes = StopCause::ALL.map(StopCause::as_str);
        self.runs.dump_stops.keep_exactly(sources().flat_map(|source| causes.map(|cause| [source, cause])));

        let points = &self.points;
        for family in [&points.count, &points.stored_bytes, &points.newest, &points.oldest] {
            family.keep_exactly(kinds().flat_map(|(source, kind)| PLANES.map(|plane| [source, kind, plane.as_str()])));
        }
        self.care
            .expired
            .keep_exactly(kinds().flat_map(|(source, kind)| PLANES.map(|plane| [source, kind, plane.as_str()])));
        self.care
            .pruned
            .keep_exactly(kinds().flat_map(|(source, kind)| DELETIONS.map(|outcome| [source, kind, outcome.as_str()])));
        self.care.verified.keep_exactly(
            sources().flat_map(|source| VERIFIED.map(|(_, _, level)| [source, Kind::Dump.as_str(), level])),
        );
        self.care.findings.keep_exactly(
            finding_series(policy).map(|(source, check, severity)| [source, check.as_str(), severity.as_str()]),
        );
        let of_source = [
            &points.latest_restorable,
            &points.remains_bytes,
            &self.care.replication_pending,
            &self.care.replication_lag,
        ];
        for family in of_source {
            family.keep_exactly(sources().map(|source| [source]));
        }
        self.drills.keep_series(policy);
        self.aws_requests.keep_exactly(
            aws::all().flat_map(|(service, operation)| outcomes.map(|outcome| [service, operation, outcome])),
        );
    }

    fn observe_sections(&self, policy: &Policy, inventory: &Inventory, plan: &Plan) {
        for section in section::ALL {
            let unseen = plan.unseen.iter().any(|(name, _)| *name == section);
            // A store that was not even asked for is in nobody's list of failures.
            let skipped = section == section::STORE && policy.sources.keys().any(|id| inventory.store(id).is_err());
            self.daemon.inventory_complete.set([section], flag(!unseen && !skipped));
        }
    }

    fn observe_freshness(&self, inventory: &Inventory, decision: &Decision) {
        let database = decision.database.as_ref().map_or("", |database| database.as_str());
        let labels = [decision.source.as_str(), database, decision.kind.as_str()];
        let freshness = &decision.freshness;
        self.freshness.expected_interval.set(labels, freshness.expected_interval.as_secs_f64());
        self.freshness.next_due.set(labels, freshness.next_due_at.map_or(0.0, seconds_of));
        // Whose recovery points count depends on which instance bears the name, so that has to be seen too: otherwise
        // an outage of RDS would let a predecessor's backups pass for today's, and end an alert.
        if inventory.sees_counting_points(&decision.source, decision.kind) {
            self.freshness.last_success.set(labels, freshness.newest_at.map_or(0.0, seconds_of));
            self.freshness.overdue.set(labels, flag(freshness.overdue));
        }
    }

    fn observe_runs(&self, inventory: &Inventory, source: &SourcePolicy, running: &BTreeSet<(&SourceId, &RunId)>) {
        if inventory.store(&source.id).is_err() {
            return;
        }
        for kind in Kind::ALL {
            let count = running.iter().filter(|(id, run)| **id == source.id && run.kind == kind).count();
            self.runs.in_progress.set([source.id.as_str(), kind.as_str()], count as f64);
        }
    }

    fn observe_points(&self, inventory: &Inventory, source: &SourcePolicy, points: &[RecoveryPoint]) {
        for kind in Kind::ALL.into_iter().filter(|kind| inventory.sees_points(&source.id, *kind)) {
            for plane in PLANES {
                let of_series = |point: &&RecoveryPoint| point.kind == kind && point.plane == plane;
                let good: Vec<&RecoveryPoint> = points.iter().filter(of_series).filter(|p| p.is_good()).collect();
                let moments = || good.iter().filter_map(|point| point.created_at);
                let labels = [source.id.as_str(), kind.as_str(), plane.as_str()];
                self.points.count.set(labels, good.len() as f64);
                self.points.stored_bytes.set(labels, good.iter().map(|point| point.size_bytes as f64).sum());
                self.points.newest.set(labels, moments().max().map_or(0.0, seconds_of));
                self.points.oldest.set(labels, moments().min().map_or(0.0, seconds_of));
            }
        }
    }

    fn observe_instance(&self, inventory: &Inventory, source: &SourcePolicy) {
        if let Ok(instance) = inventory.instance(&source.instance) {
            let restorable = instance.and_then(|instance| instance.latest_restorable_at);
            self.points.latest_restorable.set([source.id.as_str()], restorable.map_or(0.0, seconds_of));
        }
    }

    /// Verification, and what is on its way to the replica bucket.
    fn observe_dumps(&self, inventory: &Inventory, source: &SourcePolicy) {
        let Ok(store) = inventory.store(&source.id) else { return };
        for (plane, level, label) in VERIFIED {
            // What is not seen keeps its last value.
            if plane == Plane::Replica && matches!(store.replica, Some(Err(_))) {
                continue;
            }
            let dumps = store.dumps_in(plane).into_iter().flatten();
            let good = dumps.filter(|stored| stored.point.is_good());
            let known = good.flat_map(|stored| &stored.verifications);
            let at = known.filter(|known| known.level >= level && known.is_good()).map(|known| known.at).max();
            let labels = [source.id.as_str(), Kind::Dump.as_str(), label];
            self.care.verified.set(labels, at.map_or(0.0, seconds_of));
        }
        if let Some(Ok(_)) | None = &store.replica {
            let waiting = || store.dumps.iter().filter(|stored| stored.replication.is_some());
            let since = waiting().filter_map(|stored| stored.point.stored_at).min();
            let lag = since.map_or(0.0, |since| inventory.taken_at.duration_since(since).as_secs_f64().max(0.0));
            self.care.replication_pending.set([source.id.as_str()], waiting().count() as f64);
            self.care.replication_lag.set([source.id.as_str()], lag);
        }
    }

    fn observe_expired(&self, policy: &Policy, plan: &Plan) {
        let mut expired: BTreeMap<(&SourceId, Kind, Plane), f64> = BTreeMap::new();
        for decision in &plan.retention {
            let point = &decision.point;
            if !matches!(decision.fate, PointFate::Kept(_)) {
                *expired.entry((&point.source, point.kind, point.plane)).or_default() += 1.0;
            }
        }
        for source in policy.sources.keys() {
            for (kind, plane) in Kind::ALL.into_iter().flat_map(|kind| PLANES.map(|plane| (kind, plane))) {
                let count = expired.get(&(source, kind, plane)).copied().unwrap_or(0.0);
                self.care.expired.set([source.as_str(), kind.as_str(), plane.as_str()], count);
            }
        }
    }

    fn observe_findings(&self, policy: &Policy, inventory: &Inventory, plan: &Plan) {
        let mut counts: BTreeMap<(&str, Check, Severity), f64> = BTreeMap::new();
        for finding in &plan.findings {
            let source = finding.source.as_ref().map_or("", SourceId::as_str);
            *counts.entry((source, finding.check, finding.severity)).or_default() += 1.0;
        }
        let unsure = unsure_kinds(policy, inventory, plan);
        let unsure: BTreeSet<(&str, &str)> =
            unsure.iter().map(|(name, source)| (*name, source.as_ref().map_or("", SourceId::as_str))).collect();
        for (source, check, severity) in finding_series(policy) {
            let found = counts.get(&(source, check, severity)).copied();
            // What follows from something that was not seen is neither there nor gone.
            if found.is_none() && unsure.contains(&(Cause::Found(check).name(), source)) {
                continue;
            }
            let count = found.unwrap_or(0.0);
            self.care.findings.set([source, check.as_str(), severity.as_str()], count);
        }
    }

    fn observe_remains(&self, inventory: &Inventory, source: &SourcePolicy) {
        if let Ok(store) = inventory.store(&source.id) {
            let bytes = store.remains.iter().map(|remains| remains.size_bytes as f64).sum();
            self.points.remains_bytes.set([source.id.as_str()], bytes);
        }
    }
}

/// All of a policy that says which series there are, and what its objectives are.
fn shape(policy: &Policy) -> BTreeMap<String, String> {
    let of_source = |source: &SourcePolicy| {
        let tasks: Vec<_> = source.obligations.iter().map(|own| (own.task.kind(), own.task.database())).collect();
        let drill = source.drill.as_ref().map(|own| (&own.paths, own.recovery_time_max, own.data_loss_max));
        (source.id.to_string(), format!("{:?}", (&source.databases, tasks, drill)))
    };
    policy.sources.values().map(of_source).collect()
}

/// Every series of findings: checks of sources for each of them, the others once.
fn finding_series(policy: &Policy) -> impl Iterator<Item = (&str, Check, Severity)> {
    let sources = || policy.sources.keys().map(SourceId::as_str);
    let of_check = move |check: Check| {
        let about: Vec<&str> = if check.is_about_sources() { sources().collect() } else { vec![""] };
        about.into_iter().map(move |source| (source, check))
    };
    let series = Check::ALL.iter().copied().flat_map(of_check);
    // A thousand sources have some ten thousand of these: only what can be is a series.
    series.flat_map(|(source, check)| {
        let severities = Cause::Found(check).severities();
        severities.into_iter().map(move |severity| (source, check, severity))
    })
}

/// Runs under way once the plan is carried out: recorded as running, in this process's hands, or starting now; without
/// those that the plan finds to be over.
fn running<'a>(inventory: &'a Inventory, plan: &'a Plan) -> BTreeSet<(&'a SourceId, &'a RunId)> {
    let mut running: BTreeSet<(&SourceId, &RunId)> =
        inventory.in_flight.iter().map(|(source, run)| (source, run)).collect();
    for (source, store) in &inventory.stores {
        let records = store.iter().flat_map(|store| &store.runs).map(|stored| &stored.record);
        let open = records.filter(|record| record.state == RunState::Running);
        running.extend(open.map(|record| (source, &record.run)));
    }
    for action in &plan.actions {
        let Some(run) = action.run() else { continue };
        let run = (action.source(), run);
        match action {
            Action::CreateSnapshot(_) | Action::StartDump(_) => {
                running.insert(run);
            }
            Action::CloseRun(_) => {
                running.remove(&run);
            }
            Action::AbortUpload(_)
            | Action::CopySnapshot(_)
            | Action::DeleteSnapshot(_)
            | Action::CopyDump(_)
            | Action::Verify(_)
            | Action::DeleteDump(_)
            | Action::Sweep(_)
            | Action::Drill(_)
            | Action::Reap(_) => {}
        }
    }
    running
}

fn flag(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}
