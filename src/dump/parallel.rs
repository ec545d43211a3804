//! The parallel engine: several connections in one snapshot, each table an object of pg_dump's directory format.
//!
//! ```text
//! coordinator   BEGIN, export snapshot ─ lock, look for rewritten tables ─────────────── large objects ─ end
//! pg_dump -Fc   └─ table of contents ─ blocked on a full pipe, holding its locks ───────────────────── killed
//! N workers        └─ enter the snapshot, COPY ranges ─▶ frames ─▶ parts ─▶ uploads
//! ```
//! The table of contents is pg_dump's own, so that ids, order, dependencies and definitions are as well. What it would write
//! after it is never read: rows come over our own connections.

mod altered;
mod frozen;
mod object;
mod range_writer;
mod workers;

use std::sync::Arc;

use bytes::Bytes;
pub use frozen::{Pages, TableData};
use tokio_util::sync::CancellationToken;

use super::DumpError;
use super::archive::{self, Head, Toc};
use super::bandwidth::Bandwidth;
use super::memory::Share;
use super::parts::PartSizes;
use super::replica::{self, Primary};
use super::row_meter::RowCount;
use crate::domain::id::RunId;
use crate::domain::inventory::Endpoint;
use crate::domain::key::{DumpId, Layout, ObjectKey};
use crate::domain::manifest::{LargeObjects, StoredObject, TABLE_OBJECT, Table};
use crate::domain::progress::Progress;
use crate::ports::credentials::Credentials;
use crate::ports::object_store::ObjectStore;
use crate::ports::postgres::{PgDump, Postgres, Session, TextEncoding};
use crate::ports::{ErrorKind, PortError};

/// Name of the object that holds the rows of a table, by the archive's id of them.
#[must_use]
pub fn table_object(dump_id: i32) -> String {
    format!("{dump_id}{TABLE_OBJECT}")
}

/// Name of the object that holds a large object, by its id in decimal.
#[must_use]
pub fn large_object(id: &str) -> String {
    format!("{}{COMPRESSED}", frozen::large_object_file(id))
}

/// Whether an object of this name holds a large object.
#[must_use]
pub fn is_large_object(name: &str) -> bool {
    name.strip_prefix(frozen::LARGE_OBJECT).is_some_and(|rest| rest.ends_with(TABLE_OBJECT))
}

/// Ends of the names of objects that are compressed.
const COMPRESSED: &str = ".zst";
/// Name of the table of contents in a run's directory.
pub const TOC_DAT: &str = "toc.dat";
/// How the names of lists of large objects end.
pub const LARGE_LIST: &str = ".toc";
/// A dump is begun so many times when tables are rewritten under its hands.
const ATTEMPTS: u32 = 3;

/// What is to be dumped, from where to where, and how.
#[derive(Clone)]
pub struct ParallelRequest {
    /// Servers.
    pub postgres: Arc<dyn Postgres>,
    /// The client whose table of contents is taken.
    pub pg_dump: Arc<dyn PgDump>,
    /// Makes the login of each connection.
    pub credentials: Arc<dyn Credentials>,
    /// Where the server is.
    pub endpoint: Endpoint,
    /// Where a replica is read: what it must be a replica of, and have replayed.
    pub replica_of: Option<Primary>,
    /// What the text of the database is read as.
    pub text: TextEncoding,
    /// The name of the connections in `pg_stat_activity`.
    pub name: String,
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// Forms the keys.
    pub layout: Layout,
    /// The dump.
    pub dump: DumpId,
    /// The run that makes it.
    pub run: RunId,
    /// The KMS key that objects must turn out to be encrypted with, where one is configured.
    pub kms_key: Option<String>,
    /// zstd level.
    pub compression_level: i32,
    /// Sizes of the parts of an object.
    pub sizes: PartSizes,
    /// What it may hold, and so how many connections read rows, and how many parts there are.
    pub memory: Arc<Share>,
    /// How fast it may send, over all connections.
    pub bandwidth: Arc<Bandwidth>,
    /// Bytes of a table's file that one piece of work reads at most.
    pub range_bytes: u64,
    /// Counters to move.
    pub progress: Arc<Progress>,
}

