//! Policies, as templates: their schedules become schedules of a source only with its time zone and its name.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{DURATIONS, check_name, drills, recover, retention};
use crate::config::calendar;
use crate::config::diagnosis::{Diagnosis, join};
use crate::config::{human, raw};
use crate::domain::drill::DrillPath;
use crate::domain::id::{DatabaseName, RegionName};
use crate::domain::manifest::Engine;
use crate::policy::governor::GovernorLimits;
use crate::policy::retention::Retention;
use crate::policy::retry::RetryPolicy;
use crate::policy::schedule::Schedule;
use crate::policy::{DumpSettings, SnapshotCopies};

/// How many slots are looked at to find the shortest interval between two: a year of weeks.
const SLOTS_COMPARED: usize = 54;

/// What a policy owes, before it is some source's.
#[derive(Debug)]
pub(super) struct PolicyTemplate {
    pub(super) snapshot: Option<Promise>,
    pub(super) dump: Option<(Promise, DumpSettings)>,
    pub(super) drill: Option<DrillTemplate>,
}

/// What is asked of drills.
#[derive(Debug)]
pub(super) struct DrillTemplate {
    /// A cron expression that is known to parse.
    pub(super) pattern: String,
    pub(super) paths: Vec<DrillPath>,
    pub(super) retry: RetryPolicy,
    pub(super) completion_deadline: SignedDuration,
    pub(super) suspended: bool,
    pub(super) recovery_time_max: Option<SignedDuration>,
    pub(super) data_loss_max: Option<SignedDuration>,
    pub(super) fewer_rows_max_percent: Option<u8>,
    /// Name, database, query.
    pub(super) assertions: Vec<(String, Option<DatabaseName>, String)>,
}

/// What is owed of one kind.
#[derive(Debug)]
pub(super) struct Promise {
    pub(super) timing: Timing,
    pub(super) keeping: Keeping,
}

/// What becomes of recovery points in time, in each place; in UTC, as the zone is the source's.
#[derive(Debug, Clone)]
pub(super) struct Keeping {
    pub(super) retention: Retention,
    pub(super) replica_retention: Retention,
    pub(super) copies: Vec<SnapshotCopies>,
}

impl Keeping {
    /// The same in a source's zone.
    pub(super) fn in_zone(&self, zone: &TimeZone) -> Keeping {
        let copies = self.copies.iter().cloned();
        Keeping {
            retention: self.retention.clone().in_zone(zone),
            replica_retention: self.replica_retention.clone().in_zone(zone),
            copies: copies.map(|copy| SnapshotCopies { retention: copy.retention.in_zone(zone), ..copy }).collect(),
        }
    }
}

/// When, and how failures are handled.
#[derive(Debug, Clone)]
pub(super) struct Timing {
    /// A cron expression that is known to parse.
    pub(super) pattern: String,
    pub(super) jitter: SignedDuration,
    pub(super) start_deadline: Option<SignedDuration>,
    pub(super) completion_deadline: SignedDuration,
    pub(super) retry: RetryPolicy,
    pub(super) suspended: bool,
}

/// The keys that snapshots and dumps have in common.
struct Keys<'a> {
    schedule: Option<&'a String>,
    jitter: &'a str,
    start_deadline: Option<&'a str>,
    completion_deadline: &'a str,
    retry: &'a raw::Retry,
    suspend: bool,
}

/// All policies that could be read. One that could not has been reported.
pub(super) fn build(file: &raw::File, diagnosis: &mut Diagnosis) -> BTreeMap<String, PolicyTemplate> {
    let home = file.aws.as_ref().and_then(|aws| aws.region.as_ref()?.parse().ok());
    let mut templates = BTreeMap::new();
    for (name, policy) in &file.policies {
        let key = join("policies", name);
        check_name("policies", name, diagnosis);
        if policy.snapshot.is_none() && policy.dump.is_none() && !diagnosis.doubts(&key) {
            let advice = format!("give it `[{key}.snapshot]` or `[{key}.dump]`");
            diagnosis.report(&key, "this policy promises no backup", advice);
        }
        let makes = (policy.snapshot.is_some(), policy.dump.is_some());
        let drill = policy.drill.as_ref();
        let own: Vec<&raw::Source> =
            file.sources.values().filter(|source| source.policy.as_ref() == Some(name)).collect();
        let drill = drill.and_then(|drill| drills::template(&format!("{key}.drill"), drill, makes, &own, diagnosis));
        if own.is_empty() {
            diagnosis.note(&key, "no source has this policy");
        }
        let snapshot =
            policy.snapshot.as_ref().map(|snapshot| build_snapshot(&key, snapshot, home.as_ref(), diagnosis));
        let dump = policy.dump.as_ref().map(|dump| build_dump(&key, dump, diagnosis));
        // A part that is wrong is left out here; that there are errors keeps it from ever being used.
        templates.insert(name.clone(), PolicyTemplate { snapshot: snapshot.flatten(), dump: dump.flatten(), drill });
    }
    templates
}

