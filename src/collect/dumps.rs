//! From manifests and a listing to dumps: which are whole, which are to be relied on.

use std::collections::BTreeMap;

use super::cache::Cache;
use super::read::{KnownManifest, KnownObject};
use super::sorted::Sorted;
use crate::domain::id::{Kind, RegionName, RunId};
use crate::domain::inventory::{Found, KnownVerification, StoredDump, standing_doubts};
use crate::domain::key::{DumpId, ObjectKey};
use crate::domain::pin::Pin;
use crate::domain::prune_record::PruneRecord;
use crate::domain::recovery_point::{Plane, PointState, RecoveryPoint};
use crate::domain::verification::{Level, Verdict, Verification};
use crate::ports::object_store::{ListedObject, ListedVersion, VersionContent};

/// What was read of a manifest, or why it cannot be used.
pub(super) type ReadManifest = Result<KnownManifest, String>;

/// What is recorded about dumps, beside them.
#[derive(Debug, Default)]
pub(super) struct Records<'a> {
    pub(super) pins: Vec<&'a Pin>,
    /// Deletions that have begun and not ended.
    pub(super) deletions: Vec<&'a PruneRecord>,
    pub(super) verifications: BTreeMap<&'a DumpId, Vec<&'a Verification>>,
}

/// One bucket's side.
#[derive(Debug)]
pub(super) struct Side<'a> {
    pub(super) plane: Plane,
    pub(super) region: &'a RegionName,
    /// Whether objects stand under the version ids of the manifest: not where strongroom has them copied.
    pub(super) same_versions: bool,
}

