//! Restore drills: which are due, which are done, and which instances of theirs have to go.

mod dumps;
mod reap;
mod telling;

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::action::{Action, DrillPoint, StartDrill};
use super::backup::{Backups, DueInDrill};
use super::points::of_source;
use super::slot_clock::SlotClock;
use crate::domain::drill::{DrillId, DrillPath, DrillRecord, DrillState, StoredDrill};
use crate::domain::id::{DatabaseName, Kind, RunId, Slot, SourceId};
use crate::domain::inventory::{Instance, Inventory, StoredDump, Unseen};
use crate::domain::lease::LeaseId;
use crate::domain::recovery_point::{Plane, RecoveryPoint};
use crate::domain::tags;
use crate::policy::drill::{DrillPolicy, DrillSetup};
use crate::policy::finding::Finding;
use crate::policy::retry::Readiness;
use crate::policy::{Policy, SourcePolicy};
pub(super) use dumps::manual_dump;
pub use telling::DrillStatus;

/// How long after its drill's deadline an instance may stand: RDS takes some minutes to delete it.
const EXPIRES_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// What was decided about one path of one source.
#[derive(Debug, Clone)]
pub struct DrillDecision {
    /// The source.
    pub source: SourceId,
    /// The path.
    pub path: DrillPath,
    /// What is done, and why.
    pub reason: DrillReason,
    /// The verdict on the newest data, and of several on that the newest.
    pub last: Option<DrillRecord>,
    /// When the newest one that was passed had ended.
    pub last_passed_at: Option<Timestamp>,
    /// When the next one is due.
    pub next_due_at: Option<Timestamp>,
    /// Whether one that was due has not been done in its time.
    pub overdue: bool,
}

/// Why a drill starts, or does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrillReason {
    /// It starts now.
    Starts(DrillId),
    /// It is being done.
    Running(DrillId),
    /// The latest slot has its verdict.
    Done {
        /// The slot.
        slot: Slot,
    },
    /// No slot has come due yet.
    NotDueYet,
    /// The configuration holds it back.
    Suspended,
    /// It failed, and waits.
    BackingOff {
        /// Until when.
        until: Timestamp,
        /// Why it failed.
        error: String,
    },
    /// There is nothing to restore, or no room for it.
    Impossible(String),
    /// Other instances of drills have to go first.
    Queued {
        /// How many there may be at once.
        limit: usize,
    },
    /// A dump of the source is under way, and those that are due are made in drills: this one would come too early for the
    /// next.
    AfterDump(RunId),
    /// What must be known is not.
    Unseen(Unseen),
}

impl DrillReason {
    /// Whether a person may have to act before anything that waits for the drill goes on.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        match self {
            DrillReason::Starts(_)
            | DrillReason::Running(_)
            | DrillReason::Done { .. }
            | DrillReason::NotDueYet
            | DrillReason::Queued { .. }
            | DrillReason::AfterDump(_) => false,
            DrillReason::Suspended
            | DrillReason::BackingOff { .. }
            | DrillReason::Impossible(_)
            | DrillReason::Unseen(_) => true,
        }
    }
}

/// What was planned about drills.
#[derive(Debug)]
pub(super) struct Drills {
    pub(super) actions: Vec<Action>,
    pub(super) decisions: Vec<DrillDecision>,
    pub(super) findings: Vec<Finding>,
    pub(super) wake_at: Vec<Timestamp>,
}

