//! RDS in memory, several regions of one account: states move with the clock, as AWS documents them.
//!
//! What takes no time at RDS takes none here; what takes some takes as long as [`RdsSettings`] says. There are no automated
//! snapshots and no clusters.

mod instances;
mod leases;
mod port;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};

use crate::domain::id::{InstanceId, RegionName, ResourceId, SnapshotId};
use crate::domain::inventory::{Endpoint, Instance, Protection, Snapshot};
use crate::domain::run::RdsEvent;
use crate::domain::tags::Tags;
use crate::ports::clock::Clock;
use state::{Change, Life, Region};

pub(crate) use state::{ChangeKind, Fate};

/// All regions of one account.
pub(crate) struct FakeRdsWorld {
    clock: Arc<dyn Clock>,
    state: Mutex<WorldState>,
}

#[derive(Default)]
struct WorldState {
    regions: BTreeMap<RegionName, Region>,
    changes: Vec<Change>,
    instances_made: u32,
}

/// How RDS behaves in one region.
#[derive(Debug, Clone)]
pub(crate) struct RdsSettings {
    /// From the order of a snapshot to its end.
    pub(crate) snapshot_takes: SignedDuration,
    /// From the order of a restore until the instance is available.
    pub(crate) restore_takes: SignedDuration,
    /// From the order of a copy to its end.
    pub(crate) copy_takes: SignedDuration,
    /// How long a snapshot, or an instance that was restored, is shown as `deleting`.
    pub(crate) delete_takes: SignedDuration,
    /// How long a new snapshot is not listed: lists are eventually consistent.
    pub(crate) lists_lag: SignedDuration,
    /// Quota of manual snapshots.
    pub(crate) snapshots_max: usize,
    /// Copies that may be under way into the region.
    pub(crate) copies_max: usize,
}

impl Default for RdsSettings {
    fn default() -> RdsSettings {
        RdsSettings {
            snapshot_takes: SignedDuration::from_mins(5),
            restore_takes: SignedDuration::from_mins(15),
            copy_takes: SignedDuration::from_mins(20),
            delete_takes: SignedDuration::from_secs(30),
            lists_lag: SignedDuration::ZERO,
            snapshots_max: 100,
            copies_max: 20,
        }
    }
}

impl FakeRdsWorld {
    /// An account without anything in it; `clock` is AWS's.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<FakeRdsWorld> {
        Arc::new(FakeRdsWorld { clock, state: Mutex::default() })
    }

    /// One of its regions.
    pub(crate) fn region(self: &Arc<Self>, name: &RegionName) -> Arc<FakeRds> {
        self.state.lock().unwrap().regions.entry(name.clone()).or_default();
        Arc::new(FakeRds { world: Arc::clone(self), name: name.clone() })
    }

    /// The server whose data one has that was restored and is available, and the moment of that data.
    pub(crate) fn restored_from(&self, host: &str) -> Option<(String, Timestamp)> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        state.settle(now);
        state.regions.values().find_map(|region| {
            let is_it = |own: &&Instance| own.endpoint.as_ref().is_some_and(|endpoint| endpoint.host == host);
            let own = region.instances.values().find(is_it)?;
            let restored = region.restored.get(&lower(own.id.as_str()))?;
            (restored.status(now) == "available").then(|| (restored.origin.clone(), restored.data_of))
        })
    }

    /// Everything that has happened to snapshots so far, in all regions.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let mut state = self.state.lock().unwrap();
        state.settle(self.clock.now());
        state.changes.clone()
    }
}

/// RDS in one region.
pub(crate) struct FakeRds {
    world: Arc<FakeRdsWorld>,
    name: RegionName,
}

impl FakeRds {
    /// Works on the region as it is now.
    fn with<T>(&self, work: impl FnOnce(&mut Region, Timestamp) -> T) -> T {
        let now = self.world.clock.now();
        let mut state = self.world.state.lock().unwrap();
        state.settle(now);
        work(state.region(&self.name), now)
    }

