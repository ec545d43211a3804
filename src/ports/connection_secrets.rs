//! Secrets that tell applications where their database is.

use async_trait::async_trait;

use super::PortError;
use crate::domain::switch::{Address, AddressKeys};

/// The addresses in secrets. What else is in them is neither returned nor changed.
#[async_trait]
pub trait ConnectionSecrets: Send + Sync {
    /// The address in a secret, by its name or ARN.
    async fn address(&self, secret: &str, keys: &AddressKeys) -> Result<Address, PortError>;

    /// Writes a version of the secret with another address in it.
    async fn set_address(&self, secret: &str, keys: &AddressKeys, address: &Address) -> Result<(), PortError>;
}
