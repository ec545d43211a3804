//! The way back: a stored dump into a database, without a disk in between.
//!
//! ```text
//! roles ─▶ pg_restore: what rows need ─▶ N sessions: store ─▶ zstd ─▶ check ─▶ COPY ─▶ pg_restore: indexes, … ─▶ compare
//! ```
//! Definitions are restored by the stock client, rows over our own connections: parts of one table over several of them. What
//! the server takes was checked against the manifest on its way, and is read back and compared when everything is there. An
//! archive of the engine `pg_dump` is one stream, which the stock client takes whole.
//!
//! [`instance`] is the other way back: RDS makes a new instance out of a snapshot or of its automated backups.

mod analyze;
pub mod catalog;
mod client;
mod compare;
mod contents;
mod crew;
mod error;
mod globals;
pub mod instance;
pub mod judge;
mod load;
pub mod look;
pub mod read_all;
mod target;
mod watch;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

pub use contents::{NotInDump, Selection};
pub use error::RestoreError;
pub use watch::{Phase, Watch};

use crate::domain::id::DatabaseName;
use crate::domain::inventory::Endpoint;
use crate::domain::manifest::{Engine, Manifest, StoredObject};
use crate::domain::prune_record::ObjectVersion;
use crate::dump::archive::{self, Section, Toc};
use crate::dump::parallel::{LARGE_LIST, TOC_DAT};
use crate::dump::{ARCHIVE, GLOBALS, hex};
use crate::ports::clock::Clock;
use crate::ports::credentials::{Credentials, Login, LoginRef};
use crate::ports::object_store::ObjectStore;
use crate::ports::postgres::{PgRestore, Postgres, RestoreArchive, RestoreOrder, Session};
use crate::ports::{ErrorKind, PortError, Ports};
use contents::Contents;

/// Largest list, table of contents or file of roles that is read whole.
const SMALL_BYTES_MAX: u64 = 1 << 30;

/// A server, and how to get in.
#[derive(Clone)]
pub struct Server {
    /// Servers.
    pub postgres: Arc<dyn Postgres>,
    /// Makes the login of each connection.
    pub credentials: Arc<dyn Credentials>,
    /// By this.
    pub login: LoginRef,
    /// Where it is.
    pub endpoint: Endpoint,
    /// The name of the connections in `pg_stat_activity`.
    pub name: String,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({}:{})", self.endpoint.host, self.endpoint.port)
    }
}

impl Server {
    /// A server that is reached through these ports.
    #[must_use]
    pub fn new(ports: &Ports, login: LoginRef, endpoint: Endpoint, name: String) -> Server {
        let (postgres, credentials) = (Arc::clone(&ports.postgres), Arc::clone(&ports.credentials));
        Server { postgres, credentials, login, endpoint, name }
    }

    async fn login(&self) -> Result<Login, PortError> {
        self.credentials.login_by(&self.login, &self.endpoint).await
    }

    async fn session(&self, database: &DatabaseName) -> Result<Box<dyn Session>, PortError> {
        self.postgres.session(&self.login().await?, database, &self.name).await
    }

    /// Whether it answers a question.
    async fn answers(&self, database: &DatabaseName) -> Result<(), PortError> {
        let mut session = self.session(database).await?;
        let name = format!("ask {}:{}", self.endpoint.host, self.endpoint.port);
        let asked = tokio::task::spawn_blocking(move || session.query("SELECT 1").map(drop)).await;
        asked.unwrap_or_else(|error| Err(PortError::new(name, ErrorKind::Other).because(error)))
    }
}

/// What a dump is restored into.
#[derive(Debug, Clone)]
pub struct Target {
    /// The database.
    pub database: DatabaseName,
    /// Whether it is made: then it must not be there, or only as the remains of a restore that died.
    pub create: bool,
    /// Whether roles that the server has not are made.
    pub roles: bool,
    /// Whether objects get their owners.
    pub owners: bool,
    /// Whether rights are granted.
    pub privileges: bool,
}

/// What is to be restored, from where to where, and how.
#[derive(Clone)]
pub struct RestoreRequest {
    /// The dump.
    pub manifest: Manifest,
    /// Its objects by the last part of their keys, each with the version that stands in the store.
    pub objects: BTreeMap<String, (StoredObject, ObjectVersion)>,
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The server.
    pub server: Server,
    /// The stock client.
    pub client: Arc<dyn PgRestore>,
    /// Measures the phases.
    pub clock: Arc<dyn Clock>,
    /// The database in it.
    pub target: Target,
    /// What of the dump is wanted.
    pub selection: Selection,
    /// Which steps are taken.
    pub sections: Vec<Section>,
    /// Connections.
    pub jobs: usize,
    /// Whether the result is compared with the manifest.
    pub compare: bool,
}

