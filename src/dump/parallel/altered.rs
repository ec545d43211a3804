//! What no lock keeps still: the columns of a table before it is locked, and the labels of enumerations at any time.
//!
//! A query sees catalogs as its snapshot does, and the server reads rows with the catalogs as they are (PostgreSQL, MVCC
//! caveats). So the same question is asked twice: inside the dump's snapshot, and in a session that has none.

use std::collections::BTreeMap;

use super::frozen::with_rows;
use crate::dump::archive::Toc;
use crate::ports::PortError;
use crate::ports::postgres::Session;

/// The tables of an archive whose columns are others now than in the snapshot: a column that was dropped and made anew under
/// its name would be read empty, and two that have changed names in each other's place. Once they are locked they stay.
pub(super) fn reshaped(snapshot: &mut dyn Session, now: &mut dyn Session, toc: &Toc) -> Result<Vec<String>, PortError> {
    let (then, now) = (by_oid(snapshot.query(COLUMNS)?), by_oid(now.query(COLUMNS)?));
    let differs = with_rows(toc).into_iter().filter(|entry| then.get(&entry.oid) != now.get(&entry.oid));
    Ok(differs.map(|entry| format!("{}.{}", entry.namespace, entry.tag)).collect())
}

/// The enumerations of which a label was renamed since the snapshot: rows that were read before have the old one, and the
/// archive makes either the one or the other. What was dropped since is in no row.
pub(super) fn relabelled(snapshot: &mut dyn Session, now: &mut dyn Session) -> Result<Vec<String>, PortError> {
    let (then, now) = (by_oid(snapshot.query(LABELS)?), by_oid(now.query(LABELS)?));
    let renamed = then.into_iter().filter(|(oid, label)| now.get(oid).is_some_and(|now| now != label));
    let mut types: Vec<String> =
        renamed.filter_map(|(_, fields)| Some(format!("labels of type {}", fields.first()?))).collect();
    types.dedup();
    Ok(types)
}

/// Rows by their first field.
pub(super) fn by_oid(rows: Vec<Vec<Option<String>>>) -> BTreeMap<String, Vec<String>> {
    let rows = rows.into_iter().filter_map(|row| {
        let mut fields = row.into_iter();
        Some((fields.next()??, fields.map(Option::unwrap_or_default).collect()))
    });
    rows.collect()
}

/// Of each table one number that tells its columns.
const COLUMNS: &str = "SELECT a.attrelid::text, pg_catalog.hashtextextended(pg_catalog.string_agg( \
     pg_catalog.concat_ws(' ', a.attnum, a.attisdropped, a.attname, a.atttypid, a.atttypmod), ',' ORDER BY a.attnum), 0)::text \
     FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
     WHERE a.attnum > 0 AND c.relkind = 'r' GROUP BY a.attrelid";
/// Each label with its type. A row of a catalog that was changed has another `xmin`, also if it was changed back.
const LABELS: &str = "SELECT e.oid::text, pg_catalog.format_type(e.enumtypid, NULL), e.enumlabel, e.xmin::text \
     FROM pg_catalog.pg_enum e ORDER BY e.enumtypid";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::postgres::{RowSink, Stopper};

    /// A server that answers every question with these rows.
    struct Answers(Vec<Vec<Option<String>>>);

    impl Session for Answers {
        fn query(&mut self, _: &str) -> Result<Vec<Vec<Option<String>>>, PortError> {
            Ok(self.0.clone())
        }

        fn copy_out(&mut self, _: &str, _: &mut dyn RowSink) -> Result<u64, PortError> {
            Ok(0)
        }

        fn copy_in(&mut self, _: &str, _: &mut dyn std::io::Read) -> Result<u64, PortError> {
            Ok(0)
        }

        fn stopper(&self) -> Result<Stopper, PortError> {
            Ok(Box::new(|| ()))
        }
    }

    fn answers(rows: &[&[&str]]) -> Answers {
        Answers(rows.iter().map(|row| row.iter().map(|field| Some((*field).to_owned())).collect()).collect())
    }

    #[test]
    fn a_label_that_has_another_name_or_was_changed_back_is_told_and_one_that_came_or_went_is_not() {
        let then = [["1", "status", "open", "700"], ["2", "status", "shut", "700"], ["3", "mood", "sad", "700"]];
        let mut snapshot = answers(&then.each_ref().map(|row| &row[..]));
        let mut same = |now: &[&[&str]]| relabelled(&mut snapshot, &mut answers(now)).unwrap();
        assert_eq!(same(&then.each_ref().map(|row| &row[..])), [""; 0]);
        assert_eq!(same(&[&["1", "status", "active", "900"], &["3", "mood", "sad", "700"]]), ["labels of type status"]);
        assert_eq!(same(&[&["1", "status", "open", "901"]]), ["labels of type status"]);
        assert_eq!(same(&[&["1", "status", "open", "700"], &["9", "status", "new", "950"]]), [""; 0]);
    }
}
