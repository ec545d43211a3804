//! `strongroom restore snapshot` and `restore pitr`: a new instance out of a backup.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::NotBegun;
use super::choice::{backups_reaching, snapshot_meant};
use crate::cli::{Exit, InPlane, complain, look, say, text, watched};
use crate::daemon::Assembly;
use crate::domain::id::{InstanceId, RegionName, Slot, SourceId};
use crate::domain::inventory::Instance;
use crate::domain::new_instance::{InstanceDetails, InstanceSetup, Network, NewInstance, RestoreFrom};
use crate::domain::progress::Progress;
use crate::policy::SourcePolicy;
use crate::policy::restored::{RegionSetup, Restored, Wishes, setup_for};
use crate::ports::credentials::LoginRef;
use crate::ports::instances::{Instances, Refusal};
use crate::ports::{Chain, ErrorKind, PortError};
use crate::restore::instance::{Awaited, InstanceError, InstanceRequest, News};
use crate::restore::read_all::read_all;
use crate::restore::{RestoreError, Server};

/// Longest identifier of an instance.
const ID_MAX: usize = 63;

/// A line of progress each so many redraws: every ten seconds.
const REDRAWS_PER_LINE: i64 = 50;

/// Options of `restore snapshot`.
#[derive(Debug, Args)]
pub(super) struct FromSnapshot {
    /// The snapshot: one of strongroom's, or any other of the source by its identifier.
    #[arg(long, value_name = "ID", default_value = "latest")]
    from: String,
    #[command(flatten)]
    new: NewArgs,
}

/// Options of `restore pitr`.
#[derive(Debug, Args)]
pub(super) struct ToMoment {
    /// The moment, such as 2026-11-28T14:55:00Z, or `latest`: as far as the automated backups reach.
    #[arg(long, value_name = "TIME")]
    to: Moment,
    #[command(flatten)]
    new: NewArgs,
}

/// What the new instance is to be.
#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// The source, by its name in the configuration.
    pub(super) source: SourceId,
    /// Identifier of the new instance; without it, that of the source with what is restored.
    #[arg(long = "as", value_name = "ID")]
    name: Option<InstanceId>,
    /// Where the backup is; the new instance is made there.
    #[arg(long, value_enum, default_value_t = InPlane::Primary)]
    plane: InPlane,
    /// The region of the replica plane, where there are several.
    #[arg(long)]
    region: Option<RegionName>,
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
    timeout: SignedDuration,
    /// Do not read the new instance through: it stays slow until RDS has loaded it in the background.
    #[arg(long)]
    no_read: bool,
    /// Connections that read it through.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// A moment to restore to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Latest,
    At(Timestamp),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        if text == "latest" {
            return Ok(Moment::Latest);
        }
        let parsed = text.parse().map(Moment::At);
        parsed.map_err(|_| "write a time with its zone, such as 2026-11-28T14:55:00Z, or `latest`".to_owned())
    }
}

/// Everything that a restore needs, found.
pub(super) struct Found {
    pub(super) source: SourcePolicy,
    pub(super) region: RegionName,
    pub(super) instances: Arc<dyn Instances>,
    /// The source's instance; `None` where it is gone, or cannot be seen.
    pub(super) details: Option<InstanceDetails>,
}

/// What a new instance is made of, for people.
pub(super) struct Meant {
    pub(super) from: RestoreFrom,
    /// In words.
    pub(super) words: String,
    /// Part of the new instance's name.
    pub(super) stem: String,
    /// How its storage is encrypted, in words.
    pub(super) key: String,
}

impl FromSnapshot {
    pub(super) async fn run(self, mut assembly: Assembly) -> anyhow::Result<Exit> {
        let (inventory, plan) = look(&mut assembly).await;
        let prepared = async {
            let found = self.new.find(&assembly).await?;
            let meant = snapshot_meant(&assembly, &found, &inventory, &plan.points, &self.from).await?;
            Ok((found, meant))
        };
        self.new.restore(&assembly, prepared.await).await
    }
}

