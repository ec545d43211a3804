//! How applications are led to another instance: by its name, or by a secret that has its address.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::InvalidId;

/// An object in a Kubernetes cluster: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct KubernetesName {
    namespace: String,
    name: String,
}

impl KubernetesName {
    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for KubernetesName {
    type Err = InvalidId;

    /// Names are DNS labels and subdomains (Kubernetes documentation, Object Names and IDs).
    fn from_str(text: &str) -> Result<KubernetesName, InvalidId> {
        let invalid = || InvalidId::new("Kubernetes object", text, "write namespace/name, such as bank/ledger");
        let fits = |part: &str, dots: bool| {
            let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || dots && b == b'.';
            let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            part.len() <= 253 && part.bytes().all(inner) && edge(part.bytes().next()) && edge(part.bytes().next_back())
        };
        let (namespace, name) = text.split_once('/').ok_or_else(invalid)?;
        if !fits(namespace, false) || !fits(name, true) {
            return Err(invalid());
        }
        Ok(KubernetesName { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for KubernetesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl TryFrom<String> for KubernetesName {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<KubernetesName, InvalidId> {
        text.parse()
    }
}

impl From<KubernetesName> for String {
    fn from(object: KubernetesName) -> String {
        object.to_string()
    }
}

/// Under which keys a secret has the address of the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddressKeys {
    /// The host's key.
    pub host: String,
    /// The port's key, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
}

/// The address that a secret holds. It is no secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    /// Host name.
    pub host: String,
    /// TCP port, where the secret has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// How applications find the new instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// The old instance gives its name away, and with it its endpoint.
    Rename,
    /// A Kubernetes Secret is given the new address.
    KubernetesSecret {
        /// The Secret.
        secret: KubernetesName,
        /// Its keys.
        keys: AddressKeys,
    },
    /// A secret of AWS Secrets Manager is given the new address.
    SecretsManager {
        /// Its name or ARN.
        secret: String,
        /// Its keys.
        keys: AddressKeys,
        /// `ExternalSecret`s that are told to fetch it at once.
        external_secrets: Vec<KubernetesName>,
    },
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("bank/ledger", true)]
    #[case("bank/ledger.v2", true)]
    #[case("ledger", false)]
    #[case("bank/", false)]
    #[case("Bank/ledger", false)]
    #[case("bank/-ledger", false)]
    #[case("bank/../ledger", false)]
    #[case("bank.eu/ledger", false)]
    fn objects_have_a_namespace_and_a_name(#[case] text: &str, #[case] is_one: bool) {
        let parsed = text.parse::<KubernetesName>();
        assert_eq!(parsed.as_ref().map(ToString::to_string).ok().as_deref(), is_one.then_some(text));
    }
}
