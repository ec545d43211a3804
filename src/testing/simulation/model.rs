//! What must never happen, looked at after every turn of the loop and in the world's own record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::collect::{Collector, OwnWork};
use crate::domain::id::{RegionName, SnapshotId};
use crate::domain::inventory::Snapshot;
use crate::domain::key::{KeyRole, Layout, MANIFEST, ObjectKey};
use crate::domain::manifest::Manifest;
use crate::domain::recovery_point::Plane;
use crate::domain::tags;
use crate::plan::action::Action;
use crate::policy::Policy;
use crate::policy::retention::Retention;
use crate::ports::Ports;
use crate::testing::fake_rds::ChangeKind;
use crate::testing::world::{Daemon, World};

/// A deletion that was ordered before the clock went wrong may still be on its way.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_mins(2);

/// Recovery points that stand in for each other: of one source, kind and database, of one instance, in one region.
type Shelf = (String, String, String, RegionName);

/// Watches a world.
pub(super) struct Model {
    seed: u64,
    world: Arc<World>,
    state: Mutex<State>,
}

struct State {
    policy: Policy,
    reloads: Vec<watch::Sender<Arc<Policy>>>,
    by_hand: BTreeMap<SnapshotId, Snapshot>,
    new_by_hand: Vec<SnapshotId>,
    /// The newest good moment that each shelf has ever had: it must never go.
    newest: BTreeMap<Shelf, Timestamp>,
    wrong_clocks: Vec<(Timestamp, Timestamp)>,
    /// Manifests never change, so each is read once.
    manifests: BTreeMap<(Plane, ObjectKey), Arc<Manifest>>,
}

impl Model {
    pub(super) fn new(seed: u64, world: Arc<World>) -> Model {
        let state = State {
            policy: world.policy.clone(),
            reloads: Vec::new(),
            by_hand: BTreeMap::new(),
            new_by_hand: Vec::new(),
            newest: BTreeMap::new(),
            wrong_clocks: Vec::new(),
            manifests: BTreeMap::new(),
        };
        Model { seed, world, state: Mutex::new(state) }
    }

    /// Has every turn of a daemon's loop followed by a look, and tells it of reloads.
    pub(super) fn watch(self: &Arc<Self>, daemon: &Daemon) {
        let model = Arc::clone(self);
        daemon.observer.each_look(move || model.check());
        let mut state = self.state.lock().unwrap();
        daemon.policies.send_replace(Arc::new(state.policy.clone()));
        state.reloads.retain(|reload| reload.receiver_count() > 0);
        state.reloads.push(daemon.policies.clone());
    }

    pub(super) fn policy(&self) -> Policy {
        self.state.lock().unwrap().policy.clone()
    }

    /// Somebody changes the configuration, and every daemon reads it.
    pub(super) fn reload(&self, change: impl FnOnce(&mut Policy)) {
        let mut state = self.state.lock().unwrap();
        change(&mut state.policy);
        let policy = Arc::new(state.policy.clone());
        for reload in &state.reloads {
            reload.send_replace(Arc::clone(&policy));
        }
    }

    pub(super) fn made_by_hand(&self, id: SnapshotId) {
        self.state.lock().unwrap().new_by_hand.push(id);
    }

    pub(super) fn clock_was_wrong(&self, from: Timestamp, until: Timestamp) {
        self.state.lock().unwrap().wrong_clocks.push((from, until));
    }

    /// Faults that people cause have an end.
    pub(super) fn people_are_gone(&self) {
        for source in self.world.policy.sources.values() {
            self.world.rds.set_status(&source.instance, "available");
            self.world.servers.set_reachable(&self.world.host(&source.id), true);
        }
    }

    #[track_caller]
    fn holds(&self, holds: bool, what: impl FnOnce() -> String) {
        assert!(holds, "seed {} at {}: {}", self.seed, self.world.clock.true_now(), what());
    }

