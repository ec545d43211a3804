//! The AWS account beside its instances.

use async_trait::async_trait;

use super::PortError;
use crate::domain::account::{ParameterGroup, ParameterGroupName};
use crate::domain::diagnosis::Quota;

/// What can be learned about the account. Nothing is changed here.
#[async_trait]
pub trait Account: Send + Sync {
    /// What it may have in the sources' region, and has.
    async fn quotas(&self) -> Result<Vec<Quota>, PortError>;

    /// How a parameter group is set; `None` where its region has none of that name.
    async fn parameter_group(&self, group: &ParameterGroupName) -> Result<Option<ParameterGroup>, PortError>;
}
