//! Telling, against a bucket in memory: restarts, two daemons, channels and stores that are away.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use rstest::rstest;

use super::*;
use crate::domain::key::ObjectKey;
use crate::plan::plan;
use crate::policy::alerting::RoutePolicy;
use crate::ports::ErrorKind;
use crate::testing::fake_store::{BucketSetup, Call, FakeObjectStore, Strikes};
use crate::testing::faults::{FaultPlan, Faulty, Storm};
use crate::testing::sim_clock::SimClock;
use crate::testing::{dump, inventory, now, policy, store};

/// Keeps what it is given; refuses while it is down.
#[derive(Default)]
struct RecordingNotifier {
    taken: Mutex<Vec<String>>,
    down: AtomicBool,
    /// Loses the next write of the ledger.
    cuts_store: Mutex<Option<(Arc<FakeObjectStore>, Strikes)>>,
    refreshes: bool,
}

impl RecordingNotifier {
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.taken.lock().unwrap())
    }
}

#[async_trait]
impl Notifier for RecordingNotifier {
    async fn notify(&self, message: &Message) -> Result<String, PortError> {
        if let Some((store, strikes)) = self.cuts_store.lock().unwrap().take() {
            store.fail_next(Call::Put, strikes);
        }
        if self.down.load(Ordering::Relaxed) {
            return Err(PortError::new("post", ErrorKind::Transient).because("status 503"));
        }
        let keys: Vec<String> = message.items.iter().map(|item| item.alert.key.to_string()).collect();
        self.taken.lock().unwrap().push(format!("{}: {}", message.event.as_str(), keys.join(" ")));
        Ok("status 200".to_owned())
    }

    fn refresh_every(&self) -> Option<SignedDuration> {
        self.refreshes.then(|| SignedDuration::from_mins(1))
    }
}

#[derive(Default)]
struct CountingHeart(Mutex<u32>);

#[async_trait]
impl Heartbeat for CountingHeart {
    async fn beat(&self) -> Result<(), PortError> {
        *self.0.lock().unwrap() += 1;
        Ok(())
    }
}

#[derive(Default)]
struct Counts(Mutex<(usize, u32, u32)>);

impl NotifyObserver for Counts {
    fn firing(&self, alerts: &[(AlertKey, Severity)]) {
        self.0.lock().unwrap().0 = alerts.len();
    }

    fn notified(&self, channel: &str, taken: bool) {
        let mut counts = self.0.lock().unwrap();
        match (channel, taken) {
            (HEARTBEAT, _) => {}
            (_, true) => counts.1 += 1,
            (_, false) => counts.2 += 1,
        }
    }
}

