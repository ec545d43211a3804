//! Backups: which runs start, which are over, and what each obligation waits for.

mod obligation;
mod running;

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::action::{AbortUpload, Action, Claimed, CreateSnapshot, DumpOfDrill, ReadFrom, StartDump};
use super::decision::{Decision, Queue, Reason};
use super::points::of_source;
use super::slot_clock::SlotClock;
use crate::domain::id::{DatabaseName, Kind, RunId, Slot, SnapshotId, SourceId};
use crate::domain::inventory::{Instance, Inventory};
use crate::domain::key::DumpId;
use crate::domain::recovery_point::RecoveryPoint;
use crate::domain::run::RunState;
use crate::domain::tags;
use crate::policy::{DumpSettings, Policy, SourcePolicy, Task};
use obligation::{Candidate, Judgement};
pub(super) use obligation::{counts_for, credited_slot};

/// What was planned about backups.
#[derive(Debug)]
pub(super) struct Backups {
    pub(super) actions: Vec<Action>,
    pub(super) decisions: Vec<Decision>,
    pub(super) wake_at: Vec<Timestamp>,
    /// What is due and waits for a drill.
    pub(super) in_drills: Vec<DueInDrill>,
}

/// A dump that is due, and that a drill makes of what it has restored.
#[derive(Debug)]
pub(super) struct DueInDrill {
    /// Where its decision stands among all.
    pub(super) decision: usize,
    pub(super) dump: DumpOfDrill,
    /// What is older than this would be no dump of its slot, but of the one before.
    pub(super) data_since: Timestamp,
}

pub(super) fn plan_backups(
    policy: &Policy,
    inventory: &Inventory,
    points: &[RecoveryPoint],
    now: Timestamp,
) -> Backups {
    let mut actions = running::advance_all(policy, inventory, now);
    let mut wake_at = running::poll_at(policy, inventory, now);
    let clock = SlotClock::of(policy, inventory);
    let mut judgements: Vec<Judgement<'_>> = policy
        .obligations()
        .map(|(source, obligation)| {
            let own = of_source(points, &source.id);
            obligation::judge(policy, source, obligation, inventory, own.iter(), clock, now)
        })
        .collect();

    // The longest due goes first, so that a busy night delays everybody a little and nobody for ever.
    let mut order: Vec<usize> = (0..judgements.len()).collect();
    order.sort_by_key(|index| judgements.get(*index)?.candidate.as_ref().map(|candidate| candidate.due_at));
    let mut room = Room::new(policy, inventory);
    let mut in_drills = Vec::new();
    for index in order {
        let Some(judgement) = judgements.get_mut(index) else { continue };
        let Some(candidate) = judgement.candidate.take() else { continue };
        let action = match start(policy, &candidate, now) {
            Start::Now(action) => action,
            // Drills have limits of their own, and each makes one dump after the other.
            Start::InDrill(dump) => {
                in_drills.push(DueInDrill { decision: index, dump, data_since: candidate.data_since });
                continue;
            }
        };
        match room.take(&judgement.decision.source, judgement.decision.kind) {
            Ok(()) => actions.push(action),
            Err(behind) => {
                judgement.decision.reason = Reason::Queued { slot: candidate.run.slot, behind };
            }
        }
    }
    for judgement in &judgements {
        wake_at.extend(judgement.decision.freshness.next_due_at.map(|due_at| clock.ours(due_at)));
        if let Reason::BackingOff { until, .. } = judgement.decision.reason {
            wake_at.push(until);
        }
    }
    let decisions = judgements.into_iter().map(|judgement| judgement.decision).collect();
    Backups { actions, decisions, wake_at, in_drills }
}

/// How many more runs may start.
struct Room {
    busy: BTreeSet<(SourceId, Kind)>,
    total: usize,
    limit: usize,
}

impl Room {
    fn new(policy: &Policy, inventory: &Inventory) -> Room {
        let running = running::runs(inventory);
        Room {
            busy: running.iter().map(|(source, run)| (source.clone(), run.kind)).collect(),
            total: running.len(),
            limit: policy.limits.concurrent_runs,
        }
    }

