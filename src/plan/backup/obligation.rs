//! One obligation: is its latest slot filled, may an attempt start, and if not, why.

use jiff::{SignedDuration, Timestamp};

use super::running;
use crate::domain::id::{ATTEMPT_MAX, Kind, ResourceId, RunId, Slot};
use crate::domain::inventory::{Endpoint, Instance, Inventory, SourceStore, Unseen};
use crate::domain::key::DumpId;
use crate::domain::recovery_point::{Plane, RecoveryPoint};
use crate::domain::run::{RunRecord, RunState};
use crate::plan::action::ReadFrom;
use crate::plan::decision::{Decision, Freshness, Reason};
use crate::plan::slot_clock::SlotClock;
use crate::policy::retry::Readiness;
use crate::policy::schedule::Schedule;
use crate::policy::{DumpFrom, Obligation, Policy, SourcePolicy, Task};

/// A point that is not listed this long after its run has succeeded is not there.
const SETTLING: SignedDuration = SignedDuration::from_mins(15);

/// A run that could start now, if there is room.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) source: &'a SourcePolicy,
    pub(super) task: &'a Task,
    pub(super) instance: &'a Instance,
    /// `None`: in a drill.
    pub(super) read_from: Option<ReadFrom>,
    /// What data would not be of the slot any more, but of the one before.
    pub(super) data_since: Timestamp,
    pub(super) run: RunId,
    pub(super) due_at: Timestamp,
}

/// What was judged about one obligation.
#[derive(Debug)]
pub(super) struct Judgement<'a> {
    pub(super) decision: Decision,
    pub(super) candidate: Option<Candidate<'a>>,
}

/// Judges one obligation; `points` are the recovery points of its source.
pub(super) fn judge<'a>(
    policy: &Policy,
    source: &'a SourcePolicy,
    obligation: &'a Obligation,
    inventory: &'a Inventory,
    points: impl Iterator<Item = &'a RecoveryPoint>,
    clock: SlotClock,
    now: Timestamp,
) -> Judgement<'a> {
    let slots_now = clock.shows(now);
    let resource = inventory.instance(&source.instance).ok().flatten().map(|instance| &instance.resource);
    let good: Vec<&RecoveryPoint> =
        points.filter(|point| point.is_good() && counts_for(point, &obligation.task, resource)).collect();
    let due = obligation.schedule.latest_due(slots_now);
    // A slot in the future was filled while the clock was wrong: it must not silence the schedule until then.
    let filled = |slot: Slot| {
        let fills = |point: &&RecoveryPoint| credited_slot(point, &obligation.schedule) >= slot;
        good.iter().any(|point| fills(point) && point.slot.instant() <= slots_now)
    };
    let (reason, candidate) = match due {
        // Also while the latest slot is filled: that nothing will fill the next one is not first told when it comes due.
        _ if obligation.suspended => (Reason::Suspended, None),
        None => (Reason::NotDueYet, None),
        Some(slot) if filled(slot) => (Reason::Satisfied { slot }, None),
        Some(slot) => match attempt(policy, source, obligation, inventory, slot, clock, now) {
            Ok(candidate) => (Reason::Starts { run: candidate.run.clone() }, Some(candidate)),
            Err(reason) => (reason, None),
        },
    };
    // Told while there is time: not first on the night when the next slot comes due.
    let reason = match (reason, startable_at_all(inventory, source, &obligation.task)) {
        (Reason::Satisfied { .. } | Reason::NotDueYet, Err(trouble)) => trouble,
        (reason, _) => reason,
    };
    let freshness = freshness(obligation, &good, due, filled, slots_now);
    let decision = Decision {
        source: source.id.clone(),
        kind: obligation.task.kind(),
        database: obligation.task.database().cloned(),
        reason,
        freshness,
    };
    Judgement { decision, candidate }
}

