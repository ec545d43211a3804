//! Claims: the record of a run, written before anything else is done and changed only on top of the version last seen.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::json;
use crate::domain::drill::{DRILL_RECORD_BYTES_MAX, DrillRecord, DrillState};
use crate::domain::key::ObjectKey;
use crate::domain::run::{ProcessIdentity, RUN_RECORD_BYTES_MAX, RunRecord, RunState};
use crate::ports::object_store::{Condition, ObjectStore, ReadObject, Written};
use crate::ports::{ErrorKind, PortError};

/// A record that claims work.
pub trait ClaimRecord: Clone + PartialEq + Serialize + DeserializeOwned {
    /// Largest one that is read.
    const BYTES_MAX: u64;

    /// Who works on it.
    fn owner(&self) -> &ProcessIdentity;

    /// Whether it has not ended.
    fn is_running(&self) -> bool;

    /// The same with its lease counted from `now`.
    #[must_use]
    fn renewed(&self, now: Timestamp) -> Self;
}

impl ClaimRecord for RunRecord {
    const BYTES_MAX: u64 = RUN_RECORD_BYTES_MAX;

    fn owner(&self) -> &ProcessIdentity {
        &self.owner
    }

    fn is_running(&self) -> bool {
        self.state == RunState::Running
    }

    fn renewed(&self, now: Timestamp) -> RunRecord {
        RunRecord::renewed(self, now)
    }
}

impl ClaimRecord for DrillRecord {
    const BYTES_MAX: u64 = DRILL_RECORD_BYTES_MAX;

    fn owner(&self) -> &ProcessIdentity {
        &self.owner
    }

    fn is_running(&self) -> bool {
        self.state == DrillState::Running
    }

    fn renewed(&self, now: Timestamp) -> DrillRecord {
        DrillRecord::renewed(self, now)
    }
}

/// A claim on a run, or on a drill.
#[derive(Clone)]
pub struct Claim<R = RunRecord> {
    store: Arc<dyn ObjectStore>,
    key: ObjectKey,
    record: R,
    etag: String,
}

/// What came of closing a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The record says so.
    Closed,
    /// Somebody else has written to the record.
    Lost,
}

impl<R: ClaimRecord> Claim<R> {
    /// Takes the claim; `None` if somebody else has it.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn take(store: Arc<dyn ObjectStore>, key: ObjectKey, record: R) -> Result<Option<Claim<R>>, PortError> {
        let written = write(store.as_ref(), &key, &record, Condition::Absent).await?;
        Ok(written.map(|etag| Claim { store, key, record, etag }))
    }

    /// Takes over a claim that nobody works on any more: only on top of exactly what was read. `None` if it has changed since.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn take_over(
        store: Arc<dyn ObjectStore>,
        key: ObjectKey,
        record: R,
        etag: String,
    ) -> Result<Option<Claim<R>>, PortError> {
        let written = write(store.as_ref(), &key, &record, Condition::Matches(etag)).await?;
        Ok(written.map(|etag| Claim { store, key, record, etag }))
    }

    /// A claim whose record was read before.
    #[must_use]
    pub fn held(store: Arc<dyn ObjectStore>, key: ObjectKey, record: R, etag: String) -> Claim<R> {
        Claim { store, key, record, etag }
    }

    /// The record as it stands.
    #[must_use]
    pub fn record(&self) -> &R {
        &self.record
    }

    /// Counts the lease anew; `false` if the claim is lost.
    ///
    /// # Errors
    /// The store could not be asked; the claim may stand or not.
    pub async fn renew(&mut self, now: Timestamp) -> Result<bool, PortError> {
        self.rewrite(self.record.renewed(now)).await
    }

    /// Whether nobody else has written to the record.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn stands(&mut self) -> Result<bool, PortError> {
        let found = match self.store.get(&self.key, R::BYTES_MAX).await {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(found.etag == self.etag || self.take_up(&found))
    }

    /// Writes a record over the one that stands, if that is ours; `false` if it is not.
    ///
    /// # Errors
    /// The store could not be asked; it may be written or not.
    pub async fn rewrite(&mut self, record: R) -> Result<bool, PortError> {
        // Once more after an earlier write of ours whose answer never came: its entity tag is not known yet.
        for _ in 0..2 {
            let condition = Condition::Matches(self.etag.clone());
            if let Some(etag) = write(self.store.as_ref(), &self.key, &record, condition).await? {
                (self.record, self.etag) = (record, etag);
                return Ok(true);
            }
            if !self.stands().await? {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Takes up the record that was found, if it is a claim of this very owner that still runs.
    fn take_up(&mut self, found: &ReadObject) -> bool {
        let Ok(record) = serde_json::from_slice::<R>(&found.bytes) else { return false };
        let ours = record.owner() == self.record.owner() && record.is_running();
        if ours {
            (self.record, self.etag) = (record, found.etag.clone());
        }
        ours
    }
}

impl Claim {
    /// Writes the end of the run.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn close(mut self, state: RunState) -> Result<Closing, PortError> {
        let closed = self.rewrite(self.record.closed(state)).await?;
        Ok(if closed { Closing::Closed } else { Closing::Lost })
    }
}

/// Whether an error says that the store may have done what was asked all the same.
fn may_be_done(error: &PortError) -> bool {
    matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Transient)
}

