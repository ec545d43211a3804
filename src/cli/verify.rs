//! `strongroom verify`: stored dumps are looked at again, now.

mod reading;
mod restored;

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use tokio_util::sync::CancellationToken;

use self::reading::Reading;
use super::{Exit, InPlane, assemble, complain, look, say, text, watched};
use crate::config::Config;
use crate::daemon::Assembly;
use crate::domain::id::{DatabaseName, SourceId};
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
    /// Only in this bucket.
    #[arg(long, value_enum)]
    plane: Option<InPlane>,
    /// 1: ask the store for every object. 2: read every byte back too, and compare the rows of every table by count and
    /// hash. 3: the same in the replica bucket alone. 4: restore it besides into a local PostgreSQL that is thrown away, and
    /// compare every row and sequence there; without --from the newest dump of each database.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    level: u8,
}

impl VerifyCommand {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        let mut assembly = assemble(config).await;
        let (level, plane) = match self.level {
            1 => (Level::L1, self.plane),
            2 => (Level::L2, self.plane),
            4 => (Level::L2, Some(self.plane.unwrap_or(InPlane::Primary))),
            _ if self.plane == Some(InPlane::Primary) => {
                complain("level 3 is about the replica bucket: leave out `--plane primary`, or take level 2");
                return Ok(Exit::Usage);
            }
            _ => (Level::L2, Some(InPlane::Replica)),
        };
        let planes = Plane::ALL.into_iter().filter(|own| plane.is_none_or(|only| Plane::from(only) == *own));
        let restores = self.level == 4;
        if restores && let Err(error) = assembly.scratch.check_user() {
            complain(&Chain(&error));
            return Ok(Exit::Refused);
        }
        let (inventory, plan) = look(&mut assembly).await;
        for (section, unseen) in &plan.unseen {
            complain(&format!("not seen: {section}: {}", unseen.0));
        }
        let stores = inventory.stores.iter().filter(|(id, _)| self.source.as_ref().is_none_or(|only| *id == only));
        let dumps = stores.filter_map(|(_, store)| store.as_ref().ok());
        let dumps = dumps.flat_map(|store| planes.clone().filter_map(|plane| store.dumps_in(plane)).flatten());
        let wanted = |stored: &&StoredDump| {
            self.from.as_ref().is_none_or(|point| stored.point.id == *point)
                && stored.point.state != PointState::Deleting
        };
        let mut dumps: Vec<&StoredDump> = dumps.filter(wanted).collect();
        if restores && self.from.is_none() {
            dumps = newest_of_each(&dumps);
        }
        if dumps.is_empty() {
            complain("there is no such dump: `strongroom list` names them");
            return Ok(Exit::Usage);
        }
        let mut exit = if plan.unseen.is_empty() { Exit::Done } else { Exit::Findings };
        let token = CancellationToken::new();
        for stored in dumps {
            let (id, region) = (&stored.point.id, &stored.point.region);
            // What is missing is on its way, and not lost.
            if !stored.whole && stored.point.state == PointState::Pending {
                say(&format!("{id} in {region} has not arrived whole yet: it is not verified"));
                exit = worse(exit, Exit::Findings);
                continue;
            }
            say(&format!("verifying {id} in {region} at level {level}"));
            let action = Action::Verify(Box::new(VerifyDump { stored: stored.clone(), level }));
            let outcome = carry_out(&assembly, action, stored, &token).await;
            exit = worse(exit, report(stored, &outcome)?);
            if restores && is_good(&outcome) {
                say(&format!("restoring {id} into a local PostgreSQL"));
                let outcome = Box::pin(restored::restore(&assembly, stored, &token)).await;
                exit = worse(exit, report(stored, &outcome)?);
            }
            if token.is_cancelled() {
                return Ok(Exit::Failed);
            }
        }
        Ok(exit)
    }
}

/// The newest good dump of each database.
fn newest_of_each<'a>(dumps: &[&'a StoredDump]) -> Vec<&'a StoredDump> {
    let mut newest: BTreeMap<(&SourceId, &DatabaseName), &StoredDump> = BTreeMap::new();
    for stored in dumps.iter().filter(|stored| stored.point.is_good()) {
        let known = newest.entry((&stored.dump.source, &stored.dump.database)).or_insert(stored);
        if known.moment() < stored.moment() {
            *known = stored;
        }
    }
    newest.into_values().collect()
}

fn is_good(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Verified(record) if matches!(record.verdict, Verdict::Good { .. }))
}

async fn carry_out(assembly: &Assembly, action: Action, stored: &StoredDump, token: &CancellationToken) -> Outcome {
    let progress = Arc::new(Progress::default());
    let mut reading = Reading::of(stored);
    let work = Box::pin(assembly.executor.execute(action, Arc::clone(&progress), token.clone()));
    let clock = assembly.ports.clock.as_ref();
    let outcome =
        watched(clock, token, "stopping; nothing is recorded of this dump", work, || reading.show(&progress)).await;
    reading.finish();
    outcome
}

fn report(stored: &StoredDump, outcome: &Outcome) -> std::io::Result<Exit> {
    let name = format!("{} in {}", stored.point.id, stored.point.region);
    match outcome {
        Outcome::Verified(record) => match &record.verdict {
            Verdict::Good { objects, bytes, rows } => {
                let read = match record.level {
                    Level::L1 => String::new(),
                    Level::L2 => format!(", {} read, {rows} rows", text::size(*bytes)),
                    Level::L4 => format!(", restored, {rows} rows and all sequences compared"),
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
            Verdict::Unreadable { reason } => {
                text::print(&format!("{name}: UNREADABLE at level {}\n    {reason}\n", record.level))?;
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
        | Outcome::DrillEnded(_)
        | Outcome::WithDumps { .. }
        | Outcome::Reaped
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
