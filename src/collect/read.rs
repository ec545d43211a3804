//! Reads single objects of the store. One that cannot be read says so about itself and about nothing else: a damaged or
//! archived object must not keep a source from being backed up.

use bytes::Bytes;
use jiff::Timestamp;

use super::store::Look;
use crate::domain::drill::{DRILL_RECORD_BYTES_MAX, DRILL_RECORD_VERSION, DrillId, DrillRecord};
use crate::domain::id::{InstallationId, Kind, ResourceId, RunId, SnapshotId, SourceId};
use crate::domain::key::{DumpId, ObjectKey};
use crate::domain::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::domain::pin::{PIN_BYTES_MAX, PIN_VERSION, Pin};
use crate::domain::prune_record::{PRUNE_RECORD_BYTES_MAX, PRUNE_RECORD_VERSION, PruneRecord};
use crate::domain::recovery_point::Plane;
use crate::domain::run::{Failure, ProcessIdentity, RUN_RECORD_BYTES_MAX, RUN_RECORD_VERSION, RunRecord, RunState};
use crate::domain::verification::{Level, VERIFICATION_BYTES_MAX, VERIFICATION_VERSION, Verification};
use crate::domain::volume::Volume;
use crate::policy::DEFAULT_COMPLETION_DEADLINE;
use crate::ports::object_store::{ListedObject, ObjectStore};
use crate::ports::{Chain, ErrorKind, PortError, Ports};

/// What has to be remembered of a manifest. Its tables would fill the memory of a daemon with many sources.
#[derive(Debug)]
pub(super) struct KnownManifest {
    pub(super) resource: ResourceId,
    pub(super) run: RunId,
    pub(super) snapshot_at: Timestamp,
    pub(super) from_snapshot: Option<SnapshotId>,
    pub(super) volume: Volume,
    pub(super) objects: Vec<KnownObject>,
}

/// An object that a manifest names.
#[derive(Debug)]
pub(super) struct KnownObject {
    pub(super) key: ObjectKey,
    pub(super) version_id: Option<String>,
    pub(super) size_bytes: u64,
}

/// What was read of an object.
#[derive(Debug)]
pub(super) struct Read<T> {
    /// The entity tag of what was read.
    pub(super) etag: String,
    pub(super) value: T,
    /// Why the store refused it. What was read holds until the object changes, a refusal only for one look: keys and roles
    /// are mended, and now and then one request in many is refused by chance.
    pub(super) refused: Option<String>,
}

impl<T> Read<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Read<U> {
        Read { etag: self.etag, value: change(self.value), refused: self.refused }
    }
}

/// What it means that an object is refused.
#[derive(Debug, Clone, Copy)]
enum IfRefused {
    /// It cannot be read: the rest of the source is not held up by it.
    Unreadable,
    /// The source cannot be seen this time: what the object says may still be happening.
    Unseen,
}

/// The bytes of a small object, or why it cannot be read.
///
/// # Errors
/// The store could not be asked this time.
async fn read(
    store: &dyn ObjectStore,
    object: &ListedObject,
    size_bytes_max: u64,
    if_refused: IfRefused,
) -> Result<Read<Result<Bytes, String>>, PortError> {
    let error = match store.get(&object.key, size_bytes_max).await {
        Ok(found) => return Ok(Read { etag: found.etag, value: Ok(found.bytes), refused: None }),
        Err(error) => error,
    };
    let why = Chain(&error).to_string();
    let refused = match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::Transient
        | ErrorKind::Throttled
        | ErrorKind::Conflict
        | ErrorKind::Damaged
        | ErrorKind::Cancelled => return Err(error),
        // Too large, or moved to an archive.
        ErrorKind::Invalid | ErrorKind::WrongState => None,
        ErrorKind::PermissionDenied | ErrorKind::AlreadyExists | ErrorKind::Other => match if_refused {
            IfRefused::Unseen => return Err(error),
            IfRefused::Unreadable => Some(why.clone()),
        },
    };
    Ok(Read { etag: object.etag.clone(), value: Err(why), refused })
}

