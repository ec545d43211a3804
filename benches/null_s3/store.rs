//! What the null store remembers: names, sizes, checksums. The bytes of anything large only when it was told to.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderName, HeaderValue};
use bytes::Bytes;
use jiff::Timestamp;

use crate::body::{Keep, Received};
use crate::checksum::{CRC64NVME_HEADER, Crc64Nvme};
use crate::xml::S3Error;

/// Kept objects together take no more than this; what comes later is only counted.
const KEPT_TOTAL_BYTES_MAX: usize = 256 << 20;
/// S3 refuses a smaller part anywhere but at the end.
const PART_BYTES_MIN: u64 = 5 << 20;

/// Bucket and key.
pub(crate) type Name = (String, String);
/// The bytes of an object, one piece for each part of its upload.
pub(crate) type Kept = Vec<Bytes>;
/// Headers that come back as they were sent: content type, user metadata, encryption.
pub(crate) type Echoed = Vec<(HeaderName, HeaderValue)>;

#[derive(Debug, Default)]
pub(crate) struct Store {
    /// Bodies are kept whatever their size.
    keeps_all: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<Name, Object>,
    pub(crate) uploads: BTreeMap<String, Upload>,
    pub(crate) requests: BTreeMap<String, u64>,
    pub(crate) received_bytes: u64,
    kept_bytes: usize,
    issued: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) etag: String,
    pub(crate) size_bytes: u64,
    pub(crate) crc64: Crc64Nvme,
    pub(crate) version_id: String,
    pub(crate) modified: Timestamp,
    pub(crate) echoed: Echoed,
    pub(crate) kept: Option<Kept>,
}

#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) name: Name,
    pub(crate) initiated: Timestamp,
    pub(crate) echoed: Echoed,
    /// No CRC64NVME for the whole object, because the client asked for another algorithm.
    pub(crate) other_algorithm: bool,
    parts: BTreeMap<u16, Part>,
}

#[derive(Debug)]
struct Part {
    etag: String,
    size_bytes: u64,
    crc64: Crc64Nvme,
    kept: Option<Bytes>,
}

/// One part as CompleteMultipartUpload lists it.
#[derive(Debug)]
pub(crate) struct ListedPart {
    pub(crate) number: u16,
    /// Without quotes.
    pub(crate) etag: String,
    pub(crate) crc64: Option<String>,
}

/// What CompleteMultipartUpload asks for beside its parts.
#[derive(Debug, Default)]
pub(crate) struct Completion {
    pub(crate) only_if_absent: bool,
    pub(crate) crc64: Option<String>,
    pub(crate) size_bytes: Option<u64>,
}

impl Store {
    pub(crate) fn new(keeps_all: bool) -> Self {
        Self { keeps_all, state: Mutex::default() }
    }

    /// What to do with the body of an object.
    pub(crate) fn keep_object(&self) -> Keep {
        if self.keeps_all { Keep::Everything } else { Keep::Small }
    }

