//! Laws: what holds for every policy and every listing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A point in one of four groups, up to fifty days old, sometimes odd in one way or another.
fn any_point() -> impl Strategy<Value = RecoveryPoint> {
    let place = (0..2_usize, 0..2_usize);
    let age = prop_oneof![20 => 0..1200_i64, 1 => -48..0_i64];
    let state = prop_oneof![
        12 => Just(PointState::Good),
        3 => Just(PointState::Bad { reason: "cut off".to_owned() }),
        2 => Just(PointState::Unreadable { reason: "AccessDenied".to_owned() }),
        1 => Just(PointState::Pending),
        1 => Just(PointState::Deleting),
    ];
    let copied_later = prop_oneof![4 => Just(None), 2 => (0..400_i64).prop_map(Some)];
    (place, age, state, copied_later, rare(), rare(), rare(), rare()).prop_map(
        |((resource, plane), age, state, copied_later, verified, pinned, locked, unknown)| {
            let created_at = now() - SignedDuration::from_hours(age);
            let stored_at = copied_later.map(|hours| created_at + SignedDuration::from_hours(hours));
            RecoveryPoint {
                resource: (!unknown).then(|| ["db-A", "db-B"][resource].parse().unwrap()),
                plane: Plane::ALL[plane],
                created_at: Some(created_at),
                stored_at,
                verified_at: verified.then_some(created_at),
                pin: if pinned { pin(None) } else { None },
                locked_until: locked.then(|| now() + SignedDuration::from_hours(1)),
                state,
                ..good("2027-01-01T00:00:00Z")
            }
        },
    )
}

fn rare() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.06)
}

/// A listing; now and then it has a point twice.
fn any_listing() -> impl Strategy<Value = Vec<RecoveryPoint>> {
    let listing = prop::collection::vec((any_point(), prop::bool::weighted(0.01)), 0..60);
    listing.prop_map(|points| {
        let named = points.into_iter().enumerate().map(|(index, (point, again))| {
            let index = if again { index / 2 } else { index };
            RecoveryPoint { id: format!("p{index:02}"), ..point }
        });
        named.collect()
    })
}

fn any_policy() -> impl Strategy<Value = RetentionPolicy> {
    let counts = prop::collection::vec(prop::option::weighted(0.4, 1..6_u32), 6);
    let within = prop::option::weighted(0.3, 0..400_i64);
    (counts, within, 1..6_u32, 0..200_i64, prop::bool::ANY).prop_map(
        |(counts, within, min_keep, min_age, in_london)| {
            let count = |index: usize| counts[index].and_then(count);
            RetentionPolicy {
                keep_last: count(0),
                keep_hourly: count(1),
                keep_daily: count(2),
                keep_weekly: count(3),
                keep_monthly: count(4),
                keep_yearly: count(5),
                keep_within: within.map(SignedDuration::from_hours),
                min_keep: NonZeroU32::new(min_keep).unwrap(),
                min_age: SignedDuration::from_hours(min_age),
                zone: if in_london { london() } else { TimeZone::UTC },
            }
        },
    )
}

/// The policy with one rule made larger; the index says which.
fn enlarge(policy: &RetentionPolicy, rule: usize, by: u32) -> RetentionPolicy {
    let mut larger = policy.clone();
    let more = |rule: Option<NonZeroU32>| count(rule.map_or(0, NonZeroU32::get) + by);
    let longer = |time: SignedDuration| time + SignedDuration::from_hours(i64::from(by) * 10);
    match rule {
        0 => larger.keep_last = more(larger.keep_last),
        1 => larger.keep_hourly = more(larger.keep_hourly),
        2 => larger.keep_daily = more(larger.keep_daily),
        3 => larger.keep_weekly = more(larger.keep_weekly),
        4 => larger.keep_monthly = more(larger.keep_monthly),
        5 => larger.keep_yearly = more(larger.keep_yearly),
        6 => larger.keep_within = Some(longer(larger.keep_within.unwrap_or(SignedDuration::ZERO))),
        7 => larger.min_keep = larger.min_keep.saturating_add(by),
        _ => larger.min_age = longer(larger.min_age),
    }
    larger
}

