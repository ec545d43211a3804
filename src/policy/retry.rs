//! How failed attempts at a slot are repeated: exponential back-off read from the recorded attempts, so that it holds
//! across restarts and can be tested as arithmetic.

use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};

/// Back-off between attempts at one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Wait after the first failure; doubled after each further one.
    pub initial_backoff: SignedDuration,
    /// Longest wait.
    pub backoff_max: SignedDuration,
    /// Attempts per slot.
    pub attempts_max: NonZeroU32,
}

/// Whether another attempt may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Now.
    Now,
    /// Not before this instant.
    NotBefore(Timestamp),
    /// No more attempts at this slot.
    Exhausted,
}

impl RetryPolicy {
    /// Whether an attempt may follow `failed` ones, the last of which ended at `last_ended_at`.
    #[must_use]
    pub fn next_attempt(&self, failed: u32, last_ended_at: Option<Timestamp>, now: Timestamp) -> Readiness {
        let Some(last_ended_at) = last_ended_at.filter(|_| failed > 0) else {
            return Readiness::Now;
        };
        if failed >= self.attempts_max.get() {
            return Readiness::Exhausted;
        }
        let not_before = last_ended_at.saturating_add(self.backoff_after(failed)).unwrap_or(Timestamp::MAX);
        if not_before <= now { Readiness::Now } else { Readiness::NotBefore(not_before) }
    }

    fn backoff_after(&self, failed: u32) -> SignedDuration {
        let doublings = failed.saturating_sub(1).min(30);
        self.initial_backoff.checked_mul(1_i32 << doublings).unwrap_or(self.backoff_max).min(self.backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        initial_backoff: SignedDuration::from_mins(1),
        backoff_max: SignedDuration::from_mins(60),
        attempts_max: NonZeroU32::new(8).unwrap(),
    };

    #[rstest]
    #[case(1, 1)]
    #[case(2, 2)]
    #[case(3, 4)]
    #[case(7, 60)]
    fn each_failure_doubles_the_wait_up_to_the_longest(#[case] failed: u32, #[case] minutes: i64) {
        let ended: Timestamp = "2026-11-22T03:00:00Z".parse().unwrap();
        let ready = ended + SignedDuration::from_mins(minutes);
        let just_before = ready - SignedDuration::from_secs(1);
        assert_eq!(POLICY.next_attempt(failed, Some(ended), just_before), Readiness::NotBefore(ready));
        assert_eq!(POLICY.next_attempt(failed, Some(ended), ready), Readiness::Now);
    }

    #[test]
    fn the_first_attempt_waits_for_nothing_and_the_last_is_the_last() {
        let now: Timestamp = "2026-11-22T03:00:00Z".parse().unwrap();
        assert_eq!(POLICY.next_attempt(0, None, now), Readiness::Now);
        assert_eq!(POLICY.next_attempt(8, Some(now), now + SignedDuration::from_hours(99)), Readiness::Exhausted);
    }
}
