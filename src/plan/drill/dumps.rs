//! Dumps that are made of what a drill has restored: `dump_from = "drill"`.
//!
//! A drill that is due anyhow makes them. Where none is due they are reason enough for one: it is done in the dump's slot,
//! and where that has had its verdict without giving the dump, in the second after it.

use jiff::Timestamp;

use super::{DrillDecision, DrillReason, Judged, View, by_hand, is_worked_on};
use crate::domain::drill::{DrillPath, DrillRecord, DrillState};
use crate::domain::id::{Kind, ResourceId, SnapshotId};
use crate::domain::inventory::{Inventory, SourceStore};
use crate::domain::recovery_point::{Plane, PointState, RecoveryPoint};
use crate::domain::run::RunState;
use crate::plan::action::{Action, DrillPoint, DumpOfDrill, StartDrill};
use crate::plan::backup::{Backups, DueInDrill};
use crate::plan::decision::{Decision, Reason};
use crate::plan::points::recovery_points;
use crate::policy::retry::Readiness;
use crate::policy::{DumpFrom, Policy, SourcePolicy};

/// Restores of one snapshot for a dump that failed each time, beyond those that are tried quickly: six hours apart they are two
/// days, in which a store that was away is back.
const SLOWLY_MAX: u32 = 8;

/// What becomes of a dump, by the place of its decision.
type Told = (usize, Reason);

/// The drill in which a dump is made that a person asks for now.
///
/// # Errors
/// Why it cannot start.
pub(in crate::plan) fn manual_dump(
    policy: &Policy,
    inventory: &Inventory,
    due: &DueInDrill,
    now: Timestamp,
) -> Result<Action, Reason> {
    let points = recovery_points(policy, inventory);
    let along = (&due.dump.dump.source, DrillPath::Snapshot);
    let start = by_hand(policy, inventory, &points, along, vec![due], now);
    let start = start.map_err(|why| Reason::WaitsForDrill { slot: due.dump.run.slot, why })?;
    Ok(Action::Drill(Box::new(start)))
}

/// What holds where nobody says otherwise.
pub(super) fn wait_for_none(backups: &mut Backups) {
    let told = |due: &DueInDrill| {
        let why = DrillReason::Impossible("no drill of this source restores snapshots".to_owned());
        (due.decision, Reason::WaitsForDrill { slot: due.dump.run.slot, why })
    };
    tell(&mut backups.decisions, backups.in_drills.iter().map(told).collect());
}

pub(super) fn tell(decisions: &mut [Decision], told: Vec<Told>) {
    for (index, reason) in told {
        if let Some(decision) = decisions.get_mut(index) {
            decision.reason = reason;
        }
    }
}

/// The dumps that a drill along a path of a source has to make.
pub(super) fn due_on<'a>(in_drills: &'a [DueInDrill], source: &SourcePolicy, path: DrillPath) -> Vec<&'a DueInDrill> {
    let own = in_drills.iter().filter(|due| due.dump.dump.source == source.id && path == DrillPath::Snapshot);
    own.collect()
}

/// The newest snapshot that is bad, and why, as the end of a sentence; of those that are newer than `than`.
pub(super) fn newest_bad(points: &[RecoveryPoint], resource: &ResourceId, than: Option<Timestamp>) -> Option<String> {
    let own = points.iter().filter(|point| {
        let is_newer = than.is_none_or(|than| point.created_at.is_some_and(|at| at > than));
        point.kind == Kind::Snapshot
            && point.plane == Plane::Primary
            && point.resource.as_ref() == Some(resource)
            && is_newer
    });
    let bad = own.filter_map(|point| match &point.state {
        PointState::Bad { reason } => Some((point.created_at, &point.id, reason)),
        PointState::Good | PointState::Pending | PointState::Unreadable { .. } | PointState::Deleting => None,
    });
    bad.max().map(|(_, id, reason)| format!("; snapshot {id} is bad: {reason}"))
}

impl Judged {
    /// It does not start after all.
    pub(super) fn is_put_off(&mut self, reason: DrillReason) {
        self.action = None;
        self.dumps_wait = reason.clone();
        self.decision.reason = reason;
    }

