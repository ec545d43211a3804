//! Logins that work, one that works no more, and one that nobody has time for.

use super::*;
use crate::domain::key::Layout;
use crate::testing::at;
use crate::testing::world::World;

struct Bench {
    world: World,
    ports: Ports,
    collector: Collector,
}

impl Bench {
    fn new() -> Bench {
        let world = World::of(&[("accounts", &["accounts", "audit"])]).starting_at(at("2026-11-23T12:00:00Z")).build();
        let ports = world.daemon("pod-1").ports.clone();
        Bench { world, ports, collector: Collector::new(Layout::new("strongroom")).trying_logins() }
    }

    /// Whether the login works in each database in which it was tried.
    async fn look(&mut self) -> Vec<bool> {
        let instances = self.ports.rds.instances().await.unwrap();
        let tried = self.collector.look_at_logins(&self.ports, &self.world.policy, Some(&instances)).await;
        tried.into_values().flatten().map(|(_, facts)| facts.is_ok()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_works_no_more_is_found_within_hours_and_one_that_is_mended_within_a_minute() {
    let mut bench = Bench::new();
    let (both, none) = ([true, true], [false, false]);
    assert_eq!(bench.look().await, both);
    let host = bench.world.host(&"accounts".parse().unwrap());
    bench.world.servers.set_reachable(&host, false);
    tokio::time::advance(Duration::from_hours(5)).await;
    assert_eq!(bench.look().await, both, "it is not tried all the time");
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(bench.look().await, none);
    bench.world.servers.set_reachable(&host, true);
    assert_eq!(bench.look().await, none, "nor is one that does not work");
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(bench.look().await, both);
}
