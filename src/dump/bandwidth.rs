//! How fast a dump may send: one bucket for all of its uploads.
//!
//! What is sent is whole parts. A part may go when all before it have had their time at the rate; so over any time what has been
//! sent is at most the rate times that time, and one part. Whoever waits keeps its part, and so its slot: the rows behind it
//! wait in the server.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The bucket.
#[derive(Debug, Default)]
pub struct Bandwidth {
    bytes_per_s_max: Option<NonZeroU64>,
    /// When all that was let through has had its time.
    free_at: Mutex<Option<Instant>>,
}

impl Bandwidth {
    /// `None` lets everything through at once.
    #[must_use]
    pub fn of(bytes_per_s_max: Option<NonZeroU64>) -> Bandwidth {
        Bandwidth { bytes_per_s_max, free_at: Mutex::new(None) }
    }

    /// Waits until so many bytes may be sent. One who stops waiting has used its time all the same.
    pub(super) async fn pass(&self, size_bytes: u64) {
        if let Some(at) = self.slot(size_bytes) {
            tokio::time::sleep_until(at).await;
        }
    }

    fn slot(&self, size_bytes: u64) -> Option<Instant> {
        let rate = self.bytes_per_s_max?;
        // In nanoseconds and 128 bits: what is rounded off each part would otherwise add up.
        let nanos = u128::from(size_bytes) * 1_000_000_000 / u128::from(rate.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let at = free_at.map_or(now, |free_at| free_at.max(now));
        *free_at = at.checked_add(takes);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn limited(bytes_per_s: u64) -> Bandwidth {
        Bandwidth::of(NonZeroU64::new(bytes_per_s))
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_get_the_rate_together_and_a_part_more_at_most() {
        let (bandwidth, began) = (limited(10 * MIB), Instant::now());
        let sizes: Vec<u64> = (0..200).map(|number| MIB + (number * 7_919) % (15 * MIB)).collect();
        let passing = sizes.iter().map(|size| async {
            bandwidth.pass(*size).await;
            (began.elapsed(), *size)
        });
        let mut passed = join_all(passing).await;
        passed.sort();
        let mut sent = 0;
        for (at, size) in &passed {
            let allowed = at.as_secs_f64() * (10 * MIB) as f64 + 1.0;
            assert!(sent as f64 <= allowed, "{sent} bytes had gone before the part at {at:?}");
            sent += size;
        }
        let (last, size) = passed.last().unwrap();
        let rate = (sent - size) as f64 / last.as_secs_f64();
        assert!((rate / (10 * MIB) as f64 - 1.0).abs() < 0.001, "{rate} bytes in a second: the rate is used, too");
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_was_sent_is_not_saved_up() {
        let (bandwidth, began) = (limited(MIB), Instant::now());
        tokio::time::advance(Duration::from_secs(3600)).await;
        bandwidth.pass(2 * MIB).await;
        bandwidth.pass(MIB).await;
        assert_eq!(began.elapsed().as_secs(), 3602);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_waits() {
        let began = Instant::now();
        Bandwidth::default().pass(u64::MAX).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
