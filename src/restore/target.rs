//! The database that a dump is restored into.

use std::collections::BTreeSet;

use super::globals;
use super::{RestoreError, Target};
use crate::domain::key::DumpId;
use crate::dump::archive::{DATABASE, Toc, TocEntry};
use crate::dump::quoting::{quoted, quoted_text};
use crate::ports::postgres::Session;

/// What a database that we have made is marked with until its restore has ended. Whoever finds it knows what it is; and the
/// restore of the same dump can be begun again, because what bears its mark is nobody's.
fn mark(dump: &DumpId) -> String {
    format!("strongroom: the restore of {dump} has not ended")
}

/// Makes the database; `session` is in another one.
pub(super) fn make(session: &mut dyn Session, target: &Target, dump: &DumpId, toc: &Toc) -> Result<(), RestoreError> {
    let name = target.database.as_str();
    let found = session.query(&format!(
        "SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database WHERE datname = {}",
        quoted_text(name)
    ))?;
    if let Some(row) = found.into_iter().next() {
        let comment = row.into_iter().next().flatten().unwrap_or_default();
        if comment != mark(dump) {
            return Err(RestoreError::Exists { database: name.to_owned() });
        }
        session.query(&format!("DROP DATABASE {}", quoted(name)))?;
    }
    let version = session.query("SELECT pg_catalog.current_setting('server_version_num')")?;
    let version = version.into_iter().flatten().flatten().next().and_then(|version| version.parse().ok());
    session.query(&creation(toc, name, version.unwrap_or(u32::MAX)))?;
    session.query(&format!("COMMENT ON DATABASE {} IS {}", quoted(name), quoted_text(&mark(dump))))?;
    Ok(())
}

/// The statement of the archive itself, which knows encoding and collation, for another name.
///
/// A client of 15 or newer names the provider of locales also for a server that knows only one, as long as it is that one.
fn creation(toc: &Toc, name: &str, server_version: u32) -> String {
    let own = |entry: &&TocEntry| entry.description == DATABASE;
    let definition = toc.entries.iter().find(own).map_or("", |entry| entry.definition.trim_end());
    // `CREATE DATABASE bank WITH TEMPLATE = template0 ENCODING = 'UTF8' …;`
    let options = definition.split_once(" WITH TEMPLATE = template0").map_or("", |(_, options)| options);
    // Where its tables were kept is no matter of the new server's.
    let options = options.split(" TABLESPACE = ").next().unwrap_or(options);
    let options = if server_version < LOCALE_PROVIDERS_SINCE {
        options.replace(" LOCALE_PROVIDER = libc", "")
    } else {
        options.to_owned()
    };
    format!("CREATE DATABASE {} WITH TEMPLATE = template0{}", quoted(name), options.trim_end_matches(';'))
}

/// The server version, as `server_version_num` has it, that knows more than one provider of locales.
const LOCALE_PROVIDERS_SINCE: u32 = 15_00_00;

/// Takes the mark away: the restore has ended.
pub(super) fn unmark(session: &mut dyn Session, target: &Target) -> Result<(), RestoreError> {
    session.query(&format!("COMMENT ON DATABASE {} IS NULL", quoted(target.database.as_str())))?;
    Ok(())
}

/// Refuses a database that has something in it.
pub(super) fn check_empty(session: &mut dyn Session, target: &Target) -> Result<(), RestoreError> {
    let found = session.query(SOMETHING)?;
    match found.into_iter().flatten().flatten().next() {
        None => Ok(()),
        Some(example) => Err(RestoreError::NotEmpty { database: target.database.as_str().to_owned(), example }),
    }
}

/// Relations that somebody has made, and no extension.
const SOMETHING: &str = "SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
     AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1 LIMIT 1";

/// Makes the roles that the dump needs and the server has not, and returns their names.
pub(super) fn make_roles(
    session: &mut dyn Session,
    target: &Target,
    dump: &DumpId,
    globals: &str,
) -> Result<Vec<String>, RestoreError> {
    let there: BTreeSet<String> =
        session.query("SELECT rolname FROM pg_catalog.pg_roles")?.into_iter().flatten().flatten().collect();
    let statements = globals::statements(globals, dump.database.as_str(), target.database.as_str());
    let statements =
        statements.ok_or_else(|| RestoreError::Damaged("globals.sql ends within a statement".to_owned()))?;
    let mut made = BTreeSet::new();
    for statement in globals::missing(statements, &there) {
        match &statement.role {
            Some(role) => made.insert(role.clone()),
            // Settings of a database that somebody else has made are theirs.
            None if !target.create => continue,
            None => false,
        };
        session.query(&statement.sql)?;
    }
    // Who is no superuser can give an object only to a role that they are a member of.
    for role in made.iter().filter(|_| target.owners) {
        session.query(&format!("GRANT {} TO CURRENT_USER", quoted(role)))?;
    }
    Ok(made.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::archive::Section;

    #[test]
    fn a_database_is_made_as_the_archive_says_under_another_name() {
        let entry = |definition: &str| TocEntry {
            dump_id: 1,
            has_data: false,
            oid: String::new(),
            tag: "bank".to_owned(),
            description: "DATABASE".to_owned(),
            namespace: String::new(),
            copy_statement: String::new(),
            section: Section::PreData,
            definition: definition.to_owned(),
            dependencies: Vec::new(),
        };
        let toc = |definition| Toc { version: (1, 14), entries: vec![entry(definition)] };
        let dumped =
            "CREATE DATABASE bank WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE = 'C' TABLESPACE = fast;\n";
        assert_eq!(
            creation(&toc(dumped), "a \"b\"", 15_00_01),
            "CREATE DATABASE \"a \"\"b\"\"\" WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE = 'C'"
        );
        let by_newer =
            "CREATE DATABASE bank WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C';\n";
        let options = |server| creation(&toc(by_newer), "x", server).replace("CREATE DATABASE \"x\" ", "");
        assert_eq!(options(14_00_23), "WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE = 'C'");
        assert_eq!(
            options(15_00_18),
            "WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C'"
        );
        assert_eq!(creation(&toc(""), "x", 15_00_01), "CREATE DATABASE \"x\" WITH TEMPLATE = template0");
    }
}
