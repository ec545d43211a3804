//! RDS through the AWS SDK.

use std::sync::Arc;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_rds::Client;
use aws_sdk_rds::error::ProvideErrorMetadata;
use aws_sdk_rds::types::{DbInstance, DbSnapshot, SourceType, Tag};
use jiff::Timestamp;

use super::aws::{CountRequests, date_time, has_code, port_error, timestamp};
use super::aws_clock::{AwsClock, ReadDate};
use super::aws_identities::Identities;
use crate::domain::id::{InstanceId, SnapshotId};
use crate::domain::inventory::{Complete, Endpoint, Instance, Protection, Snapshot};
use crate::domain::run::RdsEvent;
use crate::domain::tags::Tags;
use crate::ports::rds::{Rds, SnapshotCopyRequest};
use crate::ports::roles::Function;
use crate::ports::{ErrorKind, PortError, RequestObserver};

/// Records per page: RDS's most, so that a region takes the fewest requests.
const PAGE: i32 = 100;
/// RDS counts storage in GiB.
pub(super) const GIB: u64 = 1 << 30;
/// Events told with a failure: enough to explain it, few enough to read.
const EVENTS_MAX: usize = 20;

/// RDS in one region, with a client for each function.
#[derive(Debug, Clone)]
pub struct AwsRds {
    observe: Client,
    snapshot: Client,
    copy: Client,
    prune: Client,
}

impl AwsRds {
    /// RDS in the region of `aws`.
    #[must_use]
    pub fn new(aws: &Identities, observer: &RequestObserver, clock: &Arc<AwsClock>) -> AwsRds {
        let functions = [Function::Observe, Function::Snapshot, Function::Copy, Function::Prune];
        let [observe, snapshot, copy, prune] = aws.clients(functions, |sdk| client(sdk, observer, clock));
        AwsRds { observe, snapshot, copy, prune }
    }
}

/// A client of RDS that counts its requests and reads AWS's time.
pub(super) fn client(sdk: &SdkConfig, observer: &RequestObserver, clock: &Arc<AwsClock>) -> Client {
    let config = aws_sdk_rds::config::Builder::from(sdk)
        .interceptor(CountRequests(Arc::clone(observer)))
        .interceptor(ReadDate(Arc::clone(clock)))
        .build();
    Client::from_conf(config)
}

#[async_trait]
impl Rds for AwsRds {
    async fn instances(&self) -> Result<Complete<Instance>, PortError> {
        let mut pages = self.observe.describe_db_instances().max_records(PAGE).into_paginator().items().send();
        let mut instances = Vec::new();
        while let Some(instance) = pages.next().await {
            let instance = instance.map_err(|error| port_error("list DB instances", error))?;
            // One without identity is being created this very moment; it cannot be a source yet.
            instances.extend(to_instance(&instance));
        }
        Ok(Complete::after_last_page(instances))
    }

    async fn snapshots(&self) -> Result<Complete<Snapshot>, PortError> {
        let request = self.observe.describe_db_snapshots().snapshot_type("manual").max_records(PAGE);
        let mut pages = request.into_paginator().items().send();
        let mut snapshots = Vec::new();
        while let Some(snapshot) = pages.next().await {
            let snapshot = snapshot.map_err(|error| port_error("list DB snapshots", error))?;
            snapshots.extend(to_snapshot(&snapshot));
        }
        Ok(Complete::after_last_page(snapshots))
    }

    async fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, PortError> {
        match self.observe.describe_db_snapshots().db_snapshot_identifier(id.as_str()).send().await {
            Ok(found) => Ok(found.db_snapshots().first().and_then(to_snapshot)),
            Err(error) if has_code(&error, &["DBSnapshotNotFound"]) => Ok(None),
            Err(error) => Err(port_error(format!("describe DB snapshot {id}"), error)),
        }
    }

    async fn create_snapshot(&self, id: &SnapshotId, instance: &InstanceId, tags: &Tags) -> Result<(), PortError> {
        let request = self
            .snapshot
            .create_db_snapshot()
            .db_snapshot_identifier(id.as_str())
            .db_instance_identifier(instance.as_str())
            .set_tags(Some(sdk_tags(tags)));
        let created = request.send().await;
        created.map_err(|error| port_error(format!("create DB snapshot {id} of instance {instance}"), error))?;
        Ok(())
    }

