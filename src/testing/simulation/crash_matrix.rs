//! Stop dead after the k-th effect, for every k, and separately lose the k-th answer; then somebody goes on, and gets it done.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::domain::drill::Link;
use crate::domain::id::Kind;
use crate::domain::key::{KeyRole, Layout};
use crate::domain::manifest::Engine;
use crate::domain::verification::{EvidenceOfVerification, Verification};
use crate::dump::hex;
use crate::policy::Task;
use crate::policy::retention::{Retention, RetentionPolicy};
use crate::testing::faults::Operation;
use crate::testing::world::{Ended, World};
use crate::testing::{at, keep_nothing};

const BEGIN: &str = "2026-11-01T00:00:00Z";
/// By then all of it is done by a daemon that nothing disturbs.
const DONE: &str = "2026-11-02T12:00:00Z";
/// A successor has as long once more.
const DONE_LATER: &str = "2026-11-04T12:00:00Z";

/// One source with a snapshot and a dump each day, of which one is kept, in two regions: from the second day on everything
/// that there is happens: snapshot, copy, dump, replication, verification, deletion in both planes.
fn world() -> World {
    world_of(Engine::PgDump)
}

fn world_of(engine: Engine) -> World {
    World::of(&[("accounts", &["accounts"])])
        .starting_at(at(BEGIN))
        .encrypted()
        .replica_in("us-west-2")
        .copies_in("us-west-2")
        .policy(|policy| {
            policy.cadence.reconcile_interval = SignedDuration::from_mins(30);
            policy.prune.settle = SignedDuration::ZERO;
            // Where a sample is read back, the newest that was stays for a week beside the newest.
            policy.verify.replica_interval = None;
            for obligation in policy.sources.values_mut().flat_map(|source| &mut source.obligations) {
                let schedule =
                    if obligation.task == Task::Snapshot { "0 3,9,15,21 * * *" } else { "0 4,10,16,22 * * *" };
                obligation.schedule = schedule.parse().unwrap();
                obligation.retention = keep_one();
                obligation.replica_retention = keep_one();
                if let Task::Dump { settings, .. } = &mut obligation.task {
                    settings.engine = engine;
                }
            }
        })
        .build()
        .with_copies(keep_one())
}

fn keep_one() -> Retention {
    Retention::Rules(RetentionPolicy { min_age: SignedDuration::from_hours(1), ..keep_nothing() })
}

fn done() -> Timestamp {
    at(DONE)
}

/// How many snapshots, copies, manifests and replicas are there, and whether anything is half-done.
async fn counts(world: &World) -> (usize, usize, usize, usize, usize) {
    let copies = world.copies.values().map(|region| region.every_snapshot().len()).sum();
    let replica = world.replica.as_ref().expect("it has one");
    let replicas = replica.keys().iter().filter(|key| key.file_name() == "manifest.json").count();
    (world.rds.every_snapshot().len(), copies, world.manifests().await.len(), replicas, world.store.open_uploads())
}

/// Every verification that is recorded is in the chain of evidence, and the chain has neither gap nor fork.
fn evidence_is_whole(world: &World) {
    let layout = Layout::new(&world.policy.destination.prefix);
    let (mut chain, mut newest) = (Vec::new(), Vec::new());
    for key in world.store.keys() {
        let bytes = world.store.bytes(&key).expect("it stands");
        match layout.role(&key) {
            KeyRole::Evidence { .. } => {
                chain.push((key, bytes.clone(), serde_json::from_slice::<EvidenceOfVerification>(&bytes).unwrap()));
            }
            KeyRole::Verification { .. } => newest.push(serde_json::from_slice::<Verification>(&bytes).unwrap()),
            KeyRole::Manifest(_)
            | KeyRole::DumpObject { .. }
            | KeyRole::RunRecord { .. }
            | KeyRole::DrillRecord(_)
            | KeyRole::Pin { .. }
            | KeyRole::Recovery { .. }
            | KeyRole::PruneRecord { .. }
            | KeyRole::Foreign => {}
        }
    }
    chain.sort_by_key(|(_, _, evidence)| evidence.number);
    let mut before = None;
    for (place, (key, bytes, evidence)) in (1..).zip(&chain) {
        assert_eq!((evidence.number, &evidence.previous), (place, &before), "{key}");
        before = Some(Link { key: key.to_string(), sha256: hex(Sha256::digest(bytes)) });
    }
    assert!(!newest.is_empty());
    for own in newest {
        assert!(chain.iter().any(|(_, _, evidence)| evidence.verification == own), "{own:?} is no evidence");
    }
}

