//! `strongroom diagnose`: what is wrong with an instance, in plain sentences.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Exit, assemble, complain, look, say, text, unknown_source};
use crate::collect::diagnosis::diagnose;
use crate::config::Config;
use crate::domain::diagnosis::Facts;
use crate::domain::id::SourceId;
use crate::domain::inventory::{Inventory, Observed};
use crate::domain::run::RunRecord;
use crate::plan::Plan;
use crate::plan::diagnose::{Sentence, sentences};
use crate::plan::status::Status;
use crate::policy::Policy;
use crate::policy::finding::Severity;

/// Runs that are told.
const RUNS_MAX: usize = 10;
/// Events that are told.
const EVENTS_MAX: usize = 20;

/// What to look at.
#[derive(Debug, Args)]
pub(super) struct Diagnose {
    /// The source, by its name in the configuration.
    source: SourceId,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Write all of it, with the configuration and the state of all sources, to a file that is not there yet: for whoever helps.
    /// It has no passwords, no rows and no queries in it.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

impl Diagnose {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        let effective = config.effective.clone();
        let mut assembly = assemble(config).await;
        let Some(source) = assembly.policy.sources.get(&self.source).cloned() else {
            complain(&unknown_source(&self.source));
            return Ok(Exit::Usage);
        };
        if let Some(path) = self.bundle.as_ref().filter(|path| path.exists()) {
            complain(&format!("{} is there already: name a new file", path.display()));
            return Ok(Exit::Usage);
        }
        let (inventory, plan) = look(&mut assembly).await;
        let facts = diagnose(&assembly.ports, assembly.diagnostics.as_ref(), &assembly.policy, &source).await;
        let runs = last_runs(&inventory, &self.source);
        let found = sentences(&facts, &runs, &plan.findings);
        if self.json {
            text::print_json(&document(&facts, &runs, &found))?;
        } else {
            text::print(&render(&facts, &runs, &found))?;
        }
        if let Some(path) = &self.bundle {
            let bundle = bundle(&assembly.policy, (&inventory, &plan), document(&facts, &runs, &found), effective);
            write_new(path, &bundle).map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
            say(&format!("{} has all of it: look through it before you hand it on", path.display()));
        }
        let is_well = found.iter().all(|sentence| sentence.severity == Severity::Info);
        Ok(if is_well { Exit::Done } else { Exit::Findings })
    }
}

/// The newest runs of a source, the newest first.
fn last_runs<'a>(inventory: &'a Inventory, source: &SourceId) -> Vec<&'a RunRecord> {
    let Ok(store) = inventory.store(source) else { return Vec::new() };
    let mut runs: Vec<&RunRecord> = store.runs.iter().map(|stored| &stored.record).collect();
    runs.sort_by_key(|record| std::cmp::Reverse(record.started_at));
    runs.truncate(RUNS_MAX);
    runs
}

fn render(facts: &Facts, runs: &[&RunRecord], found: &[Sentence]) -> String {
    let mut lines = vec![format!("{}, instance {}, at {}", facts.source, facts.instance, text::utc(facts.at))];
    lines.push(String::new());
    if found.is_empty() {
        lines.push("nothing is wrong with it".to_owned());
    }
    lines.extend(found.iter().map(|sentence| format!("{:8}  {}", sentence.severity.as_str(), sentence.text)));
    lines.push(String::new());
    if let Ok(Some(state)) = &facts.state {
        lines.push(format!("instance    {}, {}, PostgreSQL {}", state.status, state.class, state.engine_version));
        let free = facts.free_storage.iter().flatten().last();
        let free = free.map_or_else(String::new, |(_, bytes)| format!(", {} of it free", text::storage(*bytes)));
        lines.push(format!("storage     {}{free}", text::storage(state.storage_bytes)));
    }
    for window in facts.windows.iter().flatten() {
        let end = |at: Option<Timestamp>| at.map_or_else(|| "?".to_owned(), text::utc);
        let (region, status) = (&window.region, &window.status);
        lines.push(format!("restorable  {} to {} in {region} ({status})", end(window.earliest), end(window.latest)));
    }
    if let Ok(server) = &facts.server {
        lines.push(format!(
            "server      {} of {} connections, vacuum held back for {} transactions, oldest row {} transactions",
            server.connections, server.connections_max, server.xmin_age, server.freeze_age
        ));
    }
    for quota in facts.quotas.iter().flatten().filter(|quota| quota.max > 0) {
        lines.push(format!("quota       {} of {} {}", quota.used, quota.max, quota.name));
    }
    let events: Vec<_> = facts.events.iter().flatten().collect();
    for event in events.iter().skip(events.len().saturating_sub(EVENTS_MAX)) {
        lines.push(format!("event       {}  {}", text::utc(event.at), event.message));
    }
    for record in runs {
        lines.push(format!("run         {}  {}", text::utc(record.started_at), record.run));
    }
    if let Ok(complaints) = &facts.complaints {
        lines.extend(complaints.lines.iter().map(|line| format!("log         {line}")));
    }
    lines.join("\n") + "\n"
}

fn document(facts: &Facts, runs: &[&RunRecord], found: &[Sentence]) -> Value {
    json!({
        "at": facts.at,
        "source": facts.source,
        "instance": facts.instance,
        "findings": found,
        "state": seen(&facts.state),
        "events": seen(&facts.events),
        "maintenance": seen(&facts.maintenance),
        "free_storage": seen(&facts.free_storage),
        "restorable": seen(&facts.windows),
        "quotas": seen(&facts.quotas),
        "log": seen(&facts.complaints),
        "server": seen(&facts.server),
        "runs": runs,
    })
}

fn seen<T: serde::Serialize>(observed: &Observed<T>) -> Value {
    match observed {
        Ok(value) => json!(value),
        Err(unseen) => json!({ "unseen": unseen.0 }),
    }
}

fn bundle(policy: &Policy, seen: (&Inventory, &Plan), diagnosis: Value, config: Value) -> Value {
    let (inventory, plan) = seen;
    json!({
        "strongroom": env!("CARGO_PKG_VERSION"),
        "diagnosis": diagnosis,
        "status": Status::of(policy, inventory, plan),
        "decisions": plan.decisions.iter().map(ToString::to_string).collect::<Vec<_>>(),
        // It names secrets and holds none.
        "config": config,
    })
}

/// Nobody else on this machine can read it, and nothing is written over.
fn write_new(path: &Path, bundle: &Value) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(serde_json::to_string_pretty(bundle)?.as_bytes())?;
    file.write_all(b"\n")
}
