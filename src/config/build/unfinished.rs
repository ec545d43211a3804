//! Keys of the contract whose work this version does not do: accepted, checked, and never silent.

use super::check_name;
use crate::config::diagnosis::{Diagnosis, join};
use crate::config::raw;
use crate::config::schema::quoted;

/// Notes every key that is there and has no effect, and checks what nothing else does.
pub(super) fn report(file: &raw::File, diagnosis: &mut Diagnosis) {
    if file.destination.as_ref().is_some_and(|destination| destination.replica.is_some()) {
        note("destination.replica", "the replica", diagnosis);
    }
    for (name, environment) in &file.environments {
        let key = join("environments", name);
        let Some(days) = &environment.automated_backup_days else { continue };
        let key = format!("{key}.automated_backup_days");
        check_days(&key, days, diagnosis);
        note(&key, "the check of automated backups", diagnosis);
    }
    for (name, policy) in &file.policies {
        let key = join("policies", name);
        if let Some(snapshot) = &policy.snapshot {
            let key = format!("{key}.snapshot");
            note_retention(&key, &snapshot_retention(snapshot), diagnosis);
            if snapshot.copy_to.is_some() {
                note(&format!("{key}.copy_to"), "copying snapshots", diagnosis);
            }
        }
        if let Some(dump) = &policy.dump {
            let key = format!("{key}.dump");
            note_retention(&key, &dump_retention(dump), diagnosis);
            if dump.jobs.is_some() {
                note(&format!("{key}.jobs"), "dumping over several connections", diagnosis);
            }
        }
        if policy.drill.is_some() {
            note(&format!("{key}.drill"), "the drill", diagnosis);
        }
    }
    for (name, route) in &file.alerts.routes {
        check_name("alerts.routes", name, diagnosis);
        let key = join("alerts.routes", name);
        check_topic(&format!("{key}.sns_topic"), route, diagnosis);
        note(&key, "this alert route", diagnosis);
    }
}

fn note(key: &str, what: &str, diagnosis: &mut Diagnosis) {
    diagnosis.note(key, format!("{what} is not carried out by this version"));
}

fn note_retention(key: &str, rules: &[(&str, bool)], diagnosis: &mut Diagnosis) {
    let given: Vec<&str> = rules.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if !given.is_empty() {
        let text = format!("retention ({}) is not carried out by this version: nothing is pruned", quoted(&given));
        diagnosis.note(key, text);
    }
}

fn snapshot_retention(snapshot: &raw::Snapshot) -> [(&'static str, bool); 9] {
    [
        ("keep_last", snapshot.keep_last.is_some()),
        ("keep_hourly", snapshot.keep_hourly.is_some()),
        ("keep_daily", snapshot.keep_daily.is_some()),
        ("keep_weekly", snapshot.keep_weekly.is_some()),
        ("keep_monthly", snapshot.keep_monthly.is_some()),
        ("keep_yearly", snapshot.keep_yearly.is_some()),
        ("keep_within", snapshot.keep_within.is_some()),
        ("keep_none", snapshot.keep_none.is_some()),
        ("min_keep", snapshot.min_keep.is_some()),
    ]
}

fn dump_retention(dump: &raw::Dump) -> [(&'static str, bool); 9] {
    [
        ("keep_last", dump.keep_last.is_some()),
        ("keep_hourly", dump.keep_hourly.is_some()),
        ("keep_daily", dump.keep_daily.is_some()),
        ("keep_weekly", dump.keep_weekly.is_some()),
        ("keep_monthly", dump.keep_monthly.is_some()),
        ("keep_yearly", dump.keep_yearly.is_some()),
        ("keep_within", dump.keep_within.is_some()),
        ("keep_none", dump.keep_none.is_some()),
        ("min_keep", dump.min_keep.is_some()),
    ]
}

fn check_days(key: &str, days: &raw::Days, diagnosis: &mut Diagnosis) {
    let advice = "give both, for example `{ min = 7, max = 35 }`";
    let min = diagnosis.required(&format!("{key}.min"), days.min.as_ref(), advice);
    let max = diagnosis.required(&format!("{key}.max"), days.max.as_ref(), advice);
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        diagnosis.report(&format!("{key}.min"), format!("{min} is more than `max`, {max}"), "swap them");
    }
}

fn check_topic(key: &str, route: &raw::Route, diagnosis: &mut Diagnosis) {
    let advice = "give the ARN of the SNS topic";
    let Some(topic) = diagnosis.required(key, route.sns_topic.as_ref(), advice) else { return };
    if !topic.starts_with("arn:") || !topic.contains(":sns:") {
        diagnosis.report(key, format!("`{topic}` is not an SNS topic"), advice);
    }
}
