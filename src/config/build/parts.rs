//! The parts that are about the outside: AWS, the destination, PostgreSQL, the daemon itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

use super::DURATIONS;
use super::policies::PolicyTemplate;
use crate::config::diagnosis::Diagnosis;
use crate::config::{
    AwsConfig, CloudWatchConfig, DaemonConfig, DestinationConfig, LeaderConfig, LeaderLockKind, PostgresConfig, human,
    raw,
};
use crate::domain::id::{RegionName, RoleArn};
use crate::policy::{ReplicaMode, ReplicaPolicy};
use crate::ports::roles::{Function, Roles};

use std::collections::BTreeMap;

/// S3 takes no part below 5 MiB; below 8 MiB a dump of 78 GiB would not fit into 10,000 parts.
const PART_SIZE_MIN: u64 = 8 << 20;
/// Several parts are in memory at once; above 1 GiB nothing gets faster.
const PART_SIZE_MAX: u64 = 1 << 30;

/// Alarms look once a minute, and more often costs without use.
const PUBLISH_EVERY_MIN: SignedDuration = SignedDuration::from_mins(1);
/// CloudWatch's most (API reference, `PutMetricData`).
const NAMESPACE_MAX: usize = 255;

/// Numbers for alarms: none where nothing is said.
#[expect(clippy::option_option, reason = "nothing was said, or what was said is wrong")]
pub(super) fn cloudwatch(
    given: Option<&raw::CloudWatch>,
    diagnosis: &mut Diagnosis,
) -> Option<Option<CloudWatchConfig>> {
    let Some(given) = given else { return Some(None) };
    let every = diagnosis.parsed("cloudwatch.interval", human::positive_duration(&given.interval), DURATIONS);
    if every.is_some_and(|every| every < PUBLISH_EVERY_MIN) {
        diagnosis.report(
            "cloudwatch.interval",
            "too often: CloudWatch's alarms look once a minute",
            "write at least \"1m\"",
        );
    }
    let namespace = &given.namespace;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-/#: ".contains(c);
    if namespace.trim().is_empty()
        || namespace.len() > NAMESPACE_MAX
        || !namespace.chars().all(is_name)
        || namespace.starts_with("AWS/")
    {
        let problem = format!("`{namespace}` cannot be a namespace of custom metrics");
        let advice = "write for example \"Strongroom\": up to 255 letters, digits, spaces and `.-_/#:`, and not `AWS/` at its beginning";
        diagnosis.report("cloudwatch.namespace", problem, advice);
    }
    Some(Some(CloudWatchConfig { namespace: namespace.clone(), every: every? }))
}

/// The AWS part.
pub(super) fn aws(aws: Option<&raw::Aws>, diagnosis: &mut Diagnosis) -> Option<AwsConfig> {
    let given = aws.and_then(|aws| aws.region.as_ref());
    let region =
        required_in("aws", "region", given, "name the region, for example `region = \"us-east-1\"`", diagnosis)
            .and_then(|region| region_name("aws.region", region, diagnosis));
    // Checked in any case: the same files are for processes that assume them and for those that do not.
    let given = aws.and_then(|aws| aws.roles.as_ref()).map(|given| roles(given, diagnosis));
    let roles = given.filter(|_| aws.is_some_and(|aws| aws.assume_roles)).unwrap_or_default();
    Some(AwsConfig { region: region?, roles })
}

/// Each that is wrong is reported; the others are kept.
fn roles(given: &raw::Roles, diagnosis: &mut Diagnosis) -> Roles {
    let raw::Roles { observe, snapshot, copy, dump_write, verify, prune, drill, tell } = given;
    let given = [
        (Function::Observe, observe),
        (Function::Snapshot, snapshot),
        (Function::Copy, copy),
        (Function::DumpWrite, dump_write),
        (Function::Verify, verify),
        (Function::Prune, prune),
        (Function::Drill, drill),
        (Function::Tell, tell),
    ];
    let arn_of = |(function, arn): (Function, &Option<String>)| {
        let arn = arn.as_ref()?.parse::<RoleArn>();
        let advice = format!("write for example \"arn:aws:iam::111122223333:role/strongroom-{}\"", function.name());
        Some((function, diagnosis.parsed(&function.key(), arn, &advice)?))
    };
    given.into_iter().filter_map(arn_of).collect()
}

