//! The store of one source: manifests, run records, remains.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::id::{Kind, RunId, SourceId};
use crate::domain::inventory::{Complete, OpenUpload, Remains, SourceStore, StoredRun};
use crate::domain::key::{DumpId, KeyRole, Layout, ObjectKey};
use crate::domain::manifest::{InvalidManifest, MANIFEST_BYTES_MAX, Manifest};
use crate::domain::recovery_point::{Plane, PointState, RecoveryPoint};
use crate::domain::run::{Failure, ProcessIdentity, RUN_RECORD_BYTES_MAX, RUN_RECORD_VERSION, RunRecord, RunState};
use crate::ports::object_store::ListedObject;
use crate::ports::{Chain, PortError, Ports};

/// What was read before, by entity tag: only what has changed is read again.
#[derive(Debug, Default)]
pub(super) struct StoreCache {
    manifests: BTreeMap<ObjectKey, (String, Result<Manifest, String>)>,
    runs: BTreeMap<ObjectKey, (String, RunRecord)>,
}

/// A listing, sorted by what the keys are for.
#[derive(Default)]
struct Sorted {
    manifests: Vec<(DumpId, ListedObject)>,
    records: Vec<(RunId, ListedObject)>,
    objects: Vec<(DumpId, RunId, ListedObject)>,
}

impl StoreCache {
    pub(super) async fn collect(
        &mut self,
        ports: &Ports,
        layout: &Layout,
        source: &SourceId,
    ) -> Result<SourceStore, PortError> {
        let prefix = layout.source_prefix(source);
        let (listed, uploads) = tokio::join!(ports.store.list(&prefix), ports.store.list_uploads(&prefix));
        let (listed, uploads) = (listed?, uploads?);
        let sizes: BTreeMap<&ObjectKey, u64> = listed.iter().map(|object| (&object.key, object.size_bytes)).collect();
        let sorted = sort(layout, listed.iter());
        self.read_manifests(ports, &sorted).await?;
        self.read_records(ports, source, &sorted).await?;
        let dumps = self.dumps(&sorted, &sizes);
        let runs: Vec<StoredRun> = self
            .runs
            .values()
            .map(|(etag, record)| StoredRun {
                record: record.clone(),
                etag: etag.clone(),
                owner: ports.processes.state_of(&record.owner),
            })
            .collect();
        let remains = self.remains(&sorted, &runs);
        let ours = |upload: &&OpenUpload| matches!(layout.role(&upload.key), KeyRole::DumpObject { .. });
        Ok(SourceStore {
            dumps: Complete::after_last_page(dumps),
            runs: Complete::after_last_page(runs),
            remains: Complete::after_last_page(remains),
            uploads: Complete::after_last_page(uploads.iter().filter(ours).cloned().collect()),
        })
    }

    async fn read_manifests(&mut self, ports: &Ports, sorted: &Sorted) -> Result<(), PortError> {
        let mut seen = BTreeMap::new();
        for (dump, object) in &sorted.manifests {
            let known = self.manifests.remove(&object.key).filter(|(etag, _)| *etag == object.etag);
            let entry = match known {
                Some(known) => known,
                None => {
                    let found = ports.store.get(&object.key, MANIFEST_BYTES_MAX).await?;
                    let manifest = Manifest::read(&found.bytes, dump);
                    (found.etag, manifest.map_err(|error: InvalidManifest| Chain(&error).to_string()))
                }
            };
            seen.insert(object.key.clone(), entry);
        }
        self.manifests = seen;
        Ok(())
    }

    async fn read_records(&mut self, ports: &Ports, source: &SourceId, sorted: &Sorted) -> Result<(), PortError> {
        let mut seen = BTreeMap::new();
        for (run, object) in &sorted.records {
            let known = self.runs.remove(&object.key).filter(|(etag, _)| *etag == object.etag);
            let entry = match known {
                Some(known) => known,
                None => {
                    let found = ports.store.get(&object.key, RUN_RECORD_BYTES_MAX).await?;
                    (found.etag, read_record(&found.bytes, source, run, object))
                }
            };
            seen.insert(object.key.clone(), entry);
        }
        self.runs = seen;
        Ok(())
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
            manifests.flat_map(|manifest| manifest.objects.iter().map(|object| &object.key)).collect();
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

fn to_point(dump: &DumpId, manifest: &Result<Manifest, String>, sizes: &BTreeMap<&ObjectKey, u64>) -> RecoveryPoint {
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
fn missing_object(manifest: &Manifest, sizes: &BTreeMap<&ObjectKey, u64>) -> Option<String> {
    manifest.objects.iter().find_map(|object| match sizes.get(&object.key) {
        None => Some(format!("{} is missing", object.key)),
        Some(size) if *size != object.size_bytes => {
            Some(format!("{} has {size} bytes instead of {}", object.key, object.size_bytes))
        }
        Some(_) => None,
    })
}

/// A record that cannot be read counts as a failed attempt: the next attempt gets another number, and the backup is made.
fn read_record(bytes: &[u8], source: &SourceId, run: &RunId, object: &ListedObject) -> RunRecord {
    let unreadable = |why: String| {
        tracing::warn!(run.key = %object.key, error = why, "a run record cannot be read and counts as failed");
        let at = object.modified_at.unwrap_or(run.slot.instant());
        let owner = ProcessIdentity { host: "unknown".to_owned(), pid_space: String::new(), pid: 0, start_ticks: 0 };
        let failure = Failure { message: format!("its record cannot be read: {why}"), rds_events: Vec::new() };
        RunRecord::claim(run.clone(), source.clone(), None, owner, at)
            .closed(RunState::Failed { finished_at: at, failure })
    };
    match serde_json::from_slice::<RunRecord>(bytes) {
        Ok(record) if record.version > RUN_RECORD_VERSION => unreadable(format!("its version is {}", record.version)),
        Ok(record) if record.run == *run && record.source == *source => record,
        Ok(record) => unreadable(format!("it is of run {} of {}", record.run, record.source)),
        Err(error) => unreadable(error.to_string()),
    }
}
