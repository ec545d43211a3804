//! The restored instance, looked at before anybody is led to it, beside what the old one has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{RecoverError, Recovering};
use crate::domain::drill::Assertion;
use crate::domain::id::DatabaseName;
use crate::domain::progress::Progress;
use crate::dump::quoting::{quoted, quoted_text};
use crate::ports::postgres::Session;
use crate::ports::{Chain, ErrorKind};
use crate::restore::catalog::read_catalog;
use crate::restore::instance::{Awaited, InstanceError};
use crate::restore::look::look;
use crate::restore::read_all::{TableRead, read_all};
use crate::restore::{RestoreError, Server, with_session};

/// What is to be looked at.
#[derive(Debug)]
pub struct Verify {
    /// The restored instance, which may not answer yet.
    pub awaited: Awaited,
    /// Its server.
    pub server: Server,
    /// The old instance's, where there is one.
    pub old: Option<Server>,
    /// The databases.
    pub databases: Vec<DatabaseName>,
    /// What must be true.
    pub assertions: Vec<Assertion>,
    /// Connections that read.
    pub jobs: usize,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Tables that were read.
    pub tables: usize,
    /// Rows of them.
    pub rows: u64,
    /// What is wrong.
    pub faults: Vec<String>,
    /// What could not be checked, and why.
    pub notes: Vec<String>,
    /// Tables that the old instance has another number of rows of.
    pub differences: Vec<Difference>,
}

/// A table that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Database, schema and name.
    pub table: String,
    /// Rows in the restored instance; `None` where it has no such table.
    pub restored: Option<u64>,
    /// Rows in the old one; `None` where it has no such table.
    pub old: Option<u64>,
}

impl Recovering<'_> {
    /// Reads every row of the restored instance, asks what must be true of it, and counts what the old one has.
    ///
    /// # Errors
    /// It cannot be looked at. What is wrong with it, or cannot be asked of the old one, is in the answer.
    pub async fn verify(&self, wanted: &Verify, progress: &Arc<Progress>) -> Result<Verified, RecoverError> {
        let mut verified = Verified::default();
        let Some(first) = wanted.databases.first() else {
            verified.faults.push("nothing was read: the configuration has no `databases` for this source".to_owned());
            return Ok(verified);
        };
        match Box::pin(wanted.awaited.first_answer(&wanted.server, first, self.token)).await {
            Err(InstanceError::NoDatabase { .. }) => return Err(no_database(first)),
            answered => answered?,
        }
        for database in &wanted.databases {
            let read = Box::pin(read_all(&wanted.server, database, wanted.jobs, progress, self.token)).await;
            let read = match read {
                Err(RestoreError::Port(error)) if error.kind() == ErrorKind::NotFound => {
                    return Err(no_database(database));
                }
                read => read?,
            };
            verified.tables += read.len();
            verified.rows += read.iter().map(|table| table.rows).sum::<u64>();
            let own = wanted.assertions.iter().filter(|assertion| assertion.database == *database);
            let own: Vec<Assertion> = own.cloned().collect();
            let looked = Box::pin(look(&wanted.server, database, own, false, self.token)).await?;
            let named = |text: &String| format!("{database}: {text}");
            verified.faults.extend(looked.faults.iter().map(named));
            verified.notes.extend(looked.notes.iter().map(named));
            let Some(old) = &wanted.old else { continue };
            match Box::pin(with_session(old, database, self.token, counted(read.clone()))).await {
                Ok(old) => {
                    if read.is_empty() && !old.is_empty() {
                        verified
                            .faults
                            .push(format!("{database}: it has no tables, and the old one has {}", old.len()));
                    }
                    verified.differences.extend(differences(database, &read, &old));
                }
                Err(error) => {
                    verified.notes.push(format!("{database}: not compared with the old instance: {}", Chain(&error)));
                }
            }
        }
        Ok(verified)
    }
}

fn no_database(database: &DatabaseName) -> RecoverError {
    RecoverError::NoDatabase { database: database.clone() }
}

/// Counts the same tables in another instance. Of others that it has the statistics tell.
fn counted(
    tables: Vec<TableRead>,
) -> impl Fn(&mut dyn Session) -> Result<BTreeMap<String, u64>, RestoreError> + Send + Sync + 'static {
    move |session| {
        session.query(CAREFULLY)?;
        let mut counts = read_catalog(session)?.tables;
        for table in &tables {
            let name = format!("{}.{}", quoted(&table.schema), quoted(&table.table));
            let there = format!("SELECT pg_catalog.to_regclass({})", quoted_text(&name));
            if session.query(&there)?.into_iter().flatten().flatten().next().is_none() {
                continue;
            }
            let rows = session.query(&format!("SELECT pg_catalog.count(*) FROM ONLY {name}"))?;
            if let Some(rows) = rows.into_iter().flatten().flatten().next().and_then(|rows| rows.parse().ok()) {
                counts.insert(table.full_name(), rows);
            }
        }
        Ok(counts)
    }
}

fn differences(database: &DatabaseName, restored: &[TableRead], old: &BTreeMap<String, u64>) -> Vec<Difference> {
    let restored: BTreeMap<String, u64> = restored.iter().map(|table| (table.full_name(), table.rows)).collect();
    let names: BTreeSet<&String> = restored.keys().chain(old.keys()).collect();
    let of = |name: &String| Difference {
        table: format!("{database}: {name}"),
        restored: restored.get(name).copied(),
        old: old.get(name).copied(),
    };
    names.into_iter().map(of).filter(|difference| difference.old != difference.restored).collect()
}

/// The old instance may be damaged, or still be in use.
const CAREFULLY: &str =
    "SET default_transaction_read_only = on; SET lock_timeout = '5s'; SET statement_timeout = '10min'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_in_both_is_no_difference() {
        let table =
            |table: &str, rows| TableRead { schema: "bank".to_owned(), table: table.to_owned(), is_view: false, rows };
        let restored = [table("accounts", 5), table("cards", 3), table("gone", 2)];
        let old =
            [("bank.accounts", 5), ("bank.cards", 1), ("bank.young", 4)].map(|(name, rows)| (name.to_owned(), rows));
        let found = differences(&"core".parse().unwrap(), &restored, &old.into_iter().collect());
        let told: Vec<_> = found.iter().map(|one| (one.table.as_str(), one.restored, one.old)).collect();
        let expected = [
            ("core: bank.cards", Some(3), Some(1)),
            ("core: bank.gone", Some(2), None),
            ("core: bank.young", None, Some(4)),
        ];
        assert_eq!(told, expected);
    }
}
