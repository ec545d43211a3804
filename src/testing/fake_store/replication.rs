//! Replication to another bucket: new versions are carried over after a while, their deletion never is.

use std::sync::{Arc, Weak};

use jiff::SignedDuration;

use super::versions::{Content, Version};
use super::{FakeObjectStore, State};
use crate::domain::bucket::{ReplicationRule, ReplicationStatus};
use crate::domain::key::ObjectKey;

/// Where a bucket is replicated from.
pub(super) type Upstream = Option<Weak<FakeObjectStore>>;

/// How a bucket is replicated.
#[derive(Debug, Clone)]
pub(crate) struct ReplicationSetup {
    /// From the write of a version to its replica.
    pub(crate) delay: SignedDuration,
    /// Keys that are replicated; empty: all.
    pub(crate) prefix: String,
    /// Whether objects under SSE-KMS are; S3's default is not to.
    pub(crate) kms_objects: bool,
    /// Whether it works.
    pub(crate) works: Replicating,
}

impl Default for ReplicationSetup {
    fn default() -> ReplicationSetup {
        ReplicationSetup {
            delay: SignedDuration::from_secs(15),
            prefix: String::new(),
            kms_objects: true,
            works: Replicating::Yes,
        }
    }
}

/// Whether replication works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replicating {
    Yes,
    /// Versions stay pending.
    Paused,
    /// Versions that are due fail, for good.
    Fails,
}

pub(super) struct Link {
    setup: ReplicationSetup,
    bucket: String,
    replica: Arc<FakeObjectStore>,
}

impl FakeObjectStore {
    /// What is written here from now on is replicated to another bucket.
    pub(crate) fn replicate_to(self: &Arc<Self>, replica: &Arc<FakeObjectStore>, setup: ReplicationSetup) {
        *replica.upstream.lock().unwrap() = Some(Arc::downgrade(self));
        let bucket = replica.state.lock().unwrap().setup.name.clone();
        self.state.lock().unwrap().link = Some(Link { setup, bucket, replica: Arc::clone(replica) });
    }

    /// Changes how replication works from now on; what is pending is treated so, too.
    pub(crate) fn configure_replication(&self, change: impl FnOnce(&mut ReplicationSetup)) {
        self.replicate();
        change(&mut self.state.lock().unwrap().link.as_mut().expect("the bucket is replicated").setup);
    }

    /// Carries over what is due, into and out of this bucket.
    pub(super) fn replicate(&self) {
        let upstream = self.upstream.lock().unwrap().as_ref().and_then(Weak::upgrade);
        if let Some(upstream) = upstream {
            upstream.replicate_out();
        }
        self.replicate_out();
    }

    fn replicate_out(&self) {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        let State { link: Some(link), objects, pending, .. } = &mut *state else { return };
        if link.setup.works == Replicating::Paused {
            return;
        }
        let carried =
            if link.setup.works == Replicating::Yes { ReplicationStatus::Completed } else { ReplicationStatus::Failed };
        while let Some((key, id, written_at)) = pending.front().cloned() {
            if written_at + link.setup.delay > now {
                return;
            }
            pending.pop_front();
            let found = objects.get_mut(&key).and_then(|versions| versions.iter_mut().find(|v| v.id == id));
            // A version that was deleted meanwhile has no replica.
            let Some(version) = found else { continue };
            version.replication = Some(carried);
            if carried == ReplicationStatus::Completed {
                link.replica.state.lock().unwrap().take_replica(&key, version);
            }
        }
    }
}

impl Link {
    /// What a new version's status is; `None` where no rule covers it.
    pub(super) fn first_status(&self, key: &ObjectKey, content: &Content) -> Option<ReplicationStatus> {
        let covered = key.as_str().starts_with(&self.setup.prefix);
        let covered = covered && (content.kms_key.is_none() || self.setup.kms_objects);
        covered.then_some(ReplicationStatus::Pending)
    }

    /// The rule as the bucket shows it.
    pub(super) fn rule(&self) -> ReplicationRule {
        ReplicationRule {
            id: "to-the-replica".to_owned(),
            prefix: self.setup.prefix.clone(),
            narrowed: false,
            bucket: self.bucket.clone(),
            kms_objects: self.setup.kms_objects,
            replica_kms_key: self.replica.state.lock().unwrap().setup.kms_key.clone(),
        }
    }
}

impl State {
    /// A replica keeps version id, time and lock of its source, and has the KMS key of its own bucket.
    fn take_replica(&mut self, key: &ObjectKey, source: &Version) {
        let mut replica = Version { replication: Some(ReplicationStatus::Replica), ..source.clone() };
        if let Some(content) = &mut replica.content {
            content.kms_key.clone_from(&self.setup.kms_key);
        }
        self.push(key, replica);
    }
}
