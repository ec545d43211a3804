//! The record that says who leads, wherever it stands.

use async_trait::async_trait;

use super::PortError;
use crate::domain::leadership::Term;

/// The record as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What it says.
    pub term: Term,
    /// Changes with each write: a resource version, an entity tag.
    pub version: String,
}

/// Where it is written who leads. Writes are conditional: of two on top of one version, one is refused.
#[async_trait]
pub trait LeaderLock: Send + Sync {
    /// The record; `None` where nobody has led yet.
    async fn read(&self) -> Result<Option<Standing>, PortError>;

    /// Writes on top of what was read, or, with `None`, where nothing stands. `None` if somebody else was faster.
    ///
    /// After an error the record may be written or not.
    async fn write(&self, term: &Term, over: Option<&Standing>) -> Result<Option<Standing>, PortError>;
}
