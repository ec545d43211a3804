//! Builds worlds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::{SignedDuration, Timestamp};

use super::World;
use crate::domain::id::{RegionName, SourceId};
use crate::policy::retention::Retention;
use crate::policy::{Policy, ReplicaMode, ReplicaPolicy, SnapshotCopies, Task};
use crate::ports::clock::Clock;
use crate::testing::fake_postgres::{FakeCredentials, FakePgDump, FakePostgres};
use crate::testing::fake_processes::ProcessTable;
use crate::testing::fake_rds::FakeRdsWorld;
use crate::testing::fake_store::{BucketSetup, FakeObjectStore, ReplicationSetup};
use crate::testing::sim_clock::SimClock;
use crate::testing::{now, policy};

/// Rows of each database until a test says otherwise.
const ROWS: u64 = 20;

/// What a world is to be.
pub(crate) struct WorldBuilder {
    seed: u64,
    began_at: Timestamp,
    policy: Policy,
    copies: Vec<RegionName>,
    /// The KMS keys of a region's instances and buckets are called after it.
    encrypted: bool,
}

impl WorldBuilder {
    pub(super) fn of(sources: &[(&str, &[&str])]) -> WorldBuilder {
        let mut policy = policy(sources);
        // Slots are met all the same, for the loop wakes for them: more looks only make simulated months slow.
        policy.cadence.reconcile_interval = SignedDuration::from_mins(10);
        WorldBuilder { seed: 1, began_at: now(), policy, copies: Vec::new(), encrypted: false }
    }

    /// All chance comes from this.
    pub(crate) fn seed(mut self, seed: u64) -> WorldBuilder {
        self.seed = seed;
        self
    }

    /// When its time begins.
    pub(crate) fn starting_at(mut self, began_at: Timestamp) -> WorldBuilder {
        self.began_at = began_at;
        self
    }

    /// Instances and buckets are encrypted with customer keys.
    pub(crate) fn encrypted(mut self) -> WorldBuilder {
        self.encrypted = true;
        self
    }

    /// The bucket has a replica in a region, filled by S3.
    pub(crate) fn replica_in(mut self, region: &str) -> WorldBuilder {
        self.policy.destination.replica = Some(ReplicaPolicy {
            bucket: format!("{}-replica", self.policy.destination.bucket),
            region: region.parse().unwrap(),
            mode: ReplicaMode::Replicated,
            kms_key: None,
        });
        self
    }

    /// Snapshots of all sources are copied to a region.
    pub(crate) fn copies_in(mut self, region: &str) -> WorldBuilder {
        self.copies.push(region.parse().unwrap());
        self
    }

    /// Changes what is wanted.
    pub(crate) fn policy(mut self, change: impl FnOnce(&mut Policy)) -> WorldBuilder {
        change(&mut self.policy);
        self
    }

    fn kms_key(&self, region: &RegionName) -> Option<String> {
        self.encrypted.then(|| kms_key(region))
    }

    /// What is wanted, with the keys that there are.
    fn complete_policy(&mut self) {
        let keys: Vec<_> = self.copies.iter().map(|region| (region.clone(), self.kms_key(region))).collect();
        let (primary, encrypted) = (self.policy.region.clone(), self.encrypted);
        let destination = &mut self.policy.destination;
        destination.kms_key = encrypted.then(|| kms_key(&primary));
        if let Some(replica) = &mut destination.replica {
            replica.kms_key = encrypted.then(|| kms_key(&replica.region));
        }
        for obligation in self.policy.sources.values_mut().flat_map(|source| &mut source.obligations) {
            if obligation.task == Task::Snapshot {
                obligation.copies.extend(keys.iter().map(|(region, kms_key)| SnapshotCopies {
                    region: region.clone(),
                    kms_key: kms_key.clone(),
                    retention: Retention::KeepAll,
                }));
            }
        }
    }

    /// Makes it.
    pub(crate) fn build(mut self) -> World {
        self.complete_policy();
        let clock = SimClock::starting_at(self.began_at);
        let aws = || Arc::clone(&clock) as Arc<dyn Clock>;
        let account = FakeRdsWorld::new(aws());
        let rds = account.region(&self.policy.region);
        let servers = FakePostgres::new(aws());
        servers.restored_in(&account);
        for source in self.policy.sources.values() {
            rds.add_instance(&source.instance, self.kms_key(&self.policy.region).as_deref());
            for database in &source.databases {
                servers.set_rows(&host(&self.policy, &source.id), database, ROWS);
            }
        }
        let bucket = |name: &str, region: &RegionName| {
            let (name, region, kms_key) = (name.to_owned(), region.clone(), self.kms_key(region));
            Arc::new(FakeObjectStore::new(aws(), BucketSetup { name, region, kms_key, ..BucketSetup::default() }))
        };
        let destination = &self.policy.destination;
        let store = bucket(&destination.bucket, &self.policy.region);
        let replica = destination.replica.as_ref().map(|wanted| {
            let replica = bucket(&wanted.bucket, &wanted.region);
            replica.can_copy_from(&store);
            if wanted.mode == ReplicaMode::Replicated {
                store.replicate_to(&replica, ReplicationSetup::default());
            }
            replica
        });
        let copies: BTreeMap<_, _> = self.copies.iter().map(|name| (name.clone(), account.region(name))).collect();
        World {
            pg_dump: Arc::new(FakePgDump::of(Arc::clone(&servers))),
            clock,
            account,
            rds,
            copies,
            store,
            replica,
            servers,
            credentials: Arc::new(FakeCredentials::default()),
            processes: Arc::new(ProcessTable::default()),
            policy: self.policy,
            seed: self.seed,
            daemons: AtomicU64::new(0),
        }
    }
}

/// The customer key of a region.
pub(crate) fn kms_key(region: &RegionName) -> String {
    format!("arn:aws:kms:{region}:123456789012:key/bank")
}

/// As the fake RDS names the endpoint.
pub(super) fn host(policy: &Policy, source: &SourceId) -> String {
    format!("{}.{}.rds.test", policy.sources[source].instance, policy.region)
}
