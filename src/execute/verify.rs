//! Looks at a stored dump again and records what was found.

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Executor, Outcome, json};
use crate::domain::bucket::ReplicationStatus;
use crate::domain::inventory::StoredDump;
use crate::domain::manifest::{MANIFEST_BYTES_MAX, Manifest, StoredObject, Table};
use crate::domain::prune_record::ObjectVersion;
use crate::domain::recovery_point::Plane;
use crate::domain::verification::{Level, VERIFICATION_BYTES_MAX, VERIFICATION_VERSION, Verdict, Verification};
use crate::dump::parallel::table_object;
use crate::dump::read_back::{Content, ReadBack, read_back};
use crate::plan::action::VerifyDump;
use crate::policy::ReplicaMode;
use crate::ports::object_store::{Condition, ObjectFacts, ObjectStore};
use crate::ports::{Chain, ErrorKind, PortError};

/// Faults that a record lists: enough to see what is wrong, and few enough to read.
const FAULTS_MAX: usize = 100;

/// What was found so far.
#[derive(Default)]
struct Found {
    faults: Vec<String>,
    objects: u64,
    bytes: u64,
    rows: u64,
    locked_until: Option<Timestamp>,
}

impl Executor {
    pub(super) async fn verify(&self, verify: &VerifyDump, token: &CancellationToken) -> Result<Outcome, PortError> {
        let VerifyDump { stored, level } = verify;
        let began_at = self.ports.clock.now();
        let plane = stored.point.plane;
        let store = self.bucket(plane)?;
        let manifest = match self.same_manifest(store, stored).await? {
            Ok(manifest) => manifest,
            Err(outcome) => return Ok(outcome),
        };
        let mut found = Found::default();
        let standing = self.ask_for_objects(store, stored, &manifest, &mut found).await?;
        if *level >= Level::L2 {
            read_objects(store, &manifest, &standing, &mut found, token).await?;
        }
        found.faults.truncate(FAULTS_MAX);
        let verdict = if found.faults.is_empty() {
            Verdict::Good { objects: found.objects, bytes: found.bytes, rows: found.rows }
        } else {
            Verdict::Bad { faults: found.faults }
        };
        let record = Verification {
            version: VERIFICATION_VERSION,
            installation: self.settings.installation.clone(),
            dump: stored.dump.clone(),
            run: manifest.run,
            plane,
            region: stored.point.region.clone(),
            level: *level,
            began_at,
            finished_at: self.ports.clock.now(),
            locked_until: found.locked_until,
            verdict,
        };
        self.record_verification(&record).await?;
        Ok(Outcome::Verified(Box::new(record)))
    }

    /// The manifest of a dump, if it is still the one that was planned for; otherwise why not.
    pub(super) async fn same_manifest(
        &self,
        store: &dyn ObjectStore,
        stored: &StoredDump,
    ) -> Result<Result<Manifest, Outcome>, PortError> {
        let key = &stored.manifest.key;
        let found = match store.get(key, MANIFEST_BYTES_MAX).await {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Err(Outcome::Overtaken { reason: format!("{key} is gone") }));
            }
            Err(error) => return Err(error),
        };
        if found.etag != stored.etag {
            return Ok(Err(Outcome::Overtaken { reason: format!("{key} has changed since it was looked at") }));
        }
        let unreadable = |error| Outcome::Held { reason: Chain(&error).to_string() };
        Ok(Manifest::read(&found.bytes, &stored.dump).map_err(unreadable))
    }

    /// Whether objects of a plane stand under the version ids of the manifest.
    fn same_versions(&self, plane: Plane) -> bool {
        match plane {
            Plane::Primary => true,
            Plane::Replica => {
                self.settings.replica.as_ref().is_some_and(|replica| replica.mode == ReplicaMode::Replicated)
            }
        }
    }

    /// Level 1: every object is asked for. Returns those that stand, each with the version that does.
    async fn ask_for_objects<'a>(
        &self,
        store: &dyn ObjectStore,
        stored: &StoredDump,
        manifest: &'a Manifest,
        found: &mut Found,
    ) -> Result<Vec<(&'a StoredObject, ObjectVersion)>, PortError> {
        let plane = stored.point.plane;
        let mut standing = Vec::new();
        for object in &manifest.objects {
            found.objects += 1;
            let facts = match self.facts(store, plane, object).await {
                Ok(facts) => facts,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    found.faults.push(format!("{} is missing", object.key));
                    continue;
                }
                Err(error) => return Err(error),
            };
            found.locked_until = found.locked_until.max(facts.locked_until);
            found.faults.extend(self.differences(plane, object, &facts));
            standing.push((object, ObjectVersion { key: object.key.clone(), version_id: facts.version_id }));
        }
        let facts = store.head_version(&stored.manifest).await?;
        found.locked_until = found.locked_until.max(facts.locked_until);
        Ok(standing)
    }

    async fn facts(
        &self,
        store: &dyn ObjectStore,
        plane: Plane,
        object: &StoredObject,
    ) -> Result<ObjectFacts, PortError> {
        if self.same_versions(plane) && object.version_id.is_some() {
            store.head_version(&exact(object)).await
        } else {
            store.head(&object.key).await
        }
    }

    /// How what the store tells of an object differs from its manifest.
    fn differences(&self, plane: Plane, object: &StoredObject, facts: &ObjectFacts) -> Vec<String> {
        let key = &object.key;
        let mut differences = Vec::new();
        if facts.size_bytes != object.size_bytes {
            differences.push(format!("{key} has {} bytes instead of {}", facts.size_bytes, object.size_bytes));
        }
        // A store that keeps no CRC64NVME is compared by size; level 2 reads the bytes.
        if let Some(crc) = facts.crc64nvme.as_ref().filter(|crc| **crc != object.crc64nvme) {
            differences.push(format!("{key} has CRC64NVME {crc} instead of {}", object.crc64nvme));
        }
        let replica = self.settings.replica.as_ref().filter(|_| plane == Plane::Replica);
        let wanted = match plane {
            Plane::Primary => object.kms_key.as_deref(),
            // Of an alias only the presence of a key can be compared: S3 answers with the key's ARN.
            Plane::Replica => replica.and_then(|replica| replica.kms_key.as_deref()),
        };
        if let Some(wanted) = wanted {
            let found = facts.kms_key.as_deref();
            if found.is_none_or(|found| wanted.contains(":key/") && found != wanted) {
                let found = found.unwrap_or("no KMS key");
                differences.push(format!("{key} is encrypted with {found} instead of {wanted}"));
            }
        }
        let replicated = replica.is_some_and(|replica| replica.mode == ReplicaMode::Replicated);
        if replicated && facts.replication != Some(ReplicationStatus::Replica) {
            differences.push(format!("{key} is no replica that S3 made"));
        }
        differences
    }

    /// Puts the record in the place of an earlier one of the same level.
    async fn record_verification(&self, record: &Verification) -> Result<(), PortError> {
        let key = self.settings.layout.verification(&record.dump, record.plane, record.level);
        let condition = match self.ports.store.get(&key, VERIFICATION_BYTES_MAX).await {
            Ok(earlier) => Condition::Matches(earlier.etag),
            Err(error) if error.kind() == ErrorKind::NotFound => Condition::Absent,
            Err(error) => return Err(error),
        };
        match self.ports.store.put(&key, json(&key, record)?, condition).await {
            // Another daemon has recorded what it found meanwhile, or our own answer was lost: what stands is as new.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            written => written.map(|_| ()),
        }
    }
}

