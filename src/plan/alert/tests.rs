//! What one look finds, and what it cannot tell.

use rstest::rstest;

use super::*;
use crate::domain::id::{Kind, RunId, Slot};
use crate::domain::inventory::Unseen;
use crate::domain::recovery_point::PointState;
use crate::plan::decision::{Freshness, Queue};
use crate::plan::plan;
use crate::testing::{at, dump, inventory, now, policy, store};

const ACCOUNTS: &[(&str, &[&str])] = &[("accounts", &["accounts"])];

fn look(change: impl FnOnce(&mut Inventory)) -> Holding {
    let policy = policy(ACCOUNTS);
    let mut inventory = inventory(&policy);
    change(&mut inventory);
    Holding::of(&policy, &inventory, &plan(&policy, &inventory, now()), None)
}

fn names(holding: &Holding) -> Vec<String> {
    holding.alerts.iter().map(|alert| format!("{} {}", alert.severity.as_str(), alert.key)).collect()
}

fn of_snapshot(cause: Cause) -> AlertKey {
    AlertKey { detail: Some("snapshot".to_owned()), ..key(cause, Some("accounts".parse().unwrap())) }
}

fn with_good_dump(inventory: &mut Inventory) {
    let good = dump("accounts", "2026-11-01T04:00:00Z", 7, PointState::Good);
    inventory.stores.insert("accounts".parse().unwrap(), Ok(store(vec![good], Vec::new(), Vec::new())));
}

#[test]
fn where_everything_is_as_promised_nothing_holds_and_the_heartbeat_may_beat() {
    let holding = look(with_good_dump);
    assert_eq!(names(&holding), [""; 0]);
    assert!(holding.promises_hold);
}

