//! The HTTP listener: metrics, probes, the status as JSON, and the page. It only reads; no verb changes anything.
//!
//! What the page and its document tell can be kept to those who have a token ([`guard`]). Every answer says that nothing but
//! itself may be loaded, framed, stored or guessed at (`headers`).

pub mod guard;
mod headers;

use std::fmt;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use super::health::Health;
use super::metrics::Metrics;
use super::page;
use crate::plan::status::Status;
use crate::ports::clock::Clock;
use guard::Guard;

/// The media type of Prometheus's text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4";

/// How long open requests may take at shutdown. Answers are computed in milliseconds, so who is still reading after this
/// is not reading.
const CLOSE_GRACE: SignedDuration = SignedDuration::from_secs(2);

/// What the listener answers from. Cheap to clone.
#[derive(Clone)]
pub struct HttpState {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The probes.
    pub health: Arc<Health>,
    /// The status that the loop published last; `None` before the first.
    pub status: watch::Receiver<Option<Arc<Status>>>,
    /// The clock that ages are measured with.
    pub clock: Arc<dyn Clock>,
    /// Who may read what.
    pub guard: Arc<Guard>,
}

impl HttpState {
    fn latest(&self) -> Option<Arc<Status>> {
        self.status.borrow().as_ref().map(Arc::clone)
    }
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
    let guarded = |router: Router<HttpState>, is_guarded: bool| {
        if is_guarded { router.route_layer(from_fn_with_state(Arc::clone(&state.guard), guard::admit)) } else { router }
    };
    let page =
        Router::new().route("/", get(index)).route("/sources/{source}", get(source)).route("/api/status", get(status));
    let metrics = Router::new().route("/metrics", get(metrics));
    let probes = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz));
    // These are the same for everybody and tell nothing.
    let files = page::FILES.iter().fold(Router::new(), |router, file| {
        router.route(file.path, get(async || ([(header::CONTENT_TYPE, file.media_type)], file.text)))
    });
    guarded(page, true)
        .merge(guarded(metrics, state.guard.metrics))
        .merge(guarded(probes, state.guard.probes))
        .merge(files)
        .fallback(unknown)
        .layer(map_response(headers::close))
        .with_state(state)
}

async fn index(State(state): State<HttpState>) -> Response {
    let now = state.clock.now();
    match state.latest() {
        Some(status) => Html(page::fleet(&status, now)).into_response(),
        None => {
            (StatusCode::SERVICE_UNAVAILABLE, Html(page::not_seen_yet(&state.health.missing(), now))).into_response()
        }
    }
}

async fn source(State(state): State<HttpState>, Path(source): Path<String>) -> Response {
    let now = state.clock.now();
    let Some(status) = state.latest() else {
        return (StatusCode::SERVICE_UNAVAILABLE, Html(page::not_seen_yet(&state.health.missing(), now)))
            .into_response();
    };
    match page::source(&status, &source, now) {
        Some(page) => Html(page).into_response(),
        None => (StatusCode::NOT_FOUND, Html(page::no_such_source(&status, now))).into_response(),
    }
}

async fn status(State(state): State<HttpState>) -> Response {
    let status = state.latest();
    let code = if status.is_none() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(status.as_deref())).into_response()
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

async fn unknown(method: Method) -> StatusCode {
    if method == Method::GET || method == Method::HEAD { StatusCode::NOT_FOUND } else { StatusCode::METHOD_NOT_ALLOWED }
}

#[cfg(test)]
mod tests;
