//! What came of actions, as the log and the counters tell it.

use jiff::SignedDuration;
use tracing::field::display;

use super::in_flight::Done;
use crate::domain::drill::{DrillRecord, DrillState};
use crate::domain::id::{RunId, SourceId};
use crate::domain::run::{Failure, RunState};
use crate::domain::verification::{Verdict, Verification};
use crate::execute::{Outcome, RunEnd};
use crate::plan::action::{Action, Subject};
use crate::ports::{Chain, ErrorKind, PortError};

/// What came of deleting a recovery point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone.
    Done,
    /// It is still there, or partly.
    Failed,
}

/// What a deletion came to; `None` where it was only interrupted, or is another's.
pub(super) fn deletion(done: &Done) -> Option<Deletion> {
    match done {
        Done::Outcome(Outcome::PointDeleted) => Some(Deletion::Done),
        Done::Outcome(Outcome::Stopped | Outcome::Overtaken { .. }) => None,
        Done::Outcome(_) | Done::Panicked => Some(Deletion::Failed),
    }
}

/// The one place where outcomes are logged.
pub(super) fn log(action: &Action, done: &Done) {
    let source = action.source();
    let run = action.run().map(display);
    match done {
        Done::Panicked => {
            tracing::error!(source.id = %source, run.id = run, "{action}: it panicked, which is a bug in strongroom");
        }
        Done::Outcome(Outcome::RunEnded(end)) => {
            if let Some(run) = action.run() {
                log_end(source, run, end);
            }
        }
        Done::Outcome(Outcome::SnapshotBegun) => {
            tracing::info!(source.id = %source, run.id = run, "RDS makes the snapshot");
        }
        Done::Outcome(Outcome::UploadAborted) => {
            tracing::info!(source.id = %source, run.id = run, "the upload that the run had left open is gone");
        }
        Done::Outcome(Outcome::Deferred { error }) => log_deferred(source, action, error),
        Done::Outcome(Outcome::ClaimedElsewhere) => {
            tracing::info!(source.id = %source, run.id = run, "another daemon has the run");
        }
        // At shutdown: it is nobody's fault.
        Done::Outcome(Outcome::Failed { error }) if error.kind() == ErrorKind::Cancelled => {
            tracing::info!(source.id = %source, run.id = run, "{action}: stopped, the next start goes on");
        }
        // One that is still being made cannot be deleted yet.
        Done::Outcome(Outcome::Failed { error })
            if error.kind() == ErrorKind::WrongState && matches!(action, Action::Reap(_)) =>
        {
            tracing::info!(source.id = %source, error = %Chain(error), "{action}: RDS does not take it yet");
        }
        Done::Outcome(Outcome::Failed { error }) => {
            tracing::warn!(source.id = %source, run.id = run, error = %Chain(error), "{action}: failed, it is tried again");
        }
        Done::Outcome(outcome) => log_point(action, outcome),
    }
}

/// Outcomes about recovery points.
fn log_point(action: &Action, outcome: &Outcome) {
    let source = action.source();
    let (point, region) = match action.subject() {
        Subject::Point { id, region, .. } => (Some(id), Some(display(region))),
        Subject::Run { .. } | Subject::Drill(_) | Subject::Lease { .. } => (None, None),
    };
    match outcome {
        Outcome::CopyBegun => {
            tracing::info!(source.id = %source, point.id = point, point.region = region, "RDS copies the snapshot");
        }
        Outcome::DumpCopied { objects } => {
            tracing::info!(source.id = %source, point.id = point, point.region = region, objects, "dump copied");
        }
        Outcome::PointDeleted => {
            tracing::info!(source.id = %source, point.id = point, point.region = region, "{action}: done");
        }
        Outcome::Swept { versions } => tracing::info!(source.id = %source, versions, "{action}: done"),
        Outcome::Held { reason } => {
            tracing::warn!(source.id = %source, point.id = point, point.region = region, reason, "{action}: held back");
        }
        Outcome::Overtaken { reason } => {
            tracing::info!(source.id = %source, point.id = point, point.region = region, reason, "{action}: overtaken");
        }
        Outcome::Verified(verification) => log_verification(source, verification),
        Outcome::DrillEnded(record) => log_drill(record),
        Outcome::Reaped => tracing::info!(source.id = %source, "{action}: done"),
        Outcome::Stopped => tracing::info!(source.id = %source, "{action}: stopped, the next start goes on"),
        // Told one by one.
        Outcome::WithDumps { .. }
        | Outcome::RunEnded(_)
        | Outcome::SnapshotBegun
        | Outcome::UploadAborted
        | Outcome::Deferred { .. }
        | Outcome::ClaimedElsewhere
        | Outcome::Failed { .. } => {}
    }
}

