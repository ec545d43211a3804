//! Versions: listing all of them, and deleting exact ones.

use std::collections::BTreeMap;

use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::types::{ChecksumAlgorithm, Delete, ObjectIdentifier};
use jiff::Timestamp;

use super::{NULL_VERSION, S3, unquoted, version_id};
use crate::adapters::aws::{port_error, timestamp};
use crate::domain::inventory::Complete;
use crate::domain::key::ObjectKey;
use crate::domain::prune_record::ObjectVersion;
use crate::ports::object_store::{DeletedVersion, ListedVersion, VersionContent};
use crate::ports::{ErrorKind, PortError};

/// Versions per request of a deletion: S3's most (Amazon S3 API reference, DeleteObjects).
const DELETE_BATCH: usize = 1000;

impl S3 {
    pub(super) async fn versions(&self, prefix: &str) -> Result<Complete<ListedVersion>, PortError> {
        let named = || self.named("list versions below", &prefix);
        let (mut key_marker, mut version_marker) = (None, None);
        let mut versions = Vec::new();
        loop {
            let request = on_bucket!(self, observe.list_object_versions)
                .prefix(prefix)
                .max_keys(self.portions.versions_per_page)
                .set_key_marker(key_marker.clone())
                .set_version_id_marker(version_marker.clone());
            let page = request.send().await.map_err(|error| port_error(named(), error))?;
            // Pages follow each other in S3's one order, so a key that spans two of them stays in order too.
            versions.extend(newest_first(&page));
            if page.is_truncated() != Some(true) {
                return Ok(Complete::after_last_page(versions));
            }
            let next = (page.next_key_marker().map(str::to_owned), page.next_version_id_marker().map(str::to_owned));
            let stands_still = next.0.is_none() || next == (key_marker, version_marker);
            (key_marker, version_marker) = next;
            if stands_still {
                let without_end = PortError::new(named(), ErrorKind::Other);
                return Err(without_end.because("the listing says that it goes on and not where"));
            }
        }
    }

    pub(super) async fn delete(&self, versions: &[ObjectVersion]) -> Result<Vec<DeletedVersion>, PortError> {
        let mut outcomes = Vec::with_capacity(versions.len());
        for batch in versions.chunks(DELETE_BATCH) {
            outcomes.extend(self.delete_batch(batch).await?);
        }
        Ok(outcomes)
    }

    async fn delete_batch(&self, batch: &[ObjectVersion]) -> Result<Vec<DeletedVersion>, PortError> {
        let named = || self.named("delete", &format!("{} versions", batch.len()));
        let invalid = |error| PortError::new(named(), ErrorKind::Invalid).because(error);
        // An object without versions is named as such: a request without an id would hide what stands there behind a delete
        // marker, had the bucket got versions meanwhile.
        let named_versions = batch.iter().map(|object| {
            let version = object.version_id.as_deref().unwrap_or(NULL_VERSION);
            ObjectIdentifier::builder().key(object.key.as_str()).version_id(version).build()
        });
        let named_versions = named_versions.collect::<Result<Vec<_>, _>>().map_err(invalid)?;
        // Not quiet: only what the answer names as deleted counts as deleted.
        let delete = Delete::builder().set_objects(Some(named_versions)).quiet(false).build().map_err(invalid)?;
        let request =
            on_bucket!(self, prune.delete_objects).delete(delete).checksum_algorithm(ChecksumAlgorithm::Crc64Nvme);
        let answer = request.send().await.map_err(|error| port_error(named(), error))?;
        let mut outcomes = BTreeMap::new();
        for deleted in answer.deleted() {
            if let Some(object) = object_version(deleted.key(), deleted.version_id()) {
                outcomes.insert(object, DeletedVersion::Gone);
            }
        }
        for error in answer.errors() {
            if let Some(object) = object_version(error.key(), error.version_id()) {
                outcomes.insert(object, outcome_of_error(error.code(), error.message()));
            }
        }
        let unmentioned = || DeletedVersion::Refused { reason: "the store did not say".to_owned() };
        Ok(batch.iter().map(|object| outcomes.get(object).cloned().unwrap_or_else(unmentioned)).collect())
    }
}

fn object_version(key: Option<&str>, version: Option<&str>) -> Option<ObjectVersion> {
    Some(ObjectVersion { key: ObjectKey::listed(key?), version_id: version_id(version) })
}

fn outcome_of_error(code: Option<&str>, message: Option<&str>) -> DeletedVersion {
    match (code.unwrap_or_default(), message.unwrap_or_default()) {
        ("NoSuchVersion" | "NoSuchKey", _) => DeletedVersion::Gone,
        (code, "") => DeletedVersion::Refused { reason: code.to_owned() },
        (code, message) => DeletedVersion::Refused { reason: format!("{code}: {message}") },
    }
}

