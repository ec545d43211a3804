//! The composition root: from a configuration to a running daemon. The only module that names adapters.

mod bell;
mod observer;
mod signals;

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::adapters::aws;
use crate::adapters::aws_credentials::AwsCredentials;
use crate::adapters::aws_rds::AwsRds;
use crate::adapters::host_processes::HostProcesses;
use crate::adapters::pg::PgServers;
use crate::adapters::pg_tools::{StockPgDump, sweep_password_files};
use crate::adapters::s3::{S3, S3Settings};
use crate::adapters::system_clock::SystemClock;
use crate::collect::Collector;
use crate::config::Config;
use crate::domain::key::Layout;
use crate::execute::{ExecuteSettings, Executor};
use crate::policy::Policy;
use crate::ports::clock::Clock;
use crate::ports::{Chain, ErrorKind, Ports, RequestObserver};
use crate::reconcile::{Reconciler, Wakers};
use crate::telemetry::http::{self, Health, HttpState};
use crate::telemetry::metrics::Metrics;
use observer::Telemetry;

/// Everything that a command or the daemon works with.
#[derive(Debug)]
pub struct Assembly {
    /// The outside.
    pub ports: Ports,
    /// Carries out actions.
    pub executor: Executor,
    /// Looks.
    pub collector: Collector,
    /// What is wanted.
    pub policy: Arc<Policy>,
}

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
    /// The bell cannot be hung up.
    #[error("cannot start the scheduler")]
    Bell(#[source] tokio_cron_scheduler::JobSchedulerError),
}

/// Puts the parts together. Nothing is asked of the outside yet.
pub async fn assemble(config: Config, observer: RequestObserver) -> Assembly {
    let sdk = aws::load(&config.aws.region).await;
    let destination = config.destination;
    let settings = S3Settings {
        bucket: destination.bucket.clone(),
        kms_key: destination.kms_key.clone(),
        expected_owner: destination.expected_owner,
    };
    let ca_file = config.postgres.ca_file;
    let ports = Ports {
        clock: Arc::new(SystemClock),
        rds: Arc::new(AwsRds::new(&sdk, Arc::clone(&observer))),
        store: Arc::new(S3::new(&sdk, settings, Arc::clone(&observer))),
        credentials: Arc::new(AwsCredentials::new(&sdk, config.logins, ca_file, observer)),
        postgres: Arc::new(PgServers::new(config.postgres.connect_timeout)),
        pg_dump: Arc::new(StockPgDump::find(config.postgres.bin_dir.as_deref())),
        processes: Arc::new(HostProcesses::new()),
    };
    let layout = Layout::new(&destination.prefix);
    let settings = ExecuteSettings {
        installation: config.policy.installation.clone(),
        layout: layout.clone(),
        bucket: destination.bucket,
        kms_key: destination.kms_key,
        part_size_bytes: destination.part_size_bytes,
        parts_in_flight: destination.parts_in_flight,
        outage_tolerance: destination.outage_tolerance,
        config_sha256: config.sha256,
    };
    Assembly {
        executor: Executor::new(ports.clone(), settings),
        collector: Collector::new(layout),
        ports,
        policy: Arc::new(config.policy),
    }
}

/// A daemon that is ready to run: its listener is bound.
pub struct Daemon {
    reconciler: Reconciler,
    listener: TcpListener,
    http: HttpState,
    wakers: Wakers,
    grace: SignedDuration,
    clock: Arc<dyn Clock>,
    // Held so that the loop's receiver stays open.
    policies: watch::Sender<Arc<Policy>>,
}

impl Daemon {
    /// Builds a daemon from a configuration that has just been loaded.
    ///
    /// # Errors
    /// The listener cannot be bound; see [`DaemonError`].
    pub async fn build(config: Config) -> Result<Daemon, DaemonError> {
        let address = config.daemon.listen;
        let grace = SignedDuration::try_from(config.daemon.grace).unwrap_or(SignedDuration::MAX);
        sweep_password_files();
        let metrics = Arc::new(Metrics::new(&config.policy).map_err(DaemonError::Metrics)?);
        let counted = Arc::clone(&metrics);
        let count: RequestObserver = Arc::new(move |service: &str, operation: &str, outcome: bool| {
            let outcome: Result<(), ErrorKind> = if outcome { Ok(()) } else { Err(ErrorKind::Other) };
            counted.aws_request(service, operation, outcome);
        });
        let assembly = assemble(config, count).await;
        let clock = Arc::clone(&assembly.ports.clock);
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| DaemonError::Listen { address, error })?;
        let health = Arc::new(Health::new(clock.now(), &assembly.policy.cadence));
        health.config_loaded();
        metrics.config_loaded(true, clock.now());
        let (status, published) = watch::channel(serde_json::Value::Null);
        let http = HttpState {
            metrics: Arc::clone(&metrics),
            health: Arc::clone(&health),
            status: published,
            clock: Arc::clone(&clock),
        };
        let observer = Telemetry::new(metrics, health, status, Arc::clone(&clock));
        let wakers = Wakers::default();
        let (policies, wanted) = watch::channel(assembly.policy);
        let reconciler = Reconciler::new(
            assembly.ports,
            assembly.executor,
            assembly.collector,
            Arc::new(observer),
            wakers.clone(),
            wanted,
        );
        Ok(Daemon { reconciler, listener, http, wakers, grace, clock, policies })
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
        tracker.spawn(signals.watch(stop.clone(), at_once.clone(), self.wakers));
        tracker.close();
        let began_at = self.clock.now();
        tokio::select! {
            () = self.reconciler.run(stop, self.grace) => {}
            () = at_once.cancelled() => tracing::warn!("a second signal: runs are left as they are, the next start cleans up"),
        }
        served.cancel();
        bell.take_down().await;
        let up_ms = i64::try_from(self.clock.now().duration_since(began_at).as_millis()).unwrap_or(i64::MAX);
        tracing::info!(duration_ms = up_ms, "strongroom has stopped");
        drop(self.policies);
        Ok(())
    }
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
