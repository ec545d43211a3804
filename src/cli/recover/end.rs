//! A recovery that is taken back, or given up.

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::ask::Asker;
use super::{asking, failed, not_read, told};
use crate::cli::restore::NotBegun;
use crate::cli::{Exit, complain, say, text, unknown_source, watched};
use crate::daemon::Assembly;
use crate::domain::id::SourceId;
use crate::domain::recovery::Writer;
use crate::recover::{Journal, Recovering};

/// What is said of a step that was not done.
const AGAIN: &str = "the same command goes on with it";

/// Options of what ends a recovery.
#[derive(Debug, Args)]
pub(super) struct End {
    /// The source, by its name in the configuration.
    source: SourceId,
    /// Approve it. Without it, it is asked for at the terminal.
    #[arg(long)]
    yes: bool,
}

impl End {
    async fn journal(&self, assembly: &Assembly) -> Result<Journal, NotBegun> {
        if !assembly.policy.sources.contains_key(&self.source) {
            return Err(NotBegun::Usage(unknown_source(&self.source)));
        }
        let journal = Journal::current(&assembly.recovery, &self.source).await.map_err(not_read)?;
        journal.ok_or_else(|| NotBegun::Usage(format!("no recovery of {} was ever begun", self.source)))
    }

    pub(super) async fn undo(&self, assembly: &Assembly) -> anyhow::Result<Exit> {
        let journal = match self.journal(assembly).await {
            Ok(journal) => journal,
            Err(not_begun) => return Ok(not_begun.told()),
        };
        let recovery = journal.recovery();
        if !recovery.can_be_undone() {
            let why = if recovery.old.is_some() { told::stands(recovery) } else { "had no old instance".to_owned() };
            complain(&format!("the recovery of {} that was begun at {} {why}", self.source, recovery.begun));
            return Ok(Exit::Refused);
        }
        text::print(&format!(
            "undo        the recovery of {} that was begun at {}: applications use the old instance again, with what was\n            \
             written to it before, and nothing that was written since the switch\n",
            self.source, recovery.begun
        ))?;
        let Some(by) = Asker::new(self.yes).approves("undo it?").await? else {
            complain("not approved: --yes does that where nobody is at a terminal");
            return Ok(Exit::Refused);
        };
        let (tools, token) = (&assembly.recovery, CancellationToken::new());
        let source = assembly.policy.sources.get(&self.source);
        let asking = source.and_then(|source| asking(assembly, source));
        let mut recovering = Recovering::new(tools, journal, &token).asking(asking);
        let mut tell = |line: String| say(&format!("  {line}"));
        let work = Box::pin(recovering.undo(by, &mut tell));
        let done = watched(tools.clock.as_ref(), &token, "stopping; the same command goes on", work, || {}).await;
        if let Err(error) = done {
            return Ok(failed(&error, &self.source, AGAIN));
        }
        let recovery = recovering.journal().recovery();
        text::print(&format!(
            "undone      {} is served by the old instance again; {} stays\n",
            self.source, recovery.new
        ))?;
        Ok(Exit::Done)
    }

    pub(super) async fn abandon(&self, assembly: &Assembly) -> anyhow::Result<Exit> {
        let journal = match self.journal(assembly).await {
            Ok(journal) => journal,
            Err(not_begun) => return Ok(not_begun.told()),
        };
        let recovery = journal.recovery().clone();
        if !recovery.is_under_way() {
            complain(&format!(
                "the recovery of {} {}: there is nothing to give up",
                self.source,
                told::stands(&recovery)
            ));
            return Ok(Exit::Refused);
        }
        if recovery.is_half_switched() {
            complain(&format!(
                "its switch may be half done: `strongroom recover {} {}` or `strongroom recover undo {}` brings it to an end first",
                recovery.scenario, self.source, self.source
            ));
            return Ok(Exit::Refused);
        }
        text::print(&told::steps(&recovery, None))?;
        let question = "give it up? What is done stays, and what was stopped is not started again.";
        if Asker::new(self.yes).approves(question).await?.is_none() {
            complain("not approved: --yes does that where nobody is at a terminal");
            return Ok(Exit::Refused);
        }
        let (tools, token) = (&assembly.recovery, CancellationToken::new());
        let mut recovering = Recovering::new(tools, journal, &token);
        match recovering.abandon().await {
            Ok(()) => {
                for Writer { deployment, replicas } in &recovery.writers {
                    let Some(replicas) = replicas else { continue };
                    let (namespace, name) = (deployment.namespace(), deployment.name());
                    say(&format!(
                        "{deployment} had {replicas} replicas and may be at 0 now: \
                         `kubectl -n {namespace} scale deployment {name} --replicas {replicas}`"
                    ));
                }
                text::print(&format!(
                    "given up    the recovery of {} that was begun at {}\n",
                    self.source, recovery.begun
                ))?;
                Ok(Exit::Done)
            }
            Err(error) => Ok(failed(&error, &self.source, AGAIN)),
        }
    }
}
