//! Dumps that Jobs of the cluster make: begun here, made by a process of their own, and their end read from the store.
//!
//! The record of the run is the truth, and the Job's process writes it. What the cluster says of the Job only tells why there
//! is no such record, or why nobody goes on with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::claim::Claim;
use super::{Executor, Outcome, RunEnd};
use crate::domain::job::{JobId, JobName, JobState};
use crate::domain::key::ObjectKey;
use crate::domain::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::domain::progress::Progress;
use crate::domain::run::{RUN_RECORD_BYTES_MAX, RunRecord, RunState};
use crate::plan::action::StartDump;
use crate::ports::jobs::{JobOrder, Jobs};
use crate::ports::{Chain, ErrorKind, PortError};

/// Between two looks at a Job: a dump takes minutes at least, and the API server serves the whole cluster.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A process ends itself at the dump's deadline and says so; the cluster ends one that does not.
const PAST_THE_DEADLINE: Duration = Duration::from_mins(10);

/// How Jobs are made.
#[derive(Clone)]
pub struct DumpsByJobs {
    /// The cluster.
    pub jobs: Arc<dyn Jobs>,
    /// What they are made from, where a policy names nothing else.
    pub template: String,
    /// How long one may take to begin.
    pub start_deadline: Duration,
}

impl std::fmt::Debug for DumpsByJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DumpsByJobs").field("template", &self.template).finish_non_exhaustive()
    }
}

/// A record as it stands.
struct Recorded {
    record: RunRecord,
    etag: String,
}

/// One dump on its way.
struct Watched<'a> {
    start: &'a StartDump,
    key: ObjectKey,
    job: JobId,
    /// When it was begun, or found.
    since: Instant,
    has_begun: bool,
    /// What was last said of it.
    seen: String,
    /// The cluster did not answer last time.
    unanswered: bool,
}

impl Executor {
    /// The same for a process that has dumps made by Jobs.
    #[must_use]
    pub fn with_jobs(self, by: DumpsByJobs) -> Executor {
        Executor { by_jobs: Some(Arc::new(by)), ..self }
    }