impl Side<'_> {
    /// Every manifest that stands as a dump.
    pub(super) fn dumps(
        &self,
        sorted: &Sorted,
        manifests: &Cache<ReadManifest>,
        records: &Records<'_>,
    ) -> Vec<StoredDump> {
        let standing: BTreeMap<&ObjectKey, (&ListedVersion, &VersionContent)> = sorted
            .objects
            .iter()
            .filter(|object| object.version.is_latest)
            .filter_map(|object| Some((&object.version.key, (&object.version, object.version.content.as_ref()?))))
            .collect();
        let dumps = sorted.manifests.iter().filter_map(|(dump, object)| {
            let manifest = manifests.get(&object.key)?;
            let missing = match manifest {
                Ok(manifest) => manifest.objects.iter().find_map(|own| self.missing(own, &standing)),
                Err(_) => None,
            };
            let run = manifest.as_ref().ok().map(|manifest| &manifest.run);
            // Only what was found about this very dump counts: a slot may have held another one before.
            let of_slot = records.verifications.get(dump).into_iter().flatten();
            let (here, elsewhere): (Vec<&Verification>, Vec<&Verification>) =
                of_slot.filter(|own| Some(&own.run) == run).partition(|own| own.plane == self.plane);
            let counts = |own: &&Verification| proves(own, &object.etag);
            let verifications: Vec<KnownVerification> = here.into_iter().filter(counts).map(known).collect();
            let state = if self.is_being_deleted(dump, run, &records.deletions) {
                PointState::Deleting
            } else {
                self.state(manifest, missing.as_deref(), &verifications)
            };
            Some(StoredDump {
                point: self.point(dump, object, manifest, &verifications, state, &records.pins),
                dump: dump.clone(),
                manifest: sorted.manifest_versions.get(&object.key)?.clone(),
                etag: object.etag.clone(),
                manifest_refused: manifests.why_refused(&object.key).map(str::to_owned),
                volume: manifest.as_ref().ok().map(|manifest| manifest.volume.clone()),
                whole: manifest.is_ok() && missing.is_none(),
                verifications,
                other_plane_proven: elsewhere.iter().any(|own| matches!(own.verdict, Verdict::Good { .. })),
                replication: None,
            })
        });
        dumps.collect()
    }

    /// Why an object of a manifest is not there as it should be.
    fn missing(
        &self,
        own: &KnownObject,
        standing: &BTreeMap<&ObjectKey, (&ListedVersion, &VersionContent)>,
    ) -> Option<String> {
        let key = &own.key;
        let Some((version, content)) = standing.get(key) else { return Some(format!("{key} is missing")) };
        if content.size_bytes != own.size_bytes {
            return Some(format!("{key} has {} bytes instead of {}", content.size_bytes, own.size_bytes));
        }
        let replaced = self.same_versions && own.version_id.is_some() && version.version_id != own.version_id;
        replaced.then(|| format!("{key} was replaced: another version than that of the manifest stands there"))
    }

    fn state(&self, manifest: &ReadManifest, missing: Option<&str>, verifications: &[KnownVerification]) -> PointState {
        if let Err(reason) = manifest {
            return PointState::Bad { reason: reason.clone() };
        }
        let proven = verifications.iter().any(KnownVerification::is_good);
        if let Some(missing) = missing {
            // In the replica bucket objects arrive in any order; what has been whole once must stay so.
            return match self.plane {
                Plane::Replica if !proven => PointState::Pending,
                Plane::Primary | Plane::Replica => PointState::Bad { reason: missing.to_owned() },
            };
        }
        if let Some(doubt) = self.doubt(verifications) {
            return doubt;
        }
        match self.plane {
            Plane::Primary => PointState::Good,
            Plane::Replica if proven => PointState::Good,
            Plane::Replica => PointState::Pending,
        }
    }

    /// What was found wrong, and has not been refuted since.
    ///
    /// A replica that nobody can read is no copy. A dump in the first bucket that cannot be read is not made again for it:
    /// rights and keys are mended; until then it is told, and nothing of its source is pruned.
    fn doubt(&self, verifications: &[KnownVerification]) -> Option<PointState> {
        let doubts = standing_doubts(verifications).filter_map(|known| {
            let (level, day) = (known.level, known.at.strftime("%Y-%m-%d"));
            let (is_fault, state) = match &known.found {
                Found::Fault(fault) => {
                    let reason = format!("its verification at level {level} on {day} found: {fault}");
                    (true, PointState::Bad { reason })
                }
                Found::Unreadable(why) if self.plane == Plane::Replica => {
                    (false, PointState::Unreadable { reason: format!("nobody could read it on {day}: {why}") })
                }
                Found::Unreadable(_) | Found::Good => return None,
            };
            Some(((is_fault, known.at), state))
        });
        doubts.max_by_key(|(weight, _)| *weight).map(|(_, state)| state)
    }

    fn is_being_deleted(&self, dump: &DumpId, run: Option<&RunId>, deletions: &[&PruneRecord]) -> bool {
        deletions.iter().any(|record| {
            record.plane == self.plane && record.dump == *dump && run.is_none_or(|run| *run == record.run)
        })
    }

    fn point(
        &self,
        dump: &DumpId,
        object: &ListedObject,
        manifest: &ReadManifest,
        verifications: &[KnownVerification],
        state: PointState,
        pins: &[&Pin],
    ) -> RecoveryPoint {
        let manifest = manifest.as_ref().ok();
        let id = dump.to_string();
        let in_doubt = matches!(state, PointState::Bad { .. } | PointState::Unreadable { .. });
        let read_whole = verifications.iter().filter(|known| known.level >= Level::L2 && known.is_good());
        RecoveryPoint {
            source: dump.source.clone(),
            kind: Kind::Dump,
            database: Some(dump.database.clone()),
            resource: manifest.map(|manifest| manifest.resource.clone()),
            slot: dump.slot,
            run: manifest.map(|manifest| manifest.run.clone()),
            from_snapshot: manifest.and_then(|manifest| manifest.from_snapshot.clone()),
            plane: self.plane,
            region: self.region.clone(),
            created_at: manifest.map(|manifest| manifest.snapshot_at),
            stored_at: object.modified_at,
            size_bytes: manifest.map_or(0, |manifest| manifest.volume.stored_bytes),
            // What was found bad since is not relied on for having been good once.
            verified_at: read_whole.map(|known| known.at).max().filter(|_| !in_doubt),
            pin: pins.iter().find(|pin| pin.point == id).copied().cloned(),
            locked_until: verifications.iter().filter_map(|known| known.locked_until).max(),
            state,
            id,
        }
    }
}

/// Whether a verification says something of the dump whose manifest bears this entity tag. What was found bad stays bad
/// whatever becomes of its manifest.
fn proves(verification: &Verification, manifest_etag: &str) -> bool {
    let compared_with = verification.manifest_etag.as_ref();
    let is_good = matches!(verification.verdict, Verdict::Good { .. });
    !is_good || compared_with.is_none_or(|compared_with| compared_with == manifest_etag)
}

fn known(verification: &Verification) -> KnownVerification {
    KnownVerification {
        level: verification.level,
        at: verification.finished_at,
        found: match &verification.verdict {
            Verdict::Good { .. } => Found::Good,
            Verdict::Bad { faults } => {
                Found::Fault(faults.first().cloned().unwrap_or_else(|| "it does not say what".to_owned()))
            }
            Verdict::Unreadable { reason } => Found::Unreadable(reason.clone()),
        },
        locked_until: verification.locked_until,
    }
}
