//! What becomes of recovery points in time, and what holds deletions back.

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::DURATIONS;
use super::parts::{check_kms_key, region_name};
use crate::config::diagnosis::Diagnosis;
use crate::config::schema::quoted;
use crate::config::{human, raw};
use crate::domain::id::RegionName;
use crate::policy::SnapshotCopies;
use crate::policy::prune::PrunePolicy;
use crate::policy::retention::{Retention, RetentionPolicy};
use crate::policy::verify::VerifyPolicy;

/// Retention by the keys of a table, in UTC: the zone is the source's.
pub(super) fn build(key: &str, given: impl Into<raw::Retention>, diagnosis: &mut Diagnosis) -> Option<Retention> {
    let given = given.into();
    check_that_it_is_one_decision(key, &given, diagnosis);
    let keep_within = given
        .keep_within
        .map(|text| diagnosis.parsed(&format!("{key}.keep_within"), human::positive_duration(&text), DURATIONS));
    let min_age = diagnosis.parsed(&format!("{key}.min_age"), human::duration(&given.min_age), DURATIONS);
    if given.keep_all {
        return Some(Retention::KeepAll);
    }
    Some(Retention::Rules(RetentionPolicy {
        keep_last: given.keep_last,
        keep_hourly: given.keep_hourly,
        keep_daily: given.keep_daily,
        keep_weekly: given.keep_weekly,
        keep_monthly: given.keep_monthly,
        keep_yearly: given.keep_yearly,
        keep_within: match keep_within {
            Some(parsed) => Some(parsed?),
            None => None,
        },
        min_keep: given.min_keep,
        min_age: min_age?,
        zone: TimeZone::UTC,
    }))
}

/// Rules, or all, or none: one of them, so that no slip decides what is deleted.
fn check_that_it_is_one_decision(key: &str, given: &raw::Retention, diagnosis: &mut Diagnosis) {
    let rules = [
        ("keep_last", given.keep_last.is_some()),
        ("keep_hourly", given.keep_hourly.is_some()),
        ("keep_daily", given.keep_daily.is_some()),
        ("keep_weekly", given.keep_weekly.is_some()),
        ("keep_monthly", given.keep_monthly.is_some()),
        ("keep_yearly", given.keep_yearly.is_some()),
        ("keep_within", given.keep_within.is_some()),
    ];
    let (all, none) = (("keep_all", given.keep_all), ("keep_none", given.keep_none));
    let written: Vec<&str> = rules.iter().filter(|(_, is_written)| *is_written).map(|(name, _)| *name).collect();
    for (name, is_written) in [all, none] {
        if is_written && !written.is_empty() {
            let problem = format!("cannot be combined with {}", quoted(&written));
            diagnosis.report(&format!("{key}.{name}"), problem, "decide for one of them");
        }
    }
    if given.keep_all && given.keep_none {
        diagnosis.report(&format!("{key}.keep_none"), "`keep_all` says the opposite", "decide for one of them");
    }
    let is_empty = written.is_empty() && !given.keep_all && !given.keep_none;
    // A rule that was refused was meant to be there.
    let is_doubted = |(name, _): &(&str, bool)| diagnosis.doubts(&format!("{key}.{name}"));
    if is_empty && !rules.iter().chain([&all, &none]).any(is_doubted) {
        let names: Vec<&str> = rules.iter().map(|(name, _)| *name).collect();
        let advice =
            format!("write at least one of {}; or `keep_all = true`, and nothing is ever deleted", quoted(&names));
        diagnosis.report(key, "nothing says how long these are kept", advice);
    }
}

