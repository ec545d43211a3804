//! What the store says of an object, and its bytes.

use std::collections::VecDeque;
use std::ops::Range;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{ChecksumMode, ObjectLockLegalHoldStatus, ReplicationStatus as SdkStatus};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::Timestamp;

use super::{NULL_VERSION, S3, unquoted, version_id};
use crate::adapters::aws::{has_code, port_error, timestamp};
use crate::domain::bucket::ReplicationStatus;
use crate::domain::key::ObjectKey;
use crate::domain::prune_record::ObjectVersion;
use crate::ports::object_store::{ByteStream, ObjectFacts};
use crate::ports::{ErrorKind, PortError};

/// Attempts at a portion whose bytes stop coming: the SDK repeats requests, and not answers that break off.
const PORTION_ATTEMPTS: u32 = 3;

impl S3 {
    /// Of what was written: whoever writes sees whether it has arrived.
    pub(super) async fn facts(&self, key: &ObjectKey) -> Result<ObjectFacts, PortError> {
        let request = on_bucket!(self, dump_write.head_object).key(key.as_str()).checksum_mode(ChecksumMode::Enabled);
        let facts = request.send().await.map_err(|error| port_error(self.named("look up", key), error))?;
        Ok(to_facts(&facts))
    }

    /// Of what stands, with its locks, which only `verify` may see.
    pub(super) async fn facts_of_version(&self, object: &ObjectVersion) -> Result<ObjectFacts, PortError> {
        let request = on_bucket!(self, verify.head_object)
            .key(object.key.as_str())
            .set_version_id(object.version_id.clone())
            .checksum_mode(ChecksumMode::Enabled);
        let facts = request.send().await.map_err(|error| port_error(self.named("look up", &object.key), error))?;
        Ok(to_facts(&facts))
    }