pub(super) fn plan_drills(
    policy: &Policy,
    inventory: &Inventory,
    points: &[RecoveryPoint],
    backups: &mut Backups,
    now: Timestamp,
) -> Drills {
    let mut drills = Drills { actions: Vec::new(), decisions: Vec::new(), findings: Vec::new(), wake_at: Vec::new() };
    drills.actions.extend(reap::reap(policy, inventory, now));
    dumps::wait_for_none(backups);
    let Some(setup) = &policy.drills else { return drills };
    let slots_now = SlotClock::of(policy, inventory).shows(now);
    let mut room = setup.instances_max.saturating_sub(standing(policy, inventory));
    for source in policy.sources.values() {
        let Some(wanted) = &source.drill else { continue };
        for path in &wanted.paths {
            let due = dumps::due_on(&backups.in_drills, source, *path);
            let view = View { policy, inventory, source, wanted, setup, path: *path, due, now, slots_now };
            let points = of_source(points, &source.id);
            let mut judged = view.judge(points);
            match (&judged.action, room.checked_sub(1)) {
                (Some(_), Some(left)) => room = left,
                (Some(_), None) => judged.is_put_off(DrillReason::Queued { limit: setup.instances_max }),
                (None, _) => {}
            }
            let reasons = view.reasons_of_dumps(points, &judged);
            dumps::tell(&mut backups.decisions, reasons);
            drills.wake_at.extend(judged.decision.next_due_at);
            drills.wake_at.extend(judged.tried_again_at());
            drills.actions.extend(judged.action.map(|action| Action::Drill(Box::new(action))));
            drills.decisions.push(judged.decision);
        }
    }
    drills.findings = telling::findings(policy, inventory, &drills.decisions);
    drills
}

/// The drill that a person asks for now, as a slot of its own.
///
/// # Errors
/// Why it cannot start.
pub fn manual(
    policy: &Policy,
    inventory: &Inventory,
    points: &[RecoveryPoint],
    (source, path): (&SourceId, DrillPath),
    now: Timestamp,
) -> Result<Action, DrillReason> {
    by_hand(policy, inventory, points, (source, path), Vec::new(), now).map(|start| Action::Drill(Box::new(start)))
}

fn by_hand(
    policy: &Policy,
    inventory: &Inventory,
    points: &[RecoveryPoint],
    (source, path): (&SourceId, DrillPath),
    due: Vec<&DueInDrill>,
    now: Timestamp,
) -> Result<StartDrill, DrillReason> {
    let nothing = |what: &str| DrillReason::Impossible(what.to_owned());
    let source = policy.sources.get(source).ok_or_else(|| nothing("there is no such source"))?;
    let wanted = source.drill.as_ref().ok_or_else(|| nothing("its policy has no `drill`"))?;
    let setup = policy.drills.as_ref().ok_or_else(|| nothing("the configuration has no `drills`"))?;
    if standing(policy, inventory) >= setup.instances_max {
        let advice = "try again when they are gone";
        return Err(DrillReason::Impossible(format!(
            "as many instances of drills stand as `drills.instances_max` allows, {}: {advice}",
            setup.instances_max
        )));
    }
    let store = inventory.store(&source.id).map_err(DrillReason::Unseen)?;
    let running = store.drills.iter().find(|own| own.record.path == path && is_worked_on(inventory, own));
    if let Some(running) = running {
        return Err(DrillReason::Running(running.record.id()));
    }
    let slots_now = SlotClock::of(policy, inventory).shows(now);
    let view = View { policy, inventory, source, wanted, setup, path, due, now, slots_now };
    // Two in one second would be one.
    let is_taken = |slot: &Slot| store.drills.iter().any(|own| own.record.id() == view.drill(*slot));
    let asked = Slot::at(slots_now);
    let drill = view.drill(asked.and_following().find(|slot| !is_taken(slot)).unwrap_or(asked));
    view.start(of_source(points, &source.id), drill, None)
}

/// What was judged about one path of one source.
struct Judged {
    decision: DrillDecision,
    action: Option<StartDrill>,
    /// Why the dumps that are due wait, where no drill starts for them.
    dumps_wait: DrillReason,
}

/// One path of one source.
struct View<'a> {
    policy: &'a Policy,
    inventory: &'a Inventory,
    source: &'a SourcePolicy,
    wanted: &'a DrillPolicy,
    setup: &'a DrillSetup,
    path: DrillPath,
    /// Dumps that are due, and that a drill along this path has to make.
    due: Vec<&'a DueInDrill>,
    now: Timestamp,
    /// What the clock shows by which slots come due.
    slots_now: Timestamp,
}

