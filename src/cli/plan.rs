//! `strongroom plan`: what would be done now, and why.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::prune::{difference, fate};
use super::{Exit, assemble, complain, look, text};
use crate::config::{Config, Environment};
use crate::domain::inventory::Unseen;
use crate::plan::Plan;
use crate::policy::finding::Finding;

/// Options of `plan`.
#[derive(Debug, Args)]
pub(super) struct PlanCommand {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Compare with a changed configuration: what it would expire, keep, or no longer look after. Takes what --config takes.
    #[arg(long, value_name = "PATH", conflicts_with = "json")]
    against: Vec<PathBuf>,
}

#[derive(Serialize)]
struct PlanDocument {
    actions: Vec<String>,
    decisions: Vec<DecisionDocument>,
    drills: Vec<String>,
    retention: Vec<RetentionDocument>,
    findings: Vec<Finding>,
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
struct RetentionDocument {
    source: String,
    kind: &'static str,
    region: String,
    id: String,
    fate: &'static str,
    why: String,
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
        let changed = match self.against.as_slice() {
            [] => None,
            paths => match Config::load(paths, Environment::from_process()) {
                Ok(changed) => Some(changed.policy),
                Err(errors) => {
                    complain(&errors);
                    return Ok(Exit::Usage);
                }
            },
        };
        let mut assembly = assemble(config).await;
        let (inventory, plan) = look(&mut assembly).await;
        if let Some(changed) = changed {
            let then = crate::plan::plan(&changed, &inventory, assembly.ports.clock.now());
            text::print(&difference(&plan, &then))?;
            return Ok(if plan.unseen.is_empty() { Exit::Done } else { Exit::Findings });
        }
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
        objects: remains.versions.iter().map(|version| version.key.to_string()).collect(),
        size_bytes: remains.size_bytes,
    });
    let retention = plan.retention.iter().map(|decision| {
        let (fate, why) = fate(&decision.fate);
        RetentionDocument {
            source: decision.point.source.to_string(),
            kind: decision.point.kind.as_str(),
            region: decision.point.region.to_string(),
            id: decision.point.id.clone(),
            fate,
            why,
        }
    });
    PlanDocument {
        retention: retention.collect(),
        findings: plan.findings.clone(),
        actions: plan.actions.iter().map(ToString::to_string).collect(),
        decisions: decisions.collect(),
        drills: plan.drills.iter().map(ToString::to_string).collect(),
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
    let decisions = plan.decisions.iter().map(ToString::to_string);
    section("Decisions:", decisions.chain(plan.drills.iter().map(ToString::to_string)).collect());
    section("Findings:", plan.findings.iter().map(ToString::to_string).collect());
    let retention = plan.retention.iter().map(|decision| {
        let point = &decision.point;
        let (fate, why) = fate(&decision.fate);
        format!("{fate} {} {} in {} ({}): {why}", point.kind, point.id, point.region, point.state)
    });
    section("Recovery points:", retention.collect());
    let remains = plan.remains.iter().map(|remains| {
        let (count, size) = (remains.versions.len(), text::size(remains.size_bytes));
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