    /// The first portion is read before this returns, so that what is not there is an error here and not in the stream.
    pub(super) async fn read_in_portions(
        &self,
        object: &ObjectVersion,
        bytes: Range<u64>,
    ) -> Result<ByteStream, PortError> {
        let mut reader = Reader {
            s3: self.clone(),
            object: object.clone(),
            etag: None,
            next: bytes.start,
            end: bytes.end,
            segments: VecDeque::new(),
        };
        reader.read_portion().await?;
        let pieces = stream::unfold(Some(reader), |reader| async {
            let mut reader = reader?;
            match reader.piece().await {
                Ok(piece) => piece.map(|piece| (Ok(piece), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(pieces.boxed())
    }
}

/// Where reading stands. Each portion is taken off the wire at once and handed out from memory.
struct Reader {
    s3: S3,
    object: ObjectVersion,
    etag: Option<String>,
    next: u64,
    /// Where to stop; the end of the object once that is known, if `u64::MAX` was asked for.
    end: u64,
    segments: VecDeque<Bytes>,
}

impl Reader {
    async fn piece(&mut self) -> Result<Option<Bytes>, PortError> {
        if self.segments.is_empty() && self.next < self.end {
            self.read_portion().await?;
        }
        Ok(self.segments.pop_front())
    }

    async fn read_portion(&mut self) -> Result<(), PortError> {
        let mut attempt = 1;
        loop {
            match self.ask().await? {
                Ok(segments) => {
                    self.next += segments.iter().map(|segment| segment.len() as u64).sum::<u64>();
                    self.segments = segments;
                    return Ok(());
                }
                Err(broken) if attempt == PORTION_ATTEMPTS => return Err(broken),
                Err(_) => attempt += 1,
            }
        }
    }

    /// The inner error is of an answer that began well and broke off.
    async fn ask(&mut self) -> Result<Result<VecDeque<Bytes>, PortError>, PortError> {
        let last = (self.next + self.s3.portions.read_bytes).min(self.end) - 1;
        let s3 = &self.s3;
        // Without versions the object may be replaced between two portions.
        let unversioned = self.object.version_id.is_none();
        let request = on_bucket!(s3, verify.get_object)
            .key(self.object.key.as_str())
            .set_version_id(self.object.version_id.clone())
            .set_if_match(self.etag.as_ref().filter(|_| unversioned).map(|etag| format!("\"{etag}\"")))
            .range(format!("bytes={}-{last}", self.next))
            .checksum_mode(ChecksumMode::Enabled);
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if self.next == 0 && self.end == u64::MAX && has_code(&error, &["InvalidRange"]) => {
                // No range can be satisfied where there are no bytes.
                self.end = 0;
                return Ok(Ok(VecDeque::new()));
            }
            Err(error) if has_code(&error, &["PreconditionFailed"]) => {
                return Err(self.failed(ErrorKind::WrongState).because("the object was replaced while it was read"));
            }
            Err(error) => return Err(port_error(self.s3.named("read", &self.object.key), error)),
        };
        let Some((first, size_bytes)) = range_of(&answer).filter(|(first, _)| *first == self.next) else {
            return Err(self
                .failed(ErrorKind::Other)
                .because("the answer does not say that it holds the bytes asked for"));
        };
        if self.end == u64::MAX {
            self.end = size_bytes;
        }
        if self.end > size_bytes {
            let said = format!("the object has {size_bytes} bytes and not {}", self.end);
            return Err(self.failed(ErrorKind::Other).because(said));
        }
        let expected_bytes = self.s3.portions.read_bytes.min(self.end - first);
        self.etag = Some(unquoted(answer.e_tag()));
        let (mut segments, mut read_bytes) = (VecDeque::new(), 0);
        loop {
            match answer.body.try_next().await {
                Ok(Some(segment)) => {
                    read_bytes += segment.len() as u64;
                    segments.push_back(segment);
                }
                Ok(None) if read_bytes == expected_bytes => return Ok(Ok(segments)),
                Ok(None) => {
                    let said = format!("{read_bytes} bytes came where {expected_bytes} were promised");
                    return Ok(Err(self.failed(ErrorKind::Transient).because(said)));
                }
                Err(error) => return Ok(Err(self.failed(ErrorKind::Transient).because(error))),
            }
        }
    }

    fn failed(&self, kind: ErrorKind) -> PortError {
        let version = self.object.version_id.as_deref().unwrap_or(NULL_VERSION);
        PortError::new(format!("{} (version {version})", self.s3.named("read", &self.object.key)), kind)
    }
}

fn to_facts(facts: &HeadObjectOutput) -> ObjectFacts {
    ObjectFacts {
        size_bytes: facts.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or(0),
        crc64nvme: facts.checksum_crc64_nvme().map(str::to_owned),
        version_id: version_id(facts.version_id()),
        kms_key: facts.ssekms_key_id().map(str::to_owned),
        replication: facts.replication_status().map(replication),
        locked_until: locked_until(facts),
    }
}

/// First byte and size of the whole, of `bytes 0-99/1234`.
fn range_of(answer: &GetObjectOutput) -> Option<(u64, u64)> {
    let (range, size_bytes) = answer.content_range()?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, size_bytes) = (range.split_once('-')?.0.parse().ok()?, size_bytes.parse().ok()?);
    (first < size_bytes).then_some((first, size_bytes))
}

/// A status that is not known yet says at least that some rule covers the object, and nothing about the copy.
fn replication(status: &SdkStatus) -> ReplicationStatus {
    match status {
        SdkStatus::Complete | SdkStatus::Completed => ReplicationStatus::Completed,
        SdkStatus::Failed => ReplicationStatus::Failed,
        SdkStatus::Replica => ReplicationStatus::Replica,
        SdkStatus::Pending | _ => ReplicationStatus::Pending,
    }
}

fn locked_until(facts: &HeadObjectOutput) -> Option<Timestamp> {
    if facts.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On) {
        return Some(Timestamp::MAX);
    }
    // A date beyond what can be counted is as good as for ever.
    facts.object_lock_retain_until_date().map(|until| timestamp(until).unwrap_or(Timestamp::MAX))
}
