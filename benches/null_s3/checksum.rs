//! Checksums as S3 has them: which ones a request names, and what the bytes give.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, Digest, checksum_combine};
use sha2::{Digest as _, Sha256};

pub(crate) const CRC64NVME_HEADER: &str = "x-amz-checksum-crc64nvme";

/// The checksum that S3 itself computes for every object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Crc64Nvme(u64);

impl Crc64Nvme {
    /// The checksum of these bytes followed by `len` more whose checksum is `next`.
    pub(crate) fn then(self, next: Self, len: u64) -> Self {
        Self(checksum_combine(CrcAlgorithm::Crc64Nvme, self.0, next.0, len))
    }

    pub(crate) fn base64(self) -> String {
        STANDARD.encode(self.0.to_be_bytes())
    }

    /// An `ETag` that only equal bytes share, without the price of MD5. Quotes included, as S3 sends them.
    pub(crate) fn etag(self, size_bytes: u64) -> String {
        format!("\"{:016x}{size_bytes:016x}\"", self.0)
    }
}

/// Checksums that a client may send besides CRC64NVME. SHA-1 is taken on trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extra {
    Crc32,
    Crc32C,
    Sha256,
}

impl Extra {
    const ALL: [Self; 3] = [Self::Crc32, Self::Crc32C, Self::Sha256];

    pub(crate) const fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32C => "x-amz-checksum-crc32c",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The one that a request announces, as a header or as a trailer to come.
    pub(crate) fn announced(headers: &HeaderMap) -> Option<Self> {
        let trailer = headers.get("x-amz-trailer").and_then(|value| value.to_str().ok());
        Self::ALL.into_iter().find(|extra| headers.contains_key(extra.header()) || trailer == Some(extra.header()))
    }
}

/// Runs over the bytes of one body.
pub(crate) struct Checksums {
    crc64: Digest,
    extra: Option<(Extra, ExtraState)>,
    size_bytes: u64,
}

enum ExtraState {
    Crc(Box<Digest>),
    Sha256(Box<Sha256>),
}

/// What came out of [`Checksums`].
#[derive(Debug, Clone)]
pub(crate) struct Sums {
    pub(crate) crc64: Crc64Nvme,
    pub(crate) extra: Option<(Extra, String)>,
    pub(crate) size_bytes: u64,
}

impl Checksums {
    pub(crate) fn new(extra: Option<Extra>) -> Self {
        let state = |extra| match extra {
            Extra::Crc32 => ExtraState::Crc(Box::new(Digest::new(CrcAlgorithm::Crc32IsoHdlc))),
            Extra::Crc32C => ExtraState::Crc(Box::new(Digest::new(CrcAlgorithm::Crc32Iscsi))),
            Extra::Sha256 => ExtraState::Sha256(Box::default()),
        };
        Self {
            crc64: Digest::new(CrcAlgorithm::Crc64Nvme),
            extra: extra.map(|extra| (extra, state(extra))),
            size_bytes: 0,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.crc64.update(bytes);
        match &mut self.extra {
            Some((_, ExtraState::Crc(digest))) => digest.update(bytes),
            Some((_, ExtraState::Sha256(digest))) => digest.update(bytes),
            None => {}
        }
        self.size_bytes += bytes.len() as u64;
    }

    pub(crate) fn finish(self) -> Sums {
        let extra = self.extra.map(|(extra, state)| {
            let value = match state {
                // The low half of the number: these are 32 bits wide.
                ExtraState::Crc(digest) => STANDARD.encode(&digest.finalize().to_be_bytes()[4..]),
                ExtraState::Sha256(digest) => STANDARD.encode(digest.finalize()),
            };
            (extra, value)
        });
        Sums { crc64: Crc64Nvme(self.crc64.finalize()), extra, size_bytes: self.size_bytes }
    }
}
