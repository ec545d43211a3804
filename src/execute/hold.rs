//! Holding a claim while work goes on for it.

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::Executor;
use super::claim::{Claim, ClaimRecord};
use crate::domain::run::LEASE;
use crate::ports::Chain;

/// A claim is renewed this often: two renewals may fail before the lease ends.
const RENEW_EVERY: SignedDuration = SignedDuration::from_secs(LEASE.as_secs() / 3);

/// Why work was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It took too long.
    Deadline,
    /// Another daemon took the run for dead and closed it.
    ClaimLost,
}

impl Executor {
    /// Renews the claim and watches the deadline until the work has `finished`; orders it to `stop` and says why.
    pub(super) async fn hold_claim<R: ClaimRecord>(
        &self,
        claim: &Mutex<Claim<R>>,
        deadline: Timestamp,
        finished: &CancellationToken,
        stop: &CancellationToken,
    ) -> Option<Stop> {
        loop {
            let now = self.ports.clock.now();
            let renew_at = now.saturating_add(RENEW_EVERY).unwrap_or(Timestamp::MAX);
            tokio::select! {
                () = finished.cancelled() => return None,
                () = self.ports.clock.sleep_until(deadline.min(renew_at)) => {}
            }
            let now = self.ports.clock.now();
            if deadline <= now {
                stop.cancel();
                return Some(Stop::Deadline);
            }
            match claim.lock().await.renew(now).await {
                Ok(true) => {}
                Ok(false) => {
                    stop.cancel();
                    return Some(Stop::ClaimLost);
                }
                // The lease outlasts two missed renewals; the claim is asked for again before anything is committed.
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "the claim could not be renewed, it is tried again")
                }
            }
        }
    }
}
