use std::num::NonZeroU32;

use rstest::rstest;

use super::*;
use crate::domain::bucket::{DefaultEncryption, ObjectLock};
use crate::policy::ReplicaPolicy;
use crate::policy::retention::RetentionPolicy;
use crate::testing::{keep_nothing, policy as promises};

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/one";
const OTHER_KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/other";
/// It may name any key, the right one too.
const ALIAS: &str = "arn:aws:kms:us-east-1:111122223333:alias/bank";
const WEST_KEY: &str = "arn:aws:kms:us-west-2:111122223333:key/west";

/// Seven years of months, replicated to a second bucket.
fn policy() -> Policy {
    let mut policy = promises(&[("accounts", &["accounts"])]);
    policy.destination.kms_key = Some(KEY.to_owned());
    policy.destination.replica = Some(ReplicaPolicy {
        bucket: "bank-dr".to_owned(),
        region: "us-west-2".parse().unwrap(),
        mode: ReplicaMode::Replicated,
        kms_key: Some(WEST_KEY.to_owned()),
    });
    for obligation in &mut policy.sources.values_mut().next().unwrap().obligations {
        let rules = RetentionPolicy { keep_monthly: NonZeroU32::new(84), ..keep_nothing() };
        obligation.retention = Retention::Rules(rules.clone());
        obligation.replica_retention = Retention::Rules(rules);
    }
    policy
}

fn aborting() -> LifecycleRule {
    LifecycleRule { id: "uploads".to_owned(), abort_uploads_days: Some(7), ..LifecycleRule::default() }
}

fn replicating() -> ReplicationRule {
    ReplicationRule {
        id: "dr".to_owned(),
        prefix: "strongroom/".to_owned(),
        narrowed: false,
        bucket: "bank-dr".to_owned(),
        kms_objects: true,
        replica_kms_key: Some(WEST_KEY.to_owned()),
    }
}

/// A bucket as it should be.
fn well() -> BucketFacts {
    BucketFacts {
        bucket: "bank-backups".to_owned(),
        region: None,
        versioning: Some(true),
        encryption: Some(DefaultEncryption { kms: true, kms_key: Some(KEY.to_owned()), bucket_key: true }),
        object_lock: Some(Some(ObjectLock { default_days: Some(30), compliance: true })),
        public_access_blocked: Some(true),
        tls_only: Some(true),
        lifecycle: Some(vec![aborting()]),
        replication: Some(vec![replicating()]),
    }
}

fn found(facts: &BucketFacts) -> Vec<(Severity, Check)> {
    found_for(&policy(), facts)
}

fn found_for(policy: &Policy, facts: &BucketFacts) -> Vec<(Severity, Check)> {
    let findings = bucket_findings(policy, Plane::Primary, facts);
    findings.into_iter().map(|finding| (finding.severity, finding.check)).collect()
}

#[test]
fn a_bucket_as_it_should_be_has_no_findings() {
    assert_eq!(found(&well()), []);
}

#[test]
fn what_a_bucket_does_not_tell_is_no_finding() {
    assert_eq!(found(&BucketFacts { bucket: "b".to_owned(), ..BucketFacts::default() }), []);
}

type Change = fn(&mut BucketFacts);

