//! Copies in a second region: of snapshots by RDS, of dumps by S3 on our order.
//!
//! What is newer than the newest copy is copied, oldest first and one at a time for each source: RDS queues further copies
//! of one instance anyway, and a copy is incremental only on top of the one before. Older ones are not made up for.

use jiff::{SignedDuration, Timestamp};

use super::action::{Action, CopyDump, CopySnapshot};
use super::points::{is_own, of_source};
use crate::domain::id::{Kind, ResourceId, Slot, SnapshotId};
use crate::domain::inventory::{Inventory, Replication, Snapshot, StoredDump};
use crate::domain::recovery_point::{Plane, PointState, RecoveryPoint};
use crate::domain::tags;
use crate::policy::finding::{Check, Finding, Severity};
use crate::policy::{Policy, ReplicaMode, ReplicaPolicy, SnapshotCopies, SourcePolicy, Task};

/// Snapshot copies that may be under way in one region of an account (Amazon RDS user guide, "Copying a DB snapshot").
const COPIES_UNDER_WAY_MAX: usize = 20;
/// A snapshot whose copy is not there after this is late: RELIABILITY's promise for the second region.
const COPY_LATE: SignedDuration = SignedDuration::from_hours(24);
/// A dump that is not replicated after this is late.
const REPLICATION_LATE: SignedDuration = SignedDuration::from_mins(60);
/// A dump that is not replicated after this is as good as not replicated.
const REPLICATION_LOST: SignedDuration = SignedDuration::from_hours(24);

/// What was planned about copies.
#[derive(Debug, Default)]
pub(super) struct Copies {
    pub(super) actions: Vec<Action>,
    pub(super) findings: Vec<Finding>,
    /// Whether a copy is under way, so that one has to look again soon.
    pub(super) under_way: bool,
}

pub(super) fn plan_copies(policy: &Policy, inventory: &Inventory, points: &[RecoveryPoint], now: Timestamp) -> Copies {
    let mut copies = Copies::default();
    for (source, obligation) in policy.obligations() {
        if let Task::Snapshot = obligation.task
            && !obligation.suspended
        {
            for wanted in &obligation.copies {
                copy_snapshots(policy, inventory, of_source(points, &source.id), source, wanted, now, &mut copies);
            }
        }
    }
    if let Some(replica) = &policy.destination.replica {
        for source in policy.sources.values() {
            copy_dumps(inventory, source, replica, now, &mut copies);
        }
    }
    copies
}

/// Snapshots of a source that its copies in a region are still behind with, the oldest first; `points` are those of the
/// source.
pub(super) fn awaiting_copy<'a>(
    inventory: &Inventory,
    points: &'a [RecoveryPoint],
    source: &SourcePolicy,
    wanted: &SnapshotCopies,
) -> Vec<&'a RecoveryPoint> {
    let resource = resource_of(inventory, points, source);
    let alike = |point: &&RecoveryPoint| point.kind == Kind::Snapshot && point.resource.as_ref() == resource;
    let copied = points.iter().filter(alike).filter(|point| {
        point.plane == Plane::Replica && point.region == wanted.region && matches!(point.state, PointState::Good)
    });
    let good = points.iter().filter(alike).filter(|point| point.plane == Plane::Primary && point.is_good());
    behind(good, |point| point.slot, copied.map(|point| point.slot).max())
}

/// Of backups here, those that are newer than the newest one there, the oldest first.
fn behind<'a, T>(here: impl Iterator<Item = &'a T>, slot: fn(&T) -> Slot, newest_there: Option<Slot>) -> Vec<&'a T> {
    let mut behind: Vec<&T> = here.filter(|own| newest_there.is_none_or(|newest| slot(own) > newest)).collect();
    behind.sort_by_key(|own| slot(own));
    if newest_there.is_none() {
        // The first copy is of the newest: nobody asked for the past.
        behind.drain(..behind.len().saturating_sub(1));
    }
    behind
}

/// The instance whose snapshots are copied: the one that bears the name today; of one that is lost, the one that the newest
/// snapshot is of.
fn resource_of<'a>(
    inventory: &'a Inventory,
    points: &'a [RecoveryPoint],
    source: &SourcePolicy,
) -> Option<&'a ResourceId> {
    if let Ok(Some(instance)) = inventory.instance(&source.instance) {
        return Some(&instance.resource);
    }
    let snapshots = points.iter().filter(|point| point.kind == Kind::Snapshot);
    snapshots.filter(|point| point.is_good()).max_by_key(|point| point.slot)?.resource.as_ref()
}

