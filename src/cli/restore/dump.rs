//! `strongroom restore dump`: a stored dump into a database.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::NotBegun;
use super::bar::Bar;
use crate::cli::{Exit, InPlane, collect, complain, say, text, unknown_source, watched};
use crate::daemon::Assembly;
use crate::domain::id::{DatabaseName, InstanceId, SourceId};
use crate::domain::inventory::{Endpoint, Inventory, StoredDump};
use crate::domain::manifest::{MANIFEST_BYTES_MAX, Manifest, StoredObject};
use crate::domain::prune_record::ObjectVersion;
use crate::domain::recovery_point::{Plane, PointState};
use crate::dump::archive;
use crate::policy::ReplicaMode;
use crate::ports::credentials::LoginRef;
use crate::ports::object_store::ObjectStore;
use crate::ports::{Chain, ErrorKind, PortError};
use crate::restore::{
    RestoreError, RestoreRequest, Restored, Selection, Server, Target, Watch, objects_of, restore_dump,
};

/// Options of `restore dump`.
#[derive(Debug, Args)]
pub(super) struct Dump {
    /// The source, by its name in the configuration.
    source: SourceId,
    /// The database to restore into.
    #[arg(long, value_name = "DATABASE")]
    into: DatabaseName,
    /// The dumped database; may be left out where the source has only one.
    #[arg(long)]
    database: Option<DatabaseName>,
    /// The dump, as `strongroom list` names it; without it the newest good one.
    #[arg(long, value_name = "POINT")]
    from: Option<String>,
    /// Where to read the dump.
    #[arg(long, value_enum, default_value_t = InPlane::Primary)]
    plane: InPlane,
    #[command(flatten)]
    server: ServerArgs,
    /// Make the database, with the encoding and collation of the dumped one. It must not be there.
    #[arg(long)]
    create: bool,
    /// Connections that load rows and make indexes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Only this schema, with everything in it. May be repeated.
    #[arg(long, value_name = "SCHEMA")]
    schema: Vec<String>,
    /// Only this table, as schema.table, with what it needs, its partitions, indexes and constraints. May be repeated.
    #[arg(long, value_name = "SCHEMA.TABLE")]
    table: Vec<String>,
    /// Only this step. May be repeated.
    #[arg(long, value_enum)]
    section: Vec<Section>,
    /// Make no roles.
    #[arg(long)]
    no_roles: bool,
    /// Everything belongs to the user who restores it.
    #[arg(long)]
    no_owner: bool,
    /// Grant no rights.
    #[arg(long)]
    no_privileges: bool,
    /// Do not compare the result with the dump.
    #[arg(long)]
    no_compare: bool,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Where the server is, and how to get in.
#[derive(Debug, Args)]
struct ServerArgs {
    /// The server: an RDS instance of the configured account and region.
    #[arg(long, value_name = "ID", required_unless_present = "host", conflicts_with = "host")]
    instance: Option<InstanceId>,
    /// The server: a host name, as its certificate has it.
    #[arg(long)]
    host: Option<String>,
    /// The port at that host.
    #[arg(long, default_value_t = 5432, requires = "host")]
    port: u16,
    /// Log in with a secret of AWS Secrets Manager, by name or ARN.
    #[arg(long, value_name = "ID", required_unless_present = "user", conflicts_with = "user")]
    secret: Option<String>,
    /// Log in as this user, with --password-file or --iam.
    #[arg(long)]
    user: Option<String>,
    /// A file that holds the user's password and nothing else.
    #[arg(long, value_name = "FILE", requires = "user", conflicts_with = "iam")]
    password_file: Option<PathBuf>,
    /// Log in with an RDS IAM token.
    #[arg(long, requires = "user")]
    iam: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Schemas, types, tables, functions.
    PreData,
    /// Rows, large objects, sequences.
    Data,
    /// Indexes, constraints, triggers.
    PostData,
}

impl From<Section> for archive::Section {
    fn from(section: Section) -> archive::Section {
        match section {
            Section::PreData => archive::Section::PreData,
            Section::Data => archive::Section::Data,
            Section::PostData => archive::Section::PostData,
        }
    }
}

impl Dump {
    pub(super) async fn run(self, mut assembly: Assembly) -> anyhow::Result<Exit> {
        let inventory = collect(&mut assembly).await;
        let dumps = self.dumps(&mut assembly, &inventory).await;
        let request = match self.request(&assembly, &inventory, dumps).await {
            Ok(request) => request,
            Err(not_begun) => return Ok(not_begun.told()),
        };
        text::print(&self.plan(&request))?;
        if self.dry_run {
            return Ok(Exit::Done);
        }
        let began_at = assembly.ports.clock.now();
        let ended = restore_into(&assembly, &request, &CancellationToken::new()).await;
        let took = assembly.ports.clock.now().duration_since(began_at);
        match ended {
            Ok(restored) => {
                text::print(&report(&request, &restored, took))?;
                Ok(Exit::Done)
            }
            Err(error) => {
                complain(&Chain(&error));
                Ok(match error {
                    RestoreError::NotInDump(_) => Exit::Usage,
                    RestoreError::Exists { .. } | RestoreError::NotEmpty { .. } | RestoreError::ClientTooOld { .. } => {
                        Exit::Refused
                    }
                    RestoreError::Port(_)
                    | RestoreError::Table { .. }
                    | RestoreError::Damaged(_)
                    | RestoreError::Archive(_)
                    | RestoreError::Read { .. }
                    | RestoreError::Client { .. }
                    | RestoreError::Differs(_)
                    | RestoreError::Compare(_)
                    | RestoreError::Cancelled
                    | RestoreError::Panicked => Exit::Failed,
                })
            }
        }
    }

