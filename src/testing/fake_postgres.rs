//! PostgreSQL servers, the client that dumps them, and the logins to them: databases are a number of rows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::domain::dump_login::{DumpLogin, Hidden};
use crate::domain::id::{DatabaseName, SourceId};
use crate::domain::inventory::{Endpoint, ToolVersion};
use crate::domain::manifest::Extension;
use crate::ports::clock::Clock;
use crate::ports::credentials::{Credentials, Login, LoginRef};
use crate::ports::postgres::{
    DatabaseFacts, DumpProcess, Exit, Globals, PgDump, Postgres, RowSink, Session, Stopper, TextEncoding,
};
use crate::ports::{ErrorKind, PortError};
use crate::testing::archive::{archive_of_rows, row};
use crate::testing::fake_rds::FakeRdsWorld;

/// The password in every login: nothing that is written or printed may contain it.
pub(crate) const PASSWORD: &str = "canary-4f1c-password";

/// All servers, by host name.
pub(crate) struct FakePostgres {
    clock: Arc<dyn Clock>,
    servers: Mutex<BTreeMap<String, Server>>,
    loses_sessions: AtomicBool,
    copied: Arc<AtomicBool>,
    activity: Arc<Mutex<Watched>>,
    /// Where servers come from that were restored.
    account: Mutex<Option<Arc<FakeRdsWorld>>>,
}

/// What a governor sees, and what it has done.
#[derive(Default)]
struct Watched {
    rows: Vec<Vec<Option<String>>>,
    ended: usize,
    is_lost: bool,
}

#[derive(Default)]
struct Server {
    /// How many rows each has, from when on.
    databases: BTreeMap<DatabaseName, Vec<(Timestamp, u64)>>,
    unreachable: bool,
}

impl Server {
    fn rows_at(&self, database: &DatabaseName, moment: Timestamp) -> Option<u64> {
        let known = self.databases.get(database)?;
        known.iter().rev().find(|(since, _)| *since <= moment).map(|(_, rows)| *rows)
    }
}

impl FakePostgres {
    /// No server yet.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<FakePostgres> {
        let (loses_sessions, copied) = (AtomicBool::default(), Arc::default());
        let (servers, activity, account) = (Mutex::default(), Arc::default(), Mutex::default());
        Arc::new(FakePostgres { clock, servers, loses_sessions, copied, activity, account })
    }

    /// Sets how many rows a database has; it is created where it is not there.
    pub(crate) fn set_rows(&self, host: &str, database: &DatabaseName, rows: u64) {
        let mut servers = self.servers.lock().unwrap();
        let databases = &mut servers.entry(host.to_owned()).or_default().databases;
        databases.entry(database.clone()).or_default().push((self.clock.now(), rows));
    }

    /// Instances that are restored in an account have servers, too: with the data of those that they were restored from.
    pub(crate) fn restored_in(&self, account: &Arc<FakeRdsWorld>) {
        *self.account.lock().unwrap() = Some(Arc::clone(account));
    }

    /// Whether a server answers.
    pub(crate) fn set_reachable(&self, host: &str, reachable: bool) {
        self.servers.lock().unwrap().entry(host.to_owned()).or_default().unreachable = !reachable;
    }

    /// From the first copy on, sessions answer no queries any more.
    pub(crate) fn lose_sessions_after_the_copy(&self) {
        self.loses_sessions.store(true, Ordering::SeqCst);
    }

    /// From now on a session of somebody waits for a lock of the dump, for so long already; or nobody does.
    pub(crate) fn set_waiting(&self, waited: Option<SignedDuration>) {
        let row = |waited: SignedDuration| {
            ["waiting", "4711", &waited.as_secs_f64().to_string(), "bank.accounts"].map(|field| Some(field.to_owned()))
        };
        self.activity.lock().unwrap().rows = waited.map(|waited| row(waited).to_vec()).into_iter().collect();
    }

    /// Sessions of governors answer no more.
    pub(crate) fn lose_watchers(&self) {
        self.activity.lock().unwrap().is_lost = true;
    }

    /// How often a governor has ended the sessions of a dump.
    pub(crate) fn ended_sessions(&self) -> usize {
        self.activity.lock().unwrap().ended
    }

    fn rows(&self, login: &Login, database: &DatabaseName) -> Result<u64, PortError> {
        let host = &login.endpoint.host;
        let refused = |kind, cause: &str| {
            Err(PortError::new(format!("connect to {database} at {host}"), kind).because(cause.to_owned()))
        };
        let account = self.account.lock().unwrap().clone();
        let restored = account.and_then(|account| account.restored_from(host));
        let (origin, data_of) = restored.unwrap_or_else(|| (host.clone(), self.clock.now()));
        let servers = self.servers.lock().unwrap();
        match servers.get(&origin) {
            Some(server) if *origin != *host => Ok(server.rows_at(database, data_of).unwrap_or(0)),
            Some(server) if !server.unreachable => match server.rows_at(database, data_of) {
                Some(rows) => Ok(rows),
                None => refused(ErrorKind::Invalid, "3D000: database does not exist"),
            },
            Some(_) => refused(ErrorKind::Transient, "connection timed out"),
            None => refused(ErrorKind::Transient, "no such host"),
        }
    }
}

