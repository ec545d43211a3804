//! `strongroom verify`: stored dumps are looked at again, now.

use std::sync::Arc;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{Exit, assemble, complain, look, say, text};
use crate::config::Config;
use crate::domain::id::SourceId;
use crate::domain::inventory::StoredDump;
use crate::domain::progress::Progress;
use crate::domain::recovery_point::{Plane, PointState};
use crate::domain::verification::{Level, Verdict};
use crate::execute::Outcome;
use crate::plan::action::{Action, VerifyDump};
use crate::ports::Chain;

/// Options of `verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyCommand {
    /// Only this source.
    source: Option<SourceId>,
    /// Only this dump, as `strongroom list` names it.
    #[arg(long, value_name = "POINT")]
    from: Option<String>,
    /// 1: ask the store for every object. 2: read every byte back too, and count the rows of every table.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    level: u8,
}

impl VerifyCommand {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        let mut assembly = assemble(config).await;
        let level = if self.level == 1 { Level::L1 } else { Level::L2 };
        let (inventory, plan) = look(&mut assembly).await;
        for (section, unseen) in &plan.unseen {
            complain(&format!("not seen: {section}: {}", unseen.0));
        }
        let stores = inventory.stores.iter().filter(|(id, _)| self.source.as_ref().is_none_or(|only| *id == only));
        let dumps = stores.filter_map(|(_, store)| store.as_ref().ok());
        let dumps = dumps.flat_map(|store| Plane::ALL.into_iter().filter_map(|plane| store.dumps_in(plane)).flatten());
        let wanted = |stored: &&StoredDump| {
            self.from.as_ref().is_none_or(|point| stored.point.id == *point)
                && stored.point.state != PointState::Deleting
        };
        let dumps: Vec<&StoredDump> = dumps.filter(wanted).collect();
        if dumps.is_empty() {
            complain("there is no such dump: `strongroom list` names them");
            return Ok(Exit::Usage);
        }
        let mut exit = if plan.unseen.is_empty() { Exit::Done } else { Exit::Findings };
        for stored in dumps {
            say(&format!("verifying {} in {} at level {level}", stored.point.id, stored.point.region));
            let action = Action::Verify(Box::new(VerifyDump { stored: stored.clone(), level }));
            let outcome =
                assembly.executor.execute(action, Arc::new(Progress::default()), CancellationToken::new()).await;
            exit = worse(exit, report(stored, &outcome)?);
        }
        Ok(exit)
    }
}

fn report(stored: &StoredDump, outcome: &Outcome) -> std::io::Result<Exit> {
    let name = format!("{} in {}", stored.point.id, stored.point.region);
    match outcome {
        Outcome::Verified(record) => match &record.verdict {
            Verdict::Good { objects, bytes, rows } => {
                let read = match record.level {
                    Level::L1 => String::new(),
                    Level::L2 => format!(", {} read, {rows} rows", text::size(*bytes)),
                };
                text::print(&format!("{name}: good at level {}, {objects} objects{read}\n", record.level))?;
                Ok(Exit::Done)
            }
            Verdict::Bad { faults } => {
                text::print(&format!("{name}: BAD at level {}\n", record.level))?;
                for fault in faults {
                    text::print(&format!("    {fault}\n"))?;
                }
                Ok(Exit::Findings)
            }
        },
        Outcome::Held { reason } | Outcome::Overtaken { reason } => {
            complain(&format!("{name}: {reason}"));
            Ok(Exit::Failed)
        }
        Outcome::Failed { error } => {
            complain(&format!("{name}: {}", Chain(error)));
            Ok(Exit::Failed)
        }
        Outcome::SnapshotBegun
        | Outcome::Deferred { .. }
        | Outcome::ClaimedElsewhere
        | Outcome::RunEnded(_)
        | Outcome::UploadAborted
        | Outcome::CopyBegun
        | Outcome::DumpCopied { .. }
        | Outcome::PointDeleted
        | Outcome::Swept { .. }
        | Outcome::Stopped => Ok(Exit::Failed),
    }
}

/// Of two ends the one that a caller has to hear of.
fn worse(one: Exit, other: Exit) -> Exit {
    if one == Exit::Failed || other == Exit::Failed {
        Exit::Failed
    } else if one == Exit::Findings || other == Exit::Findings {
        Exit::Findings
    } else {
        Exit::Done
    }
}