    async fn request(
        &self,
        assembly: &Assembly,
        inventory: &Inventory,
        dumps: Result<Vec<StoredDump>, NotBegun>,
    ) -> Result<RestoreRequest, NotBegun> {
        let ports = &assembly.ports;
        let stored = self.choose(assembly, dumps?)?;
        let (manifest, objects, store) = readable(assembly, &stored).await?;
        let sections = if self.section.is_empty() {
            vec![archive::Section::PreData, archive::Section::Data, archive::Section::PostData]
        } else {
            self.section.iter().copied().map(Into::into).collect()
        };
        Ok(RestoreRequest {
            objects,
            store,
            server: Server::new(
                ports,
                self.server.login()?,
                self.server.endpoint(inventory)?,
                format!("strongroom/restore-{}", stored.dump.slot),
            ),
            client: Arc::clone(&ports.pg_restore),
            clock: Arc::clone(&ports.clock),
            target: Target {
                database: self.into.clone(),
                create: self.create,
                roles: !self.no_roles,
                owners: !self.no_owner,
                privileges: !self.no_privileges,
            },
            selection: Selection { schemas: self.schema.clone(), tables: self.table.clone() },
            sections,
            jobs: usize::from(self.jobs),
            compare: !self.no_compare,
            manifest,
        })
    }

    /// The dumps of the source in the plane. If the first region is gone the replica bucket is asked by itself: a dump that is
    /// whole there will do then, although nobody can say whether it was verified.
    async fn dumps(&self, assembly: &mut Assembly, inventory: &Inventory) -> Result<Vec<StoredDump>, NotBegun> {
        let source = &self.source;
        let policy = Arc::clone(&assembly.policy);
        if !policy.sources.contains_key(source) {
            return Err(NotBegun::Usage(unknown_source(source)));
        }
        let unseen = match (inventory.store(source), self.plane) {
            (Ok(store), plane) => {
                let dumps = store.dumps_in(plane.into()).ok_or_else(|| {
                    let advice = "or it cannot be seen: leave out --plane";
                    NotBegun::Usage(format!("no replica bucket is configured, {advice}"))
                })?;
                return Ok(dumps.iter().cloned().collect());
            }
            (Err(unseen), InPlane::Primary) => {
                let advice = "--plane replica takes the dump from the second region, if there is one";
                return Err(NotBegun::Usage(format!("the dumps cannot be seen: {}; {advice}", unseen.0)));
            }
            (Err(unseen), InPlane::Replica) => unseen,
        };
        let dumps = assembly.collector.dumps_in_replica(&assembly.ports, &policy, source).await;
        let mut dumps = dumps.map_err(|own| NotBegun::Usage(format!("the dumps cannot be seen: {}", own.0)))?;
        say(&format!("the first region cannot be seen ({}): whether a dump was verified is not known", unseen.0));
        for stored in dumps.iter_mut().filter(|stored| stored.whole && stored.point.state == PointState::Pending) {
            stored.point.state = PointState::Good;
        }
        Ok(dumps)
    }

