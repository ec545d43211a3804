//! The last drills of each path, and how long each phase took.

use std::cmp::Reverse;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::drill::{DrillPath, DrillRecord, Phase, Verdict};
use crate::domain::id::Slot;
use crate::domain::inventory::Inventory;
use crate::plan::Plan;
use crate::plan::drill::DrillStatus;
use crate::policy::SourcePolicy;

/// Most drills that are told of one path.
pub const DRILLS_MAX: usize = 3;

/// One path of a source: how it stands, what is wanted of it, and its last drills.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrillView {
    /// How it stands.
    #[serde(flatten)]
    pub status: DrillStatus,
    /// Seconds that a restore may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_seconds_max: Option<i64>,
    /// Seconds of writes that may be lost, where this path is judged by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_loss_seconds_max: Option<i64>,
    /// The last drills that have ended, the newest first, those that could not be carried out among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub last_drills: Vec<PastDrill>,
}

/// A drill that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PastDrill {
    /// Its slot.
    pub slot: Slot,
    /// What it came to.
    pub verdict: Verdict,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Seconds from the order to the last row read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_seconds: Option<i64>,
    /// What was restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// The class of the instance that it was restored into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The phases that were reached, in their order.
    pub phases: Vec<PhaseTime>,
}

/// How long a phase took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PhaseTime {
    /// The phase, by its end.
    pub phase: Phase,
    /// Seconds since the end of the one before, or since the order.
    pub seconds: i64,
}

pub(super) fn of_source(source: &SourcePolicy, inventory: &Inventory, plan: &Plan) -> Vec<DrillView> {
    let wanted = source.drill.as_ref();
    let decisions = plan.drills.iter().filter(|decision| decision.source == source.id);
    let views = decisions.map(|decision| DrillView {
        status: DrillStatus::of(decision),
        recovery_seconds_max: wanted.and_then(|wanted| wanted.recovery_time_max).map(|most| most.as_secs()),
        data_loss_seconds_max: wanted.and_then(|own| own.data_loss_max_by(decision.path)).map(|most| most.as_secs()),
        last_drills: last_drills(source, decision.path, inventory),
    });
    views.collect()
}

fn last_drills(source: &SourcePolicy, path: DrillPath, inventory: &Inventory) -> Vec<PastDrill> {
    let Ok(store) = inventory.store(&source.id) else { return Vec::new() };
    let records = store.drills.iter().map(|stored| &stored.record).filter(|record| record.path == path);
    let mut ended: Vec<PastDrill> = records.filter_map(past).collect();
    ended.sort_by_key(|drill| Reverse((drill.slot, drill.finished_at)));
    ended.truncate(DRILLS_MAX);
    ended
}

fn past(record: &DrillRecord) -> Option<PastDrill> {
    Some(PastDrill {
        slot: record.slot,
        verdict: record.state.verdict()?,
        finished_at: record.state.finished_at()?,
        recovery_seconds: record.recovery_time().map(|took| took.as_secs()),
        point: record.restored.as_ref().map(|restored| restored.point.clone()),
        class: record.restored.as_ref().map(|restored| restored.class.clone()),
        phases: phases(record),
    })
}

fn phases(record: &DrillRecord) -> Vec<PhaseTime> {
    let mut before = record.ordered_at;
    let mut phases = Vec::new();
    for phase in Phase::ALL {
        let (Some(since), Some(at)) = (before, record.reached_at(phase)) else { continue };
        phases.push(PhaseTime { phase, seconds: at.duration_since(since).as_secs() });
        before = Some(at);
    }
    phases
}
