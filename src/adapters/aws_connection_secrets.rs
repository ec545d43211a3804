//! Secrets of AWS Secrets Manager that tell applications where their database is.

use std::fmt;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::aws::{CountRequests, port_error};
use crate::domain::switch::{Address, AddressKeys};
use crate::ports::connection_secrets::ConnectionSecrets;
use crate::ports::{ErrorKind, PortError, RequestObserver};

/// The addresses in secrets of Secrets Manager, which are JSON objects.
pub struct AwsConnectionSecrets {
    client: Client,
}

impl fmt::Debug for AwsConnectionSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsConnectionSecrets")
    }
}

impl AwsConnectionSecrets {
    /// Secrets in the region of `config`.
    #[must_use]
    pub fn new(config: &SdkConfig, observer: RequestObserver) -> AwsConnectionSecrets {
        let config = aws_sdk_secretsmanager::config::Builder::from(config).interceptor(CountRequests(observer)).build();
        AwsConnectionSecrets { client: Client::from_conf(config) }
    }

    async fn read(&self, secret: &str) -> Result<Fields, PortError> {
        let named = || format!("read secret {secret}");
        let found = self.client.get_secret_value().secret_id(secret).send().await;
        let found = found.map_err(|error| port_error(named(), error))?;
        // serde's error could quote the secret: it is not passed on.
        let parsed = found.secret_string().and_then(|text| serde_json::from_str(text).ok());
        parsed.map(Fields).ok_or_else(|| invalid(named(), "it is no JSON object"))
    }
}

#[async_trait]
impl ConnectionSecrets for AwsConnectionSecrets {
    async fn address(&self, secret: &str, keys: &AddressKeys) -> Result<Address, PortError> {
        let fields = self.read(secret).await?;
        fields.address(keys).map_err(|problem| invalid(format!("find the address in secret {secret}"), problem))
    }

    async fn set_address(&self, secret: &str, keys: &AddressKeys, address: &Address) -> Result<(), PortError> {
        let mut fields = self.read(secret).await?;
        if fields.address(keys).as_ref() == Ok(address) {
            return Ok(());
        }
        fields.set(keys, address);
        let named = || format!("write another address into secret {secret}");
        let text = fields.text().ok_or_else(|| invalid(named(), "it cannot be written as JSON".to_owned()))?;
        let request = self.client.put_secret_value().secret_id(secret).secret_string(text.expose_secret());
        request.send().await.map(drop).map_err(|error| port_error(named(), error))
    }
}

fn invalid(operation: String, problem: impl Into<String>) -> PortError {
    PortError::new(operation, ErrorKind::Invalid).because(problem.into())
}

/// A secret, which is never shown.
struct Fields(Map<String, Value>);

impl Fields {
    fn address(&self, keys: &AddressKeys) -> Result<Address, String> {
        let host = self.0.get(&keys.host).and_then(Value::as_str);
        let host = host.ok_or_else(|| format!("it has no text under `{}`", keys.host))?;
        let port = match &keys.port {
            None => None,
            Some(key) => {
                let port = self.0.get(key).and_then(|port| match port {
                    Value::String(text) => text.parse().ok(),
                    Value::Number(number) => number.as_u64().and_then(|port| u16::try_from(port).ok()),
                    Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
                });
                Some(port.ok_or_else(|| format!("it has no port under `{key}`"))?)
            }
        };
        Ok(Address { host: host.to_owned(), port })
    }

    /// A port that was text stays text, and one that was a number a number: applications differ in what they take.
    fn set(&mut self, keys: &AddressKeys, address: &Address) {
        self.0.insert(keys.host.clone(), Value::from(address.host.as_str()));
        if let (Some(key), Some(port)) = (&keys.port, address.port) {
            let was_number = self.0.get(key).is_some_and(Value::is_number);
            let port = if was_number { Value::from(port) } else { Value::from(port.to_string()) };
            self.0.insert(key.clone(), port);
        }
    }

    fn text(&self) -> Option<SecretString> {
        serde_json::to_string(&self.0).ok().map(SecretString::from)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn fields(text: &str) -> Fields {
        Fields(serde_json::from_str(text).unwrap())
    }

    fn keys(port: Option<&str>) -> AddressKeys {
        AddressKeys { host: "host".to_owned(), port: port.map(str::to_owned) }
    }

    #[rstest]
    #[case::number(r#"{"host":"old","password":"p","port":5432}"#, r#"{"host":"new","password":"p","port":5433}"#)]
    #[case::text(r#"{"host":"old","password":"p","port":"5432"}"#, r#"{"host":"new","password":"p","port":"5433"}"#)]
    fn the_address_is_changed_and_nothing_else(#[case] before: &str, #[case] after: &str) {
        let mut secret = fields(before);
        let keys = keys(Some("port"));
        let old = secret.address(&keys).unwrap();
        assert_eq!(old, Address { host: "old".to_owned(), port: Some(5432) });
        secret.set(&keys, &Address { host: "new".to_owned(), port: Some(5433) });
        assert_eq!(secret.text().unwrap().expose_secret(), after);
        secret.set(&keys, &old);
        assert_eq!(secret.text().unwrap().expose_secret(), before);
    }

    #[rstest]
    #[case(r#"{"hostname":"old"}"#, None, "it has no text under `host`")]
    #[case(r#"{"host":"old","port":"many"}"#, Some("port"), "it has no port under `port`")]
    #[case(r#"{"host":"old"}"#, Some("port"), "it has no port under `port`")]
    fn what_is_missing_is_named(#[case] text: &str, #[case] port: Option<&str>, #[case] problem: &str) {
        assert_eq!(fields(text).address(&keys(port)).unwrap_err(), problem);
    }
}
