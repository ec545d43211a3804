//! Why a dump was not restored.

use super::NotInDump;
use crate::domain::key::ObjectKey;
use crate::dump::DumpError;
use crate::dump::archive::ArchiveError;
use crate::ports::{ErrorKind, PortError};

impl RestoreError {
    /// What it means, where an outside thing said it.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            RestoreError::Port(error) | RestoreError::Table { error, .. } => Some(error.kind()),
            RestoreError::NotInDump(_)
            | RestoreError::Damaged(_)
            | RestoreError::Archive(_)
            | RestoreError::Read { .. }
            | RestoreError::Exists { .. }
            | RestoreError::NotEmpty { .. }
            | RestoreError::ClientTooOld { .. }
            | RestoreError::Client { .. }
            | RestoreError::Differs(_)
            | RestoreError::Compare(_)
            | RestoreError::Cancelled
            | RestoreError::Panicked => None,
        }
    }
}

/// Why a dump was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// An outside thing failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A table cannot be read.
    #[error("cannot read table {table}")]
    Table {
        /// Which.
        table: String,
        /// Why.
        #[source]
        error: PortError,
    },
    /// Something is wanted that the dump does not have.
    #[error(transparent)]
    NotInDump(#[from] NotInDump),
    /// The dump is not what its manifest says.
    #[error("the dump is damaged: {0}")]
    Damaged(String),
    /// The table of contents cannot be read.
    #[error("the dump's table of contents cannot be read")]
    Archive(#[from] ArchiveError),
    /// An object cannot be read to its end.
    #[error("cannot read {key}")]
    Read {
        /// Which.
        key: ObjectKey,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The database is there, and nothing says that it may be replaced.
    #[error(
        "database {database} is there already: name another one, drop it, or leave out --create to restore into it if it is empty"
    )]
    Exists {
        /// The database.
        database: String,
    },
    /// The database has something in it.
    #[error(
        "database {database} is not empty, it has {example}: restore into a new one with --create, or take --section data to add rows"
    )]
    NotEmpty {
        /// The database.
        database: String,
        /// Something that is in it.
        example: String,
    },
    /// The client is too old.
    #[error("{client} is older than the {dumped} that made the dump: install a newer one, or set `postgres.bin_dir`")]
    ClientTooOld {
        /// The version here.
        client: String,
        /// The version that made the dump.
        dumped: String,
    },
    /// The stock client met errors.
    #[error("pg_restore failed while it restored {step}: {errors}")]
    Client {
        /// What it was to restore.
        step: &'static str,
        /// What it said.
        errors: String,
    },
    /// What stands now is not what was dumped.
    #[error("the restored database differs from the dump: {0}")]
    Differs(String),
    /// A row cannot be asked for.
    #[error("the tables cannot be compared")]
    Compare(#[from] DumpError),
    /// Stopped by us.
    #[error("the restore was stopped; with --create it can be run again")]
    Cancelled,
    /// A bug.
    #[error("a thread of the restore panicked: this is a bug in strongroom")]
    Panicked,
}
