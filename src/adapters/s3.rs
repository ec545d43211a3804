//! The destination bucket through the AWS SDK.
//!
//! Every write carries a CRC64NVME that S3 verifies, and every request the expected owner where one is configured. Bodies
//! of parts are not signed: a signature would hash each byte once more on the async threads, and TLS and the checksum do
//! that work.

mod body;

/// Every request begins with this: it names the bucket, and the account that must own it where one is configured.
macro_rules! on_bucket {
    ($s3:ident, $operation:ident) => {
        $s3.client
            .$operation()
            .bucket(&$s3.settings.bucket)
            .set_expected_bucket_owner($s3.settings.expected_owner.clone())
    };
}

mod upload;

use std::fmt;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::config::RequestChecksumCalculation;
use aws_sdk_s3::config::retry::RetryPartition;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, Object, ServerSideEncryption};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;

use super::aws::{CountRequests, port_error, timestamp};
use crate::domain::inventory::{Complete, OpenUpload};
use crate::domain::key::ObjectKey;
use crate::ports::object_store::{
    Condition, ListedObject, ObjectFacts, ObjectStore, Part, PartReceipt, ReadObject, WholeObject, Written,
};
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

/// One bucket.
#[derive(Clone)]
pub struct S3 {
    client: aws_sdk_s3::Client,
    settings: S3Settings,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3({})", self.settings.bucket)
    }
}

impl S3 {
    /// The bucket of `settings`, in the region of `config`.
    #[must_use]
    pub fn new(config: &SdkConfig, settings: S3Settings, observer: RequestObserver) -> S3 {
        let config = aws_sdk_s3::config::Builder::from(config)
            .interceptor(CountRequests(observer))
            // We always give CRC64NVME ourselves; the SDK would add CRC32 where it thinks that none is given.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            // A storm of failed uploads must not use up the retries of everything else.
            .retry_partition(RetryPartition::new("strongroom-destination"))
            .build();
        S3 { client: aws_sdk_s3::Client::from_conf(config), settings }
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

#[async_trait]
impl ObjectStore for S3 {
    async fn list(&self, prefix: &str) -> Result<Complete<ListedObject>, PortError> {
        let request = on_bucket!(self, list_objects_v2).prefix(prefix);
        let mut pages = request.into_paginator().send();
        let mut objects = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| port_error(self.named("list", &prefix), error))?;
            objects.extend(page.contents().iter().filter_map(listed));
        }
        Ok(Complete::after_last_page(objects))
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Complete<OpenUpload>, PortError> {
        let (mut key_marker, mut upload_marker) = (None, None);
        let mut uploads = Vec::new();
        loop {
            let request = on_bucket!(self, list_multipart_uploads)
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
        let request = on_bucket!(self, get_object).key(key.as_str()).checksum_mode(ChecksumMode::Enabled);
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

    async fn head(&self, key: &ObjectKey) -> Result<ObjectFacts, PortError> {
        let request = on_bucket!(self, head_object).key(key.as_str()).checksum_mode(ChecksumMode::Enabled);
        let facts = request.send().await.map_err(|error| port_error(self.named("look up", key), error))?;
        Ok(ObjectFacts {
            size_bytes: facts.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or(0),
            crc64nvme: facts.checksum_crc64_nvme().map(str::to_owned),
            version_id: facts.version_id().filter(|version| *version != "null").map(str::to_owned),
            kms_key: facts.ssekms_key_id().map(str::to_owned),
        })
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes, condition: Condition) -> Result<Written, PortError> {
        let crc = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes);
        let request = on_bucket!(self, put_object)
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
        Ok(Written {
            etag: unquoted(written.e_tag()),
            version_id: written.version_id().filter(|version| *version != "null").map(str::to_owned),
        })
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

fn listed(object: &Object) -> Option<ListedObject> {
    Some(ListedObject {
        key: ObjectKey::listed(object.key()?),
        size_bytes: object.size().and_then(|size| u64::try_from(size).ok())?,
        etag: unquoted(object.e_tag()),
        modified_at: object.last_modified().and_then(timestamp),
    })
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
