//! Deletes. The planner has given the right to; here everything is looked at once more, just before, and only what is still
//! exactly what was judged is deleted.

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::verify::exact;
use super::{Executor, Outcome, json};
use crate::domain::id::{SnapshotId, SourceId};
use crate::domain::inventory::StoredDump;
use crate::domain::manifest::Manifest;
use crate::domain::pin::PIN_BYTES_MAX;
use crate::domain::prune_record::{ObjectVersion, PRUNE_RECORD_BYTES_MAX, PRUNE_RECORD_VERSION, PruneRecord};
use crate::domain::tags;
use crate::plan::action::{DeleteDump, DeleteSnapshot, Sweep, Swept, Warrant};
use crate::policy::retention::Expired;
use crate::ports::object_store::{Condition, DeletedVersion, ObjectStore};
use crate::ports::{Chain, ErrorKind, PortError};

/// What one request to S3 deletes at most.
const VERSIONS_PER_REQUEST: usize = 1000;

/// A record of a deletion, with the entity tag on top of which it is closed.
struct Open {
    record: PruneRecord,
    etag: String,
}

impl Executor {
    /// Deletes a snapshot that is still the one that was judged.
    pub(super) async fn delete_snapshot(&self, delete: &DeleteSnapshot) -> Result<Outcome, PortError> {
        let expired = &delete.expired;
        let invalid =
            |error| PortError::new(format!("delete snapshot {}", expired.id()), ErrorKind::Invalid).because(error);
        let id: SnapshotId = expired.id().parse().map_err(|error: crate::domain::id::InvalidId| invalid(error))?;
        let rds = self.rds(expired.region())?;
        let Some(found) = rds.snapshot(&id).await? else { return Ok(Outcome::PointDeleted) };
        let held = |reason: &str| Ok(Outcome::Held { reason: reason.to_owned() });
        let overtaken = |reason| Ok(Outcome::Overtaken { reason });
        if !tags::prove_ownership(&found.tags, &self.settings.installation, &id) {
            return held("its tags do not prove any more that it is ours");
        }
        let undated = found.created_at.is_none() && found.status == "failed";
        let same_moment = undated || found.created_at == Some(expired.created_at());
        if found.resource.as_ref() != Some(expired.resource()) || !same_moment {
            return overtaken("it is another snapshot than the one that was judged".to_owned());
        }
        if found.status == "deleting" {
            return overtaken("it is being deleted already".to_owned());
        }
        if found.is_under_way() {
            return held(&format!("its status is `{}`", found.status));
        }
        if self.is_pinned(expired.source(), expired.id()).await? {
            return held("it has been pinned meanwhile");
        }
        match rds.delete_snapshot(&id).await {
            Ok(()) => Ok(Outcome::PointDeleted),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Outcome::PointDeleted),
            // By another daemon, or since it was asked for just now; a refusal in a state in which RDS deletes is a failure.
            Err(error) if error.kind() == ErrorKind::WrongState => match rds.snapshot(&id).await? {
                Some(still) if !still.is_under_way() => Err(error),
                Some(_) | None => overtaken(Chain(&error).to_string()),
            },
            Err(error) => Err(error),
        }
    }

    /// Deletes a dump: the record first, then its objects by their exact versions, then the manifest.
    pub(super) async fn delete_dump(
        &self,
        delete: &DeleteDump,
        token: &CancellationToken,
    ) -> Result<Outcome, PortError> {
        let open = match &delete.warrant {
            Warrant::Begun(record) => self.read_prune_record(record).await?,
            Warrant::Expired { expired, stored } => self.begin_deletion(expired, stored).await?,
        };
        match open {
            Ok(open) => self.see_deletion_through(open, token).await,
            Err(outcome) => Ok(outcome),
        }
    }

    /// Checks everything once more and writes the record, from which on the dump counts as deleted.
    async fn begin_deletion(&self, expired: &Expired, stored: &StoredDump) -> Result<Result<Open, Outcome>, PortError> {
        let store = self.bucket(expired.plane())?;
        let manifest = match self.same_manifest(store, stored).await? {
            Ok(manifest) => manifest,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let held = |reason: String| Ok(Err(Outcome::Held { reason }));
        if manifest.installation != self.settings.installation
            || manifest.resource != *expired.resource()
            || manifest.snapshot_at != expired.created_at()
        {
            let reason = "it is another dump than the one that was judged".to_owned();
            return Ok(Err(Outcome::Overtaken { reason }));
        }
        if self.is_pinned(expired.source(), expired.id()).await? {
            return held("it has been pinned meanwhile".to_owned());
        }
        let versions = self.versions_of(store, stored, &manifest).await?;
        if let Some(until) = locked_until(store, &versions).await?.filter(|until| *until > self.ports.clock.now()) {
            return held(format!("object lock forbids it until {until}"));
        }
        let record = PruneRecord {
            version: PRUNE_RECORD_VERSION,
            installation: self.settings.installation.clone(),
            dump: stored.dump.clone(),
            run: manifest.run,
            resource: manifest.resource,
            plane: expired.plane(),
            region: expired.region().clone(),
            reason: expired.to_string(),
            versions,
            began_at: self.ports.clock.now(),
            finished_at: None,
        };
        self.write_prune_record(record).await
    }

    /// The exact versions that a deletion names: those of the manifest where this bucket has them, otherwise those that
    /// stand there under the manifest's keys with its sizes. The manifest is the last.
    async fn versions_of(
        &self,
        store: &dyn ObjectStore,
        stored: &StoredDump,
        manifest: &Manifest,
    ) -> Result<Vec<ObjectVersion>, PortError> {
        let prefix = self.settings.layout.run_prefix(&stored.dump, &manifest.run);
        let listed = store.list_versions(&prefix).await?;
        let mut versions = Vec::new();
        for object in &manifest.objects {
            let named = exact(object);
            let of_key = || listed.iter().filter(|version| version.key == object.key);
            let stands = of_key().any(|version| version.version_id == named.version_id);
            let alike = of_key().find(|version| {
                version.content.as_ref().is_some_and(|content| content.size_bytes == object.size_bytes)
            });
            match (stands, alike) {
                (true, _) => versions.push(named),
                (false, Some(version)) => {
                    versions.push(ObjectVersion { key: object.key.clone(), version_id: version.version_id.clone() })
                }
                // It is gone already.
                (false, None) => {}
            }
        }
        versions.push(stored.manifest.clone());
        Ok(versions)
    }

    /// Writes the record of a deletion, or takes up the one that stands.
    async fn write_prune_record(&self, record: PruneRecord) -> Result<Result<Open, Outcome>, PortError> {
        let key = self.settings.layout.prune_record(&record.dump, record.plane);
        let condition = match self.ports.store.get(&key, PRUNE_RECORD_BYTES_MAX).await {
            Ok(found) => match serde_json::from_slice::<PruneRecord>(&found.bytes) {
                Ok(earlier) if earlier.is_open() && earlier.run == record.run => {
                    return Ok(Ok(Open { record: earlier, etag: found.etag }));
                }
                // Of a dump that held the slot before.
                Ok(earlier) if !earlier.is_open() => Condition::Matches(found.etag),
                Ok(_) => {
                    let reason = format!("{key} is about another run of the same slot");
                    return Ok(Err(Outcome::Held { reason }));
                }
                Err(error) => return Ok(Err(Outcome::Held { reason: format!("{key} cannot be read: {error}") })),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Condition::Absent,
            Err(error) => return Err(error),
        };
        match self.ports.store.put(&key, json(&key, &record)?, condition).await {
            Ok(written) => Ok(Ok(Open { record, etag: written.etag })),
            // By another daemon, or by this very write, whose answer was lost: then the next look finds it open.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Ok(Err(Outcome::Overtaken { reason: format!("{key} has been written meanwhile") }))
            }
            Err(error) => Err(error),
        }
    }

    async fn read_prune_record(&self, record: &PruneRecord) -> Result<Result<Open, Outcome>, PortError> {
        let key = self.settings.layout.prune_record(&record.dump, record.plane);
        let found = self.ports.store.get(&key, PRUNE_RECORD_BYTES_MAX).await?;
        Ok(match serde_json::from_slice::<PruneRecord>(&found.bytes) {
            Ok(stands) if stands == *record => Ok(Open { record: stands, etag: found.etag }),
            Ok(_) => Err(Outcome::Overtaken { reason: format!("{key} has changed since it was looked at") }),
            Err(error) => Err(Outcome::Held { reason: format!("{key} cannot be read: {error}") }),
        })
    }

    /// Deletes what an open record names, its last version, which is the manifest's, only when all others are gone.
    async fn see_deletion_through(&self, open: Open, token: &CancellationToken) -> Result<Outcome, PortError> {
        let store = self.bucket(open.record.plane)?;
        let Some((manifest, data)) = open.record.versions.split_last() else {
            return Ok(Outcome::Held { reason: "its prune record names nothing".to_owned() });
        };
        for batch in data.chunks(VERSIONS_PER_REQUEST) {
            if token.is_cancelled() {
                return Ok(Outcome::Stopped);
            }
            if let Some(reason) = refusal(store, batch).await? {
                return Ok(Outcome::Held { reason });
            }
        }
        if let Some(reason) = refusal(store, std::slice::from_ref(manifest)).await? {
            return Ok(Outcome::Held { reason });
        }
        let key = self.settings.layout.prune_record(&open.record.dump, open.record.plane);
        let closed = PruneRecord { finished_at: Some(self.ports.clock.now()), ..open.record };
        match self.ports.store.put(&key, json(&key, &closed)?, Condition::Matches(open.etag)).await {
            Ok(_) => Ok(Outcome::PointDeleted),
            // Another daemon has closed it.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Outcome::PointDeleted),
            Err(error) => Err(error),
        }
    }

    /// Deletes what no backup needs.
    pub(super) async fn sweep(&self, sweep: &Sweep) -> Result<Outcome, PortError> {
        let store = self.ports.store.as_ref();
        if let Swept::RemainsOf(run) = &sweep.what
            && let Some(database) = &run.database
        {
            let dump =
                crate::domain::key::DumpId { source: sweep.source.clone(), database: database.clone(), slot: run.slot };
            // A manifest that has come since names them; one that is of another run of the slot does not.
            let key = self.settings.layout.manifest(&dump);
            match store.get(&key, crate::domain::manifest::MANIFEST_BYTES_MAX).await {
                Ok(found) => match Manifest::read(&found.bytes, &dump) {
                    Ok(manifest) if manifest.run != *run => {}
                    Ok(_) => return Ok(Outcome::Held { reason: format!("{key} names them now") }),
                    Err(_) => return Ok(Outcome::Held { reason: format!("{key} cannot be read") }),
                },
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        for versions in [&sweep.versions, &sweep.last] {
            if let Some(reason) = refusal(store, versions).await? {
                return Ok(Outcome::Held { reason });
            }
        }
        Ok(Outcome::Swept { versions: sweep.versions.len() + sweep.last.len() })
    }

    async fn is_pinned(&self, source: &SourceId, point: &str) -> Result<bool, PortError> {
        match self.ports.store.get(&self.settings.layout.pin(source, point), PIN_BYTES_MAX).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            // A pin that is too large to read is one all the same.
            Err(error) if error.kind() == ErrorKind::Invalid => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Until when any of these versions is locked.
async fn locked_until(store: &dyn ObjectStore, versions: &[ObjectVersion]) -> Result<Option<Timestamp>, PortError> {
    let mut latest = None;
    for version in versions {
        match store.head_version(version).await {
            Ok(facts) => latest = latest.max(facts.locked_until),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(latest)
}

/// Deletes versions; the first refusal, if there is any. What was deleted beside it stays deleted, and is named again by
/// the next attempt, for which it is gone.
async fn refusal(store: &dyn ObjectStore, versions: &[ObjectVersion]) -> Result<Option<String>, PortError> {
    if versions.is_empty() {
        return Ok(None);
    }
    let deleted = store.delete_versions(versions).await?;
    if deleted.len() != versions.len() {
        return Ok(Some("the store did not answer for every version".to_owned()));
    }
    let refused = versions.iter().zip(deleted).find_map(|(version, outcome)| match outcome {
        DeletedVersion::Gone => None,
        DeletedVersion::Refused { reason } => Some(format!("the store keeps {}: {reason}", version.key)),
    });
    Ok(refused)
}

#[cfg(test)]
mod tests;
