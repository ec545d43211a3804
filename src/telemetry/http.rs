//! The HTTP listener: metrics, probes, and the status as JSON. It only reads; no verb changes anything.
//!
//! Liveness is the loop's heartbeat, readiness a set of latches that never open again: a daemon that has seen everything
//! once stays ready while AWS is out of reach, because restarting it would help nobody.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::policy::Cadence;
use crate::ports::clock::Clock;

/// The media type of Prometheus's text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4";

/// How long open requests may take at shutdown. Answers are computed in milliseconds, so who is still reading after this
/// is not reading.
const CLOSE_GRACE: SignedDuration = SignedDuration::from_secs(2);

/// Time that one turn of the loop may take beside its interval, on top of missed turns: listings that AWS throttles are
/// retried for minutes and are no reason to be killed.
const TURN_GRACE: SignedDuration = SignedDuration::from_mins(5);

/// Turns that may fail to come before the loop counts as stuck.
const MISSED_TURNS: i32 = 3;

/// The page at `/`, until there is a status page.
const INDEX: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>strongroom</title>\n\
    <h1>strongroom</h1>\n<ul>\n\
    <li><a href=\"/api/status\">/api/status</a>: what is protected, as JSON\n\
    <li><a href=\"/metrics\">/metrics</a>: for Prometheus\n\
    <li><a href=\"/livez\">/livez</a>: whether the loop turns\n\
    <li><a href=\"/readyz\">/readyz</a>: whether the daemon has started up\n\
    </ul>\n</html>\n";

/// What the probes answer from. The loop reports to it; nothing reads a clock here.
#[derive(Debug)]
pub struct Health {
    heartbeat: Mutex<Heartbeat>,
    config_loaded: AtomicBool,
    inventory_seen: AtomicBool,
    listener_bound: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Heartbeat {
    last_at: Timestamp,
    age_max: SignedDuration,
}

/// The loop has not turned for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the loop last turned at {last_at}, {age:#} ago; after {age_max:#} it counts as stuck")]
pub struct Stuck {
    last_at: Timestamp,
    age: SignedDuration,
    age_max: SignedDuration,
}

/// What start-up still waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A valid configuration.
    Config,
    /// The first inventory without a gap.
    Inventory,
    /// The HTTP listener.
    Listener,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Missing::Config => "a valid configuration",
            Missing::Inventory => "the first complete inventory",
            Missing::Listener => "the HTTP listener",
        })
    }
}

impl Health {
    /// The health of a daemon that starts now. The loop gets as long for its first turn as for any other.
    #[must_use]
    pub fn new(started_at: Timestamp, cadence: &Cadence) -> Health {
        Health {
            heartbeat: Mutex::new(Heartbeat { last_at: started_at, age_max: age_max(cadence) }),
            config_loaded: AtomicBool::new(false),
            inventory_seen: AtomicBool::new(false),
            listener_bound: AtomicBool::new(false),
        }
    }

    /// The loop has turned.
    pub fn loop_turned(&self, now: Timestamp) {
        self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner).last_at = now;
    }

    /// The policy was reloaded, and the loop turns at another pace from now on.
    pub fn cadence_changed(&self, cadence: &Cadence) {
        self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner).age_max = age_max(cadence);
    }

    /// Every section of the inventory was seen, at least once.
    pub fn inventory_seen(&self) {
        self.inventory_seen.store(true, Ordering::Release);
    }

    /// A valid configuration is in force.
    pub fn config_loaded(&self) {
        self.config_loaded.store(true, Ordering::Release);
    }

    /// The HTTP listener takes connections. [`serve`] reports it.
    pub fn listener_bound(&self) {
        self.listener_bound.store(true, Ordering::Release);
    }

    /// Whether the loop turns.
    ///
    /// # Errors
    /// Since when it does not. A clock that was set back makes the heartbeat younger, never older.
    pub fn live(&self, now: Timestamp) -> Result<(), Stuck> {
        let Heartbeat { last_at, age_max } = *self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.duration_since(last_at);
        if age < age_max { Ok(()) } else { Err(Stuck { last_at, age, age_max }) }
    }

    /// What start-up still waits for; nothing when the daemon is ready.
    #[must_use]
    pub fn missing(&self) -> Vec<Missing> {
        let latches = [
            (&self.config_loaded, Missing::Config),
            (&self.inventory_seen, Missing::Inventory),
            (&self.listener_bound, Missing::Listener),
        ];
        latches.into_iter().filter(|(latch, _)| !latch.load(Ordering::Acquire)).map(|(_, missing)| missing).collect()
    }
}

fn age_max(cadence: &Cadence) -> SignedDuration {
    cadence.reconcile_interval.saturating_mul(MISSED_TURNS).saturating_add(TURN_GRACE)
}

/// What the listener answers from. Cheap to clone.
#[derive(Clone)]
pub struct HttpState {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The probes.
    pub health: Arc<Health>,
    /// The status that the loop published last; `null` before the first.
    pub status: watch::Receiver<Value>,
    /// The clock that heartbeats are measured with.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for HttpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpState").field("health", &self.health).finish_non_exhaustive()
    }
}

/// Answers requests until the token is cancelled; open ones then have a moment to end.
///
/// # Errors
/// The listener broke.
pub async fn serve(listener: TcpListener, state: HttpState, token: CancellationToken) -> io::Result<()> {
    state.health.listener_bound();
    let clock = Arc::clone(&state.clock);
    let closed = token.clone();
    let server = axum::serve(listener, router(state)).with_graceful_shutdown(token.cancelled_owned());
    let grace_over = async move {
        closed.cancelled().await;
        clock.sleep_until(clock.now().saturating_add(CLOSE_GRACE).unwrap_or(Timestamp::MAX)).await;
    };
    tokio::select! {
        ended = server.into_future() => ended,
        () = grace_over => Ok(()),
    }
}

/// The routes. Other methods than GET and HEAD are refused, whatever the path.
fn router(state: HttpState) -> Router {
    Router::new()
        .route("/", get(async || Html(INDEX)))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/api/status", get(status))
        .fallback(unknown)
        .with_state(state)
}

async fn metrics(State(state): State<HttpState>) -> Response {
    let text = state.metrics.render();
    // An empty scrape would look like a daemon without series; a failed one looks like what it is.
    let code = if text.is_empty() { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    (code, [(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

async fn livez(State(state): State<HttpState>) -> (StatusCode, String) {
    match state.health.live(state.clock.now()) {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(stuck) => (StatusCode::SERVICE_UNAVAILABLE, format!("{stuck}\n")),
    }
}

async fn readyz(State(state): State<HttpState>) -> (StatusCode, String) {
    let missing = state.health.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let lines = missing.iter().map(|missing| format!("waiting for {missing}\n"));
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
}

async fn status(State(state): State<HttpState>) -> Response {
    let status = state.status.borrow().clone();
    let code = if status.is_null() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(status)).into_response()
}

async fn unknown(method: Method) -> StatusCode {
    if method == Method::GET || method == Method::HEAD { StatusCode::NOT_FOUND } else { StatusCode::METHOD_NOT_ALLOWED }
}

#[cfg(test)]
mod tests;
