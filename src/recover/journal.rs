//! The journal of a recovery, in the destination bucket: every change is made on top of what was read, or not at all.

use bytes::Bytes;

use super::{RecoverError, Tools};
use crate::domain::id::SourceId;
use crate::domain::key::ObjectKey;
use crate::domain::recovery::{RECOVERY_BYTES_MAX, RECOVERY_VERSION, Recovery};
use crate::ports::object_store::Condition;
use crate::ports::{ErrorKind, PortError};

/// A journal as it stands in the store.
#[derive(Debug, Clone)]
pub struct Journal {
    recovery: Recovery,
    etag: String,
}

impl Journal {
    /// The journal of a source that is open, or ended last.
    ///
    /// # Errors
    /// The store does not give it, or it cannot be read.
    pub async fn current(tools: &Tools, source: &SourceId) -> Result<Option<Journal>, RecoverError> {
        let key = tools.layout.current_recovery(source);
        let object = match tools.store.get(&key, RECOVERY_BYTES_MAX).await {
            Ok(object) => object,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match serde_json::from_slice::<Recovery>(&object.bytes) {
            Ok(recovery) if recovery.version <= RECOVERY_VERSION => Ok(Some(Journal { recovery, etag: object.etag })),
            Ok(_) => Err(RecoverError::Unreadable { key, error: None }),
            Err(error) => Err(RecoverError::Unreadable { key, error: Some(error) }),
        }
    }

    /// Begins a journal in the place of one that has ended, if there is any.
    ///
    /// # Errors
    /// Somebody has begun one, too, or the store refuses.
    pub async fn begin(tools: &Tools, recovery: Recovery, after: Option<Journal>) -> Result<Journal, RecoverError> {
        let condition = after.map_or(Condition::Absent, |ended| Condition::Matches(ended.etag));
        let etag = write(tools, &tools.layout.current_recovery(&recovery.source), &recovery, condition).await?;
        Ok(Journal { recovery, etag })
    }

    /// What it says.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Whether it stands as we have written it last. Looked at before anything outside is changed: whoever has slept meanwhile
    /// must not do what others have done, or undone, since.
    ///
    /// # Errors
    /// Somebody else has changed it, or the store does not give it.
    pub async fn check(&self, tools: &Tools) -> Result<(), RecoverError> {
        let key = tools.layout.current_recovery(&self.recovery.source);
        let stands = tools.store.get(&key, RECOVERY_BYTES_MAX).await?;
        if stands.etag == self.etag { Ok(()) } else { Err(RecoverError::Elsewhere { key }) }
    }

    /// Changes it in the store, then here.
    ///
    /// # Errors
    /// Somebody else has changed it, or the store refuses; nothing is changed then.
    pub async fn change(&mut self, tools: &Tools, change: impl FnOnce(&mut Recovery)) -> Result<(), RecoverError> {
        let mut changed = self.recovery.clone();
        change(&mut changed);
        if changed == self.recovery {
            return Ok(());
        }
        if !changed.is_under_way() {
            // Under its own name first: the next recovery takes the place of this one.
            let kept = tools.layout.recovery(&changed.source, changed.begun);
            match write(tools, &kept, &changed, Condition::Absent).await {
                // It has ended before and was undone since: the store's versions tell both.
                Err(RecoverError::Elsewhere { .. }) => {
                    self.check(tools).await?;
                    let object = tools.store.get(&kept, RECOVERY_BYTES_MAX).await?;
                    write(tools, &kept, &changed, Condition::Matches(object.etag)).await?;
                }
                written => {
                    written?;
                }
            }
        }
        let key = tools.layout.current_recovery(&changed.source);
        self.etag = write(tools, &key, &changed, Condition::Matches(self.etag.clone())).await?;
        self.recovery = changed;
        Ok(())
    }
}

/// Writes it under a condition. An answer that got lost is cleared up by reading it back.
async fn write(
    tools: &Tools,
    key: &ObjectKey,
    recovery: &Recovery,
    condition: Condition,
) -> Result<String, RecoverError> {
    let bytes = serde_json::to_vec_pretty(recovery)
        .map_err(|error| PortError::new(format!("write the journal {key}"), ErrorKind::Invalid).because(error))?;
    match tools.store.put(key, Bytes::from(bytes.clone()), condition).await {
        Ok(written) => Ok(written.etag),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let stands = tools.store.get(key, RECOVERY_BYTES_MAX).await?;
            if stands.bytes == bytes { Ok(stands.etag) } else { Err(RecoverError::Elsewhere { key: key.clone() }) }
        }
        Err(error) => Err(error.into()),
    }
}
