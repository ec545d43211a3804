//! Judging: points are grouped, and each group is judged alone.
//!
//! An instance that is created anew under its old name has another identity, so what was made of its predecessor is a group
//! of its own and keeps its newest good one for ever.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use jiff::Timestamp;

use super::calendar::Calendar;
use super::expired::JudgedGroup;
use super::{Expired, Fate, KeepRule, RetentionPolicy, Verdict};
use crate::domain::id::{DatabaseName, Kind, RegionName, ResourceId};
use crate::domain::inventory::Complete;
use crate::domain::recovery_point::{Plane, PointState, RecoveryPoint};

/// What points have in common that can stand in for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey<'a> {
    resource: &'a ResourceId,
    kind: Kind,
    database: Option<&'a DatabaseName>,
    plane: Plane,
    region: &'a RegionName,
}

/// A point that is judged by its age, and its place in the listing.
#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    index: usize,
    point: &'a RecoveryPoint,
    created_at: Timestamp,
}

/// One verdict for each point, in the order of the listing.
pub(super) fn judge<'a>(
    policy: &RetentionPolicy,
    points: &Complete<&'a RecoveryPoint>,
    now: Timestamp,
) -> Vec<Verdict<'a>> {
    let mut verdicts: Vec<_> = points.iter().map(|point| Verdict { point, fate: Fate::Kept(Vec::new()) }).collect();
    let mut record = |index: usize, fate: Fate| {
        if let Some(verdict) = verdicts.get_mut(index) {
            verdict.fate = fate;
        }
    };
    let mut groups: BTreeMap<GroupKey<'a>, Vec<Member<'a>>> = BTreeMap::new();
    for (index, point) in points.iter().copied().enumerate() {
        match identify(point, now) {
            Ok((key, created_at)) => groups.entry(key).or_default().push(Member { index, point, created_at }),
            Err(reason) => record(index, set_aside(point, reason, now)),
        }
    }
    for (key, members) in groups {
        judge_group(policy, key, members, now, &mut record);
    }
    verdicts
}

/// The group that a point is judged in and the moment of its data; or why it is kept without being judged.
fn identify(point: &RecoveryPoint, now: Timestamp) -> Result<(GroupKey<'_>, Timestamp), KeepRule> {
    match &point.state {
        PointState::Pending => return Err(KeepRule::Pending),
        PointState::Deleting => return Err(KeepRule::Deleting),
        PointState::Good | PointState::Bad { .. } | PointState::Unreadable { .. } => {}
    }
    let (Some(resource), Some(created_at)) = (&point.resource, point.created_at) else {
        return Err(KeepRule::Unidentified);
    };
    if arrived_at(point, created_at) > now {
        return Err(KeepRule::FutureDated);
    }
    let database = point.database.as_ref();
    let key = GroupKey { resource, kind: point.kind, database, plane: point.plane, region: &point.region };
    Ok((key, created_at))
}

/// Whether it came to be where it is at a time that is not yet: some clock was wrong.
pub(super) fn is_future(point: &RecoveryPoint, now: Timestamp) -> bool {
    point.created_at.is_some_and(|created_at| arrived_at(point, created_at) > now)
}

/// When a point came to be where it is: a copy is younger than its data.
fn arrived_at(point: &RecoveryPoint, created_at: Timestamp) -> Timestamp {
    point.stored_at.map_or(created_at, |stored_at| stored_at.max(created_at))
}

impl GroupKey<'_> {
    fn judged(self, now: Timestamp, newest_good: &RecoveryPoint) -> Arc<JudgedGroup> {
        Arc::new(JudgedGroup {
            kind: self.kind,
            database: self.database.cloned(),
            resource: self.resource.clone(),
            plane: self.plane,
            region: self.region.clone(),
            judged_at: now,
            newest_good: newest_good.id.clone(),
        })
    }
}

fn judge_group<'a>(
    policy: &RetentionPolicy,
    key: GroupKey<'a>,
    mut members: Vec<Member<'a>>,
    now: Timestamp,
    record: &mut impl FnMut(usize, Fate),
) {
    // Of a point that is listed twice, one would keep a place in a rule and the other would let the same point expire.
    let twins = listed_twice(&members);
    members.retain(|member| {
        let is_twin = twins.binary_search(&member.point.id.as_str()).is_ok();
        if is_twin {
            record(member.index, set_aside(member.point, KeepRule::Unidentified, now));
        }
        !is_twin
    });
    members.sort_unstable_by_key(|member| Reverse((member.created_at, member.point.id.as_str())));
    let (good, bad): (Vec<_>, Vec<_>) = members.into_iter().partition(|member| member.point.is_good());
    let newest_good = good.first();
    // Without a good one that stays there is no evidence against any other.
    let judged = newest_good.map(|newest| key.judged(now, newest.point));
    let fate = |member: &Member<'a>, rules: Vec<KeepRule>| match &judged {
        Some(judged) if rules.is_empty() => Fate::Expired(Expired::new(member.point, member.created_at, judged)),
        Some(_) | None => Fate::Kept(rules),
    };
    judge_good(policy, &good, now, |member, rules| record(member.index, fate(member, rules)));
    for member in &bad {
        let mut rules = Vec::new();
        if matches!(member.point.state, PointState::Unreadable { .. }) {
            rules = rules_if_good(policy, &good, member, now);
        } else {
            hold(policy, member, now, &mut rules);
        }
        if newest_good.is_none_or(|newest| newest.created_at <= member.created_at) {
            rules.push(KeepRule::NoNewerGood);
        }
        record(member.index, fate(member, rules));
    }
}

