//! The planner's statistics: without them the first queries of a restored database take plans that fit empty tables.

use tokio_util::sync::CancellationToken;

use super::crew::work_through;
use super::{RestoreError, RestoreRequest, blocking};
use crate::ports::postgres::Session;

/// Analyzes every table over several connections.
pub(super) async fn analyze(request: &RestoreRequest, token: &CancellationToken) -> Result<(), RestoreError> {
    let database = &request.target.database;
    let mut session = request.server.session(database).await?;
    let names = blocking(move || Ok(session.query(RELATIONS)?)).await?;
    let statements = names.into_iter().flatten().flatten().map(|name| format!("ANALYZE {name}")).collect();
    let work = |session: &mut dyn Session, sql: String| Ok(session.query(&sql).map(drop)?);
    work_through(&request.server, database, request.jobs, statements, token, work).await
}

/// What a bare ANALYZE takes. A partitioned table comes with its partitions, so it is the longest and goes first; of others a
/// sample of the same size is taken, however large they are.
const RELATIONS: &str = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' \
     AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%' \
     ORDER BY c.relkind = 'p' DESC, pg_catalog.pg_relation_size(c.oid) DESC";
