//! The real loop in a world without surprises, and in one with some.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::*;
use crate::domain::id::{Kind, Slot};
use crate::domain::run::RunState;
use crate::domain::tags;
use crate::ports::ErrorKind;
use crate::testing::at;
use crate::testing::fake_rds::ChangeKind;
use crate::testing::faults::Chances;

fn two_sources() -> WorldBuilder {
    World::of(&[("accounts", &["accounts"]), ("cards", &["cards"])]).starting_at(at("2026-11-01T00:00:00Z"))
}

/// How many recovery points fill each slot of each source.
async fn filled(world: &World) -> BTreeMap<(String, Kind, String), u32> {
    let mut filled = BTreeMap::new();
    for snapshot in world.rds.every_snapshot() {
        assert_eq!(snapshot.status, "available", "{}", snapshot.id);
        let (source, slot) = (&snapshot.tags[tags::SOURCE], &snapshot.tags[tags::SLOT]);
        *filled.entry((source.clone(), Kind::Snapshot, slot.clone())).or_default() += 1;
    }
    for manifest in world.manifests().await {
        let key = (manifest.dump.source.to_string(), Kind::Dump, manifest.dump.slot.to_string());
        *filled.entry(key).or_default() += 1;
    }
    filled
}

/// One recovery point for each slot from the last one before the start to the end of November.
fn once_each() -> BTreeMap<(String, Kind, String), u32> {
    let weekly = ["2026-10-25", "2026-11-01", "2026-11-08", "2026-11-15", "2026-11-22", "2026-11-29"];
    let monthly = ["2026-10-01", "2026-11-01"];
    let slot = |day: &str, hour: &str| Slot::at(at(&format!("{day}T{hour}:00:00Z"))).to_string();
    let weekly = weekly.iter().map(|day| (Kind::Snapshot, slot(day, "03")));
    let monthly = monthly.iter().map(|day| (Kind::Dump, slot(day, "04")));
    let slots: Vec<_> = weekly.chain(monthly).collect();
    let sources = ["accounts", "cards"].iter();
    sources.flat_map(|source| slots.iter().map(|(kind, slot)| ((source.to_string(), *kind, slot.clone()), 1))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_month_fills_every_slot_once() {
    let world = two_sources().replica_in("us-west-2").encrypted().build();
    let daemon = world.daemon("pod-1");
    assert_eq!(daemon.run_until(at("2026-12-01T00:00:00Z")).await, Ended::Stopped);
    assert_eq!(filled(&world).await, once_each());
    let ends = daemon.observer.ends();
    assert_eq!(ends.len(), 16);
    assert!(ends.iter().all(|(_, _, state)| matches!(state, RunState::Succeeded { .. })), "{ends:?}");
    let (looks, unseen) = daemon.observer.looks();
    assert!(looks >= 30 * 24 * 6, "it looks every ten minutes: {looks}");
    assert_eq!((unseen, world.store.open_uploads()), (0, 0));
    world.pass_until(at("2026-12-01T01:00:00Z")).await;
    let replica = world.replica.as_ref().expect("it was asked for");
    assert_eq!(replica.keys(), world.store.keys());
}

/// One source for one night: what was missed before it, and the slots of the night.
fn one_night() -> World {
    World::of(&[("accounts", &["accounts"])]).starting_at(at("2026-11-01T00:00:00Z")).build()
}

async fn points_of(world: &World) -> Vec<u32> {
    filled(world).await.into_values().collect()
}

#[tokio::test(start_paused = true)]
async fn whoever_dies_after_any_effect_has_a_successor_that_gets_it_done() {
    let morning = at("2026-11-01T06:00:00Z");
    let undisturbed = one_night();
    let daemon = undisturbed.daemon("pod-1");
    daemon.run_until(morning).await;
    assert_eq!(points_of(&undisturbed).await, [1, 1, 1, 1]);
    let effects = daemon.faults.effects().len();
    assert!(effects > 20, "{effects}");
    for k in 0..=effects {
        let world = one_night();
        let first = world.daemon("pod-1");
        first.faults.die_after(k);
        assert_eq!(first.run_until(morning).await, Ended::Died, "there are so many effects each time");
        let second = world.daemon("pod-1");
        second.run_until(at("2026-11-01T12:00:00Z")).await;
        assert_eq!(points_of(&world).await, [1, 1, 1, 1], "dead after effect {k}: {:?}", first.faults.effects().last());
        assert_eq!((world.store.open_uploads(), world.pg_dump.running()), (0, Vec::new()), "dead after effect {k}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_answer_is_lost_every_slot_is_filled_once() {
    let undisturbed = one_night();
    let daemon = undisturbed.daemon("pod-1");
    daemon.run_until(at("2026-11-01T06:00:00Z")).await;
    for k in 1..=daemon.faults.effects().len() {
        let world = one_night();
        let daemon = world.daemon("pod-1");
        daemon.faults.lose_response(k);
        daemon.run_until(at("2026-11-01T12:00:00Z")).await;
        let lost = daemon.faults.effects()[k - 1].clone();
        assert_eq!(points_of(&world).await, [1, 1, 1, 1], "the answer to {lost:?} was lost");
        assert_eq!(world.store.open_uploads(), 0, "the answer to {lost:?} was lost");
    }
}

#[tokio::test(start_paused = true)]
async fn two_daemons_fill_every_slot_once() {
    let world = two_sources().build();
    world.pg_dump.set_takes(SignedDuration::from_mins(30));
    let (one, other) = (world.daemon("pod-1"), world.daemon("pod-2"));
    other.clock.step(SignedDuration::from_secs(2));
    let until = at("2026-12-01T00:00:00Z");
    assert_eq!(tokio::join!(one.run_until(until), other.run_until(until)), (Ended::Stopped, Ended::Stopped));
    assert_eq!(filled(&world).await, once_each());
    assert_eq!(one.observer.ends().len() + other.observer.ends().len(), 16, "each run ends once");
}

/// Everything that a disturbed month has done, and when.
async fn disturbed_month(seed: u64) -> Vec<String> {
    let world = two_sources().seed(seed).build();
    let daemon = world.daemon("pod-1");
    daemon.faults.set_chances(Chances {
        fail: 50,
        kinds: vec![ErrorKind::Transient, ErrorKind::Throttled],
        lose_response: 30,
        // Every call takes its own time: what happens at one instant has no order.
        delay: 1000,
        delay_max: SignedDuration::from_secs(5),
    });
    daemon.run_until(at("2026-12-01T00:00:00Z")).await;
    assert_eq!(filled(&world).await, once_each());
    let effects = daemon.faults.effects();
    effects.iter().map(|effect| format!("{} {:?} {}", effect.at, effect.operation, effect.subject)).collect()
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_history() {
    let (one, again) = (disturbed_month(3).await, disturbed_month(3).await);
    for (first, second) in one.iter().zip(&again) {
        assert_eq!(first, second);
    }
    assert_eq!(one.len(), again.len());
    assert_ne!(one, disturbed_month(4).await);
}

#[tokio::test(start_paused = true)]
async fn a_world_is_as_it_was_ordered() {
    let west: RegionName = "us-west-2".parse().unwrap();
    let world = World::of(&[("accounts", &["accounts"])])
        .starting_at(at("2026-11-01T00:00:00Z"))
        .copies_in("us-west-2")
        .policy(|policy| policy.limits.concurrent_runs = 1)
        .build();
    let (source, database) = ("accounts".parse().unwrap(), "accounts".parse().unwrap());
    world.set_rows(&source, &database, 77);
    let daemon = world.daemon("pod-1");
    daemon.run_until(at("2026-11-01T06:00:00Z")).await;
    assert!(world.manifests().await.iter().all(|manifest| manifest.rows == 77));
    let ordered = world.account.changes().iter().filter(|change| change.kind == ChangeKind::Ordered).count();
    let copied = daemon.ports.copies[&west].snapshots().await.unwrap();
    assert_eq!(copied.len(), world.copies[&west].every_snapshot().len());
    assert_eq!(ordered, world.rds.every_snapshot().len() + copied.len());
    assert!(!copied.is_empty());
    daemon.clock.step(SignedDuration::from_mins(7));
    assert_eq!(daemon.ports.reference.ahead(), Some(SignedDuration::from_mins(-7)));
    daemon.reference.set_answered(false);
    assert_eq!(daemon.ports.reference.ahead(), None);
    world.credentials.set_denied(&source, true);
    assert_eq!(world.host(&source), "bank-accounts.us-east-1.rds.test");
}
