//! Before and after a dump from a read replica: the replica is one of the source's instance, and has what the instance had.

use jiff::{SignedDuration, Timestamp};

use super::Executor;
use super::govern::on_a_thread;
use crate::domain::inventory::Endpoint;
use crate::dump::replica::{Standing, SystemIdentifier, standing, unlogged};
use crate::plan::action::StartDump;
use crate::ports::postgres::{DatabaseFacts, Session};
use crate::ports::{ErrorKind, PortError};

/// How long a replica may take to replay what the instance has written before. Most are behind by less than a second; one that
/// is delayed on purpose, or has broken off, gives no dump of today.
const CATCH_UP_MAX: SignedDuration = SignedDuration::from_mins(10);
/// How often it is asked.
const ASK_EVERY: SignedDuration = SignedDuration::from_secs(1);

/// What a replica is measured by.
#[derive(Debug, Clone)]
pub(super) struct Primary {
    system: SystemIdentifier,
    lsn: String,
}

impl Executor {
    /// Asks the instance who it is. `facts` are the instance's: what it had written by then is what a dump must have.
    pub(super) async fn primary(
        &self,
        start: &StartDump,
        endpoint: &Endpoint,
        facts: &DatabaseFacts,
    ) -> Result<Primary, PortError> {
        let mut session = self.session_of(start, endpoint).await?;
        let system = on_a_thread(move || SystemIdentifier::of(session.as_mut())).await?;
        let Some(lsn) = facts.lsn.clone() else {
            let what = format!("dump from replica {}, as `dump_from` says", start.read_from.instance);
            let cause = "the source's instance is in recovery, and so is a replica itself";
            return Err(PortError::new(what, ErrorKind::Invalid).because(cause));
        };
        Ok(Primary { system, lsn })
    }

    /// Waits until the replica has replayed what the instance had written, and makes sure that it is a replica.
    pub(super) async fn await_replay(&self, start: &StartDump, primary: &Primary) -> Result<(), PortError> {
        let clock = &self.ports.clock;
        let until = clock.now().saturating_add(CATCH_UP_MAX).unwrap_or(Timestamp::MAX);
        loop {
            let mut session = self.session_of(start, &start.read_from.endpoint).await?;
            let of = primary.clone();
            let found = on_a_thread(move || standing(session.as_mut(), &of.system, &of.lsn)).await?;
            let replica = &start.read_from.instance;
            match found {
                Standing::CaughtUp => return Ok(()),
                Standing::NoReplica(why) => {
                    let what = format!("dump from {replica}, as `dump_from` says");
                    return Err(PortError::new(what, ErrorKind::Invalid).because(why));
                }
                Standing::Behind { at } if clock.now() >= until => {
                    let what = format!("dump from {replica}, as `dump_from` says");
                    let cause = format!(
                        "it has replayed up to {at}, and after {CATCH_UP_MAX:#} still not to {}, where the instance was",
                        primary.lsn
                    );
                    return Err(PortError::new(what, ErrorKind::Transient).because(cause));
                }
                Standing::Behind { .. } => {}
            }
            clock.sleep_until(clock.now().saturating_add(ASK_EVERY).unwrap_or(Timestamp::MAX)).await;
        }
    }

    /// What the dump will not have, as a warning; `None` if there is nothing of that kind.
    pub(super) async fn left_out_by_replica(&self, start: &StartDump) -> Result<Option<String>, PortError> {
        let mut session = self.session_of(start, &start.read_from.endpoint).await?;
        let tables = on_a_thread(move || unlogged(session.as_mut())).await?;
        let tables = Some(tables.join(", ")).filter(|tables| !tables.is_empty());
        Ok(tables.map(|tables| format!("no replica has the rows of unlogged tables, and so not this dump: {tables}")))
    }

    async fn session_of(&self, start: &StartDump, endpoint: &Endpoint) -> Result<Box<dyn Session>, PortError> {
        let login = self.ports.credentials.login(&start.dump.source, endpoint).await?;
        let name = super::dump::session_name(&start.run);
        self.ports.postgres.session(&login, &start.dump.database, &name).await
    }
}
