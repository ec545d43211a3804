//! Looks at a stored dump again and records what was found.

mod contents;
mod evidence;

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Executor, Outcome, json};
use crate::domain::bucket::ReplicationStatus;
use crate::domain::id::RunId;
use crate::domain::inventory::StoredDump;
use crate::domain::manifest::{MANIFEST_BYTES_MAX, Manifest, StoredObject};
use crate::domain::progress::Progress;
use crate::domain::prune_record::{ObjectVersion, PRUNE_RECORD_BYTES_MAX, PruneRecord};
use crate::domain::recovery_point::{Plane, PointState};
use crate::domain::verification::{Level, VERIFICATION_BYTES_MAX, VERIFICATION_VERSION, Verdict, Verification};
use crate::plan::action::VerifyDump;
use crate::policy::ReplicaMode;
use crate::ports::object_store::{Condition, ObjectFacts, ObjectStore};
use crate::ports::{Chain, ErrorKind, PortError};

/// Faults that a record lists: enough to see what is wrong, and few enough to read.
const FAULTS_MAX: usize = 100;

/// Attempts at a record that others write as well.
const RECORD_ATTEMPTS: u32 = 3;

/// What was found so far.
#[derive(Default)]
struct Found {
    faults: Vec<String>,
    /// Why the store did not show an object. Nothing is asked for after that.
    refusal: Option<String>,
    objects: u64,
    bytes: u64,
    rows: u64,
    locked_until: Option<Timestamp>,
}

impl Found {
    /// A fault is one whatever could not be read besides.
    fn verdict(mut self) -> Verdict {
        match self.refusal {
            Some(reason) if self.faults.is_empty() => Verdict::Unreadable { reason },
            None if self.faults.is_empty() => {
                Verdict::Good { objects: self.objects, bytes: self.bytes, rows: self.rows }
            }
            Some(_) | None => {
                self.faults.truncate(FAULTS_MAX);
                Verdict::Bad { faults: self.faults }
            }
        }
    }

    /// Takes an error as what was found, if it is one: that the store is away says nothing of the dump.
    fn refused(&mut self, error: PortError) -> Result<(), PortError> {
        if !is_refusal(&error) {
            return Err(error);
        }
        self.refusal = Some(Chain(&error).to_string());
        Ok(())
    }
}

/// Whether the store refuses what was asked for: for want of a right or of a key, or because it lies in an archive. Asked again
/// at once it would refuse it again.
fn is_refusal(error: &PortError) -> bool {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::WrongState | ErrorKind::Invalid => true,
        ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::Conflict
        | ErrorKind::Damaged
        | ErrorKind::Throttled
        | ErrorKind::Transient
        | ErrorKind::Cancelled
        | ErrorKind::Other => false,
    }
}

/// Asks once more when it is refused: now and then one request in many is refused by chance, and what is recorded of a dump
/// must not hang on that.
macro_rules! asked_twice {
    ($ask:expr) => {
        match $ask.await {
            Err(error) if is_refusal(&error) => $ask.await,
            answer => answer,
        }
    };
}
use asked_twice;

impl Executor {
    pub(super) async fn verify(
        &self,
        verify: &VerifyDump,
        progress: &Arc<Progress>,
        token: &CancellationToken,
    ) -> Result<Outcome, PortError> {
        let stored = &verify.stored;
        let began_at = self.ports.clock.now();
        let store = self.bucket(stored.point.plane)?;
        let mut found = Found::default();
        let run = match (asked_twice!(self.same_manifest(store, stored)), &stored.point.run) {
            (Ok(Ok(manifest)), _) => {
                let looked = self.look_into(verify, &manifest, &mut found, progress, token).await;
                let is_missing = |error: &PortError| error.kind() == ErrorKind::NotFound;
                if !found.faults.is_empty() || looked.as_ref().is_err_and(is_missing) {
                    // What is missing because somebody deletes it is no fault of the dump.
                    if let Some(outcome) = self.deleted_meanwhile(store, stored, &manifest.run).await? {
                        return Ok(outcome);
                    }
                }
                looked?;
                manifest.run
            }
            (Ok(Err(outcome)), _) => return Ok(outcome),
            (Err(error), Some(run)) => {
                found.refused(error)?;
                run.clone()
            }
            (Err(error), None) => return Err(error),
        };
        self.record(verify, run, began_at, found.locked_until, found.verdict()).await
    }

