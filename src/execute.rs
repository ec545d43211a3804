//! Carries out actions: the only writer. Everything was chosen by the planner; here it is done, once or again.

pub mod claim;
mod copy;
mod drill;
mod drilled;
mod dump;
mod govern;
mod hold;
pub mod jobs;
pub mod lead;
mod link;
pub mod notify;
mod patient_store;
pub mod pin;
mod prune;
pub mod publish;
mod replica;
mod restore_md;
mod snapshot;
mod verify;

use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::domain::drill::DrillRecord;
use crate::domain::id::{InstallationId, RegionName, RunId, SourceId};
use crate::domain::inventory::StoredRun;
use crate::domain::key::{Layout, ObjectKey};
use crate::domain::memory::MemoryUse;
use crate::domain::progress::{Progress, ProgressCount};
use crate::domain::recovery_point::Plane;
use crate::domain::run::{Failure, RunRecord, RunState};
use crate::domain::verification::Verification;
use crate::dump::memory::MemoryPool;
use crate::plan::action::{Action, CloseRun, Ending, StartDump};
use crate::policy::ReplicaPolicy;
use crate::ports::object_store::ObjectStore;
use crate::ports::rds::Rds;
use crate::ports::{Chain, ErrorKind, PortError, Ports};
use claim::{Claim, Closing};
use jobs::DumpsByJobs;

/// What the executor needs to know besides the action.
#[derive(Debug, Clone)]
pub struct ExecuteSettings {
    /// This installation.
    pub installation: InstallationId,
    /// Where objects go.
    pub layout: Layout,
    /// The bucket's name, for people who read `RESTORE.md`.
    pub bucket: String,
    /// The KMS key that objects are encrypted with.
    pub kms_key: Option<String>,
    /// Least bytes of a part.
    pub part_size_bytes: u64,
    /// How many parts of one dump may be on their way at once.
    pub parts_in_flight: usize,
    /// The account of what all dumps of this process hold.
    pub memory: Arc<MemoryUse>,
    /// How long a dump outlasts an outage of the store.
    pub outage_tolerance: SignedDuration,
    /// SHA-256 of the effective configuration.
    pub config_sha256: String,
    /// The region of the instances and of the bucket.
    pub region: RegionName,
    /// The second bucket.
    pub replica: Option<ReplicaPolicy>,
}

/// Why something in another region cannot be reached.
const UNCONFIGURED: &str = "the configuration does not name it any more";

/// Carries out actions.
#[derive(Debug, Clone)]
pub struct Executor {
    ports: Ports,
    settings: Arc<ExecuteSettings>,
    memory: MemoryPool,
    /// Has dumps made by Jobs of the cluster; `None`: they are made here.
    by_jobs: Option<Arc<DumpsByJobs>>,
    /// Our own verifications add to the chain of evidence in turn, rather than take each other's numbers.
    evidence: Arc<Mutex<()>>,
}

/// What came of an action.
#[derive(Debug)]
#[must_use = "an outcome is logged and counted"]
pub enum Outcome {
    /// RDS makes the snapshot.
    SnapshotBegun,
    /// The snapshot was not begun; the run stays claimed and asks again.
    Deferred {
        /// Why.
        error: PortError,
    },
    /// Another daemon has the run.
    ClaimedElsewhere,
    /// A run has ended and its record says so.
    RunEnded(RunEnd),
    /// An upload was dropped.
    UploadAborted,
    /// RDS copies the snapshot, or has been asked to before.
    CopyBegun,
    /// A dump and its manifest stand in the replica bucket.
    DumpCopied {
        /// Objects, the manifest included.
        objects: usize,
    },
    /// A dump was looked at again, and what was found is recorded.
    Verified(Box<Verification>),
    /// A recovery point is gone.
    PointDeleted,
    /// Versions that nobody needs are gone.
    Swept {
        /// How many.
        versions: usize,
    },
    /// A drill has ended, and its record says how.
    DrillEnded(Box<DrillRecord>),
    /// A drill with dumps of what it has restored.
    WithDumps {
        /// What came of the drill itself.
        drill: Box<Outcome>,
        /// What came of each dump that was begun.
        dumps: Vec<DumpEnd>,
    },
    /// An instance of a drill is being deleted, or is gone.
    Reaped,
    /// Looking once more, just before, spoke against it: nothing was changed that was not before.
    Held {
        /// What.
        reason: String,
    },
    /// What was planned for is not there any more, or is another: somebody was faster, and the next look sees what there is.
    Overtaken {
        /// What has changed.
        reason: String,
    },
    /// Stopped by shutdown; what was begun is seen through by the next start.
    Stopped,
    /// The action failed and has left no mark; the next plan sees what there is.
    Failed {
        /// Why.
        error: PortError,
    },
}

