//! Jobs of the cluster that strongroom runs in: each makes one dump.

use async_trait::async_trait;

use super::PortError;
use crate::domain::id::{InstallationId, RunId, SourceId};
use crate::domain::job::{JobId, JobName, JobState};

/// A Job that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOrder {
    /// Its name.
    pub name: JobName,
    /// What it is made from: a template of the cluster, by its name.
    pub template: String,
    /// Whose it is.
    pub installation: InstallationId,
    /// The source that it dumps.
    pub source: SourceId,
    /// The run that it makes.
    pub run: RunId,
    /// What its process is told beside what the template says.
    pub arguments: Vec<String>,
    /// After so many seconds the cluster ends it.
    pub deadline_seconds: u64,
}

/// The operations on Jobs that strongroom uses.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Makes a Job, or finds the one that was made for the same run before. `WrongState` where something else has its name.
    async fn begin(&self, order: &JobOrder) -> Result<JobId, PortError>;

    /// Asks whether it would be made, by the rights, rules and quotas of the cluster. Nothing is made.
    async fn try_out(&self, order: &JobOrder) -> Result<(), PortError>;

    /// The Job of this name, if it was made for this run; by whom does not matter.
    async fn find(&self, name: &JobName, run: &RunId) -> Result<Option<JobId>, PortError>;

    /// How it is.
    async fn look(&self, job: &JobId) -> Result<JobState, PortError>;

    /// Deletes it, and its pods with it; one that is gone is no error.
    async fn remove(&self, job: &JobId) -> Result<(), PortError>;
}