/// Where snapshots are copied to. `own` is the retention of the snapshots, `home` the region that they are in.
pub(super) fn copies(
    table: &str,
    snapshot: &raw::Snapshot,
    own: Option<&Retention>,
    home: Option<&RegionName>,
    diagnosis: &mut Diagnosis,
) -> Vec<SnapshotCopies> {
    let mut copies: Vec<SnapshotCopies> = Vec::new();
    for (index, copy) in snapshot.copy_to.iter().flatten().enumerate() {
        let key = format!("{table}.copy_to[{index}]");
        let kms_key = format!("{key}.kms_key");
        let retention = match &copy.retention {
            Some(given) => build(&format!("{key}.retention"), given, diagnosis),
            None => own.cloned(),
        };
        let key = format!("{key}.region");
        let region = diagnosis
            .required(&key, copy.region.as_ref(), "name the region of the copy")
            .and_then(|region| region_name(&key, region, diagnosis));
        check_kms_key(&kms_key, copy.kms_key.as_deref(), region.as_ref(), diagnosis);
        let (Some(region), Some(retention)) = (region, retention) else { continue };
        if home == Some(&region) {
            let problem = format!("`{region}` is the region of the snapshots themselves");
            diagnosis.report(&key, problem, "name another region");
        }
        if copies.iter().any(|copy| copy.region == region) {
            diagnosis.report(&key, format!("`{region}` is listed twice"), "list each region once");
        }
        copies.push(SnapshotCopies { region, kms_key: copy.kms_key.clone(), retention });
    }
    copies
}

/// What holds deletions back.
pub(super) fn prune(given: &raw::Prune, diagnosis: &mut Diagnosis) -> Option<PrunePolicy> {
    let settle = diagnosis.parsed("prune.settle", human::duration(&given.settle), DURATIONS);
    let orphan_grace = diagnosis.parsed("prune.orphan_grace", human::positive_duration(&given.orphan_grace), DURATIONS);
    let clock_skew_max =
        diagnosis.parsed("prune.clock_skew_max", human::positive_duration(&given.clock_skew_max), DURATIONS);
    let keep_evidence = keep_evidence(&given.keep_evidence, diagnosis);
    Some(PrunePolicy {
        automatic: given.automatic,
        deletes_per_cycle: given.max_deletes_per_cycle,
        settle: settle?,
        orphan_grace: orphan_grace?,
        keep_evidence: keep_evidence?,
        clock_skew_max: clock_skew_max?,
    })
}

/// When dumps are read back.
pub(super) fn verify(given: &raw::Verify, diagnosis: &mut Diagnosis) -> Option<VerifyPolicy> {
    let deadline = diagnosis.parsed("verify.deadline", human::positive_duration(&given.deadline), DURATIONS);
    let cycle = or_never("verify.cycle", &given.cycle, diagnosis);
    let replica_interval = or_never("verify.replica_interval", &given.replica_interval, diagnosis);
    Some(VerifyPolicy { deadline: deadline?, cycle: cycle?, replica_interval: replica_interval? })
}

/// `Some(None)`: never.
fn or_never(key: &str, text: &str, diagnosis: &mut Diagnosis) -> Option<Option<SignedDuration>> {
    if text == raw::NEVER {
        return Some(None);
    }
    diagnosis.parsed(key, human::positive_duration(text), "write for example \"90d\", or \"never\"").map(Some)
}

/// The least time for which evidence is kept: whoever asks what happened in the last quarter finds it.
const EVIDENCE_MIN: SignedDuration = SignedDuration::from_hours(90 * 24);

/// `Some(None)`: for ever.
fn keep_evidence(text: &str, diagnosis: &mut Diagnosis) -> Option<Option<SignedDuration>> {
    const KEY: &str = "prune.keep_evidence";
    if text == raw::FOREVER {
        return Some(None);
    }
    let kept = diagnosis.parsed(KEY, human::positive_duration(text), "\"forever\", \"400d\" or \"3650d\"")?;
    if kept < EVIDENCE_MIN {
        let problem = format!("`{text}` is too short: records of the last 90 days are always kept");
        diagnosis.report(KEY, problem, "write \"90d\" or more, or \"forever\"");
        return None;
    }
    Some(Some(kept))
}
