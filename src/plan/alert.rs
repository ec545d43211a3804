//! Which alerts hold now. Read off the plan at each look and never counted from memory: what AWS shows after a restart is
//! what was shown before it.
//!
//! Three answers are possible for each alert: it holds, it does not, or nobody can tell, because what it follows from was not
//! seen or is just being tried again. Only the second one ends an alert: not knowing is not good news.

mod cause;
mod command;
pub mod lifecycle;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

pub use cause::Cause;
pub use words::{Advice, advice};

use super::decision::{Decision, Reason};
use super::ways_back::{CanRestore, can_restore};
use super::{Plan, section};
use crate::domain::alert::{Alert, AlertKey, Severity};
use crate::domain::id::SourceId;
use crate::domain::inventory::{Inventory, Unseen};
use crate::policy::finding::Check;
use crate::policy::{Obligation, Policy, SourcePolicy};

/// After this time a slot that cannot begin is late. Starts are punctual to five minutes; RDS's own backups take longer.
const LATE_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// Facts that one alert lists. The rest is a number: a message has to be read.
const FACTS_MAX: usize = 20;

/// What one look says about alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// When it was looked.
    pub at: Timestamp,
    /// What holds, in the order of the keys.
    pub alerts: Vec<Alert>,
    /// Every promise holds, and all that matters was seen: nothing critical is to be told, and the heartbeat may be sent.
    pub promises_hold: bool,
    unsure: Unsure,
}

/// Alerts of which nobody can tell whether they hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Unsure {
    keys: BTreeSet<AlertKey>,
    kinds: BTreeSet<(&'static str, Option<SourceId>)>,
}

/// Whether an alert holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Yes,
    No,
    Unknown,
}

impl Holding {
    /// What a plan and its inventory say. `config_error` is what is wrong with a configuration that was offered and is not in
    /// force.
    #[must_use]
    pub fn of(policy: &Policy, inventory: &Inventory, plan: &Plan, config_error: Option<&str>) -> Holding {
        let mut facts = Facts::default();
        for decision in &plan.decisions {
            obligation(policy, inventory, decision, &mut facts);
        }
        for source in policy.sources.keys() {
            restorable(policy, inventory, plan, source, &mut facts);
        }
        for finding in &plan.findings {
            let key = key(Cause::Found(finding.check), finding.source.clone());
            facts.add(Cause::Found(finding.check), key, finding.severity, finding.text.clone());
        }
        for (section, Unseen(why)) in &plan.unseen {
            let key = AlertKey { detail: Some((*section).to_owned()), ..key(Cause::Unseen, None) };
            facts.add(Cause::Unseen, key, severity_unseen(section), format!("{section}: {why}"));
        }
        if let Some(error) = config_error {
            facts.hold(Cause::ConfigInvalid, key(Cause::ConfigInvalid, None), error.to_owned());
        }
        facts.unsure.kinds = unsure_kinds(policy, inventory, plan);
        let alerts = facts.alerts();
        let broken = alerts.iter().any(|alert| alert.severity == Severity::Critical);
        let seen = plan.unseen.is_empty() && policy.sources.keys().all(|source| inventory.store(source).is_ok());
        Holding { at: inventory.taken_at, promises_hold: seen && !broken, alerts, unsure: facts.unsure }
    }

    /// Whether nobody can tell that this alert does not hold.
    #[must_use]
    pub fn is_unsure_of(&self, key: &AlertKey) -> bool {
        let kind = |(name, source): &(&'static str, Option<SourceId>)| *name == key.name && *source == key.source;
        self.unsure.keys.contains(key) || self.unsure.kinds.iter().any(kind)
    }
}

/// What has been found so far.
#[derive(Default)]
struct Facts {
    found: BTreeMap<AlertKey, (Cause, Severity, Vec<String>)>,
    unsure: Unsure,
}

impl Facts {
    fn add(&mut self, cause: Cause, key: AlertKey, severity: Severity, what: String) {
        let (_, worst, lines) = self.found.entry(key).or_insert_with(|| (cause, severity, Vec::new()));
        *worst = severity.max(*worst);
        if !lines.contains(&what) {
            lines.push(what);
        }
    }

    fn hold(&mut self, cause: Cause, key: AlertKey, what: String) {
        self.add(cause, key, cause.usual_severity(), what);
    }

