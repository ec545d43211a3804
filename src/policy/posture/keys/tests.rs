use rstest::rstest;

use super::*;
use crate::policy::retention::Retention;
use crate::policy::{ReplicaMode, ReplicaPolicy, SnapshotCopies};
use crate::testing::{at, inventory, policy as promises};

const EAST: &str = "us-east-1";
const WEST: &str = "us-west-2";
const OURS: &str = "arn:aws:kms:us-east-1:111122223333:key/ours";
const OURS_IN_WEST: &str = "arn:aws:kms:us-west-2:111122223333:key/west";

/// One source, both buckets under keys of ours, and copies of its snapshots under this key.
fn policy(copies_key: Option<&str>) -> Policy {
    let mut policy = promises(&[("accounts", &["accounts"])]);
    policy.destination.kms_key = Some("alias/bucket".to_owned());
    policy.destination.replica = Some(ReplicaPolicy {
        bucket: "bank-dr".to_owned(),
        region: WEST.parse().unwrap(),
        mode: ReplicaMode::Replicated,
        kms_key: Some("alias/replica".to_owned()),
    });
    let source = policy.sources.values_mut().next().unwrap();
    source.obligations[0].copies.extend(copies_key.map(|key| SnapshotCopies {
        region: WEST.parse().unwrap(),
        kms_key: Some(key.to_owned()),
        retention: Retention::KeepAll,
    }));
    policy
}

fn key(region: &str, key: &str) -> KeyName {
    KeyName { region: region.parse().unwrap(), key: key.to_owned() }
}

/// What is told with these facts, where the instance is encrypted under a key of ours if it is under any.
fn told(policy: &Policy, instance_key: Option<&str>, facts: &[(KeyName, KeyFacts)]) -> Vec<String> {
    let inventory = inventory(policy);
    let mut instances: Vec<Instance> = inventory.instances.unwrap().iter().cloned().collect();
    instances[0].kms_key = instance_key.map(str::to_owned);
    let uses = keys_in_use(policy, |source| instances.iter().find(|instance| instance.is_called(&source.instance)));
    key_findings(&uses, &facts.iter().cloned().collect()).iter().map(ToString::to_string).collect()
}

fn managed() -> KeyFacts {
    KeyFacts { managed_by_aws: true, state: KeyState::Enabled }
}

fn in_state(state: KeyState) -> KeyFacts {
    KeyFacts { managed_by_aws: false, state }
}

#[rstest]
#[case::by_its_alias("alias/aws/rds", true)]
#[case::by_the_arn_of_its_alias("arn:aws:kms:us-west-2:123456789012:alias/aws/rds", true)]
#[case::ours_by_its_alias("alias/bank-aws/rds", false)]
#[case::ours_by_the_arn_of_its_alias("arn:aws:kms:us-west-2:123456789012:alias/bank", false)]
#[case::ours_by_its_arn(OURS_IN_WEST, false)]
fn copies_under_a_key_that_aws_manages_are_found_by_its_name(#[case] key: &str, #[case] found: bool) {
    let told = told(&policy(Some(key)), Some(OURS), &[]);
    assert_eq!(told.len(), usize::from(found), "{told:?}");
    assert!(told.iter().all(|line| line.starts_with("warning: accounts: snapshots are copied to us-west-2")));
}

#[test]
fn copies_under_a_key_that_aws_manages_are_found_by_what_kms_says() {
    let told = told(&policy(Some(OURS_IN_WEST)), Some(OURS), &[(key(WEST, OURS_IN_WEST), managed())]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("warning: accounts: snapshots are copied to us-west-2"), "{told:?}");
}

#[rstest]
#[case::without_copies(None, true)]
#[case::with_copies_that_nobody_else_can_be_given_either(Some("alias/aws/rds"), true)]
#[case::with_copies_under_a_key_of_ours(Some(OURS_IN_WEST), false)]
fn an_instance_under_a_key_that_aws_manages_is_found(#[case] copies_key: Option<&str>, #[case] found: bool) {
    let told = told(&policy(copies_key), Some(OURS), &[(key(EAST, OURS), managed())]);
    let of_instance =
        told.iter().filter(|line| line.contains("instance bank-accounts is encrypted under a key that AWS"));
    assert_eq!(of_instance.count(), usize::from(found), "{told:?}");
}

