//! A database held still: the snapshot that every worker reads in, and what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::altered::by_oid;
use crate::dump::DumpError;
use crate::dump::archive::{LARGE_OBJECTS, LARGE_OBJECTS_MADE, Toc, TocEntry};
use crate::dump::quoting::{quoted, quoted_text};
use crate::ports::postgres::{LOCK_TIMEOUT, Session};
use crate::ports::{ErrorKind, PortError};

/// Tables that one statement locks.
const LOCKS_AT_ONCE: usize = 500;

/// Where a piece of a table is read from: pages from the first up to, not including, the second.
pub type Pages = (u64, u64);

/// Data of one table, as it is to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableData {
    /// Its entry in the table of contents.
    pub entry: TocEntry,
    /// Pages of its heap; 0 where it cannot be split.
    pub pages: u64,
    /// Bytes of its heap and of what is stored out of line.
    pub bytes: u64,
    /// Of a table that an extension owns: which of its rows are the user's, as `WHERE …`.
    pub condition: Option<String>,
}

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    /// In the order of the table of contents.
    pub(super) tables: Vec<Arc<TableData>>,
    /// Ids in decimal.
    pub(super) large_objects: Vec<String>,
}

/// Begins the transaction and exports its snapshot.
pub(super) fn begin(session: &mut dyn Session) -> Result<String, PortError> {
    begin_transaction(session)?;
    let exported = session.query("SELECT pg_catalog.pg_export_snapshot()")?;
    let snapshot = exported.into_iter().flatten().flatten().next();
    snapshot.ok_or_else(|| PortError::new("export a snapshot", ErrorKind::Other).because("the server named none"))
}

/// What newer servers have and older ones do not know, as pg_dump sets it: no limit on the whole transaction (17), and no
/// view or foreign table in the place of a table that was swapped since (CVE-2024-7348).
const NEWER_SETTINGS: &str = "SELECT pg_catalog.set_config(s.name, w.value, false) FROM pg_catalog.pg_settings s \
     JOIN (VALUES ('transaction_timeout', '0'), ('restrict_nonsystem_relation_kind', 'view, foreign-table')) \
     AS w(name, value) ON w.name = s.name";

fn begin_transaction(session: &mut dyn Session) -> Result<(), PortError> {
    session.query(NEWER_SETTINGS)?;
    session.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    Ok(())
}

