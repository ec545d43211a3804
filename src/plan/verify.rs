//! Verification: which stored dumps are looked at again, when, and how deep.
//!
//! Each dump is asked for object by object (level 1) as soon as it stands, in each bucket; that is also the proof that a
//! replica is one. Then every byte of it is read back (level 2), and of those that are kept again and again: the one whose
//! reading is the oldest comes next, at a pace at which each has its turn within the cycle. In the replica bucket a sample is
//! read (level 3). What was read when is recorded beside the dumps, so that a restart changes nothing.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::action::{Action, VerifyDump};
use super::doubt::{Doubt, by_database, is_doubtful};
use crate::domain::id::{DatabaseName, RegionName, SourceId};
use crate::domain::inventory::{Found, Inventory, KnownVerification, StoredDump};
use crate::domain::recovery_point::{Plane, PointState};
use crate::domain::verification::Level;
use crate::policy::Policy;
use crate::policy::finding::{Check, Finding, Severity};
use crate::policy::retry::SLOW_PACE;

/// Level 1 verifications that are planned in one round: each takes a request per object.
const L1_PER_ROUND: usize = 16;

/// What was planned about verification.
#[derive(Debug, Default)]
pub(super) struct Verifications {
    pub(super) actions: Vec<Action>,
    pub(super) findings: Vec<Finding>,
    pub(super) readings: Vec<Readings>,
    /// When the next reading comes due.
    pub(super) wake_at: Option<Timestamp>,
}

/// How the good dumps of a database stand in one bucket: what was read back of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readings {
    /// The source.
    #[serde(skip)]
    pub source: SourceId,
    /// The database.
    pub database: DatabaseName,
    /// Which bucket.
    pub plane: Plane,
    /// Its region.
    pub region: RegionName,
    /// Good dumps.
    pub dumps: usize,
    /// Those of them that were read back.
    pub read_back: usize,
    /// When the one was that was read back the longest ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_at: Option<Timestamp>,
    /// When the one was that was read back last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_at: Option<Timestamp>,
    /// Those that should have been by now.
    pub overdue: usize,
}

pub(super) fn plan_verifications(policy: &Policy, inventory: &Inventory, now: Timestamp) -> Verifications {
    let mut planned = Verifications::default();
    let (mut light, mut deep) = (Vec::new(), Vec::new());
    for source in policy.sources.values() {
        let Ok(store) = inventory.store(&source.id) else { continue };
        for plane in Plane::ALL {
            let Some(dumps) = store.dumps_in(plane) else { continue };
            let all_shown = store.refused.is_none();
            let awaiting = dumps.iter().filter(|stored| awaits_level_1(stored, all_shown, now));
            light.extend(awaiting.map(|own| verify(own, Level::L1)));
            planned.findings.extend(dumps.iter().filter_map(|stored| unreadable(&source.id, stored)));
            for (database, dumps) in by_database(dumps) {
                let shelf = Shelf::of(policy, inventory, database, plane, dumps, now);
                match shelf.next() {
                    Some(next) if next.at <= now => deep.push(next),
                    Some(next) => planned.wake_at = Some(planned.wake_at.map_or(next.at, |known| known.min(next.at))),
                    None => {}
                }
                let readings = shelf.readings(&source.id, &store_region(policy, plane));
                planned.findings.extend(shelf.overdue_finding(&readings));
                planned.readings.push(readings);
            }
        }
    }
    light.truncate(L1_PER_ROUND);
    // As many as there are runs at once: each reads and decompresses as much as a dump writes.
    deep.sort_by_key(|next| (next.because, Reverse(next.stored.dump.slot)));
    deep.truncate(policy.limits.concurrent_runs);
    planned.actions = light;
    planned.actions.extend(deep.iter().map(|next| verify(next.stored, Level::L2)));
    planned
}

fn store_region(policy: &Policy, plane: Plane) -> RegionName {
    match (plane, &policy.destination.replica) {
        (Plane::Replica, Some(replica)) => replica.region.clone(),
        (Plane::Primary, _) | (Plane::Replica, None) => policy.region.clone(),
    }
}

/// Whether everything of a dump stands and nobody has asked for it yet; whether nobody could and it is time to try again; or
/// whether the listing shows a loss that no record tells of yet: also not that of a deletion, if all records were shown.
fn awaits_level_1(stored: &StoredDump, all_shown: bool, now: Timestamp) -> bool {
    let is_asked_for = !stored.verifications.is_empty();
    match (&stored.point.state, stored.point.plane) {
        (PointState::Deleting, _) | (PointState::Pending, Plane::Primary) => false,
        (PointState::Good, _) | (PointState::Pending, Plane::Replica) => {
            stored.whole && (!is_asked_for || retries(stored, Level::L1, now))
        }
        (PointState::Bad { .. } | PointState::Unreadable { .. }, _) => {
            let unrecorded = !stored.whole && stored.point.run.is_some() && stored.standing_doubts().next().is_none();
            (unrecorded && all_shown) || retries(stored, Level::L1, now)
        }
    }
}

