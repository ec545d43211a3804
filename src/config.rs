//! The configuration: files and variables in, a checked [`Policy`] and one small struct for each part out.
//!
//! ```text
//! files --document--> layers --environment--> layers --decode--> raw::File --build--> Config
//!           |                      |                                          |
//!           +--- unknown keys, ----+------ one Diagnosis for all of them -----+
//!                wrong types
//! ```
//!
//! Everything that is wrong is reported at once, each with its line. Past [`Config::load`] no code parses or checks
//! again. What this module does not do: it opens no file but the configuration, asks nothing of AWS, and holds no secret
//! but those that come from the environment.

mod build;
mod calendar;
mod changes;
mod diagnosis;
mod document;
mod environment;
mod files;
mod human;
mod layers;
mod nearest;
mod raw;
mod schema;
mod secret;
mod twice;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

use sha2::{Digest, Sha256};

pub use changes::Changes;
pub use diagnosis::{ConfigError, ConfigErrors, Note, Place};
pub use environment::{Environment, notify_socket};
pub use schema::{schema, schema_of_part};

use crate::domain::id::{RegionName, RouteName, SourceId};
use crate::policy::Policy;
use crate::policy::alerting::AlertPolicy;
use crate::ports::credentials::{LoginRef, TokenRef};
use crate::ports::notifier::{ChannelRef, SecretRef};
use crate::ports::roles::Roles;
use diagnosis::{Diagnosis, FAULT};
use layers::Layer;
use schema::Shape;
use twice::Definitions;

/// A configuration that is right in itself. Its parts are handed out by value; nothing else takes the whole.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is promised.
    pub policy: Policy,
    /// The AWS account's side.
    pub aws: AwsConfig,
    /// Where dumps and records go.
    pub destination: DestinationConfig,
    /// How PostgreSQL servers are reached.
    pub postgres: PostgresConfig,
    /// The daemon itself.
    pub daemon: DaemonConfig,
    /// Who may read what it serves.
    pub http: HttpConfig,
    /// The cluster that applications run in.
    pub kubernetes: KubernetesConfig,
    /// The login of each source that is dumped.
    pub logins: BTreeMap<SourceId, LoginRef>,
    /// Who is told of what, and how.
    pub alerts: AlertsConfig,
    /// Where numbers for alarms go; `None`: nowhere.
    pub cloudwatch: Option<CloudWatchConfig>,
    /// What deserves attention and is no error.
    pub notes: Vec<Note>,
    /// SHA-256 of the effective configuration, in hex: two daemons with the same one were told the same.
    pub sha256: String,
    /// The effective configuration: files, variables and defaults. It names secrets and holds none.
    pub effective: serde_json::Value,
}

/// The AWS account's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsConfig {
    /// Region of the instances and of the destination bucket. No default: a wrong one would find no instance.
    pub region: RegionName,
    /// The roles that are assumed.
    pub roles: Roles,
}

/// Where dumps and records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationConfig {
    /// The S3 bucket.
    pub bucket: String,
    /// First part of every key, without slashes at its ends. Default `strongroom`, for buckets shared with others.
    pub prefix: String,
    /// The KMS key for new objects; `None`: the bucket's default.
    pub kms_key: Option<String>,
    /// The account (12 digits) that must own the bucket; `None`: not checked.
    pub expected_owner: Option<String>,
    /// Size of an upload's parts in bytes, 8 MiB to 1 GiB. Default 16 MiB: 10,000 of them hold 156 GiB.
    pub part_size_bytes: u64,
    /// Parts of one dump in memory at once, one being filled and the others on their way, 1 to 32. Default 4: enough for 1 Gbit/s.
    pub parts_in_flight: usize,
    /// How long a dump outlasts an outage of the store. Default 30 minutes.
    pub outage_tolerance: SignedDuration,
}

/// How PostgreSQL servers are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// Directory of `pg_dump`; `None`: the newest under `/usr/lib/postgresql`, else the one in `PATH`.
    pub bin_dir: Option<PathBuf>,
    /// The certificates that servers are checked against. Empty only if no source is dumped, so that nothing connects.
    pub ca_file: PathBuf,
    /// How long a connection may take to come about. Default 10 s: a server that needs longer is away, not busy.
    pub connect_timeout: Duration,
}

/// The Kubernetes cluster that applications run in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// Its kubeconfig file; `None`: the cluster that strongroom itself runs in.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; `None`: the current one.
    pub context: Option<String>,
    /// How dumps are made by Jobs; `None`: the daemon makes them.
    pub jobs: Option<JobsConfig>,
}

/// How dumps are made by Jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobsConfig {
    /// The CronJob that they are made from, where a policy names no other.
    pub template: String,
    /// How long one may take to begin.
    pub start_deadline: Duration,
}

/// Who may read what the daemon serves.
#[derive(Debug, Clone, Default)]
pub struct HttpConfig {
    /// What readers of the status have to show; `None`: nothing.
    pub token: Option<TokenRef>,
    /// Whether readers of the metrics have to show it, too.
    pub token_for_metrics: bool,
    /// Whether probes have to.
    pub token_for_probes: bool,
}

