//! Rows and large objects, from the store into the server: no disk in between.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::ZstdDecoder;
use futures_util::StreamExt as _;
use tokio::runtime::Handle;
use tokio_util::io::{StreamReader, SyncIoBridge};
use tokio_util::sync::CancellationToken;

use super::crew::work_through;
use super::{RestoreError, RestoreRequest, Watch};
use crate::domain::manifest::Table;
use crate::domain::prune_record::ObjectVersion;
use crate::dump::archive::{Section, TocEntry};
use crate::dump::hex;
use crate::dump::parallel::{large_object, table_object};
use crate::dump::quoting::quoted;
use crate::dump::row_meter::RowCount;
use crate::dump::rows::Rows;
use crate::ports::PortError;
use crate::ports::object_store::{ByteStream, ObjectStore};
use crate::ports::postgres::Session;

/// Bytes of rows from which on a table is worth the three statements and the new file that it takes to load it frozen.
const FROZEN_FROM: u64 = 1 << 20;
/// Bytes of a large object that are written at once.
const LARGE_PIECE: usize = 1 << 20;

/// A piece of work: a table, or a part of it.
struct Piece {
    table: String,
    statement: String,
    object: ObjectVersion,
    /// Where it is in the object; `None`: it is all of it.
    range: Option<Range<u64>>,
    /// What it must turn out to hold: rows, and their hash in hex.
    rows: u64,
    hash: Option<String>,
    /// Whether the end mark of the table is in it.
    is_last: bool,
    /// Empties the table, where it is ours and is loaded at once.
    truncation: Option<String>,
}

/// Loads the rows of tables over several connections; parts of one table go over several of them.
pub(super) async fn load_tables(
    request: &RestoreRequest,
    tables: &[&TocEntry],
    watch: &Arc<Watch>,
    token: &CancellationToken,
) -> Result<(), RestoreError> {
    let dumped: BTreeMap<i32, &Table> = request.manifest.tables.iter().map(|table| (table.dump_id, table)).collect();
    let mut wanted = Vec::new();
    for entry in tables {
        let name = format!("{}.{}", entry.namespace, entry.tag);
        let table = dumped.get(&entry.dump_id).copied();
        let table = table.ok_or_else(|| RestoreError::Damaged(format!("the manifest does not know table {name}")))?;
        wanted.push((table, name, entry));
    }
    // Large ones first, so that none of them is left alone at the end.
    wanted.sort_by_key(|(table, _, _)| std::cmp::Reverse(table.bytes));
    let mut pieces = Vec::new();
    for (table, name, entry) in wanted {
        pieces.extend(pieces_of(request, table, &name, entry)?);
    }
    let source = Source::of(request, token);
    let watch = Arc::clone(watch);
    let work = move |session: &mut dyn Session, piece: Piece| load(session, &source, &piece, &watch);
    work_through(&request.server, &request.target.database, request.jobs, pieces, token, work).await
}

fn pieces_of(
    request: &RestoreRequest,
    table: &Table,
    name: &str,
    entry: &TocEntry,
) -> Result<Vec<Piece>, RestoreError> {
    let target = entry.copy_target();
    let target =
        target.ok_or_else(|| RestoreError::Damaged(format!("the COPY statement of {name} has an unknown form")))?;
    let statement = format!("COPY {target} FROM STDIN");
    let object = request.object(&table_object(entry.dump_id))?;
    // Who empties a table and fills it in one transaction writes rows that need no vacuum any more, and on a server without
    // replication no log of them. Only what this restore has just made may be emptied.
    let is_new = request.sections.contains(&Section::PreData);
    let is_whole = table.parts.len() < 2;
    let truncation = (is_new && is_whole && table.bytes >= FROZEN_FROM)
        .then(|| format!("TRUNCATE ONLY {}.{}", quoted(&entry.namespace), quoted(&entry.tag)));
    let statement = if truncation.is_some() { format!("{statement} WITH (FREEZE)") } else { statement };
    let piece = |range, rows, hash, is_last| Piece {
        table: name.to_owned(),
        statement: statement.clone(),
        object: object.clone(),
        range,
        rows,
        hash,
        is_last,
        truncation: truncation.clone(),
    };
    if is_whole {
        return Ok(vec![piece(None, table.rows, table.hash.clone(), true)]);
    }
    let parts = table.parts.iter().enumerate().map(|(index, part)| {
        let range = part.offset..part.offset + part.size_bytes;
        piece(Some(range), part.rows, Some(part.hash.clone()), index + 1 == table.parts.len())
    });
    Ok(parts.collect())
}

/// The store, for a thread that may block. Whoever waits for it is let go when the restore is stopped.
struct Source {
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
    token: CancellationToken,
}

impl Source {
    fn of(request: &RestoreRequest, token: &CancellationToken) -> Source {
        Source { store: Arc::clone(&request.store), runtime: Handle::current(), token: token.clone() }
    }

    /// An object or a range of it, uncompressed.
    fn read(
        &self,
        object: &ObjectVersion,
        range: Option<Range<u64>>,
    ) -> Result<impl Read + Send + use<>, RestoreError> {
        let opening = async {
            match range {
                None => self.store.read_version(object).await,
                Some(range) => self.store.read_range(object, range).await,
            }
        };
        let opened = self.runtime.block_on(self.token.run_until_cancelled(opening));
        let stream = opened.ok_or(RestoreError::Cancelled)??;
        Ok(plain(stream, &self.runtime, &self.token))
    }
}

