//! Between the plan and the deletion anything can happen: each thing that may have changed, changed.

mod dump;
mod snapshot;

use std::sync::Arc;

use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::domain::key::{Layout, ObjectKey};
use crate::domain::pin::{PIN_VERSION, Pin};
use crate::domain::recovery_point::Plane;
use crate::plan::action::Action;
use crate::plan::plan_in_mode;
use crate::plan::prune::Mode;
use crate::policy::Policy;
use crate::policy::retention::Retention;
use crate::testing::at;
use crate::testing::faults::Operation;
use crate::testing::world::{Daemon, Ended, World};

/// A world in which a snapshot and a dump have expired, and a daemon that is to delete them.
struct Stage {
    world: World,
    daemon: Daemon,
    /// Of the oldest snapshot that has expired.
    snapshot: DeleteSnapshot,
    /// Of the dump that has.
    dump: DeleteDump,
}

/// Two backups of each kind, all kept; then only the newest is wanted.
async fn stage() -> Stage {
    let world = World::of(&[("accounts", &["accounts"])]).starting_at(at("2026-11-28T00:00:00Z")).build();
    assert_eq!(world.daemon("pod-1").run_until(at("2026-12-01T12:00:00Z")).await, Ended::Stopped);
    let daemon = world.daemon("pod-2");
    let mut wanted: Policy = world.policy.clone();
    let obligations = wanted.sources.values_mut().flat_map(|source| &mut source.obligations);
    obligations.for_each(|own| own.retention = Retention::Rules(crate::testing::keep_nothing()));
    let inventory = world.look().await;
    let plan = plan_in_mode(&wanted, &inventory, Mode::Confirmed, world.clock.true_now());
    let (mut snapshots, mut dumps) = (Vec::new(), Vec::new());
    for action in plan.actions {
        if let Action::DeleteSnapshot(delete) = action {
            snapshots.push(delete);
        } else if let Action::DeleteDump(delete) = action {
            dumps.push(*delete);
        }
    }
    let (snapshot, dump) = (snapshots.swap_remove(0), dumps.swap_remove(0));
    Stage { world, daemon, snapshot, dump }
}

impl Stage {
    async fn delete_snapshot(&self) -> String {
        self.carry_out(Action::DeleteSnapshot(self.snapshot.clone())).await
    }

    async fn delete_dump(&self) -> String {
        self.carry_out(Action::DeleteDump(Box::new(self.dump.clone()))).await
    }

    async fn carry_out(&self, action: Action) -> String {
        told(&self.daemon.executor.execute(action, Arc::default(), CancellationToken::new()).await)
    }

    /// The snapshot's id.
    fn id(&self) -> SnapshotId {
        self.snapshot.expired.id().parse().unwrap()
    }

    fn layout(&self) -> Layout {
        Layout::new(&self.world.policy.destination.prefix)
    }

    /// The dump as it was seen.
    fn stored(&self) -> &StoredDump {
        match &self.dump.warrant {
            Warrant::Expired { stored, .. } => stored,
            Warrant::Begun(_) => panic!("nothing has begun"),
        }
    }

    fn pin(&self, point: &str) {
        let pinned_at = self.world.clock.true_now();
        let pin = Pin { version: PIN_VERSION, point: point.to_owned(), reason: None, pinned_at };
        let key = self.layout().pin(&"accounts".parse().unwrap(), point);
        self.world.store.overwrite(&key, &serde_json::to_vec(&pin).unwrap());
    }

    /// Keys below the dump's own prefix, in order.
    fn objects(&self) -> Vec<ObjectKey> {
        let prefix = self.stored().manifest.key.as_str().strip_suffix("manifest.json").unwrap().to_owned();
        self.world.store.keys().into_iter().filter(|key| key.as_str().starts_with(&prefix)).collect()
    }

    fn archive(&self) -> ObjectKey {
        self.objects().into_iter().find(|key| key.file_name() == "archive.dump.zst").unwrap()
    }

    fn record_key(&self) -> ObjectKey {
        self.layout().prune_record(&self.stored().dump, Plane::Primary)
    }

    fn record(&self) -> Option<PruneRecord> {
        let bytes = self.world.store.bytes(&self.record_key())?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    fn write_record(&self, record: &PruneRecord) {
        self.world.store.overwrite(&self.record_key(), &serde_json::to_vec(record).unwrap());
    }

    /// How many requests of a kind changed something.
    fn effects(&self, operation: Operation) -> usize {
        self.daemon.faults.effects().iter().filter(|effect| effect.operation == operation).count()
    }
}

/// An outcome in one line.
fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::PointDeleted => "deleted".to_owned(),
        Outcome::Swept { versions } => format!("swept {versions}"),
        Outcome::Stopped => "stopped".to_owned(),
        Outcome::Held { reason } => format!("held: {reason}"),
        Outcome::Overtaken { reason } => format!("overtaken: {reason}"),
        Outcome::Failed { error } => format!("failed: {}", Chain(error)),
        Outcome::SnapshotBegun
        | Outcome::Deferred { .. }
        | Outcome::ClaimedElsewhere
        | Outcome::RunEnded(_)
        | Outcome::UploadAborted
        | Outcome::CopyBegun
        | Outcome::DumpCopied { .. }
        | Outcome::Verified(_)
        | Outcome::DrillEnded(_)
        | Outcome::WithDumps { .. }
        | Outcome::Reaped => panic!("{outcome:?}"),
    }
}
