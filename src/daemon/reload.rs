//! Puts a changed configuration in force while the daemon runs; and one that cannot be used is told, not first when a restart
//! fails on it.
//!
//! Files are read every half minute rather than watched: a ConfigMap is swapped by a link, editors rename, and no such event is
//! lost. What is under way goes on by the configuration that it began with.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::assembly::assemble;
use crate::adapters::systemd::Systemd;
use crate::config::{Changes, Config, ConfigErrors, Origin};
use crate::domain::memory::MemoryUse;
use crate::ports::RequestObserver;
use crate::ports::clock::Clock;
use crate::reconcile::{Means, Wanted};
use crate::telemetry::metrics::Metrics;

/// How often files are read. A person who has just changed one does not wait for long, and it costs milliseconds.
const READ_EVERY: SignedDuration = SignedDuration::from_secs(30);
/// Files that are the same after this long are written whole.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(2);
/// Changed keys that one line of the log names.
const KEYS_SHOWN: usize = 20;

/// What the files say now.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Offer {
    /// What is in force.
    InForce,
    /// Something else, by its hash, that needs a restart.
    NeedsRestart(String),
    /// Something that cannot be used, and where it is wrong.
    Invalid(String),
}

impl Offer {
    /// For whoever asks systemd.
    fn in_words(&self) -> &'static str {
        match self {
            Offer::InForce => "the configuration's files are in force",
            Offer::NeedsRestart(_) => "the configuration's files need a restart to come in force",
            Offer::Invalid(_) => "the configuration's files cannot be used: what was loaded before is in force",
        }
    }
}

/// The parts of a daemon that a reload tells.
pub(super) struct Told {
    /// Counts requests to AWS.
    pub(super) observer: RequestObserver,
    /// Says whether the files can be used.
    pub(super) metrics: Arc<Metrics>,
    /// The memory of dumps that are under way.
    pub(super) memory: Arc<MemoryUse>,
    /// What the loop wants.
    pub(super) wanted: watch::Sender<Wanted>,
    /// Where the files are wrong, for alerts.
    pub(super) config_error: watch::Sender<Option<String>>,
    /// Rung when there is something new.
    pub(super) look: Arc<Notify>,
    /// Whoever has sent the signal.
    pub(super) systemd: Arc<Systemd>,
}

/// Reads the files that the daemon was configured from.
pub(super) struct Reloader {
    origin: Origin,
    effective: Value,
    sha256: String,
    last: Offer,
    clock: Arc<dyn Clock>,
    told: Told,
}

impl Reloader {
    /// One for a configuration that has just been loaded from `origin`.
    pub(super) fn new(origin: Origin, effective: Value, sha256: String, clock: Arc<dyn Clock>, told: Told) -> Reloader {
        Reloader { origin, effective, sha256, last: Offer::InForce, clock, told }
    }

    /// Reads again each half minute, and whenever `again` is rung, until `stop` is cancelled.
    pub(super) async fn run(mut self, again: Arc<Notify>, stop: CancellationToken) {
        loop {
            let is_told = tokio::select! {
                () = self.pause(READ_EVERY) => false,
                () = again.notified() => true,
                () = stop.cancelled() => return,
            };
            if is_told {
                self.told.systemd.reloading();
            }
            tokio::select! {
                () = self.read(is_told) => {}
                () = stop.cancelled() => return,
            }
            if is_told {
                self.told.systemd.ready(self.last.in_words());
            }
        }
    }

    async fn pause(&self, length: SignedDuration) {
        self.clock.sleep_until(self.clock.now().saturating_add(length).unwrap_or(Timestamp::MAX)).await;
    }

    /// Whoever tells us to read has written everything; nobody else is believed at once.
    async fn read(&mut self, is_told: bool) {
        let Some(loaded) = self.load().await else { return };
        if !is_told && matches!(&loaded, Ok(config) if config.sha256 != self.sha256) {
            self.pause(SETTLED_AFTER).await;
            let Some(again) = self.load().await else { return };
            let is_settled = matches!((&loaded, &again), (Ok(one), Ok(other)) if one.sha256 == other.sha256);
            if !is_settled {
                return;
            }
        }
        let offer = match loaded {
            Ok(config) if config.sha256 == self.sha256 => {
                if self.last != Offer::InForce {
                    tracing::info!("the configuration's files say again what is in force");
                }
                Offer::InForce
            }
            Ok(config) => self.take_on(config).await,
            Err(errors) => Offer::Invalid(errors.places()),
        };
        if offer != self.last {
            self.tell(&offer);
            self.last = offer;
        }
    }

    async fn load(&self) -> Option<Result<Config, ConfigErrors>> {
        let origin = self.origin.clone();
        let loading = tokio::task::spawn_blocking(move || origin.load()).await;
        if loading.is_err() {
            tracing::error!("reading the configuration again panicked: please report it");
        }
        loading.ok()
    }

    /// Puts it in force, whole or not at all.
    async fn take_on(&mut self, config: Config) -> Offer {
        let changes = Changes::between(&self.effective, &config.effective);
        let keys = named(&changes.needing_restart());
        if !keys.is_empty() {
            if self.last != Offer::NeedsRestart(config.sha256.clone()) {
                tracing::warn!(
                    keys,
                    "the configuration was changed, and nothing of the change is in force: these keys need a restart of strongroom"
                );
            }
            return Offer::NeedsRestart(config.sha256);
        }
        for note in &config.notes {
            tracing::warn!("configuration: {note}");
        }
        let keys = named(&changes.keys.iter().map(String::as_str).collect::<Vec<_>>());
        (self.effective, self.sha256) = (config.effective.clone(), config.sha256.clone());
        let assembly = assemble(config, Arc::clone(&self.told.observer), Some(Arc::clone(&self.told.memory))).await;
        let executor = assembly.daemons_executor();
        let means = Means { ports: assembly.ports, executor };
        self.told.wanted.send_replace(Wanted { policy: assembly.policy, means: Some(Arc::new(means)) });
        self.told.metrics.config_loaded(self.clock.now());
        tracing::info!(keys, config.sha256 = self.sha256, "the configuration was changed, and the change is in force");
        Offer::InForce
    }

    fn tell(&self, offer: &Offer) {
        let places = match offer {
            Offer::InForce | Offer::NeedsRestart(_) => None,
            Offer::Invalid(places) => {
                tracing::error!(
                    places,
                    "the configuration was changed and cannot be used: what was loaded before stays in force; `strongroom check` says what to write"
                );
                Some(places.clone())
            }
        };
        self.told.systemd.status(offer.in_words());
        self.told.metrics.config_valid(places.is_none());
        self.told.config_error.send_replace(places);
        self.told.look.notify_one();
    }
}

/// Some keys for a line of the log.
fn named(keys: &[&str]) -> String {
    let more = keys.len().saturating_sub(KEYS_SHOWN);
    let shown = keys.iter().take(KEYS_SHOWN).copied().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
