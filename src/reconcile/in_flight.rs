//! Work that runs beside the loop: one task per action, each caught if it panics.

use std::collections::{BTreeSet, HashMap};
use std::mem::Discriminant;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::domain::id::{DatabaseName, RunId, SourceId};
use crate::domain::progress::{Progress, ProgressCount};
use crate::execute::{Executor, Outcome};
use crate::plan::action::Action;

/// An action that failed without a trace is not repeated before this.
const COOL_DOWN: SignedDuration = SignedDuration::from_secs(5);

/// What became of an action.
#[derive(Debug)]
pub(super) enum Done {
    Outcome(Outcome),
    Panicked,
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

/// One kind of action on one run: after a snapshot was begun, its end may be recorded at once, but not its beginning.
type Step = (SourceId, RunId, Discriminant<Action>);

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
    cooling: HashMap<Step, Timestamp>,
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InFlight({})", self.running.len())
    }
}

impl InFlight {
    /// The runs that are worked on. Clearing up after a run that is over is no work on it.
    #[must_use]
    pub fn runs(&self) -> BTreeSet<(SourceId, RunId)> {
        let actions = self.running.values().map(|running| &running.action);
        actions.filter(|action| !matches!(action, Action::AbortUpload(_))).map(key).collect()
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

    /// Whether nothing is under way for the action's run, and it has not just failed.
    pub(super) fn may_start(&mut self, action: &Action, now: Timestamp) -> bool {
        // An instant further ahead than the wait itself was noted before the clock was set back.
        self.cooling.retain(|_, until| *until > now && until.duration_since(now) <= COOL_DOWN);
        let key = key(action);
        !self.cooling.contains_key(&step(action))
            && !self.running.values().any(|running| self::key(&running.action) == key)
    }

    pub(super) fn cool_down(&mut self, action: &Action, now: Timestamp) {
        self.cooling.insert(step(action), now.saturating_add(COOL_DOWN).unwrap_or(Timestamp::MAX));
    }

    /// Begins an action.
    pub(super) fn start(&mut self, action: Action, executor: Executor, token: CancellationToken) {
        let progress = Arc::new(Progress::default());
        let (doing, counting) = (action.clone(), Arc::clone(&progress));
        let span = tracing::info_span!("run", source.id = %action.source(), run.id = %action.run());
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
        let run = self.action.run();
        let database = run.database.clone()?;
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

fn key(action: &Action) -> (SourceId, RunId) {
    (action.source().clone(), action.run().clone())
}

fn step(action: &Action) -> Step {
    (action.source().clone(), action.run().clone(), std::mem::discriminant(action))
}
