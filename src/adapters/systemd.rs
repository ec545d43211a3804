//! What systemd is told about a daemon that it has started (`sd_notify(3)`). Without systemd nothing is told to nobody.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Mutex;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

/// The service manager that has started this process, if one has.
#[derive(Debug)]
pub struct Systemd {
    /// Where it listens.
    socket: Option<SocketAddr>,
    /// How often at least it wants to hear that the daemon is alive.
    watchdog: Option<Duration>,
    told_alive_at: Mutex<Option<Instant>>,
}

impl Systemd {
    /// The one that listens at `socket`, if any does: the name of a file, or after an `@` a name that is no file's.
    #[must_use]
    pub fn of_this_process(socket: Option<&OsStr>) -> Systemd {
        let address = socket.map(address).transpose().unwrap_or_else(|error| {
            tracing::warn!(error = %error, "systemd cannot be told anything: NOTIFY_SOCKET is not the name of a socket");
            None
        });
        Systemd { socket: address, watchdog: sd_notify::watchdog_enabled(), told_alive_at: Mutex::default() }
    }

    /// The daemon has started, or has read its configuration again.
    pub fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// How the daemon is, in words for whoever asks.
    pub fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    /// The daemon reads its configuration; what comes after it is [`Systemd::ready`].
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(error = %error, "systemd is not told of the reload"),
        }
    }

    /// The daemon stops, which may take as long as its grace.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// The loop has turned. Systemd is told now and then: four times as often as it wants.
    pub fn alive(&self) {
        let Some(watchdog) = self.watchdog else { return };
        let now = Instant::now();
        let mut told_at = self.told_alive_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told_at.is_none_or(|at| now.duration_since(at) >= watchdog / 4) {
            *told_at = Some(now);
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    /// A message that does not arrive changes nothing here: what it is for is systemd's to decide.
    fn tell(&self, state: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let lines: Vec<String> = state.iter().map(ToString::to_string).collect();
        let sent = UnixDatagram::unbound().and_then(|own| own.send_to_addr(lines.join("\n").as_bytes(), socket));
        if let Err(error) = sent {
            tracing::debug!(error = %error, "systemd could not be told");
        }
    }
}

/// The crate's own `notify` knows no names but those of files.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(socket),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_files_is_told_from_one_that_is() {
        let file = address(OsStr::new("/run/systemd/notify")).unwrap();
        assert_eq!(file.as_pathname(), Some(std::path::Path::new("/run/systemd/notify")));
        let other = address(OsStr::new("@strongroom/notify")).unwrap();
        assert_eq!(other.as_abstract_name(), Some("strongroom/notify".as_bytes()));
        assert!(address(OsStr::new(&"x".repeat(200))).is_err());
    }
}
