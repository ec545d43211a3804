//! One archive into one object: the thread that reads and compresses, the uploads beside it, and the checks before the
//! object may be seen.

use std::io::Read;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::archive::{self, ArchiveError, Walked};
use super::bandwidth::Bandwidth;
use super::check_stored::{Sent, check_stored};
use super::compress::{CompressError, Compressor, PermittedPart};
use super::memory::Share;
use super::parts::PartSizes;
use crate::domain::inventory::OpenUpload;
use crate::domain::key::ObjectKey;
use crate::domain::manifest::StoredObject;
use crate::domain::progress::Progress;
use crate::ports::object_store::{ObjectStore, PartReceipt, WholeObject};
use crate::ports::postgres::DumpProcess;
use crate::ports::{ErrorKind, PortError};

/// Where an archive goes, and how.
#[derive(Clone)]
pub struct ArchiveRequest {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The key of the object.
    pub key: ObjectKey,
    /// zstd level.
    pub compression_level: i32,
    /// The KMS key that the object must turn out to be encrypted with, where one is configured.
    pub kms_key: Option<String>,
    /// Sizes of the parts.
    pub sizes: PartSizes,
    /// What it may hold, the part that is being filled included.
    pub memory: Arc<Share>,
    /// How fast it may send.
    pub bandwidth: Arc<Bandwidth>,
    /// Counters to move.
    pub progress: Arc<Progress>,
}

/// An archive that is stored and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// What is in it.
    pub walked: Walked,
    /// The object.
    pub object: StoredObject,
    /// What the client wrote to standard error although it succeeded.
    pub warnings: Option<String>,
}

/// A dump that is not good.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The client failed.
    #[error("pg_dump ended with {status}: {stderr}")]
    Client {
        /// Its exit status.
        status: String,
        /// What it said last.
        stderr: String,
    },
    /// The archive is not whole.
    #[error("the archive is not good")]
    Archive(#[source] ArchiveError),
    /// Compression failed.
    #[error("cannot compress the archive")]
    Compress(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An outside thing failed.
    #[error("the dump could not go on")]
    Port(#[from] PortError),
    /// A connection of the parallel engine could not go on.
    #[error("{connection} could not go on with {what}")]
    Worker {
        /// Which one of how many.
        connection: String,
        /// The table or large object.
        what: String,
        /// Why.
        #[source]
        error: Box<DumpError>,
    },
    /// What is stored is not what was sent.
    #[error("{key} is stored with {found}, but {sent} was sent")]
    StoredDifferently {
        /// The object.
        key: ObjectKey,
        /// What the store has.
        found: String,
        /// What was sent.
        sent: String,
    },
    /// Tables were given another file between the snapshot and the lock on them.
    #[error(
        "{tables} were rewritten or exchanged (TRUNCATE, VACUUM FULL, CLUSTER, ALTER, RENAME) each time that the dump began: run it when nobody does"
    )]
    Rewritten {
        /// Which.
        tables: String,
    },
    /// Other tables have the names of those that are dumped.
    #[error("{tables} were exchanged for others (ALTER … RENAME) while they were dumped: run it when nobody does")]
    Exchanged {
        /// Which.
        tables: String,
    },
    /// Somebody else has, or waits for, a lock that keeps everybody out.
    #[error(
        "{tables} stayed locked by somebody else for {timeout}: see pg_locks for whom, or run the dump at another time"
    )]
    Locked {
        /// Which.
        tables: String,
        /// How long we have waited.
        timeout: &'static str,
    },
    /// The server counts other rows than have come.
    #[error("the server says that it copied {copied} rows of {table}, and {counted} have come")]
    RowsDiffer {
        /// The table.
        table: String,
        /// The server's count.
        copied: u64,
        /// Ours.
        counted: u64,
    },
    /// Stopped by us.
    #[error("the dump was stopped")]
    Cancelled,
    /// A bug.
    #[error("the dump's thread panicked: this is a bug in strongroom")]
    Panicked,
}

/// Streams the archive of `process` into one object and proves it: process ended well, archive whole, object checked.
///
/// On every failure, and when `token` is cancelled, the process is killed and the upload aborted before this returns.
///
/// # Errors
/// See [`DumpError`]; nothing is visible in the store then.
pub async fn stream_archive(
    process: &mut dyn DumpProcess,
    request: &ArchiveRequest,
    token: &CancellationToken,
) -> Result<Archive, DumpError> {
    let upload = request.store.create_upload(&request.key).await?;
    let made = fill(process, request, &upload, token).await;
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            process.kill().await;
            // A failed abort leaves parts that the planner finds: the run is over, the upload still open.
            if let Err(abort) = request.store.abort_upload(&upload).await {
                tracing::warn!(dump.key = %request.key, error = %crate::ports::Chain(&abort), "an upload stays open until the next round aborts it");
            }
            return Err(error);
        }
    };
    let object =
        check_stored(request.store.as_ref(), &request.key, &made.compressed, request.kms_key.as_deref()).await?;
    Ok(Archive { walked: made.walked, object, warnings: made.warnings })
}

