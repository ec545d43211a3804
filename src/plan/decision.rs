//! Decisions: what was decided about each obligation, and the reason, as people read it.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::drill::DrillReason;
use crate::domain::drill::DrillId;
use crate::domain::id::{DatabaseName, InstanceId, Kind, RunId, Slot, SnapshotId, SourceId};
use crate::domain::inventory::Unseen;

/// What was decided about one obligation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The source.
    pub source: SourceId,
    /// Snapshot or dump.
    pub kind: Kind,
    /// The database, for dumps.
    pub database: Option<DatabaseName>,
    /// What, and why.
    pub reason: Reason,
    /// How fresh its newest good recovery point is.
    pub freshness: Freshness,
}

/// Freshness of one obligation, computed from recovery points that exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// The moment of the newest good recovery point's data.
    pub newest_at: Option<Timestamp>,
    /// From the latest slot to the next.
    pub expected_interval: SignedDuration,
    /// The next start.
    pub next_due_at: Option<Timestamp>,
    /// Whether the latest slot should have been filled by now and is not.
    pub overdue: bool,
}

/// Why something is done, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A good recovery point of the latest slot, or of a later moment, exists.
    Satisfied {
        /// The slot.
        slot: Slot,
    },
    /// No slot has come due yet.
    NotDueYet,
    /// A run starts now.
    Starts {
        /// The run.
        run: RunId,
    },
    /// A drill starts now, and makes the dump of what it restores.
    StartsInDrill {
        /// The run.
        run: RunId,
        /// The drill.
        drill: DrillId,
        /// The snapshot that is restored.
        snapshot: SnapshotId,
    },
    /// The drill that has to make the dump does not start now.
    WaitsForDrill {
        /// The slot.
        slot: Slot,
        /// Why not.
        why: DrillReason,
    },
    /// A run is being worked on.
    Running {
        /// The run.
        run: RunId,
        /// Percent done, where RDS says.
        percent: Option<u8>,
    },
    /// An earlier attempt failed; the next one has to wait.
    BackingOff {
        /// The slot.
        slot: Slot,
        /// Failed attempts so far.
        failed: u32,
        /// When the next may start.
        until: Timestamp,
        /// What the last one said.
        last_failure: Option<String>,
    },
    /// It is too late for the slot.
    Missed {
        /// The slot.
        slot: Slot,
        /// Until when it could have started.
        deadline: Timestamp,
    },
    /// The instance cannot be backed up in its present status.
    InstanceNotReady {
        /// The slot.
        slot: Slot,
        /// In RDS's words.
        status: String,
        /// The replica that dumps come from, where it is that one.
        replica: Option<InstanceId>,
    },
    /// RDS has no such instance.
    InstanceMissing,
    /// RDS has no such replica.
    ReplicaMissing {
        /// The replica that dumps are to come from.
        replica: InstanceId,
    },
    /// The source's instance is itself a replica: the moment of what it has is not known, and some of it is missing.
    InstanceIsReplica {
        /// The instance that it replicates, in RDS's words.
        of: String,
    },
    /// The instance that dumps are to come from is no replica of the source's.
    NotItsReplica {
        /// The instance that dumps are to come from.
        replica: InstanceId,
        /// Whose replica it is in RDS's words, if of any.
        of: Option<String>,
    },
    /// The instance is of an engine that strongroom does not back up.
    EngineRefused {
        /// The engine.
        engine: String,
    },
    /// The dump client is older than the server.
    ClientTooOld {
        /// Major version of `pg_dump`.
        client: u32,
        /// Major version of the server.
        server: u32,
    },
    /// As many runs as allowed are going on.
    Queued {
        /// The slot.
        slot: Slot,
        /// What it waits for.
        behind: Queue,
    },
    /// A run has succeeded just now, and listings do not show yet what it made.
    NotListedYet {
        /// The run.
        run: RunId,
        /// When it ended.
        finished_at: Timestamp,
    },
    /// Switched off in the configuration.
    Suspended,
    /// Nothing can be decided, because something could not be seen.
    Unseen(Unseen),
}

