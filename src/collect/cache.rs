//! Small objects that were read before, by entity tag: only what has changed is read again.

use std::collections::BTreeMap;
use std::future::Future;

use futures_util::StreamExt;

use super::read::Read;
use crate::domain::key::ObjectKey;
use crate::ports::PortError;
use crate::ports::object_store::ListedObject;

/// Objects of one source that are read at once: enough to hide latency.
const READS_AT_ONCE: usize = 8;

/// Whether what was read is what was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    AsListed,
    ChangedSince,
}

/// What was read of one kind of object.
#[derive(Debug)]
pub(super) struct Cache<T> {
    known: BTreeMap<ObjectKey, Read<T>>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Cache { known: BTreeMap::new() }
    }
}

impl<T> Cache<T> {
    /// What was read of an object.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<&T> {
        self.known.get(key).map(|read| &read.value)
    }

    /// Everything that was read, with the entity tag of what was read.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &str, &T)> {
        self.known.iter().map(|(key, read)| (key, read.etag.as_str(), &read.value))
    }

    /// Why an object was refused in this look, if it was.
    pub(super) fn why_refused(&self, key: &ObjectKey) -> Option<&str> {
        self.known.get(key)?.refused.as_deref()
    }

    /// What was refused in this look, and why.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&ObjectKey, &str)> {
        self.known.iter().filter_map(|(key, read)| Some((key, read.refused.as_deref()?)))
    }

    /// Reads what is new, has changed or was refused, and forgets what is gone. What was read stays known, whatever fails after it.
    ///
    /// # Errors
    /// An object could not be read this time.
    pub(super) async fn refresh<'a, S, F>(
        &mut self,
        listed: &'a [(S, ListedObject)],
        read: impl Fn(&'a S, &'a ListedObject) -> F,
    ) -> Result<Freshness, PortError>
    where
        S: 'a,
        F: Future<Output = Result<Read<T>, PortError>>,
    {
        let listing: BTreeMap<&ObjectKey, ()> = listed.iter().map(|(_, object)| (&object.key, ())).collect();
        self.known.retain(|key, _| listing.contains_key(key));
        let stale: Vec<&'a (S, ListedObject)> = listed
            .iter()
            .filter(|(_, object)| {
                self.known.get(&object.key).is_none_or(|read| read.refused.is_some() || read.etag != object.etag)
            })
            .collect();
        let read = &read;
        let mut reads = futures_util::stream::iter(stale)
            .map(|(subject, object)| async move { (read(subject, object).await, object) })
            .buffer_unordered(READS_AT_ONCE);
        let mut freshness = Freshness::AsListed;
        while let Some((value, object)) = reads.next().await {
            let value = value?;
            if value.etag != object.etag {
                freshness = Freshness::ChangedSince;
            }
            self.known.insert(object.key.clone(), value);
        }
        Ok(freshness)
    }
}
