//! Whether what came back is what must be there.

use std::collections::BTreeMap;

use super::catalog::{Catalog, Name};

/// What is known of a database that a restored one is compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The source's database, as it was just before.
    pub source: Catalog,
    /// Whether everything of it must have come back: the restored moment is not before it was looked at.
    pub is_exact: bool,
    /// Rows of each table in a dump from before the restored moment, if there is one.
    pub dumped: Option<BTreeMap<Name, u64>>,
    /// How many percent fewer rows a table may have than in that dump; `None`: tables may lose rows.
    pub fewer_rows_max_percent: Option<u8>,
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What the restored database has.
    pub catalog: Catalog,
    /// Rows that were read of each table and filled view.
    pub rows: BTreeMap<Name, u64>,
}

/// What a comparison came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// What is missing or wrong: the backup is bad.
    pub faults: Vec<String>,
    /// What nobody can know, for people.
    pub notes: Vec<String>,
}

/// Compares.
///
/// Where the source was looked at before the restored moment, everything of it must be there. Where it was looked at later,
/// what it has now may be newer than the backup: then only what a dump from before had, too, must be there.
#[must_use]
pub fn judge(expected: &Expected, found: &Found) -> Judged {
    let mut judged = Judged::default();
    tables(expected, found, &mut judged);
    views(expected, found, &mut judged);
    sequences(expected, found, &mut judged);
    judged
}

fn tables(expected: &Expected, found: &Found, judged: &mut Judged) {
    if !expected.source.tables.is_empty() && found.catalog.tables.is_empty() {
        judged.faults.push("no table came back".to_owned());
        return;
    }
    if !expected.is_exact && expected.dumped.is_none() {
        judged.notes.push("there is no dump from before it to compare its tables with".to_owned());
    }
    for (name, rows_now) in &expected.source.tables {
        let dumped = expected.dumped.as_ref().and_then(|dumped| dumped.get(name).copied());
        if !found.catalog.tables.contains_key(name) {
            if expected.is_exact || dumped.is_some() {
                judged.faults.push(format!("table {name} is missing"));
            } else {
                judged.notes.push(format!("table {name} of the source is not in the backup: it may be newer"));
            }
            continue;
        }
        let came_back = found.rows.get(name).copied().unwrap_or(0);
        let before = dumped.unwrap_or(0);
        if let Some(percent) = expected.fewer_rows_max_percent
            && is_short(came_back, before, percent)
        {
            let text = format!(
                "table {name} has {came_back} rows, and had {before} in the dump before: more than {percent} % fewer"
            );
            judged.faults.push(text);
            continue;
        }
        if before == 0 || came_back > 0 || *rows_now == 0 {
            continue;
        }
        let text = format!("table {name} is empty, and had {before} rows in the dump before");
        // In a backup that is older than what the source has now it may have been empty just then.
        if expected.is_exact { judged.faults.push(text) } else { judged.notes.push(text) }
    }
}

/// Whether so many rows are fewer than before by more than a share.
fn is_short(rows: u64, before: u64, percent: u8) -> bool {
    u128::from(rows) * 100 < u128::from(before) * u128::from(100 - percent.min(100))
}

fn views(expected: &Expected, found: &Found, judged: &mut Judged) {
    for (name, is_filled) in &expected.source.views {
        let trouble = match found.catalog.views.get(name) {
            None => "is missing",
            Some(false) if *is_filled => "is not filled",
            Some(_) => continue,
        };
        let text = format!("materialized view {name} {trouble}");
        if expected.is_exact {
            judged.faults.push(text);
        } else {
            judged.notes.push(format!("{text}: the backup may be older"));
        }
    }
}