/// What a due run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Another run of the same source and kind.
    SameSource,
    /// The limit over all sources.
    GlobalLimit {
        /// The limit.
        limit: usize,
    },
}

impl Reason {
    /// Whether a person may have to act: shown as a finding.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        match self {
            Reason::Satisfied { .. }
            | Reason::NotDueYet
            | Reason::Starts { .. }
            | Reason::StartsInDrill { .. }
            | Reason::Running { .. }
            | Reason::Queued { .. }
            | Reason::NotListedYet { .. }
            | Reason::Suspended => false,
            Reason::WaitsForDrill { why, .. } => why.is_trouble(),
            // RDS backs up every night, and for as long takes no other snapshot.
            Reason::InstanceNotReady { status, .. } => status != "backing-up",
            Reason::BackingOff { .. }
            | Reason::Missed { .. }
            | Reason::InstanceMissing
            | Reason::ReplicaMissing { .. }
            | Reason::NotItsReplica { .. }
            | Reason::InstanceIsReplica { .. }
            | Reason::EngineRefused { .. }
            | Reason::ClientTooOld { .. }
            | Reason::Unseen(_) => true,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Satisfied { slot } => write!(f, "slot {slot} is filled"),
            Reason::NotDueYet => f.write_str("no slot has come due yet"),
            Reason::Starts { run } => write!(f, "starts now as run {run}"),
            Reason::StartsInDrill { run, drill, snapshot } => {
                write!(f, "run {run} is taken from drill {drill} of snapshot {snapshot}, which starts now")
            }
            Reason::WaitsForDrill { slot, why } => write!(f, "slot {slot} waits for a drill of a snapshot: {why}"),
            Reason::Running { run, percent: Some(percent) } => write!(f, "run {run} is under way, {percent} %"),
            Reason::Running { run, percent: None } => write!(f, "run {run} is under way"),
            Reason::BackingOff { slot, failed, until, last_failure } => {
                write!(f, "slot {slot} failed {failed} time(s), next attempt at {until}")?;
                because(f, last_failure.as_deref())
            }
            Reason::Missed { slot, deadline } => {
                write!(f, "slot {slot} was missed: it could not start by {deadline}; `strongroom backup` makes one now")
            }
            Reason::InstanceNotReady { slot, status, replica: Some(replica) } => {
                write!(f, "slot {slot} waits: {replica}, which dumps come from, is `{status}`")
            }
            Reason::InstanceNotReady { slot, status, replica: None } => {
                write!(f, "slot {slot} waits: the instance is `{status}`")
            }
            Reason::InstanceMissing => f.write_str(
                "RDS has no such instance in this region: correct `instance` or `aws.region`, or restore the instance",
            ),
            Reason::ReplicaMissing { replica } => write!(
                f,
                "RDS has no instance `{replica}` in this region: correct `dump_from`, or leave it out to dump from the instance itself"
            ),
            Reason::InstanceIsReplica { of } => {
                write!(
                    f,
                    "the instance is a read replica of `{of}`: write that as `instance`, and this one as `dump_from`"
                )
            }
            Reason::NotItsReplica { replica, of } => {
                let is = of.as_ref().map_or_else(|| "no replica".to_owned(), |of| format!("a replica of `{of}`"));
                write!(f, "`{replica}` is {is}, not one of this instance: correct `dump_from`, or leave it out")
            }
            Reason::EngineRefused { engine } => {
                write!(f, "engine `{engine}` is not supported: strongroom backs up RDS for PostgreSQL")
            }
            Reason::ClientTooOld { client, server } => write!(
                f,
                "pg_dump {client} cannot dump a server of version {server}: install postgresql-client-{server} and set `postgres.bin_dir`"
            ),
            Reason::Queued { slot, behind: Queue::SameSource } => {
                write!(f, "slot {slot} waits for another run of the same source and kind")
            }
            Reason::Queued { slot, behind: Queue::GlobalLimit { limit } } => {
                write!(f, "slot {slot} waits: {limit} run(s) are under way, which is the limit")
            }
            Reason::NotListedYet { run, finished_at } => {
                write!(f, "run {run} succeeded at {finished_at}, and what it made is not listed yet")
            }
            Reason::Suspended => f.write_str("suspended in the configuration"),
            Reason::Unseen(Unseen(why)) => write!(f, "undecided: {why}"),
        }
    }
}

