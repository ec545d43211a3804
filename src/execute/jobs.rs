//! Dumps that Jobs of the cluster make: begun here, made by a process of their own, and their end read from the store.
//!
//! The record of the run is the truth, and the Job's process writes it. What the cluster says of the Job only tells why there
//! is no such record, or why nobody goes on with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::claim::Claim;
use super::{Executor, Outcome, RunEnd};
use crate::domain::id::{DatabaseName, InstallationId, Kind, RunId, Slot, SourceId};
use crate::domain::job::{JobId, JobName, JobState};
use crate::domain::key::ObjectKey;
use crate::domain::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::domain::progress::Progress;
use crate::domain::run::{LEASE, RUN_RECORD_BYTES_MAX, RunRecord, RunState};
use crate::plan::action::StartDump;
use crate::policy::{DumpSettings, Policy, Task};
use crate::ports::jobs::{JobOrder, Jobs};
use crate::ports::{Chain, ErrorKind, PortError};

/// Between two looks at a Job: a dump takes minutes at least, and the API server serves the whole cluster.
const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(5);
/// A process ends itself at the dump's deadline and says so; the cluster ends one that does not.
const PAST_THE_DEADLINE: Duration = Duration::from_mins(10);
/// A process that runs claims its run within seconds, or minutes where AWS throttles its first look.
const CLAIMS_WITHIN: Duration = Duration::from_mins(15);

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

impl DumpsByJobs {
    /// What a dump is made from.
    fn template<'a>(&'a self, settings: &'a DumpSettings) -> &'a str {
        settings.job_template.as_deref().unwrap_or(&self.template)
    }

    /// A Job for a run that has to be over within so long.
    fn order(
        &self,
        installation: &InstallationId,
        (source, database): (&SourceId, &DatabaseName),
        settings: &DumpSettings,
        run: RunId,
        within: Duration,
    ) -> JobOrder {
        JobOrder {
            name: JobName::of(installation, source, &run),
            template: self.template(settings).to_owned(),
            installation: installation.clone(),
            source: source.clone(),
            arguments: arguments(source, database, &run),
            run,
            deadline_seconds: (within + self.start_deadline + PAST_THE_DEADLINE).as_secs(),
        }
    }

    /// Asks the cluster whether it would make a Job from each template that dumps of `policy` are made from, and tells why
    /// not. Nothing is made.
    pub async fn try_templates(&self, policy: &Policy, now: Timestamp) -> Vec<PortError> {
        let mut orders = BTreeMap::new();
        for (source, obligation) in policy.obligations() {
            let Task::Dump { database, settings } = &obligation.task else { continue };
            let run = RunId { slot: Slot::at(now), kind: Kind::Dump, database: Some(database.clone()), attempt: 1 };
            let order = || self.order(&policy.installation, (&source.id, database), settings, run, Duration::ZERO);
            orders.entry(self.template(settings)).or_insert_with(order);
        }
        let mut refusals = Vec::new();
        for order in orders.values() {
            refusals.extend(self.jobs.try_out(order).await.err());
        }
        refusals
    }
}

/// A record as it stands.
struct Recorded {
    record: RunRecord,
    etag: String,
}

impl Recorded {
    fn end(&self) -> Option<Outcome> {
        RunEnd::of(&self.record).map(Outcome::RunEnded)
    }
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
    /// The version of the record that was seen last, and since when.
    record: Option<(String, Instant)>,
}

