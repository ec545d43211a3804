//! What the loop sees and does, told to metrics, health and the status document.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::adapters::systemd::Systemd;
use crate::domain::alert::{AlertKey, Severity};
use crate::domain::id::{DatabaseName, Kind, RunId, SourceId};
use crate::domain::inventory::Inventory;
use crate::domain::progress::ProgressCount;
use crate::domain::run::{Failure, RunState};
use crate::execute::RunEnd;
use crate::execute::lead::Lead;
use crate::execute::notify::NotifyObserver;
use crate::execute::publish::Numbers;
use crate::plan::Plan;
use crate::plan::alert::Holding;
use crate::plan::published;
use crate::plan::status::Status;
use crate::policy::Policy;
use crate::ports::clock::Clock;
use crate::reconcile::{Deletion, Observer};
use crate::telemetry::http::Health;
use crate::telemetry::metrics::{Metrics, RunOutcome};

/// Passes on to everything that shows.
pub(super) struct Telemetry {
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) status: watch::Sender<Option<Arc<Status>>>,
    pub(super) looks: watch::Sender<Option<Arc<Holding>>>,
    pub(super) numbers: watch::Sender<Option<Arc<Numbers>>>,
    /// Where the configuration's files are wrong, if they are.
    pub(super) config_error: watch::Receiver<Option<String>>,
    /// People are told, and alarms fed, by the one that leads.
    pub(super) lead: Lead,
    pub(super) systemd: Arc<Systemd>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Observer for Telemetry {
    fn observed(&self, policy: &Policy, inventory: &Inventory, plan: &Plan, took: SignedDuration) {
        self.metrics.observe(policy, inventory, plan);
        self.metrics.reconciled(took, self.clock.now());
        let config_error = self.config_error.borrow().clone();
        let leads = self.lead.holds();
        let holding = || Arc::new(Holding::of(policy, inventory, plan, config_error.as_deref()));
        self.looks.send_replace(leads.then(holding));
        let numbers = || Arc::new(Numbers { at: inventory.taken_at, data: published::data(inventory, plan) });
        self.numbers.send_replace(leads.then(numbers));
        if plan.unseen.is_empty() {
            self.health.inventory_seen();
        }
        let status = Status { stands_by: !leads, ..Status::of(policy, inventory, plan) };
        self.status.send_replace(Some(Arc::new(status)));
    }

    fn turned(&self, now: Timestamp) {
        self.health.loop_turned(now);
        self.systemd.alive();
    }

    fn run_ended(&self, source: &SourceId, run: &RunId, end: &RunEnd) {
        if let Some(outcome) = RunOutcome::of(&end.state) {
            self.metrics.run_ended(source, run.kind, outcome, end.duration);
        }
        if let RunState::Failed { failure: Failure { stopped_by: Some(cause), .. }, .. } = &end.state {
            self.metrics.dump_stopped(source, *cause);
        }
    }

    fn pruned(&self, source: &SourceId, kind: Kind, outcome: Deletion) {
        self.metrics.pruned(source, kind, outcome == Deletion::Done);
    }

    fn dumped(&self, source: &SourceId, database: &DatabaseName, delta: ProgressCount) {
        self.metrics.dump_progress(source, database, delta);
    }
}

/// Passes on what people were told.
pub(super) struct Told(pub(super) Arc<Metrics>);

impl NotifyObserver for Told {
    fn firing(&self, alerts: &[(AlertKey, Severity)]) {
        self.0.alerts_firing(alerts);
    }

    fn notified(&self, channel: &str, taken: bool) {
        self.0.notified(channel, taken);
    }
}
