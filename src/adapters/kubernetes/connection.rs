//! One connection to the cluster for everything that is asked of it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::OnceCell;

use crate::ports::{ErrorKind, PortError};

/// An API server that answers at all answers soon.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// The cluster of a kubeconfig file, or the one that we run in. It is connected to when it is first needed.
pub struct Connection {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    client: OnceCell<Client>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    /// Nothing is asked of it yet.
    #[must_use]
    pub fn new(kubeconfig: Option<PathBuf>, context: Option<String>) -> Connection {
        Connection { kubeconfig, context, client: OnceCell::new() }
    }

    /// Finds the cluster, without asking it anything yet.
    pub async fn find(&self) -> Result<(), PortError> {
        self.client().await.map(drop)
    }

    /// A client; its default namespace is that of the context, or of the pod that we run in.
    pub(super) async fn client(&self) -> Result<Client, PortError> {
        self.client.get_or_try_init(|| self.connect()).await.cloned()
    }

    async fn connect(&self) -> Result<Client, PortError> {
        let named = || match &self.kubeconfig {
            Some(path) => format!("use the kubeconfig {}", path.display()),
            None => "use the Kubernetes cluster that strongroom runs in".to_owned(),
        };
        let invalid = |error: Box<dyn std::error::Error + Send + Sync>| {
            PortError::new(named(), ErrorKind::Invalid).because(error)
        };
        let mut config = match &self.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| invalid(error.into()))?;
                let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
                let read = kube::Config::from_custom_kubeconfig(file, &options).await;
                read.map_err(|error| invalid(error.into()))?
            }
            None => kube::Config::incluster().map_err(|error| {
                let advice = "outside of a cluster `kubernetes.kubeconfig` says where it is";
                invalid(format!("{error}; {advice}").into())
            })?,
        };
        config.connect_timeout = Some(ANSWERS_WITHIN);
        config.read_timeout = Some(ANSWERS_WITHIN);
        Client::try_from(config).map_err(|error| invalid(error.into()))
    }
}
