use super::*;
use crate::domain::inventory::Complete;
use crate::ports::ErrorKind;
use crate::ports::rds::{Rds, SnapshotCopyRequest};
use crate::testing::sim_clock::SimClock;
use crate::testing::{now, region};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

struct Bench {
    clock: Arc<SimClock>,
    account: Arc<FakeRdsWorld>,
    east: Arc<FakeRds>,
    west: Arc<FakeRds>,
    instance: InstanceId,
}

fn west() -> RegionName {
    "us-west-2".parse().unwrap()
}

fn id(name: &str) -> SnapshotId {
    name.parse().unwrap()
}

impl Bench {
    fn new() -> Bench {
        let clock = SimClock::starting_at(now());
        let account = FakeRdsWorld::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let (east, west) = (account.region(&region()), account.region(&west()));
        let instance = "bank-accounts".parse().unwrap();
        east.add_instance(&instance, None);
        Bench { clock, account, east, west, instance }
    }

    async fn pass(&self, time: SignedDuration) {
        self.clock.sleep_until(self.clock.now() + time).await;
    }

    async fn create(&self, name: &str) -> Result<(), ErrorKind> {
        let created = self.east.create_snapshot(&id(name), &self.instance, &Tags::new()).await;
        created.map_err(|error| error.kind())
    }

    async fn copy(&self, source: &str, target: &str, kms_key: Option<&str>) -> Result<(), ErrorKind> {
        let copy = SnapshotCopyRequest {
            source_arn: state::arn(&region(), &id(source)),
            source_region: region(),
            target: id(target),
            kms_key: kms_key.map(str::to_owned),
            tags: Tags::new(),
        };
        self.west.copy_snapshot(&copy).await.map_err(|error| error.kind())
    }

    async fn status(&self, name: &str) -> Option<(String, u8)> {
        let mut found = self.east.snapshot(&id(name)).await.unwrap();
        if found.is_none() {
            found = self.west.snapshot(&id(name)).await.unwrap();
        }
        found.map(|snapshot| (snapshot.status, snapshot.progress_percent))
    }

    async fn instance_status(&self) -> String {
        let instances: Complete<Instance> = self.east.instances().await.unwrap();
        instances.iter().next().expect("there is one").status.clone()
    }
}