fn load(session: &mut dyn Session, source: &Source, piece: &Piece, watch: &Watch) -> Result<(), RestoreError> {
    let plain = source.read(&piece.object, piece.range.clone())?;
    let mut rows = Checked { rows: Rows::of(plain), piece, watch, told: RowCount::default(), fault: None };
    if let Some(truncation) = &piece.truncation {
        session.query("BEGIN")?;
        session.query(truncation)?;
    }
    let copied = session.copy_in(&piece.statement, &mut rows);
    // The session only knows that its rows broke off. A stream that we have cut ourselves says nothing of the dump.
    if let Some(fault) = rows.fault.take().filter(|_| !source.token.is_cancelled()) {
        return Err(RestoreError::Damaged(fault));
    }
    let copied = copied?;
    if copied != piece.rows {
        let (table, rows) = (&piece.table, piece.rows);
        return Err(RestoreError::Damaged(format!("the server took {copied} of {rows} rows of {table}")));
    }
    if piece.truncation.is_some() {
        session.query("COMMIT")?;
    }
    Ok(())
}

/// A compressed stream, uncompressed, for a thread that may block. It breaks off when the restore is stopped.
pub(super) fn plain(stream: ByteStream, runtime: &Handle, token: &CancellationToken) -> impl Read + Send + use<> {
    let bytes = stream.map(|piece| piece.map_err(io::Error::other)).take_until(token.clone().cancelled_owned());
    let mut decoder = ZstdDecoder::new(StreamReader::new(Box::pin(bytes)));
    decoder.multiple_members(true);
    SyncIoBridge::new_with_handle(decoder, runtime.clone())
}

/// A stream as it is, for a thread that may block.
pub(super) fn as_stored(stream: ByteStream, runtime: &Handle) -> impl Read + Send + use<> {
    let reader = StreamReader::new(stream.map(|piece| piece.map_err(io::Error::other)));
    SyncIoBridge::new_with_handle(reader, runtime.clone())
}

/// Rows that end well only if they are the ones that were dumped: otherwise the server must not keep them.
struct Checked<'a, R> {
    rows: Rows<R>,
    piece: &'a Piece,
    watch: &'a Watch,
    told: RowCount,
    /// What is wrong with the rows themselves.
    fault: Option<String>,
}

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.rows.read(into).inspect_err(|error| {
            // What the store could not give is not damaged.
            if !error.get_ref().is_some_and(|cause| cause.is::<PortError>()) {
                let Piece { object, table, .. } = self.piece;
                self.fault = Some(format!("{} cannot be decompressed, with rows of {table}: {error}", object.key));
            }
        })?;
        let count = self.rows.count();
        self.watch.progress.add_read(count.bytes - self.told.bytes, count.rows - self.told.rows);
        self.told = count;
        if read == 0 {
            self.check().map_err(|fault| {
                self.fault = Some(fault.clone());
                io::Error::other(fault)
            })?;
        }
        Ok(read)
    }
}

impl<R: Read> Checked<'_, R> {
    fn check(&self) -> Result<(), String> {
        let Piece { table, object, rows, hash, is_last, .. } = self.piece;
        let count = self.rows.count();
        if count.rows != *rows {
            return Err(format!("{} has {} rows of {table} instead of {rows}", object.key, count.rows));
        }
        if hash.as_ref().is_some_and(|hash| *hash != count.hash_hex()) {
            return Err(format!("{} has other rows of {table} than were dumped: their hash differs", object.key));
        }
        if *is_last && !self.rows.has_ended_well() {
            return Err(format!("{} breaks off: the rows of {table} have no end mark", object.key));
        }
        Ok(())
    }
}

/// Gives large objects their bytes; they are there already, and empty.
pub(super) async fn load_large_objects(
    request: &RestoreRequest,
    ids: Vec<String>,
    watch: &Arc<Watch>,
    token: &CancellationToken,
) -> Result<(), RestoreError> {
    let dumped = &request.manifest.large_objects;
    let mut wanted = Vec::new();
    for id in ids {
        wanted.push((request.object(&large_object(&id))?, id));
    }
    let loaded = (wanted.len() as u64, Arc::new(AtomicU64::new(0)));
    let source = Source::of(request, token);
    let (watch, bytes_loaded) = (Arc::clone(watch), Arc::clone(&loaded.1));
    let work = move |session: &mut dyn Session, (object, id): (ObjectVersion, String)| {
        let mut bytes = source.read(&object, None)?;
        let mut buffer = Vec::with_capacity(LARGE_PIECE);
        let mut offset = 0;
        loop {
            buffer.clear();
            let read = bytes.by_ref().take(LARGE_PIECE as u64).read_to_end(&mut buffer);
            let read = read.map_err(|error| RestoreError::Read { key: object.key.clone(), error })?;
            if read == 0 {
                return Ok(());
            }
            session.query(&format!("SELECT pg_catalog.lo_put({id}, {offset}, '\\x{}')", hex(&buffer)))?;
            offset += read;
            bytes_loaded.fetch_add(read as u64, Ordering::Relaxed);
            watch.progress.add_read(read as u64, 0);
        }
    };
    work_through(&request.server, &request.target.database, request.jobs, wanted, token, work).await?;
    let (count, bytes) = (loaded.0, loaded.1.load(Ordering::Relaxed));
    if (count, bytes) == (dumped.count, dumped.bytes) {
        return Ok(());
    }
    let (count_dumped, bytes_dumped) = (dumped.count, dumped.bytes);
    Err(RestoreError::Damaged(format!(
        "{count} large objects of {bytes} bytes came instead of {count_dumped} of {bytes_dumped}"
    )))
}
