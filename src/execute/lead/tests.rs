//! Electors by a paused clock, over a lock that can be cut off.

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::*;
use crate::domain::key::ObjectKey;
use crate::testing::at;
use crate::testing::fake_store::{Call, FakeObjectStore, Strikes};
use crate::testing::logged::Logged;
use crate::testing::shared_lock::{SharedLock, State, Wire};
use crate::testing::sim_clock::SimClock;

const LEASE: Duration = Duration::from_secs(20);

/// A process that leads or follows.
struct Process {
    lead: Lead,
    wire: Arc<Wire>,
    resign: CancellationToken,
    task: JoinHandle<()>,
}

struct Bench {
    lock: Arc<SharedLock>,
    clock: Arc<SimClock>,
}

impl Bench {
    fn new() -> Bench {
        Bench { lock: Arc::default(), clock: SimClock::starting_at(at("2026-11-01T00:00:00Z")) }
    }

    fn process(&self, me: &str) -> Process {
        let wire = self.lock.wire();
        let lock = Arc::clone(&wire) as Arc<dyn LeaderLock>;
        let candidacy = Candidacy { lock, me: me.to_owned(), times: LeaseTimes::of(LEASE) };
        let elector = Elector::new(candidacy, Arc::clone(&self.clock) as Arc<dyn Clock>);
        let (lead, resign) = (elector.lead(), CancellationToken::new());
        let task = TaskTracker::new().spawn(elector.run(resign.clone()));
        Process { lead, wire, resign, task }
    }

    fn term(&self) -> Term {
        self.lock.term().unwrap()
    }
}

async fn pass(time: Duration) {
    sleep_until(Instant::now() + time).await;
}