    /// Begins a Job, or finds the one that goes on since before, and waits for its end. When `token` is cancelled only the
    /// waiting ends.
    pub(super) async fn dump_by_job(
        &self,
        start: &StartDump,
        by: &DumpsByJobs,
        progress: &Progress,
        token: &CancellationToken,
    ) -> Result<Outcome, PortError> {
        let key = self.settings.layout.run_record(&start.dump.source, &start.run);
        let name = JobName::of(&self.settings.installation, &start.dump.source, &start.run);
        let job = match self.recorded(&key).await? {
            Some(found) if found.record.state != RunState::Running => return Ok(ended(&found.record)),
            Some(_) => match by.jobs.find(&name, &start.run).await? {
                Some(job) => job,
                None => {
                    let reason = "a process that is no Job makes it".to_owned();
                    return Ok(Outcome::Overtaken { reason });
                }
            },
            None => match by.jobs.begin(&self.order(start, by, name)).await {
                Ok(job) => job,
                Err(error) if error.may_pass() || error.kind() == ErrorKind::Conflict => return Err(error),
                Err(error) => {
                    let message = format!("its Job cannot be begun: {}", Chain(&error));
                    return Ok(self.fail(start, &key, message).await?.unwrap_or(Outcome::ClaimedElsewhere));
                }
            },
        };
        tracing::info!(job = %job.name, "a Job makes the dump");
        let (since, seen) = (Instant::now(), "it has not begun".to_owned());
        let mut watched = Watched { start, key, job, since, has_begun: false, seen, unanswered: false };
        let outcome = loop {
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = token.cancelled() => return Ok(Outcome::Stopped),
            }
            if let Some(outcome) = self.look_at(&mut watched, by).await? {
                break outcome;
            }
        };
        if let Outcome::RunEnded(RunEnd { state: RunState::Succeeded { .. }, .. }) = &outcome {
            self.count(start, progress).await;
        }
        Ok(outcome)
    }

    fn order(&self, start: &StartDump, by: &DumpsByJobs, name: JobName) -> JobOrder {
        let within = start.deadline.duration_since(self.ports.clock.now()).unsigned_abs();
        let words = ["backup", "dump", start.dump.source.as_str(), "--database", start.dump.database.as_str()];
        let (slot, attempt) = (start.run.slot.to_string(), start.run.attempt.to_string());
        let which = ["--slot", slot.as_str(), "--attempt", attempt.as_str()];
        JobOrder {
            name,
            template: start.settings.job_template.clone().unwrap_or_else(|| by.template.clone()),
            installation: self.settings.installation.clone(),
            source: start.dump.source.clone(),
            run: start.run.clone(),
            arguments: words.into_iter().chain(which).map(str::to_owned).collect(),
            deadline_seconds: (within + by.start_deadline + PAST_THE_DEADLINE).as_secs(),
        }
    }

    /// What came of it, if it is over.
    async fn look_at(&self, watched: &mut Watched<'_>, by: &DumpsByJobs) -> Result<Option<Outcome>, PortError> {
        match self.recorded(&watched.key).await {
            Ok(Some(found)) if found.record.state != RunState::Running => return Ok(Some(ended(&found.record))),
            Ok(_) => {}
            // The process goes on: it outlasts such an outage, and so does whoever waits for it.
            Err(error) if error.may_pass() => return Ok(None),
            Err(error) => return Err(error),
        }
        let state = match by.jobs.look(&watched.job).await {
            Ok(state) => state,
            Err(error) => {
                if !std::mem::replace(&mut watched.unanswered, true) {
                    tracing::info!(job = %watched.job.name, error = %Chain(&error), "the cluster does not say how the Job is: its record in the store will");
                }
                return Ok(None);
            }
        };
        watched.unanswered = false;
        let message = match state {
            JobState::Running => {
                watched.has_begun = true;
                return Ok(None);
            }
            JobState::Waiting { reason } if watched.has_begun || watched.since.elapsed() < by.start_deadline => {
                if watched.seen != reason {
                    tracing::info!(job = %watched.job.name, reason, "the Job waits");
                    watched.seen = reason;
                }
                return Ok(None);
            }
            JobState::Waiting { reason } => {
                by.jobs.remove(&watched.job).await?;
                let seconds = by.start_deadline.as_secs();
                format!("its Job {} had not begun after {seconds} s and was deleted: {reason}", watched.job.name)
            }
            JobState::Ended { reason } => format!("its Job {} has ended without a dump: {reason}", watched.job.name),
            JobState::Missing => {
                format!("its Job {} is gone and has left no dump; last seen of it: {}", watched.job.name, watched.seen)
            }
        };
        self.fail(watched.start, &watched.key, message).await
    }

    /// Writes down that the run has failed, unless its record says how it ended. `None` if somebody else has written to it
    /// just now: what stands then is read again.
    async fn fail(&self, start: &StartDump, key: &ObjectKey, message: String) -> Result<Option<Outcome>, PortError> {
        let claim = match self.recorded(key).await? {
            Some(found) if found.record.state != RunState::Running => return Ok(Some(ended(&found.record))),
            Some(found) => Claim::held(Arc::clone(&self.ports.store), key.clone(), found.record, found.etag),
            None => match self.claim(self.new_record(&start.dump.source, &start.run)).await? {
                Some(claim) => claim,
                None => return Ok(None),
            },
        };
        let failure = self.explain(message, &start.read_from.instance, claim.record().started_at).await;
        let state = RunState::Failed { finished_at: self.ports.clock.now(), failure };
        match self.end(claim, state).await? {
            Outcome::ClaimedElsewhere => Ok(None),
            outcome => Ok(Some(outcome)),
        }
    }

    async fn recorded(&self, key: &ObjectKey) -> Result<Option<Recorded>, PortError> {
        let found = match self.ports.store.get(key, RUN_RECORD_BYTES_MAX).await {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let invalid = |error| PortError::new(format!("read {key}"), ErrorKind::Invalid).because(error);
        let record = serde_json::from_slice(&found.bytes).map_err(|error: serde_json::Error| invalid(error))?;
        Ok(Some(Recorded { record, etag: found.etag }))
    }

    /// Counts what the Job has read and stored: its own process is gone before anybody could scrape it.
    async fn count(&self, start: &StartDump, progress: &Progress) {
        let key = self.settings.layout.manifest(&start.dump);
        let found = self.ports.store.get(&key, MANIFEST_BYTES_MAX).await;
        let manifest = found.map(|found| Manifest::read(&found.bytes, &start.dump));
        match manifest {
            Ok(Ok(manifest)) => {
                progress.set_read(manifest.uncompressed_bytes, manifest.rows);
                progress.add_stored(manifest.stored_bytes);
            }
            Ok(Err(error)) => tracing::warn!(error = %Chain(&error), "what the Job has read is not counted"),
            Err(error) => tracing::warn!(error = %Chain(&error), "what the Job has read is not counted"),
        }
    }
}

fn ended(record: &RunRecord) -> Outcome {
    let finished_at = record.state.finished_at().unwrap_or(record.started_at);
    Outcome::RunEnded(RunEnd { state: record.state.clone(), duration: finished_at.duration_since(record.started_at) })
}

#[cfg(test)]
mod tests;
