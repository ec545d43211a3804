//! What of an archive is restored, and in which steps.

use std::collections::{BTreeMap, BTreeSet};

use crate::dump::archive::{LARGE_OBJECTS, Section, Toc, TocEntry};

/// Which objects are wanted; none named means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Schemas, with everything in them.
    pub schemas: Vec<String>,
    /// Tables as `schema.table`, with their indexes and constraints.
    pub tables: Vec<String>,
}

/// Something is wanted that the archive does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the dump has no {0}: `pg_restore --list` on its toc.dat shows what it has")]
pub struct NotInDump(String);

/// Entries in the steps of a restore, each in the order of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents<'a> {
    /// What rows need.
    pub(super) before: Vec<i32>,
    /// Rows.
    pub(super) tables: Vec<&'a TocEntry>,
    /// Other data that needs no file: where sequences stand, large objects without their bytes.
    pub(super) beside: Vec<i32>,
    /// Whether large objects get their bytes.
    pub(super) large_objects: bool,
    /// What needs rows.
    pub(super) after: Vec<i32>,
}

/// The database itself is made by us, under a name of its own.
const OF_THE_DATABASE: [&str; 2] = ["DATABASE", "DATABASE PROPERTIES"];

impl Selection {
    fn is_everything(&self) -> bool {
        self.schemas.is_empty() && self.tables.is_empty()
    }

    fn is_wanted(&self, entry: &TocEntry) -> bool {
        let of_schema = match entry.description.as_str() {
            "SCHEMA" => self.schemas.contains(&entry.tag),
            // Of `public`, which is no entry of its own where nobody has changed it.
            "ACL" | "COMMENT" if entry.tag.starts_with("SCHEMA ") => {
                self.schemas.iter().any(|schema| entry.tag.strip_prefix("SCHEMA ") == Some(schema))
            }
            _ => self.schemas.contains(&entry.namespace),
        };
        of_schema || self.tables.iter().any(|table| is_relation(entry, table))
    }

    /// Whether each name is in the archive.
    fn check(&self, toc: &Toc) -> Result<(), NotInDump> {
        for schema in &self.schemas {
            let has = |entry: &TocEntry| {
                entry.namespace == *schema || (entry.description == "SCHEMA" && entry.tag == *schema)
            };
            if !toc.entries.iter().any(has) {
                return Err(NotInDump(format!("schema {schema}")));
            }
        }
        for table in &self.tables {
            if !toc.entries.iter().any(|entry| is_relation(entry, table)) {
                return Err(NotInDump(format!("table {table} (tables are named schema.table)")));
            }
        }
        Ok(())
    }

    /// Ids of the entries that are wanted, of those that they need, and of those that need nothing else.
    fn ids(&self, toc: &Toc) -> BTreeSet<i32> {
        let by_id: BTreeMap<i32, &TocEntry> = toc.entries.iter().map(|entry| (entry.dump_id, entry)).collect();
        let mut chosen = BTreeSet::new();
        let mut open: Vec<i32> =
            toc.entries.iter().filter(|entry| self.is_wanted(entry)).map(|entry| entry.dump_id).collect();
        while !open.is_empty() {
            while let Some(id) = open.pop() {
                // An archive names dependencies that are no entries of it: PostgreSQL's own types.
                if let Some(entry) = by_id.get(&id).filter(|_| chosen.insert(id)) {
                    open.extend(&entry.dependencies);
                }
            }
            let comes_along = |entry: &&TocEntry| !chosen.contains(&entry.dump_id) && hangs_on(entry, &chosen, &by_id);
            open.extend(toc.entries.iter().filter(comes_along).map(|entry| entry.dump_id));
            open.extend(partitions(toc, &chosen, &by_id));
        }
        chosen
    }
}

