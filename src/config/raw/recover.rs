//! What a guided recovery of a source stops, changes and starts; and the cluster that it does so in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `strongroom recover` stops, changes and starts for this source.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Recover {
    /// How applications are led to the restored instance.
    pub(in crate::config) switch: SwitchBy,
    /// With `switch = "kubernetes_secret"`: the Secret, as namespace/name. With "secrets_manager": name or ARN of the secret,
    /// which must be JSON.
    pub(in crate::config) secret: Option<String>,
    /// Its key for the host name. Without it "host".
    pub(in crate::config) host_key: Option<String>,
    /// Its key for the port, if it has one.
    pub(in crate::config) port_key: Option<String>,
    /// With `switch = "secrets_manager"`: ExternalSecrets, as namespace/name, that are told to fetch it at once.
    pub(in crate::config) external_secrets: Vec<String>,
    /// Deployments that write, as namespace/name: scaled to 0 before anything is restored, and back at the end.
    pub(in crate::config) deployments: Vec<String>,
    /// Deployments that only read, as namespace/name: restarted at the end, as connections to the old instance outlast the
    /// switch.
    pub(in crate::config) restarts: Vec<String>,
}

/// How applications are led to the restored instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum SwitchBy {
    /// The old instance is renamed, and the new one takes its name, so that its endpoint stays.
    #[default]
    Rename,
    /// A Kubernetes Secret gets the new address.
    KubernetesSecret,
    /// A secret of AWS Secrets Manager gets the new address.
    SecretsManager,
}

/// What all Jobs are made from, unless something else is said: the name that the shipped manifests have.
const DEFAULT_JOB_TEMPLATE: &str = "strongroom-dump";
/// New nodes take some minutes to come, and images to be pulled.
const DEFAULT_JOB_START_DEADLINE: &str = "10m";

/// The Kubernetes cluster that applications run in, and Jobs. Without it: the cluster that strongroom itself runs in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Kubernetes {
    /// Absolute path of a kubeconfig file.
    pub(in crate::config) kubeconfig: Option<String>,
    /// Its context, if not the current one.
    pub(in crate::config) context: Option<String>,
    /// With `daemon.executor = "kubernetes"`: the CronJob, suspended, in the namespace that strongroom runs in, whose template
    /// Jobs are made from. Its container `strongroom` is told which dump to make.
    pub(in crate::config) job_template: String,
    /// How long a Job may take to begin; then it is deleted, and the dump is tried again as the policy's `retry` says.
    pub(in crate::config) job_start_deadline: String,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Kubernetes {
            kubeconfig: None,
            context: None,
            job_template: DEFAULT_JOB_TEMPLATE.to_owned(),
            job_start_deadline: DEFAULT_JOB_START_DEADLINE.to_owned(),
        }
    }
}
