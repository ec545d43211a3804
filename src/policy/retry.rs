//! How failed attempts at a slot are repeated: exponential back-off read from the recorded attempts, so that it holds
//! across restarts and can be tested as arithmetic.

use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};

/// Wait between attempts once the quick ones are used up.
pub const SLOW_PACE: SignedDuration = SignedDuration::from_hours(6);

/// Back-off between attempts at one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Wait after the first failure; doubled after each further one.
    pub initial_backoff: SignedDuration,
    /// Longest wait.
    pub backoff_max: SignedDuration,
    /// Attempts at this pace. Further ones follow at [`SLOW_PACE`]: what is broken over a night is mended in the morning,
    /// and the backup of a whole month must not hang on that night.
    pub attempts_max: NonZeroU32,
}

/// Whether another attempt may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Now.
    Now,
    /// Not before this instant.
    NotBefore(Timestamp),
}

impl RetryPolicy {
    /// Whether an attempt may follow `failed` ones, the last of which ended at `last_ended_at`.
    #[must_use]
    pub fn next_attempt(&self, failed: u32, last_ended_at: Option<Timestamp>, now: Timestamp) -> Readiness {
        let Some(last_ended_at) = last_ended_at.filter(|_| failed > 0) else {
            return Readiness::Now;
        };
        let wait = if failed < self.attempts_max.get() { self.backoff_after(failed) } else { SLOW_PACE };
        let not_before = last_ended_at.saturating_add(wait).unwrap_or(Timestamp::MAX);
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
    fn the_first_attempt_waits_for_nothing_and_late_ones_for_long() {
        let now: Timestamp = "2026-11-22T03:00:00Z".parse().unwrap();
        assert_eq!(POLICY.next_attempt(0, None, now), Readiness::Now);
        assert_eq!(POLICY.next_attempt(0, Some(now), now), Readiness::Now, "what ended was no failure");
        assert_eq!(POLICY.next_attempt(8, Some(now), now), Readiness::NotBefore(now + SLOW_PACE));
        assert_eq!(POLICY.next_attempt(8, Some(now), now + SLOW_PACE), Readiness::Now);
    }
}