    fn take(&mut self, source: &SourceId, kind: Kind) -> Result<(), Queue> {
        if self.total >= self.limit {
            return Err(Queue::GlobalLimit { limit: self.limit });
        }
        if !self.busy.insert((source.clone(), kind)) {
            return Err(Queue::SameSource);
        }
        self.total += 1;
        Ok(())
    }
}

/// How a run begins.
enum Start {
    /// By itself.
    Now(Action),
    /// In a drill, which makes this dump of what it restores.
    InDrill(DumpOfDrill),
}

fn start(policy: &Policy, candidate: &Candidate<'_>, now: Timestamp) -> Start {
    let (run, source) = (candidate.run.clone(), candidate.source);
    let (database, settings) = match candidate.task {
        Task::Snapshot => {
            return Start::Now(create_snapshot(policy, source, candidate.instance, run, Claimed::NotYet));
        }
        Task::Dump { database, settings } => (database, settings),
    };
    if let Some(read_from) = candidate.read_from.clone() {
        return Start::Now(start_dump(source, database, settings, candidate.instance, read_from, run, now));
    }
    let dump = DumpId { source: source.id.clone(), database: database.clone(), slot: run.slot };
    Start::InDrill(DumpOfDrill {
        run,
        dump,
        settings: settings.clone(),
        within: source.completion_deadline(Kind::Dump),
    })
}

/// A dump that began, or begins, at this moment.
fn start_dump(
    source: &SourcePolicy,
    database: &DatabaseName,
    settings: &DumpSettings,
    instance: &Instance,
    read_from: ReadFrom,
    run: RunId,
    began_at: Timestamp,
) -> Action {
    Action::StartDump(Box::new(StartDump {
        dump: DumpId { source: source.id.clone(), database: database.clone(), slot: run.slot },
        run,
        instance: instance.id.clone(),
        resource: instance.resource.clone(),
        read_from,
        settings: settings.clone(),
        deadline: began_at.saturating_add(source.completion_deadline(Kind::Dump)).unwrap_or(Timestamp::MAX),
    }))
}

fn create_snapshot(
    policy: &Policy,
    source: &SourcePolicy,
    instance: &Instance,
    run: RunId,
    claimed: Claimed,
) -> Action {
    let snapshot = SnapshotId::for_slot(&policy.snapshot_prefix, &source.id, run.slot, run.attempt);
    let tags = tags::for_snapshot(&policy.installation, &snapshot, &source.id, &instance.resource, &run);
    Action::CreateSnapshot(CreateSnapshot {
        source: source.id.clone(),
        run,
        snapshot,
        instance: instance.id.clone(),
        tags,
        claimed,
    })
}

/// Uploads that ended runs of ours left open. An upload without a terminal record of its run is not touched: the run may
/// live, or it may not be ours.
pub(super) fn abort_left_uploads(inventory: &Inventory) -> Vec<Action> {
    let mut actions = Vec::new();
    for (source, store) in &inventory.stores {
        let Ok(store) = store else { continue };
        for upload in &store.uploads {
            let left_by = store.runs.iter().find(|stored| {
                let directory = format!("/{}/", stored.record.run);
                stored.record.state != RunState::Running && upload.key.as_str().contains(&directory)
            });
            if let Some(stored) = left_by {
                actions.push(Action::AbortUpload(AbortUpload {
                    source: source.clone(),
                    run: stored.record.run.clone(),
                    upload: upload.clone(),
                }));
            }
        }
    }
    actions
}

/// Why a backup that a person asked for does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such source.
    #[error("no source is called `{0}`")]
    UnknownSource(SourceId),
    /// The source has no such database.
    #[error("source {source_id} has no database `{database}` in its configuration")]
    UnknownDatabase {
        /// The source.
        source_id: SourceId,
        /// The database.
        database: DatabaseName,
    },
    /// Its dumps are made in drills.
    #[error("dumps of source {0} are made in its drills, and not one by one: leave --slot and --attempt out")]
    InDrill(SourceId),
    /// It cannot run now, for a reason that `strongroom plan` would print too.
    #[error("{0}")]
    NotNow(Reason),
}

