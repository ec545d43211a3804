//! The composition root: from a configuration to a running daemon. The only module that names adapters.

mod assembly;
mod bell;
mod observer;
mod reload;
mod signals;
mod telling;

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::adapters::pg_tools::sweep_password_files;
use crate::adapters::system_clock::SystemClock;
use crate::adapters::systemd::Systemd;
use crate::config::{Config, HttpConfig, Origin, notify_socket};
use crate::execute::lead::{Elector, Lead};
use crate::ports::clock::Clock;
use crate::ports::{Chain, ErrorKind, RequestObserver};
use crate::reconcile::{Reconciler, Wakers, Wanted};
use crate::telemetry::http::guard::{Guard, TokenError};
use crate::telemetry::http::{self, Health, HttpState};
use crate::telemetry::metrics::Metrics;
pub use assembly::{Assembly, assemble};
use observer::Telemetry;
use reload::Reloader;
use telling::{Listened, Telling};

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The address of the HTTP listener cannot be had.
    #[error("cannot listen on {address}: set `daemon.listen` to a free address")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A signal handler cannot be installed.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// The metrics cannot be registered.
    #[error("cannot register metrics: this is a bug in strongroom")]
    Metrics(#[source] prometheus::Error),
    /// The token of the status page cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The bell cannot be hung up.
    #[error("cannot start the scheduler")]
    Bell(#[source] tokio_cron_scheduler::JobSchedulerError),
}

/// How long a message that is on its way is waited for at the end: a few seconds of the grace, which running work has used.
const LAST_WORD: SignedDuration = SignedDuration::from_secs(3);

/// A daemon that is ready to run: its listener is bound.
pub struct Daemon {
    reconciler: Reconciler,
    telling: Telling,
    reloader: Reloader,
    elector: Option<Elector>,
    systemd: Arc<Systemd>,
    listener: TcpListener,
    http: HttpState,
    wakers: Wakers,
    grace: SignedDuration,
    clock: Arc<dyn Clock>,
}

impl Daemon {
    /// Builds a daemon from a configuration that has just been loaded from `origin`.
    ///
    /// # Errors
    /// The listener cannot be bound; see [`DaemonError`].
    pub async fn build(config: Config, origin: Origin) -> Result<Daemon, DaemonError> {
        let address = config.daemon.listen;
        let grace = SignedDuration::try_from(config.daemon.grace).unwrap_or(SignedDuration::MAX);
        sweep_password_files();
        let guard = guard(&config.http);
        guard.check().await?;
        let metrics = Arc::new(Metrics::new(&config.policy).map_err(DaemonError::Metrics)?);
        let count = counting(&metrics);
        let (effective, sha256) = (config.effective.clone(), config.sha256.clone());
        let assembly = assemble(config, Arc::clone(&count), None).await;
        let executor = assembly.daemons_executor();
        metrics.watch_memory(Arc::clone(&assembly.memory));
        let clock = Arc::clone(&assembly.ports.clock);
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| DaemonError::Listen { address, error })?;
        let health = Arc::new(Health::new(clock.now(), &assembly.policy.cadence));
        health.config_loaded();
        metrics.config_loaded(clock.now());
        let (status, published) = watch::channel(None);
        let http = HttpState {
            metrics: Arc::clone(&metrics),
            health: Arc::clone(&health),
            status: published,
            clock: Arc::clone(&clock),
            guard: Arc::new(guard),
        };
        let elector = assembly.candidacy.map(|own| Elector::new(own, Arc::clone(&clock)));
        let lead = elector.as_ref().map_or_else(Lead::alone, Elector::lead);
        let telling = (assembly.channels, assembly.publishing);
        let store = Arc::clone(&assembly.ports.store);
        let (telling, Listened { looks, numbers }) =
            Telling::of(telling, &assembly.policy, store, &clock, &metrics, &lead);
        let asked = lead.clone();
        metrics.watch_lead(move || asked.holds());
        let systemd = Systemd::of_this_process(notify_socket().as_deref());
        let (wakers, systemd) = (Wakers::default(), Arc::new(systemd));
        let (wanted, wants) = watch::channel(Wanted::from(assembly.policy));
        let (told, config_error) = watch::channel(None);
        let told = reload::Told {
            observer: count,
            metrics: Arc::clone(&metrics),
            memory: assembly.memory,
            wanted,
            config_error: told,
            look: Arc::clone(&wakers.now),
            systemd: Arc::clone(&systemd),
        };
        let reloader = Reloader::new(origin, effective, sha256, Arc::clone(&clock), told);
        let observer = Telemetry {
            metrics,
            health,
            status,
            looks,
            numbers,
            config_error,
            lead: lead.clone(),
            systemd: Arc::clone(&systemd),
            clock: Arc::clone(&clock),
        };
        let reconciler = Reconciler::new(
            assembly.ports,
            executor,
            assembly.collector.trying_logins(),
            Arc::new(observer),
            wakers.clone(),
            wants,
        )
        .led_by(lead);
        Ok(Daemon { reconciler, telling, reloader, elector, systemd, listener, http, wakers, grace, clock })
    }

    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// The daemon could not begin; see [`DaemonError`].
    pub async fn run(self) -> Result<(), DaemonError> {
        let stop = CancellationToken::new();
        let at_once = CancellationToken::new();
        let tracker = TaskTracker::new();
        let signals = signals::Signals::listen().map_err(DaemonError::Signals)?;
        let bell = bell::Bell::hang_up(Arc::clone(&self.wakers.bell)).await.map_err(DaemonError::Bell)?;
        let address = self.listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), http.address = address, "strongroom has started");
        let served = CancellationToken::new();
        let serving = http::serve(self.listener, self.http, served.clone());
        tracker.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(error = %Chain(&error), "the HTTP listener broke: restart strongroom, nobody can scrape it");
            }
        });
        let read_config = Arc::default();
        tracker.spawn(self.reloader.run(Arc::clone(&read_config), stop.clone()));
        let systemd = Arc::clone(&self.systemd);
        tracker.spawn(signals.watch(stop.clone(), at_once.clone(), self.wakers, read_config, systemd));
        let told = tracker.spawn(self.telling.announcer.run(stop.clone()));
        if let Some(publisher) = self.telling.publisher {
            tracker.spawn(publisher.run(stop.clone()));
        }
        let (resign, resigned) = (CancellationToken::new(), CancellationToken::new());
        if let Some(elector) = self.elector {
            let (resign, resigned) = (resign.clone(), resigned.clone().drop_guard());
            tracker.spawn(async move {
                elector.run(resign).await;
                drop(resigned);
            });
        } else {
            resigned.cancel();
        }
        tracker.close();
        self.systemd.ready("looking after its sources");
        let began_at = self.clock.now();
        tokio::select! {
            () = self.reconciler.run(stop, self.grace) => {
                resign.cancel();
                let until = self.clock.now().saturating_add(LAST_WORD).unwrap_or(Timestamp::MAX);
                tokio::select! {
                    _ = async { tokio::join!(told, resigned.cancelled()) } => {}
                    () = self.clock.sleep_until(until) => tracing::info!("a message was on its way: the next start sends it again"),
                }
            }
            () = at_once.cancelled() => tracing::warn!("a second signal: runs are left as they are, the next start cleans up"),
        }
        served.cancel();
        bell.take_down().await;
        let up_ms = i64::try_from(self.clock.now().duration_since(began_at).as_millis()).unwrap_or(i64::MAX);
        tracing::info!(duration_ms = up_ms, "strongroom has stopped");
        Ok(())
    }
}

fn guard(http: &HttpConfig) -> Guard {
    Guard { token: http.token.clone(), metrics: http.token_for_metrics, probes: http.token_for_probes }
}

/// Counts each request to AWS.
fn counting(metrics: &Arc<Metrics>) -> RequestObserver {
    let metrics = Arc::clone(metrics);
    Arc::new(move |service: &str, operation: &str, outcome: bool| {
        let outcome: Result<(), ErrorKind> = if outcome { Ok(()) } else { Err(ErrorKind::Other) };
        metrics.aws_request(service, operation, outcome);
    })
}

/// The time now, for commands.
#[must_use]
pub fn now() -> Timestamp {
    SystemClock.now()
}

impl fmt::Debug for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Daemon({:?})", self.listener.local_addr())
    }
}
