//! One object that several workers fill at once.
//!
//! The order of rows carries no meaning. So each part is whole zstd frames and whole rows, numbered when it is full, by
//! whoever filled it: the frames of an object are one valid stream in any order (RFC 8878, section 3).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::domain::inventory::OpenUpload;
use crate::domain::key::ObjectKey;
use crate::domain::manifest::TablePart;
use crate::dump::check_stored::Sent;
use crate::dump::parts::{PARTS_MAX, PartSizes};
use crate::dump::row_meter::RowCount;
use crate::ports::object_store::{Part, PartReceipt, WholeObject};

/// The smallest part that S3 takes, but for the last one.
const PART_BYTES_MIN: u64 = 5 << 20;

/// Whole frames of whole rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Frames {
    pub(super) segments: Vec<Bytes>,
    pub(super) size_bytes: u64,
    pub(super) crc64nvme: u64,
    pub(super) count: RowCount,
}

impl Frames {
    fn append(&mut self, other: Frames) {
        self.crc64nvme = combine(self.crc64nvme, other.crc64nvme, other.size_bytes);
        self.size_bytes += other.size_bytes;
        self.segments.extend(other.segments);
        self.count = self.count.and(other.count);
    }
}

fn combine(first: u64, second: u64, second_bytes: u64) -> u64 {
    crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, first, second, second_bytes)
}

/// What is to be sent of an object.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A part of it.
    Part(Part),
    /// All of it: it is too small for parts.
    Whole(Vec<Bytes>),
}

impl Outgoing {
    pub(super) fn size_bytes(&self) -> u64 {
        match self {
            Outgoing::Part(part) => part.size_bytes,
            Outgoing::Whole(segments) => segments.iter().map(|segment| segment.len() as u64).sum(),
        }
    }
}

/// More parts than an object can have.
#[derive(Debug, thiserror::Error)]
#[error("{0} needs more than {PARTS_MAX} parts: raise `destination.part_size`")]
pub(super) struct TooManyParts(ObjectKey);

/// An object of the dump, while it is made.
#[derive(Debug)]
pub(super) struct TableObject {
    pub(super) key: ObjectKey,
    pub(super) sizes: PartSizes,
    /// Begun with the first part.
    pub(super) upload: OnceCell<OpenUpload>,
    ranges_left: AtomicUsize,
    /// Whether somebody waits for a lock on the table, behind whom a worker would wait as well.
    is_locked_out: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    numbered: u32,
    sha256: Sha256,
    size_bytes: u64,
    crc64nvme: u64,
    count: RowCount,
    index: Vec<TablePart>,
    /// Ends of ranges, each too small for a part.
    tails: Frames,
    receipts: Vec<PartReceipt>,
}

/// An object that has all of its rows.
#[derive(Debug, Clone)]
pub(super) struct Filled {
    pub(super) sent: Sent,
    pub(super) count: RowCount,
    pub(super) index: Vec<TablePart>,
}

