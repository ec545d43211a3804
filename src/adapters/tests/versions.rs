//! Versions: all of them are listed, each is read and deleted by itself.

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use serde_json::json;

use super::*;
use crate::ports::ErrorKind;
use crate::ports::object_store::{DeletedVersion, ListedVersion};

async fn list(s3: &S3, prefix: &str) -> Vec<ListedVersion> {
    s3.list_versions(prefix).await.unwrap().iter().cloned().collect()
}

fn ids(versions: &[ListedVersion]) -> Vec<(&str, &str)> {
    versions.iter().map(|version| (version.key.as_str(), version.version_id.as_deref().unwrap_or("none"))).collect()
}

#[tokio::test]
async fn versions_are_listed_in_order_over_any_number_of_pages_and_read_one_by_one() {
    let world = World::start(json!({"buckets": [{"name": "bank", "versioning": true}]}));
    let s3 = world.s3(EAST, "bank", None).await;
    let client = world.client(EAST).await;
    let mut written = Vec::new();
    for bytes in [b"0123456789".as_slice(), b"second", b""] {
        written.push(put(&s3, "a/1", bytes).await.version_id.unwrap());
    }
    let hidden = client.delete_object().bucket("bank").key("a/1").send().await.unwrap();
    let marker = hidden.version_id().unwrap();
    // Within one second of S3's times nobody could say whether the marker or the object came first.
    SystemClock.sleep_until(SystemClock.now() + SignedDuration::from_millis(1100)).await;
    let again = put(&s3, "a/1", b"again").await.version_id.unwrap();
    let hiding = client.delete_object().bucket("bank").key("a/1").send().await.unwrap();
    let other = put(&s3, "a/2", b"other").await.version_id.unwrap();
    put(&s3, "b", b"not listed").await;

    let whole = list(&s3, "a/").await;
    let top = hiding.version_id().unwrap();
    let wanted = [top, &again, marker, &written[2], &written[1], &written[0]].map(|id| ("a/1", id));
    assert_eq!(ids(&whole), [wanted.as_slice(), &[("a/2", &other)]].concat());
    assert_eq!(whole.iter().filter(|version| version.is_latest).count(), 2);
    assert!(whole[0].is_latest && whole[0].content.is_none() && whole[0].modified_at.is_some());
    assert_eq!(whole[5].content.as_ref().unwrap().size_bytes, 10);
    for versions_per_page in [1, 2, 3] {
        let calls = world.sandbox.calls("ListObjectVersions");
        assert_eq!(list(&s3.clone().in_portions(versions_per_page, 4), "a/").await, whole);
        let pages = world.sandbox.calls("ListObjectVersions") - calls;
        assert_eq!(pages, 7_u64.div_ceil(versions_per_page.try_into().unwrap()));
    }

    let small = s3.clone().in_portions(1000, 4);
    for (id, bytes) in written.iter().zip([b"0123456789".as_slice(), b"second", b""]) {
        let object = version("a/1", id);
        assert_eq!(read(&small, &object).await.unwrap(), bytes);
        assert_eq!(read(&s3, &object).await.unwrap(), bytes);
        let facts = s3.head_version(&object).await.unwrap();
        assert_eq!((facts.size_bytes, facts.version_id.as_ref()), (bytes.len() as u64, Some(id)));
        assert!(facts.crc64nvme.is_some() && facts.replication.is_none() && facts.locked_until.is_none());
    }
    assert_eq!(s3.head(&key("a/1")).await.unwrap_err().kind(), ErrorKind::NotFound, "a marker hides it");
    for missing in [version("a/1", "no-such-version"), version("nowhere", &other)] {
        assert_eq!(read(&s3, &missing).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(s3.head_version(&missing).await.unwrap_err().kind(), ErrorKind::NotFound);
    }

    // An answer that breaks off is asked for again, and only so often.
    world.sandbox.fault("cut_response", "GetObject", 2);
    assert_eq!(read(&small, &version("a/1", &written[0])).await.unwrap(), b"0123456789");
    world.sandbox.fault("cut_response", "GetObject", 100);
    assert_eq!(read(&small, &version("a/1", &written[0])).await.unwrap_err().kind(), ErrorKind::Transient);
}

#[tokio::test]
async fn exact_versions_are_deleted_and_nothing_else() {
    let world = World::start(json!({"buckets": [{"name": "bank", "versioning": true}, {"name": "old"}]}));
    let s3 = world.s3(EAST, "bank", None).await;
    let mut written = Vec::new();
    for bytes in [b"1".as_slice(), b"2", b"3"] {
        written.push(put(&s3, "a", bytes).await.version_id.unwrap());
    }
    let asked = [version("a", "no-such-version"), version("a", &written[1]), version("b", &written[0])];
    assert_eq!(s3.delete_versions(&asked).await.unwrap(), vec![DeletedVersion::Gone; 3]);
    assert_eq!(ids(&list(&s3, "").await), [("a", written[2].as_str()), ("a", &written[0])]);
    assert_eq!(s3.delete_versions(&[]).await.unwrap(), []);
    // More than one request takes.
    let many: Vec<_> = (0..1500).map(|number| version("a", &format!("none-{number}"))).collect();
    assert_eq!(s3.delete_versions(&many).await.unwrap().len(), 1500);
    assert_eq!(world.sandbox.calls("DeleteObjects"), 3);

    // A bucket without versions: its objects have no id, and are read and deleted all the same.
    let old = world.s3(EAST, "old", None).await;
    put(&old, "a", b"0123456789").await;
    put(&old, "b", b"b").await;
    let [a, b] = ["a", "b"].map(|object| ObjectVersion { key: key(object), version_id: None });
    assert_eq!(ids(&list(&old, "").await), [("a", "none"), ("b", "none")]);
    assert_eq!(read(&old.clone().in_portions(1000, 4), &a).await.unwrap(), b"0123456789");
    assert_eq!(old.delete_versions(std::slice::from_ref(&b)).await.unwrap(), [DeletedVersion::Gone]);
    assert_eq!(ids(&list(&old, "").await), [("a", "none")]);

    // It gets versions: the object of before is deleted for good, and what was written since is not hidden.
    let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let client = world.client(EAST).await;
    client.put_bucket_versioning().bucket("old").versioning_configuration(on).send().await.unwrap();
    let new = put(&old, "a", b"new").await.version_id.unwrap();
    assert_eq!(ids(&list(&old, "").await), [("a", new.as_str()), ("a", "none")]);
    assert_eq!(old.delete_versions(&[a]).await.unwrap(), [DeletedVersion::Gone]);
    assert_eq!(ids(&list(&old, "").await), [("a", new.as_str())]);

    // Nobody but the owner that was named is asked to delete.
    let settings =
        S3Settings { bucket: "old".to_owned(), kms_key: None, expected_owner: Some("999999999999".to_owned()) };
    let another = S3::new(&world.aws(EAST).await, settings, &observer(), &world.clock);
    let refused = another.delete_versions(&[version("a", &new)]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
}
