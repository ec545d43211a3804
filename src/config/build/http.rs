//! Who may read what the daemon serves.

use std::net::SocketAddr;

use crate::config::diagnosis::Diagnosis;
use crate::config::environment::Environment;
use crate::config::{HttpConfig, raw, secret};
use crate::ports::credentials::TokenRef;

/// Checks who may read what.
pub(super) fn http(
    given: &raw::Http,
    listen: Option<SocketAddr>,
    environment: &Environment,
    diagnosis: &mut Diagnosis,
) -> Option<HttpConfig> {
    let token = match (&given.token_file, &given.token_env) {
        (None, None) => None,
        (Some(path), None) => Some(TokenRef::File(secret::file("http.token_file", "token", path, diagnosis)?)),
        (None, Some(name)) => {
            Some(TokenRef::Text(secret::variable("http.token_env", "token", name, environment, diagnosis)?))
        }
        (Some(_), Some(_)) => {
            let advice = "leave one of them out";
            diagnosis.report("http.token_env", "the token comes from `token_file` already", advice);
            return None;
        }
    };
    if let Some(open) = listen.filter(|listen| token.is_none() && !listen.ip().is_loopback()) {
        let text = format!(
            "whoever reaches {open} may read the status page: `http.token_file` or `http.token_env` asks for a token"
        );
        diagnosis.note("daemon.listen", text);
    }
    let asks = [("http.token_for_metrics", given.token_for_metrics), ("http.token_for_probes", given.token_for_probes)];
    for (key, _) in asks.into_iter().filter(|(_, asks)| *asks && token.is_none()) {
        // A token that is forgotten must not leave open what was to be closed.
        diagnosis.report(key, "there is no token to ask for", "name it with `http.token_file` or `http.token_env`");
    }
    Some(HttpConfig { token, token_for_metrics: given.token_for_metrics, token_for_probes: given.token_for_probes })
}
