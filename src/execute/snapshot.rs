//! Begins snapshots. Their end is seen by the planner, in what RDS lists.

use std::sync::Arc;

use super::claim::Claim;
use super::{Executor, Outcome};
use crate::domain::run::{RunRecord, RunState};
use crate::domain::tags;
use crate::plan::action::{self, CreateSnapshot};
use crate::ports::{Chain, ErrorKind, PortError};

impl Executor {
    pub(super) async fn create_snapshot(&self, create: &CreateSnapshot) -> Result<Outcome, PortError> {
        let mut claim = None;
        if create.claim == action::Claim::Fresh {
            claim = self.claim_snapshot(create).await?;
            if claim.is_none() {
                return Ok(Outcome::ClaimedElsewhere);
            }
        }
        let created = self.ports.rds.create_snapshot(&create.snapshot, &create.instance, &create.tags).await;
        match created {
            Ok(()) => Ok(Outcome::SnapshotBegun),
            Err(error) => match (error.kind(), claim) {
                // The answer to an earlier request was lost, or the id is somebody else's: the tags tell.
                (ErrorKind::AlreadyExists, claim) => self.adopt(create, claim, error).await,
                // Busy, throttled, unreachable: the run stays claimed, and the next plan asks again.
                (ErrorKind::WrongState | ErrorKind::Throttled | ErrorKind::Transient, _) | (_, None) => {
                    Ok(Outcome::Deferred { error })
                }
                (_, Some(claim)) => {
                    let reason = Chain(&error).to_string();
                    self.fail_snapshot(create, claim, reason).await
                }
            },
        }
    }

    async fn claim_snapshot(&self, create: &CreateSnapshot) -> Result<Option<Claim>, PortError> {
        let key = self.settings.layout.run_record(&create.source, &create.run);
        let record = RunRecord::claim(
            create.run.clone(),
            create.source.clone(),
            Some(create.snapshot.clone()),
            self.ports.processes.this().clone(),
            self.ports.clock.now(),
        );
        Claim::take(Arc::clone(&self.ports.store), key, record).await
    }

    /// Takes a snapshot that exists for our own, if its tags prove it.
    async fn adopt(
        &self,
        create: &CreateSnapshot,
        claim: Option<Claim>,
        error: PortError,
    ) -> Result<Outcome, PortError> {
        let found = self.ports.rds.snapshot(&create.snapshot).await?;
        let ours = found.as_ref().is_some_and(|snapshot| {
            tags::prove_ownership(&snapshot.tags, &self.settings.installation, &create.snapshot)
        });
        match (ours, claim) {
            (true, _) => Ok(Outcome::SnapshotBegun),
            // Lists lag behind, and the planner judges a claimed run when it sees the snapshot.
            (false, None) => Ok(Outcome::Deferred { error }),
            (false, Some(_)) if found.is_none() => Ok(Outcome::Deferred { error }),
            (false, Some(claim)) => {
                let reason = format!(
                    "snapshot {} exists and was not made by this installation: rename or delete it",
                    create.snapshot
                );
                self.fail_snapshot(create, claim, reason).await
            }
        }
    }

    async fn fail_snapshot(&self, create: &CreateSnapshot, claim: Claim, reason: String) -> Result<Outcome, PortError> {
        let failure = self.explain(reason, &create.instance, claim.record().started_at).await;
        let finished_at = self.ports.clock.now();
        self.end(claim, RunState::Failed { finished_at, failure }).await
    }
}
