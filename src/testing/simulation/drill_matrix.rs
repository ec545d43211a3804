//! Drills: stop dead after the k-th effect of one, for every k, and separately lose the k-th answer. Somebody goes on, every
//! drill gets its verdict, and no instance is left.

use jiff::SignedDuration;
use rstest::rstest;
use sha2::{Digest, Sha256};

use crate::domain::drill::{DrillPath, DrillRecord, DrillState, Link, Phase};
use crate::domain::id::InstanceId;
use crate::domain::key::{KeyRole, Layout};
use crate::domain::run::RunState;
use crate::dump::hex;
use crate::plan::decision::Reason;
use crate::policy::{DumpFrom, Task};
use crate::ports::clock::Clock;
use crate::ports::rds::Rds;
use crate::testing::fake_rds::Fate;
use crate::testing::faults::{FaultPlan, Operation};
use crate::testing::world::{Ended, World};
use crate::testing::{at, with_drills};

const BEGIN: &str = "2026-11-01T00:00:00Z";
/// By then the drills of two slots are done, by a daemon that nothing disturbs.
const DONE: &str = "2026-11-01T12:00:00Z";
/// A successor has as long once more.
const DONE_LATER: &str = "2026-11-01T23:00:00Z";

/// One source with a snapshot and a dump, and drills along what RDS keeps: those of the day before, which are made up for at
/// once, and those of six in the morning.
pub(super) fn world() -> World {
    World::of(&[("accounts", &["accounts"])])
        .starting_at(at(BEGIN))
        .policy(|policy| {
            policy.cadence.reconcile_interval = SignedDuration::from_mins(30);
            *policy = with_drills(policy.clone());
            for source in policy.sources.values_mut() {
                for obligation in &mut source.obligations {
                    obligation.schedule = "0 3 1 * *".parse().unwrap();
                }
                let drill = source.drill.as_mut().unwrap();
                drill.schedule = "0 6 * * *".parse().unwrap();
                drill.paths = vec![DrillPath::Snapshot, DrillPath::Pitr];
            }
        })
        .build()
}

/// Every record of a drill, in the order of slots and paths, with its bytes.
fn records(world: &World) -> Vec<(String, Vec<u8>, DrillRecord)> {
    let layout = Layout::new(&world.policy.destination.prefix);
    let keys = world.store.keys().into_iter().filter(|key| matches!(layout.role(key), KeyRole::DrillRecord(_)));
    let read = keys.map(|key| {
        let bytes = world.store.bytes(&key).expect("it stands");
        (key.to_string(), bytes.to_vec(), serde_json::from_slice(&bytes).unwrap())
    });
    read.collect()
}

async fn instances(world: &World) -> Vec<InstanceId> {
    world.rds.instances().await.unwrap().iter().map(|own| own.id.clone()).collect()
}

/// Both drills of both slots were passed, each along a chain of its own, and nothing but the source stands.
async fn all_is_well(world: &World, after: &str) {
    let source = world.policy.sources.values().next().unwrap();
    assert_eq!(instances(world).await, std::slice::from_ref(&source.instance), "{after}");
    let records = records(world);
    assert_eq!(records.len(), 4, "{after}");
    for (key, _, record) in &records {
        let DrillState::Passed { tables, rows, .. } = record.state else { panic!("{after}: {key}: {record:?}") };
        assert_eq!((tables, rows), (1, 20), "{after}: {key}");
        let before = records.iter().rfind(|(_, _, own)| own.path == record.path && own.slot < record.slot);
        let link = before.map(|(key, bytes, _)| Link { key: key.clone(), sha256: hex(Sha256::digest(bytes)) });
        assert_eq!(record.previous, link, "{after}: {key}");
        let instances: Vec<_> = record.instances().collect();
        assert_eq!(instances.len(), record.attempt as usize, "{after}: {key} names every instance that was ordered");
    }
}

/// The same with drills of snapshots only, and the dump of five in the morning is made of what one restores.
fn world_of_dumps() -> World {
    let mut world = world();
    for source in world.policy.sources.values_mut() {
        source.dump_from = DumpFrom::Drill;
        source.drill.as_mut().unwrap().paths = vec![DrillPath::Snapshot];
        for own in source.obligations.iter_mut().filter(|own| own.task != Task::Snapshot) {
            own.schedule = "0 5 1 * *".parse().unwrap();
        }
    }
    world
}