impl ToMoment {
    pub(super) async fn run(self, assembly: Assembly) -> anyhow::Result<Exit> {
        let prepared = async {
            let found = self.new.find(&assembly).await?;
            let at = match self.to {
                Moment::Latest => None,
                Moment::At(moment) => Some(moment),
            };
            let (backups, moment, words) = backups_reaching(&found, &assembly.policy.region, at).await?;
            let key = match (&backups.kms_key, backups.is_encrypted) {
                (Some(key), _) => format!("encrypted under {key}"),
                (None, Some(false)) => "not encrypted".to_owned(),
                (None, _) => "encrypted as the backups are".to_owned(),
            };
            let from = RestoreFrom::Time { backups, to: moment };
            Ok((found, Meant { from, words, stem: format!("pitr-{}", Slot::at(moment)), key }))
        };
        self.new.restore(&assembly, prepared.await).await
    }
}

impl NewArgs {
    async fn find(&self, assembly: &Assembly) -> Result<Found, NotBegun> {
        let policy = &assembly.policy;
        let source = policy.sources.get(&self.source);
        let source = source.ok_or_else(|| NotBegun::Usage(format!("no source is called `{}`", self.source)))?;
        let region = match self.plane {
            InPlane::Primary if self.region.as_ref().is_some_and(|region| *region != policy.region) => {
                return Err(NotBegun::Usage(
                    "--region is about backups of the other plane: add --plane replica".to_owned(),
                ));
            }
            InPlane::Primary => policy.region.clone(),
            InPlane::Replica => self.replica_region(assembly, source)?,
        };
        let here = |region: &RegionName| assembly.ports.instances.get(region).cloned();
        let instances = here(&region)
            .ok_or_else(|| NotBegun::Usage(format!("nothing of the configuration is in region {region}")))?;
        let home = here(&policy.region).unwrap_or_else(|| Arc::clone(&instances));
        let details = match (home.details(&source.instance).await, self.plane) {
            (Ok(details), _) => details,
            (Err(error), InPlane::Primary) => return Err(error.into()),
            (Err(error), InPlane::Replica) => {
                say(&format!("the source cannot be seen ({}): what is not configured has to be told", Chain(&error)));
                None
            }
        };
        Ok(Found { source: source.clone(), region, instances, details })
    }

    /// The region that the source's backups are copied to.
    fn replica_region(&self, assembly: &Assembly, source: &SourcePolicy) -> Result<RegionName, NotBegun> {
        let copies = source.obligations.iter().flat_map(|obligation| &obligation.copies).map(|copies| &copies.region);
        let restored = assembly.policy.restore.keys().filter(|region| **region != assembly.policy.region);
        let known: BTreeSet<&RegionName> = copies.chain(restored).collect();
        match (&self.region, known.iter().collect::<Vec<_>>().as_slice()) {
            (Some(region), _) if *region == assembly.policy.region => {
                Err(NotBegun::Usage(format!("{region} is the region of the source: leave out --plane replica")))
            }
            (Some(region), _) => Ok(region.clone()),
            (None, [only]) => Ok((**only).clone()),
            (None, []) => Err(NotBegun::Usage(format!("source {} has no backups in another region", self.source))),
            (None, [_, ..]) => {
                let names: Vec<&str> = known.iter().map(|region| region.as_str()).collect();
                Err(NotBegun::Usage(format!("say which region with --region: {}", names.join(", "))))
            }
        }
    }

    fn wishes(&self) -> Wishes {
        let (subnet_group, security_groups) = (self.subnet_group.clone(), self.security_group.clone());
        Wishes {
            class: self.class.clone(),
            network: Network { subnet_group, security_groups },
            parameter_group: self.parameter_group.clone(),
            single_az: self.single_az,
        }
    }

