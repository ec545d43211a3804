//! Stock client programs as child processes, and `pg_dump` among them.
//!
//! What must not be seen in a process list goes through a password file that only this user can read; what is not secret
//! goes through the environment. The child starts from an empty environment: a stray `PGSSLMODE` could undo verification.

use std::fs::File;
use std::io::{PipeReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::ExposeSecret;
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};

use crate::domain::id::DatabaseName;
use crate::domain::inventory::ToolVersion;
use crate::ports::credentials::Login;
use crate::ports::postgres::{DumpProcess, Exit, LOCK_TIMEOUT, PgDump, TextEncoding};
use crate::ports::{ErrorKind, PortError};

/// Size of the pipe from the client: it writes a row at a time, and a full pipe makes for few large reads. One MiB is what
/// Linux lets every user have (pipe(7), `/proc/sys/fs/pipe-max-size`).
const PIPE_BYTES: usize = 1 << 20;
/// It says its version at once, or something is wrong with it.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Of the child's standard error this much is kept: the last lines say why it failed.
const STDERR_BYTES: u64 = 2000;

/// Where Debian and Ubuntu put each major version of PostgreSQL.
const VERSIONED_DIR: &str = "/usr/lib/postgresql";

/// A stock client program.
#[derive(Debug, Clone)]
pub(super) struct Client {
    program: PathBuf,
}

impl Client {
    /// The program in `bin_dir`, or the newest that Debian's packages have installed, or the one that is found by name.
    pub(super) fn find(name: &str, bin_dir: Option<&Path>) -> Client {
        let program = match bin_dir {
            Some(dir) => dir.join(name),
            None => newest_installed(name).unwrap_or_else(|| PathBuf::from(name)),
        };
        Client { program }
    }

    pub(super) fn named(&self) -> String {
        format!("run {}", self.program.display())
    }

    pub(super) fn invalid(&self, error: impl Into<crate::ports::Cause>) -> PortError {
        PortError::new(self.named(), ErrorKind::Invalid).because(error)
    }

    pub(super) async fn version(&self) -> Result<ToolVersion, PortError> {
        let mut command = Command::new(&self.program);
        let asked = command.arg("--version").env_clear().stdin(Stdio::null()).kill_on_drop(true).output();
        let answered = tokio::time::timeout(VERSION_TIMEOUT, asked).await;
        let output = answered.map_err(|error| self.invalid(error))?.map_err(|error| self.invalid(error))?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        // `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`
        let version = text.split_whitespace().nth(2).unwrap_or_default();
        let digits = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        match digits.parse() {
            Ok(major) if output.status.success() => Ok(ToolVersion { major, text }),
            Ok(_) | Err(_) => Err(self.invalid(format!("it does not say its version, but `{text}`"))),
        }
    }

    /// A command in an empty environment, in a process group of its own.
    pub(super) fn plain_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("LC_ALL", "C").process_group(0);
        command
    }

    /// A command that logs in with a password file: in an environment of its own, and in a process group of its own, since
    /// Ctrl-C in a terminal is ours to handle and reaches the child as an order from us.
    pub(super) fn command(&self, login: &Login, password_file: &Path, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--no-password")
            .env_clear()
            .env("PGHOST", &login.endpoint.host)
            .env("PGPORT", login.endpoint.port.to_string())
            .env("PGUSER", &login.user)
            .env("PGPASSFILE", password_file)
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", &login.ca_file)
            .env("PGAPPNAME", name)
            .env("PGCLIENTENCODING", "UTF8")
            .env("PGCONNECT_TIMEOUT", "30")
            .env("LC_ALL", "C")
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

fn newest_installed(name: &str) -> Option<PathBuf> {
    let majors = std::fs::read_dir(VERSIONED_DIR).ok()?;
    let majors = majors.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let program = |major: u32| Path::new(VERSIONED_DIR).join(major.to_string()).join("bin").join(name);
    let programs = majors.map(|major| (major, program(major)));
    programs.filter(|(_, program)| program.exists()).max().map(|(_, program)| program)
}

/// The stock `pg_dump`.
#[derive(Debug, Clone)]
pub struct StockPgDump(Client);

impl StockPgDump {
    /// `pg_dump` in `bin_dir`, or the newest that Debian's packages have installed, or the one that is found by name.
    #[must_use]
    pub fn find(bin_dir: Option<&Path>) -> StockPgDump {
        StockPgDump(Client::find("pg_dump", bin_dir))
    }

    fn invalid(&self, error: impl Into<crate::ports::Cause>) -> PortError {
        self.0.invalid(error)
    }
}

#[async_trait]
impl PgDump for StockPgDump {
    async fn version(&self) -> Result<ToolVersion, PortError> {
        self.0.version().await
    }

    async fn start(
        &self,
        login: &Login,
        database: &DatabaseName,
        name: &str,
        text: TextEncoding,
        snapshot: Option<&str>,
    ) -> Result<Box<dyn DumpProcess>, PortError> {
        let password_file = write_password_file(login).map_err(|error| self.invalid(error))?;
        let stderr = tempfile::tempfile().map_err(|error| self.invalid(error))?;
        let (archive, stdout) = std::io::pipe().map_err(|error| self.invalid(error))?;
        // A smaller pipe is slower and no fault.
        if let Err(error) = fcntl_setpipe_size(&stdout, PIPE_BYTES) {
            tracing::debug!(error = %error, "the pipe from pg_dump keeps its default size");
        }
        let mut command = self.0.command(login, password_file.path(), name);
        command
            .args(["--format=custom", "--compress=0"])
            .arg(format!("--lock-wait-timeout={LOCK_TIMEOUT}"))
            .args(snapshot.map(|snapshot| format!("--snapshot={snapshot}")))
            .env("PGDATABASE", database.as_str())
            .env("PGCLIENTENCODING", text.client_encoding())
            // The text of a row must not hang on settings of a server, a database or a role: it is compared later, elsewhere.
            .env("PGTZ", "UTC")
            .env("PGOPTIONS", "-c bytea_output=hex")
            .stdin(Stdio::null())
            .stdout(stdout)
            // A file and not a pipe: nobody has to read beside the archive, and a flood of warnings blocks nothing.
            .stderr(stderr.try_clone().map_err(|error| self.invalid(error))?);
        let child = command.spawn().map_err(|error| self.invalid(error))?;
        // The command holds the writing end; while it does, the archive has no end.
        drop(command);
        let archive = Archive { pipe: archive, password_file: Some(password_file) };
        Ok(Box::new(RunningPgDump { program: self.0.named(), child, stderr, archive: Some(Box::new(archive)) }))
    }
}

/// The process group that a child leads: it is killed when this is dropped.
pub(super) struct Group(Option<Pid>);

impl Group {
    pub(super) fn of(child: &Child) -> Group {
        Group(child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)))
    }

    /// The child has ended, and its process id may be another's soon.
    pub(super) fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(error = %error, "a process group had ended before it was killed");
        }
    }
}