#[rstest]
#[case::versions(|b: &mut BucketFacts| b.versioning = Some(false), Severity::Critical, Check::BucketVersioning)]
#[case::s3_keys(|b: &mut BucketFacts| b.encryption.as_mut().unwrap().kms = false, Severity::Warning, Check::BucketEncryption)]
#[case::other_key(|b: &mut BucketFacts| b.encryption.as_mut().unwrap().kms_key = Some(OTHER_KEY.to_owned()), Severity::Warning, Check::BucketEncryption)]
#[case::aws_own_key(|b: &mut BucketFacts| b.encryption.as_mut().unwrap().kms_key = None, Severity::Warning, Check::BucketEncryption)]
#[case::no_bucket_key(|b: &mut BucketFacts| b.encryption.as_mut().unwrap().bucket_key = false, Severity::Info, Check::BucketEncryption)]
#[case::no_lock(|b: &mut BucketFacts| b.object_lock = Some(None), Severity::Info, Check::BucketLock)]
#[case::lock_for_longer_than_kept(
    |b: &mut BucketFacts| b.object_lock = Some(Some(ObjectLock { default_days: Some(2605), compliance: true })),
    Severity::Info,
    Check::BucketLock
)]
#[case::public(|b: &mut BucketFacts| b.public_access_blocked = Some(false), Severity::Critical, Check::BucketPublicAccess)]
#[case::plain_http(|b: &mut BucketFacts| b.tls_only = Some(false), Severity::Warning, Check::BucketTls)]
#[case::uploads_for_ever(|b: &mut BucketFacts| b.lifecycle = Some(Vec::new()), Severity::Warning, Check::BucketLifecycle)]
#[case::uploads_of_others_only(
    |b: &mut BucketFacts| b.lifecycle = Some(vec![LifecycleRule { prefix: "logs/".to_owned(), ..aborting() }]),
    Severity::Warning,
    Check::BucketLifecycle
)]
#[case::uploads_with_a_tag_only(
    |b: &mut BucketFacts| b.lifecycle = Some(vec![LifecycleRule { narrowed: true, ..aborting() }]),
    Severity::Warning,
    Check::BucketLifecycle
)]
#[case::expires_backups(
    |b: &mut BucketFacts| b.lifecycle.as_mut().unwrap()[0].expiration_days = Some(2604),
    Severity::Critical,
    Check::BucketLifecycle
)]
#[case::expires_some_backups(
    |b: &mut BucketFacts| {
        let rule = LifecycleRule { prefix: "strongroom/accounts/dumps/".to_owned(), expiration_days: Some(90), ..aborting() };
        b.lifecycle.as_mut().unwrap().push(rule);
    },
    Severity::Critical,
    Check::BucketLifecycle
)]
#[case::no_replication(|b: &mut BucketFacts| b.replication = Some(Vec::new()), Severity::Critical, Check::BucketReplication)]
#[case::replication_elsewhere(|b: &mut BucketFacts| b.replication.as_mut().unwrap()[0].bucket = "x".to_owned(), Severity::Critical, Check::BucketReplication)]
#[case::replication_of_others(|b: &mut BucketFacts| b.replication.as_mut().unwrap()[0].prefix = "strongroom/cards".to_owned(), Severity::Critical, Check::BucketReplication)]
#[case::replication_without_kms(|b: &mut BucketFacts| b.replication.as_mut().unwrap()[0].kms_objects = false, Severity::Critical, Check::BucketReplication)]
#[case::replication_with_another_key(|b: &mut BucketFacts| b.replication.as_mut().unwrap()[0].replica_kms_key = Some(OTHER_KEY.to_owned()), Severity::Critical, Check::BucketReplication)]
#[case::replication_of_tagged_only(
    |b: &mut BucketFacts| b.replication.as_mut().unwrap()[0].narrowed = true,
    Severity::Critical,
    Check::BucketReplication
)]
fn what_is_wrong_with_a_bucket_is_found(#[case] change: Change, #[case] severity: Severity, #[case] check: Check) {
    let mut facts = well();
    change(&mut facts);
    assert_eq!(found(&facts), [(severity, check)]);
}

#[rstest]
#[case::a_lock_as_long_as_kept(|b: &mut BucketFacts| b.object_lock = Some(Some(ObjectLock { default_days: Some(2604), compliance: true })))]
#[case::expiry_long_after_retention(|b: &mut BucketFacts| b.lifecycle.as_mut().unwrap()[0].expiration_days = Some(2605))]
#[case::expiry_of_others(|b: &mut BucketFacts| {
    let rule = LifecycleRule { prefix: "logs/".to_owned(), expiration_days: Some(1), ..aborting() };
    b.lifecycle.as_mut().unwrap().push(rule);
})]
#[case::a_rule_for_all_keys(|b: &mut BucketFacts| b.replication.as_mut().unwrap()[0].prefix = String::new())]
#[case::a_default_by_its_alias(|b: &mut BucketFacts| b.encryption.as_mut().unwrap().kms_key = Some(ALIAS.to_owned()))]
#[case::a_replica_key_by_its_alias(
    |b: &mut BucketFacts| b.replication.as_mut().unwrap()[0].replica_kms_key = Some(ALIAS.to_owned())
)]
#[case::a_second_rule_that_aborts_uploads_of_others(|b: &mut BucketFacts| {
    b.lifecycle.as_mut().unwrap().push(LifecycleRule { prefix: "logs/".to_owned(), ..aborting() });
})]
fn what_is_harmless_is_no_finding(#[case] change: Change) {
    let mut facts = well();
    change(&mut facts);
    assert_eq!(found(&facts), []);
}

