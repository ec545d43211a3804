//! What speaks against deleting what has expired.

use std::fmt;

use jiff::SignedDuration;

use super::{Mode, Shelf};
use crate::domain::id::{Kind, SourceId};
use crate::domain::inventory::{Complete, Inventory, Replication, StoredDump, Unseen};
use crate::domain::recovery_point::{Plane, PointState, RecoveryPoint};
use crate::plan::anomaly::anomalies;
use crate::plan::copy::awaiting_copy;
use crate::plan::doubt::{Doubt, by_database};
use crate::policy::finding::{Check, Finding, Severity};
use crate::policy::{Policy, SourcePolicy};

/// Why an expired recovery point stays for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// The daemon does not delete by itself.
    NotAutomatic,
    /// Its schedule is suspended: what there is stays.
    Suspended,
    /// Something that has to be known was not seen.
    Unseen(Unseen),
    /// Our clock and AWS's disagree, or AWS's is not known.
    ClockSkew {
        /// How far AWS's is ahead; `None`: not known.
        ahead: Option<SignedDuration>,
    },
    /// The retention has not been in force for long enough.
    Settling {
        /// For how long it must have been.
        settle: SignedDuration,
    },
    /// Newer backups that should be there are not.
    Overdue,
    /// A dump of the source was found bad or unreadable, and no newer one has been verified since.
    DumpBad {
        /// The bad one.
        id: String,
    },
    /// The newest dump of a database lacks much of what the one before it had.
    Anomaly {
        /// That dump.
        id: String,
    },
    /// Its copy in the other region is not proven yet.
    Replicating,
    /// Too many have expired at once: a person has to look.
    NeedsConfirmation,
    /// As many as allowed are deleted in this cycle already.
    Capped {
        /// How many.
        deletes_per_cycle: usize,
    },
    /// It is not where it was listed.
    NotFound,
}

impl Hold {
    /// Whether something is in doubt, and not only a matter of time or of somebody's decision.
    #[must_use]
    pub fn is_doubt(&self) -> bool {
        match self {
            Hold::Unseen(_)
            | Hold::ClockSkew { .. }
            | Hold::Overdue
            | Hold::DumpBad { .. }
            | Hold::Anomaly { .. }
            | Hold::Replicating
            | Hold::NotFound => true,
            Hold::NotAutomatic
            | Hold::Suspended
            | Hold::Settling { .. }
            | Hold::NeedsConfirmation
            | Hold::Capped { .. } => false,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::NotAutomatic => f.write_str("`prune.automatic` is off: run `strongroom prune --confirm`"),
            Hold::Suspended => f.write_str("its schedule is suspended"),
            Hold::Unseen(Unseen(why)) => write!(f, "not everything was seen: {why}"),
            Hold::ClockSkew { ahead: None } => f.write_str("AWS has not said what time it is"),
            Hold::ClockSkew { ahead: Some(ahead) } => {
                write!(f, "our clock is {:#} away from AWS's: set it right", ahead.abs())
            }
            Hold::Settling { settle } => {
                write!(f, "this retention has not been in force for {settle:#} yet")
            }
            Hold::Overdue => f.write_str("newer backups are overdue"),
            Hold::DumpBad { id } => {
                write!(f, "dump {id} was found bad or unreadable, and no newer one has been verified since")
            }
            Hold::Anomaly { id } => write!(
                f,
                "dump {id} lacks much of what was there before: find out why; where it is right, pin it with the reason"
            ),
            Hold::Replicating => f.write_str("its copy in the other region is not proven yet"),
            Hold::NeedsConfirmation => f.write_str(
                "more have expired at once than is deleted without a person: run `strongroom prune --confirm`",
            ),
            Hold::Capped { deletes_per_cycle } => {
                write!(f, "{deletes_per_cycle} deletions in this hour already: it is deleted in a later one")
            }
            Hold::NotFound => f.write_str("it is not where it was listed"),
        }
    }
}

/// Everything that may hold back.
pub(super) struct Holds<'a> {
    pub(super) policy: &'a Policy,
    pub(super) inventory: &'a Inventory,
    pub(super) mode: Mode,
}

/// One source, as far as its deletions are concerned.
pub(super) struct View<'a> {
    pub(super) source: &'a SourcePolicy,
    /// Its recovery points, in all planes.
    pub(super) points: &'a [RecoveryPoint],
    /// Kinds of backup of which a slot should be filled and is not.
    pub(super) overdue: &'a [Kind],
}

