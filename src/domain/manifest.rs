//! The manifest: the object that makes a dump exist, written last and never changed.
//!
//! It is read by later versions, by auditors and by people without strongroom, so fields are only ever added. The golden
//! files in `tests/fixtures/manifests` must read for ever.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{InstallationId, InstanceId, ResourceId, RunId, SnapshotId};
use super::key::{DumpId, ObjectKey};

/// Version of the manifest that this code writes.
pub const MANIFEST_VERSION: u32 = 1;
/// Largest manifest that is written or read: 100,000 tables of the parallel engine take about 50 MB.
pub const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Up to this size it has line breaks. Nobody reads more by eye, and they would be a third of it.
const FOR_PEOPLE_BYTES_MAX: usize = 1 << 20;

/// How the names of objects end that hold the rows of one table; they begin with the archive's id of the table.
pub const TABLE_OBJECT: &str = ".dat.zst";

/// How the archive was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// `pg_dump -Fc -Z0`, streamed as one object.
    PgDump,
    /// Several connections in one snapshot, each table an object of pg_dump's directory format.
    Parallel,
}

impl Engine {
    /// The name of the engine in the configuration and in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Engine::PgDump => "pg_dump",
            Engine::Parallel => "parallel",
        }
    }
}

/// The manifest of one dump.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Version of this format.
    pub version: u32,
    /// The installation that made the dump.
    pub installation: InstallationId,
    /// Source, database and slot.
    #[serde(flatten)]
    pub dump: DumpId,
    /// The run that made it; its directory holds the objects.
    #[schemars(with = "String")]
    pub run: RunId,
    /// The instance dumped.
    pub instance: InstanceId,
    /// `DbiResourceId` of the instance dumped.
    pub resource: ResourceId,
    /// The read replica that the data was read from, if not the instance itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_from: Option<InstanceId>,
    /// The snapshot out of which a restore drill made the instance that the data was read from, if it was not the instance
    /// itself. The moment of the data is the snapshot's then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_snapshot: Option<SnapshotId>,
    /// How the archive was made.
    pub engine: Engine,
    /// Versions of everything that took part.
    pub versions: Versions,
    /// When the run began.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// When the last object was stored.
    #[schemars(with = "String")]
    pub finished_at: Timestamp,
    /// The moment of the data: it is no older than this. Taken just before the database's snapshot.
    #[schemars(with = "String")]
    pub snapshot_at: Timestamp,
    /// WAL position at [`Manifest::snapshot_at`], as `pg_current_wal_lsn()` prints it; absent where the instance is a read replica itself,
    /// and where the data is that of a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_lsn: Option<String>,
    /// Bytes of the archive before compression.
    pub uncompressed_bytes: u64,
    /// Bytes of all objects.
    pub stored_bytes: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// How the archive is compressed.
    pub compression: Compression,
    /// Table data in the archive, in its order.
    pub tables: Vec<Table>,
    /// Large objects in the archive.
    pub large_objects: LargeObjects,
    /// Every object of the dump but this one.
    pub objects: Vec<StoredObject>,
    /// Extensions that a restore needs to find.
    pub extensions: Vec<Extension>,
    /// Roles that own or are granted something; `globals.sql` creates them, without passwords.
    pub roles: Vec<String>,
    /// What pg_dump wrote to standard error although it succeeded, and what a replica or snapshot did not have: parts of the database that
    /// are missing are named here and nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnings: Option<String>,
    /// SHA-256 of the effective configuration, in hex: says which settings made this dump.
    pub config_sha256: String,
}

/// Versions of everything that took part in a dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Versions {
    /// strongroom.
    pub strongroom: String,
    /// The server, as `server_version` says.
    pub server: String,
    /// `pg_dump --version`.
    pub pg_dump: String,
    /// Version of pg_dump's archive format, such as `1.14`.
    pub archive: String,
}

/// How an archive is compressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Compression {
    /// The format; `zstd`, with content checksums in each frame.
    pub algorithm: String,
    /// The level asked for.
    pub level: i32,
}

/// Data of one table in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    /// The archive's id of the entry.
    pub dump_id: i32,
    /// Schema.
    pub schema: String,
    /// Table.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of COPY text, newlines included, end mark not.
    pub bytes: u64,
    /// Of the parallel engine: the multiset hash of its rows, in hex. It is the sum modulo 2^128 of XXH3-128 over each row's
    /// COPY text without its newline, so neither the order of rows nor how the table was split matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Of the parallel engine: the parts of its object, each of whole zstd frames and whole rows, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<TablePart>,
}

impl Table {
    /// Where its parts end, if each begins where the one before it ends, and none is empty.
    fn end_of_parts(&self) -> Option<u64> {
        let follow = |end: u64, part: &TablePart| {
            let follows = part.offset == end && part.size_bytes > 0;
            follows.then(|| end.checked_add(part.size_bytes)).flatten()
        };
        self.parts.iter().try_fold(0, follow)
    }

    /// `table schema.name`, for people.
    #[must_use]
    pub fn named(&self) -> String {
        format!("table {}.{}", self.schema, self.name)
    }

