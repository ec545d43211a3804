//! From the rows of one range to parts of its object. Runs on a thread that may block.

use std::sync::Arc;

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use memchr::memrchr;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::object::{Frames, Outgoing, TableObject, TooManyParts};
use crate::domain::progress::Progress;
use crate::dump::DumpError;
use crate::dump::archive::COPY_END;
use crate::dump::compress;
use crate::dump::memory::{Slot, Slots};
use crate::dump::row_meter::{RowCount, RowMeter};
use crate::ports::Cause;
use crate::ports::postgres::RowSink;

/// Something to send, with the slot that accounts for its memory.
#[derive(Debug)]
pub(super) struct Permitted {
    pub(super) object: Arc<TableObject>,
    pub(super) outgoing: Outgoing,
    /// Given back when the store has it.
    pub(super) slot: Slot,
}

/// Where the writers of all workers send what they make.
#[derive(Debug, Clone)]
pub(super) struct Outlet {
    pub(super) level: i32,
    pub(super) slots: Slots,
    pub(super) outgoing: mpsc::Sender<Permitted>,
    pub(super) runtime: Handle,
    pub(super) progress: Arc<Progress>,
}

impl Outlet {
    fn slot(&self) -> Result<Slot, WriteError> {
        self.runtime.block_on(self.slots.take()).ok_or(WriteError::UploadStopped)
    }
}

/// Rows cannot go anywhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("cannot compress")]
    Encoder(#[source] std::io::Error),
    #[error("the upload has stopped")]
    UploadStopped,
    #[error(transparent)]
    TooManyParts(#[from] TooManyParts),
    #[error("the rows of a range do not end with a newline")]
    CutOff,
}

/// Compresses the rows of one range into parts.
pub(super) struct RangeWriter {
    outlet: Outlet,
    object: Arc<TableObject>,
    meter: RowMeter,
    /// Of what has no rows.
    bytes: u64,
    /// What was counted when the open part began.
    before: RowCount,
    open: Option<OpenPart>,
    part_bytes: u64,
}

struct OpenPart {
    frames: compress::Frames,
    segments: Vec<Bytes>,
    size_bytes: u64,
    crc: crc_fast::Digest,
    slot: Slot,
}

impl OpenPart {
    fn begin(outlet: &Outlet) -> Result<OpenPart, WriteError> {
        Ok(OpenPart {
            frames: compress::Frames::begin(outlet.level),
            segments: Vec::new(),
            size_bytes: 0,
            crc: crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme),
            slot: outlet.slot()?,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let full = self.frames.write(bytes).map_err(WriteError::Encoder)?;
        self.keep(full);
        Ok(())
    }

    fn keep(&mut self, segments: Vec<Bytes>) {
        for segment in segments {
            self.crc.update(&segment);
            self.size_bytes += segment.len() as u64;
            self.segments.push(segment);
        }
        self.slot.holds(self.size_bytes);
    }

    fn end(mut self, count: RowCount) -> Result<(Frames, Slot), WriteError> {
        let left = self.frames.end().map_err(WriteError::Encoder)?;
        self.keep(left);
        let frames =
            Frames { segments: self.segments, size_bytes: self.size_bytes, crc64nvme: self.crc.finalize(), count };
        Ok((frames, self.slot))
    }
}

impl RangeWriter {
    pub(super) fn new(outlet: &Outlet, object: &Arc<TableObject>) -> RangeWriter {
        RangeWriter {
            part_bytes: object.part_bytes(),
            outlet: outlet.clone(),
            object: Arc::clone(object),
            meter: RowMeter::default(),
            bytes: 0,
            before: RowCount::default(),
            open: None,
        }
    }

    /// Whether nothing has come yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.open.is_none() && self.meter.count() == RowCount::default() && self.meter.is_between_rows()
    }

    fn write(&mut self, text: &[u8]) -> Result<(), WriteError> {
        self.meter.take(text);
        self.open()?.write(text)
    }

    /// Sends the open part; it ends where a row ends.
    fn cut(&mut self) -> Result<(), WriteError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let (frames, slot) = open.end(self.counted_since())?;
        let outgoing = self.object.full(frames)?;
        self.send(outgoing, slot)?;
        self.part_bytes = self.object.part_bytes();
        Ok(())
    }

    fn counted_since(&mut self) -> RowCount {
        let mut count = self.meter.count();
        count.bytes += self.bytes;
        let since = RowCount {
            rows: count.rows - self.before.rows,
            bytes: count.bytes - self.before.bytes,
            hash: count.hash.wrapping_sub(self.before.hash),
        };
        self.before = count;
        since
    }

    fn send(&self, outgoing: Outgoing, slot: Slot) -> Result<(), WriteError> {
        let permitted = Permitted { object: Arc::clone(&self.object), outgoing, slot };
        self.outlet.outgoing.blocking_send(permitted).map_err(|_| WriteError::UploadStopped)
    }

    /// Takes bytes that are no rows.
    pub(super) fn take_bytes(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.bytes += bytes.len() as u64;
        if self.open.as_ref().is_some_and(|open| open.size_bytes >= self.part_bytes) {
            self.cut()?;
        }
        self.open()?.write(bytes)?;
        self.outlet.progress.add_read(bytes.len() as u64, 0);
        Ok(())
    }

    /// Ends an object that has no rows. An empty one is an empty frame: no bytes at all are no zstd.
    pub(super) fn finish_bytes(mut self) -> Result<(), WriteError> {
        self.open()?;
        let Some(open) = self.open.take() else { return Ok(()) };
        let (frames, slot) = open.end(self.counted_since())?;
        self.object.range_done();
        let outgoing = self.object.close(frames)?;
        self.send(outgoing, slot)
    }

    fn open(&mut self) -> Result<&mut OpenPart, WriteError> {
        match &mut self.open {
            Some(open) => Ok(open),
            open @ None => Ok(open.insert(OpenPart::begin(&self.outlet)?)),
        }
    }

    /// Ends the range, and the object if it was the last one of it; returns the rows.
    pub(super) fn finish(mut self, end_mark: &Frames) -> Result<RowCount, WriteError> {
        if !self.meter.is_between_rows() {
            return Err(WriteError::CutOff);
        }
        if let Some(open) = self.open.take() {
            let (frames, slot) = open.end(self.counted_since())?;
            if let Some(outgoing) = self.object.tail(frames)? {
                self.send(outgoing, slot)?;
            }
        }
        if self.object.range_done() {
            let slot = self.outlet.slot()?;
            let outgoing = self.object.close(end_mark.clone())?;
            self.send(outgoing, slot)?;
        }
        Ok(self.meter.count())
    }
}

