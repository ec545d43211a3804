//! `strongroom status`: could I restore today?

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::text::Table;
use super::{Exit, assemble, look, text};
use crate::config::Config;
use crate::domain::drill::Verdict;
use crate::plan::drill::DrillStatus;
use crate::plan::status::{ObligationState, SourceStatus, Status};
use crate::plan::verify::Readings;
use crate::plan::ways_back::CanRestore;

/// Options of `status`.
#[derive(Debug, Args)]
pub(super) struct StatusCommand {
    /// Print JSON: the document that the daemon serves at /api/status.
    #[arg(long)]
    json: bool,
}

impl StatusCommand {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        let mut assembly = assemble(config).await;
        let (inventory, plan) = look(&mut assembly).await;
        let status = Status::of(&assembly.policy, &inventory, &plan);
        if self.json {
            text::print_json(&status)?;
        } else {
            text::print(&render(&status))?;
        }
        Ok(if status.well { Exit::Done } else { Exit::Findings })
    }
}

fn render(status: &Status) -> String {
    let mut table = Table::new(&["SOURCE", "BACKUP", "STATE", "NEWEST GOOD", "NEXT DUE", "WHY"]);
    for source in &status.sources {
        for own in &source.obligations {
            let backup =
                own.database.as_ref().map_or_else(|| own.kind.to_string(), |name| format!("{} {name}", own.kind));
            let state = match own.state {
                ObligationState::Ok => "ok",
                ObligationState::Suspended => "suspended",
                ObligationState::Trouble => "TROUBLE",
                ObligationState::Overdue => "OVERDUE",
            };
            let newest = own.newest_at.map_or_else(|| "never".to_owned(), |at| text::relative(at, status.at));
            let due = own.next_due_at.map_or_else(String::new, |at| text::relative(at, status.at));
            table.row(vec![source.source.to_string(), backup, state.to_owned(), newest, due, own.reason.clone()]);
        }
    }
    let mut text = table.render();
    text.push('\n');
    text.extend(status.sources.iter().map(|source| restorable(source, status.at)));
    text.extend(status.findings.iter().map(|finding| format!("{finding}\n")));
    text.extend(status.unseen.iter().map(|unseen| format!("NOT SEEN: {unseen}\n")));
    if status.remains_bytes > 0 {
        text.push_str(&format!(
            "Failed runs left {} behind; `strongroom plan` lists it.\n",
            text::size(status.remains_bytes)
        ));
    }
    text.push_str(if status.well { "All is well.\n" } else { "NOT ALL IS WELL: see above.\n" });
    text
}

/// The sentence that the on-call engineer needs.
fn restorable(source: &SourceStatus, now: Timestamp) -> String {
    let instance = source.instance_status.as_deref().unwrap_or("not seen");
    let head = format!("{} (instance {}, {instance})", source.source, source.instance);
    match source.can_restore {
        CanRestore::Yes => {}
        CanRestore::No => return format!("{head}: NOTHING TO RESTORE FROM\n"),
        CanRestore::Unknown => {
            return format!("{head}: nothing to restore from was seen, BUT NOT EVERYTHING COULD BE SEEN: see below\n");
        }
    }
    let ways = source.restorable.iter().map(|way| {
        let of = way.database.as_ref().map_or_else(String::new, |database| format!(" of {database}"));
        let from = way.from.as_ref().map_or_else(String::new, |from| format!(", from {from}"));
        let of_snapshot = way
            .from_snapshot
            .as_ref()
            .map_or_else(String::new, |snapshot| format!(", which is of snapshot {snapshot}"));
        let region = way.region.as_ref().map_or_else(String::new, |region| format!(" in {region}"));
        format!(
            "    by {}{of}{region} to {} ({}){from}{of_snapshot}\n",
            way.path,
            text::utc(way.to),
            text::relative(way.to, now)
        )
    });
    let ways: String = ways.collect();
    let readings: String = source.read_back.iter().map(|own| read_back(own, now)).collect();
    let drills: String = source.drills.iter().map(|own| drill(&own.status, now)).collect();
    format!("{head}: restorable\n{ways}{readings}{drills}")
}

/// What was proven by restoring, and how long it took.
fn drill(own: &DrillStatus, now: Timestamp) -> String {
    let seconds = |name: &str, seconds: Option<i64>| {
        seconds.map_or_else(String::new, |of| format!(", {name} {}", text::length(SignedDuration::from_secs(of))))
    };
    let last = match (own.last, own.last_at) {
        (Some(word), Some(at)) => {
            let word = if word == Verdict::Passed { "passed" } else { "BACKUP BAD" };
            let (rto, rpo) = (seconds("RTO", own.recovery_seconds), seconds("RPO", own.data_loss_seconds));
            format!("{word} {}{rto}{rpo}", text::relative(at, now))
        }
        (_, _) => format!("never done ({})", own.reason),
    };
    let overdue = if own.overdue { "; OVERDUE" } else { "" };
    let next = own.next_due_at.map_or_else(String::new, |at| format!("; next {}", text::relative(at, now)));
    format!("    drill by {}: {last}{overdue}{next}\n", own.path)
}

/// What was read back of the dumps of a database in one bucket.
fn read_back(own: &Readings, now: Timestamp) -> String {
    let Readings { database, region, dumps, read_back, overdue, .. } = own;
    let oldest =
        own.oldest_at.map_or_else(String::new, |at| format!(", the oldest reading {}", text::relative(at, now)));
    let overdue = if *overdue > 0 { format!("; {overdue} OVERDUE") } else { String::new() };
    format!("    dumps of {database} in {region} read back: {read_back} of {dumps}{oldest}{overdue}\n")
}
