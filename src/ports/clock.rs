//! The clock: the only source of time.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

/// Wall time and waiting.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Returns when the clock shows `instant` or later, at once if it does already; and soon after it was set back.
    async fn sleep_until(&self, instant: Timestamp);
}

/// A clock that we do not set: what AWS's answers say the time is.
pub trait Reference: Send + Sync {
    /// How far that clock is ahead of ours, by the newest answer, and by every step of ours since; `None` before the
    /// first.
    fn ahead(&self) -> Option<SignedDuration>;
}
