//! A buffered reader that counts what it reads and hands it on.

use std::io::{self, Read};

use super::{ArchiveError, ArchiveSink};

/// One read takes at most this much: as much as the pipe holds, so that a slow consumer makes few large reads.
const BUFFER_BYTES: usize = 1 << 20;

/// Reads from `input`, one buffer at a time; each buffer goes to the sink whole before any of it is parsed.
pub(super) struct ByteReader<'a, R, S> {
    input: R,
    sink: &'a mut S,
    buffer: Vec<u8>,
    position: usize,
    filled: usize,
    bytes: u64,
    rows: u64,
    /// What was parsed, where it is to be written again.
    transcript: Option<Vec<u8>>,
}

impl<'a, R: Read, S: ArchiveSink> ByteReader<'a, R, S> {
    pub(super) fn new(input: R, sink: &'a mut S) -> Self {
        ByteReader {
            input,
            sink,
            buffer: vec![0; BUFFER_BYTES],
            position: 0,
            filled: 0,
            bytes: 0,
            rows: 0,
            transcript: None,
        }
    }

    /// The same, which keeps what it parses.
    pub(super) fn transcribing(input: R, sink: &'a mut S) -> Self {
        ByteReader { transcript: Some(Vec::new()), ..ByteReader::new(input, sink) }
    }

    /// What was parsed so far, with what was replaced in it.
    pub(super) fn into_transcript(self) -> Vec<u8> {
        self.transcript.unwrap_or_default()
    }

    /// Puts something else in the place of the last bytes that were parsed, if they are kept.
    pub(super) fn replace_last(&mut self, count: usize, with: &[u8]) {
        if let Some(transcript) = &mut self.transcript {
            transcript.truncate(transcript.len().saturating_sub(count));
            transcript.extend_from_slice(with);
        }
    }

    /// Bytes parsed so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Rows counted so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes back newlines that turned out to be no rows.
    pub(super) fn uncount_rows(&mut self, rows: u64) {
        self.rows -= rows;
    }

    /// The bytes that are buffered and not parsed; empty only at the end of the input.
    fn ahead(&mut self) -> Result<&[u8], ArchiveError> {
        if self.position == self.filled {
            self.filled = loop {
                match self.input.read(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read.map_err(ArchiveError::Read)?,
                }
            };
            self.position = 0;
            let read = self.buffer.get(..self.filled).unwrap_or_default();
            if !read.is_empty() {
                self.sink.take(read, self.rows).map_err(ArchiveError::Consume)?;
            }
        }
        Ok(self.buffer.get(self.position..self.filled).unwrap_or_default())
    }

    fn advance(&mut self, count: usize) {
        if let Some(transcript) = &mut self.transcript {
            transcript.extend_from_slice(self.buffer.get(self.position..self.position + count).unwrap_or_default());
        }
        self.position += count;
        self.bytes += count as u64;
    }

    /// The next byte, or `None` at the end of the input.
    pub(super) fn byte_or_end(&mut self) -> Result<Option<u8>, ArchiveError> {
        let byte = self.ahead()?.first().copied();
        if byte.is_some() {
            self.advance(1);
        }
        Ok(byte)
    }

    /// The next byte.
    pub(super) fn byte(&mut self, place: &'static str) -> Result<u8, ArchiveError> {
        self.byte_or_end()?.ok_or(ArchiveError::Truncated(place))
    }

    /// An integer: a sign byte and four bytes, the least significant first.
    pub(super) fn int(&mut self, place: &'static str) -> Result<i32, ArchiveError> {
        // Data comes as one chunk per row, so this is nearly as hot as the rows themselves.
        let (sign, magnitude) = match *self.ahead()? {
            [sign, a, b, c, d, ..] => {
                self.advance(5);
                (sign, u32::from_le_bytes([a, b, c, d]))
            }
            _ => {
                let sign = self.byte(place)?;
                let mut magnitude = [0; 4];
                for byte in &mut magnitude {
                    *byte = self.byte(place)?;
                }
                (sign, u32::from_le_bytes(magnitude))
            }
        };
        let value =
            i32::try_from(magnitude).map_err(|_| ArchiveError::Length { length: i64::from(magnitude), place })?;
        Ok(if sign == 0 { value } else { -value })
    }

    /// Shows `length` bytes to `look` in pieces as they come; it returns how many rows are in each.
    pub(super) fn visit(
        &mut self,
        length: u64,
        place: &'static str,
        mut look: impl FnMut(&[u8]) -> u64,
    ) -> Result<(), ArchiveError> {
        let mut left = length;
        while left > 0 {
            let ahead = self.ahead()?;
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(ahead.len());
            let piece = ahead.get(..take).unwrap_or_default();
            if piece.is_empty() {
                return Err(ArchiveError::Truncated(place));
            }
            let rows = look(piece);
            self.rows += rows;
            self.advance(take);
            left -= take as u64;
        }
        Ok(())
    }

    /// A string, `None` for the format's NULL. What does not read as UTF-8 is replaced: strings are only shown.
    pub(super) fn string(&mut self, limit: u64, place: &'static str) -> Result<Option<String>, ArchiveError> {
        let length = self.int(place)?;
        if length == -1 {
            return Ok(None);
        }
        let bytes = u64::try_from(length).ok().filter(|bytes| *bytes <= limit);
        let bytes = bytes.ok_or(ArchiveError::Length { length: i64::from(length), place })?;
        let mut text = Vec::new();
        self.visit(bytes, place, |piece| {
            text.extend_from_slice(piece);
            0
        })?;
        Ok(Some(String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())))
    }
}
