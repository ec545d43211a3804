//! XML out (S3's answers and errors) and the little XML that comes in.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::chunked::ChunkedError;

/// An answer of S3 that is no success.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct S3Error {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl S3Error {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn bad_digest(checksum: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "BadDigest",
            format!("The {checksum} you specified did not match the calculated checksum."),
        )
    }

    pub(crate) fn incomplete_body() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "IncompleteBody", "The body is not as long as it was announced to be.")
    }

    pub(crate) fn bad_chunk(error: &ChunkedError) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "InvalidChunkSizeError",
            format!("The aws-chunked body is not well formed: {error}."),
        )
    }

    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
    }

    pub(crate) fn invalid_part(number: u16) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "InvalidPart",
            format!("Part {number} is unknown, or its ETag or checksum is another."),
        )
    }

    pub(crate) fn no_such_upload() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchUpload", "The specified multipart upload does not exist.")
    }

    pub(crate) fn no_such_key() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.")
    }

    pub(crate) fn precondition_failed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        )
    }

    pub(crate) fn not_implemented(what: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", format!("The null store does not have {what}."))
    }
}

impl IntoResponse for S3Error {
    fn into_response(self) -> Response {
        let body = format!(
            "<Error>{}{}<RequestId>null</RequestId></Error>",
            element("Code", self.code),
            element("Message", &self.message)
        );
        (self.status, answer(&body)).into_response()
    }
}

/// A whole document.
pub(crate) fn answer(body: &str) -> Response {
    let document = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}");
    ([(CONTENT_TYPE, HeaderValue::from_static("application/xml"))], document).into_response()
}

/// A document of S3's own name space.
pub(crate) fn s3_answer(root: &str, body: &str) -> Response {
    answer(&format!("<{root} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{body}</{root}>"))
}

pub(crate) fn element(name: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    format!("<{name}>{text}</{name}>")
}

/// What stands between each `<name>` and `</name>`. Enough for the flat documents that clients send.
pub(crate) fn inner<'xml>(xml: &'xml str, name: &str) -> Vec<&'xml str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|rest| rest.split_once(&close)).map(|(text, _)| text.trim()).collect()
}

/// An `ETag` without its quotes, however they were written.
pub(crate) fn bare_etag(etag: &str) -> String {
    etag.replace("&quot;", "").replace("&#34;", "").replace('"', "")
}
