use futures_util::TryStreamExt;
use jiff::SignedDuration;

use super::*;
use crate::domain::bucket::ReplicationStatus;
use crate::ports::object_store::{Condition, DeletedVersion, ObjectFacts, ObjectStore};
use crate::testing::now;

const DAY: SignedDuration = SignedDuration::from_hours(24);

struct Bench {
    clock: Arc<SimClock>,
    store: Arc<FakeObjectStore>,
    replica: Arc<FakeObjectStore>,
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::listed(name)
}

impl Bench {
    fn new() -> Bench {
        let clock = SimClock::starting_at(now());
        let bucket = |name: &str, kms_key: &str| {
            let setup =
                BucketSetup { name: name.to_owned(), kms_key: Some(kms_key.to_owned()), ..BucketSetup::default() };
            Arc::new(FakeObjectStore::new(Arc::clone(&clock) as Arc<dyn Clock>, setup))
        };
        let (store, replica) = (bucket("primary", "key-east"), bucket("replica", "key-west"));
        let setup = ReplicationSetup { prefix: "ours/".to_owned(), ..ReplicationSetup::default() };
        store.replicate_to(&replica, setup);
        Bench { clock, store, replica }
    }

    async fn pass(&self, time: SignedDuration) {
        self.clock.sleep_until(self.clock.now() + time).await;
    }

    async fn put(&self, name: &str) -> ObjectVersion {
        let written = self.store.put(&key(name), Bytes::from_static(b"bytes"), Condition::Absent).await.unwrap();
        ObjectVersion { key: key(name), version_id: written.version_id }
    }

