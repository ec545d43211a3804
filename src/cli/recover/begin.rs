//! A recovery that is begun, or gone on with.

use std::sync::Arc;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::ask::Asker;
use super::{asking, failed, not_read, told};
use crate::cli::restore::NotBegun;
use crate::cli::restore::choice::{moment_meant, snapshot_meant};
use crate::cli::restore::setup::{Found, Meant, SetupArgs, news_in_words, plan_in_words};
use crate::cli::{Exit, complain, look, say, text, unknown_source, watched};
use crate::daemon::Assembly;
use crate::domain::drill::DrillPath;
use crate::domain::id::{Slot, SourceId, named_after};
use crate::domain::inventory::{Endpoint, Inventory};
use crate::domain::new_instance::{InstanceDetails, RestoreFrom};
use crate::domain::progress::Progress;
use crate::domain::recovery::{Approver, Origin, RECOVERY_VERSION, Recovery, RecoveryState, Scenario, Step, Writer};
use crate::domain::switch::KubernetesName;
use crate::execute::pin::Pinned;
use crate::plan::Plan;
use crate::policy::SourcePolicy;
use crate::policy::recover::{Expected, expected};
use crate::ports::Chain;
use crate::ports::credentials::LoginRef;
use crate::recover::{Journal, RecoverError, Recovering, Restore, Verify};
use crate::restore::Server;
use crate::restore::instance::RECOVERY;

/// Options of a recovery. Given again, the same command goes on with the step that was not done.
#[derive(Debug, Args)]
pub(super) struct Begin {
    /// The source, by its name in the configuration.
    source: SourceId,
    /// Go back to the second before this moment, such as 2026-11-28T14:55:00Z.
    #[arg(long, value_name = "TIME", value_parser = parse_moment, conflicts_with = "from")]
    before: Option<Timestamp>,
    /// Go back to this snapshot, or to the `latest` good one.
    #[arg(long, value_name = "ID")]
    from: Option<String>,
    /// Approve every step, but no faults of what came back. Without it each step is asked for at the terminal.
    #[arg(long)]
    yes: bool,
    /// Switch even if something is wrong with what came back.
    #[arg(long)]
    despite_faults: bool,
    /// Print what would be done, have the cluster check its part, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    setup: SetupArgs,
}

fn parse_moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write a time with its zone, such as 2026-11-28T14:55:00Z".to_owned())
}

/// `--before` says when it happened: what was committed in that very second may be what is to be undone.
const JUST_BEFORE: SignedDuration = SignedDuration::from_secs(1);

/// Everything that was found before the first step.
struct Ground {
    found: Found,
    inventory: Inventory,
    plan: Plan,
    /// The journal that is open, or ended last.
    journal: Option<Journal>,
}

/// A recovery that can begin, or go on.
struct Prepared {
    recovery: Recovery,
    /// How the new instance comes about; absent once it is there.
    restore: Option<Restore>,
    /// What people read about it.
    words: String,
}

impl Begin {
    pub(super) async fn run(self, mut assembly: Assembly, scenario: Scenario) -> anyhow::Result<Exit> {
        let ground = match self.ground(&mut assembly).await {
            Ok(ground) => ground,
            Err(not_begun) => return Ok(not_begun.told()),
        };
        let prepared = match self.prepare(&assembly, &ground, scenario).await {
            Ok(prepared) => prepared,
            Err(not_begun) => return Ok(not_begun.told()),
        };
        let recovery = &prepared.recovery;
        let past = past_drills(&ground.inventory, recovery);
        let now = assembly.ports.clock.now();
        let details = ground.found.details.as_ref();
        text::print(&told::assessment(recovery, details, &ground.plan.points, &ground.inventory, now))?;
        text::print(&prepared.words)?;
        text::print(&told::steps(recovery, past.as_ref()))?;
        match Recovering::try_out(&assembly.recovery, recovery).await {
            Ok(found) => found.iter().for_each(|found| say(found)),
            Err(error) => {
                complain(&Chain(&error));
                return Ok(Exit::Failed);
            }
        }
        if self.dry_run {
            return Ok(Exit::Done);
        }
        let asker = Asker::new(self.yes);
        if asker == Asker::Nobody {
            complain("nobody is at a terminal to approve the steps: --yes approves all of them");
            return Ok(Exit::Refused);
        }
        self.carry_out(&assembly, ground, prepared, past, asker).await
    }

