//! Which instances of drills have to go.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::is_worked_on;
use crate::domain::inventory::{Instance, Inventory};
use crate::domain::lease::LeaseId;
use crate::domain::tags;
use crate::plan::action::{Action, ReapInstance};
use crate::policy::Policy;

/// Instances of drills on which nobody works any more.
///
/// What its name does not say to be ours is none of these. Beyond that it takes a mark of ours on the instance, or a record
/// in the store that names it: RDS shows tags late, and records can be lost.
pub(super) fn reap(policy: &Policy, inventory: &Inventory, now: Timestamp) -> Vec<Action> {
    let Ok(instances) = &inventory.instances else { return Vec::new() };
    let sources: BTreeSet<&str> = policy.sources.values().map(|source| source.instance.as_str()).collect();
    let mut actions = Vec::new();
    for instance in instances {
        let installation = &policy.installation;
        // Where the prefix was changed since, its own mark says whose it is.
        let of_old_prefix = || {
            let lease: LeaseId = instance.id.as_str().parse().ok()?;
            tags::prove_lease(&instance.tags, installation, &lease).then_some(lease)
        };
        let Some(lease) = LeaseId::of(&policy.snapshot_prefix, &instance.id).or_else(of_old_prefix) else { continue };
        let is_anothers = !tags::may_be_lease(&instance.tags, installation, &lease);
        if is_anothers || sources.contains(instance.id.as_str()) || instance.status == "deleting" {
            continue;
        }
        let named_by =
            inventory.stores.values().flat_map(|store| store.iter()).find_map(|store| {
                store.drills.iter().find(|stored| stored.record.instances().any(|own| *own == lease))
            });
        let marked = tags::prove_lease(&instance.tags, installation, &lease);
        let source = named_by.map(|stored| stored.record.source.clone());
        let source = source.or_else(|| instance.tags.get(tags::SOURCE)?.parse().ok());
        let is_over = match named_by {
            Some(stored) => !(stored.record.instance == lease && is_worked_on(inventory, stored)),
            // Its record is not seen, or lost: whoever works on it has ended by then.
            None => marked && has_expired(instance, now),
        };
        if let (Some(source), true) = (source, is_over) {
            actions.push(Action::Reap(ReapInstance { source, lease }));
        }
    }
    actions
}

fn has_expired(instance: &Instance, now: Timestamp) -> bool {
    let expires: Option<Timestamp> = instance.tags.get(tags::EXPIRES).and_then(|text| text.parse().ok());
    expires.is_some_and(|expires| expires <= now)
}
