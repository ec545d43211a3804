//! Which records count as old, in a year that has passed.

use jiff::SignedDuration;

use super::{Ended, World};
use crate::collect::{Collector, OwnWork};
use crate::domain::inventory::{Inventory, OldRecord, RecordOf};
use crate::domain::key::{DumpId, KeyRole, Layout, ObjectKey};
use crate::domain::recovery_point::Plane;
use crate::testing::at;

/// Five weeks were backed up, and a year has passed since without a daemon.
async fn a_year_later() -> World {
    let world = World::of(&[("accounts", &["accounts"])])
        .starting_at(at("2025-11-01T00:00:00Z"))
        .replica_in("us-west-2")
        .policy(|policy| policy.prune.keep_evidence = Some(SignedDuration::from_hours(90 * 24)))
        .build();
    assert_eq!(world.daemon("pod-1").run_until(at("2025-12-03T00:00:00Z")).await, Ended::Stopped);
    world.pass_until(at("2026-12-01T00:00:00Z")).await;
    world
}

fn old(inventory: &Inventory) -> Vec<OldRecord> {
    let store = inventory.stores.values().next().unwrap().as_ref().unwrap();
    store.old_records.iter().cloned().collect()
}

fn tells_of(record: &OldRecord, dump: &DumpId) -> bool {
    match &record.of {
        RecordOf::Run(run) => run.slot == dump.slot && run.database.as_ref() == Some(&dump.database),
        RecordOf::Deletion(own, _) | RecordOf::Verification(own, _) => own == dump,
    }
}

/// Deletes the objects of the oldest dump in the primary bucket for good, and returns which it was.
async fn lose_oldest(world: &World) -> DumpId {
    let dump = world.manifests().await.into_iter().map(|manifest| manifest.dump).min_by_key(|dump| dump.slot).unwrap();
    let slot = format!("/dumps/accounts/{}/", dump.slot);
    let keys: Vec<ObjectKey> = world.store.keys().into_iter().filter(|key| key.as_str().contains(&slot)).collect();
    keys.iter().for_each(|key| world.store.lose(key));
    dump
}

#[tokio::test(start_paused = true)]
async fn records_of_a_year_ago_are_old_and_have_all_of_their_versions() {
    let world = a_year_later().await;
    let dump = lose_oldest(&world).await;
    let old = old(&world.look().await);
    let of_dump: Vec<&OldRecord> = old.iter().filter(|record| tells_of(record, &dump)).collect();
    // The run, and in both planes what was asked for and what was read back.
    assert_eq!(of_dump.len(), 5, "{of_dump:#?}");
    let run = of_dump.iter().find(|record| matches!(record.of, RecordOf::Run(_))).unwrap();
    assert_eq!(run.versions.len(), 2, "its claim and its end");
}

#[tokio::test(start_paused = true)]
async fn what_tells_of_a_hidden_dump_is_not_old() {
    let world = a_year_later().await;
    let dump = lose_oldest(&world).await;
    let hidden = world.manifests().await.remove(0).dump;
    assert_ne!(hidden, dump);
    world.store.delete_by_hand(&Layout::new(&world.policy.destination.prefix).manifest(&hidden));
    let old = old(&world.look().await);
    assert!(old.iter().any(|record| tells_of(record, &dump)));
    assert!(!old.iter().any(|record| tells_of(record, &hidden)), "whoever deletes its marker has it back");
}

#[tokio::test(start_paused = true)]
async fn what_was_in_a_replica_bucket_that_nobody_looks_at_any_more_may_still_be_there() {
    let world = a_year_later().await;
    let dump = lose_oldest(&world).await;
    let mut daemon = world.daemon("pod-2");
    daemon.ports.replica = None;
    let mut policy = world.policy.clone();
    policy.destination.replica = None;
    let mut collector = Collector::new(Layout::new(&policy.destination.prefix));
    let old = old(&collector.collect(&daemon.ports, &policy, OwnWork::default()).await);
    assert!(!old.iter().any(|record| tells_of(record, &dump)), "{old:#?}");
    assert!(old.iter().any(|record| matches!(record.of, RecordOf::Run(_))), "those of snapshots are");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_is_nobodys() {
    let world = a_year_later().await;
    let dump = lose_oldest(&world).await;
    let layout = Layout::new(&world.policy.destination.prefix);
    let of_dump = |key: &ObjectKey| match layout.role(key) {
        KeyRole::RunRecord { run, .. } => run.slot == dump.slot && run.database.is_some(),
        KeyRole::Verification { dump: own, plane, .. } => own == dump && plane == Plane::Primary,
        KeyRole::Manifest(_)
        | KeyRole::DrillRecord(_)
        | KeyRole::DumpObject { .. }
        | KeyRole::Pin { .. }
        | KeyRole::PruneRecord { .. }
        | KeyRole::Recovery { .. }
        | KeyRole::Evidence { .. }
        | KeyRole::Foreign => false,
    };
    world.store.keys().iter().filter(|key| of_dump(key)).for_each(|key| world.store.truncate(key, 10));
    let old = old(&world.look().await);
    let left: Vec<&OldRecord> = old.iter().filter(|record| tells_of(record, &dump)).collect();
    assert!(left.iter().all(|record| record.of == RecordOf::Verification(dump.clone(), Plane::Replica)), "{left:#?}");
}