impl Holds<'_> {
    /// What holds back a whole shelf.
    pub(super) fn of_shelf(&self, view: &View<'_>, shelf: &Shelf) -> Option<Hold> {
        if self.mode == Mode::Automatic && !self.policy.prune.automatic {
            return Some(Hold::NotAutomatic);
        }
        self.unseen(view.source)
            .map(Hold::Unseen)
            .or_else(|| self.clock())
            .or_else(|| self.settling(view.source))
            .or_else(|| view.overdue.contains(&shelf.kind).then_some(Hold::Overdue))
            .or_else(|| self.bad_dump(view.source))
            .or_else(|| self.anomaly(view.source))
    }

    /// What emptied or encrypted a database is found out before the dumps from before it go.
    fn anomaly(&self, source: &SourcePolicy) -> Option<Hold> {
        let store = self.inventory.store(&source.id).ok()?;
        let odd = anomalies(store).into_iter().next()?;
        Some(Hold::Anomaly { id: odd.dump.point.id.clone() })
    }

    /// The first thing that would have to be known for a deletion of this source and was not seen. A listing of a whole
    /// region counts for all sources: while RDS answers badly nothing is deleted anywhere.
    fn unseen(&self, source: &SourcePolicy) -> Option<Unseen> {
        let inventory = self.inventory;
        let instances = inventory.instances.as_ref().err();
        let snapshots = inventory.snapshots.as_ref().err();
        let copies = inventory.copies.values().filter_map(|seen| seen.as_ref().err());
        let of_all = instances.into_iter().chain(snapshots).chain(copies).next().cloned();
        of_all.or_else(|| match inventory.store(&source.id) {
            Err(unseen) => Some(unseen),
            Ok(store) => {
                let replica = store.replica.as_ref().and_then(|replica| replica.as_ref().err());
                replica.or(store.refused.as_ref()).cloned()
            }
        })
    }

    /// Ages are judged by our clock against AWS's dates, so the two have to agree.
    pub(super) fn clock(&self) -> Option<Hold> {
        let ahead = self.inventory.clock_skew;
        let agrees = ahead.is_some_and(|ahead| ahead.abs() <= self.policy.prune.clock_skew_max);
        (!agrees).then_some(Hold::ClockSkew { ahead })
    }

    fn settling(&self, source: &SourcePolicy) -> Option<Hold> {
        let settle = self.policy.prune.settle;
        let known_for = self.inventory.retention_known_for.get(&source.id);
        let settled = known_for.is_some_and(|known_for| *known_for >= settle);
        (self.mode == Mode::Automatic && !settled).then_some(Hold::Settling { settle })
    }

    /// A dump that was found bad, or that nobody can read, holds back all deletions of its source until a newer one of its
    /// database has been read back whole since, in the same bucket: whatever spoilt it may have spoilt others, and snapshots
    /// are then what there is.
    fn bad_dump(&self, source: &SourcePolicy) -> Option<Hold> {
        let store = self.inventory.store(&source.id).ok()?;
        for dumps in Plane::ALL.into_iter().filter_map(|plane| store.dumps_in(plane)) {
            for (_, dumps) in by_database(dumps) {
                let standing = Doubt::among(&dumps).filter(|doubt| !dumps.iter().any(|own| doubt.is_lifted_by(own)));
                if let Some(doubt) = standing {
                    return Some(Hold::DumpBad { id: doubt.about.point.id.clone() });
                }
            }
        }
        None
    }

    /// What holds back a single point.
    pub(super) fn of_point(&self, view: &View<'_>, point: &RecoveryPoint) -> Option<Hold> {
        let replicating = match (point.kind, point.plane) {
            (Kind::Snapshot | Kind::Dump, Plane::Replica) => false,
            (Kind::Snapshot, Plane::Primary) => self.snapshot_is_being_copied(view, point),
            (Kind::Dump, Plane::Primary) => self.dump_is_replicating(view.source, point),
        };
        replicating.then_some(Hold::Replicating)
    }

    /// Deleting a snapshot ends the copies that are made of it (RDS API reference, `DeleteDBSnapshot`).
    fn snapshot_is_being_copied(&self, view: &View<'_>, point: &RecoveryPoint) -> bool {
        let origin = self.inventory.snapshots.as_ref().ok();
        let origin = origin.and_then(|all| all.iter().find(|snapshot| snapshot.id.as_str() == point.id));
        let arn = origin.and_then(|origin| origin.arn.as_ref());
        let mut others = self.inventory.copies.values().flatten().flatten();
        // A copy whose origin is not told could be of this one.
        let being_copied = others.any(|copy| {
            copy.is_under_way()
                && copy.resource == point.resource
                && (copy.copied_from.is_none() || copy.copied_from.as_ref() == arn)
        });
        let wanted = view.source.obligations.iter().flat_map(|obligation| &obligation.copies);
        let awaits = |wanted| awaiting_copy(self.inventory, view.points, view.source, wanted);
        being_copied || wanted.into_iter().any(|wanted| awaits(wanted).iter().any(|behind| behind.id == point.id))
    }

    /// Deleting an object that is not replicated yet may delete the only copy that was to be.
    fn dump_is_replicating(&self, source: &SourcePolicy, point: &RecoveryPoint) -> bool {
        let Ok(store) = self.inventory.store(&source.id) else { return true };
        if store.replica.is_none() {
            return false;
        }
        let stored = store.dumps.iter().find(|stored| stored.point.id == point.id);
        let proven = stored.is_some_and(|stored| stored.other_plane_proven);
        // S3 has it in hand, or has given it up.
        let replication = stored.and_then(|stored| stored.replication);
        if !proven && matches!(replication, Some(Replication::Pending | Replication::Failed)) {
            return true;
        }
        // A dump that is bad will never be replicated, and one from before the replica was configured neither.
        let newest_there = store.dumps_in(Plane::Replica).and_then(|there| {
            let of_database = |stored: &&StoredDump| Some(&stored.dump.database) == point.database.as_ref();
            there
                .iter()
                .filter(of_database)
                .filter(|stored| stored.point.is_good())
                .map(|stored| stored.dump.slot)
                .max()
        });
        point.is_good() && !proven && newest_there.is_none_or(|newest| point.slot > newest)
    }

    /// What a person should know of all this.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(Hold::ClockSkew { ahead: Some(ahead) }) = self.clock() {
            findings.push(Finding {
                severity: Severity::Critical,
                check: Check::ClockSkew,
                source: None,
                text: format!(
                    "our clock is {:#} {} AWS's: nothing is pruned until it is set right, and slots come due by AWS's",
                    SignedDuration::from_secs(ahead.abs().as_secs()),
                    if ahead.is_negative() { "ahead of" } else { "behind" }
                ),
            });
        }
        for (source, store) in &self.inventory.stores {
            let Ok(store) = store else { continue };
            for dumps in Plane::ALL.into_iter().filter_map(|plane| store.dumps_in(plane)) {
                findings.extend(dumps.iter().filter_map(|stored| bad_dump(source, stored, dumps)));
            }
        }
        findings
    }
}

