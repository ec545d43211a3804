//! The status page of a fleet that is made up: served for a browser to look at, or measured.
//!
//! The configuration is read as the daemon reads it, the inventory is made up, and everything from there is the daemon's:
//! the plan, the status, the page, the listener. The clock stands still.
//!
//! `cargo run --example status_page -- --sources 1000 --measure` prints one JSON line; with `--listen` the page is served
//! until the process is ended.

mod seen;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use clap::Parser as _;
use jiff::{SignedDuration, Timestamp};
use strongroom::config::{Config, Environment};
use strongroom::plan::plan;
use strongroom::plan::status::Status;
use strongroom::policy::Policy;
use strongroom::ports::clock::Clock;
use strongroom::telemetry::http::guard::Guard;
use strongroom::telemetry::{Health, HttpState, Metrics, http, page};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Makes up a fleet.
#[derive(Debug, clap::Parser)]
struct Options {
    /// How many sources.
    #[arg(long, default_value_t = 1000)]
    sources: usize,
    /// Every how-manieth of them is in trouble; 0 for none.
    #[arg(long, default_value_t = 40)]
    troubled: usize,
    /// For how many minutes nobody has looked.
    #[arg(long, default_value_t = 0)]
    minutes_ago: i64,
    /// Serve the page there.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Print how long it takes and how large it is.
    #[arg(long)]
    measure: bool,
}

/// Stands at one moment; nobody waits by it.
struct StillClock(Timestamp);

#[async_trait]
impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        self.0
    }

    async fn sleep_until(&self, _instant: Timestamp) {
        std::future::pending::<()>().await;
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let taken_at: Timestamp = "2026-11-23T12:00:00Z".parse()?;
    let now = taken_at + SignedDuration::from_mins(options.minutes_ago);
    let policy = policy(options.sources)?;
    let inventory = seen::inventory(&policy, options.troubled, taken_at)?;
    let plan = plan(&policy, &inventory, taken_at);

    let began = Instant::now();
    let status = Status::of(&policy, &inventory, &plan);
    let status_took = began.elapsed();
    if options.measure {
        let began = Instant::now();
        let page = page::fleet(&status, now);
        let page_took = began.elapsed();
        let json = serde_json::to_vec(&status)?;
        let metrics = Metrics::new(&policy)?;
        let began = Instant::now();
        metrics.observe(&policy, &inventory, &plan);
        let observe_took = began.elapsed();
        let began = Instant::now();
        let scrape = metrics.render();
        let scrape_took = began.elapsed();
        let line = serde_json::json!({
            "sources": status.sources.len(),
            "status_ms": status_took.as_secs_f64() * 1e3,
            "page_ms": page_took.as_secs_f64() * 1e3,
            "page_bytes": page.len(),
            "json_bytes": json.len(),
            "observe_ms": observe_took.as_secs_f64() * 1e3,
            "scrape_ms": scrape_took.as_secs_f64() * 1e3,
            "scrape_bytes": scrape.len(),
            "series": scrape.lines().filter(|line| !line.starts_with('#')).count(),
        });
        say(&line.to_string())?;
    }
    match options.listen {
        Some(address) => serve(address, &policy, status, now).await,
        None => Ok(()),
    }
}

/// What the daemon would make of a configuration of so many sources.
fn policy(sources: usize) -> anyhow::Result<Policy> {
    let mut text = include_str!("fleet.toml").to_owned();
    for index in 0..sources {
        let name = seen::name(index);
        text.push_str(&format!(
            "\n[sources.{name}]\ninstance = \"bank-{name}\"\npolicy = \"critical\"\ndatabases = [\"ledger\"]\n\
             credentials = {{ user = \"backup\", iam = true }}\n"
        ));
    }
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile()?;
    file.write_all(text.as_bytes())?;
    let config = Config::load(&[file.path().to_owned()], Environment::default());
    Ok(config.context("the configuration of the fleet")?.policy)
}

async fn serve(address: SocketAddr, policy: &Policy, status: Status, now: Timestamp) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let health = Health::new(now, &policy.cadence);
    health.config_loaded();
    health.inventory_seen();
    let (_publish, published) = watch::channel(Some(Arc::new(status)));
    let state = HttpState {
        metrics: Arc::new(Metrics::new(policy)?),
        health: Arc::new(health),
        status: published,
        clock: Arc::new(StillClock(now)),
        guard: Arc::new(Guard::default()),
    };
    say(&format!("http://{}", listener.local_addr()?))?;
    Ok(http::serve(listener, state, CancellationToken::new()).await?)
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
