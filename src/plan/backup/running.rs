//! Runs under way: which of them have ended without a word, and which snapshots have come to their end.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::obligation::startable;
use super::{create_snapshot, start_dump};
use crate::domain::id::{Kind, RunId, SnapshotId, SourceId};
use crate::domain::inventory::{Inventory, Snapshot, SourceStore, StoredRun};
use crate::domain::run::{OwnerState, RunState};
use crate::domain::tags;
use crate::plan::action::{Action, Claimed, CloseRun, Ending};
use crate::plan::slot_clock::SlotClock;
use crate::policy::{Policy, SourcePolicy, Task};

/// Every run that is not over: recorded as running, or in this process's hands.
pub(super) fn runs(inventory: &Inventory) -> BTreeSet<(SourceId, RunId)> {
    let mut runs = inventory.in_flight.clone();
    for (source, store) in &inventory.stores {
        let Ok(store) = store else { continue };
        let running = store.runs.iter().filter(|stored| stored.record.state == RunState::Running);
        runs.extend(running.map(|stored| (source.clone(), stored.record.run.clone())));
    }
    runs
}

/// The run of a task that is under way, with its percentage where RDS says one.
pub(super) fn of_task(
    policy: &Policy,
    source: &SourcePolicy,
    task: &Task,
    inventory: &Inventory,
) -> Option<(RunId, Option<u8>)> {
    let of_task = |run: &RunId| run.kind == task.kind() && run.database.as_ref() == task.database();
    let (_, run) = runs(inventory).into_iter().find(|(id, run)| *id == source.id && of_task(run))?;
    let percent = match run.kind {
        Kind::Snapshot => find_snapshot(policy, inventory, source, &run).map(|snapshot| snapshot.progress_percent),
        Kind::Dump => None,
    };
    Some((run, percent))
}

fn find_snapshot<'a>(
    policy: &Policy,
    inventory: &'a Inventory,
    source: &SourcePolicy,
    run: &RunId,
) -> Option<&'a Snapshot> {
    let id = SnapshotId::for_slot(&policy.snapshot_prefix, &source.id, run.slot, run.attempt);
    inventory.snapshots.as_ref().ok()?.iter().find(|snapshot| snapshot.id == id)
}

/// When to look at snapshots again: soon while one is being made. Dumps report their end by themselves.
pub(super) fn poll_at(policy: &Policy, inventory: &Inventory, now: Timestamp) -> Vec<Timestamp> {
    let waiting = runs(inventory).iter().any(|(_, run)| run.kind == Kind::Snapshot);
    let soon = now.saturating_add(policy.cadence.poll_interval).unwrap_or(Timestamp::MAX);
    waiting.then_some(soon).into_iter().collect()
}

/// The next step of every recorded run that nobody in this process works on.
pub(super) fn advance_all(policy: &Policy, inventory: &Inventory, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    for source in policy.sources.values() {
        let Ok(store) = inventory.store(&source.id) else { continue };
        for stored in &store.runs {
            let running = stored.record.state == RunState::Running;
            let own = (source.id.clone(), stored.record.run.clone());
            if running && !inventory.in_flight.contains(&own) && !inventory.in_drills.contains(&own) {
                actions.extend(match stored.record.run.kind {
                    Kind::Snapshot => advance_snapshot(policy, source, stored, inventory, now),
                    Kind::Dump => {
                        close_if_left(source, stored, store).or_else(|| follow_job(policy, source, stored, inventory))
                    }
                });
            }
        }
    }
    actions
}

/// A dump lives and dies with its process. If the manifest stands it is a success, whoever died after writing it.
fn close_if_left(source: &SourcePolicy, stored: &StoredRun, store: &SourceStore) -> Option<Action> {
    if !is_left(stored) {
        return None;
    }
    let points = store.dumps.iter().map(|stored| &stored.point);
    let made = points.into_iter().find(|point| point.is_good() && point.run.as_ref() == Some(&stored.record.run));
    let ending = made.map_or(Ending::Abandoned, |point| Ending::DumpCommitted { size_bytes: point.size_bytes });
    Some(close(source, stored, ending))
}

