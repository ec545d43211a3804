//! The clock: the only source of time.

use async_trait::async_trait;
use jiff::Timestamp;

/// Wall time and waiting.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Returns when the clock shows `instant` or later, at once if it does already.
    async fn sleep_until(&self, instant: Timestamp);
}
