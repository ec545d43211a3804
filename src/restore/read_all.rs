//! Reading everything once. An instance that RDS has restored fetches each block from S3 when it is first asked for, so it is
//! only as fast as it will be, and only known to be whole, once all of it was read.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::crew::work_through;
use super::{RestoreError, Server, blocking};
use crate::domain::id::DatabaseName;
use crate::domain::progress::Progress;
use crate::dump::quoting::quoted;
use crate::ports::Cause;
use crate::ports::postgres::{RowSink, Session};

/// Pages that one statement reads: 64 MiB.
const RANGE_PAGES: u64 = 8192;

/// A table, and how many rows were read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRead {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Whether it is a materialized view.
    pub is_view: bool,
    /// Rows.
    pub rows: u64,
}

impl TableRead {
    /// Schema and name.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }
}

/// Reads every row of every table and materialized view of a database, with what is stored out of line.
///
/// # Errors
/// A table cannot be read; the error names it.
pub async fn read_all(
    server: &Server,
    database: &DatabaseName,
    sessions: usize,
    progress: &Arc<Progress>,
    token: &CancellationToken,
) -> Result<Vec<TableRead>, RestoreError> {
    let mut session = server.session(database).await?;
    let listed = blocking(move || Ok(session.query(TABLES)?)).await?;
    let found: Vec<(TableRead, u64)> = listed.into_iter().filter_map(table_of).collect();
    let mut ranges = Vec::new();
    for (index, (table, pages)) in found.iter().enumerate() {
        ranges.extend(statements(table, *pages).into_iter().map(|statement| (index, statement)));
    }
    let tables: Arc<Mutex<Vec<TableRead>>> = Arc::new(Mutex::new(found.into_iter().map(|(table, _)| table).collect()));
    let (counting, progress) = (Arc::clone(&tables), Arc::clone(progress));
    let work = move |session: &mut dyn Session, (index, statement): (usize, String)| {
        let mut sink = Counter(&progress);
        let copied = session.copy_out(&statement, &mut sink);
        let rows = copied.map_err(|error| {
            let counted = counting.lock().unwrap_or_else(PoisonError::into_inner);
            let table = counted.get(index).map(TableRead::full_name).unwrap_or_default();
            RestoreError::Table { table, error }
        })?;
        progress.add_read(0, rows);
        if let Some(table) = counting.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
            table.rows += rows;
        }
        Ok(())
    };
    work_through(server, database, sessions, ranges, token, work).await?;
    let tables = tables.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(tables)
}

/// Large tables in ranges of their pages; what has grown meanwhile belongs to the last one.
fn statements(table: &TableRead, pages: u64) -> Vec<String> {
    let name = format!("{}.{}", quoted(&table.schema), quoted(&table.table));
    if pages <= RANGE_PAGES {
        return vec![format!("COPY (SELECT * FROM ONLY {name}) TO STDOUT")];
    }
    let starts: Vec<u64> = (0..pages).step_by(usize::try_from(RANGE_PAGES).unwrap_or(usize::MAX)).collect();
    let of_range = |(index, start): (usize, &u64)| {
        let end = starts.get(index + 1).map(|end| format!(" AND ctid < '({end},0)'")).unwrap_or_default();
        format!("COPY (SELECT * FROM ONLY {name} WHERE ctid >= '({start},0)'{end}) TO STDOUT")
    };
    starts.iter().enumerate().map(of_range).collect()
}

fn table_of(row: Vec<Option<String>>) -> Option<(TableRead, u64)> {
    let mut fields = row.into_iter().flatten();
    let (schema, table, kind) = (fields.next()?, fields.next()?, fields.next()?);
    let pages = fields.next()?.parse().ok()?;
    Some((TableRead { schema, table, is_view: kind == "m", rows: 0 }, pages))
}

/// Tables and materialized views that keep their rows; unlogged ones are empty after a restore (RDS user guide). A range of
/// pages is only quick to find since version 14.
const TABLES: &str = "SELECT n.nspname, c.relname, c.relkind::text, \
     (CASE WHEN pg_catalog.current_setting('server_version_num')::int < 140000 THEN 0 \
     ELSE pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int END)::text \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND (c.relkind = 'r' OR c.relispopulated) \
     AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%' \
     ORDER BY pg_catalog.pg_relation_size(c.oid) DESC, 1, 2";

struct Counter<'a>(&'a Progress);

impl RowSink for Counter<'_> {
    fn take(&mut self, text: &[u8]) -> Result<(), Cause> {
        self.0.add_read(u64::try_from(text.len()).unwrap_or(0), 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TableRead {
        TableRead { schema: "bank".to_owned(), table: "odd \"name\"".to_owned(), is_view: false, rows: 0 }
    }

    #[test]
    fn every_page_of_a_large_table_is_in_one_range_and_what_it_grows_by_in_the_last() {
        assert_eq!(statements(&table(), 3), ["COPY (SELECT * FROM ONLY \"bank\".\"odd \"\"name\"\"\") TO STDOUT"]);
        let told = statements(&table(), RANGE_PAGES * 2);
        assert!(told[0].contains("ctid >= '(0,0)' AND ctid < '(8192,0)'"), "{told:?}");
        assert!(told[1].ends_with("ctid >= '(8192,0)') TO STDOUT") && told.len() == 2, "{told:?}");
    }
}
