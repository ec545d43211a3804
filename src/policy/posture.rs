//! Posture: what buckets, keys, instances and their account must be like, so that what is stored stays, stays secret, can be
//! read, arrives in the second region, and can be restored.
//!
//! Nothing here is ever changed by the daemon: it says what is wrong, what that means, and what to do.

mod instances;
mod keys;
mod logins;

use super::finding::{Check, Finding, Severity};
use super::retention::Retention;
use super::{Policy, ReplicaMode, Task};
use crate::domain::bucket::{BucketFacts, LifecycleRule, ReplicationRule};
use crate::domain::recovery_point::Plane;

pub use instances::{account_findings, instance_findings, parameter_groups_in_use};
pub use keys::{KeyUse, key_findings, keys_in_use};
pub use logins::login_findings;

/// Findings about one of the destination's buckets.
#[must_use]
pub fn bucket_findings(policy: &Policy, plane: Plane, facts: &BucketFacts) -> Vec<Finding> {
    let bucket = Bucket { policy, plane, facts };
    [
        bucket.versioning(),
        bucket.encryption(),
        bucket.lock(),
        bucket.public_access(),
        bucket.tls(),
        bucket.unfinished_uploads(),
        bucket.replication(),
    ]
    .into_iter()
    .flatten()
    .chain(bucket.expiry())
    .collect()
}

struct Bucket<'a> {
    policy: &'a Policy,
    plane: Plane,
    facts: &'a BucketFacts,
}