/// What pg_dump writes after the last row of a table, as a frame of its own.
pub(super) fn end_mark(level: i32) -> Result<Frames, DumpError> {
    let mut frames = compress::Frames::begin(level);
    let framed = |frames: &mut compress::Frames| -> std::io::Result<Vec<Bytes>> {
        let mut segments = frames.write(COPY_END)?;
        segments.extend(frames.end()?);
        Ok(segments)
    };
    let segments = framed(&mut frames).map_err(|error| DumpError::Compress(WriteError::Encoder(error).into()))?;
    let bytes = Bytes::from(segments.concat());
    Ok(Frames {
        size_bytes: bytes.len() as u64,
        crc64nvme: crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes),
        segments: vec![bytes],
        count: RowCount::default(),
    })
}

impl RowSink for RangeWriter {
    fn take(&mut self, text: &[u8]) -> Result<(), Cause> {
        let is_full = self.open.as_ref().is_some_and(|open| open.size_bytes >= self.part_bytes);
        let (rows, rest) = match memrchr(b'\n', text).filter(|_| is_full) {
            Some(newline) => text.split_at(newline + 1),
            None => (text, &[][..]),
        };
        let counted = self.meter.count().rows;
        self.write(rows)?;
        if is_full && self.meter.is_between_rows() {
            self.cut()?;
        }
        if !rest.is_empty() {
            self.write(rest)?;
        }
        self.outlet.progress.add_read(text.len() as u64, self.meter.count().rows - counted);
        Ok(())
    }
}