impl TableObject {
    /// An empty one, which `ranges` pieces of work fill.
    pub(super) fn new(key: ObjectKey, sizes: PartSizes, ranges: usize) -> TableObject {
        let state = State {
            numbered: 0,
            sha256: Sha256::new(),
            size_bytes: 0,
            crc64nvme: 0,
            count: RowCount::default(),
            index: Vec::new(),
            tails: Frames::default(),
            receipts: Vec::new(),
        };
        let ranges_left = AtomicUsize::new(ranges);
        let is_locked_out = AtomicBool::new(false);
        TableObject { key, sizes, upload: OnceCell::new(), ranges_left, is_locked_out, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How large the next part should be.
    pub(super) fn part_bytes(&self) -> u64 {
        self.sizes.of_part(self.state().numbered + 1)
    }

    /// Numbers a part that is full.
    pub(super) fn full(&self, frames: Frames) -> Result<Outgoing, TooManyParts> {
        self.state().part(&self.key, frames).map(Outgoing::Part)
    }

    /// Keeps the end of a range until there is enough for a part.
    pub(super) fn tail(&self, frames: Frames) -> Result<Option<Outgoing>, TooManyParts> {
        let mut state = self.state();
        state.tails.append(frames);
        if state.tails.size_bytes < PART_BYTES_MIN {
            return Ok(None);
        }
        let tails = std::mem::take(&mut state.tails);
        state.part(&self.key, tails).map(|part| Some(Outgoing::Part(part)))
    }

    /// No worker gets at the table any more.
    pub(super) fn lock_out(&self) {
        self.is_locked_out.store(true, Ordering::Release);
    }

    pub(super) fn is_locked_out(&self) -> bool {
        self.is_locked_out.load(Ordering::Acquire)
    }

    /// One range is done; whether it was the last.
    pub(super) fn range_done(&self) -> bool {
        self.ranges_left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether every piece of work that fills it is done.
    pub(super) fn has_all_ranges(&self) -> bool {
        self.ranges_left.load(Ordering::Acquire) == 0
    }

    /// Puts the end mark behind all rows: nothing comes after it.
    pub(super) fn close(&self, end_mark: Frames) -> Result<Outgoing, TooManyParts> {
        let mut state = self.state();
        let mut last = std::mem::take(&mut state.tails);
        last.append(end_mark);
        let is_whole = state.numbered == 0;
        let part = state.part(&self.key, last)?;
        Ok(if is_whole { Outgoing::Whole(part.segments) } else { Outgoing::Part(part) })
    }

    pub(super) fn received(&self, receipt: PartReceipt) {
        self.state().receipts.push(receipt);
    }

    /// What completes its upload.
    pub(super) fn whole(&self) -> WholeObject {
        let mut state = self.state();
        let mut parts = std::mem::take(&mut state.receipts);
        parts.sort_by_key(|receipt| receipt.number);
        WholeObject { parts, size_bytes: state.size_bytes, crc64nvme: state.crc64nvme }
    }

    /// What it has turned out to be.
    pub(super) fn filled(&self) -> Filled {
        let state = self.state();
        let sha256 = crate::dump::hex(state.sha256.clone().finalize());
        let sent = Sent { size_bytes: state.size_bytes, sha256, crc64nvme: state.crc64nvme };
        Filled { sent, count: state.count, index: state.index.clone() }
    }
}

impl State {
    fn part(&mut self, key: &ObjectKey, frames: Frames) -> Result<Part, TooManyParts> {
        if self.numbered == PARTS_MAX {
            return Err(TooManyParts(key.clone()));
        }
        self.numbered += 1;
        for segment in &frames.segments {
            self.sha256.update(segment);
        }
        self.index.push(TablePart {
            offset: self.size_bytes,
            size_bytes: frames.size_bytes,
            rows: frames.count.rows,
            hash: frames.count.hash_hex(),
        });
        self.crc64nvme = combine(self.crc64nvme, frames.crc64nvme, frames.size_bytes);
        self.size_bytes += frames.size_bytes;
        self.count = self.count.and(frames.count);
        Ok(Part {
            number: self.numbered,
            segments: frames.segments,
            size_bytes: frames.size_bytes,
            crc64nvme: frames.crc64nvme,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(text: &[u8], rows: u64) -> Frames {
        Frames {
            segments: vec![Bytes::copy_from_slice(text)],
            size_bytes: text.len() as u64,
            crc64nvme: crc_fast::checksum(CrcAlgorithm::Crc64Nvme, text),
            count: RowCount { rows, bytes: 10 * rows, hash: u128::from(rows) },
        }
    }

    fn object(ranges: usize) -> TableObject {
        TableObject::new(ObjectKey::listed("bank/2.dat.zst"), PartSizes::for_dump(8 << 20, 0), ranges)
    }

    fn part(outgoing: Outgoing) -> Part {
        let Outgoing::Part(part) = outgoing else { panic!("{outgoing:?}") };
        part
    }

    #[test]
    fn parts_are_numbered_as_they_fill_and_small_ends_wait_for_each_other() {
        let object = object(2);
        let (large, half) = (vec![1; 8 << 20], vec![2; 3 << 20]);
        assert_eq!(part(object.full(frames(&large, 100)).unwrap()).number, 1);
        assert!(object.tail(frames(&half, 10)).unwrap().is_none(), "S3 takes no part that small");
        assert!(!object.range_done());
        let pooled = part(object.tail(frames(&half, 10)).unwrap().unwrap());
        assert_eq!((pooled.number, pooled.size_bytes), (2, 6 << 20));
        assert!(!object.has_all_ranges());
        assert!(object.range_done());
        assert!(object.has_all_ranges());
        let last = part(object.close(frames(b"end", 0)).unwrap());
        assert_eq!((last.number, last.size_bytes), (3, 3));
        let bytes = [large, half.clone(), half, b"end".to_vec()].concat();
        let filled = object.filled();
        assert_eq!(filled.sent.crc64nvme, crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes));
        let sha256 = crate::dump::hex(Sha256::digest(&bytes));
        assert_eq!(filled.sent.sha256, sha256);
        assert_eq!((filled.count.rows, filled.count.hash), (120, 120));
        let offsets: Vec<_> = filled.index.iter().map(|part| (part.offset, part.rows)).collect();
        assert_eq!(offsets, [(0, 100), (8 << 20, 20), (14 << 20, 0)]);
    }

    #[test]
    fn what_is_smaller_than_a_part_is_sent_whole() {
        let object = object(1);
        assert!(object.tail(frames(b"rows", 1)).unwrap().is_none());
        assert!(object.range_done());
        let Outgoing::Whole(segments) = object.close(frames(b"end", 0)).unwrap() else { panic!("it has parts") };
        assert_eq!(segments.concat(), b"rowsend");
        assert_eq!(object.filled().sent.size_bytes, 7);
    }
}
