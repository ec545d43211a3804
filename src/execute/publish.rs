//! Publishes the numbers of each look to a service outside. It runs beside the loop and never disturbs it: what cannot be
//! published is told once, and missing numbers are the alarm.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::domain::published::Datum;
use crate::execute::lead::Lead;
use crate::ports::clock::Clock;
use crate::ports::metric_sink::MetricSink;
use crate::ports::{Chain, ErrorKind, PortError};

/// How long one publication may take: the next one is due soon.
const PUT_WITHIN: Duration = Duration::from_secs(20);

/// What one look says.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// When it was looked.
    pub at: Timestamp,
    /// The numbers.
    pub data: Vec<Datum>,
}

/// Where numbers go, and how often.
#[derive(Clone)]
pub struct Publishing {
    /// Where.
    pub sink: Arc<dyn MetricSink>,
    /// How often.
    pub every: SignedDuration,
}

impl std::fmt::Debug for Publishing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publishing").field("every", &self.every).finish_non_exhaustive()
    }
}

/// Publishes.
pub struct Publisher {
    to: Publishing,
    clock: Arc<dyn Clock>,
    looks: watch::Receiver<Option<Arc<Numbers>>>,
    fresh_for: SignedDuration,
    failing: bool,
    lead: Lead,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Publisher")
    }
}

impl Publisher {
    /// One that publishes nothing of a look that is no longer fresh: a loop that is stuck must be missed.
    #[must_use]
    pub fn new(
        to: Publishing,
        clock: Arc<dyn Clock>,
        looks: watch::Receiver<Option<Arc<Numbers>>>,
        fresh_for: SignedDuration,
    ) -> Publisher {
        Publisher { to, clock, looks, fresh_for, failing: false, lead: Lead::alone() }
    }

    /// The same as one of several processes: it publishes only while it leads.
    #[must_use]
    pub fn led_by(self, lead: Lead) -> Publisher {
        Publisher { lead, ..self }
    }

    /// Publishes until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        // The first look is published as soon as it is there.
        tokio::select! {
            seen = self.looks.wait_for(Option::is_some) => if seen.is_err() { return },
            () = stop.cancelled() => return,
        }
        let mut due_at = self.clock.now();
        loop {
            let look = self.looks.borrow().clone().filter(|_| self.lead.holds());
            tokio::select! {
                () = self.publish(look.as_deref()) => {}
                () = stop.cancelled() => return,
            }
            // By a fixed beat: one that drifts leaves out a minute now and then, and somebody's alarm rings.
            let now = self.clock.now();
            while due_at <= now {
                due_at = due_at.saturating_add(self.to.every).unwrap_or(Timestamp::MAX);
            }
            tokio::select! {
                () = self.clock.sleep_until(due_at) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn publish(&mut self, look: Option<&Numbers>) {
        let now = self.clock.now();
        let Some(look) = look.filter(|look| now.duration_since(look.at) <= self.fresh_for) else { return };
        let late = |_| Err(PortError::new("publish metrics", ErrorKind::Transient).because("no answer in time"));
        match timeout(PUT_WITHIN, self.to.sink.put(&look.data, now)).await.unwrap_or_else(late) {
            Ok(()) if std::mem::take(&mut self.failing) => tracing::info!("metrics are published again"),
            Ok(()) => {}
            Err(error) if !std::mem::replace(&mut self.failing, true) => {
                tracing::warn!(error = %Chain(&error), "metrics cannot be published: alarms on them will ring; it is tried again");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::domain::published::MetricName;
    use crate::testing::logged::Logged;
    use crate::testing::now;
    use crate::testing::sim_clock::SimClock;

    /// Keeps the moments of what it was given, or refuses.
    #[derive(Default)]
    struct Sink {
        taken: Mutex<Vec<Timestamp>>,
        refuses: Mutex<bool>,
    }

    #[async_trait]
    impl MetricSink for Sink {
        async fn put(&self, data: &[Datum], at: Timestamp) -> Result<(), PortError> {
            assert_eq!(data.len(), 1);
            if *self.refuses.lock().unwrap() {
                return Err(PortError::new("publish", ErrorKind::PermissionDenied));
            }
            self.taken.lock().unwrap().push(at);
            Ok(())
        }
    }

    fn look(at: Timestamp) -> Option<Arc<Numbers>> {
        let datum = Datum { name: MetricName::Heartbeat, source: None, kind: None, value: 1.0 };
        Some(Arc::new(Numbers { at, data: vec![datum] }))
    }

    const MINUTE: SignedDuration = SignedDuration::from_mins(1);

    /// Runs a publisher for so many minutes, with a look at the beginning and then none.
    async fn minutes(count: i32, sink: &Arc<Sink>, change: impl AsyncFnOnce(&SimClock)) -> Vec<Timestamp> {
        let clock = SimClock::starting_at(now());
        let (looks, looked) = watch::channel(None);
        let to = Publishing { sink: Arc::clone(sink) as Arc<dyn MetricSink>, every: MINUTE };
        let publisher = Publisher::new(to, Arc::clone(&clock) as Arc<dyn Clock>, looked, MINUTE * 5);
        let stop = CancellationToken::new();
        tokio::join!(publisher.run(stop.clone()), async {
            looks.send_replace(look(clock.now()));
            change(&clock).await;
            clock.sleep_until(now() + MINUTE * count).await;
            stop.cancel();
        });
        sink.taken.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_is_stuck_is_missed() {
        let taken = minutes(30, &Arc::default(), async |_| {}).await;
        assert_eq!(taken, (0..=5).map(|minute| now() + MINUTE * minute).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_told_once_and_its_end_too() {
        let (logged, _guard) = Logged::on_this_thread();
        let sink = Arc::new(Sink { refuses: Mutex::new(true), ..Sink::default() });
        let taken = minutes(5, &sink, async |clock| {
            clock.sleep_until(now() + MINUTE * 2 + SignedDuration::from_secs(30)).await;
            *sink.refuses.lock().unwrap() = false;
        });
        let taken = taken.await;
        assert_eq!(taken.first(), Some(&(now() + MINUTE * 3)));
        let told = logged.take();
        assert_eq!(told.iter().filter(|line| line.contains("cannot be published")).count(), 1, "{told:?}");
    }
}
