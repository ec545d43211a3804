//! The machine's clock: the only reader of wall time in the program.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::ports::clock::Clock;

/// Longest single wait. Timers run on the monotonic clock, which a step of the wall clock or a suspended machine does not
/// move, so long waits look at the wall clock again from time to time.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter that reads the clock for all others")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let mut before = self.now();
        loop {
            let now = self.now();
            // Set back, so that the instant may be years away by now: whoever waits has to think again.
            if now < before {
                return;
            }
            before = now;
            let Ok(left) = Duration::try_from(instant.duration_since(now)) else { return };
            if left.is_zero() {
                return;
            }
            wait(left.min(LOOK_AGAIN)).await;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the adapter that waits for all others")]
async fn wait(duration: Duration) {
    tokio::time::sleep(duration).await;
}