    /// When what failed is tried again.
    pub(super) fn tried_again_at(&self) -> Vec<Timestamp> {
        let until = |reason: &DrillReason| match reason {
            DrillReason::BackingOff { until, .. } => Some(*until),
            DrillReason::Starts(_)
            | DrillReason::Running(_)
            | DrillReason::Done { .. }
            | DrillReason::NotDueYet
            | DrillReason::Suspended
            | DrillReason::Impossible(_)
            | DrillReason::Queued { .. }
            | DrillReason::AfterDump(_)
            | DrillReason::Unseen(_) => None,
        };
        [&self.decision.reason, &self.dumps_wait].into_iter().filter_map(until).collect()
    }
}

impl View<'_> {
    /// The decision as it is, or a drill for the dumps that are due, where its own schedule asks for none.
    pub(super) fn or_for_dumps(
        &self,
        points: &[RecoveryPoint],
        store: &SourceStore,
        mut decision: DrillDecision,
        action: Option<StartDrill>,
    ) -> Judged {
        let asks_for_none = matches!(decision.reason, DrillReason::Done { .. } | DrillReason::NotDueYet);
        if !asks_for_none || self.due.is_empty() {
            return Judged { dumps_wait: decision.reason.clone(), decision, action };
        }
        match self.attempt_for_dumps(points, store) {
            Ok(start) => {
                let reason = DrillReason::Starts(start.drill.clone());
                decision.reason = reason.clone();
                Judged { decision, action: Some(start), dumps_wait: reason }
            }
            Err(reason) => {
                // Its own schedule has what it wants; only what goes on is told there, too.
                if let DrillReason::Running(_) = reason {
                    decision.reason = reason.clone();
                }
                Judged { decision, action: None, dumps_wait: reason }
            }
        }
    }

    fn attempt_for_dumps(&self, points: &[RecoveryPoint], store: &SourceStore) -> Result<StartDrill, DrillReason> {
        let own = || store.drills.iter().filter(|stored| stored.record.path == self.path);
        if let Some(running) = own().find(|stored| is_worked_on(self.inventory, stored)) {
            return Err(DrillReason::Running(running.record.id()));
        }
        self.no_dump_is_open()?;
        let nothing = || DrillReason::Impossible("no dump is due".to_owned());
        let slot = self.due.iter().map(|due| due.dump.run.slot).min().ok_or_else(nothing)?;
        let of_slot = |slot| own().find(|stored| stored.record.slot == slot);
        let mut spent: Vec<&DrillRecord> = Vec::new();
        let mut vacant = None;
        for slot in slot.and_following() {
            match of_slot(slot) {
                Some(stored) if stored.record.state.is_verdict() => spent.push(&stored.record),
                before => {
                    vacant = Some((slot, before));
                    break;
                }
            }
        }
        let (slot, before) = vacant.ok_or_else(nothing)?;
        self.may_drill_again(&spent)?;
        self.may_retry(before)?;
        let start = self.start(points, self.drill(slot), before)?;
        self.may_restore_again(&spent, &start.point)?;
        match (&start.point, self.due.first()) {
            (DrillPoint::Snapshot { snapshot, data_of }, Some(due)) if start.dumps.is_empty() => {
                Err(self.too_old(points, due, snapshot, *data_of))
            }
            (_, _) => Ok(start),
        }
    }

    /// Applies back-off after drills that came to their verdict and did not give the dump: each takes hours, and an instance.
    fn may_drill_again(&self, spent: &[&DrillRecord]) -> Result<(), DrillReason> {
        let Some(last) = spent.iter().max_by_key(|record| record.state.finished_at()) else { return Ok(()) };
        let error = match &last.state {
            DrillState::BackupBad { faults, .. } => {
                let fault = faults.first().map_or("it says not what", String::as_str);
                let restored = last.restored.as_ref().map_or("what it restored", |restored| &restored.point);
                format!("drill {} found {restored} bad: {fault}", last.id())
            }
            DrillState::Passed { .. } | DrillState::Running | DrillState::Errored { .. } => {
                format!("drill {} passed, and the dump was not made in it", last.id())
            }
        };
        let failed = u32::try_from(spent.len()).unwrap_or(u32::MAX);
        let ended_at = last.state.finished_at().filter(|at| *at <= self.now);
        match self.wanted.retry.next_attempt(failed, ended_at, self.now) {
            Readiness::Now => Ok(()),
            Readiness::NotBefore(until) => Err(DrillReason::BackingOff { until, error }),
        }
    }

    /// What has been restored in vain so often gives no dump the next time either.
    fn may_restore_again(&self, spent: &[&DrillRecord], point: &DrillPoint) -> Result<(), DrillReason> {
        let DrillPoint::Snapshot { snapshot, .. } = point else { return Ok(()) };
        let was_of_it = |record: &&&DrillRecord| {
            let restored = record.restored.as_ref();
            restored.is_some_and(|restored| restored.point == snapshot.as_str())
        };
        let count = spent.iter().filter(was_of_it).count();
        let most = self.wanted.retry.attempts_max.get().saturating_add(SLOWLY_MAX);
        if u32::try_from(count).unwrap_or(u32::MAX) < most {
            return Ok(());
        }
        Err(DrillReason::Impossible(format!(
            "snapshot {snapshot} was restored {count} times, and the dump of it failed each time: `strongroom diagnose {}` shows \
             the errors; the next snapshot is tried by itself, and `strongroom backup dump` at once",
            self.source.id
        )))
    }

    /// Where dumps are made in drills, a drill that starts while one is open would come too early for it: a run that a dead
    /// process left has first to be closed, so that the next attempt at it can come along.
    pub(super) fn no_dump_is_open(&self) -> Result<(), DrillReason> {
        if self.source.dump_from != DumpFrom::Drill || self.path != DrillPath::Snapshot {
            return Ok(());
        }
        let store = self.inventory.store(&self.source.id).map_err(DrillReason::Unseen)?;
        let records = store.runs.iter().map(|stored| &stored.record);
        let mut open = records.filter(|record| record.run.kind == Kind::Dump && record.state == RunState::Running);
        open.next().map_or(Ok(()), |record| Err(DrillReason::AfterDump(record.run.clone())))
    }

    /// The dumps that are due and whose slot the data of a snapshot is of.
    pub(super) fn dumps_of(&self, point: &DrillPoint) -> Vec<DumpOfDrill> {
        let DrillPoint::Snapshot { data_of, .. } = point else { return Vec::new() };
        let fitting = self.due.iter().filter(|due| due.data_since <= *data_of);
        fitting.map(|due| due.dump.clone()).collect()
    }

    fn too_old(
        &self,
        points: &[RecoveryPoint],
        due: &DueInDrill,
        snapshot: &SnapshotId,
        data_of: Timestamp,
    ) -> DrillReason {
        let since = due.data_since;
        let resource = self.inventory.instance(&self.source.instance).ok().flatten().map(|instance| &instance.resource);
        let bad = resource.and_then(|resource| newest_bad(points, resource, Some(data_of))).unwrap_or_default();
        DrillReason::Impossible(format!(
            "the newest good snapshot, {snapshot}, is of {data_of}, from before the slot before, {since}, and would fill that{bad}"
        ))
    }

    /// What becomes of each dump that is due.
    pub(super) fn reasons_of_dumps(&self, points: &[RecoveryPoint], judged: &Judged) -> Vec<Told> {
        let reason = |due: &DueInDrill| {
            let (run, slot) = (due.dump.run.clone(), due.dump.run.slot);
            match &judged.action {
                Some(StartDrill { drill, point: DrillPoint::Snapshot { snapshot, .. }, dumps, .. })
                    if dumps.contains(&due.dump) =>
                {
                    Reason::StartsInDrill { run, drill: drill.clone(), snapshot: snapshot.clone() }
                }
                Some(StartDrill { point: DrillPoint::Snapshot { snapshot, data_of }, .. }) => {
                    Reason::WaitsForDrill { slot, why: self.too_old(points, due, snapshot, *data_of) }
                }
                Some(_) | None => Reason::WaitsForDrill { slot, why: judged.dumps_wait.clone() },
            }
        };
        self.due.iter().map(|due| (due.decision, reason(due))).collect()
    }
}
