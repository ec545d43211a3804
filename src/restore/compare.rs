//! What was restored against what was dumped: every row of every table, counted and hashed on the server it is on now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::crew::work_through;
use super::{RestoreError, RestoreRequest, Watch};
use crate::domain::manifest::Table;
use crate::dump::archive::{SEQUENCE_SET, Toc, TocEntry};
use crate::dump::parallel::TableData;
use crate::dump::quoting::{quoted, quoted_text};
use crate::dump::row_meter::{RowCount, RowMeter};
use crate::ports::Cause;
use crate::ports::postgres::{RowSink, Session};

/// Bytes of a table's file that one statement reads.
const RANGE_BYTES: u64 = 64 << 20;

/// What differs, table by table.
pub(super) async fn differences(
    request: &RestoreRequest,
    tables: &[&TocEntry],
    watch: &Arc<Watch>,
    token: &CancellationToken,
) -> Result<Vec<String>, RestoreError> {
    let mut session = request.server.session(&request.target.database).await?;
    let (found, session) = super::blocking(move || {
        let found = (by_name(session.query(SIZES)?), by_name(session.query(CONDITIONS)?));
        Ok((found, session))
    })
    .await?;
    drop(session);
    let (sizes, conditions) = found;
    let mut ranges = Vec::new();
    for entry in tables {
        let name = format!("{}.{}", quoted_text(&entry.namespace), quoted_text(&entry.tag));
        let data = TableData::of(entry, sizes.get(&name), conditions.get(&name));
        for range in data.ranges(RANGE_BYTES) {
            ranges.push((entry.dump_id, data.copy_statement(range)?));
        }
    }
    let counted: Arc<Mutex<BTreeMap<i32, RowCount>>> = Arc::default();
    let (counting, watch) = (Arc::clone(&counted), Arc::clone(watch));
    let work = move |session: &mut dyn Session, (dump_id, statement): (i32, String)| {
        let mut meter = Meter(RowMeter::default());
        session.copy_out(&statement, &mut meter)?;
        let count = meter.0.count();
        watch.progress.add_read(count.bytes, count.rows);
        let mut counted = counting.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = counted.entry(dump_id).or_default();
        *sum = sum.and(count);
        Ok(())
    };
    work_through(&request.server, &request.target.database, request.jobs, ranges, token, work).await?;
    let counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
    let dumped = request.manifest.tables.iter().filter_map(|table| Some((table, counted.get(&table.dump_id)?)));
    let difference = |(table, count): (&Table, &RowCount)| {
        // The engine `pg_dump` keeps no hashes.
        let hash = table.hash.is_some().then(|| count.hash_hex());
        table.difference(count.rows, count.bytes, hash.as_deref())
    };
    Ok(dumped.filter_map(difference).collect())
}

/// Sequences that do not stand where they stood; `beside` are the entries that were restored.
pub(super) async fn sequences(
    request: &RestoreRequest,
    toc: &Toc,
    beside: &[i32],
) -> Result<Vec<String>, RestoreError> {
    let set = toc.entries.iter().filter(|entry| entry.description == SEQUENCE_SET && beside.contains(&entry.dump_id));
    let wanted: Vec<(String, String, Option<Stand>)> = set
        .map(|entry| {
            let name = format!("{}.{}", quoted(&entry.namespace), quoted(&entry.tag));
            (name, format!("{}.{}", entry.namespace, entry.tag), Stand::set_by(&entry.definition))
        })
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut session = request.server.session(&request.target.database).await?;
    super::blocking(move || {
        let mut differences = Vec::new();
        for (name, named, dumped) in wanted {
            let rows = session.query(&format!("SELECT last_value::text, is_called::text FROM {name}"))?;
            let mut fields = rows.into_iter().next().into_iter().flatten().flatten();
            let found = match (fields.next(), fields.next()) {
                (Some(last), Some(called)) => Some(Stand { last, is_called: called == "true" }),
                (_, _) => None,
            };
            if found != dumped || dumped.is_none() {
                differences.push(format!("sequence {named} does not stand where it stood"));
            }
        }
        Ok(differences)
    })
    .await
}

/// Where a sequence stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stand {
    last: String,
    is_called: bool,
}

impl Stand {
    /// What `SELECT pg_catalog.setval('bank.account_id', 4711, true);` does.
    fn set_by(definition: &str) -> Option<Stand> {
        let arguments = definition.trim_end().strip_suffix(");")?;
        let (arguments, is_called) = arguments.rsplit_once(", ")?;
        let (_, last) = arguments.rsplit_once(", ")?;
        Some(Stand { last: last.to_owned(), is_called: is_called.parse().ok()? })
    }
}

fn by_name(rows: Vec<Vec<Option<String>>>) -> BTreeMap<String, Vec<String>> {
    let named = rows.into_iter().filter_map(|row| {
        let mut fields = row.into_iter();
        let (schema, table) = (fields.next()??, fields.next()??);
        let name = format!("{}.{}", quoted_text(&schema), quoted_text(&table));
        Some((name, fields.map(Option::unwrap_or_default).collect()))
    });
    named.collect()
}

/// Heaps can be read by ranges of their pages, since version 14.
const SIZES: &str = "SELECT n.nspname, c.relname, \
     (CASE WHEN pg_catalog.current_setting('server_version_num')::int < 140000 THEN 0 ELSE pg_catalog.pg_relation_size(c.oid) \
     / pg_catalog.current_setting('block_size')::int END)::text, (pg_catalog.pg_relation_size(c.oid) + \
     coalesce(pg_catalog.pg_relation_size(nullif(c.reltoastrelid, 0)), 0))::text \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_catalog.pg_am a ON a.oid = c.relam \
     WHERE c.relkind = 'r' AND a.amname = 'heap'";
/// Rows of an extension's table that pg_dump takes along (PostgreSQL, extension configuration tables).
const CONDITIONS: &str = "SELECT n.nspname, t.relname, c.condition FROM pg_catalog.pg_extension e, \
     LATERAL unnest(e.extconfig, e.extcondition) AS c(oid, condition) \
     JOIN pg_catalog.pg_class t ON t.oid = c.oid JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace";

struct Meter(RowMeter);

impl RowSink for Meter {
    fn take(&mut self, text: &[u8]) -> Result<(), Cause> {
        self.0.take(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_sequence_stood_is_read_out_of_the_statement_that_sets_it() {
        let stand = |last: &str, is_called| Some(Stand { last: last.to_owned(), is_called });
        let set = Stand::set_by;
        assert_eq!(set("SELECT pg_catalog.setval('bank.account_id', 4711, true);\n"), stand("4711", true));
        assert_eq!(set("SELECT pg_catalog.setval('bank.\"odd, name\"', -1, false);\n\n"), stand("-1", false));
        assert_eq!(set("SELECT 1;"), None);
    }
}