    /// The dump that is meant.
    fn choose(&self, assembly: &Assembly, dumps: Vec<StoredDump>) -> Result<StoredDump, NotBegun> {
        let source = &self.source;
        let databases = assembly.policy.sources.get(source).map_or(&[][..], |policy| policy.databases.as_slice());
        let database = match (&self.database, &self.from, databases) {
            (Some(database), _, _) => Some(database),
            (None, Some(_), _) => None,
            (None, None, [only]) => Some(only),
            (None, None, _) => {
                return Err(NotBegun::Usage(format!(
                    "source {source} has several databases: say which with --database"
                )));
            }
        };
        let of_database = |stored: &StoredDump| database.is_none_or(|database| stored.dump.database == *database);
        let mut dumps = dumps.into_iter().filter(of_database);
        let Some(point) = &self.from else {
            let (good, others): (Vec<StoredDump>, Vec<StoredDump>) = dumps.partition(|stored| stored.point.is_good());
            let newest = good.into_iter().max_by_key(|stored| stored.point.created_at);
            let advice = "has no good dump there: `strongroom list` shows what there is";
            let newest = newest.ok_or_else(|| NotBegun::Refused(format!("source {source} {advice}")))?;
            for newer in
                others.iter().filter(|own| is_unreadable(own) && own.point.created_at > newest.point.created_at)
            {
                let (id, state) = (&newer.point.id, &newer.point.state);
                say(&format!("passed over: dump {id} is newer, and {state}; --from {id} tries it"));
            }
            return Ok(newest);
        };
        let named = dumps.find(|stored| stored.point.id == *point);
        let named = named.ok_or_else(|| {
            NotBegun::Usage(format!("there is no dump {point} there: `strongroom list {source}` names them"))
        })?;
        if named.point.is_good() {
            return Ok(named);
        }
        // Rights and keys may have been mended since; what is restored is compared with what was dumped in any case.
        if is_unreadable(&named) {
            say(&format!("dump {point} is {}; it is tried", named.point.state));
            return Ok(named);
        }
        let advice = "what can be saved of it is saved as its RESTORE.md says";
        Err(NotBegun::Refused(format!("dump {point} is {}: choose another one; {advice}", named.point.state)))
    }

    fn plan(&self, request: &RestoreRequest) -> String {
        let RestoreRequest { manifest, server, target, .. } = request;
        let Endpoint { host, port } = &server.endpoint;
        let mut lines = vec![
            match &manifest.from_snapshot {
                Some(snapshot) => {
                    let moment = text::utc(manifest.snapshot_at);
                    format!("dump      {}, data of {moment}, that of snapshot {snapshot}", manifest.dump)
                }
                None => format!("dump      {}, data of {}", manifest.dump, text::utc(manifest.snapshot_at)),
            },
            format!(
                "          {} rows in {} tables, {} stored, engine {}",
                manifest.rows,
                manifest.tables.len(),
                text::size(manifest.stored_bytes),
                manifest.engine.as_str()
            ),
            format!(
                "into      database {} at {host}:{port}, {}",
                target.database,
                if target.create { "which is made" } else { "which must be there" }
            ),
        ];
        if !self.schema.is_empty() || !self.table.is_empty() {
            let only: Vec<&str> = self.schema.iter().chain(&self.table).map(String::as_str).collect();
            lines.push(format!("only      {}, with what they need", only.join(", ")));
        }
        let without = [
            (self.no_roles, "roles"),
            (self.no_owner, "owners"),
            (self.no_privileges, "rights"),
            (self.no_compare, "comparison"),
        ];
        let without: Vec<&str> = without.into_iter().filter_map(|(is, what)| is.then_some(what)).collect();
        if !without.is_empty() {
            lines.push(format!("without   {}", without.join(", ")));
        }
        lines.push(format!("over      {} connections", request.jobs));
        lines.join("\n") + "\n"
    }
}

impl ServerArgs {
    fn login(&self) -> Result<LoginRef, NotBegun> {
        match (&self.secret, &self.user, &self.password_file) {
            (Some(id), _, _) => Ok(LoginRef::Secret { id: id.clone() }),
            (None, Some(user), Some(path)) => Ok(LoginRef::PasswordFile { user: user.clone(), path: path.clone() }),
            (None, Some(user), None) if self.iam => Ok(LoginRef::IamToken { user: user.clone() }),
            (None, _, _) => {
                Err(NotBegun::Usage("say how to log in: --secret, or --user with --password-file or --iam".to_owned()))
            }
        }
    }