/// A dump that cannot be relied on: worth knowing, and an emergency only while there is no newer good one.
fn bad_dump(source: &SourceId, stored: &StoredDump, beside: &Complete<StoredDump>) -> Option<Finding> {
    let PointState::Bad { reason } = &stored.point.state else { return None };
    // That is told by itself: nobody knows whether its bytes are bad.
    if stored.unreadable().is_some() {
        return None;
    }
    let outdone = beside.iter().any(|other| {
        other.point.is_good()
            && other.unreadable().is_none()
            && other.dump.database == stored.dump.database
            && other.dump.slot > stored.dump.slot
    });
    let (severity, advice) = if outdone {
        (Severity::Info, "a newer good one stands".to_owned())
    } else {
        (Severity::Critical, format!("make another one with `strongroom backup dump {source}`"))
    };
    let (id, region) = (&stored.point.id, &stored.point.region);
    let text = format!("dump {id} in {region} is bad, do not rely on it: {reason}; {advice}");
    Some(Finding { severity, check: Check::DumpBad, source: Some(source.clone()), text })
}

/// How many may be deleted.
pub(super) struct Limits {
    mode: Mode,
    /// As configured.
    pub(super) deletes_per_cycle: usize,
    /// What is left of this cycle.
    pub(super) room: usize,
    /// More than so many of one shelf wait for a person.
    pub(super) of_shelf_max: usize,
    /// More than so many of all shelves wait for a person.
    pub(super) total_max: usize,
}

/// In the long run each new recovery point expires about one old one, of each shelf. More than three of every shelf at once
/// is no run of things but a change.
const EXPIRED_PER_SHELF_MAX: usize = 3;
/// A share of all recovery points that may go in one cycle, so that a large installation keeps up: one in fifty.
const SHARE_PER_CYCLE: usize = 50;

impl Limits {
    pub(super) fn new(policy: &Policy, inventory: &Inventory, points: usize, shelves: usize, mode: Mode) -> Limits {
        let configured = policy.prune.deletes_per_cycle;
        let deletes_per_cycle = configured.max(points / SHARE_PER_CYCLE);
        Limits {
            mode,
            deletes_per_cycle,
            room: match mode {
                Mode::Automatic => deletes_per_cycle.saturating_sub(inventory.deleted_lately),
                Mode::Confirmed => usize::MAX,
            },
            of_shelf_max: configured,
            total_max: configured.max(shelves.saturating_mul(EXPIRED_PER_SHELF_MAX)),
        }
    }

    /// What holds back a point of a shelf with so many candidates, among so many in all.
    pub(super) fn hold(&self, of_shelf: usize, total: usize) -> Option<Hold> {
        let too_many = of_shelf > self.of_shelf_max || total > self.total_max;
        (self.mode == Mode::Automatic && too_many).then_some(Hold::NeedsConfirmation)
    }
}
