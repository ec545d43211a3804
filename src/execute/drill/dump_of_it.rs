//! Dumps of what a drill has restored and found good, by the ordinary way of a dump, one after the other.
//!
//! That a dump fails says nothing of the backup: the run's record tells why, and the verdict stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tracing::Instrument;

use super::{CameBack, Drilling, Findings};
use crate::domain::id::{DatabaseName, SourceId};
use crate::domain::inventory::Endpoint;
use crate::domain::progress::Progress;
use crate::domain::run::RunState;
use crate::execute::{DumpEnd, Executor, Outcome};
use crate::plan::action::{DrillPoint, DumpOfDrill, FromSnapshot, ReadFrom, StartDump};
use crate::ports::credentials::{Credentials, Login, LoginRef};
use crate::ports::postgres::Session;
use crate::ports::{Chain, PortError, Ports};
use crate::restore::read_all::TableRead;
use crate::restore::{RestoreError, Server, with_session};

/// The login that was good for the drill, for whoever asks for the source's: the source's own, or a new master password.
struct LoginOfDrill {
    inner: Arc<dyn Credentials>,
    login: LoginRef,
}

#[async_trait]
impl Credentials for LoginOfDrill {
    async fn login(&self, _source: &SourceId, endpoint: &Endpoint) -> Result<Login, PortError> {
        self.inner.login_by(&self.login, endpoint).await
    }

    async fn login_by(&self, reference: &LoginRef, endpoint: &Endpoint) -> Result<Login, PortError> {
        self.inner.login_by(reference, endpoint).await
    }
}

impl Drilling<'_> {
    /// Whether there is something to dump, and it was found good.
    pub(super) fn has_to_dump(&self, findings: &Findings) -> bool {
        !self.start.dumps.is_empty() && findings.faults.is_empty() && findings.came_back.is_some()
    }

    /// Makes the dumps; what came of each is a note of the drill.
    pub(super) async fn dump_all(&self, findings: &mut Findings) -> Vec<DumpEnd> {
        let Some(came_back) = findings.came_back.take() else { return Vec::new() };
        let mut ends = Vec::new();
        for wanted in &self.start.dumps {
            if self.stop.is_cancelled() {
                break;
            }
            let Some(end) = self.dump_of_it(wanted, &came_back).await else { continue };
            findings.notes.push(note(wanted, &end.outcome));
            ends.push(end);
        }
        ends
    }

    async fn dump_of_it(&self, wanted: &DumpOfDrill, came_back: &CameBack) -> Option<DumpEnd> {
        let DrillPoint::Snapshot { snapshot, data_of } = &self.start.point else { return None };
        let server = &came_back.server;
        let now = self.executor.ports.clock.now();
        // A database that is not in the snapshot has none; the dump says so.
        let counted = came_back.counted.get(&wanted.dump.database).cloned().unwrap_or_default();
        let start = Box::new(StartDump {
            run: wanted.run.clone(),
            dump: wanted.dump.clone(),
            instance: self.start.instance.clone(),
            resource: self.start.resource.clone(),
            read_from: ReadFrom {
                instance: self.start.lease.as_instance().clone(),
                endpoint: server.endpoint.clone(),
                replica_of: None,
                restored: Some(FromSnapshot { snapshot: snapshot.clone(), data_of: *data_of, counted }),
            },
            settings: wanted.settings.clone(),
            deadline: now.saturating_add(wanted.within).unwrap_or(Timestamp::MAX),
        });
        tracing::info!(source.id = %wanted.dump.source, run.id = %wanted.run, "{start}");
        let progress = Arc::new(Progress::default());
        let span = tracing::info_span!("run", source.id = %wanted.dump.source, run.id = %wanted.run);
        let executor = self.by_login_of(server.login.clone());
        let dump = Box::pin(executor.dump(&start, Arc::clone(&progress), self.stop.child_token()));
        let outcome = dump.instrument(span).await.unwrap_or_else(|error| Outcome::Failed { error });
        Some(DumpEnd { start, outcome, count: progress.count() })
    }

    /// The executor, with the login of the drill.
    fn by_login_of(&self, login: LoginRef) -> Executor {
        let inner = Arc::clone(&self.executor.ports.credentials);
        let credentials = Arc::new(LoginOfDrill { inner, login });
        Executor { ports: Ports { credentials, ..self.executor.ports.clone() }, ..self.executor.clone() }
    }

    /// Rows of each table that a dump of it has to have: not of an extension's own, of which it has none, or only those that
    /// were configured.
    pub(super) async fn rows_to_dump(
        &self,
        server: &Server,
        database: &DatabaseName,
        tables: Vec<TableRead>,
    ) -> Result<BTreeMap<String, u64>, RestoreError> {
        if self.start.dumps.is_empty() {
            return Ok(BTreeMap::new());
        }
        let ask = |session: &mut dyn Session| Ok(session.query(OF_EXTENSIONS)?);
        let asked = with_session(server, database, &self.stop, ask).await?;
        let of_extensions: BTreeSet<String> = asked.into_iter().flatten().flatten().collect();
        let own = tables.into_iter().filter(|table| !table.is_view && !of_extensions.contains(&table.full_name()));
        Ok(own.map(|table| (table.full_name(), table.rows)).collect())
    }
}

/// What evidence tells of a dump.
fn note(wanted: &DumpOfDrill, outcome: &Outcome) -> String {
    let DumpOfDrill { dump, run, .. } = wanted;
    let state = if let Outcome::RunEnded(end) = outcome { Some(&end.state) } else { None };
    match (state, outcome) {
        (Some(RunState::Succeeded { .. }), _) => {
            format!("dump {dump} was made of it by run {run}, and has of each table as many rows as were read")
        }
        (Some(RunState::Failed { failure, .. }), _) => {
            format!("no dump {dump} was made of it: run {run} failed: {}", failure.message)
        }
        (None, Outcome::Failed { error }) => format!("no dump {dump} was made of it: {}", Chain(error)),
        (_, _) => format!("no dump {dump} was made of it: run {run} was stopped, or is another daemon's"),
    }
}

/// Tables that belong to an extension.
const OF_EXTENSIONS: &str = "SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_depend d \
     JOIN pg_catalog.pg_class c ON c.oid = d.objid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e'";
