//! `strongroom prune`: what has expired and why, and on `--confirm` its deletion.

use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::text::Table;
use super::{Exit, assemble, complain, look_for_person, say, text, unknown_source};
use crate::config::Config;
use crate::daemon::Assembly;
use crate::domain::id::SourceId;
use crate::domain::progress::Progress;
use crate::execute::Outcome;
use crate::plan::Plan;
use crate::plan::action::Action;
use crate::plan::prune::{Mode, PointDecision, PointFate};
use crate::ports::Chain;

/// Options of `prune`.
#[derive(Debug, Args)]
pub(super) struct Prune {
    /// Only this source.
    source: Option<SourceId>,
    /// Delete what the list says; without it nothing is changed.
    #[arg(long)]
    confirm: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// One recovery point and what becomes of it, as JSON has it.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    point: &'a crate::domain::recovery_point::RecoveryPoint,
    fate: &'static str,
    why: String,
}

impl Prune {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        if let Some(source) = self.source.as_ref().filter(|source| !config.policy.sources.contains_key(*source)) {
            complain(&unknown_source(source));
            return Ok(Exit::Usage);
        }
        let mut assembly = assemble(config).await;
        let plan = look_for_person(&mut assembly, Mode::Confirmed).await;
        let wanted = |source: &SourceId| self.source.as_ref().is_none_or(|only| source == only);
        let decisions: Vec<&PointDecision> =
            plan.retention.iter().filter(|decision| wanted(&decision.point.source)).collect();
        if self.json {
            text::print_json(&decisions.iter().map(|decision| line(decision)).collect::<Vec<_>>())?;
        } else {
            text::print(&render(&decisions))?;
        }
        for (section, unseen) in &plan.unseen {
            complain(&format!("not seen, so nothing that depends on it is deleted: {section}: {}", unseen.0));
        }
        let seen = if plan.unseen.is_empty() { Exit::Done } else { Exit::Findings };
        let deletions: Vec<Action> = plan
            .actions
            .iter()
            .filter(|action| wanted(action.source()))
            .filter(|action| matches!(action, Action::DeleteSnapshot(_) | Action::DeleteDump(_) | Action::Sweep(_)))
            .cloned()
            .collect();
        if !self.confirm {
            // Of recovery points the lines above have told.
            for sweep in deletions.iter().filter(|action| matches!(action, Action::Sweep(_))) {
                say(&format!("would {sweep}"));
            }
            if !deletions.is_empty() {
                say(&format!("nothing was changed: `--confirm` would carry out {} deletion(s)", deletions.len()));
            }
            return Ok(seen);
        }
        let done = carry_out(&assembly, deletions).await;
        Ok(if done == Exit::Done { seen } else { done })
    }
}

/// Deletes one after the other; each is looked at once more just before.
async fn carry_out(assembly: &Assembly, deletions: Vec<Action>) -> Exit {
    let mut exit = Exit::Done;
    for action in deletions {
        let title = action.to_string();
        let outcome = assembly.executor.execute(action, Arc::new(Progress::default()), CancellationToken::new()).await;
        match outcome {
            Outcome::PointDeleted | Outcome::Swept { .. } => say(&format!("{title}: done")),
            Outcome::Overtaken { reason } => say(&format!("{title}: overtaken: {reason}")),
            Outcome::Held { reason } => {
                complain(&format!("{title}: held back: {reason}"));
                if exit == Exit::Done {
                    exit = Exit::Refused;
                }
            }
            Outcome::Failed { error } => {
                complain(&format!("{title}: {}", Chain(&error)));
                exit = Exit::Failed;
            }
            Outcome::SnapshotBegun
            | Outcome::Deferred { .. }
            | Outcome::ClaimedElsewhere
            | Outcome::RunEnded(_)
            | Outcome::UploadAborted
            | Outcome::CopyBegun
            | Outcome::DumpCopied { .. }
            | Outcome::Verified(_)
            | Outcome::DrillEnded(_)
            | Outcome::WithDumps { .. }
            | Outcome::Reaped
            | Outcome::Stopped => exit = Exit::Failed,
        }
    }
    exit
}

fn line(decision: &PointDecision) -> Line<'_> {
    let (fate, why) = fate(&decision.fate);
    Line { point: &decision.point, fate, why }
}

/// What becomes of a point, in one word, and why.
pub(super) fn fate(fate: &PointFate) -> (&'static str, String) {
    match fate {
        PointFate::Kept(rules) => {
            let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
            ("keep", rules.join("; "))
        }
        PointFate::Held(hold) => ("hold", format!("expired, but {hold}")),
        PointFate::Deleted => ("DELETE", "expired: no rule keeps it".to_owned()),
    }
}

fn render(decisions: &[&PointDecision]) -> String {
    let mut table = Table::new(&["SOURCE", "KIND", "REGION", "DATA OF", "FATE", "RECOVERY POINT", "WHY"]);
    for decision in decisions {
        let point = &decision.point;
        let (fate, why) = fate(&decision.fate);
        table.row(vec![
            point.source.to_string(),
            point.kind.to_string(),
            point.region.to_string(),
            point.created_at.map_or_else(|| "-".to_owned(), text::utc),
            fate.to_owned(),
            point.id.clone(),
            why,
        ]);
    }
    table.render()
}

/// What a changed configuration would expire or keep, beside what is in force.
pub(super) fn difference(now: &Plan, then: &Plan) -> String {
    let expired = |plan: &Plan, decision: &PointDecision| {
        let same = |other: &&PointDecision| {
            (&other.point.source, &other.point.id, &other.point.region)
                == (&decision.point.source, &decision.point.id, &decision.point.region)
        };
        plan.retention.iter().find(same).map(|other| !matches!(other.fate, PointFate::Kept(_)))
    };
    let lines = |wanted: &dyn Fn(&PointDecision) -> bool, plan: &Plan| {
        let of_wanted = plan.retention.iter().filter(|decision| wanted(decision));
        let lines = of_wanted.map(|decision| {
            let (_, why) = fate(&decision.fate);
            let point = &decision.point;
            format!("  {} {} in {}: {why}\n", point.kind, point.id, point.region)
        });
        lines.collect::<Vec<_>>()
    };
    let newly_expired = lines(&|own| !matches!(own.fate, PointFate::Kept(_)) && expired(now, own) == Some(false), then);
    let newly_kept = lines(&|own| matches!(own.fate, PointFate::Kept(_)) && expired(now, own) == Some(true), then);
    let left_alone = lines(&|own| expired(then, own).is_none(), now);
    let mut text = String::new();
    let mut section = |heading: &str, lines: Vec<String>| {
        text.push_str(&format!("{heading}: {}\n{}", lines.len(), lines.concat()));
    };
    section("Would expire", newly_expired);
    section("Would be kept, and expire now", newly_kept);
    section("Would not be looked after any more, and so never be deleted", left_alone);
    text
}
