//! `strongroom restore snapshot` and `restore pitr`: a new instance out of a backup.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::NotBegun;
use super::choice::{moment_meant, snapshot_meant};
use super::setup::{Found, Meant, SetupArgs, complain_of, news_in_words, plan_in_words};
use crate::cli::{Exit, InPlane, complain, look, say, text, unknown_source, watched};
use crate::daemon::Assembly;
use crate::domain::id::{RegionName, SourceId};
use crate::domain::inventory::Instance;
use crate::domain::new_instance::InstanceDetails;
use crate::domain::progress::Progress;
use crate::policy::SourcePolicy;
use crate::ports::credentials::LoginRef;
use crate::ports::{Chain, ErrorKind, PortError};
use crate::restore::instance::InstanceRequest;
use crate::restore::read_all::read_all;
use crate::restore::{RestoreError, Server};

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
    /// Where the backup is; the new instance is made there.
    #[arg(long, value_enum, default_value_t = InPlane::Primary)]
    plane: InPlane,
    /// The region of the replica plane, where there are several.
    #[arg(long)]
    region: Option<RegionName>,
    #[command(flatten)]
    pub(super) setup: SetupArgs,
    /// Do not read the new instance through: it stays slow until RDS has loaded it in the background.
    #[arg(long)]
    no_read: bool,
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
            let (meant, _) = moment_meant(&assembly, &found, at).await?;
            Ok((found, meant))
        };
        self.new.restore(&assembly, prepared.await).await
    }
}

impl NewArgs {
    async fn find(&self, assembly: &Assembly) -> Result<Found, NotBegun> {
        let policy = &assembly.policy;
        let source = policy.sources.get(&self.source);
        let source = source.ok_or_else(|| NotBegun::Usage(unknown_source(&self.source)))?;
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

    /// Says what will be, does it, and says what is.
    async fn restore(&self, assembly: &Assembly, prepared: Result<(Found, Meant), NotBegun>) -> anyhow::Result<Exit> {
        let (found, meant, new) = match prepared.and_then(|(found, meant)| {
            let new = self.setup.new_instance(assembly, &found, &meant)?;
            Ok((found, meant, new))
        }) {
            Ok(all) => all,
            Err(not_begun) => return Ok(not_begun.told()),
        };
        text::print(&plan_in_words(&found, &meant, &new))?;
        if self.dry_run {
            return Ok(Exit::Done);
        }
        let clock = Arc::clone(&assembly.ports.clock);
        let began_at = clock.now();
        let request = self.setup.request(assembly, &found, &meant, new);
        let since = || format!("{:>8}", text::length(clock.now().duration_since(began_at)));
        let token = CancellationToken::new();
        let work = request.make(&token, |news| say(&format!("{}  {}", since(), news_in_words(&news))));
        let made = watched(clock.as_ref(), &token, "stopping to wait; RDS goes on", Box::pin(work), || {}).await;
        let details = match made {
            Ok(details) => details,
            Err(error) => return Ok(complain_of(&error)),
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
        let login = LoginRef::OfSource(source.id.clone());
        let server = Server::new(&assembly.ports, login, endpoint, format!("strongroom/{}", request.new.id));
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
            let reading = Box::pin(read_all(&server, database, usize::from(self.setup.jobs), &progress, token));
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
}

/// A database that could not be read through.
#[derive(Debug, thiserror::Error)]
#[error("database {database} of the new instance was not read to its end")]
struct Unread {
    database: String,
    #[source]
    error: RestoreError,
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