type Group<'a> = (Option<&'a str>, Plane);

fn group_of(point: &RecoveryPoint) -> Group<'_> {
    (point.resource.as_ref().map(|resource| resource.as_str()), point.plane)
}

/// Good points whose age is known and that are listed once, newest first, by group: those that count.
fn that_count(points: &[RecoveryPoint]) -> BTreeMap<Group<'_>, Vec<&RecoveryPoint>> {
    let arrived_at = |point: &RecoveryPoint| point.created_at.max(point.stored_at);
    let judged = |point: &&RecoveryPoint| {
        point.resource.is_some()
            && arrived_at(point) <= Some(now())
            && matches!(point.state, PointState::Good | PointState::Bad { .. } | PointState::Unreadable { .. })
    };
    let judged: Vec<&RecoveryPoint> = points.iter().filter(judged).collect();
    let once = |point: &RecoveryPoint| {
        let same = |other: &&&RecoveryPoint| other.id == point.id && group_of(other) == group_of(point);
        judged.iter().filter(same).count() == 1
    };
    let mut groups: BTreeMap<Group<'_>, Vec<&RecoveryPoint>> = BTreeMap::new();
    for point in judged.iter().filter(|point| point.is_good() && once(point)) {
        groups.entry(group_of(point)).or_default().push(point);
    }
    for group in groups.values_mut() {
        group.sort_by_key(|point| std::cmp::Reverse((point.created_at, &point.id)));
    }
    groups
}

