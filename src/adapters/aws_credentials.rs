//! Logins for sources: from Secrets Manager, a file, the environment, or an RDS IAM token.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_rds::auth_token::{AuthTokenGenerator, Config as TokenConfig};
use secrecy::SecretString;
use serde::Deserialize;

use super::aws::{CountRequests, own_error_within, port_error};
use super::aws_identities::Identities;
use crate::domain::id::SourceId;
use crate::domain::inventory::Endpoint;
use crate::ports::credentials::{Credentials, Login, LoginRef};
use crate::ports::roles::Function;
use crate::ports::{Chain, ErrorKind, PortError, RequestObserver};

/// Makes logins as the configuration refers to them.
pub struct AwsCredentials {
    for_sources: LoginMaker,
    for_restored: LoginMaker,
    logins: BTreeMap<SourceId, LoginRef>,
    ca_file: PathBuf,
}

/// Makes logins with the rights of one function.
#[derive(Clone)]
struct LoginMaker {
    secrets: aws_sdk_secretsmanager::Client,
    aws: SdkConfig,
}

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsCredentials")
    }
}

/// The part of RDS's secret that is needed (AWS Secrets Manager user guide, JSON structure of secrets).
#[derive(Deserialize)]
struct RdsSecret {
    username: String,
    password: SecretString,
}

impl AwsCredentials {
    /// Logins by source; servers are checked against the certificates in `ca_file`. Sources are logged in to with the rights of
    /// [`Function::DumpWrite`], and by a reference of one's own what was restored, with those of [`Function::Drill`].
    #[must_use]
    pub fn new(
        aws: &Identities,
        logins: BTreeMap<SourceId, LoginRef>,
        ca_file: PathBuf,
        observer: &RequestObserver,
    ) -> AwsCredentials {
        let functions = [Function::DumpWrite, Function::Drill];
        let [for_sources, for_restored] = aws.clients(functions, |sdk| LoginMaker::new(sdk, observer));
        AwsCredentials { for_sources, for_restored, logins, ca_file }
    }

    fn reference(&self, source: &SourceId) -> Result<&LoginRef, PortError> {
        self.logins.get(source).ok_or_else(|| {
            PortError::new(format!("log in to source {source}"), ErrorKind::Invalid)
                .because("the configuration gives no `credentials` for it")
        })
    }

    async fn login_with(
        &self,
        maker: &LoginMaker,
        reference: &LoginRef,
        endpoint: &Endpoint,
    ) -> Result<Login, PortError> {
        let (user, password) = match reference {
            LoginRef::OfSource(source) => {
                let named = format!("log in to source {source}");
                return Err(
                    PortError::new(named, ErrorKind::Invalid).because("its `credentials` refer to those of a source")
                );
            }
            LoginRef::Secret { id } => maker.secret(id).await?,
            LoginRef::PasswordFile { user, path } => (user.clone(), read_password(path).await?),
            LoginRef::Password { user, password } => (user.clone(), password.clone()),
            LoginRef::IamToken { user } => (user.clone(), maker.token(user, endpoint).await?),
        };
        Ok(Login { endpoint: endpoint.clone(), user, password, ca_file: self.ca_file.clone() })
    }
}

impl LoginMaker {
    fn new(sdk: &SdkConfig, observer: &RequestObserver) -> LoginMaker {
        let config = aws_sdk_secretsmanager::config::Builder::from(sdk);
        let config = config.interceptor(CountRequests(Arc::clone(observer))).build();
        LoginMaker { secrets: aws_sdk_secretsmanager::Client::from_conf(config), aws: sdk.clone() }
    }

    async fn secret(&self, id: &str) -> Result<(String, SecretString), PortError> {
        let named = || format!("read secret {id}");
        let secret = self.secrets.get_secret_value().secret_id(id).send().await;
        let secret = secret.map_err(|error| port_error(named(), error))?;
        // serde's error could quote the secret: it is not passed on.
        let parsed = secret.secret_string().and_then(|text| serde_json::from_str::<RdsSecret>(text).ok());
        let parsed = parsed.ok_or_else(|| {
            PortError::new(named(), ErrorKind::Invalid)
                .because("it is no JSON object with the strings `username` and `password`")
        })?;
        Ok((parsed.username, parsed.password))
    }

    async fn token(&self, user: &str, endpoint: &Endpoint) -> Result<SecretString, PortError> {
        let named = || format!("make an IAM login token for user {user} at {}", endpoint.host);
        let config = TokenConfig::builder()
            .hostname(&endpoint.host)
            .port(u64::from(endpoint.port))
            .username(user)
            .build()
            .map_err(|error| PortError::new(named(), ErrorKind::Invalid).because(error))?;
        let token = AuthTokenGenerator::new(config).auth_token(&self.aws).await;
        let token = token.map_err(|error| match own_error_within(error.as_ref()) {
            Some(own) => PortError::new(named(), own.kind()).because(Chain(own).to_string()),
            None => PortError::new(named(), ErrorKind::PermissionDenied).because(error),
        })?;
        Ok(SecretString::from(token.as_str().to_owned()))
    }
}

async fn read_password(path: &PathBuf) -> Result<SecretString, PortError> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|error| {
        PortError::new(format!("read the password file {}", path.display()), ErrorKind::Invalid).because(error)
    })?;
    // Editors and `echo` end a file with a newline that is no part of the password.
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
}

#[async_trait]
impl Credentials for AwsCredentials {
    async fn login(&self, source: &SourceId, endpoint: &Endpoint) -> Result<Login, PortError> {
        self.login_with(&self.for_sources, self.reference(source)?, endpoint).await
    }

    async fn login_by(&self, reference: &LoginRef, endpoint: &Endpoint) -> Result<Login, PortError> {
        let reference = match reference {
            LoginRef::OfSource(source) => self.reference(source)?,
            LoginRef::Secret { .. }
            | LoginRef::PasswordFile { .. }
            | LoginRef::Password { .. }
            | LoginRef::IamToken { .. } => reference,
        };
        self.login_with(&self.for_restored, reference, endpoint).await
    }
}
