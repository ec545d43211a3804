//! The store of one source: manifests, run records, what is recorded about dumps, remains; in both buckets.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use tokio::time::Instant;

use super::cache::{Cache, Freshness};
use super::dumps::{ReadManifest, Records, Side};
use super::read::{read_drill, read_manifest, read_pin, read_prune, read_record, read_verification};
use super::sorted::{ObjectOfRun, Sorted, exact};
use crate::domain::bucket::ReplicationStatus;
use crate::domain::drill::{DrillRecord, StoredDrill};
use crate::domain::id::{DatabaseName, RunId, SourceId};
use crate::domain::inventory::{
    Complete, Observed, OldRecord, OpenUpload, RecordOf, Remains, ReplicaStore, Replication, SourceStore, StoredDump,
    StoredRun, Unseen,
};
use crate::domain::key::{DumpId, KeyRole, Layout, ObjectKey};
use crate::domain::pin::Pin;
use crate::domain::prune_record::{ObjectVersion, PruneRecord};
use crate::domain::recovery_point::Plane;
use crate::domain::run::{RunRecord, RunState};
use crate::domain::verification::Verification;
use crate::policy::{Policy, ReplicaMode, ReplicaPolicy};
use crate::ports::object_store::{ListedVersion, ObjectStore};
use crate::ports::{Chain, ErrorKind, PortError, Ports};

/// Listings before a source that changes under our eyes is given up for this look.
const LISTINGS_MAX: u32 = 3;
/// Dumps of one source whose replication is asked for in one look.
const REPLICATION_ASKED_MAX: usize = 3;

/// What was read before.
#[derive(Debug, Default)]
pub(super) struct StoreCache {
    manifests: Cache<ReadManifest>,
    replica_manifests: Cache<ReadManifest>,
    runs: Cache<KnownRun>,
    drills: Cache<Option<KnownDrill>>,
    pins: Cache<Pin>,
    prunes: Cache<KnownDeletion>,
    verifications: Cache<Option<Verification>>,
}

#[derive(Debug)]
struct KnownRun {
    record: RunRecord,
    /// Whether it says so itself; otherwise it counts as failed.
    readable: bool,
    first_seen: Instant,
}

#[derive(Debug)]
struct KnownDrill {
    record: DrillRecord,
    first_seen: Instant,
}

/// What has to be remembered of a prune record: it names every version of a dump, which nobody asks for once they are gone.
#[derive(Debug)]
enum KnownDeletion {
    Open(Box<PruneRecord>),
    Ended,
    Unreadable,
}

impl KnownDeletion {
    fn of(record: Option<PruneRecord>) -> KnownDeletion {
        match record {
            Some(record) if record.is_open() => KnownDeletion::Open(Box::new(record)),
            Some(_) => KnownDeletion::Ended,
            None => KnownDeletion::Unreadable,
        }
    }
}

/// What a look at one source needs to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) ports: &'a Ports,
    pub(super) policy: &'a Policy,
    pub(super) layout: &'a Layout,
    pub(super) source: &'a SourceId,
}

