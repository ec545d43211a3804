//! What happens to a bucket behind the daemon's back: people, broken disks, and other people's tools.

use bytes::BytesMut;
use jiff::Timestamp;

use super::FakeObjectStore;
use super::versions::{Content, Version};
use crate::domain::key::ObjectKey;

impl FakeObjectStore {
    /// Somebody deletes an object without naming a version: in a versioned bucket a marker hides it.
    pub(crate) fn delete_by_hand(&self, key: &ObjectKey) {
        self.settled(|state, now| state.hide(key, now));
    }

    /// One bit of the stored bytes is another one. S3 still tells the old checksum.
    pub(crate) fn flip_bit(&self, key: &ObjectKey, byte: usize) {
        self.alter(key, |content| {
            let mut bytes = BytesMut::from(content.bytes.as_ref());
            bytes[byte] ^= 1;
            content.bytes = bytes.freeze();
        });
    }

    /// The end of the stored bytes is gone. S3 still tells the old checksum.
    pub(crate) fn truncate(&self, key: &ObjectKey, size_bytes: usize) {
        self.alter(key, |content| content.bytes.truncate(size_bytes));
    }

    /// Two objects have changed places, each with its own checksum.
    pub(crate) fn swap(&self, one: &ObjectKey, other: &ObjectKey) {
        let mut held = None;
        self.alter(one, |content| held = Some(content.clone()));
        let mut held = held.expect("it was read just now");
        self.alter(other, |content| std::mem::swap(content, &mut held));
        self.alter(one, |content| *content = held);
    }

    /// The object as it stands is gone for good, as if it had never been.
    pub(crate) fn lose(&self, key: &ObjectKey) {
        self.settled(|state, _| state.objects.remove(key)).expect("there is such an object");
    }

    /// Locks the object as it stands until then, or for ever.
    pub(crate) fn lock(&self, key: &ObjectKey, until: Timestamp) {
        self.alter_version(key, |version| version.locked_until = Some(until));
    }

    /// Puts the object as it stands under a legal hold, or releases it.
    pub(crate) fn hold(&self, key: &ObjectKey, held: bool) {
        self.alter_version(key, |version| version.legal_hold = held);
    }

    /// Another KMS key than the bucket's is on the object as it stands.
    pub(crate) fn encrypt_with(&self, key: &ObjectKey, kms_key: &str) {
        self.alter(key, |content| content.kms_key = Some(kms_key.to_owned()));
    }

    fn alter(&self, key: &ObjectKey, change: impl FnOnce(&mut Content)) {
        self.alter_version(key, |version| change(version.content.as_mut().expect("it is no delete marker")));
    }

    fn alter_version(&self, key: &ObjectKey, change: impl FnOnce(&mut Version)) {
        self.settled(|state, _| {
            let versions = state.objects.get_mut(key).unwrap_or_else(|| panic!("there is no {key}"));
            change(versions.last_mut().expect("a key without versions is dropped"));
        });
    }
}
