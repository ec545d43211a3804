//! A listing, sorted by what its keys are for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::drill::DrillId;
use crate::domain::id::RunId;
use crate::domain::inventory::{DeleteMarker, OldRecord, RecordOf};
use crate::domain::key::{DumpId, KeyRole, Layout, ObjectKey};
use crate::domain::prune_record::ObjectVersion;
use crate::domain::recovery_point::Plane;
use crate::domain::verification::Level;
use crate::ports::object_store::{ListedObject, ListedVersion};

/// A dump's object in one of its versions.
#[derive(Debug)]
pub(super) struct ObjectOfRun {
    pub(super) dump: DumpId,
    pub(super) run: RunId,
    pub(super) version: ListedVersion,
}

/// All versions below one source's prefix, by what they are. What strongroom has not written is left out.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Manifests that stand.
    pub(super) manifests: Vec<(DumpId, ListedObject)>,
    /// Versions of the manifests that stand, by key.
    pub(super) manifest_versions: BTreeMap<ObjectKey, ObjectVersion>,
    /// Dumps of which any version of a manifest is left, standing or not.
    pub(super) ever_committed: BTreeSet<DumpId>,
    pub(super) records: Vec<(RunId, ListedObject)>,
    pub(super) drills: Vec<(DrillId, ListedObject)>,
    pub(super) pins: Vec<(String, ListedObject)>,
    pub(super) prunes: Vec<((DumpId, Plane), ListedObject)>,
    pub(super) verifications: Vec<((DumpId, Plane, Level), ListedObject)>,
    /// Every version of every dump's object, delete markers not.
    pub(super) objects: Vec<ObjectOfRun>,
    /// Delete markers that are the newest of their key, on dumps' keys.
    pub(super) markers: Vec<DeleteMarker>,
    /// Records whose slot and whose newest version are from before evidence is kept, each with all of its versions.
    pub(super) old_records: Vec<(ObjectKey, OldRecord)>,
}

impl Sorted {
    /// Sorts a listing in which the newest version of each key comes first. Evidence is kept since `evidence_since`; `None`:
    /// for ever.
    pub(super) fn of<'a>(
        layout: &Layout,
        evidence_since: Option<Timestamp>,
        versions: impl Iterator<Item = &'a ListedVersion>,
    ) -> Sorted {
        let mut sorted = Sorted::default();
        for version in versions {
            let role = layout.role(&version.key);
            if let Some(since) = evidence_since {
                sorted.note_old_record(&role, version, since);
            }
            sorted.add(role, version);
        }
        sorted
    }

    /// Versions of a key come newest first, so a record is old if its first one is.
    fn note_old_record(&mut self, role: &KeyRole, version: &ListedVersion, since: Timestamp) {
        if !version.is_latest {
            if let Some((_, record)) = self.old_records.last_mut().filter(|(key, _)| *key == version.key) {
                record.versions.push(exact(version));
            }
            return;
        }
        let of = match role {
            KeyRole::RunRecord { run, .. } => RecordOf::Run(run.clone()),
            KeyRole::PruneRecord { dump, plane } => RecordOf::Deletion(dump.clone(), *plane),
            KeyRole::Verification { dump, plane, .. } => RecordOf::Verification(dump.clone(), *plane),
            KeyRole::Manifest(_)
            | KeyRole::DumpObject { .. }
            | KeyRole::DrillRecord(_)
            | KeyRole::Pin { .. }
            | KeyRole::Recovery { .. }
            | KeyRole::Evidence { .. }
            | KeyRole::Foreign => return,
        };
        let Some(written_at) = version.modified_at else { return };
        let record = OldRecord { of, written_at, versions: vec![exact(version)] };
        if record.slot().instant() < since && written_at < since {
            self.old_records.push((version.key.clone(), record));
        }
    }

    fn add(&mut self, role: KeyRole, version: &ListedVersion) {
        let standing = standing(version);
        match role {
            KeyRole::Manifest(dump) => {
                self.note_marker(version);
                if version.content.is_some() {
                    self.ever_committed.insert(dump.clone());
                }
                if let Some(object) = standing {
                    self.manifest_versions.insert(version.key.clone(), exact(version));
                    self.manifests.push((dump, object));
                }
            }
            KeyRole::DumpObject { dump, run, .. } => {
                self.note_marker(version);
                if version.content.is_some() {
                    self.objects.push(ObjectOfRun { dump, run, version: version.clone() });
                }
            }
            KeyRole::RunRecord { run, .. } => self.records.extend(standing.map(|object| (run, object))),
            KeyRole::DrillRecord(drill) => self.drills.extend(standing.map(|object| (drill, object))),
            KeyRole::Pin { point, .. } => self.pins.extend(standing.map(|object| (point, object))),
            KeyRole::PruneRecord { dump, plane } => {
                self.prunes.extend(standing.map(|object| ((dump, plane), object)));
            }
            KeyRole::Verification { dump, plane, level } => {
                self.verifications.extend(standing.map(|object| ((dump, plane, level), object)));
            }
            KeyRole::Recovery { .. } | KeyRole::Evidence { .. } | KeyRole::Foreign => {}
        }
    }

    /// Versions of a key come newest first, so what follows a marker stands behind it.
    fn note_marker(&mut self, version: &ListedVersion) {
        if version.content.is_none() {
            if version.is_latest {
                self.markers.push(DeleteMarker { marker: exact(version), set_at: version.modified_at, hides: false });
            }
        } else if !version.is_latest
            && let Some(marker) = self.markers.last_mut()
            && marker.marker.key == version.key
        {
            marker.hides = true;
        }
    }
}

/// The object, if this version is the one that stands.
fn standing(version: &ListedVersion) -> Option<ListedObject> {
    let content = version.content.as_ref().filter(|_| version.is_latest)?;
    Some(ListedObject {
        key: version.key.clone(),
        size_bytes: content.size_bytes,
        etag: content.etag.clone(),
        modified_at: version.modified_at,
    })
}

/// The exact version of a listing's line.
pub(super) fn exact(version: &ListedVersion) -> ObjectVersion {
    ObjectVersion { key: version.key.clone(), version_id: version.version_id.clone() }
}
