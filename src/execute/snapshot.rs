//! Begins snapshots. Their end is seen by the planner, in what RDS lists.

use super::{Executor, Outcome};
use crate::domain::run::{RunRecord, RunState};
use crate::plan::action::{Claimed, CreateSnapshot};
use crate::ports::{Chain, ErrorKind, PortError};

impl Executor {
    pub(super) async fn create_snapshot(&self, create: &CreateSnapshot) -> Result<Outcome, PortError> {
        let claim = match &create.claimed {
            Claimed::Already(stored) => self.held_claim(stored),
            Claimed::NotYet => {
                let record = RunRecord {
                    snapshot: Some(create.snapshot.clone()),
                    ..self.new_record(&create.source, &create.run)
                };
                match self.claim(record).await? {
                    Some(claim) => claim,
                    None => return Ok(Outcome::ClaimedElsewhere),
                }
            }
        };
        let created = self.ports.rds.create_snapshot(&create.snapshot, &create.instance, &create.tags).await;
        let Err(error) = created else { return Ok(Outcome::SnapshotBegun) };
        match error.kind() {
            // The answer to an earlier request was lost, or the id is somebody else's: the planner reads it from the tags.
            ErrorKind::AlreadyExists => Ok(Outcome::SnapshotBegun),
            // Busy, throttled, unreachable: the run stays claimed, and the next plan asks again.
            ErrorKind::WrongState | ErrorKind::Conflict | ErrorKind::Throttled | ErrorKind::Transient => {
                Ok(Outcome::Deferred { error })
            }
            ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::Invalid
            | ErrorKind::Cancelled
            | ErrorKind::Damaged
            | ErrorKind::Other => {
                let message = Chain(&error).to_string();
                let failure = self.explain(message, &create.instance, claim.record().started_at).await;
                let finished_at = self.ports.clock.now();
                self.end(claim, RunState::Failed { finished_at, failure }).await
            }
        }
    }
}