#[test]
fn a_backup_that_is_missing_is_overdue_and_says_what_to_type() {
    // The monthly dump was never made, and its instance is stopped.
    let holding = look(|_| {});
    assert_eq!(names(&holding), ["warning late/accounts/dump/accounts", "critical overdue/accounts/dump/accounts"]);
    assert!(!holding.promises_hold);
    let overdue = &holding.alerts[1];
    insta::assert_snapshot!(format!("{}\n{}\n{}", overdue.what.join("\n"), overdue.meaning, overdue.action), @r"
    accounts dump of accounts: slot 20261101t040000z waits: the instance is `stopped`; there is no good one
    there is no good backup as fresh as was promised: a loss today would cost more data than agreed
    `strongroom diagnose accounts` says what is wrong with the instance; once that is mended, `strongroom backup dump accounts --database accounts` makes one at once
    ");
}

#[test]
fn what_could_not_be_seen_is_told_and_ends_no_alert() {
    let holding = look(|inventory| {
        inventory.instances = Err(Unseen("throttled".to_owned()));
        inventory.snapshots = Err(Unseen("throttled".to_owned()));
    });
    let unseen = ["critical unseen/instances", "critical unseen/snapshots"];
    assert_eq!(names(&holding), unseen);
    assert!(!holding.promises_hold, "who does not see has nothing good to say");
    for cause in [Cause::Overdue, Cause::Failed, Cause::Missed, Cause::Late, Cause::CannotBackUp] {
        assert!(holding.is_unsure_of(&of_snapshot(cause)), "{cause:?}");
    }
    let of_source = |cause| key(cause, Some("accounts".parse().unwrap()));
    assert!(holding.is_unsure_of(&of_source(Cause::NotRestorable)));
    assert!(holding.is_unsure_of(&of_source(Cause::Found(Check::SnapshotCopy))));
    assert!(!holding.is_unsure_of(&of_source(Cause::Found(Check::DumpBad))), "the store was seen");
}

#[test]
fn a_bucket_that_cannot_be_read_for_one_source_leaves_what_is_known_of_another() {
    let policy = policy(&[("accounts", &["accounts"]), ("cards", &["cards"])]);
    let mut inventory = inventory(&policy);
    inventory.stores.insert("accounts".parse().unwrap(), Err(Unseen("denied".to_owned())));
    let holding = Holding::of(&policy, &inventory, &plan(&policy, &inventory, now()), None);
    let bad_dump = |source: &str| key(Cause::Found(Check::DumpBad), Some(source.parse().unwrap()));
    assert!(holding.is_unsure_of(&bad_dump("accounts")));
    assert!(!holding.is_unsure_of(&bad_dump("cards")));
    assert!(holding.is_unsure_of(&key(Cause::Found(Check::RetentionShrink), None)), "it is about all of them");
}

#[test]
fn a_clock_that_nobody_has_compared_is_not_known_to_be_right() {
    let skew = key(Cause::Found(Check::ClockSkew), None);
    assert!(look(|inventory| inventory.clock_skew = None).is_unsure_of(&skew));
    assert!(!look(|_| {}).is_unsure_of(&skew));
    let wrong = look(|inventory| inventory.clock_skew = Some(SignedDuration::from_hours(1)));
    assert!(names(&wrong).contains(&"critical clock_skew".to_owned()), "{:?}", names(&wrong));
}

#[test]
fn several_findings_of_one_kind_and_source_are_one_alert_that_lists_them_and_is_as_bad_as_the_worst() {
    let bad = |slot| dump("accounts", slot, 7, PointState::Bad { reason: "an object is gone".to_owned() });
    let dumps = vec![
        bad("2026-09-01T04:00:00Z"),
        dump("accounts", "2026-10-01T04:00:00Z", 7, PointState::Good),
        bad("2026-11-01T04:00:00Z"),
    ];
    let holding = look(|inventory| {
        inventory.stores.insert("accounts".parse().unwrap(), Ok(store(dumps, Vec::new(), Vec::new())));
    });
    let found = holding.alerts.iter().find(|alert| alert.key.name == "dump_bad").unwrap();
    assert_eq!((found.severity, found.what.len()), (Severity::Critical, 2), "{found:#?}");
}

#[test]
fn a_source_with_nothing_to_restore_from_is_told() {
    let gone = look(|inventory| {
        inventory.snapshots = Ok(crate::domain::inventory::Complete::after_last_page(Vec::new()));
        inventory.instances = Ok(crate::domain::inventory::Complete::after_last_page(Vec::new()));
    });
    assert!(names(&gone).contains(&"critical not_restorable/accounts".to_owned()), "{:?}", names(&gone));
    assert!(names(&gone).contains(&"critical cannot_back_up/accounts/snapshot".to_owned()), "{:?}", names(&gone));
}

#[test]
fn a_configuration_that_is_not_in_force_is_told() {
    let policy = policy(ACCOUNTS);
    let mut inventory = inventory(&policy);
    with_good_dump(&mut inventory);
    let plan = plan(&policy, &inventory, now());
    let holding = Holding::of(&policy, &inventory, &plan, Some("strongroom.toml:3:1: unknown key"));
    assert_eq!(names(&holding), ["warning config_invalid"]);
    assert!(holding.alerts[0].what[0].contains("strongroom.toml:3:1"));
    assert!(holding.promises_hold, "the promises of the one before hold");
}

fn slot() -> Slot {
    Slot::at(at("2026-11-22T03:00:00Z"))
}

fn run() -> RunId {
    "20261122t030000z-snapshot-3".parse().unwrap()
}

fn backing_off(failed: u32) -> Reason {
    Reason::BackingOff { slot: slot(), failed, until: now(), last_failure: None }
}

fn not_ready(status: &str) -> Reason {
    Reason::InstanceNotReady { slot: slot(), status: status.to_owned(), replica: None }
}

/// Eight attempts are made quickly.
#[rstest]
#[case::filled(Reason::Satisfied { slot: slot() }, [Stands::No; 4])]
#[case::not_due(Reason::NotDueYet, [Stands::No; 4])]
#[case::switched_off(Reason::Suspended, [Stands::No; 4])]
#[case::tried_again(Reason::Starts { run: run() }, [Stands::Unknown, Stands::Unknown, Stands::No, Stands::No])]
#[case::under_way(
    Reason::Running { run: run(), percent: None },
    [Stands::Unknown, Stands::Unknown, Stands::No, Stands::No]
)]
#[case::queued(
    Reason::Queued { slot: slot(), behind: Queue::SameSource },
    [Stands::Unknown, Stands::Unknown, Stands::No, Stands::No]
)]
#[case::not_listed_yet(
    Reason::NotListedYet { run: run(), finished_at: now() },
    [Stands::Unknown, Stands::Unknown, Stands::No, Stands::No]
)]
#[case::failed_once(backing_off(1), [Stands::Unknown, Stands::Unknown, Stands::No, Stands::No])]
#[case::failed_often(backing_off(8), [Stands::Yes, Stands::Unknown, Stands::No, Stands::No])]
#[case::missed(
    Reason::Missed { slot: slot(), deadline: now() },
    [Stands::Unknown, Stands::Yes, Stands::No, Stands::No]
)]
#[case::stopped(not_ready("stopped"), [Stands::Unknown, Stands::Unknown, Stands::Yes, Stands::No])]
#[case::rds_backs_up(not_ready("backing-up"), [Stands::Unknown, Stands::Unknown, Stands::No, Stands::No])]
#[case::lost(Reason::InstanceMissing, [Stands::Unknown, Stands::Unknown, Stands::No, Stands::Yes])]
#[case::old_client(
    Reason::ClientTooOld { client: 15, server: 16 },
    [Stands::Unknown, Stands::Unknown, Stands::No, Stands::Yes]
)]
#[case::unseen(Reason::Unseen(Unseen("throttled".to_owned())), [Stands::Unknown; 4])]
fn each_reason_is_at_most_one_alert_and_what_is_tried_again_is_not_yet_mended(
    #[case] reason: Reason,
    #[case] wanted: [Stands; 4],
) {
    let causes = [Cause::Failed, Cause::Missed, Cause::Late, Cause::CannotBackUp];
    assert_eq!(causes.map(|cause| stands(cause, &reason, 8, now())), wanted, "{reason}");
}

