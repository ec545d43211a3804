//! Looks: from the ports to an inventory. Only reads; failures are data, per section.

mod account;
mod cache;
pub mod diagnosis;
mod dumps;
mod logins;
mod read;
mod sorted;
mod store;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use jiff::SignedDuration;
use tokio::time::Instant;

use crate::domain::bucket::BucketFacts;
use crate::domain::drill::DrillId;
use crate::domain::encryption_key::{KeyFacts, KeyName, KeyState};
use crate::domain::id::{Kind, RegionName, RunId, SourceId};
use crate::domain::inventory::{Complete, Instance, Inventory, Observed, Snapshot, StoredDump, Unseen};
use crate::domain::key::Layout;
use crate::domain::recovery_point::Plane;
use crate::policy::Policy;
use crate::policy::posture::keys_in_use;
use crate::policy::retention::Retention;
use crate::ports::{Chain, PortError, Ports};
use store::{Look, StoreCache};

/// Sources whose part of the store is read at once: enough to hide latency, few enough to stay below throttling.
const SOURCES_AT_ONCE: usize = 8;
/// How a bucket is set up changes seldom, and asking takes seven requests; keys change as seldom.
const SETTINGS_EVERY: Duration = Duration::from_mins(15);

/// What only the loop knows of what it is doing.
#[derive(Debug, Clone, Default)]
pub struct OwnWork {
    /// Runs that this process works on.
    pub in_flight: BTreeSet<(SourceId, RunId)>,
    /// Drills that it works on.
    pub drills_in_flight: BTreeSet<DrillId>,
    /// Dumps that those make of what they restore.
    pub in_drills: BTreeSet<(SourceId, RunId)>,
    /// Deletions of recovery points that it began within the last cycle.
    pub deleted_lately: usize,
}

/// Looks at everything outside. It remembers objects that never change, so that a look costs listings only.
#[derive(Debug)]
pub struct Collector {
    layout: Layout,
    caches: BTreeMap<SourceId, StoreCache>,
    retention: BTreeMap<SourceId, (Vec<Retention>, Instant)>,
    buckets: BTreeMap<Plane, (BucketFacts, Instant)>,
    /// `None` for a key that may not be asked for. One that cannot be used is asked for at each look.
    keys: BTreeMap<KeyName, (Option<KeyFacts>, Instant)>,
    account: account::AccountCache,
    logins: logins::LoginCache,
    tries_logins: bool,
}

impl Collector {
    /// A collector for a layout.
    #[must_use]
    pub fn new(layout: Layout) -> Collector {
        Collector {
            layout,
            caches: BTreeMap::new(),
            retention: BTreeMap::new(),
            buckets: BTreeMap::new(),
            keys: BTreeMap::new(),
            account: account::AccountCache::default(),
            logins: logins::LoginCache::default(),
            tries_logins: false,
        }
    }

    /// The same, and it logs in to databases now and then, as their dumps do.
    #[must_use]
    pub fn trying_logins(self) -> Collector {
        Collector { tries_logins: true, ..self }
    }

    /// The dumps of a source as the replica bucket shows them by itself: what there is when the first region is gone. Those
    /// that are whole have all of their objects there; what was verified is not known.
    ///
    /// # Errors
    /// There is no replica bucket, or it cannot be seen either.
    pub async fn dumps_in_replica(
        &mut self,
        ports: &Ports,
        policy: &Policy,
        source: &SourceId,
    ) -> Observed<Vec<StoredDump>> {
        let layout = &self.layout;
        let cache = self.caches.entry(source.clone()).or_default();
        cache.replica_alone(Look { ports, policy, layout, source }).await
    }

