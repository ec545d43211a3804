//! The loop: look, decide, act, wait. Start-up, recovery after a crash, a cron tick and SIGHUP take this one path.

mod in_flight;
mod report;

use std::sync::Arc;

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::collect::Collector;
use crate::domain::id::{DatabaseName, Kind, RunId, SourceId};
use crate::domain::inventory::Inventory;
use crate::domain::progress::ProgressCount;
use crate::execute::lead::Lead;
use crate::execute::{DumpEnd, Executor, Outcome, RunEnd};
use crate::plan::Plan;
use crate::plan::action::Action;
use crate::policy::Policy;
use crate::ports::Ports;
pub use in_flight::InFlight;
use in_flight::{Done, Ended};
pub use report::Deletion;

/// Told of everything that the loop sees and does: metrics, health, the status document.
pub trait Observer: Send + Sync {
    /// A round is over: this was seen and decided.
    fn observed(&self, policy: &Policy, inventory: &Inventory, plan: &Plan, took: SignedDuration);
    /// The loop turns.
    fn turned(&self, now: Timestamp);
    /// A run has ended.
    fn run_ended(&self, source: &SourceId, run: &RunId, end: &RunEnd);
    /// The deletion of a recovery point has ended, well or not.
    fn pruned(&self, source: &SourceId, kind: Kind, outcome: Deletion);
    /// A dump has moved on by this much.
    fn dumped(&self, source: &SourceId, database: &DatabaseName, delta: ProgressCount);
}

/// Bells and orders that wake the loop. They carry no data: what is due is read from what exists.
#[derive(Debug, Clone, Default)]
pub struct Wakers {
    /// Rung every few seconds, so that the wall clock is looked at after any step of it.
    pub bell: Arc<Notify>,
    /// Rung to look now.
    pub now: Arc<Notify>,
}

/// What a configuration says: what is wanted, and with what it is done.
#[derive(Clone)]
pub struct Wanted {
    /// What is wanted.
    pub policy: Arc<Policy>,
    /// Ways to the outside that fit it; `None`: those that the loop has.
    pub means: Option<Arc<Means>>,
}

/// Ways to the outside, and who carries actions out through them.
#[derive(Clone)]
pub struct Means {
    /// The outside.
    pub ports: Ports,
    /// Carries actions out.
    pub executor: Executor,
}

impl std::fmt::Debug for Means {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Means")
    }
}

impl From<Arc<Policy>> for Wanted {
    fn from(policy: Arc<Policy>) -> Wanted {
        Wanted { policy, means: None }
    }
}

impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wanted").field("means", &self.means.is_some()).finish_non_exhaustive()
    }
}

/// The loop.
pub struct Reconciler {
    ports: Ports,
    executor: Executor,
    collector: Collector,
    observer: Arc<dyn Observer>,
    wakers: Wakers,
    wanted: watch::Receiver<Wanted>,
    lead: Lead,
    in_flight: InFlight,
    last_decisions: Vec<String>,
}

impl Reconciler {
    /// A loop over `ports`.
    #[must_use]
    pub fn new(
        ports: Ports,
        executor: Executor,
        collector: Collector,
        observer: Arc<dyn Observer>,
        wakers: Wakers,
        wanted: watch::Receiver<Wanted>,
    ) -> Reconciler {
        Reconciler {
            ports,
            executor,
            collector,
            observer,
            wakers,
            wanted,
            lead: Lead::alone(),
            in_flight: InFlight::default(),
            last_decisions: Vec::new(),
        }
    }

    /// The same as one of several processes: it looks and tells what it sees, and acts only while it leads.
    #[must_use]
    pub fn led_by(self, lead: Lead) -> Reconciler {
        Reconciler { lead, ..self }
    }

    /// Turns until `token` is cancelled, then gives running work `grace` to end cleanly.
    pub async fn run(mut self, token: CancellationToken, grace: SignedDuration) {
        // Work hears of the end only when the loop has stopped planning: nothing new starts in between.
        let mut work = CancellationToken::new();
        let mut lead = self.lead.clone();
        while !token.is_cancelled() {
            let Wanted { policy, means } = self.wanted.borrow_and_update().clone();
            // What is under way goes on with the means that it began with.
            if let Some(means) = means {
                (self.ports, self.executor) = (means.ports.clone(), means.executor.clone());
            }
            if lead.holds() && work.is_cancelled() {
                work = CancellationToken::new();
            }
            let turn = self.turn(&policy, &work);
            let stopping = async {
                lead.lost().await;
                work.cancel();
                // The look goes on: what it has noted of before is needed by the next one.
                token.cancelled().await;
            };
            let plan = tokio::select! {
                plan = turn => plan,
                () = stopping => break,
                () = token.cancelled() => break,
            };
            self.wait(plan.wake_at, &token, &work).await;
        }
        work.cancel();
        self.drain(grace).await;
    }

    /// One round.
    async fn turn(&mut self, policy: &Policy, work: &CancellationToken) -> Plan {
        let began_at = self.ports.clock.now();
        let inventory = self.collector.collect(&self.ports, policy, self.in_flight.own_work()).await;
        let now = self.ports.clock.now();
        let plan = crate::plan::plan(policy, &inventory, now);
        self.log_decisions(&plan);
        self.observer.observed(policy, &inventory, &plan, now.duration_since(began_at));
        // Work that would begin under a term that is over would only be recorded as cancelled.
        let acts = || self.lead.holds() && !work.is_cancelled();
        for action in plan.actions.iter().take_while(|_| acts()) {
            // An action that has just failed without leaving a mark would be planned again at once, and for ever.
            if self.in_flight.may_start(action) {
                tracing::info!(source.id = %action.source(), run.id = action.run().map(display), "{action}");
                self.in_flight.start(action.clone(), self.executor.clone(), work.child_token());
            }
        }
        plan
    }

