//! What a login may see of a database.

use tokio_postgres::{Client, SimpleQueryRow};

use super::rows;
use crate::domain::dump_login::DumpLogin;

/// Tables that are named; of more it is enough to know that there are some.
const TABLES: &str = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relrowsecurity AND c.relkind IN ('r', 'p') AND pg_catalog.row_security_active(c.oid) ORDER BY 1 LIMIT 5";
/// `infinity` is for ever, too.
const VALID_UNTIL: &str = "SELECT CASE WHEN pg_catalog.isfinite(rolvaliduntil) \
       THEN pg_catalog.floor(EXTRACT(epoch FROM rolvaliduntil))::bigint::text END \
     FROM pg_catalog.pg_roles WHERE rolname = SESSION_USER";
/// Large objects have no rights by membership in `pg_read_all_data`: only their owner reads them, whom their list names, and a
/// superuser (PostgreSQL manual, 5.8 and 22.5).
const LARGE_OBJECTS: &str = "SELECT count(*)::text FROM pg_catalog.pg_largeobject_metadata m \
     WHERE pg_catalog.current_setting('is_superuser') <> 'on' AND pg_catalog.current_setting('lo_compat_privileges') <> 'on' \
     AND NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE') \
     AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT' \
       AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))";

/// Asks.
pub(super) async fn read(client: &Client) -> Result<DumpLogin, tokio_postgres::Error> {
    let first = |rows: Vec<SimpleQueryRow>| rows.first().and_then(|row| row.get(0).map(str::to_owned));
    let valid_until = first(rows(client, VALID_UNTIL).await?).and_then(|seconds| seconds.parse().ok());
    let hidden_tables = rows(client, TABLES).await?;
    let hidden_large_objects = first(rows(client, LARGE_OBJECTS).await?).and_then(|count| count.parse().ok());
    Ok(DumpLogin {
        valid_until: valid_until.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()),
        hidden_tables: hidden_tables.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect(),
        hidden_large_objects: hidden_large_objects.unwrap_or(0),
    })
}