    /// How what was counted of it, and the hash of that in hex, differ from what was dumped.
    #[must_use]
    pub fn difference(&self, rows: u64, bytes: u64, hash: Option<&str>) -> Option<String> {
        let name = self.named();
        if (rows, bytes) != (self.rows, self.bytes) {
            let (dumped_rows, dumped_bytes) = (self.rows, self.bytes);
            return Some(format!(
                "{name} has {rows} rows and {bytes} bytes instead of {dumped_rows} and {dumped_bytes}"
            ));
        }
        (hash != self.hash.as_deref()).then(|| format!("{name} has other rows than were dumped: their hash differs"))
    }
}

/// A part of a table's object, which can be read without the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TablePart {
    /// Where it begins in the object.
    pub offset: u64,
    /// Its bytes.
    pub size_bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// The multiset hash of its rows, in hex.
    pub hash: String,
}

/// Large objects in the archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LargeObjects {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One stored object and what proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredObject {
    /// Its key.
    pub key: ObjectKey,
    /// The exact version, in a versioned bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// Its bytes.
    pub size_bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// CRC64NVME of the bytes sent, in base64; S3 has checked them against it.
    pub crc64nvme: String,
    /// The KMS key that S3 says it is encrypted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
}

/// An installed extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Extension {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// Not JSON of this form.
    #[error("not a manifest")]
    Malformed(#[source] serde_json::Error),
    /// Larger than any that is read.
    #[error(
        "a manifest of {tables} tables would have {bytes} bytes, and none of more than {MANIFEST_BYTES_MAX} is read\
         {advice}"
    )]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// How many tables it names.
        tables: usize,
        /// What to do, where there is something.
        advice: &'static str,
    },
    /// Written by a later strongroom.
    #[error("manifest version {0} is newer than this strongroom reads ({MANIFEST_VERSION}): upgrade strongroom")]
    TooNew(u32),
    /// It stands under another dump's key.
    #[error("the manifest says that it is of {0}: it was moved or copied")]
    Misplaced(DumpId),
    /// Its numbers are those of no dump.
    #[error("the manifest's numbers cannot be: {0}")]
    Impossible(String),
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

impl Manifest {
    /// Reads a manifest that was found under the key of `dump`.
    ///
    /// # Errors
    /// See [`InvalidManifest`].
    pub fn read(bytes: &[u8], dump: &DumpId) -> Result<Manifest, InvalidManifest> {
        let version: VersionOnly = serde_json::from_slice(bytes).map_err(InvalidManifest::Malformed)?;
        if version.version > MANIFEST_VERSION {
            return Err(InvalidManifest::TooNew(version.version));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(InvalidManifest::Malformed)?;
        if manifest.dump != *dump {
            return Err(InvalidManifest::Misplaced(manifest.dump));
        }
        match manifest.impossible() {
            Some(what) => Err(InvalidManifest::Impossible(what)),
            None => Ok(manifest),
        }
    }

    /// What of its numbers cannot be, so that whoever adds them up need not ask: sums have 64 bits, and the parts of an object
    /// follow each other from its beginning.
    fn impossible(&self) -> Option<String> {
        let sum = |mut numbers: Box<dyn Iterator<Item = u64> + '_>| numbers.try_fold(0, u64::checked_add);
        let tables = sum(Box::new(self.tables.iter().map(|table| table.bytes).chain([self.large_objects.bytes])));
        let rows = sum(Box::new(self.tables.iter().map(|table| table.rows)));
        let objects = sum(Box::new(self.objects.iter().map(|object| object.size_bytes)));
        if tables.is_none() || rows.is_none() || objects.is_none() {
            return Some("sizes or rows add up to more than 64 bits hold".to_owned());
        }
        let odd = self.tables.iter().find(|table| table.end_of_parts().is_none());
        odd.map(|table| format!("the parts of {} do not follow each other", table.named()))
    }

    /// The table whose rows an object holds, if it holds those of one.
    #[must_use]
    pub fn table_of(&self, object: &StoredObject) -> Option<&Table> {
        let dump_id = object.key.file_name().strip_suffix(TABLE_OBJECT)?.parse::<i32>().ok()?;
        self.tables.iter().find(|table| table.hash.is_some() && table.dump_id == dump_id)
    }

    /// An object by its key, with the table in it, for people.
    #[must_use]
    pub fn named(&self, object: &StoredObject) -> String {
        match self.table_of(object) {
            Some(table) => format!("{} ({})", object.key, table.named()),
            None => object.key.to_string(),
        }
    }

    /// The manifest as it is stored: JSON, with line breaks for people unless it is long.
    ///
    /// # Errors
    /// It is so large that nobody would read it. Every field has a JSON form.
    pub fn to_json(&self) -> Result<Vec<u8>, InvalidManifest> {
        let mut json = serde_json::to_vec_pretty(self).map_err(InvalidManifest::Malformed)?;
        if json.len() > FOR_PEOPLE_BYTES_MAX {
            json = serde_json::to_vec(self).map_err(InvalidManifest::Malformed)?;
        }
        json.push(b'\n');
        match json.len() as u64 {
            bytes if bytes > MANIFEST_BYTES_MAX => {
                let advice = match self.engine {
                    Engine::Parallel => ": `engine = \"pg_dump\"` needs a third of that",
                    Engine::PgDump => "",
                };
                Err(InvalidManifest::TooLarge { bytes, tables: self.tables.len(), advice })
            }
            _ => Ok(json),
        }
    }
}

#[cfg(test)]
mod tests;