#[tokio::test(start_paused = true)]
async fn undisturbed_everything_that_there_is_happens() {
    let world = world();
    let daemon = world.daemon("pod-1");
    assert_eq!(daemon.run_until(done()).await, Ended::Stopped);
    assert_eq!(counts(&world).await, (1, 1, 1, 1, 0));
    let kinds: std::collections::BTreeSet<Operation> =
        daemon.faults.effects().iter().map(|own| own.operation).collect();
    for operation in [
        Operation::CreateSnapshot,
        Operation::CopySnapshot,
        Operation::DeleteSnapshot,
        Operation::CompleteUpload,
        Operation::DeleteVersions,
        Operation::Put,
    ] {
        assert!(kinds.contains(&operation), "{operation:?} never happened");
    }
    let deletions = daemon.observer.deletions();
    assert!(deletions.iter().any(|(_, kind, _)| *kind == Kind::Dump), "{deletions:?}");
}

/// Every step-th k, from an offset: the whole matrix is these for all offsets.
async fn die_after_each(engine: Engine, offset: usize, step: usize) {
    let undisturbed = world_of(engine);
    let daemon = undisturbed.daemon("pod-1");
    daemon.run_until(done()).await;
    let effects = daemon.faults.effects().len();
    assert!(effects > 50, "{effects}");
    for k in (offset..=effects).step_by(step) {
        let world = world_of(engine);
        let first = world.daemon("pod-1");
        first.faults.die_after(k);
        first.run_until(done()).await;
        let last = first.faults.effects().last().cloned();
        let second = world.daemon("pod-1");
        second.run_until(at(DONE_LATER)).await;
        assert_eq!(counts(&world).await, (1, 1, 1, 1, 0), "dead after effect {k}, {last:?}");
        assert_eq!(world.pg_dump.running(), Vec::<String>::new(), "dead after effect {k}, {last:?}");
        evidence_is_whole(&world);
    }
}

async fn lose_each_answer(engine: Engine, offset: usize, step: usize) {
    let undisturbed = world_of(engine);
    let daemon = undisturbed.daemon("pod-1");
    daemon.run_until(done()).await;
    for k in (1 + offset..=daemon.faults.effects().len()).step_by(step) {
        let world = world_of(engine);
        let daemon = world.daemon("pod-1");
        daemon.faults.lose_response(k);
        daemon.run_until(at(DONE_LATER)).await;
        let lost = daemon.faults.effects().get(k - 1).cloned();
        assert_eq!(counts(&world).await, (1, 1, 1, 1, 0), "the answer to {lost:?} was lost");
        evidence_is_whole(&world);
    }
}

macro_rules! shares {
    ($($engine:path, $number:literal in $step:literal: $dies:ident $loses:ident),+ $(,)?) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $dies() {
                die_after_each($engine, $number, $step).await;
            }

            #[tokio::test(start_paused = true)]
            async fn $loses() {
                lose_each_answer($engine, $number, $step).await;
            }
        )+
    };
}

shares! {
    Engine::PgDump, 0 in 4: whoever_dies_has_a_successor_that_gets_it_done_1_of_4 whatever_answer_is_lost_it_gets_done_1_of_4,
    Engine::PgDump, 1 in 4: whoever_dies_has_a_successor_that_gets_it_done_2_of_4 whatever_answer_is_lost_it_gets_done_2_of_4,
    Engine::PgDump, 2 in 4: whoever_dies_has_a_successor_that_gets_it_done_3_of_4 whatever_answer_is_lost_it_gets_done_3_of_4,
    Engine::PgDump, 3 in 4: whoever_dies_has_a_successor_that_gets_it_done_4_of_4 whatever_answer_is_lost_it_gets_done_4_of_4,
    Engine::Parallel, 0 in 3: whoever_dies_in_parallel_has_a_successor_1_of_3 whatever_answer_is_lost_in_parallel_1_of_3,
    Engine::Parallel, 1 in 3: whoever_dies_in_parallel_has_a_successor_2_of_3 whatever_answer_is_lost_in_parallel_2_of_3,
    Engine::Parallel, 2 in 3: whoever_dies_in_parallel_has_a_successor_3_of_3 whatever_answer_is_lost_in_parallel_3_of_3,
}
