//! The mirror of the configuration files, key by key. It has no logic: what a value means is decided in
//! [`build`](super::build).
//!
//! The doc comments here are the descriptions in `strongroom config schema`, so they speak to users. A key that must be
//! there is an `Option` marked `schemars(required)`: a missing one is reported with all other problems, not alone.

mod alerts;
mod cloudwatch;
mod daemon;
mod http;
mod policies;
mod recover;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use alerts::{Alerts, Heartbeat, Route, Secret, Severity};
pub(super) use cloudwatch::CloudWatch;
pub(super) use daemon::{Daemon, ExecutorKind, Leader};
pub(super) use http::Http;
pub(super) use policies::{Assertion, Drill, DrillPath, Dump, Engine, Governor, Policy, Retention, Retry, Snapshot};
pub(super) use recover::{Kubernetes, Recover, SwitchBy};

/// UTC: it has no clock changes, so nothing is due twice or moves.
const DEFAULT_TIME_ZONE: &str = "UTC";
/// Whoever names roles wants them.
const DEFAULT_ASSUME_ROLES: bool = true;
/// The program's own name tells an operator in the RDS console who made a snapshot.
const DEFAULT_SNAPSHOT_PREFIX: &str = "strongroom";
/// The program's own name keeps its objects apart from others in a shared bucket.
const DEFAULT_PREFIX: &str = "strongroom";
/// 10,000 parts of 16 MiB make 156 GiB; larger parts cost memory that most dumps do not need.
const DEFAULT_PART_SIZE: &str = "16MiB";
/// Four parts at once fill 1 Gbit/s at S3's usual latency and hold 64 MiB.
const DEFAULT_PARTS_IN_FLIGHT: usize = 4;
/// A server that does not answer within ten seconds is not busy but away.
const DEFAULT_CONNECT_TIMEOUT: &str = "10s";
/// Four dumps at once keep two cores of compression busy without starving the daemon.
const DEFAULT_CONCURRENT_RUNS: usize = 4;
/// Four parallel dumps at once with four jobs and the default parts take 704 MiB.
const DEFAULT_DUMP_MEMORY: &str = "1GiB";
/// What has expired costs money and counts towards RDS's quota of snapshots, at which new ones fail.
const DEFAULT_PRUNE_AUTOMATIC: bool = true;
/// In a steady state a point expires for each one that is made: ten an hour are a fleet's. A mistake in a retention lets
/// hundreds expire at once.
const DEFAULT_MAX_DELETES_PER_CYCLE: usize = 10;
/// An hour in which somebody may see in `strongroom plan`, or in an alert, what a changed retention will delete.
const DEFAULT_SETTLE: &str = "1h";
/// A week, so that whoever comes back from a long weekend can still see what a failed run left.
const DEFAULT_ORPHAN_GRACE: &str = "7d";
/// Five minutes is what S3 itself allows three times over: a clock that is further off is broken, not late.
const DEFAULT_CLOCK_SKEW_MAX: &str = "5m";
/// A day: reading back takes about as long as the dump took, and S3 may have been away.
const DEFAULT_VERIFY_DEADLINE: &str = "24h";
/// A quarter: of a monthly dump kept for seven years one is read each day, which costs next to nothing within a region.
const DEFAULT_VERIFY_CYCLE: &str = "90d";
/// A week, for a sample: whether the replica can be read at all is what only reading shows.
const DEFAULT_REPLICA_INTERVAL: &str = "7d";

