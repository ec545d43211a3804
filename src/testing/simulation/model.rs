//! What must never happen, looked at after every turn of the loop and in the world's own record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::standing::{CLOCK_SLACK, Good, Shelf, Standing};
use crate::collect::{Collector, OwnWork};
use crate::domain::id::{Kind, RegionName, RunId, Slot, SnapshotId, SourceId};
use crate::domain::inventory::Snapshot;
use crate::domain::key::{DumpId, KeyRole, Layout, MANIFEST, ObjectKey};
use crate::domain::manifest::Manifest;
use crate::domain::pin::{PIN_VERSION, Pin};
use crate::domain::recovery_point::Plane;
use crate::domain::tags;
use crate::domain::verification::Level;
use crate::plan::action::{Action, Swept};
use crate::policy::Policy;
use crate::policy::finding::{Check, Finding};
use crate::ports::Ports;
use crate::reconcile::Wanted;
use crate::testing::fake_rds::ChangeKind;
use crate::testing::random::Random;
use crate::testing::world::{Daemon, World};

/// A deletion that was ordered before the clock went wrong may still be on its way.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_mins(2);

/// Watches a world.
pub(super) struct Model {
    seed: u64,
    world: Arc<World>,
    state: Mutex<State>,
}

struct State {
    standing: Standing,
    reloads: Vec<watch::Sender<Wanted>>,
    by_hand: BTreeMap<SnapshotId, Snapshot>,
    new_by_hand: Vec<SnapshotId>,
    /// The newest good moment that each shelf has ever had: it must never go.
    newest: BTreeMap<Shelf, Timestamp>,
    wrong_clocks: Vec<(Timestamp, Timestamp)>,
    /// What people have pinned, and when.
    pins: Vec<(Kind, String, Timestamp)>,
    /// A manifest never changes, so each is read once; another one comes to the same key when the first was deleted.
    manifests: BTreeMap<(Plane, ObjectKey), (Bytes, Arc<Manifest>)>,
}

impl Model {
    pub(super) fn new(seed: u64, world: Arc<World>) -> Model {
        let state = State {
            standing: Standing::new(world.policy.clone(), world.clock.true_now()),
            reloads: Vec::new(),
            by_hand: BTreeMap::new(),
            new_by_hand: Vec::new(),
            newest: BTreeMap::new(),
            wrong_clocks: Vec::new(),
            pins: Vec::new(),
            manifests: BTreeMap::new(),
        };
        Model { seed, world, state: Mutex::new(state) }
    }

    /// Has every turn of a daemon's loop followed by a look, and tells it of reloads.
    pub(super) fn watch(self: &Arc<Self>, daemon: &Daemon) {
        let model = Arc::clone(self);
        daemon.observer.each_look(move || model.check());
        let mut state = self.state.lock().unwrap();
        daemon.policies.send_replace(Arc::new(state.standing.policy().clone()).into());
        state.reloads.push(daemon.policies.clone());
    }

    pub(super) fn policy(&self) -> Policy {
        self.state.lock().unwrap().standing.policy().clone()
    }

    /// Somebody changes the configuration, and every daemon reads it.
    pub(super) fn reload(&self, change: impl FnOnce(&mut Policy)) {
        let mut state = self.state.lock().unwrap();
        let mut policy = state.standing.policy().clone();
        change(&mut policy);
        state.standing.reload(self.world.clock.true_now(), policy.clone());
        let wanted = Wanted::from(Arc::new(policy));
        for reload in &state.reloads {
            reload.send_replace(wanted.clone());
        }
    }

    pub(super) fn made_by_hand(&self, id: SnapshotId) {
        self.state.lock().unwrap().new_by_hand.push(id);
    }

    /// Somebody pins one of the recovery points that stand.
    pub(super) fn pin_any(&self, random: &mut Random) {
        let mut state = self.state.lock().unwrap();
        let standing = state.standing.points();
        if standing.is_empty() {
            return;
        }
        let (shelf, id) = random.pick(&standing);
        let now = self.world.clock.true_now();
        let pin = Pin { version: PIN_VERSION, point: id.clone(), reason: None, pinned_at: now };
        let key = self.layout().pin(&shelf.source, id);
        self.world.store.overwrite(&key, &serde_json::to_vec(&pin).unwrap());
        state.pins.push((shelf.kind, id.clone(), now));
    }

    pub(super) fn clock_was_wrong(&self, from: Timestamp, until: Timestamp) {
        self.state.lock().unwrap().wrong_clocks.push((from, until));
    }

