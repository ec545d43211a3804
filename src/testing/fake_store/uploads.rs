//! Multipart uploads.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use crc_fast::CrcAlgorithm;
use jiff::Timestamp;

use super::{State, missing};
use crate::domain::inventory::OpenUpload;
use crate::domain::key::ObjectKey;
use crate::ports::PortError;
use crate::ports::object_store::{Condition, Part, PartReceipt, WholeObject};

pub(super) struct Upload {
    key: ObjectKey,
    parts: BTreeMap<u32, Bytes>,
}

impl State {
    pub(super) fn begin(&mut self, key: &ObjectKey) -> Result<OpenUpload, PortError> {
        self.check_key(&format!("begin the upload of {key}"))?;
        self.writes += 1;
        let upload = format!("upload-{}", self.writes);
        self.uploads.insert(upload.clone(), Upload { key: key.clone(), parts: BTreeMap::new() });
        Ok(OpenUpload { key: key.clone(), upload })
    }

    pub(super) fn take_part(&mut self, upload: &OpenUpload, part: &Part) -> Result<PartReceipt, PortError> {
        let bytes: BytesMut = part.segments.iter().flat_map(|segment| segment.iter().copied()).collect();
        assert_eq!(bytes.len() as u64, part.size_bytes);
        assert_eq!(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes), part.crc64nvme, "S3 would answer BadDigest");
        assert!((1..=10_000).contains(&part.number), "S3 takes parts 1 to 10,000");
        let open = self.uploads.get_mut(&upload.upload).ok_or_else(|| missing("upload: NoSuchUpload"))?;
        self.part_sizes.push(bytes.len());
        open.parts.insert(part.number, bytes.freeze());
        Ok(PartReceipt { number: part.number, etag: part.number.to_string(), crc64nvme: part.crc64nvme })
    }

    /// Like the adapter, it clears up a lost answer by looking at the object: only the very bytes that were sent are success.
    pub(super) fn complete(
        &mut self,
        upload: &OpenUpload,
        whole: &WholeObject,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let Some(open) = self.uploads.get(&upload.upload) else {
            let same = self.standing(&upload.key).is_ok_and(|(_, content)| {
                let crc = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &content.bytes);
                crc == whole.crc64nvme && content.bytes.len() as u64 == whole.size_bytes
            });
            return if same { Ok(()) } else { Err(missing("upload: NoSuchUpload")) };
        };
        let numbers: Vec<u32> = whole.parts.iter().map(|part| part.number).collect();
        assert_eq!(numbers, (1..=u32::try_from(open.parts.len()).unwrap()).collect::<Vec<_>>(), "consecutive from 1");
        let bytes: BytesMut = open.parts.values().flatten().copied().collect();
        assert_eq!(bytes.len() as u64, whole.size_bytes);
        assert_eq!(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes), whole.crc64nvme, "S3 would answer BadDigest");
        let key = open.key.clone();
        // One whose condition does not hold stays open.
        self.write(&key, bytes.freeze(), &Condition::Absent, now)?;
        self.uploads.remove(&upload.upload);
        Ok(())
    }

    pub(super) fn open_below(&self, prefix: &str) -> Vec<OpenUpload> {
        let open = self.uploads.iter().filter(|(_, open)| open.key.as_str().starts_with(prefix));
        open.map(|(upload, open)| OpenUpload { key: open.key.clone(), upload: upload.clone() }).collect()
    }
}
