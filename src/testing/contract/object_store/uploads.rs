//! The contract of multipart uploads.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;

use super::StoreCase;
use crate::domain::inventory::OpenUpload;
use crate::domain::key::ObjectKey;
use crate::ports::ErrorKind;
use crate::ports::object_store::{Part, WholeObject};

/// S3 takes no smaller part but the last.
const PART_BYTES_MIN: usize = 5 << 20;

fn crc(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// The checksum as S3 tells it.
pub(super) fn crc_text(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(crc(bytes).to_be_bytes())
}

fn part(number: u32, bytes: &[u8]) -> Part {
    let middle = bytes.len() / 2;
    let segments = vec![Bytes::copy_from_slice(&bytes[..middle]), Bytes::copy_from_slice(&bytes[middle..])];
    Part { number, segments, size_bytes: bytes.len() as u64, crc64nvme: crc(bytes) }
}

impl StoreCase<'_> {
    /// Uploads parts, the last one first, and returns what completes the upload.
    async fn send(&self, upload: &OpenUpload, parts: &[&[u8]]) -> WholeObject {
        let mut receipts = Vec::new();
        for (number, bytes) in (1..).zip(parts).collect::<Vec<_>>().into_iter().rev() {
            receipts.push(self.store.upload_part(upload, part(number, bytes)).await.unwrap());
        }
        receipts.reverse();
        let whole = parts.concat();
        WholeObject { parts: receipts, size_bytes: whole.len() as u64, crc64nvme: crc(&whole) }
    }

    async fn uploads_of(&self, key: &ObjectKey) -> Vec<OpenUpload> {
        self.store.list_uploads(key.as_str()).await.unwrap().iter().cloned().collect()
    }

    pub(super) async fn an_upload_is_seen_when_it_is_complete(&self) {
        let key = self.key("upload");
        let upload = self.store.create_upload(&key).await.unwrap();
        let first = vec![7; PART_BYTES_MIN];
        let whole = self.send(&upload, &[&first, b"the end"]).await;
        assert_eq!(self.store.head(&key).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(self.uploads_of(&key).await, std::slice::from_ref(&upload));
        self.store.complete_upload(&upload, whole.clone()).await.unwrap();
        let facts = self.store.head(&key).await.unwrap();
        assert_eq!(facts.size_bytes, whole.size_bytes);
        assert!(facts.crc64nvme.is_none_or(|found| found == BASE64_STANDARD.encode(whole.crc64nvme.to_be_bytes())));
        assert!(self.uploads_of(&key).await.is_empty());
        assert!(self.store.get(&key, u64::MAX).await.unwrap().bytes == [first.as_slice(), b"the end"].concat());
    }

    pub(super) async fn an_upload_does_not_replace_what_stands(&self) {
        let key = self.key("upload-late");
        let upload = self.store.create_upload(&key).await.unwrap();
        let whole = self.send(&upload, &[b"late"]).await;
        self.put(&key, b"first").await;
        let late = self.store.complete_upload(&upload, whole).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::AlreadyExists);
        assert_eq!(self.store.get(&key, u64::MAX).await.unwrap().bytes, "first");
        self.store.abort_upload(&upload).await.unwrap();
    }

    pub(super) async fn an_upload_that_is_gone_takes_no_parts_and_can_be_aborted(&self) {
        let key = self.key("upload-gone");
        let upload = self.store.create_upload(&key).await.unwrap();
        let whole = self.send(&upload, &[b"gone"]).await;
        self.store.abort_upload(&upload).await.unwrap();
        assert!(self.uploads_of(&key).await.is_empty());
        self.store.abort_upload(&upload).await.unwrap();
        let refused = self.store.upload_part(&upload, part(2, b"more")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
        let refused = self.store.complete_upload(&upload, whole).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
        assert_eq!(self.store.head(&key).await.unwrap_err().kind(), ErrorKind::NotFound);
    }

    pub(super) async fn a_completion_whose_answer_was_lost_is_a_success(&self) {
        let key = self.key("upload-twice");
        let upload = self.store.create_upload(&key).await.unwrap();
        let whole = self.send(&upload, &[b"twice"]).await;
        self.store.complete_upload(&upload, whole.clone()).await.unwrap();
        self.store.complete_upload(&upload, whole).await.unwrap();
        assert_eq!(self.store.get(&key, u64::MAX).await.unwrap().bytes, "twice");
    }
}
