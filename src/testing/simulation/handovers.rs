//! A thousand hand-overs: leaders are killed, stopped and cut off, again and again, and nothing is done twice or left out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::model::Model;
use crate::domain::id::{DatabaseName, Kind, Slot};
use crate::domain::key::{KeyRole, Layout};
use crate::domain::leadership::LeaseTimes;
use crate::domain::run::{RunRecord, RunState};
use crate::execute::lead::{Candidacy, Elector, Lead};
use crate::policy::Task;
use crate::policy::retention::{Retention, RetentionPolicy};
use crate::ports::clock::Clock;
use crate::ports::processes::Processes;
use crate::testing::random::Random;
use crate::testing::shared_lock::{SharedLock, State, Wire};
use crate::testing::world::{Daemon, Ended, World};
use crate::testing::{at, keep_nothing};

const HANDOVERS: u32 = 1000;
const LEASE: Duration = Duration::from_secs(30);
const BEGIN: &str = "2026-11-01T00:00:00Z";
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const PODS: [&str; 2] = ["pod-1", "pod-2"];

/// A process that leads or follows.
struct Pod {
    host: &'static str,
    lead: Lead,
    wire: Arc<Wire>,
    stop: CancellationToken,
    kill: CancellationToken,
    task: JoinHandle<Ended>,
}

impl Pod {
    fn start(host: &'static str, world: &World, lock: &Arc<SharedLock>) -> Pod {
        let daemon: Daemon = world.daemon(host);
        let wire = lock.wire();
        let this = daemon.process.this();
        let me = format!("{}_{}", this.host, this.start_ticks);
        let candidacy = Candidacy { lock: Arc::clone(&wire) as Arc<_>, me, times: LeaseTimes::of(LEASE) };
        let elector = Elector::new(candidacy, Arc::clone(&daemon.clock) as Arc<dyn Clock>);
        let (lead, stop, kill) = (elector.lead(), CancellationToken::new(), CancellationToken::new());
        let (stopped, killed) = (stop.clone(), kill.clone());
        let task = tokio::task::spawn_local(async move { daemon.run_led(elector, stopped, killed).await });
        Pod { host, lead, wire, stop, kill, task }
    }
}

/// How a leader loses the lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Force {
    Killed,
    Stopped,
    CutOff(u8),
}

/// Waits until one leads, and no two ever; says which.
async fn leader(pods: &[Pod]) -> usize {
    for _ in 0..LEASE.as_secs() * 20 {
        let leading: Vec<usize> =
            pods.iter().enumerate().filter(|(_, pod)| pod.lead.holds()).map(|(own, _)| own).collect();
        match leading.as_slice() {
            [] => {}
            [one] => return *one,
            several => panic!("{several:?} lead at once"),
        }
        pass(Duration::from_millis(100)).await;
    }
    panic!("nobody leads after two leases");
}

async fn pass(time: Duration) {
    tokio::time::sleep_until(tokio::time::Instant::now() + time).await;
}

fn world() -> World {
    let world = World::of(&[("accounts", &["accounts"])])
        .starting_at(at(BEGIN))
        .policy(|policy| {
            policy.cadence.reconcile_interval = SignedDuration::from_mins(30);
            policy.cadence.poll_interval = SignedDuration::from_mins(2);
            policy.prune.settle = SignedDuration::ZERO;
            for obligation in policy.sources.values_mut().flat_map(|source| &mut source.obligations) {
                let schedule = if obligation.task == Task::Snapshot { "0 * * * *" } else { "15 * * * *" };
                obligation.schedule = schedule.parse().unwrap();
                obligation.retention = Retention::Rules(RetentionPolicy { min_age: HOUR, ..keep_nothing() });
            }
        })
        .build();
    world.rds.configure(|settings| settings.snapshot_takes = SignedDuration::from_mins(3));
    world
}

/// How each attempt at each slot of each obligation ended.
fn ends(world: &World) -> BTreeMap<(Kind, Option<DatabaseName>, Slot), Vec<RunState>> {
    let layout = Layout::new(&world.policy.destination.prefix);
    let mut ends: BTreeMap<_, Vec<RunState>> = BTreeMap::new();
    for key in world.store.keys() {
        if let KeyRole::RunRecord { run, .. } = layout.role(&key) {
            let record: RunRecord = serde_json::from_slice(&world.store.bytes(&key).unwrap()).unwrap();
            ends.entry((run.kind, run.database.clone(), run.slot)).or_default().push(record.state);
        }
    }
    ends
}

