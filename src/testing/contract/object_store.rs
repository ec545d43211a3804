//! The contract of the object store.

mod uploads;

use bytes::Bytes;
use futures_util::TryStreamExt;

use crate::domain::key::ObjectKey;
use crate::domain::prune_record::ObjectVersion;
use crate::ports::ErrorKind;
use crate::ports::object_store::{
    Condition, CopySource, DeletedVersion, ListedVersion, ObjectStore, ReadObject, Written,
};

/// What there is to try it on.
pub(crate) struct StoreCase<'a> {
    /// A versioned bucket.
    pub(crate) store: &'a dyn ObjectStore,
    /// Keys begin with this; none does yet.
    pub(crate) prefix: String,
    /// The name of the bucket.
    pub(crate) bucket: String,
    /// Whether object lock keeps what is written here.
    pub(crate) locks: bool,
    /// Another bucket, which this one's objects can be copied to.
    pub(crate) second: Option<&'a dyn ObjectStore>,
    /// How somebody deletes an object without naming a version, where the test can.
    pub(crate) hide: Option<&'a (dyn Fn(&ObjectKey) + Sync)>,
}

/// All of it, one after the other.
pub(crate) async fn run_all(case: &StoreCase<'_>) {
    case.what_is_not_there_is_not_found().await;
    case.an_object_is_written_where_none_stands().await;
    case.an_object_is_replaced_only_on_top_of_what_was_read().await;
    case.versions_are_listed_by_key_and_the_newest_first().await;
    case.each_version_can_be_asked_for_and_read().await;
    case.a_large_object_is_read_in_pieces_and_not_whole().await;
    case.a_deletion_without_a_version_changes_nothing().await;
    if let Some(hide) = case.hide {
        case.a_marker_hides_and_shows_again(hide).await;
    }
    if case.locks {
        case.a_locked_version_is_not_deleted().await;
    } else {
        case.an_exact_version_is_deleted_and_no_other().await;
    }
    case.an_upload_is_seen_when_it_is_complete().await;
    case.an_upload_does_not_replace_what_stands().await;
    case.an_upload_that_is_gone_takes_no_parts_and_can_be_aborted().await;
    case.a_completion_whose_answer_was_lost_is_a_success().await;
    if let Some(second) = case.second {
        case.an_object_is_copied_where_none_stands(second).await;
    }
    assert_eq!(case.store.bucket().await.unwrap().bucket, case.bucket);
}

