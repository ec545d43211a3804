//! `strongroom check`: is the configuration right, and what will it do?

mod formats;

use clap::Args;
use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::{Exit, assemble, look, say, text};
use crate::config::{Config, ConfigErrors, LeaderConfig, LeaderLockKind, Note, Place};
use crate::daemon::{self, Assembly};
use crate::domain::inventory::{Inventory, Unseen};
use crate::plan::decision::Reason;
use crate::policy::finding::Check;
use crate::policy::posture::login_findings;
use crate::policy::verify::VerifyPolicy;
use crate::policy::{Obligation, Policy, SourcePolicy, Task};
use crate::ports::{Chain, Ports};
use formats::{Document, Format};

/// How many coming runs of each schedule are printed.
const RUNS: usize = 5;

/// Options of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckCommand {
    /// Ask AWS, the databases and the cluster too: whether they answer, roles can be assumed, logins work, versions fit, and Jobs
    /// could be made.
    #[arg(long)]
    online: bool,
    /// Form of what is said: text for people; github, whose workflows show each problem and finding at its line; json, one
    /// document with all of them.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

impl CheckCommand {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        let mut findings = config.notes.clone();
        match self.format {
            Format::Text | Format::Github => text::print(&schedules(&config.policy))?,
            Format::Json => {}
        }
        if self.online {
            let outside = |text| Note { place: Place::Nowhere, key: String::new(), text };
            findings.extend(online(config).await.into_iter().map(outside));
        }
        match self.format {
            Format::Text => text::print(&formats::in_words(&findings))?,
            Format::Github => text::print(&formats::warnings(&findings))?,
            Format::Json => text::print_json(&Document::of(&[], &findings))?,
        }
        Ok(if findings.is_empty() { Exit::Done } else { Exit::Findings })
    }

    /// Tells what is wrong with a configuration that cannot be used.
    pub(super) fn tell_problems(&self, errors: &ConfigErrors) -> anyhow::Result<()> {
        match self.format {
            Format::Text => super::complain(errors),
            Format::Github => text::print(&formats::errors(errors.problems()))?,
            Format::Json => text::print_json(&Document::of(errors.problems(), &[]))?,
        }
        Ok(())
    }
}

/// The next runs of every schedule, in UTC and in the schedule's own zone.
fn schedules(policy: &Policy) -> String {
    let mut text = String::new();
    for (source, obligation) in policy.obligations() {
        let schedule = &obligation.schedule;
        let zone = schedule.zone_name();
        text.push_str(&format!("{} {}: `{schedule}` in {zone}", source.id, obligation.task));
        if schedule.delay() > SignedDuration::ZERO {
            text.push_str(&format!(", each {} later by jitter", text::length(schedule.delay())));
        }
        if obligation.suspended {
            text.push_str(", suspended");
        }
        text.push('\n');
        text.push_str(&next_runs(obligation));
    }
    text + &verification(policy)
}

/// When dumps are read back.
fn verification(policy: &Policy) -> String {
    if policy.obligations().all(|(_, obligation)| obligation.task == Task::Snapshot) {
        return String::new();
    }
    let VerifyPolicy { deadline, cycle, replica_interval } = policy.verify;
    let again = match cycle {
        Some(cycle) => format!("all that are kept once more every {}", text::length(cycle)),
        None => "not again later".to_owned(),
    };
    let sample = match (&policy.destination.replica, replica_interval) {
        (Some(replica), Some(interval)) => {
            format!("; one of each database in {} every {}", replica.region, text::length(interval))
        }
        (Some(replica), None) => format!("; none in {}", replica.region),
        (None, _) => String::new(),
    };
    format!("dumps are read back within {}, {again}{sample}\n", text::length(deadline))
}

fn next_runs(obligation: &Obligation) -> String {
    let schedule = &obligation.schedule;
    let lines = schedule.upcoming(daemon::now()).take(RUNS).map(|slot| {
        let start = schedule.start_of(slot);
        let utc = start.to_zoned(TimeZone::UTC).strftime("%a %Y-%m-%d %H:%M:%S UTC");
        let local = start.to_zoned(schedule.zone().clone()).strftime("%a %Y-%m-%d %H:%M:%S %Z");
        format!("    {utc}   {local}\n")
    });
    lines.collect()
}

