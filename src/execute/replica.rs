//! Before and after a dump from a read replica: the replica is one of the source's instance, and has what the instance had.

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::Executor;
use super::govern::on_a_thread;
use crate::domain::inventory::Endpoint;
use crate::dump::replica::{Primary, Standing, standing, unlogged};
use crate::plan::action::StartDump;
use crate::ports::postgres::Session;
use crate::ports::{Chain, ErrorKind, PortError};

/// How long a replica may take to replay what the instance has written before. Most are behind by less than a second; one that
/// is delayed on purpose, or has broken off, gives no dump of today.
const CATCH_UP_MAX: SignedDuration = SignedDuration::from_mins(10);
/// How often it is asked.
const ASK_EVERY: SignedDuration = SignedDuration::from_secs(1);

impl Executor {
    /// Asks the instance who it is, and how far a replica must be to have all that could be seen there before.
    pub(super) async fn primary(&self, start: &StartDump, endpoint: &Endpoint) -> Result<Primary, PortError> {
        let mut session = self.session_of(start, endpoint).await?;
        on_a_thread(move || Primary::of(session.as_mut())).await
    }

    /// Waits until the replica has replayed what the instance had written, and makes sure that it is a replica. A network that
    /// fails meanwhile is waited for as long.
    pub(super) async fn await_replay(
        &self,
        start: &StartDump,
        primary: &Primary,
        stop: &CancellationToken,
    ) -> Result<(), PortError> {
        tokio::select! {
            caught_up = self.catch_up(start, primary) => caught_up,
            () = stop.cancelled() => Err(PortError::new(doing(start), ErrorKind::Cancelled)),
        }
    }

    async fn catch_up(&self, start: &StartDump, primary: &Primary) -> Result<(), PortError> {
        let clock = &self.ports.clock;
        let until = clock.now().saturating_add(CATCH_UP_MAX).unwrap_or(Timestamp::MAX);
        let mut open = None;
        loop {
            let asked = self.standing(start, primary, &mut open).await;
            let is_late = clock.now() >= until;
            match asked {
                Ok(Standing::CaughtUp) => return Ok(()),
                Ok(Standing::NoReplica(why)) => {
                    return Err(PortError::new(doing(start), ErrorKind::Invalid).because(why));
                }
                Ok(Standing::Behind { at }) if is_late => {
                    let cause = format!(
                        "it has replayed up to {at}, and after {CATCH_UP_MAX:#} still not to {}, where the instance was",
                        primary.lsn()
                    );
                    return Err(PortError::new(doing(start), ErrorKind::Transient).because(cause));
                }
                Ok(Standing::Behind { .. }) => {}
                Err(error) if is_late || !error.may_pass() => return Err(error),
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "the replica does not say how far it is, it is asked again");
                }
            }
            self.wait(ASK_EVERY).await;
        }
    }

    /// Asks in the session that is open, or in a new one.
    async fn standing(
        &self,
        start: &StartDump,
        primary: &Primary,
        open: &mut Option<Box<dyn Session>>,
    ) -> Result<Standing, PortError> {
        let mut session = match open.take() {
            Some(session) => session,
            None => self.session_of(start, &start.read_from.endpoint).await?,
        };
        let of = primary.clone();
        let (session, found) = on_a_thread(move || {
            let found = standing(session.as_mut(), &of)?;
            Ok((session, found))
        })
        .await?;
        *open = Some(session);
        Ok(found)
    }

    /// What the dump will not have because a replica, or a snapshot, has it not, as a warning; `None` if there is nothing of that
    /// kind.
    pub(super) async fn left_out(&self, start: &StartDump, by: &str) -> Result<Option<String>, PortError> {
        let mut session = self.session_of(start, &start.read_from.endpoint).await?;
        let left_out = on_a_thread(move || unlogged(session.as_mut())).await?;
        let left_out = Some(left_out.join(", ")).filter(|left_out| !left_out.is_empty());
        Ok(left_out
            .map(|left_out| format!("no {by} has the data of what is unlogged, and so not this dump: {left_out}")))
    }

    /// A session of a server in the dump's name.
    pub(super) async fn session_of(
        &self,
        start: &StartDump,
        endpoint: &Endpoint,
    ) -> Result<Box<dyn Session>, PortError> {
        let login = self.ports.credentials.login(&start.dump.source, endpoint).await?;
        let name = super::dump::session_name(&start.run);
        self.ports.postgres.session(&login, &start.dump.database, &name).await
    }
}

fn doing(start: &StartDump) -> String {
    format!("dump from {}, as `dump_from` says", start.read_from.instance)
}
