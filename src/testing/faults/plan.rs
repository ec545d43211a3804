//! What goes wrong, and when.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::ports::clock::Clock;
use crate::ports::{ErrorKind, PortError};
use crate::testing::random::Random;

/// Every operation of the ports that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Instances,
    Snapshots,
    Snapshot,
    CreateSnapshot,
    CopySnapshot,
    DeleteSnapshot,
    InstanceEvents,
    ListVersions,
    ListUploads,
    Get,
    Head,
    HeadVersion,
    ReadVersion,
    Put,
    CreateUpload,
    UploadPart,
    CompleteUpload,
    AbortUpload,
    DeleteVersions,
    CopyFrom,
    Bucket,
    DatabaseFacts,
    Globals,
    Session,
    Details,
    AutomatedBackups,
    Restore,
    CreateInstance,
    ResetPassword,
    DeleteInstance,
    Rename,
    Scale,
    SetScale,
    Restart,
    Address,
    SetAddress,
}

impl Operation {
    /// Whether it changes something outside.
    pub(crate) fn is_effect(self) -> bool {
        use Operation::{
            AbortUpload, Address, AutomatedBackups, Bucket, CompleteUpload, CopyFrom, CopySnapshot, CreateInstance,
            CreateSnapshot, CreateUpload, DatabaseFacts, DeleteInstance, DeleteSnapshot, DeleteVersions, Details, Get,
            Globals, Head, HeadVersion, InstanceEvents, Instances, ListUploads, ListVersions, Put, ReadVersion, Rename,
            ResetPassword, Restart, Restore, Scale, Session, SetAddress, SetScale, Snapshot, Snapshots, UploadPart,
        };
        match self {
            CreateSnapshot | CopySnapshot | DeleteSnapshot | Put | CreateUpload | UploadPart | CompleteUpload
            | AbortUpload | DeleteVersions | CopyFrom | Restore | CreateInstance | ResetPassword | DeleteInstance
            | Rename | SetScale | Restart | SetAddress => true,
            Instances | Snapshots | Snapshot | InstanceEvents | ListVersions | ListUploads | Get | Head
            | HeadVersion | ReadVersion | Bucket | DatabaseFacts | Globals | Session | Details | AutomatedBackups
            | Scale | Address => false,
        }
    }
}

/// An effect that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    /// By true time.
    pub(crate) at: Timestamp,
    pub(crate) operation: Operation,
    /// The key, the snapshot, or how many versions.
    pub(crate) subject: String,
}

/// Faults that strike by chance, each so many times in a thousand calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chances {
    /// The call fails and has done nothing.
    pub(crate) fail: u32,
    /// With one of these.
    pub(crate) kinds: Vec<ErrorKind>,
    /// The effect is there, the answer is lost.
    pub(crate) lose_response: u32,
    /// The call takes a while.
    pub(crate) delay: u32,
    /// At most this long.
    pub(crate) delay_max: SignedDuration,
}

/// A time in which calls fail.
#[derive(Debug, Clone)]
pub(crate) struct Storm {
    /// By true time.
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) kind: ErrorKind,
    /// So many calls of a thousand.
    pub(crate) per_mille: u32,
}

/// What is to happen with one effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Fail(ErrorKind),
    LoseResponse,
    DieAfter,
}

/// What goes wrong with the ports of one daemon.
pub(crate) struct FaultPlan {
    clock: Arc<dyn Clock>,
    died: CancellationToken,
    state: Mutex<PlanState>,
}

struct PlanState {
    random: Random,
    chances: Chances,
    storms: Vec<Storm>,
    /// By the number of the effect.
    orders: BTreeMap<usize, Order>,
    /// With a part of the subject; an empty one is a part of all.
    next: Vec<(Operation, String, ErrorKind)>,
    calls: BTreeMap<(Operation, String), u64>,
    effects: Vec<Effect>,
}

/// What chance does with one call.
struct Drawn {
    delay: Option<SignedDuration>,
    failure: Option<ErrorKind>,
    loses_response: bool,
    storm: u64,
}

impl FaultPlan {
    /// A plan in which nothing goes wrong yet; `clock` is the true one.
    pub(crate) fn new(clock: Arc<dyn Clock>, seed: u64) -> Arc<FaultPlan> {
        let state = PlanState {
            random: Random::of(seed),
            chances: Chances::default(),
            storms: Vec::new(),
            orders: BTreeMap::new(),
            next: Vec::new(),
            calls: BTreeMap::new(),
            effects: Vec::new(),
        };
        Arc::new(FaultPlan { clock, died: CancellationToken::new(), state: Mutex::new(state) })
    }

    /// Faults strike by chance from now on.
    pub(crate) fn set_chances(&self, chances: Chances) {
        self.state.lock().unwrap().chances = chances;
    }

    /// Calls fail for a while.
    pub(crate) fn add_storm(&self, storm: Storm) {
        self.state.lock().unwrap().storms.push(storm);
    }

