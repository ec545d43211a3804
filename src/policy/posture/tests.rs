use std::num::NonZeroU32;

use rstest::rstest;

use super::*;
use crate::domain::bucket::{DefaultEncryption, ObjectLock};
use crate::policy::ReplicaPolicy;
use crate::policy::retention::RetentionPolicy;
use crate::testing::{keep_nothing, policy as promises};

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/one";
const OTHER_KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/other";
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
    let findings = bucket_findings(&policy(), Plane::Primary, facts);
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
