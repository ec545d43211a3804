//! Backups that a person asks for, and the commands that wait for them.

use super::*;
use crate::domain::id::{DatabaseName, RunId};

/// What the planner would see of a world.
fn seen(world: &World) -> Inventory {
    let mut inventory = world.inventory.clone();
    for (source, seen) in &mut inventory.stores {
        let own = world.runs.iter().filter(|stored| stored.record.source == *source).cloned();
        *seen = Ok(store(Vec::new(), own.collect(), Vec::new()));
    }
    inventory
}

fn ask(world: &World, task: &Task) -> Result<String, Refusal> {
    let asked = manual(&world.policy, &seen(world), &"accounts".parse().unwrap(), task, at(NOON));
    asked.map(|action| action.to_string())
}

/// A dump of a database of the first source, as a person names it.
fn dump_of(world: &World, database: &str) -> Task {
    let settings = world.policy.sources.values().next().unwrap().dump_settings.clone().unwrap();
    Task::Dump { database: database.parse().unwrap(), settings }
}

#[test]
fn a_person_can_have_a_dump_of_each_configured_database_and_of_no_other() {
    let world = World::of(&[("accounts", &["accounts", "audit"])]);
    for database in ["accounts", "audit"] {
        let run = format!("20261123t120000z-dump-{database}-1");
        let action = format!("dump database {database} of source accounts as run {run}");
        assert_eq!(ask(&world, &dump_of(&world, database)), Ok(action));
    }
    let unknown: DatabaseName = "cards".parse().unwrap();
    let refusal = Refusal::UnknownDatabase { source_id: "accounts".parse().unwrap(), database: unknown };
    assert_eq!(ask(&world, &dump_of(&world, "cards")), Err(refusal));
}

#[test]
fn only_a_run_of_the_same_source_and_kind_holds_up_a_person() {
    let mut world = World::of(&[("accounts", &["accounts"]), ("cards", &["cards"])]);
    world.runs = vec![dump_run("accounts", "2026-11-23T11:00:00Z", OwnerState::Alive)];
    assert!(ask(&world, &Task::Snapshot).is_ok(), "a dump of it is under way");
    assert!(matches!(ask(&world, &dump_of(&world, "accounts")), Err(Refusal::NotNow(Reason::Running { .. }))));
    let mut of_another = world.snapshot_run("2026-11-23T11:00:00Z", OwnerState::Alive);
    of_another.record.source = "cards".parse().unwrap();
    world.runs = vec![of_another];
    assert!(ask(&world, &Task::Snapshot).is_ok(), "a snapshot of another source is under way");
}

#[test]
fn a_command_is_shown_the_next_step_of_its_own_run_and_of_no_other() {
    let mut world = World::of(&[("accounts", &["accounts"]), ("cards", &["cards"])]);
    let slot = "2026-11-23T11:00:00Z";
    // Of one slot, so that the runs of the two sources are called the same.
    let of_accounts = world.snapshot_run(slot, OwnerState::Alive);
    let mut of_cards = of_accounts.clone();
    of_cards.record.source = "cards".parse().unwrap();
    world.runs = vec![dump_run("accounts", slot, OwnerState::Dead), of_accounts, of_cards];
    let mut failed = world.own_snapshot(slot);
    failed.status = "failed".to_owned();
    world.snapshots(vec![failed]);
    let step = |source: &str, run: &RunId| {
        let step = advance_run(&world.policy, &seen(&world), &source.parse().unwrap(), run, at(NOON));
        step.map(|action| action.to_string())
    };
    let [dump, snapshot, _] = &world.runs[..] else { unreachable!() };
    let abandoned = step("accounts", &dump.record.run).expect("its process is gone");
    assert!(abandoned.starts_with("close run 20261123t110000z-dump-accounts-1 of accounts"), "{abandoned}");
    for source in ["accounts", "cards"] {
        let failed = step(source, &snapshot.record.run).expect("it has failed");
        assert!(
            failed.starts_with(&format!("record failure of run 20261123t110000z-snapshot-1 of {source}")),
            "{failed}"
        );
    }
    assert_eq!(step("cards", &dump.record.run), None, "that is a run of another source");
}