fn build_snapshot(
    policy: &str,
    snapshot: &raw::Snapshot,
    home: Option<&RegionName>,
    diagnosis: &mut Diagnosis,
) -> Option<Promise> {
    let key = format!("{policy}.snapshot");
    let keys = Keys {
        schedule: snapshot.schedule.as_ref(),
        jitter: &snapshot.jitter,
        start_deadline: snapshot.start_deadline.as_deref(),
        completion_deadline: &snapshot.completion_deadline,
        retry: &snapshot.retry,
        suspend: snapshot.suspend,
    };
    let timing = timing(&key, &keys, diagnosis);
    let retention = retention::build(&key, snapshot, diagnosis);
    let copies = retention::copies(&key, snapshot, retention.as_ref(), home, diagnosis);
    let retention = retention?;
    let keeping = Keeping { replica_retention: retention.clone(), retention, copies };
    Some(Promise { timing: timing?, keeping })
}

/// Connections of the parallel engine where the configuration names no number.
const DEFAULT_JOBS: usize = 4;

fn build_dump(policy: &str, dump: &raw::Dump, diagnosis: &mut Diagnosis) -> Option<(Promise, DumpSettings)> {
    let key = format!("{policy}.dump");
    let engine = match dump.engine {
        raw::Engine::PgDump => Engine::PgDump,
        raw::Engine::Parallel => Engine::Parallel,
    };
    if engine == Engine::PgDump && dump.jobs.is_some() {
        let advice = "leave `jobs` or `engine` out";
        diagnosis.report(&format!("{key}.jobs"), "one pg_dump has one connection", advice);
    }
    let jobs = dump.jobs.map_or(DEFAULT_JOBS, |jobs| jobs.get() as usize);
    let bandwidth_max = dump.max_bandwidth.as_ref().map(|text| {
        let rate = human::bytes_per_s(text);
        diagnosis.parsed(&format!("{key}.max_bandwidth"), rate, "write for example \"50MB/s\", or leave it out")
    });
    let governor = governor(&format!("{key}.governor"), &dump.governor, diagnosis);
    let job_template = recover::object_name(&format!("{key}.job_template"), dump.job_template.as_ref(), diagnosis);
    let keys = Keys {
        schedule: dump.schedule.as_ref(),
        jitter: &dump.jitter,
        start_deadline: dump.start_deadline.as_deref(),
        completion_deadline: &dump.completion_deadline,
        retry: &dump.retry,
        suspend: dump.suspend,
    };
    let timing = timing(&key, &keys, diagnosis);
    let retention = retention::build(&key, dump, diagnosis);
    let replica_retention = match &dump.replica_retention {
        Some(own) => retention::build(&format!("{key}.replica_retention"), own, diagnosis),
        None => retention.clone(),
    };
    let keeping = Keeping { retention: retention?, replica_retention: replica_retention?, copies: Vec::new() };
    let settings = DumpSettings {
        engine,
        compression_level: dump.compression_level,
        jobs,
        governor: governor?,
        bandwidth_max: match bandwidth_max {
            Some(parsed) => Some(parsed?),
            None => None,
        },
        job_template: job_template?,
    };
    Some((Promise { timing: timing?, keeping }, settings))
}

