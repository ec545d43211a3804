//! Secrets of channels, read where the configuration says at the moment they are needed: a rotated one is in use at once.

use std::fmt;

use aws_config::SdkConfig;
use secrecy::SecretString;

use crate::adapters::aws::{CountRequests, port_error};
use crate::ports::notifier::SecretRef;
use crate::ports::{ErrorKind, PortError, RequestObserver};

/// Where secrets are read.
#[derive(Clone)]
pub(super) struct Secrets(aws_sdk_secretsmanager::Client);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    pub(super) fn new(aws: &SdkConfig, observer: RequestObserver) -> Secrets {
        let config = aws_sdk_secretsmanager::config::Builder::from(aws).interceptor(CountRequests(observer)).build();
        Secrets(aws_sdk_secretsmanager::Client::from_conf(config))
    }

    /// The secret that is referred to.
    pub(super) async fn read(&self, reference: &SecretRef) -> Result<SecretString, PortError> {
        let text = match reference {
            SecretRef::Value(value) => return Ok(value.clone()),
            SecretRef::File { path } => tokio::fs::read_to_string(path).await.map_err(|error| {
                PortError::new(format!("read the secret in {}", path.display()), ErrorKind::Other).because(error)
            })?,
            SecretRef::SecretsManager { id } => {
                let named = || format!("read secret {id}");
                let secret = self.0.get_secret_value().secret_id(id).send().await;
                let secret = secret.map_err(|error| port_error(named(), error))?;
                let text = secret.secret_string().map(str::to_owned);
                text.ok_or_else(|| PortError::new(named(), ErrorKind::Other).because("it holds no text"))?
            }
        };
        // Editors and `echo` end a file with a newline that is no part of the secret.
        Ok(SecretString::from(text.trim().to_owned()))
    }
}
