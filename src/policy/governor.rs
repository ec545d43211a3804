//! When a dump gives way to production.
//!
//! A dump is a long transaction on a server that others live from. It is stopped when somebody waits too long for its locks,
//! when it holds back vacuum for too long, when a standby falls behind, or when the server runs out of room. It is made again
//! later, as the policy says.

pub mod storage;

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::domain::activity::{Activity, Standby, Waiting};
use crate::domain::run::StopCause;

/// How often the server is looked at: a second, so that "nobody waits for more than five" can be kept.
pub const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(1);

/// A dump that nobody can watch for so long is stopped: a server that takes no session any more, or answers none, has other
/// trouble than our dump.
pub const UNWATCHED_MAX: SignedDuration = SignedDuration::from_mins(1);

/// What a dump may do to others; `None` is without a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GovernorLimits {
    /// How long another session may wait for a lock of the dump.
    pub lock_wait_max: Option<SignedDuration>,
    /// How many transactions may begin while the dump holds its snapshot.
    pub xmin_age_max: Option<u64>,
    /// How far a standby of the server may fall behind while the dump runs.
    pub replica_lag_max: Option<SignedDuration>,
    /// How many bytes of the server's storage must stay free while the dump runs.
    pub free_storage_min: Option<u64>,
}

impl GovernorLimits {
    /// Whether there is anything to look for on the server itself.
    #[must_use]
    pub fn watches_sessions(&self) -> bool {
        self.lock_wait_max.is_some() || self.xmin_age_max.is_some() || self.replica_lag_max.is_some()
    }
}

/// Why a dump is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// In one word.
    pub cause: StopCause,
    /// In a sentence, with what was seen and what the limit is.
    pub reason: String,
}

/// Judges look after look at one server, for one dump.
#[derive(Debug, Clone)]
pub struct Governor {
    limits: GovernorLimits,
    /// Looks in a row in which a session was seen waiting: for servers that do not say since when.
    seen: BTreeMap<i32, i32>,
    /// Standbys that have been behind since before the dump: it is not their cause.
    behind_before: BTreeSet<i32>,
    has_looked: bool,
    /// What the standby that is dumped had received at some look and has not replayed yet, and how many looks ago.
    unreplayed: Option<(u64, i32)>,
}

impl Governor {
    /// A governor that has not looked yet.
    #[must_use]
    pub fn new(limits: GovernorLimits) -> Governor {
        Governor { limits, seen: BTreeMap::new(), behind_before: BTreeSet::new(), has_looked: false, unreplayed: None }
    }

    /// Takes in the next look, and says whether the dump must stop.
    pub fn judge(&mut self, activity: &Activity) -> Option<Stop> {
        let stop = self.lock_wait(&activity.waiting).or_else(|| self.xmin_age(activity));
        let lag = self.replica_lag(&activity.standbys);
        let own_lag = self.replay(activity);
        self.has_looked = true;
        stop.or(lag).or(own_lag)
    }

    fn lock_wait(&mut self, waiting: &[Waiting]) -> Option<Stop> {
        let before = std::mem::take(&mut self.seen);
        self.seen = waiting.iter().map(|one| (one.pid, before.get(&one.pid).map_or(0, |looks| looks + 1))).collect();
        let limit = self.limits.lock_wait_max?;
        let waited = |one: &Waiting| {
            let seen = LOOK_EVERY.saturating_mul(self.seen.get(&one.pid).copied().unwrap_or_default());
            one.waited.unwrap_or_default().max(seen)
        };
        let longest = waiting.iter().max_by_key(|one| waited(one))?;
        // By the next look it would have waited longer than it may.
        (waited(longest).saturating_add(LOOK_EVERY) > limit).then(|| {
            let table = longest.table.as_ref().map_or_else(|| "the dump".to_owned(), |table| format!("a lock on {table}"));
            let waited = tenths(waited(longest));
            Stop {
                cause: StopCause::LockWait,
                reason: format!(
                    "session {} has waited {waited} s for {table}, which the dump holds up; `lock_wait_max` is {limit:#}",
                    longest.pid
                ),
            }
        })
    }

    fn xmin_age(&self, activity: &Activity) -> Option<Stop> {
        let (limit, xmin) = (self.limits.xmin_age_max?, activity.xmin?);
        (xmin.age > limit && !xmin.others_older).then(|| Stop {
            cause: StopCause::XminAge,
            reason: format!(
                "{} transactions have begun since its snapshot, which holds back vacuum; `xmin_age_max` is {limit}",
                xmin.age
            ),
        })
    }