/// The configuration of strongroom. Several files are read as one: tables are merged, later values win.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Name of this installation: a-z, 0-9 and hyphens, up to 40. Marks of ownership on snapshots begin with it, so
    /// two installations in one account need two names, and a change makes older snapshots foreign.
    #[schemars(required)]
    pub(super) installation: Option<String>,
    /// IANA time zone in which schedules are read, such as "Europe/London".
    #[serde(default = "default_time_zone")]
    pub(super) time_zone: String,
    /// First part of the names of snapshots: a-z, 0-9 and hyphens, up to 20.
    #[serde(default = "default_snapshot_prefix")]
    pub(super) snapshot_prefix: String,
    /// The AWS account's side.
    #[schemars(required)]
    pub(super) aws: Option<Aws>,
    /// Where dumps and records go.
    #[schemars(required)]
    pub(super) destination: Option<Destination>,
    /// How PostgreSQL servers are reached.
    #[serde(default)]
    pub(super) postgres: Postgres,
    /// The daemon itself.
    #[serde(default)]
    pub(super) daemon: Daemon,
    /// Who may read what the daemon serves.
    #[serde(default)]
    pub(super) http: Http,
    /// How much may happen at once.
    #[serde(default)]
    pub(super) limits: Limits,
    /// What holds deletions back.
    #[serde(default)]
    pub(super) prune: Prune,
    /// When stored dumps are read back in full, every byte and row of them.
    #[serde(default)]
    pub(super) verify: Verify,
    /// What instances get that are restored in a region, by its name. In the region of the source they are set up like the
    /// source; what is written here counts where the source cannot tell: in other regions, and where it is gone.
    #[serde(default)]
    pub(super) restore: BTreeMap<String, RestoreRegion>,
    /// What restore drills restore into. Must be given when a policy has drills that some source makes.
    pub(super) drills: Option<Drills>,
    /// What is expected of the instances of an environment, by its name.
    #[serde(default)]
    pub(super) environments: BTreeMap<String, EnvironmentRules>,
    /// What is owed to a source, by the policy's name.
    #[serde(default)]
    pub(super) policies: BTreeMap<String, Policy>,
    /// The protected instances by name: a-z, 0-9 and hyphens, up to 40. The name is part of snapshot names, object keys
    /// and metric labels.
    #[serde(default)]
    pub(super) sources: BTreeMap<String, Source>,
    /// The Kubernetes cluster that applications run in.
    #[serde(default)]
    pub(super) kubernetes: Kubernetes,
    /// Who is told.
    #[serde(default)]
    pub(super) alerts: Alerts,
    /// Numbers for alarms.
    pub(super) cloudwatch: Option<CloudWatch>,
}

fn default_assume_roles() -> bool {
    DEFAULT_ASSUME_ROLES
}

fn default_time_zone() -> String {
    DEFAULT_TIME_ZONE.to_owned()
}

fn default_snapshot_prefix() -> String {
    DEFAULT_SNAPSHOT_PREFIX.to_owned()
}

/// The AWS account's side. Credentials come from where AWS tools look for them, never from here.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Aws {
    /// Region of the instances and of the destination bucket, such as "us-east-1".
    #[schemars(required)]
    pub(super) region: Option<String>,
    /// Whether the roles of [aws.roles] are assumed. false is for a process that has the right role already, such as a Job
    /// that dumps: STRONGROOM__AWS__ASSUME_ROLES=false.
    #[serde(default = "default_assume_roles")]
    pub(super) assume_roles: bool,
    /// A role for each function. The credentials of the process assume it, and do what has none. `recover` assumes none.
    pub(super) roles: Option<Roles>,
}

/// ARNs of roles, such as "arn:aws:iam::111122223333:role/strongroom-prune". `deploy/terraform` makes them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Roles {
    /// Looks at instances, snapshots, buckets and keys, and reads records.
    pub(super) observe: Option<String>,
    /// Makes snapshots.
    pub(super) snapshot: Option<String>,
    /// Copies snapshots into other regions.
    pub(super) copy: Option<String>,
    /// Writes dumps, their copies in the replica and all records, and logs in to the databases that are dumped.
    pub(super) dump_write: Option<String>,
    /// Reads dumps, and asks for checksums and locks.
    pub(super) verify: Option<String>,
    /// Deletes snapshots and versions of objects.
    pub(super) prune: Option<String>,
    /// Makes, changes and deletes the instances that are restored into, and logs in to them.
    pub(super) drill: Option<String>,
    /// Publishes to SNS and CloudWatch, and reads the secrets of alert routes.
    pub(super) tell: Option<String>,
}

/// Where dumps and records go.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Destination {
    /// The S3 bucket.
    #[schemars(required)]
    pub(super) bucket: Option<String>,
    /// First part of every object key, without slashes at its ends.
    #[serde(default = "default_prefix")]
    pub(super) prefix: String,
    /// The KMS key (ARN, id or alias) that objects are encrypted with. Without it the bucket's default applies.
    pub(super) kms_key: Option<String>,
    /// The account that must own the bucket, 12 digits: S3 refuses to write when a bucket of that name has another owner.
    pub(super) expected_owner: Option<String>,
    /// Size of the parts of an upload: 8MiB to 1GiB.
    #[serde(default = "default_part_size")]
    pub(super) part_size: String,
    /// Parts of one dump in memory at once: one being filled, the others on their way. Each holds its size.
    #[serde(default = "default_parts_in_flight")]
    #[schemars(range(min = 1, max = 32))]
    pub(super) parts_in_flight: usize,
    /// How long a dump outlasts an outage of the store before it is given up.
    #[serde(default = "default_outage_tolerance")]
    pub(super) outage_tolerance: String,
    /// A second bucket in another region.
    pub(super) replica: Option<Replica>,
}