/// Whether nobody could read a dump at a level, so long ago that rights and keys may have been mended. A wrong clock may have
/// dated it in the future.
fn retries(stored: &StoredDump, level: Level, now: Timestamp) -> bool {
    stored.standing_doubts().any(|known| known.level == level && is_unreadable(known) && is_over(known.at, now))
}

fn is_unreadable(known: &KnownVerification) -> bool {
    matches!(known.found, Found::Unreadable(_))
}

fn is_over(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since).abs() >= SLOW_PACE
}

/// Why a dump is read back; the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Because {
    /// It never was.
    New,
    /// Another one was found bad since it was.
    Doubt,
    /// Nobody could, the last time.
    Unreadable,
    /// Its turn has come again.
    Turn,
}

/// The dump of a shelf that is read back next.
#[derive(Debug)]
struct Next<'a> {
    stored: &'a StoredDump,
    because: Because,
    at: Timestamp,
}

/// The dumps of one database in one bucket.
struct Shelf<'a> {
    policy: &'a Policy,
    database: &'a DatabaseName,
    plane: Plane,
    all: Vec<&'a StoredDump>,
    /// Those that can be relied on, each with its last reading; the one that was read the longest ago first, of those that
    /// never were the newest.
    good: Vec<(Option<Timestamp>, &'a StoredDump)>,
    now: Timestamp,
    /// Whether ages can be judged: not by a clock that is known to be wrong.
    clock_is_right: bool,
}

