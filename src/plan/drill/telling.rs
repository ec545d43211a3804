//! What drills have shown, for people.

use jiff::SignedDuration;
use serde::Serialize;

use super::{DrillDecision, DrillReason};
use crate::domain::drill::{DrillPath, DrillRecord, DrillState, Verdict};
use crate::domain::inventory::Inventory;
use crate::policy::Policy;
use crate::policy::finding::{Check, Finding, Severity};

/// A restore that takes longer than the one before by this share is worth a look before it misses its objective.
const SLOWER_PERCENT: i128 = 25;

/// The state of one path of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrillStatus {
    /// The path.
    pub path: DrillPath,
    /// What the newest one said that said something; absent where there was none.
    pub last: Option<Verdict>,
    /// When that one ended.
    pub last_at: Option<jiff::Timestamp>,
    /// Seconds from the order to the last row read.
    pub recovery_seconds: Option<i64>,
    /// Seconds of writes that would have been lost.
    pub data_loss_seconds: Option<i64>,
    /// The next one.
    pub next_due_at: Option<jiff::Timestamp>,
    /// Whether one was due and is not done.
    pub overdue: bool,
    /// What was decided, and why.
    pub reason: String,
}

impl DrillStatus {
    /// The status that a decision tells.
    #[must_use]
    pub fn of(decision: &DrillDecision) -> DrillStatus {
        let last = decision.last.as_ref();
        let seconds = |of: fn(&DrillRecord) -> Option<SignedDuration>| Some(of(last?)?.as_secs());
        DrillStatus {
            path: decision.path,
            last: last.and_then(|record| record.state.verdict()),
            last_at: last.and_then(|record| record.state.finished_at()),
            recovery_seconds: seconds(DrillRecord::recovery_time),
            data_loss_seconds: seconds(DrillRecord::data_loss),
            next_due_at: decision.next_due_at,
            overdue: decision.overdue,
            reason: decision.reason.to_string(),
        }
    }
}

/// What a person should know about.
pub(super) fn findings(policy: &Policy, inventory: &Inventory, decisions: &[DrillDecision]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for decision in decisions {
        let Some(wanted) = policy.sources.get(&decision.source).and_then(|source| source.drill.as_ref()) else {
            continue;
        };
        let mut tell = |severity, check, text| {
            findings.push(Finding { severity, check, source: Some(decision.source.clone()), text });
        };
        let path = decision.path;
        if let Some(record) = &decision.last {
            if let DrillState::BackupBad { faults, .. } = &record.state {
                let text = format!(
                    "the last drill by {path} found the backup bad ({}): look at it, and make another backup",
                    faults.join("; ")
                );
                tell(Severity::Critical, Check::DrillFailed, text);
            }
            for text in wanted.missed_by(record) {
                tell(Severity::Warning, Check::DrillObjective, format!("the last drill by {path}: {text}"));
            }
            if let Some(text) = slower(inventory, record) {
                tell(Severity::Info, Check::DrillObjective, format!("the last drill by {path}: {text}"));
            }
        }
        if decision.overdue {
            let text = format!("the drill by {path} that was due has no verdict: {}", decision.reason);
            tell(Severity::Warning, Check::DrillOverdue, text);
        } else if let DrillReason::Impossible(what) = &decision.reason {
            tell(Severity::Warning, Check::DrillOverdue, format!("no drill by {path}: {what}"));
        }
    }
    findings
}

/// Against the drill before it along the same path, into the same class.
fn slower(inventory: &Inventory, record: &DrillRecord) -> Option<String> {
    let store = inventory.store(&record.source).ok()?;
    let class = |record: &DrillRecord| record.restored.as_ref().map(|restored| restored.class.clone());
    let alike =
        |other: &&DrillRecord| other.path == record.path && other.slot < record.slot && class(other) == class(record);
    let others = store.drills.iter().map(|stored| &stored.record).filter(|other| other.state.is_verdict());
    let before = others.filter(alike).max_by_key(|other| other.slot)?.recovery_time()?;
    let now = record.recovery_time()?;
    let is_slower = now.as_millis() * 100 > before.as_millis() * (100 + SLOWER_PERCENT);
    is_slower.then(|| format!("recovery took {now:#}, over {SLOWER_PERCENT} % more than the time before, {before:#}"))
}