/// A manifest, or why it is none.
///
/// # Errors
/// The store could not be asked this time.
pub(super) async fn read_manifest(
    store: &dyn ObjectStore,
    installation: &InstallationId,
    dump: &DumpId,
    object: &ListedObject,
) -> Result<Read<Result<KnownManifest, String>>, PortError> {
    let found = read(store, object, MANIFEST_BYTES_MAX, IfRefused::Unreadable).await?;
    Ok(found.map(|bytes| {
        let manifest = Manifest::read(&bytes?, dump).map_err(|error| Chain(&error).to_string())?;
        check(manifest, installation, object)
    }))
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
        from_snapshot: manifest.from_snapshot,
        volume: Volume {
            rows: manifest.rows,
            uncompressed_bytes: manifest.uncompressed_bytes,
            stored_bytes: manifest.stored_bytes,
            compression: format!("{} {}", manifest.compression.algorithm, manifest.compression.level),
        },
        objects: manifest
            .objects
            .into_iter()
            .map(|own| KnownObject { key: own.key, version_id: own.version_id, size_bytes: own.size_bytes })
            .collect(),
    })
}

/// A run record; as an error what stands in for one that cannot be read.
///
/// A record that is refused may be of a run that is under way, as long as the run may take at all: to count it as failed
/// would start the next attempt beside it.
///
/// # Errors
/// The store could not be asked this time, or the record is of another installation: two of them under one prefix would
/// close each other's runs.
pub(super) async fn read_record(
    look: Look<'_>,
    run: &RunId,
    object: &ListedObject,
) -> Result<Read<Result<RunRecord, Box<RunRecord>>>, PortError> {
    let Look { ports, policy, source, .. } = look;
    let kind = if run.database.is_some() { Kind::Dump } else { Kind::Snapshot };
    let deadline = policy.sources.get(source).map_or(DEFAULT_COMPLETION_DEADLINE, |own| own.completion_deadline(kind));
    let since = object.modified_at.unwrap_or(run.slot.instant());
    let if_refused =
        if ports.clock.now().duration_since(since) < deadline { IfRefused::Unseen } else { IfRefused::Unreadable };
    let found = read(ports.store.as_ref(), object, RUN_RECORD_BYTES_MAX, if_refused).await?;
    let installation = &policy.installation;
    let record = match found.value.as_ref().map(|bytes| serde_json::from_slice::<RunRecord>(bytes)) {
        Ok(Ok(record)) if record.installation != *installation => {
            let named = format!("use the prefix of source {source}");
            let why = format!(
                "{} is of installation {}: give each its own `destination.prefix`",
                object.key, record.installation
            );
            return Err(PortError::new(named, ErrorKind::Invalid).because(why));
        }
        Ok(Ok(record)) if record.version > RUN_RECORD_VERSION => Err(format!("its version is {}", record.version)),
        Ok(Ok(record)) if record.run == *run && record.source == *source => Ok(record),
        Ok(Ok(record)) => Err(format!("it is of run {} of {}", record.run, record.source)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(why) => Err(why.clone()),
    };
    let record = record.map_err(|why| {
        if found.refused.is_none() {
            tracing::warn!(source.id = %source, run.key = %object.key, error = why, "a run record cannot be read and counts as failed");
        }
        Box::new(unreadable(installation, source, run, object, &why))
    });
    Ok(found.map(|_| record))
}

/// A record that cannot be read counts as a failed attempt: the next attempt gets another number, and the backup is made.
fn unreadable(
    installation: &InstallationId,
    source: &SourceId,
    run: &RunId,
    object: &ListedObject,
    why: &str,
) -> RunRecord {
    let at = object.modified_at.unwrap_or(run.slot.instant());
    let owner = ProcessIdentity { host: "unknown".to_owned(), pid_space: String::new(), pid: 0, start_ticks: 0 };
    let failure =
        Failure { message: format!("its record cannot be read: {why}"), rds_events: Vec::new(), stopped_by: None };
    RunRecord::claim(installation.clone(), run.clone(), source.clone(), owner, at)
        .closed(RunState::Failed { finished_at: at, failure })
}

/// The record of a drill; `None` where it is not ours, or says something else than its key.
///
/// # Errors
/// The store could not be asked this time.
pub(super) async fn read_drill(
    ports: &Ports,
    installation: &InstallationId,
    drill: &DrillId,
    object: &ListedObject,
) -> Result<Read<Option<DrillRecord>>, PortError> {
    let usable = |record: &DrillRecord| {
        record.version <= DRILL_RECORD_VERSION && record.installation == *installation && record.id() == *drill
    };
    let found = read_json(ports, object, DRILL_RECORD_BYTES_MAX, usable).await?;
    Ok(or_ignored(found, object))
}

/// A pin. One that cannot be read holds all the same: somebody has set it.
///
/// # Errors
/// The store could not be asked this time.
pub(super) async fn read_pin(ports: &Ports, point: &str, object: &ListedObject) -> Result<Read<Pin>, PortError> {
    let found = read_json::<Pin>(ports, object, PIN_BYTES_MAX, |pin| pin.version <= PIN_VERSION).await?;
    Ok(found.map(|pin| {
        let pin = pin.unwrap_or_else(|why| Pin {
            version: PIN_VERSION,
            point: point.to_owned(),
            reason: Some(format!("the pin itself cannot be read: {why}")),
            pinned_at: object.modified_at.unwrap_or(Timestamp::UNIX_EPOCH),
        });
        Pin { point: point.to_owned(), ..pin }
    }))
}

/// A prune record; `None` where it is not ours, or says something else than its key.
///
/// # Errors
/// The store could not be asked this time.
pub(super) async fn read_prune(
    ports: &Ports,
    installation: &InstallationId,
    subject: &(DumpId, Plane),
    object: &ListedObject,
) -> Result<Read<Option<PruneRecord>>, PortError> {
    let usable = |record: &PruneRecord| {
        record.version <= PRUNE_RECORD_VERSION
            && record.installation == *installation
            && (&record.dump, record.plane) == (&subject.0, subject.1)
    };
    let found = read_json(ports, object, PRUNE_RECORD_BYTES_MAX, usable).await?;
    Ok(or_ignored(found, object))
}

/// A verification record; `None` where it is not ours, or says something else than its key.
///
/// # Errors
/// The store could not be asked this time.
pub(super) async fn read_verification(
    ports: &Ports,
    installation: &InstallationId,
    subject: &(DumpId, Plane, Level),
    object: &ListedObject,
) -> Result<Read<Option<Verification>>, PortError> {
    let usable = |record: &Verification| {
        record.version <= VERIFICATION_VERSION
            && record.installation == *installation
            && (&record.dump, record.plane, record.level) == (&subject.0, subject.1, subject.2)
    };
    let found = read_json(ports, object, VERIFICATION_BYTES_MAX, usable).await?;
    Ok(or_ignored(found, object))
}

fn or_ignored<T>(found: Read<Result<T, String>>, object: &ListedObject) -> Read<Option<T>> {
    if let (Err(why), None) = (&found.value, &found.refused) {
        tracing::warn!(record.key = %object.key, error = why, "a record cannot be used and is ignored");
    }
    found.map(Result::ok)
}

/// A small JSON object, or why it cannot be used.
async fn read_json<T: serde::de::DeserializeOwned>(
    ports: &Ports,
    object: &ListedObject,
    size_bytes_max: u64,
    usable: impl Fn(&T) -> bool,
) -> Result<Read<Result<T, String>>, PortError> {
    let found = read(ports.store.as_ref(), object, size_bytes_max, IfRefused::Unreadable).await?;
    Ok(found.map(|bytes| match serde_json::from_slice::<T>(&bytes?) {
        Ok(value) if usable(&value) => Ok(value),
        Ok(_) => Err("it is of another installation, of another dump, or of a later version".to_owned()),
        Err(error) => Err(error.to_string()),
    }))
}
