//! A dump of what a drill has restored: each proves the other.

use std::collections::BTreeMap;

use crate::domain::manifest::Table;
use crate::plan::action::FromSnapshot;

/// Differences that are told one by one; of more, how many there are.
const TOLD_MAX: usize = 5;

/// What a dump has of another number of rows than the drill has counted in the same instance, if anything.
///
/// A table that the dump has and the drill did not count keeps no rows of its own in a backup (it is unlogged), or only part
/// of them is dumped (an extension's).
pub(super) fn differences(drilled: &FromSnapshot, tables: &[Table]) -> Option<String> {
    let mut dumped: BTreeMap<String, u64> = BTreeMap::new();
    for table in tables {
        *dumped.entry(format!("{}.{}", table.schema, table.name)).or_default() += table.rows;
    }
    let other = |(name, counted): (&String, &u64)| match dumped.get(name) {
        Some(rows) if rows == counted => None,
        Some(rows) => Some(format!("table {name} has {rows} rows instead of {counted}")),
        None => Some(format!("table {name} with its {counted} rows is missing")),
    };
    let mut others: Vec<String> = drilled.counted.iter().filter_map(other).collect();
    let all = others.len();
    if all == 0 {
        return None;
    }
    others.truncate(TOLD_MAX);
    let more = if all > TOLD_MAX { format!("; and {} more", all - TOLD_MAX) } else { String::new() };
    Some(format!("it is not what the drill has read there: {}{more}", others.join("; ")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::domain::run::RunState;
    use crate::execute::Outcome;
    use crate::plan::action::{Action, StartDump};
    use crate::testing::at;
    use crate::testing::world::World;

    fn table(name: &str, rows: u64) -> Table {
        let (schema, name) = ("bank".to_owned(), name.to_owned());
        Table { dump_id: 1, schema, name, rows, bytes: 0, hash: None, parts: Vec::new() }
    }

    fn drilled(counted: &[(&str, u64)]) -> FromSnapshot {
        FromSnapshot {
            snapshot: "strongroom-accounts-20261122t030000z".parse().unwrap(),
            data_of: at("2026-11-22T03:05:00Z"),
            counted: counted.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect(),
        }
    }

    #[test]
    fn a_dump_has_of_each_table_as_many_rows_as_were_counted_there() {
        let drilled = drilled(&[("bank.accounts", 3), ("bank.empty", 0)]);
        let found = |tables: &[Table]| differences(&drilled, tables);
        assert_eq!(found(&[table("accounts", 3), table("empty", 0), table("web_sessions", 0)]), None);
        assert_eq!(
            found(&[table("accounts", 2)]).unwrap(),
            "it is not what the drill has read there: table bank.accounts has 2 rows instead of 3; table bank.empty with \
             its 0 rows is missing"
        );
    }

    /// The dump of a world that is due, as a drill would begin it.
    async fn started(world: &World) -> StartDump {
        let plan = crate::plan::plan(&world.policy, &world.look().await, world.clock.true_now());
        let dump = |action| if let Action::StartDump(start) = action { Some(*start) } else { None };
        let mut start = plan.actions.into_iter().find_map(dump).expect("a dump is due");
        start.read_from.restored = Some(drilled(&[]));
        start
    }

    async fn made(world: &World, start: StartDump) -> RunState {
        let daemon = world.daemon("pod-1");
        let action = Action::StartDump(Box::new(start));
        let outcome = daemon.executor.execute(action, Arc::default(), CancellationToken::new()).await;
        let Outcome::RunEnded(end) = outcome else { panic!("{outcome:?}") };
        end.state
    }

    #[tokio::test(start_paused = true)]
    async fn its_manifest_names_the_snapshot_and_has_its_moment() {
        let world = World::of(&[("accounts", &["accounts"])]).starting_at(at("2026-11-23T12:00:00Z")).build();
        let start = started(&world).await;
        assert!(matches!(made(&world, start).await, RunState::Succeeded { .. }));
        let [manifest] = world.manifests().await.try_into().unwrap();
        let from = drilled(&[]);
        assert_eq!((manifest.from_snapshot, manifest.snapshot_at), (Some(from.snapshot), from.data_of));
        assert_eq!((manifest.read_from, manifest.snapshot_lsn), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_other_rows_than_were_read_there_is_none() {
        let world = World::of(&[("accounts", &["accounts"])]).starting_at(at("2026-11-23T12:00:00Z")).build();
        let mut start = started(&world).await;
        start.read_from.restored = Some(drilled(&[("bank.lost", 4)]));
        let RunState::Failed { failure, .. } = made(&world, start).await else { panic!() };
        let why = "it is not what the drill has read there: table bank.lost with its 4 rows is missing";
        assert!(failure.message.ends_with(why), "{failure:?}");
        assert!(world.manifests().await.is_empty());
    }

    #[test]
    fn of_many_differences_a_few_are_told() {
        let names: Vec<String> = (0..9).map(|number| format!("bank.t{number}")).collect();
        let counted: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let told = differences(&drilled(&counted), &[]).unwrap();
        assert!(told.contains("bank.t4") && !told.contains("bank.t5") && told.ends_with("; and 4 more"), "{told}");
    }
}
