//! Deletions that were begun, and what no backup needs.

use super::*;
use crate::domain::inventory::{DeleteMarker, Unseen};

pub(super) fn open_record(slot: &str) -> PruneRecord {
    let dump =
        DumpId { source: "accounts".parse().unwrap(), database: "accounts".parse().unwrap(), slot: Slot::at(at(slot)) };
    PruneRecord {
        version: PRUNE_RECORD_VERSION,
        installation: "bank-prod".parse().unwrap(),
        run: "20260801t040000z-dump-accounts-1".parse().unwrap(),
        resource: "db-ABC".parse().unwrap(),
        plane: Plane::Primary,
        region: region(),
        reason: "expired".to_owned(),
        versions: Vec::new(),
        began_at: at("2026-11-23T11:00:00Z"),
        finished_at: None,
        dump,
    }
}

#[test]
fn a_deletion_that_was_begun_is_seen_through_whatever_holds_by_now() {
    let policy = policy();
    let mut inventory = seen(&policy);
    let open = open_record("2026-08-01T04:00:00Z");
    let closed = PruneRecord { finished_at: Some(now()), ..open_record("2026-07-01T04:00:00Z") };
    of_accounts(&mut inventory).prunes = Complete::after_last_page(vec![open.clone(), closed]);
    inventory.instances = Err(blind());
    let begun =
        |action: &&Action| matches!(action, Action::DeleteDump(delete) if matches!(delete.warrant, Warrant::Begun(_)));
    let plan = planned(&policy, &inventory);
    let begun: Vec<&Action> = plan.actions.iter().filter(begun).collect();
    assert_eq!(begun.len(), 1);
    assert_eq!(begun[0].to_string(), "go on deleting dump accounts/accounts/20260801t040000z in us-east-1");
}

#[rstest]
#[case::a_failure_of_ours_after_its_grace("2026-11-01T04:00:00Z", Some("failed"), true)]
#[case::abandoned("2026-11-01T04:00:00Z", Some("abandoned"), true)]
#[case::within_its_grace("2026-11-20T04:00:00Z", Some("failed"), false)]
#[case::still_running("2026-11-01T04:00:00Z", Some("running"), false)]
#[case::a_success_whose_manifest_is_gone("2026-11-01T04:00:00Z", Some("succeeded"), false)]
#[case::nobodys_that_we_know("2026-11-01T04:00:00Z", None, false)]
fn remains_are_swept_only_if_our_own_record_says_that_they_are_waste(
    #[case] slot: &str,
    #[case] state: Option<&str>,
    #[case] swept: bool,
) {
    let policy = policy();
    let mut inventory = seen(&policy);
    let finished_at = at(slot);
    let mut run = dump_run("accounts", slot, OwnerState::Alive);
    let failure = crate::domain::run::Failure { message: "x".to_owned(), rds_events: Vec::new(), stopped_by: None };
    run.record.state = match state {
        Some("failed") => RunState::Failed { finished_at, failure },
        Some("abandoned") => RunState::Abandoned { finished_at },
        Some("succeeded") => RunState::Succeeded { finished_at, size_bytes: 1 },
        Some(_) | None => RunState::Running,
    };
    let mut left = remains("accounts", slot, 100);
    left.versions = vec![ObjectVersion { key: crate::domain::key::ObjectKey::listed("k"), version_id: None }];
    let runs = if state.is_some() { vec![run] } else { Vec::new() };
    let all = store(dumps(&FIRSTS[1..4]), runs, vec![left]);
    inventory.stores = [(source(&policy).id.clone(), Ok(all))].into();
    let plan = planned(&policy, &inventory);
    assert_eq!(plan.actions.iter().any(|action| matches!(action, Action::Sweep(_))), swept);
    let mut refused = inventory.clone();
    refused.stores.values_mut().flatten().for_each(|store| store.refused = Some(Unseen("AccessDenied".to_owned())));
    let plan = planned(&policy, &refused);
    assert!(!plan.actions.iter().any(|action| matches!(action, Action::Sweep(_))), "its run's record may be the one");
    inventory.clock_skew = None;
    let plan = planned(&policy, &inventory);
    assert!(!plan.actions.iter().any(|action| matches!(action, Action::Sweep(_))), "ages need a clock");
}

/// They may be of a run that goes on, and whose record is not shown.
#[test]
fn the_failure_of_one_run_makes_no_waste_of_what_another_wrote() {
    let policy = policy();
    let mut inventory = seen(&policy);
    let mut run = dump_run("accounts", "2026-10-01T04:00:00Z", OwnerState::Dead);
    run.record.state = RunState::Abandoned { finished_at: at("2026-10-01T05:00:00Z") };
    let of_another = remains("accounts", "2026-11-01T04:00:00Z", 100);
    let all = store(dumps(&FIRSTS[1..4]), vec![run], vec![of_another]);
    inventory.stores = [(source(&policy).id.clone(), Ok(all))].into();
    let plan = planned(&policy, &inventory);
    assert!(!plan.actions.iter().any(|action| matches!(action, Action::Sweep(_))), "{:?}", plan.actions);
}

/// Its objects may be older than its end: that counts.
#[rstest]
#[case::now("2026-11-16T12:00:00Z", false)]
#[case::a_second_ago("2026-11-16T11:59:59Z", true)]
fn the_grace_of_remains_ends_after_that_of_their_run(#[case] finished_at: &str, #[case] swept: bool) {
    let policy = policy();
    let mut inventory = seen(&policy);
    let slot = "2026-11-01T04:00:00Z";
    let mut run = dump_run("accounts", slot, OwnerState::Dead);
    run.record.state = RunState::Abandoned { finished_at: at(finished_at) };
    let all = store(dumps(&FIRSTS[1..4]), vec![run], vec![remains("accounts", slot, 100)]);
    inventory.stores = [(source(&policy).id.clone(), Ok(all))].into();
    let plan = planned(&policy, &inventory);
    assert_eq!(plan.actions.iter().any(|action| matches!(action, Action::Sweep(_))), swept);
}

#[rstest]
#[case::an_old_one_with_nothing_behind_it("2026-11-10T00:00:00Z", false, true)]
#[case::a_young_one("2026-11-20T00:00:00Z", false, false)]
#[case::one_whose_grace_ends_now("2026-11-16T12:00:00Z", false, false)]
#[case::one_that_hides_a_backup("2026-11-10T00:00:00Z", true, false)]
fn delete_markers_are_swept_only_when_they_hide_nothing(#[case] set: &str, #[case] hides: bool, #[case] swept: bool) {
    let policy = policy();
    let mut inventory = seen(&policy);
    let marker = ObjectVersion { key: crate::domain::key::ObjectKey::listed("k"), version_id: Some("m".to_owned()) };
    let set_at: Timestamp = at(set);
    of_accounts(&mut inventory).markers =
        Complete::after_last_page(vec![DeleteMarker { marker, set_at: Some(set_at), hides }]);
    let plan = planned(&policy, &inventory);
    assert_eq!(plan.actions.iter().any(|action| matches!(action, Action::Sweep(_))), swept);
    assert_eq!(plan.findings.iter().any(|finding| finding.check == Check::DumpHidden), hides);
}
