//! Whether the name that applications use leads to the instance that bears it: names in DNS follow a rename late.

use std::sync::Arc;

use jiff::SignedDuration;

use super::{RecoverError, Recovering};
use crate::domain::id::{DatabaseName, InstanceId, ResourceId, SourceId};
use crate::domain::inventory::Endpoint;
use crate::domain::recovery::RecoveryState;
use crate::domain::switch::Switch;
use crate::ports::Chain;
use crate::ports::credentials::{Credentials, LoginRef};
use crate::ports::postgres::{Postgres, Session};
use crate::restore::{RestoreError, Server, with_session};

/// RDS's names live for seconds in DNS; who keeps them for longer is a resolver or a proxy that somebody has to look at.
const LED_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// How long an instance that may be damaged is waited for. One that does not answer proves nothing.
const PATIENT_FOR: SignedDuration = SignedDuration::from_mins(3);
/// Between two questions.
const ASK_EVERY: SignedDuration = SignedDuration::from_secs(5);

/// How the servers behind names are asked who they are.
#[derive(Clone)]
pub struct Asking {
    /// Servers.
    pub postgres: Arc<dyn Postgres>,
    /// Makes the login of each connection.
    pub credentials: Arc<dyn Credentials>,
    /// By the login of this source.
    pub source: SourceId,
    /// In a database that both instances have.
    pub database: DatabaseName,
}

impl Asking {
    fn server(&self, endpoint: Endpoint) -> Server {
        Server {
            postgres: Arc::clone(&self.postgres),
            credentials: Arc::clone(&self.credentials),
            login: LoginRef::OfSource(self.source.clone()),
            endpoint,
            name: "strongroom/recovery".to_owned(),
        }
    }
}

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Asking({})", self.source)
    }
}

/// What one look has shown.
enum Look {
    /// The name leads there, as far as that can be told.
    Led(String),
    /// Not yet, and why.
    NotYet(String),
}

impl Recovering<'_> {
    /// Waits until the source's name leads to another server than the name of the instance that was exchanged for it. Before
    /// that what is started would write to the instance that nobody is to use any more.
    pub(super) async fn until_led(&self, tell: &mut impl FnMut(String)) -> Result<(), RecoverError> {
        if self.journal.recovery().switch != Switch::Rename {
            return Ok(());
        }
        let Some(asking) = &self.asking else {
            tell("no database is configured to ask: whether the name leads there already is not checked".to_owned());
            return Ok(());
        };
        let (deadline, patient_until) = (self.in_time(LED_WITHIN), self.in_time(PATIENT_FOR));
        loop {
            let now = self.tools.clock.now();
            match self.look_behind(asking, now < patient_until).await? {
                Look::Led(words) => {
                    tell(words);
                    return Ok(());
                }
                Look::NotYet(why) if now >= deadline => {
                    let name = self.journal.recovery().instance.clone();
                    return Err(RecoverError::NotLed { name, why });
                }
                Look::NotYet(_) => self.pause(ASK_EVERY).await?,
            }
        }
    }

    /// While it is `patient`, an instance that may be damaged still has time to answer.
    async fn look_behind(&self, asking: &Asking, patient: bool) -> Result<Look, RecoverError> {
        let recovery = self.journal.recovery();
        let own = &recovery.instance;
        let goes_back = matches!(recovery.state, RecoveryState::Undoing { .. });
        let other =
            if goes_back { Some(recovery.new.clone()) } else { recovery.old.as_ref().map(|_| recovery.set_aside()) };
        let server = match self.who_is(asking, own).await {
            Ok(server) => server,
            Err(RecoverError::Cancelled | RecoverError::Restore(RestoreError::Cancelled)) => {
                return Err(RecoverError::Cancelled);
            }
            // It answered before it was switched to. The one that is gone back to may be the damaged one, and is wanted all the same.
            Err(error) if goes_back && !patient => {
                return Ok(Look::Led(format!("{own} does not answer: {}", Chain(&error))));
            }
            Err(error) => return Ok(Look::NotYet(format!("it does not answer: {}", Chain(&error)))),
        };
        let Some(server) = server else { return Ok(Look::NotYet("RDS shows no endpoint of it".to_owned())) };
        let Some(other) = other else { return Ok(Look::Led(format!("{own} answers"))) };
        let why = match self.who_is(asking, &other).await {
            Ok(Some(others)) if others == server => {
                return Ok(Look::NotYet(format!("it leads to the same server as {other}")));
            }
            Ok(Some(_)) => return Ok(Look::Led(format!("{own} leads to another server than {other}"))),
            Ok(None) => format!("RDS shows no endpoint of {other}"),
            Err(RecoverError::Cancelled | RecoverError::Restore(RestoreError::Cancelled)) => {
                return Err(RecoverError::Cancelled);
            }
            Err(error) => format!("{other} does not answer: {}", Chain(&error)),
        };
        // That the name answers proves nothing yet: so does the old instance, to whoever still comes to it.
        Ok(match &recovery.left_server {
            Some(left) if *left != server => {
                Look::Led(format!("{own} leads to another server than before, by where that listens; {why}"))
            }
            Some(_) => Look::NotYet(format!("it leads to the same server as before, and {why}")),
            None if patient => Look::NotYet(why),
            None => Look::Led(format!(
                "{own} answers, and what bore the name before did not; they were not compared: {why}"
            )),
        })
    }

    /// Writes down where the server listens that is to lose the source's name: should it answer under no name of its own later, it
    /// can be told from the other one all the same.
    pub(super) async fn note_left_server(
        &mut self,
        bearer: Option<&ResourceId>,
        tell: &mut impl FnMut(String),
    ) -> Result<(), RecoverError> {
        let recovery = self.journal.recovery();
        let (Some(asking), Some(bearer), None) = (&self.asking, bearer, &recovery.left_server) else { return Ok(()) };
        let own = &recovery.instance;
        let bears_its_name = self.tools.instances.details(own).await?;
        if bears_its_name.is_none_or(|found| found.instance.resource != *bearer) {
            return Ok(());
        }
        match self.who_is(asking, own).await {
            Ok(Some(server)) => self.journal.change(self.tools, |recovery| recovery.left_server = Some(server)).await,
            Ok(None) => Ok(()),
            Err(RecoverError::Cancelled | RecoverError::Restore(RestoreError::Cancelled)) => {
                Err(RecoverError::Cancelled)
            }
            Err(error) => {
                tell(format!("{own} does not answer any more: {}", Chain(&error)));
                Ok(())
            }
        }
    }

    /// Where the server behind an instance's name listens, as it sees it; `None` where there is none. Its system identifier tells
    /// nothing: what was restored has that of what it was restored from. When it was started tells too much: RDS restarts what it
    /// renames.
    async fn who_is(&self, asking: &Asking, name: &InstanceId) -> Result<Option<String>, RecoverError> {
        let found = self.tools.instances.details(name).await?;
        let Some(endpoint) = found.and_then(|found| found.instance.endpoint) else { return Ok(None) };
        let ask = |session: &mut dyn Session| Ok(session.query(WHO)?);
        let rows = Box::pin(with_session(&asking.server(endpoint), &asking.database, self.token, ask)).await?;
        Ok(rows.into_iter().flatten().flatten().next())
    }
}

/// Its address in its network, which no other server has at the same time, and its port.
const WHO: &str = "SELECT pg_catalog.concat_ws(' ', pg_catalog.inet_server_addr(), pg_catalog.inet_server_port())";

#[cfg(test)]
mod tests;