    fn settle(&mut self, stands: Stands, cause: Cause, key: AlertKey, what: impl FnOnce() -> String) {
        match stands {
            Stands::Yes => self.hold(cause, key, what()),
            Stands::No => {}
            Stands::Unknown => {
                self.unsure.keys.insert(key);
            }
        }
    }

    fn alerts(&mut self) -> Vec<Alert> {
        let found = std::mem::take(&mut self.found);
        found.into_iter().map(|(key, (cause, severity, lines))| cause.alert(key, severity, shortened(lines))).collect()
    }
}

/// As many lines as are read, and how many more there are.
fn shortened(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(FACTS_MAX);
    if more > 0 {
        lines.truncate(FACTS_MAX);
        lines.push(format!("and {more} more"));
    }
    lines
}

fn key(cause: Cause, source: Option<SourceId>) -> AlertKey {
    AlertKey { name: cause.name().to_owned(), source, detail: None, database: None }
}

fn severity_unseen(name: &str) -> Severity {
    // Without these no backup is begun at all.
    let vital = [section::INSTANCES, section::SNAPSHOTS, section::STORE, section::PG_DUMP];
    if vital.contains(&name) { Severity::Critical } else { Severity::Warning }
}

/// The alerts of one obligation.
fn obligation(policy: &Policy, inventory: &Inventory, decision: &Decision, facts: &mut Facts) {
    let of = |cause: Cause| AlertKey {
        detail: Some(decision.kind.as_str().to_owned()),
        database: decision.database.clone(),
        ..key(cause, Some(decision.source.clone()))
    };
    let seen = inventory.sees_counting_points(&decision.source, decision.kind);
    let overdue = match (seen, decision.freshness.overdue) {
        (false, _) => Stands::Unknown,
        (true, true) => Stands::Yes,
        (true, false) => Stands::No,
    };
    facts.settle(overdue, Cause::Overdue, of(Cause::Overdue), || overdue_text(decision));
    let attempts_max = obligation_of(policy, decision).map_or(0, |own| own.retry.attempts_max.get());
    for cause in [Cause::Failed, Cause::Missed, Cause::Late, Cause::CannotBackUp] {
        let stands = stands(cause, &decision.reason, attempts_max, inventory.taken_at);
        facts.settle(stands, cause, of(cause), || decision.to_string());
    }
}

fn overdue_text(decision: &Decision) -> String {
    let newest = match decision.freshness.newest_at {
        Some(at) => format!("the newest good one is of {}", at.strftime("%Y-%m-%d %H:%M UTC")),
        None => "there is no good one".to_owned(),
    };
    format!("{decision}; {newest}")
}

fn obligation_of<'a>(policy: &'a Policy, decision: &Decision) -> Option<&'a Obligation> {
    let source = policy.sources.get(&decision.source)?;
    let own = |own: &&Obligation| own.task.kind() == decision.kind && own.task.database() == decision.database.as_ref();
    source.obligations.iter().find(own)
}

/// Whether what was decided about an obligation is an alert of this cause.
fn stands(cause: Cause, reason: &Reason, attempts_max: u32, now: Timestamp) -> Stands {
    let only_if = |own: Cause| if cause == own { Stands::Yes } else { Stands::No };
    // What was tried and failed is neither mended nor failed again while it is tried again, or cannot be.
    let other_than_tries = |stands: Stands| match (cause, stands) {
        (Cause::Failed | Cause::Missed, Stands::No) => Stands::Unknown,
        (_, stands) => stands,
    };
    match reason {
        Reason::Satisfied { .. } | Reason::NotDueYet | Reason::Suspended => Stands::No,
        Reason::Starts { .. }
        | Reason::StartsInDrill { .. }
        | Reason::Running { .. }
        | Reason::Queued { .. }
        | Reason::NotListedYet { .. } => other_than_tries(Stands::No),
        Reason::BackingOff { failed, .. } if *failed >= attempts_max => other_than_tries(only_if(Cause::Failed)),
        // The slot before may have failed for good, and nothing has succeeded since.
        Reason::BackingOff { .. } => other_than_tries(Stands::No),
        Reason::Missed { .. } => other_than_tries(only_if(Cause::Missed)),
        Reason::InstanceNotReady { slot, .. } | Reason::WaitsForDrill { slot, .. } => {
            let late = reason.is_trouble() && now.duration_since(slot.instant()) >= LATE_AFTER;
            other_than_tries(if late { only_if(Cause::Late) } else { Stands::No })
        }
        Reason::InstanceMissing
        | Reason::ReplicaMissing { .. }
        | Reason::InstanceIsReplica { .. }
        | Reason::NotItsReplica { .. }
        | Reason::EngineRefused { .. }
        | Reason::ClientTooOld { .. } => other_than_tries(only_if(Cause::CannotBackUp)),
        Reason::Unseen(_) => Stands::Unknown,
    }
}

