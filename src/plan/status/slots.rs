//! The latest slots of an obligation: which are filled, and what became of the others, as far as what exists tells.
//!
//! A slot covers the time until the next one, as a backup that was asked for by hand in between fills it, too. What is not
//! there and never was is told apart from what was made and is gone by the record of the run, and by nothing else; where the
//! records themselves were not seen, or are older than evidence is kept, nothing is said.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::id::{Kind, ResourceId, Slot};
use crate::domain::inventory::Inventory;
use crate::domain::recovery_point::{Plane, PointState, RecoveryPoint};
use crate::domain::run::{RunRecord, RunState};
use crate::plan::backup::{counts_for, credited_slot};
use crate::policy::schedule::Schedule;
use crate::policy::{Obligation, Policy, SourcePolicy};

/// Most slots that are told of one obligation: half a year of weeks, two years of months, a day of hours.
pub const SLOTS_MAX: usize = 26;

/// One slot, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotStatus {
    /// The slot.
    pub slot: Slot,
    /// What became of it.
    pub state: SlotState,
    /// Bytes of what fills it: stored (dumps) or allocated (snapshots).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// What became of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// A good recovery point fills it.
    Kept,
    /// One fills it in the second region only.
    KeptElsewhere,
    /// It is being filled.
    Running,
    /// It has come due, and there is still time.
    Due,
    /// Every attempt at it has failed.
    Failed,
    /// There was no attempt at it.
    Missed,
    /// What was made is there and not to be relied on.
    Bad,
    /// It was filled, and what filled it is there no more: it was pruned, or somebody has deleted it.
    Gone,
    /// It could not be seen.
    Unknown,
}

impl SlotState {
    /// All of them.
    pub const ALL: [SlotState; 9] = [
        SlotState::Kept,
        SlotState::KeptElsewhere,
        SlotState::Running,
        SlotState::Due,
        SlotState::Failed,
        SlotState::Missed,
        SlotState::Bad,
        SlotState::Gone,
        SlotState::Unknown,
    ];

    /// The word for it in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SlotState::Kept => "kept",
            SlotState::KeptElsewhere => "kept_elsewhere",
            SlotState::Running => "running",
            SlotState::Due => "due",
            SlotState::Failed => "failed",
            SlotState::Missed => "missed",
            SlotState::Bad => "bad",
            SlotState::Gone => "gone",
            SlotState::Unknown => "unknown",
        }
    }
}

/// The latest slots of schedules. A fleet of a thousand sources has a handful of schedules, and to walk one takes a while.
#[derive(Debug)]
pub(super) struct Calendar {
    now: Timestamp,
    known: BTreeMap<(String, String), Vec<Slot>>,
}

impl Calendar {
    /// As it stands now, by the clock by which slots come due.
    pub(super) fn of(now: Timestamp) -> Calendar {
        Calendar { now, known: BTreeMap::new() }
    }

    /// The latest slots that have come due, the oldest first.
    fn latest(&mut self, schedule: &Schedule) -> Vec<Slot> {
        let name = (schedule.to_string(), schedule.zone_name().to_owned());
        // One more, as jitter may hold back the last.
        let slots = self.known.entry(name).or_insert_with(|| schedule.slots_until(self.now, SLOTS_MAX + 1));
        let mut due: Vec<Slot> = slots.iter().copied().filter(|slot| schedule.start_of(*slot) <= self.now).collect();
        due.split_off(due.len().saturating_sub(SLOTS_MAX))
    }
}

/// One obligation, and what was seen of it.
pub(super) struct View<'a> {
    pub(super) policy: &'a Policy,
    pub(super) source: &'a SourcePolicy,
    pub(super) obligation: &'a Obligation,
    pub(super) inventory: &'a Inventory,
    /// All points of the source.
    pub(super) points: &'a [RecoveryPoint],
    /// The identity of its instance, where that was seen.
    pub(super) resource: Option<&'a ResourceId>,
}

/// A span of time between two slots.
#[derive(Clone, Copy)]
struct Span {
    from: Slot,
    until: Option<Slot>,
}

impl Span {
    fn has(self, slot: Slot) -> bool {
        self.from <= slot && self.until.is_none_or(|until| slot < until)
    }
}

