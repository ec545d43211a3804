//! The record of the leader as a Lease (`coordination.k8s.io/v1`), which the cluster's own tools show: `kubectl get lease`.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};

use super::connection::Connection;
use super::{FIELD_MANAGER, port_error};
use crate::domain::leadership::{LEADER_RECORD_VERSION, Term};
use crate::ports::leadership::{LeaderLock, Standing};
use crate::ports::{ErrorKind, PortError};

/// A Lease in the namespace of the connection.
#[derive(Debug)]
pub struct KubernetesLock {
    connection: Arc<Connection>,
    name: String,
}

impl KubernetesLock {
    /// The Lease of this name.
    #[must_use]
    pub fn new(connection: Arc<Connection>, name: String) -> KubernetesLock {
        KubernetesLock { connection, name }
    }

    async fn leases(&self) -> Result<Api<Lease>, PortError> {
        Ok(Api::default_namespaced(self.connection.client().await?))
    }
}

#[async_trait]
impl LeaderLock for KubernetesLock {
    async fn read(&self) -> Result<Option<Standing>, PortError> {
        let found = self.leases().await?.get_opt(&self.name).await;
        let found = found.map_err(|error| port_error(format!("read Lease {}", self.name), error))?;
        Ok(found.map(standing))
    }

    async fn write(&self, term: &Term, over: Option<&Standing>) -> Result<Option<Standing>, PortError> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let mut wanted = Lease { spec: Some(spec(term)), ..Lease::default() };
        wanted.metadata.name = Some(self.name.clone());
        wanted.metadata.resource_version = over.map(|over| over.version.clone());
        let leases = self.leases().await?;
        let written = match over {
            Some(_) => leases.replace(&self.name, &params, &wanted).await,
            None => leases.create(&params, &wanted).await,
        };
        match written.map_err(|error| port_error(format!("write Lease {}", self.name), error)) {
            Ok(written) => Ok(Some(standing(written))),
            // Another version stands, one is there already, or the one that was read is gone.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn spec(term: &Term) -> LeaseSpec {
    LeaseSpec {
        holder_identity: term.holder.clone(),
        lease_duration_seconds: Some(i32::try_from(term.lease_seconds).unwrap_or(i32::MAX)),
        acquire_time: Some(MicroTime(term.acquired_at)),
        renew_time: Some(MicroTime(term.renewed_at)),
        lease_transitions: Some(i32::try_from(term.transitions).unwrap_or(i32::MAX)),
        ..LeaseSpec::default()
    }
}

/// What the cluster says; absent parts are as in a Lease that nobody holds.
fn standing(lease: Lease) -> Standing {
    let spec = lease.spec.unwrap_or_default();
    let number = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default();
    let time = |time: Option<MicroTime>| time.map(|time| time.0).unwrap_or_default();
    Standing {
        term: Term {
            version: LEADER_RECORD_VERSION,
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            lease_seconds: number(spec.lease_duration_seconds),
            acquired_at: time(spec.acquire_time),
            renewed_at: time(spec.renew_time),
            transitions: number(spec.lease_transitions),
        },
        version: lease.metadata.resource_version.unwrap_or_default(),
    }
}
