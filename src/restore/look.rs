//! A restored database, looked at: what it has, whether its indexes are whole, and whether what must be true is true.

use tokio_util::sync::CancellationToken;

use super::catalog::{Catalog, read_catalog};
use super::{RestoreError, Server, with_session};
use crate::domain::drill::Assertion;
use crate::domain::id::DatabaseName;
use crate::ports::postgres::Session;
use crate::ports::{Chain, ErrorKind, PortError};

/// What was looked at in a restored database.
#[derive(Debug, Default)]
pub struct Looked {
    /// Tables, views, sequences.
    pub catalog: Catalog,
    /// What is wrong.
    pub faults: Vec<String>,
    /// What could not be checked, and why.
    pub notes: Vec<String>,
}

/// Looks at a restored database: its catalog, its indexes where amcheck is there, and what must be true.
///
/// # Errors
/// It cannot be looked at; what is wrong with it is no error.
pub async fn look(
    server: &Server,
    database: &DatabaseName,
    assertions: Vec<Assertion>,
    is_exact: bool,
    stop: &CancellationToken,
) -> Result<Looked, RestoreError> {
    with_session(server, database, stop, move |session: &mut dyn Session| {
        let mut looked = Looked { catalog: read_catalog(session)?, ..Looked::default() };
        check_indexes(session, &mut looked)?;
        for assertion in &assertions {
            assert(session, assertion, is_exact, &mut looked)?;
        }
        Ok(looked)
    })
    .await
}

/// Every B-tree index, by amcheck: reading tables does not read them.
fn check_indexes(session: &mut dyn Session, looked: &mut Looked) -> Result<(), PortError> {
    let schema = session.query(AMCHECK)?.into_iter().flatten().flatten().next();
    let Some(function) = schema else {
        looked.notes.push("indexes were not checked: amcheck is not installed, or we may not call it".to_owned());
        return Ok(());
    };
    for row in session.query(INDEXES)? {
        let mut fields = row.into_iter().flatten();
        let (Some(oid), Some(name)) = (fields.next(), fields.next()) else { continue };
        match session.query(&format!("SELECT {function}({oid}::oid::regclass)")) {
            Ok(_) => {}
            Err(error) if error.may_pass() => return Err(error),
            Err(error) if error.kind() == ErrorKind::Damaged => {
                looked.faults.push(format!("index {name} is damaged: {}", Chain(&error)));
            }
            Err(error) => looked.notes.push(format!("index {name} was not checked: {}", Chain(&error))),
        }
    }
    Ok(())
}

/// The assertion as one question with one answer. Whatever its text would do beside that is no SQL any more.
#[must_use]
pub fn question(assertion: &Assertion) -> String {
    format!("SELECT (\n{}\n) IS TRUE", assertion.sql)
}

/// Where the source could be asked, what came back must be able to answer, unless it may be older than what is asked for.
fn assert(
    session: &mut dyn Session,
    assertion: &Assertion,
    is_exact: bool,
    looked: &mut Looked,
) -> Result<(), PortError> {
    let name = &assertion.name;
    match session.query(&question(assertion)) {
        Ok(rows) => {
            let value = rows.first().and_then(|row| row.first()).cloned().flatten();
            if value.as_deref() != Some("t") {
                looked.faults.push(format!("assertion `{name}` does not hold"));
            }
        }
        Err(error) if error.may_pass() => return Err(error),
        Err(error) => {
            let told = format!("assertion `{name}` cannot be asked: {}", Chain(&error));
            let is_fault =
                error.kind() == ErrorKind::Damaged || is_exact && error.kind() != ErrorKind::PermissionDenied;
            if is_fault { looked.faults.push(told) } else { looked.notes.push(told) }
        }
    }
    Ok(())
}

/// The function that checks an index, with its schema, if we may call it.
const AMCHECK: &str = "SELECT pg_catalog.format('%I.bt_index_check', n.nspname) FROM pg_catalog.pg_extension e \
     JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace JOIN pg_catalog.pg_proc p ON p.pronamespace = n.oid \
     WHERE e.extname = 'amcheck' AND p.proname = 'bt_index_check' AND p.pronargs = 1 \
     AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')";
const INDEXES: &str = "SELECT c.oid::text, n.nspname || '.' || c.relname FROM pg_catalog.pg_class c \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_am a ON a.oid = c.relam \
     JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid \
     WHERE c.relkind = 'i' AND a.amname = 'btree' AND c.relpersistence = 'p' AND i.indisvalid AND i.indisready \
     AND n.nspname NOT LIKE 'pg\\_toast%'";
