//! What is measured of a server from outside of it.

use async_trait::async_trait;
use jiff::Timestamp;

use super::PortError;
use crate::domain::id::InstanceId;

/// Measurements of the instances of one region.
#[async_trait]
pub trait ServerMetrics: Send + Sync {
    /// Bytes free on the volume of an instance, as last measured in the quarter of an hour before `now`; `None` if nothing was.
    ///
    /// # Errors
    /// Nobody answers, or we may not ask.
    async fn free_storage_bytes(&self, instance: &InstanceId, now: Timestamp) -> Result<Option<u64>, PortError>;
}
