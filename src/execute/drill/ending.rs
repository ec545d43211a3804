//! The end of a drill: its evidence, and then its instance.

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{DrillError, Drilling, Findings};
use crate::domain::drill::{DRILL_RECORD_BYTES_MAX, DrillRecord, DrillState, FAULTS_MAX, Link, Phase};
use crate::domain::tags;
use crate::execute::claim::Claim;
use crate::execute::hold::Stop;
use crate::execute::link::link_to;
use crate::ports::{Chain, ErrorKind, PortError};

/// How long the end may take: RDS is asked to delete the instance, and is looked at until it is gone.
const TEARDOWN_MAX: SignedDuration = SignedDuration::from_mins(30);
/// Between two attempts to write what was found.
const WRITE_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// What becomes of a drill's instance.
enum Leave {
    /// It is not there any more.
    Gone,
    /// RDS deletes it.
    Leaving,
    /// The instance of that name is another installation's.
    NotOurs,
}

impl Drilling<'_> {
    /// Deletes the instance if RDS was asked for it, and waits until it is gone: for long, or while nobody is in a hurry. That
    /// it is gone is added to the evidence.
    pub(super) async fn tear_down(&self, token: &CancellationToken) {
        if self.claim.lock().await.record().ordered_at.is_none() {
            return;
        }
        let ports = &self.executor.ports;
        let lease = &self.start.lease;
        let until = ports.clock.now().saturating_add(TEARDOWN_MAX).unwrap_or(Timestamp::MAX);
        loop {
            match self.delete_own().await {
                Ok(Leave::Leaving) => {}
                Ok(Leave::Gone) => return self.torn_down().await,
                Ok(Leave::NotOurs) => return,
                // It is being made, or deleted already.
                Err(error) if error.kind() == ErrorKind::WrongState || error.may_pass() => {
                    tracing::debug!(instance.id = %lease, error = %Chain(&error), "the instance of a drill is not gone yet");
                }
                Err(error) => {
                    tracing::warn!(instance.id = %lease, error = %Chain(&error), "the instance of a drill cannot be deleted, it is tried again");
                    return;
                }
            }
            let now = ports.clock.now();
            if now >= until || token.is_cancelled() {
                tracing::warn!(instance.id = %lease, "the instance of a drill still stands: the next look deletes it");
                return;
            }
            let next = now.saturating_add(self.start.poll_interval).unwrap_or(until);
            tokio::select! {
                () = ports.clock.sleep_until(next) => {}
                () = token.cancelled() => {}
            }
        }
    }

    /// Asks for the deletion, unless the instance of that name bears the mark of another installation.
    async fn delete_own(&self) -> Result<Leave, PortError> {
        let lease = &self.start.lease;
        let Some(found) = self.executor.instances()?.details(lease.as_instance()).await? else {
            return Ok(Leave::Gone);
        };
        if !tags::may_be_lease(&found.setup.tags, &self.executor.settings.installation, lease) {
            return Ok(Leave::NotOurs);
        }
        match self.executor.ports.leases.delete(lease).await {
            Ok(()) => Ok(Leave::Leaving),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Leave::Gone),
            Err(error) => Err(error),
        }
    }

    /// Without it the evidence stands all the same.
    async fn torn_down(&self) {
        if let Err(error) = self.reached(Phase::TornDown).await {
            tracing::debug!(error = %Chain(&error), "that a drill's instance is gone is not written down");
        }
    }

    /// Writes the evidence; `false` if another daemon has taken the drill over.
    pub(super) async fn close(
        &self,
        found: Result<Findings, DrillError>,
        stopped: Option<Stop>,
        token: &CancellationToken,
    ) -> Result<bool, PortError> {
        let finished_at = self.executor.ports.clock.now();
        let errored = |message: String| DrillState::Errored { finished_at, message };
        let (state, mut notes) = match (found, stopped) {
            (Ok(found), _) if found.faults.is_empty() => {
                let Findings { tables, rows, notes, .. } = found;
                (DrillState::Passed { finished_at, tables, rows }, notes)
            }
            (Ok(found), _) => (DrillState::BackupBad { finished_at, faults: shown(found.faults) }, found.notes),
            (Err(_), Some(Stop::Deadline)) => {
                (errored(format!("it had not ended at its deadline, {}", self.start.deadline)), Vec::new())
            }
            (Err(_), _) if token.is_cancelled() => (errored("strongroom was stopped".to_owned()), Vec::new()),
            (Err(error), _) => (errored(Chain(&error).to_string()), Vec::new()),
        };
        let mut previous = None;
        if state.is_verdict() {
            match self.previous().await {
                Ok(link) => previous = link,
                Err(error) => notes.push(format!("not chained to the evidence before: {}", Chain(&error))),
            }
        }
        let mut claim = self.claim.lock().await;
        let mut record = claim.record().clone();
        (record.state, record.notes, record.previous) = (state, shown(notes), previous);
        self.write_patiently(&mut claim, record).await
    }

    /// An outage of the store must not cost what took hours to find.
    async fn write_patiently(&self, claim: &mut Claim<DrillRecord>, record: DrillRecord) -> Result<bool, PortError> {
        let clock = &self.executor.ports.clock;
        let until = clock.now().saturating_add(self.executor.settings.outage_tolerance).unwrap_or(Timestamp::MAX);
        loop {
            match claim.rewrite(record.clone()).await {
                Err(error) if error.may_pass() && clock.now() < until => {
                    tracing::warn!(error = %Chain(&error), "what a drill found cannot be written, it is tried again");
                }
                written => return written,
            }
            clock.sleep_until(clock.now().saturating_add(WRITE_AGAIN_AFTER).unwrap_or(until)).await;
        }
    }

    /// The evidence before, by the hash of what stands there.
    async fn previous(&self) -> Result<Option<Link>, PortError> {
        let Some(previous) = &self.start.previous else { return Ok(None) };
        let key = self.executor.settings.layout.drill_record(previous);
        link_to(self.executor.ports.store.as_ref(), &key, DRILL_RECORD_BYTES_MAX).await.map(Some)
    }
}

/// The first of them, and how many more there are.
fn shown(mut texts: Vec<String>) -> Vec<String> {
    if texts.len() > FAULTS_MAX {
        let more = texts.len() - FAULTS_MAX;
        texts.truncate(FAULTS_MAX);
        texts.push(format!("and {more} more"));
    }
    texts
}
