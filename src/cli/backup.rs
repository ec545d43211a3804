//! `strongroom backup`: a backup now, by the rules of the schedule: same planner, same executor, same record.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Exit, assemble, complain, interrupted, say, text, unknown_source, watched};
use crate::collect::OwnWork;
use crate::config::Config;
use crate::daemon::Assembly;
use crate::domain::drill::DrillState;
use crate::domain::id::{DatabaseName, Kind, RunId, Slot, SourceId};
use crate::domain::inventory::Inventory;
use crate::domain::progress::Progress;
use crate::domain::run::{Failure, RunState};
use crate::execute::{Outcome, RunEnd};
use crate::plan::action::{Action, DrillPoint};
use crate::plan::backup::{Refusal, advance_run, manual, ordered};
use crate::policy::{DumpFrom, SourcePolicy, Task};
use crate::ports::Chain;

/// What to back up.
#[derive(Debug, Args)]
pub(super) struct Backup {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make an RDS snapshot and wait until it is available.
    Snapshot {
        /// The source, by its name in the configuration.
        source: SourceId,
    },
    /// Dump a database to the destination.
    Dump {
        /// The source, by its name in the configuration.
        source: SourceId,
        /// The database; may be left out where the source has only one.
        #[arg(long)]
        database: Option<DatabaseName>,
        /// Read the instance itself, as it is now, whatever `dump_from` of the source says.
        #[arg(long, conflicts_with = "slot")]
        from_instance: bool,
        /// Make this attempt at this slot of the schedule: what a Job is told that a daemon has begun.
        #[arg(long, requires = "attempt", requires = "database", value_name = "SLOT")]
        slot: Option<Slot>,
        /// Which attempt, from 1.
        #[arg(long, requires = "slot", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=999))]
        attempt: Option<u32>,
    },
}

impl Backup {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        let mut assembly = assemble(config).await;
        let mut policy = Arc::clone(&assembly.policy);
        let (source, task, order) = match self.what {
            What::Snapshot { source } => (source, Task::Snapshot, None),
            What::Dump { source, database, from_instance, slot, attempt } => {
                match dump_task(&assembly, &source, database) {
                    Ok(task) => {
                        if from_instance && let Some(own) = Arc::make_mut(&mut policy).sources.get_mut(&source) {
                            own.dump_from = DumpFrom::Instance;
                        }
                        (source, task, slot.zip(attempt))
                    }
                    Err(problem) => {
                        complain(&problem);
                        return Ok(Exit::Usage);
                    }
                }
            }
        };
        let inventory = assembly.collector.collect(&assembly.ports, &policy, OwnWork::default()).await;
        let now = assembly.ports.clock.now();
        let action = match order {
            Some(order) => ordered(&policy, &inventory, &source, &task, order, now),
            None => manual(&policy, &inventory, &source, &task, now),
        };
        let action = match action {
            Ok(action) => action,
            Err(refusal @ (Refusal::UnknownSource(_) | Refusal::UnknownDatabase { .. } | Refusal::InDrill(_))) => {
                complain(&refusal);
                return Ok(Exit::Usage);
            }
            Err(refusal @ Refusal::NotNow(_)) => {
                complain(&refusal);
                return Ok(Exit::Refused);
            }
        };
        let Some(run) = run_of(&action) else { anyhow::bail!("a backup is a run: this is a bug in strongroom") };
        say(&format!("begins: {action}"));
        if let Action::Drill(start) = &action
            && let DrillPoint::Snapshot { data_of, .. } = &start.point
        {
            let moment = text::utc(*data_of);
            say(&format!("the dump will have the data of {moment}; --from-instance dumps what the instance has now"));
        }
        let token = CancellationToken::new();
        let outcome = carry_out(&assembly, action, &token).await;
        let outcome = match in_drill(outcome, assembly.policy.sources.get(&source))? {
            Ok(outcome) => outcome,
            Err(exit) => return Ok(exit),
        };
        let outcome = wait_for_end(&mut assembly, &source, &run, outcome, &token).await;
        Ok(report(&source, &run, &outcome)?)
    }
}