/// A bucket, a channel, and daemons that use them.
struct Bench {
    clock: Arc<SimClock>,
    store: Arc<FakeObjectStore>,
    channel: Arc<RecordingNotifier>,
    heart: Arc<CountingHeart>,
    counts: Arc<Counts>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(RecordingNotifier::default())
    }

    fn with(channel: RecordingNotifier) -> Bench {
        let clock = SimClock::starting_at(now());
        let store = Arc::new(FakeObjectStore::new(Arc::clone(&clock) as Arc<dyn Clock>, BucketSetup::default()));
        let (heart, counts) = (Arc::default(), Arc::default());
        Bench { clock, store, channel: Arc::new(channel), heart, counts }
    }

    fn daemon(&self) -> Announcer {
        self.daemon_over(Arc::clone(&self.store) as Arc<dyn ObjectStore>)
    }

    fn daemon_over(&self, store: Arc<dyn ObjectStore>) -> Announcer {
        let route: RouteName = "team".parse().unwrap();
        let all = RoutePolicy { severities: Severity::ALL.into(), sources: None, repeats: true };
        let policy = AlertPolicy {
            pending_for: SignedDuration::ZERO,
            repeat_every: Some(SignedDuration::from_hours(24)),
            storm_max: 10,
            routes: [(route.clone(), all)].into(),
        };
        let notifier = Arc::clone(&self.channel) as Arc<dyn Notifier>;
        let pulse = Pulse {
            heartbeat: Arc::clone(&self.heart) as Arc<dyn Heartbeat>,
            every: SignedDuration::from_mins(1),
            fresh_for: SignedDuration::from_mins(15),
        };
        let channels = Channels { policy, notifiers: [(route, notifier)].into(), pulse: Some(pulse) };
        let (_, looks) = watch::channel(None);
        Announcer::new(
            channels,
            "bank-prod".parse().unwrap(),
            store,
            &Layout::new("strongroom"),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            Arc::clone(&self.counts) as Arc<dyn NotifyObserver>,
            looks,
        )
    }

    async fn pass(&self, time: SignedDuration) {
        self.clock.sleep_until(self.clock.now() + time).await;
    }

    /// A look of now: a configuration that is not in force is trouble, and else all is well.
    fn look(&self, trouble: bool) -> Holding {
        let policy = policy(&[("accounts", &["accounts"])]);
        let mut inventory = inventory(&policy);
        let good = dump("accounts", "2026-11-01T04:00:00Z", 7, crate::domain::recovery_point::PointState::Good);
        inventory.stores.insert("accounts".parse().unwrap(), Ok(store(vec![good], Vec::new(), Vec::new())));
        inventory.taken_at = self.clock.now();
        Holding::of(&policy, &inventory, &plan(&policy, &inventory, now()), trouble.then_some("line 3"))
    }

    fn ledger_key(&self) -> ObjectKey {
        Layout::new("strongroom").alert_ledger(&"bank-prod".parse().unwrap())
    }

    fn outbox(&self) -> usize {
        let bytes = self.store.bytes(&self.ledger_key()).unwrap();
        serde_json::from_slice::<AlertLedger>(&bytes).unwrap().outbox.len()
    }
}

const FIRED: &str = "fired: config_invalid";
const RESOLVED: &str = "resolved: config_invalid";
const NOTHING: [&str; 0] = [];
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn one_message_tells_it_and_a_restart_adds_none() {
    let bench = Bench::new();
    bench.daemon().round(&bench.look(true)).await;
    assert_eq!(bench.channel.taken(), [FIRED]);
    assert_eq!(bench.outbox(), 0);
    bench.daemon().round(&bench.look(true)).await;
    assert_eq!(bench.channel.taken(), NOTHING);
    assert_eq!(*bench.counts.0.lock().unwrap(), (1, 1, 0), "after a restart what fires is known at once");
    bench.daemon().round(&bench.look(false)).await;
    assert_eq!(bench.channel.taken(), [RESOLVED]);
    bench.daemon().round(&bench.look(false)).await;
    assert_eq!(bench.channel.taken(), NOTHING);
}

#[tokio::test(start_paused = true)]
async fn of_two_daemons_that_race_one_tells() {
    let bench = Bench::new();
    let (mut one, mut two) = (bench.daemon(), bench.daemon());
    for trouble in [true, true, false, false] {
        let look = bench.look(trouble);
        tokio::join!(one.round(&look), two.round(&look));
    }
    assert_eq!(bench.channel.taken(), [FIRED, RESOLVED]);
}

#[tokio::test(start_paused = true)]
async fn one_that_has_read_before_the_other_wrote_does_not_tell_it_again() {
    let bench = Bench::new();
    let look = bench.look(true);
    let mut slow = bench.daemon();
    let before = slow.book.open(now()).await.unwrap();
    bench.daemon().round(&look).await;
    let (next, _) = advance(&before, &look, &slow.channels.policy, &slow.installation, now());
    assert!(!slow.book.write(&before, &next, now()).await.unwrap(), "the write was conditional on what was read");
    slow.round(&look).await;
    assert_eq!(bench.channel.taken(), [FIRED]);
}

#[tokio::test(start_paused = true)]
async fn one_that_dies_before_it_has_written_that_a_message_was_taken_leaves_it_to_be_sent_again() {
    let bench = Bench::new();
    *bench.channel.cuts_store.lock().unwrap() = Some((Arc::clone(&bench.store), Strikes::Before));
    bench.daemon().round(&bench.look(true)).await;
    assert_eq!(bench.channel.taken(), [FIRED]);
    let mut next = bench.daemon();
    next.round(&bench.look(true)).await;
    assert_eq!(bench.channel.taken(), NOTHING, "it may still be at it");
    bench.pass(MINUTE * 3).await;
    next.round(&bench.look(true)).await;
    assert_eq!(bench.channel.taken(), [FIRED], "twice rather than never");
}

