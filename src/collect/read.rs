//! Reads single objects of the store. One that cannot be read says so about itself and about nothing else: a damaged or
//! archived object must not keep a source from being backed up.

use jiff::Timestamp;

use crate::domain::id::{InstallationId, ResourceId, RunId, SourceId};
use crate::domain::key::{DumpId, ObjectKey};
use crate::domain::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::domain::pin::{PIN_BYTES_MAX, PIN_VERSION, Pin};
use crate::domain::prune_record::{PRUNE_RECORD_BYTES_MAX, PRUNE_RECORD_VERSION, PruneRecord};
use crate::domain::recovery_point::Plane;
use crate::domain::run::{Failure, ProcessIdentity, RUN_RECORD_BYTES_MAX, RUN_RECORD_VERSION, RunRecord, RunState};
use crate::domain::verification::{Level, VERIFICATION_BYTES_MAX, VERIFICATION_VERSION, Verification};
use crate::ports::object_store::{ListedObject, ObjectStore};
use crate::ports::{Chain, ErrorKind, PortError, Ports};

/// What has to be remembered of a manifest. Its tables would fill the memory of a daemon with many sources.
#[derive(Debug)]
pub(super) struct KnownManifest {
    pub(super) resource: ResourceId,
    pub(super) run: RunId,
    pub(super) snapshot_at: Timestamp,
    pub(super) stored_bytes: u64,
    pub(super) objects: Vec<KnownObject>,
}

/// An object that a manifest names.
#[derive(Debug)]
pub(super) struct KnownObject {
    pub(super) key: ObjectKey,
    pub(super) version_id: Option<String>,
    pub(super) size_bytes: u64,
}

/// Whether an error may be over the next time. Anything else is a property of the object.
fn may_pass(error: &PortError) -> bool {
    matches!(error.kind(), ErrorKind::Transient | ErrorKind::Throttled | ErrorKind::NotFound)
}

/// The entity tag of a manifest, and the manifest or why it is none.
///
/// # Errors
/// The store could not be asked this time.
pub(super) async fn read_manifest(
    store: &dyn ObjectStore,
    installation: &InstallationId,
    dump: &DumpId,
    object: &ListedObject,
) -> Result<(String, Result<KnownManifest, String>), PortError> {
    let found = match store.get(&object.key, MANIFEST_BYTES_MAX).await {
        Ok(found) => found,
        Err(error) if may_pass(&error) => return Err(error),
        Err(error) => return Ok((object.etag.clone(), Err(Chain(&error).to_string()))),
    };
    let manifest = match Manifest::read(&found.bytes, dump) {
        Ok(manifest) => manifest,
        Err(error) => return Ok((found.etag, Err(Chain(&error).to_string()))),
    };
    Ok((found.etag, check(manifest, installation, object)))
}

fn check(manifest: Manifest, installation: &InstallationId, object: &ListedObject) -> Result<KnownManifest, String> {
    if manifest.installation != *installation {
        return Err(format!("it is of installation {}", manifest.installation));
    }
    let directory = object.key.as_str().trim_end_matches(object.key.file_name());
    let directory = format!("{directory}{}/", manifest.run);
    if manifest.objects.is_empty() || !manifest.objects.iter().all(|own| own.key.as_str().starts_with(&directory)) {
        return Err("its objects are not those of its run".to_owned());
    }
    Ok(KnownManifest {
        resource: manifest.resource,
        run: manifest.run,
        snapshot_at: manifest.snapshot_at,
        stored_bytes: manifest.stored_bytes,
        objects: manifest
            .objects
            .into_iter()
            .map(|own| KnownObject { key: own.key, version_id: own.version_id, size_bytes: own.size_bytes })
            .collect(),
    })
}

/// The entity tag of a run record, and the record; as an error what stands in for one that cannot be read.
///
/// # Errors
/// The store could not be asked this time, or the record is of another installation: two of them under one prefix would
/// close each other's runs.
pub(super) async fn read_record(
    ports: &Ports,
    installation: &InstallationId,
    source: &SourceId,
    run: &RunId,
    object: &ListedObject,
) -> Result<(String, Result<RunRecord, Box<RunRecord>>), PortError> {
    let unreadable = |why: &str| Err(Box::new(unreadable(installation, source, run, object, why)));
    let found = match ports.store.get(&object.key, RUN_RECORD_BYTES_MAX).await {
        Ok(found) => found,
        Err(error) if may_pass(&error) => return Err(error),
        Err(error) => return Ok((object.etag.clone(), unreadable(&Chain(&error).to_string()))),
    };
    let record = match serde_json::from_slice::<RunRecord>(&found.bytes) {
        Ok(record) if record.installation != *installation => {
            let named = format!("use the prefix of source {source}");
            let why = format!(
                "{} is of installation {}: give each its own `destination.prefix`",
                object.key, record.installation
            );
            return Err(PortError::new(named, ErrorKind::Invalid).because(why));
        }
        Ok(record) if record.version > RUN_RECORD_VERSION => unreadable(&format!("its version is {}", record.version)),
        Ok(record) if record.run == *run && record.source == *source => Ok(record),
        Ok(record) => unreadable(&format!("it is of run {} of {}", record.run, record.source)),
        Err(error) => unreadable(&error.to_string()),
    };
    Ok((found.etag, record))
}

