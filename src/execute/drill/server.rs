//! How a drill comes to a server that answers, and with which login.

use jiff::{SignedDuration, Timestamp};

use super::{DrillError, Drilling};
use crate::domain::inventory::Endpoint;
use crate::domain::new_instance::InstanceDetails;
use crate::ports::credentials::LoginRef;
use crate::ports::{Chain, ErrorKind, PortError};
use crate::restore::Server;
use crate::restore::instance::{Awaited, InstanceError};

/// How long a new master password may take to be in force.
const PASSWORD_WITHIN: SignedDuration = SignedDuration::from_mins(15);

impl Drilling<'_> {
    /// A server that answers, with the source's own login, or with a new master password where that is not in the data.
    pub(super) async fn server(&self, awaited: &Awaited, made: &InstanceDetails) -> Result<Server, DrillError> {
        let start = self.start;
        let mut server = self.server_at(self.endpoint(made)?);
        match self.first_of(awaited, &server).await {
            Ok(()) => return Ok(server),
            Err(InstanceError::LoginRefused { error, .. }) => {
                tracing::info!(error = %Chain(&error), "the source's login is not in the backup: the instance gets a new master password");
            }
            Err(error) => return Err(error.into()),
        }
        let user = made.master_user.clone();
        let user = user.ok_or_else(|| DrillError::Impossible("RDS does not say its master user".to_owned()))?;
        let until = self.executor.ports.clock.now().saturating_add(PASSWORD_WITHIN).unwrap_or(Timestamp::MAX);
        let password = loop {
            match self.stoppable(self.executor.ports.leases.reset_master_password(&start.lease)).await? {
                Ok(password) => break password,
                // RDS still changes something else of it.
                Err(error) if error.kind() == ErrorKind::WrongState && self.executor.ports.clock.now() < until => {
                    self.pause(start.poll_interval).await?;
                }
                Err(error) => return Err(error.into()),
            }
        };
        server.login = LoginRef::Password { user, password };
        // It is in force some time after RDS has taken it; until then the server refuses it.
        loop {
            match self.first_of(awaited, &server).await {
                Ok(()) => return Ok(server),
                Err(InstanceError::LoginRefused { .. }) if self.executor.ports.clock.now() < until => {
                    self.pause(start.poll_interval).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// An answer of the server: that a database is missing is one, and is told when it is looked at.
    async fn first_of(&self, awaited: &Awaited, server: &Server) -> Result<(), InstanceError> {
        let none = || PortError::new("ask a restored database", ErrorKind::Invalid).because("none is configured");
        let first = self.start.databases.first().ok_or_else(none)?;
        match awaited.first_answer(server, first, &self.stop).await {
            Err(InstanceError::NoDatabase { .. }) => Ok(()),
            answered => answered,
        }
    }

    /// A server by the source's own login.
    pub(super) fn server_at(&self, endpoint: Endpoint) -> Server {
        let drill = &self.start.drill;
        let login = LoginRef::OfSource(drill.source.clone());
        Server::new(&self.executor.ports, login, endpoint, format!("strongroom/drill-{}", drill.slot))
    }

    pub(super) fn endpoint(&self, made: &InstanceDetails) -> Result<Endpoint, DrillError> {
        let endpoint = made.instance.endpoint.clone();
        endpoint.ok_or_else(|| DrillError::Impossible(format!("RDS shows no endpoint of {}", self.start.lease)))
    }
}