fn copy_snapshots(
    policy: &Policy,
    inventory: &Inventory,
    points: &[RecoveryPoint],
    source: &SourcePolicy,
    wanted: &SnapshotCopies,
    now: Timestamp,
    copies: &mut Copies,
) {
    let Some(Ok(in_region)) = inventory.copies.get(&wanted.region) else { return };
    let Ok(snapshots) = &inventory.snapshots else { return };
    let behind = awaiting_copy(inventory, points, source, wanted);
    let Some(next) = behind.first() else { return };
    let late = |point: &&&RecoveryPoint| point.stored_at.is_some_and(|at| now.duration_since(at) > COPY_LATE);
    if let Some(point) = behind.iter().find(late) {
        copies.findings.push(Finding {
            severity: Severity::Warning,
            check: Check::SnapshotCopy,
            source: Some(source.id.clone()),
            text: format!(
                "snapshot {} has no copy in {} after a day: see the log for what RDS says, and the KMS key there",
                point.id, wanted.region
            ),
        });
    }
    let is_under_way = |snapshot: &&Snapshot| snapshot.is_under_way();
    if in_region.iter().filter(is_under_way).any(|snapshot| is_own(policy, &source.id, snapshot)) {
        copies.under_way = true;
        return;
    }
    let planned_here = |action: &&Action| matches!(action, Action::CopySnapshot(copy) if copy.region == wanted.region);
    let under_way = in_region.iter().filter(is_under_way).count() + copies.actions.iter().filter(planned_here).count();
    if under_way >= COPIES_UNDER_WAY_MAX {
        copies.under_way = true;
        return;
    }
    let Some(origin) = snapshots.iter().find(|snapshot| snapshot.id.as_str() == next.id) else { return };
    let Some(origin_arn) = origin.arn.clone() else { return };
    let Some(target) = free_id(&origin.id, |id| in_region.iter().any(|snapshot| snapshot.id == *id)) else { return };
    copies.actions.push(Action::CopySnapshot(CopySnapshot {
        source: source.id.clone(),
        tags: tags::for_copy(&policy.installation, &target, &origin.tags),
        origin: origin.id.clone(),
        origin_arn,
        origin_region: policy.region.clone(),
        target,
        region: wanted.region.clone(),
        kms_key: wanted.kms_key.clone(),
    }));
}

/// The id of a copy: that of its origin, which nobody else has in that region; after a failed attempt, or where somebody
/// has, with a number.
fn free_id(origin: &SnapshotId, taken: impl Fn(&SnapshotId) -> bool) -> Option<SnapshotId> {
    const ATTEMPTS: u32 = 99;
    let numbered = (2..=ATTEMPTS).filter_map(|number| format!("{origin}-c{number}").parse().ok());
    std::iter::once(origin.clone()).chain(numbered).find(|id| !taken(id))
}

fn copy_dumps(
    inventory: &Inventory,
    source: &SourcePolicy,
    replica: &ReplicaPolicy,
    now: Timestamp,
    copies: &mut Copies,
) {
    let Ok(store) = inventory.store(&source.id) else { return };
    let Some(there) = store.dumps_in(Plane::Replica) else { return };
    for database in &source.databases {
        let of_database = |stored: &&StoredDump| stored.dump.database == *database;
        let newest_there = there.iter().filter(of_database).map(|stored| stored.dump.slot).max();
        let here = store.dumps.iter().filter(of_database);
        let unproven = here.filter(|stored| stored.point.is_good() && !stored.other_plane_proven);
        let behind = behind(unproven, |stored| stored.dump.slot, newest_there);
        if let (ReplicaMode::Copied, Some(next)) = (replica.mode, behind.first()) {
            copies
                .actions
                .push(Action::CopyDump(Box::new(CopyDump { stored: (*next).clone(), region: replica.region.clone() })));
        }
    }
    for stored in store.dumps.iter().filter(|stored| stored.point.is_good()) {
        copies.findings.extend(replication_finding(source, stored, replica, now));
    }
}

/// What S3's replication of a dump that is not proven in the replica bucket calls for.
fn replication_finding(
    source: &SourcePolicy,
    stored: &StoredDump,
    replica: &ReplicaPolicy,
    now: Timestamp,
) -> Option<Finding> {
    let age = stored.point.stored_at.map_or(SignedDuration::ZERO, |at| now.duration_since(at));
    let (dump, bucket) = (&stored.dump, &replica.bucket);
    let (severity, text) = match stored.replication? {
        Replication::NoRule => (
            Severity::Critical,
            format!(
                "dump {dump}: no replication rule covers it, so {bucket} will never have it: mend the rule's prefix and its \
                 choice of KMS objects, then run S3 Batch Replication"
            ),
        ),
        Replication::Failed => (
            Severity::Critical,
            format!(
                "dump {dump}: S3 gave up its replication to {bucket} and does not try again: mend the replication role and \
                 the KMS key's policy, then run S3 Batch Replication"
            ),
        ),
        Replication::Pending if age > REPLICATION_LOST => (
            Severity::Critical,
            format!("dump {dump} is not replicated to {bucket} after a day: look at the replication's metrics in S3"),
        ),
        Replication::Pending if age > REPLICATION_LATE => (
            Severity::Warning,
            format!("dump {dump} is not replicated to {bucket} after an hour: S3 still says PENDING"),
        ),
        Replication::Completed if age > REPLICATION_LATE => (
            Severity::Warning,
            format!(
                "dump {dump}: S3 says that it is replicated, but {bucket} does not show it whole: is the rule's destination \
                 this bucket?"
            ),
        ),
        Replication::Pending | Replication::Completed => return None,
    };
    Some(Finding { severity, check: Check::Replication, source: Some(source.id.clone()), text })
}

#[cfg(test)]
mod tests;
