//! The clock by which slots come due.

use jiff::{SignedDuration, Timestamp};

use crate::domain::inventory::Inventory;
use crate::policy::Policy;

/// The clock by which slots come due: ours, unless it is known to be wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotClock {
    /// How far AWS's clock is ahead of ours, where that is too far.
    ahead: SignedDuration,
}

impl SlotClock {
    /// A clock that is a year ahead would fill slots of next year, which then found themselves filled; one that is behind
    /// would fill none.
    pub(super) fn of(policy: &Policy, inventory: &Inventory) -> SlotClock {
        let wrong = inventory.clock_skew.filter(|ahead| ahead.abs() > policy.prune.clock_skew_max);
        SlotClock { ahead: wrong.unwrap_or_default() }
    }

    /// What it shows when our clock shows `ours`.
    pub(super) fn shows(self, ours: Timestamp) -> Timestamp {
        ours.saturating_add(self.ahead).unwrap_or(ours)
    }

    /// What our clock shows when this one shows `it`.
    pub(super) fn ours(self, it: Timestamp) -> Timestamp {
        it.saturating_sub(self.ahead).unwrap_or(it)
    }
}
