//! What a database has: tables, materialized views, sequences. Of two catalogs one tells what the other must have.

use std::collections::BTreeMap;

use crate::ports::PortError;
use crate::ports::postgres::Session;

/// Schema and name, as people write them.
pub type Name = String;

/// What a database has, apart from what PostgreSQL brings along, and from what is temporary or unlogged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Tables, with the rows that the server's statistics say they have: about, and 0 where it does not know.
    pub tables: BTreeMap<Name, u64>,
    /// Materialized views, and whether they are filled.
    pub views: BTreeMap<Name, bool>,
    /// Sequences that count upwards without end, and the value that they gave last; `None` where nobody has asked them yet, or we
    /// may not see it.
    pub sequences: BTreeMap<Name, Option<i64>>,
    /// The server's time.
    pub at: String,
}

impl Catalog {
    /// Leaves what another look at the same database has found, too: what goes in between, and what is set back, proves
    /// nothing.
    pub fn keep_common(&mut self, other: &Catalog) {
        self.tables.retain(|name, rows| {
            other.tables.get(name).is_some_and(|others| {
                *rows = (*rows).min(*others);
                true
            })
        });
        self.views.retain(|name, filled| {
            *filled = *filled && other.views.get(name) == Some(&true);
            other.views.contains_key(name)
        });
        self.sequences.retain(|name, last| {
            *last = (*last).min(other.sequences.get(name).copied().flatten());
            other.sequences.contains_key(name)
        });
    }
}

/// Reads it: some queries of the system's tables, and of nothing else.
///
/// # Errors
/// The server refuses, or is gone.
pub fn read_catalog(session: &mut dyn Session) -> Result<Catalog, PortError> {
    let mut catalog = Catalog::default();
    for row in session.query(RELATIONS)? {
        let mut fields = row.into_iter().flatten();
        let (Some(name), Some(kind), Some(filled), Some(rows)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if kind == "m" {
            catalog.views.insert(name, filled == "true");
        } else {
            catalog.tables.insert(name, rows.parse().unwrap_or(0));
        }
    }
    for row in session.query(SEQUENCES)? {
        let mut fields = row.into_iter();
        if let Some(name) = fields.next().flatten() {
            let last = fields.next().flatten().and_then(|last| last.parse().ok());
            catalog.sequences.insert(name, last);
        }
    }
    let at = session.query(NOW)?.into_iter().flatten().flatten().next();
    catalog.at = at.unwrap_or_default();
    Ok(catalog)
}

/// Tables with rows of their own, and materialized views.
const RELATIONS: &str = "SELECT n.nspname || '.' || c.relname, c.relkind::text, c.relispopulated::text, \
     pg_catalog.pg_stat_get_live_tuples(c.oid)::text \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' \
     AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'";
/// Those of unlogged tables are unlogged, too (PostgreSQL 15), and begin anew in what is restored.
const SEQUENCES: &str = "SELECT s.schemaname || '.' || s.sequencename, s.last_value::text FROM pg_catalog.pg_sequences s \
     JOIN pg_catalog.pg_namespace n ON n.nspname = s.schemaname \
     JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = s.sequencename \
     WHERE s.increment_by > 0 AND NOT s.cycle AND c.relpersistence = 'p'";
/// In whole seconds, rounded up: whatever was there when it was asked was there before.
const NOW: &str = "SELECT pg_catalog.to_char(pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() + interval '1 second') \
     AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
