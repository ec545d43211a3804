//! Multipart uploads.

use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};

use super::{S3, body, crc_text, unquoted};
use crate::adapters::aws::{has_code, port_error};
use crate::domain::inventory::OpenUpload;
use crate::domain::key::ObjectKey;
use crate::ports::object_store::{Part, PartReceipt, WholeObject};
use crate::ports::{ErrorKind, PortError};

/// The slowest link on which a part may still arrive: below it, an attempt is given up and repeated.
const SLOWEST_BYTES_PER_S: u64 = 200_000;
/// Even a small part gets this long.
const PART_ATTEMPT_MIN: Duration = Duration::from_secs(60);
/// Attempts at a part, as the client is set up.
const PART_ATTEMPTS: u32 = 5;
/// S3 may take minutes to put many parts together (Amazon S3 API reference, CompleteMultipartUpload).
const COMPLETE_ATTEMPT: Duration = Duration::from_mins(10);

impl S3 {
    pub(super) async fn begin(&self, key: &ObjectKey) -> Result<OpenUpload, PortError> {
        let request = on_bucket!(self, dump_write.create_multipart_upload)
            .key(key.as_str())
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.settings.kms_key.clone())
            .set_bucket_key_enabled(self.settings.kms_key.as_ref().map(|_| true))
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .checksum_type(ChecksumType::FullObject);
        let begun = request.send().await;
        let begun = begun.map_err(|error| port_error(self.named("begin the upload of", key), error))?;
        let upload = begun.upload_id().ok_or_else(|| {
            PortError::new(self.named("begin the upload of", key), ErrorKind::Other)
                .because("the store gave no upload id")
        })?;
        Ok(OpenUpload { key: key.clone(), upload: upload.to_owned() })
    }

    pub(super) async fn send_part(&self, upload: &OpenUpload, part: Part) -> Result<PartReceipt, PortError> {
        let Part { number, segments, size_bytes, crc64nvme } = part;
        let named = || self.named(&format!("upload part {number} of"), &upload.key);
        let invalid = || PortError::new(named(), ErrorKind::Invalid).because("its number or size is out of bounds");
        let request = on_bucket!(self, dump_write.upload_part)
            .key(upload.key.as_str())
            .upload_id(&upload.upload)
            .part_number(i32::try_from(number).map_err(|_| invalid())?)
            .content_length(i64::try_from(size_bytes).map_err(|_| invalid())?)
            .checksum_crc64_nvme(crc_text(crc64nvme))
            .body(body::of_segments(segments));
        let request =
            request.customize().disable_payload_signing().config_override(slow(time_for(size_bytes), PART_ATTEMPTS));
        let sent = request.send().await.map_err(|error| port_error(named(), error))?;
        Ok(PartReceipt { number, etag: unquoted(sent.e_tag()), crc64nvme })
    }

    /// A lost answer makes the repetition fail with `NoSuchUpload`, or with a failed condition: then the object itself is
    /// asked. Only the very bytes that were sent count as success.
    pub(super) async fn complete(&self, upload: &OpenUpload, whole: WholeObject) -> Result<(), PortError> {
        let named = || self.named("complete the upload of", &upload.key);
        let parts = whole.parts.iter().map(|part| {
            CompletedPart::builder()
                .set_part_number(i32::try_from(part.number).ok())
                .e_tag(format!("\"{}\"", part.etag))
                .checksum_crc64_nvme(crc_text(part.crc64nvme))
                .build()
        });
        let request = on_bucket!(self, dump_write.complete_multipart_upload)
            .key(upload.key.as_str())
            .upload_id(&upload.upload)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build())
            .checksum_type(ChecksumType::FullObject)
            .checksum_crc64_nvme(crc_text(whole.crc64nvme))
            .set_mpu_object_size(i64::try_from(whole.size_bytes).ok())
            .if_none_match("*");
        let request = request.customize().config_override(slow(COMPLETE_ATTEMPT, 3));
        let Err(error) = request.send().await else { return Ok(()) };
        let error = port_error(named(), error);
        let may_be_done = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::Transient);
        if may_be_done
            && let Ok(found) = self.facts(&upload.key).await
            && found.size_bytes == whole.size_bytes
            && found.crc64nvme == Some(crc_text(whole.crc64nvme))
        {
            return Ok(());
        }
        Err(error)
    }

    pub(super) async fn abort(&self, upload: &OpenUpload) -> Result<(), PortError> {
        let request =
            on_bucket!(self, dump_write.abort_multipart_upload).key(upload.key.as_str()).upload_id(&upload.upload);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if has_code(&error, &["NoSuchUpload"]) => Ok(()),
            Err(error) => Err(port_error(self.named("abort the upload of", &upload.key), error)),
        }
    }
}

/// How long one attempt at moving so many bytes may take.
pub(super) fn time_for(size_bytes: u64) -> Duration {
    PART_ATTEMPT_MIN.max(Duration::from_secs(size_bytes / SLOWEST_BYTES_PER_S))
}

/// Time limits for requests that move much or make the store work long.
pub(super) fn slow(attempt: Duration, attempts: u32) -> aws_sdk_s3::config::Builder {
    let timeouts = TimeoutConfig::builder()
        .read_timeout(attempt)
        .operation_attempt_timeout(attempt)
        .operation_timeout(attempt * attempts)
        .build();
    aws_sdk_s3::config::Config::builder().timeout_config(timeouts)
}
