//! Reads pg_dump's custom archive format while it flows past.
//!
//! The custom format has no end mark: a cut at the right place leaves an archive that `pg_restore --list` accepts. So the
//! walk checks what the table of contents promises: each entry with data must have its block, each table its end
//! (`\.` and three newlines, as pg_dump writes it), and the stream must end where a block ends.
//!
//! The format is read as PostgreSQL's `pg_backup_archiver.c` and `pg_backup_custom.c` write it, versions 1.12 (PostgreSQL 9.0)
//! to 1.16 (PostgreSQL 17 and 18). Archives come from outside, so every length has a limit and nothing is reserved on its
//! word alone.

mod reader;
mod toc;

use std::collections::BTreeMap;
use std::io;

use reader::ByteReader;
use toc::Form;
pub use toc::{DATABASE, LARGE_OBJECTS, LARGE_OBJECTS_MADE, SEQUENCE_SET, Section, Toc, TocEntry};

use crate::domain::manifest::{LargeObjects, Table};

/// What pg_dump writes after the last row of a table.
pub(super) const COPY_END: &[u8; 5] = b"\\.\n\n\n";
/// Newlines in [`COPY_END`].
const COPY_END_NEWLINES: u64 = 3;

/// Type byte of a block that holds one table.
const BLOCK_DATA: u8 = 1;
/// Type byte of a block that holds large objects.
const BLOCK_BLOBS: u8 = 3;

/// An archive that is not whole, or is none.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Reading it failed.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// Taking it in failed.
    #[error("cannot take in the archive")]
    Consume(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It ends too early.
    #[error("the archive ends in {0}")]
    Truncated(&'static str),
    /// It is no archive of this format.
    #[error("this is no custom-format archive of pg_dump: {0}")]
    NotAnArchive(&'static str),
    /// Its version is unknown.
    #[error("archive version {major}.{minor} is unknown to strongroom, which reads 1.12 to 1.16")]
    UnknownVersion {
        /// Major version.
        major: u8,
        /// Minor version.
        minor: u8,
    },
    /// A length is out of bounds.
    #[error("a length of {length} in {place} is out of bounds")]
    Length {
        /// What was read.
        length: i64,
        /// Where.
        place: &'static str,
    },
    /// A data block does not belong to an entry with data, or comes twice.
    #[error("the archive has unexpected data for entry {0}")]
    UnexpectedData(i32),
    /// A table's data does not end as pg_dump ends it.
    #[error("the data of table {schema}.{table} has no end mark")]
    TableCutOff {
        /// Schema.
        schema: String,
        /// Table.
        table: String,
    },
    /// The data of a table in a file of its own does not end as pg_dump ends it.
    #[error("the rows have no end mark")]
    NoEndMark,
    /// The table of contents promises data that never came.
    #[error("the archive has no data for {missing} entries that its table of contents promises, such as {example}")]
    DataMissing {
        /// How many.
        missing: usize,
        /// One of them.
        example: String,
    },
}

/// What was seen in an archive that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// The table of contents.
    pub toc: Toc,
    /// Tables in the order of their data.
    pub tables: Vec<Table>,
    /// Large objects.
    pub large_objects: LargeObjects,
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes of the archive.
    pub bytes: u64,
}

/// The head of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The table of contents.
    pub toc: Toc,
    /// The same as the `toc.dat` of an archive of the directory format.
    pub toc_dat: Vec<u8>,
}

/// Reads the table of contents, which a custom archive begins with, and nothing of what follows it.
///
/// # Errors
/// See [`ArchiveError`].
pub fn read_head(input: impl io::Read) -> Result<Head, ArchiveError> {
    let mut nowhere = Nowhere;
    let mut reader = ByteReader::transcribing(input, &mut nowhere);
    let toc = toc::read(&mut reader, Form::Custom)?;
    Ok(Head { toc, toc_dat: reader.into_transcript() })
}

/// Reads the `toc.dat` of an archive of the directory format.
///
/// # Errors
/// See [`ArchiveError`].
pub fn read_toc_dat(bytes: &[u8]) -> Result<Toc, ArchiveError> {
    let mut nowhere = Nowhere;
    toc::read(&mut ByteReader::new(bytes, &mut nowhere), Form::Directory)
}

/// Takes an archive in and keeps nothing.
#[derive(Debug)]
pub struct Nowhere;

