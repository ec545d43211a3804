//! The store of one source: manifests, run records, remains.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;
use jiff::SignedDuration;
use tokio::time::Instant;

use super::read::{KnownManifest, read_manifest, read_record};
use crate::domain::id::{InstallationId, Kind, RunId, SourceId};
use crate::domain::inventory::{OpenUpload, Remains, SourceStore, StoredRun};
use crate::domain::key::{DumpId, KeyRole, Layout, ObjectKey};
use crate::domain::recovery_point::{Plane, PointState, RecoveryPoint};
use crate::domain::run::{RunRecord, RunState};
use crate::ports::object_store::ListedObject;
use crate::ports::{PortError, Ports};

/// Objects of one source that are read at once: enough to hide latency.
const READS_AT_ONCE: usize = 8;
/// Listings before a source that changes under our eyes is given up for this look.
const LISTINGS_MAX: u32 = 3;

/// What was read before, by entity tag: only what has changed is read again.
#[derive(Debug, Default)]
pub(super) struct StoreCache {
    manifests: BTreeMap<ObjectKey, (String, Result<KnownManifest, String>)>,
    runs: BTreeMap<ObjectKey, KnownRun>,
}

#[derive(Debug)]
struct KnownRun {
    etag: String,
    record: RunRecord,
    first_seen: Instant,
}

/// A listing, sorted by what the keys are for.
#[derive(Default)]
struct Sorted {
    manifests: Vec<(DumpId, ListedObject)>,
    records: Vec<(RunId, ListedObject)>,
    objects: Vec<(DumpId, RunId, ListedObject)>,
}

/// Whether what was read is what was listed.
#[derive(PartialEq, Eq)]
enum Freshness {
    AsListed,
    ChangedSince,
}

impl StoreCache {
    pub(super) async fn collect(
        &mut self,
        ports: &Ports,
        installation: &InstallationId,
        layout: &Layout,
        source: &SourceId,
    ) -> Result<SourceStore, PortError> {
        let prefix = layout.source_prefix(source);
        let mut listings = 0;
        let (listed, sorted) = loop {
            let listed = ports.store.list(&prefix).await?;
            let sorted = sort(layout, listed.iter());
            listings += 1;
            // A record that says "succeeded" beside a listing from before its manifest would have the slot filled twice.
            let freshness = self.read_new(ports, installation, source, &sorted).await?;
            if freshness == Freshness::AsListed || listings == LISTINGS_MAX {
                break (listed, sorted);
            }
        };
        let uploads = ports.store.list_uploads(&prefix).await?;
        self.forget_what_is_gone(&sorted);
        let sizes = listed.iter().map(|object| (&object.key, object.size_bytes)).collect();
        let runs: Vec<StoredRun> = self.runs.values().map(|known| known.to_stored(ports)).collect();
        let remains = self.remains(&sorted, &runs);
        let ours = |upload: &&OpenUpload| matches!(layout.role(&upload.key), KeyRole::DumpObject { .. });
        Ok(SourceStore {
            dumps: listed.derive(|_| self.dumps(&sorted, &sizes)),
            runs: listed.derive(|_| runs),
            remains: listed.derive(|_| remains),
            uploads: uploads.derive(|uploads| uploads.iter().filter(ours).cloned().collect()),
        })
    }

    /// Reads what is new or has changed. What was read stays known, whatever fails after it.
    async fn read_new(
        &mut self,
        ports: &Ports,
        installation: &InstallationId,
        source: &SourceId,
        sorted: &Sorted,
    ) -> Result<Freshness, PortError> {
        let mut freshness = Freshness::AsListed;
        let unknown = |known: Option<&String>, object: &ListedObject| known != Some(&object.etag);
        let manifests = sorted.manifests.iter().cloned();
        let manifests: Vec<_> = manifests
            .filter(|(_, object)| unknown(self.manifests.get(&object.key).map(|(etag, _)| etag), object))
            .collect();
        let mut reads = futures_util::stream::iter(manifests)
            .map(|(dump, object)| async move { (read_manifest(ports, installation, &dump, &object).await, object) })
            .buffer_unordered(READS_AT_ONCE);
        while let Some((read, object)) = reads.next().await {
            let (etag, manifest) = read?;
            if etag != object.etag {
                freshness = Freshness::ChangedSince;
            }
            self.manifests.insert(object.key, (etag, manifest));
        }
        drop(reads);
        let records = sorted.records.iter().cloned();
        let records: Vec<_> = records
            .filter(|(_, object)| unknown(self.runs.get(&object.key).map(|known| &known.etag), object))
            .collect();
        let mut reads = futures_util::stream::iter(records)
            .map(|(run, object)| async move { (read_record(ports, installation, source, &run, &object).await, object) })
            .buffer_unordered(READS_AT_ONCE);
        while let Some((read, object)) = reads.next().await {
            let (etag, record) = read?;
            if etag != object.etag {
                freshness = Freshness::ChangedSince;
            }
            self.runs.insert(object.key, KnownRun { etag, record, first_seen: Instant::now() });
        }
        Ok(freshness)
    }

