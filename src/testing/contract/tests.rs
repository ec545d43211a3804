//! The contracts, on the fakes.

use std::sync::Arc;

use jiff::SignedDuration;
use rstest::rstest;

use super::object_store::StoreCase;
use super::rds::{CopyCase, RdsCase};
use crate::domain::bucket::ObjectLock;
use crate::testing::eventually::Patience;
use crate::testing::fake_rds::FakeRdsWorld;
use crate::testing::fake_store::{BucketSetup, FakeObjectStore};
use crate::testing::sim_clock::SimClock;
use crate::testing::{now, region};

#[rstest]
#[case::at_once(SignedDuration::ZERO, None)]
#[case::with_lists_that_lag(SignedDuration::from_secs(40), None)]
#[case::encrypted(SignedDuration::ZERO, Some("key-east"))]
#[tokio::test(start_paused = true)]
async fn the_fake_rds_keeps_the_contract(#[case] lag: SignedDuration, #[case] kms_key: Option<&str>) {
    let clock = SimClock::starting_at(now());
    let account = FakeRdsWorld::new(Arc::clone(&clock) as Arc<_>);
    let (here, there) = (account.region(&region()), account.region(&"us-west-2".parse().unwrap()));
    for region in [&here, &there] {
        region.configure(|settings| settings.lists_lag = lag);
    }
    let instance = "bank-accounts".parse().unwrap();
    here.add_instance(&instance, kms_key);
    let patience =
        Patience { clock: clock.as_ref(), every: SignedDuration::from_secs(5), at_most: SignedDuration::from_hours(1) };
    let copies =
        CopyCase { source_region: region(), rds: there.as_ref(), kms_key: kms_key.map(|_| "key-west".to_owned()) };
    let prefix = "contract".to_owned();
    let case = RdsCase { rds: here.as_ref(), instance, prefix, patience, copies: Some(copies) };
    super::rds::run_all(&case).await;
}

#[rstest]
#[case::plain(None, false)]
#[case::encrypted(Some("key"), false)]
#[case::locked(None, true)]
#[tokio::test(start_paused = true)]
async fn the_fake_store_keeps_the_contract(#[case] kms_key: Option<&str>, #[case] locks: bool) {
    let clock = SimClock::starting_at(now());
    let setup = BucketSetup {
        kms_key: kms_key.map(str::to_owned),
        lock: locks.then_some(ObjectLock { default_days: Some(30), compliance: true }),
        ..BucketSetup::default()
    };
    let bucket = setup.name.clone();
    let store = Arc::new(FakeObjectStore::new(Arc::clone(&clock) as Arc<_>, setup.clone()));
    let second = FakeObjectStore::new(clock, BucketSetup { name: "second".to_owned(), ..setup });
    second.can_copy_from(&store);
    let prefix = "contract".to_owned();
    let hide = |key: &crate::domain::key::ObjectKey| store.delete_by_hand(key);
    let case = StoreCase { store: store.as_ref(), prefix, bucket, locks, second: Some(&second), hide: Some(&hide) };
    super::object_store::run_all(&case).await;
}