/// First part of the names of password files; the process id follows.
const PASSWORD_FILE: &str = "strongroom-pgpass-";

/// Removes password files of processes that have ended without doing so: killed in the moment between writing the file and
/// the client's login. For the beginning of a process: one of its own number is of another that had it before, as process 1 of a
/// container that was started again always finds.
pub fn sweep_password_files() {
    let Ok(entries) = std::fs::read_dir(tempfile::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid =
            name.to_str().and_then(|name| name.strip_prefix(PASSWORD_FILE)?.split('-').next()?.parse::<u32>().ok());
        let is_gone = |pid: u32| pid == std::process::id() || !Path::new("/proc").join(pid.to_string()).exists();
        if pid.is_some_and(is_gone)
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), error = %error, "an old password file cannot be removed: remove it");
        }
    }
}

/// A password file in libpq's form, for this user only; it is deleted when the process has ended.
pub(super) fn write_password_file(login: &Login) -> std::io::Result<NamedTempFile> {
    let escape = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
    let mut file = NamedTempFile::with_prefix(format!("{PASSWORD_FILE}{}-", std::process::id()))?;
    writeln!(
        file,
        "{}:{}:*:{}:{}",
        escape(&login.endpoint.host),
        login.endpoint.port,
        escape(&login.user),
        escape(login.password.expose_secret())
    )?;
    file.flush()?;
    Ok(file)
}

struct RunningPgDump {
    program: String,
    child: Child,
    stderr: File,
    archive: Option<Box<dyn Read + Send>>,
}

/// The archive, and the password file until its first byte: by then the child has logged in, and a daemon that is killed
/// later leaves no password behind.
struct Archive {
    pipe: PipeReader,
    password_file: Option<NamedTempFile>,
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.pipe.read(buffer);
        self.password_file = None;
        read
    }
}

#[async_trait]
impl DumpProcess for RunningPgDump {
    fn take_archive(&mut self) -> Option<Box<dyn Read + Send>> {
        self.archive.take()
    }

    async fn wait(&mut self) -> Result<Exit, PortError> {
        let status = self.child.wait().await;
        let failed = |error| PortError::new(self.program.clone(), ErrorKind::Other).because(error);
        let status = status.map_err(failed)?;
        let stderr = tail(&mut self.stderr, STDERR_BYTES)
            .map(|lines| lines.join("; "))
            .unwrap_or_else(|error| format!("its standard error cannot be read: {error}"));
        Ok(Exit { success: status.success(), status: status.to_string(), stderr })
    }

    async fn kill(&mut self) {
        drop(self.archive.take());
        // The whole group: where `pg_dump` is a script, its child holds the pipe open.
        drop(Group::of(&self.child));
        // Already ended is what was wanted.
        if let Err(error) = self.child.kill().await {
            tracing::debug!(error = %error, "pg_dump had ended before it was killed");
        }
    }
}

/// The last lines of a file.
pub(super) fn tail(file: &mut File, bytes_max: u64) -> std::io::Result<Vec<String>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}
