//! A PostgreSQL server of our own in a temporary folder, for as long as something is proven with it.
//!
//! It listens on a socket in that folder and nowhere else, keeps nothing safe from a crash, and is gone with its owner. Should
//! that be killed, the next one removes the folder, and the server ends when it finds its own gone.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::process::Child;

use super::pg_tools::{Client, Group};
use crate::domain::id::DatabaseName;
use crate::domain::inventory::Endpoint;
use crate::ports::clock::Clock;
use crate::ports::credentials::{Login, LoginRef};
use crate::ports::postgres::Postgres;
use crate::ports::{ErrorKind, PortError};

/// First part of the folders' names; the process id follows.
const FOLDER: &str = "strongroom-scratch-";
/// Its superuser: no role that anybody has dumped is likely to be called so.
const USER: &str = "strongroom_scratch";
/// Its number in the socket's name; no port is opened.
const PORT: u16 = 5432;
/// Longest path of a socket (unix(7)).
const SOCKET_PATH_MAX: usize = 107;
/// An empty server is up within a second or two.
const UP_WITHIN: SignedDuration = SignedDuration::from_secs(60);
const ASK_EVERY: SignedDuration = SignedDuration::from_millis(100);
/// How long it may take to end in good order; after that it is killed.
const DOWN_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);
/// What the server is told: nothing of it has to outlive a crash, and nobody comes over the network.
const SETTINGS: [&str; 9] = [
    "listen_addresses=",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "autovacuum=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=4GB",
    "maintenance_work_mem=256MB",
];

/// Makes servers.
#[derive(Clone)]
pub struct ScratchServers {
    bin_dir: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    postgres: Arc<dyn Postgres>,
}

impl std::fmt::Debug for ScratchServers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScratchServers")
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct ScratchServer {
    child: Child,
    folder: TempDir,
}

impl ScratchServers {
    /// Servers by the programs in `bin_dir`, or the newest that are installed.
    #[must_use]
    pub fn new(bin_dir: Option<&Path>, clock: Arc<dyn Clock>, postgres: Arc<dyn Postgres>) -> ScratchServers {
        ScratchServers { bin_dir: bin_dir.map(Path::to_owned), clock, postgres }
    }

    /// Whether this user may run a server.
    ///
    /// # Errors
    /// It is root.
    pub fn check_user(&self) -> Result<(), PortError> {
        if geteuid().is_root() {
            return Err(refused(
                "PostgreSQL refuses to run as root: run this command as another user, such as `sudo -u postgres strongroom \
                 verify --level 4`",
            ));
        }
        Ok(())
    }

    /// Makes a server and waits until it answers.
    ///
    /// # Errors
    /// This user may not run one, the programs are not there, or it does not come up.
    pub async fn start(&self) -> Result<ScratchServer, PortError> {
        self.check_user()?;
        sweep();
        let initdb = Client::find("initdb", self.bin_dir.as_deref());
        let postgres = Client::find("postgres", self.bin_dir.as_deref());
        let folder = TempDir::with_prefix(format!("{FOLDER}{}-", std::process::id()));
        let folder = folder.map_err(|error| initdb.invalid(error))?;
        if folder.path().join(format!(".s.PGSQL.{PORT}")).as_os_str().len() > SOCKET_PATH_MAX {
            return Err(refused(
                "the path of the folder for temporary files is too long for a socket: set TMPDIR to a shorter one",
            ));
        }
        init(&initdb, folder.path()).await?;
        let log = folder.path().join("log");
        let file = std::fs::File::create(&log).map_err(|error| postgres.invalid(error))?;
        let mut command = postgres.plain_command();
        command.arg("-D").arg(data(folder.path())).arg("-k").arg(folder.path()).args(["-p", &PORT.to_string()]);
        command.args(SETTINGS.into_iter().flat_map(|setting| ["-c", setting]));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn();
        let server = ScratchServer { child: child.map_err(|error| postgres.invalid(error))?, folder };
        self.wait_until_up(server, &log).await
    }

    async fn wait_until_up(&self, mut server: ScratchServer, log: &Path) -> Result<ScratchServer, PortError> {
        let until = self.clock.now().saturating_add(UP_WITHIN).unwrap_or(Timestamp::MAX);
        let database: DatabaseName = "postgres"
            .parse()
            .map_err(|error| PortError::new("name the first database", ErrorKind::Invalid).because(error))?;
        let login = Login {
            endpoint: server.endpoint(),
            user: USER.to_owned(),
            password: SecretString::from(String::new()),
            ca_file: PathBuf::new(),
        };
        loop {
            let error = match self.postgres.session(&login, &database, "strongroom").await {
                Ok(_) => return Ok(server),
                Err(error) => error,
            };
            let now = self.clock.now();
            let has_ended = server.child.try_wait().is_ok_and(|status| status.is_some());
            if has_ended || now >= until {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                let last: Vec<&str> = said.lines().rev().take(3).collect();
                server.stop().await;
                let what = PortError::new("start a local PostgreSQL", ErrorKind::Other);
                return Err(if last.is_empty() { what.because(error) } else { what.because(last.join("; ")) });
            }
            self.clock.sleep_until(now.saturating_add(ASK_EVERY).unwrap_or(until)).await;
        }
    }
}

impl ScratchServer {
    /// Where it is: the folder of its socket.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { host: self.folder.path().display().to_string(), port: PORT }
    }

    /// Who may do everything in it.
    #[must_use]
    pub fn login(&self) -> LoginRef {
        LoginRef::Password { user: USER.to_owned(), password: SecretString::from(String::new()) }
    }

    /// Ends it and removes everything of it.
    pub async fn stop(mut self) {
        let group = Group::of(&self.child);
        self.quit();
        match tokio::time::timeout(DOWN_WITHIN, self.child.wait()).await {
            Ok(_) => group.has_ended(),
            // With it the rest of its group is killed.
            Err(_) => drop(group),
        }
    }

    /// Asks it to end at once and without writing anything more.
    fn quit(&self) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, Signal::QUIT)
        {
            tracing::debug!(error = %error, "a local PostgreSQL had ended before it was told to");
        }
    }
}

impl Drop for ScratchServer {
    fn drop(&mut self) {
        // Its processes end with it; a kill would leave its shared memory behind.
        self.quit();
    }
}

fn refused(why: &'static str) -> PortError {
    PortError::new("start a local PostgreSQL", ErrorKind::Invalid).because(why)
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

async fn init(initdb: &Client, folder: &Path) -> Result<(), PortError> {
    let mut command = initdb.plain_command();
    command.arg("--pgdata").arg(data(folder)).args(["--username", USER, "--auth=trust", "--no-sync"]);
    command.args(["--encoding=UTF8", "--locale=C"]);
    let ended = command.stdin(Stdio::null()).output().await;
    let ended = ended.map_err(|error| {
        initdb.invalid(format!("{error}: install PostgreSQL's server, or set `postgres.bin_dir` to where it is"))
    })?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    Err(initdb.invalid(said.lines().last().unwrap_or("it does not say why").to_owned()))
}

/// Removes what servers have left whose owners were killed; such a server ends when it finds its folder gone.
fn sweep() {
    let Ok(entries) = std::fs::read_dir(tempfile::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.split('-').next()?.parse::<u32>().ok());
        let left = pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        if left && let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::warn!(path = %entry.path().display(), error = %error, "an old scratch server's folder cannot be removed: remove it");
        }
    }
}
