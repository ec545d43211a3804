//! A new instance, as it is to be: what options say, what is found of the source, and the plan that people read.

use std::sync::Arc;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::NotBegun;
use crate::cli::{Exit, complain, say};
use crate::daemon::Assembly;
use crate::domain::id::{InstanceId, RegionName, named_after};
use crate::domain::new_instance::{InstanceDetails, InstanceSetup, Network, NewInstance, RestoreFrom};
use crate::policy::SourcePolicy;
use crate::policy::restored::{RegionSetup, Restored, Wishes, setup_for};
use crate::ports::Chain;
use crate::ports::instances::{Instances, Refusal};
use crate::restore::instance::{Awaited, InstanceError, InstanceRequest, News};

/// What the new instance is to be.
#[derive(Debug, Args)]
pub(in crate::cli) struct SetupArgs {
    /// Identifier of the new instance; without it, that of the source with what is restored.
    #[arg(long = "as", value_name = "ID")]
    pub(in crate::cli) name: Option<InstanceId>,
    /// Its class; without it, that of the source.
    #[arg(long)]
    class: Option<String>,
    /// Its subnet group; without it, that of the source, or the one configured for the region.
    #[arg(long, value_name = "NAME")]
    subnet_group: Option<String>,
    /// Its security group; likewise. May be repeated.
    #[arg(long, value_name = "ID")]
    security_group: Vec<String>,
    /// Its parameter group; likewise.
    #[arg(long, value_name = "NAME")]
    parameter_group: Option<String>,
    /// No standby in another zone, whatever the source has: it can be added later.
    #[arg(long)]
    single_az: bool,
    /// How long it may take until the new instance answers.
    #[arg(long, default_value = "6h")]
    pub(in crate::cli) timeout: SignedDuration,
    /// Connections that read it through.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(in crate::cli) jobs: u16,
}

/// Everything that a restore needs, found.
pub(in crate::cli) struct Found {
    pub(in crate::cli) source: SourcePolicy,
    pub(in crate::cli) region: RegionName,
    pub(in crate::cli) instances: Arc<dyn Instances>,
    /// The source's instance; `None` where it is gone, or cannot be seen.
    pub(in crate::cli) details: Option<InstanceDetails>,
}

/// What a new instance is made of, for people.
pub(in crate::cli) struct Meant {
    pub(in crate::cli) from: RestoreFrom,
    /// In words.
    pub(in crate::cli) words: String,
    /// Part of the new instance's name.
    pub(in crate::cli) stem: String,
    /// How its storage is encrypted, in words.
    pub(in crate::cli) key: String,
}

impl SetupArgs {
    fn wishes(&self) -> Wishes {
        let (subnet_group, security_groups) = (self.subnet_group.clone(), self.security_group.clone());
        Wishes {
            class: self.class.clone(),
            network: Network { subnet_group, security_groups },
            parameter_group: self.parameter_group.clone(),
            single_az: self.single_az,
        }
    }

    /// What the options, the source and the configuration make of it.
    pub(in crate::cli) fn new_instance(
        &self,
        assembly: &Assembly,
        found: &Found,
        meant: &Meant,
    ) -> Result<Wanted, NotBegun> {
        let nothing = RegionSetup::default();
        let region = assembly.policy.restore.get(&found.region).unwrap_or(&nothing);
        let is_in_region = found.region == assembly.policy.region;
        let restored = setup_for(found.details.as_ref(), is_in_region, region, &self.wishes()).map_err(|missing| {
            NotBegun::Usage(format!(
                "nobody says {missing}: give it as an option, or under `restore.{}` in the configuration",
                found.region
            ))
        })?;
        let id = self.name.clone().unwrap_or_else(|| named_after(&found.source.instance, &meant.stem));
        if assembly.policy.sources.values().any(|source| source.instance == id) {
            return Err(NotBegun::Refused(format!("{id} is the name of a source's instance: choose another one")));
        }
        Ok(Wanted { id, restored })
    }

    /// The restore of it that is to be made.
    pub(in crate::cli) fn request(
        &self,
        assembly: &Assembly,
        found: &Found,
        meant: &Meant,
        new: Wanted,
    ) -> InstanceRequest {
        InstanceRequest {
            awaited: Awaited { instances: Arc::clone(&found.instances), ..self.awaited(assembly, &new.id) },
            new: NewInstance { id: new.id, from: meant.from.clone(), setup: new.restored.setup },
            other_classes: new.restored.other_classes,
        }
    }

