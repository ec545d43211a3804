//! PostgreSQL servers and the stock client that dumps them.

use std::io::Read;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::credentials::Login;
use super::{Cause, PortError};
use crate::domain::dump_login::DumpLogin;
use crate::domain::id::DatabaseName;
use crate::domain::inventory::ToolVersion;
use crate::domain::manifest::Extension;

/// What a server says of a database just before it is dumped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// `server_version`.
    pub server_version: String,
    /// The server's time.
    pub at: Timestamp,
    /// `pg_current_wal_lsn()`; absent on a read replica.
    pub lsn: Option<String>,
    /// Installed extensions.
    pub extensions: Vec<Extension>,
    /// Size of the database in bytes.
    pub size_bytes: u64,
    /// What text of it is read as.
    pub text: TextEncoding,
}

/// What the text of a database is read and written as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TextEncoding {
    /// The server converts from and to what the database has.
    #[default]
    Utf8,
    /// The database is of encoding `SQL_ASCII`: its text is any bytes, and nothing can be converted.
    AnyBytes,
}

impl TextEncoding {
    /// Of a database of this encoding, as PostgreSQL names it.
    #[must_use]
    pub fn of_database(encoding: &str) -> TextEncoding {
        if encoding == "SQL_ASCII" { TextEncoding::AnyBytes } else { TextEncoding::Utf8 }
    }

    /// PostgreSQL's name of the encoding to ask for.
    #[must_use]
    pub fn client_encoding(self) -> &'static str {
        match self {
            TextEncoding::Utf8 => "UTF8",
            TextEncoding::AnyBytes => "SQL_ASCII",
        }
    }
}

/// Roles and settings that live outside databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Globals {
    /// SQL that creates them.
    pub sql: String,
    /// Names of the roles in it.
    pub roles: Vec<String>,
}

/// A PostgreSQL server, over verified TLS only; where the host is a folder, over the socket in it.
#[async_trait]
pub trait Postgres: Send + Sync {
    /// Facts about a database.
    async fn facts(&self, login: &Login, database: &DatabaseName) -> Result<DatabaseFacts, PortError>;

    /// What the login is like, and what the database hides from it.
    async fn login_facts(&self, login: &Login, database: &DatabaseName) -> Result<DumpLogin, PortError>;

    /// Roles, memberships and settings, without password hashes and without RDS's own roles.
    async fn globals(&self, login: &Login, database: &DatabaseName) -> Result<Globals, PortError>;

    /// A session that stays; `name` appears as application name in `pg_stat_activity`. It writes text as pg_dump does, in
    /// its [`TextEncoding`], and refuses to read a table of which policies hide rows.
    async fn session(&self, login: &Login, database: &DatabaseName, name: &str) -> Result<Box<dyn Session>, PortError>;
}

/// A dump waits so long for a lock, as PostgreSQL writes it: whoever waits longer keeps others waiting behind them.
pub const LOCK_TIMEOUT: &str = "10s";

/// Takes in rows as COPY text, cut anywhere.
pub trait RowSink {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// They cannot be taken; the copy ends.
    fn take(&mut self, text: &[u8]) -> Result<(), Cause>;
}

/// A session of a server, for a thread that may block. It ends when it is dropped.
pub trait Session: Send {
    /// Runs one statement, or several as one transaction, and returns its rows as text, `None` for NULL.
    ///
    /// # Errors
    /// The server refuses, or is gone.
    fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, PortError>;

    /// Runs `COPY … TO STDOUT` and returns how many rows the server says it sent.
    ///
    /// # Errors
    /// The server refuses, or is gone, or `sink` refuses. Unless it is the server that refuses, the session is of no use then.
    fn copy_out(&mut self, statement: &str, sink: &mut dyn RowSink) -> Result<u64, PortError>;

    /// Runs `COPY … FROM STDIN` with the COPY text that `rows` gives, and returns how many rows the server says it took.
    /// If `rows` fails none is taken.
    ///
    /// # Errors
    /// The server refuses, or is gone, or `rows` fails. No error quotes a row.
    fn copy_in(&mut self, statement: &str, rows: &mut dyn Read) -> Result<u64, PortError>;

    /// Ends the session from another thread: whatever it waits for fails.
    ///
    /// # Errors
    /// The operating system has no handle left.
    fn stopper(&self) -> Result<Stopper, PortError>;
}

/// Ends a session.
pub type Stopper = Box<dyn Fn() + Send + Sync>;

/// How a child process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Whether its status says success.
    pub success: bool,
    /// The status in words, such as `exit status: 1`.
    pub status: String,
    /// The last lines that it wrote to standard error.
    pub stderr: String,
}

/// A running `pg_dump`. Dropping it kills the process.
#[async_trait]
pub trait DumpProcess: Send {
    /// The archive: to be taken once, and read on a thread that may block.
    fn take_archive(&mut self) -> Option<Box<dyn Read + Send>>;

    /// Waits for the end of the process. It can only end once its archive is read or dropped.
    async fn wait(&mut self) -> Result<Exit, PortError>;

    /// Ends the process now and waits until it is gone.
    async fn kill(&mut self);
}

/// The stock dump client.
#[async_trait]
pub trait PgDump: Send + Sync {
    /// Its version.
    async fn version(&self) -> Result<ToolVersion, PortError>;

    /// Starts `pg_dump -Fc -Z0` of a database; `name` appears as application name in `pg_stat_activity`. With a `snapshot`
    /// that another session has exported it dumps what that one sees.
    async fn start(
        &self,
        login: &Login,
        database: &DatabaseName,
        name: &str,
        text: TextEncoding,
        snapshot: Option<&str>,
    ) -> Result<Box<dyn DumpProcess>, PortError>;
}

/// What is restored by the stock client, and how.
pub struct RestoreOrder {
    /// The archive.
    pub archive: RestoreArchive,
    /// Ids of the entries to restore, in the order of the archive.
    pub entries: Vec<i32>,
    /// Connections; an archive that comes as a stream takes one.
    pub jobs: usize,
    /// Whether objects get their owners.
    pub owners: bool,
    /// Whether rights are granted.
    pub privileges: bool,
    /// The name of the connections in `pg_stat_activity`.
    pub name: String,
}

/// An archive for the stock client.
pub enum RestoreArchive {
    /// The `toc.dat` of an archive of the directory format, for entries without data.
    TocDat(Bytes),
    /// A custom archive, read to its end.
    Custom(Box<dyn Read + Send>),
}

impl std::fmt::Debug for RestoreOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RestoreOrder({} entries from {:?})", self.entries.len(), self.archive)
    }
}

impl std::fmt::Debug for RestoreArchive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RestoreArchive::TocDat(_) => "toc.dat",
            RestoreArchive::Custom(_) => "a custom archive",
        })
    }
}

/// The stock client that restores archives.
#[async_trait]
pub trait PgRestore: Send + Sync {
    /// Its version.
    async fn version(&self) -> Result<ToolVersion, PortError>;

    /// Runs `pg_restore` to its end; it goes on after errors, and tells them. What it wrote to standard error comes as
    /// lines. Dropping the future kills the process.
    async fn restore(&self, login: &Login, database: &DatabaseName, order: RestoreOrder) -> Result<Exit, PortError>;
}
