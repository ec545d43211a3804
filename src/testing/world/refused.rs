//! What a refusal to show one object means: nothing is settled by it.

use super::{Ended, World};
use crate::collect::{Collector, OwnWork};
use crate::domain::inventory::{Inventory, Observed, SourceStore};
use crate::domain::key::Layout;
use crate::domain::run::RunState;
use crate::ports::ErrorKind;
use crate::testing::at;
use crate::testing::faults::Operation;
use crate::testing::world::daemon::Daemon;

fn one_source() -> World {
    World::of(&[("accounts", &["accounts"])]).starting_at(at("2026-11-01T00:00:00Z")).build()
}

/// One source, whose first run was claimed by somebody who died over it.
async fn claimed_and_left() -> World {
    let world = one_source();
    let first = world.daemon("pod-1");
    first.faults.die_after(1);
    assert_eq!(first.run_until(at("2026-11-01T06:00:00Z")).await, Ended::Died, "its first effect is a claim");
    world
}

/// Somebody who looks again and again.
struct Onlooker<'a> {
    world: &'a World,
    daemon: Daemon,
    collector: Collector,
}

impl<'a> Onlooker<'a> {
    fn at(world: &'a World) -> Onlooker<'a> {
        let collector = Collector::new(Layout::new(&world.policy.destination.prefix));
        Onlooker { world, daemon: world.daemon("pod-2"), collector }
    }

    async fn look(&mut self) -> Observed<SourceStore> {
        let inventory: Inventory =
            self.collector.collect(&self.daemon.ports, &self.world.policy, OwnWork::default()).await;
        inventory.stores.into_values().next().expect("there is one source")
    }

    async fn look_and_be_refused(&mut self) -> Observed<SourceStore> {
        self.daemon.faults.fail_next(Operation::Get, ErrorKind::PermissionDenied);
        self.look().await
    }
}

fn states(store: &SourceStore) -> Vec<&RunState> {
    store.runs.iter().map(|stored| &stored.record.state).collect()
}

#[tokio::test(start_paused = true)]
async fn a_record_that_may_be_of_a_run_under_way_is_not_taken_for_a_failure() {
    let world = claimed_and_left().await;
    let mut onlooker = Onlooker::at(&world);
    onlooker.look_and_be_refused().await.expect_err("the next attempt would start beside it");
    let seen = onlooker.look().await.unwrap();
    assert_eq!((states(&seen), &seen.refused), (vec![&RunState::Running], &None));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_refused_for_ever_holds_up_nobody_once_its_run_must_be_over() {
    let world = claimed_and_left().await;
    world.pass_until(at("2026-11-03T00:00:00Z")).await;
    let mut onlooker = Onlooker::at(&world);
    let seen = onlooker.look_and_be_refused().await.unwrap();
    assert!(matches!(*states(&seen), [RunState::Failed { .. }]), "{:?}", seen.runs);
    assert!(seen.refused.is_some_and(|refused| refused.0.contains("is refused: ")));
    let seen = onlooker.look().await.unwrap();
    assert_eq!((states(&seen), &seen.refused), (vec![&RunState::Running], &None), "it is asked for again");
}

#[tokio::test(start_paused = true)]
async fn a_dump_whose_manifest_is_refused_is_good_again_at_the_next_look() {
    let world = one_source();
    assert_eq!(world.daemon("pod-1").run_until(at("2026-11-01T12:00:00Z")).await, Ended::Stopped);
    let mut onlooker = Onlooker::at(&world);
    let seen = onlooker.look_and_be_refused().await.unwrap();
    let good = |seen: &SourceStore| seen.dumps.iter().filter(|stored| stored.point.is_good()).count();
    let all = seen.dumps.iter().count();
    assert_eq!(good(&seen), all - 1, "manifests are read first");
    assert!(seen.refused.is_some(), "nothing is deleted meanwhile");
    let seen = onlooker.look().await.unwrap();
    assert_eq!((good(&seen), &seen.refused), (all, &None));
}
