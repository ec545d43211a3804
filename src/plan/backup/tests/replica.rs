//! Dumps that are read from a replica.

use super::*;
use crate::domain::inventory::Endpoint;
use crate::policy::DumpFrom;

fn endpoint(host: &str) -> Endpoint {
    Endpoint { host: host.to_owned(), port: 5432 }
}

/// The source's dumps are to come from its replica.
fn world() -> World {
    let mut world = World::new();
    for source in world.policy.sources.values_mut() {
        source.dump_from = DumpFrom::Replica("accounts-replica".parse().unwrap());
    }
    world
}

/// The replica, as RDS shows it beside the instance.
fn with_replica(mut world: World, of: Option<&str>, status: &str) -> World {
    let mut instances: Vec<Instance> = world.inventory.instances.as_ref().unwrap().iter().cloned().collect();
    let mut replica = instances[0].clone();
    (replica.id, replica.endpoint) = ("accounts-replica".parse().unwrap(), Some(endpoint("replica")));
    replica.resource = "db-REPLICA".parse().unwrap();
    replica.status = status.to_owned();
    replica.replica_of = of.map(str::to_owned);
    instances.push(replica);
    world.inventory.instances = Ok(Complete::after_last_page(instances));
    world
}

fn started(world: &World) -> StartDump {
    let dumps = world
        .plan(NOON)
        .actions
        .into_iter()
        .filter_map(|action| if let Action::StartDump(start) = action { Some(*start) } else { None });
    dumps.last().expect("a dump is due")
}

#[test]
fn the_replica_is_read_and_what_is_made_is_the_instances() {
    let ready = with_replica(world(), Some("bank-accounts"), "available");
    assert!(ready.actions(NOON).iter().any(|action| action.ends_with(", read from replica accounts-replica")));
    let start = started(&ready);
    assert_eq!(
        (start.read_from.instance.as_str(), &start.read_from.endpoint),
        ("accounts-replica", &endpoint("replica"))
    );
    assert_eq!(start.read_from.replica_of, Some(endpoint("db")), "so that it can be proven");
    assert_eq!((start.instance.as_str(), start.resource.as_str()), ("bank-accounts", "db-ABC"));
    let own = started(&World::new()).read_from;
    assert_eq!((own.instance.as_str(), own.endpoint, own.replica_of), ("bank-accounts", endpoint("db"), None));
}

#[rstest]
#[case::not_there(
    world(),
    "RDS has no instance `accounts-replica` in this region: correct `dump_from`, or leave it out to dump from the instance itself"
)]
#[case::not_ready(
    with_replica(world(), Some("bank-accounts"), "rebooting"),
    "slot 20261101t040000z waits: accounts-replica, which dumps come from, is `rebooting`"
)]
#[case::promoted(
    with_replica(world(), None, "available"),
    "`accounts-replica` is no replica, not one of this instance: correct `dump_from`, or leave it out"
)]
#[case::of_another(
    with_replica(world(), Some("bank-cards"), "available"),
    "`accounts-replica` is a replica of `bank-cards`, not one of this instance: correct `dump_from`, or leave it out"
)]
#[case::the_instance_is_one_itself(
    {
        let mut world = world();
        world.instances(|own| own.replica_of = Some("bank-core".to_owned()));
        world
    },
    "the instance is a read replica of `bank-core`: write that as `instance`, and this one as `dump_from`"
)]
fn what_is_not_ready_or_no_replica_is_not_read_and_neither_is_the_instance_in_its_place(
    #[case] world: World,
    #[case] reason: &str,
) {
    assert_eq!(world.reason(NOON, Kind::Dump), reason);
    assert!(!world.actions(NOON).iter().any(|action| action.contains("dump")), "{:?}", world.actions(NOON));
    assert!(world.actions(NOON).iter().any(|action| action.contains("snapshot")), "snapshots need no replica");
}
