//! Recoveries in a world of fakes: stopped dead after each effect, and gone on with by somebody else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::domain::id::InstanceId;
use crate::domain::inventory::{Complete, Endpoint};
use crate::domain::new_instance::{AutomatedBackups, NewInstance, RestoreFrom};
use crate::domain::recovery::{ApprovedRename, Origin, RECOVERY_VERSION, Recovery, Scenario, Writer};
use crate::domain::switch::{AddressKeys, KubernetesName};
use crate::ports::ErrorKind;
use crate::ports::cluster::Scale;
use crate::ports::instances::{NotRestored, Refusal};
use crate::restore::instance::Awaited;
use crate::testing::fake_store::FakeObjectStore;
use crate::testing::faults::{FaultPlan, Faulty, Operation};
use crate::testing::sim_clock::SimClock;
use crate::testing::{instance_details, now};

pub(super) const OWN: &str = "bank-accounts";
const NEW: &str = "bank-accounts-recovery";
pub(super) const ASIDE: &str = "bank-accounts-before-20261129t010000z";

/// AWS and a cluster: instances by name, two deployments, a secret.
pub(super) struct World {
    pub(super) clock: Arc<SimClock>,
    store: Arc<FakeObjectStore>,
    state: Mutex<State>,
}

struct State {
    instances: BTreeMap<String, InstanceDetails>,
    /// When it is done, from which name to which.
    renaming: Option<(Timestamp, String, String)>,
    replicas: BTreeMap<String, u32>,
    address: Address,
    /// Replicas of writers whenever something was restored or renamed.
    written_under: Vec<u32>,
}

/// The same world, as one process reaches it.
struct Reach {
    world: Arc<World>,
    faults: Arc<FaultPlan>,
}

impl World {
    pub(super) fn new() -> Arc<World> {
        let clock = SimClock::starting_at(now());
        let state = State {
            instances: BTreeMap::from([(OWN.to_owned(), instance(OWN, "db-OLD"))]),
            renaming: None,
            replicas: BTreeMap::from([("bank/ledger".to_owned(), 3), ("bank/cards".to_owned(), 0)]),
            address: Address { host: format!("{OWN}.rds"), port: Some(5432) },
            written_under: Vec::new(),
        };
        let store = Arc::new(FakeObjectStore::default());
        Arc::new(World { clock, store, state: Mutex::new(state) })
    }

    /// What RDS does by and by.
    fn settle(&self) {
        let mut state = self.state.lock().unwrap();
        if let Some((due, from, to)) = state.renaming.clone()
            && self.clock.now() >= due
        {
            let mut moved = state.instances.remove(&from).unwrap();
            moved.instance.id = to.parse().unwrap();
            moved.instance.status = "available".to_owned();
            state.instances.insert(to, moved);
            state.renaming = None;
        }
    }

    /// Which instance bears a name.
    pub(super) fn bears(&self, name: &str) -> Option<String> {
        self.settle();
        let state = self.state.lock().unwrap();
        state.instances.get(name).map(|own| own.instance.resource.to_string())
    }

    pub(super) fn replicas(&self, deployment: &str) -> u32 {
        self.state.lock().unwrap().replicas[deployment]
    }

    fn tools(self: &Arc<World>, faults: &Arc<FaultPlan>) -> Tools {
        let reach = Arc::new(Reach { world: Arc::clone(self), faults: Arc::clone(faults) });
        let store = Arc::clone(&self.store) as Arc<dyn ObjectStore>;
        Tools {
            store: Faulty::new(store, faults),
            layout: Layout::new("strongroom"),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            instances: Arc::clone(&reach) as Arc<dyn Instances>,
            renames: Arc::clone(&reach) as Arc<dyn Renames>,
            secrets: Arc::clone(&reach) as Arc<dyn ConnectionSecrets>,
            cluster: reach,
            poll_interval: SignedDuration::from_secs(15),
        }
    }
}

fn instance(name: &str, resource: &str) -> InstanceDetails {
    let mut details = instance_details();
    details.instance.id = name.parse().unwrap();
    details.instance.resource = resource.parse().unwrap();
    details.instance.status = "available".to_owned();
    details.instance.endpoint = Some(Endpoint { host: format!("{resource}.rds"), port: 5433 });
    details
}

fn error(kind: ErrorKind) -> PortError {
    PortError::new("do that", kind)
}

#[async_trait]
impl Instances for Reach {
    async fn details(&self, id: &InstanceId) -> Result<Option<InstanceDetails>, PortError> {
        let found = async {
            self.world.settle();
            Ok(self.world.state.lock().unwrap().instances.get(id.as_str()).cloned())
        };
        self.faults.around(Operation::Details, id.as_str(), found).await
    }

