//! Every metric. Names, help texts, labels and buckets stand in `definitions` and nowhere else; dashboards and alert rules
//! rely on them, and the snapshot test of this module is the list that they may rely on.
//!
//! All series of a policy exist from boot, so that an alert on a missing one is an alert on a missing daemon. Gauges that
//! follow from what exists in AWS are set in one function, [`Metrics::observe`], each time the loop turns; what could not
//! be seen keeps its last value, and `strongroom_inventory_complete` says so. Counters and histograms are moved where
//! things happen, through the small methods here. Instants are Unix timestamps and never ages; 0 means never or none.

mod alerts;
mod aws;
mod definitions;
mod drills;
mod exposition;
mod family;
mod observe;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::{SignedDuration, Timestamp};
use prometheus::IntCounterVec;

use super::process::ProcessUsage;
use crate::domain::alert::{AlertKey, Severity};
use crate::domain::id::{DatabaseName, Kind, SourceId};
use crate::domain::memory::MemoryUse;
use crate::domain::progress::ProgressCount;
use crate::domain::run::{Failure, RunState, StopCause};
use crate::policy::Policy;
use crate::ports::ErrorKind;
use alerts::AlertMetrics;
use definitions::{CareMetrics, DaemonMetrics, FreshnessMetrics, PointMetrics, ProcessMetrics, RunMetrics};
use drills::DrillMetrics;
use exposition::Exposition;
use family::Family;

/// Where the kernel shows processes.
const PROC: &str = "/proc";

/// How a run ended, as the label `outcome` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunOutcome {
    /// With a recovery point.
    Success,
    /// Without one, by an error or the death of its process.
    Failure,
    /// Stopped by an operator, by shutdown, or by the governor.
    Cancelled,
}

impl RunOutcome {
    /// All of them.
    pub const ALL: [RunOutcome; 3] = [RunOutcome::Success, RunOutcome::Failure, RunOutcome::Cancelled];

    /// The outcome of a run in a state; `None` while it runs.
    #[must_use]
    pub fn of(state: &RunState) -> Option<RunOutcome> {
        match state {
            RunState::Running => None,
            RunState::Succeeded { .. } => Some(RunOutcome::Success),
            // It gave way, and nothing is broken: if that goes on, the backup is overdue.
            RunState::Failed { failure: Failure { stopped_by: Some(_), .. }, .. } => Some(RunOutcome::Cancelled),
            RunState::Failed { .. } | RunState::Abandoned { .. } => Some(RunOutcome::Failure),
            RunState::Cancelled { .. } => Some(RunOutcome::Cancelled),
        }
    }

    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RunOutcome::Success => "success",
            RunOutcome::Failure => "failure",
            RunOutcome::Cancelled => "cancelled",
        }
    }
}

/// Says whether this process leads.
struct Leads(Box<dyn Fn() -> bool + Send + Sync>);

impl std::fmt::Debug for Leads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Leads")
    }
}

/// The metrics of one daemon, in a registry of their own.
#[derive(Debug)]
pub struct Metrics {
    exposition: Exposition,
    /// Of the policy that the series are of.
    shape: Mutex<BTreeMap<String, String>>,
    daemon: DaemonMetrics,
    freshness: FreshnessMetrics,
    runs: RunMetrics,
    points: PointMetrics,
    care: CareMetrics,
    drills: DrillMetrics,
    alerts: AlertMetrics,
    aws_requests: Family<IntCounterVec, 3>,
    memory: OnceLock<Arc<MemoryUse>>,
    leads: OnceLock<Leads>,
    /// Locked for a whole scrape: the counter in it is moved by a difference, which two scrapes at once would add twice.
    process: Mutex<ProcessMetrics>,
}

impl Metrics {
    /// The metrics of a policy, with every series in place.
    ///
    /// # Errors
    /// Two metrics have one name: a bug, which the tests of this module find.
    pub fn new(policy: &Policy) -> prometheus::Result<Metrics> {
        let exposition = Exposition::default();
        let metrics = Metrics {
            daemon: DaemonMetrics::register(&exposition)?,
            freshness: FreshnessMetrics::register(&exposition)?,
            runs: RunMetrics::register(&exposition)?,
            points: PointMetrics::register(&exposition)?,
            care: CareMetrics::register(&exposition)?,
            drills: DrillMetrics::register(&exposition)?,
            alerts: AlertMetrics::register(&exposition)?,
            aws_requests: definitions::aws_requests(&exposition)?,
            memory: OnceLock::new(),
            leads: OnceLock::new(),
            process: Mutex::new(ProcessMetrics::register(&exposition)?),
            shape: Mutex::default(),
            exposition,
        };
        metrics.keep_series(policy);
        Ok(metrics)
    }

    /// A configuration has come in force, for the first time or again.
    pub fn config_loaded(&self, at: Timestamp) {
        self.config_valid(true);
        self.daemon.config_last_reload_success.set(seconds_of(at));
    }

