//! A dump that gives way to production, in the real loop.

use jiff::SignedDuration;

use super::*;
use crate::domain::id::InstanceId;
use crate::domain::run::{RunState, StopCause};
use crate::plan::decision::Reason;
use crate::policy::governor::GovernorLimits;
use crate::policy::{SourcePolicy, Task};
use crate::testing::at;
use crate::testing::fake_postgres::DumpEnd;

const LIMITS: GovernorLimits = GovernorLimits {
    lock_wait_max: Some(SignedDuration::from_secs(5)),
    xmin_age_max: None,
    replica_lag_max: None,
    free_storage_min: Some(2 << 30),
};

fn govern(source: &mut SourcePolicy) {
    source.obligations.retain(|obligation| matches!(obligation.task, Task::Dump { .. }));
    for obligation in &mut source.obligations {
        if let Task::Dump { settings, .. } = &mut obligation.task {
            settings.governor = LIMITS;
        }
    }
}

/// One source whose monthly dump is due at once, and whose client works until it is ended.
fn governed() -> World {
    let world = World::of(&[("accounts", &["accounts"])]).starting_at(at("2026-11-01T05:00:00Z"));
    let world = world.policy(|policy| policy.sources.values_mut().for_each(govern)).build();
    world.pg_dump.next_ends(DumpEnd::HangsAtTheEnd);
    world
}

fn states(daemon: &Daemon) -> Vec<RunState> {
    daemon.observer.ends().into_iter().map(|(_, _, state)| state).collect()
}

#[tokio::test(start_paused = true)]
async fn a_dump_that_others_wait_for_is_stopped_and_made_again_when_the_retry_policy_says() {
    let world = governed();
    let daemon = world.daemon("pod-1");
    let locked_at = at("2026-11-01T05:10:00Z");
    let (_, ()) = tokio::join!(daemon.run_until(at("2026-11-01T05:10:30Z")), async {
        world.pass_until(locked_at).await;
        assert!(states(&daemon).is_empty(), "while nobody waits it goes on");
        world.servers.set_waiting(Some(SignedDuration::from_millis(4500)));
    });
    let ended = states(&daemon);
    let [RunState::Failed { finished_at, failure }] = ended.as_slice() else { panic!("{ended:?}") };
    assert!(finished_at.duration_since(locked_at) <= SignedDuration::from_secs(2), "{finished_at}");
    assert_eq!(failure.stopped_by, Some(StopCause::LockWait));
    assert!(failure.message.starts_with("stopped by the governor: session 4711 has waited 4.5 s"), "{failure:?}");
    assert_eq!(world.servers.ended_sessions(), 1, "its sessions were ended on the server");
    assert_eq!((world.pg_dump.running(), world.store.open_uploads()), (Vec::new(), 0));
    assert!(world.manifests().await.is_empty());

    world.servers.set_waiting(None);
    let successor = world.daemon("pod-1");
    successor.run_until(at("2026-11-01T05:20:00Z")).await;
    let [RunState::Succeeded { .. }] = states(&successor)[..] else { panic!("{:?}", successor.observer.ends()) };
    let (_, second, _) = &successor.observer.ends()[0];
    assert_eq!(second.attempt, 2);
    let manifests = world.manifests().await;
    let [manifest] = manifests.as_slice() else { panic!("{} manifests", manifests.len()) };
    let waited = manifest.started_at.duration_since(*finished_at);
    assert!(waited >= SignedDuration::from_mins(1), "not at once, but after {waited}");
}

#[tokio::test(start_paused = true)]
async fn the_plan_says_why_the_dump_gave_way_and_when_it_is_tried_again() {
    let world = governed();
    let daemon = world.daemon("pod-1");
    world.servers.set_waiting(Some(SignedDuration::from_secs(6)));
    daemon.run_until(at("2026-11-01T05:00:30Z")).await;
    let policy = Arc::new(world.policy.clone());
    let mut collector = crate::collect::Collector::new(Layout::new("strongroom"));
    let inventory = collector.collect(&daemon.ports, &policy, crate::collect::OwnWork::default()).await;
    let plan = crate::plan::plan(&policy, &inventory, world.clock.true_now());
    let Reason::BackingOff { failed: 1, until, last_failure: Some(why), .. } = &plan.decisions[0].reason else {
        panic!("{:?}", plan.decisions)
    };
    assert!(*until >= at("2026-11-01T05:01:00Z"), "{until}");
    assert!(why.contains("bank.accounts"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_dump_is_stopped_when_its_server_runs_out_of_room() {
    let world = governed();
    let daemon = world.daemon("pod-1");
    let instance: InstanceId = "bank-accounts".parse().unwrap();
    world.rds.set_free_storage(&instance, 100 << 30);
    let falls_at = at("2026-11-01T05:10:00Z");
    let (_, ()) = tokio::join!(daemon.run_until(at("2026-11-01T05:10:50Z")), async {
        world.pass_until(falls_at).await;
        assert!(states(&daemon).is_empty(), "while there is room it goes on");
        world.rds.set_free_storage(&instance, 1 << 30);
    });
    let ended = states(&daemon);
    let [RunState::Failed { finished_at, failure }] = ended.as_slice() else { panic!("{ended:?}") };
    assert!(finished_at.duration_since(falls_at) <= SignedDuration::from_secs(32), "{finished_at}");
    assert_eq!(failure.stopped_by, Some(StopCause::FreeStorage));
    assert!(failure.message.contains("only 1.00 GiB of the server's storage is free"), "{failure:?}");
    assert_eq!(world.servers.ended_sessions(), 1, "its sessions were ended on the server");
    assert!(world.manifests().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dump_whose_server_takes_no_session_any_more_is_stopped_after_a_minute() {
    let world = governed();
    let daemon = world.daemon("pod-1");
    let source = "accounts".parse().unwrap();
    let unwatched_at = at("2026-11-01T05:10:00Z");
    let (_, ()) = tokio::join!(daemon.run_until(at("2026-11-01T05:13:00Z")), async {
        world.pass_until(unwatched_at).await;
        world.servers.lose_watchers();
        world.servers.set_reachable(&world.host(&source), false);
    });
    let first = states(&daemon).into_iter().next();
    let Some(RunState::Failed { finished_at, failure }) = first else { panic!("{first:?}") };
    assert_eq!(failure.stopped_by, Some(StopCause::Unwatched), "{failure:?}");
    let after = finished_at.duration_since(unwatched_at);
    assert!((58..=65).contains(&after.as_secs()), "{after}");
}
