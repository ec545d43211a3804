//! A service that keeps numbers and raises alarms from outside.

use async_trait::async_trait;
use jiff::Timestamp;

use super::PortError;
use crate::domain::published::Datum;

/// Takes numbers.
#[async_trait]
pub trait MetricSink: Send + Sync {
    /// Hands over the numbers of one moment. Which of them arrived is unknown after an error; the next ones replace them.
    async fn put(&self, data: &[Datum], at: Timestamp) -> Result<(), PortError>;
}
