//! Dumps a database: claim, facts, archive, companions, and last of all the manifest.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::claim::Claim;
use super::drilled::differences;
use super::hold::Stop;
use super::patient_store::PatientStore;
use super::{Executor, Outcome, restore_md};
use crate::domain::id::RunId;
use crate::domain::manifest::{
    Compression, Engine, LargeObjects, MANIFEST_VERSION, Manifest, StoredObject, Table, Versions,
};
use crate::domain::memory::DumpMemory;
use crate::domain::progress::Progress;
use crate::domain::run::{Failure, RunState, StopCause};
use crate::dump::bandwidth::Bandwidth;
use crate::dump::memory::Share;
use crate::dump::parallel::{ParallelRequest, dump_in_parallel};
use crate::dump::parts::PartSizes;
use crate::dump::replica::Primary;
use crate::dump::{ARCHIVE, Archive, ArchiveRequest, DumpError, GLOBALS, put_new, stream_archive};
use crate::plan::action::StartDump;
use crate::policy::governor;
use crate::ports::object_store::ObjectStore;
use crate::ports::postgres::{DatabaseFacts, Globals, TextEncoding};
use crate::ports::{Chain, ErrorKind, PortError};

/// Name of the instructions.
const RESTORE_MD: &str = "RESTORE.md";

/// A piece of a large table that one connection of the parallel engine reads: some seconds of work, so that nobody waits long
/// for the last one.
const RANGE_BYTES: u64 = 64 << 20;

/// An archive in the store, made by either engine.
struct StoredArchive {
    format: (u8, u8),
    uncompressed_bytes: u64,
    rows: u64,
    tables: Vec<Table>,
    large_objects: LargeObjects,
    objects: Vec<StoredObject>,
    warnings: Option<String>,
}

/// The name of a dump's sessions, seen in `pg_stat_activity` by whoever wonders what holds back vacuum.
pub(super) fn session_name(run: &RunId) -> String {
    format!("strongroom/{run}")
}

/// Why there is no dump, in words, and what it gave way to.
fn why(
    start: &StartDump,
    error: &DumpError,
    stopped: Option<Stop>,
    governed: Option<governor::Stop>,
) -> (String, Option<StopCause>) {
    if let Some(governed) = governed {
        return (format!("stopped by the governor: {}", governed.reason), Some(governed.cause));
    }
    if stopped.is_some() {
        return (format!("the dump had not ended at its deadline, {}", start.deadline), None);
    }
    let chain = Chain(error);
    if start.read_from.replica_of.is_some() && error.is_recovery_conflict() {
        return (format!("the replica had to go on replaying: {chain}"), Some(StopCause::RecoveryConflict));
    }
    (chain.to_string(), None)
}

/// What was asked before the dump.
struct Prepared {
    facts: DatabaseFacts,
    globals: Globals,
    pg_dump_version: String,
    /// Where a replica is read: what it is a replica of.
    primary: Option<Primary>,
    /// What the dump will not have.
    left_out: Option<String>,
}

/// What a dump is made with, once its database is known.
struct Means {
    text: TextEncoding,
    sizes: PartSizes,
    memory: Arc<Share>,
    primary: Option<Primary>,
}

impl Executor {
    pub(super) async fn dump(
        &self,
        start: &StartDump,
        progress: Arc<Progress>,
        token: CancellationToken,
    ) -> Result<Outcome, PortError> {
        let Some(claim) = self.claim(self.new_record(&start.dump.source, &start.run)).await? else {
            return Ok(Outcome::ClaimedElsewhere);
        };
        let started_at = claim.record().started_at;
        let claim = Mutex::new(claim);
        let stop = token.child_token();
        let finished = CancellationToken::new();
        let work = async {
            let store = PatientStore {
                store: Arc::clone(&self.ports.store),
                clock: Arc::clone(&self.ports.clock),
                tolerance: self.settings.outage_tolerance,
                stop: stop.clone(),
            };
            let store: Arc<dyn ObjectStore> = Arc::new(store);
            let made = self.make_dump(start, started_at, &claim, progress, &store, &stop).await;
            finished.cancel();
            made
        };
        let (made, stopped, governed) = tokio::join!(
            work,
            self.hold_claim(&claim, start.deadline, &finished, &stop),
            self.govern(start, &finished, &stop),
        );
        let claim = claim.into_inner();
        let finished_at = self.ports.clock.now();
        let state = match (made, stopped) {
            (Ok(manifest), _) => RunState::Succeeded { finished_at, size_bytes: manifest.stored_bytes },
            (Err(_), Some(Stop::ClaimLost)) => return Ok(Outcome::ClaimedElsewhere),
            (Err(error), None) if governed.is_none() && error.kind() == ErrorKind::Cancelled => {
                RunState::Cancelled { finished_at }
            }
            (Err(error), stopped) => {
                let (message, stopped_by) = why(start, &error, stopped, governed);
                let explained = self.explain(message, &start.read_from.instance, started_at).await;
                RunState::Failed { finished_at, failure: Failure { stopped_by, ..explained } }
            }
        };
        self.end(claim, state).await
    }

