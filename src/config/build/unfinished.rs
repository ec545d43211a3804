//! Keys of the contract whose work this version does not do: accepted, checked, and never silent.

use super::check_name;
use crate::config::diagnosis::{Diagnosis, join};
use crate::config::raw;

/// Notes every key that is there and has no effect, and checks what nothing else does.
pub(super) fn report(file: &raw::File, diagnosis: &mut Diagnosis) {
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

fn check_topic(key: &str, route: &raw::Route, diagnosis: &mut Diagnosis) {
    let advice = "give the ARN of the SNS topic";
    let Some(topic) = diagnosis.required(key, route.sns_topic.as_ref(), advice) else { return };
    if !topic.starts_with("arn:") || !topic.contains(":sns:") {
        diagnosis.report(key, format!("`{topic}` is not an SNS topic"), advice);
    }
}