impl Watched<'_> {
    /// Whether the record is as it was for longer than a process leaves it that lives.
    fn is_left(&mut self, etag: &str) -> bool {
        match &self.record {
            Some((seen, since)) if seen == etag => since.elapsed() > LEASE.unsigned_abs(),
            Some(_) | None => {
                self.record = Some((etag.to_owned(), Instant::now()));
                false
            }
        }
    }

    /// What the cluster says of it; `None` while it says nothing.
    async fn ask(&mut self, by: &DumpsByJobs) -> Option<JobState> {
        match by.jobs.look(&self.job).await {
            Ok(state) => {
                self.unanswered = false;
                Some(state)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.unanswered, true) {
                    tracing::info!(job = %self.job.name, error = %Chain(&error), "the cluster does not say how the Job is: its record in the store will");
                }
                None
            }
        }
    }
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
        let found = self.recorded(&key).await?;
        if let Some(end) = found.as_ref().and_then(Recorded::end) {
            return Ok(end);
        }
        let job = match found {
            Some(_) => match by.jobs.find(&name, &start.run).await? {
                Some(job) => job,
                None => {
                    let reason = "a process that is no Job makes it".to_owned();
                    return Ok(Outcome::Overtaken { reason });
                }
            },
            None => match self.begin(start, by, token).await {
                Begun::Job(job) => job,
                Begun::Not(message) => {
                    let outcome = self.fail(start, &key, message, Holder::Nobody).await?;
                    return Ok(outcome.unwrap_or(Outcome::ClaimedElsewhere));
                }
                Begun::Stopped => return Ok(Outcome::Stopped),
            },
        };
        tracing::info!(job = %job.name, "a Job makes the dump");
        let (since, seen) = (Instant::now(), "it has not begun".to_owned());
        let mut watched = Watched { start, key, job, since, has_begun: false, seen, unanswered: false, record: None };
        let outcome = loop {
            tokio::select! {
                () = self.pause() => {}
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

    /// Begins it. A cluster that does not answer is asked again until the time is up in which a Job has to begin.
    async fn begin(&self, start: &StartDump, by: &DumpsByJobs, token: &CancellationToken) -> Begun {
        let (order, since) = (self.order(start, by), Instant::now());
        loop {
            let begun = tokio::select! {
                begun = by.jobs.begin(&order) => begun,
                () = token.cancelled() => return Begun::Stopped,
            };
            let error = match begun {
                Ok(job) => return Begun::Job(job),
                Err(error) => error,
            };
            let may_pass = error.may_pass() || error.kind() == ErrorKind::Conflict;
            if !may_pass || since.elapsed() >= by.start_deadline {
                return Begun::Not(format!("its Job cannot be begun: {}", Chain(&error)));
            }
            tracing::debug!(job = %order.name, error = %Chain(&error), "the Job is not begun yet");
            tokio::select! {
                () = self.pause() => {}
                () = token.cancelled() => return Begun::Stopped,
            }
        }
    }

    fn order(&self, start: &StartDump, by: &DumpsByJobs) -> JobOrder {
        let within = start.deadline.duration_since(self.ports.clock.now()).unsigned_abs();
        let what = (&start.dump.source, &start.dump.database);
        by.order(&self.settings.installation, what, &start.settings, start.run.clone(), within)
    }

    /// What came of it, if it is over.
    async fn look_at(&self, watched: &mut Watched<'_>, by: &DumpsByJobs) -> Result<Option<Outcome>, PortError> {
        match self.recorded(&watched.key).await {
            Ok(Some(found)) => {
                if let Some(end) = found.end() {
                    return Ok(Some(end));
                }
                if watched.is_left(&found.etag) {
                    // A node that is cut off keeps its pods for as long as it exists. Whoever looks next closes the run.
                    remove(by, &watched.job).await;
                    let reason = format!("the process of Job {} says nothing any more", watched.job.name);
                    return Ok(Some(Outcome::Overtaken { reason }));
                }
            }
            Ok(None) if watched.since.elapsed() >= by.start_deadline + CLAIMS_WITHIN => {
                remove(by, &watched.job).await;
                let name = &watched.job.name;
                let message = format!("its Job {name} has not claimed it; last seen of it: {}", watched.seen);
                return self.fail(watched.start, &watched.key, message, Holder::Nobody).await;
            }
            Ok(None) => {}
            // The process goes on: it outlasts such an outage, and so does whoever waits for it.
            Err(error) if error.may_pass() => return Ok(None),
            Err(error) => return Err(error),
        }
        let Some(state) = watched.ask(by).await else { return Ok(None) };
        let name = &watched.job.name;
        let (message, holder) = match state {
            JobState::Running => {
                (watched.has_begun, watched.seen) = (true, "its process runs".to_owned());
                return Ok(None);
            }
            JobState::Waiting { reason } if watched.has_begun || watched.since.elapsed() < by.start_deadline => {
                if watched.seen != reason {
                    tracing::info!(job = %name, reason, "the Job waits");
                    watched.seen = reason;
                }
                return Ok(None);
            }
            JobState::Waiting { reason } => {
                remove(by, &watched.job).await;
                let seconds = by.start_deadline.as_secs();
                (format!("its Job {name} had not begun after {seconds} s and is given up: {reason}"), Holder::Nobody)
            }
            JobState::Ended { reason } => (format!("its Job {name} has ended without a dump: {reason}"), Holder::Job),
            JobState::Missing => {
                let seen = &watched.seen;
                (format!("its Job {name} is gone and has left no dump; last seen of it: {seen}"), Holder::Job)
            }
        };
        self.fail(watched.start, &watched.key, message, holder).await
    }

    /// Writes down that the run has failed, unless its record, or a manifest of it, says otherwise. `None` if somebody else has
    /// the record: what stands then is read again.
    async fn fail(
        &self,
        start: &StartDump,
        key: &ObjectKey,
        message: String,
        holder: Holder,
    ) -> Result<Option<Outcome>, PortError> {
        let found = self.recorded(key).await?;
        if let Some(end) = found.as_ref().and_then(Recorded::end) {
            return Ok(Some(end));
        }
        let claim = match (found, holder) {
            (Some(found), Holder::Job) => {
                Claim::held(Arc::clone(&self.ports.store), key.clone(), found.record, found.etag)
            }
            // It has begun after all, and what it is doing is seen at the next look.
            (Some(_), Holder::Nobody) => return Ok(None),
            (None, _) => match self.claim(self.new_record(&start.dump.source, &start.run)).await? {
                Some(claim) => claim,
                None => return Ok(None),
            },
        };
        let finished_at = self.ports.clock.now();
        // A process that has died behind its last write has made a dump all the same.
        let state = match self.stored_manifest(start).await? {
            Some(manifest) if manifest.run == start.run => {
                RunState::Succeeded { finished_at, size_bytes: manifest.stored_bytes }
            }
            Some(_) | None => {
                let failure = self.explain(message, &start.read_from.instance, claim.record().started_at).await;
                RunState::Failed { finished_at, failure }
            }
        };
        let outcome = self.end(claim, state).await?;
        Ok(if matches!(outcome, Outcome::ClaimedElsewhere) { None } else { Some(outcome) })
    }

    async fn pause(&self) {
        let until = self.ports.clock.now().saturating_add(LOOK_EVERY).unwrap_or(Timestamp::MAX);
        self.ports.clock.sleep_until(until).await;
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

    /// What stands in the slot.
    async fn stored_manifest(&self, start: &StartDump) -> Result<Option<Manifest>, PortError> {
        let key = self.settings.layout.manifest(&start.dump);
        let found = match self.ports.store.get(&key, MANIFEST_BYTES_MAX).await {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let manifest = Manifest::read(&found.bytes, &start.dump);
        manifest.map(Some).map_err(|error| PortError::new(format!("read {key}"), ErrorKind::Invalid).because(error))
    }

    /// Counts what the Job has read and stored: its own process is gone before anybody could scrape it.
    async fn count(&self, start: &StartDump, progress: &Progress) {
        match self.stored_manifest(start).await {
            Ok(Some(manifest)) => {
                progress.set_read(manifest.uncompressed_bytes, manifest.rows);
                progress.add_stored(manifest.stored_bytes);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error = %Chain(&error), "what the Job has read is not counted"),
        }
    }
}

/// What came of beginning a Job.
enum Begun {
    Job(JobId),
    /// Why not.
    Not(String),
    Stopped,
}

/// Who may hold the record of a run that is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// Nobody yet, as far as is known: whoever holds it then is left in peace.
    Nobody,
    /// The process of the Job, which is gone.
    Job,
}

/// What the process of a Job is told.
fn arguments(source: &SourceId, database: &DatabaseName, run: &RunId) -> Vec<String> {
    // In one word, as it may begin with a hyphen; and Kubernetes would put in what it knows by `$(NAME)`.
    let database = format!("--database={}", database.as_str().replace('$', "$$"));
    let (slot, attempt) = (run.slot.to_string(), run.attempt.to_string());
    let words = ["backup", "dump", source.as_str(), &database, "--slot", &slot, "--attempt", &attempt];
    words.map(str::to_owned).to_vec()
}

/// Deletes a Job that nobody waits for any more. One that cannot be deleted does no harm: its run is closed to it.
async fn remove(by: &DumpsByJobs, job: &JobId) {
    if let Err(error) = by.jobs.remove(job).await {
        tracing::warn!(job = %job.name, error = %Chain(&error), "the Job cannot be deleted: `kubectl delete job` does it");
    }
}

#[cfg(test)]
mod tests;