/// A dump that a Job makes outlives whoever began it: the next one waits for its end, and tells why it failed.
fn follow_job(policy: &Policy, source: &SourcePolicy, stored: &StoredRun, inventory: &Inventory) -> Option<Action> {
    if !policy.dumps_by_jobs || stored.owner != OwnerState::Elsewhere {
        return None;
    }
    let run = &stored.record.run;
    let tasks = source.obligations.iter().map(|own| &own.task);
    let (task, database, settings) = tasks.into_iter().find_map(|task| match task {
        Task::Dump { database, settings } if run.database.as_ref() == Some(database) => {
            Some((task, database, settings))
        }
        Task::Dump { .. } | Task::Snapshot => None,
    })?;
    let (instance, read_from) = startable(inventory, source, task, run.slot).ok()?;
    Some(start_dump(source, database, settings, instance, read_from?, run.clone(), stored.record.started_at))
}

/// Whether nobody works on a run any more, although nobody has ended it.
fn is_left(stored: &StoredRun) -> bool {
    stored.owner.has_left(stored.unchanged_for)
}

/// A snapshot lives in RDS, so any process can take it up: it is judged by what RDS shows.
fn advance_snapshot(
    policy: &Policy,
    source: &SourcePolicy,
    stored: &StoredRun,
    inventory: &Inventory,
    now: Timestamp,
) -> Option<Action> {
    let run = &stored.record.run;
    let snapshots = inventory.snapshots.as_ref().ok()?;
    // By AWS's clock where ours is wrong: a year ahead it would give up every snapshot as soon as it is begun.
    let now = SlotClock::of(policy, inventory).shows(now);
    let deadline = began_at(stored, now).saturating_add(source.completion_deadline(Kind::Snapshot));
    let late = deadline.is_ok_and(|deadline| deadline < now);
    let failed = |reason: String| Some(close(source, stored, Ending::Failed { reason }));
    let snapshot = snapshots.iter().find(|snapshot| stored.record.snapshot.as_ref() == Some(&snapshot.id));
    let Some(snapshot) = snapshot else {
        if late {
            return failed("the instance took no snapshot before the deadline".to_owned());
        }
        let instance = inventory.instance(&source.instance).ok()??;
        let claimed = Claimed::Already(Box::new(stored.clone()));
        let again = is_left(stored) && instance.takes_snapshots();
        return again.then(|| create_snapshot(policy, source, instance, run.clone(), claimed));
    };
    let ours = tags::prove_ownership(&snapshot.tags, &policy.installation, &snapshot.id);
    // Tags may lag behind a snapshot that was made after the claim; one that was there before is somebody else's.
    let may_become_ours = snapshot.created_at.is_some_and(|at| at >= stored.record.started_at) && !late;
    match snapshot.status.as_str() {
        "available" if ours && snapshot.created_at.is_some() => {
            Some(close(source, stored, Ending::SnapshotAvailable { size_bytes: snapshot.storage_bytes }))
        }
        "available" if !ours && !may_become_ours => failed(format!(
            "snapshot {} exists and was not made by this installation: rename or delete it",
            snapshot.id
        )),
        "failed" => failed(format!("RDS reports that snapshot {} failed", snapshot.id)),
        status if late => failed(format!("snapshot {} was still `{status}` at its deadline", snapshot.id)),
        _ => None,
    }
}

/// When a run began, as far as its record can be right: not before its slot came due, nor in the future. A clock that was a
/// year behind wrote such a record; taken at its word the run would be a year late, and its snapshot would be made again
/// beside the one that is being made. Such a one began when this process saw it first, at the latest.
fn began_at(stored: &StoredRun, now: Timestamp) -> Timestamp {
    let started_at = stored.record.started_at;
    let is_possible = (stored.record.run.slot.instant()..=now).contains(&started_at);
    if is_possible { started_at } else { now.saturating_sub(stored.unchanged_for).unwrap_or(now) }
}

fn close(source: &SourcePolicy, stored: &StoredRun, ending: Ending) -> Action {
    Action::CloseRun(Box::new(CloseRun { stored: stored.clone(), instance: source.instance.clone(), ending }))
}
