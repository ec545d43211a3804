//! PostgreSQL with faults.

use async_trait::async_trait;

use super::{Faulty, Operation};
use crate::domain::dump_login::DumpLogin;
use crate::domain::id::DatabaseName;
use crate::ports::PortError;
use crate::ports::credentials::Login;
use crate::ports::postgres::{DatabaseFacts, Globals, Postgres, Session};

#[async_trait]
impl Postgres for Faulty<dyn Postgres> {
    async fn facts(&self, login: &Login, database: &DatabaseName) -> Result<DatabaseFacts, PortError> {
        self.faults.around(Operation::DatabaseFacts, database.as_str(), self.port.facts(login, database)).await
    }

    /// It decides nothing, so that it is spared faults.
    async fn login_facts(&self, login: &Login, database: &DatabaseName) -> Result<DumpLogin, PortError> {
        self.port.login_facts(login, database).await
    }

    async fn globals(&self, login: &Login, database: &DatabaseName) -> Result<Globals, PortError> {
        self.faults.around(Operation::Globals, database.as_str(), self.port.globals(login, database)).await
    }

    async fn session(&self, login: &Login, database: &DatabaseName, name: &str) -> Result<Box<dyn Session>, PortError> {
        self.faults.around(Operation::Session, database.as_str(), self.port.session(login, database, name)).await
    }
}