/// Every drill was passed, both slots have a dump of the snapshot's moment, and nothing but the source stands.
async fn dumps_are_well(world: &World, after: &str) {
    let source = world.policy.sources.values().next().unwrap();
    assert_eq!(instances(world).await, std::slice::from_ref(&source.instance), "{after}");
    // One that a dead process left is not done again where another drill has made its dump.
    let found_bad = |record: &DrillRecord| matches!(record.state, DrillState::BackupBad { .. });
    assert!(!records(world).iter().any(|(_, _, record)| found_bad(record)), "{after}");
    let inventory = world.look().await;
    let plan = crate::plan::plan(&world.policy, &inventory, world.clock.now());
    for decision in &plan.decisions {
        assert!(matches!(decision.reason, Reason::Satisfied { .. }), "{after}: {decision}");
    }
    let manifests = world.manifests().await;
    assert_eq!(manifests.len(), 2, "{after}");
    for manifest in manifests {
        let of = manifest.from_snapshot.expect("it is of a snapshot");
        let snapshots = inventory.snapshots.as_ref().unwrap();
        let snapshot = snapshots.iter().find(|own| own.id == of).expect("which stands");
        assert_eq!((Some(manifest.snapshot_at), manifest.rows), (snapshot.created_at, 20), "{after}: {of}");
    }
    let store = inventory.store(&source.id).unwrap();
    let open = store.runs.iter().filter(|own| own.record.state == RunState::Running).count();
    assert_eq!(open, 0, "{after}: every run has its end");
}

