//! What KMS says of keys.

use serde_json::json;

use super::*;
use crate::adapters::aws_kms::AwsKeys;
use crate::domain::encryption_key::{KeyFacts, KeyName, KeyState};
use crate::ports::keys::Keys;

fn named(region: &str, key: &str) -> KeyName {
    KeyName { region: region.parse().unwrap(), key: key.to_owned() }
}

#[tokio::test]
async fn keys_say_who_manages_them_and_whether_they_can_be_used() {
    let world = World::start(json!({}));
    let keys = AwsKeys::new(&world.sdk(EAST).await, observer());
    let facts = |managed_by_aws, state| Some(KeyFacts { managed_by_aws, state });

    assert_eq!(keys.key(&named(EAST, KEY)).await.unwrap(), facts(false, KeyState::Enabled));
    assert_eq!(keys.key(&named(WEST, KEY)).await.unwrap(), facts(false, KeyState::Enabled));
    assert_eq!(keys.key(&named(EAST, "alias/aws/rds")).await.unwrap(), facts(true, KeyState::Enabled));
    assert_eq!(keys.key(&named(EAST, "alias/nobody-has-it")).await.unwrap(), facts(false, KeyState::Missing));

    let kms = aws_sdk_kms::Client::new(&world.sdk(WEST).await);
    let arn = kms.describe_key().key_id(KEY).send().await.unwrap().key_metadata.unwrap().arn.unwrap();
    kms.disable_key().key_id(&arn).send().await.unwrap();
    assert_eq!(keys.key(&named(WEST, &arn)).await.unwrap(), facts(false, KeyState::Disabled));
    assert_eq!(keys.key(&named(EAST, KEY)).await.unwrap(), facts(false, KeyState::Enabled), "in the other region");

    kms.schedule_key_deletion().key_id(&arn).pending_window_in_days(7).send().await.unwrap();
    let KeyState::PendingDeletion { at: Some(at) } = keys.key(&named(WEST, &arn)).await.unwrap().unwrap().state else {
        panic!("it is not to be deleted");
    };
    assert!(at > jiff::Timestamp::UNIX_EPOCH);
}
