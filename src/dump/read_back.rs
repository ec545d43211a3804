//! Reads a stored object back, every byte of it: the half of verification level 2 that is about bytes and rows.

use std::io::{self, Read as _};
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
use crate::domain::progress::Progress;
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
    /// What is in it, or why it is not what it should be.
    pub read: Result<Read, ArchiveError>,
}

/// What is in an object.
#[derive(Debug)]
pub enum Read {
    /// Bytes that mean nothing here.
    Plain,
    /// Bytes that are looked at together with those of other objects.
    Small(Bytes),
    /// An archive.
    Archive(Walked),
    /// The rows of one table.
    Table(RowCount),
    /// Decompressed bytes.
    Bytes {
        /// How many.
        plain: u64,
    },
}

/// How an object is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Its bytes are hashed.
    Plain,
    /// They are kept, too: a table of contents, or a list.
    Small,
    /// It is decompressed, and its bytes are counted.
    Compressed,
    /// It is decompressed and walked as an archive too.
    CompressedArchive,
    /// It is decompressed, and its rows are counted and hashed, too.
    CompressedTable,
}

/// Most bytes that are kept of an object: a table of contents has some hundred bytes for each entry.
const SMALL_BYTES_MAX: u64 = 1 << 30;

/// Reads one version of an object to its end. `progress` counts its bytes as they come.
///
/// # Errors
/// The store could not be read this time, or `token` was cancelled: nothing is known of the object then.
pub async fn read_back(
    store: &dyn ObjectStore,
    object: &ObjectVersion,
    content: Content,
    progress: &Arc<Progress>,
    token: &CancellationToken,
) -> Result<ReadBack, PortError> {
    let cancelled = {
        let key = object.key.clone();
        move || PortError::new(format!("read {key} back"), ErrorKind::Cancelled)
    };
    let stream = tokio::select! {
        opened = store.read_version(object) => opened?,
        () = token.cancelled() => return Err(cancelled()),
    };
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (noting, counting) = (Arc::clone(&seen), Arc::clone(progress));
    let stop = token.clone();
    // A store that gives nothing more does not keep whoever is told to stop.
    let pieces = futures_util::stream::unfold(Some(stream), move |stream| {
        let (stop, cancelled) = (stop.clone(), cancelled.clone());
        async move {
            let mut stream = stream?;
            tokio::select! {
                biased;
                () = stop.cancelled() => Some((Err(cancelled()), None)),
                piece = stream.next() => piece.map(|piece| (piece, Some(stream))),
            }
        }
    });
    // Everything that passes is hashed on its way, and an error of the store is kept apart from one of the archive.
    let noted = Box::pin(pieces).map(move |piece| {
        counting.add_read(piece.as_ref().map_or(0, |piece| piece.len() as u64), 0);
        noting.lock().unwrap_or_else(PoisonError::into_inner).note(piece)
    });
    let reader = StreamReader::new(noted);
    let work = tokio::task::spawn_blocking(move || match content {
        Content::Plain => {
            drain(SyncIoBridge::new(reader));
            Ok(Read::Plain)
        }
        Content::Small => kept(SyncIoBridge::new(reader)).map(Read::Small),
        Content::Compressed => decompressed(reader, |mut plain| {
            io::copy(&mut plain, &mut io::sink()).map(|plain| Read::Bytes { plain }).map_err(ArchiveError::Read)
        }),
        Content::CompressedArchive => {
            decompressed(reader, |plain| archive::walk(plain, &mut Nowhere).map(Read::Archive))
        }
        Content::CompressedTable => decompressed(reader, |plain| Rows::of(plain).count_all().map(Read::Table)),
    });
    let read = work.await.map_err(|error| PortError::new("read an object back", ErrorKind::Other).because(error))?;
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    match seen.error {
        Some(error) => Err(error),
        None => Ok(ReadBack { size_bytes: seen.size_bytes, sha256: super::hex(seen.sha256.finalize()), read }),
    }
}

/// Decompresses for `read` and then reads what may be left, so that every byte is hashed.
fn decompressed<T>(
    reader: impl AsyncBufRead + Unpin,
    read: impl FnOnce(&mut dyn io::Read) -> Result<T, ArchiveError>,
) -> Result<T, ArchiveError> {
    let mut decoder = ZstdDecoder::new(reader);
    decoder.multiple_members(true);
    let mut bridge = SyncIoBridge::new(decoder);
    let done = read(&mut bridge);
    // What cannot be decompressed is hashed as it is.
    drain(SyncIoBridge::new(bridge.into_inner().into_inner()));
    done
}

/// Keeps what there is, but no more than is sensible; what comes beyond is hashed.
fn kept(mut reader: impl io::Read) -> Result<Bytes, ArchiveError> {
    let mut bytes = Vec::new();
    let read = reader.by_ref().take(SMALL_BYTES_MAX).read_to_end(&mut bytes);
    drain(reader);
    read.map_err(ArchiveError::Read)?;
    Ok(Bytes::from(bytes))
}

/// Reads to the end; an error is in what was seen.
fn drain(mut reader: impl io::Read) {
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
