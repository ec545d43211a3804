//! What the planner and the executors rely on, asked of the real adapters: the same suite that the fakes pass.

use serde_json::json;

use super::*;
use crate::testing::contract::object_store::{self, StoreCase};
use crate::testing::contract::rds::{self, CopyCase, RdsCase};
use crate::testing::eventually::Patience;

#[tokio::test]
async fn rds_keeps_the_contract() {
    let world = World::start(json!({"instances": [{"id": "bank-accounts", "backup_retention": 0, "kms_key": KEY}]}));
    let (east, west) = (world.rds(EAST).await, world.rds(WEST).await);
    let patience = Patience {
        clock: &SystemClock,
        every: SignedDuration::from_millis(100),
        at_most: SignedDuration::from_secs(60),
    };
    let copies = CopyCase { source_region: EAST.parse().unwrap(), rds: &west, kms_key: Some(KEY.to_owned()) };
    let instance = "bank-accounts".parse().unwrap();
    let prefix = "contract".to_owned();
    rds::run_all(&RdsCase { rds: &east, instance, prefix, patience, copies: Some(copies) }).await;
}

#[tokio::test]
async fn buckets_keep_the_contract() {
    let lock = json!({"Mode": "COMPLIANCE", "Days": 1});
    let world = World::start(json!({"buckets": [
        {"name": "bank", "region": EAST, "versioning": true, "kms": KEY},
        {"name": "second", "region": WEST, "versioning": true, "kms": KEY},
        {"name": "locked", "region": EAST, "versioning": true, "object_lock": lock},
    ]}));
    let (bank, locked) = (world.s3(EAST, "bank", Some(KEY)).await, world.s3(EAST, "locked", None).await);
    let second = world.s3(WEST, "second", Some(KEY)).await;
    for (store, bucket, locks) in [(&bank, "bank", false), (&locked, "locked", true)] {
        let (prefix, bucket) = ("contract".to_owned(), bucket.to_owned());
        let second: Option<&dyn crate::ports::object_store::ObjectStore> = if locks { None } else { Some(&second) };
        object_store::run_all(&StoreCase { store, prefix, bucket, locks, second, hide: None }).await;
    }
}