/// Enters the snapshot of another session.
pub(super) fn enter(session: &mut dyn Session, snapshot: &str) -> Result<(), PortError> {
    begin_transaction(session)?;
    session.query(&format!("SET TRANSACTION SNAPSHOT {}", quoted_text(snapshot)))?;
    // Tables are locked at once or not at all; this is for their indexes, which a statement locks when it is planned.
    session.query(&format!("SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))?;
    Ok(())
}

/// Leaves a transaction that an error has ended, and enters the snapshot again: whoever has exported it is still there.
pub(super) fn enter_again(session: &mut dyn Session, snapshot: &str) -> Result<(), PortError> {
    session.query("ROLLBACK")?;
    enter(session, snapshot)
}

/// The entries of tables that have data.
pub(super) fn with_rows(toc: &Toc) -> Vec<&TocEntry> {
    toc.entries.iter().filter(|entry| entry.has_data && entry.description != LARGE_OBJECTS).collect()
}

/// Locks every table that has data, and makes sure that none was rewritten or exchanged between the snapshot and its lock:
/// a snapshot sees nothing of a table that was truncated or made since (PostgreSQL, MVCC caveats).
pub(super) fn hold(session: &mut dyn Session, toc: &Toc) -> Result<Contents, DumpError> {
    let tables = with_rows(toc);
    session.query(&format!("SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))?;
    for some in tables.chunks(LOCKS_AT_ONCE) {
        let names: Vec<String> = some.iter().map(|entry| format!("ONLY {}", qualified(entry))).collect();
        let locked = session.query(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", ")));
        match locked {
            Err(error) if error.kind() == ErrorKind::WrongState => {
                session.query("ROLLBACK")?;
                return Err(locked_by_others(session)?.unwrap_or(DumpError::Port(error)));
            }
            locked => drop(locked?),
        }
    }
    // What it still has to wait for, such as an index that is built anew, passes.
    session.query("SET LOCAL lock_timeout = 0")?;
    let mut rewritten: Vec<String> = session.query(REWRITTEN)?.into_iter().flatten().flatten().collect();
    rewritten.extend(exchanged(session, toc)?);
    if !rewritten.is_empty() {
        return Err(DumpError::Rewritten { tables: rewritten.join(", ") });
    }
    let sizes = by_oid(session.query(SIZES)?);
    let conditions = by_oid(session.query(CONDITIONS)?);
    let data = tables.into_iter().map(|entry| TableData::of(entry, sizes.get(&entry.oid), conditions.get(&entry.oid)));
    let tables = data.map(Arc::new).collect();
    let large_objects = match large_object_entries(toc).next() {
        Some(_) => session.query(LARGE)?.into_iter().flatten().flatten().collect(),
        None => Vec::new(),
    };
    Ok(Contents { tables, large_objects })
}

/// The entries whose data are large objects.
pub(super) fn large_object_entries(toc: &Toc) -> impl Iterator<Item = &TocEntry> {
    toc.entries.iter().filter(|entry| entry.has_data && entry.description == LARGE_OBJECTS)
}

/// The lists of large objects that an archive has, by name, for its large objects.
///
/// Up to version 16 there is one for all. From 17 on each entry makes some of them and another one, which depends on it, fills
/// them: several connections of a client restore them in any order, so each list may only name what its own entry makes.
pub(super) fn large_object_lists(toc: &Toc, ids: &[String]) -> Vec<(String, String)> {
    let made: BTreeMap<i32, &str> = toc
        .entries
        .iter()
        .filter(|entry| entry.description == LARGE_OBJECTS_MADE)
        .map(|entry| (entry.dump_id, entry.definition.as_str()))
        .collect();
    let mut left: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
    let mut lists = Vec::new();
    for entry in large_object_entries(toc) {
        let own = entry.dependencies.iter().filter_map(|id| made.get(id)).flat_map(|ids| ids.lines());
        let own: Vec<&str> = own.filter(|id| left.remove(id)).collect();
        lists.push((entry.file_name(toc.version), own));
    }
    if let Some((_, first)) = lists.first_mut() {
        first.extend(ids.iter().map(String::as_str).filter(|id| left.contains(id)));
    }
    let line = |id: &str| format!("{id} {}\n", large_object_file(id));
    lists.into_iter().map(|(name, ids)| (name, ids.into_iter().map(line).collect())).collect()
}

/// The file of a large object in a directory (`pg_backup_directory.c`).
pub(super) fn large_object_file(id: &str) -> String {
    format!("{LARGE_OBJECT}{id}.dat")
}

/// How the names of the files of large objects begin.
pub(super) const LARGE_OBJECT: &str = "blob_";

/// The tables that somebody else keeps locked, as an error; `None` if there are none any more.
pub(super) fn locked_by_others(session: &mut dyn Session) -> Result<Option<DumpError>, PortError> {
    let tables: Vec<String> = session.query(LOCKED)?.into_iter().flatten().flatten().collect();
    let tables = (!tables.is_empty()).then(|| tables.join(", "));
    Ok(tables.map(|tables| DumpError::Locked { tables, timeout: LOCK_TIMEOUT }))
}

/// The tables of an archive whose names are those of other tables now: a statement by name would read those. A transaction
/// that takes no new lock hears nothing of new names: the session must have taken one just now, or be in none.
pub(super) fn exchanged(session: &mut dyn Session, toc: &Toc) -> Result<Vec<String>, PortError> {
    let mut exchanged = Vec::new();
    for some in with_rows(toc).chunks(LOCKS_AT_ONCE) {
        let row = |entry: &&TocEntry| format!("({}, {})", quoted_text(&entry.oid), quoted_text(&qualified(entry)));
        let tables: Vec<String> = some.iter().map(row).collect();
        let found = session.query(&format!(
            "SELECT dumped.name FROM (VALUES {}) AS dumped (oid, name) \
             WHERE pg_catalog.to_regclass(dumped.name) IS DISTINCT FROM dumped.oid::pg_catalog.oid",
            tables.join(", ")
        ))?;
        exchanged.extend(found.into_iter().flatten().flatten());
    }
    Ok(exchanged)
}

/// Tables that somebody has, or waits for, the lock of that keeps everybody else out.
const LOCKED: &str = "SELECT DISTINCT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_locks l \
     JOIN pg_catalog.pg_class c ON c.oid = l.relation \
     WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_catalog.pg_backend_pid() \
     AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
     AND c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S') ORDER BY 1";
/// Tables whose file is another than the one in the snapshot: the catalog's row is what the snapshot sees, the function
/// says what is now. Some catalogs have their file named elsewhere, and 0 here.
const REWRITTEN: &str = "SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c \
     WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.relfilenode <> 0 \
     AND pg_catalog.pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode ORDER BY 1";
/// Heaps can be read by ranges of their pages. Another access method need not have any, and before version 14 a server reads
/// the whole table for each (PostgreSQL 14, release notes: TID range scans).
const SIZES: &str = "SELECT c.oid::text, \
     (CASE WHEN pg_catalog.current_setting('server_version_num')::int < 140000 THEN 0 ELSE pg_catalog.pg_relation_size(c.oid) \
     / pg_catalog.current_setting('block_size')::int END)::text, (pg_catalog.pg_relation_size(c.oid) + \
     coalesce(pg_catalog.pg_relation_size(nullif(c.reltoastrelid, 0)), 0))::text \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_am a ON a.oid = c.relam \
     WHERE c.relkind = 'r' AND a.amname = 'heap'";
/// Rows of an extension's table that pg_dump takes along (PostgreSQL, extension configuration tables).
const CONDITIONS: &str = "SELECT c.oid::text, c.condition FROM pg_catalog.pg_extension e, \
     LATERAL unnest(e.extconfig, e.extcondition) AS c(oid, condition)";
/// Every large object.
const LARGE: &str = "SELECT oid::text FROM pg_catalog.pg_largeobject_metadata ORDER BY oid";
/// Bytes of a large object that are asked for at once.
///
/// In hexadecimal they fit into what a session reads at once.
const LARGE_PIECE: u64 = 64 << 10;

impl TableData {
    /// From pages and bytes, and the condition, as the server tells them. A table of which it tells nothing is read whole.
    #[must_use]
    pub fn of(entry: &TocEntry, sizes: Option<&Vec<String>>, condition: Option<&Vec<String>>) -> TableData {
        let size = |field: usize| sizes?.get(field)?.parse().ok();
        let condition = condition.and_then(|fields| fields.first());
        TableData {
            entry: entry.clone(),
            pages: size(0).unwrap_or(0),
            bytes: size(1).unwrap_or(0),
            condition: condition.filter(|condition| !condition.is_empty()).cloned(),
        }
    }

    /// The ranges that it is read in, each of about so many bytes.
    #[must_use]
    pub fn ranges(&self, bytes_each: u64) -> Vec<Option<Pages>> {
        let wanted = self.bytes.div_ceil(bytes_each.max(1)).min(self.pages);
        // Two are not worth a second statement.
        if wanted <= 2 || self.condition.is_some() {
            return vec![None];
        }
        let pages_each = self.pages.div_ceil(wanted);
        let count = self.pages.div_ceil(pages_each);
        // The last one has no end: a table grows while it is dumped, and pages that were not there hold no row of ours, but
        // rows of ours must not hang on a size that was asked for a moment ago.
        (0..count)
            .map(|index| {
                Some((index * pages_each, if index + 1 == count { PAGES_MAX } else { (index + 1) * pages_each }))
            })
            .collect()
    }

    /// The statement that gives its rows, or those of a range.
    ///
    /// # Errors
    /// The archive's own statement has an unknown form.
    pub fn copy_statement(&self, pages: Option<Pages>) -> Result<String, DumpError> {
        let unknown = || {
            let what = format!("copy {}.{}", self.entry.namespace, self.entry.tag);
            PortError::new(what, ErrorKind::Other).because("pg_dump's COPY statement has an unknown form")
        };
        let target = self.entry.copy_target().ok_or_else(unknown)?;
        if pages.is_none() && self.condition.is_none() {
            return Ok(format!("COPY {target} TO STDOUT"));
        }
        let columns = columns(target).ok_or_else(unknown)?;
        let mut conditions: Vec<String> = Vec::new();
        if let Some((from, to)) = pages {
            conditions.push(format!("ctid >= '({from},0)'::pg_catalog.tid"));
            if to < PAGES_MAX {
                conditions.push(format!("ctid < '({to},0)'::pg_catalog.tid"));
            }
        }
        let filter = match &self.condition {
            Some(condition) => condition.clone(),
            None => format!("WHERE {}", conditions.join(" AND ")),
        };
        Ok(format!("COPY (SELECT {columns} FROM ONLY {} {filter}) TO STDOUT", qualified(&self.entry)))
    }

    /// The same behind a lock that is had at once or not at all.
    pub(super) fn locked_copy_statement(&self, pages: Option<Pages>) -> Result<String, DumpError> {
        let lock = format!("LOCK TABLE ONLY {} IN ACCESS SHARE MODE NOWAIT", qualified(&self.entry));
        Ok(format!("{lock}; {}", self.copy_statement(pages)?))
    }

    /// `schema.table`, for people.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.entry.namespace, self.entry.tag)
    }
}

/// Block numbers have 32 bits, and the last of them is none (PostgreSQL, storage/block.h).
const PAGES_MAX: u64 = 0xFFFF_FFFE;

/// The column list of `schema.table (a, b)`; empty for a table without columns.
fn columns(target: &str) -> Option<&str> {
    let mut is_quoted = false;
    for (at, byte) in target.bytes().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'(' if !is_quoted => return target.get(at + 1..)?.strip_suffix(')'),
            _ => {}
        }
    }
    Some("")
}