    async fn copy_snapshot(&self, copy: &SnapshotCopyRequest) -> Result<(), PortError> {
        let SnapshotCopyRequest { source_arn, source_region, target, kms_key, tags } = copy;
        // No pre-signed URL: RDS ignores it outside of GovCloud, and fetches from the other region with our rights there.
        let request = self
            .copy
            .copy_db_snapshot()
            .source_db_snapshot_identifier(source_arn)
            .target_db_snapshot_identifier(target.as_str())
            .set_kms_key_id(kms_key.clone())
            // The source's marks name the source: the copy gets its own.
            .copy_tags(false)
            .set_tags(Some(sdk_tags(tags)));
        let Err(error) = request.send().await else { return Ok(()) };
        let named = format!("copy DB snapshot {source_arn} of {source_region} to {target}");
        if has_code(&error, &["SnapshotQuotaExceeded"]) && error.message().is_some_and(is_about_copies_under_way) {
            let words = error.message().unwrap_or_default().to_owned();
            return Err(PortError::new(named, ErrorKind::Throttled).because(words));
        }
        Err(port_error(named, error))
    }

    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), PortError> {
        let deleted = self.prune.delete_db_snapshot().db_snapshot_identifier(id.as_str()).send().await;
        deleted.map_err(|error| port_error(format!("delete DB snapshot {id}"), error))?;
        Ok(())
    }

    async fn instance_events(&self, instance: &InstanceId, since: Timestamp) -> Result<Vec<RdsEvent>, PortError> {
        let request = self
            .observe
            .describe_events()
            .source_identifier(instance.as_str())
            .source_type(SourceType::DbInstance)
            .start_time(date_time(since))
            .max_records(PAGE);
        let mut pages = request.into_paginator().items().send();
        let mut events = Vec::new();
        while let Some(event) = pages.next().await {
            let event = event.map_err(|error| port_error(format!("list events of instance {instance}"), error))?;
            if let (Some(at), Some(message)) = (event.date().and_then(timestamp), event.message()) {
                events.push(RdsEvent { at, message: message.to_owned() });
            }
        }
        events.sort_by_key(|event| event.at);
        let surplus = events.len().saturating_sub(EVENTS_MAX);
        Ok(events.split_off(surplus))
    }
}

pub(super) fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

pub(super) fn tags_of(tags: &[Tag]) -> Tags {
    let of_tag = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    tags.iter().filter_map(of_tag).collect()
}

/// RDS has one code for two quotas: of snapshots, which a person has to raise, and of copies that are being made, which
/// only takes waiting. The words tell them apart.
fn is_about_copies_under_way(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("in progress") || message.contains("copies")
}

pub(super) fn to_instance(instance: &DbInstance) -> Option<Instance> {
    let endpoint = instance.endpoint().and_then(|endpoint| {
        let port = u16::try_from(endpoint.port()?).ok()?;
        Some(Endpoint { host: endpoint.address()?.to_owned(), port })
    });
    Some(Instance {
        id: instance.db_instance_identifier()?.parse().ok()?,
        resource: instance.dbi_resource_id()?.parse().ok()?,
        status: instance.db_instance_status().unwrap_or("unknown").to_owned(),
        engine: instance.engine().unwrap_or_default().to_owned(),
        engine_version: instance.engine_version().unwrap_or_default().to_owned(),
        endpoint,
        latest_restorable_at: instance.latest_restorable_time().and_then(timestamp),
        automated_backup_days: instance.backup_retention_period().and_then(|days| days.try_into().ok()).unwrap_or(0),
        replica_of: instance.read_replica_source_db_instance_identifier().map(str::to_owned),
        storage_bytes: gib(instance.allocated_storage()),
        kms_key: instance.kms_key_id().map(str::to_owned),
        protection: Protection {
            from_deletion: instance.deletion_protection().unwrap_or(false),
            backup_window: instance.preferred_backup_window().map(str::to_owned),
            certificate_until: instance.certificate_details().and_then(|own| own.valid_till()).and_then(timestamp),
            parameter_group: instance
                .db_parameter_groups()
                .first()
                .and_then(|group| group.db_parameter_group_name())
                .map(str::to_owned),
        },
        tags: tags_of(instance.tag_list()),
    })
}

fn to_snapshot(snapshot: &DbSnapshot) -> Option<Snapshot> {
    Some(Snapshot {
        id: snapshot.db_snapshot_identifier()?.parse().ok()?,
        instance: snapshot.db_instance_identifier()?.parse().ok()?,
        resource: snapshot.dbi_resource_id().and_then(|id| id.parse().ok()),
        status: snapshot.status().unwrap_or("unknown").to_owned(),
        progress_percent: snapshot.percent_progress().and_then(|percent| percent.try_into().ok()).unwrap_or(0),
        // The creation time moves when a snapshot is copied; the original one is the data's.
        created_at: snapshot
            .original_snapshot_create_time()
            .or_else(|| snapshot.snapshot_create_time())
            .and_then(timestamp),
        stored_at: snapshot.snapshot_create_time().and_then(timestamp),
        arn: snapshot.db_snapshot_arn().map(str::to_owned),
        copied_from: snapshot.source_db_snapshot_identifier().map(str::to_owned),
        kms_key: snapshot.kms_key_id().map(str::to_owned),
        storage_bytes: gib(snapshot.allocated_storage()),
        tags: tags_of(snapshot.tag_list()),
    })
}

fn gib(storage: Option<i32>) -> u64 {
    storage.and_then(|gib| u64::try_from(gib).ok()).unwrap_or(0) * GIB
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_of_copies_is_told_from_the_quota_of_snapshots_by_its_words() {
        assert!(is_about_copies_under_way("Cannot have more than 20 cross region snapshot copies in progress"));
        assert!(!is_about_copies_under_way("Cannot create more than 100 manual snapshots"));
    }
}
