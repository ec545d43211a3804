//! Copies from bucket to bucket, whole and in parts, and answers that get lost.

use serde_json::json;

use super::*;
use crate::ports::ErrorKind;
use crate::ports::object_store::{CopySource, ObjectFacts};

/// Above the least size of a part in this test's sandbox.
const PORTION: u64 = 4096;

struct Buckets {
    world: World,
    east: Arc<S3>,
    west: S3,
}

impl Buckets {
    async fn start() -> Buckets {
        let world = World::start(json!({
            "buckets": [
                {"name": "bank", "versioning": true, "kms": KEY},
                {"name": "bank-west", "region": WEST, "versioning": true, "kms": KEY},
            ],
            "s3": {"min_part_size": 1024},
        }));
        let east = Arc::new(world.s3(EAST, "bank", Some(KEY)).await);
        let west = world.s3(WEST, "bank-west", Some(KEY)).await.fed_by(Arc::clone(&east)).in_portions(1000, PORTION);
        Buckets { world, east, west }
    }

    /// An object of the first bucket, buried below a newer version.
    async fn source(&self, name: &str, bytes: &'static [u8]) -> CopySource {
        let written = put(&self.east, name, bytes).await.version_id.unwrap();
        put(&self.east, name, b"newer").await;
        CopySource { bucket: "bank".to_owned(), object: version(name, &written), size_bytes: bytes.len() as u64 }
    }

    async fn facts(&self, name: &str) -> ObjectFacts {
        self.west.head(&key(name)).await.unwrap()
    }

    async fn open_uploads(&self) -> usize {
        self.west.list_uploads("").await.unwrap().len()
    }
}

fn bytes(count: usize) -> &'static [u8] {
    Vec::leak((0..=250).cycle().take(count).collect())
}

#[tokio::test]
async fn objects_are_copied_by_the_store_itself_whole_and_in_parts() {
    let buckets = Buckets::start().await;
    let west = &buckets.west;
    for (name, size) in [("of one part+ä?.zst", 1000), ("of many parts", 40_000), ("empty", 0)] {
        let source = buckets.source(name, bytes(size)).await;
        west.copy_from(&source, &key(name)).await.unwrap();
        let original = buckets.east.head_version(&source.object).await.unwrap();
        let copy = buckets.facts(name).await;
        assert_eq!((copy.size_bytes, &copy.crc64nvme), (size as u64, &original.crc64nvme));
        assert!(copy.kms_key.as_ref().unwrap().contains(WEST));
        let copied = version(name, copy.version_id.as_ref().unwrap());
        assert_eq!(read(west, &copied).await.unwrap(), bytes(size));
        // Once more is no harm: what stands there is the copy.
        west.copy_from(&source, &key(name)).await.unwrap();
        assert_eq!(buckets.facts(name).await, copy);
        // Another object of the same size is not taken for it.
        let other = buckets.source("other", Vec::leak(vec![b'x'; size])).await;
        if size > 0 {
            assert_eq!(west.copy_from(&other, &key(name)).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
        buckets.east.delete_versions(&[other.object]).await.unwrap();
    }
    assert_eq!(buckets.world.sandbox.calls("UploadPartCopy"), 10, "an object that is there is not copied first");
    assert_eq!(buckets.open_uploads().await, 0);
    let missing = CopySource { object: version("empty", "no-such-version"), ..buckets.source("x", b"x").await };
    assert_eq!(west.copy_from(&missing, &key("missing")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_lost_answer_to_a_copy_is_cleared_up_and_a_failed_one_leaves_nothing() {
    let buckets = Buckets::start().await;
    let (west, sandbox) = (&buckets.west, &buckets.world.sandbox);
    let small = buckets.source("small", bytes(1000)).await;
    let large = buckets.source("large", bytes(40_000)).await;
    for (source, operation) in [(&small, "CopyObject"), (&large, "UploadPartCopy"), (&large, "CompleteMultipartUpload")]
    {
        // The first of two attempts is lost, then both.
        for lost in [1, 2] {
            if operation == "UploadPartCopy" && lost == 2 {
                continue;
            }
            let name = format!("{operation}-{lost}");
            sandbox.fault("drop_response_after_effect", operation, lost);
            west.copy_from(source, &key(&name)).await.unwrap();
            sandbox.clear_faults();
            assert_eq!(buckets.facts(&name).await.size_bytes, source.size_bytes);
        }
    }
    for (source, operation) in [(&small, "CopyObject"), (&large, "UploadPartCopy"), (&large, "CompleteMultipartUpload")]
    {
        sandbox.fault("error500", operation, 1000);
        assert_eq!(west.copy_from(source, &key("never")).await.unwrap_err().kind(), ErrorKind::Transient);
        sandbox.clear_faults();
        assert_eq!(west.head(&key("never")).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(buckets.open_uploads().await, 0);
    }
}
