//! What holds deletions back, whatever has expired.

use jiff::{SignedDuration, Timestamp};

/// Limits of deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrunePolicy {
    /// Whether the daemon deletes what has expired by itself; `strongroom prune --confirm` does in any case.
    pub automatic: bool,
    /// Deletions of recovery points in one [`CYCLE`]. More than so many expired at once, of one source or of all, wait for a
    /// person.
    pub deletes_per_cycle: usize,
    /// How long this process must have known the retention that is in force before it deletes by it.
    pub settle: SignedDuration,
    /// How long what failed runs left in the store stays for whoever wants to see it.
    pub orphan_grace: SignedDuration,
    /// For how long records of runs, verifications and deletions are kept at least, counted from the slot; `None`: for ever.
    /// What tells of a recovery point that stands is kept in any case.
    pub keep_evidence: Option<SignedDuration>,
    /// A clock that is further from AWS's than this judges no age.
    pub clock_skew_max: SignedDuration,
}

impl PrunePolicy {
    /// The moment from which on evidence is kept; `None`: all of it is.
    #[must_use]
    pub fn evidence_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.keep_evidence.and_then(|kept| now.checked_sub(kept).ok())
    }
}

/// The time over which [`PrunePolicy::deletes_per_cycle`] counts.
pub const CYCLE: SignedDuration = SignedDuration::from_hours(1);

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::testing::{at, now, policy};

    #[rstest]
    #[case::for_a_year(Some(SignedDuration::from_hours(365 * 24)), Some(at("2025-11-23T12:00:00Z")))]
    #[case::for_ever(None, None)]
    #[case::for_longer_than_time_has_been(Some(SignedDuration::MAX), None)]
    fn evidence_is_kept_for_as_long_as_is_configured(
        #[case] keep_evidence: Option<SignedDuration>,
        #[case] since: Option<Timestamp>,
    ) {
        let limits = PrunePolicy { keep_evidence, ..policy(&[]).prune };
        assert_eq!(limits.evidence_since(now()), since);
    }
}
