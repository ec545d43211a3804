//! Sources: each with its policy's promises, in its own time zone.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use jiff::tz::TimeZone;

use super::policies::{Keeping, PolicyTemplate, Promise};
use super::{check_name, distinct, drills, recover};
use crate::config::diagnosis::{Diagnosis, join};
use crate::config::environment::Environment;
use crate::config::nearest::nearest;
use crate::config::{raw, secret};
use crate::domain::drill::DrillPath;
use crate::domain::id::{DatabaseName, InstanceId, SourceId};
use crate::domain::lease::LeaseId;
use crate::policy::schedule::{Schedule, parse_zone};
use crate::policy::{DumpFrom, Obligation, SourcePolicy, Task};
use crate::ports::credentials::LoginRef;

/// RDS's limit of days (RDS API reference, `BackupRetentionPeriod`).
const DAYS_MAX: u32 = 35;

/// The sources, and how to log in to those that are dumped.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) policies: BTreeMap<SourceId, SourcePolicy>,
    pub(super) logins: BTreeMap<SourceId, LoginRef>,
}

/// All sources that could be read. One that could not has been reported.
pub(super) fn build(
    file: &raw::File,
    policies: &BTreeMap<String, PolicyTemplate>,
    environment: &Environment,
    diagnosis: &mut Diagnosis,
) -> Sources {
    if file.sources.is_empty() && !diagnosis.doubts("sources") {
        diagnosis.report("sources", "no source is named, so nothing would be backed up", "add `[sources.NAME]`");
    }
    let installation_zone = zone("time_zone", &file.time_zone, diagnosis);
    check_instances_differ(file, diagnosis);
    for name in file.environments.keys() {
        check_name("environments", name, diagnosis);
    }
    check_days(file, diagnosis);
    let mut sources = Sources::default();
    for (name, source) in &file.sources {
        let key = join("sources", name);
        let zone = match &source.time_zone {
            Some(name) => zone(&format!("{key}.time_zone"), name, diagnosis),
            None => installation_zone.clone(),
        };
        let id = diagnosis.parsed(&key, name.parse::<SourceId>(), "");
        let instance = instance(&key, source, diagnosis);
        check_not_leased(&key, file, source, diagnosis);
        check_environment(&key, source, file, diagnosis);
        let Some(template) = template(&key, source, file, policies, diagnosis) else { continue };
        let dumps = template.dump.is_some();
        let reads = if dumps { Some("dumps") } else { template.drill.as_ref().map(|_| "drills") };
        let databases = databases(&key, source, reads, diagnosis);
        let login = login(&key, source, reads, environment, diagnosis);
        let dump_from = dump_from(&key, source, template, diagnosis);
        let (Some(id), Some(instance), Some(zone), Some(dump_from)) = (id, instance, zone, dump_from) else { continue };
        if let Some(login) = login {
            sources.logins.insert(id.clone(), login);
        }
        let obligations = obligations(&id, (template, &dump_from), &databases, source.suspend, &zone, diagnosis);
        let dump_settings = template.dump.as_ref().map(|(_, settings)| settings.clone());
        let drill = template.drill.as_ref();
        let drill = drill.and_then(|drill| drills::of_source(&id, drill, &databases, source.suspend, &zone, diagnosis));
        let recover = recover::of_source(&key, &source.recover, diagnosis);
        let id_of = id.clone();
        let automated_backup_days = automated_backup_days(source, file);
        let source = SourcePolicy {
            id: id_of,
            instance,
            databases,
            dump_from,
            automated_backup_days,
            dump_settings,
            drill,
            recover,
            obligations,
        };
        sources.policies.insert(id, source);
    }
    sources
}

fn instance(source_key: &str, source: &raw::Source, diagnosis: &mut Diagnosis) -> Option<InstanceId> {
    let key = format!("{source_key}.instance");
    let name = diagnosis.required(&key, source.instance.as_ref(), "name the identifier of the RDS instance")?;
    // RDS stores identifiers in lower case and lists them so.
    diagnosis.parsed(&key, name.to_ascii_lowercase().parse(), instance_advice(name))
}

/// What to do about an address or an ARN, which consoles show beside the identifier.
fn instance_advice(name: &str) -> &'static str {
    if name.contains(['.', ':']) { "write the identifier alone, neither its address nor its ARN" } else { "" }
}

/// What drills restore into is deleted at their end: no source may look like that.
fn check_not_leased(source_key: &str, file: &raw::File, source: &raw::Source, diagnosis: &mut Diagnosis) {
    let is_reserved = |name: &&String| LeaseId::is_reserved(&file.snapshot_prefix, name);
    if let Some(name) = source.instance.as_ref().filter(is_reserved) {
        let problem = format!("`{name}` is a name for instances of restore drills, which are deleted");
        diagnosis.report(
            &format!("{source_key}.instance"),
            problem,
            "rename the instance, or change `snapshot_prefix`",
        );
    }
}

