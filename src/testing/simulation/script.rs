//! What happens in a simulated year: the world as it is set up, what people and AWS do, and the lives of daemons.

use std::num::NonZeroU32;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::model::Model;
use crate::domain::drill::DrillPath;
use crate::domain::id::SourceId;
use crate::domain::tags;
use crate::policy::retention::{Retention, RetentionPolicy};
use crate::policy::{Policy, Task};
use crate::ports::ErrorKind;
use crate::ports::clock::Clock;
use crate::testing::fake_rds::Fate;
use crate::testing::faults::{Chances, Storm};
use crate::testing::random::Random;
use crate::testing::with_drills;
use crate::testing::world::{Daemon, Ended, World};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A number below a small bound.
fn few<T: TryFrom<u64>>(random: &mut Random, bound: u64) -> T {
    T::try_from(random.below(bound)).ok().expect("bounds are small")
}

fn hours(random: &mut Random, bound: u64) -> SignedDuration {
    SignedDuration::from_hours(few(random, bound))
}

fn at_least_one(random: &mut Random, bound: u64) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(few(random, bound))
}

fn count(random: &mut Random, per_mille: u32, bound: u64) -> Option<NonZeroU32> {
    random.chance(per_mille).then(|| at_least_one(random, bound))
}

/// Some retention, now and then a very short one.
fn retention(random: &mut Random) -> Retention {
    if random.chance(100) {
        return Retention::KeepAll;
    }
    let zone: &&str = random.pick(&ZONES);
    Retention::Rules(RetentionPolicy {
        zone: jiff::tz::TimeZone::get(zone).unwrap(),
        keep_last: count(random, 400, 6),
        keep_hourly: count(random, 100, 5),
        keep_daily: count(random, 300, 10),
        keep_weekly: count(random, 500, 10),
        keep_monthly: count(random, 500, 8),
        keep_yearly: count(random, 200, 3),
        keep_within: random.chance(200).then(|| HOUR * 24 * (1 + few::<i32>(random, 60))),
        min_keep: at_least_one(random, 3),
        min_age: HOUR * (1 + few::<i32>(random, 72)),
    })
}

/// Worlds of smaller seeds were lived before there were drills, and stay what they were: some have found a bug.
const FIRST_WITH_DRILLS: u64 = 20_000;
const ZONES: [&str; 3] = ["UTC", "Europe/London", "America/New_York"];
const HOSTS: [&str; 3] = ["pod-1", "pod-2", "pod-3"];
const SCHEDULES: [(&str, &str); 3] =
    [("0 3 * * Sun", "0 4 1 * *"), ("30 2 * * Sat", "0 4 L * *"), ("0 1 * * Mon,Thu", "15 5 1,15 * *")];

