//! A store that outlasts an outage: what a dump has read for hours must not be thrown away because S3 or STS is down for
//! some minutes.
//!
//! The SDK repeats a request for seconds; this repeats it for as long as is configured. Every repeated write is either the same part of
//! the same upload, or conditional, so a repetition that meets its own effect is seen as such by the caller.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::domain::bucket::BucketFacts;
use crate::domain::inventory::{Complete, OpenUpload};
use crate::domain::key::ObjectKey;
use crate::domain::prune_record::ObjectVersion;
use crate::ports::clock::Clock;
use crate::ports::object_store::{
    ByteStream, Condition, CopySource, DeletedVersion, ListedVersion, ObjectFacts, ObjectStore, Part, PartReceipt,
    ReadObject, WholeObject, Written,
};
use crate::ports::{Chain, PortError};

/// Wait after the first failure; doubled after each further one, up to [`WAIT_MAX`].
const WAIT_FIRST: SignedDuration = SignedDuration::from_secs(1);
/// Longest wait.
const WAIT_MAX: SignedDuration = SignedDuration::from_secs(60);

/// Repeats requests that may work the next time.
#[derive(Clone)]
pub(super) struct PatientStore {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) clock: Arc<dyn Clock>,
    /// How long one request is repeated.
    pub(super) tolerance: SignedDuration,
    /// Ends all patience.
    pub(super) stop: CancellationToken,
}

/// The patience with one request.
struct Patience<'a> {
    store: &'a PatientStore,
    until: Timestamp,
    wait: SignedDuration,
}

impl PatientStore {
    fn patience(&self) -> Patience<'_> {
        let until = self.clock.now().saturating_add(self.tolerance).unwrap_or(Timestamp::MAX);
        Patience { store: self, until, wait: WAIT_FIRST }
    }
}

impl Patience<'_> {
    /// Waits before the next repetition, or says that there is none.
    async fn wait_after(&mut self, error: PortError) -> Result<(), PortError> {
        let PatientStore { clock, stop, .. } = self.store;
        let next = clock.now().saturating_add(self.wait).unwrap_or(Timestamp::MAX);
        if !error.may_pass() || next > self.until || stop.is_cancelled() {
            return Err(error);
        }
        tracing::warn!(error = %Chain(&error), "the store does not answer well, the request is repeated");
        self.wait = self.wait.saturating_mul(2).min(WAIT_MAX);
        tokio::select! {
            () = clock.sleep_until(next) => Ok(()),
            () = stop.cancelled() => Err(error),
        }
    }
}

/// Repeats a request until it works, fails for good, or patience is at its end.
macro_rules! patiently {
    ($self:ident, $request:expr) => {{
        let mut patience = $self.patience();
        loop {
            match $request.await {
                Ok(done) => break Ok(done),
                Err(error) => patience.wait_after(error).await?,
            }
        }
    }};
}

#[async_trait]
impl ObjectStore for PatientStore {
    async fn list_versions(&self, prefix: &str) -> Result<Complete<ListedVersion>, PortError> {
        patiently!(self, self.store.list_versions(prefix))
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Complete<OpenUpload>, PortError> {
        patiently!(self, self.store.list_uploads(prefix))
    }

    async fn get(&self, key: &ObjectKey, size_bytes_max: u64) -> Result<ReadObject, PortError> {
        patiently!(self, self.store.get(key, size_bytes_max))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectFacts, PortError> {
        patiently!(self, self.store.head(key))
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes, condition: Condition) -> Result<Written, PortError> {
        patiently!(self, self.store.put(key, bytes.clone(), condition.clone()))
    }

    async fn create_upload(&self, key: &ObjectKey) -> Result<OpenUpload, PortError> {
        patiently!(self, self.store.create_upload(key))
    }

    async fn upload_part(&self, upload: &OpenUpload, part: Part) -> Result<PartReceipt, PortError> {
        patiently!(self, self.store.upload_part(upload, part.clone()))
    }

    async fn complete_upload(&self, upload: &OpenUpload, whole: WholeObject) -> Result<(), PortError> {
        patiently!(self, self.store.complete_upload(upload, whole.clone()))
    }

    async fn abort_upload(&self, upload: &OpenUpload) -> Result<(), PortError> {
        // Not repeated: whoever aborts is on the way out, and the planner aborts what is left.
        self.store.abort_upload(upload).await
    }

    async fn head_version(&self, object: &ObjectVersion) -> Result<ObjectFacts, PortError> {
        patiently!(self, self.store.head_version(object))
    }

    async fn read_version(&self, object: &ObjectVersion) -> Result<ByteStream, PortError> {
        patiently!(self, self.store.read_version(object))
    }

    async fn read_range(&self, object: &ObjectVersion, bytes: Range<u64>) -> Result<ByteStream, PortError> {
        patiently!(self, self.store.read_range(object, bytes.clone()))
    }

    async fn delete_versions(&self, versions: &[ObjectVersion]) -> Result<Vec<DeletedVersion>, PortError> {
        // Not repeated: deletions are for the planner to look at again.
        self.store.delete_versions(versions).await
    }

    async fn copy_from(&self, source: &CopySource, key: &ObjectKey) -> Result<(), PortError> {
        patiently!(self, self.store.copy_from(source, key))
    }

    async fn bucket(&self) -> Result<BucketFacts, PortError> {
        patiently!(self, self.store.bucket())
    }
}