/// All that would keep a point, were it good: what nobody can read may be.
fn rules_if_good<'a>(
    policy: &RetentionPolicy,
    good: &[Member<'a>],
    member: &Member<'a>,
    now: Timestamp,
) -> Vec<KeepRule> {
    let newer = |other: &Member<'a>| (other.created_at, &other.point.id) > (member.created_at, &member.point.id);
    let mut with_it = good.to_vec();
    with_it.insert(good.partition_point(newer), *member);
    let mut found = Vec::new();
    judge_good(policy, &with_it, now, |judged, rules| {
        if judged.index == member.index {
            // What counts as newest good one are those that are.
            found = rules.into_iter().filter(|rule| *rule != KeepRule::NewestGood).collect();
        }
    });
    found
}

/// The ids that a group has more than once, sorted.
fn listed_twice<'a>(members: &[Member<'a>]) -> Vec<&'a str> {
    let mut ids: Vec<&str> = members.iter().map(|member| member.point.id.as_str()).collect();
    ids.sort_unstable();
    let pairs = ids.iter().zip(ids.iter().skip(1));
    pairs.filter(|(id, next)| id == next).map(|(id, _)| *id).collect()
}

/// Finds the rules that keep each good point; `good` is sorted from the newest to the oldest.
fn judge_good<'a>(
    policy: &RetentionPolicy,
    good: &[Member<'a>],
    now: Timestamp,
    mut conclude: impl FnMut(&Member<'a>, Vec<KeepRule>),
) {
    let (Some(newest), Some(oldest)) = (good.first(), good.last()) else { return };
    let newest_verified = good.iter().find(|member| member.point.verified_at.is_some()).map(|member| member.index);
    let is_among = |place: u32, count: Option<NonZeroU32>| count.is_some_and(|count| place <= count.get());
    let mut calendar = Calendar::new(policy);
    let mut place = 0;
    let mut before: Option<&Member<'a>> = None;
    for member in good {
        // Several dumps of one snapshot have the same data: together they take one place.
        if !before.is_some_and(|before| same_data(before, member)) {
            place += 1;
        }
        before = Some(member);
        let mut rules = Vec::new();
        if is_among(place, policy.keep_last) {
            rules.push(KeepRule::Last(place));
        }
        calendar.keep(filed_at(member), member.index == oldest.index, &mut rules);
        if policy.keep_within.is_some_and(|within| newest.created_at.duration_since(member.created_at) <= within) {
            rules.push(KeepRule::Within);
        }
        if is_among(place, Some(policy.min_keep)) {
            rules.push(KeepRule::MinKeep);
        }
        if member.index == newest.index {
            rules.push(KeepRule::NewestGood);
        }
        if Some(member.index) == newest_verified {
            rules.push(KeepRule::NewestVerified);
        }
        hold(policy, member, now, &mut rules);
        conclude(member, rules);
    }
}

/// The moment under which the calendar's rules file a point. A dump that a drill has made is the one of its slot, though its
/// data is of the snapshot before that, and often of the month before: two slots must not share a month and leave another one
/// without.
fn filed_at(member: &Member<'_>) -> Timestamp {
    if member.point.from_snapshot.is_some() { member.point.slot.instant() } else { member.created_at }
}

fn same_data(one: &Member<'_>, other: &Member<'_>) -> bool {
    one.created_at == other.created_at
        && one.point.from_snapshot.is_some()
        && one.point.from_snapshot == other.point.from_snapshot
}

/// What keeps a point beside the rules: good or bad, it must not vanish before somebody could look at it.
fn hold(policy: &RetentionPolicy, member: &Member<'_>, now: Timestamp, rules: &mut Vec<KeepRule>) {
    let arrived_at = arrived_at(member.point, member.created_at);
    let until = arrived_at.saturating_add(policy.min_age).unwrap_or(Timestamp::MAX);
    if until > now {
        rules.push(KeepRule::TooYoung { until });
    }
    hold_fast(member.point, now, rules);
}

/// What people and the store hold fast.
fn hold_fast(point: &RecoveryPoint, now: Timestamp, rules: &mut Vec<KeepRule>) {
    if let Some(pin) = &point.pin {
        rules.push(KeepRule::Pinned { reason: pin.reason.clone() });
    }
    if let Some(until) = point.locked_until.filter(|until| *until > now) {
        rules.push(KeepRule::Locked { until });
    }
}

fn set_aside(point: &RecoveryPoint, reason: KeepRule, now: Timestamp) -> Fate {
    let mut rules = Vec::new();
    hold_fast(point, now, &mut rules);
    rules.push(reason);
    Fate::Kept(rules)
}
