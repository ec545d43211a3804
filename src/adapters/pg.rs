//! PostgreSQL servers through tokio-postgres, over TLS that is always verified; sessions also over a socket of this machine.

mod copy_data;
mod dump_session;
mod login_facts;
mod wire;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::globals;
use crate::domain::dump_login::DumpLogin;
use crate::domain::id::DatabaseName;
use crate::domain::manifest::Extension;
use crate::ports::credentials::Login;
use crate::ports::postgres::{DatabaseFacts, Globals, Postgres, Session, TextEncoding};
use crate::ports::{ErrorKind, PortError};
use dump_session::DumpSession;
use wire::local_socket;

/// Keepalives on idle connections, so that a peer that is gone is noticed within minutes.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Catalog queries end or are given up: none of them reads user data.
const STATEMENT_TIMEOUT_MS: u32 = 60_000;

/// Servers, reached with one connection per question.
#[derive(Debug, Clone)]
pub struct PgServers {
    connect_timeout: Duration,
}

impl PgServers {
    /// Servers that must answer within `connect_timeout`.
    #[must_use]
    pub fn new(connect_timeout: Duration) -> PgServers {
        PgServers { connect_timeout }
    }

    /// Runs `work` with a connection and closes it.
    async fn with_connection<T>(
        &self,
        login: &Login,
        database: &DatabaseName,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PortError> {
        let server = format!("database {database} at {}:{}", login.endpoint.host, login.endpoint.port);
        let connect = || format!("connect to {server}");
        let tls = tls(login).map_err(|error| PortError::new(connect(), ErrorKind::Invalid).because(error))?;
        let settings = self.settings(login, database);
        let connecting = settings.connect(MakeRustlsConnect::new(tls));
        let (client, connection) = connecting.await.map_err(|error| {
            let checked =
                if is_tls(&error) { format!(" with the CA file {}", login.ca_file.display()) } else { String::new() };
            PortError::new(format!("{}{checked}", connect()), kind_of(&error)).because(error)
        })?;
        let ended = || PortError::new(format!("talk to {server}"), ErrorKind::Transient);
        let work = async {
            let done = work(&client).await;
            done.map_err(|error| PortError::new(format!("query {server}"), kind_of(&error)).because(error))
        };
        // The connection only moves while it is polled; it ends by itself only when the server has gone.
        tokio::select! {
            biased;
            done = work => done,
            end = connection => match end {
                Ok(()) => Err(ended()),
                Err(error) => Err(ended().because(error)),
            },
        }
    }

    fn settings(&self, login: &Login, database: &DatabaseName) -> tokio_postgres::Config {
        let mut settings = tokio_postgres::Config::new();
        settings
            .host(&login.endpoint.host)
            .port(login.endpoint.port)
            .user(&login.user)
            .password(login.password.expose_secret())
            .dbname(database.as_str())
            .application_name("strongroom")
            .ssl_mode(SslMode::Require)
            .connect_timeout(self.connect_timeout)
            .keepalives_idle(KEEPALIVE)
            .tcp_user_timeout(KEEPALIVE * 4)
            .options(format!("-c statement_timeout={STATEMENT_TIMEOUT_MS} -c default_transaction_read_only=on"));
        settings
    }
}

/// TLS against the configured certificates and nothing else: a public CA must not be able to stand in for RDS's.
fn tls(login: &Login) -> Result<ClientConfig, TlsError> {
    let path = login.ca_file.display().to_string();
    let certificates = CertificateDer::pem_file_iter(&login.ca_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::Read { path: path.clone(), error })?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(TlsError::Empty { path });
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.map_err(TlsError::Protocol)?.with_root_certificates(roots).with_no_client_auth())
}

