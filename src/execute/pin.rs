//! Sets and releases pins.

use super::{Executor, json};
use crate::domain::id::SourceId;
use crate::domain::pin::{PIN_VERSION, Pin};
use crate::domain::prune_record::ObjectVersion;
use crate::ports::object_store::{Condition, DeletedVersion};
use crate::ports::{ErrorKind, PortError};

/// What came of pinning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// The pin stands now.
    Now,
    /// There was one already.
    Before,
}

impl Executor {
    /// Pins a recovery point.
    ///
    /// # Errors
    /// The store could not be written.
    pub async fn pin(&self, source: &SourceId, point: &str, reason: Option<String>) -> Result<Pinned, PortError> {
        let key = self.settings.layout.pin(source, point);
        let pin = Pin { version: PIN_VERSION, point: point.to_owned(), reason, pinned_at: self.ports.clock.now() };
        match self.ports.store.put(&key, json(&key, &pin)?, Condition::Absent).await {
            Ok(_) => Ok(Pinned::Now),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Pinned::Before),
            Err(error) => Err(error),
        }
    }

    /// Releases a recovery point: every version of its pin goes.
    ///
    /// # Errors
    /// The store could not be read or written, or keeps the pin.
    pub async fn unpin(&self, source: &SourceId, point: &str) -> Result<(), PortError> {
        let key = self.settings.layout.pin(source, point);
        let listed = self.ports.store.list_versions(key.as_str()).await?;
        let versions: Vec<ObjectVersion> = listed
            .iter()
            .filter(|version| version.key == key)
            .map(|version| ObjectVersion { key: key.clone(), version_id: version.version_id.clone() })
            .collect();
        if versions.is_empty() {
            return Ok(());
        }
        for outcome in self.ports.store.delete_versions(&versions).await? {
            if let DeletedVersion::Refused { reason } = outcome {
                return Err(PortError::new(format!("delete {key}"), ErrorKind::PermissionDenied).because(reason));
            }
        }
        Ok(())
    }
}
