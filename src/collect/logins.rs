//! The logins that databases are dumped with, tried from time to time: a password that was changed is not first missed in the
//! night of the monthly dump.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout};

use super::{Collector, observed};
use crate::domain::dump_login::DumpLogin;
use crate::domain::id::{DatabaseName, SourceId};
use crate::domain::inventory::{Complete, Endpoint, Instance, Observed, Unseen};
use crate::policy::Policy;
use crate::policy::finding::Severity;
use crate::policy::posture::login_findings;
use crate::ports::Ports;

/// A login that is as it should be is tried so often.
const TRIED_EVERY: Duration = Duration::from_hours(6);
/// One that is not is tried again soon, so that it is seen when it is mended.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(15);
/// Most that are tried in one look: of a large fleet each has its turn within some looks.
const TRIED_MAX: usize = 50;
/// Connections at once.
const AT_ONCE: usize = 8;
/// Time for one: a server that answers does so in a fraction of it.
const ONE_WITHIN: Duration = Duration::from_secs(4);
/// Time for all of them. None of it decides anything: servers that hang must not hold up the loop.
const ALL_WITHIN: Duration = Duration::from_secs(8);

/// A database that is dumped.
type Dumped = (SourceId, DatabaseName);

/// What was learned, and when.
#[derive(Debug, Default)]
pub(super) struct LoginCache(BTreeMap<Dumped, (Observed<DumpLogin>, Instant)>);

impl Collector {
    /// Logs in as dumps do, where that is due and what they read serves. Only who runs for long does so: a command is to answer
    /// soon, and may be given where no database can be reached.
    pub(super) async fn look_at_logins(
        &mut self,
        ports: &Ports,
        policy: &Policy,
        instances: Option<&Complete<Instance>>,
    ) -> BTreeMap<SourceId, BTreeMap<DatabaseName, Observed<DumpLogin>>> {
        let (true, Some(instances)) = (self.tries_logins, instances) else { return told(&self.logins) };
        let LoginCache(known) = &mut self.logins;
        let mut dumped: BTreeMap<Dumped, Endpoint> = BTreeMap::new();
        for source in policy.sources.values() {
            let read = source.dump_from.replica().unwrap_or(&source.instance);
            let serving = instances.iter().find(|own| own.is_called(read)).filter(|own| own.serves());
            if let Some(endpoint) = serving.and_then(|own| own.endpoint.clone()) {
                let own = source.dumped_databases();
                dumped.extend(own.map(|database| ((source.id.clone(), database.clone()), endpoint.clone())));
            }
        }
        // Of one that does not serve nobody can tell.
        known.retain(|own, _| dumped.contains_key(own));
        let is_due = |own: &Dumped| {
            known.get(own).is_none_or(|(facts, tried)| {
                let every = if is_well(policy, own, facts, ports) { TRIED_EVERY } else { TRIED_AGAIN_AFTER };
                tried.elapsed() >= every
            })
        };
        let mut due: Vec<(Dumped, Endpoint)> = dumped.into_iter().filter(|(own, _)| is_due(own)).collect();
        due.sort_by_key(|(own, _)| known.get(own).map(|(_, tried)| *tried));
        due.truncate(TRIED_MAX);
        let deadline = Instant::now() + ALL_WITHIN;
        let tried = futures_util::stream::iter(due)
            .map(|(own, endpoint)| async move {
                // Whoever would not have its time has it in the next look.
                let has_time = Instant::now() + ONE_WITHIN <= deadline;
                let facts = if has_time { Some(try_out(ports, &own, &endpoint).await) } else { None };
                (own, facts)
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>();
        for (own, facts) in tried.await {
            if let Some(facts) = facts {
                known.insert(own, (facts, Instant::now()));
            }
        }
        told(&self.logins)
    }
}

fn told(LoginCache(known): &LoginCache) -> BTreeMap<SourceId, BTreeMap<DatabaseName, Observed<DumpLogin>>> {
    let mut tried: BTreeMap<SourceId, BTreeMap<DatabaseName, Observed<DumpLogin>>> = BTreeMap::new();
    for ((source, database), (facts, _)) in known {
        tried.entry(source.clone()).or_default().insert(database.clone(), facts.clone());
    }
    tried
}

fn is_well(policy: &Policy, (source, database): &Dumped, facts: &Observed<DumpLogin>, ports: &Ports) -> bool {
    let Some(source) = policy.sources.get(source) else { return true };
    let found = login_findings(source, std::iter::once((database, facts)), ports.clock.now());
    found.iter().all(|finding| finding.severity == Severity::Info)
}

async fn try_out(ports: &Ports, (source, database): &Dumped, endpoint: &Endpoint) -> Observed<DumpLogin> {
    let asked = async {
        let login = ports.credentials.login(source, endpoint).await?;
        ports.postgres.login_facts(&login, database).await
    };
    let Endpoint { host, port } = endpoint;
    let late = |_| Err(Unseen(format!("{host}:{port} did not answer within {} s", ONE_WITHIN.as_secs())));
    timeout(ONE_WITHIN, asked).await.map_or_else(late, observed)
}

#[cfg(test)]
mod tests;