/// Writes a record and returns its entity tag; `None` if the condition does not hold because of somebody else.
///
/// A write whose answer is lost is repeated by the SDK and then meets its own effect, so the record that stands is
/// compared with the one that was to be written.
async fn write<R: ClaimRecord>(
    store: &dyn ObjectStore,
    key: &ObjectKey,
    record: &R,
    condition: Condition,
) -> Result<Option<String>, PortError> {
    let bytes = json(key, record)?;
    match store.put(key, bytes.clone(), condition).await {
        Ok(Written { etag, .. }) => Ok(Some(etag)),
        Err(error) if may_be_done(&error) => match store.get(key, R::BYTES_MAX).await {
            Ok(found) if found.bytes == bytes => Ok(Some(found.etag)),
            Ok(_) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
            Err(missing) if missing.kind() == ErrorKind::NotFound && error.kind() == ErrorKind::AlreadyExists => {
                Ok(None)
            }
            // What stands there decides, and was not seen.
            Err(unseen) if error.kind() == ErrorKind::AlreadyExists => Err(unseen),
            Ok(_) | Err(_) => Err(error),
        },
        // A record that is gone cannot be matched.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl<R> std::fmt::Debug for Claim<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claim({})", self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;
    use crate::testing::fake_store::{Call, FakeObjectStore, Strikes};

    fn record(host: &str) -> RunRecord {
        let owner = ProcessIdentity { host: host.to_owned(), pid_space: "b/1".to_owned(), pid: 7, start_ticks: 9 };
        let run = "20261122t030000z-snapshot-1".parse().unwrap();
        let source = "accounts".parse().unwrap();
        RunRecord::claim("bank-prod".parse().unwrap(), run, source, owner, at("2026-11-22T03:00:00Z"))
    }

    fn key() -> ObjectKey {
        ObjectKey::listed("strongroom/accounts/runs/20261122t030000z-snapshot-1.json")
    }

    async fn take(store: &Arc<FakeObjectStore>, host: &str) -> Option<Claim> {
        Claim::take(Arc::clone(store) as Arc<dyn ObjectStore>, key(), record(host)).await.unwrap()
    }

    #[tokio::test]
    async fn of_two_daemons_one_gets_the_claim() {
        let store = Arc::new(FakeObjectStore::default());
        assert!(take(&store, "one").await.is_some());
        assert!(take(&store, "two").await.is_none());
    }

    #[tokio::test]
    async fn a_claim_whose_answer_was_lost_is_still_ours() {
        let store = Arc::new(FakeObjectStore::default());
        store.fail_next(Call::Put, Strikes::After);
        let mut claim = take(&store, "one").await.expect("our own record stands there");
        store.fail_next(Call::Put, Strikes::After);
        assert!(claim.renew(at("2026-11-22T03:05:00Z")).await.unwrap());
        assert!(claim.stands().await.unwrap());
        store.fail_next(Call::Put, Strikes::After);
        let cancelled = RunState::Cancelled { finished_at: at("2026-11-22T03:06:00Z") };
        assert_eq!(claim.close(cancelled).await.unwrap(), Closing::Closed);
    }

    #[tokio::test]
    async fn a_renewal_that_was_written_unseen_is_taken_up() {
        let store = Arc::new(FakeObjectStore::default());
        let mut claim = take(&store, "one").await.unwrap();
        let unseen = claim.record().renewed(at("2026-11-22T03:05:00Z"));
        store.overwrite(&key(), &serde_json::to_vec_pretty(&unseen).unwrap());
        assert!(claim.renew(at("2026-11-22T03:10:00Z")).await.unwrap());
        assert!(claim.stands().await.unwrap());
    }

    #[tokio::test]
    async fn a_claim_that_somebody_has_closed_is_lost() {
        let store = Arc::new(FakeObjectStore::default());
        let mut claim = take(&store, "one").await.unwrap();
        let closed = record("one").closed(RunState::Abandoned { finished_at: at("2026-11-22T04:00:00Z") });
        store.overwrite(&key(), &serde_json::to_vec(&closed).unwrap());
        assert!(!claim.stands().await.unwrap());
        assert!(!claim.renew(at("2026-11-22T04:05:00Z")).await.unwrap());
        let done = RunState::Succeeded { finished_at: at("2026-11-22T04:06:00Z"), size_bytes: 1 };
        assert_eq!(claim.close(done).await.unwrap(), Closing::Lost);
        let stands: RunRecord = serde_json::from_slice(&store.bytes(&key()).unwrap()).unwrap();
        assert_eq!(stands.state, closed.state, "a terminal state never changes");
    }
}