    async fn ground(&self, assembly: &mut Assembly) -> Result<Ground, NotBegun> {
        let (inventory, plan) = look(assembly).await;
        let policy = &assembly.policy;
        let source = policy.sources.get(&self.source).cloned();
        let source = source.ok_or_else(|| NotBegun::Usage(unknown_source(&self.source)))?;
        let instances = Arc::clone(&assembly.recovery.instances);
        let details = instances.details(&source.instance).await?;
        let journal = Journal::current(&assembly.recovery, &source.id).await.map_err(not_read)?;
        let found = Found { source, region: policy.region.clone(), instances, details };
        Ok(Ground { found, inventory, plan, journal })
    }

    /// Chooses what a new recovery does, or reads what one that is open has chosen.
    async fn prepare(&self, assembly: &Assembly, ground: &Ground, scenario: Scenario) -> Result<Prepared, NotBegun> {
        let open = ground.journal.as_ref().map(Journal::recovery).filter(|recovery| recovery.is_under_way());
        if let Some(recovery) = open {
            self.check_same(recovery, scenario)?;
            say(&format!("going on with the recovery of {} that was begun at {}", recovery.source, recovery.begun));
            if recovery.is_done(Step::Restore) {
                return Ok(Prepared { recovery: recovery.clone(), restore: None, words: String::new() });
            }
            let ordered = ground.found.instances.details(&recovery.new).await?;
            let is_its_own = |details: &InstanceDetails| {
                details.setup.tags.get(RECOVERY).map(String::as_str) == Some(recovery.begun.to_string().as_str())
            };
            if ordered.is_some_and(|details| is_its_own(&details)) {
                // What it is made of may be gone by now; it is being made all the same.
                let awaited = self.setup.awaited(assembly, &recovery.new);
                let restore = Some(Restore::Await(awaited));
                return Ok(Prepared { recovery: recovery.clone(), restore, words: String::new() });
            }
            let meant = self.meant(assembly, ground, Some(&recovery.origin), scenario).await?.0;
            return self.with_request(assembly, ground, recovery.clone(), &meant);
        }
        let (meant, origin) = self.meant(assembly, ground, None, scenario).await?;
        let begun = Slot::at(assembly.ports.clock.now());
        let source = &ground.found.source;
        // What a recovery that was given up has stopped has no replicas now: how many it had, its journal knows.
        let given_up = ground.journal.as_ref().map(Journal::recovery);
        let given_up = given_up.filter(|recovery| matches!(recovery.state, RecoveryState::Abandoned { .. }));
        let writer = |deployment: &KubernetesName| {
            let known = given_up.and_then(|given_up| given_up.writers.iter().find(|own| own.deployment == *deployment));
            Writer { deployment: deployment.clone(), replicas: known.and_then(|own| own.replicas) }
        };
        let recovery = Recovery {
            version: RECOVERY_VERSION,
            installation: assembly.policy.installation.clone(),
            source: source.id.clone(),
            begun,
            scenario,
            instance: source.instance.clone(),
            old: ground.found.details.as_ref().map(|details| details.instance.resource.clone()),
            left_server: None,
            origin,
            new: self.setup.name.clone().unwrap_or_else(|| named_after(&source.instance, &format!("recovery-{begun}"))),
            new_resource: None,
            switch: source.recover.switch.clone(),
            address_before: None,
            writers: source.recover.deployments.iter().map(writer).collect(),
            restarts: source.recover.restarts.clone(),
            steps: Vec::new(),
            attempts: 0,
            state: RecoveryState::Open,
        };
        self.with_request(assembly, ground, recovery, &meant)
    }

