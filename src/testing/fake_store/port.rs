//! The requests that the bucket takes.

use std::ops::Range;
use std::sync::Weak;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;

use super::{Call, FakeObjectStore, Strikes, missing};
use crate::domain::bucket::BucketFacts;
use crate::domain::inventory::{Complete, OpenUpload};
use crate::domain::key::ObjectKey;
use crate::domain::prune_record::ObjectVersion;
use crate::ports::object_store::{
    ByteStream, Condition, CopySource, DeletedVersion, ListedVersion, ObjectFacts, ObjectStore, Part, PartReceipt,
    ReadObject, WholeObject, Written,
};
use crate::ports::{ErrorKind, PortError};

/// Bytes are read in pieces of this size: small, so that what is looked for falls on a bound sooner or later.
const PIECE_BYTES: usize = 1000;

#[async_trait]
impl ObjectStore for FakeObjectStore {
    async fn list_versions(&self, prefix: &str) -> Result<Complete<ListedVersion>, PortError> {
        Ok(Complete::after_last_page(self.settled(|state, _| state.listed(prefix))))
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Complete<OpenUpload>, PortError> {
        Ok(Complete::after_last_page(self.settled(|state, _| state.open_below(prefix))))
    }

    async fn get(&self, key: &ObjectKey, size_bytes_max: u64) -> Result<ReadObject, PortError> {
        self.settled(|state, _| {
            state.check_key(&format!("read {key}"))?;
            let (_, content) = state.standing(key)?;
            let size_bytes = content.bytes.len() as u64;
            if size_bytes > size_bytes_max {
                let cause = format!("it has {size_bytes} bytes, {size_bytes_max} are allowed");
                return Err(PortError::new(format!("read {key}"), ErrorKind::Invalid).because(cause));
            }
            Ok(ReadObject { bytes: content.bytes.clone(), etag: content.etag.clone() })
        })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectFacts, PortError> {
        self.settled(|state, _| {
            state.check_key(&format!("look up {key}"))?;
            Ok(state.object_facts(state.standing(key)?))
        })
    }

    async fn head_version(&self, object: &ObjectVersion) -> Result<ObjectFacts, PortError> {
        self.settled(|state, _| {
            state.check_key(&format!("look up {}", object.key))?;
            Ok(state.object_facts(state.version(object)?))
        })
    }

    async fn read_version(&self, object: &ObjectVersion) -> Result<ByteStream, PortError> {
        self.read_range(object, 0..u64::MAX).await
    }

    async fn read_range(&self, object: &ObjectVersion, range: Range<u64>) -> Result<ByteStream, PortError> {
        self.strike(Call::Read, Strikes::Before)?;
        let bytes = self.settled(|state, _| {
            state.check_key(&format!("read {}", object.key))?;
            Ok(state.version(object)?.1.bytes.clone())
        })?;
        let end = if range.end == u64::MAX { bytes.len() } else { usize::try_from(range.end).unwrap() };
        if end > bytes.len() {
            return Err(PortError::new(format!("read {}", object.key), ErrorKind::Invalid).because("InvalidRange"));
        }
        let bytes = bytes.slice(usize::try_from(range.start).unwrap()..end);
        let cut = self.strike(Call::Read, Strikes::After).err();
        let given = if cut.is_some() { bytes.slice(..bytes.len() / 2) } else { bytes };
        let pieces = given.chunks(PIECE_BYTES).map(|piece| Ok(Bytes::copy_from_slice(piece)));
        let pieces: Vec<_> = pieces.chain(cut.map(Err)).collect();
        Ok(futures_util::stream::iter(pieces).boxed())
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes, condition: Condition) -> Result<Written, PortError> {
        self.strike(Call::Put, Strikes::Before)?;
        let written = self.settled(|state, now| state.write(key, bytes, &condition, now))?;
        self.strike(Call::Put, Strikes::After)?;
        Ok(written)
    }

    async fn create_upload(&self, key: &ObjectKey) -> Result<OpenUpload, PortError> {
        self.settled(|state, _| state.begin(key))
    }

    async fn upload_part(&self, upload: &OpenUpload, part: Part) -> Result<PartReceipt, PortError> {
        self.strike(Call::Part, Strikes::Before)?;
        let receipt = self.settled(|state, _| state.take_part(upload, &part))?;
        self.strike(Call::Part, Strikes::After)?;
        Ok(receipt)
    }

    async fn complete_upload(&self, upload: &OpenUpload, whole: WholeObject) -> Result<(), PortError> {
        self.strike(Call::Complete, Strikes::Before)?;
        self.settled(|state, now| state.complete(upload, &whole, now))?;
        self.strike(Call::Complete, Strikes::After)
    }

    async fn abort_upload(&self, upload: &OpenUpload) -> Result<(), PortError> {
        self.settled(|state, _| state.uploads.remove(&upload.upload));
        Ok(())
    }

    async fn delete_versions(&self, versions: &[ObjectVersion]) -> Result<Vec<DeletedVersion>, PortError> {
        Ok(self.settled(|state, now| {
            let answered = versions.len() - usize::from(std::mem::take(&mut state.answers_short));
            versions.iter().take(answered).map(|version| state.delete(version, now)).collect()
        }))
    }

    async fn copy_from(&self, source: &CopySource, key: &ObjectKey) -> Result<(), PortError> {
        let peer = self.state.lock().unwrap().peers.get(&source.bucket).and_then(Weak::upgrade);
        let peer = peer.ok_or_else(|| missing(&format!("bucket {}: NoSuchBucket", source.bucket)))?;
        let bytes = peer.settled(|state, _| {
            state.check_key(&format!("copy {}", source.object.key))?;
            Ok(state.version(&source.object)?.1.bytes.clone())
        })?;
        self.settled(|state, now| state.write(key, bytes, &Condition::Absent, now))?;
        Ok(())
    }

    async fn bucket(&self) -> Result<BucketFacts, PortError> {
        Ok(self.settled(|state, _| state.facts()))
    }
}
