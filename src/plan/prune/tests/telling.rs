//! What is told of deletions that wait.

use super::*;

const TWO: [(&str, &[&str]); 2] = [("accounts", &["accounts"]), ("cards", &["cards"])];

/// Two sources, of each one snapshot and one dump too many.
fn two_sources() -> (Policy, Inventory) {
    let mut policy = promises(&TWO);
    for obligation in policy.sources.values_mut().flat_map(|source| &mut source.obligations) {
        obligation.retention = keep_three();
    }
    let mut inventory = inventory(&policy);
    let of_all = policy
        .sources
        .values()
        .flat_map(|source| SUNDAYS[..4].iter().map(|slot| snapshot(&policy, source, slot)).collect::<Vec<_>>());
    inventory.snapshots = Ok(Complete::after_last_page(of_all.collect()));
    for (source, store) in &mut inventory.stores {
        let dumps: Vec<StoredDump> =
            FIRSTS[..4].iter().map(|slot| stored_dump(dump(source.as_str(), slot, 100, PointState::Good))).collect();
        store.as_mut().unwrap().dumps = Complete::after_last_page(dumps);
    }
    (policy, inventory)
}

fn told(policy: &Policy, inventory: &Inventory) -> Vec<String> {
    let findings = planned(policy, inventory).findings;
    let held = findings.iter().filter(|finding| finding.check == Check::PruneHeld);
    held.map(|finding| format!("{}: {}", finding.source.as_ref().unwrap(), finding.text)).collect()
}

#[test]
fn what_is_held_back_in_doubt_is_told_once_for_each_source() {
    let (policy, mut inventory) = two_sources();
    assert_eq!(told(&policy, &inventory), Vec::<String>::new());
    inventory.instances = Err(blind());
    let why = "the first because not everything was seen: page 2 of the listing failed";
    assert_eq!(
        told(&policy, &inventory),
        ["accounts", "cards"].map(|source| format!("{source}: 2 recovery point(s) have expired and stay, {why}"))
    );
}

#[rstest]
#[case::switched_off(|policy: &mut Policy, _: &mut Inventory| policy.prune.automatic = false)]
#[case::suspended(|policy: &mut Policy, _: &mut Inventory| policy.sources.values_mut().flat_map(|own| &mut own.obligations).for_each(|own| own.suspended = true))]
#[case::settling(|_: &mut Policy, seen: &mut Inventory| seen.retention_known_for.clear())]
#[case::the_cycle_is_full(|_: &mut Policy, seen: &mut Inventory| seen.deleted_lately = 10)]
fn what_waits_for_time_or_for_a_decision_is_no_finding(#[case] reason: Trouble) {
    let (mut policy, mut inventory) = two_sources();
    reason(&mut policy, &mut inventory);
    let plan = planned(&policy, &inventory);
    assert!(deleted(&plan).is_empty() && holds(&plan).len() == 4, "{:?}", holds(&plan));
    assert_eq!(told(&policy, &inventory), Vec::<String>::new());
}

#[test]
fn each_reason_to_wait_says_what_to_do() {
    let holds = [
        Hold::NotAutomatic,
        Hold::Suspended,
        Hold::Unseen(blind()),
        Hold::ClockSkew { ahead: None },
        Hold::ClockSkew { ahead: Some(SignedDuration::from_mins(-9)) },
        Hold::Settling { settle: SignedDuration::from_hours(1) },
        Hold::Overdue,
        Hold::DumpBad { id: "accounts/accounts/20261101t040000z".to_owned() },
        Hold::Anomaly { id: "accounts/accounts/20261101t040000z".to_owned() },
        Hold::Replicating,
        Hold::NeedsConfirmation,
        Hold::Capped { deletes_per_cycle: 10 },
        Hold::NotFound,
    ];
    insta::assert_snapshot!(holds.map(|hold| hold.to_string()).join("\n"), @r"
    `prune.automatic` is off: run `strongroom prune --confirm`
    its schedule is suspended
    not everything was seen: page 2 of the listing failed
    AWS has not said what time it is
    our clock is 9m away from AWS's: set it right
    this retention has not been in force for 1h yet
    newer backups are overdue
    dump accounts/accounts/20261101t040000z was found bad or unreadable, and no newer one has been verified since
    dump accounts/accounts/20261101t040000z lacks much of what was there before: find out why; where it is right, pin it with the reason
    its copy in the other region is not proven yet
    more have expired at once than is deleted without a person: run `strongroom prune --confirm`
    10 deletions in this hour already: it is deleted in a later one
    it is not where it was listed
    ");
}

#[rstest]
#[case::a_newer_good_one("accounts", 2, Severity::Info, "a newer good one stands")]
#[case::only_older_ones("accounts", 0, Severity::Critical, "make another one with `strongroom backup dump accounts`")]
#[case::newer_ones_of_another_database("audit", 2, Severity::Critical, "make another one")]
fn a_bad_dump_is_an_emergency_until_a_newer_good_one_of_its_database_stands(
    #[case] database: &str,
    #[case] bad: usize,
    #[case] severity: Severity,
    #[case] advice: &str,
) {
    let (policy, mut inventory) = two_sources();
    let mut dumps: Vec<StoredDump> =
        FIRSTS[..4].iter().map(|slot| stored_dump(dump("accounts", slot, 100, PointState::Good))).collect();
    dumps[bad].point.state = PointState::Bad { reason: "bits have flipped".to_owned() };
    dumps[bad].point.database = Some(database.parse().unwrap());
    dumps[bad].dump.database = database.parse().unwrap();
    of_accounts(&mut inventory).dumps = Complete::after_last_page(dumps);
    let findings = planned(&policy, &inventory).findings;
    let told: Vec<&Finding> = findings.iter().filter(|finding| finding.check == Check::DumpBad).collect();
    assert_eq!(told.len(), 1, "{findings:?}");
    assert_eq!(told[0].severity, severity);
    assert!(told[0].text.contains(advice), "{}", told[0].text);
}

#[test]
fn each_database_has_its_own_retention() {
    let mut policy = promises(&[("accounts", &["accounts", "audit"])]);
    for obligation in policy.sources.values_mut().flat_map(|source| &mut source.obligations) {
        let of_audit = obligation.task.database().is_some_and(|database| database.to_string() == "audit");
        obligation.retention = if of_audit { keep_three() } else { Retention::KeepAll };
    }
    let mut inventory = inventory(&policy);
    let of = |database: &str| {
        let point = |slot: &&str| {
            let point = dump("accounts", slot, 100, PointState::Good);
            let id = point.id.replacen("/accounts/", &format!("/{database}/"), 1);
            stored_dump(RecoveryPoint { id, database: Some(database.parse().unwrap()), ..point })
        };
        FIRSTS[..4].iter().map(point).collect::<Vec<_>>()
    };
    of_accounts(&mut inventory).dumps = Complete::after_last_page([of("accounts"), of("audit")].concat());
    assert_eq!(deleted(&planned(&policy, &inventory)), ["accounts/audit/20260801t040000z in us-east-1"]);
}
