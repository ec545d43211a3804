//! The destination bucket through the AWS SDK.
//!
//! Every write carries a CRC64NVME that S3 verifies, and every request the expected owner where one is configured. Bodies
//! of parts are not signed: a signature would hash each byte once more on the async threads, and TLS and the checksum do
//! that work.

mod body;

/// Every request begins with this: it names the function that it is made for, the bucket, and the account that must own it
/// where one is configured.
macro_rules! on_bucket {
    ($s3:ident, $function:ident.$operation:ident) => {
        $s3.clients
            .$function
            .$operation()
            .bucket(&$s3.settings.bucket)
            .set_expected_bucket_owner($s3.settings.expected_owner.clone())
    };
}

mod bucket;
mod copy;
mod policy;
mod read;
mod upload;
mod versions;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::RequestChecksumCalculation;
use aws_sdk_s3::config::retry::RetryPartition;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, ServerSideEncryption};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;

use super::aws::{CountRequests, port_error};
use super::aws_clock::{AwsClock, ReadDate};
use super::aws_identities::Identities;
use crate::domain::bucket::BucketFacts;
use crate::domain::inventory::{Complete, OpenUpload};
use crate::domain::key::ObjectKey;
use crate::domain::prune_record::ObjectVersion;
use crate::ports::object_store::{
    self as port, Condition, CopySource, DeletedVersion, ListedVersion, ObjectFacts, ObjectStore, Part, PartReceipt,
    ReadObject, WholeObject, Written,
};
use crate::ports::roles::Function;
use crate::ports::{ErrorKind, PortError, RequestObserver};

/// Where objects go, and how they are encrypted.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// The KMS key; `None` leaves it to the bucket's default encryption.
    pub kms_key: Option<String>,
    /// The account that must own the bucket.
    pub expected_owner: Option<String>,
}

/// How much one request asks for.
#[derive(Debug, Clone, Copy)]
struct Portions {
    /// Versions per page of a listing. S3's most, so that a bucket takes the fewest requests.
    versions_per_page: i32,
    /// Bytes per request of a long read. Large enough that the time to the first byte (tens of milliseconds) weighs little,
    /// small enough to be held in memory, so that a slow reader keeps no connection waiting.
    read_bytes: u64,
    /// The largest object that is copied in one request. S3 takes 5 GiB and answers when it is done: from one region to
    /// another that can last longer than connections through a NAT do. Half a GiB takes seconds.
    copy_whole_bytes_max: u64,
    /// Bytes per part of a larger copy, for the same reason. 10,000 of them hold 4.9 TiB; larger objects get larger parts.
    copy_part_bytes: u64,
}

const PORTIONS: Portions = Portions {
    versions_per_page: 1000,
    read_bytes: 16 << 20,
    copy_whole_bytes_max: 512 << 20,
    copy_part_bytes: 512 << 20,
};

/// A client for each function.
#[derive(Clone)]
struct Clients {
    observe: Client,
    dump_write: Client,
    verify: Client,
    prune: Client,
}

/// One bucket.
#[derive(Clone)]
pub struct S3 {
    clients: Clients,
    settings: S3Settings,
    portions: Portions,
    origin: Option<Arc<S3>>,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3({})", self.settings.bucket)
    }
}

impl S3 {
    /// The bucket of `settings`, in the region of `aws`.
    #[must_use]
    pub fn new(aws: &Identities, settings: S3Settings, observer: &RequestObserver, clock: &Arc<AwsClock>) -> S3 {
        // A storm of failed uploads must not use up the retries of everything else, nor of the other bucket.
        let partition = RetryPartition::new(format!("strongroom-{}", settings.bucket));
        let client = |sdk: &SdkConfig| {
            let config = aws_sdk_s3::config::Builder::from(sdk)
                .interceptor(CountRequests(Arc::clone(observer)))
                .interceptor(ReadDate(Arc::clone(clock)))
                // We always give CRC64NVME ourselves; the SDK would add CRC32 where it thinks that none is given.
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .retry_partition(partition.clone());
            Client::from_conf(config.build())
        };
        let functions = [Function::Observe, Function::DumpWrite, Function::Verify, Function::Prune];
        let [observe, dump_write, verify, prune] = aws.clients(functions, client);
        let clients = Clients { observe, dump_write, verify, prune };
        S3 { clients, settings, portions: PORTIONS, origin: None }
    }

    /// The same bucket, which asks `origin` what it has when objects are copied from there: HEAD, unlike a copy, does not
    /// reach into another region.
    #[must_use]
    pub fn fed_by(mut self, origin: Arc<S3>) -> S3 {
        self.origin = Some(origin);
        self
    }

    /// The same bucket, asked for little at a time.
    #[cfg(test)]
    pub(super) fn in_portions(mut self, versions_per_page: i32, bytes: u64) -> S3 {
        self.portions =
            Portions { versions_per_page, read_bytes: bytes, copy_whole_bytes_max: bytes, copy_part_bytes: bytes };
        self
    }

    fn encryption(&self) -> Option<ServerSideEncryption> {
        self.settings.kms_key.as_ref().map(|_| ServerSideEncryption::AwsKms)
    }

    fn named(&self, verb: &str, key: &impl fmt::Display) -> String {
        format!("{verb} s3://{}/{key}", self.settings.bucket)
    }
}

/// CRC64NVME as S3 writes it: the eight bytes, the most significant first, in base64.
fn crc_text(crc: u64) -> String {
    BASE64_STANDARD.encode(crc.to_be_bytes())
}

