//! Puts the parts together: one client of each service for each region that the policy names.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::adapters::aws;
use crate::adapters::aws_account::AwsAccount;
use crate::adapters::aws_clock::AwsClock;
use crate::adapters::aws_cloudwatch::CloudWatch;
use crate::adapters::aws_connection_secrets::AwsConnectionSecrets;
use crate::adapters::aws_credentials::AwsCredentials;
use crate::adapters::aws_diagnostics::AwsDiagnostics;
use crate::adapters::aws_identities::Identities;
use crate::adapters::aws_instances::AwsInstances;
use crate::adapters::aws_kms::AwsKeys;
use crate::adapters::aws_metric_sink::CloudWatchMetrics;
use crate::adapters::aws_rds::AwsRds;
use crate::adapters::host_processes::HostProcesses;
use crate::adapters::kubernetes::{Connection, KubernetesCluster, KubernetesJobs, KubernetesLock};
use crate::adapters::notify::ChannelKit;
use crate::adapters::pg::PgServers;
use crate::adapters::pg_restore::StockPgRestore;
use crate::adapters::pg_tools::StockPgDump;
use crate::adapters::s3::{S3, S3Settings};
use crate::adapters::scratch_server::ScratchServers;
use crate::adapters::system_clock::SystemClock;
use crate::collect::Collector;
use crate::config::{
    AlertsConfig, CloudWatchConfig, Config, DestinationConfig, HeartbeatConfig, JobsConfig, LeaderConfig,
    LeaderLockKind,
};
use crate::domain::id::RegionName;
use crate::domain::key::Layout;
use crate::domain::leadership::LeaseTimes;
use crate::domain::memory::MemoryUse;
use crate::execute::jobs::DumpsByJobs;
use crate::execute::lead::{BucketLock, Candidacy};
use crate::execute::notify::{Channels, Pulse};
use crate::execute::publish::Publishing;
use crate::execute::{ExecuteSettings, Executor};
use crate::policy::{Cadence, Policy};
use crate::ports::clock::Clock;
use crate::ports::diagnostics::Diagnostics;
use crate::ports::instances::{Instances, Leases};
use crate::ports::leadership::LeaderLock;
use crate::ports::object_store::ObjectStore;
use crate::ports::rds::Rds;
use crate::ports::roles::Function;
use crate::ports::{Ports, RequestObserver};
use crate::recover::Tools;

/// Everything that a command or the daemon works with.
#[derive(Debug)]
pub struct Assembly {
    /// The outside.
    pub ports: Ports,
    /// Carries out actions.
    pub executor: Executor,
    /// Looks.
    pub collector: Collector,
    /// What dumps hold.
    pub memory: Arc<MemoryUse>,
    /// Servers to restore into that are thrown away.
    pub scratch: ScratchServers,
    /// What AWS says of an instance that gives trouble.
    pub diagnostics: Arc<dyn Diagnostics>,
    /// What a guided recovery works with; nothing else has it.
    pub recovery: Tools,
    /// Where numbers for alarms go; `None`: nowhere.
    pub publishing: Option<Publishing>,
    /// Ways to people.
    pub channels: Channels,
    /// How dumps are made by Jobs, if they are: commands make their own.
    pub by_jobs: Option<DumpsByJobs>,
    /// How to be one of several processes; `None`: there is only this one.
    pub candidacy: Option<Candidacy>,
    /// The cluster that this process runs in, or that the configuration names.
    pub cluster: Arc<Connection>,
    /// Who AWS is asked as.
    pub identities: Identities,
    /// What is wanted.
    pub policy: Arc<Policy>,
}

impl Assembly {
    /// Carries out actions for the daemon.
    #[must_use]
    pub fn daemons_executor(&self) -> Executor {
        let executor = self.executor.clone();
        match self.by_jobs.clone() {
            Some(by) => executor.with_jobs(by),
            None => executor,
        }
    }
}

