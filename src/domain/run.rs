//! Runs: one attempt each, recorded in the store from start to end.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::id::{InstallationId, RunId, SnapshotId, SourceId};

/// Version of the record that this code writes.
pub const RUN_RECORD_VERSION: u32 = 1;

/// Largest run record that is written or read; the RDS events of a failure take most of it.
pub const RUN_RECORD_BYTES_MAX: u64 = 1 << 20;

/// How long a claim stands without renewal before another daemon may close the run: measured by that daemon, on its own
/// monotonic clock, from when it first saw the record as it is.
///
/// It only decides where the owner cannot be asked for (another node): on one host the process table answers at once.
pub const LEASE: SignedDuration = SignedDuration::from_mins(15);

/// Which process works on a run: enough to find out on the same host whether it still lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProcessIdentity {
    /// Host or pod name.
    pub host: String,
    /// Boot id and PID namespace: within one of these a PID means one process.
    pub pid_space: String,
    /// Process id.
    pub pid: u32,
    /// Start of the process in clock ticks since boot: tells apart two processes that got one PID.
    pub start_ticks: u64,
}

impl fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.host, self.pid)
    }
}

/// What is known about the process that claimed a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerState {
    /// It is this process.
    This,
    /// It runs on this host.
    Alive,
    /// It ran on this host and is gone.
    Dead,
    /// It is elsewhere; only its lease tells.
    Elsewhere,
}

impl OwnerState {
    /// Whether nobody works any more on what such an owner has claimed and not ended, when its record has stood unchanged for
    /// so long. What this very process works on it knows by itself: what it has claimed beside that it has lost.
    #[must_use]
    pub fn has_left(self, unchanged_for: SignedDuration) -> bool {
        match self {
            OwnerState::This | OwnerState::Dead => true,
            OwnerState::Alive => false,
            OwnerState::Elsewhere => unchanged_for > LEASE,
        }
    }
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The error with its causes, in one line, without secrets.
    pub message: String,
    /// RDS events of the run's window, oldest first: what AWS says happened to the instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rds_events: Vec<RdsEvent>,
    /// Why the run was stopped, if it was not the run that failed: it gave way to production, and is made again later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<StopCause>,
}

/// What made a dump give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// Another session waited too long for a lock of it.
    LockWait,
    /// It held back vacuum for too many transactions.
    XminAge,
    /// A standby of its server fell behind.
    ReplicaLag,
    /// Its server ran out of room.
    FreeStorage,
    /// Nobody could look at its server for too long.
    Unwatched,
    /// The replica that it was read from had to replay what its snapshot stood in the way of.
    RecoveryConflict,
}

impl StopCause {
    /// All of them.
    pub const ALL: [StopCause; 6] = [
        StopCause::LockWait,
        StopCause::XminAge,
        StopCause::ReplicaLag,
        StopCause::FreeStorage,
        StopCause::Unwatched,
        StopCause::RecoveryConflict,
    ];

    /// The cause as one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StopCause::LockWait => "lock_wait",
            StopCause::XminAge => "xmin_age",
            StopCause::ReplicaLag => "replica_lag",
            StopCause::FreeStorage => "free_storage",
            StopCause::Unwatched => "unwatched",
            StopCause::RecoveryConflict => "recovery_conflict",
        }
    }
}

/// An event that RDS recorded about an instance or snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RdsEvent {
    /// When.
    pub at: Timestamp,
    /// What, in RDS's words.
    pub message: String,
}

/// Where a run stands. All states but `Running` are terminal and never change again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum RunState {
    /// Claimed and not ended.
    Running,
    /// Ended with a recovery point.
    Succeeded {
        /// When it ended.
        finished_at: Timestamp,
        /// Bytes stored (dumps) or allocated (snapshots).
        size_bytes: u64,
    },
    /// Ended with an error; nothing of it counts.
    Failed {
        /// When it ended.
        finished_at: Timestamp,
        /// Why.
        failure: Failure,
    },
    /// Stopped by an operator or by shutdown.
    Cancelled {
        /// When it ended.
        finished_at: Timestamp,
    },
    /// Its process died; another one found and closed it.
    Abandoned {
        /// When it was found.
        finished_at: Timestamp,
    },
}

impl RunState {
    /// When the run ended, if it has.
    #[must_use]
    pub fn finished_at(&self) -> Option<Timestamp> {
        match self {
            RunState::Running => None,
            RunState::Succeeded { finished_at, .. }
            | RunState::Failed { finished_at, .. }
            | RunState::Cancelled { finished_at }
            | RunState::Abandoned { finished_at } => Some(*finished_at),
        }
    }