    /// Says what will be, does it, and says what is.
    async fn restore(&self, assembly: &Assembly, prepared: Result<(Found, Meant), NotBegun>) -> anyhow::Result<Exit> {
        let (found, meant, new) = match prepared.and_then(|(found, meant)| {
            let new = self.new_instance(assembly, &found, &meant)?;
            Ok((found, meant, new))
        }) {
            Ok(all) => all,
            Err(not_begun) => return Ok(not_begun.told()),
        };
        text::print(&plan(&found, &meant, &new))?;
        if self.dry_run {
            return Ok(Exit::Done);
        }
        let clock = Arc::clone(&assembly.ports.clock);
        let began_at = clock.now();
        let request = InstanceRequest {
            awaited: Awaited {
                instances: Arc::clone(&found.instances),
                clock: Arc::clone(&clock),
                id: new.id.clone(),
                poll_interval: assembly.policy.cadence.poll_interval,
                deadline: began_at.saturating_add(self.timeout).unwrap_or(Timestamp::MAX),
            },
            new: NewInstance { id: new.id.clone(), from: meant.from, setup: new.restored.setup },
            other_classes: new.restored.other_classes,
        };
        let since = || format!("{:>8}", text::length(clock.now().duration_since(began_at)));
        let token = CancellationToken::new();
        let work = request.make(&token, |news| say(&format!("{}  {}", since(), told(&news))));
        let made = watched(clock.as_ref(), &token, "stopping to wait; RDS goes on", Box::pin(work), || {}).await;
        let details = match made {
            Ok(details) => details,
            Err(error) => return Ok(self.failed(&error)),
        };
        let mut lines = vec![format!("available    after {}", since().trim())];
        let read = self.read(assembly, &found.source, &request, &details, &token, &mut lines, &since).await;
        text::print(&(lines.join("\n") + "\n" + &next_steps(&found, &details)))?;
        Ok(match read {
            Ok(()) => Exit::Done,
            Err(error) => {
                complain(&Chain(error.as_ref()));
                Exit::Failed
            }
        })
    }

    fn new_instance(&self, assembly: &Assembly, found: &Found, meant: &Meant) -> Result<Wanted, NotBegun> {
        let nothing = RegionSetup::default();
        let region = assembly.policy.restore.get(&found.region).unwrap_or(&nothing);
        let is_in_region = found.region == assembly.policy.region;
        let restored = setup_for(found.details.as_ref(), is_in_region, region, &self.wishes()).map_err(|missing| {
            NotBegun::Usage(format!(
                "nobody says {missing}: give it as an option, or under `restore.{}` in the configuration",
                found.region
            ))
        })?;
        let id = match &self.name {
            Some(id) => id.clone(),
            None => default_name(&found.source.instance, &meant.stem)?,
        };
        if assembly.policy.sources.values().any(|source| source.instance == id) {
            return Err(NotBegun::Refused(format!("{id} is the name of a source's instance: choose another one")));
        }
        Ok(Wanted { id, restored })
    }

    /// The first question, then every row.
    #[expect(clippy::too_many_arguments, reason = "one step of a command, apart for its length only")]
    async fn read(
        &self,
        assembly: &Assembly,
        source: &SourcePolicy,
        request: &InstanceRequest,
        details: &InstanceDetails,
        token: &CancellationToken,
        lines: &mut Vec<String>,
        since: &impl Fn() -> String,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let Some(first) = source.databases.first() else {
            lines.push("not read     the configuration has no `databases` for this source".to_owned());
            return Ok(());
        };
        let endpoint = details.instance.endpoint.clone();
        let endpoint = endpoint.ok_or_else(|| PortError::new("find the new instance's endpoint", ErrorKind::Other))?;
        let server = Server {
            postgres: Arc::clone(&assembly.ports.postgres),
            credentials: Arc::clone(&assembly.ports.credentials),
            login: LoginRef::OfSource(source.id.clone()),
            endpoint,
            name: format!("strongroom/{}", request.new.id),
        };
        let clock = assembly.ports.clock.as_ref();
        let asking = Box::pin(request.awaited.first_answer(&server, first, token));
        watched(clock, token, "stopping", asking, || {}).await?;
        lines.push(format!("first answer after {}", since().trim()));
        if self.no_read {
            return Ok(());
        }
        let progress = Arc::new(Progress::default());
        let (mut tables, mut rows) = (0, 0);
        let shown = Cell::new(0);
        for database in &source.databases {
            let reading = Box::pin(read_all(&server, database, usize::from(self.jobs), &progress, token));
            let redraw = || show_rows(&progress, &shown, since);
            let read = watched(clock, token, "stopping", reading, redraw).await;
            let read = read.map_err(|error| Unread { database: database.to_string(), error })?;
            tables += read.len();
            rows += read.iter().map(|table| table.rows).sum::<u64>();
        }
        let bytes = text::size(progress.count().read_bytes);
        lines.push(format!("fully read   after {}: {tables} tables, {rows} rows, {bytes}", since().trim()));
        Ok(())
    }

