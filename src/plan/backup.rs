//! Backups: which runs start, which are over, and what each obligation waits for.

mod obligation;
mod running;

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::action::{AbortUpload, Action, Claimed, CreateSnapshot, StartDump};
use super::decision::{Decision, Queue, Reason};
use super::points::of_source;
use super::slot_clock::SlotClock;
use crate::domain::id::{DatabaseName, Kind, RunId, Slot, SnapshotId, SourceId};
use crate::domain::inventory::{Instance, Inventory};
use crate::domain::key::DumpId;
use crate::domain::recovery_point::RecoveryPoint;
use crate::domain::run::RunState;
use crate::domain::tags;
use crate::policy::{Policy, SourcePolicy, Task};
pub(super) use obligation::counts_for;
use obligation::{Candidate, Judgement};

/// What was planned about backups.
#[derive(Debug)]
pub(super) struct Backups {
    pub(super) actions: Vec<Action>,
    pub(super) decisions: Vec<Decision>,
    pub(super) wake_at: Vec<Timestamp>,
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
    for index in order {
        let Some(judgement) = judgements.get_mut(index) else { continue };
        let Some(candidate) = judgement.candidate.take() else { continue };
        match room.take(&judgement.decision.source, judgement.decision.kind) {
            Ok(()) => actions.push(start(policy, &candidate, now)),
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
    Backups { actions, decisions, wake_at }
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

fn start(policy: &Policy, candidate: &Candidate<'_>, now: Timestamp) -> Action {
    match candidate.task {
        Task::Snapshot => {
            create_snapshot(policy, candidate.source, candidate.instance, candidate.run.clone(), Claimed::NotYet)
        }
        Task::Dump { database, settings } => Action::StartDump(Box::new(StartDump {
            dump: DumpId { source: candidate.source.id.clone(), database: database.clone(), slot: candidate.run.slot },
            run: candidate.run.clone(),
            instance: candidate.instance.id.clone(),
            resource: candidate.instance.resource.clone(),
            read_from: candidate.read_from.clone(),
            settings: settings.clone(),
            deadline: now.saturating_add(candidate.source.completion_deadline(Kind::Dump)).unwrap_or(Timestamp::MAX),
        })),
    }
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
    let source = policy.sources.get(source).ok_or_else(|| Refusal::UnknownSource(source.clone()))?;
    if let Some(database) = task.database().filter(|database| !source.databases.contains(database)) {
        return Err(Refusal::UnknownDatabase { source_id: source.id.clone(), database: database.clone() });
    }
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
    let candidate = Candidate { source, task, instance, read_from, run, due_at: now };
    Ok(start(policy, &candidate, now))
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
