//! The destination: a bucket that knows conditional writes, versions and checksums.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::PortError;
use crate::domain::bucket::{BucketFacts, ReplicationStatus};
use crate::domain::inventory::{Complete, OpenUpload};
use crate::domain::key::ObjectKey;
use crate::domain::prune_record::ObjectVersion;

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Key.
    pub key: ObjectKey,
    /// Bytes.
    pub size_bytes: u64,
    /// Entity tag, without quotes.
    pub etag: String,
    /// When it was written, by the store's clock.
    pub modified_at: Option<Timestamp>,
}

/// A small object that was read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadObject {
    /// Its bytes.
    pub bytes: Bytes,
    /// Entity tag, without quotes.
    pub etag: String,
}

/// What the store says about an object without giving its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Bytes.
    pub size_bytes: u64,
    /// CRC64NVME of the whole object in base64; absent where the store keeps none.
    pub crc64nvme: Option<String>,
    /// Version id, in a versioned bucket.
    pub version_id: Option<String>,
    /// The KMS key that it is encrypted with.
    pub kms_key: Option<String>,
    /// What S3 says of its replication; absent where no rule covers it.
    pub replication: Option<ReplicationStatus>,
    /// Until when object lock forbids to delete this version; `Timestamp::MAX` under a legal hold. Absent where it is not
    /// locked, or the right to see it is missing.
    pub locked_until: Option<Timestamp>,
}

/// One version as a listing of versions shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// Key.
    pub key: ObjectKey,
    /// Its id; absent in a bucket that has no versions.
    pub version_id: Option<String>,
    /// Whether it is the newest of its key.
    pub is_latest: bool,
    /// When it was written, by the store's clock.
    pub modified_at: Option<Timestamp>,
    /// Bytes and entity tag; `None` for a delete marker.
    pub content: Option<VersionContent>,
}

/// What a version that is no delete marker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionContent {
    /// Bytes.
    pub size_bytes: u64,
    /// Entity tag, without quotes.
    pub etag: String,
}

/// What came of deleting one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeletedVersion {
    /// It is gone, or was before.
    Gone,
    /// It is still there.
    Refused {
        /// The store's code and words, such as `AccessDenied: object is WORM protected`.
        reason: String,
    },
}

/// An object of another bucket that is to be copied by the store itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// The bucket that it is in.
    pub bucket: String,
    /// Its key and version.
    pub object: ObjectVersion,
    /// Its bytes.
    pub size_bytes: u64,
}

/// The bytes of a stored object, piece by piece.
pub type ByteStream = futures_util::stream::BoxStream<'static, Result<Bytes, PortError>>;

/// The receipt of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Entity tag, without quotes.
    pub etag: String,
    /// Version id, in a versioned bucket.
    pub version_id: Option<String>,
}

/// Under which condition a write happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Only if there is no such object (`If-None-Match: *`).
    Absent,
    /// Only on top of the version with this entity tag (`If-Match`).
    Matches(String),
}

/// One part of a multipart upload, as segments that are sent in order without being copied together.
#[derive(Debug, Clone)]
pub struct Part {
    /// From 1, without gaps.
    pub number: u32,
    /// The bytes.
    pub segments: Vec<Bytes>,
    /// Sum of the segments' lengths.
    pub size_bytes: u64,
    /// CRC64NVME of the bytes.
    pub crc64nvme: u64,
}

/// What the store answered to a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartReceipt {
    /// The part's number.
    pub number: u32,
    /// Its entity tag.
    pub etag: String,
    /// Its CRC64NVME.
    pub crc64nvme: u64,
}

/// The whole of a multipart upload, as the store must find it.
#[derive(Debug, Clone)]
pub struct WholeObject {
    /// Receipts in the order of their numbers.
    pub parts: Vec<PartReceipt>,
    /// Bytes.
    pub size_bytes: u64,
    /// CRC64NVME of all bytes.
    pub crc64nvme: u64,
}

/// The operations of the store that strongroom uses. Every write is checked by the store against a checksum.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// All versions and delete markers below a prefix. Of each key the newest comes first.
    async fn list_versions(&self, prefix: &str) -> Result<Complete<ListedVersion>, PortError>;

    /// All open multipart uploads below a prefix.
    async fn list_uploads(&self, prefix: &str) -> Result<Complete<OpenUpload>, PortError>;

    /// Reads an object whole; it is refused where it is larger than `size_bytes_max`.
    async fn get(&self, key: &ObjectKey, size_bytes_max: u64) -> Result<ReadObject, PortError>;

    /// What the store knows of an object that we have written, as it stands.
    async fn head(&self, key: &ObjectKey) -> Result<ObjectFacts, PortError>;

    /// What the store knows of one version of an object, or of the object as it stands where none is named.
    async fn head_version(&self, object: &ObjectVersion) -> Result<ObjectFacts, PortError>;

    /// Reads one version of an object, of any size.
    async fn read_version(&self, object: &ObjectVersion) -> Result<ByteStream, PortError>;

    /// Reads these bytes of one version of an object. One that has fewer is an error, at the latest in the stream.
    async fn read_range(&self, object: &ObjectVersion, bytes: Range<u64>) -> Result<ByteStream, PortError>;

    /// Writes a small object under a condition; `AlreadyExists` says that the condition did not hold.
    async fn put(&self, key: &ObjectKey, bytes: Bytes, condition: Condition) -> Result<Written, PortError>;

    /// Begins a multipart upload.
    async fn create_upload(&self, key: &ObjectKey) -> Result<OpenUpload, PortError>;

    /// Sends one part.
    async fn upload_part(&self, upload: &OpenUpload, part: Part) -> Result<PartReceipt, PortError>;

    /// Makes the object visible, if there is none of its key. A lost answer is cleared up by reading the object back.
    async fn complete_upload(&self, upload: &OpenUpload, whole: WholeObject) -> Result<(), PortError>;

    /// Drops an upload and its parts; one that is gone already is no error.
    async fn abort_upload(&self, upload: &OpenUpload) -> Result<(), PortError>;

    /// Deletes exact versions for good, and says of each, in the order given, what came of it.
    ///
    /// One without an id names what stands in a bucket without versions; in a versioned bucket it names nothing, and hides
    /// nothing. An error means that nothing is known of any of them.
    async fn delete_versions(&self, versions: &[ObjectVersion]) -> Result<Vec<DeletedVersion>, PortError>;

    /// Copies an object of another bucket to `key`, if there is none of that key (`AlreadyExists` otherwise). The store
    /// moves the bytes itself, and computes their CRC64NVME.
    async fn copy_from(&self, source: &CopySource, key: &ObjectKey) -> Result<(), PortError>;

    /// How the bucket is set up. A part that may not be read is absent in the answer.
    async fn bucket(&self) -> Result<BucketFacts, PortError>;
}