fn check_instances_differ(file: &raw::File, diagnosis: &mut Diagnosis) {
    let mut seen: BTreeMap<String, &String> = BTreeMap::new();
    for (name, source) in &file.sources {
        let Some(instance) = &source.instance else { continue };
        if let Some(first) = seen.get(&instance.to_ascii_lowercase()) {
            let problem = format!("source `{first}` has instance `{instance}` too");
            let advice = "an instance is one source; list further databases there";
            diagnosis.report(&format!("{}.instance", join("sources", name)), problem, advice);
        } else {
            seen.insert(instance.to_ascii_lowercase(), name);
        }
    }
}

fn check_environment(source_key: &str, source: &raw::Source, file: &raw::File, diagnosis: &mut Diagnosis) {
    let key = format!("{source_key}.environment");
    if let Some(name) = &source.environment
        && !file.environments.contains_key(name)
        && !diagnosis.doubts(&join("environments", name))
    {
        diagnosis.report_unknown_name(&key, ("environment", "environments"), name, file.environments.keys());
    }
}

fn check_days(file: &raw::File, diagnosis: &mut Diagnosis) {
    for (name, environment) in &file.environments {
        let Some(days) = &environment.automated_backup_days else { continue };
        let key = format!("{}.automated_backup_days", join("environments", name));
        let advice = "give both, for example `{ min = 7, max = 35 }`";
        let min = diagnosis.required(&format!("{key}.min"), days.min.as_ref(), advice);
        let max = diagnosis.required(&format!("{key}.max"), days.max.as_ref(), advice);
        let (Some(min), Some(max)) = (min, max) else { continue };
        if min > max {
            diagnosis.report(&format!("{key}.min"), format!("{min} is more than `max`, {max}"), "swap them");
        }
        if *max > DAYS_MAX {
            let problem = format!("{max} is more than RDS keeps automated backups for");
            diagnosis.report(&format!("{key}.max"), problem, format!("write at most {DAYS_MAX}"));
        }
    }
}

/// What the environment of a source says.
fn automated_backup_days(source: &raw::Source, file: &raw::File) -> Option<RangeInclusive<u32>> {
    let days = file.environments.get(source.environment.as_ref()?)?.automated_backup_days.as_ref()?;
    Some(days.min?..=days.max?)
}

fn template<'a>(
    source_key: &str,
    source: &raw::Source,
    file: &raw::File,
    policies: &'a BTreeMap<String, PolicyTemplate>,
    diagnosis: &mut Diagnosis,
) -> Option<&'a PolicyTemplate> {
    let key = format!("{source_key}.policy");
    let name = diagnosis.required(&key, source.policy.as_ref(), "name one of `policies`")?;
    let template = policies.get(name);
    if template.is_none() && !diagnosis.doubts(&join("policies", name)) {
        diagnosis.report_unknown_name(&key, ("policy", "policies"), name, file.policies.keys());
    }
    template
}

/// `reads` says what its policy makes that reads databases, if anything does.
fn databases(
    source_key: &str,
    source: &raw::Source,
    reads: Option<&str>,
    diagnosis: &mut Diagnosis,
) -> Vec<DatabaseName> {
    let key = format!("{source_key}.databases");
    let empty = Vec::new();
    let names = source.databases.as_ref().unwrap_or(&empty);
    if let Some(reads) = reads.filter(|_| names.is_empty() && !diagnosis.doubts(&key)) {
        let problem = if source.databases.is_some() { "empty" } else { "missing" };
        let what = if reads == "dumps" { "to dump" } else { "to look at" };
        diagnosis.report(&key, problem, format!("its policy makes {reads}: list the databases {what}"));
    }
    if !names.is_empty() && reads.is_none() {
        diagnosis.note(&key, "used by restores of instances only: the policy of this source makes no dumps");
    }
    distinct(&key, names, "list each database once", diagnosis)
}

/// The word for dumps of what a drill has restored. No replica is called so here.
const DRILL: &str = "drill";

fn dump_from(
    source_key: &str,
    source: &raw::Source,
    template: &PolicyTemplate,
    diagnosis: &mut Diagnosis,
) -> Option<DumpFrom> {
    let key = format!("{source_key}.dump_from");
    let Some(given) = &source.dump_from else { return Some(DumpFrom::Instance) };
    if template.dump.is_none() {
        diagnosis.note(&key, "not used: the policy of this source makes no dumps");
    }
    if given.eq_ignore_ascii_case(DRILL) {
        return (template.dump.is_none() || can_be_drilled(&key, source, template, diagnosis))
            .then_some(DumpFrom::Drill);
    }
    if source.instance.as_ref().is_some_and(|instance| instance.eq_ignore_ascii_case(given)) {
        diagnosis.report(&key, "this is the source's instance itself", "name a replica of it, or leave it out");
        return None;
    }
    let replica = given.to_ascii_lowercase().parse();
    diagnosis.parsed(&key, replica, "write the identifier of an instance, or \"drill\"").map(DumpFrom::Replica)
}

