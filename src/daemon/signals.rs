//! Signals: SIGTERM and SIGINT end the daemon, a second one ends it at once, SIGHUP looks now.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::adapters::systemd::Systemd;
use crate::reconcile::Wakers;

/// The signals that are listened to.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Begins to listen. From here on SIGHUP no longer ends the process.
    pub(super) fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Watches until the daemon has to end at once.
    pub(super) async fn watch(
        mut self,
        stop: CancellationToken,
        at_once: CancellationToken,
        wakers: Wakers,
        read_config: Arc<Notify>,
        systemd: Arc<Systemd>,
    ) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.hang_up.recv() => {
                    tracing::info!("SIGHUP: looking now, and reading the configuration again");
                    read_config.notify_one();
                    wakers.now.notify_one();
                    continue;
                }
            }
            if stop.is_cancelled() {
                return at_once.cancel();
            }
            tracing::info!("a signal: stopping, running dumps are cancelled cleanly");
            systemd.stopping();
            stop.cancel();
        }
    }
}