impl Bucket<'_> {
    fn finding(&self, severity: Severity, check: Check, text: &str) -> Option<Finding> {
        Some(Finding { severity, check, source: None, text: format!("bucket {}: {text}", self.facts.bucket) })
    }

    /// Whether a rule for keys that begin with `prefix` reaches ours.
    fn reaches(&self, prefix: &str) -> bool {
        let ours = &self.policy.destination.prefix;
        format!("{ours}/").starts_with(prefix)
    }

    /// Whether a rule for keys that begin with `prefix` touches some of ours.
    fn touches(&self, prefix: &str) -> bool {
        self.reaches(prefix) || prefix.starts_with(&format!("{}/", self.policy.destination.prefix))
    }

    fn versioning(&self) -> Option<Finding> {
        if self.facts.versioning? {
            return None;
        }
        let text = "versioning is off: whoever overwrites or deletes a backup destroys it; switch versioning on";
        self.finding(Severity::Critical, Check::BucketVersioning, text)
    }

    fn encryption(&self) -> Option<Finding> {
        let wanted = match self.plane {
            Plane::Primary => self.policy.destination.kms_key.as_deref(),
            Plane::Replica => self.policy.destination.replica.as_ref()?.kms_key.as_deref(),
        };
        let encryption = self.facts.encryption.as_ref()?;
        if !encryption.kms {
            let text = "its default encryption is not SSE-KMS: what is written without a key can be read by whoever may read \
                        the bucket; set SSE-KMS with your key as the default";
            return self.finding(Severity::Warning, Check::BucketEncryption, text);
        }
        let key = encryption.kms_key.as_deref();
        // An alias is told as it was set, and may well name the same key: only two ARNs of keys can differ for certain.
        let differs = |wanted: &str| match key {
            Some(key) => wanted.contains(":key/") && key.contains(":key/") && wanted != key,
            None => true,
        };
        if let Some(wanted) = wanted.filter(|wanted| differs(wanted)) {
            let key = key.unwrap_or("AWS's own key");
            let text = format!("its default encryption uses {key} instead of {wanted}: set the default to that key");
            return self.finding(Severity::Warning, Check::BucketEncryption, &text);
        }
        if !encryption.bucket_key {
            let text = "its default encryption has no bucket key: each object costs a request to KMS; switch the bucket key on";
            return self.finding(Severity::Info, Check::BucketEncryption, text);
        }
        None
    }

    /// Locks protect from whoever has our rights. A lock that is longer than the retention only delays pruning.
    fn lock(&self) -> Option<Finding> {
        let Some(lock) = self.facts.object_lock? else {
            let text = "object lock is off: whoever has the daemon's rights can destroy all backups; consider a bucket with \
                        object lock and a default retention";
            return self.finding(Severity::Info, Check::BucketLock, text);
        };
        let days = lock.default_days?;
        // Some dumps leave before their lock ends, if the retention of any keeps them for less.
        let Stay::Days(shortest) = self.retentions().map(longest_stay).min()? else { return None };
        if i64::from(days) <= shortest {
            return None;
        }
        let text = format!(
            "each object is locked for {days} days, and some dumps expire after about {shortest}: they stay until the lock \
             ends; shorten the default retention of the lock, or keep those dumps for longer"
        );
        self.finding(Severity::Info, Check::BucketLock, &text)
    }

    fn public_access(&self) -> Option<Finding> {
        if self.facts.public_access_blocked? {
            return None;
        }
        let text = "public access is not blocked: one wrong policy would show the bank's data to everybody; switch all four \
                    blocks of public access on";
        self.finding(Severity::Critical, Check::BucketPublicAccess, text)
    }

    fn tls(&self) -> Option<Finding> {
        if self.facts.tls_only? {
            return None;
        }
        let text =
            "its policy does not deny requests without TLS: add a statement that denies them (aws:SecureTransport)";
        self.finding(Severity::Warning, Check::BucketTls, text)
    }

    fn unfinished_uploads(&self) -> Option<Finding> {
        let rules = self.facts.lifecycle.as_ref()?;
        let aborts =
            |rule: &&LifecycleRule| rule.abort_uploads_days.is_some() && !rule.narrowed && self.reaches(&rule.prefix);
        if rules.iter().any(|rule| aborts(&rule)) {
            return None;
        }
        let text = "no lifecycle rule aborts unfinished uploads: parts of uploads that nobody remembers cost money and are seen \
                    by no listing; add AbortIncompleteMultipartUpload after 7 days";
        self.finding(Severity::Warning, Check::BucketLifecycle, text)
    }

    /// Rules that delete our objects without asking us: a manifest whose data has expired is no backup.
    fn expiry(&self) -> Vec<Finding> {
        let Some(rules) = &self.facts.lifecycle else { return Vec::new() };
        let Some(longest) = self.retentions().map(longest_stay).max() else { return Vec::new() };
        let mut findings = Vec::new();
        for rule in rules.iter().filter(|rule| self.touches(&rule.prefix)) {
            let Some(days) = rule.expiration_days else { continue };
            let early = match longest {
                Stay::Forever => true,
                Stay::Days(stay) => i64::from(days) <= stay,
            };
            if early {
                let text = format!(
                    "lifecycle rule `{}` expires objects after {days} days, which is earlier than our retention lets them go: \
                     it would leave manifests without data; take our prefix out of it",
                    rule.id
                );
                findings.extend(self.finding(Severity::Critical, Check::BucketLifecycle, &text));
            }
        }
        findings
    }

    fn replication(&self) -> Option<Finding> {
        let replica = self.policy.destination.replica.as_ref().filter(|_| self.plane == Plane::Primary)?;
        if replica.mode != ReplicaMode::Replicated {
            return None;
        }
        let rules = self.facts.replication.as_ref()?;
        let to_replica = |rule: &&ReplicationRule| rule.bucket == replica.bucket;
        let covering: Vec<&ReplicationRule> =
            rules.iter().filter(to_replica).filter(|rule| !rule.narrowed && self.reaches(&rule.prefix)).collect();
        if covering.is_empty() {
            let text = format!(
                "no replication rule brings everything below `{}/` to {}: new backups stay in one region; add a rule for that \
                 prefix",
                self.policy.destination.prefix, replica.bucket
            );
            return self.finding(Severity::Critical, Check::BucketReplication, &text);
        }
        let encrypted =
            self.policy.destination.kms_key.is_some() || self.facts.encryption.as_ref().is_some_and(|own| own.kms);
        if encrypted && !covering.iter().any(|rule| rule.kms_objects) {
            let text = "its replication rule leaves out objects encrypted with KMS, which all of ours are: set \
                        SourceSelectionCriteria.SseKmsEncryptedObjects and a replica key";
            return self.finding(Severity::Critical, Check::BucketReplication, text);
        }
        let wanted = replica.kms_key.as_deref().filter(|wanted| wanted.contains(":key/"))?;
        let differs = |rule: &&&ReplicationRule| {
            rule.replica_kms_key.as_deref().is_some_and(|key| key.contains(":key/") && key != wanted)
        };
        let other = covering.iter().find(differs)?.replica_kms_key.as_deref().unwrap_or_default();
        let text = format!("its replication encrypts with {other} instead of {wanted}: correct the rule's replica key");
        self.finding(Severity::Critical, Check::BucketReplication, &text)
    }

    /// The retentions of all dumps that live in this bucket.
    fn retentions(&self) -> impl Iterator<Item = &Retention> {
        let dumps = self.policy.obligations().filter(|(_, own)| matches!(own.task, Task::Dump { .. }));
        dumps.map(|(_, own)| match self.plane {
            Plane::Primary => &own.retention,
            Plane::Replica => &own.replica_retention,
        })
    }
}

/// How long a dump may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stay {
    Days(i64),
    Forever,
}

/// A slot of dumps is taken for a month here: that is what long retention is made of.
const SLOT_DAYS: i64 = 31;

/// For how long the rules keep a dump, roughly and rather too long: each is kept by the one that keeps it longest.
fn longest_stay(retention: &Retention) -> Stay {
    let Retention::Rules(rules) = retention else { return Stay::Forever };
    let counted = [
        (rules.keep_last, SLOT_DAYS),
        (rules.keep_hourly, 1),
        (rules.keep_daily, 1),
        (rules.keep_weekly, 7),
        (rules.keep_monthly, SLOT_DAYS),
        (rules.keep_yearly, 366),
        (Some(rules.min_keep), SLOT_DAYS),
    ];
    let days = |span: jiff::SignedDuration| span.as_hours() / 24 + 1;
    let counted = counted.into_iter().filter_map(|(count, each)| Some(i64::from(count?.get()) * each));
    let spans = [rules.keep_within.map(days), Some(days(rules.min_age))].into_iter().flatten();
    Stay::Days(counted.chain(spans).max().unwrap_or(0))
}

#[cfg(test)]
mod tests;
