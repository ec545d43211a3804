//! Retention: which recovery points are kept, by which rule, and which have expired.
//!
//! The rules are restic's `--keep-*`, and each counts for itself: a point is kept if one of them keeps it, so a rule that is
//! added, or made larger, never lets anything expire. What is newest, verified, young, pinned or locked is kept whatever
//! they say, so that no mistake in a configuration and no run of failed backups leaves a source without a way back.
//!
//! Points are judged in groups: of one instance by its identity, one kind, one database, one plane and one region. What is
//! not known for certain is kept. Nothing here deletes; [`prune`](super::prune) says what holds deletions back besides.

mod calendar;
mod expired;
mod group;
mod keep_rule;

use std::fmt;
use std::num::NonZeroU32;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::domain::inventory::Complete;
use crate::domain::recovery_point::RecoveryPoint;

pub use expired::Expired;
pub use keep_rule::KeepRule;

/// What becomes of recovery points in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retention {
    /// Nothing ever expires.
    KeepAll,
    /// These rules decide.
    Rules(RetentionPolicy),
}

/// Rules of retention. A point that one of them keeps is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// The newest so many.
    pub keep_last: Option<NonZeroU32>,
    /// The newest of each hour, for so many hours that have one.
    pub keep_hourly: Option<NonZeroU32>,
    /// The newest of each day.
    pub keep_daily: Option<NonZeroU32>,
    /// The newest of each week (ISO 8601: weeks begin on Monday, whatever the year does).
    pub keep_weekly: Option<NonZeroU32>,
    /// The newest of each month.
    pub keep_monthly: Option<NonZeroU32>,
    /// The newest of each year.
    pub keep_yearly: Option<NonZeroU32>,
    /// Everything that is at most so much older than the newest good one.
    pub keep_within: Option<SignedDuration>,
    /// The newest so many good ones are kept, whatever else is: never fewer than this.
    pub min_keep: NonZeroU32,
    /// Nothing younger than this expires.
    pub min_age: SignedDuration,
    /// The zone in which hours, days, weeks, months and years begin.
    pub zone: TimeZone,
}

/// What was judged about one recovery point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// The point.
    pub point: &'a RecoveryPoint,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a recovery point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is kept, by each of these rules: at least one.
    Kept(Vec<KeepRule>),
    /// No rule keeps it.
    Expired(Expired),
}

impl Retention {
    /// Judges every point of a complete listing: one verdict for each, in the order of the listing.
    #[must_use]
    pub fn judge<'a>(&self, points: &Complete<&'a RecoveryPoint>, now: Timestamp) -> Vec<Verdict<'a>> {
        match self {
            Retention::KeepAll => {
                let keep = |point| {
                    let is_future = group::is_future(point, now);
                    let rule = if is_future { KeepRule::FutureDated } else { KeepRule::KeepAll };
                    Verdict { point, fate: Fate::Kept(vec![rule]) }
                };
                points.iter().copied().map(keep).collect()
            }
            Retention::Rules(policy) => policy.judge(points, now),
        }
    }

    /// The same rules, with the days and weeks of another zone.
    #[must_use]
    pub fn in_zone(self, zone: &TimeZone) -> Retention {
        match self {
            Retention::KeepAll => Retention::KeepAll,
            Retention::Rules(policy) => Retention::Rules(RetentionPolicy { zone: zone.clone(), ..policy }),
        }
    }
}

impl RetentionPolicy {
    /// Judges every point of a complete listing: one verdict for each, in the order of the listing.
    #[must_use]
    pub fn judge<'a>(&self, points: &Complete<&'a RecoveryPoint>, now: Timestamp) -> Vec<Verdict<'a>> {
        group::judge(self, points, now)
    }
}

impl fmt::Display for Fate {
    /// `kept: newest of its week, newest good one`, or why it has expired.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Kept(rules) => {
                for (index, rule) in rules.iter().enumerate() {
                    write!(f, "{}{rule}", if index == 0 { "kept: " } else { ", " })?;
                }
                Ok(())
            }
            Fate::Expired(expired) => expired.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