#[test]
fn the_replica_bucket_is_compared_with_its_own_key_and_needs_no_replication() {
    let mut facts = BucketFacts { replication: Some(Vec::new()), ..well() };
    facts.encryption.as_mut().unwrap().kms_key = Some(WEST_KEY.to_owned());
    assert_eq!(bucket_findings(&policy(), Plane::Replica, &facts), []);
}

#[test]
fn where_dumps_are_kept_for_ever_any_expiry_is_too_early() {
    let mut policy = policy();
    for obligation in &mut policy.sources.values_mut().next().unwrap().obligations {
        obligation.retention = Retention::KeepAll;
    }
    let mut facts = well();
    facts.lifecycle.as_mut().unwrap()[0].expiration_days = Some(36_500);
    let findings = bucket_findings(&policy, Plane::Primary, &facts);
    assert!(findings.iter().any(|finding| finding.check == Check::BucketLifecycle), "{findings:?}");
}

#[test]
fn a_key_that_is_wanted_by_its_alias_may_be_any() {
    let mut policy = policy();
    policy.destination.kms_key = Some(ALIAS.to_owned());
    policy.destination.replica.as_mut().unwrap().kms_key = Some(ALIAS.to_owned());
    assert_eq!(found_for(&policy, &well()), []);
}

/// S3 replicates what is encrypted with KMS only where a rule says so, and what is not in any case.
#[rstest]
#[case::by_us(Some(KEY), None, &[(Severity::Critical, Check::BucketReplication)])]
#[case::by_default(None, Some(true), &[(Severity::Critical, Check::BucketReplication)])]
#[case::not_at_all(None, Some(false), &[(Severity::Warning, Check::BucketEncryption)])]
#[case::by_nobody_knows_whom(None, None, &[])]
fn replication_must_take_along_what_is_encrypted_with_kms(
    #[case] our_key: Option<&str>,
    #[case] kms: Option<bool>,
    #[case] expected: &[(Severity, Check)],
) {
    let mut policy = policy();
    policy.destination.kms_key = our_key.map(str::to_owned);
    let encryption = kms.map(|kms| DefaultEncryption { kms, kms_key: None, bucket_key: true });
    let mut facts = BucketFacts { encryption, ..well() };
    facts.replication.as_mut().unwrap()[0].kms_objects = false;
    assert_eq!(found_for(&policy, &facts), expected);
}

/// Days that have begun count in full: 90 days are over on the 91st.
#[rstest]
#[case::locked_for_as_long(91, None, &[])]
#[case::locked_for_longer(92, None, &[(Severity::Info, Check::BucketLock)])]
#[case::expires_while_kept(30, Some(91), &[(Severity::Critical, Check::BucketLifecycle)])]
#[case::expires_thereafter(30, Some(92), &[])]
fn what_is_kept_for_a_time_is_compared_in_days(
    #[case] locked_days: u32,
    #[case] expiration_days: Option<u32>,
    #[case] expected: &[(Severity, Check)],
    #[values(true, false)] by_age: bool,
) {
    let mut policy = policy();
    let kept = jiff::SignedDuration::from_hours(90 * 24);
    let rules = if by_age {
        RetentionPolicy { min_age: kept, ..keep_nothing() }
    } else {
        RetentionPolicy { keep_within: Some(kept), ..keep_nothing() }
    };
    for obligation in &mut policy.sources.values_mut().next().unwrap().obligations {
        obligation.retention = Retention::Rules(rules.clone());
    }
    let lock = ObjectLock { default_days: Some(locked_days), compliance: true };
    let lifecycle = LifecycleRule { expiration_days, ..aborting() };
    let facts = BucketFacts { object_lock: Some(Some(lock)), lifecycle: Some(vec![lifecycle]), ..well() };
    assert_eq!(found_for(&policy, &facts), expected);
}

/// What is said of a source has a series for each of them, and all else has one: a finding must have a series.
#[test]
fn what_is_found_about_a_bucket_is_about_no_single_source() {
    let facts = BucketFacts {
        versioning: Some(false),
        encryption: Some(DefaultEncryption { kms: false, kms_key: None, bucket_key: false }),
        object_lock: Some(None),
        public_access_blocked: Some(false),
        tls_only: Some(false),
        lifecycle: Some(Vec::new()),
        replication: Some(Vec::new()),
        ..well()
    };
    let findings = bucket_findings(&policy(), Plane::Primary, &facts);
    assert_eq!(findings.len(), 7, "{findings:?}");
    assert!(
        findings.iter().all(|finding| finding.source.is_none() && !finding.check.is_about_sources()),
        "{findings:?}"
    );
}