/// How long until this leads.
async fn until_it_leads(process: &mut Process) -> Duration {
    let began = Instant::now();
    process.lead.gained().await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn one_of_two_leads_and_goes_on_leading() {
    let bench = Bench::new();
    let mut one = bench.process("one");
    assert!(
        until_it_leads(&mut one).await < Duration::from_millis(1),
        "nobody led before: there is nobody to wait for"
    );
    let two = bench.process("two");
    for _ in 0..100 {
        pass(LEASE / 3).await;
        assert!(one.lead.holds() && !two.lead.holds());
    }
    assert_eq!((bench.term().holder.as_deref(), bench.term().transitions), (Some("one"), 0));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_is_followed_within_the_lease() {
    for delay in 0..20 {
        let bench = Bench::new();
        let mut one = bench.process("one");
        until_it_leads(&mut one).await;
        let mut two = bench.process("two");
        pass(LEASE + LEASE / 20 * delay).await;
        one.task.abort();
        let took = until_it_leads(&mut two).await;
        assert!(took <= LEASE, "{took:?}");
        assert!(took >= LEASE / 5 * 2, "the dead one might have led until then: {took:?}");
        assert_eq!((bench.term().holder.as_deref(), bench.term().transitions), (Some("two"), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_is_followed_at_the_next_look() {
    let bench = Bench::new();
    let mut one = bench.process("one");
    until_it_leads(&mut one).await;
    let mut two = bench.process("two");
    pass(LEASE).await;
    one.resign.cancel();
    one.task.await.unwrap();
    assert_eq!(bench.term().holder, None);
    assert!(until_it_leads(&mut two).await <= LEASE / 8);
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_renew_stops_before_another_leads() {
    for cut in [State::Hanging, State::Refusing] {
        let bench = Bench::new();
        let mut one = bench.process("one");
        until_it_leads(&mut one).await;
        let mut two = bench.process("two");
        pass(LEASE).await;
        one.wire.set(cut);
        let began = Instant::now();
        one.lead.lost().await;
        assert!(began.elapsed() <= LEASE / 5 * 3, "{:?}", began.elapsed());
        assert!(!two.lead.holds(), "nobody leads in between");
        two.lead.gained().await;
        assert!(began.elapsed() <= LEASE, "{:?}", began.elapsed());
        // Back again, it follows.
        one.wire.set(State::Whole);
        pass(LEASE * 3).await;
        assert!(two.lead.holds() && !one.lead.holds());
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_can_renew_nobody_leads_and_somebody_does_again_afterwards() {
    let bench = Bench::new();
    let mut one = bench.process("one");
    until_it_leads(&mut one).await;
    let two = bench.process("two");
    pass(LEASE).await;
    [&one, &two].into_iter().for_each(|process| process.wire.set(State::Refusing));
    pass(LEASE * 5).await;
    assert!(!one.lead.holds() && !two.lead.holds());
    [&one, &two].into_iter().for_each(|process| process.wire.set(State::Whole));
    pass(LEASE).await;
    assert!(one.lead.holds() != two.lead.holds());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_is_lost_costs_nothing() {
    let bench = Bench::new();
    let mut one = bench.process("one");
    until_it_leads(&mut one).await;
    let two = bench.process("two");
    for _ in 0..20 {
        one.wire.set(State::Mute);
        pass(LEASE / 5).await;
        one.wire.set(State::Whole);
        pass(LEASE / 3).await;
        assert!(one.lead.holds() && !two.lead.holds());
    }
    assert_eq!(bench.term().transitions, 0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_third_of_the_lease_costs_nothing() {
    for cut in [State::Hanging, State::Refusing] {
        let bench = Bench::new();
        let mut one = bench.process("one");
        until_it_leads(&mut one).await;
        let two = bench.process("two");
        for _ in 0..20 {
            pass(LEASE).await;
            one.wire.set(cut);
            pass(LEASE / 3).await;
            assert!(one.lead.holds());
            one.wire.set(State::Whole);
            pass(LEASE / 5).await;
            assert!(one.lead.holds() && !two.lead.holds());
        }
        assert_eq!(bench.term().transitions, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_somebody_deletes_is_written_again() {
    let bench = Bench::new();
    let mut one = bench.process("one");
    until_it_leads(&mut one).await;
    bench.lock.set(None);
    pass(LEASE).await;
    assert!(one.lead.holds());
    assert_eq!(bench.term().holder.as_deref(), Some("one"));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_held_up_does_not_lead_when_it_goes_on() {
    let bench = Bench::new();
    let mut one = bench.process("one");
    until_it_leads(&mut one).await;
    // As a process that is stopped: nothing of it runs, and the time goes on.
    one.task.abort();
    pass(LEASE / 5 * 3).await;
    assert!(!one.lead.holds(), "nobody had the time to say so, and it is over all the same");
}

#[tokio::test(start_paused = true)]
async fn a_leader_with_a_longer_lease_is_given_its_own() {
    let bench = Bench::new();
    let mut one = bench.process("one");
    until_it_leads(&mut one).await;
    one.task.abort();
    bench.lock.set(Some(Term { lease_seconds: 60, ..bench.term() }));
    let mut two = bench.process("two");
    let took = until_it_leads(&mut two).await;
    assert!(took >= Duration::from_secs(48), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_log_says_that_it_does_not_lead_any_more_and_that_nobody_can_be_asked() {
    let (logged, _guard) = Logged::on_this_thread();
    let bench = Bench::new();
    let mut one = bench.process("one");
    until_it_leads(&mut one).await;
    let two = bench.process("two");
    pass(LEASE).await;
    one.wire.set(State::Refusing);
    pass(LEASE * 2).await;
    let lines = logged.take().join("\n");
    for line in ["no longer leading", "cannot be read or written"] {
        assert!(lines.contains(line), "{line}: {lines}");
    }
    assert!(two.lead.holds());
}

fn a_term(holder: &str) -> Term {
    Term {
        version: LEADER_RECORD_VERSION,
        holder: Some(holder.to_owned()),
        lease_seconds: 30,
        acquired_at: at("2026-11-01T00:00:00Z"),
        renewed_at: at("2026-11-01T00:00:06Z"),
        transitions: 3,
    }
}

#[test]
fn the_record_is_read_as_it_was_written() {
    let term = a_term("pod-1_7_42");
    let text = serde_json::to_string(&term).unwrap();
    assert_eq!(
        text,
        r#"{"version":1,"holder":"pod-1_7_42","lease_seconds":30,"acquired_at":"2026-11-01T00:00:00Z","renewed_at":"2026-11-01T00:00:06Z","transitions":3}"#
    );
    assert_eq!(serde_json::from_str::<Term>(&text).unwrap(), term);
}

#[tokio::test]
async fn the_object_is_written_only_on_top_of_what_was_read() {
    let store = Arc::new(FakeObjectStore::default());
    let key = ObjectKey::listed("strongroom/state/leader/bank-prod.json");
    let lock = BucketLock::new(Arc::clone(&store) as Arc<_>, key.clone());
    assert_eq!(lock.read().await.unwrap(), None);
    let first = lock.write(&a_term("one"), None).await.unwrap().unwrap();
    assert_eq!(lock.read().await.unwrap().as_ref(), Some(&first));
    assert_eq!(lock.write(&a_term("two"), None).await.unwrap(), None, "there is one already");
    let second = lock.write(&a_term("two"), Some(&first)).await.unwrap().unwrap();
    assert_eq!(lock.write(&a_term("one"), Some(&first)).await.unwrap(), None, "it is not what was read any more");
    store.fail_next(Call::Put, Strikes::After);
    assert!(lock.write(&a_term("two"), Some(&second)).await.is_err(), "nobody knows whether it is written");
    store.delete_by_hand(&key);
    assert_eq!(lock.write(&a_term("two"), Some(&second)).await.unwrap(), None, "what is gone cannot be matched");
    store.overwrite(&key, b"{}");
    let error = Chain(&lock.read().await.unwrap_err()).to_string();
    assert!(error.contains("state/leader/bank-prod.json") && error.contains("delete it"), "{error}");
}
