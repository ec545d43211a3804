//! How much is deleted at once, and what waits for a person.

use super::*;
use crate::domain::volume::Volume;
use crate::policy::prune::CYCLE;

/// A hundred weeks of snapshots of one source.
fn hundred_weeks() -> Vec<String> {
    (0..100).map(|week| (at("2026-11-22T03:00:00Z") - SignedDuration::from_hours(week * 24 * 7)).to_string()).collect()
}

#[test]
fn more_expired_at_once_than_a_cycle_deletes_waits_for_a_person() {
    let policy = policy();
    let slots = hundred_weeks();
    let slots: Vec<&str> = slots.iter().map(String::as_str).collect();
    let mut inventory = seen(&policy);
    // With the one dump that has expired: twelve, and ten.
    for (count, held) in [(14, 12), (12, 0)] {
        inventory.snapshots = Ok(snapshots(&policy, &slots[..count]));
        let plan = planned(&policy, &inventory);
        let waiting = holds(&plan).iter().filter(|hold| **hold == Hold::NeedsConfirmation).count();
        assert_eq!(waiting, held, "{count} snapshots, of which three are kept");
        assert_eq!(plan.findings.iter().any(|own| own.check == Check::RetentionShrink), held > 0);
    }
    inventory.snapshots = Ok(snapshots(&policy, &slots));
    let plan = plan_in_mode(&policy, &inventory, Mode::Confirmed, now());
    assert_eq!(deleted(&plan).len(), 98, "97 snapshots and one dump, once a person has looked");
    assert!(holds(&plan).is_empty());
}

#[rstest]
#[case::as_many_as_a_cycle_deletes(13, 10, 0)]
#[case::one_more(14, 4, 11)]
fn too_many_of_one_shelf_hold_up_that_shelf_only(
    #[case] snapshots: usize,
    #[case] deletions: usize,
    #[case] held: usize,
) {
    let mut policy = promises(&[("a", &[]), ("b", &[]), ("c", &[]), ("d", &[]), ("e", &[])]);
    for source in policy.sources.values_mut() {
        source.obligations.iter_mut().for_each(|obligation| obligation.retention = keep_three());
    }
    let slots = hundred_weeks();
    let of_all = policy.sources.values().flat_map(|source| {
        let count = if source.id.as_str() == "c" { snapshots } else { 4 };
        slots[..count].iter().map(|slot| snapshot(&policy, source, slot))
    });
    let mut inventory = inventory(&policy);
    inventory.snapshots = Ok(Complete::after_last_page(of_all.collect()));
    let plan = planned(&policy, &inventory);
    assert_eq!(deleted(&plan).len(), deletions, "ten in a cycle, or one of each other source");
    let waiting = holds(&plan).into_iter().filter(|hold| *hold == Hold::NeedsConfirmation).count();
    assert_eq!(waiting, held);
}

#[test]
fn a_person_overrules_the_limits_and_nothing_else() {
    let mut policy = policy();
    policy.prune.automatic = false;
    let mut inventory = seen(&policy);
    inventory.retention_known_for.clear();
    inventory.deleted_lately = 1000;
    let confirmed = |inventory: &Inventory| deleted(&plan_in_mode(&policy, inventory, Mode::Confirmed, now()));
    assert_eq!(confirmed(&inventory).len(), 2);
    inventory.clock_skew = Some(SignedDuration::from_hours(1));
    assert!(confirmed(&inventory).is_empty(), "a wrong clock judges no age, whoever asks");
}

#[test]
fn a_change_that_expires_a_little_of_very_many_sources_waits_for_a_person_too() {
    let names: Vec<String> = (0..20).map(|number| format!("source-{number:02}")).collect();
    let sources: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &[][..])).collect();
    let mut policy = promises(&sources);
    for source in policy.sources.values_mut() {
        source.obligations.iter_mut().for_each(|obligation| obligation.retention = keep_three());
    }
    let slots = hundred_weeks();
    for (each, deletions) in [(6, 10), (7, 0)] {
        let of_all =
            policy.sources.values().flat_map(|source| slots[..each].iter().map(|slot| snapshot(&policy, source, slot)));
        let mut inventory = inventory(&policy);
        inventory.snapshots = Ok(Complete::after_last_page(of_all.collect()));
        let plan = planned(&policy, &inventory);
        assert_eq!(deleted(&plan).len(), deletions, "{} of each of twenty expired", each - 3);
        let waiting = holds(&plan).into_iter().filter(|hold| *hold == Hold::NeedsConfirmation).count();
        assert_eq!(waiting, if deletions == 0 { 80 } else { 0 });
    }
}