    fn forget_what_is_gone(&mut self, sorted: &Sorted) {
        let manifests: BTreeSet<&ObjectKey> = sorted.manifests.iter().map(|(_, object)| &object.key).collect();
        self.manifests.retain(|key, _| manifests.contains(key));
        let records: BTreeSet<&ObjectKey> = sorted.records.iter().map(|(_, object)| &object.key).collect();
        self.runs.retain(|key, _| records.contains(key));
    }

    /// Every manifest as a recovery point. It is good only if everything that it names is there, byte for byte in size.
    fn dumps(&self, sorted: &Sorted, sizes: &BTreeMap<&ObjectKey, u64>) -> Vec<RecoveryPoint> {
        let points = sorted.manifests.iter().filter_map(|(dump, object)| {
            let (_, manifest) = self.manifests.get(&object.key)?;
            Some(to_point(dump, manifest, sizes))
        });
        points.collect()
    }

    /// Objects that no manifest names, of runs that are over.
    fn remains(&self, sorted: &Sorted, runs: &[StoredRun]) -> Vec<Remains> {
        let manifests = self.manifests.values().filter_map(|(_, manifest)| manifest.as_ref().ok());
        let named: BTreeSet<&ObjectKey> =
            manifests.flat_map(|manifest| manifest.objects.iter().map(|(key, _)| key)).collect();
        let running: BTreeSet<&RunId> = runs
            .iter()
            .filter(|stored| stored.record.state == RunState::Running)
            .map(|stored| &stored.record.run)
            .collect();
        let mut remains: BTreeMap<(&DumpId, &RunId), Remains> = BTreeMap::new();
        for (dump, run, object) in &sorted.objects {
            if named.contains(&object.key) || running.contains(run) {
                continue;
            }
            let entry = remains.entry((dump, run)).or_insert_with(|| Remains {
                dump: dump.clone(),
                run: run.clone(),
                objects: Vec::new(),
                size_bytes: 0,
            });
            entry.objects.push(object.key.clone());
            entry.size_bytes += object.size_bytes;
        }
        remains.into_values().collect()
    }
}

impl KnownRun {
    fn to_stored(&self, ports: &Ports) -> StoredRun {
        StoredRun {
            record: self.record.clone(),
            etag: self.etag.clone(),
            owner: ports.processes.state_of(&self.record.owner),
            unchanged_for: SignedDuration::try_from(self.first_seen.elapsed()).unwrap_or(SignedDuration::MAX),
        }
    }
}

fn sort<'a>(layout: &Layout, listed: impl Iterator<Item = &'a ListedObject>) -> Sorted {
    let mut sorted = Sorted::default();
    for object in listed {
        match layout.role(&object.key) {
            KeyRole::Manifest(dump) => sorted.manifests.push((dump, object.clone())),
            KeyRole::RunRecord { run, .. } => sorted.records.push((run, object.clone())),
            KeyRole::DumpObject { dump, run, .. } => sorted.objects.push((dump, run, object.clone())),
            KeyRole::Foreign => {}
        }
    }
    sorted
}

fn to_point(
    dump: &DumpId,
    manifest: &Result<KnownManifest, String>,
    sizes: &BTreeMap<&ObjectKey, u64>,
) -> RecoveryPoint {
    let state = match manifest {
        Err(reason) => PointState::Bad { reason: reason.clone() },
        Ok(manifest) => match missing_object(manifest, sizes) {
            Some(reason) => PointState::Bad { reason },
            None => PointState::Good,
        },
    };
    let manifest = manifest.as_ref().ok();
    RecoveryPoint {
        id: dump.to_string(),
        source: dump.source.clone(),
        kind: Kind::Dump,
        database: Some(dump.database.clone()),
        resource: manifest.map(|manifest| manifest.resource.clone()),
        slot: dump.slot,
        run: manifest.map(|manifest| manifest.run.clone()),
        plane: Plane::Primary,
        created_at: manifest.map(|manifest| manifest.snapshot_at),
        size_bytes: manifest.map_or(0, |manifest| manifest.stored_bytes),
        state,
    }
}

/// Why a manifest's objects are not all there.
fn missing_object(manifest: &KnownManifest, sizes: &BTreeMap<&ObjectKey, u64>) -> Option<String> {
    manifest.objects.iter().find_map(|(key, size_bytes)| match sizes.get(key) {
        None => Some(format!("{key} is missing")),
        Some(size) if size != size_bytes => Some(format!("{key} has {size} bytes instead of {size_bytes}")),
        Some(_) => None,
    })
}
