//! One process: the real loop over ports with faults.

use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::collect::Collector;
use crate::domain::id::{DatabaseName, Kind, RunId, SourceId};
use crate::domain::inventory::Inventory;
use crate::domain::key::Layout;
use crate::domain::memory::MemoryUse;
use crate::domain::progress::ProgressCount;
use crate::domain::run::RunState;
use crate::dump::parts::SEGMENT_BYTES;
use crate::execute::lead::Elector;
use crate::execute::{ExecuteSettings, Executor, RunEnd};
use crate::plan::Plan;
use crate::policy::Policy;
use crate::ports::Ports;
use crate::ports::clock::Clock;
use crate::ports::processes::Processes;
use crate::reconcile::{Deletion, Observer, Reconciler, Wakers, Wanted};
use crate::testing::fake_processes::{FakeProcesses, ProcessTable};
use crate::testing::faults::FaultPlan;
use crate::testing::sim_clock::{FakeReference, SimClock};

/// Parts that may exist at once. A thread that waits for memory keeps a paused clock from moving, so the archives of tests
/// have fewer parts.
const PARTS_IN_FLIGHT: usize = 16;
/// How long work gets to end when the daemon is stopped.
const GRACE: SignedDuration = SignedDuration::from_secs(25);

/// A process that works on a world.
pub(crate) struct Daemon {
    pub(crate) ports: Ports,
    pub(crate) faults: Arc<FaultPlan>,
    /// The clock of its machine.
    pub(crate) clock: Arc<SimClock>,
    /// What AWS's answers tell it of that clock.
    pub(crate) reference: Arc<FakeReference>,
    pub(crate) process: Arc<FakeProcesses>,
    pub(crate) executor: Executor,
    pub(crate) wakers: Wakers,
    /// What it is told to want: a new one is a reload.
    pub(crate) policies: watch::Sender<Wanted>,
    /// What it has seen and done.
    pub(crate) observer: Arc<RecordingObserver>,
    processes: Arc<ProcessTable>,
}

/// How a process came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to stop, and did.
    Stopped,
    /// As its faults had it.
    Died,
}

impl Daemon {
    pub(super) fn new(
        ports: Ports,
        faults: Arc<FaultPlan>,
        clock: Arc<SimClock>,
        reference: Arc<FakeReference>,
        process: Arc<FakeProcesses>,
        processes: Arc<ProcessTable>,
        policy: Arc<Policy>,
    ) -> Daemon {
        let settings = ExecuteSettings {
            installation: policy.installation.clone(),
            layout: Layout::new(&policy.destination.prefix),
            bucket: policy.destination.bucket.clone(),
            kms_key: policy.destination.kms_key.clone(),
            part_size_bytes: SEGMENT_BYTES as u64,
            parts_in_flight: PARTS_IN_FLIGHT,
            memory: Arc::new(MemoryUse::new(policy.limits.dump_memory_bytes)),
            outage_tolerance: SignedDuration::from_mins(10),
            config_sha256: "0".repeat(64),
            region: policy.region.clone(),
            replica: policy.destination.replica.clone(),
        };
        let executor = Executor::new(ports.clone(), settings);
        let (policies, _) = watch::channel(policy.into());
        let (wakers, observer) = (Wakers::default(), Arc::default());
        Daemon { ports, faults, clock, reference, process, executor, wakers, policies, observer, processes }
    }

    /// The loop, told to `observer`.
    pub(crate) fn reconciler(&self, observer: Arc<dyn Observer>) -> Reconciler {
        let collector = Collector::new(Layout::new(&self.policies.borrow().policy.destination.prefix));
        let (ports, executor) = (self.ports.clone(), self.executor.clone());
        Reconciler::new(ports, executor, collector, observer, self.wakers.clone(), self.policies.subscribe())
    }