/// Sources with all kinds of policies; copies and replicas in some worlds.
pub(super) fn world(seed: u64, began_at: Timestamp, random: &mut Random) -> World {
    let names = ["accounts", "cards", "loans", "ledger", "payments"];
    let sources: Vec<(&str, &[&str])> = vec![
        (names[0], &["accounts", "audit"]),
        (names[1], &["cards"]),
        (names[2], &["loans"]),
        (names[3], &[]),
        (names[4], &["payments"]),
    ];
    let wanted = 2 + few::<usize>(random, sources.len() as u64 - 1);
    let mut builder = World::of(&sources[..wanted]).seed(seed).starting_at(began_at);
    if random.chance(500) {
        builder = builder.encrypted();
    }
    if random.chance(600) {
        builder = builder.replica_in("us-west-2");
    }
    if random.chance(600) {
        builder = builder.copies_in("us-west-2");
    }
    let mut of_policies = random.of_its_own("policies");
    let mut of_verification = random.of_its_own("verification");
    let mut of_drills = random.of_its_own("drills");
    let world = builder.policy(|policy| {
        let days = |random: &mut Random, choice: &[i32]| Some(*random.pick(choice)).filter(|days| *days > 0);
        policy.verify.cycle = days(&mut of_verification, &[0, 14, 45, 90]).map(|days| HOUR * 24 * days);
        policy.verify.replica_interval = days(&mut of_verification, &[0, 3, 7, 30]).map(|days| HOUR * 24 * days);
        // Slots and ends of work wake the loop whatever these are; a few worlds look often.
        let (reconcile, poll) = match of_policies.below(12) {
            0 => (60, 10),
            1 | 2 => (4 * 60, 30),
            _ => (12 * 60, 120),
        };
        policy.cadence.reconcile_interval = SignedDuration::from_mins(reconcile);
        policy.cadence.poll_interval = SignedDuration::from_mins(poll);
        policy.prune.keep_evidence = of_policies.chance(500).then_some(HOUR * 24 * 40);
        if seed >= FIRST_WITH_DRILLS {
            add_drills(policy, &mut of_drills);
        }
        policy.prune.deletes_per_cycle = 3 + few::<usize>(&mut of_policies, 10);
        for source in policy.sources.values_mut() {
            let (snapshot, dump) = *of_policies.pick(&SCHEDULES);
            for obligation in &mut source.obligations {
                let schedule = if obligation.task == Task::Snapshot { snapshot } else { dump };
                obligation.schedule = schedule.parse().unwrap();
                obligation.retention = retention(&mut of_policies);
                obligation.replica_retention = retention(&mut of_policies);
            }
        }
    });
    let mut world = world.build();
    for obligation in world.policy.sources.values_mut().flat_map(|source| &mut source.obligations) {
        for copies in &mut obligation.copies {
            copies.retention = retention(&mut of_policies);
        }
    }
    let mut timing = random.of_its_own("timing");
    world.rds.configure(|settings| {
        settings.snapshot_takes = SignedDuration::from_mins(1 + few::<i64>(&mut timing, 90));
        settings.restore_takes = SignedDuration::from_mins(5 + few::<i64>(&mut of_drills, 300));
        settings.lists_lag = SignedDuration::from_secs(few(&mut timing, 120));
        // Who keeps everything asks RDS for a higher quota.
        settings.snapshots_max = 100_000;
    });
    for copies in world.copies.values() {
        copies.configure(|settings| {
            settings.copy_takes = SignedDuration::from_mins(1 + few::<i64>(&mut timing, 600));
            settings.snapshots_max = 100_000;
        });
    }
    world
}

fn add_drills(policy: &mut Policy, random: &mut Random) {
    *policy = with_drills(policy.clone());
    for source in policy.sources.values_mut() {
        // As the configuration wants it: there is nothing to look at.
        source.drill = source.drill.take().filter(|_| !source.databases.is_empty());
        let Some(drill) = &mut source.drill else { continue };
        drill.schedule = "0 7 * * Wed".parse().unwrap();
        drill.paths = vec![DrillPath::Snapshot, DrillPath::Pitr];
        drill.completion_deadline = HOUR * (12 + few::<i32>(random, 20));
    }
}

/// Something that people or AWS do.
#[derive(Debug, Clone)]
enum Event {
    /// A snapshot by hand: under our prefix, with the marks of one of ours.
    SnapshotByHand(SourceId),
    /// The instance is busy for a while.
    Busy(SourceId),
    Idle(SourceId),
    /// It is deleted, and another one gets its name.
    Recreated(SourceId),
    NextSnapshotFails,
    NextCopyFails,
    NextRestoreFails,
    NextRestoreSticks,
    /// The key of the second region does not work for a while.
    KeyDisabled,
    KeyEnabled,
    /// What is wanted changes: a reload.
    NewRetention(SourceId),
    ServerGone(SourceId),
    ServerBack(SourceId),
    /// Somebody wants to keep one of the recovery points.
    Pin,
}

/// Everything that happens, in the order of its time.
pub(super) struct Script {
    events: Vec<(Timestamp, Event)>,
}