    /// What must hold at every moment.
    fn check(&self) {
        let mut state = self.state.lock().unwrap();
        let snapshots = self.snapshots();
        self.check_by_hand(&mut state, &snapshots);
        let mut good: BTreeMap<Shelf, BTreeSet<Timestamp>> = BTreeMap::new();
        let mut of_slot: BTreeMap<(Shelf, String), u32> = BTreeMap::new();
        for (region, snapshot) in &snapshots {
            let Some((shelf, slot)) = self.own(region, snapshot) else { continue };
            if snapshot.status == "available" {
                *of_slot.entry((shelf.clone(), slot)).or_default() += 1;
                good.entry(shelf).or_default().extend(snapshot.created_at);
            }
        }
        for ((shelf, slot), count) in &of_slot {
            self.holds(*count == 1, || format!("{count} snapshots of {shelf:?} fill slot {slot}"));
        }
        for (plane, manifest) in self.manifests(&mut state.manifests) {
            let region = self.region(plane);
            let dump = &manifest.dump;
            let shelf =
                (format!("{} dump", dump.source), dump.database.to_string(), manifest.resource.to_string(), region);
            if self.is_whole(plane, &manifest) {
                good.entry(shelf).or_default().insert(manifest.snapshot_at);
            } else {
                let deleting = self.is_being_deleted(plane, &manifest);
                // In the replica bucket objects arrive in any order.
                self.holds(deleting || plane == Plane::Replica, || format!("manifest {dump} names what is not there"));
            }
        }
        for (shelf, newest) in &mut state.newest {
            let still = good.get(shelf).is_some_and(|moments| moments.iter().any(|at| at >= newest));
            self.holds(still, || format!("the newest good one of {shelf:?}, of {newest}, is gone"));
        }
        for (shelf, moments) in good {
            // Replicas count once they are proven; their arrival is S3's affair, and their deletion is looked at below.
            if let Some(newest) = moments.last() {
                let known = state.newest.entry(shelf).or_insert(*newest);
                *known = (*known).max(*newest);
            }
        }
    }

    /// What people made stays as it was.
    fn check_by_hand(&self, state: &mut State, snapshots: &[(RegionName, Snapshot)]) {
        let shown =
            |id: &SnapshotId| snapshots.iter().find(|(_, snapshot)| snapshot.id == *id).map(|(_, own)| own.clone());
        for id in std::mem::take(&mut state.new_by_hand) {
            let snapshot = shown(&id).expect("it was just made");
            state.by_hand.insert(id, snapshot);
        }
        for (id, before) in &state.by_hand {
            self.holds(shown(id).as_ref() == Some(before), || format!("snapshot {id}, which is not ours, was changed"));
        }
    }

    fn snapshots(&self) -> Vec<(RegionName, Snapshot)> {
        let primary = self.world.rds.every_snapshot().into_iter().map(|own| (self.world.policy.region.clone(), own));
        let copies = self
            .world
            .copies
            .iter()
            .flat_map(|(region, rds)| rds.every_snapshot().into_iter().map(|own| (region.clone(), own)));
        primary.chain(copies).collect()
    }

    /// The shelf and the slot of a snapshot, if its mark names itself.
    fn own(&self, region: &RegionName, snapshot: &Snapshot) -> Option<(Shelf, String)> {
        if !tags::prove_ownership(&snapshot.tags, &self.world.policy.installation, &snapshot.id) {
            return None;
        }
        let resource = snapshot.resource.as_ref()?.to_string();
        let source = snapshot.tags.get(tags::SOURCE)?;
        let slot = snapshot.tags.get(tags::SLOT)?.clone();
        Some(((format!("{source} snapshot"), String::new(), resource, region.clone()), slot))
    }

    fn region(&self, plane: Plane) -> RegionName {
        match plane {
            Plane::Primary => self.world.policy.region.clone(),
            Plane::Replica => "us-west-2".parse().unwrap(),
        }
    }

    fn buckets(&self) -> Vec<(Plane, &Arc<crate::testing::fake_store::FakeObjectStore>)> {
        let replica = self.world.replica.as_ref().map(|replica| (Plane::Replica, replica));
        std::iter::once((Plane::Primary, &self.world.store)).chain(replica).collect()
    }

    fn manifests(&self, known: &mut BTreeMap<(Plane, ObjectKey), Arc<Manifest>>) -> Vec<(Plane, Arc<Manifest>)> {
        let layout = self.layout();
        let mut manifests = Vec::new();
        for (plane, bucket) in self.buckets() {
            for key in bucket.keys() {
                if key.file_name() == MANIFEST
                    && let KeyRole::Manifest(dump) = layout.role(&key)
                {
                    let read = || {
                        let bytes = bucket.bytes(&key).expect("it was listed");
                        Arc::new(Manifest::read(&bytes, &dump).expect("nobody damages it"))
                    };
                    manifests.push((plane, Arc::clone(known.entry((plane, key.clone())).or_insert_with(read))));
                }
            }
        }
        manifests
    }

    fn layout(&self) -> Layout {
        Layout::new(&self.world.policy.destination.prefix)
    }

    fn is_whole(&self, plane: Plane, manifest: &Manifest) -> bool {
        let (_, bucket) = self.buckets().into_iter().find(|(own, _)| *own == plane).expect("it has a manifest");
        manifest
            .objects
            .iter()
            .all(|own| bucket.bytes(&own.key).is_some_and(|bytes| bytes.len() as u64 == own.size_bytes))
    }