    fn replica_lag(&mut self, standbys: &[Standby]) -> Option<Stop> {
        let limit = self.limits.replica_lag_max?;
        let behind = || standbys.iter().filter(|standby| standby.lag > limit);
        if !self.has_looked {
            self.behind_before = behind().map(|standby| standby.pid).collect();
        }
        // One that has caught up since counts again.
        self.behind_before.retain(|pid| behind().any(|standby| standby.pid == *pid));
        let fell_behind = behind().find(|standby| !self.behind_before.contains(&standby.pid))?;
        Some(Stop {
            cause: StopCause::ReplicaLag,
            reason: format!(
                "standby {} has fallen {} s behind since the dump began; `replica_lag_max` is {limit:#}",
                fell_behind.name,
                tenths(fell_behind.lag)
            ),
        })
    }

    /// Of the standby that is dumped itself, while the dump has its snapshot: how long ago something was received that is still
    /// not replayed. How old its last commit is tells nothing: there may have been no other.
    fn replay(&mut self, activity: &Activity) -> Option<Stop> {
        let replay = activity.replay.filter(|_| activity.xmin.is_some());
        self.unreplayed = replay.map(|now| match self.unreplayed {
            Some((received, looks)) if now.replayed < received => (received, looks.saturating_add(1)),
            Some(_) | None => (now.received, 0),
        });
        let limit = self.limits.replica_lag_max?;
        let (_, looks) = self.unreplayed?;
        let behind = LOOK_EVERY.saturating_mul(looks);
        (behind > limit).then(|| Stop {
            cause: StopCause::ReplicaLag,
            reason: format!(
                "the replica that it is read from has fallen {} s behind; `replica_lag_max` is {limit:#}",
                tenths(behind)
            ),
        })
    }
}

