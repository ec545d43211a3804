//! Copies from another bucket: the store moves the bytes, and nothing of them comes here.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::types::{ChecksumAlgorithm, TaggingDirective};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crc_fast::CrcAlgorithm;
use futures_util::StreamExt as _;
use futures_util::stream;

use super::upload::{slow, time_for};
use super::{S3, crc_text, unquoted};
use crate::adapters::aws::port_error;
use crate::domain::inventory::OpenUpload;
use crate::domain::key::ObjectKey;
use crate::domain::prune_record::ObjectVersion;
use crate::ports::object_store::{CopySource, ObjectFacts, PartReceipt, WholeObject};
use crate::ports::{ErrorKind, PortError};

/// Parts of one copy under way at once: between regions one connection of S3 moves some 50 MB/s, and a night is short.
const PARTS_AT_ONCE: usize = 4;
/// Attempts at a copy: fewer than at a part that we send, because each may last for minutes.
const COPY_ATTEMPTS: u32 = 3;
/// S3's most parts of one upload (Amazon S3 user guide, multipart upload limits).
const PARTS_MAX: u64 = 10_000;

impl S3 {
    pub(super) async fn copy(&self, source: &CopySource, key: &ObjectKey) -> Result<(), PortError> {
        if source.size_bytes <= self.portions.copy_whole_bytes_max {
            return self.copy_whole(source, key).await;
        }
        // The condition on the key is only judged when the last part has been copied: that is hours too late.
        match self.facts(key).await {
            Ok(found) if self.is_copy(&found, source).await => return Ok(()),
            Ok(_) => return Err(PortError::new(self.copying(source, key), ErrorKind::AlreadyExists)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let upload = self.begin(key).await?;
        let copied = self.copy_parts(source, &upload).await;
        if copied.is_err() {
            // What cannot be dropped now is found by the listing of open uploads.
            drop(self.abort(&upload).await);
        }
        copied
    }

    async fn copy_whole(&self, source: &CopySource, key: &ObjectKey) -> Result<(), PortError> {
        let request = on_bucket!(self, dump_write.copy_object)
            .key(key.as_str())
            .copy_source(copy_source(&source.bucket, &source.object))
            .set_expected_source_bucket_owner(self.settings.expected_owner.clone())
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.settings.kms_key.clone())
            .set_bucket_key_enabled(self.settings.kms_key.as_ref().map(|_| true))
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            // Our objects have no tags; to copy them would take two more rights.
            .tagging_directive(TaggingDirective::Replace)
            .if_none_match("*");
        let request = request.customize().config_override(slow(time_for(source.size_bytes), COPY_ATTEMPTS));
        let Err(error) = request.send().await else { return Ok(()) };
        let error = port_error(self.copying(source, key), error);
        let may_be_done = matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Transient);
        if may_be_done && let Ok(found) = self.facts(key).await {
            return match self.is_copy(&found, source).await {
                true => Ok(()),
                false => Err(PortError::new(self.copying(source, key), ErrorKind::AlreadyExists).because(error)),
            };
        }
        Err(error)
    }

    /// Whether what stands at the destination is what was to be copied. The source is asked for its checksum where it can be.
    async fn is_copy(&self, found: &ObjectFacts, source: &CopySource) -> bool {
        if found.size_bytes != source.size_bytes {
            return false;
        }
        match (&found.crc64nvme, self.crc_of(source).await) {
            (Some(found), Some(wanted)) => *found == wanted,
            (None, _) | (_, None) => true,
        }
    }

    async fn crc_of(&self, source: &CopySource) -> Option<String> {
        let origin = self.origin.as_ref().filter(|origin| origin.settings.bucket == source.bucket)?;
        let facts = origin.facts_of_version(&source.object).await;
        facts.ok()?.crc64nvme
    }