impl View<'_> {
    fn drill(&self, slot: Slot) -> DrillId {
        DrillId { source: self.source.id.clone(), slot, path: self.path }
    }

    fn judge(&self, points: &[RecoveryPoint]) -> Judged {
        let schedule = &self.wanted.schedule;
        let due = schedule.latest_due(self.slots_now);
        let next = schedule.next_after(due.map_or(self.slots_now, Slot::instant));
        let mut decision = DrillDecision {
            source: self.source.id.clone(),
            path: self.path,
            reason: DrillReason::NotDueYet,
            last: None,
            last_passed_at: None,
            next_due_at: next.filter(|_| !self.wanted.suspended).map(|slot| schedule.start_of(slot)),
            overdue: false,
        };
        let store = match self.inventory.store(&self.source.id) {
            Ok(store) => store,
            Err(unseen) => {
                decision.reason = DrillReason::Unseen(unseen.clone());
                return Judged { decision, action: None, dumps_wait: DrillReason::Unseen(unseen) };
            }
        };
        // A slot in the future was filled while the clock was wrong: it must not silence the schedule until then.
        let is_own =
            |stored: &&StoredDrill| stored.record.path == self.path && stored.record.slot.instant() <= self.slots_now;
        let own: Vec<&StoredDrill> = store.drills.iter().filter(is_own).collect();
        let verdicts = || own.iter().map(|stored| &stored.record).filter(|record| record.state.is_verdict());
        let passed = |record: &&DrillRecord| matches!(record.state, DrillState::Passed { .. });
        // The verdict on the newest data: that an older backup is good does not make good the newer one that was found bad.
        decision.last = verdicts().max_by_key(|record| (data_of(record), record.slot)).cloned();
        decision.last_passed_at = verdicts().filter(passed).filter_map(|record| record.state.finished_at()).max();
        let done = |slot: Slot| verdicts().any(|record| record.slot >= slot);
        let ended_by = self.slots_now.saturating_sub(self.wanted.completion_deadline).unwrap_or(Timestamp::MIN);
        let late = schedule.latest_due(ended_by).is_some_and(|slot| !done(slot));
        decision.overdue = late && !self.wanted.suspended;
        let (reason, action) = match due {
            _ if self.wanted.suspended => (DrillReason::Suspended, None),
            None => (DrillReason::NotDueYet, None),
            Some(slot) if done(slot) => (DrillReason::Done { slot }, None),
            Some(slot) => match self.attempt(points, &own, slot) {
                Ok(action) => (DrillReason::Starts(action.drill.clone()), Some(action)),
                Err(reason) => (reason, None),
            },
        };
        decision.reason = reason;
        self.or_for_dumps(points, store, decision, action)
    }

    fn attempt(&self, points: &[RecoveryPoint], own: &[&StoredDrill], slot: Slot) -> Result<StartDrill, DrillReason> {
        if let Some(running) = own.iter().find(|stored| is_worked_on(self.inventory, stored)) {
            return Err(DrillReason::Running(running.record.id()));
        }
        self.no_dump_is_open()?;
        let before = own.iter().find(|stored| stored.record.slot == slot).copied();
        self.may_retry(before)?;
        self.start(points, self.drill(slot), before)
    }

    /// Applies back-off after an attempt at the same drill that came to no verdict.
    fn may_retry(&self, before: Option<&StoredDrill>) -> Result<(), DrillReason> {
        if let Some(StoredDrill { record, .. }) = before {
            // A drill that a dead process left is no failure the first time: it is done again at once.
            let (failed, ended_at, error) = match &record.state {
                DrillState::Errored { finished_at, message } => (record.attempt, *finished_at, message.clone()),
                DrillState::Running | DrillState::Passed { .. } | DrillState::BackupBad { .. } => {
                    (record.attempt.saturating_sub(1), record.started_at, "its process is gone".to_owned())
                }
            };
            let ended_at = Some(ended_at).filter(|at| *at <= self.now);
            if let Readiness::NotBefore(until) = self.wanted.retry.next_attempt(failed, ended_at, self.now) {
                return Err(DrillReason::BackingOff { until, error });
            }
        }
        Ok(())
    }

    fn start(
        &self,
        points: &[RecoveryPoint],
        drill: DrillId,
        before: Option<&StoredDrill>,
    ) -> Result<StartDrill, DrillReason> {
        let instance = self.inventory.instance(&self.source.instance).map_err(DrillReason::Unseen)?;
        let nothing = |what: String| DrillReason::Impossible(what);
        let instance = instance.ok_or_else(|| nothing(format!("instance {} is not there", self.source.instance)))?;
        let attempt = before.map_or(1, |stored| stored.record.attempt.saturating_add(1));
        let deadline = self.now.saturating_add(self.wanted.completion_deadline).unwrap_or(Timestamp::MAX);
        let lease = LeaseId::for_drill(&self.policy.snapshot_prefix, &drill, attempt);
        let point = self.point(points, instance)?;
        let dumps = self.dumps_of(&point);
        let dumped_by =
            dumps.iter().fold(deadline, |by, dump| by.saturating_add(dump.within).unwrap_or(Timestamp::MAX));
        let expires_at = dumped_by.saturating_add(EXPIRES_AFTER).unwrap_or(Timestamp::MAX);
        let marks = tags::for_lease(&self.policy.installation, &lease, &drill, &instance.resource, expires_at);
        let known_by = match &point {
            DrillPoint::Snapshot { data_of, .. } => *data_of,
            DrillPoint::Latest | DrillPoint::Dumps(_) => Timestamp::MAX,
        };
        Ok(StartDrill {
            point,
            attempt,
            before: before.cloned(),
            previous: self.previous(&drill),
            lease,
            marks,
            instance: instance.id.clone(),
            resource: instance.resource.clone(),
            source_endpoint: instance.endpoint.clone(),
            databases: self.source.databases.clone(),
            dumps_before: self.dumps(known_by).into_iter().map(|stored| stored.dump).collect(),
            fewer_rows_max_percent: self.wanted.fewer_rows_max_percent,
            assertions: self.wanted.assertions.clone(),
            setup: self.setup.clone(),
            poll_interval: self.policy.cadence.poll_interval,
            deadline,
            dumps,
            drill,
        })
    }

    /// What is restored: always the newest that there is, for that is what one would take.
    fn point(&self, points: &[RecoveryPoint], instance: &Instance) -> Result<DrillPoint, DrillReason> {
        match self.path {
            DrillPath::Snapshot => {
                let of_instance = |point: &&RecoveryPoint| {
                    point.kind == Kind::Snapshot
                        && point.plane == Plane::Primary
                        && point.is_good()
                        && point.resource.as_ref() == Some(&instance.resource)
                };
                let newest = points.iter().filter(of_instance).max_by_key(|point| point.created_at);
                let found = newest.and_then(|point| Some((point.id.parse().ok()?, point.created_at?)));
                let (snapshot, data_of) = found.ok_or_else(|| {
                    let why = dumps::newest_bad(points, &instance.resource, None);
                    DrillReason::Impossible(format!("there is no good snapshot{}", why.unwrap_or_default()))
                })?;
                Ok(DrillPoint::Snapshot { snapshot, data_of })
            }
            DrillPath::Pitr if instance.automated_backup_days == 0 => {
                Err(DrillReason::Impossible("RDS makes no automated backups of it".to_owned()))
            }
            DrillPath::Pitr => Ok(DrillPoint::Latest),
            DrillPath::Dump => {
                let dumps = self.dumps(Timestamp::MAX);
                let has = |database: &DatabaseName| dumps.iter().any(|stored| stored.dump.database == *database);
                match self.source.databases.iter().find(|database| !has(database)) {
                    None if !dumps.is_empty() => Ok(DrillPoint::Dumps(dumps)),
                    None => Err(DrillReason::Impossible("no database is dumped".to_owned())),
                    Some(database) => {
                        Err(DrillReason::Impossible(format!("there is no good dump of database {database}")))
                    }
                }
            }
        }
    }

    /// Of each database the newest good dump of data from not later than `known_by`.
    fn dumps(&self, known_by: Timestamp) -> Vec<StoredDump> {
        let Ok(store) = self.inventory.store(&self.source.id) else { return Vec::new() };
        let fits = |stored: &&StoredDump| {
            stored.point.is_good() && stored.point.created_at.is_some_and(|created_at| created_at <= known_by)
        };
        let newest = |database: &DatabaseName| {
            let own = store.dumps.iter().filter(fits).filter(|stored| stored.dump.database == *database);
            own.max_by_key(|stored| stored.point.created_at).cloned()
        };
        self.source.databases.iter().filter_map(newest).collect()
    }

    /// The evidence that this one is chained to: the newest verdict along the same path, of which there is one at a time.
    fn previous(&self, drill: &DrillId) -> Option<DrillId> {
        let store = self.inventory.store(&self.source.id).ok()?;
        let verdicts = store.drills.iter().map(|stored| &stored.record).filter(|record| record.state.is_verdict());
        let alike = |record: &&DrillRecord| record.path == drill.path && record.id() != *drill;
        let newest = verdicts.filter(alike).max_by_key(|record| record.state.finished_at())?;
        Some(newest.id())
    }
}

