//! The Kubernetes cluster, through `kube`. What is sent is what kubectl sends: the scale subresource, the annotation of
//! `kubectl rollout restart`, server-side apply under a field manager of our own.

mod connection;
mod jobs;
mod lease;
mod pods;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::json;

use crate::domain::switch::{Address, AddressKeys, KubernetesName};
use crate::ports::cluster::{Apply, Cluster, Scale};
use crate::ports::{ErrorKind, PortError};
pub use connection::Connection;
pub use jobs::KubernetesJobs;
pub use lease::KubernetesLock;

/// Under this name the cluster knows what we have set.
const FIELD_MANAGER: &str = "strongroom";
/// What puts an address back that we have changed (External Secrets Operator).
const EXTERNAL_SECRET: &str = "ExternalSecret";
/// Part of its name as a manager of fields.
const OPERATOR: &str = "externalsecret";
const EXTERNAL_SECRETS_GROUP: &str = "external-secrets.io";
/// The newest first: older operators know only the second.
const EXTERNAL_SECRETS_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// The cluster that applications run in.
#[derive(Debug)]
pub struct KubernetesCluster {
    connection: Arc<Connection>,
}

impl KubernetesCluster {
    /// Nothing is asked of it yet.
    #[must_use]
    pub fn new(connection: Arc<Connection>) -> KubernetesCluster {
        KubernetesCluster { connection }
    }

    async fn client(&self) -> Result<Client, PortError> {
        self.connection.client().await
    }

    async fn deployments(&self, of: &KubernetesName) -> Result<Api<Deployment>, PortError> {
        Ok(Api::namespaced(self.client().await?, of.namespace()))
    }

    /// Pods of a deployment that have not ended.
    async fn pods(&self, of: &KubernetesName, selector: &str) -> Result<u32, PortError> {
        let pods: Api<Pod> = Api::namespaced(self.client().await?, of.namespace());
        let listed = pods.list(&ListParams::default().labels(selector)).await;
        let listed = listed.map_err(|error| port_error(format!("list the pods of deployment {of}"), error))?;
        let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        let running = listed.items.iter().filter(|pod| !matches!(phase(pod).as_str(), "Succeeded" | "Failed"));
        Ok(u32::try_from(running.count()).unwrap_or(u32::MAX))
    }

    async fn read_secret(&self, secret: &KubernetesName) -> Result<Secret, PortError> {
        let secrets: Api<Secret> = Api::namespaced(self.client().await?, secret.namespace());
        let read = secrets.get(secret.name()).await;
        read.map_err(|error| port_error(format!("read Secret {secret}"), error))
    }
}

#[async_trait]
impl Cluster for KubernetesCluster {
    async fn scale(&self, deployment: &KubernetesName) -> Result<Scale, PortError> {
        let found = self.deployments(deployment).await?.get_scale(deployment.name()).await;
        let found = found.map_err(|error| port_error(format!("read the scale of deployment {deployment}"), error))?;
        // Absent numbers are 0: that is how the API writes it (Kubernetes API, Scale).
        let count = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        let status = found.status;
        let selector = status.as_ref().and_then(|status| status.selector.clone());
        let replicas = count(status.map(|status| status.replicas));
        // Replicas that have been told to end are not counted there, and write until they do.
        let pods = match selector {
            Some(selector) => self.pods(deployment, &selector).await?,
            None => 0,
        };
        Ok(Scale { wanted: count(found.spec.and_then(|spec| spec.replicas)), running: replicas.max(pods) })
    }

    async fn set_scale(&self, deployment: &KubernetesName, replicas: u32, apply: Apply) -> Result<(), PortError> {
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        let api = self.deployments(deployment).await?;
        let set = api.patch_scale(deployment.name(), &params(apply), &patch).await;
        set.map(drop).map_err(|error| port_error(format!("scale deployment {deployment} to {replicas}"), error))
    }

    async fn restart(&self, deployment: &KubernetesName, at: Timestamp, apply: Apply) -> Result<(), PortError> {
        let annotation = json!({ "kubectl.kubernetes.io/restartedAt": at.to_string() });
        let patch = json!({ "spec": { "template": { "metadata": { "annotations": annotation } } } });
        let api = self.deployments(deployment).await?;
        let set = api.patch(deployment.name(), &params(apply), &Patch::Strategic(patch)).await;
        set.map(drop).map_err(|error| port_error(format!("restart deployment {deployment}"), error))
    }

    async fn address(&self, secret: &KubernetesName, keys: &AddressKeys) -> Result<Address, PortError> {
        let found = self.read_secret(secret).await?;
        let data = found.data.unwrap_or_default();
        let text = |key: &String| data.get(key).and_then(|value| std::str::from_utf8(&value.0).ok());
        let missing = |key: &String| {
            PortError::new(format!("find the address in Secret {secret}"), ErrorKind::Invalid)
                .because(format!("it has nothing fitting under `{key}`"))
        };
        let host = text(&keys.host).ok_or_else(|| missing(&keys.host))?.to_owned();
        let port = match &keys.port {
            None => None,
            Some(key) => Some(text(key).and_then(|port| port.trim().parse().ok()).ok_or_else(|| missing(key))?),
        };
        Ok(Address { host, port })
    }