    /// The state as one word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Succeeded { .. } => "succeeded",
            RunState::Failed { .. } => "failed",
            RunState::Cancelled { .. } => "cancelled",
            RunState::Abandoned { .. } => "abandoned",
        }
    }
}

/// The record of a run: `<prefix>/<source>/runs/<run>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of this format.
    pub version: u32,
    /// The installation that made the attempt.
    pub installation: InstallationId,
    /// The run.
    pub run: RunId,
    /// The source.
    pub source: SourceId,
    /// The snapshot that the run creates, for snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// Who works on it.
    pub owner: ProcessIdentity,
    /// When it was claimed.
    pub started_at: Timestamp,
    /// Until when the claim stands without renewal, by its owner's clock: for people, and so that each renewal differs.
    pub lease_until: Timestamp,
    /// Where it stands.
    #[serde(flatten)]
    pub state: RunState,
}

impl RunRecord {
    /// A fresh claim.
    #[must_use]
    pub fn claim(
        installation: InstallationId,
        run: RunId,
        source: SourceId,
        owner: ProcessIdentity,
        now: Timestamp,
    ) -> Self {
        RunRecord {
            version: RUN_RECORD_VERSION,
            installation,
            run,
            source,
            snapshot: None,
            owner,
            started_at: now,
            lease_until: now.saturating_add(LEASE).unwrap_or(Timestamp::MAX),
            state: RunState::Running,
        }
    }

    /// The same claim with its lease counted from `now`.
    #[must_use]
    pub fn renewed(&self, now: Timestamp) -> Self {
        RunRecord { lease_until: now.saturating_add(LEASE).unwrap_or(Timestamp::MAX), ..self.clone() }
    }

    /// The record of the same run in a terminal state.
    #[must_use]
    pub fn closed(&self, state: RunState) -> Self {
        RunRecord { state, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T03:00:00Z".parse().unwrap()
    }

    fn claimed() -> RunRecord {
        RunRecord::claim(
            "bank-prod".parse().unwrap(),
            "20261122t030000z-dump-accounts-1".parse().unwrap(),
            "accounts".parse().unwrap(),
            ProcessIdentity { host: "pod-1".into(), pid_space: "b/1".into(), pid: 7, start_ticks: 9 },
            now(),
        )
    }

    fn failure() -> Failure {
        Failure {
            message: "pg_dump ended with exit status 1".into(),
            rds_events: vec![RdsEvent { at: now(), message: "Recovery of the DB instance has started".into() }],
            stopped_by: Some(StopCause::LockWait),
        }
    }

    fn every_state() -> [RunState; 5] {
        let finished_at = now();
        [
            RunState::Running,
            RunState::Succeeded { finished_at, size_bytes: 5 },
            RunState::Failed { finished_at, failure: failure() },
            RunState::Cancelled { finished_at },
            RunState::Abandoned { finished_at },
        ]
    }

    #[test]
    fn a_record_reads_back_in_every_state() {
        for state in every_state() {
            let written = claimed().closed(state);
            let text = serde_json::to_string(&written).unwrap();
            assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap(), written, "{text}");
        }
    }

    #[test]
    fn every_state_but_running_has_an_end_and_each_has_one_word() {
        for state in every_state() {
            assert_eq!(state.finished_at(), (state != RunState::Running).then(now));
            assert_eq!(serde_json::to_value(&state).unwrap()["state"], state.as_str());
        }
        for cause in StopCause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
        }
    }

    #[test]
    fn a_renewed_claim_differs_in_its_lease_only() {
        let claim = claimed();
        assert_eq!((claim.lease_until, &claim.state), (now() + LEASE, &RunState::Running));
        let later = now() + SignedDuration::from_mins(5);
        assert_eq!(claim.renewed(later), RunRecord { lease_until: later + LEASE, ..claim });
    }

    #[test]
    fn a_closed_record_differs_in_its_state_only() {
        let (claim, state) = (claimed(), RunState::Cancelled { finished_at: now() });
        assert_eq!(claim.closed(state.clone()), RunRecord { state, ..claim });
    }

    #[test]
    fn a_process_is_named_as_one_looks_for_it() {
        assert_eq!(claimed().owner.to_string(), "pod-1 (pid 7)");
    }

    /// A record that could not be read would stand for a run that nobody knows anything about.
    #[test]
    fn a_record_has_room_for_all_that_rds_says_and_for_a_long_error() {
        let event = RdsEvent { at: now(), message: "m".repeat(1_000) };
        let failure = Failure { message: "e".repeat(100_000), rds_events: vec![event; 20], ..failure() };
        let written =
            serde_json::to_vec_pretty(&claimed().closed(RunState::Failed { finished_at: now(), failure })).unwrap();
        assert!((written.len() as u64) < RUN_RECORD_BYTES_MAX, "{}", written.len());
    }
}
