//! Who may read the page: whoever has the token, if there is one.
//!
//! Programs send it as `Authorization: Bearer`; a browser, which cannot, asks its user and sends it as the password of
//! `Authorization: Basic`, with whatever name. A token that cannot be read admits nobody.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{AppendHeaders, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::ports::credentials::TokenRef;

/// A token that is shorter can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

const CHALLENGES: [HeaderValue; 2] = [
    HeaderValue::from_static("Bearer realm=\"strongroom\""),
    HeaderValue::from_static("Basic realm=\"strongroom\", charset=\"UTF-8\""),
];

/// Who may read what.
#[derive(Debug, Default)]
pub struct Guard {
    /// What has to be shown; `None`: everybody is admitted.
    pub token: Option<TokenRef>,
    /// Whether it has to be shown for the metrics, too.
    pub metrics: bool,
    /// Whether it has to be shown for the probes, too.
    pub probes: bool,
}

/// There is a token, and it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Its file cannot be read.
    #[error("cannot read the token of the status page from {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It is too easily guessed.
    #[error(
        "the token of the status page is shorter than {TOKEN_BYTES_MIN} characters: make a longer one, for example with \
         `openssl rand -hex 32`"
    )]
    Short,
}

impl Guard {
    /// Reads the token, to know that it is there.
    ///
    /// # Errors
    /// It is not, or is too short.
    pub async fn check(&self) -> Result<(), TokenError> {
        self.expected().await.map(|_| ())
    }

    /// The token. One in a file is read each time, so that it can be changed.
    async fn expected(&self) -> Result<Option<SecretString>, TokenError> {
        let token = match &self.token {
            None => return Ok(None),
            Some(TokenRef::Text(token)) => token.clone(),
            Some(TokenRef::File(path)) => {
                let text = tokio::fs::read_to_string(path).await;
                let text = text.map_err(|error| TokenError::File { path: path.clone(), error })?;
                // Editors and `echo` end a file with a newline that is no part of the token.
                SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        };
        if token.expose_secret().len() < TOKEN_BYTES_MIN { Err(TokenError::Short) } else { Ok(Some(token)) }
    }
}

/// Lets a request through that shows the token.
pub(super) async fn admit(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.expected().await {
        Ok(None) => next.run(request).await,
        Ok(Some(expected)) if shown(request.headers()).is_some_and(|token| is_same(&token, &expected)) => {
            next.run(request).await
        }
        Ok(Some(_)) => {
            let [bearer, basic] = CHALLENGES;
            let challenges = AppendHeaders([(header::WWW_AUTHENTICATE, bearer), (header::WWW_AUTHENTICATE, basic)]);
            (StatusCode::UNAUTHORIZED, challenges, "the token is missing or wrong\n").into_response()
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "nobody is admitted to the status page");
            (StatusCode::SERVICE_UNAVAILABLE, "the token cannot be checked: see the log of strongroom\n")
                .into_response()
        }
    }
}

/// The token that a request shows, in either form.
fn shown(headers: &HeaderMap) -> Option<SecretString> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(SecretString::from(rest.to_owned()));
    }
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(rest).ok())??;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(_, password)| SecretString::from(password.to_owned()))
}

/// In the same time whatever differs: hashes have one length, and are compared to their end.
fn is_same(shown: &SecretString, expected: &SecretString) -> bool {
    let digest = |token: &SecretString| Sha256::digest(token.expose_secret().as_bytes());
    bool::from(digest(shown).as_slice().ct_eq(digest(expected).as_slice()))
}
