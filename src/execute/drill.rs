//! Does a drill: an instance out of a backup, read to its last row, compared with what must be there, and thrown away.
//!
//! The record is written before RDS is asked for anything, and names the instance: whoever comes after a crash finds it. What
//! a drill has made is deleted at its end whatever it came to; where that fails, the planner sees to it.

mod dump_of_it;
mod dumps;
mod ending;
mod inspect;
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::claim::Claim;
use super::hold::Stop;
use super::{Executor, Outcome};
use crate::domain::drill::{DRILL_RECORD_VERSION, DrillRecord, DrillState, Phase, Reached, Restored};
use crate::domain::id::{DatabaseName, InstanceId};
use crate::domain::new_instance::{InstanceDetails, NewInstance, RestoreFrom};
use crate::domain::progress::Progress;
use crate::domain::run::LEASE;
use crate::domain::tags;
use crate::plan::action::{DrillPoint, ReapInstance, StartDrill};
use crate::policy::drill::no_room_for_drill;
use crate::ports::instances::Instances;
use crate::ports::{Chain, ErrorKind, PortError};
use crate::restore::instance::{Awaited, InstanceError, InstanceRequest, News};
use crate::restore::look::look;
use crate::restore::{RestoreError, Server, judge};
use inspect::Read;

/// Why a drill came to no verdict.
#[derive(Debug, thiserror::Error)]
enum DrillError {
    /// An outside thing failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// There is no instance to look at.
    #[error(transparent)]
    Instance(InstanceError),
    /// It was not there in time, or is in a status that it does not leave: the drill deletes it.
    #[error("instance {id} was {status}{}", .meaning.map(|meaning| format!(": {meaning}")).unwrap_or_default())]
    NoInstance {
        /// The instance.
        id: InstanceId,
        /// Its last status, in RDS's words.
        status: String,
        /// What that means.
        meaning: Option<&'static str>,
    },
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] RestoreError),
    /// It cannot be done as asked.
    #[error("{0}")]
    Impossible(String),
    /// Stopped by us.
    #[error("the drill was stopped")]
    Stopped,
    /// Another daemon has it.
    #[error("another daemon has taken the drill over")]
    ClaimLost,
}

impl From<InstanceError> for DrillError {
    /// What a person is told to do with an instance of their own is not said of one that is deleted anyhow.
    fn from(error: InstanceError) -> DrillError {
        match error {
            InstanceError::TooLate { id, status } => {
                DrillError::NoInstance { id, status: format!("still {status} at the deadline"), meaning: None }
            }
            InstanceError::Trouble { id, status, meaning } => {
                DrillError::NoInstance { id, status, meaning: Some(meaning) }
            }
            error @ (InstanceError::Refused(_)
            | InstanceError::Port(_)
            | InstanceError::Gone { .. }
            | InstanceError::LoginRefused { .. }
            | InstanceError::NoDatabase { .. }
            | InstanceError::NotConnectable { .. }
            | InstanceError::Cancelled { .. }) => DrillError::Instance(error),
        }
    }
}

/// What a drill found.
#[derive(Debug, Default)]
struct Findings {
    faults: Vec<String>,
    notes: Vec<String>,
    tables: u64,
    rows: u64,
    /// What can be dumped of it.
    came_back: Option<CameBack>,
}

/// An instance that has come back, and what was read there.
#[derive(Debug)]
struct CameBack {
    server: Server,
    /// Rows of each table that a dump has to have, by database, schema and name.
    counted: BTreeMap<DatabaseName, BTreeMap<String, u64>>,
}

impl Findings {
    /// Adds what was found in a database.
    fn add(&mut self, database: &DatabaseName, faults: Vec<String>, notes: Vec<String>) {
        let named = |text: String| format!("{database}: {text}");
        self.faults.extend(faults.into_iter().map(named));
        self.notes.extend(notes.into_iter().map(named));
    }
}

/// A drill while it is done.
struct Drilling<'a> {
    executor: &'a Executor,
    start: &'a StartDrill,
    claim: Mutex<Claim<DrillRecord>>,
    progress: &'a Arc<Progress>,
    stop: CancellationToken,
}