/// What came of a dump that a drill has begun.
#[derive(Debug)]
pub struct DumpEnd {
    /// The dump.
    pub start: Box<StartDump>,
    /// What came of it.
    pub outcome: Outcome,
    /// How much was read and stored for it.
    pub count: ProgressCount,
}

/// The end of a run.
#[derive(Debug)]
pub struct RunEnd {
    /// How it ended.
    pub state: RunState,
    /// From its claim to its end.
    pub duration: SignedDuration,
}

impl RunEnd {
    /// The end that a record tells; `None` while the run goes on.
    #[must_use]
    pub fn of(record: &RunRecord) -> Option<RunEnd> {
        let finished_at = record.state.finished_at()?;
        Some(RunEnd { state: record.state.clone(), duration: finished_at.duration_since(record.started_at) })
    }
}

impl Executor {
    /// An executor over `ports`.
    #[must_use]
    pub fn new(ports: Ports, settings: ExecuteSettings) -> Executor {
        let memory = MemoryPool::new(Arc::clone(&settings.memory));
        Executor { ports, settings: Arc::new(settings), memory, by_jobs: None, evidence: Arc::default() }
    }

    /// Carries out one action. It ends soon after `token` is cancelled, with nothing half-done visible.
    pub async fn execute(&self, action: Action, progress: Arc<Progress>, token: CancellationToken) -> Outcome {
        let done = match action {
            Action::CreateSnapshot(create) => self.create_snapshot(&create).await,
            Action::StartDump(start) => match &self.by_jobs {
                Some(by) => Box::pin(self.dump_by_job(&start, by, &progress, &token)).await,
                None => self.dump(&start, progress, token).await,
            },
            Action::CloseRun(close) => self.close_run(&close).await,
            Action::AbortUpload(abort) => {
                self.ports.store.abort_upload(&abort.upload).await.map(|()| Outcome::UploadAborted)
            }
            Action::CopySnapshot(copy) => self.copy_snapshot(&copy).await,
            Action::DeleteSnapshot(delete) => self.delete_snapshot(&delete).await,
            Action::CopyDump(copy) => self.copy_dump(&copy, &token).await,
            Action::Verify(verify) => Box::pin(self.verify(&verify, &progress, &token)).await,
            Action::DeleteDump(delete) => self.delete_dump(&delete, &token).await,
            Action::Sweep(sweep) => self.sweep(&sweep).await,
            Action::Drill(start) => Box::pin(self.drill(&start, &progress, token)).await,
            Action::Reap(reap) => self.reap(&reap).await,
        };
        done.unwrap_or_else(|error| Outcome::Failed { error })
    }

    /// RDS in a region.
    fn rds(&self, region: &RegionName) -> Result<&dyn Rds, PortError> {
        if *region == self.settings.region {
            return Ok(self.ports.rds.as_ref());
        }
        let rds = self.ports.copies.get(region).map(AsRef::as_ref);
        rds.ok_or_else(|| PortError::new(format!("ask RDS in {region}"), ErrorKind::Invalid).because(UNCONFIGURED))
    }