/// The destination. `region` is the one that it is in.
pub(super) fn destination(
    given: Option<&raw::Destination>,
    region: Option<&RegionName>,
    diagnosis: &mut Diagnosis,
) -> Option<DestinationConfig> {
    let bucket = given.and_then(|destination| destination.bucket.as_ref());
    let bucket = required_in("destination", "bucket", bucket, "name the S3 bucket for dumps and records", diagnosis)
        .and_then(|bucket| bucket_name("destination.bucket", bucket, diagnosis));
    let given = given?;
    let prefix = prefix(&given.prefix, diagnosis);
    let part_size_bytes = part_size(&given.part_size, diagnosis);
    let outage = human::duration(&given.outage_tolerance);
    let outage_tolerance = diagnosis.parsed("destination.outage_tolerance", outage, DURATIONS);
    check_kms_key("destination.kms_key", given.kms_key.as_deref(), region, diagnosis);
    let owner = given.expected_owner.as_deref();
    if owner.is_some_and(|owner| owner.len() != 12 || !owner.bytes().all(|b| b.is_ascii_digit())) {
        diagnosis.report("destination.expected_owner", "not an account id", "write its 12 digits in quotes");
    }
    Some(DestinationConfig {
        bucket: bucket?,
        prefix: prefix?,
        kms_key: given.kms_key.clone(),
        expected_owner: given.expected_owner.clone(),
        part_size_bytes: part_size_bytes?,
        parts_in_flight: given.parts_in_flight,
        outage_tolerance: outage_tolerance?,
    })
}

/// The second bucket, if there is to be one.
pub(super) fn replica(destination: Option<&raw::Destination>, diagnosis: &mut Diagnosis) -> Option<ReplicaPolicy> {
    let destination = destination?;
    let given = destination.replica.as_ref()?;
    let table = "destination.replica";
    let bucket = required_in(table, "bucket", given.bucket.as_ref(), "name the second bucket", diagnosis)
        .and_then(|bucket| bucket_name("destination.replica.bucket", bucket, diagnosis));
    if bucket.is_some() && bucket == destination.bucket {
        let advice = "name another bucket: in this one the replica would be the dump itself";
        diagnosis.report("destination.replica.bucket", "this is the bucket of the destination", advice);
    }
    let region = required_in(table, "region", given.region.as_ref(), "name its region", diagnosis)
        .and_then(|region| region_name("destination.replica.region", region, diagnosis));
    let advice = "write \"replicated\" if S3 replicates, \"copied\" if strongroom shall copy";
    let mode = diagnosis.required("destination.replica.mode", given.mode.as_ref(), advice);
    check_kms_key("destination.replica.kms_key", given.kms_key.as_deref(), region.as_ref(), diagnosis);
    Some(ReplicaPolicy {
        bucket: bucket?,
        region: region?,
        mode: match mode? {
            raw::ReplicaMode::Replicated => ReplicaMode::Replicated,
            raw::ReplicaMode::Copied => ReplicaMode::Copied,
        },
        kms_key: given.kms_key.clone(),
    })
}

/// A KMS key has many forms; what is certainly none of them is a slip, and so is a key that is not where it is used.
pub(super) fn check_kms_key(key: &str, given: Option<&str>, region: Option<&RegionName>, diagnosis: &mut Diagnosis) {
    let Some(given) = given else { return };
    let is_arn = given.starts_with("arn:");
    if given.is_empty() || given.contains(char::is_whitespace) || (is_arn && !given.contains(":kms:")) {
        diagnosis.report(key, "not a KMS key", "give its ARN, id or alias, or leave it out");
        return;
    }
    let id = given.strip_prefix("mrk-").unwrap_or(given);
    let is_id = id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if !is_id && !is_arn && !given.starts_with("alias/") {
        diagnosis.report(key, "not a KMS key", "give its ARN or its id, or its alias with `alias/` before it");
        return;
    }
    // arn:aws:kms:us-east-1:111122223333:key/0f1e2d3c-…
    let own = given.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(2));
    if let (Some(own), Some(region)) = (own, region)
        && !own.is_empty()
        && own != region.as_str()
    {
        let problem = format!("this key is in `{own}`, and what it is for in `{region}`");
        diagnosis.report(key, problem, "name a key of that region");
    }
}

fn required_in<'a>(
    table: &str,
    key: &str,
    value: Option<&'a String>,
    advice: &str,
    diagnosis: &mut Diagnosis,
) -> Option<&'a String> {
    // A table that was refused as a whole, or is thought to be misspelt, is not asked for its keys.
    if value.is_none() && diagnosis.refused(table) {
        return None;
    }
    diagnosis.required(&format!("{table}.{key}"), value, advice)
}

/// A region's name; only the form is checked, as AWS opens new ones.
pub(super) fn region_name(key: &str, region: &str, diagnosis: &mut Diagnosis) -> Option<RegionName> {
    let of_zone = region.strip_suffix(|c: char| c.is_ascii_lowercase());
    if let Some(around) = of_zone.filter(|around| around.ends_with(|c: char| c.is_ascii_digit())) {
        diagnosis.report(key, format!("`{region}` is an availability zone"), format!("write its region, \"{around}\""));
        return None;
    }
    let parsed = region.parse().ok();
    if parsed.is_none() {
        diagnosis.report(key, format!("`{region}` is not a region"), "write for example \"us-east-1\"");
    }
    parsed
}

fn bucket_name(key: &str, bucket: &str, diagnosis: &mut Diagnosis) -> Option<String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let ends = bucket.trim_matches(['-', '.']) == bucket;
    if (3..=63).contains(&bucket.len()) && bucket.bytes().all(inner) && ends {
        return Some(bucket.to_owned());
    }
    let advice = "S3 takes 3 to 63 of a-z, 0-9, hyphens and dots; write no `s3://` and no ARN";
    diagnosis.report(key, format!("`{bucket}` is not a bucket name"), advice);
    None
}