fn dump_task(assembly: &Assembly, source: &SourceId, database: Option<DatabaseName>) -> Result<Task, String> {
    let policy = assembly.policy.sources.get(source).ok_or_else(|| unknown_source(source))?;
    let database = match (database, policy.databases.as_slice()) {
        (Some(database), _) => database,
        (None, [only]) => only.clone(),
        (None, []) => return Err(format!("source {source} has no `databases` in its configuration")),
        (None, [..]) => return Err(format!("source {source} has several databases: say which with --database")),
    };
    let settings = policy.dump_settings.clone();
    let settings = settings.ok_or_else(|| format!("source {source} makes no dumps: give its policy a `dump` table"))?;
    Ok(Task::Dump { database, settings })
}

/// The run that an action makes, itself or in a drill.
fn run_of(action: &Action) -> Option<RunId> {
    if let Action::Drill(start) = action {
        return start.dumps.first().map(|dump| dump.run.clone());
    }
    action.run().cloned()
}

/// What came of the dump itself, where a drill has made it, or was to make it; what came of the drill is printed first.
fn in_drill(outcome: Outcome, source: Option<&SourcePolicy>) -> std::io::Result<Result<Outcome, Exit>> {
    let (drill, dump) = match without_dumps(outcome) {
        (drill @ Outcome::DrillEnded(_), dump) | (drill, dump @ Some(_)) => (drill, dump),
        (outcome, None) => return Ok(Ok(outcome)),
    };
    let mut exit = Exit::Failed;
    if let (Outcome::DrillEnded(record), Some(wanted)) = (&drill, source.and_then(|source| source.drill.as_ref())) {
        text::print(&super::drill::report(record, wanted))?;
        if let DrillState::BackupBad { .. } = record.state {
            exit = Exit::Findings;
        }
    }
    if let Some(dump) = dump {
        return Ok(Ok(dump));
    }
    complain("no dump was made, for the drill did not get that far");
    Ok(Err(exit))
}

fn without_dumps(outcome: Outcome) -> (Outcome, Option<Outcome>) {
    if let Outcome::WithDumps { drill, mut dumps } = outcome {
        return (*drill, dumps.pop().map(|end| end.outcome));
    }
    (outcome, None)
}

async fn carry_out(assembly: &Assembly, action: Action, token: &CancellationToken) -> Outcome {
    let progress = Arc::new(Progress::default());
    let bar = Bar::for_action(&action);
    let work = Box::pin(assembly.executor.execute(action, Arc::clone(&progress), token.clone()));
    let stopping = "stopping; nothing half-done stays visible";
    let outcome = watched(assembly.ports.clock.as_ref(), token, stopping, work, || bar.show(&progress)).await;
    bar.finish();
    outcome
}

/// Snapshots are made by RDS: look until the planner says that the run is over.
async fn wait_for_end(
    assembly: &mut Assembly,
    source: &SourceId,
    run: &RunId,
    mut outcome: Outcome,
    token: &CancellationToken,
) -> Outcome {
    let policy = Arc::clone(&assembly.policy);
    while !token.is_cancelled() {
        match &outcome {
            Outcome::SnapshotBegun => {}
            Outcome::Deferred { error } => say(&format!("not begun yet, trying again: {}", Chain(error))),
            Outcome::ClaimedElsewhere if run.kind == Kind::Snapshot => {}
            Outcome::ClaimedElsewhere | Outcome::RunEnded(_) | Outcome::Failed { .. } => return outcome,
            // Of other actions.
            Outcome::UploadAborted
            | Outcome::CopyBegun
            | Outcome::DumpCopied { .. }
            | Outcome::Verified(_)
            | Outcome::PointDeleted
            | Outcome::Swept { .. }
            | Outcome::Held { .. }
            | Outcome::Overtaken { .. }
            | Outcome::DrillEnded(_)
            | Outcome::WithDumps { .. }
            | Outcome::Reaped
            | Outcome::Stopped => return outcome,
        }
        let clock = Arc::clone(&assembly.ports.clock);
        let look_at = clock.now().saturating_add(policy.cadence.poll_interval).unwrap_or(Timestamp::MAX);
        tokio::select! {
            () = clock.sleep_until(look_at) => {}
            _ = interrupted() => {
                say("stopping to wait; the daemon sees the snapshot through and records its end");
                token.cancel();
                return outcome;
            }
        }
        let inventory = assembly.collector.collect(&assembly.ports, &policy, OwnWork::default()).await;
        // The daemon may be quicker in recording the end.
        if let Some(end) = recorded_end(&inventory, source, run) {
            return Outcome::RunEnded(end);
        }
        if let Some(action) = advance_run(&policy, &inventory, source, run, clock.now()) {
            outcome = carry_out(assembly, action, token).await;
        }
    }
    outcome
}

