//! `strongroom plan`: what would be done now, and why.

use clap::Args;
use serde::Serialize;

use super::{Exit, assemble, look, text};
use crate::config::Config;
use crate::domain::inventory::Unseen;
use crate::plan::Plan;

/// Options of `plan`.
#[derive(Debug, Args)]
pub(super) struct PlanCommand {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct PlanDocument {
    actions: Vec<String>,
    decisions: Vec<DecisionDocument>,
    remains: Vec<RemainsDocument>,
    unseen: Vec<String>,
    wake_at: jiff::Timestamp,
}

#[derive(Serialize)]
struct DecisionDocument {
    source: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    overdue: bool,
    reason: String,
}

#[derive(Serialize)]
struct RemainsDocument {
    source: String,
    run: String,
    objects: Vec<String>,
    size_bytes: u64,
}

impl PlanCommand {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        let mut assembly = assemble(config).await;
        let (_, plan) = look(&mut assembly).await;
        if self.json {
            text::print_json(&document(&plan))?;
        } else {
            text::print(&render(&plan))?;
        }
        Ok(if plan.unseen.is_empty() { Exit::Done } else { Exit::Findings })
    }
}

fn document(plan: &Plan) -> PlanDocument {
    let decisions = plan.decisions.iter().map(|decision| DecisionDocument {
        source: decision.source.to_string(),
        kind: decision.kind.as_str(),
        database: decision.database.as_ref().map(ToString::to_string),
        overdue: decision.freshness.overdue,
        reason: decision.reason.to_string(),
    });
    let remains = plan.remains.iter().map(|remains| RemainsDocument {
        source: remains.dump.source.to_string(),
        run: remains.run.to_string(),
        objects: remains.objects.iter().map(ToString::to_string).collect(),
        size_bytes: remains.size_bytes,
    });
    PlanDocument {
        actions: plan.actions.iter().map(ToString::to_string).collect(),
        decisions: decisions.collect(),
        remains: remains.collect(),
        unseen: plan.unseen.iter().map(|(section, Unseen(why))| format!("{section}: {why}")).collect(),
        wake_at: plan.wake_at,
    }
}

fn render(plan: &Plan) -> String {
    let mut text = String::new();
    let mut section = |heading: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text.push_str(&format!("{heading}\n"));
            text.extend(lines.iter().map(|line| format!("  {line}\n")));
        }
    };
    section(
        "Not seen, so nothing is decided from it:",
        plan.unseen.iter().map(|(section, Unseen(why))| format!("{section}: {why}")).collect(),
    );
    section("Decisions:", plan.decisions.iter().map(ToString::to_string).collect());
    section(
        "Recovery points (this version deletes none):",
        plan.points.iter().map(|point| format!("{} {} ({})", point.kind, point.id, point.state)).collect(),
    );
    let remains = plan.remains.iter().map(|remains| {
        let (count, size) = (remains.objects.len(), text::size(remains.size_bytes));
        format!(
            "run {} of {}: {count} object(s), {size}, without a manifest: no backup",
            remains.run, remains.dump.source
        )
    });
    section("Left by runs that did not succeed:", remains.collect());
    let actions: Vec<String> = plan.actions.iter().map(ToString::to_string).collect();
    section("Actions:", if actions.is_empty() { vec!["none".to_owned()] } else { actions });
    text
}
