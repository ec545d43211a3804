//! HTTP to channels: one client, short time limits, no redirects, and errors that do not hold the address, which for most
//! webhooks is the secret.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::ports::{Chain, ErrorKind, PortError};

/// A channel that needs longer to take a message is down.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A host that does not answer the handshake is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What is read of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// What is told of an answer.
const ANSWER_CHARS_MAX: usize = 200;

/// What is shorter can be guessed, and is a word of any answer.
const SECRET_CHARS_MIN: usize = 8;

/// The client. Where TLS cannot be set up, for want of root certificates, each message says so, and all else goes on.
#[derive(Debug, Clone)]
pub(super) struct Http(Result<Client, Arc<str>>);

/// A request to a channel.
pub(super) struct Request<'a> {
    /// What it is for, for errors: ``post to Slack``.
    pub(super) operation: &'a str,
    /// The method.
    pub(super) method: Method,
    /// The address; it may be a secret.
    pub(super) url: &'a SecretString,
    /// JSON.
    pub(super) body: Option<String>,
    /// What the answer must not be quoted with, beside the address.
    pub(super) secret: Option<&'a SecretString>,
}

impl Http {
    pub(super) fn new() -> Http {
        // The process has one provider for all of TLS; where another part was first, it has installed the same.
        let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        drop(installed);
        let client = Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect would hand what was sent to an address that nobody has configured.
            .redirect(Policy::none())
            .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")))
            .build();
        Http(client.map_err(|error| Chain(&error.without_url()).to_string().into()))
    }

    /// Sends a request; the answer's status and the beginning of its body.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<String, PortError> {
        let named = |kind| PortError::new(request.operation, kind);
        let client = self.0.as_ref().map_err(|why| named(ErrorKind::Other).because(why.to_string()))?;
        let url = Url::parse(request.url.expose_secret().trim());
        let url = url.map_err(|error| named(ErrorKind::Invalid).because(format!("its address is no URL: {error}")))?;
        let secrets = [Some(request.url), request.secret];
        let mut sent = client.request(request.method, url);
        if let Some(body) = request.body {
            sent = sent.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        }
        let answer = sent.send().await.map_err(|error| named(ErrorKind::Transient).because(error.without_url()))?;
        let status = answer.status();
        let body = beginning(answer).await;
        let words = redacted(&body, secrets.into_iter().flatten());
        let told = if words.is_empty() { format!("status {status}") } else { format!("status {status}: {words}") };
        if status.is_success() {
            Ok(told)
        } else {
            Err(PortError::new(request.operation, kind_of(status)).because(told))
        }
    }
}

/// What the channel says, as far as anybody reads it.
async fn beginning(mut answer: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One line of an answer, without the secrets that some services repeat.
fn redacted<'a>(text: &str, secrets: impl Iterator<Item = &'a SecretString>) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        let secret = secret.expose_secret().trim();
        // Whole, and piece by piece: most keep what is secret in one part of the path. Short parts such as `v2` are none.
        let pieces = secret.split(['/', '?', '&', '=', ':', '@']).filter(|piece| piece.len() >= SECRET_CHARS_MIN);
        for piece in std::iter::once(secret).filter(|whole| !whole.is_empty()).chain(pieces) {
            text = text.replace(piece, "[redacted]");
        }
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(ANSWER_CHARS_MAX).collect()
}

fn kind_of(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 | 403 => ErrorKind::PermissionDenied,
        404 | 410 => ErrorKind::NotFound,
        408 | 500.. => ErrorKind::Transient,
        429 => ErrorKind::Throttled,
        400..=499 => ErrorKind::Invalid,
        _ => ErrorKind::Other,
    }
}

/// An address that is no secret.
pub(super) fn open_address(url: &str) -> SecretString {
    SecretString::from(url.to_owned())
}
