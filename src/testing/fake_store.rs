//! A versioned bucket in memory: conditional writes, versions, delete markers, object lock, replication, multipart uploads
//! and checksums as S3 has them, and failures on demand.

mod port;
mod replication;
mod tampering;
#[cfg(test)]
mod tests;
mod uploads;
mod versions;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use jiff::Timestamp;

use crate::domain::bucket::{BucketFacts, DefaultEncryption, ObjectLock};
use crate::domain::id::RegionName;
use crate::domain::key::ObjectKey;
use crate::domain::prune_record::ObjectVersion;
use crate::ports::clock::Clock;
use crate::ports::object_store::Written;
use crate::ports::{ErrorKind, PortError};
use crate::testing::sim_clock::SimClock;
use replication::{Link, Upstream};
use uploads::Upload;
use versions::Version;

pub(crate) use replication::{Replicating, ReplicationSetup};

/// An operation that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Put,
    Part,
    Complete,
    Read,
}

/// When a failure strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strikes {
    /// Before anything has happened.
    Before,
    /// After the effect: the answer is lost. Of bytes that are read, the second half.
    After,
}

/// How a bucket is set up.
#[derive(Debug, Clone)]
pub(crate) struct BucketSetup {
    pub(crate) name: String,
    pub(crate) region: RegionName,
    pub(crate) versioned: bool,
    /// Default encryption.
    pub(crate) kms_key: Option<String>,
    pub(crate) lock: Option<ObjectLock>,
    /// Whether the reader may see until when a version is locked.
    pub(crate) shows_locks: bool,
}

impl Default for BucketSetup {
    fn default() -> BucketSetup {
        BucketSetup {
            name: "bank-backups".to_owned(),
            region: crate::testing::region(),
            versioned: true,
            kms_key: None,
            lock: None,
            shows_locks: true,
        }
    }
}

/// A bucket in memory.
pub(crate) struct FakeObjectStore {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    upstream: Mutex<Upstream>,
}

struct State {
    setup: BucketSetup,
    /// What the bucket says of itself, where that is not the truth.
    facts: Option<BucketFacts>,
    key_enabled: bool,
    /// Of each key the versions, the oldest first.
    objects: BTreeMap<ObjectKey, Vec<Version>>,
    uploads: BTreeMap<String, Upload>,
    part_sizes: Vec<usize>,
    failures: VecDeque<(Call, Strikes)>,
    writes: u64,
    deleted: Vec<(Timestamp, ObjectVersion)>,
    /// Of the versions that are to be deleted next it does not answer for the last.
    answers_short: bool,
    /// Of every key that there ever was.
    first_written: BTreeMap<ObjectKey, Timestamp>,
    link: Option<Link>,
    /// Versions that are to be replicated, the oldest first.
    pending: VecDeque<(ObjectKey, Option<String>, Timestamp)>,
    /// Buckets that objects can be copied from, by name.
    peers: BTreeMap<String, Weak<FakeObjectStore>>,
}

impl Default for FakeObjectStore {
    fn default() -> FakeObjectStore {
        FakeObjectStore::new(SimClock::starting_at(crate::testing::now()), BucketSetup::default())
    }
}

impl fmt::Debug for FakeObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeObjectStore")
    }
}

impl FakeObjectStore {
    /// An empty bucket; `clock` is AWS's.
    pub(crate) fn new(clock: Arc<dyn Clock>, setup: BucketSetup) -> FakeObjectStore {
        let state = State {
            setup,
            facts: None,
            key_enabled: true,
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            part_sizes: Vec::new(),
            failures: VecDeque::new(),
            writes: 0,
            deleted: Vec::new(),
            answers_short: false,
            first_written: BTreeMap::new(),
            link: None,
            pending: VecDeque::new(),
            peers: BTreeMap::new(),
        };
        FakeObjectStore { clock, state: Mutex::new(state), upstream: Mutex::default() }
    }

    /// The next call of this kind fails as if the connection had broken.
    pub(crate) fn fail_next(&self, call: Call, strikes: Strikes) {
        self.state.lock().unwrap().failures.push_back((call, strikes));
    }

    /// The next answer to a deletion leaves out the last version.
    pub(crate) fn answer_short(&self) {
        self.state.lock().unwrap().answers_short = true;
    }