#[async_trait]
impl Postgres for FakePostgres {
    async fn facts(&self, login: &Login, database: &DatabaseName) -> Result<DatabaseFacts, PortError> {
        let rows = self.rows(login, database)?;
        Ok(DatabaseFacts {
            server_version: "15.18".to_owned(),
            at: self.clock.now(),
            lsn: Some("0/16B3748".to_owned()),
            extensions: vec![Extension { name: "plpgsql".to_owned(), version: "1.0".to_owned() }],
            size_bytes: rows * 100,
            text: TextEncoding::Utf8,
        })
    }

    async fn login_facts(&self, login: &Login, database: &DatabaseName) -> Result<DumpLogin, PortError> {
        self.rows(login, database).map(|_| DumpLogin { valid_until: None, hidden: Ok(Hidden::default()) })
    }

    async fn globals(&self, login: &Login, database: &DatabaseName) -> Result<Globals, PortError> {
        self.rows(login, database)?;
        Ok(Globals { sql: "CREATE ROLE owner;\n".to_owned(), roles: vec!["owner".to_owned()] })
    }

    async fn session(
        &self,
        login: &Login,
        database: &DatabaseName,
        _name: &str,
    ) -> Result<Box<dyn Session>, PortError> {
        let rows = self.rows(login, database)?;
        let is_lost_after_copy = self.loses_sessions.load(Ordering::SeqCst);
        let (copied, activity) = (Arc::clone(&self.copied), Arc::clone(&self.activity));
        let now = self.clock.now();
        Ok(Box::new(FakeSession { now, rows, copied, is_lost_after_copy, activity }))
    }
}

/// A session in a database of one table; nothing is rewritten under its hands.
struct FakeSession {
    now: Timestamp,
    rows: u64,
    copied: Arc<AtomicBool>,
    is_lost_after_copy: bool,
    activity: Arc<Mutex<Watched>>,
}

impl Session for FakeSession {
    fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, PortError> {
        if self.is_lost_after_copy && self.copied.load(Ordering::SeqCst) {
            return Err(PortError::new("query", ErrorKind::Transient).because("connection reset"));
        }
        if sql.contains("pg_blocking_pids") {
            let watched = self.activity.lock().unwrap();
            let lost = PortError::new("query", ErrorKind::Transient).because("connection reset");
            return if watched.is_lost { Err(lost) } else { Ok(watched.rows.clone()) };
        }
        if sql.contains("pg_terminate_backend") {
            self.activity.lock().unwrap().ended += 1;
        }
        let text = |fields: [&str; 4]| fields.map(|field| Some(field.to_owned())).to_vec();
        if sql.contains("pg_stat_get_live_tuples") {
            return Ok(vec![text(["public.t", "r", "true", &self.rows.to_string()])]);
        }
        if sql.contains("pg_relation_size(c.oid) DESC, 1, 2") {
            return Ok(vec![text(["public", "t", "r", "0"])]);
        }
        if sql.contains("clock_timestamp() + interval '1 second'") {
            let later = self.now + SignedDuration::from_secs(1);
            return Ok(vec![vec![Some(later.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())]]);
        }
        let exported = sql.contains("pg_export_snapshot").then(|| vec![Some("00000003-0000001B-1".to_owned())]);
        Ok(exported.into_iter().collect())
    }