impl StoreCache {
    pub(super) async fn collect(&mut self, look: Look<'_>) -> Result<SourceStore, PortError> {
        let prefix = look.layout.source_prefix(look.source);
        let evidence_since = look.policy.prune.evidence_since(look.ports.clock.now());
        let mut listings = 0;
        let (listed, mut sorted) = loop {
            let listed = look.ports.store.list_versions(&prefix).await?;
            let sorted = Sorted::of(look.layout, evidence_since, listed.iter());
            listings += 1;
            // A record that says "succeeded" beside a listing from before its manifest would have the slot filled twice.
            let freshness = match self.read_new(look, &sorted).await {
                // Somebody has deleted it since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound && listings < LISTINGS_MAX => continue,
                read => read?,
            };
            if freshness == Freshness::AsListed || listings == LISTINGS_MAX {
                break (listed, sorted);
            }
        };
        let uploads = look.ports.store.list_uploads(&prefix).await?;
        let replica = match (&look.policy.destination.replica, &look.ports.replica) {
            (Some(replica), Some(store)) => Some((replica, self.list_replica(look, store.as_ref(), &prefix).await)),
            (None, _) | (_, None) => None,
        };
        let records = self.records();
        // That the replica bucket cannot be seen takes nothing away from what the primary one shows.
        let replica: Option<Observed<ReplicaStore>> = replica.map(|(replica, listed)| {
            let (listed, sorted) = listed?;
            let same_versions = replica.mode == ReplicaMode::Replicated;
            let side = Side { plane: Plane::Replica, region: &replica.region, same_versions };
            Ok(ReplicaStore { dumps: of(&listed, side.dumps(&sorted, &self.replica_manifests, &records)) })
        });
        let side = Side { plane: Plane::Primary, region: &look.policy.region, same_versions: true };
        let runs: Vec<StoredRun> = self.runs.iter().map(|(_, etag, known)| known.to_stored(etag, look.ports)).collect();
        let drills =
            self.drills.iter().filter_map(|(_, etag, known)| Some(known.as_ref()?.to_stored(etag, look.ports)));
        let drills: Vec<StoredDrill> = drills.collect();
        let remains = self.remains(&sorted, &runs, &records.deletions);
        let old_records = self.old_records(look, std::mem::take(&mut sorted.old_records), &sorted.ever_committed);
        let ours = |upload: &&OpenUpload| matches!(look.layout.role(&upload.key), KeyRole::DumpObject { .. });
        let mut dumps = side.dumps(&sorted, &self.manifests, &records);
        let replicates = |replica: &ReplicaPolicy| replica.mode == ReplicaMode::Replicated;
        if let Some(Ok(replica)) = &replica
            && look.policy.destination.replica.as_ref().is_some_and(replicates)
        {
            self.ask_for_replication(look, replica, &mut dumps).await;
        }
        let open = records.deletions.iter().copied().cloned().collect();
        let pins = records.pins.iter().copied().cloned().collect();
        Ok(SourceStore {
            refused: self.refused(),
            dumps: of(&listed, dumps),
            replica,
            prunes: of(&listed, open),
            pins: of(&listed, pins),
            markers: of(&listed, sorted.markers),
            runs: of(&listed, runs),
            drills: of(&listed, drills),
            remains: of(&listed, remains),
            old_records: of(&listed, old_records),
            uploads: uploads.derive(|uploads| uploads.iter().filter(ours).cloned().collect()),
        })
    }

    /// The dumps that the replica bucket shows by itself. What is recorded about them is in the primary bucket, so that none
    /// of them counts as proven here.
    pub(super) async fn replica_alone(&mut self, look: Look<'_>) -> Observed<Vec<StoredDump>> {
        let (Some(replica), Some(store)) = (&look.policy.destination.replica, &look.ports.replica) else {
            return Err(Unseen("no replica bucket is configured".to_owned()));
        };
        let prefix = look.layout.source_prefix(look.source);
        let (_, sorted) = self.list_replica(look, store.as_ref(), &prefix).await?;
        let same_versions = replica.mode == ReplicaMode::Replicated;
        let side = Side { plane: Plane::Replica, region: &replica.region, same_versions };
        Ok(side.dumps(&sorted, &self.replica_manifests, &Records::default()))
    }

    /// Reads what is new or has changed in the primary bucket.
    async fn read_new(&mut self, look: Look<'_>, sorted: &Sorted) -> Result<Freshness, PortError> {
        let Look { ports, policy, .. } = look;
        let installation = &policy.installation;
        let store = ports.store.as_ref();
        let manifests =
            self.manifests.refresh(&sorted.manifests, |dump, object| read_manifest(store, installation, dump, object));
        let manifests = manifests.await?;
        let records = self.runs.refresh(&sorted.records, |run, object| async move {
            Ok(read_record(look, run, object).await?.map(|record| {
                let readable = record.is_ok();
                let record = record.unwrap_or_else(|unreadable| *unreadable);
                KnownRun { record, readable, first_seen: Instant::now() }
            }))
        });
        let records = records.await?;
        let drills = self.drills.refresh(&sorted.drills, |drill, object| async move {
            Ok(read_drill(ports, installation, drill, object)
                .await?
                .map(|record| record.map(|record| KnownDrill { record, first_seen: Instant::now() })))
        });
        drills.await?;
        self.pins.refresh(&sorted.pins, |point, object| read_pin(ports, point, object)).await?;
        let prunes = self.prunes.refresh(&sorted.prunes, |subject, object| async move {
            Ok(read_prune(ports, installation, subject, object).await?.map(KnownDeletion::of))
        });
        prunes.await?;
        let verifications = self
            .verifications
            .refresh(&sorted.verifications, |subject, object| read_verification(ports, installation, subject, object));
        verifications.await?;
        let as_listed = [manifests, records].iter().all(|freshness| *freshness == Freshness::AsListed);
        Ok(if as_listed { Freshness::AsListed } else { Freshness::ChangedSince })
    }

