//! From archive bytes to parts: zstd, checksums, and the bound on memory. Runs on a thread that may block.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_compression::Level;
use async_compression::tokio::write::ZstdEncoder;
use async_compression::zstd::CParameter;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use futures_util::FutureExt;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::archive::ArchiveSink;
use super::check_stored::Sent;
use super::memory::{Slot, Slots};
use super::parts::{PARTS_MAX, PartSizes, SEGMENT_BYTES};
use crate::domain::progress::Progress;
use crate::ports::object_store::Part;

/// A part with the slot that accounts for its memory: given back when the store has taken the part.
#[derive(Debug)]
pub(super) struct PermittedPart {
    pub(super) part: Part,
    pub(super) slot: Slot,
}

/// The parts cannot go anywhere, or there are too many of them.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompressError {
    #[error("cannot compress")]
    Encoder(#[source] io::Error),
    #[error("the upload has stopped")]
    UploadStopped,
    #[error("the dump needs more than {PARTS_MAX} parts: raise `destination.part_size`")]
    TooManyParts,
}

/// Compresses what it is given and sends it on as parts.
pub(super) struct Compressor {
    frames: Frames,
    sizes: PartSizes,
    slots: Slots,
    parts: mpsc::Sender<PermittedPart>,
    runtime: Handle,
    progress: Arc<Progress>,
    read_bytes: u64,
    sha256: Sha256,
    whole_crc: u64,
    whole_bytes: u64,
    next_number: u32,
    open: Option<OpenPart>,
}

struct OpenPart {
    segments: Vec<Bytes>,
    size_bytes: u64,
    crc: crc_fast::Digest,
    slot: Slot,
}

impl Compressor {
    /// `runtime` is only used to wait for a slot.
    pub(super) fn new(
        level: i32,
        sizes: PartSizes,
        slots: Slots,
        parts: mpsc::Sender<PermittedPart>,
        runtime: Handle,
        progress: Arc<Progress>,
    ) -> Self {
        Compressor {
            frames: Frames::begin(level),
            sizes,
            slots,
            parts,
            runtime,
            progress,
            read_bytes: 0,
            sha256: Sha256::new(),
            whole_crc: 0,
            whole_bytes: 0,
            next_number: 1,
            open: None,
        }
    }

    fn compress(&mut self, bytes: &[u8]) -> Result<(), CompressError> {
        let segments = self.frames.write(bytes).map_err(CompressError::Encoder)?;
        segments.into_iter().try_for_each(|segment| self.add_segment(segment))
    }

    fn add_segment(&mut self, segment: Bytes) -> Result<(), CompressError> {
        self.sha256.update(&segment);
        let mut part = match self.open.take() {
            Some(part) => part,
            None => self.begin_part()?,
        };
        part.crc.update(&segment);
        part.size_bytes += segment.len() as u64;
        part.segments.push(segment);
        part.slot.holds(part.size_bytes);
        if part.size_bytes >= self.sizes.of_part(self.next_number) {
            return self.send_part(part);
        }
        self.open = Some(part);
        Ok(())
    }

    fn begin_part(&self) -> Result<OpenPart, CompressError> {
        if self.next_number > PARTS_MAX {
            return Err(CompressError::TooManyParts);
        }
        let slot = self.runtime.block_on(self.slots.take()).ok_or(CompressError::UploadStopped)?;
        let crc = crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme);
        Ok(OpenPart { segments: Vec::new(), size_bytes: 0, crc, slot })
    }

    fn send_part(&mut self, open: OpenPart) -> Result<(), CompressError> {
        let crc64nvme = open.crc.finalize();
        self.whole_crc =
            crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, self.whole_crc, crc64nvme, open.size_bytes);
        self.whole_bytes += open.size_bytes;
        let part = Part { number: self.next_number, segments: open.segments, size_bytes: open.size_bytes, crc64nvme };
        self.next_number += 1;
        let permitted = PermittedPart { part, slot: open.slot };
        self.parts.blocking_send(permitted).map_err(|_| CompressError::UploadStopped)
    }

    /// Ends the last frame and sends the last part.
    pub(super) fn finish(mut self) -> Result<Sent, CompressError> {
        let segments = self.frames.end().map_err(CompressError::Encoder)?;
        segments.into_iter().try_for_each(|segment| self.add_segment(segment))?;
        if let Some(part) = self.open.take() {
            self.send_part(part)?;
        }
        let sha256 = super::hex(self.sha256.finalize());
        Ok(Sent { size_bytes: self.whole_bytes, sha256, crc64nvme: self.whole_crc })
    }
}

