//! Logins for sources.

use std::path::PathBuf;

use async_trait::async_trait;
use secrecy::SecretString;

use super::PortError;
use crate::domain::id::SourceId;
use crate::domain::inventory::Endpoint;

/// A login to one server: made anew for each connection, because tokens expire and passwords rotate.
#[derive(Debug, Clone)]
pub struct Login {
    /// Where.
    pub endpoint: Endpoint,
    /// Role.
    pub user: String,
    /// Password or token; its `Debug` is redacted.
    pub password: SecretString,
    /// The certificates that the server's is checked against, and no others.
    pub ca_file: PathBuf,
}

/// Where a login comes from. Secrets are named, never written down.
#[derive(Debug, Clone)]
pub enum LoginRef {
    /// What the configuration says for a source.
    OfSource(SourceId),
    /// A secret in AWS Secrets Manager, in RDS's JSON form.
    Secret {
        /// Name or ARN.
        id: String,
    },
    /// A file that holds the password; it is read anew for each login.
    PasswordFile {
        /// Role.
        user: String,
        /// The file.
        path: PathBuf,
    },
    /// A password that the configuration took from an environment variable; its `Debug` is redacted.
    Password {
        /// Role.
        user: String,
        /// Password.
        password: SecretString,
    },
    /// An RDS IAM token, made anew for each login.
    IamToken {
        /// Role, which must be granted `rds_iam`.
        user: String,
    },
}

/// Where the token comes from that readers of the status page have to show.
#[derive(Debug, Clone)]
pub enum TokenRef {
    /// A file that holds it; it is read anew each time.
    File(PathBuf),
    /// A token that the configuration took from an environment variable; its `Debug` is redacted.
    Text(SecretString),
}

/// Makes logins.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// A login for a source at its endpoint.
    async fn login(&self, source: &SourceId, endpoint: &Endpoint) -> Result<Login, PortError>;

    /// A login to any server, by a reference of one's own.
    async fn login_by(&self, reference: &LoginRef, endpoint: &Endpoint) -> Result<Login, PortError>;
}