/// A dump whose objects are stored and checked.
#[derive(Debug, Clone)]
pub struct ParallelDump {
    /// The table of contents.
    pub toc: Toc,
    /// Tables in its order.
    pub tables: Vec<Table>,
    /// Large objects.
    pub large_objects: LargeObjects,
    /// Every object; the table of contents comes first.
    pub objects: Vec<StoredObject>,
    /// Rows of all tables, and their bytes.
    pub count: RowCount,
    /// What pg_dump wrote to standard error before it was stopped.
    pub warnings: Option<String>,
}

/// Dumps a database over several connections.
///
/// # Errors
/// See [`DumpError`]; uploads are aborted then, and whole objects that were stored belong to no manifest.
pub async fn dump_in_parallel(request: &ParallelRequest, token: &CancellationToken) -> Result<ParallelDump, DumpError> {
    let mut attempt = 1;
    loop {
        match dump_once(request, token).await {
            Err(DumpError::Rewritten { tables }) if attempt < ATTEMPTS => {
                tracing::warn!(tables, "tables were rewritten while the dump began; it begins anew");
                attempt += 1;
            }
            ended => return ended,
        }
    }
}

async fn dump_once(request: &ParallelRequest, token: &CancellationToken) -> Result<ParallelDump, DumpError> {
    let coordinator = request.session().await?;
    let stop = coordinator.stopper()?;
    let stopping = token.child_token();
    let held = hold(request, coordinator, &stopping);
    tokio::pin!(held);
    let held = tokio::select! {
        held = &mut held => held?,
        () = token.cancelled() => {
            stop();
            // Ends the client and the thread that reads it.
            drop(held.await);
            return Err(DumpError::Cancelled);
        }
    };
    let Held { coordinator, snapshot, head, contents, stderr } = held;
    let made = make_objects(request, coordinator, &snapshot, &head, &contents, token).await?;
    let (copied, lists, toc) = tokio::select! {
        checked = check_held(request, made, head.toc) => checked?,
        () = token.cancelled() => return Err(DumpError::Cancelled),
    };
    let count = copied.tables.iter().map(|(_, count)| *count).fold(RowCount::default(), RowCount::and);
    Ok(ParallelDump {
        toc,
        tables: copied.tables.into_iter().map(|(table, _)| table).collect(),
        large_objects: copied.large_objects,
        objects: lists.into_iter().chain(copied.objects).collect(),
        count,
        warnings: Some(stderr).filter(|stderr| !stderr.is_empty()),
    })
}

/// What was stored, with the session that has held the locks; and the lists of large objects, with the table of contents.
type Made = (workers::Copied, Box<dyn Session>, Vec<StoredObject>);

/// Makes sure that what was dumped stood still all the time. If the session is still there, so were its locks: without them
/// a table could have been emptied before a worker came to it, and nobody would have noticed. And no lock keeps a schema
/// from being renamed, nor a label of an enumeration.
async fn check_held(
    request: &ParallelRequest,
    made: Made,
    toc: Toc,
) -> Result<(workers::Copied, Vec<StoredObject>, Toc), DumpError> {
    let (copied, mut coordinator, lists) = made;
    let mut looking = request.session().await?;
    let (exchanged, toc) = blocking(move || {
        let mut exchanged = frozen::exchanged(looking.as_mut(), &toc)?;
        exchanged.extend(altered::relabelled(coordinator.as_mut(), looking.as_mut())?);
        // Last of all: until here no table can have been renamed by itself.
        coordinator.query("SELECT 1")?;
        Ok((exchanged, toc))
    })
    .await?;
    if exchanged.is_empty() {
        return Ok((copied, lists, toc));
    }
    Err(DumpError::Exchanged { tables: exchanged.join(", ") })
}

/// What pg_dump says of the statement that locks tables.
const CLIENT_LOCKS: &str = "IN ACCESS SHARE MODE";

/// A database that stands still.
struct Held {
    coordinator: Box<dyn Session>,
    snapshot: String,
    head: Head,
    contents: frozen::Contents,
    /// What the client wrote to standard error.
    stderr: String,
}

