use bytes::Bytes;
use jiff::SignedDuration;

use super::*;
use crate::domain::key::ObjectKey;
use crate::domain::tags::Tags;
use crate::ports::ErrorKind;
use crate::ports::clock::Clock;
use crate::ports::object_store::{Condition, ObjectStore};
use crate::ports::postgres::Postgres;
use crate::ports::rds::Rds;
use crate::testing::fake_postgres::FakePostgres;
use crate::testing::fake_rds::FakeRdsWorld;
use crate::testing::fake_store::{BucketSetup, FakeObjectStore};
use crate::testing::sim_clock::SimClock;
use crate::testing::{now, region};

struct Bench {
    clock: Arc<SimClock>,
    faults: Arc<FaultPlan>,
    inner: Arc<FakeObjectStore>,
    store: Arc<Faulty<dyn ObjectStore>>,
}

impl Bench {
    fn of(seed: u64) -> Bench {
        let clock = SimClock::starting_at(now());
        let faults = FaultPlan::new(Arc::clone(&clock) as Arc<dyn Clock>, seed);
        let inner = Arc::new(FakeObjectStore::new(Arc::clone(&clock) as Arc<dyn Clock>, BucketSetup::default()));
        let store = Faulty::new(Arc::clone(&inner) as Arc<dyn ObjectStore>, &faults);
        Bench { clock, faults, inner, store }
    }

    async fn put(&self, name: &str) -> Result<(), ErrorKind> {
        let put = self.store.put(&ObjectKey::listed(name), Bytes::from_static(b"x"), Condition::Absent).await;
        put.map(drop).map_err(|error| error.kind())
    }

    fn stands(&self, name: &str) -> bool {
        self.inner.bytes(&ObjectKey::listed(name)).is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn effects_are_counted_over_all_ports_and_reads_and_refusals_are_not() {
    let bench = Bench::of(1);
    let account = FakeRdsWorld::new(Arc::clone(&bench.clock) as Arc<dyn Clock>).region(&region());
    let instance = "bank-accounts".parse().unwrap();
    account.add_instance(&instance, None);
    let rds: Arc<Faulty<dyn Rds>> = Faulty::new(account, &bench.faults);
    bench.put("a").await.unwrap();
    assert_eq!(bench.put("a").await, Err(ErrorKind::AlreadyExists));
    bench.store.list_versions("").await.unwrap();
    rds.create_snapshot(&"one".parse().unwrap(), &instance, &Tags::new()).await.unwrap();
    let effects: Vec<_> = bench.faults.effects().into_iter().map(|e| (e.operation, e.subject)).collect();
    assert_eq!(effects, [(Operation::Put, "a".to_owned()), (Operation::CreateSnapshot, "one".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn an_effect_is_failed_or_loses_its_answer_by_its_number() {
    let bench = Bench::of(1);
    bench.faults.fail_effect(2, ErrorKind::PermissionDenied);
    bench.faults.lose_response(3);
    bench.put("1").await.unwrap();
    assert_eq!(bench.put("2").await, Err(ErrorKind::PermissionDenied));
    assert!(!bench.stands("2"));
    bench.put("2").await.unwrap();
    assert_eq!(bench.put("3").await, Err(ErrorKind::Transient));
    assert!(bench.stands("3"), "only the answer is lost");
    bench.put("4").await.unwrap();
    bench.faults.fail_next(Operation::ListVersions, ErrorKind::Throttled);
    assert_eq!(bench.store.list_versions("").await.unwrap_err().kind(), ErrorKind::Throttled);
    assert!(bench.store.list_versions("").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_dead_hears_nothing_any_more() {
    let bench = Bench::of(1);
    bench.faults.die_after(1);
    tokio::select! {
        answer = bench.put("1") => panic!("a dead process got {answer:?}"),
        () = bench.faults.died() => {}
    }
    assert!(bench.stands("1"), "the effect is there");
    let hour = bench.clock.now() + SignedDuration::from_hours(1);
    tokio::select! {
        answer = bench.store.list_versions("") => panic!("a dead process got {answer:?}"),
        () = bench.clock.sleep_until(hour) => {}
    }
    let unborn = Bench::of(1);
    unborn.faults.die_after(0);
    unborn.faults.died().await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_lasts_as_long_as_it_does() {
    let bench = Bench::of(1);
    let until = now() + SignedDuration::from_mins(10);
    bench.faults.add_storm(Storm { from: now(), until, kind: ErrorKind::Throttled, per_mille: 1000 });
    assert_eq!(bench.put("1").await, Err(ErrorKind::Throttled));
    bench.clock.sleep_until(until).await;
    bench.put("1").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_has_faults_too() {
    let bench = Bench::of(1);
    let servers = FakePostgres::new(Arc::clone(&bench.clock) as Arc<dyn Clock>);
    servers.set_rows("db", &"accounts".parse().unwrap(), 1);
    let postgres: Arc<Faulty<dyn Postgres>> = Faulty::new(servers, &bench.faults);
    let login = crate::testing::fake_postgres::login_to("db");
    bench.faults.fail_next(Operation::DatabaseFacts, ErrorKind::Transient);
    assert!(postgres.facts(&login, &"accounts".parse().unwrap()).await.is_err());
    assert!(postgres.facts(&login, &"accounts".parse().unwrap()).await.is_ok());
    assert!(postgres.globals(&login, &"accounts".parse().unwrap()).await.is_ok());
}

/// What became of two hundred writes, and when.
async fn fates(seed: u64) -> Vec<(Result<(), ErrorKind>, i64)> {
    let bench = Bench::of(seed);
    bench.faults.set_chances(Chances {
        fail: 100,
        kinds: vec![ErrorKind::Transient, ErrorKind::Throttled],
        lose_response: 50,
        delay: 200,
        delay_max: SignedDuration::from_secs(30),
    });
    let mut fates = Vec::new();
    for number in 0..200 {
        let fate = bench.put(&number.to_string()).await;
        fates.push((fate, bench.clock.now().as_millisecond()));
    }
    fates
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_sequence_of_faults() {
    let (one, again, other) = (fates(5).await, fates(5).await, fates(6).await);
    let results = |fates: &[(Result<(), ErrorKind>, i64)]| fates.iter().map(|(fate, _)| *fate).collect::<Vec<_>>();
    let spans = |fates: &[(Result<(), ErrorKind>, i64)]| fates.last().unwrap().1 - fates[0].1;
    assert_eq!((results(&one), spans(&one)), (results(&again), spans(&again)));
    assert_ne!(results(&one), results(&other));
    assert!(results(&one).contains(&Err(ErrorKind::Throttled)) && results(&one).contains(&Err(ErrorKind::Transient)));
    assert!(spans(&one) > 0, "some take a while");
}
