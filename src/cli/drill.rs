//! `strongroom drill`: a restore drill now, by the rules of the schedule: same planner, same executor, same evidence.

use std::sync::Arc;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{Exit, assemble, complain, look, say, text, unknown_source, watched};
use crate::config::Config;
use crate::daemon::Assembly;
use crate::domain::drill::{DrillPath, DrillRecord, DrillState, Phase};
use crate::domain::id::SourceId;
use crate::domain::progress::Progress;
use crate::execute::Outcome;
use crate::plan::Plan;
use crate::plan::action::Action;
use crate::plan::drill::manual;
use crate::policy::drill::DrillPolicy;
use crate::ports::Chain;

/// What to drill.
#[derive(Debug, Args)]
pub(super) struct Drill {
    /// The source, by its name in the configuration.
    source: SourceId,
    /// From what to restore; without it, from all that its policy names. May be repeated.
    #[arg(long, value_parser = ["snapshot", "pitr", "dump"])]
    path: Vec<String>,
}

impl Drill {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        let mut assembly = assemble(config).await;
        let Some(source) = assembly.policy.sources.get(&self.source) else {
            complain(&unknown_source(&self.source));
            return Ok(Exit::Usage);
        };
        let Some(wanted) = source.drill.clone() else {
            complain(&format!("source {} has no drills: give its policy a `drill` table", self.source));
            return Ok(Exit::Usage);
        };
        let named = self.path.iter().filter_map(|path| path.parse().ok());
        let paths: Vec<DrillPath> = if self.path.is_empty() { wanted.paths.clone() } else { named.collect() };
        let token = CancellationToken::new();
        let mut exit = Exit::Done;
        for path in paths {
            if token.is_cancelled() {
                return Ok(Exit::Failed);
            }
            exit = worse(exit, self.drill(&mut assembly, &wanted, path, &token).await?);
        }
        Ok(exit)
    }

    async fn drill(
        &self,
        assembly: &mut Assembly,
        wanted: &DrillPolicy,
        path: DrillPath,
        token: &CancellationToken,
    ) -> anyhow::Result<Exit> {
        let (mut inventory, mut plan) = look(assembly).await;
        if reap(assembly, &plan, token).await {
            (inventory, plan) = look(assembly).await;
        }
        let now = assembly.ports.clock.now();
        let action = match manual(&assembly.policy, &inventory, &plan.points, (&self.source, path), now) {
            Ok(action) => action,
            Err(reason) => {
                complain(&format!("no drill of {} by {path}: {reason}", self.source));
                return Ok(Exit::Refused);
            }
        };
        say(&format!("begins: {action}"));
        let before = plan.drills.iter().find(|own| own.source == self.source && own.path == path);
        if let Some((record, time)) =
            before.and_then(|own| own.last.as_ref()).and_then(|last| Some((last, last.instance_time()?)))
        {
            let class = record.restored.as_ref().map_or("its class", |restored| &restored.class);
            say(&format!("the instance of the last drill by {path}, {class}, stood for {}", text::length(time)));
        }
        let progress = Arc::new(Progress::default());
        let work = Box::pin(assembly.executor.execute(action, Arc::clone(&progress), token.clone()));
        let stopping = "stopping; its instance is deleted, as far as RDS lets us now";
        let outcome = watched(assembly.ports.clock.as_ref(), token, stopping, work, || {}).await;
        match outcome {
            Outcome::DrillEnded(record) => {
                text::print(&report(&record, wanted))?;
                Ok(match record.state {
                    DrillState::Passed { .. } if wanted.missed_by(&record).is_empty() => Exit::Done,
                    DrillState::Passed { .. } | DrillState::BackupBad { .. } => Exit::Findings,
                    DrillState::Running | DrillState::Errored { .. } => Exit::Failed,
                })
            }
            Outcome::Failed { error } => {
                complain(&Chain(&error));
                Ok(Exit::Failed)
            }
            Outcome::ClaimedElsewhere => {
                complain("another strongroom does this drill");
                Ok(Exit::Refused)
            }
            // Of other actions.
            Outcome::SnapshotBegun
            | Outcome::Deferred { .. }
            | Outcome::RunEnded(_)
            | Outcome::WithDumps { .. }
            | Outcome::UploadAborted
            | Outcome::CopyBegun
            | Outcome::DumpCopied { .. }
            | Outcome::Verified(_)
            | Outcome::PointDeleted
            | Outcome::Swept { .. }
            | Outcome::Reaped
            | Outcome::Held { .. }
            | Outcome::Overtaken { .. }
            | Outcome::Stopped => Ok(Exit::Failed),
        }
    }
}

/// Deletes what drills have left, where no daemon runs nobody else does; whether there was anything.
async fn reap(assembly: &Assembly, plan: &Plan, token: &CancellationToken) -> bool {
    let left: Vec<&Action> = plan.actions.iter().filter(|action| matches!(action, Action::Reap(_))).collect();
    for action in &left {
        say(&action.to_string());
        let progress = Arc::new(Progress::default());
        if let Outcome::Failed { error } = assembly.executor.execute((*action).clone(), progress, token.clone()).await {
            complain(&Chain(&error));
        }
    }
    !left.is_empty()
}

/// What deserves more attention.
fn worse(one: Exit, other: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Done => 0,
        Exit::Findings => 1,
        Exit::Refused => 2,
        Exit::Failed => 3,
        Exit::Usage => 4,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// What a drill has shown.
pub(super) fn report(record: &DrillRecord, wanted: &DrillPolicy) -> String {
    let mut lines = Vec::new();
    if let Some(restored) = &record.restored {
        lines.push(format!(
            "restored    {}, data of {}, as {} ({})",
            restored.point,
            text::utc(restored.data_of),
            record.instance,
            restored.class
        ));
    }
    for phase in Phase::ALL {
        if let Some(took) = record.took_until(phase) {
            lines.push(format!("{:11} after {:.1} s", phase.as_str().replace('_', " "), took.as_secs_f64()));
        }
    }
    lines.extend(record.notes.iter().map(|note| format!("note        {note}")));
    lines.extend(wanted.missed_by(record));
    if record.ordered_at.is_some() && record.reached_at(Phase::TornDown).is_none() {
        let id = &record.instance;
        lines.push(format!(
            "still there {id}: the daemon deletes it at its next look, or \
             `aws rds delete-db-instance --db-instance-identifier {id} --skip-final-snapshot`"
        ));
    }
    match &record.state {
        DrillState::Passed { tables, rows, .. } => {
            let (rto, rpo) = (record.recovery_time().unwrap_or_default(), record.data_loss().unwrap_or_default());
            lines.push(format!("RTO {:.1} s, RPO {}", rto.as_secs_f64(), text::length(rpo)));
            lines.push(format!("passed: drill {}, {tables} tables with {rows} rows came back", record.id()));
        }
        DrillState::BackupBad { faults, .. } => {
            lines.extend(faults.iter().map(|fault| format!("fault       {fault}")));
            lines.push(format!("FAILED: drill {}: this backup is not to be relied on", record.id()));
        }
        DrillState::Errored { message, .. } => {
            lines.push(format!("not carried out: drill {}: {message}; that says nothing of the backup", record.id()))
        }
        DrillState::Running => {}
    }
    lines.join("\n") + "\n"
}