    fn with_request(
        &self,
        assembly: &Assembly,
        ground: &Ground,
        recovery: Recovery,
        meant: &Meant,
    ) -> Result<Prepared, NotBegun> {
        let mut wanted = self.setup.new_instance(assembly, &ground.found, meant)?;
        wanted.id = recovery.new.clone();
        let words = plan_in_words(&ground.found, meant, &wanted);
        wanted.restored.setup.tags.insert(RECOVERY.to_owned(), recovery.begun.to_string());
        let request = self.setup.request(assembly, &ground.found, meant, wanted);
        Ok(Prepared { recovery, restore: Some(Restore::Order(Box::new(request))), words })
    }

    /// What is gone back to: as the journal has it, as the options have it, or what fits the scenario.
    async fn meant(
        &self,
        assembly: &Assembly,
        ground: &Ground,
        chosen: Option<&Origin>,
        scenario: Scenario,
    ) -> Result<(Meant, Origin), NotBegun> {
        let snapshot = async |id: &str| {
            let (inventory, points) = (&ground.inventory, &ground.plan.points);
            let meant = snapshot_meant(assembly, &ground.found, inventory, points, id).await?;
            let RestoreFrom::Snapshot(id) = &meant.from else {
                return Err(NotBegun::Usage("that is no snapshot".to_owned()));
            };
            let origin = Origin::Snapshot(id.clone());
            Ok((meant, origin))
        };
        let moment = async |at: Option<Timestamp>| {
            let (meant, at) = moment_meant(assembly, &ground.found, at).await?;
            Ok((meant, Origin::Moment(at)))
        };
        match (chosen, &self.from, self.before) {
            (Some(Origin::Snapshot(id)), _, _) => snapshot(id.as_str()).await,
            (Some(Origin::Moment(at)), _, _) => moment(Some(*at)).await,
            (None, Some(id), _) => snapshot(id).await,
            (None, None, Some(before)) => moment(Some(before.saturating_sub(JUST_BEFORE).unwrap_or(before))).await,
            (None, None, None) => match scenario {
                Scenario::Corruption => snapshot("latest").await,
                Scenario::Deletion => Err(NotBegun::Usage(
                    "say when it happened with --before TIME, or which snapshot to go back to with --from".to_owned(),
                )),
                Scenario::Loss => match moment(None).await {
                    Err(NotBegun::Refused(_)) => snapshot("latest").await.map_err(|not_begun| self.or_dumps(not_begun)),
                    meant => meant,
                },
            },
        }
    }

    /// Where no instance can be made of anything, dumps may be left.
    fn or_dumps(&self, not_begun: NotBegun) -> NotBegun {
        match not_begun {
            NotBegun::Refused(why) => NotBegun::Refused(format!(
                "{why}; of its dumps (`strongroom list {}`) `strongroom restore dump` makes databases in an instance that you make",
                self.source
            )),
            other @ (NotBegun::Usage(_) | NotBegun::Failed(_)) => other,
        }
    }

    /// Whether this command is about the recovery that is open.
    fn check_same(&self, open: &Recovery, scenario: Scenario) -> Result<(), NotBegun> {
        let Recovery { source, begun, .. } = open;
        let other = |what: String| {
            Err(NotBegun::Refused(format!(
                "a recovery of {source} that was begun at {begun} {what}: finish it first, or give it up with `strongroom recover \
                 abandon {source}`"
            )))
        };
        if open.state != RecoveryState::Open {
            return other("is being undone (`strongroom recover undo` goes on with that)".to_owned());
        }
        if open.scenario != scenario {
            return other(format!("is about {}", open.scenario));
        }
        let is_other = match (&open.origin, &self.from, self.before) {
            (_, None, None) => false,
            (Origin::Snapshot(id), Some(from), _) => from != "latest" && from != id.as_str(),
            (Origin::Moment(at), None, Some(before)) => before.saturating_sub(JUST_BEFORE).ok() != Some(*at),
            (Origin::Snapshot(_), None, Some(_)) | (Origin::Moment(_), Some(_), _) => true,
        };
        if is_other {
            return other("goes back to something else".to_owned());
        }
        match &self.setup.name {
            Some(name) if *name != open.new => other(format!("makes {}", open.new)),
            Some(_) | None => Ok(()),
        }
    }

