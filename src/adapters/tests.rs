//! The adapters against the sandbox. Each test is a sequence, because each starts a sandbox of its own.

mod bucket;
mod contract;
mod copies;
mod identities;
mod keys;
mod replication;
mod server_metrics;
mod snapshots;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_sdk_s3::config::retry::RetryConfig;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::aws_clock::AwsClock;
use super::aws_identities::Identities;
use super::s3::{S3, S3Settings};
use super::system_clock::SystemClock;
use super::{aws, aws_rds::AwsRds};
use crate::domain::id::RegionName;
use crate::domain::key::ObjectKey;
use crate::domain::prune_record::ObjectVersion;
use crate::ports::clock::{Clock, Reference as _};
use crate::ports::object_store::{Condition, ObjectStore as _, Written};
use crate::ports::{PortError, RequestObserver};
use crate::testing::sandbox::Sandbox;

const EAST: &str = "us-east-1";
const WEST: &str = "us-west-2";
/// The account that everything in the sandbox belongs to.
const ACCOUNT: &str = "123456789012";
const KEY: &str = "alias/bank";

/// A sandbox, and adapters that go there and nowhere else.
struct World {
    sandbox: Sandbox,
    clock: Arc<AwsClock>,
}

impl World {
    fn start(mut seed: Value) -> World {
        seed["regions"] = serde_json::json!([EAST, WEST]);
        seed["kms_keys"] = serde_json::json!([{"alias": "bank", "region": EAST}, {"alias": "bank", "region": WEST}]);
        World { sandbox: Sandbox::start(&seed), clock: Arc::new(AwsClock::new(Arc::new(SystemClock))) }
    }

    async fn sdk(&self, region: &str) -> SdkConfig {
        aws::loader(&region.parse::<RegionName>().unwrap())
            .endpoint_url(self.sandbox.endpoint())
            .credentials_provider(login())
            .retry_config(RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(10)))
            .load()
            .await
    }

    async fn aws(&self, region: &str) -> Identities {
        Identities::from(self.sdk(region).await)
    }

    async fn s3(&self, region: &str, bucket: &str, kms_key: Option<&str>) -> S3 {
        let settings = S3Settings {
            bucket: bucket.to_owned(),
            kms_key: kms_key.map(str::to_owned),
            expected_owner: Some(ACCOUNT.to_owned()),
        };
        S3::new(&self.aws(region).await, settings, &observer(), &self.clock)
    }

    async fn rds(&self, region: &str) -> AwsRds {
        AwsRds::new(&self.aws(region).await, &observer(), &self.clock)
    }

    async fn client(&self, region: &str) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::new(&self.sdk(region).await)
    }
}

/// Fixed credentials, without the feature of the SDK that allows them in code and would have it built twice.
#[expect(deprecated, reason = "the types have moved to a crate that nothing else here needs")]
fn login() -> ProfileFileCredentialsProvider {
    use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
    let login = "[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = secret\n";
    let files = ProfileFiles::builder().with_contents(ProfileFileKind::Credentials, login).build();
    ProfileFileCredentialsProvider::builder().profile_files(files).build()
}

fn observer() -> RequestObserver {
    Arc::new(|_, _, _| {})
}

fn key(key: &str) -> ObjectKey {
    ObjectKey::listed(key)
}

fn version(object: &str, id: &str) -> ObjectVersion {
    ObjectVersion { key: key(object), version_id: Some(id.to_owned()) }
}

async fn put(s3: &S3, object: &str, bytes: &'static [u8]) -> Written {
    let over = s3.get(&key(object), 1 << 20).await.ok().map(|found| Condition::Matches(found.etag));
    s3.put(&key(object), Bytes::from_static(bytes), over.unwrap_or(Condition::Absent)).await.unwrap()
}

async fn read(s3: &S3, object: &ObjectVersion) -> Result<Vec<u8>, PortError> {
    let pieces: Vec<Bytes> = s3.read_version(object).await?.try_collect().await?;
    Ok(pieces.concat())
}

/// A clock that is wrong by a fixed time.
struct WrongClock(SignedDuration);

#[async_trait::async_trait]
impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.0
    }

    async fn sleep_until(&self, instant: Timestamp) {
        SystemClock.sleep_until(instant - self.0).await;
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_shows_by_how_much_and_a_good_one_shows_nothing() {
    let world = World::start(serde_json::json!({"buckets": [{"name": "bank"}]}));
    let off_by_less = |wanted: SignedDuration, clock: &AwsClock| {
        let ahead = clock.ahead().unwrap();
        assert!((ahead - wanted).abs() <= SignedDuration::from_secs(2), "{ahead:#} instead of {wanted:#}");
    };
    assert_eq!(world.clock.ahead(), None);
    world.s3(EAST, "bank", None).await.list_versions("").await.unwrap();
    off_by_less(SignedDuration::ZERO, &world.clock);

    let slow = Arc::new(AwsClock::new(Arc::new(WrongClock(SignedDuration::from_mins(-10)))));
    let rds = AwsRds::new(&world.aws(EAST).await, &observer(), &slow);
    crate::ports::rds::Rds::instances(&rds).await.unwrap();
    off_by_less(SignedDuration::from_mins(10), &slow);

    // An error tells the time as well as anything.
    let fast = Arc::new(AwsClock::new(Arc::new(WrongClock(SignedDuration::from_mins(7)))));
    let settings = S3Settings { bucket: "nowhere".to_owned(), kms_key: None, expected_owner: None };
    S3::new(&world.aws(EAST).await, settings, &observer(), &fast).list_versions("").await.unwrap_err();
    off_by_less(SignedDuration::from_mins(-7), &fast);
}