async fn hold(
    request: &ParallelRequest,
    mut coordinator: Box<dyn Session>,
    token: &CancellationToken,
) -> Result<Held, DumpError> {
    let (replica_of, endpoint) = (request.replica_of.clone(), request.endpoint.clone());
    let (coordinator, snapshot) = blocking(move || {
        if let Some(primary) = &replica_of {
            // In this very session: whoever listens at the endpoint now has been asked.
            replica::prove(coordinator.as_mut(), primary, &endpoint.host)?;
        }
        let snapshot = frozen::begin(coordinator.as_mut())?;
        Ok((coordinator, snapshot))
    })
    .await?;
    let login = request.credentials.login(&request.dump.source, &request.endpoint).await?;
    let starting = request.pg_dump.start(&login, &request.dump.database, &request.name, request.text, Some(&snapshot));
    let mut process = starting.await?;
    let mut archive = process.take_archive().ok_or_else(|| {
        PortError::new("take the archive of pg_dump", ErrorKind::Invalid).because("it was taken before")
    })?;
    let head = blocking(move || Ok((archive::read_head(&mut archive), archive)));
    let (head, archive) = tokio::select! {
        head = head => head?,
        () = token.cancelled() => {
            process.kill().await;
            return Err(DumpError::Cancelled);
        }
    };
    let head = match head {
        Ok(head) => head,
        Err(error) => {
            drop(archive);
            let exit = process.wait().await?;
            if exit.success {
                return Err(DumpError::Archive(error));
            }
            if exit.stderr.contains(CLIENT_LOCKS) {
                let mut coordinator = coordinator;
                let locked = blocking(move || Ok(frozen::locked_by_others(coordinator.as_mut())?)).await?;
                if let Some(locked) = locked {
                    return Err(locked);
                }
            }
            // The client's own words say more than the cut that they explain.
            let status = format!("{}, as role {}", exit.status, login.user);
            return Err(DumpError::Client { status, stderr: exit.stderr });
        }
    };
    let locked = lock(request, coordinator, head).await;
    // It has said what there is, and the locks are ours. What it would go on to read only waits for somebody to take it: with a
    // backend of the server, and with the longest row twice in its memory.
    process.kill().await;
    drop(archive);
    let stderr = process.wait().await.map(|exit| exit.stderr).unwrap_or_default();
    let (coordinator, head, contents) = locked?;
    Ok(Held { coordinator, snapshot, head, contents, stderr })
}

/// Locks what the client has listed, and makes sure that it still is what was listed.
async fn lock(
    request: &ParallelRequest,
    mut coordinator: Box<dyn Session>,
    head: Head,
) -> Result<(Box<dyn Session>, Head, frozen::Contents), DumpError> {
    let mut looking = request.session().await?;
    blocking(move || {
        let contents = frozen::hold(coordinator.as_mut(), &head.toc)?;
        let reshaped = altered::reshaped(coordinator.as_mut(), looking.as_mut(), &head.toc)?;
        if !reshaped.is_empty() {
            return Err(DumpError::Rewritten { tables: reshaped.join(", ") });
        }
        Ok((coordinator, head, contents))
    })
    .await
}

/// Stores everything: tables and large objects, the lists of the latter, and the table of contents, which comes first.
async fn make_objects(
    request: &ParallelRequest,
    coordinator: Box<dyn Session>,
    snapshot: &str,
    head: &Head,
    contents: &frozen::Contents,
    token: &CancellationToken,
) -> Result<Made, DumpError> {
    let (copied, coordinator) = workers::copy(request, coordinator, snapshot, contents, token).await?;
    let mut lists = vec![request.put(TOC_DAT, head.toc_dat.clone()).await?];
    for (name, list) in frozen::large_object_lists(&head.toc, &contents.large_objects) {
        lists.push(request.put(&name, list.into_bytes()).await?);
    }
    Ok((copied, coordinator, lists))
}

impl ParallelRequest {
    /// A session of its own, with a login of its own: tokens expire.
    async fn session(&self) -> Result<Box<dyn Session>, PortError> {
        let login = self.credentials.login(&self.dump.source, &self.endpoint).await?;
        self.postgres.session(&login, &self.dump.database, &self.name).await
    }

    fn key(&self, name: &str) -> ObjectKey {
        self.layout.dump_object(&self.dump, &self.run, name)
    }

    /// Writes a small object whole, and checks what the store has of it.
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<StoredObject, DumpError> {
        super::put_new(self.store.as_ref(), self.key(name), Bytes::from(bytes), self.kms_key.as_deref()).await
    }
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DumpError> + Send + 'static,
) -> Result<T, DumpError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| DumpError::Panicked)?
}

impl std::fmt::Debug for ParallelRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ParallelRequest({})", self.run)
    }
}

#[cfg(test)]
mod tests;
