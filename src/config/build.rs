//! From what the files say to what the program uses: every value is parsed here, once, and every name is looked up.
//!
//! Each function reports what is wrong and returns `None`, so that one run finds everything.

mod alerts;
mod drills;
mod http;
mod memory;
mod parts;
mod policies;
mod recover;
mod restore;
mod retention;
mod sources;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::config::diagnosis::{Diagnosis, join};
use crate::config::environment::Environment;
use crate::config::{
    AlertsConfig, AwsConfig, CloudWatchConfig, DaemonConfig, DestinationConfig, HttpConfig, KubernetesConfig,
    PostgresConfig, human, raw,
};
use crate::domain::id::{InstallationId, InvalidId, SourceId};
use crate::policy::{Cadence, DestinationPolicy, Policy};
use crate::ports::credentials::LoginRef;

/// Examples for whoever wrote what is no duration.
const DURATIONS: &str = "write for example \"90s\", \"6h\", \"1h 30m\" or \"30d\"";
/// Longest snapshot prefix: with a slot and an attempt it leaves room for a recognisable source in 63 characters.
const SNAPSHOT_PREFIX_MAX: usize = 20;

/// Everything that [`super::Config`] holds and that is not about the files themselves.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) policy: Policy,
    pub(super) aws: AwsConfig,
    pub(super) destination: DestinationConfig,
    pub(super) postgres: PostgresConfig,
    pub(super) daemon: DaemonConfig,
    pub(super) http: HttpConfig,
    pub(super) kubernetes: KubernetesConfig,
    pub(super) logins: BTreeMap<SourceId, LoginRef>,
    pub(super) alerts: AlertsConfig,
    pub(super) cloudwatch: Option<CloudWatchConfig>,
}

/// Checks everything; `None` if something that is needed is wrong.
pub(super) fn build(file: &raw::File, environment: &Environment, diagnosis: &mut Diagnosis) -> Option<Parts> {
    let installation = installation(file, diagnosis);
    let snapshot_prefix = snapshot_prefix(file, diagnosis);
    let aws = parts::aws(file.aws.as_ref(), diagnosis);
    let home = aws.as_ref().map(|aws| &aws.region);
    let destination = parts::destination(file.destination.as_ref(), home, diagnosis);
    let replica = parts::replica(file.destination.as_ref(), diagnosis);
    let daemon = parts::daemon(&file.daemon, diagnosis);
    let http = http::http(&file.http, daemon.as_ref().map(|daemon| daemon.listen), environment, diagnosis);
    let cadence = cadence(&file.daemon, diagnosis);
    let prune = retention::prune(&file.prune, diagnosis);
    let verify = retention::verify(&file.verify, diagnosis);
    let policies = policies::build(file, diagnosis);
    let limits = memory::limits(file, destination.as_ref(), &policies, diagnosis);
    let sources = sources::build(file, &policies, environment, diagnosis);
    let drills = drills::setup(file, diagnosis);
    let restore = restore::regions(&file.restore, diagnosis);
    let postgres = parts::postgres(file, &policies, diagnosis);
    let cloudwatch = parts::cloudwatch(file.cloudwatch.as_ref(), diagnosis);
    let kubernetes = recover::kubernetes(file, diagnosis);
    let alerts = alerts::build(file, environment, diagnosis);
    let aws = aws?;
    let destination = destination?;
    let policy = Policy {
        installation: installation?,
        snapshot_prefix: snapshot_prefix?,
        region: aws.region.clone(),
        destination: DestinationPolicy {
            bucket: destination.bucket.clone(),
            prefix: destination.prefix.clone(),
            kms_key: destination.kms_key.clone(),
            replica,
        },
        sources: sources.policies,
        limits: limits?,
        cadence: cadence?,
        prune: prune?,
        verify: verify?,
        restore,
        drills,
        dumps_by_jobs: file.daemon.executor == raw::ExecutorKind::Kubernetes,
    };
    Some(Parts {
        policy,
        aws,
        destination,
        postgres: postgres?,
        daemon: daemon?,
        http: http?,
        kubernetes: kubernetes?,
        logins: sources.logins,
        alerts: alerts?,
        cloudwatch: cloudwatch?,
    })
}

fn installation(file: &raw::File, diagnosis: &mut Diagnosis) -> Option<InstallationId> {
    let key = "installation";
    let name =
        diagnosis.required(key, file.installation.as_ref(), "name it, for example `installation = \"bank-prod\"`")?;
    diagnosis.parsed(key, name.parse(), "")
}

fn snapshot_prefix(file: &raw::File, diagnosis: &mut Diagnosis) -> Option<String> {
    let prefix = &file.snapshot_prefix;
    // The rule for installations: RDS stores identifiers in lower case, so capitals would never be found again.
    if prefix.len() > SNAPSHOT_PREFIX_MAX || prefix.parse::<InstallationId>().is_err() {
        let problem = format!("`{prefix}` cannot begin the names of snapshots");
        let advice = "use 1 to 20 of a-z, 0-9 and single hyphens, first a letter, last no hyphen";
        diagnosis.report("snapshot_prefix", problem, advice);
        return None;
    }
    Some(prefix.clone())
}

fn cadence(daemon: &raw::Daemon, diagnosis: &mut Diagnosis) -> Option<Cadence> {
    let mut interval = |key: &str, text: &str| diagnosis.parsed(key, human::positive_duration(text), DURATIONS);
    let reconcile_interval = interval("daemon.reconcile_interval", &daemon.reconcile_interval);
    let poll_interval = interval("daemon.poll_interval", &daemon.poll_interval);
    Some(Cadence { reconcile_interval: reconcile_interval?, poll_interval: poll_interval? })
}

/// Checks a name that the user chose for a policy, an environment or a route.
fn check_name(table: &str, name: &str, diagnosis: &mut Diagnosis) {
    // The rule for sources, for all names: variables and metric labels can then be made of any of them.
    if name.parse::<SourceId>().is_err() {
        let advice = "use 1 to 40 of a-z, 0-9 and single hyphens, first a letter, last no hyphen";
        diagnosis.report(&join(table, name), "not a name", advice);
    }
}

/// The names of a list, each of which may stand there once.
fn distinct<T>(key: &str, names: &[String], advice: &str, diagnosis: &mut Diagnosis) -> Vec<T>
where
    T: FromStr<Err = InvalidId> + PartialEq + Display,
{
    let mut distinct = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let key = format!("{key}[{index}]");
        let Some(name) = diagnosis.parsed(&key, name.parse::<T>(), "") else { continue };
        if distinct.contains(&name) {
            diagnosis.report(&key, format!("`{name}` is listed twice"), advice);
        } else {
            distinct.push(name);
        }
    }
    distinct
}