impl Executor {
    pub(super) async fn drill(
        &self,
        start: &StartDrill,
        progress: &Arc<Progress>,
        token: CancellationToken,
    ) -> Result<Outcome, PortError> {
        let Some(claim) = self.claim_drill(start).await? else { return Ok(Outcome::ClaimedElsewhere) };
        let stop = token.child_token();
        let drilling = Drilling { executor: self, start, claim: Mutex::new(claim), progress, stop };
        let (mut found, mut stopped) = Box::pin(drilling.held(start.deadline, drilling.work())).await;
        let mut dumps = Vec::new();
        if let (Ok(findings), None) = (&mut found, stopped)
            && drilling.has_to_dump(findings)
        {
            // The verdict waits for them: nobody deletes the instance of a drill that is not over.
            (dumps, stopped) = Box::pin(drilling.held(Timestamp::MAX, drilling.dump_all(findings))).await;
        }
        let drill = drilling.end(found, stopped, &token).await;
        if dumps.is_empty() {
            return drill;
        }
        let drill = drill.unwrap_or_else(|error| Outcome::Failed { error });
        Ok(Outcome::WithDumps { drill: Box::new(drill), dumps })
    }

    /// Takes the drill: its record is new, or on top of that of the attempt before.
    async fn claim_drill(&self, start: &StartDrill) -> Result<Option<Claim<DrillRecord>>, PortError> {
        let key = self.settings.layout.drill_record(&start.drill);
        let now = self.ports.clock.now();
        let before = start.before.as_ref().map(|stored| &stored.record);
        let earlier = before.map(|record| record.instances().cloned().collect()).unwrap_or_default();
        let mut errors = before.map(|record| record.earlier_errors.clone()).unwrap_or_default();
        errors.extend(before.map(|record| match &record.state {
            DrillState::Errored { message, .. } => message.clone(),
            DrillState::Running | DrillState::Passed { .. } | DrillState::BackupBad { .. } => {
                format!("attempt {}: its process {} is gone", record.attempt, record.owner)
            }
        }));
        let record = DrillRecord {
            version: DRILL_RECORD_VERSION,
            installation: self.settings.installation.clone(),
            source: start.drill.source.clone(),
            slot: start.drill.slot,
            path: start.drill.path,
            attempt: start.attempt,
            owner: self.ports.processes.this().clone(),
            started_at: now,
            lease_until: now.saturating_add(LEASE).unwrap_or(Timestamp::MAX),
            instance: start.lease.clone(),
            earlier_instances: earlier,
            earlier_errors: errors,
            ordered_at: None,
            restored: None,
            phases: Vec::new(),
            notes: Vec::new(),
            previous: None,
            state: DrillState::Running,
        };
        let store = Arc::clone(&self.ports.store);
        match &start.before {
            None => Claim::take(store, key, record).await,
            Some(stored) => Claim::take_over(store, key, record, stored.etag.clone()).await,
        }
    }

    /// Deletes an instance that a drill has left.
    pub(super) async fn reap(&self, reap: &ReapInstance) -> Result<Outcome, PortError> {
        let found = self.instances()?.details(reap.lease.as_instance()).await?;
        let is_anothers =
            |found: InstanceDetails| !tags::may_be_lease(&found.setup.tags, &self.settings.installation, &reap.lease);
        if found.is_some_and(is_anothers) {
            return Ok(Outcome::Held { reason: "it bears the mark of another installation".to_owned() });
        }
        match self.ports.leases.delete(&reap.lease).await {
            Ok(()) => Ok(Outcome::Reaped),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Outcome::Reaped),
            Err(error) => Err(error),
        }
    }

    /// Instances in the region of the sources.
    fn instances(&self) -> Result<&Arc<dyn Instances>, PortError> {
        let here = self.ports.instances.get(&self.settings.region);
        here.ok_or_else(|| PortError::new("restore an instance", ErrorKind::Invalid).because(super::UNCONFIGURED))
    }
}

