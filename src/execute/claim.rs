//! Claims: the record of a run, written before anything else is done and changed only on top of the version last seen.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::may_be_done;
use crate::domain::key::ObjectKey;
use crate::domain::run::{RunRecord, RunState};
use crate::ports::object_store::{Condition, ObjectStore, Written};
use crate::ports::{ErrorKind, PortError};

/// Records are small; RDS events are the largest part of one.
pub const RECORD_BYTES_MAX: u64 = 1 << 20;

/// A claim on a run.
#[derive(Clone)]
pub struct Claim {
    store: Arc<dyn ObjectStore>,
    key: ObjectKey,
    record: RunRecord,
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

impl Claim {
    /// Takes the claim on a run; `None` if somebody else has it.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn take(
        store: Arc<dyn ObjectStore>,
        key: ObjectKey,
        record: RunRecord,
    ) -> Result<Option<Claim>, PortError> {
        let written = write(store.as_ref(), &key, &record, Condition::Absent).await?;
        Ok(written.map(|etag| Claim { store, key, record, etag }))
    }

    /// A claim whose record was read before.
    #[must_use]
    pub fn held(store: Arc<dyn ObjectStore>, key: ObjectKey, record: RunRecord, etag: String) -> Claim {
        Claim { store, key, record, etag }
    }

    /// The record as it stands.
    #[must_use]
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// Counts the lease anew; `false` if the claim is lost.
    ///
    /// # Errors
    /// The store could not be asked; the claim may stand or not.
    pub async fn renew(&mut self, now: Timestamp) -> Result<bool, PortError> {
        let record = self.record.renewed(now);
        let condition = Condition::Matches(self.etag.clone());
        let written = write(self.store.as_ref(), &self.key, &record, condition).await?;
        let Some(etag) = written else { return Ok(false) };
        (self.record, self.etag) = (record, etag);
        Ok(true)
    }

    /// Whether the record is still the one that was written last.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn stands(&self) -> Result<bool, PortError> {
        match self.store.get(&self.key, RECORD_BYTES_MAX).await {
            Ok(found) => Ok(found.etag == self.etag),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the end of the run.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn close(self, state: RunState) -> Result<Closing, PortError> {
        let record = self.record.closed(state);
        let written = write(self.store.as_ref(), &self.key, &record, Condition::Matches(self.etag)).await?;
        Ok(if written.is_some() { Closing::Closed } else { Closing::Lost })
    }
}

/// Writes a record and returns its entity tag; `None` if the condition does not hold because of somebody else.
///
/// A write whose answer is lost is repeated by the SDK and then meets its own effect, so the record that stands is
/// compared with the one that was to be written.
async fn write(
    store: &dyn ObjectStore,
    key: &ObjectKey,
    record: &RunRecord,
    condition: Condition,
) -> Result<Option<String>, PortError> {
    let json = serde_json::to_vec_pretty(record);
    let json = json.map_err(|error| PortError::new(format!("form {key}"), ErrorKind::Other).because(error))?;
    let bytes = Bytes::from(json);
    match store.put(key, bytes.clone(), condition).await {
        Ok(Written { etag, .. }) => Ok(Some(etag)),
        Err(error) if may_be_done(&error) => match store.get(key, RECORD_BYTES_MAX).await {
            Ok(found) if found.bytes == bytes => Ok(Some(found.etag)),
            Ok(_) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
            Err(missing) if missing.kind() == ErrorKind::NotFound && error.kind() == ErrorKind::AlreadyExists => {
                Ok(None)
            }
            Ok(_) | Err(_) => Err(error),
        },
        // A record that is gone cannot be matched.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claim({})", self.key)
    }
}
