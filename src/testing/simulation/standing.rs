//! What stood on the shelves at the last look, and whether what has gone since was free to go.
//!
//! A second telling of retention, by counting, and only as far as it must hold whatever the planner saw: the newest so many
//! stay, so does what is within some time of the newest, and what is young. Calendars are left to others
//! (`policy::retention::tests`, and a model in another language in `tests/e2e/retention_model.py`).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::id::{DatabaseName, Kind, RegionName, ResourceId, SourceId};
use crate::policy::Policy;
use crate::policy::retention::{Retention, RetentionPolicy};

/// Between a decision by an older policy and its effect.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_hours(1);
/// Clocks that agree with AWS's may be this far from it.
pub(super) const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(5);

/// Recovery points that stand in for each other: of one source, kind and database, of one instance, in one region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shelf {
    pub(super) source: SourceId,
    pub(super) kind: Kind,
    pub(super) database: Option<DatabaseName>,
    pub(super) resource: ResourceId,
    pub(super) region: RegionName,
}

/// Good recovery points by shelf and id, each with the moment of its data.
pub(super) type Good = BTreeMap<Shelf, BTreeMap<String, Timestamp>>;

/// The last look, and the policies that were in force since long enough before it.
pub(super) struct Standing {
    good: Good,
    looked_at: Timestamp,
    /// With the time of each reload.
    policies: Vec<(Timestamp, Policy)>,
}

impl Standing {
    pub(super) fn new(policy: Policy, now: Timestamp) -> Standing {
        Standing { good: Good::new(), looked_at: now, policies: vec![(now, policy)] }
    }

    /// The policy that is in force.
    pub(super) fn policy(&self) -> &Policy {
        &self.policies.last().expect("there always is one").1
    }

    /// Every point that stood at the last look.
    pub(super) fn points(&self) -> Vec<(Shelf, String)> {
        let ids = |(shelf, points): (&Shelf, &BTreeMap<String, Timestamp>)| {
            points.keys().map(|id| (shelf.clone(), id.clone())).collect::<Vec<_>>()
        };
        self.good.iter().flat_map(ids).collect()
    }

    /// A new one is in force from now on.
    pub(super) fn reload(&mut self, now: Timestamp, policy: Policy) {
        self.policies.push((now, policy));
    }

    /// Looks again; returns what has gone although no policy of that time lets it.
    pub(super) fn look(&mut self, good: Good, now: Timestamp) -> Vec<String> {
        self.forget_old_policies();
        let before = std::mem::replace(&mut self.good, good);
        self.looked_at = now;
        let mut wrong = Vec::new();
        for (shelf, points) in before {
            let after = self.good.get(&shelf);
            let is_gone = |id: &String| after.is_none_or(|after| !after.contains_key(id));
            let gone: Vec<_> = points.iter().filter(|(id, _)| is_gone(id)).collect();
            if gone.is_empty() {
                continue;
            }
            let mut all = after.cloned().unwrap_or_default();
            all.extend(points.clone());
            for (id, moment) in gone {
                // Of two of one moment the one with the later name counts as newer.
                let newer = all.iter().filter(|(other, of)| (*of, *other) > (moment, id)).count();
                let Some(newest) = all.values().max() else { continue };
                let lets_go = |policy: &Policy| match retention(policy, &shelf) {
                    Some(Retention::Rules(rules)) => free_to_go(rules, *moment, newer, *newest, now),
                    Some(Retention::KeepAll) | None => false,
                };
                if !self.policies.iter().any(|(_, policy)| lets_go(policy)) {
                    let rules: Vec<_> =
                        self.policies.iter().map(|(since, own)| (since, retention(own, &shelf))).collect();
                    wrong.push(format!(
                        "{id} of {shelf:?}, of {moment}, is gone; there were {all:?}, and the rules were {rules:?}"
                    ));
                }
            }
        }
        wrong
    }

    /// Of the policies that were replaced before the last look only the last one can still have had an effect since.
    fn forget_old_policies(&mut self) {
        let from = self.looked_at - ON_ITS_WAY;
        let in_force = self.policies.iter().rposition(|(since, _)| *since <= from).unwrap_or(0);
        self.policies.drain(..in_force);
    }
}

/// What every deletion by these rules must have had: each is necessary, all together are not enough.
fn free_to_go(rules: &RetentionPolicy, moment: Timestamp, newer: usize, newest: Timestamp, now: Timestamp) -> bool {
    let last = rules.keep_last.max(Some(rules.min_keep)).map_or(0, |count| count.get() as usize);
    let within = rules.keep_within.is_some_and(|within| newest.duration_since(moment) <= within);
    let young = now.duration_since(moment) + CLOCK_SLACK < rules.min_age;
    newer >= last && !within && !young
}

