//! A whole outside, and daemons in it: what simulations and crash tests begin with.
//!
//! ```text
//! let world = World::of(&[("accounts", &["accounts"])]).seed(7).replica_in("us-west-2").build();
//! let daemon = world.daemon("pod-1");
//! daemon.faults.die_after(3);
//! assert_eq!(daemon.run_until(end).await, Ended::Died);
//! assert_eq!(world.daemon("pod-1").run_until(end).await, Ended::Stopped);
//! ```

mod builder;
mod daemon;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod governed;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod verification;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use crate::collect::{Collector, OwnWork};
use crate::domain::id::{DatabaseName, RegionName, SourceId};
use crate::domain::inventory::Inventory;
use crate::domain::key::{KeyRole, Layout};
use crate::domain::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::policy::Policy;
use crate::policy::retention::Retention;
use crate::ports::Ports;
use crate::ports::clock::{Clock, Reference};
use crate::ports::instances::{Instances, Leases};
use crate::ports::object_store::ObjectStore;
use crate::ports::postgres::Postgres;
use crate::ports::rds::Rds;
use crate::testing::fake_postgres::{FakeCredentials, FakePgDump, FakePostgres};
use crate::testing::fake_processes::ProcessTable;
use crate::testing::fake_rds::{FakeRds, FakeRdsWorld};
use crate::testing::fake_store::FakeObjectStore;
use crate::testing::faults::{FaultPlan, Faulty};
use crate::testing::no_pg_restore::NoPgRestore;
use crate::testing::random::mixed;
use crate::testing::sim_clock::{FakeReference, SimClock};

pub(crate) use builder::WorldBuilder;
pub(crate) use daemon::{Daemon, Ended};

/// Everything outside. What the daemons are told may be wrong; what is asked here is the truth.
pub(crate) struct World {
    /// The true time, which is AWS's.
    pub(crate) clock: Arc<SimClock>,
    pub(crate) account: Arc<FakeRdsWorld>,
    /// RDS in the sources' region.
    pub(crate) rds: Arc<FakeRds>,
    /// RDS where snapshots are copied to.
    pub(crate) copies: BTreeMap<RegionName, Arc<FakeRds>>,
    pub(crate) store: Arc<FakeObjectStore>,
    pub(crate) replica: Option<Arc<FakeObjectStore>>,
    pub(crate) servers: Arc<FakePostgres>,
    pub(crate) pg_dump: Arc<FakePgDump>,
    pub(crate) credentials: Arc<FakeCredentials>,
    pub(crate) processes: Arc<ProcessTable>,
    pub(crate) policy: Policy,
    seed: u64,
    daemons: AtomicU64,
}

impl World {
    /// A world with these sources and their databases, each on an instance `bank-<source>`.
    pub(crate) fn of(sources: &[(&str, &[&str])]) -> WorldBuilder {
        WorldBuilder::of(sources)
    }

    /// The same with a retention for the copies of snapshots.
    pub(crate) fn with_copies(mut self, retention: Retention) -> World {
        let obligations = self.policy.sources.values_mut().flat_map(|source| &mut source.obligations);
        obligations.flat_map(|own| &mut own.copies).for_each(|copies| copies.retention = retention.clone());
        self
    }

    /// The host name of a source's instance.
    pub(crate) fn host(&self, source: &SourceId) -> String {
        builder::host(&self.policy, source)
    }

    /// Sets how many rows a database has.
    pub(crate) fn set_rows(&self, source: &SourceId, database: &DatabaseName, rows: u64) {
        self.servers.set_rows(&self.host(source), database, rows);
    }

    /// A new process on a host, with the world's clock right on it, its own faults, and everything within its reach.
    pub(crate) fn daemon(&self, host: &str) -> Daemon {
        let number = self.daemons.fetch_add(1, Ordering::Relaxed);
        let faults = FaultPlan::new(Arc::clone(&self.clock) as Arc<dyn Clock>, mixed(self.seed ^ mixed(number)));
        let clock = self.clock.of_another_machine();
        let reference = Arc::new(FakeReference::of(Arc::clone(&clock)));
        let process = self.processes.start(host);
        let rds = |rds: &Arc<FakeRds>| -> Arc<dyn Rds> { Faulty::new(Arc::clone(rds) as Arc<dyn Rds>, &faults) };
        let store = |store: &Arc<FakeObjectStore>| -> Arc<dyn ObjectStore> {
            Faulty::new(Arc::clone(store) as Arc<dyn ObjectStore>, &faults)
        };
        let instances: Arc<dyn Instances> = Faulty::new(Arc::clone(&self.rds) as Arc<dyn Instances>, &faults);
        let ports = Ports {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            rds: rds(&self.rds),
            instances: BTreeMap::from([(self.policy.region.clone(), instances)]),
            leases: Faulty::new(Arc::clone(&self.rds) as Arc<dyn Leases>, &faults),
            copies: self.copies.iter().map(|(region, fake)| (region.clone(), rds(fake))).collect(),
            store: store(&self.store),
            replica: self.replica.as_ref().map(store),
            keys: Arc::clone(&self.account) as Arc<_>,
            account: Arc::clone(&self.account) as Arc<_>,
            server_metrics: Arc::clone(&self.rds) as Arc<_>,
            reference: Arc::clone(&reference) as Arc<dyn Reference>,
            credentials: Arc::clone(&self.credentials) as Arc<_>,
            postgres: Faulty::new(Arc::clone(&self.servers) as Arc<dyn Postgres>, &faults),
            pg_dump: Arc::clone(&self.pg_dump) as Arc<_>,
            pg_restore: Arc::new(NoPgRestore),
            processes: Arc::clone(&process) as Arc<_>,
        };
        let policy = Arc::new(self.policy.clone());
        Daemon::new(ports, faults, clock, reference, process, Arc::clone(&self.processes), policy)
    }

    /// What somebody sees who has seen nothing before.
    pub(crate) async fn look(&self) -> Inventory {
        let ports = self.daemon("pod-2").ports;
        let mut collector = Collector::new(Layout::new(&self.policy.destination.prefix));
        collector.collect(&ports, &self.policy, OwnWork::default()).await
    }

    /// Every manifest that stands in the primary bucket, whoever wrote it.
    pub(crate) async fn manifests(&self) -> Vec<Manifest> {
        let layout = Layout::new(&self.policy.destination.prefix);
        let mut manifests = Vec::new();
        for key in self.store.keys() {
            if let KeyRole::Manifest(dump) = layout.role(&key) {
                let bytes = self.store.get(&key, MANIFEST_BYTES_MAX).await.unwrap().bytes;
                manifests.push(Manifest::read(&bytes, &dump).unwrap());
            }
        }
        manifests
    }

    /// Lets time pass.
    pub(crate) async fn pass_until(&self, instant: Timestamp) {
        self.clock.sleep_until(instant).await;
    }
}
