//! What a login may see of a database.

use tokio_postgres::{Client, SimpleQueryRow};

use super::rows;
use crate::domain::dump_login::{DumpLogin, Hidden};
use crate::domain::inventory::Unseen;

/// A database of millions of tables or large objects is not searched for long on account of this.
const BRIEFLY: &str = "SET statement_timeout = '3s'";
/// What is named is enough to know that there is something. What belongs to an extension is dumped where that says so.
const FORBIDDEN: &str = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' \
     AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
       WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e' \
       AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass \
       AND NOT c.oid = ANY (COALESCE(e.extconfig, '{}'))) \
     AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND CASE c.relkind \
       WHEN 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT') \
       ELSE pg_catalog.has_table_privilege(c.oid, 'SELECT') END) LIMIT 5";
const ROWS_HIDDEN: &str = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relrowsecurity AND c.relkind IN ('r', 'p') AND pg_catalog.row_security_active(c.oid) \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
       WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e' \
       AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass \
       AND NOT c.oid = ANY (COALESCE(e.extconfig, '{}'))) LIMIT 5";
/// `infinity` is for ever, too; and no password counts for who logs in by IAM (RDS user guide, IAM database authentication).
const VALID_UNTIL: &str = "SELECT CASE WHEN pg_catalog.isfinite(rolvaliduntil) \
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles i WHERE i.rolname = 'rds_iam' \
         AND pg_catalog.pg_has_role(SESSION_USER, i.oid, 'MEMBER')) \
       THEN pg_catalog.floor(EXTRACT(epoch FROM rolvaliduntil))::bigint::text END \
     FROM pg_catalog.pg_roles WHERE rolname = SESSION_USER";
/// Large objects have no rights by membership in `pg_read_all_data`: only their owner reads them, whom their list names, and a
/// superuser (PostgreSQL manual, 5.8 and 22.5).
const LARGE_OBJECTS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata m \
     WHERE pg_catalog.current_setting('is_superuser') <> 'on' AND pg_catalog.current_setting('lo_compat_privileges') <> 'on' \
     AND NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE') \
     AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT' \
       AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE'))))::text";

/// Asks. That the server does not say in time what is hidden is no fault of the login.
pub(super) async fn read(client: &Client) -> Result<DumpLogin, tokio_postgres::Error> {
    let valid_until = first(&rows(client, VALID_UNTIL).await?).and_then(|seconds| seconds.parse().ok());
    let hidden = match hidden(client).await {
        Ok(hidden) => Ok(hidden),
        Err(error) => match error.as_db_error() {
            Some(refused) => Err(Unseen(refused.message().to_owned())),
            None => return Err(error),
        },
    };
    let valid_until = valid_until.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    Ok(DumpLogin { valid_until, hidden })
}

async fn hidden(client: &Client) -> Result<Hidden, tokio_postgres::Error> {
    let names = |rows: &[SimpleQueryRow]| rows.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect();
    client.batch_execute(BRIEFLY).await?;
    Ok(Hidden {
        forbidden: names(&rows(client, FORBIDDEN).await?),
        rows_of: names(&rows(client, ROWS_HIDDEN).await?),
        large_objects: first(&rows(client, LARGE_OBJECTS).await?).as_deref() == Some("true"),
    })
}

fn first(rows: &[SimpleQueryRow]) -> Option<String> {
    rows.first()?.get(0).map(str::to_owned)
}
