//! Who leads: of several processes of one installation the one that acts. The others look, and show what they see.
//!
//! Leadership saves work, and fences nothing: two processes that both act do no harm, since names are deterministic, writes
//! conditional, and everything is read again before it is deleted (Kubernetes' own election says of itself that it does not
//! guarantee a single leader: `client-go/tools/leaderelection`).

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Version of the record that this code writes.
pub const LEADER_RECORD_VERSION: u32 = 1;

/// Largest record that is read.
pub const LEADER_RECORD_BYTES_MAX: u64 = 64 << 10;

/// What the leader writes down, again and again while it leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// Version of the record.
    pub version: u32,
    /// Which process leads; `None` after one that has given it back.
    pub holder: Option<String>,
    /// How long at most the others wait for a leader that is silent, in whole seconds.
    pub lease_seconds: u32,
    /// Since when this process leads, by its own clock: for people.
    pub acquired_at: Timestamp,
    /// When it was written last, by the leader's clock: for people. Nobody compares it with a clock of their own.
    pub renewed_at: Timestamp,
    /// How many times another process has taken over.
    pub transitions: u32,
}

/// The times that follow from a lease. A leader that hears nothing gives up at three fifths of it; others count from the last
/// change that they have seen, each on its own monotonic clock.
///
/// Let the last renewal take effect at 0. Its leader stops at 12/20 at the latest, as it counts from before it was sent. Another
/// has seen it by 2/20 and takes over by 18/20, but not before 16/20: a fifth is left to a leader that has to stop its work, and
/// it has tried three times at least by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    lease: Duration,
}

impl LeaseTimes {
    /// Of a lease.
    #[must_use]
    pub fn of(lease: Duration) -> LeaseTimes {
        LeaseTimes { lease }
    }

    /// The lease.
    #[must_use]
    pub fn lease(self) -> Duration {
        self.lease
    }

    /// How often a leader renews.
    #[must_use]
    pub fn renewal(self) -> Duration {
        self.lease / 5
    }

    /// How often others look.
    #[must_use]
    pub fn look(self) -> Duration {
        self.lease / 10
    }

    /// How long an answer is waited for: a hung connection must not cost the lead.
    #[must_use]
    pub fn answer(self) -> Duration {
        self.lease / 10
    }

    /// How soon a leader tries again that has got none.
    #[must_use]
    pub fn retry(self) -> Duration {
        self.lease / 20
    }

    /// How long a leader leads after it has sent the last renewal that took effect.
    #[must_use]
    pub fn held_for(self) -> Duration {
        self.lease / 5 * 3
    }

    /// How long others leave a record alone that does not change. A leader with a longer lease than ours is given its own.
    #[must_use]
    pub fn left_alone_for(self, term: &Term) -> Duration {
        let theirs = Duration::from_secs(term.lease_seconds.into());
        self.lease.max(theirs) / 5 * 4
    }
}