/// Whether the policy has snapshots, and drills that restore them: nothing else would ever make the dumps.
fn can_be_drilled(key: &str, source: &raw::Source, template: &PolicyTemplate, diagnosis: &mut Diagnosis) -> bool {
    let policy = join("policies", source.policy.as_deref().unwrap_or_default());
    let drills = template.drill.as_ref().map(|drill| drill.paths.contains(&DrillPath::Snapshot));
    let (lack, mend) = match (&template.snapshot, drills) {
        (Some(_), Some(true)) => return true,
        (None, _) => (
            "the policy of this source makes no snapshots for a drill to restore",
            format!("give `{policy}` a `snapshot`"),
        ),
        (Some(_), None) => ("the policy of this source has no drills", format!("give `{policy}` a `drill`")),
        (Some(_), Some(false)) => {
            ("the drills of this source restore no snapshots", format!("name \"snapshot\" in `{policy}.drill.paths`"))
        }
    };
    if !diagnosis.doubts(&policy) {
        diagnosis.report(key, lack, format!("{mend}, or leave `dump_from` out"));
    }
    false
}

fn login(
    source_key: &str,
    source: &raw::Source,
    reads: Option<&str>,
    environment: &Environment,
    diagnosis: &mut Diagnosis,
) -> Option<LoginRef> {
    let key = format!("{source_key}.credentials");
    if source.credentials.is_some() && reads.is_none() {
        diagnosis.note(&key, "used by restores of instances only: the policy of this source makes no dumps");
    }
    match &source.credentials {
        Some(credentials) => secret::login_ref(&key, credentials, environment, diagnosis),
        None => {
            if let Some(reads) = reads.filter(|_| !diagnosis.doubts(&key)) {
                let advice = format!("its policy makes {reads}: give the login as {}", secret::FORMS);
                diagnosis.report(&key, "missing", advice);
            }
            None
        }
    }
}

fn obligations(
    source: &SourceId,
    (template, dump_from): (&PolicyTemplate, &DumpFrom),
    databases: &[DatabaseName],
    suspended: bool,
    zone: &TimeZone,
    diagnosis: &mut Diagnosis,
) -> Vec<Obligation> {
    let mut tasks = Vec::new();
    tasks.extend(template.snapshot.as_ref().map(|promise| (Task::Snapshot, promise)));
    if let Some((promise, settings)) = &template.dump {
        let dump = |database: &DatabaseName| Task::Dump { database: database.clone(), settings: settings.clone() };
        tasks.extend(databases.iter().map(|database| (dump(database), promise)));
    }
    let mut obligations = Vec::new();
    for (task, Promise { timing, keeping }) in tasks {
        // It parsed in UTC; should a zone ever change that, a promise must not get lost without a word.
        let schedule = Schedule::parse(&timing.pattern, zone.clone());
        let Some(schedule) = diagnosis.parsed(&join("sources", source.as_str()), schedule, "") else { continue };
        let Keeping { retention, replica_retention, copies } = keeping.in_zone(zone);
        obligations.push(Obligation {
            schedule: schedule.with_jitter(timing.jitter, &jitter_key(source, &task, dump_from)),
            task,
            retry: timing.retry,
            start_deadline: timing.start_deadline,
            completion_deadline: timing.completion_deadline,
            suspended: suspended || timing.suspended,
            retention,
            replica_retention,
            copies,
        });
    }
    obligations
}

/// What a share of jitter follows from: it must never change, or all start times would.
fn jitter_key(source: &SourceId, task: &Task, dump_from: &DumpFrom) -> String {
    match task.database() {
        // One drill makes the dumps of all databases: they come due together.
        Some(_) if *dump_from == DumpFrom::Drill => format!("{source}/{}", task.kind()),
        Some(database) => format!("{source}/{}/{database}", task.kind()),
        None => format!("{source}/{}", task.kind()),
    }
}

fn zone(key: &str, name: &str, diagnosis: &mut Diagnosis) -> Option<TimeZone> {
    let zone = parse_zone(name).ok().filter(|zone| !zone.is_unknown());
    if zone.is_none() {
        let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        // An abbreviation is a slip away from that of quite another zone, as BST from EST.
        let near = if name.contains('/') { nearest(name, known.iter().map(String::as_str)) } else { None };
        let advice = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write an IANA name, for example \"Europe/London\"".to_owned(),
        };
        diagnosis.report(key, format!("`{name}` is not a time zone"), advice);
    }
    zone
}