    /// Waits for the next reason to look. Bells do not count before the time has come. Who no longer leads stops its work.
    async fn wait(&mut self, wake_at: Timestamp, token: &CancellationToken, work: &CancellationToken) {
        let mut lead = self.lead.clone();
        let began_at = self.ports.clock.now();
        loop {
            let now = self.ports.clock.now();
            // A clock that was set back would put off the next look by as much.
            if now < began_at {
                return;
            }
            self.observer.turned(now);
            self.report_progress();
            tokio::select! {
                () = self.ports.clock.sleep_until(wake_at) => return,
                () = self.wakers.bell.notified() => {
                    if self.ports.clock.now() >= wake_at {
                        return;
                    }
                }
                () = self.wakers.now.notified() => return,
                Ok(()) = self.wanted.changed() => return,
                () = turned_over(&mut lead, work) => return,
                ended = self.in_flight.next_ended() => {
                    self.settle(ended);
                    // One look for all that have ended: they often end together.
                    while let Some(ended) = self.in_flight.next_ended().now_or_never() {
                        self.settle(ended);
                    }
                    return;
                }
                () = token.cancelled() => return,
            }
        }
    }

    /// Waits for running work to clean up.
    async fn drain(&mut self, grace: SignedDuration) {
        const REMIND_EVERY: SignedDuration = SignedDuration::from_secs(5);
        let clock = Arc::clone(&self.ports.clock);
        let until = clock.now().saturating_add(grace).unwrap_or(Timestamp::MAX);
        while !self.in_flight.is_empty() {
            let remind_at = clock.now().saturating_add(REMIND_EVERY).unwrap_or(until).min(until);
            tokio::select! {
                ended = self.in_flight.next_ended() => self.settle(ended),
                () = clock.sleep_until(remind_at) => {
                    let pending = self.in_flight.pending();
                    if clock.now() >= until {
                        tracing::warn!(pending, "the grace is over; the next start cleans up what these runs leave");
                        // Ends the children of what is given up.
                        return self.in_flight.give_up().await;
                    }
                    tracing::info!(pending, "waiting for runs to stop");
                }
            }
        }
    }

    fn report_progress(&mut self) {
        for (source, database, delta) in self.in_flight.progress() {
            self.observer.dumped(&source, &database, delta);
        }
    }

    /// Outcomes are logged here and nowhere else, in `report`.
    fn settle(&mut self, ended: Ended) {
        self.report_progress();
        let Ended { action, done, progress } = ended;
        if let Some((source, database, delta)) = progress {
            self.observer.dumped(&source, &database, delta);
        }
        let (done, dumps) = done.without_dumps();
        for DumpEnd { start, outcome, count } in dumps {
            self.observer.dumped(&start.dump.source, &start.dump.database, count);
            let (action, done) = (Action::StartDump(start), Done::Outcome(outcome));
            report::log(&action, &done);
            self.count_end(&action, &done);
        }
        report::log(&action, &done);
        self.count_end(&action, &done);
        match &done {
            Done::Outcome(Outcome::RunEnded(_)) => {}
            // What was begun and has to come to its end elsewhere is not begun again soon; nor is what failed without a mark.
            Done::Outcome(Outcome::CopyBegun | Outcome::Held { .. } | Outcome::Overtaken { .. }) => {
                self.in_flight.back_off(&action)
            }
            Done::Outcome(Outcome::Failed { .. }) | Done::Panicked if action.run().is_none() => {
                self.in_flight.back_off(&action);
            }
            Done::Outcome(_) | Done::Panicked => self.in_flight.cool_down(&action),
        }
        if let (Some(kind), Some(outcome)) = (action.deleted_kind(), report::deletion(&done)) {
            self.observer.pruned(action.source(), kind, outcome);
        }
    }

    fn count_end(&self, action: &Action, done: &Done) {
        if let (Done::Outcome(Outcome::RunEnded(end)), Some(run)) = (done, action.run()) {
            self.observer.run_ended(action.source(), run, end);
        }
    }

    /// Decisions are logged when they change, not on every round.
    fn log_decisions(&mut self, plan: &Plan) {
        let decisions: Vec<String> = plan.decisions.iter().map(ToString::to_string).collect();
        for (decision, text) in plan.decisions.iter().zip(&decisions) {
            if self.last_decisions.contains(text) {
                continue;
            }
            if decision.reason.is_trouble() {
                tracing::warn!(source.id = %decision.source, "{text}");
            } else {
                tracing::debug!(source.id = %decision.source, "{text}");
            }
        }
        self.last_decisions = decisions;
    }
}

/// Waits until this process has to stop its work; or, if that has been stopped, until it leads. What it knows of the lead now
/// may be other than what it knew when it last looked.
async fn turned_over(lead: &mut Lead, work: &CancellationToken) {
    if work.is_cancelled() {
        lead.gained().await;
    } else {
        lead.lost().await;
        work.cancel();
    }
}

impl std::fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reconciler")
    }
}
