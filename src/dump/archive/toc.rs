//! The table of contents at the head of an archive.

use std::io::Read;

use super::reader::ByteReader;
use super::{ArchiveError, ArchiveSink};

/// Longest string in a table of contents: a function or view definition can be long, a terabyte cannot be one.
const STRING_BYTES_MAX: u64 = 1 << 28;
/// Most entries in a table of contents; PostgreSQL itself runs out of OIDs long before.
const ENTRIES_MAX: i32 = 50_000_000;
/// Largest table of contents: a million tables take a few hundred megabytes.
const CONTENTS_BYTES_MAX: u64 = 1 << 30;
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
    /// The OID of what it is of, in decimal; of table data that of the table.
    pub oid: String,
    /// Its name.
    pub tag: String,
    /// What it is, such as `TABLE DATA`.
    pub description: String,
    /// Its schema.
    pub namespace: String,
    /// Of table data: `COPY schema.table (columns) FROM stdin;`.
    pub copy_statement: String,
    /// When it is restored.
    pub section: Section,
    /// Of the entry `DATABASE` the statement that creates it, of `SEQUENCE SET` the one that sets it, and of `BLOB METADATA`
    /// the ids of the large objects, one a line. Other definitions are not kept.
    pub definition: String,
    /// Ids of the entries that have to be restored before it.
    pub dependencies: Vec<i32>,
}

/// The part of a restore that an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Not restored by itself: settings of the session, and the database.
    None,
    /// What rows need: schemas, types, tables, functions.
    PreData,
    /// Rows, large objects, and where sequences stand.
    Data,
    /// What needs rows: indexes, constraints, triggers.
    PostData,
}

impl Section {
    /// As `pg_backup.h` numbers them.
    fn of_number(number: i32) -> Option<Section> {
        match number {
            1 => Some(Section::None),
            2 => Some(Section::PreData),
            3 => Some(Section::Data),
            4 => Some(Section::PostData),
            _ => None,
        }
    }
}

impl TocEntry {
    /// Of table data: `schema.table (columns)`, as `COPY` takes it; `None` where the statement has an unknown form.
    #[must_use]
    pub fn copy_target(&self) -> Option<&str> {
        let target = self.copy_statement.trim_end().strip_prefix("COPY ")?;
        Some(target.strip_suffix(" FROM stdin;")?.trim_end())
    }

    /// The file that holds its data in an archive of the directory format; empty where it has none.
    ///
    /// Large objects have a list of their files; it is named after the entry since several entries can have some
    /// (`pg_backup_directory.c`, PostgreSQL 17).
    #[must_use]
    pub fn file_name(&self, version: (u8, u8)) -> String {
        match self.description.as_str() {
            _ if !self.has_data => String::new(),
            LARGE_OBJECTS if version >= (1, 16) => format!("blobs_{}.toc", self.dump_id),
            LARGE_OBJECTS => "blobs.toc".to_owned(),
            _ => format!("{}.dat", self.dump_id),
        }
    }
}

/// Description of an entry whose data are large objects.
pub const LARGE_OBJECTS: &str = "BLOBS";
/// Description of an entry that makes large objects without their bytes (PostgreSQL 17).
pub const LARGE_OBJECTS_MADE: &str = "BLOB METADATA";
/// Description of the entry that is the database.
pub const DATABASE: &str = "DATABASE";
/// Description of an entry that says where a sequence stands.
pub const SEQUENCE_SET: &str = "SEQUENCE SET";
/// Descriptions of the entries whose definitions are kept.
const KEPT: [&str; 3] = [DATABASE, LARGE_OBJECTS_MADE, SEQUENCE_SET];
/// Format byte of a directory's `toc.dat`, which says that it is of a tar file.
const FORMAT_TAR: u8 = 3;
/// Format byte of a custom archive.
const FORMAT_CUSTOM: u8 = 1;
/// Bytes of a custom archive's offset: a flag, and eight bytes.
const OFFSET_BYTES: usize = 9;

/// Which archive a table of contents is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The custom format.
    Custom,
    /// The `toc.dat` of the directory format.
    Directory,
}

pub(super) fn read<R: Read, S: ArchiveSink>(
    reader: &mut ByteReader<'_, R, S>,
    form: Form,
) -> Result<Toc, ArchiveError> {
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
    match (form, reader.byte(header)?) {
        (Form::Custom, FORMAT_CUSTOM) => reader.replace_last(1, &[FORMAT_TAR]),
        (Form::Directory, FORMAT_TAR) => {}
        (Form::Custom, _) => return Err(ArchiveError::NotAnArchive("its format is not custom")),
        (Form::Directory, _) => return Err(ArchiveError::NotAnArchive("its format is not directory")),
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
        entries.push(read_entry(reader, (major, minor), form)?);
        if reader.bytes() > CONTENTS_BYTES_MAX {
            return Err(ArchiveError::Length { length: i64::try_from(reader.bytes()).unwrap_or(i64::MAX), place });
        }
    }
    Ok(Toc { version: (major, minor), entries })
}

fn read_entry<R: Read, S: ArchiveSink>(
    reader: &mut ByteReader<'_, R, S>,
    version: (u8, u8),
    form: Form,
) -> Result<TocEntry, ArchiveError> {
    let (_, minor) = version;
    let place = "an entry of the table of contents";
    let dump_id = reader.int(place)?;
    let has_data = reader.int(place)? != 0;
    let string = |reader: &mut ByteReader<'_, R, S>| reader.string(STRING_BYTES_MAX, place);
    string(reader)?; // OID of the catalog.
    let oid = string(reader)?.unwrap_or_default();
    let tag = string(reader)?.unwrap_or_default();
    let description = string(reader)?.unwrap_or_default();
    let section = Section::of_number(reader.int(place)?);
    let section = section.ok_or(ArchiveError::NotAnArchive("an entry is of an unknown section"))?;
    let definition = string(reader)?.filter(|_| KEPT.contains(&description.as_str())).unwrap_or_default();
    string(reader)?; // How it is dropped.
    let copy_statement = string(reader)?.unwrap_or_default();
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
    let mut dependencies = Vec::new();
    while let Some(dependency) = reader.string(STRING_BYTES_MAX, place)? {
        let dependency = dependency.parse();
        dependencies.push(dependency.map_err(|_| ArchiveError::NotAnArchive("a dependency is no number"))?);
        if dependencies.len() > DEPENDENCIES_MAX {
            return Err(ArchiveError::Length { length: i64::MAX, place });
        }
    }
    if form == Form::Directory {
        reader.string(STRING_BYTES_MAX, place)?; // The file that holds its data.
    } else {
        // Where the data lies: a flag and an offset. In a pipe nobody can go back to fill it in, so it says "not known".
        for _ in 0..OFFSET_BYTES {
            reader.byte(place)?;
        }
    }
    let entry = TocEntry {
        dump_id,
        has_data,
        oid,
        tag,
        description,
        namespace,
        copy_statement,
        section,
        definition,
        dependencies,
    };
    if form == Form::Directory {
        return Ok(entry);
    }
    let file_name = entry.file_name(version);
    let mut written = vec![0];
    written.extend(u32::try_from(file_name.len()).unwrap_or(0).to_le_bytes());
    written.extend(file_name.as_bytes());
    reader.replace_last(OFFSET_BYTES, &written);
    Ok(entry)
}