    /// Looks once.
    pub async fn collect(&mut self, ports: &Ports, policy: &Policy, own: OwnWork) -> Inventory {
        let taken_at = ports.clock.now();
        self.caches.retain(|source, _| policy.sources.contains_key(source));
        for source in policy.sources.keys() {
            self.caches.entry(source.clone()).or_default();
        }
        let layout = &self.layout;
        let stores = futures_util::stream::iter(self.caches.iter_mut())
            .map(|(source, cache)| async move {
                let seen = cache.collect(Look { ports, policy, layout, source }).await;
                (source.clone(), observed(seen))
            })
            .buffer_unordered(SOURCES_AT_ONCE)
            .collect::<BTreeMap<_, _>>();
        // The runs are read before the snapshots: a run that is seen as running has its snapshot in the list, if it has one.
        let stores = stores.await;
        // Where nothing is dumped the client is not missed.
        let dumps = policy.obligations().any(|(_, obligation)| obligation.task.kind() == Kind::Dump);
        let pg_dump = async { if dumps { Some(ports.pg_dump.version().await) } else { None } };
        let (instances, snapshots, copies, pg_dump) =
            tokio::join!(ports.rds.instances(), ports.rds.snapshots(), copies(ports), pg_dump);
        let instances = observed(instances);
        Inventory {
            taken_at,
            account: self.look_at_account(ports, policy, instances.as_ref().ok()).await,
            logins: self.look_at_logins(ports, policy, instances.as_ref().ok()).await,
            keys: self.look_at_keys(ports, policy, instances.as_ref().ok()).await,
            instances,
            snapshots: observed(snapshots),
            copies,
            stores,
            buckets: self.look_at_buckets(ports).await,
            pg_dump: pg_dump.map(observed).transpose(),
            clock_skew: ports.reference.ahead(),
            retention_known_for: self.retention_known_for(policy),
            deleted_lately: own.deleted_lately,
            in_flight: own.in_flight,
            drills_in_flight: own.drills_in_flight,
            in_drills: own.in_drills,
        }
    }

    async fn look_at_buckets(&mut self, ports: &Ports) -> BTreeMap<Plane, Observed<BucketFacts>> {
        let stores = [(Plane::Primary, Some(&ports.store)), (Plane::Replica, ports.replica.as_ref())];
        let mut buckets = BTreeMap::new();
        for (plane, store) in stores {
            let Some(store) = store else { continue };
            let known = self.buckets.get(&plane).filter(|(_, seen)| seen.elapsed() < SETTINGS_EVERY);
            let facts = match known {
                Some((facts, _)) => Ok(facts.clone()),
                None => observed(store.bucket().await),
            };
            if let (None, Ok(facts)) = (known, &facts) {
                self.buckets.insert(plane, (facts.clone(), Instant::now()));
            }
            buckets.insert(plane, facts);
        }
        buckets
    }

    /// Asks for the keys that backups are encrypted under, each from time to time.
    async fn look_at_keys(
        &mut self,
        ports: &Ports,
        policy: &Policy,
        instances: Option<&Complete<Instance>>,
    ) -> Observed<BTreeMap<KeyName, KeyFacts>> {
        let uses =
            keys_in_use(policy, |source| instances?.iter().find(|instance| instance.is_called(&source.instance)));
        let names: BTreeSet<KeyName> = uses.into_iter().map(|key_use| key_use.name).collect();
        let is_usable = |facts: &Option<KeyFacts>| facts.as_ref().is_none_or(|facts| facts.state == KeyState::Enabled);
        self.keys
            .retain(|name, (facts, seen)| names.contains(name) && is_usable(facts) && seen.elapsed() < SETTINGS_EVERY);
        for name in names {
            if let Entry::Vacant(unknown) = self.keys.entry(name) {
                let facts = observed(ports.keys.key(unknown.key()).await)?;
                unknown.insert((facts, Instant::now()));
            }
        }
        let told = self.keys.iter().filter_map(|(name, (facts, _))| Some((name.clone(), facts.clone()?)));
        Ok(told.collect())
    }

    /// Counts from the first look with the retention that is in force now. A new process has known none.
    fn retention_known_for(&mut self, policy: &Policy) -> BTreeMap<SourceId, SignedDuration> {
        self.retention.retain(|source, _| policy.sources.contains_key(source));
        let mut known_for = BTreeMap::new();
        for (source, wanted) in &policy.sources {
            let rules: Vec<Retention> = wanted.retentions().cloned().collect();
            let since = match self.retention.get(source) {
                Some((known, since)) if *known == rules => *since,
                Some(_) | None => {
                    let now = Instant::now();
                    self.retention.insert(source.clone(), (rules, now));
                    now
                }
            };
            let known = SignedDuration::try_from(since.elapsed()).unwrap_or(SignedDuration::MAX);
            known_for.insert(source.clone(), known);
        }
        known_for
    }
}

async fn copies(ports: &Ports) -> BTreeMap<RegionName, Observed<Complete<Snapshot>>> {
    let regions = ports.copies.iter().map(|(region, rds)| async move {
        let snapshots = rds.snapshots().await;
        (region.clone(), observed(snapshots))
    });
    futures_util::future::join_all(regions).await.into_iter().collect()
}

fn observed<T>(seen: Result<T, PortError>) -> Observed<T> {
    seen.map_err(|error| Unseen(Chain(&error).to_string()))
}
