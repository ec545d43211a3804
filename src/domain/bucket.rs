//! How a bucket is set up: the facts behind its posture.

use super::id::RegionName;

/// What a bucket says about itself. What it does not tell (no right, no such feature) is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketFacts {
    /// Its name.
    pub bucket: String,
    /// Its region, where it was asked for.
    pub region: Option<RegionName>,
    /// Whether versioning is on.
    pub versioning: Option<bool>,
    /// Default encryption.
    pub encryption: Option<DefaultEncryption>,
    /// Object lock and its default retention; `Some(None)` where it is off.
    pub object_lock: Option<Option<ObjectLock>>,
    /// Whether all four blocks of public access are on.
    pub public_access_blocked: Option<bool>,
    /// Whether its policy denies requests without TLS.
    pub tls_only: Option<bool>,
    /// Lifecycle rules that are on.
    pub lifecycle: Option<Vec<LifecycleRule>>,
    /// Replication rules that are on.
    pub replication: Option<Vec<ReplicationRule>>,
}

/// Default encryption of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultEncryption {
    /// Whether it is SSE-KMS; otherwise S3's own keys.
    pub kms: bool,
    /// The KMS key; absent where it is AWS's managed one.
    pub kms_key: Option<String>,
    /// Whether a bucket key spares requests to KMS.
    pub bucket_key: bool,
}

/// Object lock of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectLock {
    /// Days that each new version is locked for; absent where there is no default retention.
    pub default_days: Option<u32>,
    /// Compliance mode: nobody can shorten it.
    pub compliance: bool,
}

/// One lifecycle rule, as far as it touches backups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    /// Its id, for people.
    pub id: String,
    /// Keys that it is for; empty: all.
    pub prefix: String,
    /// Whether it is narrowed by tags or sizes too, so that it may not reach our objects.
    pub narrowed: bool,
    /// Days after which current versions expire.
    pub expiration_days: Option<u32>,
    /// Days after which noncurrent versions are deleted.
    pub noncurrent_days: Option<u32>,
    /// Days after which unfinished uploads are aborted.
    pub abort_uploads_days: Option<u32>,
}

/// One replication rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationRule {
    /// Its id, for people.
    pub id: String,
    /// Keys that it is for; empty: all.
    pub prefix: String,
    /// Whether it is narrowed by tags too, so that it may not reach our objects.
    pub narrowed: bool,
    /// The bucket that it copies to, by name.
    pub bucket: String,
    /// Whether objects encrypted with KMS are copied.
    pub kms_objects: bool,
    /// The KMS key of the copies.
    pub replica_kms_key: Option<String>,
}

/// What S3 says of the replication of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicationStatus {
    /// Not done yet.
    Pending,
    /// Done in every destination.
    Completed,
    /// Given up: S3 does not try again by itself.
    Failed,
    /// This object is itself a replica.
    Replica,
}