    /// Faults that people cause have an end.
    pub(super) fn people_are_gone(&self) {
        std::iter::once(&self.world.rds).chain(self.world.copies.values()).for_each(|region| region.forget_fates());
        for source in self.world.policy.sources.values() {
            self.world.rds.set_status(&source.instance, "available");
            self.world.servers.set_reachable(&self.world.host(&source.id), true);
        }
    }

    #[track_caller]
    pub(super) fn holds(&self, holds: bool, what: impl FnOnce() -> String) {
        assert!(holds, "seed {} at {}: {}", self.seed, self.world.clock.true_now(), what());
    }

    /// Every line is one that was expected.
    pub(super) fn check_log(&self, lines: &[String], expected: &[&str]) {
        let unexpected: Vec<&String> =
            lines.iter().filter(|line| !expected.iter().any(|part| line.contains(part))).collect();
        self.holds(unexpected.is_empty(), || format!("unexpected in the log: {unexpected:#?}"));
    }

    /// What must hold at every moment.
    pub(super) fn check(&self) {
        let mut state = self.state.lock().unwrap();
        let snapshots = self.snapshots();
        self.check_by_hand(&mut state, &snapshots);
        let mut good = Good::new();
        let mut of_slot: BTreeMap<(Shelf, String), u32> = BTreeMap::new();
        for (region, snapshot) in &snapshots {
            let Some((shelf, slot)) = self.own(region, snapshot) else { continue };
            if snapshot.status == "available" {
                self.check_record(&shelf.source, self.run_of(&shelf.source, &slot, &snapshot.id));
                *of_slot.entry((shelf.clone(), slot)).or_default() += 1;
                let moment = snapshot.created_at.map(|created_at| (snapshot.id.to_string(), created_at));
                good.entry(shelf).or_default().extend(moment);
            }
        }
        for ((shelf, slot), count) in &of_slot {
            self.holds(*count == 1, || {
                let told = self.story_of(&shelf.source, slot);
                format!("{count} snapshots of {shelf:?} fill slot {slot}: {told}")
            });
        }
        for (plane, manifest) in self.manifests(&mut state.manifests) {
            let dump = &manifest.dump;
            let shelf = Shelf {
                source: dump.source.clone(),
                kind: Kind::Dump,
                database: Some(dump.database.clone()),
                resource: manifest.resource.clone(),
                region: self.region(plane),
            };
            if self.is_being_deleted(plane, &manifest) {
                continue;
            }
            self.check_record(&dump.source, Some(manifest.run.clone()));
            if self.is_whole(plane, &manifest) {
                good.entry(shelf).or_default().insert(dump.to_string(), manifest.snapshot_at);
            } else {
                // In the replica bucket objects arrive in any order.
                self.holds(plane == Plane::Replica, || {
                    format!("manifest {dump} of run {} names what is not there", manifest.run)
                });
            }
        }
        for (shelf, newest) in &mut state.newest {
            let still = good.get(shelf).is_some_and(|points| points.values().any(|moment| moment >= newest));
            self.holds(still, || format!("the newest good one of {shelf:?}, of {newest}, is gone"));
        }
        for (shelf, points) in &good {
            if let Some(newest) = points.values().max() {
                let known = state.newest.entry(shelf.clone()).or_insert(*newest);
                *known = (*known).max(*newest);
            }
        }
        let wrong = state.standing.look(good, self.world.clock.true_now());
        self.holds(wrong.is_empty(), || wrong.join("; "));
    }