impl ArchiveSink for Nowhere {
    fn take(&mut self, _bytes: &[u8], _rows: u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

/// Takes in the bytes of an archive as they are read, in order and without gaps.
pub trait ArchiveSink {
    /// Takes the next bytes; `rows` is how many rows have been seen before them.
    ///
    /// # Errors
    /// The bytes cannot be taken; the walk ends.
    fn take(&mut self, bytes: &[u8], rows: u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// Reads an archive to its end, hands every byte to `sink`, and says what was in it.
///
/// # Errors
/// The archive cannot be read or is not whole, or the sink refuses. See [`ArchiveError`].
pub fn walk(input: impl io::Read, sink: &mut impl ArchiveSink) -> Result<Walked, ArchiveError> {
    let mut reader = ByteReader::new(input, sink);
    let toc = toc::read(&mut reader, Form::Custom)?;
    let mut expected: BTreeMap<i32, &TocEntry> =
        toc.entries.iter().filter(|entry| entry.has_data).map(|entry| (entry.dump_id, entry)).collect();
    let mut tables = Vec::new();
    let mut large_objects = LargeObjects::default();
    while let Some(block) = reader.byte_or_end()? {
        let dump_id = reader.int("the id of a data block")?;
        let entry = expected.remove(&dump_id).ok_or(ArchiveError::UnexpectedData(dump_id))?;
        match block {
            BLOCK_DATA => tables.push(read_table(&mut reader, entry)?),
            BLOCK_BLOBS => read_blobs(&mut reader, &mut large_objects)?,
            _ => return Err(ArchiveError::NotAnArchive("a data block has an unknown type")),
        }
    }
    if let Some(entry) = expected.values().next() {
        return Err(ArchiveError::DataMissing {
            missing: expected.len(),
            example: format!("{} {}.{}", entry.description, entry.namespace, entry.tag),
        });
    }
    let (bytes, rows) = (reader.bytes(), reader.rows());
    Ok(Walked { toc, tables, large_objects, rows, bytes })
}

fn read_table<R: io::Read, S: ArchiveSink>(
    reader: &mut ByteReader<'_, R, S>,
    entry: &TocEntry,
) -> Result<Table, ArchiveError> {
    let (mut newlines, mut bytes) = (0_u64, 0_u64);
    let mut tail = Tail::default();
    while let Some(length) = chunk_length(reader)? {
        bytes += length;
        reader.visit(length, "the data of a table", |piece| {
            let seen = u64::try_from(memchr::memchr_iter(b'\n', piece).count()).unwrap_or(0);
            newlines += seen;
            tail.push(piece);
            seen
        })?;
    }
    if !tail.is_copy_end() {
        return Err(ArchiveError::TableCutOff { schema: entry.namespace.clone(), table: entry.tag.clone() });
    }
    let rows = newlines - COPY_END_NEWLINES;
    reader.uncount_rows(COPY_END_NEWLINES);
    Ok(Table {
        dump_id: entry.dump_id,
        schema: entry.namespace.clone(),
        name: entry.tag.clone(),
        rows,
        bytes: bytes - COPY_END.len() as u64,
        hash: None,
        parts: Vec::new(),
    })
}

fn read_blobs<R: io::Read, S: ArchiveSink>(
    reader: &mut ByteReader<'_, R, S>,
    large_objects: &mut LargeObjects,
) -> Result<(), ArchiveError> {
    while reader.int("the id of a large object")? != 0 {
        large_objects.count += 1;
        while let Some(length) = chunk_length(reader)? {
            large_objects.bytes += length;
            reader.visit(length, "a large object", |_| 0)?;
        }
    }
    Ok(())
}

fn chunk_length<R: io::Read, S: ArchiveSink>(reader: &mut ByteReader<'_, R, S>) -> Result<Option<u64>, ArchiveError> {
    let place = "a chunk of data";
    match reader.int(place)? {
        0 => Ok(None),
        length => match u64::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) => Err(ArchiveError::Length { length: i64::from(length), place }),
        },
    }
}

/// The last bytes of a table, over the bounds of chunks.
#[derive(Default)]
struct Tail {
    bytes: [u8; COPY_END.len()],
    length: usize,
}

impl Tail {
    fn push(&mut self, piece: &[u8]) {
        // The end mark mostly comes as one piece; a row is longer than it and replaces all.
        let last = piece.get(piece.len().saturating_sub(COPY_END.len())..).unwrap_or(piece);
        let keep = COPY_END.len() - last.len();
        let dropped = self.length.saturating_sub(keep);
        self.bytes.copy_within(dropped..self.length, 0);
        self.length -= dropped;
        if let Some(room) = self.bytes.get_mut(self.length..self.length + last.len()) {
            room.copy_from_slice(last);
        }
        self.length += last.len();
    }

    fn is_copy_end(&self) -> bool {
        self.length == COPY_END.len() && self.bytes == *COPY_END
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