impl Script {
    pub(super) fn write(random: &mut Random, world: &World, began_at: Timestamp, ends_at: Timestamp) -> Script {
        let mut random = random.of_its_own("script");
        let sources: Vec<SourceId> = world.policy.sources.keys().cloned().collect();
        let length_h = (ends_at.duration_since(began_at).as_secs() / 3600).unsigned_abs();
        let mut events = Vec::new();
        for _ in 0..(length_h / 150) {
            let when = began_at + hours(&mut random, length_h) + SignedDuration::from_secs(few(&mut random, 3600));
            let source = random.pick(&sources).clone();
            let later = (when + hours(&mut random, 40) + HOUR).min(ends_at);
            match random.below(10) {
                0 | 1 => events.push((when, Event::SnapshotByHand(source))),
                2 => events.extend([(when, Event::Busy(source.clone())), (later, Event::Idle(source))]),
                3 if random.chance(250) => events.push((when, Event::Recreated(source))),
                3 | 4 => events.push((when, Event::NextSnapshotFails)),
                5 => events.push((when, Event::NextCopyFails)),
                6 => events.extend([(when, Event::KeyDisabled), (later, Event::KeyEnabled)]),
                7 => events.push((when, Event::NewRetention(source))),
                8 => events.push((when, Event::Pin)),
                _ => events.extend([(when, Event::ServerGone(source.clone())), (later, Event::ServerBack(source))]),
            }
        }
        let days_with_drills = if world.policy.drills.is_some() { length_h / 24 } else { 0 };
        for day in 0..days_with_drills {
            if random.chance(60) {
                let fate = if random.chance(500) { Event::NextRestoreFails } else { Event::NextRestoreSticks };
                events.push((began_at + HOUR * 24 * i32::try_from(day).unwrap(), fate));
            }
        }
        events.sort_by_key(|(when, _)| *when);
        Script { events }
    }

    /// Lives the script; returns how many daemons died.
    pub(super) async fn live(
        self,
        world: &Arc<World>,
        model: &Arc<Model>,
        random: &mut Random,
        ends_at: Timestamp,
    ) -> usize {
        let mut happenings = random.of_its_own("events");
        let mut lives = random.of_its_own("lives");
        let happens = async {
            for (when, event) in self.events {
                world.clock.sleep_until(when).await;
                happen(world, model, &event, &mut happenings);
            }
        };
        let ((), crashes) = tokio::join!(happens, daemons(world, model, &mut lives, ends_at));
        crashes
    }
}

fn happen(world: &World, model: &Model, event: &Event, random: &mut Random) {
    let instance = |source: &SourceId| world.policy.sources[source].instance.clone();
    match event {
        Event::SnapshotByHand(source) => {
            let id = format!("strongroom-{source}-by-hand-{}", random.below(1 << 40)).parse().unwrap();
            let mut ours = world.rds.every_snapshot().into_iter().filter(|own| own.tags.contains_key(tags::OWNER));
            let tags = ours.next().map(|own| own.tags).unwrap_or_default();
            world.rds.add_foreign_snapshot(&id, &instance(source), tags);
            model.made_by_hand(id);
        }
        Event::Busy(source) => {
            let status = random.pick(&["modifying", "maintenance", "storage-optimization", "quantum-rebalancing"]);
            world.rds.set_status(&instance(source), status);
        }
        Event::Idle(source) => world.rds.set_status(&instance(source), "available"),
        Event::Recreated(source) => {
            let before = world.policy.destination.kms_key.clone();
            world.rds.delete_instance(&instance(source));
            world.rds.add_instance(&instance(source), before.as_deref());
        }
        Event::NextSnapshotFails => world.rds.next_snapshot(Fate::Fails),
        Event::NextCopyFails => world.copies.values().for_each(|region| region.next_copy(Fate::Fails)),
        Event::NextRestoreFails => world.rds.next_restore(Fate::Fails),
        Event::NextRestoreSticks => world.rds.next_restore(Fate::Sticks),
        Event::KeyDisabled => each_key(world, |region, key| region.disable_key(key)),
        Event::KeyEnabled => each_key(world, |region, key| region.enable_key(key)),
        Event::NewRetention(source) => {
            let new = retention(random);
            model.reload(|policy: &mut Policy| {
                let source = policy.sources.get_mut(source).expect("sources stay");
                source.obligations.iter_mut().for_each(|obligation| obligation.retention = new.clone());
            });
        }
        Event::ServerGone(source) => world.servers.set_reachable(&world.host(source), false),
        Event::ServerBack(source) => world.servers.set_reachable(&world.host(source), true),
        Event::Pin => model.pin_any(random),
    }
}

