//! Keys of the contract whose work this version does not do: accepted, checked, and never silent.

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
