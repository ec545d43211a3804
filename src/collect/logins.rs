//! The logins that databases are dumped with, tried from time to time: a password that was changed is not first missed in the
//! night of the monthly dump.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::{Collector, observed};
use crate::domain::dump_login::DumpLogin;
use crate::domain::id::{DatabaseName, SourceId};
use crate::domain::inventory::{Complete, Endpoint, Instance, Observed, Unseen};
use crate::policy::posture::login_findings;
use crate::policy::{Policy, SourcePolicy, Task};
use crate::ports::Ports;

/// A login that is as it should be is tried so often.
const TRIED_EVERY: Duration = Duration::from_hours(6);
/// One that is not is tried again soon, so that it is seen when it is mended.
const TRIED_AGAIN_AFTER: Duration = Duration::from_mins(1);
/// Most that are tried in one look: of a large fleet each has its turn within some looks.
const TRIED_MAX: usize = 50;
/// Connections at once.
const AT_ONCE: usize = 8;
/// Time for all of them. None of it decides anything: a server that hangs must not hold up the loop.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// A database that is dumped.
type Dumped = (SourceId, DatabaseName);

/// What was learned, and when.
#[derive(Debug, Default)]
pub(super) struct LoginCache(BTreeMap<Dumped, (Observed<DumpLogin>, Instant)>);

impl Collector {
    /// Logs in as dumps do, where that is due and the instance serves.
    pub(super) async fn look_at_logins(
        &mut self,
        ports: &Ports,
        policy: &Policy,
        instances: Option<&Complete<Instance>>,
    ) -> BTreeMap<SourceId, BTreeMap<DatabaseName, Observed<DumpLogin>>> {
        let LoginCache(known) = &mut self.logins;
        let dumped: BTreeSet<Dumped> = policy.sources.values().flat_map(dumped).collect();
        known.retain(|own, _| dumped.contains(own));
        let endpoint_of = |source: &SourceId| {
            let instance = &policy.sources.get(source)?.instance;
            let found = instances?.iter().find(|own| own.is_called(instance))?;
            found.endpoint.clone().filter(|_| found.serves())
        };
        let is_due = |own: &Dumped| match known.get(own) {
            None => true,
            Some((facts, tried)) => {
                tried.elapsed() >= if is_well(policy, own, facts, ports) { TRIED_EVERY } else { TRIED_AGAIN_AFTER }
            }
        };
        let mut due: Vec<(Dumped, Endpoint)> =
            dumped.into_iter().filter(is_due).filter_map(|own| Some((own.clone(), endpoint_of(&own.0)?))).collect();
        due.sort_by_key(|(own, _)| known.get(own).map(|(_, tried)| *tried));
        due.truncate(TRIED_MAX);
        let deadline = Instant::now() + ANSWERED_WITHIN;
        let tried = futures_util::stream::iter(due)
            .map(|(own, endpoint)| async move {
                // Whoever has not had its turn in time has it in the next look.
                let facts = if Instant::now() < deadline {
                    Some(try_out(ports, &own, &endpoint, deadline).await)
                } else {
                    None
                };
                (own, facts)
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>();
        for (own, facts) in tried.await {
            if let Some(facts) = facts {
                known.insert(own, (facts, Instant::now()));
            }
        }
        let mut tried: BTreeMap<SourceId, BTreeMap<DatabaseName, Observed<DumpLogin>>> = BTreeMap::new();
        for ((source, database), (facts, _)) in known.iter() {
            tried.entry(source.clone()).or_default().insert(database.clone(), facts.clone());
        }
        tried
    }
}

/// The databases of a source that are dumped.
fn dumped(source: &SourcePolicy) -> impl Iterator<Item = Dumped> {
    let obligations = source.obligations.iter().filter(|own| !own.suspended);
    let databases = obligations.filter_map(|own| match &own.task {
        Task::Dump { database, .. } => Some(database.clone()),
        Task::Snapshot => None,
    });
    databases.map(|database| (source.id.clone(), database))
}

fn is_well(policy: &Policy, (source, database): &Dumped, facts: &Observed<DumpLogin>, ports: &Ports) -> bool {
    let Some(source) = policy.sources.get(source) else { return true };
    login_findings(source, std::iter::once((database, facts)), ports.clock.now()).is_empty()
}

async fn try_out(
    ports: &Ports,
    (source, database): &Dumped,
    endpoint: &Endpoint,
    deadline: Instant,
) -> Observed<DumpLogin> {
    let asked = async {
        let login = ports.credentials.login(source, endpoint).await?;
        ports.postgres.login_facts(&login, database).await
    };
    let late = |_| {
        Err(Unseen(format!(
            "{}:{} did not answer within {} s",
            endpoint.host,
            endpoint.port,
            ANSWERED_WITHIN.as_secs()
        )))
    };
    timeout_at(deadline, asked).await.map_or_else(late, observed)
}

#[cfg(test)]
mod tests;