    /// Compares what stands with what the manifest says, as deep as the level goes.
    async fn look_into(
        &self,
        verify: &VerifyDump,
        manifest: &Manifest,
        found: &mut Found,
        progress: &Arc<Progress>,
        token: &CancellationToken,
    ) -> Result<(), PortError> {
        let VerifyDump { stored, level } = verify;
        let store = self.bucket(stored.point.plane)?;
        let standing = self.ask_for_objects(store, stored, manifest, found).await?;
        if *level == Level::L2 && found.refusal.is_none() {
            contents::read(store, manifest, &standing, found, progress, token).await?;
        }
        if let (true, false, PointState::Bad { reason }) = (found.faults.is_empty(), stored.whole, &stored.point.state)
        {
            found.faults.push(reason.clone());
        }
        Ok(())
    }

    /// What to say if its deletion has begun, or ended, since it was planned for.
    async fn deleted_meanwhile(
        &self,
        store: &dyn ObjectStore,
        stored: &StoredDump,
        run: &RunId,
    ) -> Result<Option<Outcome>, PortError> {
        let key = self.settings.layout.prune_record(&stored.dump, stored.point.plane);
        let is_open = |record: PruneRecord| record.is_open() && record.run == *run;
        match self.ports.store.get(&key, PRUNE_RECORD_BYTES_MAX).await {
            // A record that cannot be read is told of by itself, and deletes nothing.
            Ok(found) if serde_json::from_slice(&found.bytes).is_ok_and(is_open) => {
                return Ok(Some(Outcome::Overtaken { reason: format!("{} is being deleted", stored.dump) }));
            }
            Ok(_) => {}
            // Refused, it must not keep a fault from being recorded: that is the side to err on.
            Err(error) if error.kind() == ErrorKind::NotFound || is_refusal(&error) => {}
            Err(error) => return Err(error),
        }
        // In this order: a deletion that was open before and is not now has taken the manifest with it.
        Ok(self.same_manifest(store, stored).await?.err())
    }

    /// Records what came of restoring a dump: level 4.
    pub async fn record_restored(&self, stored: &StoredDump, began_at: Timestamp, verdict: Verdict) -> Outcome {
        let verify = VerifyDump { stored: stored.clone(), level: Level::L4 };
        let Some(run) = stored.point.run.clone() else {
            return Outcome::Held { reason: format!("the manifest of {} cannot be read", stored.point.id) };
        };
        let recorded = self.record(&verify, run, began_at, None, verdict).await;
        recorded.unwrap_or_else(|error| Outcome::Failed { error })
    }

