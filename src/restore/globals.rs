//! Roles and settings of a dump's `globals.sql`, taken apart again: only what is missing is made. A role that the server
//! has already is left as it is, whatever the dump says of it.

use std::collections::BTreeSet;

use crate::dump::quoting::quoted;

/// One statement of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// The role that it makes or changes, or makes a member of another; `None`: it is about the database.
    pub(super) role: Option<String>,
    /// SQL.
    pub(super) sql: String,
}

/// The statements of the file, without what it has as comments. `database` takes the place of the one that was dumped.
///
/// `None`: the file ends within a statement.
pub(super) fn statements(globals: &str, dumped: &str, database: &str) -> Option<Vec<Statement>> {
    let mut statements = Vec::new();
    let mut open = String::new();
    for line in globals.lines() {
        if open.is_empty() && (line.is_empty() || line.starts_with("--")) {
            continue;
        }
        if !open.is_empty() {
            open.push('\n');
        }
        open.push_str(line);
        // A comment on a role may have several lines; it ends where its quotes do.
        if !ends_in_quotes(&open) {
            statements.extend(statement(&std::mem::take(&mut open), dumped, database));
        }
    }
    open.is_empty().then_some(statements)
}

fn ends_in_quotes(sql: &str) -> bool {
    let mut within = None;
    for quote in sql.chars().filter(|c| ['\'', '"'].contains(c)) {
        within = match within {
            None => Some(quote),
            Some(open) if open == quote => None,
            Some(open) => Some(open),
        };
    }
    within.is_some()
}

fn statement(text: &str, dumped: &str, database: &str) -> Option<Statement> {
    // `SELECT 'CREATE ROLE x' WHERE NOT EXISTS (…) \gexec` is for psql.
    if let Some(created) = text.strip_prefix("SELECT ") {
        let created = created.trim_start_matches(['E', ' ']).strip_prefix('\'')?;
        let literal = created.get(..created.find("' WHERE NOT EXISTS")?)?;
        let sql = literal.replace("''", "'").replace("\\\\", "\\");
        let (role, _) = identifier(sql.strip_prefix("CREATE ROLE ")?)?;
        return Some(Statement { role: Some(role), sql: sql.clone() });
    }
    if let Some(rest) = text.strip_prefix("ALTER DATABASE ") {
        let (name, rest) = identifier(rest)?;
        let renamed = format!("ALTER DATABASE {}{rest}", quoted(database));
        return (name == dumped).then_some(Statement { role: None, sql: renamed });
    }
    if let Some(rest) = text.strip_prefix("ALTER ROLE ") {
        let (role, rest) = identifier(rest)?;
        let Some(of_database) = rest.strip_prefix(" IN DATABASE ") else {
            return Some(Statement { role: Some(role), sql: text.to_owned() });
        };
        let (_, rest) = identifier(of_database)?;
        let sql = format!("ALTER ROLE {} IN DATABASE {}{rest}", quoted(&role), quoted(database));
        return Some(Statement { role: Some(role), sql });
    }
    let role = match text.strip_prefix("COMMENT ON ROLE ") {
        Some(rest) => identifier(rest)?.0,
        None => {
            let (_, rest) = identifier(text.strip_prefix("GRANT ")?)?;
            identifier(rest.strip_prefix(" TO ")?)?.0
        }
    };
    Some(Statement { role: Some(role), sql: text.to_owned() })
}

/// The identifier that a text begins with, and the rest.
fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', ';']).unwrap_or(text.len());
        return Some((text.get(..end)?.to_owned(), text.get(end..)?));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        name.push_str(rest.get(..end)?);
        rest = rest.get(end + 1..)?;
        match rest.strip_prefix('"') {
            Some(later) => {
                name.push('"');
                rest = later;
            }
            None => return Some((name, rest)),
        }
    }
}

/// Statements of those roles that are not there yet, and of the database.
pub(super) fn missing(statements: Vec<Statement>, there: &BTreeSet<String>) -> Vec<Statement> {
    let is_missing = |statement: &Statement| statement.role.as_ref().is_none_or(|role| !there.contains(role));
    statements.into_iter().filter(is_missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "-- Roles.\n\nSELECT 'CREATE ROLE teller' WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'teller') \\gexec\n\
        ALTER ROLE teller WITH INHERIT NOCREATEROLE LOGIN CONNECTION LIMIT -1;\n\
        -- Needs a superuser:\n-- ALTER ROLE teller WITH SUPERUSER;\n\
        COMMENT ON ROLE teller IS 'counts\n5\" of money; isn''t paid';\n\
        SELECT 'CREATE ROLE \"Big \"\"Boss\"\"\"' WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'Big \"Boss\"') \\gexec\n\
        GRANT teller TO \"Big \"\"Boss\"\"\";\n-- On RDS only: GRANT rds_iam TO teller;\n\
        ALTER DATABASE bank SET work_mem TO '8MB';\nALTER ROLE teller IN DATABASE bank SET search_path TO bank, public;\n";

    fn sql_of(role: Option<&str>) -> Vec<String> {
        let all = statements(FILE, "bank", "back again").unwrap();
        all.into_iter().filter(|own| own.role.as_deref() == role).map(|own| own.sql).collect()
    }

    #[test]
    fn each_statement_says_whose_it_is() {
        assert_eq!(
            sql_of(Some("teller")),
            [
                "CREATE ROLE teller",
                "ALTER ROLE teller WITH INHERIT NOCREATEROLE LOGIN CONNECTION LIMIT -1;",
                "COMMENT ON ROLE teller IS 'counts\n5\" of money; isn''t paid';",
                "ALTER ROLE \"teller\" IN DATABASE \"back again\" SET search_path TO bank, public;",
            ]
        );
        let boss = ["CREATE ROLE \"Big \"\"Boss\"\"\"", "GRANT teller TO \"Big \"\"Boss\"\"\";"];
        assert_eq!(sql_of(Some("Big \"Boss\"")), boss, "whose membership it is");
        assert_eq!(sql_of(None), ["ALTER DATABASE \"back again\" SET work_mem TO '8MB';"]);
    }

    #[test]
    fn a_file_that_breaks_off_is_noticed() {
        assert_eq!(statements("COMMENT ON ROLE a IS 'half", "bank", "bank"), None);
    }

    #[test]
    fn what_is_there_stays_as_it_is() {
        let there = BTreeSet::from(["teller".to_owned()]);
        let left = missing(statements(FILE, "bank", "bank").unwrap(), &there);
        assert!(left.iter().all(|own| own.role.as_deref() != Some("teller")), "{left:#?}");
        assert_eq!(left.len(), 3);
    }
}