    async fn copy_parts(&self, source: &CopySource, upload: &OpenUpload) -> Result<(), PortError> {
        let wanted = self.crc_of(source).await;
        let ranges = ranges(source.size_bytes, self.portions.copy_part_bytes);
        let given_up = AtomicBool::new(false);
        let copies = (1..).zip(ranges.clone());
        let copies = copies.map(|(number, range)| self.copy_part(source, upload, number, range, &given_up));
        // Parts under way are waited for even when one has failed: one that arrives after the abort would stay for ever.
        let receipts: Vec<Result<PartReceipt, PortError>> =
            stream::iter(copies).buffered(PARTS_AT_ONCE).collect().await;
        let parts = receipts.into_iter().collect::<Result<Vec<_>, _>>()?;
        let crc64nvme = parts.iter().zip(&ranges).fold(0, |crc, (part, range)| {
            crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, crc, part.crc64nvme, range.bytes())
        });
        if wanted.is_some_and(|wanted| wanted != crc_text(crc64nvme)) {
            let other_bytes = PortError::new(self.copying(source, &upload.key), ErrorKind::Other);
            return Err(other_bytes.because("the copied parts do not have the checksum of the source"));
        }
        self.complete(upload, WholeObject { parts, size_bytes: source.size_bytes, crc64nvme }).await
    }

    async fn copy_part(
        &self,
        source: &CopySource,
        upload: &OpenUpload,
        number: u32,
        range: Range,
        given_up: &AtomicBool,
    ) -> Result<PartReceipt, PortError> {
        let named = || format!("{} (part {number})", self.copying(source, &upload.key));
        if given_up.load(Ordering::Relaxed) {
            return Err(PortError::new(named(), ErrorKind::Cancelled));
        }
        let request = on_bucket!(self, dump_write.upload_part_copy)
            .key(upload.key.as_str())
            .upload_id(&upload.upload)
            .set_part_number(i32::try_from(number).ok())
            .copy_source(copy_source(&source.bucket, &source.object))
            .copy_source_range(format!("bytes={}-{}", range.first, range.last))
            .set_expected_source_bucket_owner(self.settings.expected_owner.clone());
        let request = request.customize().config_override(slow(time_for(range.bytes()), COPY_ATTEMPTS));
        let copied = match request.send().await {
            Ok(answer) => answer.copy_part_result.and_then(|part| {
                let crc64nvme = crc_of_text(part.checksum_crc64_nvme()?)?;
                Some(PartReceipt { number, etag: unquoted(part.e_tag()), crc64nvme })
            }),
            Err(error) => {
                given_up.store(true, Ordering::Relaxed);
                return Err(port_error(named(), error));
            }
        };
        copied.ok_or_else(|| {
            given_up.store(true, Ordering::Relaxed);
            PortError::new(named(), ErrorKind::Other).because("the store gave no CRC64NVME of the part")
        })
    }

    fn copying(&self, source: &CopySource, key: &ObjectKey) -> String {
        self.named(&format!("copy s3://{}/{} to", source.bucket, source.object.key), key)
    }
}

/// Bytes of a part, both ends included, as HTTP counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
}

impl Range {
    fn bytes(self) -> u64 {
        self.last - self.first + 1
    }
}

/// Equal parts of an object but for the last one; larger than `part_bytes` where there would be too many of them.
fn ranges(size_bytes: u64, part_bytes: u64) -> Vec<Range> {
    let part_bytes = part_bytes.max(size_bytes.div_ceil(PARTS_MAX));
    let parts = 0..size_bytes.div_ceil(part_bytes);
    parts.map(|part| Range { first: part * part_bytes, last: ((part + 1) * part_bytes).min(size_bytes) - 1 }).collect()
}

/// Bucket, key and version as the header wants them: percent-encoded but for slashes.
fn copy_source(bucket: &str, object: &ObjectVersion) -> String {
    let path = format!("{bucket}/{}", encoded(object.key.as_str()));
    match &object.version_id {
        Some(version) => format!("{path}?versionId={}", encoded(version)),
        None => path,
    }
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

fn crc_of_text(text: &str) -> Option<u64> {
    Some(u64::from_be_bytes(BASE64_STANDARD.decode(text).ok()?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_an_object_without_gaps_and_are_never_too_many() {
        assert_eq!(ranges(10, 4), [(0, 3), (4, 7), (8, 9)].map(|(first, last)| Range { first, last }));
        assert_eq!(ranges(8, 4).len(), 2);
        let whole = 40 << 40;
        let parts = ranges(whole, 512 << 20);
        assert!(parts.len() <= 10_000);
        assert_eq!(parts.iter().map(|part| part.bytes()).sum::<u64>(), whole);
        assert!(parts.iter().all(|part| part.bytes() <= 5 << 30), "S3's largest part");
    }

    #[test]
    fn the_source_is_encoded_as_a_url_is() {
        let object = ObjectVersion { key: ObjectKey::listed("a b/ä+%41?.zst"), version_id: Some("x+/=".to_owned()) };
        assert_eq!(copy_source("bank", &object), "bank/a%20b/%C3%A4%2B%2541%3F.zst?versionId=x%2B/%3D");
        assert_eq!(
            copy_source("bank", &ObjectVersion { version_id: None, ..object }),
            "bank/a%20b/%C3%A4%2B%2541%3F.zst"
        );
    }

    #[test]
    fn a_checksum_is_read_as_it_is_written() {
        assert_eq!(crc_of_text(&crc_text(0xae8b_1486_0a79_9888)), Some(0xae8b_1486_0a79_9888));
        assert_eq!(crc_of_text("AAAA"), None);
    }
}
