//! Asks the store what it has, before anybody relies on it (verification level L1 of one object).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use sha2::{Digest, Sha256};

use super::DumpError;
use crate::domain::key::ObjectKey;
use crate::domain::manifest::StoredObject;
use crate::ports::ErrorKind;
use crate::ports::object_store::{Condition, ObjectStore};

/// What was sent to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Bytes.
    pub size_bytes: u64,
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    /// CRC64NVME of the bytes.
    pub crc64nvme: u64,
}

/// Compares size, CRC64NVME and KMS key that the store tells with what was sent. No bytes are read, and a store that tells
/// no CRC64NVME is compared by size.
///
/// # Errors
/// The store cannot be asked, or has something else: [`DumpError::StoredDifferently`].
pub async fn check_stored(
    store: &dyn ObjectStore,
    key: &ObjectKey,
    sent: &Sent,
    kms_key: Option<&str>,
) -> Result<StoredObject, DumpError> {
    let facts = store.head(key).await?;
    let crc64nvme = BASE64_STANDARD.encode(sent.crc64nvme.to_be_bytes());
    let differs = |found: String, sent: String| DumpError::StoredDifferently { key: key.clone(), found, sent };
    if facts.size_bytes != sent.size_bytes {
        return Err(differs(format!("{} bytes", facts.size_bytes), format!("{} bytes", sent.size_bytes)));
    }
    if let Some(found) = facts.crc64nvme.as_ref().filter(|found| **found != crc64nvme) {
        return Err(differs(format!("CRC64NVME {found}"), format!("CRC64NVME {crc64nvme}")));
    }
    // S3 answers with the key's ARN; of an alias or a bare key id only the presence can be compared.
    if let Some(wanted) = kms_key
        && facts.kms_key.as_deref().is_none_or(|found| wanted.contains(":key/") && found != wanted)
    {
        let found = facts.kms_key.unwrap_or_else(|| "no KMS key".to_owned());
        return Err(differs(found, format!("KMS key {wanted}")));
    }
    Ok(StoredObject {
        key: key.clone(),
        version_id: facts.version_id,
        size_bytes: sent.size_bytes,
        sha256: sent.sha256.clone(),
        crc64nvme,
        kms_key: facts.kms_key,
    })
}

/// Writes a small object that is not there yet, and checks what the store has of it. An answer that was lost is no failure,
/// if what was to be written is there.
///
/// # Errors
/// The object could not be written, or the store has something else.
pub async fn put_new(
    store: &dyn ObjectStore,
    key: ObjectKey,
    bytes: Bytes,
    kms_key: Option<&str>,
) -> Result<StoredObject, DumpError> {
    let sent = Sent {
        size_bytes: bytes.len() as u64,
        sha256: super::hex(Sha256::digest(&bytes)),
        crc64nvme: crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes),
    };
    let written = store.put(&key, bytes, Condition::Absent).await;
    match (written, check_stored(store, &key, &sent, kms_key).await) {
        (Ok(_), checked) => checked,
        // The answer was lost, and what was to be written is there.
        (Err(_), Ok(object)) => Ok(object),
        // It met its own effect, and what is there could not be seen: that is the trouble.
        (Err(error), Err(DumpError::Port(unseen))) if error.kind() == ErrorKind::AlreadyExists => {
            Err(DumpError::Port(unseen))
        }
        (Err(error), Err(_)) => Err(error.into()),
    }
}
