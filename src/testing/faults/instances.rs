//! Instances that are restored and leased, with faults.

use async_trait::async_trait;
use secrecy::SecretString;

use super::{Faulty, Operation};
use crate::domain::id::InstanceId;
use crate::domain::inventory::Complete;
use crate::domain::lease::LeaseId;
use crate::domain::new_instance::{AutomatedBackups, EmptyInstance, InstanceDetails, NewInstance};
use crate::ports::PortError;
use crate::ports::instances::{Instances, Leases, NotRestored};

#[async_trait]
impl Instances for Faulty<dyn Instances> {
    async fn details(&self, id: &InstanceId) -> Result<Option<InstanceDetails>, PortError> {
        self.faults.around(Operation::Details, id.as_str(), self.port.details(id)).await
    }

    async fn automated_backups(&self, id: &InstanceId) -> Result<Complete<AutomatedBackups>, PortError> {
        self.faults.around(Operation::AutomatedBackups, id.as_str(), self.port.automated_backups(id)).await
    }

    async fn restore(&self, new: &NewInstance) -> Result<(), NotRestored> {
        let mut why = None;
        let call = async {
            self.port.restore(new).await.map_err(|refused| {
                why = refused.why;
                refused.error
            })
        };
        let restored = self.faults.around(Operation::Restore, new.id.as_str(), call).await;
        restored.map_err(|error| NotRestored { why, error })
    }
}

#[async_trait]
impl Leases for Faulty<dyn Leases> {
    async fn create(&self, new: &EmptyInstance) -> Result<SecretString, NotRestored> {
        let mut why = None;
        let call = async {
            self.port.create(new).await.map_err(|refused| {
                why = refused.why;
                refused.error
            })
        };
        let id = new.id.to_string();
        self.faults.around(Operation::CreateInstance, &id, call).await.map_err(|error| NotRestored { why, error })
    }

    async fn reset_master_password(&self, id: &LeaseId) -> Result<SecretString, PortError> {
        let call = self.port.reset_master_password(id);
        self.faults.around(Operation::ResetPassword, &id.to_string(), call).await
    }

    async fn delete(&self, id: &LeaseId) -> Result<(), PortError> {
        self.faults.around(Operation::DeleteInstance, &id.to_string(), self.port.delete(id)).await
    }
}