#[derive(Debug, thiserror::Error)]
enum TlsError {
    #[error("cannot read the CA file {path}: download RDS's certificate bundle and set `postgres.ca_file`")]
    Read {
        path: String,
        #[source]
        error: rustls::pki_types::pem::Error,
    },
    #[error("the CA file {path} holds no certificate: download RDS's certificate bundle again")]
    Empty { path: String },
    #[error("TLS cannot be set up")]
    Protocol(#[source] rustls::Error),
}

/// Whether a handshake failed: then the reader has to know which certificates the server was checked against.
fn is_tls(error: &tokio_postgres::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.and_then(std::io::Error::get_ref).is_some_and(|cause| cause.is::<rustls::Error>())
}

fn kind_of(error: &tokio_postgres::Error) -> ErrorKind {
    kind_of_code(error.code().map(tokio_postgres::error::SqlState::code))
}

/// What an SQLSTATE means to the caller; without one the connection failed.
fn kind_of_code(code: Option<&str>) -> ErrorKind {
    match code {
        Some(code) if code.starts_with("28") || code == "42501" => ErrorKind::PermissionDenied,
        Some("3D000" | "42P01") => ErrorKind::NotFound,
        // A lock that is not to be had in time.
        Some("55P03") => ErrorKind::WrongState,
        Some("40001" | "40P01") => ErrorKind::Conflict,
        // Corrupted data or index, an error of the disk, a file that is gone.
        Some("XX001" | "XX002" | "58030" | "58P01") => ErrorKind::Damaged,
        Some(code) if code.starts_with("57") || code.starts_with("08") || code.starts_with("53") => {
            ErrorKind::Transient
        }
        Some(_) => ErrorKind::Invalid,
        None => ErrorKind::Transient,
    }
}

/// The rows of a query. The simple protocol gives every value as text, which is all that is needed here.
pub(super) async fn rows(client: &Client, sql: &str) -> Result<Vec<SimpleQueryRow>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    Ok(messages
        .into_iter()
        .filter_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None })
        .collect())
}

const FACTS: &str = r#"
SELECT current_setting('server_version'),
       to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_lsn()::text END,
       pg_database_size(current_database())::text,
       getdatabaseencoding()
"#;
const EXTENSIONS: &str = "SELECT extname, extversion FROM pg_catalog.pg_extension ORDER BY extname";

#[async_trait]
impl Postgres for PgServers {
    async fn facts(&self, login: &Login, database: &DatabaseName) -> Result<DatabaseFacts, PortError> {
        let found = self.with_connection(login, database, async |client| {
            Ok((rows(client, FACTS).await?, rows(client, EXTENSIONS).await?))
        });
        let (facts, extensions) = found.await?;
        let facts = facts.first().and_then(|row| {
            Some(DatabaseFacts {
                server_version: row.get(0)?.to_owned(),
                at: row.get(1)?.parse().ok()?,
                lsn: row.get(2).map(str::to_owned),
                extensions: extensions.iter().filter_map(to_extension).collect(),
                size_bytes: row.get(3)?.parse().ok()?,
                text: TextEncoding::of_database(row.get(4)?),
            })
        });
        facts.ok_or_else(|| {
            PortError::new(format!("read the facts of database {database}"), ErrorKind::Other)
                .because("the server's answer has an unknown form")
        })
    }

    async fn login_facts(&self, login: &Login, database: &DatabaseName) -> Result<DumpLogin, PortError> {
        self.with_connection(login, database, login_facts::read).await
    }

    async fn globals(&self, login: &Login, database: &DatabaseName) -> Result<Globals, PortError> {
        self.with_connection(login, database, globals::read).await
    }

    async fn session(&self, login: &Login, database: &DatabaseName, name: &str) -> Result<Box<dyn Session>, PortError> {
        let what = format!("connect to database {database} at {}:{}", login.endpoint.host, login.endpoint.port);
        let tls = match local_socket(&login.endpoint) {
            Some(_) => None,
            None => {
                let tls =
                    tls(login).map_err(|error| PortError::new(what.clone(), ErrorKind::Invalid).because(error))?;
                Some(Arc::new(tls))
            }
        };
        let (login, database, name, timeout) = (login.clone(), database.clone(), name.to_owned(), self.connect_timeout);
        let opening = tokio::task::spawn_blocking(move || DumpSession::open(&login, &database, tls, &name, timeout));
        let opened = opening.await.map_err(|error| PortError::new(what, ErrorKind::Other).because(error))?;
        Ok(Box::new(opened?))
    }
}

fn to_extension(row: &SimpleQueryRow) -> Option<Extension> {
    Some(Extension { name: row.get(0)?.to_owned(), version: row.get(1)?.to_owned() })
}
