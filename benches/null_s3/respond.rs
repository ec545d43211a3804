//! From a request to the part of AWS that answers it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use tokio::time::{Instant, sleep_until};

use crate::aws::Account;
use crate::body::Pace;
use crate::store::{Kept, Store};
use crate::uri::{Query, decode};
use crate::xml::S3Error;
use crate::{body, s3};

/// No bucket can have this name.
const STATS_PATH: &str = "/_null_s3/stats";
/// Requests of RDS, STS and Secrets Manager are a few hundred bytes.
const CALL_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct NullS3 {
    pub(crate) account: Account,
    pub(crate) store: Store,
    pub(crate) pace: Pace,
    pub(crate) delay: Option<Duration>,
}

pub(crate) fn router(server: Arc<NullS3>) -> Router {
    Router::new().fallback(respond).layer(DefaultBodyLimit::disable()).with_state(server)
}

async fn respond(State(server): State<Arc<NullS3>>, request: Request) -> Response {
    let mut response = if request.uri().path() == STATS_PATH {
        stats(&server.store)
    } else if request.method() == Method::POST && request.uri().path() == "/" {
        call(&server, request).await
    } else {
        object_store(&server, request).await.unwrap_or_else(S3Error::into_response)
    };
    if let Some(delay) = server.delay {
        sleep_until(Instant::now() + delay).await;
    }
    response.headers_mut().insert(HeaderName::from_static("x-amz-request-id"), HeaderValue::from_static("null"));
    response
}

async fn object_store(server: &NullS3, request: Request) -> Result<Response, S3Error> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let path = request.uri().path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let name = (decode(bucket), decode(key));
    s3::respond(server, name, &query, request).await
}

/// RDS and STS speak the query protocol, Secrets Manager JSON; both post to the root.
async fn call(server: &NullS3, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, CALL_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let text = String::from_utf8_lossy(&body);
    let target = head.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let name = target.map_or_else(|| Query::parse_form(&text).get("Action").unwrap_or("?").to_owned(), str::to_owned);
    *server.store.lock().requests.entry(name).or_default() += 1;
    match target {
        Some(target) => server.account.answer_json(target, &text),
        None => server.account.answer_query(&Query::parse_form(&text)),
    }
}

fn stats(store: &Store) -> Response {
    let state = store.lock();
    Json(serde_json::json!({
        "objects": state.objects.len(),
        "stored_bytes": state.objects.values().map(|object| object.size_bytes).sum::<u64>(),
        "received_bytes": state.received_bytes,
        "unfinished_uploads": state.uploads.len(),
        "requests": state.requests,
    }))
    .into_response()
}

/// An answer with these bytes and headers.
pub(crate) fn with_headers(
    mut response: Response,
    headers: impl IntoIterator<Item = (HeaderName, String)>,
) -> Response {
    for (name, value) in headers {
        // All values are made here from hex, base64 and numbers; one that is no header value is left out.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The bytes of a kept object, or a plain word about why there are none.
pub(crate) fn kept(bytes: Option<&Kept>) -> Result<&Kept, S3Error> {
    let too_big = || format!("objects over {} bytes, which it only counts", body::KEPT_BYTES_MAX);
    bytes.ok_or_else(|| S3Error::not_implemented(&too_big()))
}