    async fn status(&self, name: &str) -> Option<ReplicationStatus> {
        self.store.head(&key(name)).await.unwrap().replication
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_is_replicated_after_a_while_with_its_id_and_the_other_key() {
    let bench = Bench::new();
    let version = bench.put("ours/a").await;
    bench.put("theirs").await;
    assert_eq!(bench.status("ours/a").await, Some(ReplicationStatus::Pending));
    assert_eq!(bench.status("theirs").await, None, "no rule covers it");
    assert!(bench.replica.keys().is_empty());
    bench.pass(SignedDuration::from_secs(15)).await;
    let facts: ObjectFacts = bench.replica.head_version(&version).await.unwrap();
    assert_eq!(facts.replication, Some(ReplicationStatus::Replica));
    assert_eq!(facts.kms_key.as_deref(), Some("key-west"));
    assert_eq!(bench.status("ours/a").await, Some(ReplicationStatus::Completed));
    assert_eq!(bench.replica.keys(), [key("ours/a")]);
    let listed = bench.replica.list_versions("").await.unwrap();
    assert_eq!(listed.iter().next().unwrap().modified_at, Some(now()), "as at the source");
}

#[tokio::test(start_paused = true)]
async fn the_deletion_of_a_version_is_not_replicated() {
    let bench = Bench::new();
    let version = bench.put("ours/a").await;
    let early = bench.put("ours/b").await;
    assert_eq!(bench.store.delete_versions(&[early]).await.unwrap(), [DeletedVersion::Gone]);
    bench.pass(DAY).await;
    bench.store.delete_versions(std::slice::from_ref(&version)).await.unwrap();
    bench.store.delete_by_hand(&key("ours/c"));
    bench.pass(DAY).await;
    assert_eq!(bench.replica.keys(), [key("ours/a")], "and what was gone before has no replica");
    assert_eq!(bench.store.deleted().last(), Some(&(now() + DAY, version)));
}

#[tokio::test(start_paused = true)]
async fn replication_can_be_paused_and_can_fail() {
    let bench = Bench::new();
    bench.store.configure_replication(|setup| setup.works = Replicating::Paused);
    bench.put("ours/a").await;
    bench.pass(DAY).await;
    assert_eq!(bench.status("ours/a").await, Some(ReplicationStatus::Pending));
    bench.store.configure_replication(|setup| setup.works = Replicating::Fails);
    assert_eq!(bench.status("ours/a").await, Some(ReplicationStatus::Failed));
    bench.store.configure_replication(|setup| setup.works = Replicating::Yes);
    bench.pass(DAY).await;
    assert_eq!(bench.status("ours/a").await, Some(ReplicationStatus::Failed), "it is not tried again");
    bench.store.configure_replication(|setup| setup.kms_objects = false);
    bench.put("ours/b").await;
    assert_eq!(bench.status("ours/b").await, None, "S3 passes over what is under SSE-KMS");
    assert!(bench.replica.keys().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lock_ends_with_its_time_and_a_legal_hold_does_not() {
    let bench = Bench::new();
    let lock = ObjectLock { default_days: Some(2), compliance: true };
    bench.store.configure(|setup| setup.lock = Some(lock));
    let version = bench.put("ours/a").await;
    let locked_until = async || bench.store.head(&key("ours/a")).await.unwrap().locked_until;
    let delete = async || bench.store.delete_versions(std::slice::from_ref(&version)).await.unwrap().remove(0);
    assert_eq!(locked_until().await, Some(now() + DAY * 2));
    assert!(matches!(delete().await, DeletedVersion::Refused { .. }));
    bench.store.configure(|setup| setup.shows_locks = false);
    assert_eq!(locked_until().await, None, "S3 leaves out what one may not see");
    bench.store.configure(|setup| setup.shows_locks = true);
    bench.pass(SignedDuration::from_secs(15)).await;
    bench.store.hold(&key("ours/a"), true);
    bench.pass(DAY * 3).await;
    assert_eq!(locked_until().await, Some(Timestamp::MAX));
    assert!(matches!(delete().await, DeletedVersion::Refused { .. }));
    bench.store.hold(&key("ours/a"), false);
    bench.store.lock(&key("ours/a"), now());
    assert_eq!(delete().await, DeletedVersion::Gone);
    let replicated = bench.replica.head(&key("ours/a")).await.unwrap();
    assert_eq!(replicated.locked_until, Some(now() + DAY * 2), "a replica has the lock that its source had then");
}

#[tokio::test(start_paused = true)]
async fn what_happens_to_stored_bytes_shows_when_they_are_read() {
    let bench = Bench::new();
    let (a, b) = (key("ours/a"), key("ours/b"));
    bench.put("ours/a").await;
    let facts = bench.store.head(&a).await.unwrap();
    bench.store.flip_bit(&a, 1);
    assert_eq!(bench.store.bytes(&a).unwrap(), "bxtes");
    assert_eq!(bench.store.head(&a).await.unwrap(), facts, "S3 tells what it knew");
    bench.store.truncate(&a, 2);
    assert_eq!(bench.store.bytes(&a).unwrap(), "bx");
    bench.store.overwrite(&b, b"other");
    bench.store.swap(&a, &b);
    assert_eq!((bench.store.bytes(&a).unwrap(), bench.store.bytes(&b).unwrap()), ("other".into(), "bx".into()));
    bench.store.encrypt_with(&a, "key-of-somebody");
    assert_eq!(bench.store.head(&a).await.unwrap().kms_key.as_deref(), Some("key-of-somebody"));
    bench.store.delete_by_hand(&a);
    assert_eq!(bench.store.head(&a).await.unwrap_err().kind(), ErrorKind::NotFound);
    bench.store.lose(&b);
    assert!(bench.store.keys().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_read_can_fail_and_can_break_off() {
    let bench = Bench::new();
    let version = bench.put("ours/a").await;
    bench.store.fail_next(Call::Read, Strikes::Before);
    assert!(bench.store.read_version(&version).await.is_err());
    bench.store.fail_next(Call::Read, Strikes::After);
    let read = bench.store.read_version(&version).await.unwrap().try_collect::<Vec<Bytes>>().await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Transient);
    assert!(bench.store.read_version(&version).await.unwrap().try_collect::<Vec<Bytes>>().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_or_written_without_the_key() {
    let bench = Bench::new();
    let version = bench.put("ours/a").await;
    bench.store.set_key_enabled(false);
    assert_eq!(bench.store.get(&version.key, 10).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert!(bench.store.read_version(&version).await.is_err());
    assert!(bench.store.create_upload(&key("ours/b")).await.is_err());
    bench.store.set_key_enabled(true);
    assert!(bench.store.get(&version.key, 10).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_bucket_tells_how_it_is_set_up_or_what_it_is_told_to() {
    let bench = Bench::new();
    let facts = bench.store.bucket().await.unwrap();
    let rules = facts.replication.clone().unwrap();
    assert_eq!((rules[0].bucket.as_str(), rules[0].prefix.as_str()), ("replica", "ours/"));
    assert_eq!(rules[0].replica_kms_key.as_deref(), Some("key-west"));
    bench.store.set_facts(BucketFacts { versioning: Some(false), ..facts });
    assert_eq!(bench.store.bucket().await.unwrap().versioning, Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_bucket_without_versions_keeps_the_last_one_and_deletes_at_once() {
    let store =
        FakeObjectStore::new(SimClock::starting_at(now()), BucketSetup { versioned: false, ..BucketSetup::default() });
    store.overwrite(&key("a"), b"old");
    store.overwrite(&key("a"), b"new");
    assert_eq!(store.list_versions("").await.unwrap().len(), 1);
    let plain = ObjectVersion { key: key("a"), version_id: None };
    assert_eq!(store.delete_versions(&[plain]).await.unwrap(), [DeletedVersion::Gone]);
    assert!(store.list_versions("").await.unwrap().is_empty());
}
