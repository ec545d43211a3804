//! The decision: from what is wanted and what was seen to what to do and why.
//!
//! [`plan`] is total: it cannot fail, wait, or read the clock. What the daemon does, what `strongroom plan` prints and what
//! the tests compare is one and the same value.

pub mod action;
pub mod alert;
mod anomaly;
pub mod backup;
mod copy;
pub mod decision;
pub mod diagnose;
mod doubt;
pub mod drill;
pub mod evidence;
pub mod points;
pub mod prune;
pub mod published;
mod slot_clock;
pub mod status;
pub mod verify;
pub mod ways_back;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::inventory::{Inventory, Remains, Unseen};
use crate::domain::recovery_point::RecoveryPoint;
use crate::policy::finding::Finding;
use crate::policy::posture::{
    account_findings, bucket_findings, instance_findings, key_findings, keys_in_use, login_findings,
};
use crate::policy::prune::CYCLE;
use crate::policy::{Policy, SourcePolicy};
use action::Action;
use decision::Decision;
use drill::DrillDecision;
use prune::{Hold, Mode, PointDecision, PointFate};
use verify::Readings;

/// What to do now, and why.
#[derive(Debug, Clone)]
#[must_use = "a plan that nobody reads protects nothing"]
pub struct Plan {
    /// Started in this order and carried out side by side; of several for one run only the first starts.
    pub actions: Vec<Action>,
    /// One per obligation: what was decided about it.
    pub decisions: Vec<Decision>,
    /// Recovery points of the configured sources: by kind and database, newest slot first.
    pub points: Vec<RecoveryPoint>,
    /// What becomes of each recovery point, in the order of sources, kinds, planes; the newest first.
    pub retention: Vec<PointDecision>,
    /// One per path of each source that has drills.
    pub drills: Vec<DrillDecision>,
    /// What was read back of the dumps, by source, plane and database.
    pub readings: Vec<Readings>,
    /// What a person should know about.
    pub findings: Vec<Finding>,
    /// What dead runs left in the store.
    pub remains: Vec<Remains>,
    /// Sections that could not be seen, so that nothing was decided from them.
    pub unseen: Vec<(&'static str, Unseen)>,
    /// When to look again at the latest.
    pub wake_at: Timestamp,
}

/// Decides what to do and why.
pub fn plan(policy: &Policy, inventory: &Inventory, now: Timestamp) -> Plan {
    plan_in_mode(policy, inventory, Mode::Automatic, now)
}

/// The same, with what a person has confirmed.
pub fn plan_in_mode(policy: &Policy, inventory: &Inventory, mode: Mode, now: Timestamp) -> Plan {
    let points = points::recovery_points(policy, inventory);
    let mut backups = backup::plan_backups(policy, inventory, &points, now);
    // They say what becomes of the dumps that wait for them.
    let drills = drill::plan_drills(policy, inventory, &points, &mut backups, now);
    let copies = copy::plan_copies(policy, inventory, &points, now);
    let pruning = prune::plan_prune(policy, inventory, &points, &backups.decisions, mode, now);
    let mut actions = backups.actions;
    actions.extend(backup::abort_left_uploads(inventory));
    actions.extend(copies.actions);
    let verifications = verify::plan_verifications(policy, inventory, now);
    actions.extend(verifications.actions);
    actions.extend(drills.actions);
    // Last: of several actions on one recovery point the first is carried out, and a deletion can wait.
    actions.extend(pruning.actions);
    let remains = inventory.stores.values().flatten().flat_map(|store| store.remains.iter().cloned()).collect();
    let idle = now.saturating_add(policy.cadence.reconcile_interval).unwrap_or(Timestamp::MAX);
    let soon = now.saturating_add(policy.cadence.poll_interval).unwrap_or(Timestamp::MAX);
    let poll = copies.under_way.then_some(soon);
    // What was too much for this cycle is deleted in the next one, whenever the next look were else.
    let is_capped = |decision: &PointDecision| matches!(decision.fate, PointFate::Held(Hold::Capped { .. }));
    let capped = pruning.decisions.iter().any(is_capped);
    let next_cycle = capped.then(|| now.saturating_add(CYCLE).unwrap_or(Timestamp::MAX));
    let wake_at = backups
        .wake_at
        .into_iter()
        .chain(poll)
        .chain(next_cycle)
        .chain(verifications.wake_at)
        .chain(drills.wake_at)
        .chain([idle])
        .filter(|at| *at > now)
        .min()
        .unwrap_or(idle);
    let mut findings = copies.findings;
    findings.extend(verifications.findings);
    let buckets = inventory.buckets.iter().filter_map(|(plane, facts)| Some((*plane, facts.as_ref().ok()?)));
    findings.extend(buckets.flat_map(|(plane, facts)| bucket_findings(policy, plane, facts)));
    let uses = keys_in_use(policy, |source| inventory.instance(&source.instance).ok()?);
    findings.extend(key_findings(&uses, inventory.keys.as_ref().unwrap_or(&BTreeMap::new())));
    findings.extend(drills.findings);
    findings.extend(posture(policy, inventory, now));
    findings.extend(anomaly::findings(inventory));
    findings.extend(pruning.findings);
    findings.sort_by(|a, b| (b.severity, &a.source, a.check).cmp(&(a.severity, &b.source, b.check)));
    debug_assert!(
        findings.iter().all(|own| alert::Cause::Found(own.check).severities().contains(&own.severity)),
        "its metric has no series of that severity: {findings:#?}"
    );
    Plan {
        actions,
        decisions: backups.decisions,
        points,
        retention: pruning.decisions,
        drills: drills.decisions,
        readings: verifications.readings,
        findings,
        remains,
        unseen: unseen_sections(inventory),
        wake_at,
    }
}

/// What RDS itself does for the instances, and what would stand in the way of a restore.
fn posture(policy: &Policy, inventory: &Inventory, now: Timestamp) -> Vec<Finding> {
    let known = (&inventory.account, inventory.pg_dump.as_ref().ok().and_then(Option::as_ref));
    let of_source = |source: &SourcePolicy| {
        let instance = inventory.instance(&source.instance).ok().flatten()?;
        Some(instance_findings(policy, source, instance, known, now))
    };
    let of_sources = policy.sources.values().filter_map(of_source).flatten();
    let of_logins = policy
        .sources
        .values()
        .flat_map(|source| login_findings(source, inventory.logins.get(&source.id).into_iter().flatten(), now));
    account_findings(&inventory.account).into_iter().chain(of_sources).chain(of_logins).collect()
}

/// Names of the inventory's sections, as metric labels have them.
pub mod section {
    /// DB instances.
    pub const INSTANCES: &str = "instances";
    /// DB snapshots.
    pub const SNAPSHOTS: &str = "snapshots";
    /// Objects in the destination.
    pub const STORE: &str = "store";
    /// The dump client.
    pub const PG_DUMP: &str = "pg_dump";
    /// DB snapshots in the regions of the copies.
    pub const COPIES: &str = "copies";
    /// Objects in the replica bucket.
    pub const REPLICA: &str = "replica";
    /// How the buckets are set up.
    pub const BUCKETS: &str = "buckets";
    /// The KMS keys.
    pub const KEYS: &str = "keys";
    /// All of them.
    pub const ALL: [&str; 8] = [INSTANCES, SNAPSHOTS, STORE, PG_DUMP, COPIES, REPLICA, BUCKETS, KEYS];
}

fn unseen_sections(inventory: &Inventory) -> Vec<(&'static str, Unseen)> {
    let instances = inventory.instances.as_ref().err().map(|unseen| (section::INSTANCES, unseen.clone()));
    let snapshots = inventory.snapshots.as_ref().err().map(|unseen| (section::SNAPSHOTS, unseen.clone()));
    let pg_dump = inventory.pg_dump.as_ref().err().map(|unseen| (section::PG_DUMP, unseen.clone()));
    let stores = inventory.stores.values().filter_map(|store| match store {
        Ok(store) => store.refused.as_ref(),
        Err(unseen) => Some(unseen),
    });
    let stores = stores.map(|unseen| (section::STORE, unseen.clone()));
    let copies = inventory.copies.values().filter_map(|seen| seen.as_ref().err());
    let copies = copies.map(|unseen| (section::COPIES, unseen.clone()));
    let replicas = inventory.stores.values().flatten().filter_map(|store| store.replica.as_ref()?.as_ref().err());
    let replicas = replicas.map(|unseen| (section::REPLICA, unseen.clone()));
    let buckets = inventory.buckets.values().filter_map(|seen| seen.as_ref().err());
    let buckets = buckets.map(|unseen| (section::BUCKETS, unseen.clone()));
    let keys = inventory.keys.as_ref().err().map(|unseen| (section::KEYS, unseen.clone()));
    let all = instances.into_iter().chain(snapshots).chain(pg_dump).chain(stores);
    all.chain(copies).chain(replicas).chain(buckets).chain(keys).collect()
}