impl<'a> Shelf<'a> {
    fn of(
        policy: &'a Policy,
        inventory: &Inventory,
        database: &'a DatabaseName,
        plane: Plane,
        all: Vec<&'a StoredDump>,
        now: Timestamp,
    ) -> Shelf<'a> {
        let latest = now.saturating_add(policy.prune.clock_skew_max).unwrap_or(Timestamp::MAX);
        let relied_on = all.iter().copied().filter(|stored| stored.point.is_good() && !is_doubtful(stored));
        let mut good: Vec<_> = relied_on.map(|stored| (stored.read_back_at(latest), stored)).collect();
        good.sort_by_key(|(at, stored)| (*at, Reverse(stored.dump.slot)));
        let clock_is_right = inventory.clock_skew.is_none_or(|ahead| ahead.abs() <= policy.prune.clock_skew_max);
        Shelf { policy, database, plane, all, good, now, clock_is_right }
    }

    /// One at a time: each shelf's load on the store is a single stream.
    fn next(&self) -> Option<Next<'a>> {
        let next = |stored, because, at| Some(Next { stored, because, at });
        let first = self.good.first();
        if let (Plane::Primary, Some((None, stored))) = (self.plane, first) {
            return next(*stored, Because::New, self.now);
        }
        let doubt = Doubt::among(&self.all).filter(|doubt| doubt.can_be_lifted(self.now));
        let lifts = |doubt: Doubt<'_>| {
            let newer = self.good.iter().map(|(_, stored)| *stored).filter(|stored| doubt.may_be_lifted_by(stored));
            let is_lifted = newer.clone().any(|stored| doubt.is_lifted_by(stored));
            if is_lifted { None } else { newer.max_by_key(|stored| stored.moment()) }
        };
        if let Some(stored) = doubt.and_then(lifts) {
            return next(stored, Because::Doubt, self.now);
        }
        if let Some(stored) = self.all.iter().find(|stored| retries(stored, Level::L2, self.now)) {
            return next(*stored, Because::Unreadable, self.now);
        }
        if !self.clock_is_right {
            return None;
        }
        match self.plane {
            Plane::Primary => {
                let (stored, at) = self.turn()?;
                next(stored, Because::Turn, at)
            }
            Plane::Replica => {
                let (stored, at) = self.sample()?;
                next(stored, Because::Turn, at)
            }
        }
    }

    /// The dump whose reading is the oldest, when its turn comes: each of `n` dumps is read once in a cycle, so one every
    /// `n`-th of it; twice as fast while one is late, and never all that are late at once.
    fn turn(&self) -> Option<(&'a StoredDump, Timestamp)> {
        let (Some(oldest_at), stored) = *self.good.first()? else { return None };
        let cycle = self.policy.verify.cycle?;
        let dumps = i32::try_from(self.good.len()).unwrap_or(i32::MAX);
        let is_late = self.now.duration_since(oldest_at) > cycle;
        let pace = cycle / dumps / if is_late { 2 } else { 1 };
        // First readings have a pace of their own: that of the dumps.
        let again = self.good.iter().filter_map(|(at, stored)| (*at).filter(|at| *at > self.deadline_of(stored)));
        let last = again.max().unwrap_or(oldest_at).max(oldest_at);
        Some((stored, last.saturating_add(pace).unwrap_or(Timestamp::MAX)))
    }

    /// The dump that is read back next in the replica bucket: the newest if it never was, then the one that was the longest
    /// ago.
    fn sample(&self) -> Option<(&'a StoredDump, Timestamp)> {
        let interval = self.policy.verify.replica_interval?;
        let newest = self.good.iter().max_by_key(|(_, stored)| stored.moment())?;
        let (_, stored) = if newest.0.is_none() { newest } else { self.good.first()? };
        let last = self.good.iter().filter_map(|(at, _)| *at).max();
        Some((*stored, last.map_or(self.now, |last| last.saturating_add(interval).unwrap_or(Timestamp::MAX))))
    }

    /// By when a dump is read back for the first time.
    fn deadline_of(&self, stored: &StoredDump) -> Timestamp {
        stored.stored_at().saturating_add(self.policy.verify.deadline).unwrap_or(Timestamp::MAX)
    }

    fn readings(&self, source: &SourceId, region: &RegionName) -> Readings {
        let read = || self.good.iter().filter_map(|(at, _)| *at);
        Readings {
            source: source.clone(),
            database: self.database.clone(),
            plane: self.plane,
            region: region.clone(),
            dumps: self.good.len(),
            read_back: read().count(),
            oldest_at: read().min(),
            newest_at: read().max(),
            overdue: if self.clock_is_right { self.overdue() } else { 0 },
        }
    }

    /// How many should have been read back by now, and were not.
    fn overdue(&self) -> usize {
        let slack = self.policy.verify.deadline;
        let is_over = |since: Timestamp, length: SignedDuration| {
            self.now.duration_since(since) > length.checked_add(slack).unwrap_or(SignedDuration::MAX)
        };
        match (self.plane, self.policy.verify.replica_interval) {
            (Plane::Primary, _) => {
                let cycle = self.policy.verify.cycle;
                let is_late = |(at, stored): &&(Option<Timestamp>, &StoredDump)| match at {
                    None => self.deadline_of(stored) < self.now,
                    Some(at) => cycle.is_some_and(|cycle| is_over(*at, cycle)),
                };
                self.good.iter().filter(is_late).count()
            }
            (Plane::Replica, Some(interval)) => {
                let last = self.good.iter().filter_map(|(at, _)| *at).max();
                let begun = self.good.iter().map(|(_, stored)| self.deadline_of(stored)).min();
                let is_late = match (last, begun) {
                    (Some(last), _) => is_over(last, interval),
                    (None, Some(begun)) => begun < self.now,
                    (None, None) => false,
                };
                usize::from(is_late)
            }
            (Plane::Replica, None) => 0,
        }
    }

    fn overdue_finding(&self, readings: &Readings) -> Option<Finding> {
        let Readings { source, database, region, overdue, .. } = readings;
        let text = match self.plane {
            _ if *overdue == 0 => return None,
            Plane::Primary => format!(
                "{overdue} dump(s) of {database} in {region} should have been read back by now and were not: does the daemon \
                 run, and can it read the bucket?"
            ),
            Plane::Replica => format!(
                "no dump of {database} was read back in {region} for too long: can the daemon read the replica bucket?"
            ),
        };
        Some(Finding {
            severity: Severity::Warning,
            check: Check::VerificationOverdue,
            source: Some(source.clone()),
            text,
        })
    }
}

/// A dump that nobody can read: whether it is good is not known, and nobody can restore it as things are.
fn unreadable(source: &SourceId, stored: &StoredDump) -> Option<Finding> {
    let why = stored.unreadable()?;
    let (id, region) = (&stored.point.id, &stored.point.region);
    let counts = match stored.point.plane {
        Plane::Primary => "nobody could restore it now",
        Plane::Replica => "it does not count as a copy",
    };
    let text =
        format!("dump {id} in {region} cannot be read, so {counts}: {why}; mend the role's rights or the KMS key");
    Some(Finding { severity: Severity::Critical, check: Check::DumpUnreadable, source: Some(source.clone()), text })
}

fn verify(stored: &StoredDump, level: Level) -> Action {
    Action::Verify(Box::new(VerifyDump { stored: stored.clone(), level }))
}

#[cfg(test)]
mod tests;
