//! Logins by reference. There is no key that takes a password, and what looks like one put in the wrong key is refused
//! without being repeated.

use std::path::PathBuf;

use secrecy::SecretString;

use super::diagnosis::Diagnosis;
use super::environment::Environment;
use super::raw;
use crate::ports::credentials::LoginRef;
use crate::ports::notifier::SecretRef;

/// The forms of a login, for messages.
pub(super) const FORMS: &str = "`{ secret = \"…\" }`, `{ user = \"…\", password_file = \"/…\" }`, \
     `{ user = \"…\", password_env = \"…\" }` or `{ user = \"…\", iam = true }`";

/// A login in one of its forms.
pub(super) fn login_ref(
    key: &str,
    given: &raw::Credentials,
    environment: &Environment,
    diagnosis: &mut Diagnosis,
) -> Option<LoginRef> {
    if diagnosis.doubts(key) {
        // Something in it was refused already; which form was meant is anyone's guess.
        return None;
    }
    let iam = given.iam == Some(true);
    match (&given.secret, &given.password_file, &given.password_env, iam) {
        (Some(id), None, None, false) if given.user.is_none() => {
            secret(key, id, diagnosis).map(|id| LoginRef::Secret { id })
        }
        (None, Some(path), None, false) => {
            let user = user(key, given, diagnosis);
            let path = file(&format!("{key}.password_file"), "password", path, diagnosis);
            Some(LoginRef::PasswordFile { user: user?, path: path? })
        }
        (None, None, Some(name), false) => {
            let user = user(key, given, diagnosis);
            let password = variable(&format!("{key}.password_env"), "password", name, environment, diagnosis);
            Some(LoginRef::Password { user: user?, password: password? })
        }
        (None, None, None, true) => iam_user(key, given, diagnosis),
        _ => {
            diagnosis.report(key, "not a login in exactly one form", format!("write {FORMS}"));
            None
        }
    }
}

fn secret(key: &str, id: &str, diagnosis: &mut Diagnosis) -> Option<String> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/_+=.@-:!".contains(&b);
    // A webhook's address would pass for a name, and would then be told in errors.
    if !id.is_empty() && id.len() <= 2048 && id.bytes().all(is_plain) && !id.contains("://") {
        return Some(id.to_owned());
    }
    let advice = "name the secret, never its content, for example \"rds/accounts/backup\"";
    diagnosis.report(&format!("{key}.secret"), "not the name or ARN of a Secrets Manager secret", advice);
    None
}

fn user(key: &str, given: &raw::Credentials, diagnosis: &mut Diagnosis) -> Option<String> {
    let key = format!("{key}.user");
    let user = diagnosis.required(&key, given.user.as_ref(), "name the database user")?;
    if user.is_empty() || user.len() > 63 || user.contains('\0') {
        diagnosis.report(&key, "not a database user", "PostgreSQL takes 1 to 63 bytes");
        return None;
    }
    Some(user.clone())
}

fn iam_user(key: &str, given: &raw::Credentials, diagnosis: &mut Diagnosis) -> Option<LoginRef> {
    let user = user(key, given, diagnosis)?;
    if !is_word(&user) {
        let problem = format!("`{user}` cannot log in with a token");
        diagnosis.report(&format!("{key}.user"), problem, "use letters, digits and `_`, first no digit");
        return None;
    }
    Some(LoginRef::IamToken { user })
}

/// The file that holds a secret: `what` says which one.
pub(super) fn file(key: &str, what: &str, path: &str, diagnosis: &mut Diagnosis) -> Option<PathBuf> {
    if path.starts_with('/') && !path.contains(['\0', '\n']) {
        return Some(PathBuf::from(path));
    }
    let advice = format!("name the file that holds the {what}, for example \"/run/secrets/{}\"", example(what));
    diagnosis.report(key, "not an absolute path", advice);
    None
}

/// The secret in an environment variable: `what` says which one.
pub(super) fn variable(
    key: &str,
    what: &str,
    name: &str,
    environment: &Environment,
    diagnosis: &mut Diagnosis,
) -> Option<SecretString> {
    if !is_word(name) {
        let example = format!("{}_{what}", example(what)).to_uppercase();
        let advice = format!("name the variable that holds the {what}, for example \"{example}\"");
        diagnosis.report(key, "not the name of an environment variable", advice);
        return None;
    }
    match environment.get(name) {
        Some(secret) if !secret.is_empty() => Some(SecretString::from(secret)),
        // The name is not repeated: it may be a secret that was put in the wrong place.
        Some(_) => {
            diagnosis.report(key, "the environment variable that it names is empty", "set it before the start");
            None
        }
        None => {
            diagnosis.report(key, "the environment variable that it names is not set", "set it before the start");
            None
        }
    }
}

/// Whose secret it is in examples.
fn example(what: &str) -> &'static str {
    match what {
        "password" => "accounts",
        "token" => "page",
        _ => "slack",
    }
}

/// A channel's secret in one of its forms.
pub(super) fn channel_secret(
    key: &str,
    given: &raw::Secret,
    environment: &Environment,
    diagnosis: &mut Diagnosis,
) -> Option<SecretRef> {
    if diagnosis.doubts(key) {
        return None;
    }
    match (&given.secret, &given.file, &given.env) {
        (Some(id), None, None) => secret(key, id, diagnosis).map(|id| SecretRef::SecretsManager { id }),
        (None, Some(path), None) => {
            file(&format!("{key}.file"), "secret", path, diagnosis).map(|path| SecretRef::File { path })
        }
        (None, None, Some(name)) => {
            variable(&format!("{key}.env"), "secret", name, environment, diagnosis).map(SecretRef::Value)
        }
        _ => {
            let advice = "write `{ secret = \"…\" }`, `{ file = \"/…\" }` or `{ env = \"…\" }`";
            diagnosis.report(key, "not a secret in exactly one form", advice);
            None
        }
    }
}

/// `^[A-Za-z_][A-Za-z0-9_]*$`
fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