/// S3 puts entity tags in quotes; compared and stored without.
fn unquoted(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

/// S3's name for the version of an object that was written while its bucket had no versions.
const NULL_VERSION: &str = "null";

fn version_id(version: Option<&str>) -> Option<String> {
    version.filter(|version| *version != NULL_VERSION).map(str::to_owned)
}

#[async_trait]
impl ObjectStore for S3 {
    async fn list_versions(&self, prefix: &str) -> Result<Complete<ListedVersion>, PortError> {
        self.versions(prefix).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectFacts, PortError> {
        self.facts(key).await
    }

    async fn head_version(&self, object: &ObjectVersion) -> Result<ObjectFacts, PortError> {
        self.facts_of_version(object).await
    }

    async fn read_version(&self, object: &ObjectVersion) -> Result<port::ByteStream, PortError> {
        self.read_in_portions(object, 0..u64::MAX).await
    }

    async fn read_range(&self, object: &ObjectVersion, bytes: Range<u64>) -> Result<port::ByteStream, PortError> {
        self.read_in_portions(object, bytes).await
    }

    async fn delete_versions(&self, versions: &[ObjectVersion]) -> Result<Vec<DeletedVersion>, PortError> {
        self.delete(versions).await
    }

    async fn copy_from(&self, source: &CopySource, key: &ObjectKey) -> Result<(), PortError> {
        self.copy(source, key).await
    }

    async fn bucket(&self) -> Result<BucketFacts, PortError> {
        self.describe().await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Complete<OpenUpload>, PortError> {
        let (mut key_marker, mut upload_marker) = (None, None);
        let mut uploads = Vec::new();
        loop {
            let request = on_bucket!(self, observe.list_multipart_uploads)
                .prefix(prefix)
                .set_key_marker(key_marker.clone())
                .set_upload_id_marker(upload_marker.clone());
            let page = request.send().await;
            let page = page.map_err(|error| port_error(self.named("list uploads below", &prefix), error))?;
            uploads.extend(page.uploads().iter().filter_map(|upload| {
                Some(OpenUpload { key: ObjectKey::listed(upload.key()?), upload: upload.upload_id()?.to_owned() })
            }));
            if page.is_truncated() != Some(true) {
                return Ok(Complete::after_last_page(uploads));
            }
            let next = (page.next_key_marker().map(str::to_owned), page.next_upload_id_marker().map(str::to_owned));
            let stands_still = next.0.is_none() || next == (key_marker, upload_marker);
            (key_marker, upload_marker) = next;
            if stands_still {
                let without_end = PortError::new(self.named("list uploads below", &prefix), ErrorKind::Other);
                return Err(without_end.because("the listing says that it goes on and not where"));
            }
        }
    }

    async fn get(&self, key: &ObjectKey, size_bytes_max: u64) -> Result<ReadObject, PortError> {
        // By the suffix, as policies tell them apart: who looks reads records and manifests, who verifies all else.
        let request = match key.as_str().ends_with(".json") {
            true => on_bucket!(self, observe.get_object),
            false => on_bucket!(self, verify.get_object),
        };
        let request = request.key(key.as_str()).checksum_mode(ChecksumMode::Enabled);
        let object = request.send().await.map_err(|error| port_error(self.named("read", key), error))?;
        let size_bytes = object.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or(0);
        if size_bytes > size_bytes_max {
            let refused = PortError::new(self.named("read", key), ErrorKind::Invalid);
            return Err(refused.because(format!("it has {size_bytes} bytes, {size_bytes_max} are allowed")));
        }
        let etag = unquoted(object.e_tag());
        let bytes = object.body.collect().await;
        let bytes =
            bytes.map_err(|error| PortError::new(self.named("read", key), ErrorKind::Transient).because(error))?;
        Ok(ReadObject { bytes: bytes.into_bytes(), etag })
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes, condition: Condition) -> Result<Written, PortError> {
        let crc = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes);
        let request = on_bucket!(self, dump_write.put_object)
            .key(key.as_str())
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.settings.kms_key.clone())
            .set_bucket_key_enabled(self.settings.kms_key.as_ref().map(|_| true))
            .checksum_crc64_nvme(crc_text(crc))
            .content_type(content_type(key))
            .body(ByteStream::from(bytes));
        let request = match condition {
            Condition::Absent => request.if_none_match("*"),
            Condition::Matches(etag) => request.if_match(format!("\"{etag}\"")),
        };
        let written = request.send().await.map_err(|error| port_error(self.named("write", key), error))?;
        Ok(Written { etag: unquoted(written.e_tag()), version_id: version_id(written.version_id()) })
    }

    async fn create_upload(&self, key: &ObjectKey) -> Result<OpenUpload, PortError> {
        self.begin(key).await
    }

    async fn upload_part(&self, upload: &OpenUpload, part: Part) -> Result<PartReceipt, PortError> {
        self.send_part(upload, part).await
    }

    async fn complete_upload(&self, upload: &OpenUpload, whole: WholeObject) -> Result<(), PortError> {
        self.complete(upload, whole).await
    }

    async fn abort_upload(&self, upload: &OpenUpload) -> Result<(), PortError> {
        self.abort(upload).await
    }
}

/// So that a browser or `aws s3 cp` shows small objects as text.
fn content_type(key: &ObjectKey) -> &'static str {
    match key.file_name().rsplit('.').next() {
        Some("json") => "application/json",
        Some("md") => "text/markdown; charset=utf-8",
        Some("sql") => "application/sql; charset=utf-8",
        Some(_) | None => "application/octet-stream",
    }
}
