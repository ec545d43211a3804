//! The bell: one cron job in UTC that says "look at the clock", and nothing else.
//!
//! What is due is decided from the wall clock and from what exists. So the known faults of the scheduler (offsets frozen over
//! a change to summer time, jobs that die after a step of the clock, slots dropped under load) cannot miss or double a
//! backup: the loop also wakes by itself, and a bell too many changes nothing.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// Every five seconds: soon enough for slots of whole minutes.
const EVERY_FIVE_SECONDS: &str = "*/5 * * * * *";

/// A bell that rings until it is taken down.
pub(super) struct Bell(JobScheduler);

impl Bell {
    /// Hangs up a bell that rings `notify`.
    pub(super) async fn hang_up(notify: Arc<Notify>) -> Result<Bell, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        let ring = Job::new_async(EVERY_FIVE_SECONDS, move |_, _| {
            let notify = Arc::clone(&notify);
            Box::pin(async move { notify.notify_one() })
        })?;
        scheduler.add(ring).await?;
        scheduler.start().await?;
        Ok(Bell(scheduler))
    }

    /// Stops ringing.
    pub(super) async fn take_down(mut self) {
        if let Err(error) = self.0.shutdown().await {
            tracing::debug!(error = %error, "the scheduler did not shut down");
        }
    }
}
