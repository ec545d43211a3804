//! A bucket in memory: conditional writes, multipart uploads and checksums as S3 has them, and failures on demand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use crc_fast::CrcAlgorithm;

use crate::domain::inventory::{Complete, OpenUpload};
use crate::domain::key::ObjectKey;
use crate::ports::object_store::{
    Condition, ListedObject, ObjectFacts, ObjectStore, Part, PartReceipt, ReadObject, WholeObject, Written,
};
use crate::ports::{ErrorKind, PortError};

/// An operation that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Put,
    Part,
    Complete,
}

/// When a failure strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strikes {
    /// Before anything has happened.
    Before,
    /// After the effect: the answer is lost.
    After,
}

/// A bucket in memory.
#[derive(Debug, Default)]
pub(crate) struct FakeObjectStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<ObjectKey, (Bytes, u64)>,
    uploads: BTreeMap<String, (ObjectKey, BTreeMap<u32, Bytes>)>,
    part_sizes: Vec<usize>,
    failures: VecDeque<(Call, Strikes)>,
    writes: u64,
}

impl FakeObjectStore {
    /// The next call of this kind fails as if the connection had broken.
    pub(crate) fn fail_next(&self, call: Call, strikes: Strikes) {
        self.state.lock().unwrap().failures.push_back((call, strikes));
    }

    /// Bytes of an object.
    pub(crate) fn bytes(&self, key: &ObjectKey) -> Option<Bytes> {
        self.state.lock().unwrap().objects.get(key).map(|(bytes, _)| bytes.clone())
    }

    /// Puts an object there, whatever stands there.
    pub(crate) fn overwrite(&self, key: &ObjectKey, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap();
        state.writes += 1;
        let version = state.writes;
        state.objects.insert(key.clone(), (Bytes::copy_from_slice(bytes), version));
    }

    /// How many uploads are open.
    pub(crate) fn open_uploads(&self) -> usize {
        self.state.lock().unwrap().uploads.len()
    }

    /// Sizes of all parts that were taken, in the order of their arrival.
    pub(crate) fn part_sizes(&self) -> Vec<usize> {
        self.state.lock().unwrap().part_sizes.clone()
    }

    fn strike(&self, call: Call, when: Strikes) -> Result<(), PortError> {
        let mut state = self.state.lock().unwrap();
        if state.failures.front() == Some(&(call, when)) {
            state.failures.pop_front();
            return Err(PortError::new(format!("{call:?}"), ErrorKind::Transient).because("connection reset"));
        }
        Ok(())
    }
}

impl State {
    fn write(&mut self, key: &ObjectKey, bytes: Bytes, condition: &Condition) -> Result<Written, PortError> {
        let found = self.objects.get(key).map(|(_, version)| version.to_string());
        let holds = match condition {
            Condition::Absent => found.is_none(),
            Condition::Matches(etag) => found.as_ref() == Some(etag),
        };
        if !holds {
            return Err(PortError::new(format!("write {key}"), ErrorKind::AlreadyExists));
        }
        self.writes += 1;
        self.objects.insert(key.clone(), (bytes, self.writes));
        Ok(Written { etag: self.writes.to_string(), version_id: None })
    }
}

fn missing(what: &str) -> PortError {
    PortError::new(format!("find {what}"), ErrorKind::NotFound)
}

#[async_trait]
impl ObjectStore for FakeObjectStore {
    async fn list(&self, prefix: &str) -> Result<Complete<ListedObject>, PortError> {
        let state = self.state.lock().unwrap();
        let found = state.objects.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
        let listed = found.map(|(key, (bytes, version))| ListedObject {
            key: key.clone(),
            size_bytes: bytes.len() as u64,
            etag: version.to_string(),
            modified_at: None,
        });
        Ok(Complete::after_last_page(listed.collect()))
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Complete<OpenUpload>, PortError> {
        let state = self.state.lock().unwrap();
        let open = state.uploads.iter().filter(|(_, (key, _))| key.as_str().starts_with(prefix));
        let open = open.map(|(upload, (key, _))| OpenUpload { key: key.clone(), upload: upload.clone() });
        Ok(Complete::after_last_page(open.collect()))
    }

    async fn get(&self, key: &ObjectKey, _size_bytes_max: u64) -> Result<ReadObject, PortError> {
        let state = self.state.lock().unwrap();
        let (bytes, version) = state.objects.get(key).ok_or_else(|| missing(key.as_str()))?;
        Ok(ReadObject { bytes: bytes.clone(), etag: version.to_string() })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectFacts, PortError> {
        let bytes = self.bytes(key).ok_or_else(|| missing(key.as_str()))?;
        let crc = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes);
        Ok(ObjectFacts {
            size_bytes: bytes.len() as u64,
            crc64nvme: Some(BASE64_STANDARD.encode(crc.to_be_bytes())),
            version_id: None,
            kms_key: None,
        })
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes, condition: Condition) -> Result<Written, PortError> {
        self.strike(Call::Put, Strikes::Before)?;
        let written = self.state.lock().unwrap().write(key, bytes, &condition)?;
        self.strike(Call::Put, Strikes::After)?;
        Ok(written)
    }

    async fn create_upload(&self, key: &ObjectKey) -> Result<OpenUpload, PortError> {
        let mut state = self.state.lock().unwrap();
        state.writes += 1;
        let upload = format!("upload-{}", state.writes);
        state.uploads.insert(upload.clone(), (key.clone(), BTreeMap::new()));
        Ok(OpenUpload { key: key.clone(), upload })
    }

    async fn upload_part(&self, upload: &OpenUpload, part: Part) -> Result<PartReceipt, PortError> {
        self.strike(Call::Part, Strikes::Before)?;
        let bytes: BytesMut = part.segments.iter().flat_map(|segment| segment.iter().copied()).collect();
        assert_eq!(bytes.len() as u64, part.size_bytes);
        assert_eq!(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes), part.crc64nvme, "S3 would answer BadDigest");
        let mut state = self.state.lock().unwrap();
        state.part_sizes.push(bytes.len());
        let (_, parts) = state.uploads.get_mut(&upload.upload).ok_or_else(|| missing("upload"))?;
        parts.insert(part.number, bytes.freeze());
        Ok(PartReceipt { number: part.number, etag: part.number.to_string(), crc64nvme: part.crc64nvme })
    }

    async fn complete_upload(&self, upload: &OpenUpload, whole: WholeObject) -> Result<(), PortError> {
        self.strike(Call::Complete, Strikes::Before)?;
        let mut state = self.state.lock().unwrap();
        let (key, parts) = state.uploads.remove(&upload.upload).ok_or_else(|| missing("upload"))?;
        let numbers: Vec<u32> = whole.parts.iter().map(|part| part.number).collect();
        assert_eq!(numbers, (1..=u32::try_from(parts.len()).unwrap()).collect::<Vec<_>>(), "consecutive from 1");
        let bytes: BytesMut = parts.into_values().flatten().collect();
        assert_eq!(bytes.len() as u64, whole.size_bytes);
        assert_eq!(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes), whole.crc64nvme, "S3 would answer BadDigest");
        state.write(&key, bytes.freeze(), &Condition::Absent)?;
        Ok(())
    }

    async fn abort_upload(&self, upload: &OpenUpload) -> Result<(), PortError> {
        self.state.lock().unwrap().uploads.remove(&upload.upload);
        Ok(())
    }
}
