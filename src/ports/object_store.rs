//! The destination: a bucket that knows conditional writes, versions and checksums.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::PortError;
use crate::domain::inventory::{Complete, OpenUpload};
use crate::domain::key::ObjectKey;

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
}

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
    /// All current objects below a prefix.
    async fn list(&self, prefix: &str) -> Result<Complete<ListedObject>, PortError>;

    /// All open multipart uploads below a prefix.
    async fn list_uploads(&self, prefix: &str) -> Result<Complete<OpenUpload>, PortError>;

    /// Reads an object whole; it is refused where it is larger than `size_bytes_max`.
    async fn get(&self, key: &ObjectKey, size_bytes_max: u64) -> Result<ReadObject, PortError>;

    /// What the store knows of an object.
    async fn head(&self, key: &ObjectKey) -> Result<ObjectFacts, PortError>;

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
}