    fn copy_out(&mut self, _statement: &str, sink: &mut dyn RowSink) -> Result<u64, PortError> {
        self.copied.store(true, Ordering::SeqCst);
        for row in (0..self.rows).map(row) {
            sink.take(row.as_bytes()).map_err(|cause| PortError::new("copy", ErrorKind::Other).because(cause))?;
        }
        Ok(self.rows)
    }

    fn copy_in(&mut self, _statement: &str, rows: &mut dyn Read) -> Result<u64, PortError> {
        let mut text = String::new();
        rows.read_to_string(&mut text).map_err(|error| PortError::new("copy", ErrorKind::Other).because(error))?;
        Ok(text.lines().count() as u64)
    }

    fn stopper(&self) -> Result<Stopper, PortError> {
        Ok(Box::new(|| {}))
    }
}

/// How a dump ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DumpEnd {
    Succeeds,
    /// The archive is cut in the middle, and the client says why.
    Fails {
        stderr: String,
    },
    /// The archive is cut in the middle, and the client says that all is well.
    Cut,
    /// The archive comes whole, and the client never ends.
    HangsAtTheEnd,
    /// Half of the archive comes, and then nothing. The thread that reads it keeps a paused clock from moving by itself:
    /// advance it by hand, or cancel.
    Stalls,
}

/// The dump client. The archive itself takes no time; what [`FakePgDump::set_takes`] says passes before the client ends.
pub(crate) struct FakePgDump {
    servers: Arc<FakePostgres>,
    state: Mutex<PgDumpState>,
    running: Arc<Mutex<BTreeSet<String>>>,
}

struct PgDumpState {
    version: ToolVersion,
    takes: SignedDuration,
    ends: VecDeque<DumpEnd>,
}

impl FakePgDump {
    /// The client of one machine.
    pub(crate) fn of(servers: Arc<FakePostgres>) -> FakePgDump {
        let version = ToolVersion { major: 17, text: "pg_dump (PostgreSQL) 17.6".to_owned() };
        let state = PgDumpState { version, takes: SignedDuration::ZERO, ends: VecDeque::new() };
        FakePgDump { servers, state: Mutex::new(state), running: Arc::default() }
    }

    /// How the next dump that is started ends; those behind it succeed.
    pub(crate) fn next_ends(&self, end: DumpEnd) {
        self.state.lock().unwrap().ends.push_back(end);
    }

    /// How long a dump takes.
    pub(crate) fn set_takes(&self, takes: SignedDuration) {
        self.state.lock().unwrap().takes = takes;
    }

    /// Another version is installed.
    pub(crate) fn set_major(&self, major: u32) {
        self.state.lock().unwrap().version = ToolVersion { major, text: format!("pg_dump (PostgreSQL) {major}.0") };
    }

    /// Names of the dumps that run now.
    pub(crate) fn running(&self) -> Vec<String> {
        self.running.lock().unwrap().iter().cloned().collect()
    }
}

#[async_trait]
impl PgDump for FakePgDump {
    async fn version(&self) -> Result<ToolVersion, PortError> {
        Ok(self.state.lock().unwrap().version.clone())
    }

    async fn start(
        &self,
        login: &Login,
        database: &DatabaseName,
        name: &str,
        _text: TextEncoding,
        _snapshot: Option<&str>,
    ) -> Result<Box<dyn DumpProcess>, PortError> {
        let found = self.servers.rows(login, database);
        let mut state = self.state.lock().unwrap();
        let end = match &found {
            Ok(_) => state.ends.pop_front().unwrap_or(DumpEnd::Succeeds),
            // A client starts in any case, and says itself that it cannot connect.
            Err(error) => DumpEnd::Fails { stderr: format!("pg_dump: error: {error}") },
        };
        let mut archive = archive_of_rows(found.unwrap_or(0));
        if matches!(end, DumpEnd::Fails { .. } | DumpEnd::Cut | DumpEnd::Stalls) {
            archive.truncate(archive.len() / 2);
        }
        let started = Started { name: name.to_owned(), running: Arc::clone(&self.running) };
        self.running.lock().unwrap().insert(name.to_owned());
        Ok(Box::new(FakeDump {
            archive: Some(archive),
            ends_at: self.servers.clock.now() + state.takes,
            end,
            clock: Arc::clone(&self.servers.clock),
            killed: CancellationToken::new(),
            pipe: Arc::default(),
            _started: started,
        }))
    }
}

