//! What RDS says of an instance beside its state: logs, maintenance, measurements.

use async_trait::async_trait;
use jiff::Timestamp;

use super::PortError;
use crate::domain::diagnosis::Maintenance;
use crate::domain::id::InstanceId;

/// Questions that are asked when something is wrong.
#[async_trait]
pub trait Diagnostics: std::fmt::Debug + Send + Sync {
    /// The name of the log file that was written last; `None` where there is none.
    async fn newest_log(&self, instance: &InstanceId) -> Result<Option<String>, PortError>;

    /// The last lines of a log file: as many, or as many as RDS gives at once.
    async fn log_tail(&self, instance: &InstanceId, file: &str, lines: u32) -> Result<String, PortError>;

    /// What RDS will do to an instance.
    async fn maintenance(&self, instance: &InstanceId) -> Result<Vec<Maintenance>, PortError>;

    /// Bytes free on the volume of an instance, measured over a span of time, the oldest first.
    async fn free_storage(
        &self,
        instance: &InstanceId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<(Timestamp, u64)>, PortError>;
}
