//! `aws-chunked`: the framing by which SDKs send checksums after the body.
//!
//! `<hex size>[;chunk-signature=…]\r\n<bytes>\r\n … 0[;…]\r\n<trailer>:<value>\r\n … \r\n`. Signatures are not checked.

use bytes::{Buf as _, Bytes};

/// Longest chunk head or trailer line; S3's own signature lines are under 200 bytes.
const LINE_BYTES_MAX: usize = 4096;

/// Takes the body as it comes off the wire, gives the payload inside.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    state: State,
    line: Vec<u8>,
    trailers: Vec<(String, String)>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    Payload(u64),
    /// The line end after a chunk's bytes.
    PayloadEnd,
    Trailers,
    Done,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ChunkedError {
    #[error("a chunk does not start with its size in hex")]
    Size,
    #[error("a chunk does not end where its size says")]
    End,
    #[error("a line is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    #[error("the body ends within a chunk")]
    Truncated,
}

impl Decoder {
    /// Calls `payload` with each run of payload bytes in `wire`.
    pub(crate) fn decode(&mut self, mut wire: Bytes, mut payload: impl FnMut(Bytes)) -> Result<(), ChunkedError> {
        while wire.has_remaining() {
            match self.state {
                State::Payload(left) => {
                    let run = usize::try_from(left).unwrap_or(usize::MAX).min(wire.len());
                    payload(wire.split_to(run));
                    let left = left - run as u64;
                    self.state = if left == 0 { State::PayloadEnd } else { State::Payload(left) };
                }
                State::Head | State::PayloadEnd | State::Trailers => {
                    if let Some(line) = self.take_line(&mut wire)? {
                        self.read_line(&line)?;
                    }
                }
                State::Done => wire.clear(),
            }
        }
        Ok(())
    }

    /// The trailers, lower case, once the body has ended.
    pub(crate) fn finish(self) -> Result<Vec<(String, String)>, ChunkedError> {
        match self.state {
            State::Done | State::Trailers => Ok(self.trailers),
            State::Head | State::Payload(_) | State::PayloadEnd => Err(ChunkedError::Truncated),
        }
    }

    fn read_line(&mut self, line: &str) -> Result<(), ChunkedError> {
        match self.state {
            State::Head => {
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(|_| ChunkedError::Size)?;
                self.state = if size == 0 { State::Trailers } else { State::Payload(size) };
            }
            State::PayloadEnd if line.is_empty() => self.state = State::Head,
            State::PayloadEnd => return Err(ChunkedError::End),
            State::Trailers => match line.split_once(':') {
                Some((name, value)) => self.trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned())),
                None => self.state = State::Done,
            },
            State::Payload(_) | State::Done => {}
        }
        Ok(())
    }

    /// The next line without its end, or `None` when more bytes are needed.
    fn take_line(&mut self, wire: &mut Bytes) -> Result<Option<String>, ChunkedError> {
        let end = wire.iter().position(|byte| *byte == b'\n');
        let part = wire.split_to(end.map_or(wire.len(), |end| end + 1));
        self.line.extend_from_slice(&part);
        if self.line.len() > LINE_BYTES_MAX {
            return Err(ChunkedError::LineTooLong);
        }
        if end.is_none() {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim_end().to_owned();
        Ok(Some(line))
    }
}