/// Whether an entry comes along with what is chosen: rights, comments, rows, indexes, constraints.
fn hangs_on(entry: &TocEntry, chosen: &BTreeSet<i32>, by_id: &BTreeMap<i32, &TocEntry>) -> bool {
    let needed = || entry.dependencies.iter().filter_map(|id| by_id.get(id));
    let tables = || needed().filter(|needed| matches!(needed.description.as_str(), "TABLE" | "MATERIALIZED VIEW"));
    let is_chosen = |needed: &&TocEntry| chosen.contains(&needed.dump_id);
    let all_chosen = needed().next().is_some() && needed().all(is_chosen);
    match entry.description.as_str() {
        // What ties a table to others, or to nothing but its schema.
        "FK CONSTRAINT" | "PUBLICATION TABLE" => all_chosen,
        "DEFAULT ACL" => false,
        // An index or a trigger may need an extension or a function, which then comes along as well.
        _ if entry.section == Section::PostData && tables().next().is_some() => tables().all(is_chosen),
        "SEQUENCE" => all_chosen && tables().next().is_some(),
        // Of a schema that is only there for a table nothing else is wanted.
        other if entry.section == Section::PreData => all_chosen && DESCRIPTIONS.contains(&other),
        _ => all_chosen,
    }
}

/// Partitions of what is chosen: a partitioned table is nothing without them.
fn partitions(toc: &Toc, chosen: &BTreeSet<i32>, by_id: &BTreeMap<i32, &TocEntry>) -> Vec<i32> {
    let mut partitions = Vec::new();
    for attached in toc.entries.iter().filter(|entry| entry.description == "TABLE ATTACH") {
        let of_partition = |id: &&i32| by_id.get(*id).is_some_and(|entry| is_same_table(entry, attached));
        let (partition, parent): (Vec<i32>, Vec<i32>) = attached.dependencies.iter().partition(of_partition);
        if parent.iter().any(|id| chosen.contains(id)) {
            partitions.extend(partition.into_iter().filter(|id| !chosen.contains(id)));
        }
    }
    partitions
}

/// Whether an entry is a relation, or the rows of one, that people name `schema.table`.
fn is_relation(entry: &TocEntry, table: &str) -> bool {
    const RELATIONS: [&str; 6] = ["TABLE", "TABLE DATA", "MATERIALIZED VIEW", "VIEW", "FOREIGN TABLE", "SEQUENCE"];
    RELATIONS.contains(&entry.description.as_str()) && format!("{}.{}", entry.namespace, entry.tag) == table
}

/// Whether two entries are about one table.
fn is_same_table(one: &TocEntry, other: &TocEntry) -> bool {
    (&one.namespace, &one.tag) == (&other.namespace, &other.tag)
}

/// What says something of another entry and is no object of its own.
const DESCRIPTIONS: [&str; 6] = ["ACL", "COMMENT", "SECURITY LABEL", "DEFAULT", "SEQUENCE OWNED BY", "TABLE ATTACH"];

