//! Why a recovery does not go on.

use crate::domain::id::{DatabaseName, InstanceId, ResourceId};
use crate::domain::key::ObjectKey;
use crate::domain::switch::KubernetesName;
use crate::ports::PortError;
use crate::restore::RestoreError;
use crate::restore::instance::InstanceError;

/// Why a step was not done. The journal says which one it was; the same command goes on with it.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// An outside thing failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// There is no new instance.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The new instance cannot be read.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// What was restored has not all that it should.
    #[error("database {database} is not in the restored instance")]
    NoDatabase {
        /// Which.
        database: DatabaseName,
    },
    /// Two of us.
    #[error("somebody else goes on with this recovery: its journal {key} has changed under our eyes")]
    Elsewhere {
        /// The journal.
        key: ObjectKey,
    },
    /// A journal that this version does not know.
    #[error("the journal {key} cannot be read: a newer strongroom has written it, or it is damaged")]
    Unreadable {
        /// The journal.
        key: ObjectKey,
        /// How.
        #[source]
        error: Option<serde_json::Error>,
    },
    /// Something scales what was stopped.
    #[error(
        "deployment {deployment} is to have {replicas} replicas again: something else scales it (an autoscaler, GitOps, a person); \
         stop that first"
    )]
    CameBack {
        /// The deployment.
        deployment: KubernetesName,
        /// As many.
        replicas: u32,
    },
    /// It does not stop.
    #[error("deployment {deployment} still has {running} pods: see `kubectl get pods`")]
    StillRunning {
        /// The deployment.
        deployment: KubernetesName,
        /// As many.
        running: u32,
    },
    /// There is nothing to switch to.
    #[error("the restored instance {name} is not there any more: give this recovery up, and begin another one")]
    NotRestored {
        /// Its name.
        name: InstanceId,
    },
    /// The operator does not fetch.
    #[error("ExternalSecret {external} was not fetched: see its status, and the logs of the operator")]
    NotFetched {
        /// Which.
        external: KubernetesName,
    },
    /// Another instance bears a name.
    #[error("the name {name} is borne by instance {found}, which is not the {expected} that this recovery is about")]
    NameTaken {
        /// The name.
        name: InstanceId,
        /// By whom.
        found: ResourceId,
        /// Who is meant.
        expected: ResourceId,
    },
    /// The instance bears neither name.
    #[error("instance {resource} is called neither {from} nor {to}: somebody has renamed or deleted it")]
    Vanished {
        /// Which.
        resource: ResourceId,
        /// Its old name.
        from: InstanceId,
        /// Its new name.
        to: InstanceId,
    },
    /// RDS takes too long.
    #[error("instance {name} has not got its other name after {minutes} minutes; it is {status}")]
    TooLate {
        /// The instance.
        name: InstanceId,
        /// Its status, in RDS's words.
        status: String,
        /// How long it was waited for.
        minutes: i64,
    },
    /// The name was switched, and those who use it would still come to the wrong instance.
    #[error(
        "the name {name} does not lead to the instance that bears it now: {why}; nothing was started. See to what resolves the \
         name (DNS caches, proxies), then give the same command again"
    )]
    NotLed {
        /// The name.
        name: InstanceId,
        /// Where it leads.
        why: String,
    },
    /// Stopped by us.
    #[error("stopped")]
    Cancelled,
}
