//! `strongroom pin` and `unpin`: a recovery point is kept whatever the policy says.

use clap::Args;

use super::{Exit, assemble, complain, look, say};
use crate::config::Config;
use crate::domain::id::SourceId;
use crate::execute::pin::Pinned;

/// Options of `pin`.
#[derive(Debug, Args)]
pub(super) struct PinCommand {
    /// The recovery point, as `strongroom list` names it.
    point: String,
    /// Why, for whoever wonders.
    #[arg(long)]
    reason: Option<String>,
}

/// Options of `unpin`.
#[derive(Debug, Args)]
pub(super) struct Unpin {
    /// The recovery point, as `strongroom list` names it.
    point: String,
}

impl PinCommand {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        let mut assembly = assemble(config).await;
        let (_, plan) = look(&mut assembly).await;
        let Some(point) = plan.points.iter().find(|point| point.id == self.point) else {
            return Ok(unknown(&self.point));
        };
        match assembly.executor.pin(&point.source, &point.id, self.reason).await? {
            Pinned::Now => say(&format!("{} is pinned: no policy deletes it until `strongroom unpin`", point.id)),
            Pinned::Before => say(&format!("{} was pinned before; nothing was changed", point.id)),
        }
        Ok(Exit::Done)
    }
}

impl Unpin {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        let mut assembly = assemble(config).await;
        let (inventory, _) = look(&mut assembly).await;
        let pinned = |source: &&SourceId| {
            inventory.store(source).is_ok_and(|store| store.pins.iter().any(|pin| pin.point == self.point))
        };
        let Some(source) = assembly.policy.sources.keys().find(pinned) else {
            complain(&format!("`{}` is not pinned: `strongroom prune` shows what is", self.point));
            return Ok(Exit::Usage);
        };
        assembly.executor.unpin(source, &self.point).await?;
        say(&format!("{} is released: from now on its policy decides", self.point));
        Ok(Exit::Done)
    }
}

fn unknown(point: &str) -> Exit {
    complain(&format!("there is no recovery point `{point}`: `strongroom list` names them"));
    Exit::Usage
}