/// Puts the parts together. Nothing is asked of the outside yet. `memory` is the account of dumps that are under way, if there is
/// one.
pub async fn assemble(config: Config, observer: RequestObserver, memory: Option<Arc<MemoryUse>>) -> Assembly {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let reference = Arc::new(AwsClock::new(Arc::clone(&clock)));
    let home = &config.aws.region;
    let own = Identities::from(aws::load(home).await);
    let aws = own.assuming(config.aws.roles, &config.policy.installation, &observer, &clock, &reference);
    let rds_in =
        |region: &RegionName| -> Arc<dyn Rds> { Arc::new(AwsRds::new(&aws.in_region(region), &observer, &reference)) };
    let bucket_in = |region: &RegionName, settings| S3::new(&aws.in_region(region), settings, &observer, &reference);
    let rds = rds_in(home);
    let instances_in = |region: RegionName| -> (RegionName, Arc<dyn Instances>) {
        let there = AwsInstances::new(&aws.in_region(&region), &observer, &reference);
        (region, Arc::new(there))
    };
    let rds_of = |region: &RegionName| if region == home { Arc::clone(&rds) } else { rds_in(region) };
    let copies = copy_regions(&config.policy).into_iter().map(|region| (region.clone(), rds_of(&region))).collect();
    let destination = config.destination;
    let (store, replica) = buckets(&destination, &config.policy, bucket_in);
    let own_instances = Arc::new(AwsInstances::new(&aws, &observer, &reference));
    let observing = aws.of(Function::Observe);
    let bin_dir = config.postgres.bin_dir.as_deref();
    let ports = Ports {
        clock,
        rds,
        instances: restore_regions(&config.policy).into_iter().map(instances_in).collect(),
        leases: Arc::clone(&own_instances) as Arc<dyn Leases>,
        copies,
        replica,
        keys: Arc::new(AwsKeys::new(observing, Arc::clone(&observer))),
        account: Arc::new(AwsAccount::new(observing, home, Arc::clone(&observer))),
        server_metrics: Arc::new(CloudWatch::new(observing, Arc::clone(&observer))),
        reference,
        store,
        credentials: Arc::new(AwsCredentials::new(&aws, config.logins, config.postgres.ca_file, &observer)),
        postgres: Arc::new(PgServers::new(config.postgres.connect_timeout)),
        pg_dump: Arc::new(StockPgDump::find(bin_dir)),
        pg_restore: Arc::new(StockPgRestore::find(bin_dir)),
        processes: Arc::new(HostProcesses::new()),
    };
    let memory = memory.unwrap_or_else(|| Arc::new(MemoryUse::new(config.policy.limits.dump_memory_bytes)));
    let settings = execute_settings(&config.policy, destination, config.sha256, Arc::clone(&memory));
    let sink = |namespace| CloudWatchMetrics::new(aws.of(Function::Tell), namespace, Arc::clone(&observer));
    // Only a recovery changes these secrets, and it assumes no role.
    let (layout, secrets) = (settings.layout.clone(), AwsConnectionSecrets::new(aws.own(), Arc::clone(&observer)));
    let cluster = Arc::new(Connection::new(config.kubernetes.kubeconfig, config.kubernetes.context));
    Assembly {
        by_jobs: config.kubernetes.jobs.map(|jobs| by_jobs(jobs, &cluster)),
        candidacy: config.daemon.leader.map(|leader| candidacy(leader, &ports, &cluster, &layout, &config.policy)),
        publishing: config.cloudwatch.map(|to| publishing(to, sink)),
        channels: channels(
            &ChannelKit::new(aws.of(Function::Tell), Arc::clone(&observer)),
            config.alerts,
            &config.policy.cadence,
        ),
        diagnostics: Arc::new(AwsDiagnostics::new(observing, observer)),
        recovery: recovery(&ports, own_instances, secrets, Arc::clone(&cluster), layout.clone(), &config.policy),
        executor: Executor::new(ports.clone(), settings),
        collector: Collector::new(layout),
        memory,
        scratch: ScratchServers::new(bin_dir, Arc::clone(&ports.clock), Arc::clone(&ports.postgres)),
        ports,
        cluster,
        identities: aws,
        policy: Arc::new(config.policy),
    }
}

/// The destination, and the replica if there is one.
fn buckets(
    destination: &DestinationConfig,
    policy: &Policy,
    bucket_in: impl Fn(&RegionName, S3Settings) -> S3,
) -> (Arc<dyn ObjectStore>, Option<Arc<dyn ObjectStore>>) {
    let settings = |bucket: &str, kms_key: Option<&str>| S3Settings {
        bucket: bucket.to_owned(),
        kms_key: kms_key.map(str::to_owned),
        expected_owner: destination.expected_owner.clone(),
    };
    let store = bucket_in(&policy.region, settings(&destination.bucket, destination.kms_key.as_deref()));
    let store = Arc::new(store);
    let replica = policy.destination.replica.as_ref().map(|replica| -> Arc<dyn ObjectStore> {
        let settings = settings(&replica.bucket, replica.kms_key.as_deref());
        Arc::new(bucket_in(&replica.region, settings).fed_by(Arc::clone(&store)))
    });
    (store, replica)
}

