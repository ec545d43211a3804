//! Links of the chains of evidence.

use sha2::{Digest, Sha256};

use crate::domain::drill::Link;
use crate::domain::key::ObjectKey;
use crate::dump::hex;
use crate::ports::PortError;
use crate::ports::object_store::ObjectStore;

/// A link to what stands under a key now.
pub(super) async fn link_to(store: &dyn ObjectStore, key: &ObjectKey, bytes_max: u64) -> Result<Link, PortError> {
    let found = store.get(key, bytes_max).await?;
    Ok(Link { key: key.to_string(), sha256: hex(Sha256::digest(&found.bytes)) })
}