    fn refused(&self) -> Option<Unseen> {
        let manifests = self.manifests.refused().chain(self.replica_manifests.refused());
        let records = self.runs.refused().chain(self.drills.refused()).chain(self.pins.refused());
        let records = records.chain(self.prunes.refused());
        let mut all = manifests.chain(records).chain(self.verifications.refused());
        let (key, why) = all.next()?;
        let others = match all.count() {
            0 => String::new(),
            others => format!(", and {others} more like it"),
        };
        Some(Unseen(format!("{key} is refused: {why}{others}")))
    }

    fn records(&self) -> Records<'_> {
        let mut verifications: BTreeMap<&DumpId, Vec<&Verification>> = BTreeMap::new();
        for record in self.verifications.iter().filter_map(|(_, _, record)| record.as_ref()) {
            verifications.entry(&record.dump).or_default().push(record);
        }
        let deletions = self.prunes.iter().filter_map(|(_, _, known)| match known {
            KnownDeletion::Open(record) => Some(record.as_ref()),
            KnownDeletion::Ended | KnownDeletion::Unreadable => None,
        });
        Records {
            pins: self.pins.iter().map(|(_, _, pin)| pin).collect(),
            deletions: deletions.collect(),
            verifications,
        }
    }

    /// Lists the replica bucket, and reads the manifests that are new there.
    async fn list_replica(
        &mut self,
        look: Look<'_>,
        store: &dyn ObjectStore,
        prefix: &str,
    ) -> Observed<(Complete<ListedVersion>, Sorted)> {
        let unseen = |error: PortError| Unseen(Chain(&error).to_string());
        let listed = store.list_versions(prefix).await.map_err(unseen)?;
        let sorted = Sorted::of(look.layout, None, listed.iter());
        let installation = &look.policy.installation;
        let manifests = self
            .replica_manifests
            .refresh(&sorted.manifests, |dump, object| read_manifest(store, installation, dump, object));
        manifests.await.map_err(unseen)?;
        Ok((listed, sorted))
    }

    /// Asks S3 how far the replication of those dumps is that are not proven in the replica bucket: seldom more than the
    /// newest, so their number is bounded.
    async fn ask_for_replication(&self, look: Look<'_>, replica: &ReplicaStore, dumps: &mut [StoredDump]) {
        let proven: BTreeSet<&DumpId> =
            replica.dumps.iter().filter(|stored| stored.point.is_good()).map(|stored| &stored.dump).collect();
        let mut open: Vec<&mut StoredDump> = dumps
            .iter_mut()
            .filter(|stored| stored.point.is_good() && !stored.other_plane_proven && !proven.contains(&stored.dump))
            .collect();
        open.sort_by_key(|stored| std::cmp::Reverse(stored.dump.slot));
        for stored in open.into_iter().take(REPLICATION_ASKED_MAX) {
            let Some(Ok(manifest)) = self.manifests.get(&stored.manifest.key) else { continue };
            let objects = manifest
                .objects
                .iter()
                .map(|own| ObjectVersion { key: own.key.clone(), version_id: own.version_id.clone() });
            let mut worst = Replication::Completed;
            for object in objects.chain([stored.manifest.clone()]) {
                let status = match look.ports.store.head_version(&object).await {
                    Ok(facts) => match facts.replication {
                        Some(ReplicationStatus::Completed | ReplicationStatus::Replica) => Replication::Completed,
                        Some(ReplicationStatus::Pending) => Replication::Pending,
                        Some(ReplicationStatus::Failed) => Replication::Failed,
                        None => Replication::NoRule,
                    },
                    // Not to know it is the same as waiting for it.
                    Err(_) => Replication::Pending,
                };
                worst = worst.max(status);
            }
            stored.replication = Some(worst);
        }
    }

    /// Those of the old records that this installation wrote, that can be read, and that are about something which has ended.
    ///
    /// A dump of which any version of a manifest is left may be had back, hidden as it is; and one that was in a replica
    /// bucket which is not configured any more may still be there: what tells of them stays.
    fn old_records(
        &self,
        look: Look<'_>,
        old: Vec<(ObjectKey, OldRecord)>,
        ever_committed: &BTreeSet<DumpId>,
    ) -> Vec<OldRecord> {
        let replica_is_seen = look.ports.replica.is_some();
        let replicated: BTreeSet<&DumpId> = self
            .verifications
            .iter()
            .filter_map(|(_, _, record)| record.as_ref())
            .filter(|record| record.plane == Plane::Replica && !replica_is_seen)
            .map(|record| &record.dump)
            .collect();
        let may_stand = |dump: &DumpId| ever_committed.contains(dump) || replicated.contains(dump);
        let ended = |key: &ObjectKey, record: &OldRecord| match &record.of {
            RecordOf::Run(run) => self.runs.get(key).is_some_and(|known| {
                let of_dump = |database: &DatabaseName| {
                    may_stand(&DumpId { source: look.source.clone(), database: database.clone(), slot: run.slot })
                };
                known.readable && known.record.state != RunState::Running && !run.database.as_ref().is_some_and(of_dump)
            }),
            RecordOf::Deletion(dump, _) => {
                self.prunes.get(key).is_some_and(|known| matches!(known, KnownDeletion::Ended)) && !may_stand(dump)
            }
            RecordOf::Verification(dump, _) => {
                self.verifications.get(key).is_some_and(Option::is_some) && !may_stand(dump)
            }
        };
        old.into_iter().filter(|(key, record)| ended(key, record)).map(|(_, record)| record).collect()
    }

    /// Objects that no manifest names, of runs that are over.
    ///
    /// A manifest that cannot be read, or that somebody has hidden, may name any object of its dump: none of them are
    /// remains then.
    fn remains(&self, sorted: &Sorted, runs: &[StoredRun], deletions: &[&PruneRecord]) -> Vec<Remains> {
        let mut named: BTreeSet<&ObjectKey> = BTreeSet::new();
        let mut readable: BTreeSet<&DumpId> = BTreeSet::new();
        for (dump, object) in &sorted.manifests {
            if let Some(Ok(manifest)) = self.manifests.get(&object.key) {
                readable.insert(dump);
                named.extend(manifest.objects.iter().map(|own| &own.key));
            }
        }
        let running: BTreeSet<&RunId> = runs
            .iter()
            .filter(|stored| stored.record.state == RunState::Running)
            .map(|stored| &stored.record.run)
            .collect();
        let being_deleted = |dump: &DumpId| deletions.iter().any(|record| record.dump == *dump);
        let mut remains: BTreeMap<(&DumpId, &RunId), Remains> = BTreeMap::new();
        for ObjectOfRun { dump, run, version } in &sorted.objects {
            let unsure = sorted.ever_committed.contains(dump) && !readable.contains(dump);
            if unsure || named.contains(&version.key) || running.contains(run) || being_deleted(dump) {
                continue;
            }
            let entry = remains.entry((dump, run)).or_insert_with(|| Remains {
                dump: dump.clone(),
                run: run.clone(),
                versions: Vec::new(),
                size_bytes: 0,
                newest_at: None,
            });
            entry.size_bytes += version.content.as_ref().map_or(0, |content| content.size_bytes);
            entry.newest_at = entry.newest_at.max(version.modified_at);
            entry.versions.push(exact(version));
        }
        remains.into_values().collect()
    }
}

/// Something made of a whole listing, which is as complete.
fn of<T>(listed: &Complete<ListedVersion>, items: Vec<T>) -> Complete<T> {
    listed.derive(|_| items)
}

impl KnownDrill {
    fn to_stored(&self, etag: &str, ports: &Ports) -> StoredDrill {
        StoredDrill {
            record: self.record.clone(),
            etag: etag.to_owned(),
            owner: ports.processes.state_of(&self.record.owner),
            unchanged_for: SignedDuration::try_from(self.first_seen.elapsed()).unwrap_or(SignedDuration::MAX),
        }
    }
}

impl KnownRun {
    fn to_stored(&self, etag: &str, ports: &Ports) -> StoredRun {
        StoredRun {
            record: self.record.clone(),
            etag: etag.to_owned(),
            owner: ports.processes.state_of(&self.record.owner),
            unchanged_for: SignedDuration::try_from(self.first_seen.elapsed()).unwrap_or(SignedDuration::MAX),
        }
    }
}