    /// Changes how this region behaves from now on.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut RdsSettings)) {
        self.with(|region, _| change(&mut region.settings));
    }

    /// What is free on an instance's volume from now on.
    pub(crate) fn set_free_storage(&self, id: &InstanceId, bytes: u64) {
        self.with(|region, _| region.free_storage.insert(id.clone(), bytes));
    }

    /// A new PostgreSQL instance, available at once. One that bears the name of a deleted one has an identity of its own.
    pub(crate) fn add_instance(&self, id: &InstanceId, kms_key: Option<&str>) -> ResourceId {
        let resource = self.new_resource();
        let facts = Instance {
            id: id.clone(),
            resource: resource.clone(),
            status: "available".to_owned(),
            engine: "postgres".to_owned(),
            engine_version: "15.18".to_owned(),
            endpoint: Some(Endpoint { host: self.host(id), port: 5432 }),
            latest_restorable_at: None,
            automated_backup_days: 7,
            replica_of: None,
            storage_bytes: 100 << 30,
            kms_key: kms_key.map(str::to_owned),
            protection: Protection::default(),
            tags: Tags::new(),
        };
        self.with(|region, _| region.instances.insert(lower(id.as_str()), facts));
        resource
    }

    fn new_resource(&self) -> ResourceId {
        let mut state = self.world.state.lock().unwrap();
        state.instances_made += 1;
        format!("db-R{:08}", state.instances_made).parse().unwrap()
    }

    fn host(&self, id: &InstanceId) -> String {
        format!("{id}.{}.rds.test", self.name)
    }

    /// Deletes an instance. Its manual snapshots stay.
    pub(crate) fn delete_instance(&self, id: &InstanceId) {
        self.with(|region, _| region.instances.remove(&lower(id.as_str()))).expect("there is such an instance");
    }

    /// Changes what RDS says of an instance.
    pub(crate) fn change_instance(&self, id: &InstanceId, change: impl FnOnce(&mut Instance)) {
        self.with(|region, _| change(region.instances.get_mut(&lower(id.as_str())).unwrap()));
    }

    /// Sets the status of an instance, to any word.
    pub(crate) fn set_status(&self, id: &InstanceId, status: &str) {
        self.change_instance(id, |instance| status.clone_into(&mut instance.status));
    }

    /// RDS records an event about an instance.
    pub(crate) fn add_event(&self, instance: &InstanceId, message: &str) {
        self.with(|region, at| {
            region.events.push((lower(instance.as_str()), RdsEvent { at, message: message.to_owned() }));
        });
    }

    /// How the next snapshot that is ordered will end.
    pub(crate) fn next_snapshot(&self, fate: Fate) {
        self.with(|region, _| region.snapshot_fates.push_back(fate));
    }

    /// How the next copy that is ordered into this region will end.
    pub(crate) fn next_copy(&self, fate: Fate) {
        self.with(|region, _| region.copy_fates.push_back(fate));
    }

    /// How the next instance that is restored will end.
    pub(crate) fn next_restore(&self, fate: Fate) {
        self.with(|region, _| region.restore_fates.push_back(fate));
    }

    /// What is ordered from now on ends well.
    pub(crate) fn forget_fates(&self) {
        self.with(|region, _| {
            region.snapshot_fates.clear();
            region.copy_fates.clear();
            region.restore_fates.clear();
        });
    }

    /// A snapshot or copy that is stuck goes on, and ends as it should have.
    pub(crate) fn release(&self, id: &SnapshotId) {
        self.with(|region, now| region.release(id, now));
    }

    /// Disables a KMS key of this region.
    pub(crate) fn disable_key(&self, key: &str) {
        self.with(|region, _| region.disabled_keys.insert(key.to_owned()));
    }

    /// Enables it again.
    pub(crate) fn enable_key(&self, key: &str) {
        self.with(|region, _| region.disabled_keys.remove(key));
    }

    /// An available snapshot that somebody else has made of an instance just now, with whatever tags.
    pub(crate) fn add_foreign_snapshot(&self, id: &SnapshotId, instance: &InstanceId, tags: Tags) {
        let (name, request) = (self.name.clone(), state::Order { id, instance, tags: &tags });
        self.with(|region, now| {
            let mut held = region.order(&name, &request, now).expect("there is such an instance");
            held.life = Life::Available;
            region.snapshots.insert(lower(id.as_str()), held);
        });
    }

    /// Changes what RDS says of a snapshot.
    pub(crate) fn change_snapshot(&self, id: &SnapshotId, change: impl FnOnce(&mut Snapshot)) {
        self.with(|region, _| change(&mut region.snapshots.get_mut(&lower(id.as_str())).unwrap().facts));
    }

    /// The next snapshot that is to be deleted is deleted by somebody else a moment before.
    pub(crate) fn somebody_deletes_first(&self) {
        self.with(|region, _| region.deleted_by_another = true);
    }

    /// Every snapshot there is, as it stands, listed already or not.
    pub(crate) fn every_snapshot(&self) -> Vec<Snapshot> {
        self.with(|region, now| region.snapshots.values().map(|held| held.shown(now)).collect())
    }
}

impl WorldState {
    fn region(&mut self, name: &RegionName) -> &mut Region {
        self.regions.entry(name.clone()).or_default()
    }

    /// Everything that has come to its end by `now` has ended.
    fn settle(&mut self, now: Timestamp) {
        for (name, region) in &mut self.regions {
            self.changes.extend(region.settle(name, now));
        }
    }

    /// Fails the copies that are being made of a snapshot.
    fn fail_copies_of(&mut self, source: &RegionName, id: &str, now: Timestamp) {
        for (name, region) in &mut self.regions {
            for held in region.snapshots.values_mut().filter(|held| held.is_being_copied_from(source, id)) {
                held.life = Life::Failed;
                self.changes.push(held.change(name, ChangeKind::Failed, now));
            }
        }
    }
}

/// RDS compares identifiers without case, and keeps those of snapshots in lower case.
fn lower(id: &str) -> String {
    id.to_ascii_lowercase()
}
