//! The marks that strongroom puts on what it creates in RDS.
//!
//! The owner's mark names the very resource that it is on. RDS copies tags from instance to snapshot and from snapshot to
//! restored instance, so a mark that only said "ours" would sooner or later stand on somebody's production database.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::drill::DrillId;
use super::id::{InstallationId, Kind, ResourceId, RunId, SnapshotId, SourceId};
use super::lease::LeaseId;

/// The tags of one resource.
pub type Tags = BTreeMap<String, String>;

/// Begins the keys of all marks.
pub const PREFIX: &str = "strongroom:";
/// `<installation>/<own identifier>`: self-referential proof of ownership.
pub const OWNER: &str = "strongroom:owner";
/// The source that a resource belongs to.
pub const SOURCE: &str = "strongroom:source";
/// The slot that a resource fills.
pub const SLOT: &str = "strongroom:slot";
/// `snapshot` or `dump`.
pub const KIND: &str = "strongroom:kind";
/// `DbiResourceId` of the source.
pub const RESOURCE: &str = "strongroom:resource";

/// When a leased instance is gone at the latest.
pub const EXPIRES: &str = "strongroom:expires";

/// The tags of an instance that a drill restores into.
#[must_use]
pub fn for_lease(
    installation: &InstallationId,
    lease: &LeaseId,
    drill: &DrillId,
    resource: &ResourceId,
    expires_at: Timestamp,
) -> Tags {
    Tags::from([
        (OWNER.to_owned(), owner(installation, lease)),
        (SOURCE.to_owned(), drill.source.to_string()),
        (SLOT.to_owned(), drill.slot.to_string()),
        (KIND.to_owned(), format!("drill-{}", drill.path)),
        (RESOURCE.to_owned(), resource.to_string()),
        (EXPIRES.to_owned(), expires_at.to_string()),
    ])
}

/// Whether the tags of an instance prove that this installation made this very instance.
#[must_use]
pub fn prove_lease(tags: &Tags, installation: &InstallationId, lease: &LeaseId) -> bool {
    tags.get(OWNER).is_some_and(|value| *value == owner(installation, lease))
}

/// Whether the tags of an instance leave it open that this installation made it: they prove it, or are not shown yet.
#[must_use]
pub fn may_be_lease(tags: &Tags, installation: &InstallationId, lease: &LeaseId) -> bool {
    !tags.contains_key(OWNER) || prove_lease(tags, installation, lease)
}

/// The tags of a snapshot that strongroom creates.
#[must_use]
pub fn for_snapshot(
    installation: &InstallationId,
    snapshot: &SnapshotId,
    source: &SourceId,
    resource: &ResourceId,
    run: &RunId,
) -> Tags {
    Tags::from([
        (OWNER.to_owned(), owner(installation, snapshot)),
        (SOURCE.to_owned(), source.to_string()),
        (SLOT.to_owned(), run.slot.to_string()),
        (KIND.to_owned(), Kind::Snapshot.to_string()),
        (RESOURCE.to_owned(), resource.to_string()),
    ])
}

/// The tags of a copy of a snapshot that strongroom made: those of the origin, with the mark of the copy itself.
#[must_use]
pub fn for_copy(installation: &InstallationId, copy: &SnapshotId, origin: &Tags) -> Tags {
    let ours = [SOURCE, SLOT, KIND, RESOURCE];
    let mut tags: Tags =
        origin.iter().filter(|(key, _)| ours.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
    tags.insert(OWNER.to_owned(), owner(installation, copy));
    tags
}

/// Whether the tags of a snapshot prove that this installation made this very snapshot.
#[must_use]
pub fn prove_ownership(tags: &Tags, installation: &InstallationId, snapshot: &SnapshotId) -> bool {
    let named = tags.get(OWNER).and_then(|value| value.strip_prefix(installation.as_str())?.strip_prefix('/'));
    named == Some(snapshot.as_str())
}

fn owner(installation: &InstallationId, own: &impl std::fmt::Display) -> String {
    format!("{installation}/{own}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_copied_to_another_snapshot_proves_nothing() {
        let installation: InstallationId = "bank-prod".parse().unwrap();
        let ours: SnapshotId = "strongroom-accounts-20261122t030000z".parse().unwrap();
        let by_hand: SnapshotId = "before-the-release".parse().unwrap();
        let run = "20261122t030000z-snapshot-1".parse().unwrap();
        let tags = for_snapshot(&installation, &ours, &"accounts".parse().unwrap(), &"db-ABC".parse().unwrap(), &run);
        assert!(prove_ownership(&tags, &installation, &ours));
        assert!(!prove_ownership(&tags, &installation, &by_hand));
        assert!(!prove_ownership(&tags, &"bank-test".parse().unwrap(), &ours));
    }

    /// The origin's mark, copied along, would prove nothing of the copy; and what others tag is theirs.
    #[test]
    fn a_copy_bears_what_its_origin_is_of_and_a_mark_of_its_own() {
        let installation: InstallationId = "bank-prod".parse().unwrap();
        let origin: SnapshotId = "strongroom-accounts-20261122t030000z".parse().unwrap();
        let copy: SnapshotId = "strongroom-accounts-20261122t030000z-2".parse().unwrap();
        let run = "20261122t030000z-snapshot-1".parse().unwrap();
        let source = "accounts".parse().unwrap();
        let mut of_origin = for_snapshot(&installation, &origin, &source, &"db-ABC".parse().unwrap(), &run);
        of_origin.insert("cost-centre".to_owned(), "4711".to_owned());
        let tags = for_copy(&installation, &copy, &of_origin);
        assert!(prove_ownership(&tags, &installation, &copy) && !prove_ownership(&tags, &installation, &origin));
        let told: Vec<(&str, &str)> = tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let expected = [
            (KIND, "snapshot"),
            (OWNER, "bank-prod/strongroom-accounts-20261122t030000z-2"),
            (RESOURCE, "db-ABC"),
            (SLOT, "20261122t030000z"),
            (SOURCE, "accounts"),
        ];
        assert_eq!(told, expected);
    }
}