    /// Changes how the bucket is set up, for what is written from now on.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut BucketSetup)) {
        change(&mut self.state.lock().unwrap().setup);
    }

    /// The bucket says this of itself, whatever it does.
    pub(crate) fn set_facts(&self, facts: BucketFacts) {
        self.state.lock().unwrap().facts = Some(facts);
    }

    /// Whether the bucket's KMS key can be used.
    pub(crate) fn set_key_enabled(&self, enabled: bool) {
        self.state.lock().unwrap().key_enabled = enabled;
    }

    /// Objects of `other` can be copied to this bucket.
    pub(crate) fn can_copy_from(&self, other: &Arc<FakeObjectStore>) {
        let name = other.state.lock().unwrap().setup.name.clone();
        self.state.lock().unwrap().peers.insert(name, Arc::downgrade(other));
    }

    /// Bytes of an object.
    pub(crate) fn bytes(&self, key: &ObjectKey) -> Option<Bytes> {
        self.settled(|state, _| Some(state.current(key)?.content.as_ref()?.bytes.clone()))
    }

    /// When the first version of an object was written, whether or not it is still there.
    pub(crate) fn first_written_at(&self, key: &ObjectKey) -> Option<Timestamp> {
        self.settled(|state, _| state.first_written.get(key).copied())
    }

    /// Keys of all objects that stand.
    pub(crate) fn keys(&self) -> Vec<ObjectKey> {
        self.settled(|state, _| {
            let stands = |versions: &[Version]| versions.last().is_some_and(|newest| newest.content.is_some());
            let standing = state.objects.iter().filter(|(_, versions)| stands(versions));
            standing.map(|(key, _)| key.clone()).collect()
        })
    }

    /// Puts an object there, whatever stands there.
    pub(crate) fn overwrite(&self, key: &ObjectKey, bytes: &[u8]) -> Written {
        self.settled(|state, now| state.add(key, Bytes::copy_from_slice(bytes), now))
    }

    /// How many uploads are open.
    pub(crate) fn open_uploads(&self) -> usize {
        self.state.lock().unwrap().uploads.len()
    }

    /// Sizes of all parts that were taken, in the order of their arrival.
    pub(crate) fn part_sizes(&self) -> Vec<usize> {
        self.state.lock().unwrap().part_sizes.clone()
    }

    /// Every version that was deleted for good through the port, and when.
    pub(crate) fn deleted(&self) -> Vec<(Timestamp, ObjectVersion)> {
        self.state.lock().unwrap().deleted.clone()
    }

    /// Works on the bucket as it is now: what was to be replicated by now is.
    fn settled<T>(&self, work: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        self.replicate();
        work(&mut self.state.lock().unwrap(), self.clock.now())
    }

    fn strike(&self, call: Call, when: Strikes) -> Result<(), PortError> {
        let mut state = self.state.lock().unwrap();
        if state.failures.front() == Some(&(call, when)) {
            state.failures.pop_front();
            return Err(PortError::new(format!("{call:?}"), ErrorKind::Transient).because("connection reset"));
        }
        Ok(())
    }
}

impl State {
    /// What the bucket says of itself.
    fn facts(&self) -> BucketFacts {
        let truth = || BucketFacts {
            bucket: self.setup.name.clone(),
            region: Some(self.setup.region.clone()),
            versioning: Some(self.setup.versioned),
            encryption: Some(DefaultEncryption {
                kms: self.setup.kms_key.is_some(),
                kms_key: self.setup.kms_key.clone(),
                bucket_key: self.setup.kms_key.is_some(),
            }),
            object_lock: Some(self.setup.lock),
            public_access_blocked: Some(true),
            tls_only: Some(true),
            lifecycle: Some(Vec::new()),
            replication: Some(self.link.iter().map(Link::rule).collect()),
        };
        self.facts.clone().unwrap_or_else(truth)
    }

    fn check_key(&self, what: &str) -> Result<(), PortError> {
        if self.key_enabled || self.setup.kms_key.is_none() {
            return Ok(());
        }
        Err(PortError::new(what, ErrorKind::PermissionDenied).because("AccessDenied: the KMS key is disabled"))
    }
}

fn missing(what: &str) -> PortError {
    PortError::new(format!("find {what}"), ErrorKind::NotFound)
}