fn default_prefix() -> String {
    DEFAULT_PREFIX.to_owned()
}

fn default_part_size() -> String {
    DEFAULT_PART_SIZE.to_owned()
}

fn default_parts_in_flight() -> usize {
    DEFAULT_PARTS_IN_FLIGHT
}

/// Longer than the outages of half an hour that happen every few years would be a night; shorter would throw away what a
/// dump has read for hours.
const DEFAULT_OUTAGE_TOLERANCE: &str = "30m";

fn default_outage_tolerance() -> String {
    DEFAULT_OUTAGE_TOLERANCE.to_owned()
}

/// A second bucket in another region.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Replica {
    /// The S3 bucket.
    #[schemars(required)]
    pub(super) bucket: Option<String>,
    /// Its region.
    #[schemars(required)]
    pub(super) region: Option<String>,
    /// Who fills it.
    #[schemars(required)]
    pub(super) mode: Option<ReplicaMode>,
    /// The KMS key (ARN or id) that objects there must be encrypted with. Without it, whatever S3 says is taken.
    pub(super) kms_key: Option<String>,
}

/// Who fills the replica bucket.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ReplicaMode {
    /// S3 replication, which strongroom checks.
    Replicated,
    /// strongroom copies.
    Copied,
}

/// How PostgreSQL servers are reached.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Postgres {
    /// Directory of pg_dump. Without it: the newest under /usr/lib/postgresql, else the one in PATH.
    pub(super) bin_dir: Option<String>,
    /// The certificates (PEM) that servers are checked against, such as AWS's global-bundle.pem. Must be given when a
    /// source has dumps.
    pub(super) ca_file: Option<String>,
    /// How long a connection may take to come about.
    pub(super) connect_timeout: String,
}

impl Default for Postgres {
    fn default() -> Self {
        Postgres { bin_dir: None, ca_file: None, connect_timeout: DEFAULT_CONNECT_TIMEOUT.to_owned() }
    }
}

/// How much may happen at once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// Runs of any kind, over all sources.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) concurrent_runs: usize,
    /// Memory of all dumps together, for buffers and parts. A dump takes its share before it begins, or waits for it.
    pub(super) dump_memory: String,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { concurrent_runs: DEFAULT_CONCURRENT_RUNS, dump_memory: DEFAULT_DUMP_MEMORY.to_owned() }
    }
}

/// Evidence that never goes.
pub(super) const FOREVER: &str = "forever";

/// What holds deletions back, whatever has expired.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Prune {
    /// Whether the daemon deletes what has expired. If not, `strongroom prune --confirm` does.
    pub(super) automatic: bool,
    /// Deletions of snapshots and dumps in an hour. When more have expired at once, nothing is deleted until a person
    /// has confirmed it.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) max_deletes_per_cycle: usize,
    /// For how long the daemon must have known the retention that is in force before it deletes by it. "0s" is allowed.
    pub(super) settle: String,
    /// How long what failed runs left in the bucket stays for whoever wants to see it.
    pub(super) orphan_grace: String,
    /// For how long records of runs, verifications and deletions are kept: a duration, at least "90d", or "forever". What
    /// tells of a recovery point that stands is kept in any case.
    pub(super) keep_evidence: String,
    /// How far this host's clock may be from AWS's: with one that is further off nothing is deleted.
    pub(super) clock_skew_max: String,
}

impl Default for Prune {
    fn default() -> Self {
        Prune {
            automatic: DEFAULT_PRUNE_AUTOMATIC,
            max_deletes_per_cycle: DEFAULT_MAX_DELETES_PER_CYCLE,
            settle: DEFAULT_SETTLE.to_owned(),
            orphan_grace: DEFAULT_ORPHAN_GRACE.to_owned(),
            keep_evidence: FOREVER.to_owned(),
            clock_skew_max: DEFAULT_CLOCK_SKEW_MAX.to_owned(),
        }
    }
}

/// What is never done.
pub(super) const NEVER: &str = "never";

/// When stored dumps are read back in full, every byte and row of them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Verify {
    /// How long after it was stored a dump must have been read back. It is read as soon as it stands; one that was not in
    /// this time is a finding.
    pub(super) deadline: String,
    /// In this time every good dump that is kept is read back again: a duration, or "never". One after the other, the one
    /// whose reading is the oldest first, spread evenly over the time.
    pub(super) cycle: String,
    /// How often one dump of each database is read back in the replica bucket: a duration, or "never".
    pub(super) replica_interval: String,
}

