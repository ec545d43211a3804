//! KMS through the AWS SDK.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_kms::types::{KeyManagerType, KeyMetadata, KeyState as SdkKeyState};

use super::aws::{CountRequests, has_code, in_region, port_error, timestamp};
use crate::domain::encryption_key::{KeyFacts, KeyName, KeyState};
use crate::ports::keys::Keys;
use crate::ports::{ErrorKind, PortError, RequestObserver};

/// KMS, in whatever region a key is.
#[derive(Clone)]
pub struct AwsKeys {
    aws: SdkConfig,
    observer: RequestObserver,
}

impl fmt::Debug for AwsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsKeys")
    }
}

impl AwsKeys {
    /// KMS with the credentials of `aws`.
    #[must_use]
    pub fn new(aws: &SdkConfig, observer: RequestObserver) -> AwsKeys {
        AwsKeys { aws: aws.clone(), observer }
    }
}

#[async_trait]
impl Keys for AwsKeys {
    async fn key(&self, name: &KeyName) -> Result<Option<KeyFacts>, PortError> {
        // Made for each question: there are few, and seldom.
        let config = aws_sdk_kms::config::Builder::from(&in_region(&self.aws, &name.region))
            .interceptor(CountRequests(Arc::clone(&self.observer)))
            .build();
        let client = aws_sdk_kms::Client::from_conf(config);
        match client.describe_key().key_id(&name.key).send().await {
            Ok(described) => Ok(described.key_metadata().map(to_facts)),
            Err(error) if has_code(&error, &["NotFoundException"]) => {
                Ok(Some(KeyFacts { managed_by_aws: false, state: KeyState::Missing }))
            }
            Err(error) => {
                let error = port_error(format!("describe KMS key {} in {}", name.key, name.region), error);
                if error.kind() == ErrorKind::PermissionDenied { Ok(None) } else { Err(error) }
            }
        }
    }
}

fn to_facts(key: &KeyMetadata) -> KeyFacts {
    let state = match key.key_state() {
        Some(SdkKeyState::Enabled) => KeyState::Enabled,
        Some(SdkKeyState::Disabled) => KeyState::Disabled,
        Some(SdkKeyState::PendingDeletion | SdkKeyState::PendingReplicaDeletion) => {
            KeyState::PendingDeletion { at: key.deletion_date().and_then(timestamp) }
        }
        Some(other) => KeyState::Other(other.as_str().to_owned()),
        // KMS always says; should it not, it is no reason for an alarm.
        None => KeyState::Enabled,
    };
    KeyFacts { managed_by_aws: key.key_manager() == Some(&KeyManagerType::Aws), state }
}