/// Whether a point is of this task and of the instance that bears the name today.
pub(in crate::plan) fn counts_for(point: &RecoveryPoint, task: &Task, resource: Option<&ResourceId>) -> bool {
    let same_instance = match (resource, &point.resource) {
        (Some(now), Some(then)) => now == then,
        // An instance that cannot be seen, or is lost, takes nothing away from the backups that exist of it.
        (None, _) => true,
        (Some(_), None) => false,
    };
    let of_task = point.kind == task.kind() && point.database.as_ref() == task.database();
    of_task && point.plane == Plane::Primary && same_instance
}

/// The slot that a point counts for. A dump that a drill has made has the data of the snapshot that was restored, which may be
/// old: at most it fills the slot that came next after that.
pub(in crate::plan) fn credited_slot(point: &RecoveryPoint, schedule: &Schedule) -> Slot {
    let data_of = point.created_at.filter(|_| point.from_snapshot.is_some());
    let next = data_of.and_then(|data_of| schedule.next_after(data_of));
    next.map_or(point.slot, |next| next.min(point.slot))
}

/// From when on data is of a slot and not of the one before, which it would fill.
fn data_since(schedule: &Schedule, slot: Slot) -> Timestamp {
    let before = schedule.start_of(slot).saturating_sub(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MIN);
    schedule.latest_due(before).map_or(Timestamp::MIN, Slot::instant)
}

fn freshness(
    obligation: &Obligation,
    good: &[&RecoveryPoint],
    due: Option<Slot>,
    filled: impl Fn(Slot) -> bool,
    now: Timestamp,
) -> Freshness {
    let schedule = &obligation.schedule;
    let next = schedule.next_after(due.map_or(now, Slot::instant));
    let interval = match (due, next) {
        (Some(due), Some(next)) => next.instant().duration_since(due.instant()),
        (None, _) | (_, None) => SignedDuration::ZERO,
    };
    // The latest slot whose run must have ended by now, and not the latest slot: that a new one has come due does not make
    // good that the one before was never filled.
    let ended_by = now.saturating_sub(obligation.completion_deadline).unwrap_or(Timestamp::MIN);
    let unfilled = schedule.latest_due(ended_by).is_some_and(|slot| !filled(slot));
    Freshness {
        newest_at: good.iter().filter_map(|point| point.created_at).max(),
        expected_interval: interval,
        next_due_at: next.filter(|_| !obligation.suspended).map(|slot| schedule.start_of(slot)),
        overdue: unfilled && !obligation.suspended,
    }
}

/// The attempt at an unfilled slot that may start now, or why none may.
fn attempt<'a>(
    policy: &Policy,
    source: &'a SourcePolicy,
    obligation: &'a Obligation,
    inventory: &'a Inventory,
    slot: Slot,
    clock: SlotClock,
    now: Timestamp,
) -> Result<Candidate<'a>, Reason> {
    let store = inventory.store(&source.id).map_err(Reason::Unseen)?;
    if let Some((run, percent)) = running::of_task(policy, source, &obligation.task, inventory) {
        return Err(Reason::Running { run, percent });
    }
    // Of the slot of the schedule: what takes its place makes good for it.
    let data_since = data_since(&obligation.schedule, slot);
    let slot = vacant(store, &obligation.task, slot, now);
    let attempts = attempts(store, &obligation.task, slot);
    settled(inventory, store, &attempts, now)?;
    may_retry(obligation, &attempts, slot, now)?;
    let start_at = obligation.schedule.start_of(slot);
    if let Some(deadline) = obligation.start_deadline.and_then(|limit| start_at.saturating_add(limit).ok())
        && deadline < clock.shows(now)
    {
        return Err(Reason::Missed { slot, deadline });
    }
    let (instance, read_from) = startable(inventory, source, &obligation.task, slot)?;
    let number = attempts.iter().map(|record| record.run.attempt).max().unwrap_or(0).saturating_add(1);
    if number > ATTEMPT_MAX {
        return Err(Reason::Unseen(Unseen(format!("slot {slot} has had {ATTEMPT_MAX} attempts"))));
    }
    let run =
        RunId { slot, kind: obligation.task.kind(), database: obligation.task.database().cloned(), attempt: number };
    Ok(Candidate { source, task: &obligation.task, instance, read_from, data_since, run, due_at: start_at })
}