/// A dump that runs until this is dropped.
struct Started {
    name: String,
    running: Arc<Mutex<BTreeSet<String>>>,
}

impl Drop for Started {
    fn drop(&mut self) {
        self.running.lock().unwrap().remove(&self.name);
    }
}

struct FakeDump {
    archive: Option<Vec<u8>>,
    end: DumpEnd,
    ends_at: jiff::Timestamp,
    clock: Arc<dyn Clock>,
    killed: CancellationToken,
    pipe: Arc<Pipe>,
    _started: Started,
}

/// The pipe of a client: who waits for more wakes up when it closes.
#[derive(Default)]
struct Pipe {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Pipe {
    fn close(&self) {
        *self.closed.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

impl Drop for FakeDump {
    fn drop(&mut self) {
        self.pipe.close();
    }
}

#[async_trait]
impl DumpProcess for FakeDump {
    fn take_archive(&mut self) -> Option<Box<dyn Read + Send>> {
        let archive = std::io::Cursor::new(self.archive.take()?);
        if self.end != DumpEnd::Stalls {
            return Some(Box::new(archive));
        }
        Some(Box::new(archive.chain(Stalled(Arc::clone(&self.pipe)))))
    }

    async fn wait(&mut self) -> Result<Exit, PortError> {
        let exit = |success: bool, status: &str, stderr: &str| Exit {
            success,
            status: status.to_owned(),
            stderr: stderr.to_owned(),
        };
        let ended = async {
            match &self.end {
                DumpEnd::HangsAtTheEnd | DumpEnd::Stalls => std::future::pending().await,
                DumpEnd::Succeeds | DumpEnd::Fails { .. } | DumpEnd::Cut => self.clock.sleep_until(self.ends_at).await,
            }
        };
        tokio::select! {
            biased;
            () = self.killed.cancelled() => Ok(exit(false, "signal: 9 (SIGKILL)", "")),
            () = ended => Ok(match &self.end {
                DumpEnd::Fails { stderr } => exit(false, "exit status: 1", stderr),
                DumpEnd::Succeeds | DumpEnd::Cut | DumpEnd::HangsAtTheEnd | DumpEnd::Stalls => {
                    exit(true, "exit status: 0", "")
                }
            }),
        }
    }

    async fn kill(&mut self) {
        self.killed.cancel();
        self.pipe.close();
    }
}

/// Gives nothing until the pipe is closed.
struct Stalled(Arc<Pipe>);

impl Read for Stalled {
    fn read(&mut self, _buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut closed = self.0.closed.lock().unwrap();
        while !*closed {
            closed = self.0.changed.wait(closed).unwrap();
        }
        Ok(0)
    }
}

/// Logins for every source but those that are denied.
#[derive(Default)]
pub(crate) struct FakeCredentials {
    denied: Mutex<BTreeSet<SourceId>>,
}

impl FakeCredentials {
    /// Whether logins for a source are refused from now on.
    pub(crate) fn set_denied(&self, source: &SourceId, denied: bool) {
        let mut sources = self.denied.lock().unwrap();
        if denied {
            sources.insert(source.clone())
        } else {
            sources.remove(source)
        };
    }
}

#[async_trait]
impl Credentials for FakeCredentials {
    async fn login(&self, source: &SourceId, endpoint: &Endpoint) -> Result<Login, PortError> {
        if self.denied.lock().unwrap().contains(source) {
            let refused = PortError::new(format!("read the secret of {source}"), ErrorKind::PermissionDenied);
            return Err(refused.because("AccessDeniedException"));
        }
        Ok(login_to(&endpoint.host))
    }

    async fn login_by(&self, _reference: &LoginRef, endpoint: &Endpoint) -> Result<Login, PortError> {
        Ok(login_to(&endpoint.host))
    }
}

/// The login to a server.
pub(crate) fn login_to(host: &str) -> Login {
    Login {
        endpoint: Endpoint { host: host.to_owned(), port: 5432 },
        user: "backup".to_owned(),
        password: PASSWORD.to_owned().into(),
        ca_file: "/etc/ssl/rds.pem".into(),
    }
}

#[cfg(test)]
mod tests;