    /// How an instance of the sources' region is waited for.
    pub(in crate::cli) fn awaited(&self, assembly: &Assembly, id: &InstanceId) -> Awaited {
        let clock = Arc::clone(&assembly.ports.clock);
        Awaited {
            instances: Arc::clone(&assembly.recovery.instances),
            deadline: clock.now().saturating_add(self.timeout).unwrap_or(Timestamp::MAX),
            clock,
            id: id.clone(),
            poll_interval: assembly.policy.cadence.poll_interval,
        }
    }
}

/// Tells why there is no new instance, and by which option to have another one.
pub(in crate::cli) fn complain_of(error: &InstanceError) -> Exit {
    complain(&Chain(error));
    if let InstanceError::Refused(refused) = error
        && let Some(option) = refused.why.and_then(option_for)
    {
        say(&format!("the option for it is {option}"));
    }
    Exit::Failed
}

/// A new instance, chosen.
pub(in crate::cli) struct Wanted {
    pub(in crate::cli) id: InstanceId,
    pub(in crate::cli) restored: Restored,
}

/// What will be done.
pub(in crate::cli) fn plan_in_words(found: &Found, meant: &Meant, new: &Wanted) -> String {
    let setup = &new.restored.setup;
    let mut class = setup.class.clone();
    if !new.restored.other_classes.is_empty() {
        class += &format!(" (or {} where AWS has no room)", new.restored.other_classes.join(", "));
    }
    let zones = if setup.multi_az { "two zones" } else { "one zone" };
    let network = &setup.network;
    let subnet_group = network.subnet_group.as_deref().unwrap_or("-");
    let storage = [setup.storage_type.clone(), setup.iops.map(|iops| format!("{iops} IOPS"))];
    let storage: Vec<String> = storage.into_iter().flatten().collect();
    let mut lines = vec![
        format!("restore     {}", meant.words),
        format!("as          {} in {}, {class}, {zones}", new.id, found.region),
        format!("network     subnet group {subnet_group}, security groups {}", network.security_groups.join(", ")),
        format!("parameters  {}", setup.parameter_group.as_deref().unwrap_or("-")),
        format!("storage     {}", storage.into_iter().chain([meant.key.clone()]).collect::<Vec<_>>().join(", ")),
        format!("set up with {}", with(setup).join(", ")),
        format!("not carried over: {}", not_carried_over(found).join(", ")),
    ];
    if setup.automated_backup_days > 0 {
        lines.push(format!(
            "automated backups of the new instance are kept {} days, and begin with it",
            setup.automated_backup_days
        ));
    }
    lines.join("\n") + "\n"
}

fn with(setup: &InstanceSetup) -> Vec<String> {
    let on = [
        (setup.deletion_protection, "deletion protection"),
        (setup.iam_login, "IAM login"),
        (setup.is_public, "a public address"),
        (setup.minor_upgrades, "automatic minor versions"),
        (setup.copies_tags_to_snapshots, "tags copied to snapshots"),
    ];
    let mut with: Vec<String> = on.into_iter().filter(|(is, _)| *is).map(|(_, what)| what.to_owned()).collect();
    if !setup.log_exports.is_empty() {
        with.push(format!("logs to CloudWatch ({})", setup.log_exports.join(", ")));
    }
    let tags: Vec<String> = setup.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    with.push(if tags.is_empty() { "no tags of the source".to_owned() } else { format!("tags {}", tags.join(" ")) });
    with
}

/// What the source has and no restore takes along; what others have tied to its name they alone know.
fn not_carried_over(found: &Found) -> Vec<String> {
    let mut parts = found.details.as_ref().map(|details| details.not_restorable.clone()).unwrap_or_default();
    parts.push("alarms, event subscriptions, proxies and names in DNS".to_owned());
    parts
}

pub(in crate::cli) fn news_in_words(news: &News) -> String {
    match news {
        News::Accepted { class } => format!("RDS has taken the order, class {class}"),
        News::Adopted => "an earlier attempt had ordered it: going on".to_owned(),
        News::NoRoom { class } => format!("AWS has no room for {class} now"),
        News::Status(status) => status.clone(),
        News::Unseen(why) => format!("not seen, asking again: {why}"),
    }
}

/// The option that chooses otherwise.
pub(in crate::cli) fn option_for(refusal: Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::NameTaken => Some("--as"),
        Refusal::NoCapacity | Refusal::Class => Some("--class"),
        Refusal::Network => Some("--subnet-group or --security-group"),
        Refusal::ParameterGroup => Some("--parameter-group"),
        Refusal::Moment => Some("--to"),
        Refusal::Backup | Refusal::Quota | Refusal::Key => None,
    }
}