#[test]
fn an_instance_that_is_not_ready_is_late_after_ten_minutes() {
    let after = |minutes| slot().instant() + SignedDuration::from_mins(minutes);
    assert_eq!(stands(Cause::Late, &not_ready("modifying"), 8, after(9)), Stands::No);
    assert_eq!(stands(Cause::Late, &not_ready("modifying"), 8, after(10)), Stands::Yes);
}

#[test]
fn every_alert_has_a_name_of_its_own_a_meaning_and_a_command_to_type() {
    let mut seen = BTreeSet::new();
    for cause in Cause::all() {
        assert!(seen.insert(cause.name()), "two alerts are called {}", cause.name());
        let source = cause.is_about_sources().then(|| "accounts".parse().unwrap());
        let alert = cause.alert(key(cause, source), Severity::Warning, Vec::new());
        assert!(!alert.meaning.is_empty() && !alert.action.contains('{'), "{alert:?}");
        assert!(!alert.action.contains("SOURCE"), "{alert:?}");
    }
    for check in Check::ALL {
        assert_eq!(Cause::Found(*check).is_about_sources(), check.is_about_sources());
    }
}

#[test]
fn an_alert_lists_what_is_read_and_counts_the_rest() {
    let lines = (0..30).map(|n| n.to_string()).collect();
    let shown = shortened(lines);
    assert_eq!((shown.len(), shown.last().unwrap().as_str()), (FACTS_MAX + 1, "and 10 more"));
}

#[test]
fn overdue_is_believed_only_where_the_backups_were_seen() {
    let policy = policy(ACCOUNTS);
    let decision = Decision {
        source: "accounts".parse().unwrap(),
        kind: Kind::Snapshot,
        database: None,
        reason: Reason::Unseen(Unseen("throttled".to_owned())),
        freshness: Freshness {
            newest_at: None,
            expected_interval: SignedDuration::ZERO,
            next_due_at: None,
            overdue: true,
        },
    };
    for (seen, wanted) in [(true, 1), (false, 0)] {
        let mut inventory = inventory(&policy);
        if !seen {
            inventory.snapshots = Err(Unseen("throttled".to_owned()));
        }
        let mut facts = Facts::default();
        obligation(&policy, &inventory, &decision, &mut facts);
        assert_eq!(facts.alerts().len(), wanted);
    }
}
