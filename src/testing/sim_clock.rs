//! Simulated time: true time runs on tokio's clock, which tests pause, and each machine's clock is off by as much as a test
//! says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::ports::clock::{Clock, Reference};

/// A step of the clock is noticed after this time by those who wait: the machine's clock looks again as often. To wake up for
/// nothing 4,000 times a day would make simulated years slow.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// One machine's clock. AWS's is one that nobody steps.
#[derive(Debug)]
pub(crate) struct SimClock {
    origin: Instant,
    began_at: Timestamp,
    shows: watch::Sender<Shows>,
}

/// What a clock shows, compared with true time.
#[derive(Debug, Clone, Copy)]
enum Shows {
    Ahead(SignedDuration),
    Frozen(Timestamp),
}

impl SimClock {
    /// A clock that is right, in a world whose time begins now with `began_at`.
    pub(crate) fn starting_at(began_at: Timestamp) -> Arc<SimClock> {
        SimClock::right(Instant::now(), began_at)
    }

    /// Another machine's clock in the same world; it is right until it is stepped.
    pub(crate) fn of_another_machine(&self) -> Arc<SimClock> {
        SimClock::right(self.origin, self.began_at)
    }

    fn right(origin: Instant, began_at: Timestamp) -> Arc<SimClock> {
        let (shows, _) = watch::channel(Shows::Ahead(SignedDuration::ZERO));
        Arc::new(SimClock { origin, began_at, shows })
    }

    /// What the time really is.
    pub(crate) fn true_now(&self) -> Timestamp {
        self.began_at + SignedDuration::try_from(self.origin.elapsed()).unwrap()
    }

    /// Sets the clock so far ahead of what it shows, or back.
    pub(crate) fn step(&self, by: SignedDuration) {
        let shown = self.now() + by;
        self.set(Shows::Ahead(shown.duration_since(self.true_now())));
    }

    /// Stops the clock: time goes on without it.
    pub(crate) fn freeze(&self) {
        self.set(Shows::Frozen(self.now()));
    }

    /// Sets the clock right, and lets it run.
    pub(crate) fn set_right(&self) {
        self.set(Shows::Ahead(SignedDuration::ZERO));
    }

    fn set(&self, shows: Shows) {
        self.shows.send_replace(shows);
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let shows = *self.shows.borrow();
        match shows {
            Shows::Ahead(ahead) => self.true_now() + ahead,
            Shows::Frozen(at) => at,
        }
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let mut steps = self.shows.subscribe();
        loop {
            let Ok(left) = Duration::try_from(instant.duration_since(self.now())) else { return };
            if left.is_zero() {
                return;
            }
            let frozen = matches!(*steps.borrow_and_update(), Shows::Frozen(_));
            tokio::select! {
                biased;
                Ok(()) = steps.changed() => wait(left.min(LOOK_AGAIN)).await,
                () = wait(left), if !frozen => {}
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this clock is made of tokio's, which tests pause")]
async fn wait(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// What AWS's answers say of one machine's clock.
#[derive(Debug)]
pub(crate) struct FakeReference {
    clock: Arc<SimClock>,
    answered: Mutex<bool>,
}

impl FakeReference {
    /// The reference for `clock`; AWS has answered already.
    pub(crate) fn of(clock: Arc<SimClock>) -> FakeReference {
        FakeReference { clock, answered: Mutex::new(true) }
    }

    /// Whether any answer has told the time yet.
    pub(crate) fn set_answered(&self, answered: bool) {
        *self.answered.lock().unwrap() = answered;
    }
}

impl Reference for FakeReference {
    fn ahead(&self) -> Option<SignedDuration> {
        let answered = *self.answered.lock().unwrap();
        answered.then(|| self.clock.true_now().duration_since(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, now};

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    #[tokio::test(start_paused = true)]
    async fn a_year_passes_at_once() {
        let clock = SimClock::starting_at(now());
        clock.sleep_until(at("2027-11-23T12:00:00Z")).await;
        assert_eq!(clock.now(), at("2027-11-23T12:00:00Z"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_forward_ends_a_wait_within_seconds_and_aws_tells_of_it() {
        let aws = SimClock::starting_at(now());
        let clock = aws.of_another_machine();
        let reference = FakeReference::of(Arc::clone(&clock));
        tokio::join!(clock.sleep_until(now() + HOUR), async {
            aws.sleep_until(now() + SignedDuration::from_mins(1)).await;
            clock.step(HOUR);
        });
        assert_eq!(aws.now(), now() + SignedDuration::from_secs(80), "the wait looks again every 20 s");
        assert_eq!(reference.ahead(), Some(-HOUR));
        reference.set_answered(false);
        assert_eq!(reference.ahead(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_or_frozen_holds_up_its_waits_until_it_is_set_right() {
        let aws = SimClock::starting_at(now());
        let clock = aws.of_another_machine();
        clock.step(-HOUR);
        assert_eq!(clock.now(), now() - HOUR);
        clock.freeze();
        tokio::join!(clock.sleep_until(now()), async {
            aws.sleep_until(now() + HOUR).await;
            assert_eq!(clock.now(), now() - HOUR);
            clock.set_right();
        });
        assert_eq!(clock.now(), clock.true_now());
        assert!(aws.now().duration_since(now() + HOUR) <= SignedDuration::from_secs(20));
    }
}