    async fn make_dump(
        &self,
        start: &StartDump,
        started_at: Timestamp,
        claim: &Mutex<Claim>,
        progress: Arc<Progress>,
        store: &Arc<dyn ObjectStore>,
        stop: &CancellationToken,
    ) -> Result<Manifest, DumpError> {
        let prepared = tokio::select! {
            prepared = self.prepare(start, stop) => prepared?,
            () = stop.cancelled() => return Err(DumpError::Cancelled),
        };
        let Prepared { facts, globals, pg_dump_version, primary, left_out } = prepared;
        let sizes = PartSizes::for_dump(self.settings.part_size_bytes, facts.size_bytes);
        let memory = self.share_of_memory(start, sizes, stop).await?;
        if let Some(primary) = &primary {
            // It may have waited for memory, and the replica may have been started anew since, further back.
            self.await_replay(start, primary, stop).await?;
        }
        let means = Means { text: facts.text, sizes, memory, primary: primary.clone() };
        let mut archive = match start.settings.engine {
            Engine::PgDump => self.store_archive(start, means, progress, store, stop).await?,
            Engine::Parallel => self.store_tables(start, means, progress, store, stop).await?,
        };
        if let Some(warnings) = &archive.warnings {
            tracing::warn!(warnings, "pg_dump succeeded and warned; the manifest keeps the warnings");
        }
        if let Some(left_out) = left_out {
            tracing::warn!(left_out, "the dump has not all that the instance has; the manifest says so");
            archive.warnings = Some(archive.warnings.into_iter().chain([left_out]).collect::<Vec<_>>().join("\n"));
        }
        if let Some(primary) = &primary {
            // Had it been promoted meanwhile, what was read could be what somebody has written there since.
            self.await_replay(start, primary, stop).await?;
        }
        if stop.is_cancelled() {
            return Err(DumpError::Cancelled);
        }
        let globals_object = self.store_new(store, start, GLOBALS, globals.sql.clone().into_bytes()).await?;
        if let Some(other) = start.read_from.restored.as_ref().and_then(|drilled| differences(drilled, &archive.tables))
        {
            let doing = format!("take the dump from {}", start.read_from.instance);
            return Err(PortError::new(doing, ErrorKind::Damaged).because(other).into());
        }
        let versions = Versions {
            strongroom: env!("CARGO_PKG_VERSION").to_owned(),
            server: facts.server_version.clone(),
            pg_dump: pg_dump_version,
            archive: format!("{}.{}", archive.format.0, archive.format.1),
        };
        let mut manifest = self.manifest(start, started_at, facts, globals, versions, archive);
        manifest.objects.push(globals_object);
        let text = restore_md::restore_md(&manifest, &self.settings.bucket);
        manifest.objects.push(self.store_new(store, start, RESTORE_MD, text.into_bytes()).await?);
        manifest.stored_bytes = manifest.objects.iter().map(|object| object.size_bytes).sum();
        manifest.finished_at = self.ports.clock.now();
        // A daemon that was paused for longer than its lease must not commit what another has begun anew.
        if !self.still_claimed(claim, stop).await? {
            return Err(DumpError::Port(
                PortError::new(format!("commit run {}", start.run), ErrorKind::AlreadyExists)
                    .because("another daemon has taken the run over"),
            ));
        }
        self.commit(store, start, &manifest).await?;
        Ok(manifest)
    }

