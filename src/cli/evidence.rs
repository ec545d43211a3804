//! `strongroom evidence`: what was restored and read back, for whoever has to show it, and whether the chain holds.

mod chain;
mod html;

use std::path::PathBuf;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::text::Table;
use super::{Exit, assemble, collect, complain, say, text};
use crate::config::Config;
use crate::plan::evidence::{DrillEvidence, Evidence};
use chain::ChainOfEvidence;

/// A quarter, with some days to spare.
const DEFAULT_SPAN: SignedDuration = SignedDuration::from_hours(24 * 95);

/// Options of `evidence`.
#[derive(Debug, Args)]
pub(super) struct EvidenceCommand {
    /// From when on, such as 2026-07-01T00:00:00Z; without it, of the last 95 days.
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Print JSON.
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Write the report as a page for a browser, too, with a chart of restore times.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The report, and what was found about its records.
#[derive(Debug, Serialize)]
struct Document {
    #[serde(flatten)]
    evidence: Evidence,
    chain: ChainOfEvidence,
}

impl EvidenceCommand {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        let mut assembly = assemble(config).await;
        let inventory = collect(&mut assembly).await;
        let now = assembly.ports.clock.now();
        let since = self.since.unwrap_or_else(|| now.saturating_sub(DEFAULT_SPAN).unwrap_or(Timestamp::MIN));
        let mut chain = ChainOfEvidence::default();
        chain.check_drills(&assembly, &inventory).await;
        let verifications = chain.check_verifications(&assembly).await;
        let evidence = Evidence::of(&assembly.policy, &inventory, &verifications, since);
        let is_clean = evidence.is_clean() && chain.broken.is_empty() && chain.unread.is_empty();
        let document = Document { evidence, chain };
        if self.json {
            text::print_json(&document)?;
        } else {
            text::print(&markdown(&document))?;
        }
        if let Some(path) = &self.html {
            let page = html::page(&document);
            if let Err(error) = std::fs::write(path, page) {
                complain(&format!("cannot write {}: {error}", path.display()));
                return Ok(Exit::Failed);
            }
            say(&format!("written: {}", path.display()));
        }
        Ok(if is_clean { Exit::Done } else { Exit::Findings })
    }
}

/// The report as Markdown: it reads well as it is.
fn markdown(document: &Document) -> String {
    let Document { evidence, chain } = document;
    let mut text = format!(
        "# Evidence of {}\n\nFrom {} to {}.\n\n## Restore drills\n\n",
        evidence.installation,
        text::utc(evidence.since),
        text::utc(evidence.until)
    );
    let mut drills =
        Table::new(&["ENDED", "SOURCE", "PATH", "VERDICT", "RTO", "WANTED", "RPO", "WANTED", "ROWS", "CLASS"]);
    for drill in &evidence.drills {
        drills.row(cells(drill));
    }
    text += &block(&drills, evidence.drills.is_empty());
    text += &cost(evidence);
    for drill in evidence.drills.iter().filter(|drill| !drill.details.is_empty()) {
        text += &format!("- {} {} by {}:\n", text::utc(drill.at), drill.source, drill.path);
        text.extend(drill.details.iter().map(|detail| format!("  - {detail}\n")));
    }
    text += "\n## Verifications of dumps\n\n";
    let mut verifications = Table::new(&["ENDED", "DUMP", "PLANE", "LEVEL", "FOUND"]);
    for own in &evidence.verifications {
        let (plane, level) = (own.plane.as_str().to_owned(), own.level.to_owned());
        verifications.row(vec![text::utc(own.at), own.dump.clone(), plane, level, own.found.clone()]);
    }
    text += &block(&verifications, evidence.verifications.is_empty());
    text += "\n## The chain\n\n";
    text += &chain_in_words(chain);
    text.extend(evidence.unseen.iter().map(|unseen| format!("\nNOT SEEN: {unseen}\n")));
    text
}

/// What the drills have cost, in time of instances: AWS's prices are nothing that it tells here.
fn cost(evidence: &Evidence) -> String {
    let time = evidence.instance_time();
    if time.is_zero() {
        String::new()
    } else {
        format!("Their instances stood for {} in all, of those that were seen to go.\n", text::length(time))
    }
}

fn chain_in_words(chain: &ChainOfEvidence) -> String {
    let unread = chain.unread.iter().map(|unread| format!("- NOT READ, so not checked: {unread}\n"));
    let broken = chain.broken.iter().map(|broken| format!("- BROKEN: {broken}\n"));
    let trouble: String = broken.chain(unread).collect();
    match (chain.links, trouble.is_empty()) {
        (0, true) => {
            "It has no links yet: it takes two verifications of a source, or two drills along a path.\n".to_owned()
        }
        (links, true) => format!("{links} of its links were checked, and all hold.\n"),
        (links, false) => format!("{links} of its links were checked.\n\n{trouble}"),
    }
}

fn block(table: &Table, is_empty: bool) -> String {
    if is_empty { "None.\n".to_owned() } else { format!("```text\n{}```\n", table.render()) }
}

fn cells(drill: &DrillEvidence) -> Vec<String> {
    let length = |seconds: Option<i64>| {
        seconds.map_or_else(|| "-".to_owned(), |seconds| text::length(SignedDuration::from_secs(seconds)))
    };
    vec![
        text::utc(drill.at),
        drill.source.to_string(),
        drill.path.to_string(),
        drill.verdict.as_str().to_owned(),
        length(drill.rto_seconds),
        length(drill.rto_wanted_seconds),
        length(drill.rpo_seconds),
        length(drill.rpo_wanted_seconds),
        drill.rows.map_or_else(|| "-".to_owned(), |rows| rows.to_string()),
        drill.class.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}