    async fn record(
        &self,
        verify: &VerifyDump,
        run: RunId,
        began_at: Timestamp,
        locked_until: Option<Timestamp>,
        verdict: Verdict,
    ) -> Result<Outcome, PortError> {
        let stored = &verify.stored;
        let record = Verification {
            version: VERIFICATION_VERSION,
            installation: self.settings.installation.clone(),
            dump: stored.dump.clone(),
            run,
            manifest_etag: Some(stored.etag.clone()),
            plane: stored.point.plane,
            region: stored.point.region.clone(),
            level: verify.level,
            began_at,
            finished_at: self.ports.clock.now(),
            locked_until,
            verdict,
        };
        self.record_verification(record).await
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
            let facts = match asked_twice!(self.facts(store, plane, object)) {
                Ok(facts) => facts,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    found.faults.push(format!("{} is missing", manifest.named(object)));
                    continue;
                }
                Err(error) => {
                    found.refused(error)?;
                    return Ok(standing);
                }
            };
            found.locked_until = found.locked_until.max(facts.locked_until);
            found.faults.extend(self.differences(plane, object, &manifest.named(object), &facts));
            standing.push((object, ObjectVersion { key: object.key.clone(), version_id: facts.version_id }));
        }
        match asked_twice!(store.head_version(&stored.manifest)) {
            Ok(facts) => found.locked_until = found.locked_until.max(facts.locked_until),
            Err(error) => found.refused(error)?,
        }
        Ok(standing)
    }

    async fn facts(
        &self,
        store: &dyn ObjectStore,
        plane: Plane,
        object: &StoredObject,
    ) -> Result<ObjectFacts, PortError> {
        let version_id = object.version_id.clone().filter(|_| self.same_versions(plane));
        store.head_version(&ObjectVersion { key: object.key.clone(), version_id }).await
    }

    /// How what the store tells of an object differs from its manifest.
    fn differences(&self, plane: Plane, object: &StoredObject, named: &str, facts: &ObjectFacts) -> Vec<String> {
        let mut differences = Vec::new();
        if facts.size_bytes != object.size_bytes {
            differences.push(format!("{named} has {} bytes instead of {}", facts.size_bytes, object.size_bytes));
        }
        // A store that keeps no CRC64NVME is compared by size; level 2 reads the bytes.
        if let Some(crc) = facts.crc64nvme.as_ref().filter(|crc| **crc != object.crc64nvme) {
            differences.push(format!("{named} has CRC64NVME {crc} instead of {}", object.crc64nvme));
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
                differences.push(format!("{named} is encrypted with {found} instead of {wanted}"));
            }
        }
        let replicated = replica.is_some_and(|replica| replica.mode == ReplicaMode::Replicated);
        if replicated && facts.replication != Some(ReplicationStatus::Replica) {
            differences.push(format!("{named} is no replica that S3 made"));
        }
        differences
    }

    /// Puts the record in the place of an earlier one of the same level.
    async fn record_verification(&self, record: Verification) -> Result<Outcome, PortError> {
        let key = self.settings.layout.verification(&record.dump, record.plane, record.level);
        let is_fault = matches!(record.verdict, Verdict::Bad { .. });
        let (mut attempt, mut is_chained) = (1, false);
        loop {
            let condition = match self.ports.store.get(&key, VERIFICATION_BYTES_MAX).await {
                Ok(earlier) => match outweighed(&earlier.bytes, &record) {
                    Some(reason) => return Ok(Outcome::Overtaken { reason }),
                    None => {
                        is_chained |= is_still_unreadable(&earlier.bytes, &record);
                        Condition::Matches(earlier.etag)
                    }
                },
                Err(error) if error.kind() == ErrorKind::NotFound => Condition::Absent,
                Err(error) => return Err(error),
            };
            if !is_chained {
                match self.add_evidence(&record).await {
                    Ok(()) => is_chained = true,
                    // A bad dump must not pass for a good one until that can be written down for good.
                    Err(_) if is_fault => {}
                    Err(error) => return Err(error),
                }
            }
            match self.ports.store.put(&key, json(&key, &record)?, condition).await {
                // Another daemon has recorded what it found meanwhile, or our own answer was lost.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < RECORD_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
                Ok(_) => {
                    if !is_chained {
                        self.add_evidence_of_fault(&record).await;
                    }
                    return Ok(Outcome::Verified(Box::new(record)));
                }
            }
        }
    }
}

/// Why an earlier record must stand: what was found bad while we looked is not lifted by what we saw before that, and not by
/// our not having seen anything.
fn outweighed(earlier: &[u8], record: &Verification) -> Option<String> {
    let earlier: Verification = serde_json::from_slice(earlier).ok()?;
    let lifts = match &record.verdict {
        Verdict::Bad { .. } => true,
        Verdict::Good { .. } => record.began_at > earlier.finished_at,
        Verdict::Unreadable { .. } => false,
    };
    let stands = matches!(earlier.verdict, Verdict::Bad { .. }) && earlier.run == record.run && !lifts;
    stands.then(|| format!("it was found bad on {}, which stands", earlier.finished_at))
}

/// Whether nobody could read it the last time either: it is tried again and again, and written down for good once.
fn is_still_unreadable(earlier: &[u8], record: &Verification) -> bool {
    let is_unreadable = |verdict: &Verdict| matches!(verdict, Verdict::Unreadable { .. });
    let earlier = serde_json::from_slice(earlier);
    is_unreadable(&record.verdict)
        && earlier.is_ok_and(|earlier: Verification| earlier.run == record.run && is_unreadable(&earlier.verdict))
}

/// The exact version that a manifest names.
pub(super) fn exact(object: &StoredObject) -> ObjectVersion {
    ObjectVersion { key: object.key.clone(), version_id: object.version_id.clone() }
}
