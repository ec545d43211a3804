//! The KMS keys that backups are encrypted under: whether they can be used, and whether they can be shared.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::super::finding::{Check, Finding, Severity};
use super::super::{Policy, SourcePolicy};
use crate::domain::encryption_key::{KeyFacts, KeyName, KeyState};
use crate::domain::id::{RegionName, SourceId};
use crate::domain::inventory::Instance;

/// One thing that is encrypted under one key.
#[derive(Debug)]
pub struct KeyUse<'a> {
    /// The key.
    pub name: KeyName,
    source: Option<&'a SourceId>,
    what: Encrypted<'a>,
}

/// What is encrypted.
#[derive(Debug)]
enum Encrypted<'a> {
    /// The storage of an instance, and so its snapshots and its automated backups.
    Instance(&'a Instance),
    /// Copies of its snapshots in the key's region.
    Copies,
    /// The objects of a bucket.
    Bucket(&'a str),
}

/// Each key that backups depend on, with what it encrypts. An instance that cannot be seen, or is not encrypted, has none.
pub fn keys_in_use<'a>(
    policy: &'a Policy,
    instance_of: impl Fn(&SourcePolicy) -> Option<&'a Instance>,
) -> Vec<KeyUse<'a>> {
    let name = |region: &RegionName, key: &str| KeyName { region: region.clone(), key: key.to_owned() };
    let of_bucket = |region: &RegionName, bucket, key: &Option<String>| {
        let name = name(region, key.as_deref()?);
        Some(KeyUse { name, source: None, what: Encrypted::Bucket(bucket) })
    };
    let destination = &policy.destination;
    let mut uses: Vec<KeyUse<'_>> = of_bucket(&policy.region, &destination.bucket, &destination.kms_key)
        .into_iter()
        .chain(destination.replica.as_ref().and_then(|there| of_bucket(&there.region, &there.bucket, &there.kms_key)))
        .collect();
    for source in policy.sources.values() {
        if let Some(instance) = instance_of(source)
            && let Some(key) = &instance.kms_key
        {
            let what = Encrypted::Instance(instance);
            uses.push(KeyUse { name: name(&policy.region, key), source: Some(&source.id), what });
        }
        let copies = source.obligations.iter().flat_map(|obligation| &obligation.copies);
        uses.extend(copies.filter_map(|copies| {
            let name = name(&copies.region, copies.kms_key.as_deref()?);
            Some(KeyUse { name, source: Some(&source.id), what: Encrypted::Copies })
        }));
    }
    uses
}

/// Findings about the keys that backups depend on. A key that is not among `keys` could not be asked for, and is judged by
/// its name alone.
///
/// A key that AWS manages (`aws/rds`) cannot be shared, so what it encrypts can be neither shared with nor copied to
/// another account (RDS User Guide, "Sharing encrypted snapshots"): the account that is lost takes it along. A key that is
/// disabled or deleted takes along all that it encrypts.
#[must_use]
pub fn key_findings(uses: &[KeyUse<'_>], keys: &BTreeMap<KeyName, KeyFacts>) -> Vec<Finding> {
    let is_managed = |key_use: &KeyUse<'_>| {
        let facts = keys.get(&key_use.name);
        is_managed_by_its_name(&key_use.name.key) || facts.is_some_and(|facts| facts.managed_by_aws)
    };
    // What is copied under a key of ours can be shared in that form.
    let can_be_shared = |source: Option<&SourceId>| {
        let mut copies = uses.iter().filter(|other| other.source == source && matches!(other.what, Encrypted::Copies));
        copies.any(|copies| !is_managed(copies))
    };
    let unusable = uses.iter().filter_map(|key_use| key_use.unusable(&keys.get(&key_use.name)?.state));
    let managed = uses.iter().filter(|key_use| is_managed(key_use)).filter_map(|key_use| match key_use.what {
        Encrypted::Instance(_) if can_be_shared(key_use.source) => None,
        Encrypted::Instance(_) | Encrypted::Copies => Some(key_use.managed()),
        // Its objects are read by us alone; other accounts get what they need by S3's own means.
        Encrypted::Bucket(_) => None,
    });
    unusable.chain(managed).collect()
}

impl KeyUse<'_> {
    fn managed(&self) -> Finding {
        let text = match self.what {
            Encrypted::Instance(instance) => format!(
                "instance {} is encrypted under a key that AWS manages, so its snapshots cannot be given to another \
                 account; have them copied under a customer key (`copy_to` with `kms_key`)",
                instance.id
            ),
            Encrypted::Copies | Encrypted::Bucket(_) => format!(
                "snapshots are copied to {} under a key that AWS manages, so they cannot be shared with another account as \
                 they are; create a customer key there and name it in `copy_to`",
                self.name.region
            ),
        };
        Finding { severity: Severity::Warning, check: Check::ManagedKey, source: self.source.cloned(), text }
    }

    fn unusable(&self, state: &KeyState) -> Option<Finding> {
        let what = match self.what {
            Encrypted::Instance(instance) => format!("instance {} and its snapshots", instance.id),
            Encrypted::Copies => format!("copies of its snapshots in {}", self.name.region),
            Encrypted::Bucket(bucket) => format!("dumps in bucket {bucket}"),
        };
        let remedy = match state {
            KeyState::Enabled => return None,
            KeyState::Disabled => "none can be made or restored until it is enabled; enable it",
            KeyState::PendingDeletion { .. } => {
                "none can be made or restored, and with it all of them are lost for good; cancel its deletion and enable it"
            }
            KeyState::Missing => "none can be made or restored; name a key that there is in this region",
            KeyState::Other(_) => "none can be made or restored; see what KMS says about it",
        };
        let text = format!("key {}, under which {what} are encrypted, is {state}: {remedy}", self.name.key);
        let check = if self.source.is_some() { Check::KeyState } else { Check::BucketEncryption };
        Some(Finding { severity: Severity::Critical, check, source: self.source.cloned(), text })
    }
}

/// Whether a key is named by an alias that AWS keeps for itself.
fn is_managed_by_its_name(key: &str) -> bool {
    let alias = key.strip_prefix("alias/").or_else(|| key.split_once(":alias/").map(|(_, alias)| alias));
    alias.is_some_and(|alias| alias.starts_with("aws/"))
}