    async fn automated_backups(&self, _: &InstanceId) -> Result<Complete<AutomatedBackups>, PortError> {
        Ok(Complete::after_last_page(Vec::new()))
    }

    async fn restore(&self, new: &NewInstance) -> Result<(), NotRestored> {
        let restored = async {
            let mut state = self.world.state.lock().unwrap();
            if state.instances.contains_key(new.id.as_str()) {
                return Err(error(ErrorKind::AlreadyExists));
            }
            let mut made = instance(new.id.as_str(), "db-NEW");
            made.setup = new.setup.clone();
            state.instances.insert(new.id.to_string(), made);
            let writing = state.replicas.values().sum();
            state.written_under.push(writing);
            Ok(())
        };
        let done = self.faults.around(Operation::Restore, new.id.as_str(), restored).await;
        done.map_err(|error| NotRestored {
            why: (error.kind() == ErrorKind::AlreadyExists).then_some(Refusal::NameTaken),
            error,
        })
    }
}

#[async_trait]
impl Renames for Reach {
    async fn rename(&self, rename: &ApprovedRename) -> Result<(), PortError> {
        let renamed = async {
            self.world.settle();
            let due = self.world.clock.now() + SignedDuration::from_mins(2);
            let mut state = self.world.state.lock().unwrap();
            if state.renaming.is_some() {
                return Err(error(ErrorKind::WrongState));
            }
            let (from, to) = (rename.from().to_string(), rename.to().to_string());
            if state.instances.contains_key(&to) {
                return Err(error(ErrorKind::AlreadyExists));
            }
            let writing = state.replicas.values().sum();
            state.written_under.push(writing);
            state.instances.get_mut(&from).ok_or_else(|| error(ErrorKind::NotFound))?.instance.status =
                "renaming".to_owned();
            state.renaming = Some((due, from, to));
            Ok(())
        };
        self.faults.around(Operation::Rename, rename.to().as_str(), renamed).await
    }
}

#[async_trait]
impl Cluster for Reach {
    async fn scale(&self, deployment: &KubernetesName) -> Result<Scale, PortError> {
        let found = async {
            let replicas = self.world.replicas(&deployment.to_string());
            Ok(Scale { wanted: replicas, running: replicas })
        };
        self.faults.around(Operation::Scale, &deployment.to_string(), found).await
    }

    async fn set_scale(&self, deployment: &KubernetesName, replicas: u32, _: Apply) -> Result<(), PortError> {
        let set = async {
            self.world.state.lock().unwrap().replicas.insert(deployment.to_string(), replicas);
            Ok(())
        };
        self.faults.around(Operation::SetScale, &deployment.to_string(), set).await
    }

    async fn restart(&self, deployment: &KubernetesName, _: Timestamp, _: Apply) -> Result<(), PortError> {
        self.faults.around(Operation::Restart, &deployment.to_string(), async { Ok(()) }).await
    }

    async fn address(&self, secret: &KubernetesName, _: &AddressKeys) -> Result<Address, PortError> {
        let found = async { Ok(self.world.state.lock().unwrap().address.clone()) };
        self.faults.around(Operation::Address, &secret.to_string(), found).await
    }

    async fn set_address(
        &self,
        secret: &KubernetesName,
        _: &AddressKeys,
        address: &Address,
        _: Apply,
    ) -> Result<(), PortError> {
        let set = async {
            self.world.state.lock().unwrap().address = address.clone();
            Ok(())
        };
        self.faults.around(Operation::SetAddress, &secret.to_string(), set).await
    }

    async fn fetched(&self, _: &KubernetesName) -> Result<Option<String>, PortError> {
        Ok(None)
    }

