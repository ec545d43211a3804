//! What every answer says of itself to a browser.

use axum::http::{HeaderValue, header};
use axum::response::Response;

/// Nothing is loaded but our own style, script and icon; nothing is asked but us; nobody shows the page inside another.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// Closes every door that the page does not need.
pub(super) async fn close(mut response: Response) -> Response {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // A copy in a cache would look well for as long as the cache likes.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, value);
    }
    response
}