/// Every `step`-th effect of making dumps in drills goes wrong, from the first write of a drill on.
async fn matrix_of_dumps(wrong: fn(&FaultPlan, usize), offset: usize, step: usize) {
    let calm = world_of_dumps();
    let daemon = calm.daemon("pod-1");
    assert_eq!(daemon.run_until(at(DONE)).await, Ended::Stopped);
    dumps_are_well(&calm, "undisturbed").await;
    let effects = daemon.faults.effects();
    let first = effects.iter().position(|own| own.subject.contains("/drills/")).expect("there are drills") + 1;
    for k in (first + offset..=effects.len()).step_by(step) {
        let world = world_of_dumps();
        let daemon = world.daemon("pod-1");
        wrong(&daemon.faults, k);
        let after = format!("effect {k} goes wrong: {:?}", effects.get(k - 1));
        if daemon.run_until(at(DONE)).await == Ended::Died {
            world.daemon("pod-1").run_until(at(DONE_LATER)).await;
        } else {
            daemon.run_until(at(DONE_LATER)).await;
        }
        dumps_are_well(&world, &after).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_dies_while_a_drill_makes_a_dump_has_a_successor() {
    matrix_of_dumps(FaultPlan::die_after, 0, 1).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_answer_is_lost_a_drill_makes_its_dump() {
    matrix_of_dumps(FaultPlan::lose_response, 0, 1).await;
}

/// The effects of a daemon that nothing disturbs, and which of them is the first of a drill.
async fn undisturbed() -> (usize, usize) {
    let world = world();
    let daemon = world.daemon("pod-1");
    assert_eq!(daemon.run_until(at(DONE)).await, Ended::Stopped);
    all_is_well(&world, "undisturbed").await;
    for (key, _, record) in records(&world) {
        let phases: Vec<Phase> = record.phases.iter().map(|reached| reached.phase).collect();
        assert_eq!((phases.as_slice(), record.attempt), (&Phase::ALL[..], 1), "{key}");
    }
    let effects = daemon.faults.effects();
    let count = |operation| effects.iter().filter(|own| own.operation == operation).count();
    assert_eq!((count(Operation::Restore), count(Operation::DeleteInstance)), (4, 4));
    let first = effects.iter().position(|own| own.subject.contains("/drills/")).expect("there are drills");
    (first + 1, effects.len())
}

/// Every `step`-th effect from an offset goes wrong, each in a world of its own.
async fn matrix(wrong: fn(&FaultPlan, usize), offset: usize, step: usize) {
    let (first, last) = undisturbed().await;
    assert!(last - first > 40, "{first} to {last}");
    for k in (first + offset..=last).step_by(step) {
        let world = world();
        let daemon = world.daemon("pod-1");
        wrong(&daemon.faults, k);
        let ended = daemon.run_until(at(DONE)).await;
        let after = format!("effect {k} went wrong: {:?}", daemon.faults.effects().get(k - 1));
        if ended == Ended::Died {
            world.daemon("pod-1").run_until(at(DONE_LATER)).await;
        } else {
            daemon.run_until(at(DONE_LATER)).await;
        }
        all_is_well(&world, &after).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_dies_in_a_drill_has_a_successor_1_of_2() {
    matrix(FaultPlan::die_after, 0, 2).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_dies_in_a_drill_has_a_successor_2_of_2() {
    matrix(FaultPlan::die_after, 1, 2).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_answer_is_lost_a_drill_comes_to_its_verdict_1_of_2() {
    matrix(FaultPlan::lose_response, 0, 2).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_answer_is_lost_a_drill_comes_to_its_verdict_2_of_2() {
    matrix(FaultPlan::lose_response, 1, 2).await;
}

/// That an instance does not come about says nothing of the backup: it is given up, deleted, and ordered again.
#[rstest]
#[case::the_network_has_no_address(Fate::Fails, "incompatible-network")]
// Whether the drill or its wait for the instance notices first is all the same.
#[case::it_is_made_for_ever(Fate::Sticks, "deadline")]
#[tokio::test(start_paused = true)]
async fn an_instance_that_does_not_come_about_is_deleted_and_the_drill_done_again(
    #[case] fate: Fate,
    #[case] told: &str,
) {
    let mut world = world();
    for drill in world.policy.sources.values_mut().filter_map(|source| source.drill.as_mut()) {
        drill.completion_deadline = SignedDuration::from_hours(3);
    }
    world.rds.next_restore(fate);
    let daemon = world.daemon("pod-1");
    assert_eq!(daemon.run_until(at(DONE_LATER)).await, Ended::Stopped);
    all_is_well(&world, told).await;
    let errors: Vec<String> = records(&world).into_iter().flat_map(|(_, _, own)| own.earlier_errors).collect();
    assert!(errors.len() == 1 && errors[0].contains(told), "{errors:?}");
}

/// Nobody elects a leader here: the record is the claim.
#[tokio::test(start_paused = true)]
async fn two_daemons_do_each_drill_once() {
    let world = world();
    let (one, other) = (world.daemon("pod-1"), world.daemon("pod-2"));
    tokio::join!(one.run_until(at(DONE)), other.run_until(at(DONE)));
    all_is_well(&world, "two daemons").await;
    let effects = [one.faults.effects(), other.faults.effects()].concat();
    assert_eq!(effects.iter().filter(|own| own.operation == Operation::Restore).count(), 4);
    assert!(records(&world).iter().all(|(_, _, record)| record.attempt == 1));
}

/// What is missing from a restored copy is told by its name, and the snapshot that it came from is a good one no more.
#[tokio::test(start_paused = true)]
async fn a_snapshot_that_lost_rows_is_found_bad_and_the_automated_backups_are_not() {
    let mut world = world();
    for source in world.policy.sources.values_mut() {
        source.drill.as_mut().unwrap().fewer_rows_max_percent = Some(0);
        for own in source.obligations.iter_mut().filter(|own| own.task != Task::Snapshot) {
            own.schedule = "0 1 1 * *".parse().unwrap();
        }
    }
    let source = world.policy.sources.values().next().unwrap();
    let daemon = world.daemon("pod-1");
    let (database, set_rows) = (&source.databases[0], |rows| world.set_rows(&source.id, &source.databases[0], rows));
    tokio::join!(daemon.run_until(at(DONE)), async {
        // What the dump has, the snapshot has not; the server has it again.
        world.pass_until(at("2026-11-01T02:30:00Z")).await;
        set_rows(19);
        world.pass_until(at("2026-11-01T04:00:00Z")).await;
        set_rows(20);
    });
    let of_the_morning =
        records(&world).into_iter().map(|(_, _, own)| own).filter(|own| own.slot.instant() > at(BEGIN));
    let verdicts: Vec<_> = of_the_morning.map(|own| (own.path, own.state)).collect();
    let [(DrillPath::Pitr, DrillState::Passed { .. }), (DrillPath::Snapshot, DrillState::BackupBad { faults, .. })] =
        verdicts.as_slice()
    else {
        panic!("{verdicts:?}")
    };
    let told = format!("{database}: table public.t has 19 rows, and had 20 in the dump before: more than 0 % fewer");
    assert_eq!(faults, &[told]);
    assert_eq!(instances(&world).await, std::slice::from_ref(&source.instance));
}