#[test]
fn a_cycle_deletes_so_many_the_oldest_first() {
    let mut policy = policy();
    policy.prune.deletes_per_cycle = 5;
    policy.cadence.reconcile_interval = CYCLE * 12;
    let slots = hundred_weeks();
    let slots: Vec<&str> = slots.iter().map(String::as_str).collect();
    let mut inventory = seen(&policy);
    inventory.snapshots = Ok(snapshots(&policy, &slots[..8]));
    inventory.deleted_lately = 3;
    let plan = planned(&policy, &inventory);
    assert_eq!(
        deleted(&plan),
        ["accounts/accounts/20260801t040000z in us-east-1", "strongroom-accounts-20261004t030000z in us-east-1"]
    );
    assert_eq!(holds(&plan), vec![Hold::Capped { deletes_per_cycle: 5 }; 4]);
    assert_eq!(plan.wake_at, now() + CYCLE, "the next look is when the cycle is over");
    inventory.deleted_lately = 5;
    assert!(deleted(&planned(&policy, &inventory)).is_empty());
}

#[test]
fn a_large_installation_may_delete_a_fiftieth_in_a_cycle() {
    let policy = policy();
    let inventory = seen(&policy);
    let limits = |points| Limits::new(&policy, &inventory, points, 1, Mode::Automatic);
    assert_eq!((limits(500).room, limits(549).room, limits(550).room), (10, 10, 11));
    assert_eq!(limits(550).of_shelf_max, 10, "what waits for a person does not grow with it");
}

/// Somebody has emptied the database, and its dumps are as good as what there was to dump.
#[test]
fn what_is_much_less_than_before_holds_its_source_until_a_person_has_looked() {
    let policy = policy();
    let mut inventory = seen(&policy);
    let of_rows = |(index, point): (usize, RecoveryPoint)| {
        let rows = if index == 0 { 10 } else { 10_000 };
        let (uncompressed_bytes, stored_bytes) = (1 << 20, 1 << 18);
        let volume = Volume { rows, uncompressed_bytes, stored_bytes, compression: "zstd 3".to_owned() };
        StoredDump { volume: Some(volume), ..stored_dump(point) }
    };
    let list = dumps(&FIRSTS[..4]).into_iter().enumerate().map(of_rows).collect();
    of_accounts(&mut inventory).dumps = Complete::after_last_page(list);
    let plan = planned(&policy, &inventory);
    assert_eq!(deleted(&plan), Vec::<String>::new());
    assert_eq!(holds(&plan), vec![Hold::Anomaly { id: "accounts/accounts/20261101t040000z".to_owned() }; 2]);
    let told: Vec<&Finding> = plan.findings.iter().filter(|finding| finding.check == Check::Anomaly).collect();
    assert!(told.len() == 1 && told[0].text.contains("it has 10 rows, and the one before had 10000"), "{told:?}");
    assert_eq!(deleted(&plan_in_mode(&policy, &inventory, Mode::Confirmed, now())), Vec::<String>::new());
    let reason = Some("moved to the archive".to_owned());
    let pin = crate::domain::pin::Pin {
        version: crate::domain::pin::PIN_VERSION,
        point: "accounts/accounts/20261101t040000z".to_owned(),
        reason,
        pinned_at: now(),
    };
    let mut list: Vec<StoredDump> = of_accounts(&mut inventory).dumps.iter().cloned().collect();
    list[0].point.pin = Some(pin);
    of_accounts(&mut inventory).dumps = Complete::after_last_page(list);
    assert_eq!(deleted(&planned(&policy, &inventory)).len(), 2);
}