/// The action for a backup that a person asks for now, as a slot of its own: the schedule's rules on readiness, client
/// version and one run at a time hold for people too.
///
/// # Errors
/// See [`Refusal`].
pub fn manual(
    policy: &Policy,
    inventory: &Inventory,
    source: &SourceId,
    task: &Task,
    now: Timestamp,
) -> Result<Action, Refusal> {
    let source = asked_for(policy, source, task)?;
    let store = inventory.store(&source.id).map_err(|unseen| Refusal::NotNow(Reason::Unseen(unseen)))?;
    let asked = Slot::at(SlotClock::of(policy, inventory).shows(now));
    // A slot is a second: two in one would be one, and the second would find its work done by the first.
    let is_taken = |slot: &Slot| {
        let mut runs = store.runs.iter().map(|own| &own.record.run);
        runs.any(|run| (run.slot, run.kind, run.database.as_ref()) == (*slot, task.kind(), task.database()))
    };
    let slot = asked.and_following().find(|slot| !is_taken(slot)).unwrap_or(asked);
    let (instance, read_from) = obligation::startable(inventory, source, task, slot).map_err(Refusal::NotNow)?;
    let running = running::runs(inventory);
    if let Some((_, run)) = running.iter().find(|(id, run)| *id == source.id && run.kind == task.kind()) {
        return Err(Refusal::NotNow(Reason::Running { run: run.clone(), percent: None }));
    }
    let run = RunId { slot, kind: task.kind(), database: task.database().cloned(), attempt: 1 };
    // Whoever asks takes what there is; it is told of which moment that is.
    let candidate = Candidate { source, task, instance, read_from, data_since: Timestamp::MIN, run, due_at: now };
    match start(policy, &candidate, now) {
        Start::Now(action) => Ok(action),
        Start::InDrill(dump) => {
            let due = DueInDrill { decision: 0, dump, data_since: candidate.data_since };
            super::drill::manual_dump(policy, inventory, &due, now).map_err(Refusal::NotNow)
        }
    }
}

fn asked_for<'a>(policy: &'a Policy, source: &SourceId, task: &Task) -> Result<&'a SourcePolicy, Refusal> {
    let source = policy.sources.get(source).ok_or_else(|| Refusal::UnknownSource(source.clone()))?;
    match task.database().filter(|database| !source.databases.contains(database)) {
        Some(database) => Err(Refusal::UnknownDatabase { source_id: source.id.clone(), database: database.clone() }),
        None => Ok(source),
    }
}

/// The action for one attempt at a slot that a daemon has decided on and that a Job makes: who may run beside whom is the
/// daemon's matter, and that nobody else makes it is the claim's.
///
/// # Errors
/// See [`Refusal`].
pub fn ordered(
    policy: &Policy,
    inventory: &Inventory,
    source: &SourceId,
    task: &Task,
    (slot, attempt): (Slot, u32),
    now: Timestamp,
) -> Result<Action, Refusal> {
    let source = asked_for(policy, source, task)?;
    let (instance, read_from) = obligation::startable(inventory, source, task, slot).map_err(Refusal::NotNow)?;
    let run = RunId { slot, kind: task.kind(), database: task.database().cloned(), attempt };
    let candidate = Candidate { source, task, instance, read_from, data_since: Timestamp::MIN, run, due_at: now };
    match start(policy, &candidate, now) {
        Start::Now(action) => Ok(action),
        Start::InDrill(_) => Err(Refusal::InDrill(source.id.clone())),
    }
}

/// What the planner would do about one run that is under way: the part of the plan that a command waits with.
#[must_use]
pub fn advance_run(
    policy: &Policy,
    inventory: &Inventory,
    source: &SourceId,
    run: &RunId,
    now: Timestamp,
) -> Option<Action> {
    running::advance_all(policy, inventory, now)
        .into_iter()
        .find(|action| action.source() == source && action.run() == Some(run))
}

#[cfg(test)]
mod tests;
