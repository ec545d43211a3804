//! Level 2: every object is read, decompressed, counted and hashed, and compared with what the manifest says of it; and the
//! table of contents names nothing that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{Found, asked_twice, is_refusal};
use crate::domain::manifest::{Engine, LargeObjects, Manifest, StoredObject, Table};
use crate::domain::progress::Progress;
use crate::domain::prune_record::ObjectVersion;
use crate::dump::ARCHIVE;
use crate::dump::archive::{LARGE_OBJECTS, Toc, TocEntry, read_toc_dat};
use crate::dump::parallel::{LARGE_LIST, TOC_DAT, is_large_object, large_object, table_object};
use crate::dump::read_back::{Content, Read, ReadBack, read_back};
use crate::ports::object_store::ObjectStore;
use crate::ports::{Chain, PortError};

/// Reads every object that stands. What is found is in `found`; nothing more is read once the store has refused one.
pub(super) async fn read(
    store: &dyn ObjectStore,
    manifest: &Manifest,
    standing: &[(&StoredObject, ObjectVersion)],
    found: &mut Found,
    progress: &Arc<Progress>,
    token: &CancellationToken,
) -> Result<(), PortError> {
    let mut seen = Seen::default();
    for (object, version) in standing {
        let content = content_of(manifest, object);
        match asked_twice!(read_back(store, version, content, progress, token)) {
            Ok(read) => judge(manifest, object, read, found, &mut seen),
            Err(error) => return found.refused(error),
        }
    }
    match manifest.engine {
        Engine::Parallel => found.faults.extend(seen.differences(manifest)),
        Engine::PgDump if manifest.objects.iter().any(|object| object.key.file_name() == ARCHIVE) => {}
        Engine::PgDump => found.faults.push(format!("the manifest names no {ARCHIVE}")),
    }
    Ok(())
}

fn content_of(manifest: &Manifest, object: &StoredObject) -> Content {
    match object.key.file_name() {
        _ if manifest.table_of(object).is_some() => Content::CompressedTable,
        ARCHIVE => Content::CompressedArchive,
        name if is_large_object(name) => Content::Compressed,
        name if name == TOC_DAT || name.ends_with(LARGE_LIST) => Content::Small,
        _ => Content::Plain,
    }
}

/// What has to be looked at together in an archive of the directory format.
#[derive(Default)]
struct Seen {
    toc: Option<Result<Toc, String>>,
    /// Lists of large objects, by the names of their files.
    lists: BTreeMap<String, Bytes>,
    large: LargeObjects,
}

/// Compares what was read of an object with the manifest.
fn judge(manifest: &Manifest, object: &StoredObject, read: ReadBack, found: &mut Found, seen: &mut Seen) {
    let named = manifest.named(object);
    found.bytes += read.size_bytes;
    if read.size_bytes != object.size_bytes {
        found.faults.push(format!("{named}: {} bytes were read instead of {}", read.size_bytes, object.size_bytes));
    }
    if read.sha256 != object.sha256 {
        found.faults.push(format!("{named}: SHA-256 is {} instead of {}", read.sha256, object.sha256));
    }
    match read.read {
        Ok(Read::Plain) => {}
        Ok(Read::Archive(walked)) => {
            found.rows += walked.rows;
            found.faults.extend(row_faults(manifest, &walked.tables));
            found.faults.extend(large_faults(manifest, &walked.large_objects));
        }
        Ok(Read::Table(count)) => {
            found.rows += count.rows;
            let table = manifest.table_of(object);
            found
                .faults
                .extend(table.and_then(|table| table.difference(count.rows, count.bytes, Some(&count.hash_hex()))));
        }
        Ok(Read::Bytes { plain }) => {
            seen.large.count += 1;
            seen.large.bytes += plain;
        }
        Ok(Read::Small(bytes)) if object.key.file_name() == TOC_DAT => {
            seen.toc = Some(read_toc_dat(&bytes).map_err(|error| format!("{named}: {}", Chain(&error))));
        }
        Ok(Read::Small(bytes)) => {
            seen.lists.insert(object.key.file_name().to_owned(), bytes);
        }
        Err(error) => found.faults.push(format!("{named}: {}", Chain(&error))),
    }
}

/// How the tables that were read differ from those of the manifest.
fn row_faults(manifest: &Manifest, read: &[Table]) -> Vec<String> {
    let mut faults = Vec::new();
    for table in &manifest.tables {
        match read.iter().find(|own| own.dump_id == table.dump_id) {
            None => faults.push(format!("{} is missing in the archive", table.named())),
            Some(own) => faults.extend(table.difference(own.rows, own.bytes, own.hash.as_deref())),
        }
    }
    if read.len() > manifest.tables.len() {
        faults.push(format!("the archive has {} tables, the manifest {}", read.len(), manifest.tables.len()));
    }
    faults
}

fn large_faults(manifest: &Manifest, read: &LargeObjects) -> Option<String> {
    let LargeObjects { count, bytes } = manifest.large_objects;
    (*read != manifest.large_objects).then(|| {
        format!("there are {} large objects of {} bytes instead of {count} of {bytes}", read.count, read.bytes)
    })
}

impl Seen {
    /// How the parts of the archive do not fit together.
    fn differences(self, manifest: &Manifest) -> Vec<String> {
        let toc = match self.toc {
            Some(Ok(toc)) => toc,
            Some(Err(fault)) => return vec![fault],
            // That it is missing is told already, if the manifest names it.
            None if manifest.objects.iter().any(|object| object.key.file_name() == TOC_DAT) => return Vec::new(),
            None => return vec![format!("the manifest names no {TOC_DAT}")],
        };
        let objects: BTreeSet<&str> = manifest.objects.iter().map(|object| object.key.file_name()).collect();
        let tables: BTreeSet<i32> = manifest.tables.iter().map(|table| table.dump_id).collect();
        let mut faults = Vec::new();
        let mut with_data = BTreeSet::new();
        for entry in toc.entries.iter().filter(|entry| entry.has_data) {
            if entry.description == LARGE_OBJECTS {
                faults.extend(list_faults(&entry.file_name(toc.version), &self.lists, &objects));
            } else {
                with_data.insert(entry.dump_id);
                faults.extend(table_fault(entry, &tables, &objects));
            }
        }
        let beyond = manifest.tables.iter().filter(|table| !with_data.contains(&table.dump_id));
        faults.extend(beyond.map(|table| format!("{TOC_DAT} has no {}", table.named())));
        faults.extend(large_faults(manifest, &self.large));
        faults
    }
}

fn table_fault(entry: &TocEntry, tables: &BTreeSet<i32>, objects: &BTreeSet<&str>) -> Option<String> {
    let named = format!("table {}.{}", entry.namespace, entry.tag);
    if !tables.contains(&entry.dump_id) {
        return Some(format!("{named} is in {TOC_DAT} and not in the manifest"));
    }
    let name = table_object(entry.dump_id);
    (!objects.contains(name.as_str())).then(|| format!("{named} has no object in the manifest: {name} should be there"))
}

fn list_faults(list: &str, lists: &BTreeMap<String, Bytes>, objects: &BTreeSet<&str>) -> Vec<String> {
    if !objects.contains(list) {
        return vec![format!("large objects have no list in the manifest: {list} should be there")];
    }
    // One that is missing, or cannot be read, is told already.
    let text = lists.get(list).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    let ids = text.lines().filter_map(|line| line.split_once(' ')).map(|(id, _)| id);
    let absent = ids.filter(|id| !objects.contains(large_object(id).as_str()));
    absent.map(|id| format!("large object {id} has no object in the manifest")).collect()
}