impl<'a> Contents<'a> {
    /// What is to be restored of an archive.
    ///
    /// # Errors
    /// Something is wanted that it does not have.
    pub(super) fn of(toc: &'a Toc, selection: &Selection, sections: &[Section]) -> Result<Contents<'a>, NotInDump> {
        selection.check(toc)?;
        let chosen = (!selection.is_everything()).then(|| selection.ids(toc));
        let sections_of: BTreeMap<i32, Section> =
            toc.entries.iter().map(|entry| (entry.dump_id, entry.section)).collect();
        // Rights and comments have no section of their own: they belong to what they are about. What every database has, such
        // as `public`, is no entry of the archive, and there from the beginning.
        let section_of = |entry: &TocEntry| {
            let of_others = || entry.dependencies.iter().filter_map(|id| sections_of.get(id)).max().copied();
            let has_none = entry.section == Section::None && DESCRIPTIONS.contains(&entry.description.as_str());
            if has_none { of_others().unwrap_or(Section::PreData) } else { entry.section }
        };
        let wanted: Vec<(&TocEntry, Section)> = toc
            .entries
            .iter()
            .filter(|entry| !OF_THE_DATABASE.contains(&entry.description.as_str()))
            .filter(|entry| chosen.as_ref().is_none_or(|ids| ids.contains(&entry.dump_id)))
            .map(|entry| (entry, section_of(entry)))
            .filter(|(_, section)| sections.contains(section))
            .collect();
        let of_section = |wanted_section| {
            let of_it = wanted.iter().filter(move |(_, section)| *section == wanted_section);
            of_it.filter(|(entry, _)| !entry.has_data).map(|(entry, _)| entry.dump_id).collect::<Vec<_>>()
        };
        let with_data = || wanted.iter().map(|(entry, _)| *entry).filter(|entry| entry.has_data);
        Ok(Contents {
            before: of_section(Section::PreData),
            tables: with_data().filter(|entry| entry.description != LARGE_OBJECTS).collect(),
            beside: of_section(Section::Data),
            large_objects: with_data().any(|entry| entry.description == LARGE_OBJECTS),
            after: of_section(Section::PostData),
        })
    }

    /// All entries, for a client that restores everything by itself; `toc` is that of the archive.
    pub(super) fn all(&self, toc: &Toc) -> Vec<i32> {
        let tables = self.tables.iter().map(|entry| entry.dump_id);
        let chosen: BTreeSet<i32> =
            self.before.iter().chain(&self.beside).chain(&self.after).copied().chain(tables).collect();
        let wanted = |entry: &&TocEntry| {
            chosen.contains(&entry.dump_id)
                || (self.large_objects && entry.has_data && entry.description == LARGE_OBJECTS)
        };
        toc.entries.iter().filter(wanted).map(|entry| entry.dump_id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Section; 3] = [Section::PreData, Section::Data, Section::PostData];

    fn entry(dump_id: i32, description: &str, tag: &str, section: Section, dependencies: &[i32]) -> TocEntry {
        TocEntry {
            dump_id,
            has_data: matches!(description, "TABLE DATA" | "BLOBS"),
            oid: "0".to_owned(),
            tag: tag.to_owned(),
            description: description.to_owned(),
            namespace: if matches!(description, "SCHEMA" | "BLOBS" | "DATABASE") { "" } else { "bank" }.to_owned(),
            copy_statement: String::new(),
            section,
            definition: String::new(),
            dependencies: dependencies.to_vec(),
        }
    }

    /// Two tables, one of which refers to the other.
    fn bank() -> Toc {
        use Section::{Data, PostData, PreData};
        let entries = vec![
            entry(1, "DATABASE", "bank", PreData, &[]),
            entry(2, "SCHEMA", "bank", PreData, &[]),
            entry(3, "TYPE", "money_of", PreData, &[2]),
            entry(4, "FUNCTION", "unused()", PreData, &[2]),
            entry(5, "TABLE", "accounts", PreData, &[3, 2]),
            entry(6, "ACL", "TABLE accounts", Section::None, &[5]),
            entry(7, "TABLE", "cards", PreData, &[2]),
            entry(8, "TABLE DATA", "accounts", Data, &[5]),
            entry(9, "TABLE DATA", "cards", Data, &[7]),
            entry(10, "BLOBS", "BLOBS", Data, &[]),
            entry(11, "CONSTRAINT", "accounts accounts_pkey", PostData, &[5]),
            entry(12, "INDEX", "cards_account", PostData, &[7]),
            entry(14, "COMMENT", "INDEX cards_account", Section::None, &[12]),
            entry(13, "FK CONSTRAINT", "cards cards_account_fkey", PostData, &[7, 11, 5]),
        ];
        Toc { version: (1, 14), entries }
    }

    /// What comes before the rows, the rows, and what comes after them.
    type Steps = (Vec<i32>, Vec<i32>, Vec<i32>);

    fn of(selection: &Selection) -> Result<Steps, NotInDump> {
        let toc = bank();
        let contents = Contents::of(&toc, selection, &ALL)?;
        Ok((contents.before, contents.tables.iter().map(|entry| entry.dump_id).collect(), contents.after))
    }

    fn tables(tables: &[&str]) -> Selection {
        Selection { tables: tables.iter().map(|table| (*table).to_owned()).collect(), schemas: Vec::new() }
    }

    #[test]
    fn everything_is_everything_but_the_database() {
        let (before, data, after) = of(&Selection::default()).unwrap();
        assert_eq!((before, data, after), (vec![2, 3, 4, 5, 6, 7], vec![8, 9], vec![11, 12, 14, 13]));
        assert!(Contents::of(&bank(), &Selection::default(), &ALL).unwrap().large_objects);
    }

    #[test]
    fn a_table_comes_with_what_it_needs_and_with_what_hangs_on_it() {
        let (before, data, after) = of(&tables(&["bank.accounts"])).unwrap();
        assert_eq!((before, data, after), (vec![2, 3, 5, 6], vec![8], vec![11]));
        let (before, data, after) = of(&tables(&["bank.cards"])).unwrap();
        assert_eq!((before, data, after), (vec![2, 7], vec![9], vec![12, 14]), "what it refers to is not there");
        let (_, _, after) = of(&tables(&["bank.cards", "bank.accounts"])).unwrap();
        assert_eq!(after, [11, 12, 14, 13]);
    }

    #[test]
    fn rights_on_what_every_database_has_are_not_lost() {
        let mut toc = bank();
        toc.entries.push(entry(90, "ACL", "SCHEMA public", Section::None, &[1000]));
        assert!(Contents::of(&toc, &Selection::default(), &ALL).unwrap().before.contains(&90));
        let public = Selection { schemas: vec!["public".to_owned()], tables: Vec::new() };
        toc.entries.push(TocEntry { namespace: "public".to_owned(), ..entry(91, "TABLE", "t", Section::PreData, &[]) });
        assert_eq!(Contents::of(&toc, &public, &ALL).unwrap().before, [90, 91]);
    }

    #[test]
    fn partitions_of_partitions_come_along_in_whatever_order_they_stand() {
        use Section::{Data, PreData};
        let mut toc = bank();
        toc.entries.extend([
            entry(20, "TABLE", "a", PreData, &[2]),
            entry(21, "TABLE", "z", PreData, &[2]),
            entry(22, "TABLE", "b", PreData, &[2]),
            entry(23, "TABLE ATTACH", "b", PreData, &[21, 22]),
            entry(24, "TABLE ATTACH", "z", PreData, &[20, 21]),
            entry(25, "TABLE DATA", "b", Data, &[22]),
        ]);
        let contents = Contents::of(&toc, &tables(&["bank.a"]), &ALL).unwrap();
        assert_eq!(contents.before, [2, 20, 21, 22, 23, 24]);
        assert_eq!(contents.tables.iter().map(|entry| entry.dump_id).collect::<Vec<_>>(), [25]);
    }

    #[test]
    fn an_index_brings_the_extension_that_it_needs() {
        let mut toc = bank();
        toc.entries.push(entry(30, "EXTENSION", "pg_trgm", Section::PreData, &[]));
        toc.entries.push(entry(31, "INDEX", "cards_name", Section::PostData, &[7, 30]));
        toc.entries.push(entry(32, "DEFAULT ACL", "DEFAULT PRIVILEGES FOR TABLES", Section::PostData, &[2]));
        let contents = Contents::of(&toc, &tables(&["bank.cards"]), &ALL).unwrap();
        assert_eq!((contents.before, contents.after), (vec![2, 7, 30], vec![12, 14, 31]));
    }

    #[test]
    fn a_schema_comes_whole() {
        let selection = Selection { schemas: vec!["bank".to_owned()], tables: Vec::new() };
        let (before, data, after) = of(&selection).unwrap();
        assert_eq!((before, data, after), (vec![2, 3, 4, 5, 6, 7], vec![8, 9], vec![11, 12, 14, 13]));
        assert!(!Contents::of(&bank(), &selection, &ALL).unwrap().large_objects, "they are in no schema");
    }

    #[test]
    fn sections_are_steps() {
        let toc = bank();
        let contents = Contents::of(&toc, &Selection::default(), &[Section::Data]).unwrap();
        assert_eq!((contents.before.len(), contents.tables.len(), contents.after.len()), (0, 2, 0));
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert!(of(&tables(&["accounts"])).unwrap_err().to_string().contains("table accounts (tables are named"));
        assert!(of(&tables(&["bank.cards_account"])).is_err(), "an index is no table");
        let selection = Selection { schemas: vec!["bnak".to_owned()], tables: Vec::new() };
        assert!(of(&selection).unwrap_err().to_string().contains("no schema bnak"));
    }

    #[test]
    fn a_client_that_does_all_by_itself_gets_all_ids_in_their_order() {
        let toc = bank();
        let all = Contents::of(&toc, &Selection::default(), &ALL).unwrap().all(&toc);
        assert_eq!(all, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 13]);
    }
}