    /// The bucket of a plane.
    fn bucket(&self, plane: Plane) -> Result<&dyn ObjectStore, PortError> {
        match plane {
            Plane::Primary => Ok(self.ports.store.as_ref()),
            Plane::Replica => self
                .ports
                .replica
                .as_deref()
                .ok_or_else(|| PortError::new("use the replica bucket", ErrorKind::Invalid).because(UNCONFIGURED)),
        }
    }

    /// Writes the end of a run that nobody works on.
    async fn close_run(&self, close: &CloseRun) -> Result<Outcome, PortError> {
        let record = &close.stored.record;
        let finished_at = self.ports.clock.now();
        let state = match &close.ending {
            Ending::SnapshotAvailable { size_bytes } | Ending::DumpCommitted { size_bytes } => {
                RunState::Succeeded { finished_at, size_bytes: *size_bytes }
            }
            Ending::Abandoned => RunState::Abandoned { finished_at },
            Ending::Failed { reason } => {
                let failure = self.explain(reason.clone(), &close.instance, record.started_at).await;
                RunState::Failed { finished_at, failure }
            }
        };
        self.end(self.held_claim(&close.stored), state).await
    }

    /// The record with which a run begins.
    fn new_record(&self, source: &SourceId, run: &RunId) -> RunRecord {
        RunRecord::claim(
            self.settings.installation.clone(),
            run.clone(),
            source.clone(),
            self.ports.processes.this().clone(),
            self.ports.clock.now(),
        )
    }

    /// Claims the run of a record; `None` if somebody else has it.
    async fn claim(&self, record: RunRecord) -> Result<Option<Claim>, PortError> {
        let key = self.settings.layout.run_record(&record.source, &record.run);
        Claim::take(Arc::clone(&self.ports.store), key, record).await
    }

    fn held_claim(&self, stored: &StoredRun) -> Claim {
        let key = self.settings.layout.run_record(&stored.record.source, &stored.record.run);
        Claim::held(Arc::clone(&self.ports.store), key, stored.record.clone(), stored.etag.clone())
    }

    /// Closes a claim; of two daemons that close one run, the second finds that it is done.
    async fn end(&self, claim: Claim, state: RunState) -> Result<Outcome, PortError> {
        let started_at = claim.record().started_at;
        let closing = claim.close(state.clone()).await;
        // The record would have told it, and nobody else will.
        if let (Err(_), RunState::Failed { failure, .. }) = (&closing, &state) {
            tracing::error!(error = failure.message, "run failed, and its record cannot be written");
        }
        match closing? {
            Closing::Closed => {
                let finished_at = state.finished_at().unwrap_or(started_at);
                Ok(Outcome::RunEnded(RunEnd { state, duration: finished_at.duration_since(started_at) }))
            }
            Closing::Lost => Ok(Outcome::ClaimedElsewhere),
        }
    }

    /// A failure with what RDS says happened to the instance meanwhile. Events are a help: without them the failure is
    /// told all the same.
    async fn explain(&self, message: String, instance: &crate::domain::id::InstanceId, since: Timestamp) -> Failure {
        /// Events a little older than the run often name its cause.
        const BEFORE: SignedDuration = SignedDuration::from_mins(10);
        let since = since.saturating_sub(BEFORE).unwrap_or(since);
        let rds_events = match self.ports.rds.instance_events(instance, since).await {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(instance.id = %instance, error = %Chain(&error), "the RDS events of a failed run cannot be read");
                Vec::new()
            }
        };
        Failure { message, rds_events, stopped_by: None }
    }
}

/// What is written under `key`, as people can read it.
fn json(key: &ObjectKey, value: &impl serde::Serialize) -> Result<Bytes, PortError> {
    let json = serde_json::to_vec_pretty(value);
    json.map(Bytes::from).map_err(|error| PortError::new(format!("form {key}"), ErrorKind::Other).because(error))
}