#[tokio::test(start_paused = true)]
async fn a_thousand_forced_hand_overs_double_nothing() {
    tokio::task::LocalSet::new().run_until(live()).await;
}

async fn live() {
    let mut random = Random::of(7);
    let (world, lock) = (Arc::new(world()), Arc::<SharedLock>::default());
    let model = Arc::new(Model::new(7, Arc::clone(&world)));
    let mut pods: Vec<Pod> = PODS.iter().map(|host| Pod::start(host, &world, &lock)).collect();
    let mut forced: BTreeMap<Force, u32> = BTreeMap::new();
    for number in 0..HANDOVERS {
        if number % 50 == 0 {
            model.check();
        }
        let own = leader(&pods).await;
        // Often in the middle of what it does, and sometimes long after.
        pass(Duration::from_secs(1 + random.below(40))).await;
        let force = match random.below(5) {
            0 => Force::Killed,
            1 => Force::Stopped,
            cut => Force::CutOff(u8::try_from(cut).unwrap()),
        };
        *forced.entry(force).or_default() += 1;
        let before = lock.term().unwrap().transitions;
        match force {
            Force::Killed => pods[own].kill.cancel(),
            Force::Stopped => pods[own].stop.cancel(),
            Force::CutOff(2) => pods[own].wire.set(State::Refusing),
            Force::CutOff(3) => pods[own].wire.set(State::Hanging),
            // It may write, and is never told: what it writes keeps the others waiting until it is cut altogether.
            Force::CutOff(_) => {
                pods[own].wire.set(State::Mute);
                pods[own].lead.lost().await;
                pods[own].wire.set(State::Refusing);
            }
        }
        pods[own].lead.lost().await;
        let next = leader(&pods).await;
        assert!(lock.term().unwrap().transitions > before, "{force:?}: somebody has taken over");
        match force {
            Force::CutOff(_) => {
                assert_ne!(next, own, "{force:?}");
                pods[own].wire.set(State::Whole);
            }
            Force::Killed | Force::Stopped => {
                let host = pods[own].host;
                let gone = std::mem::replace(&mut pods[own], Pod::start(host, &world, &lock));
                let ended = gone.task.await.unwrap();
                assert_eq!(ended, if force == Force::Killed { Ended::Died } else { Ended::Stopped });
            }
        }
    }
    assert!(forced.len() == 5 && forced.values().all(|often| *often > 100), "{forced:?}");
    assert!(lock.term().unwrap().transitions >= HANDOVERS);
    settle_and_count(&world, &pods, forced).await;
}

/// Some quiet hours; then each slot has ended well once.
async fn settle_and_count(world: &World, pods: &[Pod], forced: BTreeMap<Force, u32>) {
    let until: Timestamp = world.clock.true_now() + HOUR * 4;
    world.pass_until(until).await;
    for pod in pods {
        pod.stop.cancel();
    }
    let ends = ends(world);
    let good = |states: &[RunState]| states.iter().filter(|state| matches!(state, RunState::Succeeded { .. })).count();
    let doubled: Vec<_> = ends.iter().filter(|(_, states)| good(states) > 1).collect();
    assert!(doubled.is_empty(), "slots that ended well more than once: {doubled:?}");
    // A hand-over each half minute may leave no process the time for a slot of an hour; then each attempt says so.
    let left: Vec<_> = ends.iter().filter(|(_, states)| good(states) == 0).collect();
    assert!(left.len() <= 1, "slots that did not end well: {left:?}");
    // What has just begun may go on.
    let recent = Slot::at(until - HOUR);
    let is_stuck = |slot: &Slot, states: &[RunState]| *slot < recent && states.contains(&RunState::Running);
    let stuck: Vec<_> = ends.iter().filter(|((_, _, slot), states)| is_stuck(slot, states)).collect();
    assert!(stuck.is_empty(), "attempts without an end: {stuck:?}");
    let hours = (until.as_second() - at(BEGIN).as_second()) / 3600;
    assert!(ends.len() >= usize::try_from(hours - 1).unwrap() * 2, "{} of {hours} hours; {forced:?}", ends.len());
}