/// The objects of a dump by the last part of their keys, each with the version that stands in a bucket: that of the manifest,
/// or, where another one copied them, the newest.
#[must_use]
pub fn objects_of(manifest: &Manifest, same_versions: bool) -> BTreeMap<String, (StoredObject, ObjectVersion)> {
    let standing = |object: &StoredObject| ObjectVersion {
        key: object.key.clone(),
        version_id: object.version_id.clone().filter(|_| same_versions),
    };
    let objects = manifest.objects.iter();
    objects.map(|object| (object.key.file_name().to_owned(), (object.clone(), standing(object)))).collect()
}

/// A restore that has ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Rows that were compared with the manifest and found equal; `None`: nobody compared.
    pub rows: Option<u64>,
    /// Tables that were restored.
    pub tables: usize,
    /// Roles that were made.
    pub roles: Vec<String>,
    /// Errors of the client that are known to do no harm.
    pub benign: Vec<String>,
    /// How long each phase took.
    pub phases: Vec<(Phase, SignedDuration)>,
}

/// Restores a dump.
///
/// # Errors
/// See [`RestoreError`]. A database that was made for it stays, marked as unfinished, and is made anew by the next attempt.
pub async fn restore_dump(
    request: &RestoreRequest,
    watch: &Arc<Watch>,
    token: &CancellationToken,
) -> Result<Restored, RestoreError> {
    let done = Restored { rows: None, tables: 0, roles: Vec::new(), benign: Vec::new(), phases: Vec::new() };
    Restoring { request, watch, token, done }.run().await
}

struct Restoring<'a> {
    request: &'a RestoreRequest,
    watch: &'a Arc<Watch>,
    token: &'a CancellationToken,
    done: Restored,
}