fn channels(kit: &ChannelKit, config: AlertsConfig, cadence: &Cadence) -> Channels {
    let fresh_for = cadence.look_age_max();
    let pulse =
        |wanted: HeartbeatConfig| Pulse { heartbeat: kit.heartbeat(&wanted.url), every: wanted.every, fresh_for };
    Channels {
        policy: config.policy,
        notifiers: config.channels.iter().map(|(name, wanted)| (name.clone(), kit.channel(wanted))).collect(),
        pulse: config.heartbeat.map(pulse),
    }
}

fn publishing(to: CloudWatchConfig, sink: impl FnOnce(String) -> CloudWatchMetrics) -> Publishing {
    Publishing { sink: Arc::new(sink(to.namespace)), every: to.every }
}

fn by_jobs(jobs: JobsConfig, cluster: &Arc<Connection>) -> DumpsByJobs {
    let JobsConfig { template, start_deadline } = jobs;
    DumpsByJobs { jobs: Arc::new(KubernetesJobs::new(Arc::clone(cluster))), template, start_deadline }
}

/// The name of a process tells where it runs, and that no two are one: every container's daemon has the same process id.
fn candidacy(
    leader: LeaderConfig,
    ports: &Ports,
    cluster: &Arc<Connection>,
    layout: &Layout,
    policy: &Policy,
) -> Candidacy {
    let lock: Arc<dyn LeaderLock> = match leader.lock {
        LeaderLockKind::Bucket => {
            Arc::new(BucketLock::new(Arc::clone(&ports.store), layout.leader(&policy.installation)))
        }
        LeaderLockKind::Kubernetes => {
            Arc::new(KubernetesLock::new(Arc::clone(cluster), format!("strongroom-{}", policy.installation)))
        }
    };
    let this = ports.processes.this();
    let me = format!("{}_{}_{}", this.host, this.pid, this.start_ticks);
    Candidacy { lock, me, times: LeaseTimes::of(leader.lease) }
}

fn recovery(
    ports: &Ports,
    instances: Arc<AwsInstances>,
    secrets: AwsConnectionSecrets,
    cluster: Arc<Connection>,
    layout: Layout,
    policy: &Policy,
) -> Tools {
    Tools {
        store: Arc::clone(&ports.store),
        layout,
        clock: Arc::clone(&ports.clock),
        instances: Arc::clone(&instances) as Arc<dyn Instances>,
        renames: instances,
        secrets: Arc::new(secrets),
        cluster: Arc::new(KubernetesCluster::new(cluster)),
        poll_interval: policy.cadence.poll_interval,
    }
}

fn execute_settings(
    policy: &Policy,
    destination: DestinationConfig,
    config_sha256: String,
    memory: Arc<MemoryUse>,
) -> ExecuteSettings {
    ExecuteSettings {
        installation: policy.installation.clone(),
        layout: Layout::new(&destination.prefix),
        bucket: destination.bucket,
        kms_key: destination.kms_key,
        part_size_bytes: destination.part_size_bytes,
        parts_in_flight: destination.parts_in_flight,
        memory,
        outage_tolerance: destination.outage_tolerance,
        config_sha256,
        region: policy.region.clone(),
        replica: policy.destination.replica.clone(),
    }
}

/// The regions in which something can be restored: that of the sources, those of their backups, and what is configured.
fn restore_regions(policy: &Policy) -> BTreeSet<RegionName> {
    let mut regions = copy_regions(policy);
    regions.insert(policy.region.clone());
    regions.extend(policy.destination.replica.iter().map(|replica| replica.region.clone()));
    regions.extend(policy.restore.keys().cloned());
    regions
}

/// The regions that some source's snapshots are copied to.
fn copy_regions(policy: &Policy) -> BTreeSet<RegionName> {
    policy.obligations().flat_map(|(_, obligation)| &obligation.copies).map(|copies| copies.region.clone()).collect()
}
