//! Looks: from the ports to an inventory. Only reads; failures are data, per section.

mod read;
mod store;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;

use crate::domain::id::{Kind, RunId, SourceId};
use crate::domain::inventory::{Inventory, Observed, Unseen};
use crate::domain::key::Layout;
use crate::policy::Policy;
use crate::ports::{Chain, PortError, Ports};
use store::StoreCache;

/// Sources whose part of the store is read at once: enough to hide latency, few enough to stay below throttling.
const SOURCES_AT_ONCE: usize = 8;

/// Looks at everything outside. It remembers objects that never change, so that a look costs listings only.
#[derive(Debug)]
pub struct Collector {
    layout: Layout,
    caches: BTreeMap<SourceId, StoreCache>,
}

impl Collector {
    /// A collector for a layout.
    #[must_use]
    pub fn new(layout: Layout) -> Collector {
        Collector { layout, caches: BTreeMap::new() }
    }

    /// Looks once. `in_flight` are the runs that this process works on.
    pub async fn collect(
        &mut self,
        ports: &Ports,
        policy: &Policy,
        in_flight: BTreeSet<(SourceId, RunId)>,
    ) -> Inventory {
        let taken_at = ports.clock.now();
        self.caches.retain(|source, _| policy.sources.contains_key(source));
        for source in policy.sources.keys() {
            self.caches.entry(source.clone()).or_default();
        }
        let layout = &self.layout;
        let stores = futures_util::stream::iter(self.caches.iter_mut())
            .map(|(source, cache)| async move {
                let seen = cache.collect(ports, &policy.installation, layout, source).await;
                (source.clone(), observed(seen))
            })
            .buffer_unordered(SOURCES_AT_ONCE)
            .collect::<BTreeMap<_, _>>();
        // The runs are read before the snapshots: a run that is seen as running has its snapshot in the list, if it has one.
        let stores = stores.await;
        // Where nothing is dumped the client is not missed.
        let dumps = policy.obligations().any(|(_, obligation)| obligation.task.kind() == Kind::Dump);
        let pg_dump = async { if dumps { Some(ports.pg_dump.version().await) } else { None } };
        let (instances, snapshots, pg_dump) = tokio::join!(ports.rds.instances(), ports.rds.snapshots(), pg_dump);
        Inventory {
            taken_at,
            instances: observed(instances),
            snapshots: observed(snapshots),
            stores,
            pg_dump: pg_dump.map(observed).transpose(),
            in_flight,
        }
    }
}

fn observed<T>(seen: Result<T, PortError>) -> Observed<T> {
    seen.map_err(|error| Unseen(Chain(&error).to_string()))
}