impl View<'_> {
    /// The latest slots, from the first one of which anything is known; the last one in any case.
    pub(super) fn slots(&self, calendar: &mut Calendar) -> Vec<SlotStatus> {
        let due = calendar.latest(&self.obligation.schedule);
        let Some(first) = due.first() else { return Vec::new() };
        let points: Vec<&RecoveryPoint> =
            self.points.iter().filter(|point| self.is_of_task(point) && point.slot >= *first).collect();
        let runs = self.runs(*first);
        let ends = due.iter().copied().skip(1).map(Some).chain([None]);
        let spans = due.iter().copied().zip(ends).map(|(from, until)| Span { from, until });
        let told: Vec<(bool, SlotStatus)> =
            spans.map(|span| self.slot(span, &points, runs.as_deref(), calendar.now)).collect();
        let begins = told.iter().position(|(is_known, _)| *is_known).unwrap_or(told.len().saturating_sub(1));
        told.into_iter().skip(begins).map(|(_, slot)| slot).collect()
    }

    /// From when on it is overdue unless something new is made: when the run must have ended for the first slot that nothing
    /// fills.
    pub(super) fn overdue_at(&self, calendar: &mut Calendar) -> Option<Timestamp> {
        let Obligation { schedule, completion_deadline, suspended, .. } = self.obligation;
        let good = self.points.iter().filter(|point| point.is_good() && self.counts(point));
        let good = good.filter(|point| point.slot.instant() <= calendar.now);
        let newest = good.map(|point| self.credited(point)).max();
        let open = match newest {
            Some(newest) => schedule.next_after(newest.instant())?,
            // Of those that might have been filled, the last one that had its time.
            None => {
                let due = calendar.latest(schedule);
                let had_its_time = |slot: &&Slot| self.ended_by(**slot) <= calendar.now;
                due.iter()
                    .rev()
                    .find(had_its_time)
                    .or(due.last())
                    .copied()
                    .or_else(|| schedule.next_after(calendar.now))?
            }
        };
        let ended_by = schedule.start_of(open).saturating_add(*completion_deadline).unwrap_or(Timestamp::MAX);
        (!suspended).then_some(ended_by)
    }

    fn ended_by(&self, slot: Slot) -> Timestamp {
        let Obligation { schedule, completion_deadline, .. } = self.obligation;
        schedule.start_of(slot).saturating_add(*completion_deadline).unwrap_or(Timestamp::MAX)
    }

    fn is_of_task(&self, point: &RecoveryPoint) -> bool {
        let task = &self.obligation.task;
        point.kind == task.kind() && point.database.as_ref() == task.database()
    }

    /// The slot that it counts for.
    fn credited(&self, point: &RecoveryPoint) -> Slot {
        credited_slot(point, &self.obligation.schedule)
    }

    /// Whether a run of this slot has made what counts for an older one: then it was not filled by it.
    fn has_one_for_another_slot(&self, span: Span, points: &[&RecoveryPoint]) -> bool {
        points.iter().any(|point| span.has(point.slot) && !span.has(self.credited(point)))
    }

    /// As the planner counts: in the source's region, and of the instance that bears the name today.
    fn counts(&self, point: &RecoveryPoint) -> bool {
        counts_for(point, &self.obligation.task, self.resource)
    }

    /// Whether a point is of the instance that bears the name today, as far as that was seen.
    fn is_of_today(&self, point: &RecoveryPoint) -> bool {
        self.resource.is_none_or(|resource| point.resource.as_ref() == Some(resource))
    }

    /// The records of the attempts since a slot; `None` where they were not seen, or not all of them.
    fn runs(&self, since: Slot) -> Option<Vec<&RunRecord>> {
        let task = &self.obligation.task;
        let seen = self.inventory.stores.get(&self.source.id)?.as_ref().ok();
        let store = seen.filter(|store| store.refused.is_none())?;
        let of_task = |record: &&RunRecord| {
            let run = &record.run;
            run.slot >= since && run.kind == task.kind() && run.database.as_ref() == task.database()
        };
        Some(store.runs.iter().map(|stored| &stored.record).filter(of_task).collect())
    }

    /// Whether all points in the source's region were seen.
    fn sees_points(&self) -> bool {
        match self.obligation.task.kind() {
            Kind::Snapshot => self.inventory.snapshots.is_ok(),
            Kind::Dump => self.inventory.store(&self.source.id).is_ok_and(|store| store.refused.is_none()),
        }
    }

    /// A slot, and whether anything that exists tells of it.
    fn slot(
        &self,
        span: Span,
        points: &[&RecoveryPoint],
        runs: Option<&[&RunRecord]>,
        now: Timestamp,
    ) -> (bool, SlotStatus) {
        let own: Vec<&RecoveryPoint> = points.iter().copied().filter(|point| span.has(self.credited(point))).collect();
        let here = own.iter().filter(|point| point.plane == Plane::Primary);
        let good = here.clone().find(|point| point.is_good() && self.counts(point));
        let elsewhere =
            own.iter().find(|point| point.plane == Plane::Replica && point.is_good() && self.is_of_today(point));
        let runs = runs.map(|runs| runs.iter().filter(|record| span.has(record.run.slot)).collect::<Vec<_>>());
        let is_known = !own.is_empty() || runs.as_ref().is_some_and(|runs| !runs.is_empty());
        let any = |is: fn(&RunState) -> bool| runs.iter().flatten().any(|record| is(&record.state));
        let is_pending = here.clone().any(|point| point.state == PointState::Pending);
        let is_bad =
            here.clone().any(|point| matches!(point.state, PointState::Bad { .. } | PointState::Unreadable { .. }));
        let state = if good.is_some() {
            SlotState::Kept
        } else if elsewhere.is_some() {
            SlotState::KeptElsewhere
        } else if is_pending || any(|state| *state == RunState::Running) {
            SlotState::Running
        } else if !self.sees_points() || runs.is_none() {
            SlotState::Unknown
        } else if any(|state| matches!(state, RunState::Succeeded { .. }))
            && !self.has_one_for_another_slot(span, points)
        {
            if is_bad { SlotState::Bad } else { SlotState::Gone }
        } else if any(|state| matches!(state, RunState::Failed { .. } | RunState::Abandoned { .. })) {
            SlotState::Failed
        } else if is_bad {
            SlotState::Bad
        } else if !own.is_empty() {
            // It is being deleted, or is of an instance that bore the name before.
            SlotState::Gone
        } else {
            self.without_attempt(span, now)
        };
        let filled_by = good.or(elsewhere);
        let size_bytes = filled_by.map(|point| point.size_bytes);
        (is_known, SlotStatus { slot: span.from, state, size_bytes })
    }

    fn without_attempt(&self, span: Span, now: Timestamp) -> SlotState {
        let evidence = self.policy.prune.evidence_since(now);
        if evidence.is_some_and(|since| span.from.instant() < since) {
            SlotState::Unknown
        } else if span.until.is_none() && now < self.ended_by(span.from) {
            SlotState::Due
        } else {
            SlotState::Missed
        }
    }
}

#[cfg(test)]
mod tests;
