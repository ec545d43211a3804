//! Keys of the contract whose work this version does not do: accepted, checked, and never silent.

use super::check_name;
use crate::config::diagnosis::{Diagnosis, join};
use crate::config::raw;

/// Notes every key that is there and has no effect, and checks what nothing else does.
pub(super) fn report(file: &raw::File, diagnosis: &mut Diagnosis) {
    for (name, environment) in &file.environments {
        let key = join("environments", name);
        let Some(days) = &environment.automated_backup_days else { continue };
        let key = format!("{key}.automated_backup_days");
        check_days(&key, days, diagnosis);
        note(&key, "the check of automated backups", diagnosis);
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
