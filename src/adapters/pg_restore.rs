//! The stock `pg_restore`, as a child process.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use async_trait::async_trait;

use super::pg_tools::{Client, Group, tail, write_password_file};
use crate::domain::id::DatabaseName;
use crate::domain::inventory::ToolVersion;
use crate::ports::credentials::Login;
use crate::ports::postgres::{Exit, PgRestore, RestoreArchive, RestoreOrder};
use crate::ports::{ErrorKind, PortError};

/// Of the child's standard error this much is kept: an error is a few hundred bytes.
const STDERR_BYTES: u64 = 256 << 10;
/// What is handed to the child at once.
const PIECE_BYTES: usize = 256 << 10;

/// The stock `pg_restore`.
#[derive(Debug, Clone)]
pub struct StockPgRestore(Client);

impl StockPgRestore {
    /// `pg_restore` in `bin_dir`, or the newest that Debian's packages have installed, or the one that is found by name.
    #[must_use]
    pub fn find(bin_dir: Option<&Path>) -> StockPgRestore {
        StockPgRestore(Client::find("pg_restore", bin_dir))
    }
}

#[async_trait]
impl PgRestore for StockPgRestore {
    async fn version(&self) -> Result<ToolVersion, PortError> {
        self.0.version().await
    }

    async fn restore(&self, login: &Login, database: &DatabaseName, order: RestoreOrder) -> Result<Exit, PortError> {
        let invalid = |error: std::io::Error| self.0.invalid(error);
        let password_file = write_password_file(login).map_err(invalid)?;
        let mut stderr = tempfile::tempfile().map_err(invalid)?;
        // What the client reads from files: gone with this folder.
        let folder = tempfile::tempdir().map_err(invalid)?;
        let list = folder.path().join("entries.list");
        let entries: String = order.entries.iter().map(|id| format!("{id};\n")).collect();
        std::fs::write(&list, entries).map_err(invalid)?;
        let mut command = self.0.command(login, password_file.path(), &order.name);
        command
            .arg("--dbname")
            .arg(format!("dbname='{}'", database.as_str().replace('\\', "\\\\").replace('\'', "\\'")))
            // Where tables were kept is no matter of the new server's.
            .arg("--no-tablespaces")
            .arg("--use-list")
            .arg(&list)
            .args((!order.owners).then_some("--no-owner"))
            .args((!order.privileges).then_some("--no-privileges"))
            .stdout(Stdio::null())
            .stderr(stderr.try_clone().map_err(invalid)?);
        let archive = match order.archive {
            RestoreArchive::TocDat(toc) => {
                let directory = folder.path().join("archive");
                std::fs::create_dir(&directory).map_err(invalid)?;
                std::fs::write(directory.join("toc.dat"), &toc).map_err(invalid)?;
                command.args(["--format=directory", "--jobs"]).arg(order.jobs.to_string()).arg(&directory);
                command.stdin(Stdio::null());
                None
            }
            RestoreArchive::Custom(archive) => {
                let (stdin, pipe) = std::io::pipe().map_err(invalid)?;
                command.arg("--format=custom").stdin(stdin);
                Some((archive, pipe))
            }
        };
        let mut child = command.spawn().map_err(invalid)?;
        // The command holds the reading end: while it does, a client that is gone would not be noticed.
        drop(command);
        let feeding = archive.map(|(archive, pipe)| tokio::task::spawn_blocking(move || feed(archive, pipe)));
        let failed = |error| PortError::new(self.0.named(), ErrorKind::Other).because(error);
        // Its own children do not end with it.
        let group = Group::of(&child);
        let status = child.wait().await.map_err(failed)?;
        group.has_ended();
        if let Some(feeding) = feeding {
            let fed = feeding.await.map_err(|error| failed(error.into()))?;
            fed.map_err(|error| PortError::new("read the archive", ErrorKind::Other).because(error))?;
        }
        let lines = tail(&mut stderr, STDERR_BYTES).map_err(failed)?;
        Ok(Exit { success: status.success(), status: status.to_string(), stderr: lines.join("\n") })
    }
}

/// Hands an archive to the client. One that has ended early says why itself; an archive that cannot be read is our affair.
fn feed(mut archive: Box<dyn Read + Send>, mut pipe: std::io::PipeWriter) -> std::io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let read = archive.read(&mut buffer)?;
        let piece = buffer.get(..read).unwrap_or_default();
        if piece.is_empty() || pipe.write_all(piece).is_err() {
            return Ok(());
        }
    }
}
