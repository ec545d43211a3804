//! Snapshots over two regions.

use serde_json::json;

use super::*;
use crate::domain::id::SnapshotId;
use crate::domain::inventory::Snapshot;
use crate::domain::tags::Tags;
use crate::ports::ErrorKind;
use crate::ports::rds::{Rds as _, SnapshotCopyRequest};

async fn available(rds: &AwsRds, id: &SnapshotId) -> Snapshot {
    for _ in 0..600 {
        let found = rds.snapshot(id).await.unwrap().unwrap();
        if found.status == "available" {
            return found;
        }
        SystemClock.sleep_until(SystemClock.now() + SignedDuration::from_millis(50)).await;
    }
    panic!("{id} did not become available");
}

#[tokio::test]
async fn an_encrypted_snapshot_is_copied_to_another_region_and_deleted() {
    let world = World::start(json!({
        "instances": [{
            "id": "bank-accounts", "backup_retention": 0, "kms_key": KEY,
            "snapshots": [{"id": "before", "tags": {"strongroom:owner": "bank/before"}}],
        }],
        "quotas": {"copies": 1},
        "timing": {"copying": 1.5},
    }));
    let (east, west) = (world.rds(EAST).await, world.rds(WEST).await);
    let (before, copy): (SnapshotId, SnapshotId) = ("before".parse().unwrap(), "before-west".parse().unwrap());
    let source = east.snapshot(&before).await.unwrap().unwrap();
    let request = SnapshotCopyRequest {
        source_arn: source.arn.clone().unwrap(),
        source_region: EAST.parse().unwrap(),
        target: copy.clone(),
        kms_key: Some(KEY.to_owned()),
        tags: Tags::from([("strongroom:owner".to_owned(), "bank/before-west".to_owned())]),
    };
    let kind = |outcome: Result<(), PortError>| outcome.unwrap_err().kind();
    let without_key = SnapshotCopyRequest { kms_key: None, ..request.clone() };
    assert_eq!(kind(west.copy_snapshot(&without_key).await), ErrorKind::Invalid);
    let of_no_key = SnapshotCopyRequest { kms_key: Some("alias/nothing".to_owned()), ..request.clone() };
    assert_eq!(kind(west.copy_snapshot(&of_no_key).await), ErrorKind::PermissionDenied);
    let of_nothing =
        SnapshotCopyRequest { source_arn: request.source_arn.replace("before", "after"), ..request.clone() };
    assert_eq!(kind(west.copy_snapshot(&of_nothing).await), ErrorKind::NotFound);

    west.copy_snapshot(&request).await.unwrap();
    assert_eq!(kind(west.copy_snapshot(&request).await), ErrorKind::AlreadyExists);
    let another = SnapshotCopyRequest { target: "another".parse().unwrap(), ..request.clone() };
    assert_eq!(kind(west.copy_snapshot(&another).await), ErrorKind::Throttled, "one copy at a time in this region");
    assert_eq!(kind(west.delete_snapshot(&copy).await), ErrorKind::WrongState);

    let done = available(&west, &copy).await;
    assert_eq!(done.copied_from, source.arn);
    assert_eq!((done.created_at, &done.resource), (source.created_at, &source.resource));
    assert!(done.stored_at > source.stored_at && done.kms_key.unwrap().contains(WEST));
    assert_eq!(done.tags, request.tags);
    assert_eq!(west.snapshots().await.unwrap().len(), 1);
    west.delete_snapshot(&copy).await.unwrap();
    assert_eq!(west.snapshot(&copy).await.unwrap(), None);
    assert_eq!(kind(west.delete_snapshot(&copy).await), ErrorKind::NotFound);
    assert!(east.snapshot(&before).await.unwrap().is_some(), "the source stays");
}
