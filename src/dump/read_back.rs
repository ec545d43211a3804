//! Reads a stored object back, every byte of it: the half of verification level 2 that is about bytes and rows.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use async_compression::tokio::bufread::ZstdDecoder;
use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncBufRead;
use tokio_util::io::{StreamReader, SyncIoBridge};
use tokio_util::sync::CancellationToken;

use super::archive::{self, ArchiveError, Nowhere, Walked};
use super::row_meter::RowCount;
use super::rows::Rows;
use crate::domain::prune_record::ObjectVersion;
use crate::ports::object_store::ObjectStore;
use crate::ports::{ErrorKind, PortError};

/// What a stored object turned out to hold.
#[derive(Debug)]
pub struct ReadBack {
    /// Bytes that were read.
    pub size_bytes: u64,
    /// SHA-256 of them, in hex.
    pub sha256: String,
    /// Of an archive: what is in it, or why it is none.
    pub archive: Option<Result<Walked, ArchiveError>>,
    /// Of the rows of one table: what they count, or why they are none.
    pub table: Option<Result<RowCount, ArchiveError>>,
}

/// How an object is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Its bytes are hashed.
    Plain,
    /// It is decompressed and walked as an archive too.
    CompressedArchive,
    /// It is decompressed, and its rows are counted and hashed, too.
    CompressedTable,
}

/// Reads one version of an object to its end.
///
/// # Errors
/// The store could not be read this time, or `token` was cancelled: nothing is known of the object then.
pub async fn read_back(
    store: &dyn ObjectStore,
    object: &ObjectVersion,
    content: Content,
    token: &CancellationToken,
) -> Result<ReadBack, PortError> {
    let stream = store.read_version(object).await?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let noting = Arc::clone(&seen);
    let stop = token.clone();
    let key = object.key.clone();
    // Everything that passes is hashed on its way, and an error of the store is kept apart from one of the archive.
    let noted = stream.map(move |piece| {
        let piece = if stop.is_cancelled() {
            Err(PortError::new(format!("read {key} back"), ErrorKind::Cancelled))
        } else {
            piece
        };
        noting.lock().unwrap_or_else(PoisonError::into_inner).note(piece)
    });
    let reader = StreamReader::new(noted);
    let work = tokio::task::spawn_blocking(move || match content {
        Content::Plain => {
            drain(SyncIoBridge::new(reader));
            (None, None)
        }
        Content::CompressedArchive => (Some(decompressed(reader, |plain| archive::walk(plain, &mut Nowhere))), None),
        Content::CompressedTable => (None, Some(decompressed(reader, |plain| Rows::of(plain).count_all()))),
    });
    let read = work.await.map_err(|error| PortError::new("read an object back", ErrorKind::Other).because(error))?;
    let (archive, table) = read;
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    match seen.error {
        Some(error) => Err(error),
        None => {
            Ok(ReadBack { size_bytes: seen.size_bytes, sha256: super::hex(seen.sha256.finalize()), archive, table })
        }
    }
}

/// Decompresses for `read` and then reads what may be left, so that every byte is hashed.
fn decompressed<T>(
    reader: impl AsyncBufRead + Unpin,
    read: impl FnOnce(&mut dyn Read) -> Result<T, ArchiveError>,
) -> Result<T, ArchiveError> {
    let mut decoder = ZstdDecoder::new(reader);
    decoder.multiple_members(true);
    let mut bridge = SyncIoBridge::new(decoder);
    let done = read(&mut bridge);
    // What cannot be decompressed is hashed as it is.
    drain(SyncIoBridge::new(bridge.into_inner().into_inner()));
    done
}

/// Reads to the end; an error is in what was seen.
fn drain(mut reader: impl Read) {
    // The result says only what `Seen` has noted already.
    drop(io::copy(&mut reader, &mut io::sink()));
}

/// What has passed.
#[derive(Default)]
struct Seen {
    size_bytes: u64,
    sha256: Sha256,
    error: Option<PortError>,
}

impl Seen {
    fn note(&mut self, piece: Result<Bytes, PortError>) -> Result<Bytes, io::Error> {
        match piece {
            Ok(piece) => {
                self.size_bytes += piece.len() as u64;
                self.sha256.update(&piece);
                Ok(piece)
            }
            Err(error) => {
                let broken = io::Error::other("the store could not be read");
                self.error.get_or_insert(error);
                Err(broken)
            }
        }
    }
}