impl Restoring<'_> {
    async fn run(mut self) -> Result<Restored, RestoreError> {
        let request = self.request;
        self.check_client().await?;
        let (toc, toc_dat) = self.toc().await?;
        let contents = Contents::of(&toc, &request.selection, &request.sections)?;
        let has = |section| request.sections.contains(&section);
        let began_at = self.begin(Phase::Prepare);
        // Whoever else would make this database anew cannot drop it while somebody is in it.
        let mut held = self.prepare(&toc).await?;
        self.end(Phase::Prepare, began_at);
        self.done.tables = contents.tables.len();
        match request.manifest.engine {
            Engine::Parallel => {
                let began_at = self.begin(Phase::PreData);
                self.by_client("definitions", &toc_dat, &contents.before).await?;
                self.end(Phase::PreData, began_at);
                if has(Section::Data) {
                    let began_at = self.begin(Phase::Data);
                    load::load_tables(request, &contents.tables, self.watch, self.token).await?;
                    self.by_client("sequences", &toc_dat, &contents.beside).await?;
                    if contents.large_objects {
                        let ids = self.large_objects().await?;
                        load::load_large_objects(request, ids, self.watch, self.token).await?;
                    }
                    self.end(Phase::Data, began_at);
                }
                let began_at = self.begin(Phase::PostData);
                self.by_client("indexes and constraints", &toc_dat, &contents.after).await?;
                self.end(Phase::PostData, began_at);
            }
            Engine::PgDump => {
                let began_at = self.begin(Phase::Data);
                let stream = request.store.read_version(&request.object(ARCHIVE)?).await?;
                let plain = load::plain(stream, &Handle::current(), self.token);
                self.restore_by_client("the archive", RestoreArchive::Custom(Box::new(plain)), contents.all(&toc))
                    .await?;
                self.end(Phase::Data, began_at);
            }
        }
        if has(Section::Data) {
            let began_at = self.begin(Phase::Analyze);
            analyze::analyze(request, self.token).await?;
            self.end(Phase::Analyze, began_at);
        }
        if request.compare && has(Section::Data) {
            let began_at = self.begin(Phase::Compare);
            self.compare(&toc, &contents).await?;
            self.end(Phase::Compare, began_at);
        }
        if request.target.create {
            let target = request.target.clone();
            blocking(move || target::unmark(held.as_mut(), &target)).await?;
        }
        Ok(self.done)
    }

    fn begin(&self, phase: Phase) -> jiff::Timestamp {
        self.watch.enter(phase);
        self.request.clock.now()
    }

    fn end(&mut self, phase: Phase, began_at: jiff::Timestamp) {
        self.done.phases.push((phase, self.request.clock.now().duration_since(began_at)));
    }

    /// An archive is read by a client that is as new as the one that wrote it, or newer.
    async fn check_client(&self) -> Result<(), RestoreError> {
        let here = self.request.client.version().await?;
        let dumped = &self.request.manifest.versions.pg_dump;
        let major =
            |text: &str| text.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok();
        match major(dumped) {
            Some(dumped_major) if here.major < dumped_major => {
                Err(RestoreError::ClientTooOld { client: here.text, dumped: dumped.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn toc(&self) -> Result<(Toc, Bytes), RestoreError> {
        let request = self.request;
        match request.manifest.engine {
            Engine::Parallel => {
                let bytes = request.read_small(TOC_DAT).await?;
                Ok((archive::read_toc_dat(&bytes)?, bytes))
            }
            Engine::PgDump => {
                let stream = request.store.read_version(&request.object(ARCHIVE)?).await?;
                let plain = load::plain(stream, &Handle::current(), self.token);
                let head = blocking(move || Ok(archive::read_head(plain)?)).await?;
                Ok((head.toc, Bytes::new()))
            }
        }
    }

    /// The database, and the roles that its objects belong to; returns a session in it.
    async fn prepare(&mut self, toc: &Toc) -> Result<Box<dyn Session>, RestoreError> {
        let request = self.request;
        let (target, dump) = (request.target.clone(), request.manifest.dump.clone());
        if target.create {
            let maintenance = DatabaseName::maintenance();
            let mut session = request.server.session(&maintenance).await?;
            let (target, dump, toc) = (target.clone(), dump.clone(), toc.clone());
            blocking(move || target::make(session.as_mut(), &target, &dump, &toc)).await?;
        }
        let globals = if target.roles { Some(request.read_small(GLOBALS).await?) } else { None };
        let mut session = request.server.session(&target.database).await?;
        let must_be_empty = !target.create && request.sections.contains(&Section::PreData);
        let (roles, session) = blocking(move || {
            if must_be_empty {
                target::check_empty(session.as_mut(), &target)?;
            }
            let roles = match globals {
                Some(globals) => {
                    target::make_roles(session.as_mut(), &target, &dump, &String::from_utf8_lossy(&globals))?
                }
                None => Vec::new(),
            };
            Ok((roles, session))
        })
        .await?;
        self.done.roles = roles;
        Ok(session)
    }

    async fn by_client(&mut self, step: &'static str, toc_dat: &Bytes, entries: &[i32]) -> Result<(), RestoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.restore_by_client(step, RestoreArchive::TocDat(toc_dat.clone()), entries.to_vec()).await
    }

    async fn restore_by_client(
        &mut self,
        step: &'static str,
        archive: RestoreArchive,
        entries: Vec<i32>,
    ) -> Result<(), RestoreError> {
        let request = self.request;
        let order = RestoreOrder {
            archive,
            entries,
            // With several the client logs in again at its end, by a token that has expired then.
            jobs: if matches!(request.server.login, LoginRef::IamToken { .. }) { 1 } else { request.jobs },
            owners: request.target.owners,
            privileges: request.target.privileges,
            name: request.server.name.clone(),
        };
        let login = request.server.login().await?;
        let exit = tokio::select! {
            exit = request.client.restore(&login, &request.target.database, order) => exit?,
            () = self.token.cancelled() => return Err(RestoreError::Cancelled),
        };
        let benign = client::benign(&exit).map_err(|errors| RestoreError::Client { step, errors })?;
        self.done.benign.extend(benign);
        Ok(())
    }

    /// Ids of the large objects, of the lists that an archive has of them.
    async fn large_objects(&self) -> Result<Vec<String>, RestoreError> {
        let mut ids = Vec::new();
        for name in self.request.objects.keys().filter(|name| name.ends_with(LARGE_LIST)) {
            let list = self.request.read_small(name).await?;
            ids.extend(large_object_ids(&list).ok_or_else(|| {
                RestoreError::Damaged(format!("{name} is no list of large objects: `<id> blob_<id>.dat` on each line"))
            })?);
        }
        Ok(ids)
    }

    async fn compare(&mut self, toc: &Toc, contents: &Contents<'_>) -> Result<(), RestoreError> {
        let mut differences = compare::differences(self.request, &contents.tables, self.watch, self.token).await?;
        differences.extend(compare::sequences(self.request, toc, &contents.beside).await?);
        if !differences.is_empty() {
            return Err(RestoreError::Differs(differences.join("; ")));
        }
        self.done.rows = Some(self.watch.progress.count().rows);
        Ok(())
    }
}

impl RestoreRequest {
    /// Bytes of COPY text in all tables of the dump.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.manifest.tables.iter().map(|table| table.bytes).sum()
    }

    fn find(&self, name: &str) -> Result<&(StoredObject, ObjectVersion), RestoreError> {
        self.objects.get(name).ok_or_else(|| RestoreError::Damaged(format!("the manifest names no {name}")))
    }

    fn object(&self, name: &str) -> Result<ObjectVersion, RestoreError> {
        Ok(self.find(name)?.1.clone())
    }

    /// A small object, whole, if its SHA-256 is that of the manifest.
    async fn read_small(&self, name: &str) -> Result<Bytes, RestoreError> {
        let (object, version) = self.find(name)?;
        if object.size_bytes > SMALL_BYTES_MAX {
            return Err(RestoreError::Damaged(format!("{} has {} bytes", object.key, object.size_bytes)));
        }
        let stream = self.store.read_version(version).await?;
        let key = object.key.clone();
        let runtime = Handle::current();
        let bytes = blocking(move || {
            let mut bytes = Vec::new();
            let mut reader = load::as_stored(stream, &runtime);
            reader.read_to_end(&mut bytes).map_err(|error| RestoreError::Read { key, error })?;
            Ok(bytes)
        })
        .await?;
        let sha256 = hex(Sha256::digest(&bytes));
        if sha256 != object.sha256 {
            let (key, expected) = (&object.key, &object.sha256);
            return Err(RestoreError::Damaged(format!("{key}: SHA-256 is {sha256} instead of {expected}")));
        }
        Ok(Bytes::from(bytes))
    }
}

/// The ids in a list of large objects, each on a line with the file that it names.
fn large_object_ids(list: &[u8]) -> Option<Vec<String>> {
    let id = |line: &str| {
        let (id, file) = line.split_once(' ')?;
        // An OID as PostgreSQL writes it: it becomes part of statements and names.
        let is_oid = id.parse::<u32>().is_ok_and(|oid| oid.to_string() == id);
        (is_oid && file == format!("blob_{id}.dat")).then(|| id.to_owned())
    };
    std::str::from_utf8(list).ok()?.lines().map(id).collect()
}

/// Does something in one session, which ends when `token` is cancelled.
///
/// # Errors
/// What `work` returns, or the session cannot be had.
pub async fn with_session<T: Send + 'static>(
    server: &Server,
    database: &DatabaseName,
    token: &CancellationToken,
    work: impl Fn(&mut dyn Session) -> Result<T, RestoreError> + Send + Sync + 'static,
) -> Result<T, RestoreError> {
    let made = Arc::new(std::sync::Mutex::new(None));
    let filling = Arc::clone(&made);
    let once = move |session: &mut dyn Session, (): ()| {
        *filling.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(work(session)?);
        Ok(())
    };
    crew::work_through(server, database, 1, vec![()], token, once).await?;
    let made = made.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    made.ok_or(RestoreError::Cancelled)
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, RestoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| RestoreError::Panicked)?
}

impl std::fmt::Debug for RestoreRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RestoreRequest({} into {})", self.manifest.dump, self.target.database)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_list_of_large_objects_gives_their_ids() {
        assert_eq!(large_object_ids(b"7 blob_7.dat\n4294967295 blob_4294967295.dat\n").unwrap(), ["7", "4294967295"]);
        assert_eq!(large_object_ids(b"").unwrap(), Vec::<String>::new());
    }

    #[rstest]
    #[case::of_another_file(b"7 blob_8.dat\n")]
    #[case::of_a_statement(b"7,0,'');-- blob_7,0,'');--.dat\n")]
    #[case::too_large(b"4294967296 blob_4294967296.dat\n")]
    #[case::signed(b"+7 blob_+7.dat\n")]
    #[case::without_file(b"7\n")]
    #[case::no_text(b"\xff blob_\xff.dat\n")]
    fn what_is_no_list_of_large_objects_is_refused(#[case] list: &[u8]) {
        assert_eq!(large_object_ids(list), None);
    }

    proptest! {
        #[test]
        fn ids_are_numbers_whatever_the_list(list in "([0-9+' ;]{0,12} ?(blob_)?[0-9]{0,11}(\\.dat)?\n?){0,4}") {
            for id in large_object_ids(list.as_bytes()).unwrap_or_default() {
                prop_assert!(id.parse::<u32>().is_ok());
            }
        }
    }
}
