//! A host without the stock client that restores: no world restores anything.

use async_trait::async_trait;

use crate::domain::id::DatabaseName;
use crate::domain::inventory::ToolVersion;
use crate::ports::credentials::Login;
use crate::ports::postgres::{Exit, PgRestore, RestoreOrder};
use crate::ports::{ErrorKind, PortError};

pub(crate) struct NoPgRestore;

#[async_trait]
impl PgRestore for NoPgRestore {
    async fn version(&self) -> Result<ToolVersion, PortError> {
        Err(PortError::new("find pg_restore", ErrorKind::NotFound))
    }

    async fn restore(&self, _: &Login, _: &DatabaseName, _: RestoreOrder) -> Result<Exit, PortError> {
        Err(PortError::new("find pg_restore", ErrorKind::NotFound))
    }
}