    /// The configuration's files were read again: whether they could be used.
    pub fn config_valid(&self, ok: bool) {
        self.daemon.config_last_reload_successful.set(if ok { 1.0 } else { 0.0 });
    }

    /// From now on each scrape says what dumps hold of their memory. The first account that is given is the one.
    pub fn watch_memory(&self, memory: Arc<MemoryUse>) {
        self.memory.get_or_init(|| memory);
    }

    /// From now on each scrape asks whether this process leads.
    pub fn watch_lead(&self, leads: impl Fn() -> bool + Send + Sync + 'static) {
        self.leads.get_or_init(|| Leads(Box::new(leads)));
    }

    /// The loop has turned once.
    pub fn reconciled(&self, duration: SignedDuration, at: Timestamp) {
        self.daemon.reconcile_duration.observe(length_of(duration));
        self.daemon.reconcile_last_completed.set(seconds_of(at));
    }

    /// A run has ended.
    pub fn run_ended(&self, source: &SourceId, kind: Kind, outcome: RunOutcome, duration: SignedDuration) {
        self.heard_of(source);
        let (source, kind) = (source.as_str(), kind.as_str());
        self.runs.ended.with([source, kind, outcome.as_str()], |counter| counter.inc());
        self.runs.duration.with([source, kind], |histogram| histogram.observe(length_of(duration)));
    }

    /// What ends after its source has left the policy makes series once more: the next look takes them away.
    fn heard_of(&self, source: &SourceId) {
        let mut shape = self.shape.lock().unwrap_or_else(PoisonError::into_inner);
        if !shape.contains_key(source.as_str()) {
            shape.clear();
        }
    }

    /// A dump gave way to production.
    pub fn dump_stopped(&self, source: &SourceId, cause: StopCause) {
        self.heard_of(source);
        self.runs.dump_stops.with([source.as_str(), cause.as_str()], |counter| counter.inc());
    }

    /// The deletion of a recovery point has ended.
    pub fn pruned(&self, source: &SourceId, kind: Kind, done: bool) {
        self.heard_of(source);
        let outcome = if done { RunOutcome::Success } else { RunOutcome::Failure };
        self.care.pruned.with([source.as_str(), kind.as_str(), outcome.as_str()], |counter| counter.inc());
    }

    /// A dump has moved on by so much since the last call.
    pub fn dump_progress(&self, source: &SourceId, database: &DatabaseName, delta: ProgressCount) {
        self.heard_of(source);
        let labels = [source.as_str(), database.as_str()];
        self.runs.dump_read_bytes.with(labels, |counter| counter.inc_by(delta.read_bytes));
        self.runs.dump_stored_bytes.with(labels, |counter| counter.inc_by(delta.stored_bytes));
        self.runs.dump_rows.with(labels, |counter| counter.inc_by(delta.rows));
    }

    /// A request to AWS has ended. Service and operation are the SDK's names for them.
    pub fn aws_request(&self, service: &str, operation: &str, outcome: Result<(), ErrorKind>) {
        let (service, operation) = aws::labels(service, operation);
        let outcome = match outcome {
            Ok(()) => RunOutcome::Success,
            Err(ErrorKind::Cancelled) => RunOutcome::Cancelled,
            Err(_) => RunOutcome::Failure,
        };
        self.aws_requests.with([service, operation, outcome.as_str()], |counter| counter.inc());
    }

    /// The channels that messages can be given to: routes, and the heartbeat. The first ones that are given are the ones.
    pub fn watch_channels(&self, channels: Vec<String>) {
        self.alerts.watch_channels(channels);
    }

    /// These alerts fire, and no others.
    pub fn alerts_firing(&self, alerts: &[(AlertKey, Severity)]) {
        self.alerts.firing(alerts);
    }

    /// A message, or a heartbeat, was taken by its channel, or was not.
    pub fn notified(&self, channel: &str, taken: bool) {
        self.alerts.notified(channel, taken);
    }

    /// Everything in Prometheus's text format, with what the kernel says about the process at this moment. Empty only
    /// where it cannot be written at all.
    #[must_use]
    pub fn render(&self) -> String {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.set(&ProcessUsage::read(Path::new(PROC)));
        if let Some(Leads(leads)) = self.leads.get() {
            self.daemon.leader.set(f64::from(u8::from(leads())));
        }
        if let Some(memory) = self.memory.get() {
            self.runs.dump_memory_limit.set(memory.limit_bytes() as f64);
            self.runs.dump_memory_in_use.set(memory.in_use_bytes() as f64);
        }
        self.exposition.render()
    }
}

fn seconds_of(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

/// A length of time in seconds; where a clock was set back in between, nothing.
fn length_of(duration: SignedDuration) -> f64 {
    duration.as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests;