/// The end of a run, if its record tells one.
fn recorded_end(inventory: &Inventory, source: &SourceId, run: &RunId) -> Option<RunEnd> {
    let store = inventory.store(source).ok()?;
    RunEnd::of(&store.runs.iter().find(|stored| stored.record.run == *run)?.record)
}

fn report(source: &SourceId, run: &RunId, outcome: &Outcome) -> std::io::Result<Exit> {
    let exit = match outcome {
        Outcome::RunEnded(RunEnd { state, duration }) => {
            let took = text::length(*duration);
            match state {
                RunState::Succeeded { size_bytes, .. } => {
                    let size = match run.kind {
                        Kind::Snapshot => text::storage(*size_bytes),
                        Kind::Dump => text::size(*size_bytes),
                    };
                    text::print(&format!("run {run} of {source} succeeded after {took}: {size}\n"))?;
                    Exit::Done
                }
                RunState::Failed { failure: Failure { message, stopped_by: Some(_), .. }, .. } => {
                    complain(&format!("run {run} of {source} gave way to production after {took}: {message}"));
                    Exit::Failed
                }
                RunState::Failed { failure, .. } => {
                    complain(&format!("run {run} of {source} failed after {took}: {}", failure.message));
                    for event in &failure.rds_events {
                        complain(&format!("RDS said at {}: {}", event.at, event.message));
                    }
                    Exit::Failed
                }
                RunState::Running | RunState::Cancelled { .. } | RunState::Abandoned { .. } => {
                    complain(&format!("run {run} of {source} was {} after {took}", state.as_str()));
                    Exit::Failed
                }
            }
        }
        Outcome::ClaimedElsewhere => {
            complain(&format!("another strongroom works on run {run} of {source}"));
            Exit::Refused
        }
        Outcome::Failed { error } => {
            complain(&Chain(error));
            Exit::Failed
        }
        Outcome::SnapshotBegun
        | Outcome::Deferred { .. }
        | Outcome::UploadAborted
        | Outcome::CopyBegun
        | Outcome::DumpCopied { .. }
        | Outcome::Verified(_)
        | Outcome::PointDeleted
        | Outcome::Swept { .. }
        | Outcome::Held { .. }
        | Outcome::Overtaken { .. }
        | Outcome::DrillEnded(_)
        | Outcome::WithDumps { .. }
        | Outcome::Reaped
        | Outcome::Stopped => Exit::Failed,
    };
    Ok(exit)
}

/// The progress bar; it shows itself on a terminal only.
struct Bar(ProgressBar);

impl Bar {
    fn for_action(action: &Action) -> Bar {
        let visible = std::io::stderr().is_terminal() && matches!(action, Action::StartDump(_));
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed_precise}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Bar(bar)
    }

    fn show(&self, progress: &Progress) {
        let count = progress.count();
        let elapsed_ms = u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.0.set_message(format!(
            "read {}, stored {}, {} rows, {}/s",
            text::size(count.read_bytes),
            text::size(count.stored_bytes),
            count.rows,
            text::size(count.read_bytes.saturating_mul(1000) / elapsed_ms)
        ));
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}
