//! The requests that RDS takes, and its refusals in its own codes.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::state::{ChangeKind, Fate, HeldSnapshot, Life, Order, arn};
use super::{FakeRds, FakeRdsWorld, WorldState, lower};
use crate::domain::account::{ParameterGroup, ParameterGroupName};
use crate::domain::diagnosis::Quota;
use crate::domain::encryption_key::{KeyFacts, KeyName, KeyState};
use crate::domain::id::{InstanceId, RegionName, SnapshotId};
use crate::domain::inventory::{Complete, Instance, Snapshot};
use crate::domain::run::RdsEvent;
use crate::domain::tags::Tags;
use crate::ports::account::Account;
use crate::ports::keys::Keys;
use crate::ports::rds::{Rds, SnapshotCopyRequest};
use crate::ports::server_metrics::ServerMetrics;
use crate::ports::{ErrorKind, PortError};

/// RDS keeps events for 14 days.
const EVENTS_KEPT: SignedDuration = SignedDuration::from_hours(14 * 24);

fn refused(what: &str, kind: ErrorKind, cause: &str) -> PortError {
    PortError::new(what, kind).because(cause)
}

#[async_trait]
impl Keys for FakeRdsWorld {
    async fn key(&self, name: &KeyName) -> Result<Option<KeyFacts>, PortError> {
        let disabled = self
            .state
            .lock()
            .unwrap()
            .regions
            .get(&name.region)
            .is_some_and(|region| region.disabled_keys.contains(&name.key));
        let state = if disabled { KeyState::Disabled } else { KeyState::Enabled };
        Ok(Some(KeyFacts { managed_by_aws: false, state }))
    }
}

#[async_trait]
impl Account for FakeRdsWorld {
    async fn quotas(&self) -> Result<Vec<Quota>, PortError> {
        Ok(Vec::new())
    }

    async fn parameter_group(&self, _: &ParameterGroupName) -> Result<Option<ParameterGroup>, PortError> {
        Ok(Some(ParameterGroup { forces_tls: true }))
    }
}

#[async_trait]
impl ServerMetrics for FakeRds {
    async fn free_storage_bytes(&self, instance: &InstanceId, _: Timestamp) -> Result<Option<u64>, PortError> {
        Ok(self.with(|region, _| region.free_storage.get(instance).copied()))
    }
}

#[async_trait]
impl Rds for FakeRds {
    async fn instances(&self) -> Result<Complete<Instance>, PortError> {
        let shown = self.with(|region, now| {
            region.instances.values().map(|held| region.shown_instance(held, now)).collect::<Vec<_>>()
        });
        Ok(Complete::after_last_page(shown))
    }

    async fn snapshots(&self) -> Result<Complete<Snapshot>, PortError> {
        let shown = self.with(|region, now| {
            let lag = region.settings.lists_lag;
            let listed = region.snapshots.values().filter(|held| held.ordered_at + lag <= now);
            listed.map(|held| held.shown(now)).collect::<Vec<_>>()
        });
        Ok(Complete::after_last_page(shown))
    }

    async fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, PortError> {
        Ok(self.with(|region, now| {
            let lag = region.settings.lists_lag;
            region.snapshot(id).filter(|held| held.ordered_at + lag <= now).map(|held| held.shown(now))
        }))
    }

    async fn create_snapshot(&self, id: &SnapshotId, instance: &InstanceId, tags: &Tags) -> Result<(), PortError> {
        let what = format!("create DB snapshot {id} of instance {instance}");
        let name = self.name.clone();
        let change = self.with(|region, now| {
            let Some(held) = region.instance(instance) else {
                return Err(refused(&what, ErrorKind::NotFound, "DBInstanceNotFound"));
            };
            let shown = region.shown_instance(held, now);
            if region.snapshot(id).is_some() {
                return Err(refused(&what, ErrorKind::AlreadyExists, "DBSnapshotAlreadyExists"));
            }
            if !shown.takes_snapshots() {
                let cause = format!("InvalidDBInstanceState: instance {instance} is {}", shown.status);
                return Err(refused(&what, ErrorKind::WrongState, &cause));
            }
            if region.snapshots.len() >= region.settings.snapshots_max {
                return Err(refused(&what, ErrorKind::Other, "SnapshotQuotaExceeded"));
            }
            let ordered = region.order(&name, &Order { id, instance, tags }, now).expect("it was found just now");
            let change = ordered.change(&name, ChangeKind::Ordered, now);
            let event = RdsEvent { at: now, message: "Backing up DB instance".to_owned() };
            region.events.push((lower(instance.as_str()), event));
            region.snapshots.insert(lower(id.as_str()), ordered);
            Ok(change)
        })?;
        self.world.state.lock().unwrap().changes.push(change);
        Ok(())
    }

