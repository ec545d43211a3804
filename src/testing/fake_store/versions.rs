//! Versions of objects: how they come about, which one stands, and what may delete them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use jiff::{SignedDuration, Timestamp};

use super::{State, missing};
use crate::domain::bucket::ReplicationStatus;
use crate::domain::key::ObjectKey;
use crate::domain::prune_record::ObjectVersion;
use crate::ports::object_store::{Condition, DeletedVersion, ListedVersion, ObjectFacts, VersionContent, Written};
use crate::ports::{ErrorKind, PortError};
use crate::testing::random::mixed;

/// One version of one object, or a delete marker.
#[derive(Debug, Clone)]
pub(super) struct Version {
    /// `None` in a bucket without versions.
    pub(super) id: Option<String>,
    pub(super) written_at: Timestamp,
    /// `None`: a delete marker.
    pub(super) content: Option<Content>,
    pub(super) locked_until: Option<Timestamp>,
    pub(super) legal_hold: bool,
    pub(super) replication: Option<ReplicationStatus>,
}

#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) bytes: Bytes,
    pub(super) etag: String,
    /// As S3 computed it when the bytes came.
    pub(super) crc64nvme: String,
    pub(super) kms_key: Option<String>,
}

impl Version {
    /// Until when it cannot be deleted.
    pub(super) fn held_until(&self) -> Option<Timestamp> {
        if self.legal_hold { Some(Timestamp::MAX) } else { self.locked_until }
    }
}

impl State {
    /// The newest version of a key, which may be a delete marker.
    pub(super) fn current(&self, key: &ObjectKey) -> Option<&Version> {
        self.objects.get(key)?.last()
    }

    /// The object as it stands.
    pub(super) fn standing(&self, key: &ObjectKey) -> Result<(&Version, &Content), PortError> {
        let version = self.current(key).ok_or_else(|| missing(key.as_str()))?;
        let content = version.content.as_ref().ok_or_else(|| missing(key.as_str()))?;
        Ok((version, content))
    }

    /// One version of an object; without a version id, the object as it stands.
    pub(super) fn version(&self, object: &ObjectVersion) -> Result<(&Version, &Content), PortError> {
        if object.version_id.is_none() {
            return self.standing(&object.key);
        }
        let named = format!("version {} of {}", object.version_id.as_deref().unwrap_or_default(), object.key);
        let mut versions = self.objects.get(&object.key).into_iter().flatten();
        let version = versions.find(|version| version.id == object.version_id).ok_or_else(|| missing(&named))?;
        let Some(content) = &version.content else {
            return Err(PortError::new(format!("read {named}"), ErrorKind::Invalid)
                .because("MethodNotAllowed: a delete marker"));
        };
        Ok((version, content))
    }

    /// Writes under a condition.
    pub(super) fn write(
        &mut self,
        key: &ObjectKey,
        bytes: Bytes,
        condition: &Condition,
        now: Timestamp,
    ) -> Result<Written, PortError> {
        self.check_key(&format!("write {key}"))?;
        let found = self.standing(key).ok().map(|(_, content)| content.etag.as_str());
        match (condition, found) {
            (Condition::Absent, None) => {}
            (Condition::Matches(etag), Some(found)) if etag == found => {}
            (Condition::Matches(_), None) => return Err(missing(key.as_str())),
            (Condition::Absent | Condition::Matches(_), Some(_)) => {
                return Err(
                    PortError::new(format!("write {key}"), ErrorKind::AlreadyExists).because("PreconditionFailed")
                );
            }
        }
        Ok(self.add(key, bytes, now))
    }

