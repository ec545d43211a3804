//! Reads the configuration again from time to time: a change that cannot be used is told while the one before is still in force,
//! and not first when a restart fails on it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Origin;
use crate::ports::clock::Clock;
use crate::telemetry::metrics::Metrics;

/// How often files are read. A person who has just changed one does not wait for long, and it costs milliseconds.
const READ_EVERY: SignedDuration = SignedDuration::from_secs(30);

/// What the files say now.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Offer {
    /// What is in force.
    InForce,
    /// Something else that could be used.
    Other(String),
    /// Something that cannot be used, and where it is wrong.
    Invalid(String),
}

/// Watches the files that the daemon was configured from.
pub(super) struct ConfigWatch {
    origin: Origin,
    in_force: String,
    last: Offer,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// Where it is wrong, for alerts.
    told: watch::Sender<Option<String>>,
    /// Rung when there is something new to be told.
    look: Arc<Notify>,
}

impl ConfigWatch {
    /// One for a configuration that has just been loaded; `in_force` is its hash.
    pub(super) fn new(
        origin: Origin,
        in_force: String,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        told: watch::Sender<Option<String>>,
        look: Arc<Notify>,
    ) -> ConfigWatch {
        ConfigWatch { origin, in_force, last: Offer::InForce, clock, metrics, told, look }
    }

    /// Reads again each half minute, and whenever `again` is rung, until `stop` is cancelled.
    pub(super) async fn run(mut self, again: Arc<Notify>, stop: CancellationToken) {
        loop {
            let next = self.clock.now().saturating_add(READ_EVERY).unwrap_or(Timestamp::MAX);
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                () = again.notified() => {}
                () = stop.cancelled() => return,
            }
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let origin = self.origin.clone();
        let loading = tokio::task::spawn_blocking(move || origin.load());
        let Ok(loaded) = loading.await else {
            tracing::error!("reading the configuration again panicked: please report it");
            return;
        };
        let offer = match loaded {
            Ok(config) if config.sha256 == self.in_force => Offer::InForce,
            Ok(config) => Offer::Other(config.sha256),
            Err(errors) => Offer::Invalid(errors.places()),
        };
        if offer == self.last {
            return;
        }
        let was_invalid = matches!(self.last, Offer::Invalid(_));
        let places = match &offer {
            Offer::InForce if was_invalid => {
                tracing::info!("the configuration's files say again what is in force");
                None
            }
            Offer::InForce => None,
            Offer::Other(sha256) => {
                tracing::warn!(
                    config.sha256 = sha256,
                    "the configuration was changed and can be used: restart strongroom to put it in force"
                );
                None
            }
            Offer::Invalid(places) => {
                tracing::error!(
                    places,
                    "the configuration was changed and cannot be used: what was loaded before stays in force; `strongroom check` says what to write"
                );
                Some(places.clone())
            }
        };
        // Of a change that is not in force yet no more is known than that it could be.
        self.metrics.config_valid(places.is_none());
        self.told.send_replace(places);
        self.look.notify_one();
        self.last = offer;
    }
}