    /// What happened to the snapshots of a slot, and what is recorded of its attempts.
    fn story_of(&self, source: &SourceId, slot: &str) -> String {
        let told = self.world.account.changes().into_iter().filter(|change| {
            change.snapshot.tags.get(tags::SLOT).is_some_and(|own| own == slot)
                && change.snapshot.tags.get(tags::SOURCE).is_some_and(|own| own == source.as_str())
        });
        let told =
            told.map(|change| format!("{} {:?} {} in {}", change.at, change.kind, change.snapshot.id, change.region));
        let mut lines: Vec<String> = told.collect();
        for key in self.world.store.keys() {
            if let KeyRole::RunRecord { source: of, run } = self.layout().role(&key)
                && of == *source
                && run.slot.to_string() == slot
            {
                let bytes = self.world.store.bytes(&key).unwrap_or_default();
                lines.push(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        lines.join("\n")
    }

    /// The run that made a snapshot.
    fn run_of(&self, source: &SourceId, slot: &str, id: &SnapshotId) -> Option<RunId> {
        let slot: Slot = slot.parse().ok()?;
        let first = SnapshotId::for_slot(&self.world.policy.snapshot_prefix, source, slot, 1);
        let attempt = match id.as_str().strip_prefix(first.as_str())? {
            "" => 1,
            later => later.strip_prefix('-')?.parse().ok()?,
        };
        Some(RunId { slot, kind: Kind::Snapshot, database: None, attempt })
    }

    /// Of every backup that stands there is the record of its run.
    fn check_record(&self, source: &SourceId, run: Option<RunId>) {
        let Some(run) = run else { return };
        let record = self.world.store.bytes(&self.layout().run_record(source, &run));
        self.holds(record.is_some(), || format!("the record of run {run} of {source} is gone, and its backup stands"));
    }

    /// What people made stays as it was.
    fn check_by_hand(&self, state: &mut State, snapshots: &[(RegionName, Snapshot)]) {
        let shown: BTreeMap<&SnapshotId, &Snapshot> = snapshots.iter().map(|(_, own)| (&own.id, own)).collect();
        for id in std::mem::take(&mut state.new_by_hand) {
            let snapshot = Snapshot::clone(shown.get(&id).expect("it was just made"));
            state.by_hand.insert(id, snapshot);
        }
        for (id, before) in &state.by_hand {
            let stands = shown.get(id).is_some_and(|own| *own == before);
            self.holds(stands, || format!("snapshot {id}, which is not ours, was changed"));
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
        let shelf = Shelf {
            source: snapshot.tags.get(tags::SOURCE)?.parse().ok()?,
            kind: Kind::Snapshot,
            database: None,
            resource: snapshot.resource.clone()?,
            region: region.clone(),
        };
        Some((shelf, snapshot.tags.get(tags::SLOT)?.clone()))
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

    fn manifests(
        &self,
        known: &mut BTreeMap<(Plane, ObjectKey), (Bytes, Arc<Manifest>)>,
    ) -> Vec<(Plane, Arc<Manifest>)> {
        let layout = self.layout();
        let mut manifests = Vec::new();
        for (plane, bucket) in self.buckets() {
            for key in bucket.keys() {
                if key.file_name() == MANIFEST
                    && let KeyRole::Manifest(dump) = layout.role(&key)
                {
                    let bytes = bucket.bytes(&key).expect("it was listed");
                    let of_key = (plane, key);
                    let manifest = match known.get(&of_key) {
                        Some((of_bytes, manifest)) if *of_bytes == bytes => Arc::clone(manifest),
                        Some(_) | None => {
                            let manifest = Arc::new(Manifest::read(&bytes, &dump).expect("nobody damages it"));
                            known.insert(of_key, (bytes, Arc::clone(&manifest)));
                            manifest
                        }
                    };
                    manifests.push((plane, manifest));
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
        for change in self.world.account.changes().iter().filter(|change| change.kind == ChangeKind::Deleted) {
            let snapshot = &change.snapshot;
            let own = self.own(&change.region, snapshot).is_some();
            self.holds(own, || format!("{} was deleted and is not ours", snapshot.id));
            let pinned = state.is_pinned(Kind::Snapshot, snapshot.id.as_str(), change.at);
            self.holds(!pinned, || format!("{} was deleted and is pinned", snapshot.id));
            self.holds(state.clock_wrong_since(change.at).is_none(), || {
                format!("{} was deleted by a wrong clock at {}", snapshot.id, change.at)
            });
        }
        for (_, bucket) in self.buckets() {
            for (at, version) in bucket.deleted() {
                let role = self.layout().role(&version.key);
                let may_go = match &role {
                    KeyRole::Foreign
                    | KeyRole::DrillRecord(_)
                    | KeyRole::Recovery { .. }
                    | KeyRole::Evidence { .. } => false,
                    KeyRole::RunRecord { run, .. } => self.evidence_is_old(run.slot, at),
                    KeyRole::PruneRecord { dump, .. } => self.evidence_is_old(dump.slot, at),
                    KeyRole::Verification { dump, .. } => self.evidence_is_old(dump.slot, at),
                    KeyRole::Manifest(_) | KeyRole::DumpObject { .. } | KeyRole::Pin { .. } => true,
                };
                self.holds(may_go, || format!("{} was deleted at {at}", version.key));
                if let KeyRole::Manifest(dump) = role {
                    let begun = |by| self.was_begun(&dump, by);
                    let wrong_since = state.clock_wrong_since(at);
                    self.holds(wrong_since.is_none_or(begun), || {
                        format!("{dump} was deleted by a wrong clock at {at}")
                    });
                    let pinned_at = state.pinned_at(Kind::Dump, &dump.to_string());
                    let free =
                        pinned_at.is_none_or(|pinned_at| at < pinned_at + ON_ITS_WAY || begun(pinned_at + ON_ITS_WAY));
                    self.holds(free, || format!("{dump} was deleted at {at} and is pinned"));
                }
            }
        }
    }

    /// What tells of a point that stands is looked for at every look; the age is looked at here.
    fn evidence_is_old(&self, slot: Slot, at: Timestamp) -> bool {
        let kept = self.world.policy.prune.keep_evidence;
        kept.is_some_and(|kept| at.duration_since(slot.instant()) + CLOCK_SLACK >= kept)
    }

    /// A deletion that was begun while clocks were right, and before there was a pin, is seen through at any time.
    fn was_begun(&self, dump: &DumpId, by: Timestamp) -> bool {
        Plane::ALL.into_iter().any(|plane| {
            // By S3's clock: the record itself tells the time of whoever wrote it.
            let record = self.world.store.first_written_at(&self.layout().prune_record(dump, plane));
            record.is_some_and(|written_at| written_at <= by)
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
        let left: Vec<String> = plan.actions.iter().filter(|action| !is_of_today(action, now)).map(words).collect();
        // What waits for a person waits.
        self.holds(left.is_empty(), || format!("after the calm it still wants to {left:#?}"));
        self.holds(plan.unseen.is_empty(), || format!("{:?}", plan.unseen));
        for decision in &plan.decisions {
            self.holds(!decision.freshness.overdue, || format!("overdue after the calm: {decision}"));
        }
        for readings in plan.readings.iter().filter(|own| own.plane == Plane::Primary) {
            let of_today = |dump: &DumpId| now.duration_since(dump.slot.instant()) < SignedDuration::from_hours(24);
            let store = inventory.store(&readings.source).expect("all was seen");
            let unread = store.dumps.iter().filter(|own| own.point.verified_at.is_none() && !of_today(&own.dump));
            let unread: Vec<String> = unread.map(|own| own.dump.to_string()).collect();
            self.holds(unread.is_empty(), || format!("after the calm these were never read back: {unread:?}"));
        }
        let doubts = plan.findings.iter().filter(|own| matches!(own.check, Check::DumpBad | Check::DumpUnreadable));
        let doubts: Vec<&Finding> = doubts.collect();
        self.holds(doubts.is_empty(), || format!("after the calm there is doubt: {doubts:#?}"));
        self.check_drills(&inventory, &plan);
        self.holds(self.world.store.open_uploads() == 0, || "uploads are open".to_owned());
        let running = self.world.pg_dump.running();
        self.holds(running.is_empty(), || format!("pg_dump runs: {running:?}"));
    }
}

/// Whether a slot of the last day is at work: some worlds look twice a day, and what has just ended is not repeated at once.
fn is_of_today(action: &Action, now: Timestamp) -> bool {
    // Records grow old while nobody looks.
    if matches!(action, Action::Sweep(sweep) if sweep.what == Swept::OldRecords) {
        return true;
    }
    let Action::Verify(verify) = action else { return false };
    // Readings come round again and again.
    let is_turn = verify.level == Level::L2
        && (verify.stored.point.verified_at.is_some() || verify.stored.point.plane == Plane::Replica);
    is_turn || now.duration_since(verify.stored.dump.slot.instant()) < SignedDuration::from_hours(24)
}

impl State {
    /// Since when clocks were wrong at a time, if they were; what was on its way then does not count.
    fn clock_wrong_since(&self, at: Timestamp) -> Option<Timestamp> {
        let wrong = self.wrong_clocks.iter().find(|(from, until)| *from + ON_ITS_WAY < at && at < *until);
        wrong.map(|(from, _)| *from + ON_ITS_WAY)
    }

    fn pinned_at(&self, kind: Kind, id: &str) -> Option<Timestamp> {
        let pins = self.pins.iter().filter(|(of_kind, point, _)| *of_kind == kind && point == id);
        pins.map(|(_, _, pinned_at)| *pinned_at).min()
    }

    fn is_pinned(&self, kind: Kind, id: &str, at: Timestamp) -> bool {
        self.pinned_at(kind, id).is_some_and(|pinned_at| pinned_at + ON_ITS_WAY < at)
    }
}