/// A record that cannot be read counts as a failed attempt: the next attempt gets another number, and the backup is made.
fn unreadable(
    installation: &InstallationId,
    source: &SourceId,
    run: &RunId,
    object: &ListedObject,
    why: &str,
) -> RunRecord {
    tracing::warn!(source.id = %source, run.key = %object.key, error = why, "a run record cannot be read and counts as failed");
    let at = object.modified_at.unwrap_or(run.slot.instant());
    let owner = ProcessIdentity { host: "unknown".to_owned(), pid_space: String::new(), pid: 0, start_ticks: 0 };
    let failure = Failure { message: format!("its record cannot be read: {why}"), rds_events: Vec::new() };
    RunRecord::claim(installation.clone(), run.clone(), source.clone(), owner, at)
        .closed(RunState::Failed { finished_at: at, failure })
}

/// The entity tag of a pin, and the pin. One that cannot be read holds all the same: somebody has set it.
///
/// # Errors
/// The store could not be asked this time.
pub(super) async fn read_pin(ports: &Ports, point: &str, object: &ListedObject) -> Result<(String, Pin), PortError> {
    let (etag, pin) = read_json::<Pin>(ports, object, PIN_BYTES_MAX, |pin| pin.version <= PIN_VERSION).await?;
    let pin = pin.unwrap_or_else(|why| Pin {
        version: PIN_VERSION,
        point: point.to_owned(),
        reason: Some(format!("the pin itself cannot be read: {why}")),
        pinned_at: object.modified_at.unwrap_or(Timestamp::UNIX_EPOCH),
    });
    Ok((etag, Pin { point: point.to_owned(), ..pin }))
}

/// The entity tag of a prune record, and the record; `None` where it is not ours, or says something else than its key.
///
/// # Errors
/// The store could not be asked this time.
pub(super) async fn read_prune(
    ports: &Ports,
    installation: &InstallationId,
    subject: &(DumpId, Plane),
    object: &ListedObject,
) -> Result<(String, Option<PruneRecord>), PortError> {
    let usable = |record: &PruneRecord| {
        record.version <= PRUNE_RECORD_VERSION
            && record.installation == *installation
            && (&record.dump, record.plane) == (&subject.0, subject.1)
    };
    let (etag, record) = read_json(ports, object, PRUNE_RECORD_BYTES_MAX, usable).await?;
    Ok((etag, record.map_err(|why| ignored(object, &why)).ok()))
}

/// The entity tag of a verification record, and the record; `None` where it is not ours, or says something else than its
/// key.
///
/// # Errors
/// The store could not be asked this time.
pub(super) async fn read_verification(
    ports: &Ports,
    installation: &InstallationId,
    subject: &(DumpId, Plane, Level),
    object: &ListedObject,
) -> Result<(String, Option<Verification>), PortError> {
    let usable = |record: &Verification| {
        record.version <= VERIFICATION_VERSION
            && record.installation == *installation
            && (&record.dump, record.plane, record.level) == (&subject.0, subject.1, subject.2)
    };
    let (etag, record) = read_json(ports, object, VERIFICATION_BYTES_MAX, usable).await?;
    Ok((etag, record.map_err(|why| ignored(object, &why)).ok()))
}

fn ignored(object: &ListedObject, why: &str) {
    tracing::warn!(record.key = %object.key, error = why, "a record cannot be used and is ignored");
}

/// A small JSON object, or why it cannot be used.
async fn read_json<T: serde::de::DeserializeOwned>(
    ports: &Ports,
    object: &ListedObject,
    size_bytes_max: u64,
    usable: impl Fn(&T) -> bool,
) -> Result<(String, Result<T, String>), PortError> {
    let found = match ports.store.get(&object.key, size_bytes_max).await {
        Ok(found) => found,
        Err(error) if may_pass(&error) => return Err(error),
        Err(error) => return Ok((object.etag.clone(), Err(Chain(&error).to_string()))),
    };
    let value = match serde_json::from_slice::<T>(&found.bytes) {
        Ok(value) if usable(&value) => Ok(value),
        Ok(_) => Err("it is of another installation, of another dump, or of a later version".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    Ok((found.etag, value))
}
