//! The Kubernetes cluster that the applications of a source run in.

use async_trait::async_trait;
use jiff::Timestamp;

use super::PortError;
use crate::domain::switch::{Address, AddressKeys, KubernetesName};

/// How many replicas a deployment has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Wanted.
    pub wanted: u32,
    /// Pods that are there, those that are still ending among them.
    pub running: u32,
}

/// Whether a change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apply {
    /// It is made.
    ForReal,
    /// The cluster says whether it would take it, rights and rules included, and keeps nothing of it.
    OnTrial,
}

/// What a recovery sees and changes in the cluster.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// How many replicas a deployment has.
    async fn scale(&self, deployment: &KubernetesName) -> Result<Scale, PortError>;

    /// Wants so many replicas of a deployment.
    async fn set_scale(&self, deployment: &KubernetesName, replicas: u32, apply: Apply) -> Result<(), PortError>;

    /// Replaces each pod of a deployment by a new one, as `kubectl rollout restart` does.
    async fn restart(&self, deployment: &KubernetesName, at: Timestamp, apply: Apply) -> Result<(), PortError>;

    /// The address in a Secret. Nothing else of it is kept.
    async fn address(&self, secret: &KubernetesName, keys: &AddressKeys) -> Result<Address, PortError>;

    /// Changes the address in a Secret, and nothing else of it. `WrongState` where something else writes it, which would put
    /// the old address back.
    async fn set_address(
        &self,
        secret: &KubernetesName,
        keys: &AddressKeys,
        address: &Address,
        apply: Apply,
    ) -> Result<(), PortError>;

    /// When an `ExternalSecret` was fetched last, in the operator's words.
    async fn fetched(&self, external_secret: &KubernetesName) -> Result<Option<String>, PortError>;

    /// Has an `ExternalSecret` fetched at once.
    async fn refresh(&self, external_secret: &KubernetesName, at: Timestamp, apply: Apply) -> Result<(), PortError>;
}