impl StoreCase<'_> {
    fn key(&self, name: &str) -> ObjectKey {
        ObjectKey::listed(format!("{}/{name}", self.prefix))
    }

    async fn put(&self, key: &ObjectKey, bytes: &'static [u8]) -> Written {
        self.store.put(key, Bytes::from_static(bytes), Condition::Absent).await.unwrap()
    }

    async fn replace(&self, key: &ObjectKey, bytes: &'static [u8]) -> Written {
        let ReadObject { etag, .. } = self.store.get(key, u64::MAX).await.unwrap();
        self.store.put(key, Bytes::from_static(bytes), Condition::Matches(etag)).await.unwrap()
    }

    async fn listed(&self, name: &str) -> Vec<ListedVersion> {
        self.store.list_versions(self.key(name).as_str()).await.unwrap().iter().cloned().collect()
    }

    async fn what_is_not_there_is_not_found(&self) {
        let key = self.key("nothing");
        assert_eq!(self.store.get(&key, u64::MAX).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(self.store.head(&key).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(self.listed("nothing").await.is_empty());
        let missing = self.store.put(&key, Bytes::new(), Condition::Matches("0".to_owned())).await.unwrap_err();
        assert!(matches!(missing.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists), "{missing:?}");
    }

    async fn an_object_is_written_where_none_stands(&self) {
        let key = self.key("absent");
        let written = self.put(&key, b"first").await;
        let again = self.store.put(&key, Bytes::from_static(b"second"), Condition::Absent).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        let read = self.store.get(&key, 5).await.unwrap();
        assert_eq!(read, ReadObject { bytes: Bytes::from_static(b"first"), etag: written.etag });
    }

    async fn an_object_is_replaced_only_on_top_of_what_was_read(&self) {
        let key = self.key("matches");
        let first = self.put(&key, b"first").await;
        let second = self.replace(&key, b"second").await;
        assert_ne!((&first.etag, &first.version_id), (&second.etag, &second.version_id));
        let late = self.store.put(&key, Bytes::from_static(b"late"), Condition::Matches(first.etag)).await;
        assert_eq!(late.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(self.store.get(&key, u64::MAX).await.unwrap().bytes, "second");
    }

    async fn versions_are_listed_by_key_and_the_newest_first(&self) {
        let (a, b) = (self.key("listed/a"), self.key("listed/b"));
        let later_key = self.put(&b, b"b").await;
        let old = self.put(&a, b"old").await;
        let new = self.replace(&a, b"newer").await;
        self.put(&self.key("not-listed"), b"").await;
        let listed = self.listed("listed/").await;
        let seen: Vec<_> = listed.iter().map(|v| (&v.key, v.version_id.clone(), v.is_latest)).collect();
        let expected = [
            (&a, new.version_id.clone(), true),
            (&a, old.version_id.clone(), false),
            (&b, later_key.version_id.clone(), true),
        ];
        assert_eq!(seen, expected);
        let contents: Vec<_> = listed.iter().map(|v| v.content.clone().unwrap()).collect();
        let contents: Vec<_> = contents.iter().map(|content| (content.size_bytes, content.etag.as_str())).collect();
        assert_eq!(contents, [(5, new.etag.as_str()), (3, old.etag.as_str()), (1, later_key.etag.as_str())]);
        assert!(listed.iter().all(|version| version.modified_at.is_some()));
    }

    async fn each_version_can_be_asked_for_and_read(&self) {
        let key = self.key("old");
        let old = self.put(&key, b"old").await;
        let new = self.replace(&key, b"newer").await;
        let current = self.store.head(&key).await.unwrap();
        assert_eq!((current.size_bytes, &current.version_id), (5, &new.version_id));
        for (written, bytes) in [(old, b"old".as_slice()), (new, b"newer")] {
            let version = ObjectVersion { key: key.clone(), version_id: written.version_id };
            let facts = self.store.head_version(&version).await.unwrap();
            assert_eq!(facts.size_bytes, bytes.len() as u64);
            assert_eq!(facts.version_id, version.version_id);
            let sent = uploads::crc_text(bytes);
            assert!(facts.crc64nvme.is_none_or(|found| found == sent));
            assert_eq!(self.read(&version).await, bytes);
        }
        let nothing = ObjectVersion { key: self.key("nothing"), version_id: None };
        assert_eq!(self.store.read_version(&nothing).await.err().unwrap().kind(), ErrorKind::NotFound);
        assert_eq!(self.store.head_version(&nothing).await.unwrap_err().kind(), ErrorKind::NotFound);
    }

    async fn read(&self, version: &ObjectVersion) -> Vec<u8> {
        let pieces: Vec<Bytes> = self.store.read_version(version).await.unwrap().try_collect().await.unwrap();
        pieces.concat()
    }

    async fn a_large_object_is_read_in_pieces_and_not_whole(&self) {
        let key = self.key("large");
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let written = self.store.put(&key, bytes.clone().into(), Condition::Absent).await.unwrap();
        assert_eq!(self.store.get(&key, 799_999).await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(self.store.get(&key, 800_000).await.unwrap().bytes, bytes);
        let version = ObjectVersion { key, version_id: written.version_id };
        assert!(self.read(&version).await == bytes);
        for range in [0..1, 10..799_999, 799_999..800_000] {
            let expected = &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            let pieces = self.store.read_range(&version, range).await.unwrap();
            assert!(pieces.try_collect::<Vec<Bytes>>().await.unwrap().concat() == expected);
        }
        let beyond = match self.store.read_range(&version, 799_000..800_001).await {
            Ok(pieces) => pieces.try_collect::<Vec<Bytes>>().await.err(),
            Err(error) => Some(error),
        };
        assert!(beyond.is_some(), "it has fewer bytes");
    }

    async fn a_deletion_without_a_version_changes_nothing(&self) {
        let key = self.key("plain");
        self.put(&key, b"plain").await;
        let plain = ObjectVersion { key: key.clone(), version_id: None };
        assert_eq!(self.store.delete_versions(&[plain]).await.unwrap(), [DeletedVersion::Gone]);
        assert_eq!(self.store.get(&key, u64::MAX).await.unwrap().bytes, "plain");
        assert_eq!(self.listed("plain").await.len(), 1);
    }

    async fn a_marker_hides_and_shows_again(&self, hide: &(dyn Fn(&ObjectKey) + Sync)) {
        let key = self.key("hidden");
        let written = self.put(&key, b"hidden").await;
        hide(&key);
        assert_eq!(self.store.get(&key, u64::MAX).await.unwrap_err().kind(), ErrorKind::NotFound);
        let listed = self.listed("hidden").await;
        let [marker, hidden] = listed.as_slice() else { panic!("{listed:?}") };
        assert!(marker.is_latest && marker.content.is_none() && marker.version_id.is_some());
        assert!(!hidden.is_latest && hidden.version_id == written.version_id);
        let version = ObjectVersion { key: key.clone(), version_id: written.version_id };
        assert_eq!(self.read(&version).await, b"hidden");
        let marker = ObjectVersion { key: key.clone(), version_id: marker.version_id.clone() };
        assert_eq!(self.store.delete_versions(&[marker]).await.unwrap(), [DeletedVersion::Gone]);
        assert_eq!(self.store.get(&key, u64::MAX).await.unwrap().bytes, "hidden");
        hide(&key);
        self.put(&key, b"a hidden object is absent").await;
    }

    async fn an_exact_version_is_deleted_and_no_other(&self) {
        let key = self.key("deleted");
        let old = self.put(&key, b"old").await;
        let new = self.replace(&key, b"newer").await;
        let version = |written: &Written| ObjectVersion { key: key.clone(), version_id: written.version_id.clone() };
        let (old, new) = (version(&old), version(&new));
        let never = ObjectVersion { key: self.key("never"), version_id: old.version_id.clone() };
        let outcome = self.store.delete_versions(&[old.clone(), never]).await.unwrap();
        assert_eq!(outcome, [DeletedVersion::Gone, DeletedVersion::Gone]);
        assert_eq!(self.store.head_version(&old).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(self.read(&new).await, b"newer");
        assert_eq!(self.store.delete_versions(&[old]).await.unwrap(), [DeletedVersion::Gone], "gone before");
        assert_eq!(self.store.delete_versions(&[new]).await.unwrap(), [DeletedVersion::Gone]);
        assert!(self.listed("deleted").await.is_empty(), "without a marker");
        assert!(self.store.delete_versions(&[]).await.unwrap().is_empty());
    }

    async fn a_locked_version_is_not_deleted(&self) {
        let key = self.key("locked");
        let written = self.put(&key, b"locked").await;
        let version = ObjectVersion { key: key.clone(), version_id: written.version_id };
        assert!(self.store.head_version(&version).await.unwrap().locked_until.is_some());
        let outcome = self.store.delete_versions(std::slice::from_ref(&version)).await.unwrap();
        let [DeletedVersion::Refused { reason }] = outcome.as_slice() else { panic!("{outcome:?}") };
        assert!(reason.starts_with("AccessDenied"), "{reason}");
        assert_eq!(self.read(&version).await, b"locked");
    }

    async fn an_object_is_copied_where_none_stands(&self, second: &dyn ObjectStore) {
        let key = self.key("copied");
        let written = self.put(&key, b"copied").await;
        let object = ObjectVersion { key: key.clone(), version_id: written.version_id };
        let source = CopySource { bucket: self.bucket.clone(), object, size_bytes: 6 };
        second.copy_from(&source, &key).await.unwrap();
        assert_eq!(second.get(&key, u64::MAX).await.unwrap().bytes, "copied");
        let facts = second.head(&key).await.unwrap();
        assert!(facts.crc64nvme.is_none_or(|found| found == uploads::crc_text(b"copied")));
        // Again: the answer may have been lost, so what stands there already may count as copied.
        let again = second.copy_from(&source, &key).await;
        assert!(again.is_ok() || again.is_err_and(|error| error.kind() == ErrorKind::AlreadyExists));
        assert_eq!(second.get(&key, u64::MAX).await.unwrap().bytes, "copied");
        let taken = self.key("taken");
        second.put(&taken, Bytes::from_static(b"something else"), Condition::Absent).await.unwrap();
        assert_eq!(second.copy_from(&source, &taken).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(second.get(&taken, u64::MAX).await.unwrap().bytes, "something else");
        let nothing = ObjectVersion { key: self.key("nothing"), version_id: None };
        let nothing = CopySource { object: nothing, ..source };
        let refused = second.copy_from(&nothing, &self.key("copy-of-nothing")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
    }
}
