//! Locks, and what two buckets say of one version.

use aws_sdk_s3::types::{
    DeleteMarkerReplication, DeleteMarkerReplicationStatus, Destination, EncryptionConfiguration, ObjectLockLegalHold,
    ObjectLockLegalHoldStatus, ReplicationConfiguration, ReplicationRule, ReplicationRuleFilter, ReplicationRuleStatus,
    SourceSelectionCriteria, SseKmsEncryptedObjects, SseKmsEncryptedObjectsStatus,
};
use serde_json::json;

use super::*;
use crate::domain::bucket::ReplicationStatus;
use crate::ports::object_store::DeletedVersion;

/// Objects encrypted with KMS are replicated to the other region, and encrypted with its key there.
pub(super) fn to_west() -> ReplicationConfiguration {
    let kms = SseKmsEncryptedObjects::builder().status(SseKmsEncryptedObjectsStatus::Enabled).build().unwrap();
    let encryption = EncryptionConfiguration::builder().replica_kms_key_id(KEY).build();
    let destination =
        Destination::builder().bucket("arn:aws:s3:::bank-west").encryption_configuration(encryption).build().unwrap();
    let markers = DeleteMarkerReplication::builder().status(DeleteMarkerReplicationStatus::Disabled).build();
    let rule = ReplicationRule::builder()
        .id("west")
        .priority(1)
        .status(ReplicationRuleStatus::Enabled)
        .filter(ReplicationRuleFilter::builder().prefix("strongroom/").build())
        .source_selection_criteria(SourceSelectionCriteria::builder().sse_kms_encrypted_objects(kms).build())
        .delete_marker_replication(markers)
        .destination(destination)
        .build()
        .unwrap();
    ReplicationConfiguration::builder().role("arn:aws:iam::123456789012:role/replication").rules(rule).build().unwrap()
}

#[tokio::test]
async fn a_replicated_version_is_the_same_in_both_buckets_and_a_lock_holds_in_each() {
    let world = World::start(json!({
        "buckets": [
            {"name": "bank-west", "region": WEST, "object_lock": true, "kms": KEY},
            {"name": "bank", "kms": KEY, "object_lock": {"Mode": "COMPLIANCE", "Days": 2}},
        ],
        "s3": {"replication_delay": 3600},
    }));
    let client = world.client(EAST).await;
    client.put_bucket_replication().bucket("bank").replication_configuration(to_west()).send().await.unwrap();
    let (east, west) = (world.s3(EAST, "bank", Some(KEY)).await, world.s3(WEST, "bank-west", Some(KEY)).await);

    let written = put(&east, "strongroom/a", b"bytes").await.version_id.unwrap();
    let uncovered = put(&east, "elsewhere", b"bytes").await.version_id.unwrap();
    let object = version("strongroom/a", &written);
    let before = east.head_version(&object).await.unwrap();
    assert_eq!(before.replication, Some(ReplicationStatus::Pending));
    assert!(before.kms_key.unwrap().contains(EAST));
    let days = |until: Option<Timestamp>| until.unwrap().duration_since(SystemClock.now()).as_hours();
    assert!((47..=48).contains(&days(before.locked_until)));
    assert_eq!(east.head_version(&version("elsewhere", &uncovered)).await.unwrap().replication, None);
    assert!(west.head_version(&object).await.is_err());

    world.sandbox.side("POST", "s3/flush-replication", &json!({}));
    let (source, replica) = (east.head_version(&object).await.unwrap(), west.head(&object.key).await.unwrap());
    assert_eq!(source.replication, Some(ReplicationStatus::Completed));
    assert_eq!(replica.replication, Some(ReplicationStatus::Replica));
    assert_eq!((&replica.version_id, &replica.crc64nvme), (&source.version_id, &source.crc64nvme));
    assert_eq!(replica.locked_until, source.locked_until);
    assert!(replica.kms_key.unwrap().contains(WEST));

    // One is locked, one is not there: each gets its own answer, in the order asked.
    for s3 in [&east, &west] {
        let outcomes = s3.delete_versions(&[object.clone(), version("strongroom/a", "none")]).await.unwrap();
        let [DeletedVersion::Refused { reason }, DeletedVersion::Gone] = outcomes.as_slice() else {
            panic!("{outcomes:?}")
        };
        assert!(reason.starts_with("AccessDenied: "), "{reason}");
        assert_eq!(read(s3, &object).await.unwrap(), b"bytes");
    }

    // A legal hold has no end, and what no rule locks is free.
    let hold = ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::On).build();
    let free = put(&west, "free", b"bytes").await.version_id.unwrap();
    let free = version("free", &free);
    assert_eq!(west.head_version(&free).await.unwrap().locked_until, None);
    let client = world.client(WEST).await;
    client.put_object_legal_hold().bucket("bank-west").key("free").legal_hold(hold).send().await.unwrap();
    assert_eq!(west.head_version(&free).await.unwrap().locked_until, Some(Timestamp::MAX));
    assert!(matches!(west.delete_versions(&[free]).await.unwrap()[0], DeletedVersion::Refused { .. }));
}