/// The slot, or the first second after it whose manifest's key is free.
///
/// A manifest is never overwritten. One that is damaged, or that is of an instance which bore the name before, would
/// otherwise refuse every dump of its slot. And what was pruned here may stand in the replica bucket: S3 would put a new
/// manifest in the place of that one, and nobody would see its dump any more. Where that bucket is not seen, a run that has
/// succeeded tells that there was one.
fn vacant(store: &SourceStore, task: &Task, slot: Slot, now: Timestamp) -> Slot {
    let in_any_plane =
        || Plane::ALL.into_iter().filter_map(|plane| store.dumps_in(plane)).flat_map(|dumps| dumps.iter());
    let replica_is_unseen = store.replica.as_ref().is_some_and(Result::is_err);
    let is_over = |at: Timestamp| now.duration_since(at).abs() >= SETTLING;
    let has_succeeded =
        |record: &&RunRecord| matches!(record.state, RunState::Succeeded { finished_at, .. } if is_over(finished_at));
    let taken = |slot: &Slot| {
        let of_slot = |dump: &DumpId| dump.slot == *slot && Some(&dump.database) == task.database();
        in_any_plane().any(|stored| of_slot(&stored.dump))
            || replica_is_unseen && attempts(store, task, *slot).iter().any(has_succeeded)
    };
    match task {
        Task::Snapshot => slot,
        Task::Dump { .. } => slot.and_following().find(|slot| !taken(slot)).unwrap_or(slot),
    }
}

fn attempts<'a>(store: &'a SourceStore, task: &Task, slot: Slot) -> Vec<&'a RunRecord> {
    let of_task = |record: &&RunRecord| {
        record.run.slot == slot && record.run.kind == task.kind() && record.run.database.as_ref() == task.database()
    };
    store.runs.iter().map(|stored| &stored.record).filter(of_task).collect()
}

/// Listings lag behind effects: what a run has just made may not be shown yet, and must not be made twice.
fn settled(inventory: &Inventory, store: &SourceStore, attempts: &[&RunRecord], now: Timestamp) -> Result<(), Reason> {
    let listed = |record: &RunRecord| match &record.snapshot {
        Some(id) => inventory.snapshots.as_ref().is_ok_and(|all| all.iter().any(|snapshot| snapshot.id == *id)),
        None => store.dumps.iter().any(|stored| stored.point.run.as_ref() == Some(&record.run)),
    };
    for record in attempts {
        if let RunState::Succeeded { finished_at, .. } = &record.state
            && now.duration_since(*finished_at).abs() < SETTLING
            && !listed(record)
        {
            return Err(Reason::NotListedYet { run: record.run.clone(), finished_at: *finished_at });
        }
    }
    Ok(())
}

/// Applies back-off. A run that a dead process left is no failure of the source the first time: it is repeated at once.
fn may_retry(obligation: &Obligation, attempts: &[&RunRecord], slot: Slot, now: Timestamp) -> Result<(), Reason> {
    let (mut failed, mut abandoned, mut last_ended_at, mut last_failure) = (0, 0_u32, None, None);
    for record in attempts {
        match &record.state {
            RunState::Failed { finished_at, failure } => {
                failed += 1;
                if last_ended_at.is_none_or(|last| last <= *finished_at) {
                    last_failure = Some(failure.message.clone());
                }
            }
            RunState::Abandoned { .. } => abandoned += 1,
            RunState::Running | RunState::Succeeded { .. } | RunState::Cancelled { .. } => continue,
        }
        // An end in the future was written by a clock that was ahead; it must not hold back the next attempt until then.
        last_ended_at = last_ended_at.max(record.state.finished_at().filter(|at| *at <= now));
    }
    let failed = failed + abandoned.saturating_sub(1);
    match obligation.retry.next_attempt(failed, last_ended_at, now) {
        Readiness::Now => Ok(()),
        Readiness::NotBefore(until) => Err(Reason::BackingOff { slot, failed, until, last_failure }),
    }
}