    /// Runs until the true time is `instant` and stops, or until it dies. The process is gone after it.
    pub(crate) async fn run_until(&self, instant: Timestamp) -> Ended {
        let stop = CancellationToken::new();
        let true_time = self.clock.of_another_machine();
        let stopped = async {
            let reconciler = self.reconciler(Arc::clone(&self.observer) as Arc<dyn Observer>);
            tokio::join!(reconciler.run(stop.clone(), GRACE), async {
                true_time.sleep_until(instant).await;
                stop.cancel();
            });
        };
        let ended = tokio::select! {
            biased;
            () = self.faults.died() => Ended::Died,
            () = stopped => Ended::Stopped,
        };
        self.is_gone().await;
        ended
    }

    /// Runs as one of several, until it is stopped or killed. The process is gone after it.
    pub(crate) async fn run_led(&self, elector: Elector, stop: CancellationToken, kill: CancellationToken) -> Ended {
        let (lead, resign) = (elector.lead(), CancellationToken::new());
        let reconciler = self.reconciler(Arc::clone(&self.observer) as Arc<dyn Observer>).led_by(lead);
        let stopped = async {
            tokio::join!(elector.run(resign.clone()), async {
                reconciler.run(stop, GRACE).await;
                resign.cancel();
            });
        };
        let ended = tokio::select! {
            biased;
            () = kill.cancelled() => Ended::Died,
            () = stopped => Ended::Stopped,
        };
        self.is_gone().await;
        ended
    }

    async fn is_gone(&self) {
        self.processes.end(self.process.this());
        // What was under way is dropped by its tasks, which have to be looked at once more for it.
        tokio::task::yield_now().await;
    }
}

/// Keeps what the loop tells.
#[derive(Default)]
pub(crate) struct RecordingObserver {
    told: Mutex<Told>,
    each_look: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

impl std::fmt::Debug for RecordingObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordingObserver({:?})", self.told)
    }
}

#[derive(Debug, Default)]
struct Told {
    looks: u64,
    unseen: u64,
    ends: Vec<(SourceId, RunId, RunState)>,
    deletions: Vec<(SourceId, Kind, Deletion)>,
}

impl RecordingObserver {
    /// How often the loop has looked, and how often it did not see everything.
    pub(crate) fn looks(&self) -> (u64, u64) {
        let told = self.told.lock().unwrap();
        (told.looks, told.unseen)
    }

    /// Deletions of recovery points that this process has ended, in order.
    pub(crate) fn deletions(&self) -> Vec<(SourceId, Kind, Deletion)> {
        self.told.lock().unwrap().deletions.clone()
    }

    /// Calls this after every turn of the loop.
    pub(crate) fn each_look(&self, check: impl Fn() + Send + Sync + 'static) {
        *self.each_look.lock().unwrap() = Some(Box::new(check));
    }

    /// Runs that this process has ended, in order.
    pub(crate) fn ends(&self) -> Vec<(SourceId, RunId, RunState)> {
        self.told.lock().unwrap().ends.clone()
    }
}

impl Observer for RecordingObserver {
    fn observed(&self, _policy: &Policy, _inventory: &Inventory, plan: &Plan, _took: SignedDuration) {
        let mut told = self.told.lock().unwrap();
        told.looks += 1;
        told.unseen += u64::from(!plan.unseen.is_empty());
        drop(told);
        if let Some(check) = self.each_look.lock().unwrap().as_ref() {
            check();
        }
    }

    fn turned(&self, _now: Timestamp) {}

    fn run_ended(&self, source: &SourceId, run: &RunId, end: &RunEnd) {
        self.told.lock().unwrap().ends.push((source.clone(), run.clone(), end.state.clone()));
    }

    fn pruned(&self, source: &SourceId, kind: Kind, outcome: Deletion) {
        self.told.lock().unwrap().deletions.push((source.clone(), kind, outcome));
    }

    fn dumped(&self, _source: &SourceId, _database: &DatabaseName, _delta: ProgressCount) {}
}