/// Numbers for CloudWatch's alarms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudWatchConfig {
    /// The namespace. Default `Strongroom`.
    pub namespace: String,
    /// How often. Default one minute: the resolution of CloudWatch's alarms.
    pub every: SignedDuration,
}

/// The daemon itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonConfig {
    /// Where the page, metrics and health are served. Default `127.0.0.1:9187`: who may read them is said apart.
    pub listen: SocketAddr,
    /// How long runs may take to stop. Default 25 s: five less than Kubernetes gives.
    pub grace: Duration,
    /// How several processes agree on the one that acts; `None`: there is only one.
    pub leader: Option<LeaderConfig>,
}

/// How several processes agree on the one that acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderConfig {
    /// Where it is written who leads.
    pub lock: LeaderLockKind,
    /// How long the others wait for a leader that is silent, in whole seconds.
    pub lease: Duration,
}

/// Where it is written who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaderLockKind {
    /// In the destination bucket.
    Bucket,
    /// In a Lease of the cluster.
    Kubernetes,
}

/// Who is told of what, and how.
#[derive(Debug, Clone)]
pub struct AlertsConfig {
    /// Who is told of what.
    pub policy: AlertPolicy,
    /// The channel of each route.
    pub channels: BTreeMap<RouteName, ChannelRef>,
    /// The dead man's switch.
    pub heartbeat: Option<HeartbeatConfig>,
}

/// A dead man's switch.
#[derive(Debug, Clone)]
pub struct HeartbeatConfig {
    /// Its address.
    pub url: SecretRef,
    /// How often it is asked. Default: each minute.
    pub every: SignedDuration,
}

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Files and directories, first to last.
    pub paths: Vec<PathBuf>,
    /// Variables, which win over files.
    pub environment: Environment,
}

impl Origin {
    /// What stands there now.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(&self.paths, self.environment.clone())
    }
}

impl Config {
    /// Reads files and directories, first to last, then variables; later ones win.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(paths: &[PathBuf], environment: Environment) -> Result<Config, ConfigErrors> {
        let shape = Shape::of_file();
        let mut diagnosis = Diagnosis::default();
        let files = files::read_all(paths, &mut diagnosis);
        let mut complete = !diagnosis.has_errors();
        let mut layers = Vec::new();
        let mut definitions = Definitions::default();
        for file in &files {
            match document::read(&file.path, &file.text, &shape, &mut diagnosis) {
                Some(values) => {
                    definitions.see(file, &values, &mut diagnosis);
                    layers.push(Layer(values));
                }
                None => complete = false,
            }
        }
        if !complete {
            // Without a whole file everything that refers to it would be reported too.
            return Err(diagnosis.into_errors());
        }
        let file = layer_and_decode(layers, &environment, &shape, &mut diagnosis);
        let parts = file.as_ref().and_then(|file| build::build(file, &environment, &mut diagnosis));
        let effective = file.and_then(|file| serde_json::to_value(file).ok()).map(layers::without_nulls);
        let (parts, effective, notes) = match diagnosis.conclude(parts.zip(effective)) {
            Ok(((parts, effective), notes)) => (parts, effective, notes),
            Err(errors) => return Err(errors),
        };
        Ok(Config {
            policy: parts.policy,
            aws: parts.aws,
            destination: parts.destination,
            postgres: parts.postgres,
            daemon: parts.daemon,
            http: parts.http,
            kubernetes: parts.kubernetes,
            logins: parts.logins,
            alerts: parts.alerts,
            cloudwatch: parts.cloudwatch,
            notes,
            sha256: sha256_hex(&canonical_json(&effective)),
            effective,
        })
    }

    /// The effective configuration as a file that loads to the same one.
    ///
    /// # Errors
    /// None in practice: everything in it came from TOML or has a TOML form.
    pub fn effective_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(&self.effective)
    }
}

/// The layers as one file's values; `None` if they cannot be, which is reported.
fn layer_and_decode(
    mut layers: Vec<Layer>,
    environment: &Environment,
    shape: &Shape,
    diagnosis: &mut Diagnosis,
) -> Option<raw::File> {
    let from_files = diagnosis.parsed("", layers::merge(&layers), FAULT)?;
    layers.push(environment.overlay(shape, &from_files, diagnosis));
    let merged = diagnosis.parsed("", layers::merge(&layers), FAULT)?;
    match layers::decode(merged) {
        Ok(file) => Some(file),
        Err(error) => {
            let key = error.path().to_string();
            diagnosis.report(&key, error.into_inner().to_string(), "");
            None
        }
    }
}

/// JSON with sorted keys and no spaces, whatever order the values are kept in.
fn canonical_json(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            let entry = |(key, value): (&String, &serde_json::Value)| {
                format!("{}:{}", serde_json::Value::from(key.as_str()), canonical_json(value))
            };
            format!("{{{}}}", sorted.into_iter().map(entry).collect::<Vec<_>>().join(","))
        }
        serde_json::Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical_json).collect::<Vec<_>>().join(","))
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => value.to_string(),
    }
}

fn sha256_hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
