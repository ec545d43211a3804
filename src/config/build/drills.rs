//! Restore drills: what they restore into, and what a policy asks of them.

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::policies::{DrillTemplate, retry, schedule};
use super::restore::{check_classes, check_groups};
use super::{DURATIONS, raw};
use crate::config::diagnosis::{Diagnosis, join};
use crate::config::human;
use crate::domain::drill::{Assertion, DrillPath};
use crate::domain::id::{DatabaseName, SourceId};
use crate::domain::new_instance::Network;
use crate::policy::drill::{DrillPolicy, DrillSetup};
use crate::policy::schedule::Schedule;

/// What drills restore into. `None` where nothing is said, or where what is said was reported.
pub(super) fn setup(file: &raw::File, diagnosis: &mut Diagnosis) -> Option<DrillSetup> {
    let has_drill = |source: &raw::Source| {
        let policy = source.policy.as_ref().and_then(|name| file.policies.get(name));
        policy.is_some_and(|policy| policy.drill.is_some())
    };
    let Some(given) = &file.drills else {
        if file.sources.values().any(has_drill) && !diagnosis.doubts("drills") {
            let advice = "name the subnet group and security groups of instances that drills restore into";
            diagnosis.report("drills", "missing", advice);
        }
        return None;
    };
    let subnet_group = diagnosis.required("drills.subnet_group", given.subnet_group.as_ref(), "name a DB subnet group");
    let groups = given.security_groups.as_ref();
    let groups = diagnosis.required("drills.security_groups", groups, "name the ids of security groups");
    check_groups("drills", groups.map_or(&[], Vec::as_slice), diagnosis);
    check_classes("drills", &given.instance_classes, diagnosis);
    if groups.is_some_and(Vec::is_empty) {
        let advice = "name at least one: RDS would take the default one, which lets everybody of the network in";
        diagnosis.report("drills.security_groups", "empty", advice);
    }
    if !(1..=20).contains(&given.instances_max) {
        diagnosis.report("drills.instances_max", "out of range", "write a number from 1 to 20");
    }
    Some(DrillSetup {
        network: Network { subnet_group: Some(subnet_group?.clone()), security_groups: groups?.clone() },
        parameter_group: given.parameter_group.clone(),
        classes: given.instance_classes.clone(),
        instances_max: given.instances_max,
    })
}

/// What a policy asks of drills, before it is some source's.
pub(super) fn template(
    key: &str,
    drill: &raw::Drill,
    (makes_snapshots, makes_dumps): (bool, bool),
    sources: &[&raw::Source],
    diagnosis: &mut Diagnosis,
) -> Option<DrillTemplate> {
    let databases = sources.iter().filter_map(|source| source.databases.as_ref()).flatten();
    let known: Vec<&str> = databases.map(String::as_str).collect();
    let schedule = schedule(key, drill.schedule.as_ref(), diagnosis);
    let retry = retry(&format!("{key}.retry"), &drill.retry, diagnosis);
    let mut positive = |name: &str, text: &str| -> Option<SignedDuration> {
        diagnosis.parsed(&format!("{key}.{name}"), human::positive_duration(text), DURATIONS)
    };
    let completion_deadline = positive("completion_deadline", &drill.completion_deadline);
    let recovery_time_max = drill.rto.as_ref().map(|text| positive("rto", text));
    let data_loss_max = drill.rpo.as_ref().map(|text| positive("rpo", text));
    let paths = paths(key, drill, (makes_snapshots, makes_dumps), diagnosis);
    let fewer = drill.fewer_rows_max_percent;
    if fewer.is_some_and(|percent| percent > 100) {
        let key = format!("{key}.fewer_rows_max_percent");
        diagnosis.report(&key, "out of range", "write a number from 0 to 100, or leave it out");
    }
    let assertions: Vec<Option<(String, Option<DatabaseName>, String)>> = drill
        .assertions
        .iter()
        .enumerate()
        .map(|(index, given)| assertion(&format!("{key}.assertions[{index}]"), given, &known, diagnosis))
        .collect();
    Some(DrillTemplate {
        pattern: schedule?.to_string(),
        paths,
        retry: retry?,
        completion_deadline: completion_deadline?,
        suspended: drill.suspend,
        recovery_time_max: recovery_time_max.map_or(Some(None), |parsed| parsed.map(Some))?,
        data_loss_max: data_loss_max.map_or(Some(None), |parsed| parsed.map(Some))?,
        fewer_rows_max_percent: fewer,
        assertions: assertions.into_iter().collect::<Option<_>>()?,
    })
}