    /// Step by step, each with its approval.
    async fn carry_out(
        &self,
        assembly: &Assembly,
        ground: Ground,
        prepared: Prepared,
        past: Option<Expected>,
        asker: Asker,
    ) -> anyhow::Result<Exit> {
        let tools = &assembly.recovery;
        let Prepared { recovery, restore, .. } = prepared;
        let Ground { found, journal, .. } = ground;
        // Whoever bears the name now may be the restored one already.
        let is_old = |details: &&InstanceDetails| recovery.old.as_ref() == Some(&details.instance.resource);
        let old = found.details.as_ref().filter(is_old).and_then(|details| details.instance.endpoint.clone());
        let source = &found.source;
        let undo = match recovery.old {
            Some(_) => format!("; `strongroom recover undo {}` takes back what was done", source.id),
            None => String::new(),
        };
        let again = format!("the same command goes on with this step{undo}");
        let course = Course { begin: self, assembly, source, old, restore, past, asker };
        let token = CancellationToken::new();
        let began_at = tools.clock.now();
        let Some(mut step) = recovery.next() else { return Ok(Exit::Done) };
        let Some(mut approver) = course.approves(step, &recovery).await? else { return Ok(Exit::Refused) };
        let begun = match journal {
            Some(open) if open.recovery().is_under_way() => Ok(open),
            ended => Journal::begin(tools, recovery, ended).await,
        };
        let mut own = match begun {
            Ok(journal) => Recovering::new(tools, journal, &token).asking(asking(assembly, source)),
            Err(error) => return Ok(failed(&error, &source.id, &again)),
        };
        loop {
            let work = async {
                own.approve(step, approver).await?;
                let good = Box::pin(course.step(&mut own, step)).await?;
                if good {
                    own.end(step).await?;
                }
                Ok(good)
            };
            let stopping = "stopping after what is under way; the same command goes on";
            match watched(tools.clock.as_ref(), &token, stopping, Box::pin(work), || {}).await {
                Ok(true) => {}
                Ok(false) => return Ok(Exit::Failed),
                Err(error) => return Ok(failed(&error, &source.id, &again)),
            }
            let known = own.journal().recovery();
            let Some(next) = known.next() else { break };
            if token.is_cancelled() {
                say(&again);
                return Ok(Exit::Failed);
            }
            let Some(by) = course.approves(next, known).await? else { return Ok(Exit::Refused) };
            (step, approver) = (next, by);
        }
        text::print(&told::ending(own.journal().recovery()))?;
        say(&format!("took {}", text::length(tools.clock.now().duration_since(began_at))));
        Ok(Exit::Done)
    }
}

/// What each step needs.
struct Course<'a> {
    begin: &'a Begin,
    assembly: &'a Assembly,
    source: &'a SourcePolicy,
    /// Where the old instance answers, if it is there.
    old: Option<Endpoint>,
    restore: Option<Restore>,
    past: Option<Expected>,
    asker: Asker,
}