    fn failed(&self, error: &InstanceError) -> Exit {
        complain(&Chain(error));
        if let InstanceError::Refused(refused) = error
            && let Some(option) = refused.why.and_then(option_for)
        {
            say(&format!("the option for it is {option}"));
        }
        Exit::Failed
    }
}

/// A new instance, chosen.
struct Wanted {
    id: InstanceId,
    restored: Restored,
}

/// A database that could not be read through.
#[derive(Debug, thiserror::Error)]
#[error("database {database} of the new instance was not read to its end")]
struct Unread {
    database: String,
    #[source]
    error: RestoreError,
}

/// `<instance>-<what>`, with the instance's name cut where both do not fit.
fn default_name(instance: &InstanceId, stem: &str) -> Result<InstanceId, NotBegun> {
    let room = ID_MAX.saturating_sub(stem.len() + 1);
    let cut = instance.as_str().get(..room).unwrap_or(instance.as_str()).trim_end_matches('-');
    format!("{cut}-{stem}").parse().map_err(|error| NotBegun::Usage(format!("{error}: name it with --as")))
}

/// What will be done.
fn plan(found: &Found, meant: &Meant, new: &Wanted) -> String {
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

fn told(news: &News) -> String {
    match news {
        News::Accepted { class } => format!("RDS has taken the order, class {class}"),
        News::Adopted => "an earlier attempt had ordered it: going on".to_owned(),
        News::NoRoom { class } => format!("AWS has no room for {class} now"),
        News::Status(status) => status.clone(),
        News::Unseen(why) => format!("not seen, asking again: {why}"),
    }
}

fn show_rows(progress: &Progress, shown: &Cell<i64>, since: &impl Fn() -> String) {
    // A line each so many redraws: also where no terminal shows a bar.
    let tick = shown.get() + 1;
    shown.set(tick);
    if tick % REDRAWS_PER_LINE == 0 {
        let count = progress.count();
        say(&format!("{}  read {} rows, {}", since(), count.rows, text::size(count.read_bytes)));
    }
}

/// What a person does next.
fn next_steps(found: &Found, details: &InstanceDetails) -> String {
    let Instance { id, endpoint, .. } = &details.instance;
    let place = endpoint.as_ref().map_or_else(|| "-".to_owned(), |at| format!("{}:{}", at.host, at.port));
    let region = &found.region;
    let mut lines = vec![
        format!("restored as {id} at {place}; {} is as it was", found.source.instance),
        format!("next        let applications use {place} once you have seen that the data is right"),
    ];
    let delete =
        format!("aws rds delete-db-instance --region {region} --db-instance-identifier {id} --skip-final-snapshot");
    if details.setup.deletion_protection {
        lines.push(format!(
            "to undo     aws rds modify-db-instance --region {region} --db-instance-identifier {id} --no-deletion-protection"
        ));
        lines.push(format!("            {delete}"));
    } else {
        lines.push(format!("to undo     {delete}"));
    }
    lines.join("\n") + "\n"
}

/// The option that chooses otherwise.
fn option_for(refusal: Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::NameTaken => Some("--as"),
        Refusal::NoCapacity | Refusal::Class => Some("--class"),
        Refusal::Network => Some("--subnet-group or --security-group"),
        Refusal::ParameterGroup => Some("--parameter-group"),
        Refusal::Moment => Some("--to"),
        Refusal::Backup | Refusal::Quota | Refusal::Key => None,
    }
}