/// The exact version that a manifest names.
pub(super) fn exact(object: &StoredObject) -> ObjectVersion {
    ObjectVersion { key: object.key.clone(), version_id: object.version_id.clone() }
}

/// Level 2: every object that stands is read, and the archive walked.
async fn read_objects(
    store: &dyn ObjectStore,
    manifest: &Manifest,
    standing: &[(&StoredObject, ObjectVersion)],
    found: &mut Found,
    token: &CancellationToken,
) -> Result<(), PortError> {
    for table in manifest.tables.iter().filter(|table| table.hash.is_some()) {
        if !manifest.objects.iter().any(|object| is_of(object, table)) {
            found.faults.push(format!("{} has no object in the manifest", table.named()));
        }
    }
    for (object, version) in standing {
        let of_table = manifest.tables.iter().find(|table| table.hash.is_some() && is_of(object, table));
        let content = match of_table {
            Some(_) => Content::CompressedTable,
            None if object.key.file_name() == crate::dump::ARCHIVE => Content::CompressedArchive,
            None => Content::Plain,
        };
        let read = read_back(store, version, content, token).await?;
        found.bytes += read.size_bytes;
        found.faults.extend(byte_faults(object, &read));
        match read.archive {
            Some(Ok(walked)) => {
                found.rows += walked.rows;
                found.faults.extend(row_faults(manifest, &walked.tables));
            }
            Some(Err(error)) => found.faults.push(format!("{}: {}", object.key, Chain(&error))),
            None => {}
        }
        match (of_table, read.table) {
            (Some(table), Some(Ok(count))) => {
                found.rows += count.rows;
                found.faults.extend(table.difference(count.rows, count.bytes, Some(&count.hash_hex())));
            }
            (_, Some(Err(error))) => found.faults.push(format!("{}: {}", object.key, Chain(&error))),
            (_, Some(Ok(_)) | None) => {}
        }
    }
    Ok(())
}

/// Whether an object of the parallel engine holds the rows of a table.
fn is_of(object: &StoredObject, table: &Table) -> bool {
    object.key.file_name() == table_object(table.dump_id)
}

fn byte_faults(object: &StoredObject, read: &ReadBack) -> Vec<String> {
    let key = &object.key;
    let mut faults = Vec::new();
    if read.size_bytes != object.size_bytes {
        faults.push(format!("{key}: {} bytes were read instead of {}", read.size_bytes, object.size_bytes));
    }
    if read.sha256 != object.sha256 {
        faults.push(format!("{key}: SHA-256 is {} instead of {}", read.sha256, object.sha256));
    }
    faults
}

/// How the tables that were read differ from those of the manifest.
fn row_faults(manifest: &Manifest, read: &[Table]) -> Vec<String> {
    let mut faults = Vec::new();
    for table in &manifest.tables {
        match read.iter().find(|own| own.dump_id == table.dump_id) {
            None => faults.push(format!("{} is missing in the archive", table.named())),
            Some(own) => faults.extend(table.difference(own.rows, own.bytes, own.hash.as_deref())),
        }
    }
    if read.len() > manifest.tables.len() {
        faults.push(format!("the archive has {} tables, the manifest {}", read.len(), manifest.tables.len()));
    }
    faults
}
