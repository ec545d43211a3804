//! Roles and settings that no database holds and no `pg_dump` writes, read from the catalogs that everybody may read.
//!
//! The server itself puts the statements together with `format`, so that its own rules of quoting apply. Password hashes
//! are not read, and RDS's own roles belong to RDS. The result is for `psql`: it uses `\gexec`.

use tokio_postgres::{Client, Error};

use super::pg::rows;
use crate::ports::postgres::Globals;

/// Roles that people made: not PostgreSQL's own (`pg_`) and not RDS's (`rds`).
const ROLES: &str = r"
SELECT r.rolname,
       format(E'SELECT %L WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %L) \\gexec',
              format('CREATE ROLE %I', r.rolname), r.rolname),
       format('ALTER ROLE %I WITH %s %s %s %s CONNECTION LIMIT %s%s;', r.rolname,
              CASE WHEN r.rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
              CASE WHEN r.rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
              CASE WHEN r.rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
              CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
              r.rolconnlimit,
              CASE WHEN r.rolvaliduntil IS NULL THEN '' ELSE format(' VALID UNTIL %L', r.rolvaliduntil) END),
       CASE WHEN r.rolsuper OR r.rolreplication OR r.rolbypassrls
            THEN format('ALTER ROLE %I WITH%s%s%s;', r.rolname,
                        CASE WHEN r.rolsuper THEN ' SUPERUSER' ELSE '' END,
                        CASE WHEN r.rolreplication THEN ' REPLICATION' ELSE '' END,
                        CASE WHEN r.rolbypassrls THEN ' BYPASSRLS' ELSE '' END) END,
       CASE WHEN pg_catalog.shobj_description(r.oid, 'pg_authid') IS NOT NULL
            THEN format('COMMENT ON ROLE %I IS %L;', r.rolname, pg_catalog.shobj_description(r.oid, 'pg_authid')) END
FROM pg_catalog.pg_roles r
WHERE r.rolname !~ '^(pg_|rds)'
ORDER BY r.rolname
";

const MEMBERSHIPS: &str = r"
SELECT DISTINCT format('GRANT %I TO %I%s;', g.rolname, m.rolname,
                       CASE WHEN a.admin_option THEN ' WITH ADMIN OPTION' ELSE '' END),
       (g.rolname ~ '^rds')::text
FROM pg_catalog.pg_auth_members a
JOIN pg_catalog.pg_roles g ON g.oid = a.roleid
JOIN pg_catalog.pg_roles m ON m.oid = a.member
WHERE m.rolname !~ '^(pg_|rds)'
ORDER BY 1
";

/// Settings of roles, of this database, and of both together. Settings that are lists hold quoted elements already, as
/// PostgreSQL's `GUC_LIST_QUOTE` flag says of these six.
const SETTINGS: &str = r"
SELECT format('ALTER %s SET %I TO %s;',
              CASE WHEN s.setrole = 0 THEN format('DATABASE %I', d.datname)
                   WHEN s.setdatabase = 0 THEN format('ROLE %I', r.rolname)
                   ELSE format('ROLE %I IN DATABASE %I', r.rolname, d.datname) END,
              split_part(c.setting, '=', 1),
              CASE WHEN split_part(c.setting, '=', 1) IN ('local_preload_libraries', 'search_path',
                        'session_preload_libraries', 'shared_preload_libraries', 'temp_tablespaces',
                        'unix_socket_directories')
                   THEN COALESCE(NULLIF(substr(c.setting, strpos(c.setting, '=') + 1), ''), '''''')
                   ELSE quote_literal(substr(c.setting, strpos(c.setting, '=') + 1)) END)
FROM pg_catalog.pg_db_role_setting s
CROSS JOIN LATERAL unnest(s.setconfig) WITH ORDINALITY AS c (setting, position)
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
WHERE (s.setdatabase = 0 OR d.datname = current_database())
  AND (s.setrole = 0 OR r.rolname !~ '^(pg_|rds)')
ORDER BY s.setrole, s.setdatabase, c.position
";

/// Reads the globals of the server and of the database that `client` is connected to.
pub(super) async fn read(client: &Client) -> Result<Globals, Error> {
    let mut sql = String::from(
        "-- Roles, memberships and settings of the server, without passwords: set them anew after the restore.\n\
         -- Run with: psql --set ON_ERROR_STOP=1 --file globals.sql\n\n",
    );
    let mut roles = Vec::new();
    for row in rows(client, ROLES).await? {
        roles.extend(row.get(0).map(str::to_owned));
        for column in [1, 2, 4] {
            push_line(&mut sql, row.get(column));
        }
        if let Some(privileged) = row.get(3) {
            sql.push_str("-- Needs a superuser, which RDS does not give; on RDS use its own roles instead:\n-- ");
            push_line(&mut sql, Some(privileged));
        }
    }
    sql.push('\n');
    for row in rows(client, MEMBERSHIPS).await? {
        // RDS's roles exist only on RDS; there the lines can be taken as they are.
        if row.get(1) == Some("true") {
            sql.push_str("-- On RDS only: ");
        }
        push_line(&mut sql, row.get(0));
    }
    sql.push('\n');
    for row in rows(client, SETTINGS).await? {
        push_line(&mut sql, row.get(0));
    }
    Ok(Globals { sql, roles })
}

fn push_line(sql: &mut String, line: Option<&str>) {
    if let Some(line) = line {
        sql.push_str(line);
        sql.push('\n');
    }
}