fn log_verification(source: &SourceId, verification: &Verification) {
    let (point, level) = (verification.dump.to_string(), verification.level);
    let region = &verification.region;
    match &verification.verdict {
        Verdict::Good { objects, bytes, rows } => {
            tracing::info!(source.id = %source, point.id = point, point.region = %region, objects, bytes, rows, "dump verified at level {level}");
        }
        Verdict::Bad { faults } => {
            let faults = faults.join("; ");
            tracing::error!(source.id = %source, point.id = point, point.region = %region, faults, "dump is bad: its verification at level {level} failed, do not rely on it");
        }
        Verdict::Unreadable { reason } => {
            tracing::error!(source.id = %source, point.id = point, point.region = %region, error = reason, "dump cannot be read at level {level}: mend the rights or the KMS key");
        }
    }
}

fn log_drill(record: &DrillRecord) {
    let (source, path, slot) = (&record.source, record.path, record.slot);
    let seconds = |length: Option<SignedDuration>| length.map(|length| length.as_secs());
    let (rto_s, rpo_s) = (seconds(record.recovery_time()), seconds(record.data_loss()));
    match &record.state {
        DrillState::Passed { tables, rows, .. } => {
            tracing::info!(source.id = %source, drill.path = %path, drill.slot = %slot, tables, rows, rto_s, rpo_s, "drill passed");
        }
        DrillState::BackupBad { faults, .. } => {
            let faults = faults.join("; ");
            tracing::error!(source.id = %source, drill.path = %path, drill.slot = %slot, faults, "drill failed: what came back is not what it must be, do not rely on this backup");
        }
        DrillState::Errored { message, .. } => {
            tracing::warn!(source.id = %source, drill.path = %path, drill.slot = %slot, error = message, "drill could not be carried out, which says nothing of the backup; it is tried again");
        }
        DrillState::Running => {}
    }
}

fn log_deferred(source: &SourceId, action: &Action, error: &PortError) {
    let run = action.run().map(display);
    // A busy instance is everyday; a refusal is not, and would otherwise only show at the deadline.
    if error.kind() == ErrorKind::WrongState {
        tracing::info!(source.id = %source, run.id = run, error = %Chain(error), "the snapshot has to wait");
    } else {
        tracing::warn!(source.id = %source, run.id = run, error = %Chain(error), "the snapshot is not begun, it is tried again");
    }
}

fn log_end(source: &SourceId, run: &RunId, end: &RunEnd) {
    let duration_ms = i64::try_from(end.duration.as_millis()).unwrap_or(i64::MAX);
    match &end.state {
        RunState::Succeeded { size_bytes, .. } => {
            tracing::info!(source.id = %source, run.id = %run, size_bytes, duration_ms, "run succeeded");
        }
        RunState::Failed { failure: Failure { message, stopped_by: Some(cause), .. }, .. } => {
            let cause = cause.as_str();
            tracing::warn!(source.id = %source, run.id = %run, duration_ms, cause, reason = message, "run gave way to production and is made again later");
        }
        RunState::Failed { failure, .. } => {
            let events: Vec<String> =
                failure.rds_events.iter().map(|event| format!("{} {}", event.at, event.message)).collect();
            let rds_events = events.join("; ");
            tracing::error!(source.id = %source, run.id = %run, duration_ms, error = failure.message, rds_events, "run failed");
        }
        RunState::Cancelled { .. } => {
            tracing::info!(source.id = %source, run.id = %run, duration_ms, "run cancelled, nothing of it counts");
        }
        RunState::Abandoned { .. } => {
            tracing::warn!(source.id = %source, run.id = %run, "run closed: the process that worked on it is gone");
        }
        RunState::Running => {}
    }
}
