//! `strongroom recover`: the guided way through a disaster.

mod ask;
mod begin;
mod end;
mod told;

use std::sync::Arc;

use clap::{Args, Subcommand};

use self::begin::Begin;
use self::end::End;
use super::restore::NotBegun;
use super::restore::setup::option_for;
use super::{Exit, assemble, complain, say};
use crate::config::Config;
use crate::daemon::Assembly;
use crate::domain::id::SourceId;
use crate::domain::recovery::Scenario;
use crate::policy::SourcePolicy;
use crate::ports::Chain;
use crate::ports::instances::Refusal;
use crate::recover::{Asking, RecoverError};
use crate::restore::instance::InstanceError;

/// What has happened, or what is to become of a recovery that was begun.
#[derive(Debug, Args)]
pub(super) struct Recover {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The database is damaged: go back to the newest good snapshot, or to a moment.
    Corruption(Box<Begin>),
    /// Something was deleted or changed: go back to the moment before.
    Deletion(Box<Begin>),
    /// The instance is gone: bring it back from its automated backups, or from the newest good snapshot.
    Loss(Box<Begin>),
    /// Lead applications back to the old instance. The restored one stays.
    Undo(End),
    /// Give up a recovery that was begun. What it has done stays.
    Abandon(End),
}

impl Recover {
    pub(super) async fn run(self, mut config: Config) -> anyhow::Result<Exit> {
        // None of the daemon's functions may do what a recovery does: whoever recovers has rights of their own.
        config.aws.roles.clear();
        let assembly = assemble(config).await;
        match self.what {
            What::Corruption(begin) => Box::pin(begin.run(assembly, Scenario::Corruption)).await,
            What::Deletion(begin) => Box::pin(begin.run(assembly, Scenario::Deletion)).await,
            What::Loss(begin) => Box::pin(begin.run(assembly, Scenario::Loss)).await,
            What::Undo(end) => end.undo(&assembly).await,
            What::Abandon(end) => end.abandon(&assembly).await,
        }
    }
}

/// How the servers behind names are asked who they are; without a database nobody can be asked.
fn asking(assembly: &Assembly, source: &SourcePolicy) -> Option<Asking> {
    Some(Asking {
        postgres: Arc::clone(&assembly.ports.postgres),
        credentials: Arc::clone(&assembly.ports.credentials),
        source: source.id.clone(),
        database: source.databases.first()?.clone(),
    })
}

fn not_read(error: RecoverError) -> NotBegun {
    if let RecoverError::Port(error) = error {
        return NotBegun::Failed(error);
    }
    NotBegun::Refused(Chain(&error).to_string())
}

/// Tells why it does not go on, and what can be done.
fn failed(error: &RecoverError, source: &SourceId, next: &str) -> Exit {
    complain(&Chain(error));
    match error {
        RecoverError::Instance(InstanceError::Refused(refused)) => match refused.why {
            // Which name, and which moment, is in the journal.
            Some(Refusal::NameTaken) => say(&begin_again(source, "--as ID")),
            Some(Refusal::Moment) => say(&begin_again(source, "--before TIME")),
            Some(Refusal::Backup) => say(&begin_again(source, "--from ID")),
            why => {
                if let Some(option) = why.and_then(option_for) {
                    say(&format!("the option for it is {option}"));
                }
            }
        },
        RecoverError::NotRestored { .. } => say(&begin_again(source, "--as ID")),
        RecoverError::NoDatabase { database } => say(&format!(
            "`strongroom restore dump {source} --database {database} --into {database} --create --instance NAME --secret ID` \
             makes it from its newest dump, with the name of the restored instance and a login that may make databases"
        )),
        RecoverError::Port(_)
        | RecoverError::Instance(_)
        | RecoverError::Restore(_)
        | RecoverError::Elsewhere { .. }
        | RecoverError::Unreadable { .. }
        | RecoverError::CameBack { .. }
        | RecoverError::StillRunning { .. }
        | RecoverError::NotFetched { .. }
        | RecoverError::NameTaken { .. }
        | RecoverError::Vanished { .. }
        | RecoverError::TooLate { .. }
        | RecoverError::NotLed { .. }
        | RecoverError::Cancelled => {}
    }
    say(next);
    Exit::Failed
}

fn begin_again(source: &SourceId, option: &str) -> String {
    format!("`strongroom recover abandon {source}` gives this recovery up; then begin again with {option}")
}
