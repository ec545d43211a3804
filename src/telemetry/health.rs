//! What the probes say: whether the loop turns, and what start-up still waits for.
//!
//! Liveness is the loop's heartbeat, readiness a set of latches that never open again: a daemon that has seen everything
//! once stays ready while AWS is out of reach, because restarting it would help nobody.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::policy::Cadence;

/// What the probes answer from. The loop reports to it; nothing reads a clock here.
#[derive(Debug)]
pub struct Health {
    heartbeat: Mutex<Heartbeat>,
    config_loaded: AtomicBool,
    inventory_seen: AtomicBool,
    listener_bound: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Heartbeat {
    last_at: Timestamp,
    age_max: SignedDuration,
}

/// The loop has not turned for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the loop last turned at {last_at}, {age:#} ago; after {age_max:#} it counts as stuck")]
pub struct Stuck {
    last_at: Timestamp,
    age: SignedDuration,
    age_max: SignedDuration,
}

/// What start-up still waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A valid configuration.
    Config,
    /// The first inventory without a gap.
    Inventory,
    /// The HTTP listener.
    Listener,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Missing::Config => "a valid configuration",
            Missing::Inventory => "the first complete inventory",
            Missing::Listener => "the HTTP listener",
        })
    }
}

impl Health {
    /// The health of a daemon that starts now. The loop gets as long for its first turn as for any other.
    #[must_use]
    pub fn new(started_at: Timestamp, cadence: &Cadence) -> Health {
        Health {
            heartbeat: Mutex::new(Heartbeat { last_at: started_at, age_max: cadence.look_age_max() }),
            config_loaded: AtomicBool::new(false),
            inventory_seen: AtomicBool::new(false),
            listener_bound: AtomicBool::new(false),
        }
    }

    /// The loop has turned.
    pub fn loop_turned(&self, now: Timestamp) {
        self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner).last_at = now;
    }

    /// The policy was reloaded, and the loop turns at another pace from now on.
    pub fn cadence_changed(&self, cadence: &Cadence) {
        self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner).age_max = cadence.look_age_max();
    }

    /// Every section of the inventory was seen, at least once.
    pub fn inventory_seen(&self) {
        self.inventory_seen.store(true, Ordering::Release);
    }

    /// A valid configuration is in force.
    pub fn config_loaded(&self) {
        self.config_loaded.store(true, Ordering::Release);
    }

    /// The HTTP listener takes connections; it reports that itself.
    pub fn listener_bound(&self) {
        self.listener_bound.store(true, Ordering::Release);
    }

    /// Whether the loop turns.
    ///
    /// # Errors
    /// Since when it does not. A clock that was set back makes the heartbeat younger, never older.
    pub fn live(&self, now: Timestamp) -> Result<(), Stuck> {
        let Heartbeat { last_at, age_max } = *self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.duration_since(last_at);
        if age < age_max { Ok(()) } else { Err(Stuck { last_at, age, age_max }) }
    }

    /// What start-up still waits for; nothing when the daemon is ready.
    #[must_use]
    pub fn missing(&self) -> Vec<Missing> {
        let latches = [
            (&self.config_loaded, Missing::Config),
            (&self.inventory_seen, Missing::Inventory),
            (&self.listener_bound, Missing::Listener),
        ];
        latches.into_iter().filter(|(latch, _)| !latch.load(Ordering::Acquire)).map(|(_, missing)| missing).collect()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::testing::{at, cadence, now};

    #[rstest]
    #[case("2026-11-23T12:00:00Z", true)]
    #[case("2026-11-23T12:07:59Z", true)]
    #[case("2026-11-23T12:08:00Z", false)]
    #[case("2026-11-23T11:00:00Z", true)]
    fn a_heartbeat_holds_for_three_turns_and_a_grace_and_a_clock_set_back_kills_nobody(
        #[case] asked_at: &str,
        #[case] live: bool,
    ) {
        let health = Health::new(now(), &cadence());
        assert_eq!(health.live(at(asked_at)).is_ok(), live);
    }

    #[test]
    fn a_slower_loop_is_given_more_time() {
        let health = Health::new(now(), &cadence());
        let slow = Cadence { reconcile_interval: SignedDuration::from_hours(1), ..cadence() };
        health.cadence_changed(&slow);
        assert_eq!(health.live(at("2026-11-23T15:00:00Z")), Ok(()));
    }
}