fn paths(
    key: &str,
    drill: &raw::Drill,
    (makes_snapshots, makes_dumps): (bool, bool),
    diagnosis: &mut Diagnosis,
) -> Vec<DrillPath> {
    let key = format!("{key}.paths");
    let is_made = |path: DrillPath| match path {
        DrillPath::Snapshot => makes_snapshots,
        DrillPath::Pitr => true,
        DrillPath::Dump => makes_dumps,
    };
    let Some(given) = &drill.paths else {
        return DrillPath::ALL.into_iter().filter(|path| is_made(*path)).collect();
    };
    let mut paths = Vec::new();
    for path in given {
        let path = match path {
            raw::DrillPath::Snapshot => DrillPath::Snapshot,
            raw::DrillPath::Pitr => DrillPath::Pitr,
            raw::DrillPath::Dump => DrillPath::Dump,
        };
        if !is_made(path) {
            diagnosis.report(&key, format!("this policy makes no {path}s to restore"), format!("leave `{path}` out"));
        }
        if paths.contains(&path) {
            diagnosis.report(&key, format!("`{path}` is listed twice"), "list each path once");
        }
        paths.push(path);
    }
    paths
}

fn assertion(
    key: &str,
    given: &raw::Assertion,
    known: &[&str],
    diagnosis: &mut Diagnosis,
) -> Option<(String, Option<DatabaseName>, String)> {
    let name = diagnosis.required(&format!("{key}.name"), given.name.as_ref(), "say what evidence calls it");
    let sql = diagnosis.required(&format!("{key}.sql"), given.sql.as_ref(), "write a query that gives one boolean");
    let database = given.database.as_ref().map(|name| {
        if !known.contains(&name.as_str()) && !known.is_empty() {
            let problem = format!("no source of this policy has a database `{name}`");
            diagnosis.report(&format!("{key}.database"), problem, "name one of their `databases`");
        }
        diagnosis.parsed(&format!("{key}.database"), name.parse(), "")
    });
    let database = database.map_or(Some(None), |parsed| parsed.map(Some));
    Some((name?.clone(), database?, sql?.clone()))
}

/// A source's drills, in its own time zone.
pub(super) fn of_source(
    source: &SourceId,
    template: &DrillTemplate,
    databases: &[DatabaseName],
    suspended: bool,
    zone: &TimeZone,
    diagnosis: &mut Diagnosis,
) -> Option<DrillPolicy> {
    let key = join("sources", source.as_str());
    let schedule = diagnosis.parsed(&key, Schedule::parse(&template.pattern, zone.clone()), "")?;
    let mut assertions = Vec::new();
    for (name, database, sql) in &template.assertions {
        let database = match (database, databases) {
            (Some(named), _) if databases.contains(named) => named.clone(),
            // It is about another source of the policy.
            (Some(_), _) => continue,
            (None, [only]) => only.clone(),
            (None, _) => {
                let problem = format!("assertion `{name}` names no database, and this source has several or none");
                diagnosis.report(&key, problem, "give the assertion its `database`");
                continue;
            }
        };
        assertions.push(Assertion { name: name.clone(), database, sql: sql.clone() });
    }
    Some(DrillPolicy {
        schedule,
        paths: template.paths.clone(),
        retry: template.retry,
        completion_deadline: template.completion_deadline,
        suspended: suspended || template.suspended,
        recovery_time_max: template.recovery_time_max,
        data_loss_max: template.data_loss_max,
        fewer_rows_max_percent: template.fewer_rows_max_percent,
        assertions,
    })
}
