//! Work that runs beside the loop: one task per action, each caught if it panics.

use std::collections::{BTreeSet, HashMap};
use std::mem::Discriminant;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::collect::OwnWork;
use crate::domain::id::{DatabaseName, RunId, SourceId};
use crate::domain::progress::{Progress, ProgressCount};
use crate::execute::{DumpEnd, Executor, Outcome};
use crate::plan::action::{Action, Subject};
use crate::policy::prune::CYCLE;

/// An action that has just been done is not repeated before this; one that failed for the first time neither.
const COOL_DOWN: Duration = Duration::from_secs(5);
/// Longest wait between two attempts at an action that fails again and again.
const BACK_OFF_MAX: Duration = Duration::from_hours(1);

/// What became of an action.
#[derive(Debug)]
pub(super) enum Done {
    Outcome(Outcome),
    Panicked,
}

impl Done {
    /// What came of the action itself, and of the dumps that it made besides.
    pub(super) fn without_dumps(self) -> (Done, Vec<DumpEnd>) {
        match self {
            Done::Outcome(Outcome::WithDumps { drill, dumps }) => (Done::Outcome(*drill), dumps),
            done @ (Done::Outcome(_) | Done::Panicked) => (done, Vec::new()),
        }
    }
}

/// A dump's progress since it was last told.
pub(super) type Delta = (SourceId, DatabaseName, ProgressCount);

/// An action that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) action: Action,
    pub(super) done: Done,
    /// What the last report of its progress left out.
    pub(super) progress: Option<Delta>,
}

/// One kind of action on one subject: after a snapshot was begun, its end may be recorded at once, but not its beginning.
type Step = (Subject, Discriminant<Action>);

struct Running {
    action: Action,
    progress: Arc<Progress>,
    reported: ProgressCount,
}

/// The actions that are being carried out.
#[derive(Default)]
pub struct InFlight {
    tasks: JoinSet<Outcome>,
    running: HashMap<Id, Running>,
    cooling: HashMap<Step, Cooling>,
    /// When deletions of recovery points began: by the monotonic clock, so that no step of the wall's lets more of them
    /// happen.
    deletions: Vec<Instant>,
}

/// An action that failed, or was just done, is not repeated before this.
#[derive(Debug, Clone, Copy)]
struct Cooling {
    until: Instant,
    failures: u32,
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InFlight({})", self.running.len())
    }
}

impl InFlight {
    /// What the next look has to know. Clearing up after a run that is over is no work on it.
    pub(super) fn own_work(&mut self) -> OwnWork {
        self.deletions.retain(|began| began.elapsed() < CYCLE.unsigned_abs());
        let subjects = self.running.values().map(|running| running.action.subject());
        let drills_in_flight = subjects.filter_map(|subject| match subject {
            Subject::Drill(drill) => Some(drill),
            Subject::Run { .. } | Subject::Point { .. } | Subject::Lease { .. } => None,
        });
        OwnWork {
            in_flight: self.runs(),
            drills_in_flight: drills_in_flight.collect(),
            in_drills: self.in_drills(),
            deleted_lately: self.deletions.len(),
        }
    }

    fn runs(&self) -> BTreeSet<(SourceId, RunId)> {
        let actions = self.running.values().map(|running| &running.action);
        let works = actions.filter(|action| !matches!(action, Action::AbortUpload(_) | Action::Sweep(_)));
        works.filter_map(|action| Some((action.source().clone(), action.run()?.clone()))).collect()
    }

