//! Roles that are assumed for functions.

use std::sync::atomic::{AtomicI64, Ordering};

use aws_sdk_s3::config::ProvideCredentials as _;
use futures_util::future::join_all;
use serde_json::json;

use super::*;
use crate::ports::ErrorKind;
use crate::ports::rds::Rds as _;
use crate::ports::roles::{Function, Roles};

const BANK: &str = "bank";
const ASSUME: &str = "AssumeRole";
const ANSWERS_FOR_EVER: u32 = 1000;

/// A clock that can be put on.
#[derive(Default)]
struct Minutes(AtomicI64);

impl Minutes {
    fn put_on_to(&self, minutes: i64) {
        self.0.store(minutes, Ordering::Relaxed);
    }
}

#[async_trait::async_trait]
impl Clock for Minutes {
    fn now(&self) -> Timestamp {
        SystemClock.now() + SignedDuration::from_mins(self.0.load(Ordering::Relaxed))
    }

    async fn sleep_until(&self, instant: Timestamp) {
        SystemClock.sleep_until(instant).await;
    }
}

impl World {
    async fn assuming(&self, functions: &[Function], clock: &Arc<Minutes>, aws_clock: &Arc<AwsClock>) -> Identities {
        let role = |function: &Function| {
            let arn = format!("arn:aws:iam::{ACCOUNT}:role/strongroom-{}", function.name());
            (*function, arn.parse().unwrap())
        };
        let roles: Roles = functions.iter().map(role).collect();
        let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
        self.aws(EAST).await.assuming(roles, &BANK.parse().unwrap(), &observer(), &clock, aws_clock)
    }
}

/// What requests for a function are signed with, or why they cannot be.
async fn access_key(aws: &Identities, function: Function) -> Result<String, String> {
    let credentials = aws.of(function).credentials_provider().unwrap().provide_credentials().await;
    let credentials = credentials.map_err(|error| crate::ports::Chain(&error).to_string())?;
    Ok(credentials.access_key_id().to_owned())
}

#[tokio::test]
async fn a_role_is_assumed_once_for_all_that_its_function_does_in_every_region() {
    let world = World::start(json!({"buckets": [{"name": BANK}]}));
    let aws = world.assuming(&[Function::Observe, Function::Prune], &Arc::default(), &world.clock).await;
    let rds = |aws: &Identities| AwsRds::new(aws, &observer(), &world.clock);
    let (here, there) = (rds(&aws), rds(&aws.in_region(&WEST.parse().unwrap())));
    let settings = S3Settings { bucket: BANK.to_owned(), kms_key: None, expected_owner: None };
    let s3 = S3::new(&aws, settings, &observer(), &world.clock);
    assert_eq!(world.sandbox.calls(ASSUME), 0, "nobody has asked for anything yet");

    let listings = join_all((0..8).map(|_| s3.list_versions("")));
    let (here, there, listings) = tokio::join!(here.instances(), there.instances(), listings);
    here.unwrap();
    there.unwrap();
    listings.into_iter().for_each(|listed| drop(listed.unwrap()));
    assert_eq!(world.sandbox.calls(ASSUME), 1);

    s3.put(&key("strongroom/a.json"), Bytes::from_static(b"{}"), Condition::Absent).await.unwrap();
    s3.get(&key("strongroom/a.json"), 100).await.unwrap();
    assert_eq!(world.sandbox.calls(ASSUME), 1, "writing has no role here, and records are for those who look");

    let pruning = access_key(&aws, Function::Prune).await;
    assert_eq!(world.sandbox.calls(ASSUME), 2);
    assert_ne!(pruning, access_key(&aws, Function::Observe).await);
    assert_eq!(
        access_key(&aws, Function::Tell).await.as_deref(),
        Ok("AKIATEST"),
        "what has no role is the process's own"
    );
}

#[tokio::test]
async fn credentials_are_renewed_before_they_expire_and_good_ones_outlast_a_failed_renewal() {
    let world = World::start(json!({}));
    let clock = Arc::new(Minutes::default());
    let aws = world.assuming(&[Function::Prune], &clock, &world.clock).await;
    let first = access_key(&aws, Function::Prune).await;
    assert!(first.is_ok());
    clock.put_on_to(50);
    assert_eq!(access_key(&aws, Function::Prune).await, first);

    world.sandbox.fault("access_denied", ASSUME, ANSWERS_FOR_EVER);
    clock.put_on_to(56);
    assert_eq!(access_key(&aws, Function::Prune).await, first, "it is good for four more minutes");
    let asked = world.sandbox.calls(ASSUME);
    assert_eq!(access_key(&aws, Function::Prune).await, first);
    assert_eq!(world.sandbox.calls(ASSUME), asked, "not for every request");
    clock.put_on_to(61);
    let refused = access_key(&aws, Function::Prune).await.unwrap_err();
    assert!(refused.contains("(`aws.roles.prune`): AccessDenied"), "{refused}");

    world.sandbox.clear_faults();
    let asked = tokio::time::Instant::now();
    let second = loop {
        match access_key(&aws, Function::Prune).await {
            Ok(second) => break second,
            Err(refused) => assert!(asked.elapsed() < Duration::from_secs(60), "{refused}"),
        }
    };
    assert_ne!(Ok(second), first);
}

