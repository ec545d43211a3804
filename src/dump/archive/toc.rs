//! The table of contents at the head of an archive.

use std::io::Read;

use super::reader::ByteReader;
use super::{ArchiveError, ArchiveSink};

/// Longest string in a table of contents: a function or view definition can be long, a terabyte cannot be one.
const STRING_BYTES_MAX: u64 = 1 << 28;
/// Most entries in a table of contents; PostgreSQL itself runs out of OIDs long before.
const ENTRIES_MAX: i32 = 50_000_000;
/// Most dependencies of one entry.
const DEPENDENCIES_MAX: usize = 10_000_000;

/// A table of contents, as far as the walk needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toc {
    /// Major and minor version of the format, such as 1.14.
    pub version: (u8, u8),
    /// Entries in their order.
    pub entries: Vec<TocEntry>,
}

/// One entry of a table of contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TocEntry {
    /// The archive's id of it.
    pub dump_id: i32,
    /// Whether the archive holds data for it.
    pub has_data: bool,
    /// Its name.
    pub tag: String,
    /// What it is, such as `TABLE DATA`.
    pub description: String,
    /// Its schema.
    pub namespace: String,
}

pub(super) fn read<R: Read, S: ArchiveSink>(reader: &mut ByteReader<'_, R, S>) -> Result<Toc, ArchiveError> {
    let header = "the header";
    for expected in *b"PGDMP" {
        if reader.byte(header)? != expected {
            return Err(ArchiveError::NotAnArchive("it does not begin with PGDMP"));
        }
    }
    let (major, minor) = (reader.byte(header)?, reader.byte(header)?);
    if major != 1 || !(12..=16).contains(&minor) {
        return Err(ArchiveError::UnknownVersion { major, minor });
    }
    reader.byte(header)?; // Revision: it changes nothing that a reader sees.
    let (int_bytes, offset_bytes) = (reader.byte(header)?, reader.byte(header)?);
    if int_bytes != 4 || offset_bytes != 8 {
        return Err(ArchiveError::NotAnArchive("its integers are not of 4 bytes, or its offsets not of 8"));
    }
    if reader.byte(header)? != 1 {
        return Err(ArchiveError::NotAnArchive("its format is not custom"));
    }
    let compressed = if minor >= 15 { i32::from(reader.byte(header)?) } else { reader.int(header)? };
    if compressed != 0 {
        return Err(ArchiveError::NotAnArchive("it is compressed; strongroom asks pg_dump for -Z0"));
    }
    for _ in 0..7 {
        reader.int("the creation time")?;
    }
    for _database_server_and_client_version in 0..3 {
        reader.string(STRING_BYTES_MAX, header)?;
    }
    let place = "the table of contents";
    let count = reader.int(place)?;
    if !(0..=ENTRIES_MAX).contains(&count) {
        return Err(ArchiveError::Length { length: i64::from(count), place });
    }
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(read_entry(reader, minor)?);
    }
    Ok(Toc { version: (major, minor), entries })
}

fn read_entry<R: Read, S: ArchiveSink>(reader: &mut ByteReader<'_, R, S>, minor: u8) -> Result<TocEntry, ArchiveError> {
    let place = "an entry of the table of contents";
    let dump_id = reader.int(place)?;
    let has_data = reader.int(place)? != 0;
    let string = |reader: &mut ByteReader<'_, R, S>| reader.string(STRING_BYTES_MAX, place);
    string(reader)?; // OID of the catalog.
    string(reader)?; // OID in it.
    let tag = string(reader)?.unwrap_or_default();
    let description = string(reader)?.unwrap_or_default();
    reader.int(place)?; // Section.
    for _definition_drop_copy in 0..3 {
        reader.string(STRING_BYTES_MAX, place)?;
    }
    let namespace = reader.string(STRING_BYTES_MAX, place)?.unwrap_or_default();
    reader.string(STRING_BYTES_MAX, place)?; // Tablespace.
    if minor >= 14 {
        reader.string(STRING_BYTES_MAX, place)?; // Table access method.
    }
    if minor >= 16 {
        reader.int(place)?; // Kind of relation.
    }
    reader.string(STRING_BYTES_MAX, place)?; // Owner.
    reader.string(STRING_BYTES_MAX, place)?; // "WITH OIDS": always "false" since version 1.13.
    let mut dependencies = 0;
    while reader.string(STRING_BYTES_MAX, place)?.is_some() {
        dependencies += 1;
        if dependencies > DEPENDENCIES_MAX {
            return Err(ArchiveError::Length { length: i64::MAX, place });
        }
    }
    // Where the data lies: a flag and an offset. In a pipe nobody can go back to fill it in, so it says "not known".
    for _ in 0..9 {
        reader.byte(place)?;
    }
    Ok(TocEntry { dump_id, has_data, tag, description, namespace })
}