    async fn refresh(&self, _: &KubernetesName, _: Timestamp, _: Apply) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl ConnectionSecrets for Reach {
    async fn address(&self, _: &str, _: &AddressKeys) -> Result<Address, PortError> {
        Err(error(ErrorKind::NotFound))
    }

    async fn set_address(&self, _: &str, _: &AddressKeys, _: &Address) -> Result<(), PortError> {
        Err(error(ErrorKind::NotFound))
    }
}

fn by_secret() -> Switch {
    let keys = AddressKeys { host: "host".to_owned(), port: Some("port".to_owned()) };
    Switch::KubernetesSecret { secret: "bank/db".parse().unwrap(), keys }
}

pub(super) fn recovery(switch: Switch) -> Recovery {
    let writer = |name: &str| Writer { deployment: name.parse().unwrap(), replicas: None };
    Recovery {
        version: RECOVERY_VERSION,
        installation: "bank".parse().unwrap(),
        source: "accounts".parse().unwrap(),
        begun: "20261129t010000z".parse().unwrap(),
        scenario: Scenario::Corruption,
        instance: OWN.parse().unwrap(),
        old: Some("db-OLD".parse().unwrap()),
        left_server: None,
        origin: Origin::Snapshot("snap".parse().unwrap()),
        new: NEW.parse().unwrap(),
        new_resource: None,
        switch,
        address_before: None,
        writers: vec![writer("bank/ledger"), writer("bank/cards")],
        restarts: vec!["bank/reports".parse().unwrap()],
        steps: Vec::new(),
        attempts: 0,
        state: RecoveryState::Open,
    }
}

fn request(tools: &Tools) -> Restore {
    Restore::Order(Box::new(InstanceRequest {
        awaited: Awaited {
            instances: Arc::clone(&tools.instances),
            clock: Arc::clone(&tools.clock),
            id: NEW.parse().unwrap(),
            poll_interval: tools.poll_interval,
            deadline: Timestamp::MAX,
        },
        new: NewInstance {
            id: NEW.parse().unwrap(),
            from: RestoreFrom::Snapshot("snap".parse().unwrap()),
            setup: instance_details().setup,
        },
        other_classes: Vec::new(),
    }))
}

async fn carry_out(tools: &Tools, switch: Switch) -> Result<(), RecoverError> {
    carry_out_with(tools, switch, None).await
}

/// What the command does: goes on where the journal stands, step by step.
pub(super) async fn carry_out_with(tools: &Tools, switch: Switch, asking: Option<Asking>) -> Result<(), RecoverError> {
    let token = CancellationToken::new();
    let source = "accounts".parse().unwrap();
    let journal = match Journal::current(tools, &source).await? {
        Some(journal) => journal,
        None => Journal::begin(tools, recovery(switch), None).await?,
    };
    let mut own = Recovering::new(tools, journal, &token).asking(asking);
    let mut quiet = |_| {};
    while let Some(step) = own.journal().recovery().next() {
        own.approve(step, Approver::Option).await?;
        match step {
            Step::StopWriters => own.stop_writers(&mut quiet).await?,
            Step::Restore => drop(own.restore(&request(tools), |_| {}).await?),
            Step::Verify => {}
            Step::Switch => own.switch(&mut quiet).await?,
            Step::StartWriters => own.start_writers(&mut quiet).await?,
        }
        own.end(step).await?;
    }
    Ok(())
}

async fn undo(tools: &Tools) -> Result<(), RecoverError> {
    let token = CancellationToken::new();
    let journal = Journal::current(tools, &"accounts".parse().unwrap()).await?.unwrap();
    if matches!(journal.recovery().state, RecoveryState::Undone { .. }) {
        return Ok(());
    }
    Recovering::new(tools, journal, &token).undo(Approver::Option, &mut |_| {}).await
}

pub(super) fn undisturbed(world: &Arc<World>) -> Tools {
    world.tools(&FaultPlan::new(Arc::clone(&world.clock) as Arc<dyn Clock>, 1))
}

fn assert_recovered(world: &Arc<World>, switch: &Switch, after: &str) {
    let state = |name: &str| world.bears(name);
    if *switch == Switch::Rename {
        assert_eq!(state(OWN).as_deref(), Some("db-NEW"), "{after}");
        assert_eq!((state(ASIDE).as_deref(), state(NEW)), (Some("db-OLD"), None), "{after}");
    } else {
        assert_eq!((state(OWN).as_deref(), state(NEW).as_deref()), (Some("db-OLD"), Some("db-NEW")), "{after}");
        assert_eq!(world.state.lock().unwrap().address.host, "db-NEW.rds", "{after}");
    }
    assert_eq!((world.replicas("bank/ledger"), world.replicas("bank/cards")), (3, 0), "{after}");
    assert!(world.state.lock().unwrap().written_under.iter().all(|replicas| *replicas == 0), "{after}");
}

fn assert_undone(world: &Arc<World>, after: &str) {
    assert_eq!(world.bears(OWN).as_deref(), Some("db-OLD"), "{after}");
    assert_eq!((world.bears(NEW).as_deref(), world.bears(ASIDE)), (Some("db-NEW"), None), "{after}");
    assert_eq!(world.state.lock().unwrap().address.host, format!("{OWN}.rds"), "{after}");
    assert_eq!(world.replicas("bank/ledger"), 3, "{after}");
    assert!(world.state.lock().unwrap().written_under.iter().all(|replicas| *replicas == 0), "{after}");
}

/// How one effect goes wrong.
type Wrong = fn(&FaultPlan, usize);

/// Does all of it with the k-th effect going wrong, for every k, and has somebody else go on.
async fn matrix(switch: Switch, wrong: Wrong, back: bool) {
    for k in 1.. {
        let world = World::new();
        if back {
            carry_out(&undisturbed(&world), switch.clone()).await.unwrap();
        }
        let faults = FaultPlan::new(Arc::clone(&world.clock) as Arc<dyn Clock>, 1);
        wrong(&faults, k);
        let tools = world.tools(&faults);
        let work = async { if back { undo(&tools).await } else { carry_out(&tools, switch.clone()).await } };
        tokio::select! {
            // A lost answer may be an error: the command is given again.
            ended = work => drop(ended),
            () = faults.died() => {}
        }
        let happened = faults.effects().len();
        let after = format!("after effect {k}: {:?}", faults.effects().last());
        let tools = undisturbed(&world);
        if back {
            undo(&tools).await.unwrap_or_else(|error| panic!("{after}: {error:?}"));
            assert_undone(&world, &after);
        } else {
            carry_out(&tools, switch.clone()).await.unwrap_or_else(|error| panic!("{after}: {error:?}"));
            assert_recovered(&world, &switch, &after);
        }
        if happened < k {
            // Nothing went wrong any more: there are no more effects than these.
            assert!(k > 9, "there were {k} effects only");
            return;
        }
    }
}

#[rstest]
#[case::rename_dead(Switch::Rename, FaultPlan::die_after, false)]
#[case::rename_lost(Switch::Rename, FaultPlan::lose_response, false)]
#[case::secret_dead(by_secret(), FaultPlan::die_after, false)]
#[case::secret_lost(by_secret(), FaultPlan::lose_response, false)]
#[case::rename_back_dead(Switch::Rename, FaultPlan::die_after, true)]
#[case::rename_back_lost(Switch::Rename, FaultPlan::lose_response, true)]
#[case::secret_back_dead(by_secret(), FaultPlan::die_after, true)]
#[case::secret_back_lost(by_secret(), FaultPlan::lose_response, true)]
#[tokio::test(start_paused = true)]
async fn whoever_is_stopped_after_any_effect_is_gone_on_with(
    #[case] switch: Switch,
    #[case] wrong: Wrong,
    #[case] back: bool,
) {
    matrix(switch, wrong, back).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_at_once_one_stops() {
    let world = World::new();
    let (one, other) = (undisturbed(&world), undisturbed(&world));
    let first = Journal::begin(&one, recovery(Switch::Rename), None).await.unwrap();
    let second = Journal::current(&other, &"accounts".parse().unwrap()).await.unwrap().unwrap();
    let token = CancellationToken::new();
    let mut first = Recovering::new(&one, first, &token);
    let mut second = Recovering::new(&other, second, &token);
    first.approve(Step::StopWriters, Approver::Person).await.unwrap();
    let refused = second.approve(Step::StopWriters, Approver::Option).await.unwrap_err();
    assert!(matches!(refused, RecoverError::Elsewhere { .. }), "{refused:?}");
    let begun = Journal::begin(&other, recovery(by_secret()), None).await.unwrap_err();
    assert!(matches!(begun, RecoverError::Elsewhere { .. }), "{begun:?}");
}

/// Somebody has made another instance under the name: it is not the one that the journal is about.
#[tokio::test(start_paused = true)]
async fn an_instance_that_only_bears_the_name_is_not_renamed() {
    let world = World::new();
    let tools = undisturbed(&world);
    let token = CancellationToken::new();
    let mut recovery = recovery(Switch::Rename);
    recovery.new_resource = Some("db-NEW".parse().unwrap());
    recovery.writers.clear();
    let journal = Journal::begin(&tools, recovery, None).await.unwrap();
    world.state.lock().unwrap().instances.insert(OWN.to_owned(), instance(OWN, "db-OTHER"));
    let mut own = Recovering::new(&tools, journal, &token);
    own.approve(Step::Switch, Approver::Person).await.unwrap();
    let refused = own.switch(&mut |_| {}).await.unwrap_err();
    assert!(matches!(refused, RecoverError::NameTaken { .. }), "{refused:?}");
    assert_eq!(world.bears(OWN).as_deref(), Some("db-OTHER"));
}

#[tokio::test(start_paused = true)]
async fn a_journal_of_a_newer_version_is_left_alone() {
    let world = World::new();
    let tools = undisturbed(&world);
    let newer = Recovery { version: RECOVERY_VERSION + 1, ..recovery(Switch::Rename) };
    Journal::begin(&tools, newer, None).await.unwrap();
    let unreadable = Journal::current(&tools, &"accounts".parse().unwrap()).await.unwrap_err();
    assert!(matches!(unreadable, RecoverError::Unreadable { .. }), "{unreadable:?}");
}