    /// What to do with the body of a part.
    pub(crate) fn keep_part(&self) -> Keep {
        if self.keeps_all { Keep::Everything } else { Keep::Nothing }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(crate) fn put(
        &mut self,
        name: Name,
        received: Received,
        echoed: Echoed,
        only_if_absent: bool,
        keep: Keep,
    ) -> Result<Object, S3Error> {
        if only_if_absent && self.objects.contains_key(&name) {
            return Err(S3Error::precondition_failed());
        }
        let Received { sums, kept } = received;
        let has_room = |bytes: &Bytes| self.kept_bytes + bytes.len() <= KEPT_TOTAL_BYTES_MAX;
        let kept = kept.filter(|bytes| keep == Keep::Everything || has_room(bytes)).map(|bytes| vec![bytes]);
        let etag = sums.crc64.etag(sums.size_bytes);
        Ok(self.insert(name, etag, sums.size_bytes, sums.crc64, echoed, kept))
    }

    pub(crate) fn remove(&mut self, name: &Name) {
        if let Some(Object { kept: Some(bytes), .. }) = self.objects.remove(name) {
            self.kept_bytes -= len(&bytes);
        }
    }

    pub(crate) fn create_upload(&mut self, name: Name, echoed: Echoed, other_algorithm: bool) -> String {
        let id = format!("upload-{:08}", self.issue());
        let upload = Upload { name, initiated: now(), echoed, other_algorithm, parts: BTreeMap::new() };
        self.uploads.insert(id.clone(), upload);
        id
    }

    pub(crate) fn put_part(&mut self, upload: &str, number: u16, received: Received) -> Result<String, S3Error> {
        let upload = self.uploads.get_mut(upload).ok_or_else(S3Error::no_such_upload)?;
        let Received { sums, kept } = received;
        let etag = sums.crc64.etag(sums.size_bytes);
        let part = Part { etag: etag.clone(), size_bytes: sums.size_bytes, crc64: sums.crc64, kept };
        upload.parts.insert(number, part);
        Ok(etag)
    }

    pub(crate) fn abort_upload(&mut self, upload: &str) -> Result<(), S3Error> {
        self.uploads.remove(upload).map(drop).ok_or_else(S3Error::no_such_upload)
    }

    pub(crate) fn complete_upload(
        &mut self,
        id: &str,
        listed: &[ListedPart],
        asked: &Completion,
    ) -> Result<Object, S3Error> {
        let upload = self.uploads.get(id).ok_or_else(S3Error::no_such_upload)?;
        let (crc64, size_bytes) = upload.assemble(listed)?;
        if asked.crc64.as_ref().is_some_and(|crc64_sent| *crc64_sent != crc64.base64()) {
            return Err(S3Error::bad_digest(CRC64NVME_HEADER));
        }
        if asked.size_bytes.is_some_and(|size_sent| size_sent != size_bytes) {
            return Err(S3Error::invalid_request("The object size is not the one in x-amz-mp-object-size."));
        }
        if asked.only_if_absent && self.objects.contains_key(&upload.name) {
            return Err(S3Error::precondition_failed());
        }
        let mut upload = self.uploads.remove(id).ok_or_else(S3Error::no_such_upload)?;
        let kept = listed.iter().map(|part| upload.parts.remove(&part.number)?.kept).collect();
        let etag = format!("\"{}-{}\"", crc64.etag(size_bytes).trim_matches('"'), listed.len());
        Ok(self.insert(upload.name, etag, size_bytes, crc64, upload.echoed, kept))
    }

    fn insert(
        &mut self,
        name: Name,
        etag: String,
        size_bytes: u64,
        crc64: Crc64Nvme,
        echoed: Echoed,
        kept: Option<Kept>,
    ) -> Object {
        self.remove(&name);
        self.kept_bytes += kept.as_ref().map_or(0, len);
        let version_id = format!("version-{:08}", self.issue());
        let object = Object { etag, size_bytes, crc64, version_id, modified: now(), echoed, kept };
        self.objects.insert(name, object.clone());
        object
    }

    fn issue(&mut self) -> u64 {
        self.issued += 1;
        self.issued
    }
}

impl Upload {
    /// Checks the parts as S3 does, and gives checksum and size of the whole.
    fn assemble(&self, listed: &[ListedPart]) -> Result<(Crc64Nvme, u64), S3Error> {
        if listed.is_empty() {
            return Err(S3Error::new(axum::http::StatusCode::BAD_REQUEST, "MalformedXML", "No parts are listed."));
        }
        let mut whole = (Crc64Nvme::default(), 0);
        let mut before = 0;
        for (position, listed_part) in listed.iter().enumerate() {
            let number = listed_part.number;
            if number <= before {
                return Err(S3Error::new(
                    axum::http::StatusCode::BAD_REQUEST,
                    "InvalidPartOrder",
                    "Parts must be listed in ascending order.",
                ));
            }
            before = number;
            let part = self.parts.get(&number).ok_or_else(|| S3Error::invalid_part(number))?;
            let other_crc64 = listed_part.crc64.as_ref().is_some_and(|sent| *sent != part.crc64.base64());
            if part.etag.trim_matches('"') != listed_part.etag || other_crc64 {
                return Err(S3Error::invalid_part(number));
            }
            if part.size_bytes < PART_BYTES_MIN && position + 1 < listed.len() {
                return Err(S3Error::new(
                    axum::http::StatusCode::BAD_REQUEST,
                    "EntityTooSmall",
                    format!("Part {number} is under 5 MiB."),
                ));
            }
            whole = (whole.0.then(part.crc64, part.size_bytes), whole.1 + part.size_bytes);
        }
        Ok(whole)
    }
}

/// Bytes of all pieces.
pub(crate) fn len(kept: &Kept) -> usize {
    kept.iter().map(Bytes::len).sum()
}

#[expect(clippy::disallowed_methods, reason = "a store has a clock of its own, which its clients do not set")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