/// The instance and where it is read, if a run of the task could start on it now; a drill looks at the instance, too, before
/// it restores a snapshot.
pub(super) fn startable<'a>(
    inventory: &'a Inventory,
    source: &SourcePolicy,
    task: &Task,
    slot: Slot,
) -> Result<(&'a Instance, Option<ReadFrom>), Reason> {
    let instance = startable_at_all(inventory, source, task)?;
    let ready = match task {
        Task::Snapshot => {
            // Without the list a second snapshot of the slot could be started.
            inventory.snapshots.as_ref().map_err(|unseen| Reason::Unseen(unseen.clone()))?;
            instance.takes_snapshots()
        }
        Task::Dump { .. } => instance.serves(),
    };
    match (&instance.endpoint, ready) {
        (Some(endpoint), true) => Ok((instance, read_from(inventory, source, task, slot, instance, endpoint)?)),
        (_, _) => Err(Reason::InstanceNotReady { slot, status: instance.status.clone(), replica: None }),
    }
}

/// Where a task reads: on the instance itself, unless dumps are to come from a replica; `None`: out of a drill.
fn read_from(
    inventory: &Inventory,
    source: &SourcePolicy,
    task: &Task,
    slot: Slot,
    instance: &Instance,
    endpoint: &Endpoint,
) -> Result<Option<ReadFrom>, Reason> {
    let from = |instance: &Instance, endpoint: &Endpoint, replica_of| {
        let (instance, endpoint) = (instance.id.clone(), endpoint.clone());
        Some(ReadFrom { instance, endpoint, replica_of, restored: None })
    };
    let Some(replica) = replica(inventory, source, task)? else {
        let in_drill = source.dump_from == DumpFrom::Drill && task.kind() == Kind::Dump;
        return Ok(if in_drill { None } else { from(instance, endpoint, None) });
    };
    let id = replica.id.clone();
    match (&replica.endpoint, replica.serves()) {
        (Some(there), true) => Ok(from(replica, there, Some(endpoint.clone()))),
        (_, _) => Err(Reason::InstanceNotReady { slot, status: replica.status.clone(), replica: Some(id) }),
    }
}

/// The replica that a task is to read, if any: RDS must say that it is one of the source's instance, for whatever else it has
/// would be taken for a backup of it.
fn replica<'a>(inventory: &'a Inventory, source: &SourcePolicy, task: &Task) -> Result<Option<&'a Instance>, Reason> {
    let Task::Dump { .. } = task else { return Ok(None) };
    let own = inventory.instance(&source.instance).map_err(Reason::Unseen)?;
    if let Some(of) = own.and_then(|own| own.replica_of.clone()) {
        return Err(Reason::InstanceIsReplica { of });
    }
    let Some(id) = source.dump_from.replica() else { return Ok(None) };
    let found = inventory.instance(id).map_err(Reason::Unseen)?;
    let replica = found.ok_or_else(|| Reason::ReplicaMissing { replica: id.clone() })?;
    if replica.replica_of.as_deref() == Some(source.instance.as_str()) {
        return Ok(Some(replica));
    }
    Err(Reason::NotItsReplica { replica: id.clone(), of: replica.replica_of.clone() })
}

/// The instance, if runs of the task can start on it as soon as its status allows: it exists, is of the right engine, and
/// the client can dump it.
fn startable_at_all<'a>(inventory: &'a Inventory, source: &SourcePolicy, task: &Task) -> Result<&'a Instance, Reason> {
    let instance = inventory.instance(&source.instance).map_err(Reason::Unseen)?.ok_or(Reason::InstanceMissing)?;
    if instance.engine != "postgres" {
        return Err(Reason::EngineRefused { engine: instance.engine.clone() });
    }
    if let Task::Dump { .. } = task {
        let client = inventory.pg_dump.as_ref().map_err(|unseen| Reason::Unseen(unseen.clone()))?;
        if let (Some(client), Some(server)) = (client, instance.major_version())
            && server > client.major
        {
            return Err(Reason::ClientTooOld { client: client.major, server });
        }
    }
    replica(inventory, source, task)?;
    Ok(instance)
}