impl Course<'_> {
    /// Who wants a step; `None` where nobody does.
    async fn approves(&self, step: Step, recovery: &Recovery) -> std::io::Result<Option<Approver>> {
        let words = told::what(step, recovery, self.past.as_ref());
        let words = format!("step {} of {}: {words}", step.number(), Step::ALL.len());
        let approver = self.asker.approves(&format!("{words}. Go on?")).await?;
        match approver {
            Some(Approver::Option) => say(&words),
            Some(Approver::Person) => {}
            None => say("stopped before this step; the same command goes on with it"),
        }
        Ok(approver)
    }

    /// One step; whether it came to a good end.
    async fn step(&self, own: &mut Recovering<'_>, step: Step) -> Result<bool, RecoverError> {
        let mut tell = |line: String| say(&format!("  {line}"));
        match step {
            Step::StopWriters => own.stop_writers(&mut tell).await?,
            Step::Restore => {
                let recovery = own.journal().recovery();
                let not_restored = || RecoverError::NotRestored { name: recovery.new.clone() };
                let restore = self.restore.as_ref().ok_or_else(not_restored)?;
                self.keep_origin(recovery).await?;
                own.restore(restore, |news| say(&format!("  {}", news_in_words(&news)))).await?;
            }
            Step::Verify => return self.verify(own).await,
            Step::Switch => own.switch(&mut tell).await?,
            Step::StartWriters => own.start_writers(&mut tell).await?,
        }
        Ok(true)
    }

    /// Pins the snapshot that is restored, where it is one of ours: no policy may delete it meanwhile.
    async fn keep_origin(&self, recovery: &Recovery) -> Result<(), RecoverError> {
        let Origin::Snapshot(id) = &recovery.origin else { return Ok(()) };
        let reason = format!("recovery that was begun at {}", recovery.begun);
        if self.assembly.executor.pin(&self.source.id, id.as_str(), Some(reason)).await? == Pinned::Now {
            say(&format!("  {id} is pinned: `strongroom unpin {id}` when nobody needs it any more"));
        }
        Ok(())
    }

    async fn verify(&self, own: &Recovering<'_>) -> Result<bool, RecoverError> {
        let Course { begin, assembly, source, .. } = self;
        let recovery = own.journal().recovery();
        let found = assembly.recovery.instances.details(&recovery.new).await?;
        let not_restored = || RecoverError::NotRestored { name: recovery.new.clone() };
        let endpoint = found.and_then(|found| found.instance.endpoint).ok_or_else(not_restored)?;
        let server = |endpoint: Endpoint, what: &str| {
            let login = LoginRef::OfSource(source.id.clone());
            Server::new(&assembly.ports, login, endpoint, format!("strongroom/{what}"))
        };
        let wanted = Verify {
            awaited: begin.setup.awaited(assembly, &recovery.new),
            server: server(endpoint, "recovery"),
            old: self.old.clone().map(|endpoint| server(endpoint, "recovery-old")),
            databases: source.databases.clone(),
            assertions: source.drill.as_ref().map(|drill| drill.assertions.clone()).unwrap_or_default(),
            jobs: usize::from(begin.setup.jobs),
        };
        let verified = own.verify(&wanted, &Arc::new(Progress::default())).await?;
        say(told::verified(&verified).trim_end());
        if verified.faults.is_empty() || begin.despite_faults {
            return Ok(true);
        }
        let question = "something is wrong with what came back. Go on all the same?";
        let goes_on = self.asker.person_approves(question).await.unwrap_or(false);
        if !goes_on {
            complain(&format!(
                "what came back is not right: nothing was switched. `--despite-faults` goes on all the same; `strongroom \
                 recover abandon {}` gives it up: then begin again with --from or --before, to go back to another backup",
                source.id
            ));
        }
        Ok(goes_on)
    }
}

/// How long the same way back took in drills.
fn past_drills(inventory: &Inventory, recovery: &Recovery) -> Option<Expected> {
    let path = match recovery.origin {
        Origin::Snapshot(_) => DrillPath::Snapshot,
        Origin::Moment(_) => DrillPath::Pitr,
    };
    let store = inventory.store(&recovery.source).ok()?;
    expected(store.drills.iter().map(|stored| &stored.record), path)
}
