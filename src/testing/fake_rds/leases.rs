//! Instances that are leased, in the fake.

use async_trait::async_trait;
use secrecy::SecretString;

use super::{FakeRds, Fate, lower};
use crate::domain::lease::LeaseId;
use crate::domain::new_instance::EmptyInstance;
use crate::ports::instances::{Leases, NotRestored};
use crate::ports::{ErrorKind, PortError};

#[async_trait]
impl Leases for FakeRds {
    async fn create(&self, new: &EmptyInstance) -> Result<SecretString, NotRestored> {
        self.add_instance(new.id.as_instance(), new.kms_key.as_deref());
        Ok(SecretString::from("first"))
    }

    async fn reset_master_password(&self, id: &LeaseId) -> Result<SecretString, PortError> {
        let there = self.with(|region, _| region.instances.contains_key(&lower(id.as_instance().as_str())));
        if there { Ok(SecretString::from("new")) } else { Err(missing(id)) }
    }

    async fn delete(&self, id: &LeaseId) -> Result<(), PortError> {
        self.with(|region, now| {
            let name = lower(id.as_instance().as_str());
            let until = now + region.settings.delete_takes;
            let Some(restored) = region.restored.get_mut(&name) else {
                return region.instances.remove(&name).map(drop).ok_or_else(|| missing(id));
            };
            match restored.status(now) {
                // One that is stuck can be deleted; one that gets on, not before it is there.
                "creating" if restored.fate != Fate::Sticks => Err(wrong_state(id)),
                "deleting" => Err(wrong_state(id)),
                _ => {
                    restored.deleted_until = Some(until);
                    Ok(())
                }
            }
        })
    }
}

fn wrong_state(id: &LeaseId) -> PortError {
    PortError::new(format!("delete instance {id}"), ErrorKind::WrongState)
}

fn missing(id: &LeaseId) -> PortError {
    PortError::new(format!("change instance {id}"), ErrorKind::NotFound)
}