fn because(f: &mut fmt::Formatter<'_>, failure: Option<&str>) -> fmt::Result {
    match failure {
        Some(failure) => write!(f, ": {failure}"),
        None => Ok(()),
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.source, self.kind)?;
        if let Some(database) = &self.database {
            write!(f, " of {database}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::testing::at;

    fn slot() -> Slot {
        Slot::at(at("2026-11-22T03:00:00Z"))
    }

    fn run() -> RunId {
        "20261122t030000z-snapshot-1".parse().unwrap()
    }

    #[rstest]
    #[case::filled(Reason::Satisfied { slot: slot() })]
    #[case::not_due(Reason::NotDueYet)]
    #[case::starting(Reason::Starts { run: run() })]
    #[case::running(Reason::Running { run: run(), percent: Some(40) })]
    #[case::queued(Reason::Queued { slot: slot(), behind: Queue::SameSource })]
    #[case::no_room_for_its_drill(Reason::WaitsForDrill { slot: slot(), why: DrillReason::Queued { limit: 1 } })]
    #[case::after_another_dump(Reason::WaitsForDrill { slot: slot(), why: DrillReason::AfterDump(run()) })]
    #[case::not_listed_yet(Reason::NotListedYet { run: run(), finished_at: at("2026-11-22T03:05:00Z") })]
    #[case::switched_off_on_purpose(Reason::Suspended)]
    #[case::rds_makes_its_own_backup(Reason::InstanceNotReady { slot: slot(), status: "backing-up".to_owned(), replica: None })]
    fn what_passes_by_itself_or_was_wanted_is_no_trouble(#[case] reason: Reason) {
        assert!(!reason.is_trouble(), "{reason}");
    }

    #[rstest]
    #[case::failing(Reason::BackingOff { slot: slot(), failed: 1, until: slot().instant(), last_failure: None })]
    #[case::nothing_to_drill(Reason::WaitsForDrill { slot: slot(), why: DrillReason::Impossible("no".to_owned()) })]
    #[case::no_drills(Reason::WaitsForDrill { slot: slot(), why: DrillReason::Suspended })]
    #[case::missed(Reason::Missed { slot: slot(), deadline: at("2026-11-22T09:00:00Z") })]
    #[case::stopped(Reason::InstanceNotReady { slot: slot(), status: "stopped".to_owned(), replica: None })]
    #[case::lost(Reason::InstanceMissing)]
    #[case::not_postgres(Reason::EngineRefused { engine: "mysql".to_owned() })]
    #[case::old_client(Reason::ClientTooOld { client: 17, server: 18 })]
    #[case::unseen(Reason::Unseen(Unseen("throttled".to_owned())))]
    fn what_may_need_a_person_is_trouble(#[case] reason: Reason) {
        assert!(reason.is_trouble(), "{reason}");
    }

    #[test]
    fn a_decision_says_whose_it_is_before_it_says_why() {
        let freshness =
            Freshness { newest_at: None, expected_interval: SignedDuration::ZERO, next_due_at: None, overdue: false };
        let of = |kind, database: Option<&str>| Decision {
            source: "accounts".parse().unwrap(),
            kind,
            database: database.map(|database| database.parse().unwrap()),
            reason: Reason::NotDueYet,
            freshness: freshness.clone(),
        };
        assert_eq!(of(Kind::Snapshot, None).to_string(), "accounts snapshot: no slot has come due yet");
        assert_eq!(of(Kind::Dump, Some("audit")).to_string(), "accounts dump of audit: no slot has come due yet");
    }
}