fn prefix(prefix: &str, diagnosis: &mut Diagnosis) -> Option<String> {
    let is_segment = |segment: &str| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=');
        !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(is_plain)
    };
    if prefix.len() <= 200 && prefix.split('/').all(is_segment) {
        return Some(prefix.to_owned());
    }
    let advice = "use letters, digits, `-`, `_`, `.` and `=`, with single slashes between them and none at the ends";
    diagnosis.report("destination.prefix", format!("`{prefix}` cannot begin object keys"), advice);
    None
}

fn part_size(text: &str, diagnosis: &mut Diagnosis) -> Option<u64> {
    let key = "destination.part_size";
    let bytes = diagnosis.parsed(key, human::size_bytes(text), "write for example \"16MiB\"")?;
    if (PART_SIZE_MIN..=PART_SIZE_MAX).contains(&bytes) {
        return Some(bytes);
    }
    diagnosis.report(key, format!("`{text}` is out of range"), "write a size from \"8MiB\" to \"1GiB\"");
    None
}

/// The PostgreSQL part.
pub(super) fn postgres(
    file: &raw::File,
    policies: &BTreeMap<String, PolicyTemplate>,
    diagnosis: &mut Diagnosis,
) -> Option<PostgresConfig> {
    let given = &file.postgres;
    let connect_timeout = diagnosis
        .parsed("postgres.connect_timeout", human::positive_duration(&given.connect_timeout), DURATIONS)
        .map(std_duration);
    let dumps = |source: &&raw::Source| {
        source.policy.as_ref().and_then(|name| policies.get(name)).is_some_and(|policy| policy.dump.is_some())
    };
    if file.sources.values().any(|source| dumps(&source)) {
        let advice = "name the file of certificates that servers are checked against, such as AWS's global-bundle.pem";
        required_in("postgres", "ca_file", given.ca_file.as_ref(), advice, diagnosis);
    }
    for (key, path) in [("postgres.ca_file", &given.ca_file), ("postgres.bin_dir", &given.bin_dir)] {
        if path.as_ref().is_some_and(String::is_empty) {
            diagnosis.report(key, "empty", "name a path, or leave it out");
        }
    }
    Some(PostgresConfig {
        bin_dir: given.bin_dir.as_ref().map(PathBuf::from),
        ca_file: given.ca_file.as_ref().map(PathBuf::from).unwrap_or_default(),
        connect_timeout: connect_timeout?,
    })
}

/// The daemon part.
pub(super) fn daemon(given: &raw::Daemon, diagnosis: &mut Diagnosis) -> Option<DaemonConfig> {
    let listen = given.listen.parse::<SocketAddr>();
    if listen.is_err() {
        let problem = format!("`{}` is not an address and port", given.listen);
        diagnosis.report("daemon.listen", problem, "write for example \"127.0.0.1:9187\", or \"0.0.0.0:9187\" for all");
    }
    let grace = diagnosis.parsed("daemon.grace", human::duration(&given.grace), DURATIONS).map(std_duration);
    let leader = leader(given, diagnosis);
    Some(DaemonConfig { listen: listen.ok()?, grace: grace?, leader })
}

/// Shorter ones take the lead away from a process that only paused for breath; after longer ones a slot may be missed.
const LEASES: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(600)];

/// The lease that goes with where it is written: in the bucket each renewal is one more version of an object.
fn default_lease(lock: LeaderLockKind) -> Duration {
    Duration::from_secs(match lock {
        LeaderLockKind::Kubernetes => 60,
        LeaderLockKind::Bucket => 300,
    })
}

fn leader(given: &raw::Daemon, diagnosis: &mut Diagnosis) -> Option<LeaderConfig> {
    let lease = given.leader_lease.as_ref();
    let lease = lease.and_then(|given| diagnosis.parsed("daemon.leader_lease", human::duration(given), DURATIONS));
    let lease = lease.map(std_duration);
    let [least, most] = LEASES;
    if lease.is_some_and(|lease| lease < least || lease > most || lease.subsec_nanos() > 0) {
        diagnosis.report(
            "daemon.leader_lease",
            "not between 3 s and 10 min, in whole seconds",
            "write for example \"30s\"",
        );
    }
    let lock = match given.leader {
        raw::Leader::None => {
            if given.leader_lease.is_some() {
                let advice = "say with `daemon.leader` where it is written who leads, or leave it out";
                diagnosis.report("daemon.leader_lease", "nobody leads with `leader = \"none\"`", advice);
            }
            return None;
        }
        raw::Leader::Bucket => LeaderLockKind::Bucket,
        raw::Leader::Kubernetes => LeaderLockKind::Kubernetes,
    };
    Some(LeaderConfig { lock, lease: lease.unwrap_or_else(|| default_lease(lock)) })
}

/// For tokio's timeouts; only durations that are not negative come here.
fn std_duration(duration: SignedDuration) -> Duration {
    duration.unsigned_abs()
}