    /// Dumps that drills make, from when the drill begins.
    fn in_drills(&self) -> BTreeSet<(SourceId, RunId)> {
        let actions = self.running.values().map(|running| &running.action);
        let drills = actions.filter_map(|action| if let Action::Drill(start) = action { Some(start) } else { None });
        let dumps = drills.flat_map(|start| &start.dumps);
        dumps.map(|dump| (dump.dump.source.clone(), dump.run.clone())).collect()
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The actions under way, in one line.
    #[must_use]
    pub fn pending(&self) -> String {
        let actions: Vec<String> = self.running.values().map(|running| running.action.to_string()).collect();
        actions.join("; ")
    }

    /// Whether nothing is under way for the action's subject, and it has not just failed.
    pub(super) fn may_start(&mut self, action: &Action) -> bool {
        let now = Instant::now();
        // Failures are remembered a little longer than they hold back, so that the next one waits longer.
        self.cooling.retain(|_, cooling| cooling.until + BACK_OFF_MAX > now);
        let subject = action.subject();
        self.cooling.get(&step(action)).is_none_or(|cooling| cooling.until <= now)
            && !self.running.values().any(|running| running.action.subject() == subject)
    }

    /// The action has done what it could: it is not repeated at once.
    pub(super) fn cool_down(&mut self, action: &Action) {
        self.cooling.insert(step(action), Cooling { until: Instant::now() + COOL_DOWN, failures: 0 });
    }

    /// The action failed without leaving a mark in the store from which the planner could tell when to repeat it: the wait
    /// doubles with each failure.
    pub(super) fn back_off(&mut self, action: &Action) {
        let failures = self.cooling.get(&step(action)).map_or(0, |cooling| cooling.failures).saturating_add(1);
        let wait = COOL_DOWN.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACK_OFF_MAX);
        self.cooling.insert(step(action), Cooling { until: Instant::now() + wait, failures });
    }

    /// Begins an action.
    pub(super) fn start(&mut self, action: Action, executor: Executor, token: CancellationToken) {
        if action.deletes_a_point() {
            self.deletions.push(Instant::now());
        }
        let progress = Arc::new(Progress::default());
        let (doing, counting) = (action.clone(), Arc::clone(&progress));
        let span = span(&action);
        let work = async move { executor.execute(doing, counting, token).await };
        let handle = self.tasks.spawn(work.instrument(span));
        self.running.insert(handle.id(), Running { action, progress, reported: ProgressCount::default() });
    }

    /// Waits for the next action to end; for ever while nothing is under way.
    pub(super) async fn next_ended(&mut self) -> Ended {
        loop {
            let (id, done) = match self.tasks.join_next_with_id().await {
                Some(Ok((id, outcome))) => (id, Done::Outcome(outcome)),
                Some(Err(error)) => (error.id(), Done::Panicked),
                None => std::future::pending().await,
            };
            if let Some(mut running) = self.running.remove(&id) {
                let progress = running.delta();
                return Ended { action: running.action, done, progress };
            }
        }
    }

    /// Drops everything that is under way, and waits until it is gone.
    pub(super) async fn give_up(&mut self) {
        self.tasks.shutdown().await;
        self.running.clear();
    }

    /// How far each dump has moved since the last call.
    pub(super) fn progress(&mut self) -> Vec<Delta> {
        self.running.values_mut().filter_map(Running::delta).collect()
    }
}

impl Running {
    fn delta(&mut self) -> Option<Delta> {
        let database = self.action.run()?.database.clone()?;
        let count = self.progress.count();
        let delta = ProgressCount {
            read_bytes: count.read_bytes.saturating_sub(self.reported.read_bytes),
            stored_bytes: count.stored_bytes.saturating_sub(self.reported.stored_bytes),
            rows: count.rows.saturating_sub(self.reported.rows),
        };
        self.reported = count;
        (delta != ProgressCount::default()).then(|| (self.action.source().clone(), database, delta))
    }
}

/// One span for each action: what is logged inside bears what it is about.
fn span(action: &Action) -> tracing::Span {
    match action.subject() {
        Subject::Run { source, run } => tracing::info_span!("run", source.id = %source, run.id = %run),
        Subject::Point { source, region, id } => {
            tracing::info_span!("point", source.id = %source, point.id = id, point.region = %region)
        }
        Subject::Drill(drill) => {
            tracing::info_span!("drill", source.id = %drill.source, drill.slot = %drill.slot, drill.path = %drill.path)
        }
        Subject::Lease { source, lease } => tracing::info_span!("lease", source.id = %source, instance.id = %lease),
    }
}

fn step(action: &Action) -> Step {
    (action.subject(), std::mem::discriminant(action))
}
