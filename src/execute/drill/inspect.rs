//! What a drill looks at: the source before, and what came back.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{DrillError, Drilling};
use crate::domain::id::DatabaseName;
use crate::domain::progress::Progress;
use crate::ports::postgres::Session;
use crate::ports::{Chain, ErrorKind, PortError};
use crate::restore::catalog::{Catalog, read_catalog};
use crate::restore::judge::Expected;
use crate::restore::look::question;
use crate::restore::read_all::{TableRead, read_all};
use crate::restore::{RestoreError, Server, with_session};

/// Connections that read everything.
const SESSIONS: usize = 4;

/// The source, as it was just before.
pub(super) struct Seen {
    /// Its databases.
    catalogs: BTreeMap<DatabaseName, Catalog>,
    /// A moment after all of it was looked at, by the server's clock, in whole seconds.
    pub(super) at: Timestamp,
}

/// What came of reading a database.
pub(super) enum Read {
    /// Every row.
    Whole(Vec<TableRead>),
    /// What the server has stored is damaged: what, and how it says so.
    Damaged(String),
    /// There is no such database.
    Missing,
}

impl Seen {
    /// What is there still at a second look, and was there at this one.
    pub(super) fn and_still(mut self, later: Seen) -> Seen {
        for (database, catalog) in &mut self.catalogs {
            match later.catalogs.get(database) {
                Some(later) => catalog.keep_common(later),
                None => *catalog = Catalog::default(),
            }
        }
        self
    }
}

impl Drilling<'_> {
    /// Looks at the source: some queries of the system's tables in each database, and whether assertions can be asked at all.
    pub(super) async fn look_at_source(&self) -> Result<Seen, DrillError> {
        let start = self.start;
        let ports = &self.executor.ports;
        let endpoint = start.source_endpoint.clone();
        let endpoint = endpoint.ok_or_else(|| DrillError::Impossible("the source has no endpoint".to_owned()))?;
        let server = self.server_at(endpoint);
        let mut seen = Seen { catalogs: BTreeMap::new(), at: ports.clock.now() };
        for database in &start.databases {
            let own = start.assertions_of(database);
            let look = move |session: &mut dyn Session| {
                session.query(ON_PRODUCTION)?;
                for assertion in &own {
                    session.query(&format!("EXPLAIN {}", question(assertion))).map_err(|error| {
                        let named = format!("ask assertion `{}` of the source", assertion.name);
                        PortError::new(named, ErrorKind::Invalid).because(error)
                    })?;
                }
                Ok(read_catalog(session)?)
            };
            let catalog = with_session(&server, database, &self.stop, look).await?;
            let at = catalog.at.parse::<Timestamp>();
            seen.at = at.map_err(|_| DrillError::Impossible("the source does not tell its time".to_owned()))?;
            seen.catalogs.insert(database.clone(), catalog);
        }
        Ok(seen)
    }

    /// What a restored database must have.
    pub(super) async fn expected(
        &self,
        database: &DatabaseName,
        seen: &Seen,
        data_of: Timestamp,
    ) -> Result<Expected, DrillError> {
        let source = seen.catalogs.get(database).cloned().unwrap_or_default();
        let dump = self.start.dumps_before.iter().find(|dump| dump.database == *database);
        let mut dumped = None;
        if let Some(dump) = dump {
            let manifest = self.manifest(dump).await?;
            // A dump that is newer than the backup may have what the backup cannot have.
            if manifest.snapshot_at <= data_of {
                let tables = manifest.tables.iter();
                dumped = Some(tables.map(|table| (format!("{}.{}", table.schema, table.name), table.rows)).collect());
            }
        }
        let fewer_rows_max_percent = self.start.fewer_rows_max_percent;
        Ok(Expected { source, is_exact: data_of >= seen.at, dumped, fewer_rows_max_percent })
    }
}

/// Reads every row of a database.
pub(super) async fn read(
    server: &Server,
    database: &DatabaseName,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<Read, RestoreError> {
    match read_all(server, database, SESSIONS, progress, stop).await {
        Ok(tables) => Ok(Read::Whole(tables)),
        Err(error) => match error.kind() {
            Some(ErrorKind::Damaged) => Ok(Read::Damaged(Chain(&error).to_string())),
            Some(ErrorKind::NotFound) if matches!(error, RestoreError::Port(_)) => Ok(Read::Missing),
            Some(_) | None => Err(error),
        },
    }
}

/// Nothing is written there, nobody waits for us for long, and we wait for nobody for long.
const ON_PRODUCTION: &str =
    "SET default_transaction_read_only = on; SET lock_timeout = '10s'; SET statement_timeout = '60s'";