fn qualified(entry: &TocEntry) -> String {
    format!("{}.{}", quoted(&entry.namespace), quoted(&entry.tag))
}

/// Reads a large object, piece by piece.
pub(super) fn read_large_object(
    session: &mut dyn Session,
    id: &str,
    mut take: impl FnMut(&[u8]) -> Result<(), DumpError>,
) -> Result<(), DumpError> {
    let mut offset = 0;
    loop {
        let sql = format!("SELECT pg_catalog.encode(pg_catalog.lo_get({id}, {offset}, {LARGE_PIECE}), 'hex')");
        let hex = session.query(&sql)?.into_iter().flatten().flatten().next();
        let bytes = hex.as_deref().and_then(from_hex).ok_or_else(|| {
            PortError::new(format!("read large object {id}"), ErrorKind::Other).because("the server's answer is no hex")
        })?;
        take(&bytes)?;
        offset += bytes.len() as u64;
        if (bytes.len() as u64) < LARGE_PIECE {
            return Ok(());
        }
    }
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::dump::archive::Section;

    fn table(copy_statement: &str) -> TableData {
        let entry = TocEntry {
            dump_id: 7,
            has_data: true,
            oid: "16385".to_owned(),
            tag: "T \"x\"".to_owned(),
            description: "TABLE DATA".to_owned(),
            namespace: "bank".to_owned(),
            copy_statement: copy_statement.to_owned(),
            section: Section::Data,
            definition: String::new(),
            dependencies: Vec::new(),
        };
        TableData { entry, pages: 0, bytes: 0, condition: None }
    }

    #[rstest]
    #[case::plain("COPY bank.t (a, b) FROM stdin;\n", None, "COPY bank.t (a, b) TO STDOUT")]
    #[case::no_columns("COPY bank.t  FROM stdin;\n", None, "COPY bank.t TO STDOUT")]
    #[case::a_range(
        "COPY bank.\"T (x)\" (a, \"b)\") FROM stdin;\n",
        Some((10, 20)),
        "COPY (SELECT a, \"b)\" FROM ONLY \"bank\".\"T \"\"x\"\"\" WHERE ctid >= '(10,0)'::pg_catalog.tid AND ctid < '(20,0)'::pg_catalog.tid) TO STDOUT"
    )]
    #[case::the_last_range(
        "COPY bank.t  FROM stdin;\n",
        Some((10, PAGES_MAX)),
        "COPY (SELECT  FROM ONLY \"bank\".\"T \"\"x\"\"\" WHERE ctid >= '(10,0)'::pg_catalog.tid) TO STDOUT"
    )]
    fn rows_are_asked_for_as_pg_dump_does(
        #[case] statement: &str,
        #[case] pages: Option<Pages>,
        #[case] expected: &str,
    ) {
        assert_eq!(table(statement).copy_statement(pages).unwrap(), expected);
    }

    #[test]
    fn of_an_extensions_table_only_the_users_rows_are_taken_and_it_is_not_split() {
        let table = TableData {
            pages: 1 << 20,
            bytes: 8 << 30,
            condition: Some("WHERE mine".to_owned()),
            ..table("COPY e.t (a) FROM stdin;\n")
        };
        assert_eq!(table.ranges(10), [None]);
        let expected = "COPY (SELECT a FROM ONLY \"bank\".\"T \"\"x\"\"\" WHERE mine) TO STDOUT";
        assert_eq!(table.copy_statement(None).unwrap(), expected);
    }

    #[test]
    fn each_list_names_the_large_objects_that_its_own_entry_makes() {
        let entry = |dump_id, description: &str, definition: &str, dependencies: &[i32]| TocEntry {
            dump_id,
            has_data: description == LARGE_OBJECTS,
            description: description.to_owned(),
            definition: definition.to_owned(),
            dependencies: dependencies.to_vec(),
            ..table("").entry
        };
        let ids = ["7", "8", "9"].map(str::to_owned);
        let of_17 = vec![
            entry(1, LARGE_OBJECTS_MADE, "7\n9\n", &[]),
            entry(2, LARGE_OBJECTS_MADE, "8\n", &[]),
            entry(3, LARGE_OBJECTS, "", &[2]),
            entry(4, LARGE_OBJECTS, "", &[1, 99]),
        ];
        let lists = large_object_lists(&Toc { version: (1, 16), entries: of_17 }, &ids);
        let list = |name: &str, list: &str| (name.to_owned(), list.to_owned());
        let expected = [list("blobs_3.toc", "8 blob_8.dat\n"), list("blobs_4.toc", "7 blob_7.dat\n9 blob_9.dat\n")];
        assert_eq!(lists, expected);
        let of_15 = vec![entry(3, LARGE_OBJECTS, "", &[])];
        let lists = large_object_lists(&Toc { version: (1, 14), entries: of_15 }, &ids);
        assert_eq!(lists, [list("blobs.toc", "7 blob_7.dat\n8 blob_8.dat\n9 blob_9.dat\n")]);
    }

    #[test]
    fn ranges_meet_and_the_last_one_has_no_end() {
        let table = |pages, bytes| TableData { pages, bytes, ..table("") };
        assert_eq!(table(20, 20_000).ranges(10_000), [None], "two ranges are not worth a second statement");
        assert_eq!(table(21, 21_000).ranges(10_000), [Some((0, 7)), Some((7, 14)), Some((14, PAGES_MAX))]);
        assert_eq!(table(30, 30_000).ranges(10_000).len(), 3);
        assert_eq!(table(2, 90_000).ranges(10_000), [None], "there are only two pages");
        assert_eq!(table(4, 90_000).ranges(10_000).len(), 4, "what is stored out of line counts");
        assert_eq!(table(0, 0).ranges(0), [None]);
    }

    #[test]
    fn a_statement_of_another_form_is_refused_by_name() {
        let error = table("INSERT INTO t").copy_statement(None).unwrap_err();
        assert!(crate::ports::Chain(&error).to_string().contains("copy bank.T \"x\""), "{error:?}");
    }
}