fn governor(key: &str, given: &raw::Governor, diagnosis: &mut Diagnosis) -> Option<GovernorLimits> {
    let advice = "write for example \"5s\" or \"5m\", or \"off\" for no limit";
    let mut limit = |name: &str, text: &str| diagnosis.parsed(&format!("{key}.{name}"), human::limit(text), advice);
    let lock_wait_max = limit("lock_wait_max", &given.lock_wait_max);
    let replica_lag_max = limit("replica_lag_max", &given.replica_lag_max);
    let free_storage_min = diagnosis.parsed(
        &format!("{key}.free_storage_min"),
        human::size_limit(&given.free_storage_min),
        "write for example \"2GiB\", or \"off\" for no limit",
    );
    Some(GovernorLimits {
        lock_wait_max: lock_wait_max?,
        xmin_age_max: Some(u64::from(given.xmin_age_max)).filter(|max| *max > 0),
        replica_lag_max: replica_lag_max?,
        free_storage_min: free_storage_min?,
    })
}

fn timing(key: &str, keys: &Keys<'_>, diagnosis: &mut Diagnosis) -> Option<Timing> {
    let schedule = schedule(key, keys.schedule, diagnosis);
    let jitter = diagnosis.parsed(&format!("{key}.jitter"), human::duration(keys.jitter), DURATIONS);
    if let (Some(schedule), Some(jitter)) = (&schedule, jitter) {
        check_jitter(key, schedule, jitter, diagnosis);
    }
    let mut positive =
        |name: &str, text: &str| diagnosis.parsed(&format!("{key}.{name}"), human::positive_duration(text), DURATIONS);
    let start_deadline = keys.start_deadline.map(|text| positive("start_deadline", text));
    let completion_deadline = positive("completion_deadline", keys.completion_deadline);
    let retry = retry(&format!("{key}.retry"), keys.retry, diagnosis);
    Some(Timing {
        pattern: schedule?.to_string(),
        jitter: jitter?,
        start_deadline: match start_deadline {
            Some(parsed) => Some(parsed?),
            None => None,
        },
        completion_deadline: completion_deadline?,
        retry: retry?,
        suspended: keys.suspend,
    })
}

/// A schedule in UTC: whether it parses does not depend on the zone.
pub(super) fn schedule(table: &str, pattern: Option<&String>, diagnosis: &mut Diagnosis) -> Option<Schedule> {
    let key = format!("{table}.schedule");
    let advice = "write when, for example `schedule = \"0 3 * * Sun\"` for Sundays at 03:00";
    let pattern = diagnosis.required(&key, pattern, advice)?;
    let parsed = Schedule::parse(pattern, TimeZone::UTC);
    let schedule = diagnosis.parsed(&key, parsed, "write for example \"0 3 * * Sun\" for Sundays at 03:00")?;
    if let Some(day) = calendar::day_that_some_months_lack(pattern) {
        let text = format!("`{pattern}` skips months without a day {day}: use `L` for the last day of each month");
        diagnosis.note(&key, text);
    }
    Some(schedule)
}

/// Jitter as long as the interval would start a run when the next one is due.
fn check_jitter(table: &str, schedule: &Schedule, jitter: SignedDuration, diagnosis: &mut Diagnosis) {
    let slots: Vec<_> = schedule.upcoming(Timestamp::UNIX_EPOCH).take(SLOTS_COMPARED).collect();
    let gaps = slots.iter().zip(slots.iter().skip(1)).map(|(a, b)| b.instant().duration_since(a.instant()));
    if let Some(shortest) = gaps.min().filter(|shortest| jitter >= *shortest) {
        let problem = format!("`{jitter:#}` is not shorter than the schedule's shortest interval, {shortest:#}");
        diagnosis.report(&format!("{table}.jitter"), problem, "a run must start before the next one is due");
    }
}

pub(super) fn retry(key: &str, given: &raw::Retry, diagnosis: &mut Diagnosis) -> Option<RetryPolicy> {
    let mut positive =
        |name: &str, text: &str| diagnosis.parsed(&format!("{key}.{name}"), human::positive_duration(text), DURATIONS);
    let initial_backoff = positive("initial_backoff", &given.initial_backoff);
    let backoff_max = positive("backoff_max", &given.backoff_max);
    let (initial_backoff, backoff_max) = (initial_backoff?, backoff_max?);
    if initial_backoff > backoff_max {
        let problem = format!("`{initial_backoff:#}` is longer than `backoff_max`, {backoff_max:#}");
        diagnosis.report(&format!("{key}.initial_backoff"), problem, "the first wait must not be the longest");
        return None;
    }
    Some(RetryPolicy { initial_backoff, backoff_max, attempts_max: NonZeroU32::new(given.attempts_max)? })
}
