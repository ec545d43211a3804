//! Reads a request body: unwraps it, sums it, and drops it, or keeps it when it is small or all is to be kept.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep_until};

use crate::checksum::{CRC64NVME_HEADER, Checksums, Extra, Sums};
use crate::chunked::Decoder;
use crate::xml::S3Error;

/// Objects up to this size are kept unless told otherwise: manifests and run records are read back, dumps are not.
pub(crate) const KEPT_BYTES_MAX: usize = 8 << 20;

/// A slow network: all bodies together come in at no more than a rate.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: Option<f64>,
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    #[expect(clippy::cast_precision_loss, reason = "rates over 2^53 bytes per second are no rates")]
    pub(crate) fn new(bytes_per_second: Option<std::num::NonZeroU64>) -> Self {
        Self { bytes_per_second: bytes_per_second.map(|rate| rate.get() as f64), free_at: Mutex::new(None) }
    }

    async fn admit(&self, len: usize) {
        let Some(rate) = self.bytes_per_second else {
            return;
        };
        #[expect(clippy::cast_precision_loss, reason = "a read is a few hundred kilobytes")]
        let cost = Duration::from_secs_f64(len as f64 / rate);
        let turn = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = free_at.map_or(now, |at| at.max(now)) + cost;
            *free_at = Some(turn);
            turn
        };
        sleep_until(turn).await;
    }
}

/// A body that has been read to its end, its checksums found to be right.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) sums: Sums,
    /// The bytes, when they were asked for and few enough.
    pub(crate) kept: Option<Bytes>,
}

/// What to do with the bytes of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Nothing,
    Small,
    Everything,
}

pub(crate) async fn receive(headers: &HeaderMap, body: Body, keep: Keep, pace: &Pace) -> Result<Received, S3Error> {
    let mut sums = Checksums::new(Extra::announced(headers));
    let mut kept = (keep != Keep::Nothing).then(BytesMut::new);
    let mut decoder = is_aws_chunked(headers).then(Decoder::default);
    let mut take = |bytes: Bytes| {
        sums.update(&bytes);
        let is_small = |kept: &BytesMut| kept.len() + bytes.len() <= KEPT_BYTES_MAX;
        if keep == Keep::Small && !kept.as_ref().is_some_and(is_small) {
            kept = None;
        }
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(&bytes);
        }
    };
    let mut stream = body.into_data_stream();
    while let Some(wire) = stream.next().await {
        let wire = wire.map_err(|_| S3Error::incomplete_body())?;
        pace.admit(wire.len()).await;
        match &mut decoder {
            Some(decoder) => decoder.decode(wire, &mut take).map_err(|error| S3Error::bad_chunk(&error))?,
            None => take(wire),
        }
    }
    let trailers = match decoder {
        Some(decoder) => decoder.finish().map_err(|error| S3Error::bad_chunk(&error))?,
        None => Vec::new(),
    };
    let sums = sums.finish();
    check(headers, &trailers, &sums)?;
    Ok(Received { sums, kept: kept.map(BytesMut::freeze) })
}

fn is_aws_chunked(headers: &HeaderMap) -> bool {
    let says = |name: &str, what: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains(what))
    };
    says(CONTENT_ENCODING.as_str(), "aws-chunked") || says("x-amz-content-sha256", "STREAMING-")
}

fn check(headers: &HeaderMap, trailers: &[(String, String)], sums: &Sums) -> Result<(), S3Error> {
    let sent = |name: &str| {
        let trailer = trailers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        trailer.or_else(|| headers.get(name).and_then(|value| value.to_str().ok()))
    };
    if sent(CRC64NVME_HEADER).is_some_and(|sent| sent != sums.crc64.base64()) {
        return Err(S3Error::bad_digest("CRC64NVME"));
    }
    if let Some((extra, computed)) = &sums.extra
        && sent(extra.header()).is_some_and(|sent| sent != computed)
    {
        return Err(S3Error::bad_digest(extra.header()));
    }
    let decoded = sent("x-amz-decoded-content-length").and_then(|length| length.parse::<u64>().ok());
    if decoded.is_some_and(|length| length != sums.size_bytes) {
        return Err(S3Error::incomplete_body());
    }
    Ok(())
}