impl Drilling<'_> {
    /// Does `work` while the claim is held, until `deadline`.
    async fn held<T>(&self, deadline: Timestamp, work: impl Future<Output = T>) -> (T, Option<Stop>) {
        let finished = CancellationToken::new();
        let work = async {
            let done = work.await;
            finished.cancel();
            done
        };
        tokio::join!(work, self.executor.hold_claim(&self.claim, deadline, &finished, &self.stop))
    }

    /// Evidence, and then the instance.
    async fn end(
        self,
        found: Result<Findings, DrillError>,
        stopped: Option<Stop>,
        token: &CancellationToken,
    ) -> Result<Outcome, PortError> {
        if stopped == Some(Stop::ClaimLost) || matches!(found, Err(DrillError::ClaimLost)) {
            return Ok(Outcome::ClaimedElsewhere);
        }
        // First of all what was found: it took hours. The instance is gone later, whoever sees to it.
        let closed = self.close(found, stopped, token).await?;
        if !closed {
            return Ok(Outcome::ClaimedElsewhere);
        }
        // A stop is no reason to leave the instance standing, only not to wait until it is gone.
        self.tear_down(token).await;
        Ok(Outcome::DrillEnded(Box::new(self.claim.into_inner().record().clone())))
    }

    /// From the order to the comparison.
    async fn work(&self) -> Result<Findings, DrillError> {
        match &self.start.point {
            DrillPoint::Dumps(dumps) => self.restore_dumps(dumps).await,
            DrillPoint::Snapshot { .. } | DrillPoint::Latest => self.restore_instance().await,
        }
    }

    /// Along what RDS keeps.
    async fn restore_instance(&self) -> Result<Findings, DrillError> {
        let start = self.start;
        let ports = &self.executor.ports;
        let instances = Arc::clone(self.executor.instances()?);
        let source = self.source(&instances).await?;
        let seen = self.look_at_source().await?;
        let (from, data_of, seen) = self.what(&instances, seen).await?;
        let recoverable_to = match &start.point {
            DrillPoint::Latest => source.instance.latest_restorable_at.unwrap_or(data_of),
            DrillPoint::Snapshot { .. } | DrillPoint::Dumps(_) => data_of,
        };
        let (setup, other_classes) = start.setup.of_instance(&source, start.marks.clone());
        let request = InstanceRequest {
            awaited: self.awaited(instances),
            new: NewInstance { id: start.lease.as_instance().clone(), from: from.clone(), setup },
            other_classes,
        };
        let point = match &from {
            RestoreFrom::Snapshot(snapshot) => snapshot.to_string(),
            RestoreFrom::Time { backups, .. } => backups.resource.to_string(),
        };
        let mut accepted = None;
        let tell = |news: News| {
            tracing::debug!(?news, "drill");
            if let News::Accepted { class } = news {
                accepted = Some((class, ports.clock.now()));
            }
        };
        self.check_room(&source).await?;
        self.order().await?;
        let made = request.make(&self.stop, tell).await?;
        let (class, accepted_at) = accepted.unwrap_or_else(|| (made.setup.class.clone(), ports.clock.now()));
        self.record(|record| {
            record.restored = Some(Restored { point, data_of, recoverable_to, class });
            record.phases.push(Reached { phase: Phase::Accepted, at: accepted_at });
        })
        .await?;
        self.reached(Phase::Available).await?;
        check_origin(&made, &from)?;
        let server = self.server(&request.awaited, &made).await?;
        self.reached(Phase::Connectable).await?;
        self.look_through(&server, &seen, data_of).await
    }

    /// Whether there is room for an instance as large as the source's. Not to know it is no reason not to ask RDS.
    async fn check_room(&self, source: &InstanceDetails) -> Result<(), DrillError> {
        let quotas = match self.stoppable(self.executor.ports.account.quotas()).await? {
            Ok(quotas) => quotas,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the quotas of the account are not seen: the drill goes on without");
                return Ok(());
            }
        };
        no_room_for_drill(&quotas, source.instance.storage_bytes).map_or(Ok(()), |why| Err(DrillError::Impossible(why)))
    }

    /// The source's instance, as it is now.
    async fn source(&self, instances: &Arc<dyn Instances>) -> Result<InstanceDetails, DrillError> {
        let id = &self.start.instance;
        let found = self.stoppable(instances.details(id)).await??;
        found.ok_or_else(|| DrillError::Impossible(format!("instance {id} is gone")))
    }

    /// Reads everything that came back, and compares it with what must be there.
    async fn look_through(
        &self,
        server: &Server,
        seen: &inspect::Seen,
        data_of: Timestamp,
    ) -> Result<Findings, DrillError> {
        let start = self.start;
        let mut findings = Findings::default();
        let mut read = Vec::new();
        for database in &start.databases {
            let expected = self.expected(database, seen, data_of).await?;
            match inspect::read(server, database, self.progress, &self.stop).await? {
                Read::Whole(tables) => {
                    findings.tables += u64::try_from(tables.len()).unwrap_or(u64::MAX);
                    findings.rows += tables.iter().map(|table| table.rows).sum::<u64>();
                    read.push((database, expected, tables));
                }
                Read::Damaged(fault) => findings.faults.push(format!("{database}: {fault}")),
                Read::Missing if expected.is_exact || expected.dumped.is_some() => {
                    findings.faults.push(format!("database {database} is missing"));
                }
                Read::Missing => findings.notes.push(format!("database {database} is not there: it may be newer")),
            }
        }
        self.reached(Phase::FullyRead).await?;
        let mut counted = BTreeMap::new();
        for (database, expected, tables) in read {
            let assertions = start.assertions_of(database);
            let found = look(server, database, assertions, expected.is_exact, &self.stop).await?;
            let rows = tables.iter().map(|table| (table.full_name(), table.rows)).collect();
            let judged = judge::judge(&expected, &judge::Found { catalog: found.catalog, rows });
            findings.add(database, judged.faults, judged.notes);
            findings.add(database, found.faults, found.notes);
            counted.insert(database.clone(), self.rows_to_dump(server, database, tables).await?);
        }
        self.reached(Phase::Verified).await?;
        findings.came_back = Some(CameBack { server: server.clone(), counted });
        Ok(findings)
    }

    fn awaited(&self, instances: Arc<dyn Instances>) -> Awaited {
        Awaited {
            instances,
            clock: Arc::clone(&self.executor.ports.clock),
            id: self.start.lease.as_instance().clone(),
            poll_interval: self.start.poll_interval,
            deadline: self.start.deadline,
        }
    }

    /// Writes down that RDS is asked for the instance now.
    async fn order(&self) -> Result<(), DrillError> {
        let at = self.executor.ports.clock.now();
        self.record(|record| record.ordered_at = Some(at)).await
    }

    /// What is restored, the moment of its data, and what must be there. Automated backups are restored to just after the source
    /// was looked at; it is looked at again when they reach that moment, for what went in between need not be there.
    async fn what(
        &self,
        instances: &Arc<dyn Instances>,
        seen: inspect::Seen,
    ) -> Result<(RestoreFrom, Timestamp, inspect::Seen), DrillError> {
        if let DrillPoint::Snapshot { snapshot, data_of } = &self.start.point {
            return Ok((RestoreFrom::Snapshot(snapshot.clone()), *data_of, seen));
        }
        let wanted = seen.at;
        loop {
            let details = self.stoppable(instances.details(&self.start.instance)).await??;
            let reaches = details.and_then(|details| details.instance.latest_restorable_at);
            // Strictly: a moment must be before the latest one (RDS API reference).
            if reaches.is_some_and(|reaches| reaches > wanted) {
                break;
            }
            self.pause(self.start.poll_interval).await?;
        }
        let seen = seen.and_still(self.look_at_source().await?);
        let listed = self.stoppable(instances.automated_backups(&self.start.instance)).await??;
        let own = listed.iter().find(|backups| backups.resource == self.start.resource).cloned();
        let own = own.ok_or_else(|| DrillError::Impossible("RDS lists no automated backups of it".to_owned()))?;
        Ok((RestoreFrom::Time { backups: own, to: wanted }, wanted, seen))
    }

    async fn reached(&self, phase: Phase) -> Result<(), DrillError> {
        let at = self.executor.ports.clock.now();
        self.record(|record| record.phases.push(Reached { phase, at })).await
    }

    /// Writes down how far it is.
    async fn record(&self, change: impl FnOnce(&mut DrillRecord)) -> Result<(), DrillError> {
        let mut claim = self.claim.lock().await;
        let mut record = claim.record().clone();
        change(&mut record);
        if claim.rewrite(record).await? { Ok(()) } else { Err(DrillError::ClaimLost) }
    }

    async fn stoppable<T>(&self, work: impl Future<Output = T>) -> Result<T, DrillError> {
        tokio::select! {
            done = work => Ok(done),
            () = self.stop.cancelled() => Err(DrillError::Stopped),
        }
    }

    async fn pause(&self, length: SignedDuration) -> Result<(), DrillError> {
        let clock = &self.executor.ports.clock;
        let until = clock.now().saturating_add(length).unwrap_or(Timestamp::MAX);
        self.stoppable(clock.sleep_until(until)).await
    }
}

/// Whether the instance was made of what was ordered, and of nothing else.
fn check_origin(made: &InstanceDetails, from: &RestoreFrom) -> Result<(), DrillError> {
    let wanted = crate::restore::instance::mark(from);
    let found = made.setup.tags.get(crate::restore::instance::RESTORED_FROM);
    if found.is_some_and(|found| *found == wanted) {
        return Ok(());
    }
    let found = found.map_or("nothing that it says", String::as_str);
    Err(DrillError::Impossible(format!("the instance was made of {found}, and not of {wanted}")))
}
