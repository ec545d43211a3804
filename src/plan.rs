//! The decision: from what is wanted and what was seen to what to do and why.
//!
//! [`plan`] is total: it cannot fail, wait, or read the clock. What the daemon does, what `strongroom plan` prints and what
//! the tests compare is one and the same value.

pub mod action;
pub mod backup;
pub mod decision;
pub mod points;
pub mod status;

use jiff::Timestamp;

use crate::domain::inventory::{Inventory, Remains, Unseen};
use crate::domain::recovery_point::RecoveryPoint;
use crate::policy::Policy;
use action::Action;
use decision::Decision;

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
    /// What dead runs left in the store.
    pub remains: Vec<Remains>,
    /// Sections that could not be seen, so that nothing was decided from them.
    pub unseen: Vec<(&'static str, Unseen)>,
    /// When to look again at the latest.
    pub wake_at: Timestamp,
}

/// Decides what to do and why.
pub fn plan(policy: &Policy, inventory: &Inventory, now: Timestamp) -> Plan {
    let points = points::recovery_points(policy, inventory);
    let mut backups = backup::plan_backups(policy, inventory, &points, now);
    backups.actions.extend(backup::abort_left_uploads(inventory));
    let remains = inventory.stores.values().flatten().flat_map(|store| store.remains.iter().cloned()).collect();
    let idle = now.saturating_add(policy.cadence.reconcile_interval).unwrap_or(Timestamp::MAX);
    let wake_at = backups.wake_at.into_iter().chain([idle]).filter(|at| *at > now).min().unwrap_or(idle);
    Plan {
        actions: backups.actions,
        decisions: backups.decisions,
        points,
        remains,
        unseen: unseen_sections(inventory),
        wake_at,
    }
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
    /// All of them.
    pub const ALL: [&str; 4] = [INSTANCES, SNAPSHOTS, STORE, PG_DUMP];
}

fn unseen_sections(inventory: &Inventory) -> Vec<(&'static str, Unseen)> {
    let instances = inventory.instances.as_ref().err().map(|unseen| (section::INSTANCES, unseen.clone()));
    let snapshots = inventory.snapshots.as_ref().err().map(|unseen| (section::SNAPSHOTS, unseen.clone()));
    let pg_dump = inventory.pg_dump.as_ref().err().map(|unseen| (section::PG_DUMP, unseen.clone()));
    let stores = inventory.stores.values().filter_map(|store| store.as_ref().err());
    let stores = stores.map(|unseen| (section::STORE, unseen.clone()));
    instances.into_iter().chain(snapshots).chain(pg_dump).chain(stores).collect()
}
