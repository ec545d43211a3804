//! What systemd is told about a daemon that it has started (`sd_notify(3)`). Without systemd nothing is told to nobody.

use std::sync::Mutex;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

/// The service manager that has started this process, if one has.
#[derive(Debug)]
pub struct Systemd {
    /// How often at least it wants to hear that the daemon is alive.
    watchdog: Option<Duration>,
    told_alive_at: Mutex<Option<Instant>>,
}

impl Systemd {
    /// Finds out whether it wants to hear from this process.
    #[must_use]
    pub fn of_this_process() -> Systemd {
        Systemd { watchdog: sd_notify::watchdog_enabled(), told_alive_at: Mutex::default() }
    }

    /// The daemon has started, or has read its configuration again.
    pub fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The daemon reads its configuration; what comes after it is [`Systemd::ready`].
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(error = %error, "systemd is not told of the reload"),
        }
    }

    /// The daemon stops, which may take as long as its grace.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// The loop has turned. Systemd is told now and then: four times as often as it wants.
    pub fn alive(&self) {
        let Some(watchdog) = self.watchdog else { return };
        let now = Instant::now();
        let mut told_at = self.told_alive_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told_at.is_none_or(|at| now.duration_since(at) >= watchdog / 4) {
            *told_at = Some(now);
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// A message that does not arrive changes nothing here: what it is for is systemd's to decide.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(error = %error, "systemd could not be told");
    }
}
