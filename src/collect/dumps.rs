//! From manifests and a listing to dumps: which are whole, which are to be relied on.

use std::collections::BTreeMap;

use super::cache::Cache;
use super::read::{KnownManifest, KnownObject};
use super::sorted::Sorted;
use crate::domain::id::{Kind, RegionName, RunId};
use crate::domain::inventory::{KnownVerification, StoredDump};
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
            let verifications: Vec<KnownVerification> = here.into_iter().map(known).collect();
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
        let proven = verifications.iter().any(|verification| verification.fault.is_none());
        if let Some(missing) = missing {
            // In the replica bucket objects arrive in any order; what has been whole once must stay so.
            return match self.plane {
                Plane::Replica if !proven => PointState::Pending,
                Plane::Primary | Plane::Replica => PointState::Bad { reason: missing.to_owned() },
            };
        }
        if let Some(fault) = standing_fault(verifications) {
            return PointState::Bad { reason: fault };
        }
        match self.plane {
            Plane::Primary => PointState::Good,
            Plane::Replica if proven => PointState::Good,
            Plane::Replica => PointState::Pending,
        }
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
        let read_whole = verifications.iter().filter(|known| known.level >= Level::L2 && known.fault.is_none());
        RecoveryPoint {
            source: dump.source.clone(),
            kind: Kind::Dump,
            database: Some(dump.database.clone()),
            resource: manifest.map(|manifest| manifest.resource.clone()),
            slot: dump.slot,
            run: manifest.map(|manifest| manifest.run.clone()),
            plane: self.plane,
            region: self.region.clone(),
            created_at: manifest.map(|manifest| manifest.snapshot_at),
            stored_at: object.modified_at,
            size_bytes: manifest.map_or(0, |manifest| manifest.stored_bytes),
            verified_at: read_whole.map(|known| known.at).max(),
            pin: pins.iter().find(|pin| pin.point == id).copied().cloned(),
            locked_until: verifications.iter().filter_map(|known| known.locked_until).max(),
            state,
            id,
        }
    }
}

fn known(verification: &Verification) -> KnownVerification {
    KnownVerification {
        level: verification.level,
        at: verification.finished_at,
        fault: match &verification.verdict {
            Verdict::Good { .. } => None,
            Verdict::Bad { faults } => {
                Some(faults.first().cloned().unwrap_or_else(|| "it does not say what".to_owned()))
            }
        },
        locked_until: verification.locked_until,
    }
}

/// The fault of the newest verification that found one, unless one as deep has found none since.
fn standing_fault(verifications: &[KnownVerification]) -> Option<String> {
    let refuted = |bad: &KnownVerification| {
        verifications.iter().any(|known| known.fault.is_none() && known.level >= bad.level && known.at > bad.at)
    };
    let faults = verifications.iter().filter(|known| known.fault.is_some() && !refuted(known));
    let newest = faults.max_by_key(|known| known.at)?;
    let fault = newest.fault.as_deref().unwrap_or_default();
    Some(format!("its verification at level {} on {} found: {fault}", newest.level, newest.at.strftime("%Y-%m-%d")))
}