impl Default for Verify {
    fn default() -> Self {
        Verify {
            deadline: DEFAULT_VERIFY_DEADLINE.to_owned(),
            cycle: DEFAULT_VERIFY_CYCLE.to_owned(),
            replica_interval: DEFAULT_REPLICA_INTERVAL.to_owned(),
        }
    }
}

/// What instances get that are restored in a region.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RestoreRegion {
    /// Name of the DB subnet group.
    pub(super) subnet_group: Option<String>,
    /// Ids of security groups.
    pub(super) security_groups: Vec<String>,
    /// Name of the DB parameter group.
    pub(super) parameter_group: Option<String>,
    /// Instance classes such as "db.r6g.large", tried in this order after the source's own where AWS has no room.
    pub(super) instance_classes: Vec<String>,
}

/// What restore drills restore into: instances of their own, which are deleted at the end.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Drills {
    /// Name of the DB subnet group: where nobody but strongroom comes in.
    #[schemars(required)]
    pub(super) subnet_group: Option<String>,
    /// Ids of security groups.
    #[schemars(required)]
    pub(super) security_groups: Option<Vec<String>>,
    /// Name of the DB parameter group; without it, that of the source.
    pub(super) parameter_group: Option<String>,
    /// Instance classes, tried in this order where AWS has no room; without them, that of the source. Times are those of the
    /// class.
    #[serde(default)]
    pub(super) instance_classes: Vec<String>,
    /// Most instances of drills at once.
    #[serde(default = "default_drill_instances_max")]
    #[schemars(range(min = 1, max = 20))]
    pub(super) instances_max: usize,
}

/// One: drills are in no hurry, and each costs what its instance costs.
const DEFAULT_DRILL_INSTANCES_MAX: usize = 1;

fn default_drill_instances_max() -> usize {
    DEFAULT_DRILL_INSTANCES_MAX
}

/// What is expected of the instances of an environment.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvironmentRules {
    /// For how many days RDS must keep its automated backups.
    pub(super) automated_backup_days: Option<Days>,
}

/// A range of days, both ends included.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Days {
    /// The fewest.
    #[schemars(required, range(max = 35))]
    pub(super) min: Option<u32>,
    /// The most. RDS allows 35.
    #[schemars(required, range(max = 35))]
    pub(super) max: Option<u32>,
}

/// A protected RDS instance.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    /// Its environment: a name under `environments`.
    pub(super) environment: Option<String>,
    /// Identifier of the RDS instance.
    #[schemars(required)]
    pub(super) instance: Option<String>,
    /// What is owed to it: a name under `policies`.
    #[schemars(required)]
    pub(super) policy: Option<String>,
    /// The databases that are dumped. Must be given when the policy has a dump.
    pub(super) databases: Option<Vec<String>>,
    /// Identifier of a read replica of the instance, in the same region, that dumps are read from; or `drill`: dumps are taken of
    /// what a restore drill has restored of a snapshot. Without it they are read from the instance itself.
    pub(super) dump_from: Option<String>,
    /// The login for dumps, in one of its forms. Must be given when the policy has a dump.
    pub(super) credentials: Option<Credentials>,
    /// IANA time zone of this source's schedules, if not that of the installation.
    pub(super) time_zone: Option<String>,
    /// Nothing is started for this source; what it has is kept.
    #[serde(default)]
    pub(super) suspend: bool,
    /// What `strongroom recover` stops, changes and starts for it.
    #[serde(default)]
    pub(super) recover: Recover,
}

/// A login, in exactly one of the forms `{ secret }`, `{ user, password_file }`, `{ user, password_env }`,
/// `{ user, iam = true }`. A password is never written here.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    /// Name or ARN of a Secrets Manager secret: JSON with username and password.
    pub(super) secret: Option<String>,
    /// The database user.
    pub(super) user: Option<String>,
    /// Absolute path of a file that holds the password. It is read anew for each login.
    pub(super) password_file: Option<String>,
    /// Name of the environment variable that holds the password.
    pub(super) password_env: Option<String>,
    /// Log in with a token made by AWS. The user needs the role rds_iam.
    pub(super) iam: Option<bool>,
}

/// A number of recovery points or attempts: at least one.
pub(super) type Count = NonZeroU32;