    /// Adds the newest version of a key.
    pub(super) fn add(&mut self, key: &ObjectKey, bytes: Bytes, now: Timestamp) -> Written {
        let crc = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes);
        let id = self.next_id();
        self.first_written.entry(key.clone()).or_insert(now);
        let kms_key = self.setup.kms_key.clone();
        // S3's tag of an object is a hash of its bytes, so the same bytes have the same one; under SSE-KMS it is not.
        let etag = if kms_key.is_some() { format!("{:016x}", mixed(self.writes)) } else { format!("{crc:016x}") };
        let crc64nvme = BASE64_STANDARD.encode(crc.to_be_bytes());
        let content = Content { bytes, etag: etag.clone(), crc64nvme, kms_key };
        let days = self.setup.lock.and_then(|lock| lock.default_days);
        let version = Version {
            id: id.clone(),
            written_at: now,
            replication: self.link.as_ref().and_then(|link| link.first_status(key, &content)),
            content: Some(content),
            locked_until: days.map(|days| now + SignedDuration::from_hours(24 * i64::from(days))),
            legal_hold: false,
        };
        if version.replication.is_some() {
            self.pending.push_back((key.clone(), id.clone(), now));
        }
        self.push(key, version);
        Written { etag, version_id: id }
    }

    /// What DELETE without a version id does: in a versioned bucket it only adds a marker.
    pub(super) fn hide(&mut self, key: &ObjectKey, now: Timestamp) {
        if !self.setup.versioned {
            self.objects.remove(key);
            return;
        }
        let id = self.next_id();
        let (written_at, content) = (now, None);
        self.push(key, Version { id, written_at, content, locked_until: None, legal_hold: false, replication: None });
    }

    pub(super) fn push(&mut self, key: &ObjectKey, version: Version) {
        let versions = self.objects.entry(key.clone()).or_default();
        if version.id.is_none() {
            versions.clear();
        }
        versions.push(version);
    }

    /// Nobody can tell from two version ids which is older.
    fn next_id(&mut self) -> Option<String> {
        self.writes += 1;
        let bucket = self.setup.name.bytes().fold(0, |seed, byte| mixed(seed ^ u64::from(byte)));
        self.setup.versioned.then(|| format!("{:016x}", mixed(bucket ^ self.writes)))
    }

    pub(super) fn delete(&mut self, object: &ObjectVersion, now: Timestamp) -> DeletedVersion {
        if object.version_id.is_none() && !self.setup.versioned {
            self.objects.remove(&object.key);
            return DeletedVersion::Gone;
        }
        let Some(versions) = self.objects.get_mut(&object.key) else { return DeletedVersion::Gone };
        let Some(index) = versions.iter().position(|version| version.id == object.version_id) else {
            return DeletedVersion::Gone;
        };
        if versions[index].held_until().is_some_and(|until| until > now) {
            let reason = "AccessDenied: Access Denied because object protected by object lock.".to_owned();
            return DeletedVersion::Refused { reason };
        }
        versions.remove(index);
        if versions.is_empty() {
            self.objects.remove(&object.key);
        }
        self.deleted.push((now, object.clone()));
        DeletedVersion::Gone
    }

    /// Versions below a prefix: keys in order, of each key the newest first.
    pub(super) fn listed(&self, prefix: &str) -> Vec<ListedVersion> {
        let found = self.objects.range(ObjectKey::listed(prefix)..);
        let found = found.take_while(|(key, _)| key.as_str().starts_with(prefix));
        let listed = found.flat_map(|(key, versions)| {
            versions.iter().rev().enumerate().map(|(age, version)| ListedVersion {
                key: key.clone(),
                version_id: version.id.clone(),
                is_latest: age == 0,
                modified_at: Some(version.written_at),
                content: version.content.as_ref().map(|content| VersionContent {
                    size_bytes: content.bytes.len() as u64,
                    etag: content.etag.clone(),
                }),
            })
        });
        listed.collect()
    }

    pub(super) fn object_facts(&self, (version, content): (&Version, &Content)) -> ObjectFacts {
        ObjectFacts {
            size_bytes: content.bytes.len() as u64,
            crc64nvme: Some(content.crc64nvme.clone()),
            version_id: version.id.clone(),
            kms_key: content.kms_key.clone(),
            replication: version.replication,
            locked_until: version.held_until().filter(|_| self.setup.shows_locks),
        }
    }
}