/// What a sequence gave once it must not give again. A server that was recovered may be ahead by what it had logged.
fn sequences(expected: &Expected, found: &Found, judged: &mut Judged) {
    if !expected.is_exact {
        return;
    }
    for (name, last) in &expected.source.sequences {
        match (found.catalog.sequences.get(name), last) {
            (None, _) => judged.faults.push(format!("sequence {name} is missing")),
            (Some(Some(restored)), Some(last)) if restored < last => {
                judged.faults.push(format!("sequence {name} stands at {restored}, and stood at {last}"));
            }
            (Some(None), Some(_)) => judged.notes.push(format!("where sequence {name} stands cannot be seen")),
            (Some(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn catalog() -> Catalog {
        Catalog {
            tables: BTreeMap::from([("bank.accounts".to_owned(), 7), ("bank.empty".to_owned(), 0)]),
            views: BTreeMap::from([("bank.turnover".to_owned(), true)]),
            sequences: BTreeMap::from([("bank.ids".to_owned(), Some(40))]),
            at: String::new(),
        }
    }

    fn expected(is_exact: bool) -> Expected {
        Expected { source: catalog(), is_exact, dumped: None, fewer_rows_max_percent: None }
    }

    fn found() -> Found {
        Found { catalog: catalog(), rows: BTreeMap::from([("bank.accounts".to_owned(), 12)]) }
    }

    #[test]
    fn what_came_back_whole_has_no_faults() {
        assert_eq!(judge(&expected(true), &found()), Judged::default());
        let judged = judge(&expected(false), &found());
        assert_eq!(judged.notes, ["there is no dump from before it to compare its tables with"]);
        assert!(judged.faults.is_empty());
    }

    #[test]
    fn what_was_there_before_the_restored_moment_must_be_there() {
        let mut restored = found();
        restored.catalog.tables.remove("bank.accounts");
        restored.catalog.views.insert("bank.turnover".to_owned(), false);
        restored.catalog.sequences.insert("bank.ids".to_owned(), Some(39));
        let judged = judge(&expected(true), &restored);
        assert_eq!(
            judged.faults,
            [
                "table bank.accounts is missing",
                "materialized view bank.turnover is not filled",
                "sequence bank.ids stands at 39, and stood at 40"
            ]
        );
        restored.catalog.sequences.insert("bank.ids".to_owned(), Some(72));
        assert!(!judge(&expected(true), &restored).faults.iter().any(|fault| fault.contains("sequence")));
    }

    /// A table that was made since the snapshot would make each drill cry wolf.
    #[test]
    fn what_may_be_newer_than_the_backup_is_noted_unless_a_dump_before_had_it() {
        let mut restored = found();
        restored.catalog.tables.remove("bank.accounts");
        let judged = judge(&expected(false), &restored);
        assert!(judged.faults.is_empty() && judged.notes.len() == 2, "{judged:?}");
        let dumped = Some(BTreeMap::from([("bank.accounts".to_owned(), 12)]));
        let judged = judge(&Expected { dumped, ..expected(false) }, &restored);
        assert_eq!(judged.faults, ["table bank.accounts is missing"]);
    }

    /// Somebody may empty a table, and fill it again.
    #[test]
    fn a_table_that_had_rows_and_has_them_still_must_not_be_empty_where_the_backup_is_as_new() {
        let mut restored = found();
        restored.rows.clear();
        let dumped = Some(BTreeMap::from([("bank.accounts".to_owned(), 12), ("bank.empty".to_owned(), 3)]));
        let empty = "table bank.accounts is empty, and had 12 rows in the dump before";
        let exact = judge(&Expected { dumped: dumped.clone(), ..expected(true) }, &restored);
        assert_eq!((exact.faults, exact.notes), (vec![empty.to_owned()], Vec::new()));
        let older = judge(&Expected { dumped, ..expected(false) }, &restored);
        assert_eq!((older.faults, older.notes), (Vec::new(), vec![empty.to_owned()]));
    }

    /// Whoever declares it knows that the tables only grow: then a single row is enough.
    #[rstest]
    #[case::as_many(12, 0, true)]
    #[case::one_row_is_missing(11, 0, false)]
    #[case::one_row_of_twelve_may_be(11, 10, true)]
    #[case::two_may_not(10, 10, false)]
    #[case::all_may_go(0, 100, true)]
    #[case::more(13, 0, true)]
    fn rows_that_are_missing_beyond_what_is_declared_are_a_fault(
        #[case] rows: u64,
        #[case] percent: u8,
        #[case] is_good: bool,
    ) {
        let restored = Found { rows: BTreeMap::from([("bank.accounts".to_owned(), rows)]), ..found() };
        let dumped = Some(BTreeMap::from([("bank.accounts".to_owned(), 12)]));
        for is_exact in [false, true] {
            let wanted =
                Expected { dumped: dumped.clone(), fewer_rows_max_percent: Some(percent), ..expected(is_exact) };
            let faults = judge(&wanted, &restored).faults.into_iter().filter(|fault| fault.contains("% fewer"));
            assert_eq!(faults.count() == 0, is_good);
        }
        assert!(is_short(u64::MAX - 1, u64::MAX, 0) && !is_short(u64::MAX, u64::MAX, 0));
    }

    #[test]
    fn a_database_without_any_table_is_no_backup_of_one_that_has_some() {
        let judged = judge(&expected(false), &Found::default());
        assert_eq!(judged.faults, ["no table came back"]);
    }

    #[test]
    fn of_two_looks_only_what_both_have_found_must_come_back() {
        let mut first = catalog();
        let mut second = catalog();
        second.tables.remove("bank.empty");
        second.views.insert("bank.turnover".to_owned(), false);
        second.sequences.insert("bank.ids".to_owned(), Some(3));
        first.keep_common(&second);
        assert_eq!(first.tables.keys().collect::<Vec<_>>(), ["bank.accounts"]);
        assert_eq!((first.views["bank.turnover"], first.sequences["bank.ids"]), (false, Some(3)));
    }
}