    /// The next call of an operation fails and does nothing.
    pub(crate) fn fail_next(&self, operation: Operation, kind: ErrorKind) {
        self.fail_next_of(operation, "", kind);
    }

    /// The next call of an operation whose subject has this in it fails and does nothing.
    pub(crate) fn fail_next_of(&self, operation: Operation, subject: &str, kind: ErrorKind) {
        self.state.lock().unwrap().next.push((operation, subject.to_owned(), kind));
    }

    /// What would be the k-th effect fails and does nothing; the next one is the k-th then.
    pub(crate) fn fail_effect(&self, k: usize, kind: ErrorKind) {
        self.state.lock().unwrap().orders.insert(k, Order::Fail(kind));
    }

    /// The k-th effect happens, and its answer is lost.
    pub(crate) fn lose_response(&self, k: usize) {
        self.state.lock().unwrap().orders.insert(k, Order::LoseResponse);
    }

    /// The k-th effect happens, and from then on no call returns: the process is dead. 0: at once.
    pub(crate) fn die_after(&self, k: usize) {
        let mut state = self.state.lock().unwrap();
        if k <= state.effects.len() {
            self.died.cancel();
        }
        state.orders.insert(k, Order::DieAfter);
    }

    /// Returns when the process is dead.
    pub(crate) async fn died(&self) {
        self.died.cancelled().await;
    }

    /// Every effect so far, in order.
    pub(crate) fn effects(&self) -> Vec<Effect> {
        self.state.lock().unwrap().effects.clone()
    }

    /// Makes a call, or what becomes of it.
    pub(crate) async fn around<T>(
        &self,
        operation: Operation,
        subject: &str,
        call: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, PortError> {
        self.unless_dead().await;
        let drawn = self.draw(operation, subject);
        if let Some(delay) = drawn.delay {
            self.clock.sleep_until(self.clock.now() + delay).await;
            self.unless_dead().await;
        }
        let error =
            |kind, why: &str| Err(PortError::new(format!("{operation:?} {subject}"), kind).because(why.to_owned()));
        if let Some(kind) = self.failure(operation, subject, &drawn) {
            return error(kind, "a fault was planned");
        }
        let answer = call.await?;
        let lost = self.count(operation, subject);
        self.unless_dead().await;
        if lost || drawn.loses_response {
            return error(ErrorKind::Transient, "the answer is lost, as planned");
        }
        Ok(answer)
    }

    async fn unless_dead(&self) {
        if self.died.is_cancelled() {
            std::future::pending::<()>().await;
        }
    }

    /// What chance does with a call. Each call draws from a sequence of its own, so that calls which happen to change places
    /// (threads read archives, and finish when they do) do not change each other's fate.
    fn draw(&self, operation: Operation, subject: &str) -> Drawn {
        let mut state = self.state.lock().unwrap();
        let PlanState { random, chances, calls, .. } = &mut *state;
        let count = calls.entry((operation, subject.to_owned())).or_default();
        *count += 1;
        let mut random = random.of_its_own(&format!("{operation:?} {subject} {count}"));
        let delay_ms = random.below(u64::try_from(chances.delay_max.as_millis()).unwrap());
        let delay = SignedDuration::from_millis(i64::try_from(delay_ms).unwrap());
        let kinds = if chances.kinds.is_empty() { &[ErrorKind::Transient] } else { chances.kinds.as_slice() };
        let kind = *random.pick(kinds);
        Drawn {
            delay: random.chance(chances.delay).then_some(delay),
            failure: random.chance(chances.fail).then_some(kind),
            loses_response: random.chance(chances.lose_response),
            storm: random.below(1000),
        }
    }

    /// With what a call fails, if it does.
    fn failure(&self, operation: Operation, subject: &str, drawn: &Drawn) -> Option<ErrorKind> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        let is_next = |(of, part, _): &(Operation, String, _)| *of == operation && subject.contains(part.as_str());
        if let Some(index) = state.next.iter().position(is_next) {
            return Some(state.next.remove(index).2);
        }
        let next = state.effects.len() + 1;
        if operation.is_effect()
            && let Some(Order::Fail(kind)) = state.orders.get(&next).copied()
        {
            state.orders.remove(&next);
            return Some(kind);
        }
        let rages = |storm: &&Storm| storm.from <= now && now < storm.until && drawn.storm < u64::from(storm.per_mille);
        state.storms.iter().find(rages).map(|storm| storm.kind).or(drawn.failure)
    }

    /// Counts what has happened; whether its answer is lost by order.
    fn count(&self, operation: Operation, subject: &str) -> bool {
        if !operation.is_effect() {
            return false;
        }
        let at = self.clock.now();
        let mut state = self.state.lock().unwrap();
        state.effects.push(Effect { at, operation, subject: subject.to_owned() });
        match state.orders.get(&state.effects.len()) {
            Some(Order::DieAfter) => {
                self.died.cancel();
                false
            }
            Some(Order::LoseResponse) => true,
            Some(Order::Fail(_)) | None => false,
        }
    }
}