#[tokio::test(start_paused = true)]
async fn one_that_lives_writes_it_down_later_and_sends_nothing_twice() {
    for strikes in [Strikes::Before, Strikes::After] {
        let bench = Bench::new();
        *bench.channel.cuts_store.lock().unwrap() = Some((Arc::clone(&bench.store), strikes));
        let mut daemon = bench.daemon();
        for _ in 0..5 {
            daemon.round(&bench.look(true)).await;
            bench.pass(MINUTE).await;
        }
        assert_eq!((bench.channel.taken(), bench.outbox()), (vec![FIRED.to_owned()], 0), "{strikes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_was_down_for_two_days_hears_of_the_beginning_and_of_the_end() {
    let bench = Bench::new();
    bench.channel.down.store(true, Ordering::Relaxed);
    let mut daemon = bench.daemon();
    let end = bench.clock.now() + SignedDuration::from_hours(48);
    while bench.clock.now() < end {
        // It is restarted now and then.
        daemon = bench.daemon();
        for _ in 0..12 {
            daemon.round(&bench.look(true)).await;
            bench.pass(MINUTE * 10).await;
        }
    }
    daemon.round(&bench.look(false)).await;
    assert_eq!((bench.channel.taken(), bench.outbox()), (Vec::new(), 2));
    let beats = *bench.heart.0.lock().unwrap();
    assert!(beats <= 2, "who waits for the heartbeat has raised the alarm: {beats}");
    bench.channel.down.store(false, Ordering::Relaxed);
    bench.pass(MINUTE * 15).await;
    daemon.round(&bench.look(false)).await;
    assert_eq!((bench.channel.taken(), bench.outbox()), (vec![FIRED.to_owned(), RESOLVED.to_owned()], 0));
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_a_daemon_tells_by_itself_and_not_again_once_it_is_back() {
    let bench = Bench::new();
    let faults = FaultPlan::new(Arc::clone(&bench.clock) as Arc<dyn Clock>, 1);
    let mut daemon = bench.daemon_over(Faulty::new(Arc::clone(&bench.store) as Arc<dyn ObjectStore>, &faults));
    daemon.round(&bench.look(false)).await;
    let (from, until) = (bench.clock.now(), bench.clock.now() + MINUTE * 5);
    faults.add_storm(Storm { from, until, kind: ErrorKind::Transient, per_mille: 1_000 });
    daemon.round(&bench.look(true)).await;
    assert_eq!(bench.channel.taken(), NOTHING, "a broken connection is not an outage");
    bench.pass(MINUTE * 3).await;
    daemon.round(&bench.look(true)).await;
    assert_eq!(bench.channel.taken(), [FIRED]);
    for _ in 0..8 {
        bench.pass(MINUTE).await;
        daemon.round(&bench.look(true)).await;
    }
    assert_eq!(bench.channel.taken(), NOTHING);
    bench.daemon().round(&bench.look(true)).await;
    assert_eq!(bench.channel.taken(), NOTHING, "and it stands in the store now");
}

/// Two writes for each transition: that it is told by this one, and that it was taken.
#[rstest]
#[case::before_it_is_sent(1, 1, 1)]
#[case::after_it_was_written_down(2, 1, 1)]
#[case::before_the_end_is_sent(3, 1, 1)]
#[case::after_the_end_was_written_down(4, 1, 1)]
#[tokio::test(start_paused = true)]
async fn wherever_a_daemon_dies_its_successor_tells_what_is_left(
    #[case] effect: usize,
    #[case] fired: usize,
    #[case] resolved: usize,
) {
    let bench = Bench::new();
    let faults = FaultPlan::new(Arc::clone(&bench.clock) as Arc<dyn Clock>, 1);
    faults.die_after(effect);
    let mut daemon = bench.daemon_over(Faulty::new(Arc::clone(&bench.store) as Arc<dyn ObjectStore>, &faults));
    tokio::select! {
        biased;
        () = faults.died() => {}
        () = async {
            daemon.round(&bench.look(true)).await;
            daemon.round(&bench.look(false)).await;
        } => panic!("it was to die"),
    }
    let mut successor = bench.daemon();
    for trouble in [effect <= 2, false, false] {
        bench.pass(MINUTE * 4).await;
        successor.round(&bench.look(trouble)).await;
    }
    let told = bench.channel.taken();
    let count = |what: &str| told.iter().filter(|own| *own == what).count();
    assert_eq!((count(FIRED), count(RESOLVED)), (fired, resolved), "{told:?}");
    assert_eq!(bench.outbox(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_nobody_understands_is_begun_anew_and_what_holds_is_told() {
    let bench = Bench::new();
    bench.store.overwrite(&bench.ledger_key(), b"{\"version\": 99}");
    bench.daemon().round(&bench.look(true)).await;
    assert_eq!(bench.channel.taken(), [FIRED]);
    assert_eq!(bench.outbox(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_heart_beats_once_a_minute_for_as_long_as_looks_are_fresh_and_well() {
    let bench = Bench::new();
    let mut daemon = bench.daemon();
    let beats = || *bench.heart.0.lock().unwrap();
    let look = bench.look(false);
    assert_eq!(daemon.round(&look).await, bench.clock.now() + MINUTE);
    daemon.round(&look).await;
    assert_eq!(beats(), 1);
    for _ in 0..30 {
        bench.pass(MINUTE).await;
        daemon.round(&look).await;
    }
    assert_eq!(beats(), 16, "a loop that stands still makes no new looks");
    let mut unwell = bench.look(false);
    unwell.promises_hold = false;
    bench.pass(MINUTE).await;
    daemon.round(&unwell).await;
    assert_eq!(beats(), 16);
    bench.pass(MINUTE).await;
    daemon.round(&bench.look(false)).await;
    assert_eq!(beats(), 17);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_forgets_is_reminded_each_minute_of_what_it_was_told() {
    let bench = Bench::with(RecordingNotifier { refreshes: true, ..RecordingNotifier::default() });
    let mut daemon = bench.daemon();
    daemon.round(&bench.look(true)).await;
    assert_eq!(bench.channel.taken(), [FIRED, "refreshed: config_invalid"]);
    daemon.round(&bench.look(true)).await;
    assert_eq!(bench.channel.taken(), NOTHING);
    bench.pass(MINUTE).await;
    daemon.round(&bench.look(true)).await;
    assert_eq!(bench.channel.taken(), ["refreshed: config_invalid"]);
    bench.pass(MINUTE).await;
    daemon.round(&bench.look(false)).await;
    assert_eq!(bench.channel.taken(), [RESOLVED]);
}

#[tokio::test(start_paused = true)]
async fn without_routes_nothing_is_written_and_what_fires_is_known() {
    let bench = Bench::new();
    let mut daemon = bench.daemon();
    daemon.channels.policy.routes.clear();
    daemon.channels.notifiers.clear();
    let channels = daemon.channels.clone();
    let (_, looks) = watch::channel(None);
    let layout = Layout::new("strongroom");
    let (store, clock) = (Arc::clone(&bench.store) as Arc<dyn ObjectStore>, Arc::clone(&bench.clock) as Arc<dyn Clock>);
    let observer = Arc::clone(&bench.counts) as Arc<dyn NotifyObserver>;
    let mut silent = Announcer::new(channels, "bank-prod".parse().unwrap(), store, &layout, clock, observer, looks);
    silent.round(&bench.look(true)).await;
    assert_eq!(bench.counts.0.lock().unwrap().0, 1);
    assert_eq!(bench.store.keys(), []);
}

#[tokio::test(start_paused = true)]
async fn it_tells_of_each_look_that_it_hears_of_and_ends_when_it_is_told_to() {
    let bench = Bench::new();
    let mut daemon = bench.daemon();
    let (tell, looks) = watch::channel(None);
    daemon.looks = looks;
    let stop = CancellationToken::new();
    tokio::join!(daemon.run(stop.clone()), async {
        for trouble in [true, false] {
            tell.send_replace(Some(Arc::new(bench.look(trouble))));
            bench.pass(MINUTE).await;
        }
        stop.cancel();
    });
    assert_eq!(bench.channel.taken(), [FIRED, RESOLVED]);
}