    async fn set_address(
        &self,
        secret: &KubernetesName,
        keys: &AddressKeys,
        address: &Address,
        apply: Apply,
    ) -> Result<(), PortError> {
        let named = || format!("write another address into Secret {secret}");
        let found = self.read_secret(secret).await?;
        let owners = found.metadata.owner_references.unwrap_or_default();
        let managers = found.metadata.managed_fields.unwrap_or_default();
        let is_operator = |manager: Option<&str>| manager.is_some_and(|manager| manager.contains(OPERATOR));
        let fills = managers.iter().any(|fields| is_operator(fields.manager.as_deref()));
        if fills || owners.iter().any(|owner| owner.kind == EXTERNAL_SECRET) {
            return Err(PortError::new(named(), ErrorKind::WrongState).because(
                "an ExternalSecret fills it and would put the old address back: set `switch = \"secrets_manager\"`",
            ));
        }
        let mut data = BTreeMap::from([(keys.host.clone(), bytes(&address.host))]);
        if let (Some(key), Some(port)) = (&keys.port, address.port) {
            data.insert(key.clone(), bytes(&port.to_string()));
        }
        let mut wanted = Secret { data: Some(data), ..Secret::default() };
        wanted.metadata.name = Some(secret.name().to_owned());
        // Only on top of what was read: a Secret that is gone by then must not come back with an address and no password.
        wanted.metadata.resource_version = found.metadata.resource_version;
        let secrets: Api<Secret> = Api::namespaced(self.client().await?, secret.namespace());
        // Forced: whoever has made the Secret is the manager of its fields.
        let params = PatchParams { force: true, ..params(apply) };
        let set = secrets.patch(secret.name(), &params, &Patch::Apply(&wanted)).await;
        set.map(drop).map_err(|error| port_error(named(), error))
    }

    async fn fetched(&self, external_secret: &KubernetesName) -> Result<Option<String>, PortError> {
        let (_, found) = self.external(external_secret).await?;
        Ok(found.data.pointer("/status/refreshTime").and_then(serde_json::Value::as_str).map(str::to_owned))
    }

    async fn refresh(&self, external_secret: &KubernetesName, at: Timestamp, apply: Apply) -> Result<(), PortError> {
        let (objects, _) = self.external(external_secret).await?;
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { "force-sync": at.to_string() } } }));
        let set = objects.patch(external_secret.name(), &params(apply), &patch).await;
        set.map(drop).map_err(|error| port_error(format!("have ExternalSecret {external_secret} fetched"), error))
    }
}

impl KubernetesCluster {
    /// An `ExternalSecret`, by the version of its API that the cluster has.
    async fn external(
        &self,
        external_secret: &KubernetesName,
    ) -> Result<(Api<DynamicObject>, DynamicObject), PortError> {
        let client = self.client().await?;
        let named = || format!("read ExternalSecret {external_secret}");
        let mut last = PortError::new(named(), ErrorKind::NotFound);
        for version in EXTERNAL_SECRETS_VERSIONS {
            let kind = GroupVersionKind::gvk(EXTERNAL_SECRETS_GROUP, version, EXTERNAL_SECRET);
            let resource = ApiResource::from_gvk(&kind);
            let objects: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), external_secret.namespace(), &resource);
            match objects.get(external_secret.name()).await {
                Ok(found) => return Ok((objects, found)),
                Err(error) => last = port_error(named(), error),
            }
            if last.kind() != ErrorKind::NotFound {
                break;
            }
        }
        Err(last)
    }
}

fn params(apply: Apply) -> PatchParams {
    PatchParams {
        dry_run: apply == Apply::OnTrial,
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

/// The codes of the Kubernetes API (API conventions, HTTP status codes).
fn port_error(operation: String, error: kube::Error) -> PortError {
    if let kube::Error::Api(status) = &error {
        let kind = match status.code {
            404 => ErrorKind::NotFound,
            401 | 403 => ErrorKind::PermissionDenied,
            409 => ErrorKind::Conflict,
            400 | 405 | 422 => ErrorKind::Invalid,
            429 => ErrorKind::Throttled,
            500.. => ErrorKind::Transient,
            _ => ErrorKind::Other,
        };
        // Its own text says everything twice.
        return PortError::new(operation, kind).because(format!("{}: {}", status.reason, status.message));
    }
    let is_unreached = matches!(error, kube::Error::HyperError(_) | kube::Error::Service(_));
    let kind = if is_unreached { ErrorKind::Transient } else { ErrorKind::Other };
    PortError::new(operation, kind).because(error)
}