fn shown(status: &str, percent: u8) -> Option<(String, u8)> {
    Some((status.to_owned(), percent))
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_moves_on_with_the_clock_and_keeps_its_instance_busy() {
    let bench = Bench::new();
    bench.create("one").await.unwrap();
    assert_eq!(bench.instance_status().await, "backing-up");
    bench.pass(MINUTE).await;
    assert_eq!(bench.status("one").await, shown("creating", 20));
    bench.pass(MINUTE * 4).await;
    assert_eq!(bench.status("one").await, shown("available", 100));
    assert_eq!(bench.instance_status().await, "available");
    let events = bench.east.instance_events(&bench.instance, now()).await.unwrap();
    let events: Vec<_> = events.iter().map(|event| (event.at, event.message.as_str())).collect();
    assert_eq!(events, [(now(), "Backing up DB instance"), (now() + MINUTE * 5, "Finished DB Instance backup")]);
    bench.pass(SignedDuration::from_hours(15 * 24)).await;
    bench.east.add_event(&bench.instance, "DB instance restarted");
    assert_eq!(bench.east.instance_events(&bench.instance, now()).await.unwrap().len(), 1, "kept for 14 days");
}

#[tokio::test(start_paused = true)]
async fn snapshots_fail_and_stick_on_order() {
    let bench = Bench::new();
    for fate in [Fate::Fails, Fate::Sticks, Fate::Available] {
        bench.east.next_snapshot(fate);
    }
    bench.create("fails").await.unwrap();
    bench.pass(MINUTE * 5).await;
    assert_eq!(bench.status("fails").await, shown("failed", 0));
    bench.east.delete_snapshot(&id("fails")).await.unwrap();
    bench.create("sticks").await.unwrap();
    bench.pass(SignedDuration::from_hours(24)).await;
    assert_eq!(bench.status("sticks").await, shown("creating", 0));
    bench.east.release(&id("sticks"));
    assert_eq!(bench.status("sticks").await, shown("available", 100));
    let changes = bench.account.changes();
    assert_eq!(changes[1].at, now() + MINUTE * 5);
    let kinds: Vec<_> = changes.iter().map(|change| change.kind).collect();
    use ChangeKind::{Available, Deleted, Failed, Ordered};
    assert_eq!(kinds, [Ordered, Failed, Ordered, Deleted, Available]);
}

#[tokio::test(start_paused = true)]
async fn only_an_instance_that_takes_snapshots_is_snapshotted_and_only_up_to_the_quota() {
    let bench = Bench::new();
    bench.east.set_status(&bench.instance, "modifying");
    assert_eq!(bench.create("one").await, Err(ErrorKind::WrongState));
    bench.east.set_status(&bench.instance, "storage-optimization");
    bench.create("one").await.unwrap();
    assert_eq!(bench.create("two").await, Err(ErrorKind::WrongState));
    assert_eq!(bench.create("ONE").await, Err(ErrorKind::AlreadyExists), "RDS keeps ids in lower case");
    bench.pass(MINUTE * 5).await;
    bench.east.configure(|settings| settings.snapshots_max = 1);
    assert_eq!(bench.create("two").await, Err(ErrorKind::Other));
}

#[tokio::test(start_paused = true)]
async fn a_new_instance_of_an_old_name_is_another_one() {
    let bench = Bench::new();
    bench.create("old").await.unwrap();
    bench.pass(MINUTE * 5).await;
    bench.east.delete_instance(&bench.instance);
    assert_eq!(bench.create("none").await, Err(ErrorKind::NotFound));
    let resource = bench.east.add_instance(&bench.instance, None);
    let old = bench.east.snapshot(&id("old")).await.unwrap().expect("manual snapshots stay");
    assert_ne!(old.resource, Some(resource));
}

#[tokio::test(start_paused = true)]
async fn a_copy_takes_its_time_and_a_key_that_can_be_used() {
    let bench = Bench::new();
    bench.east.delete_instance(&bench.instance);
    bench.east.add_instance(&bench.instance, Some("key-east"));
    bench.create("source").await.unwrap();
    assert_eq!(bench.copy("source", "copy", Some("key-west")).await, Err(ErrorKind::WrongState), "not available");
    bench.pass(MINUTE * 5).await;
    assert_eq!(bench.copy("source", "copy", None).await, Err(ErrorKind::Invalid));
    bench.west.disable_key("key-west");
    assert_eq!(bench.copy("source", "copy", Some("key-west")).await, Err(ErrorKind::PermissionDenied));
    bench.west.enable_key("key-west");
    bench.copy("source", "copy", Some("key-west")).await.unwrap();
    bench.pass(MINUTE * 5).await;
    assert_eq!(bench.status("copy").await, shown("copying", 25));
    assert_eq!(bench.instance_status().await, "available", "a copy keeps nobody busy");
    bench.pass(MINUTE * 15).await;
    let copy = bench.west.snapshot(&id("copy")).await.unwrap().unwrap();
    assert_eq!((copy.created_at, copy.stored_at), (Some(now()), Some(now() + MINUTE * 5)));
    assert_eq!(copy.kms_key.as_deref(), Some("key-west"));
}

#[tokio::test(start_paused = true)]
async fn a_copy_fails_with_its_source_and_on_order() {
    let bench = Bench::new();
    bench.create("source").await.unwrap();
    bench.pass(MINUTE * 5).await;
    bench.copy("source", "one", None).await.unwrap();
    bench.east.delete_snapshot(&id("source")).await.unwrap();
    assert_eq!(bench.status("source").await, shown("deleting", 100));
    assert_eq!(bench.east.delete_snapshot(&id("source")).await.unwrap_err().kind(), ErrorKind::WrongState);
    assert_eq!(bench.status("one").await, shown("failed", 0));
    bench.create("second-source").await.unwrap();
    bench.pass(MINUTE * 5).await;
    bench.west.next_copy(Fate::Fails);
    bench.copy("second-source", "two", None).await.unwrap();
    bench.pass(MINUTE * 20).await;
    assert_eq!(bench.status("two").await, shown("failed", 0));
    assert!(bench.account.changes().iter().any(|c| c.region == west() && c.snapshot.id == id("two")));
}

#[tokio::test(start_paused = true)]
async fn so_many_copies_are_made_at_once_and_no_more() {
    let bench = Bench::new();
    bench.create("source").await.unwrap();
    bench.pass(MINUTE * 5).await;
    for number in 0..20 {
        bench.copy("source", &format!("copy-{number}"), None).await.unwrap();
    }
    assert_eq!(bench.copy("source", "copy-20", None).await, Err(ErrorKind::Throttled));
    bench.pass(MINUTE * 20).await;
    bench.copy("source", "copy-20", None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_list_may_lag_and_people_make_snapshots_too() {
    let bench = Bench::new();
    bench.east.configure(|settings| settings.lists_lag = MINUTE);
    let tags = Tags::from([("strongroom:owner".to_owned(), "bank-prod/another".to_owned())]);
    bench.east.add_foreign_snapshot(&id("before-the-release"), &bench.instance, tags);
    assert_eq!(bench.status("before-the-release").await, None);
    assert_eq!(bench.east.every_snapshot().len(), 1);
    bench.pass(MINUTE).await;
    assert_eq!(bench.status("before-the-release").await, shown("available", 100));
    let listed = bench.east.snapshots().await.unwrap();
    assert_eq!(listed.len(), 1);
}