    async fn copy_snapshot(&self, copy: &SnapshotCopyRequest) -> Result<(), PortError> {
        let now = self.world.clock.now();
        let mut state = self.world.state.lock().unwrap();
        state.settle(now);
        let source = may_be_copied(&mut state, &self.name, copy, now)?;
        let target: SnapshotId = lower(copy.target.as_str()).parse().unwrap();
        let across = copy.source_region != self.name;
        let copy_of = Some((copy.source_region.clone(), source.id.to_string()));
        let facts = Snapshot {
            arn: Some(arn(&self.name, &target)),
            id: target,
            stored_at: Some(now),
            copied_from: across.then(|| copy.source_arn.clone()),
            kms_key: copy.kms_key.clone().or(source.kms_key),
            tags: copy.tags.clone(),
            ..source
        };
        let here = state.region(&self.name);
        let fate = here.copy_fates.pop_front().unwrap_or(Fate::Available);
        let life = Life::Making { takes: here.settings.copy_takes, fate };
        let held = HeldSnapshot { facts, ordered_at: now, life, copy_of };
        let change = held.change(&self.name, ChangeKind::Ordered, now);
        here.snapshots.insert(lower(copy.target.as_str()), held);
        state.changes.push(change);
        Ok(())
    }

    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), PortError> {
        let what = format!("delete DB snapshot {id}");
        let now = self.world.clock.now();
        let mut state = self.world.state.lock().unwrap();
        state.settle(now);
        let region = state.region(&self.name);
        let until = now + region.settings.delete_takes;
        if std::mem::take(&mut region.deleted_by_another) {
            region.snapshots.get_mut(&lower(id.as_str())).expect("it was looked at").life = Life::Deleting { until };
            state.settle(now);
        }
        let region = state.region(&self.name);
        let Some(held) = region.snapshots.get_mut(&lower(id.as_str())) else {
            return Err(refused(&what, ErrorKind::NotFound, "DBSnapshotNotFound"));
        };
        match held.life {
            Life::Available | Life::Failed => held.life = Life::Deleting { until },
            Life::Making { .. } | Life::Deleting { .. } => {
                let cause = format!("InvalidDBSnapshotState: {}", held.shown(now).status);
                return Err(refused(&what, ErrorKind::WrongState, &cause));
            }
        }
        state.fail_copies_of(&self.name, &lower(id.as_str()), now);
        // What takes no time is over at once.
        state.settle(now);
        Ok(())
    }

    async fn instance_events(&self, instance: &InstanceId, since: Timestamp) -> Result<Vec<RdsEvent>, PortError> {
        Ok(self.with(|region, now| {
            let since = since.max(now - EVENTS_KEPT);
            let own = region.events.iter().filter(|(of, event)| *of == lower(instance.as_str()) && event.at >= since);
            let mut own: Vec<RdsEvent> = own.map(|(_, event)| event.clone()).collect();
            own.sort_by_key(|event| event.at);
            own
        }))
    }
}

/// The snapshot that is to be copied into the region `to`, if RDS takes the order.
fn may_be_copied(
    state: &mut WorldState,
    to: &RegionName,
    copy: &SnapshotCopyRequest,
    now: Timestamp,
) -> Result<Snapshot, PortError> {
    let what = format!("copy {} to {}", copy.source_arn, copy.target);
    let there = state.region(&copy.source_region);
    let source = there.snapshots.values().find(|held| held.facts.arn.as_ref() == Some(&copy.source_arn));
    let Some(source) = source else {
        return Err(refused(&what, ErrorKind::NotFound, "DBSnapshotNotFound"));
    };
    if !matches!(source.life, Life::Available) {
        let cause = format!("InvalidDBSnapshotState: {}", source.shown(now).status);
        return Err(refused(&what, ErrorKind::WrongState, &cause));
    }
    let source = source.facts.clone();
    if copy.source_region != *to && source.kms_key.is_some() && copy.kms_key.is_none() {
        return Err(refused(&what, ErrorKind::Invalid, "InvalidParameterCombination: KmsKeyId is missing"));
    }
    let source_key_disabled = source.kms_key.as_ref().is_some_and(|key| there.disabled_keys.contains(key));
    let here = state.region(to);
    if source_key_disabled || copy.kms_key.as_ref().is_some_and(|key| here.disabled_keys.contains(key)) {
        return Err(refused(&what, ErrorKind::PermissionDenied, "KMSKeyNotAccessibleFault"));
    }
    if here.snapshot(&copy.target).is_some() {
        return Err(refused(&what, ErrorKind::AlreadyExists, "DBSnapshotAlreadyExists"));
    }
    if here.snapshots.len() >= here.settings.snapshots_max {
        return Err(refused(&what, ErrorKind::Other, "SnapshotQuotaExceeded"));
    }
    if here.copies_under_way() >= here.settings.copies_max {
        return Err(refused(&what, ErrorKind::Throttled, "too many copies are under way"));
    }
    Ok(source)
}
