//! KMS keys.

use async_trait::async_trait;

use super::PortError;
use crate::domain::encryption_key::{KeyFacts, KeyName};

/// What can be learned about KMS keys. Nothing is encrypted here: RDS and S3 do that.
#[async_trait]
pub trait Keys: Send + Sync {
    /// What a key is like, in its own region. `None` where we may not ask; a key that does not exist is a fact.
    async fn key(&self, name: &KeyName) -> Result<Option<KeyFacts>, PortError>;
}
