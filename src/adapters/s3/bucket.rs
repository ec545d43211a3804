//! How the bucket is set up.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{
    ExpirationStatus, LifecycleRule as SdkLifecycleRule, ObjectLockEnabled, ObjectLockRetentionMode,
    PublicAccessBlockConfiguration, ReplicationRule as SdkReplicationRule, ReplicationRuleStatus, ServerSideEncryption,
    ServerSideEncryptionConfiguration, SseKmsEncryptedObjectsStatus,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::S3;
use super::policy::denies_plain_text;
use crate::adapters::aws::{has_code, port_error};
use crate::domain::bucket::{BucketFacts, DefaultEncryption, LifecycleRule, ObjectLock, ReplicationRule};
use crate::domain::id::RegionName;
use crate::ports::{ErrorKind, PortError};

/// The store does not tell a part: no right to it, or no such feature in a store that is not AWS's.
const UNTOLD: [&str; 3] = ["AccessDenied", "MethodNotAllowed", "NotImplemented"];

/// Years of a default retention are counted as days of the shortest year, so that no lock is taken for longer than it is.
const DAYS_PER_YEAR: u32 = 365;

/// What came of asking for one part of the configuration.
enum Told<T> {
    /// It is configured.
    As(T),
    /// It is not configured, which is an answer too.
    None,
    /// It cannot be known.
    Not,
}

impl<T> Told<T> {
    fn or<U>(self, unconfigured: U, configured: impl FnOnce(T) -> U) -> Option<U> {
        match self {
            Told::As(value) => Some(configured(value)),
            Told::None => Some(unconfigured),
            Told::Not => None,
        }
    }
}

impl S3 {
    pub(super) async fn describe(&self) -> Result<BucketFacts, PortError> {
        let versioning = self.told("versioning", "", on_bucket!(self, observe.get_bucket_versioning).send().await)?;
        let encryption = self.told(
            "encryption",
            "ServerSideEncryptionConfigurationNotFoundError",
            on_bucket!(self, observe.get_bucket_encryption).send().await,
        )?;
        let lock = self.told(
            "object lock",
            "ObjectLockConfigurationNotFoundError",
            on_bucket!(self, observe.get_object_lock_configuration).send().await,
        )?;
        let public_access = self.told(
            "block of public access",
            "NoSuchPublicAccessBlockConfiguration",
            on_bucket!(self, observe.get_public_access_block).send().await,
        )?;
        let policy =
            self.told("policy", "NoSuchBucketPolicy", on_bucket!(self, observe.get_bucket_policy).send().await)?;
        let lifecycle = self.told(
            "lifecycle",
            "NoSuchLifecycleConfiguration",
            on_bucket!(self, observe.get_bucket_lifecycle_configuration).send().await,
        )?;
        let replication = self.told(
            "replication",
            "ReplicationConfigurationNotFoundError",
            on_bucket!(self, observe.get_bucket_replication).send().await,
        )?;
        let bucket = &self.settings.bucket;
        Ok(BucketFacts {
            bucket: bucket.clone(),
            region: self.region().await?,
            versioning: versioning.or(false, |facts| facts.status().is_some_and(|status| status.as_str() == "Enabled")),
            encryption: encryption
                .or(encryption_of(None), |facts| encryption_of(facts.server_side_encryption_configuration())),
            object_lock: lock.or(None, |facts| object_lock_of(facts.object_lock_configuration()?)),
            public_access_blocked: public_access
                .or(false, |facts| facts.public_access_block_configuration().is_some_and(blocks_everything)),
            tls_only: policy.or(false, |facts| facts.policy().is_some_and(|policy| denies_plain_text(policy, bucket))),
            lifecycle: lifecycle.or(Vec::new(), |facts| facts.rules().iter().filter_map(lifecycle_rule).collect()),
            replication: replication.or(Vec::new(), |facts| {
                let rules = facts.replication_configuration().map(|configuration| configuration.rules());
                rules.unwrap_or_default().iter().filter_map(replication_rule).collect()
            }),
        })
    }

    /// Where the bucket really is: a client of another region is sent on or refused, depending on the store.
    async fn region(&self) -> Result<Option<RegionName>, PortError> {
        match on_bucket!(self, observe.head_bucket).send().await {
            Ok(bucket) => Ok(bucket.bucket_region().and_then(|region| region.parse().ok())),
            Err(error) => {
                let error = port_error(self.named("look up", &""), error);
                if error.kind() == ErrorKind::PermissionDenied { Ok(None) } else { Err(error) }
            }
        }
    }

    fn told<T, E>(
        &self,
        part: &str,
        none: &str,
        answer: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<Told<T>, PortError>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match answer {
            Ok(answer) => Ok(Told::As(answer)),
            Err(error) if has_code(&error, &[none]) => Ok(Told::None),
            Err(error) if has_code(&error, &UNTOLD) => Ok(Told::Not),
            Err(error) => Err(port_error(self.named(&format!("read the {part} of"), &""), error)),
        }
    }
}