    /// Whether the claim stands, asked for as patiently as everything else at the end of a dump of hours.
    async fn still_claimed(&self, claim: &Mutex<Claim>, stop: &CancellationToken) -> Result<bool, PortError> {
        const PAUSE: SignedDuration = SignedDuration::from_secs(5);
        let clock = &self.ports.clock;
        let until = clock.now().saturating_add(self.settings.outage_tolerance).unwrap_or(Timestamp::MAX);
        loop {
            match claim.lock().await.stands().await {
                Err(error) if error.may_pass() && clock.now() < until && !stop.is_cancelled() => {
                    tracing::warn!(error = %Chain(&error), "the claim on the run cannot be read, it is tried again");
                }
                answered => return answered,
            }
            let next = clock.now().saturating_add(PAUSE).unwrap_or(Timestamp::MAX);
            tokio::select! {
                () = clock.sleep_until(next) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Everything that is asked before the client starts. Each question logs in anew: tokens expire.
    async fn prepare(&self, start: &StartDump, stop: &CancellationToken) -> Result<Prepared, PortError> {
        let pg_dump_version = self.ports.pg_dump.version().await?.text;
        let read_from = &start.read_from;
        // The moment of the data is the instance's: a replica that has replayed all that was written until then has it, too.
        let instance = read_from.replica_of.as_ref().unwrap_or(&read_from.endpoint);
        let login = self.ports.credentials.login(&start.dump.source, instance).await?;
        let facts = self.ports.postgres.facts(&login, &start.dump.database).await?;
        let (primary, left_out) = match &read_from.replica_of {
            None if read_from.restored.is_some() => (None, self.left_out(start, "snapshot").await?),
            None => (None, None),
            Some(instance) => {
                let primary = self.primary(start, instance).await?;
                self.await_replay(start, &primary, stop).await?;
                (Some(primary), self.left_out(start, "replica").await?)
            }
        };
        let login = self.ports.credentials.login(&start.dump.source, &read_from.endpoint).await?;
        let globals = self.ports.postgres.globals(&login, &start.dump.database).await?;
        Ok(Prepared { facts, globals, pg_dump_version, primary, left_out })
    }

    /// Waits until the dump may have its memory: before it takes a lock or a snapshot of anything.
    async fn share_of_memory(
        &self,
        start: &StartDump,
        sizes: PartSizes,
        stop: &CancellationToken,
    ) -> Result<Arc<Share>, DumpError> {
        let wanted = DumpMemory {
            engine: start.settings.engine,
            jobs: start.settings.jobs,
            compression_level: start.settings.compression_level,
            parts_in_flight: self.settings.parts_in_flight,
            part_bytes: sizes.of_part(1),
        };
        let limit_bytes = self.memory.limit_bytes();
        let Some(fitting) = wanted.within(limit_bytes) else {
            let cause = format!(
                "the database is so large that a part has {} bytes, and `limits.dump_memory` is {limit_bytes}: raise it",
                wanted.part_bytes
            );
            return Err(PortError::new(format!("dump {}", start.dump), ErrorKind::Invalid).because(cause).into());
        };
        if fitting != wanted {
            let DumpMemory { jobs, parts_in_flight, .. } = fitting;
            tracing::warn!(
                jobs,
                parts_in_flight,
                limit_bytes,
                "the parts of this database are too large for all of them to be in memory: raise `limits.dump_memory`"
            );
        }
        let mut sharing = std::pin::pin!(self.memory.share(fitting));
        if let Some(share) = sharing.as_mut().now_or_never() {
            return Ok(share);
        }
        tracing::info!(limit_bytes, "the dump waits for memory that other dumps hold");
        tokio::select! {
            share = sharing => Ok(share),
            () = stop.cancelled() => Err(DumpError::Cancelled),
        }
    }

    async fn store_archive(
        &self,
        start: &StartDump,
        means: Means,
        progress: Arc<Progress>,
        store: &Arc<dyn ObjectStore>,
        stop: &CancellationToken,
    ) -> Result<StoredArchive, DumpError> {
        let login = self.ports.credentials.login(&start.dump.source, &start.read_from.endpoint).await?;
        let request = ArchiveRequest {
            store: Arc::clone(store),
            key: self.settings.layout.dump_object(&start.dump, &start.run, ARCHIVE),
            kms_key: self.settings.kms_key.clone(),
            compression_level: start.settings.compression_level,
            sizes: means.sizes,
            memory: means.memory,
            bandwidth: Arc::new(Bandwidth::of(start.settings.bandwidth_max)),
            progress,
        };
        let name = session_name(&start.run);
        let mut process = self.ports.pg_dump.start(&login, &start.dump.database, &name, means.text, None).await?;
        let Archive { walked, object, warnings } = stream_archive(process.as_mut(), &request, stop).await?;
        Ok(StoredArchive {
            format: walked.toc.version,
            uncompressed_bytes: walked.bytes,
            rows: walked.rows,
            tables: walked.tables,
            large_objects: walked.large_objects,
            objects: vec![object],
            warnings,
        })
    }

    async fn store_tables(
        &self,
        start: &StartDump,
        means: Means,
        progress: Arc<Progress>,
        store: &Arc<dyn ObjectStore>,
        stop: &CancellationToken,
    ) -> Result<StoredArchive, DumpError> {
        let request = ParallelRequest {
            postgres: Arc::clone(&self.ports.postgres),
            pg_dump: Arc::clone(&self.ports.pg_dump),
            credentials: Arc::clone(&self.ports.credentials),
            endpoint: start.read_from.endpoint.clone(),
            replica_of: means.primary,
            text: means.text,
            name: session_name(&start.run),
            store: Arc::clone(store),
            layout: self.settings.layout.clone(),
            dump: start.dump.clone(),
            run: start.run.clone(),
            kms_key: self.settings.kms_key.clone(),
            compression_level: start.settings.compression_level,
            sizes: means.sizes,
            memory: means.memory,
            bandwidth: Arc::new(Bandwidth::of(start.settings.bandwidth_max)),
            range_bytes: RANGE_BYTES,
            progress,
        };
        let made = dump_in_parallel(&request, stop).await?;
        Ok(StoredArchive {
            format: made.toc.version,
            uncompressed_bytes: made.count.bytes + made.large_objects.bytes,
            rows: made.count.rows,
            tables: made.tables,
            large_objects: made.large_objects,
            objects: made.objects,
            warnings: made.warnings,
        })
    }

    fn manifest(
        &self,
        start: &StartDump,
        started_at: Timestamp,
        facts: DatabaseFacts,
        globals: Globals,
        versions: Versions,
        archive: StoredArchive,
    ) -> Manifest {
        let drilled = start.read_from.restored.as_ref();
        Manifest {
            version: MANIFEST_VERSION,
            installation: self.settings.installation.clone(),
            dump: start.dump.clone(),
            run: start.run.clone(),
            instance: start.instance.clone(),
            resource: start.resource.clone(),
            read_from: start.read_from.replica_of.is_some().then(|| start.read_from.instance.clone()),
            from_snapshot: drilled.map(|drilled| drilled.snapshot.clone()),
            engine: start.settings.engine,
            versions,
            started_at,
            finished_at: started_at,
            snapshot_at: drilled.map_or(facts.at, |drilled| drilled.data_of),
            snapshot_lsn: facts.lsn.filter(|_| drilled.is_none()),
            uncompressed_bytes: archive.uncompressed_bytes,
            stored_bytes: 0,
            rows: archive.rows,
            compression: Compression { algorithm: "zstd".to_owned(), level: start.settings.compression_level },
            tables: archive.tables,
            large_objects: archive.large_objects,
            objects: archive.objects,
            extensions: facts.extensions,
            roles: globals.roles,
            warnings: archive.warnings,
            config_sha256: self.settings.config_sha256.clone(),
        }
    }

    /// Writes a small object of the run and checks what the store has.
    async fn store_new(
        &self,
        store: &Arc<dyn ObjectStore>,
        start: &StartDump,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<StoredObject, DumpError> {
        let key = self.settings.layout.dump_object(&start.dump, &start.run, name);
        put_new(store.as_ref(), key, Bytes::from(bytes), self.settings.kms_key.as_deref()).await
    }

    /// Writes the manifest: from here on the dump exists.
    async fn commit(
        &self,
        store: &Arc<dyn ObjectStore>,
        start: &StartDump,
        manifest: &Manifest,
    ) -> Result<(), DumpError> {
        let key = self.settings.layout.manifest(&start.dump);
        let json = manifest.to_json();
        let json = json.map_err(|error| PortError::new(format!("form {key}"), ErrorKind::Other).because(error))?;
        put_new(store.as_ref(), key, Bytes::from(json), self.settings.kms_key.as_deref()).await?;
        Ok(())
    }
}