fn each_key(world: &World, act: impl Fn(&crate::testing::fake_rds::FakeRds, &str)) {
    for (name, region) in &world.copies {
        act(region, &format!("arn:aws:kms:{name}:123456789012:key/bank"));
    }
}

/// Daemons come and go: they stop, die after some effect, run two at a time, have bad clocks and bad networks.
async fn daemons(world: &Arc<World>, model: &Arc<Model>, random: &mut Random, ends_at: Timestamp) -> usize {
    let mut crashes = 0;
    while world.clock.true_now() < ends_at {
        let now = world.clock.true_now();
        let until = (now + HOUR + hours(random, 40 * 24)).min(ends_at);
        let daemon = begin(world, model, random, until);
        if random.chance(500) {
            daemon.faults.die_after(few(random, 120));
        }
        if random.chance(250) {
            let other = begin(world, model, random, until);
            let (one, two) = tokio::join!(daemon.run_until(until), other.run_until(until));
            crashes += usize::from(one == Ended::Died) + usize::from(two == Ended::Died);
        } else if random.chance(450) {
            crashes += usize::from(with_a_bad_clock(model, random, &daemon, until).await == Ended::Died);
        } else {
            crashes += usize::from(daemon.run_until(until).await == Ended::Died);
        }
        let longest = if random.chance(100) { 25 * 24 } else { 12 };
        let next = world.clock.true_now() + SignedDuration::from_mins(1) + hours(random, longest);
        world.pass_until(next.min(ends_at)).await;
    }
    crashes
}

fn begin(world: &World, model: &Arc<Model>, random: &mut Random, until: Timestamp) -> Daemon {
    let host: &&str = random.pick(&HOSTS);
    let daemon = world.daemon(host);
    model.watch(&daemon);
    daemon.faults.set_chances(Chances {
        fail: *random.pick(&[0, 5, 20]),
        kinds: vec![ErrorKind::Transient, ErrorKind::Throttled, ErrorKind::PermissionDenied],
        lose_response: *random.pick(&[0, 5, 20]),
        delay: 100,
        delay_max: SignedDuration::from_secs(20),
    });
    let now = world.clock.true_now();
    for _ in 0..random.below(4) {
        let from = now + hours(random, 20 * 24);
        let storm = Storm {
            from,
            until: (from + HOUR + hours(random, 20)).min(until),
            kind: *random.pick(&[ErrorKind::Throttled, ErrorKind::Transient, ErrorKind::PermissionDenied]),
            per_mille: *random.pick(&[200, 700, 1000]),
        };
        daemon.faults.add_storm(storm);
    }
    daemon
}

/// Its clock jumps, or stands still, and is set right after a while.
async fn with_a_bad_clock(model: &Arc<Model>, random: &mut Random, daemon: &Daemon, until: Timestamp) -> Ended {
    // Small steps mislead more than large ones: a year ahead everything is overdue, and that alone holds deletions back.
    let minutes = SignedDuration::from_mins;
    let jumps = [HOUR * 24 * 365, -HOUR * 24 * 365, HOUR * 3, -HOUR * 30, minutes(-7), minutes(7), minutes(40), -HOUR];
    let jump = *random.pick(&jumps);
    let frozen = random.chance(150);
    let wait = HOUR + hours(random, 150);
    // For long enough that something expires meanwhile.
    let lasts = HOUR + hours(random, 15 * 24);
    let clock = Arc::clone(&daemon.clock);
    let true_time = clock.of_another_machine();
    let turn = async {
        true_time.sleep_until(true_time.now() + wait).await;
        let from = true_time.now();
        if frozen {
            clock.freeze();
        } else {
            clock.step(jump);
        }
        true_time.sleep_until(from + lasts).await;
        clock.set_right();
        // A clock that stands still is only wrong after a while.
        let slack = if frozen { SignedDuration::from_mins(6) } else { SignedDuration::ZERO };
        model.clock_was_wrong(from + slack, true_time.now());
    };
    tokio::pin!(turn);
    let ended = tokio::select! {
        biased;
        ended = daemon.run_until(until) => ended,
        () = async { turn.await; std::future::pending::<()>().await } => Ended::Stopped,
    };
    clock.set_right();
    ended
}
