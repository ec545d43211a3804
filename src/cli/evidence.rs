//! `strongroom evidence`: what was restored and read back, for whoever has to show it, and whether the chain holds.

mod html;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::text::Table;
use super::{Exit, assemble, collect, complain, say, text};
use crate::config::Config;
use crate::daemon::Assembly;
use crate::domain::drill::{DRILL_RECORD_BYTES_MAX, DrillRecord};
use crate::domain::inventory::Inventory;
use crate::dump::hex;
use crate::plan::evidence::{DrillEvidence, Evidence};
use crate::ports::{Chain, ErrorKind};

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

/// Whether the records of drills are those that were written.
#[derive(Debug, Default, Serialize)]
struct ChainOfEvidence {
    /// Records that were compared with what the next one says of them.
    links: usize,
    /// What does not fit.
    broken: Vec<String>,
    /// Records that could not be read this time, which proves nothing.
    unread: Vec<String>,
}

impl EvidenceCommand {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        let mut assembly = assemble(config).await;
        let inventory = collect(&mut assembly).await;
        let now = assembly.ports.clock.now();
        let since = self.since.unwrap_or_else(|| now.saturating_sub(DEFAULT_SPAN).unwrap_or(Timestamp::MIN));
        let evidence = Evidence::of(&assembly.policy, &inventory, since);
        let chain = check_chain(&assembly, &inventory).await;
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

/// Compares each record with the hash that the next one along the same path keeps of it. That the newest was not taken away
/// no chain shows: object lock does.
async fn check_chain(assembly: &Assembly, inventory: &Inventory) -> ChainOfEvidence {
    let mut chain = ChainOfEvidence::default();
    let mut followers: BTreeMap<&str, Vec<&DrillRecord>> = BTreeMap::new();
    let stores = inventory.stores.values().flat_map(|store| store.iter());
    for record in stores.flat_map(|store| store.drills.iter()).map(|stored| &stored.record) {
        if let Some(previous) = &record.previous {
            followers.entry(previous.key.as_str()).or_default().push(record);
        }
    }
    for (key, followers) in followers {
        if let [_, _, ..] = followers.as_slice() {
            let names: Vec<String> = followers.iter().map(|record| record.id().to_string()).collect();
            chain.broken.push(format!("{key} is followed by several: {}", names.join(", ")));
        }
        let key = crate::domain::key::ObjectKey::listed(key);
        let sha256 = match assembly.ports.store.get(&key, DRILL_RECORD_BYTES_MAX).await {
            Ok(found) => hex(Sha256::digest(&found.bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                chain.broken.push(format!("{key} is missing, and later evidence names it"));
                continue;
            }
            Err(error) => {
                chain.unread.push(format!("{key}: {}", Chain(&error)));
                continue;
            }
        };
        for follower in followers {
            chain.links += 1;
            if follower.previous.as_ref().is_some_and(|previous| previous.sha256 != sha256) {
                chain.broken.push(format!("{key} is not what it was when drill {} was written", follower.id()));
            }
        }
    }
    chain
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

fn chain_in_words(chain: &ChainOfEvidence) -> String {
    let unread = chain.unread.iter().map(|unread| format!("- NOT READ, so not checked: {unread}\n"));
    let broken = chain.broken.iter().map(|broken| format!("- BROKEN: {broken}\n"));
    let trouble: String = broken.chain(unread).collect();
    match (chain.links, trouble.is_empty()) {
        (0, true) => "It has no links yet: each path needs two drills for one.\n".to_owned(),
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
