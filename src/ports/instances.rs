//! DB instances that are restored, in one region.
//!
//! What exists is looked at here and something new is made beside it. Only what is leased can be changed or deleted: that is a
//! type which no name of a source has. The one change to a source's instance is its name, with the approval that a journal holds.

use std::fmt;

use async_trait::async_trait;
use secrecy::SecretString;

use super::PortError;
use crate::domain::id::InstanceId;
use crate::domain::inventory::Complete;
use crate::domain::lease::LeaseId;
use crate::domain::new_instance::{AutomatedBackups, EmptyInstance, InstanceDetails, NewInstance};
use crate::domain::recovery::ApprovedRename;

/// Makes instances out of backups.
#[async_trait]
pub trait Instances: Send + Sync {
    /// One instance; `None` where there is none of that id.
    async fn details(&self, id: &InstanceId) -> Result<Option<InstanceDetails>, PortError>;

    /// Automated backups of an instance of this id: of the one that is there, of those that bore its name before it, and what
    /// was replicated here from other regions.
    async fn automated_backups(&self, id: &InstanceId) -> Result<Complete<AutomatedBackups>, PortError>;

    /// Begins to restore into a new instance. Its id is the idempotency key.
    async fn restore(&self, new: &NewInstance) -> Result<(), NotRestored>;
}

/// Makes, changes and deletes instances that are leased, and no others.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Begins to make an instance with nothing in it. Returns the password of its master user, which nobody else knows.
    async fn create(&self, new: &EmptyInstance) -> Result<SecretString, NotRestored>;

    /// Gives the master user a new password, which nobody else knows. It is in force some time after.
    async fn reset_master_password(&self, id: &LeaseId) -> Result<SecretString, PortError>;

    /// Begins to delete it for good, with its automated backups and without a last snapshot. `NotFound` where there is none;
    /// `WrongState` where it cannot be deleted now.
    async fn delete(&self, id: &LeaseId) -> Result<(), PortError>;
}

/// Renames instances: what a guided recovery leads applications to the new one by.
#[async_trait]
pub trait Renames: Send + Sync {
    /// Begins to give an instance another name. RDS takes names and not identities, so whoever calls this has just seen that the
    /// name is borne by the instance that is meant. `AlreadyExists` where the new name is in use.
    async fn rename(&self, rename: &ApprovedRename) -> Result<(), PortError>;
}

/// RDS did not begin a restore.
#[derive(Debug, thiserror::Error)]
#[error("{}", .why.map_or_else(|| "RDS does not restore".to_owned(), |why| why.to_string()))]
pub struct NotRestored {
    /// Why, where that is known.
    pub why: Option<Refusal>,
    /// What RDS said.
    #[source]
    pub error: PortError,
}

/// Why RDS does not begin a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is an instance of that name.
    NameTaken,
    /// AWS has no room for the class.
    NoCapacity,
    /// A quota of instances or storage is used up.
    Quota,
    /// The subnet group, a security group or the network does not fit.
    Network,
    /// The parameter group is not there, or does not fit.
    ParameterGroup,
    /// The key of the storage cannot be used.
    Key,
    /// The backup is gone, or in a state in which it cannot be restored.
    Backup,
    /// The moment is outside of what can be restored.
    Moment,
    /// The class is not to be had for this engine, version or storage.
    Class,
}

impl fmt::Display for Refusal {
    /// What to do about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::NameTaken => "the name is in use: choose another one",
            Refusal::NoCapacity => "AWS has no room for this class now: choose another class, or try later",
            Refusal::Quota => "a quota is used up: delete what nobody needs, or have it raised in Service Quotas",
            Refusal::Network => "the network does not fit: choose another subnet group, or other security groups",
            Refusal::ParameterGroup => "the parameter group does not fit: choose one of this region and version",
            Refusal::Key => "the KMS key of the backup cannot be used: enable it, or grant its use",
            Refusal::Backup => "the backup cannot be restored: `strongroom list` shows what else there is",
            Refusal::Moment => "the moment cannot be restored to: choose another one",
            Refusal::Class => "the class is not to be had for this database: choose another one",
        })
    }
}