impl ArchiveSink for Compressor {
    fn take(&mut self, bytes: &[u8], rows: u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.compress(bytes)?;
        self.read_bytes += bytes.len() as u64;
        self.progress.set_read(self.read_bytes, rows);
        Ok(())
    }
}

/// How far back an encoder looks, as a power of two: and each frame is made of as many bytes, so that all of it lies in one
/// piece of memory. In a longer one the encoder's buffer wraps around, and each search goes through two pieces
/// (`ZSTD_compressBlock_doubleFast_extDict`): that costs a fifth more time.
///
/// zstd itself takes 21 for levels 3 to 8. On COPY text 19, which it takes for level 1, needs an eighth less time at level 3,
/// because window and tables stay in the processor's cache, and the result is no larger (benches/README.md). Who asks
/// for a high level wants it small, and waits.
fn window_log(level: i32) -> u32 {
    match level {
        ..=4 => 19,
        5..=15 => 22,
        16.. => 23,
    }
}

/// zstd frames on their way into memory, in segments.
pub(super) struct Frames {
    level: i32,
    /// Bytes that each frame is made of.
    frame_bytes: usize,
    encoder: ZstdEncoder<Segments>,
    /// Bytes in the frame that is open.
    plain_bytes: usize,
}

impl Frames {
    pub(super) fn begin(level: i32) -> Frames {
        let frame_bytes = 1 << window_log(level);
        Frames { level, frame_bytes, encoder: encoder(level, Segments::default()), plain_bytes: 0 }
    }

    /// Compresses more; returns the segments that are full.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Vec<Bytes>> {
        let mut rest = bytes;
        loop {
            let (now, later) = rest.split_at(rest.len().min(self.frame_bytes - self.plain_bytes));
            at_once(self.encoder.write_all(now))?;
            self.plain_bytes += now.len();
            rest = later;
            if rest.is_empty() {
                return Ok(std::mem::take(&mut self.encoder.get_mut().full));
            }
            at_once(self.encoder.shutdown())?;
            let segments = std::mem::take(self.encoder.get_mut());
            self.encoder = encoder(self.level, segments);
            self.plain_bytes = 0;
        }
    }

    /// Ends the last frame; returns the segments that are left.
    pub(super) fn end(&mut self) -> io::Result<Vec<Bytes>> {
        at_once(self.encoder.shutdown())?;
        let segments = self.encoder.get_mut();
        segments.close();
        Ok(std::mem::take(&mut segments.full))
    }
}

fn encoder(level: i32, segments: Segments) -> ZstdEncoder<Segments> {
    // The content checksum makes a damaged frame an error in every zstd decoder; pg_dump's own archives lack it.
    let parameters = [CParameter::checksum_flag(true), CParameter::window_log(window_log(level))];
    ZstdEncoder::with_quality_and_params(segments, Level::Precise(level), &parameters)
}

/// The encoder writes into memory, so it is never pending: it can be driven on this thread without a runtime.
fn at_once(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    work.now_or_never().unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
}

/// Where the encoder writes: memory in pieces of [`SEGMENT_BYTES`], so that a part is handed on without being copied.
#[derive(Default)]
struct Segments {
    open: Vec<u8>,
    full: Vec<Bytes>,
}

impl Segments {
    fn close(&mut self) {
        if !self.open.is_empty() {
            let mut open = std::mem::take(&mut self.open);
            // The last of a frame is short, and may be kept for long: the end of a range waits for others.
            open.shrink_to_fit();
            self.full.push(Bytes::from(open));
        }
    }
}

impl AsyncWrite for Segments {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.open.capacity() == 0 {
            self.open.reserve_exact(SEGMENT_BYTES);
        }
        let taken = bytes.len().min(SEGMENT_BYTES - self.open.len());
        self.open.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.open.len() == SEGMENT_BYTES {
            self.close();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