/// Whether anything at all is left to restore a source from.
fn restorable(policy: &Policy, inventory: &Inventory, plan: &Plan, source: &SourceId, facts: &mut Facts) {
    let Some(own) = policy.sources.get(source) else { return };
    // Where everything is switched off nobody has promised anything; the status tells it all the same.
    let is_off = own.obligations.iter().all(|obligation| obligation.suspended);
    let stands = match can_restore(own, inventory, &plan.points) {
        _ if is_off => Stands::No,
        CanRestore::Yes => Stands::No,
        CanRestore::No => Stands::Yes,
        CanRestore::Unknown => Stands::Unknown,
    };
    facts.settle(stands, Cause::NotRestorable, key(Cause::NotRestorable, Some(source.clone())), || {
        format!("{source}: there is no good snapshot, no good dump, and no point in time that RDS could restore")
    });
}

/// Names of alerts, and sources, whose absence proves nothing, because what they follow from was not seen.
#[must_use]
pub fn unsure_kinds(policy: &Policy, inventory: &Inventory, plan: &Plan) -> BTreeSet<(&'static str, Option<SourceId>)> {
    let unseen: BTreeSet<&str> = plan.unseen.iter().map(|(section, _)| *section).collect();
    // A bucket that cannot be read for one source can be for another.
    let blind = |section: &str, source: &SourceId| {
        let store = inventory.store(source);
        match section {
            section::STORE => !store.is_ok_and(|store| store.refused.is_none()),
            section::REPLICA => !store.is_ok_and(|store| !matches!(store.replica, Some(Err(_)))),
            other => unseen.contains(other),
        }
    };
    let mut unsure = BTreeSet::new();
    for cause in Cause::all().filter(|cause| !cause.rests_on().is_empty()) {
        let is_blind = |source: &&SourceId| cause.rests_on().iter().any(|section| blind(section, source));
        let mut sources = policy.sources.keys().filter(is_blind);
        if cause.is_about_sources() {
            unsure.extend(sources.map(|source| (cause.name(), Some(source.clone()))));
        } else if sources.next().is_some() || cause.rests_on().iter().any(|section| unseen.contains(section)) {
            unsure.insert((cause.name(), None));
        }
    }
    // What the account allows, and how its parameter groups are set, is asked for beside the sections.
    let account = &inventory.account;
    if account.quotas.is_none() || account.quotas_unseen.is_some() {
        unsure.insert((Cause::Found(Check::SnapshotQuota).name(), None));
    }
    if !account.groups_unseen.is_empty() {
        let checks = [Check::ForceTls, Check::ParameterGroup];
        let of_all = policy.sources.keys().flat_map(|source| checks.map(|check| (check, source.clone())));
        unsure.extend(of_all.map(|(check, source)| (Cause::Found(check).name(), Some(source))));
    }
    unsure.extend(policy.sources.values().flat_map(|source| unsure_of_login(inventory, source)));
    if inventory.clock_skew.is_none() {
        unsure.insert((Cause::Found(Check::ClockSkew).name(), None));
    }
    unsure
}

/// What is not known of the login of a source, because it was not tried yet, or could not be.
fn unsure_of_login(inventory: &Inventory, source: &SourcePolicy) -> Vec<(&'static str, Option<SourceId>)> {
    let tried = source
        .dumped_databases()
        .map(|database| inventory.logins.get(&source.id).and_then(|tried| tried.get(database)));
    let mut unsure = Vec::new();
    for facts in tried {
        let unknown: &[Check] = match facts {
            None => &[Check::DumpLogin, Check::LoginExpiry, Check::DumpRights],
            Some(Err(_)) => &[Check::LoginExpiry, Check::DumpRights],
            Some(Ok(_)) => &[],
        };
        unsure.extend(unknown.iter().map(|check| (Cause::Found(*check).name(), Some(source.id.clone()))));
    }
    unsure
}

#[cfg(test)]
mod tests;
