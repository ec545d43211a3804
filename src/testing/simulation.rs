//! A year, or less, of the real loop in a world that goes wrong, and a small model that watches it.
//!
//! One seed drives everything and is part of every failure: policies, schedules, crashes, storms, clocks, people. The model
//! knows none of the planner's reasons; it knows what must never happen, looks after every turn of the loop, and reads the
//! world's own record of what was deleted. When the faults have stopped, everything must get done.

mod crash_matrix;
mod drill_matrix;
mod drills;
mod handovers;
mod model;
mod script;
mod standing;

use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};

use crate::testing::at;
use crate::testing::logged::Logged;
use crate::testing::random::Random;
use crate::testing::world::World;
use model::Model;
use script::Script;

/// What a simulated year came to.
#[derive(Debug, Default, Clone, Copy)]
struct Lived {
    seeds: usize,
    /// Of each source, together.
    source_days: u64,
    looks: u64,
    deletions: usize,
    crashes: usize,
}

impl Lived {
    fn add(&mut self, other: Lived) {
        self.seeds += other.seeds;
        self.source_days += other.source_days;
        self.looks += other.looks;
        self.deletions += other.deletions;
        self.crashes += other.crashes;
    }
}

/// Lives so many days, and twelve calm ones, from a seed.
///
/// # Panics
/// An invariant is broken: the seed and what was seen are told.
async fn live(seed: u64, days: i64) -> Lived {
    let mut random = Random::of(seed);
    let began_at =
        at("2026-01-01T00:00:00Z") + SignedDuration::from_hours(i64::try_from(random.below(365 * 24)).unwrap());
    let ends_at = began_at + SignedDuration::from_hours(days * 24);
    let world = Arc::new(script::world(seed, began_at, &mut random));
    let model = Arc::new(Model::new(seed, Arc::clone(&world)));
    let script = Script::write(&mut random, &world, began_at, ends_at);
    let (logged, _guard) = Logged::on_this_thread();
    let crashes = script.live(&world, &model, &mut random, ends_at).await;
    model.check_log(&logged.take(), &EXPECTED_OF_FAULTS);
    let looks = calm(&world, &model, ends_at, &logged).await;
    model.check_deletions();
    let source_days = (days + CALM_DAYS).unsigned_abs() * world.policy.sources.len() as u64;
    Lived { seeds: 1, source_days, looks, deletions: model.deletions(), crashes }
}

/// Days without faults at the end of each life.
const CALM_DAYS: i64 = 12;

/// Faults have stopped: a daemon without any gets everything done that is due, and has nothing to complain of once what the
/// faults have left is cleared up.
async fn calm(world: &Arc<World>, model: &Arc<Model>, from: Timestamp, logged: &Logged) -> u64 {
    const CLEARING_UP: SignedDuration = SignedDuration::from_hours(2 * 24);
    // All slots are in the morning: in the evening nothing is due just now, or still under way.
    let until = evening_after(from + SignedDuration::from_hours(CALM_DAYS * 24));
    model.people_are_gone();
    let daemon = world.daemon("calm");
    daemon.policies.send_replace(Arc::new(model.policy()).into());
    model.watch(&daemon);
    let (_, ()) = tokio::join!(daemon.run_until(until), async {
        world.pass_until(from + CLEARING_UP).await;
        model.check_log(&logged.take(), &EXPECTED_OF_FAULTS);
    });
    model.check_log(&logged.take(), &[]);
    model.check_done(&daemon.ports, until).await;
    daemon.observer.looks().0
}

/// The next 22:00 UTC.
fn evening_after(instant: Timestamp) -> Timestamp {
    const HOUR_S: i64 = 3600;
    let evening = 22 * HOUR_S;
    let since = (instant.as_second() - evening).rem_euclid(24 * HOUR_S);
    instant + SignedDuration::from_secs(24 * HOUR_S - since)
}

/// What may be logged while things go wrong, as WARN or ERROR. A panic in a task, a dump that reads back bad and whatever
/// nobody has thought of may not.
const EXPECTED_OF_FAULTS: [&str; 12] = [
    "a fault was planned",
    "the answer is lost, as planned",
    "the process that worked on it is gone",
    "RDS reports that snapshot",
    "connection timed out",
    "KMSKeyNotAccessibleFault",
    "waits: the instance is",
    "the instance took no snapshot before the deadline",
    "at its deadline",
    "next attempt at",
    "drill could not be carried out",
    "the instance of a drill still stands",
];

/// The seeds that every push lives through. A seed that has found a bug stays here.
const SEEDS: [u64; 9] = [1, 2, 3, 4, 2044, 11089, 14359, 16043, 20000];

macro_rules! years {
    ($($name:ident: $index:literal),+ $(,)?) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                let lived = live(SEEDS[$index], 120).await;
                assert!(lived.looks > 0, "{lived:?}");
            }
        )+
    };
}

years! {
    a_third_of_a_year_breaks_no_invariant_first_seed: 0,
    a_third_of_a_year_breaks_no_invariant_second_seed: 1,
    a_third_of_a_year_breaks_no_invariant_third_seed: 2,
    a_third_of_a_year_breaks_no_invariant_fourth_seed: 3,
    a_third_of_a_year_breaks_no_invariant_in_the_world_where_a_record_was_refused: 4,
    a_third_of_a_year_breaks_no_invariant_in_the_world_where_a_reading_was_stopped: 5,
    a_third_of_a_year_breaks_no_invariant_in_the_world_where_a_replica_was_hidden: 6,
    a_third_of_a_year_breaks_no_invariant_in_the_world_where_a_run_began_a_year_ago: 7,
    a_third_of_a_year_breaks_no_invariant_with_drills: 8,
}

/// `make soak SEEDS=100..200` lives these, as many at a time as there are processors; without it one month of one seed, so
/// that the way there cannot rot.
#[test]
#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the soak is told its seeds, and tells how far it is"
)]
fn soak() {
    let (seeds, only_a_month) = match std::env::var("STRONGROOM_SOAK_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("SEEDS=from..to");
            (from.parse::<u64>().unwrap()..to.parse::<u64>().unwrap(), false)
        }
        Err(_) => (1000..1001, true),
    };
    // A look costs what there is to see, so a year costs nine times a third of one. What only shows in long lives is looked
    // for in one of twenty, and in many short ones what hangs on a rare world.
    let days = |seed: u64| match seed % 20 {
        _ if only_a_month => 30,
        0 => 365,
        _ => 120,
    };
    let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (seeds, total) = (Mutex::new(seeds), Mutex::new(Lived::default()));
    let broken = Mutex::new(Vec::new());
    let live_all = || {
        let next = || seeds.lock().unwrap().next();
        while let Some(seed) = next() {
            // In a thread of its own: the seed that breaks something does not take the others along.
            let days = days(seed);
            let Ok(lived) = std::thread::spawn(move || alone(live(seed, days))).join() else {
                broken.lock().unwrap().push(seed);
                continue;
            };
            let mut total = total.lock().unwrap();
            total.add(lived);
            println!("seed {seed}: {lived:?}; so far {} source-years, {total:?}", total.source_days / 365);
        }
    };
    std::thread::scope(|scope| {
        (0..at_once).for_each(|_| drop(scope.spawn(live_all)));
    });
    assert_eq!(broken.into_inner().unwrap(), [0; 0], "these seeds broke an invariant");
}

/// Lives in a time of its own.
fn alone<T>(life: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(life)
}