#[test]
fn copies_of_another_source_bring_an_instance_into_no_other_account() {
    let mut policy = policy(None);
    let mut other = promises(&[("cards", &[])]).sources.pop_first().unwrap();
    other.1.obligations[0].copies.push(SnapshotCopies {
        region: WEST.parse().unwrap(),
        kms_key: Some(OURS_IN_WEST.to_owned()),
        retention: Retention::KeepAll,
    });
    policy.sources.extend([other]);
    let told = told(&policy, Some(OURS), &[(key(EAST, OURS), managed())]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("warning: accounts: instance bank-accounts is encrypted under a key that AWS"),
        "{told:?}"
    );
}

#[test]
fn a_key_of_another_region_says_nothing_about_one_of_the_same_name() {
    assert_eq!(told(&policy(None), Some(OURS), &[(key(WEST, OURS), managed())]), Vec::<String>::new());
}

#[rstest]
#[case::instance(key(EAST, OURS), "critical: accounts: key", "instance bank-accounts and its snapshots")]
#[case::copies(key(WEST, OURS_IN_WEST), "critical: accounts: key", "copies of its snapshots in us-west-2")]
#[case::bucket(key(EAST, "alias/bucket"), "critical: key", "dumps in bucket bank-backups")]
#[case::replica(key(WEST, "alias/replica"), "critical: key", "dumps in bucket bank-dr")]
fn a_key_that_cannot_be_used_is_critical_for_what_it_encrypts(
    #[case] name: KeyName,
    #[case] begins: &str,
    #[case] what: &str,
    #[values(
        (KeyState::Disabled, "is disabled: "),
        (KeyState::PendingDeletion { at: Some(at("2026-12-05T00:00:00Z")) }, "is to be deleted on 2026-12-05T00:00:00Z: "),
        (KeyState::Missing, "is not there: "),
        (KeyState::Other("PendingImport".to_owned()), "is in state `PendingImport`: "),
    )]
    state: (KeyState, &str),
) {
    let told = told(&policy(Some(OURS_IN_WEST)), Some(OURS), &[(name, in_state(state.0))]);
    let [line] = told.as_slice() else { panic!("{told:?}") };
    assert!(line.starts_with(begins) && line.contains(what) && line.contains(state.1), "{line}");
}

#[test]
fn nothing_is_said_of_keys_that_can_be_used_or_may_not_be_asked_for() {
    let names = [key(EAST, OURS), key(WEST, OURS_IN_WEST), key(EAST, "alias/bucket"), key(WEST, "alias/replica")];
    let facts: Vec<_> = names.into_iter().map(|name| (name, in_state(KeyState::Enabled))).collect();
    assert_eq!(told(&policy(Some(OURS_IN_WEST)), Some(OURS), &facts), Vec::<String>::new());
    assert_eq!(told(&policy(Some(OURS_IN_WEST)), Some(OURS), &[]), Vec::<String>::new());
}

/// What is said of a source has a series for each of them, and all else has one: a finding must have a series.
#[test]
fn what_is_found_about_the_key_of_a_source_names_the_source() {
    let policy = policy(Some("alias/aws/rds"));
    let mut instance = inventory(&policy).instances.unwrap().iter().next().unwrap().clone();
    instance.kms_key = Some(OURS.to_owned());
    let uses = keys_in_use(&policy, |_| Some(&instance));
    let facts = [key(EAST, OURS), key(EAST, "alias/bucket")].map(|name| (name, in_state(KeyState::Disabled)));
    let findings = key_findings(&uses, &BTreeMap::from(facts));
    assert_eq!(findings.len(), 3, "{findings:?}");
    assert!(
        findings.iter().all(|finding| finding.check.is_about_sources() == finding.source.is_some()),
        "{findings:?}"
    );
    assert_eq!(findings.iter().filter(|finding| finding.source.is_some()).count(), 2, "{findings:?}");
}