/// Whether somebody works on a drill.
pub(super) fn is_worked_on(inventory: &Inventory, stored: &StoredDrill) -> bool {
    let here = inventory.drills_in_flight.contains(&stored.record.id());
    let is_running = stored.record.state == DrillState::Running;
    here || is_running && !stored.owner.has_left(stored.unchanged_for)
}

/// Instances of drills that stand, of whatever drill.
#[must_use]
pub fn instances_standing(policy: &Policy, inventory: &Inventory) -> usize {
    let in_list = inventory.instances.iter().flat_map(|all| all.iter());
    in_list.filter(|instance| LeaseId::of(&policy.snapshot_prefix, &instance.id).is_some()).count()
}

/// The same, with those that are just being ordered.
fn standing(policy: &Policy, inventory: &Inventory) -> usize {
    instances_standing(policy, inventory).max(inventory.drills_in_flight.len())
}

impl fmt::Display for DrillDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} drill by {}: {}", self.source, self.path, self.reason)
    }
}

impl fmt::Display for DrillReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DrillReason::Starts(drill) => write!(f, "drill {drill} starts now"),
            DrillReason::Running(drill) => write!(f, "drill {drill} is being done"),
            DrillReason::Done { slot } => write!(f, "slot {slot} has its verdict"),
            DrillReason::NotDueYet => f.write_str("no slot has come due yet"),
            DrillReason::Suspended => f.write_str("suspended in the configuration"),
            DrillReason::BackingOff { until, error } => write!(f, "tried again at {until}, for it failed: {error}"),
            DrillReason::Impossible(what) => f.write_str(what),
            DrillReason::Queued { limit } => {
                write!(f, "waits until fewer instances of drills stand than `drills.instances_max`, {limit}")
            }
            DrillReason::AfterDump(run) => {
                write!(f, "waits until run {run} has ended, for dumps that are due then are made of what it restores")
            }
            DrillReason::Unseen(unseen) => write!(f, "not seen: {}", unseen.0),
        }
    }
}

/// The moment of the data that a drill was about; where it came to none, that of its slot, which is later.
fn data_of(record: &DrillRecord) -> Timestamp {
    record.restored.as_ref().map_or(record.slot.instant(), |restored| restored.data_of)
}

#[cfg(test)]
mod tests;
