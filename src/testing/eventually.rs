//! Waiting for what takes its time: looks again and again, up to a bound.

use std::future::Future;

use jiff::SignedDuration;

use crate::ports::clock::Clock;

/// How to wait for the outside.
#[derive(Clone, Copy)]
pub(crate) struct Patience<'a> {
    pub(crate) clock: &'a dyn Clock,
    /// Between two looks.
    pub(crate) every: SignedDuration,
    /// Until it is given up.
    pub(crate) at_most: SignedDuration,
}

impl Patience<'_> {
    /// Looks until there is something to return.
    ///
    /// # Panics
    /// There is nothing within the bound: `what` says what was waited for.
    pub(crate) async fn until<T, F: Future<Output = Option<T>>>(&self, what: &str, mut look: impl FnMut() -> F) -> T {
        let until = self.clock.now() + self.at_most;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(self.clock.now() < until, "waited {} in vain: {what}", self.at_most);
            self.clock.sleep_until(self.clock.now() + self.every).await;
        }
    }

    /// Lets one interval pass.
    pub(crate) async fn pause(&self) {
        self.clock.sleep_until(self.clock.now() + self.every).await;
    }
}