/// What is wrong outside.
async fn online(config: Config) -> Vec<String> {
    let leader = config.daemon.leader;
    let has_kubeconfig = config.kubernetes.kubeconfig.is_some();
    let mut assembly = assemble(config).await;
    let (inventory, plan) = look(&mut assembly).await;
    let refused = assembly.identities.assume_all().await;
    let mut findings: Vec<String> = refused.iter().map(|error| Chain(error).to_string()).collect();
    findings.extend(plan.unseen.iter().map(|(section, Unseen(why))| format!("{section}: {why}")));
    for decision in &plan.decisions {
        match &decision.reason {
            Reason::InstanceMissing
            | Reason::ReplicaMissing { .. }
            | Reason::NotItsReplica { .. }
            | Reason::InstanceIsReplica { .. }
            | Reason::EngineRefused { .. }
            | Reason::ClientTooOld { .. } => {
                findings.push(decision.to_string());
            }
            Reason::Satisfied { .. }
            | Reason::NotDueYet
            | Reason::Starts { .. }
            | Reason::StartsInDrill { .. }
            | Reason::WaitsForDrill { .. }
            | Reason::Running { .. }
            | Reason::BackingOff { .. }
            | Reason::Missed { .. }
            | Reason::InstanceNotReady { .. }
            | Reason::Queued { .. }
            | Reason::NotListedYet { .. }
            | Reason::Suspended
            | Reason::Unseen(_) => {}
        }
    }
    let unseen = plan.findings.iter().filter(|finding| finding.check == Check::ProtectionUnseen);
    findings.extend(unseen.map(|finding| finding.text.clone()));
    findings.extend(of_cluster(&assembly, leader, has_kubeconfig).await);
    for source in assembly.policy.sources.values() {
        findings.extend(logins(&assembly.ports, &inventory, source).await);
    }
    findings
}

/// What the cluster says against what is wanted of it: a record of who leads, and Jobs.
async fn of_cluster(assembly: &Assembly, leader: Option<LeaderConfig>, has_kubeconfig: bool) -> Vec<String> {
    let is_in_cluster = leader.is_some_and(|leader| leader.lock == LeaderLockKind::Kubernetes);
    let lead = assembly.candidacy.as_ref().filter(|_| is_in_cluster);
    if lead.is_none() && assembly.by_jobs.is_none() {
        return Vec::new();
    }
    match assembly.cluster.find().await {
        Ok(()) => {}
        Err(error) if has_kubeconfig => return vec![Chain(&error).to_string()],
        // A person's own computer, or a Job that dumps: nothing is wrong, as long as nobody takes it for an answer.
        Err(error) => {
            let unseen =
                "who leads and whether Jobs can be made is not checked: there is no cluster to be asked from here";
            say(&format!("{unseen}: {}", Chain(&error)));
            return Vec::new();
        }
    }
    let mut refusals = Vec::new();
    if let Some(candidacy) = lead {
        refusals.extend(candidacy.lock.read().await.err());
    }
    if let Some(by) = &assembly.by_jobs {
        refusals.extend(by.try_templates(&assembly.policy, daemon::now()).await);
    }
    refusals.iter().map(|error| Chain(error).to_string()).collect()
}

/// Logs in to every database that is to be dumped, and sees what that may read: on the instance, and on the replica that it is
/// read from.
async fn logins(ports: &Ports, inventory: &Inventory, source: &SourcePolicy) -> Vec<String> {
    let mut findings = Vec::new();
    for id in [Some(&source.instance), source.dump_from.replica()].into_iter().flatten() {
        let endpoint = inventory.instance(id).ok().flatten().and_then(|instance| instance.endpoint.clone());
        let Some(endpoint) = endpoint else { continue };
        for task in source.obligations.iter().map(|obligation| &obligation.task) {
            let Task::Dump { database, .. } = task else { continue };
            let facts = match ports.credentials.login(&source.id, &endpoint).await {
                Ok(login) => ports.postgres.login_facts(&login, database).await,
                Err(error) => Err(error),
            };
            match facts {
                Ok(facts) => {
                    let found = login_findings(source, std::iter::once((database, &Ok(facts))), daemon::now());
                    findings.extend(found.into_iter().map(|finding| format!("{} {task}: {}", source.id, finding.text)));
                }
                Err(error) => findings.push(format!("{} {task}: {}", source.id, Chain(&error))),
            }
        }
    }
    findings
}