struct Made {
    walked: Walked,
    compressed: Sent,
    warnings: Option<String>,
}

/// Everything up to and including the completion of the upload.
async fn fill(
    process: &mut dyn DumpProcess,
    request: &ArchiveRequest,
    upload: &OpenUpload,
    token: &CancellationToken,
) -> Result<Made, DumpError> {
    let archive = process.take_archive().ok_or_else(|| {
        PortError::new("take the archive of pg_dump", ErrorKind::Invalid).because("it was taken before")
    })?;
    let slots = request.memory.slots();
    let (sender, receiver) = mpsc::channel(request.memory.memory().parts());
    let compressor = Compressor::new(
        request.compression_level,
        request.sizes,
        slots.clone(),
        sender,
        Handle::current(),
        Arc::clone(&request.progress),
    );
    let pump = tokio::task::spawn_blocking(move || pump(archive, compressor));
    let uploaded = tokio::select! {
        uploaded = upload_parts(request, upload, receiver) => uploaded.map_err(DumpError::Port),
        () = token.cancelled() => Err(DumpError::Cancelled),
    };
    if uploaded.is_err() {
        // The thread may wait for the pipe or for memory: both end here.
        slots.close();
        process.kill().await;
    }
    let pumped = pump.await.map_err(|_| DumpError::Panicked)?;
    let receipts = uploaded?;
    let exit = tokio::select! {
        exit = process.wait() => exit?,
        () = token.cancelled() => return Err(DumpError::Cancelled),
    };
    let mut made = match pumped {
        // Our own refusal ended the client, whose end says nothing then.
        Err(refused) if !refused.is_cut() => return Err(refused),
        // The client's own words say more than the cut that they explain.
        _ if !exit.success => return Err(DumpError::Client { status: exit.status, stderr: exit.stderr }),
        pumped => pumped?,
    };
    made.warnings = Some(exit.stderr).filter(|stderr| !stderr.is_empty());
    request.progress.set_read(made.walked.bytes, made.walked.rows);
    let whole =
        WholeObject { parts: receipts, size_bytes: made.compressed.size_bytes, crc64nvme: made.compressed.crc64nvme };
    request.store.complete_upload(upload, whole).await?;
    Ok(made)
}

/// The blocking half.
fn pump(archive: Box<dyn Read + Send>, mut compressor: Compressor) -> Result<Made, DumpError> {
    let walked = archive::walk(archive, &mut compressor).map_err(|error| {
        if let ArchiveError::Consume(cause) = error { DumpError::Compress(cause) } else { DumpError::Archive(error) }
    })?;
    let compressed = compressor.finish().map_err(|error: CompressError| DumpError::Compress(error.into()))?;
    Ok(Made { walked, compressed, warnings: None })
}

/// Uploads parts as they come, as many at once as there are slots; returns receipts in the order of their numbers.
async fn upload_parts(
    request: &ArchiveRequest,
    upload: &OpenUpload,
    mut parts: mpsc::Receiver<PermittedPart>,
) -> Result<Vec<PartReceipt>, PortError> {
    let mut receipts = Vec::new();
    let mut uploads = FuturesUnordered::new();
    loop {
        tokio::select! {
            part = parts.recv() => match part {
                Some(part) => uploads.push(upload_part(request, upload, part)),
                None => break,
            },
            Some(receipt) = uploads.next() => receipts.push(receipt?),
        }
    }
    while let Some(receipt) = uploads.next().await {
        receipts.push(receipt?);
    }
    receipts.sort_by_key(|receipt| receipt.number);
    Ok(receipts)
}

async fn upload_part(
    request: &ArchiveRequest,
    upload: &OpenUpload,
    permitted: PermittedPart,
) -> Result<PartReceipt, PortError> {
    let size_bytes = permitted.part.size_bytes;
    request.bandwidth.pass(size_bytes).await;
    let receipt = request.store.upload_part(upload, permitted.part).await?;
    request.progress.add_stored(size_bytes);
    drop(permitted.slot);
    Ok(receipt)
}

impl DumpError {
    /// Whether the archive only ended too early, which the client's end explains.
    fn is_cut(&self) -> bool {
        use ArchiveError::{DataMissing, Read, TableCutOff, Truncated};
        matches!(self, DumpError::Archive(Truncated(_) | Read(_) | TableCutOff { .. } | DataMissing { .. }))
    }

    /// What the failure means to the caller.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            DumpError::Port(error) => error.kind(),
            DumpError::Worker { error, .. } => error.kind(),
            DumpError::Locked { .. } => ErrorKind::WrongState,
            DumpError::Cancelled => ErrorKind::Cancelled,
            DumpError::Client { .. }
            | DumpError::Archive(_)
            | DumpError::Compress(_)
            | DumpError::StoredDifferently { .. }
            | DumpError::Rewritten { .. }
            | DumpError::Exchanged { .. }
            | DumpError::RowsDiffer { .. }
            | DumpError::Panicked => ErrorKind::Other,
        }
    }
}

impl std::fmt::Debug for ArchiveRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ArchiveRequest({})", self.key)
    }
}

#[cfg(test)]
mod tests;
