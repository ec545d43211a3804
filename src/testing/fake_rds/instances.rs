//! Instances that are restored, in the fake: each has the data of another one's server, as it was at a moment.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::state::{Fate, Life, RestoredInstance};
use super::{FakeRds, lower};
use crate::domain::id::InstanceId;
use crate::domain::inventory::{Complete, Endpoint, Instance, Protection};
use crate::domain::new_instance::{AutomatedBackups, InstanceDetails, NewInstance, RestoreFrom};
use crate::ports::instances::{Instances, NotRestored, Refusal};
use crate::ports::{ErrorKind, PortError};
use crate::testing::instance_details;

/// Automated backups reach back so far.
const REACH: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The instance whose data is restored, and the moment of the data.
struct Origin {
    instance: InstanceId,
    data_of: Timestamp,
    kms_key: Option<String>,
}

impl FakeRds {
    fn origin(&self, from: &RestoreFrom) -> Option<Origin> {
        self.with(|region, now| match from {
            RestoreFrom::Snapshot(id) => {
                let held = region.snapshot(id).filter(|held| matches!(held.life, Life::Available))?;
                let (instance, kms_key) = (held.facts.instance.clone(), held.facts.kms_key.clone());
                Some(Origin { instance, data_of: held.facts.created_at?, kms_key })
            }
            RestoreFrom::Time { backups, to } => {
                let own = region.shown_instance(region.instance(&backups.instance)?, now);
                let reached = own.latest_restorable_at.is_some_and(|latest| *to < latest);
                (reached && own.resource == backups.resource).then_some(())?;
                Some(Origin { instance: own.id, data_of: *to, kms_key: own.kms_key })
            }
        })
    }
}

#[async_trait]
impl Instances for FakeRds {
    async fn details(&self, id: &InstanceId) -> Result<Option<InstanceDetails>, PortError> {
        Ok(self.with(|region, now| {
            let held = region.instance(id)?;
            let mut setup = instance_details().setup;
            setup.tags = held.tags.clone();
            let setup = region.restored.get(&lower(id.as_str())).map_or(setup, |restored| restored.setup.clone());
            Some(InstanceDetails {
                instance: region.shown_instance(held, now),
                setup,
                master_user: Some("master".to_owned()),
                not_restorable: Vec::new(),
            })
        }))
    }

    async fn automated_backups(&self, id: &InstanceId) -> Result<Complete<AutomatedBackups>, PortError> {
        let found = self.with(|region, now| {
            let own = region.instance(id).map(|held| region.shown_instance(held, now));
            own.filter(|own| own.automated_backup_days > 0).map(|own| AutomatedBackups {
                instance: own.id,
                resource: own.resource,
                arn: None,
                is_replicated: false,
                earliest: Some(now - REACH),
                latest: own.latest_restorable_at,
                is_encrypted: Some(own.kms_key.is_some()),
                kms_key: own.kms_key,
                status: "active".to_owned(),
            })
        });
        Ok(Complete::after_last_page(found.into_iter().collect()))
    }

    async fn restore(&self, new: &NewInstance) -> Result<(), NotRestored> {
        let refused = |why| {
            let error = PortError::new(format!("restore instance {}", new.id), ErrorKind::Other);
            NotRestored { why: Some(why), error }
        };
        let origin = self.origin(&new.from).ok_or_else(|| refused(Refusal::Backup))?;
        let resource = self.new_resource();
        let facts = Instance {
            id: new.id.clone(),
            resource,
            status: "creating".to_owned(),
            engine: "postgres".to_owned(),
            engine_version: "15.18".to_owned(),
            endpoint: Some(Endpoint { host: self.host(&new.id), port: 5432 }),
            latest_restorable_at: None,
            automated_backup_days: new.setup.automated_backup_days,
            replica_of: None,
            storage_bytes: 100 << 30,
            kms_key: origin.kms_key,
            protection: Protection::default(),
            tags: new.setup.tags.clone(),
        };
        let host = self.host(&origin.instance);
        self.with(|region, now| {
            let name = lower(new.id.as_str());
            if region.instances.contains_key(&name) {
                return Err(refused(Refusal::NameTaken));
            }
            let restored = RestoredInstance {
                setup: new.setup.clone(),
                ordered_at: now,
                takes: region.settings.restore_takes,
                fate: region.restore_fates.pop_front().unwrap_or(Fate::Available),
                origin: host,
                data_of: origin.data_of,
                deleted_until: None,
            };
            region.restored.insert(name.clone(), restored);
            region.instances.insert(name, facts);
            Ok(())
        })
    }
}