/// S3 lists objects and delete markers in one order, and the SDK gives them as two lists. Each is in order; here they are
/// laid into each other again, without trusting times where the lists themselves say more.
fn newest_first(page: &ListObjectVersionsOutput) -> Vec<ListedVersion> {
    let objects = page.versions().iter().filter_map(|object| {
        Some(ListedVersion {
            key: ObjectKey::listed(object.key()?),
            version_id: version_id(object.version_id()),
            is_latest: object.is_latest() == Some(true),
            modified_at: object.last_modified().and_then(timestamp),
            content: Some(VersionContent {
                size_bytes: object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                etag: unquoted(object.e_tag()),
            }),
        })
    });
    let markers = page.delete_markers().iter().filter_map(|marker| {
        Some(ListedVersion {
            key: ObjectKey::listed(marker.key()?),
            version_id: version_id(marker.version_id()),
            is_latest: marker.is_latest() == Some(true),
            modified_at: marker.last_modified().and_then(timestamp),
            content: None,
        })
    });
    let (mut objects, mut markers) = (objects.peekable(), markers.peekable());
    let mut merged = Vec::new();
    while let Some(object) = objects.peek() {
        let marker = markers.next_if(|marker| precedes(marker, object));
        merged.extend(marker.or_else(|| objects.next()));
    }
    merged.extend(markers);
    merged
}

/// Whether a delete marker stands before an object. S3's times are whole seconds: within one, the marker is taken for the
/// newer, because there has to be something before it can be hidden.
fn precedes(marker: &ListedVersion, object: &ListedVersion) -> bool {
    let rank = |version: &ListedVersion| (version.is_latest, version.modified_at.unwrap_or(Timestamp::MIN));
    marker.key < object.key || (marker.key == object.key && rank(marker) >= rank(object))
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::primitives::DateTime;
    use aws_sdk_s3::types::{DeleteMarkerEntry, ObjectVersion as SdkVersion};

    use super::*;

    fn object(key: &str, id: &str, second: i64, latest: bool) -> SdkVersion {
        let at = DateTime::from_secs(second);
        SdkVersion::builder().key(key).version_id(id).last_modified(at).is_latest(latest).size(1).build()
    }

    fn marker(key: &str, id: &str, second: i64, latest: bool) -> DeleteMarkerEntry {
        let at = DateTime::from_secs(second);
        DeleteMarkerEntry::builder().key(key).version_id(id).last_modified(at).is_latest(latest).build()
    }

    fn order(objects: Vec<SdkVersion>, markers: Vec<DeleteMarkerEntry>) -> Vec<String> {
        let page = ListObjectVersionsOutput::builder().set_versions(Some(objects)).set_delete_markers(Some(markers));
        let merged = newest_first(&page.build());
        merged.into_iter().map(|version| version.version_id.unwrap_or_else(|| "none".to_owned())).collect()
    }

    #[test]
    fn objects_and_markers_of_a_page_are_one_order_again() {
        let objects = vec![object("a", "a3", 30, false), object("a", "a1", 10, false), object("b", "b1", 5, true)];
        let markers = vec![marker("a", "a4", 40, true), marker("a", "a2", 20, false), marker("c", "c1", 1, true)];
        assert_eq!(order(objects, markers), ["a4", "a3", "a2", "a1", "b1", "c1"]);
    }

    #[test]
    fn within_one_second_the_latest_is_first_and_a_marker_is_above_what_it_hides() {
        let objects = vec![object("a", "newest", 7, true), object("a", "hidden", 7, false)];
        assert_eq!(order(objects, vec![marker("a", "marker", 7, false)]), ["newest", "marker", "hidden"]);
        assert_eq!(order(vec![object("a", "null", 7, false)], vec![marker("a", "top", 7, true)]), ["top", "none"]);
    }

    #[test]
    fn what_was_gone_before_is_gone_and_everything_else_is_refused_with_the_stores_words() {
        assert_eq!(outcome_of_error(Some("NoSuchVersion"), Some("x")), DeletedVersion::Gone);
        assert_eq!(outcome_of_error(Some("NoSuchKey"), None), DeletedVersion::Gone);
        let refused = |reason: &str| DeletedVersion::Refused { reason: reason.to_owned() };
        assert_eq!(outcome_of_error(Some("AccessDenied"), Some("locked")), refused("AccessDenied: locked"));
        assert_eq!(outcome_of_error(Some("InternalError"), None), refused("InternalError"));
    }
}