/// Seconds with one digit behind the point.
fn tenths(duration: SignedDuration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::activity::{Replay, Xmin};

    const LIMITS: GovernorLimits = GovernorLimits {
        lock_wait_max: Some(SignedDuration::from_secs(5)),
        xmin_age_max: Some(1000),
        replica_lag_max: Some(SignedDuration::from_mins(5)),
        free_storage_min: None,
    };

    fn waiting(pid: i32, waited_ms: Option<i64>) -> Waiting {
        Waiting { pid, waited: waited_ms.map(SignedDuration::from_millis), table: Some("bank.accounts".to_owned()) }
    }

    fn waits(waiting: Vec<Waiting>) -> Activity {
        Activity { waiting, ..Activity::default() }
    }

    fn cause(governor: &mut Governor, activity: &Activity) -> Option<StopCause> {
        governor.judge(activity).map(|stop| stop.cause)
    }

    #[rstest]
    #[case(3999, None)]
    #[case(4000, None)]
    #[case(4001, Some(StopCause::LockWait))]
    fn nobody_waits_for_longer_than_the_limit(#[case] waited_ms: i64, #[case] expected: Option<StopCause>) {
        let seen = waits(vec![waiting(1, Some(0)), waiting(2, Some(waited_ms))]);
        assert_eq!(cause(&mut Governor::new(LIMITS), &seen), expected, "the next look is a second away");
    }

    #[test]
    fn the_reason_says_who_waits_for_what_how_long_and_what_the_limit_is() {
        let stop = Governor::new(LIMITS).judge(&waits(vec![waiting(4711, Some(4300))])).unwrap();
        assert_eq!(
            stop.reason,
            "session 4711 has waited 4.3 s for a lock on bank.accounts, which the dump holds up; `lock_wait_max` is 5s"
        );
    }

    #[test]
    fn where_the_server_does_not_say_how_long_looks_are_counted() {
        let mut governor = Governor::new(LIMITS);
        let seen = waits(vec![waiting(1, None)]);
        let looks = (1..).find(|_| governor.judge(&seen).is_some());
        assert_eq!(looks, Some(6), "seen first, and a second longer at each of five looks");
        let mut interrupted = Governor::new(LIMITS);
        for _ in 0..10 {
            assert_eq!(cause(&mut interrupted, &seen), None);
            assert_eq!(cause(&mut interrupted, &waits(Vec::new())), None, "another wait begins anew");
        }
    }

    #[rstest]
    #[case(1000, false, None)]
    #[case(1001, false, Some(StopCause::XminAge))]
    #[case(1001, true, None)]
    fn an_old_snapshot_stops_the_dump_unless_another_is_older(
        #[case] age: u64,
        #[case] others_older: bool,
        #[case] expected: Option<StopCause>,
    ) {
        let seen = Activity { xmin: Some(Xmin { age, others_older }), ..Activity::default() };
        assert_eq!(cause(&mut Governor::new(LIMITS), &seen), expected);
    }

    #[test]
    fn a_standby_that_was_behind_before_the_dump_is_not_its_doing_until_it_has_caught_up() {
        let seen = |lags: [i64; 2]| {
            let standby = |(pid, secs): (i32, i64)| Standby {
                pid,
                name: format!("s{pid}"),
                lag: SignedDuration::from_secs(secs),
            };
            Activity { standbys: (1..).zip(lags).map(standby).collect(), ..Activity::default() }
        };
        let mut governor = Governor::new(LIMITS);
        assert_eq!(cause(&mut governor, &seen([3600, 0])), None, "delayed on purpose");
        assert_eq!(cause(&mut governor, &seen([3700, 300])), None);
        let stop = governor.clone().judge(&seen([3700, 301])).unwrap();
        assert_eq!(stop.cause, StopCause::ReplicaLag);
        assert!(stop.reason.starts_with("standby s2 has fallen 301.0 s behind"), "{}", stop.reason);
        assert_eq!(cause(&mut governor, &seen([10, 0])), None);
        assert_eq!(cause(&mut governor, &seen([301, 0])), Some(StopCause::ReplicaLag));
    }

    /// A look at a standby that is dumped.
    fn replaying(received: u64, replayed: u64) -> Activity {
        let xmin = Some(Xmin { age: 1, others_older: false });
        Activity { replay: Some(Replay { received, replayed }), xmin, ..Activity::default() }
    }

    #[test]
    fn a_replica_that_is_dumped_is_behind_for_as_long_as_something_received_is_not_replayed() {
        let mut governor = Governor::new(LIMITS);
        let stuck = (0..1000_u64).find(|look| governor.judge(&replaying(100 + look, 50)).is_some());
        assert_eq!(stuck, Some(301), "more than five minutes after it was first seen");
        let stop = governor.judge(&replaying(1000, 50)).unwrap();
        assert_eq!(stop.cause, StopCause::ReplicaLag);
        assert_eq!(stop.reason, "the replica that it is read from has fallen 302.0 s behind; `replica_lag_max` is 5m");
        assert_eq!(cause(&mut governor, &replaying(1100, 100)), None, "it goes on");
    }

    #[test]
    fn a_replica_that_always_has_something_left_and_keeps_up_is_not_behind() {
        let mut governor = Governor::new(LIMITS);
        let stopped = (1..2000_u64)
            .find(|look| governor.judge(&replaying(look * 100, look * 100 - 250.min(look * 100))).is_some());
        assert_eq!(stopped, None);
    }

    #[test]
    fn before_the_dump_has_its_snapshot_a_replica_may_be_as_far_behind_as_it_is() {
        let mut governor = Governor::new(LIMITS);
        let seen = Activity { xmin: None, ..replaying(1000, 50) };
        assert!((0..1000).all(|_| governor.judge(&seen).is_none()));
        let stuck = (0..1000_u64).find(|_| governor.judge(&replaying(1000, 50)).is_some());
        assert_eq!(stuck, Some(301), "it is counted from there on");
    }

    #[test]
    fn what_has_no_limit_stops_nothing() {
        let seen = Activity {
            waiting: vec![waiting(1, Some(1_000_000))],
            xmin: Some(Xmin { age: u64::MAX, others_older: false }),
            standbys: Vec::new(),
            standbys_hidden: false,
            replay: None,
        };
        assert_eq!(cause(&mut Governor::new(GovernorLimits::default()), &seen), None);
    }

    #[rstest]
    #[case(GovernorLimits::default(), false)]
    #[case(GovernorLimits { free_storage_min: Some(1), ..GovernorLimits::default() }, false)]
    #[case(GovernorLimits { lock_wait_max: LIMITS.lock_wait_max, ..GovernorLimits::default() }, true)]
    #[case(GovernorLimits { xmin_age_max: Some(1), ..GovernorLimits::default() }, true)]
    #[case(GovernorLimits { replica_lag_max: LIMITS.replica_lag_max, ..GovernorLimits::default() }, true)]
    fn each_limit_but_that_of_storage_needs_a_session(#[case] limits: GovernorLimits, #[case] expected: bool) {
        assert_eq!(limits.watches_sessions(), expected);
    }
}
