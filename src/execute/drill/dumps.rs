//! Along dumps: an empty instance is made, each dump is restored into it and compared with its manifest, row by row.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use super::{DrillError, Drilling, Findings};
use crate::domain::drill::{Phase, Reached, Restored};
use crate::domain::id::DatabaseName;
use crate::domain::inventory::StoredDump;
use crate::domain::key::DumpId;
use crate::domain::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::domain::new_instance::{EmptyInstance, InstanceDetails};
use crate::domain::verification;
use crate::dump::archive::Section;
use crate::execute::Outcome;
use crate::ports::Chain;
use crate::ports::credentials::LoginRef;
use crate::ports::instances::Refusal;
use crate::restore::instance::News;
use crate::restore::look::look;
use crate::restore::{
    Phase as Step, RestoreError, RestoreRequest, Selection, Server, Target, Watch, objects_of, restore_dump,
};

/// Connections that load rows and make indexes.
const JOBS: usize = 4;
/// Where RDS does not say the source's.
const DEFAULT_MASTER_USER: &str = "strongroom_drill";

impl Drilling<'_> {
    pub(super) async fn restore_dumps(&self, dumps: &[StoredDump]) -> Result<Findings, DrillError> {
        let ports = &self.executor.ports;
        let instances = Arc::clone(self.executor.instances()?);
        let source = self.source(&instances).await?;
        let mut manifests = Vec::new();
        for stored in dumps {
            manifests.push((stored, self.manifest(&stored.dump).await?));
        }
        self.check_room(&source).await?;
        self.order().await?;
        let (user, password, class) = self.create(&source).await?;
        let data_of = manifests.iter().map(|(_, manifest)| manifest.snapshot_at).min().unwrap_or(Timestamp::MIN);
        let point = dumps.iter().map(|stored| stored.dump.to_string()).collect::<Vec<_>>().join(", ");
        let at = ports.clock.now();
        self.record(|record| {
            record.restored = Some(Restored { point, data_of, recoverable_to: data_of, class });
            record.phases.push(Reached { phase: Phase::Accepted, at });
        })
        .await?;
        let awaited = self.awaited(instances);
        let made = awaited.until_available(&self.stop, &mut |news: News| tracing::debug!(?news, "drill")).await?;
        self.reached(Phase::Available).await?;
        let mut server = self.server_at(self.endpoint(&made)?);
        server.login = LoginRef::Password { user, password };
        let first = DatabaseName::maintenance();
        awaited.first_answer(&server, &first, &self.stop).await?;
        self.reached(Phase::Connectable).await?;
        self.restore_all(&server, manifests).await
    }

    async fn restore_all(
        &self,
        server: &Server,
        manifests: Vec<(&StoredDump, Manifest)>,
    ) -> Result<Findings, DrillError> {
        let ports = &self.executor.ports;
        let mut findings = Findings::default();
        let mut compared_for = SignedDuration::ZERO;
        let mut restored = Vec::new();
        for (stored, manifest) in manifests {
            let database = manifest.dump.database.clone();
            let (began_at, objects) = (ports.clock.now(), u64::try_from(manifest.objects.len()).unwrap_or(u64::MAX));
            let bytes = manifest.stored_bytes;
            let verdict = match self.restore(server, manifest).await? {
                Ok((tables, rows, compared)) => {
                    findings.tables += tables;
                    findings.rows += rows;
                    compared_for = compared_for.saturating_add(compared);
                    restored.push(database);
                    verification::Verdict::Good { objects, bytes, rows }
                }
                Err(fault) => {
                    findings.add(&database, vec![fault.clone()], Vec::new());
                    verification::Verdict::Bad { faults: vec![fault] }
                }
            };
            // What it proves of the dump counts for the dump, too: a bad one is no backup any more.
            let recorded = self.executor.record_restored(stored, began_at, verdict).await;
            if let Outcome::Failed { error } = recorded {
                findings.notes.push(format!(
                    "dump {}: what was found is not recorded with it: {}",
                    stored.dump,
                    Chain(&error)
                ));
            }
        }
        // That what came back is compared proves it, and is no part of getting it back.
        let at = ports.clock.now().saturating_sub(compared_for).unwrap_or(Timestamp::MAX);
        self.record(|record| record.phases.push(Reached { phase: Phase::FullyRead, at })).await?;
        for database in restored {
            let assertions = self.start.assertions_of(&database);
            let looked = look(server, &database, assertions, true, &self.stop).await?;
            findings.add(&database, looked.faults, looked.notes);
        }
        self.reached(Phase::Verified).await?;
        Ok(findings)
    }

    /// Restores one dump; as an error what is wrong with it. Tables, rows, and how long it took to compare them.
    async fn restore(
        &self,
        server: &Server,
        manifest: Manifest,
    ) -> Result<Result<(u64, u64, SignedDuration), String>, DrillError> {
        let ports = &self.executor.ports;
        let database = manifest.dump.database.clone();
        let request = RestoreRequest {
            objects: objects_of(&manifest, true),
            store: Arc::clone(&ports.store),
            server: server.clone(),
            client: Arc::clone(&ports.pg_restore),
            clock: Arc::clone(&ports.clock),
            target: Target {
                // Each server has that one already, and here it is empty.
                create: database != DatabaseName::maintenance(),
                database,
                roles: true,
                owners: true,
                privileges: true,
            },
            selection: Selection { schemas: Vec::new(), tables: Vec::new() },
            sections: vec![Section::PreData, Section::Data, Section::PostData],
            jobs: JOBS,
            compare: true,
            manifest,
        };
        let watch = Arc::new(Watch::default());
        match Box::pin(restore_dump(&request, &watch, &self.stop)).await {
            Ok(done) => {
                let comparisons = done.phases.iter().filter(|(step, _)| *step == Step::Compare);
                let compared = comparisons.fold(SignedDuration::ZERO, |sum, (_, took)| sum.saturating_add(*took));
                let tables = u64::try_from(done.tables).unwrap_or(u64::MAX);
                Ok(Ok((tables, done.rows.unwrap_or(0), compared)))
            }
            // What stands in the store, or what came of it, is not what was dumped.
            Err(error @ (RestoreError::Differs(_) | RestoreError::Damaged(_) | RestoreError::Archive(_))) => {
                Ok(Err(Chain(&error).to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn manifest(&self, dump: &DumpId) -> Result<Manifest, DrillError> {
        let key = self.executor.settings.layout.manifest(dump);
        let found = self.stoppable(self.executor.ports.store.get(&key, MANIFEST_BYTES_MAX)).await??;
        Manifest::read(&found.bytes, dump).map_err(|error| {
            DrillError::Impossible(format!("the manifest of dump {dump} cannot be used: {}", Chain(&error)))
        })
    }

    /// Orders an instance with nothing in it: as the source is, in the first class that there is room for.
    async fn create(&self, source: &InstanceDetails) -> Result<(String, SecretString, String), DrillError> {
        let start = self.start;
        let (setup, others) = start.setup.of_instance(source, start.marks.clone());
        let user = source.master_user.clone().unwrap_or_else(|| DEFAULT_MASTER_USER.to_owned());
        let mut new = EmptyInstance {
            id: start.lease.clone(),
            setup,
            engine_version: source.instance.engine_version.clone(),
            storage_bytes: source.instance.storage_bytes,
            kms_key: source.instance.kms_key.clone(),
            master_user: user.clone(),
        };
        let mut others = others.into_iter();
        loop {
            match self.stoppable(self.executor.ports.leases.create(&new)).await? {
                Ok(password) => return Ok((user, password, new.setup.class)),
                Err(refused) if refused.why == Some(Refusal::NoCapacity) => {
                    let Some(next) = others.next() else { return Err(DrillError::Instance(refused.into())) };
                    tracing::info!(class = new.setup.class, next, "AWS has no room for the class: the next is tried");
                    new.setup.class = next;
                }
                Err(refused) => return Err(DrillError::Instance(refused.into())),
            }
        }
    }
}