    /// Whether the record of its deletion stands open, as it must before the first object goes.
    fn is_being_deleted(&self, plane: Plane, manifest: &Manifest) -> bool {
        let key = self.layout().prune_record(&manifest.dump, plane);
        let record = self.world.store.bytes(&key);
        let record =
            record.map(|bytes| serde_json::from_slice::<crate::domain::prune_record::PruneRecord>(&bytes).unwrap());
        record.is_some_and(|record| record.is_open() && record.run == manifest.run)
    }

    /// How many recovery points were deleted.
    pub(super) fn deletions(&self) -> usize {
        let snapshots = self.world.account.changes().iter().filter(|change| change.kind == ChangeKind::Deleted).count();
        let is_manifest = |key: &ObjectKey| matches!(self.layout().role(key), KeyRole::Manifest(_));
        let dumps = self.buckets().into_iter().flat_map(|(_, bucket)| bucket.deleted());
        snapshots + dumps.filter(|(_, version)| is_manifest(&version.key)).count()
    }

    /// Reads the world's own record: each deletion was of something ours, old enough, and at a time of right clocks.
    pub(super) fn check_deletions(&self) {
        let state = self.state.lock().unwrap();
        let shortest = shortest_min_age(&state.policy).min(shortest_min_age(&self.world.policy));
        let right_then =
            |at: Timestamp| !state.wrong_clocks.iter().any(|(from, until)| *from + ON_ITS_WAY < at && at < *until);
        for change in self.world.account.changes().iter().filter(|change| change.kind == ChangeKind::Deleted) {
            let snapshot = &change.snapshot;
            let own = self.own(&change.region, snapshot).is_some();
            self.holds(own, || format!("{} was deleted and is not ours", snapshot.id));
            let age = snapshot.stored_at.map(|stored_at| change.at.duration_since(stored_at));
            // Our clock may be a little wrong.
            let old = age.is_some_and(|age| age + SignedDuration::from_mins(5) >= shortest);
            self.holds(old, || format!("{} was deleted at the age of {age:?}", snapshot.id));
            self.holds(right_then(change.at), || {
                format!("{} was deleted by a wrong clock at {}", snapshot.id, change.at)
            });
        }
        for (_, bucket) in self.buckets() {
            for (at, version) in bucket.deleted() {
                let role = self.layout().role(&version.key);
                let known = !matches!(role, KeyRole::Foreign | KeyRole::RunRecord { .. } | KeyRole::PruneRecord { .. });
                self.holds(known, || format!("{} was deleted", version.key));
                if let KeyRole::Manifest(dump) = role {
                    self.holds(right_then(at) || self.was_begun(&dump, at), || {
                        format!("{dump} was deleted by a wrong clock at {at}")
                    });
                }
            }
        }
    }

    /// A deletion that was begun while clocks were right is seen through at any time.
    fn was_begun(&self, dump: &crate::domain::key::DumpId, at: Timestamp) -> bool {
        Plane::ALL.into_iter().any(|plane| {
            let record = self.world.store.bytes(&self.layout().prune_record(dump, plane));
            let record =
                record.map(|bytes| serde_json::from_slice::<crate::domain::prune_record::PruneRecord>(&bytes).unwrap());
            record.is_some_and(|record| record.began_at <= at)
        })
    }

    /// After the calm nothing is left to do: every slot is filled, what has expired is gone, and planning again plans nothing.
    pub(super) async fn check_done(&self, ports: &Ports, now: Timestamp) {
        let policy = self.policy();
        let mut collector = Collector::new(self.layout());
        let mut inventory = collector.collect(ports, &policy, OwnWork::default()).await;
        inventory.retention_known_for.values_mut().for_each(|known_for| *known_for = SignedDuration::MAX);
        let plan = crate::plan::plan(&policy, &inventory, now);
        let words = |action: &Action| action.to_string();
        let left: Vec<String> = plan.actions.iter().map(words).collect();
        // What waits for a person waits.
        self.holds(left.is_empty(), || format!("after the calm it still wants to {left:#?}"));
        self.holds(plan.unseen.is_empty(), || format!("{:?}", plan.unseen));
        for decision in &plan.decisions {
            self.holds(!decision.freshness.overdue, || format!("overdue after the calm: {decision}"));
        }
        self.holds(self.world.store.open_uploads() == 0, || "uploads are open".to_owned());
        let running = self.world.pg_dump.running();
        self.holds(running.is_empty(), || format!("pg_dump runs: {running:?}"));
    }
}

fn shortest_min_age(policy: &Policy) -> SignedDuration {
    let of = |retention: &Retention| match retention {
        Retention::KeepAll => None,
        Retention::Rules(rules) => Some(rules.min_age),
    };
    // A reload changes rules, and the shortest of all that there can be is an hour.
    let all = policy.sources.values().flat_map(|source| source.retentions());
    all.filter_map(of).min().unwrap_or(SignedDuration::from_hours(1)).min(SignedDuration::from_hours(1))
}
