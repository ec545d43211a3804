//! AWS's time, as the `Date` of its answers tells it: a clock that nobody on this host can set wrong.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_types::date_time::Format;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::aws::timestamp;
use crate::ports::clock::{Clock, Reference};

/// How far AWS's clock is ahead of ours, by its newest answer and what ours has been stepped by since.
pub struct AwsClock {
    ours: Arc<dyn Clock>,
    read: Mutex<Option<Read>>,
}

/// One answer's date. Between two answers time passes on the monotonic clock, which nobody steps; it stands still while the
/// machine sleeps, so after a sleep our clock passes for wrong until the next answer. Every look begins with one.
#[derive(Debug, Clone, Copy)]
struct Read {
    /// How far AWS's clock was ahead of ours.
    ahead: SignedDuration,
    /// What ours showed.
    ours: Timestamp,
    at: Instant,
}

impl AwsClock {
    /// Nothing is known before the first answer.
    #[must_use]
    pub fn new(ours: Arc<dyn Clock>) -> AwsClock {
        AwsClock { ours, read: Mutex::new(None) }
    }

    fn read(&self, date: &str) {
        let Ok(date) = aws_smithy_types::DateTime::from_str(date, Format::HttpDate) else { return };
        let Some(date) = timestamp(&date) else { return };
        let ours = self.ours.now();
        let read = Read { ahead: ahead(date, ours), ours, at: Instant::now() };
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
    }
}

impl fmt::Debug for AwsClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsClock({:?})", self.ahead())
    }
}

impl Reference for AwsClock {
    fn ahead(&self) -> Option<SignedDuration> {
        let read = (*self.read.lock().unwrap_or_else(PoisonError::into_inner))?;
        let passed = SignedDuration::try_from(read.at.elapsed()).unwrap_or(SignedDuration::MAX);
        let stepped_by = self.ours.now().duration_since(read.ours).saturating_sub(passed);
        Some(read.ahead.saturating_sub(stepped_by))
    }
}

/// The least distance that explains an answer. `Date` is cut to whole seconds, so it was written at some moment of the
/// second that begins with it: only what lies outside that second is a difference between the clocks, or the time that
/// the answer took.
fn ahead(date: Timestamp, now: Timestamp) -> SignedDuration {
    let begins = date.duration_since(now);
    let ends = begins.saturating_add(SignedDuration::from_secs(1));
    if begins.is_positive() {
        begins
    } else if ends.is_negative() {
        ends
    } else {
        SignedDuration::ZERO
    }
}

/// Reads the `Date` of each answer, good or bad.
#[derive(Debug, Clone)]
pub(super) struct ReadDate(pub(super) Arc<AwsClock>);

impl Intercept for ReadDate {
    fn name(&self) -> &'static str {
        "ReadDate"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.0.read(date);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sim_clock::SimClock;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_seconds_that_a_date_is_cut_to_are_no_difference() {
        let date = at("2026-11-23T12:00:00Z");
        for (now, millis) in [
            ("2026-11-23T12:00:00Z", 0),
            ("2026-11-23T12:00:00.999Z", 0),
            ("2026-11-23T12:00:01.2Z", -200),
            ("2026-11-23T11:59:59.7Z", 300),
            ("2026-11-23T11:50:00Z", 600_000),
            ("2026-11-23T12:10:00Z", -599_000),
        ] {
            assert_eq!(ahead(date, at(now)), SignedDuration::from_millis(millis), "{now}");
        }
    }

    #[test]
    fn a_date_that_is_none_changes_nothing() {
        let clock = AwsClock::new(Arc::new(crate::adapters::system_clock::SystemClock));
        clock.read("yesterday");
        assert_eq!(clock.ahead(), None);
        clock.read("Mon, 23 Nov 2026 12:00:00 GMT");
        assert!(clock.ahead().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_of_our_clock_counts_at_once_and_not_first_with_the_next_answer() {
        let true_time = SimClock::starting_at(at("2026-11-23T12:00:00Z"));
        let ours = true_time.of_another_machine();
        let clock = AwsClock::new(Arc::clone(&ours) as Arc<dyn Clock>);
        clock.read("Mon, 23 Nov 2026 12:00:00 GMT");
        true_time.sleep_until(at("2026-11-23T13:00:00Z")).await;
        assert_eq!(clock.ahead(), Some(SignedDuration::ZERO), "time passes for both");
        ours.step(SignedDuration::from_hours(24));
        assert_eq!(clock.ahead(), Some(SignedDuration::from_hours(-24)));
        ours.set_right();
        assert_eq!(clock.ahead(), Some(SignedDuration::ZERO));
    }
}