/// The retention of a shelf.
fn retention<'a>(policy: &'a Policy, shelf: &Shelf) -> Option<&'a Retention> {
    let source = policy.sources.get(&shelf.source)?;
    let own = source
        .obligations
        .iter()
        .find(|own| own.task.kind() == shelf.kind && own.task.database() == shelf.database.as_ref())?;
    if shelf.region == policy.region {
        return Some(&own.retention);
    }
    match shelf.kind {
        Kind::Dump => Some(&own.replica_retention),
        Kind::Snapshot => {
            own.copies.iter().find(|copies| copies.region == shelf.region).map(|copies| &copies.retention)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::testing::{at, now, policy};

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn keep_last(count: u32) -> Policy {
        let mut policy = policy(&[("accounts", &[])]);
        let rules = RetentionPolicy {
            keep_last: NonZeroU32::new(count),
            keep_within: Some(DAY),
            min_age: DAY,
            ..crate::testing::keep_nothing()
        };
        let obligations = policy.sources.values_mut().flat_map(|source| &mut source.obligations);
        obligations.for_each(|own| own.retention = Retention::Rules(rules.clone()));
        policy
    }

    fn standing(moments: &[(&str, &str)]) -> Good {
        let shelf = Shelf {
            source: "accounts".parse().unwrap(),
            kind: Kind::Snapshot,
            database: None,
            resource: "db-A".parse().unwrap(),
            region: crate::testing::region(),
        };
        let moments = moments.iter().map(|(id, moment)| ((*id).to_owned(), at(moment))).collect();
        Good::from([(shelf, moments)])
    }

    const THREE: [(&str, &str); 3] =
        [("a", "2026-10-01T00:00:00Z"), ("b", "2026-10-08T00:00:00Z"), ("c", "2026-10-15T00:00:00Z")];

    #[test]
    fn what_the_count_lets_go_may_go_and_nothing_else() {
        let begin = || {
            let mut known = Standing::new(keep_last(2), now());
            assert!(known.look(standing(&THREE), now()).is_empty());
            known
        };
        assert!(begin().look(standing(&THREE[1..]), now()).is_empty());
        let wrong = begin().look(standing(&THREE[2..]), now());
        assert!(wrong.len() == 1 && wrong[0].starts_with("b of"), "{wrong:?}");
        assert_eq!(begin().look(Good::new(), now()).len(), 2, "the newest two");
    }

    #[test]
    fn of_two_of_one_moment_one_is_as_good_as_the_other() {
        let twins = [THREE[0], ("b1", THREE[1].1), ("b2", THREE[1].1), THREE[2]];
        let mut known = Standing::new(keep_last(2), now());
        known.look(standing(&twins), now());
        assert!(known.look(standing(&twins[2..]), now()).is_empty());
    }

    #[test]
    fn a_policy_that_was_replaced_counts_for_an_hour() {
        let mut known = Standing::new(keep_last(1), now());
        known.look(standing(&THREE), now());
        known.reload(now(), keep_last(3));
        assert!(known.look(standing(&THREE[1..]), now() + SignedDuration::from_mins(30)).is_empty());
        known.look(standing(&THREE), now() + SignedDuration::from_mins(40));
        known.look(standing(&THREE), now() + SignedDuration::from_hours(3));
        assert_eq!(known.look(standing(&THREE[1..]), now() + SignedDuration::from_hours(4)).len(), 1);
    }

    #[test]
    fn the_young_and_what_is_near_the_newest_stay() {
        let close = [("a", "2026-11-20T00:00:00Z"), ("b", "2026-11-20T12:00:00Z"), ("c", "2026-11-20T13:00:00Z")];
        let mut known = Standing::new(keep_last(1), now());
        known.look(standing(&close), now());
        assert_eq!(
            known.look(standing(&close[1..]), at("2026-12-20T00:00:00Z")).len(),
            1,
            "within a day of the newest"
        );
        let young = [("a", "2026-11-20T00:00:00Z"), ("b", "2026-11-22T00:00:00Z"), ("c", "2026-11-23T00:00:00Z")];
        let mut known = Standing::new(keep_last(1), at("2026-11-20T01:00:00Z"));
        known.look(standing(&young), at("2026-11-20T01:00:00Z"));
        assert_eq!(known.look(standing(&young[1..]), at("2026-11-20T20:00:00Z")).len(), 1, "not a day old");
    }
}
