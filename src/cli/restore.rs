//! `strongroom restore`: the way back.

mod bar;
pub(super) mod choice;
mod dump;
mod instance;
pub(super) mod setup;

use clap::{Args, Subcommand};

pub(super) use self::dump::{readable, restore_into};
use super::{Exit, assemble, complain};
use crate::config::Config;
use crate::ports::{Chain, PortError};

/// What to restore.
#[derive(Debug, Args)]
pub(super) struct Restore {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Restore a logical dump into a database, and compare every row with what was dumped.
    ///
    /// No row is written to disk. Roles that the server lacks are made, without passwords; those that it has stay as they
    /// are. A restore that died is run again with --create: what it had made is marked as unfinished, and is made anew.
    Dump(Box<dump::Dump>),
    /// Restore a snapshot as a new instance.
    ///
    /// It is set up like the source, and says what no restore carries over. The source stays as it is. RDS serves from the new
    /// instance before it has loaded all of it: at the end every row was read once, and the times to each step are told.
    /// Unlogged tables come back empty. A restore that was interrupted goes on when the same command is given again with --as.
    Snapshot(Box<instance::FromSnapshot>),
    /// Restore a source to a moment, as a new instance, from RDS's automated backups.
    ///
    /// It works while the source exists, and after it where its automated backups were kept. See `restore snapshot` for what
    /// the new instance is like.
    Pitr(Box<instance::ToMoment>),
}

/// Why a restore did not begin.
pub(super) enum NotBegun {
    /// Something that was named is not there.
    Usage(String),
    /// It would not be safe.
    Refused(String),
    /// An outside thing failed.
    Failed(PortError),
}

impl From<PortError> for NotBegun {
    fn from(error: PortError) -> NotBegun {
        NotBegun::Failed(error)
    }
}

impl NotBegun {
    /// Tells a person, and how the command ends.
    pub(super) fn told(&self) -> Exit {
        match self {
            NotBegun::Usage(problem) => {
                complain(problem);
                Exit::Usage
            }
            NotBegun::Refused(problem) => {
                complain(problem);
                Exit::Refused
            }
            NotBegun::Failed(error) => {
                complain(&Chain(error));
                Exit::Failed
            }
        }
    }
}

impl Restore {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        let assembly = assemble(config).await;
        match self.what {
            What::Dump(dump) => dump.run(assembly).await,
            What::Snapshot(snapshot) => snapshot.run(assembly).await,
            What::Pitr(pitr) => pitr.run(assembly).await,
        }
    }
}
