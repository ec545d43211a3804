//! What buckets say about themselves.

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleFilter, NoncurrentVersionExpiration, PublicAccessBlockConfiguration, Tag,
};
use serde_json::json;

use super::replication::to_west;
use super::*;
use crate::domain::bucket::{self, BucketFacts, DefaultEncryption, ObjectLock};
use crate::ports::ErrorKind;

fn rule(id: &str, prefix: &str) -> aws_sdk_s3::types::builders::LifecycleRuleBuilder {
    let filter = LifecycleRuleFilter::builder().prefix(prefix).build();
    LifecycleRule::builder().id(id).status(ExpirationStatus::Enabled).filter(filter)
}

fn lifecycle() -> BucketLifecycleConfiguration {
    let and = aws_sdk_s3::types::LifecycleRuleAndOperator::builder()
        .prefix("tagged/")
        .tags(Tag::builder().key("a").value("b").build().unwrap())
        .build();
    BucketLifecycleConfiguration::builder()
        .rules(
            rule("uploads", "")
                .abort_incomplete_multipart_upload(
                    AbortIncompleteMultipartUpload::builder().days_after_initiation(7).build(),
                )
                .build()
                .unwrap(),
        )
        .rules(
            rule("old", "strongroom/")
                .expiration(LifecycleExpiration::builder().days(400).build())
                .noncurrent_version_expiration(NoncurrentVersionExpiration::builder().noncurrent_days(30).build())
                .build()
                .unwrap(),
        )
        .rules(
            rule("tagged", "")
                .filter(LifecycleRuleFilter::builder().and(and).build())
                .expiration(LifecycleExpiration::builder().days(1).build())
                .build()
                .unwrap(),
        )
        .rules(
            rule("large", "")
                .filter(LifecycleRuleFilter::builder().object_size_greater_than(1000).build())
                .expiration(LifecycleExpiration::builder().days(2).build())
                .build()
                .unwrap(),
        )
        .rules(
            rule("off", "")
                .status(ExpirationStatus::Disabled)
                .expiration(LifecycleExpiration::builder().days(1).build())
                .build()
                .unwrap(),
        )
        .build()
        .unwrap()
}

async fn set_up(world: &World) {
    let client = world.client(EAST).await;
    client.put_bucket_replication().bucket("bank").replication_configuration(to_west()).send().await.unwrap();
    let block = PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .ignore_public_acls(true)
        .block_public_policy(true)
        .restrict_public_buckets(true)
        .build();
    client.put_public_access_block().bucket("bank").public_access_block_configuration(block).send().await.unwrap();
    let tls = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::bank", "arn:aws:s3:::bank/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }});
    client.put_bucket_policy().bucket("bank").policy(tls.to_string()).send().await.unwrap();
    let request = client.put_bucket_lifecycle_configuration().bucket("bank").lifecycle_configuration(lifecycle());
    request.send().await.unwrap();
}

#[tokio::test]
async fn a_bucket_tells_how_it_is_set_up_and_what_it_may_not_tell_is_left_open() {
    let world = World::start(json!({"buckets": [
        {"name": "bank-west", "region": WEST, "object_lock": true, "kms": KEY},
        {"name": "bank", "kms": KEY, "object_lock": {"Mode": "COMPLIANCE", "Days": 35}},
        {"name": "bare"},
    ]}));
    set_up(&world).await;
    let s3 = world.s3(EAST, "bank", None).await;
    let full = s3.bucket().await.unwrap();
    let lifecycle = |id: &str, prefix: &str| bucket::LifecycleRule {
        id: id.to_owned(),
        prefix: prefix.to_owned(),
        ..bucket::LifecycleRule::default()
    };
    let wanted = BucketFacts {
        bucket: "bank".to_owned(),
        region: Some(EAST.parse().unwrap()),
        versioning: Some(true),
        encryption: Some(DefaultEncryption { kms: true, kms_key: Some(KEY.to_owned()), bucket_key: false }),
        object_lock: Some(Some(ObjectLock { default_days: Some(35), compliance: true })),
        public_access_blocked: Some(true),
        tls_only: Some(true),
        lifecycle: Some(vec![
            bucket::LifecycleRule { abort_uploads_days: Some(7), ..lifecycle("uploads", "") },
            bucket::LifecycleRule {
                expiration_days: Some(400),
                noncurrent_days: Some(30),
                ..lifecycle("old", "strongroom/")
            },
            bucket::LifecycleRule { expiration_days: Some(1), narrowed: true, ..lifecycle("tagged", "tagged/") },
            bucket::LifecycleRule { expiration_days: Some(2), narrowed: true, ..lifecycle("large", "") },
        ]),
        replication: Some(vec![bucket::ReplicationRule {
            id: "west".to_owned(),
            prefix: "strongroom/".to_owned(),
            narrowed: false,
            bucket: "bank-west".to_owned(),
            kms_objects: true,
            replica_kms_key: Some(KEY.to_owned()),
        }]),
    };
    assert_eq!(full, wanted);

    let bare = world.s3(EAST, "bare", None).await.bucket().await.unwrap();
    let nothing = BucketFacts {
        bucket: "bare".to_owned(),
        region: Some(EAST.parse().unwrap()),
        versioning: Some(false),
        encryption: Some(DefaultEncryption { kms: false, kms_key: None, bucket_key: false }),
        object_lock: Some(None),
        public_access_blocked: Some(false),
        tls_only: Some(false),
        lifecycle: Some(Vec::new()),
        replication: Some(Vec::new()),
    };
    assert_eq!(bare, nothing);

    let west = world.s3(WEST, "bank-west", None).await.bucket().await.unwrap();
    assert_eq!(west.region, Some(WEST.parse().unwrap()));
    assert_eq!(west.object_lock, Some(Some(ObjectLock { default_days: None, compliance: false })));

    for operation in ["GetBucketPolicy", "GetBucketReplication", "GetBucketVersioning"] {
        world.sandbox.fault("access_denied", operation, 1);
    }
    let partly = s3.bucket().await.unwrap();
    assert_eq!(partly, BucketFacts { tls_only: None, replication: None, versioning: None, ..full });

    world.sandbox.fault("error500", "GetBucketPolicy", 2);
    assert_eq!(s3.bucket().await.unwrap_err().kind(), ErrorKind::Transient);
    let missing = world.s3(EAST, "nowhere", None).await.bucket().await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}