    fn endpoint(&self, inventory: &Inventory) -> Result<Endpoint, NotBegun> {
        let Some(id) = &self.instance else {
            return Ok(Endpoint { host: self.host.clone().unwrap_or_default(), port: self.port });
        };
        let found = inventory.instance(id).map_err(|unseen| NotBegun::Usage(format!("not seen: {}", unseen.0)))?;
        let found = found.ok_or_else(|| NotBegun::Usage(format!("RDS has no instance {id} in this region")))?;
        let advice =
            || NotBegun::Refused(format!("instance {id} is {} and has no endpoint yet: wait for it", found.status));
        found.endpoint.clone().ok_or_else(advice)
    }
}

/// A dump as a restore reads it: its manifest, its objects by the last part of their keys, and the bucket that they are in.
pub(in crate::cli) async fn readable(
    assembly: &Assembly,
    stored: &StoredDump,
) -> Result<(Manifest, BTreeMap<String, (StoredObject, ObjectVersion)>, Arc<dyn ObjectStore>), PortError> {
    let ports = &assembly.ports;
    let invalid = |error| PortError::new(format!("use {}", stored.manifest.key), ErrorKind::Invalid).because(error);
    // Objects that strongroom has had copied stand under other version ids than those of the manifest.
    let (store, same_versions) = match (stored.point.plane, &ports.replica, &assembly.policy.destination.replica) {
        (Plane::Primary, _, _) => (Arc::clone(&ports.store), true),
        (Plane::Replica, Some(store), Some(replica)) => (Arc::clone(store), replica.mode == ReplicaMode::Replicated),
        (Plane::Replica, _, _) => return Err(invalid(crate::ports::Cause::from("no replica bucket is configured"))),
    };
    let found = store.get(&stored.manifest.key, MANIFEST_BYTES_MAX).await?;
    let manifest = Manifest::read(&found.bytes, &stored.dump).map_err(|error| invalid(error.into()))?;
    let objects = objects_of(&manifest, same_versions);
    Ok((manifest, objects, store))
}

/// Restores with its progress on a terminal.
pub(in crate::cli) async fn restore_into(
    assembly: &Assembly,
    request: &RestoreRequest,
    token: &CancellationToken,
) -> Result<Restored, RestoreError> {
    let watch = Arc::new(Watch::default());
    let bar = Bar::new(request.bytes());
    let mut told = None;
    let redraw = || {
        if told != watch.phase() {
            told = watch.phase();
            bar.enter(told);
        }
        bar.show(&watch);
    };
    let work = Box::pin(restore_dump(request, &watch, token));
    let restored = watched(assembly.ports.clock.as_ref(), token, "stopping", work, redraw).await;
    bar.finish();
    restored
}

fn report(request: &RestoreRequest, restored: &Restored, took: SignedDuration) -> String {
    let mut lines: Vec<String> = restored
        .phases
        .iter()
        .map(|(phase, took)| format!("{:24} {:.1} s", phase.as_str(), took.as_secs_f64()))
        .collect();
    lines.extend(restored.benign.iter().map(|error| format!("passed over: {error}")));
    if !restored.roles.is_empty() {
        lines.push(format!("made roles without passwords: {}", restored.roles.join(", ")));
    }
    let proof = match restored.rows {
        Some(rows) if request.manifest.tables.iter().all(|table| table.hash.is_some()) => {
            format!("{rows} rows compared with the dump by count and hash, all equal")
        }
        Some(rows) => format!("{rows} rows compared with the dump by count, all equal; this engine keeps no hashes"),
        None => "not compared with the dump".to_owned(),
    };
    lines.push(format!(
        "restored {} into {} after {:.1} s: {} tables, {proof}",
        request.manifest.dump,
        request.target.database,
        took.as_secs_f64(),
        restored.tables
    ));
    lines.join("\n") + "\n"
}

/// Whether nobody could read it at the last attempt, so that nobody knows whether it is good.
fn is_unreadable(stored: &StoredDump) -> bool {
    matches!(stored.point.state, PointState::Unreadable { .. })
}
