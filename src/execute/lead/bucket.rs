//! The record of the leader as an object in the destination bucket: for installations outside of Kubernetes.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::key::ObjectKey;
use crate::domain::leadership::{LEADER_RECORD_BYTES_MAX, Term};
use crate::execute::json;
use crate::ports::leadership::{LeaderLock, Standing};
use crate::ports::object_store::{Condition, ObjectStore};
use crate::ports::{ErrorKind, PortError};

/// An object that is written with `If-None-Match` and `If-Match`.
pub struct BucketLock {
    store: Arc<dyn ObjectStore>,
    key: ObjectKey,
}

impl std::fmt::Debug for BucketLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BucketLock({})", self.key)
    }
}

impl BucketLock {
    /// The object of this key.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, key: ObjectKey) -> BucketLock {
        BucketLock { store, key }
    }
}

#[async_trait]
impl LeaderLock for BucketLock {
    async fn read(&self) -> Result<Option<Standing>, PortError> {
        let found = match self.store.get(&self.key, LEADER_RECORD_BYTES_MAX).await {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let unread = |error: serde_json::Error| {
            PortError::new(format!("read `{}`", self.key), ErrorKind::Invalid)
                .because(format!("{error}; delete it if no newer strongroom runs"))
        };
        let term = serde_json::from_slice(&found.bytes).map_err(unread)?;
        Ok(Some(Standing { term, version: found.etag }))
    }

    async fn write(&self, term: &Term, over: Option<&Standing>) -> Result<Option<Standing>, PortError> {
        let condition = over.map_or(Condition::Absent, |over| Condition::Matches(over.version.clone()));
        match self.store.put(&self.key, json(&self.key, term)?, condition).await {
            Ok(written) => Ok(Some(Standing { term: term.clone(), version: written.etag })),
            // One that is gone cannot be matched.
            Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