#[tokio::test]
async fn one_without_patience_does_not_keep_the_next_one_from_credentials_that_are_good() {
    let world = World::start(json!({}));
    let clock = Arc::new(Minutes::default());
    let aws = world.assuming(&[Function::Prune], &clock, &world.clock).await;
    let first = access_key(&aws, Function::Prune).await;
    world.sandbox.fault("hold", ASSUME, ANSWERS_FOR_EVER);
    clock.put_on_to(56);
    let impatient = tokio::time::timeout(Duration::from_millis(500), access_key(&aws, Function::Prune)).await;
    assert!(impatient.is_err(), "STS hangs: {impatient:?}");
    assert_eq!(access_key(&aws, Function::Prune).await, first);
    assert_eq!(world.sandbox.calls(ASSUME), 2);
    world.sandbox.clear_faults();
}

#[tokio::test]
async fn many_who_need_a_role_that_is_refused_ask_once() {
    let world = World::start(json!({}));
    let aws = world.assuming(&[Function::Prune], &Arc::default(), &world.clock).await;
    world.sandbox.fault("access_denied", ASSUME, ANSWERS_FOR_EVER);
    let answers = join_all((0..8).map(|_| access_key(&aws, Function::Prune))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(|why| why.contains("AccessDenied"))), "{answers:?}");
    assert_eq!(world.sandbox.calls(ASSUME), 1);
}

#[tokio::test]
async fn a_session_lasts_although_our_clock_is_a_day_ahead() {
    let world = World::start(json!({}));
    let clock = Arc::new(Minutes::default());
    clock.put_on_to(24 * 60);
    let aws_clock = Arc::new(AwsClock::new(Arc::clone(&clock) as Arc<dyn Clock>));
    let aws = world.assuming(&[Function::Prune], &clock, &aws_clock).await;
    assert_eq!(access_key(&aws, Function::Prune).await, access_key(&aws, Function::Prune).await);
    assert_eq!(world.sandbox.calls(ASSUME), 1);
}

#[tokio::test]
async fn a_role_that_cannot_be_assumed_is_named_with_its_key_and_the_answer() {
    let world = World::start(json!({}));
    let aws = world.assuming(&[Function::Observe, Function::Prune], &Arc::default(), &world.clock).await;
    let rds = AwsRds::new(&aws, &observer(), &world.clock);
    rds.instances().await.unwrap();

    world.sandbox.fault("access_denied", ASSUME, ANSWERS_FOR_EVER);
    let refused = rds.delete_snapshot(&"strongroom-1".parse().unwrap()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    let text = crate::ports::Chain(&refused).to_string();
    let wanted = format!(
        "cannot delete DB snapshot strongroom-1: \
         cannot assume role arn:aws:iam::{ACCOUNT}:role/strongroom-prune (`aws.roles.prune`): AccessDenied: "
    );
    assert!(text.starts_with(&wanted), "{text}");
    rds.instances().await.unwrap();

    let refusals: Vec<String> = aws.assume_all().await.iter().map(ToString::to_string).collect();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(refusals[0].contains("`aws.roles.prune`"), "{refusals:?}");
    assert_eq!(world.sandbox.calls("DeleteDBSnapshot"), 0);
}

#[tokio::test]
async fn what_sts_says_is_no_word_about_what_a_request_would_have_been_about() {
    let world = World::start(json!({"buckets": [{"name": BANK}]}));
    world.sandbox.fault("access_denied", ASSUME, ANSWERS_FOR_EVER);
    let aws = world.assuming(&[Function::Observe, Function::Verify], &Arc::default(), &world.clock).await;
    let settings = S3Settings { bucket: BANK.to_owned(), kms_key: None, expected_owner: None };
    let s3 = S3::new(&aws, settings, &observer(), &world.clock);
    let transient = |error: PortError| assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    transient(s3.head_version(&version("strongroom/a", "v")).await.unwrap_err());
    transient(s3.read_version(&version("strongroom/a", "v")).await.err().unwrap());
    transient(s3.get(&key("strongroom/a.json"), 100).await.unwrap_err());
    transient(s3.list_versions("").await.unwrap_err());
    transient(s3.bucket().await.unwrap_err());
    transient(AwsRds::new(&aws, &observer(), &world.clock).snapshots().await.unwrap_err());
    let keys = crate::adapters::aws_kms::AwsKeys::new(aws.of(Function::Observe), observer());
    let named = crate::domain::encryption_key::KeyName { region: EAST.parse().unwrap(), key: KEY.to_owned() };
    transient(crate::ports::keys::Keys::key(&keys, &named).await.unwrap_err());
}