fn is_kept(verdicts: &[Verdict<'_>], point: &RecoveryPoint) -> bool {
    let verdict = verdicts.iter().find(|verdict| std::ptr::eq(verdict.point, point)).unwrap();
    matches!(verdict.fate, Fate::Kept(_))
}

/// Places in the listing of those that are kept.
fn kept_places(policy: &RetentionPolicy, points: &[RecoveryPoint]) -> BTreeSet<usize> {
    let verdicts = judge(policy, points);
    let kept = verdicts.iter().enumerate().filter(|(_, verdict)| matches!(verdict.fate, Fate::Kept(_)));
    kept.map(|(place, _)| place).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn each_point_has_one_verdict_in_the_order_of_the_listing(points in any_listing(), policy in any_policy()) {
        let verdicts = judge(&policy, &points);
        prop_assert_eq!(verdicts.len(), points.len());
        for (verdict, point) in verdicts.iter().zip(&points) {
            prop_assert!(std::ptr::eq(verdict.point, point));
            match &verdict.fate {
                Fate::Kept(rules) => prop_assert!(!rules.is_empty()),
                Fate::Expired(expired) => prop_assert_eq!(expired.id(), &point.id),
            }
        }
    }

    #[test]
    fn the_least_number_of_good_ones_is_kept(points in any_listing(), policy in any_policy()) {
        let verdicts = judge(&policy, &points);
        for group in that_count(&points).values() {
            let kept = group.iter().filter(|point| is_kept(&verdicts, point)).count();
            prop_assert!(kept >= group.len().min(policy.min_keep.get() as usize));
        }
    }

    #[test]
    fn the_newest_good_and_the_newest_verified_one_are_kept(points in any_listing(), policy in any_policy()) {
        let verdicts = judge(&policy, &points);
        for group in that_count(&points).values() {
            prop_assert!(is_kept(&verdicts, group[0]));
            let newest_verified = group.iter().find(|point| point.verified_at.is_some());
            prop_assert!(newest_verified.is_none_or(|point| is_kept(&verdicts, point)));
        }
    }

    #[test]
    fn evidence_names_a_newer_good_one_of_the_group_that_stays(points in any_listing(), policy in any_policy()) {
        let groups = that_count(&points);
        for verdict in judge(&policy, &points) {
            let Fate::Expired(expired) = verdict.fate else { continue };
            let newest = groups[&group_of(verdict.point)][0];
            prop_assert_eq!(expired.newest_good(), &newest.id);
            prop_assert!(newest.created_at >= verdict.point.created_at);
        }
    }

    #[test]
    fn a_larger_rule_lets_nothing_expire_that_the_smaller_one_keeps(
        points in any_listing(), policy in any_policy(), rule in 0..9_usize, by in 1..5_u32,
    ) {
        let kept = kept_places(&policy, &points);
        let kept_by_larger = kept_places(&enlarge(&policy, rule, by), &points);
        prop_assert!(kept.is_subset(&kept_by_larger), "{:?} is not in {:?}", kept, kept_by_larger);
    }

    #[test]
    fn verdicts_do_not_depend_on_the_order_of_the_listing(
        (points, shuffled) in any_listing().prop_flat_map(|points| (Just(points.clone()), Just(points).prop_shuffle())),
        policy in any_policy(),
    ) {
        let told = |points: &[RecoveryPoint]| {
            let mut told: Vec<String> =
                judge(&policy, points).iter().map(|verdict| format!("{:?}", (verdict.point, &verdict.fate))).collect();
            told.sort();
            told
        };
        prop_assert_eq!(told(&points), told(&shuffled));
    }

    #[test]
    fn once_the_expired_are_gone_nothing_more_expires(points in any_listing(), policy in any_policy()) {
        let kept = kept_places(&policy, &points);
        let rest: Vec<RecoveryPoint> = kept.iter().map(|place| points[*place].clone()).collect();
        prop_assert_eq!(kept_places(&policy, &rest).len(), rest.len());
    }

    #[test]
    fn a_prune_that_stops_half_way_changes_no_other_verdict(
        points in any_listing(), policy in any_policy(), chosen in prop::collection::vec(prop::bool::ANY, 60),
    ) {
        let kept = kept_places(&policy, &points);
        let stays = |place: &usize| kept.contains(place) || chosen[*place];
        let rest: Vec<RecoveryPoint> = (0..points.len()).filter(stays).map(|place| points[place].clone()).collect();
        prop_assert_eq!(kept_places(&policy, &rest).len(), kept.len());
    }

    #[test]
    fn nothing_young_pinned_or_locked_expires(points in any_listing(), policy in any_policy()) {
        for verdict in judge(&policy, &points) {
            let Fate::Expired(_) = verdict.fate else { continue };
            let arrived_at = verdict.point.created_at.max(verdict.point.stored_at).unwrap();
            prop_assert!(now().duration_since(arrived_at) >= policy.min_age);
            prop_assert_eq!(&verdict.point.pin, &None);
            prop_assert_eq!(verdict.point.locked_until, None);
        }
    }

    #[test]
    fn bad_ones_take_no_place_from_good_ones(points in any_listing(), policy in any_policy()) {
        let sound: Vec<RecoveryPoint> = points.iter().filter(|point| point.is_good()).cloned().collect();
        let kept_alone: BTreeSet<&str> = kept(&policy, &sound).into_iter().collect();
        let kept: BTreeSet<&str> = kept(&policy, &points).into_iter().collect();
        prop_assert!(kept_alone.is_subset(&kept));
    }

    #[test]
    fn a_point_that_is_listed_twice_never_expires(points in any_listing(), policy in any_policy(), twice in 0..60_usize) {
        prop_assume!(twice < points.len());
        let mut points = points;
        points.push(points[twice].clone());
        let verdicts = judge(&policy, &points);
        prop_assert!(is_kept(&verdicts, &points[twice]));
        prop_assert!(is_kept(&verdicts, &points[points.len() - 1]));
    }

    /// What nobody can read may be good: it is kept wherever it would be if it were.
    #[test]
    fn what_nobody_can_read_expires_only_where_a_good_one_would(
        policy in any_policy(),
        points in any_listing(),
        which in any::<prop::sample::Index>(),
    ) {
        prop_assume!(!points.is_empty());
        let which = which.index(points.len());
        let with = |state: PointState| {
            let mut points = points.clone();
            points[which].state = state;
            matches!(judge(&policy, &points)[which].fate, Fate::Kept(_))
        };
        let if_unreadable = with(PointState::Unreadable { reason: "AccessDenied".to_owned() });
        prop_assert!(if_unreadable || !with(PointState::Good));
    }
}