fn encryption_of(configuration: Option<&ServerSideEncryptionConfiguration>) -> DefaultEncryption {
    let rule = configuration.and_then(|configuration| configuration.rules().first());
    let default = rule.and_then(|rule| rule.apply_server_side_encryption_by_default());
    DefaultEncryption {
        kms: default.is_some_and(|default| {
            matches!(default.sse_algorithm(), ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse)
        }),
        kms_key: default.and_then(|default| default.kms_master_key_id()).map(str::to_owned),
        bucket_key: rule.and_then(|rule| rule.bucket_key_enabled()) == Some(true),
    }
}

fn object_lock_of(configuration: &aws_sdk_s3::types::ObjectLockConfiguration) -> Option<ObjectLock> {
    if configuration.object_lock_enabled() != Some(&ObjectLockEnabled::Enabled) {
        return None;
    }
    let retention = configuration.rule().and_then(|rule| rule.default_retention());
    let days = retention.and_then(|retention| {
        count(retention.days()).or_else(|| count(retention.years()).map(|years| years.saturating_mul(DAYS_PER_YEAR)))
    });
    let compliance = retention.is_some_and(|retention| retention.mode() == Some(&ObjectLockRetentionMode::Compliance));
    Some(ObjectLock { default_days: days, compliance })
}

fn blocks_everything(block: &PublicAccessBlockConfiguration) -> bool {
    let all = [
        block.block_public_acls(),
        block.ignore_public_acls(),
        block.block_public_policy(),
        block.restrict_public_buckets(),
    ];
    all.into_iter().all(|one| one == Some(true))
}

#[expect(deprecated, reason = "rules of before 2016 have their prefix there, and S3 still gives them out so")]
fn lifecycle_rule(rule: &SdkLifecycleRule) -> Option<LifecycleRule> {
    if *rule.status() != ExpirationStatus::Enabled {
        return None;
    }
    let filter = rule.filter();
    let and = filter.and_then(|filter| filter.and());
    let prefix = filter.and_then(|filter| filter.prefix()).or_else(|| and.and_then(|and| and.prefix()));
    let narrowed = filter.is_some_and(|filter| {
        filter.tag().is_some()
            || filter.object_size_greater_than().is_some()
            || filter.object_size_less_than().is_some()
    }) || and.is_some_and(|and| {
        !and.tags().is_empty() || and.object_size_greater_than().is_some() || and.object_size_less_than().is_some()
    });
    let expiration = rule.expiration();
    // From a fixed date on everything that the rule reaches goes at once, whatever its age.
    let from_a_date_on = expiration.and_then(|expiration| expiration.date()).map(|_| 0);
    Some(LifecycleRule {
        id: rule.id().unwrap_or_default().to_owned(),
        prefix: prefix.or_else(|| rule.prefix()).unwrap_or_default().to_owned(),
        narrowed,
        expiration_days: expiration.and_then(|expiration| count(expiration.days())).or(from_a_date_on),
        noncurrent_days: rule
            .noncurrent_version_expiration()
            .and_then(|expiration| count(expiration.noncurrent_days())),
        abort_uploads_days: rule
            .abort_incomplete_multipart_upload()
            .and_then(|abort| count(abort.days_after_initiation())),
    })
}

#[expect(deprecated, reason = "rules in the first form have their prefix there, and S3 still gives them out so")]
fn replication_rule(rule: &SdkReplicationRule) -> Option<ReplicationRule> {
    if *rule.status() != ReplicationRuleStatus::Enabled {
        return None;
    }
    let filter = rule.filter();
    let and = filter.and_then(|filter| filter.and());
    let prefix = filter.and_then(|filter| filter.prefix()).or_else(|| and.and_then(|and| and.prefix()));
    let destination = rule.destination()?;
    let kms_objects = rule.source_selection_criteria().and_then(|criteria| criteria.sse_kms_encrypted_objects());
    let encryption = destination.encryption_configuration();
    Some(ReplicationRule {
        id: rule.id().unwrap_or_default().to_owned(),
        prefix: prefix.or_else(|| rule.prefix()).unwrap_or_default().to_owned(),
        narrowed: filter.is_some_and(|filter| filter.tag().is_some()) || and.is_some_and(|and| !and.tags().is_empty()),
        // An ARN such as `arn:aws:s3:::bank-backups-west`.
        bucket: destination.bucket().rsplit(':').next().unwrap_or_default().to_owned(),
        kms_objects: kms_objects.is_some_and(|objects| *objects.status() == SseKmsEncryptedObjectsStatus::Enabled),
        replica_kms_key: encryption.and_then(|encryption| encryption.replica_kms_key_id()).map(str::to_owned),
    })
}

fn count(number: Option<i32>) -> Option<u32> {
    number.and_then(|number| number.try_into().ok())
}
