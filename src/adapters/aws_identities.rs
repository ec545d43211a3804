//! The credentials of each function: the process's own, or those of a role that it assumes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::identity::IdentityCache;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::aws::{CountRequests, in_region, kind_of, timestamp, words_of};
use super::aws_clock::{AwsClock, ReadDate};
use crate::domain::id::{InstallationId, RegionName, RoleArn};
use crate::ports::clock::{Clock, Reference as _};
use crate::ports::roles::{Function, Roles};
use crate::ports::{ErrorKind, PortError, RequestObserver};

/// Credentials are renewed as long before they expire: long enough for STS to be away for a while, a twelfth of the hour that
/// a session of an assumed role lasts when a role has assumed it (IAM user guide, role chaining).
const RENEWED_BEFORE: SignedDuration = SignedDuration::from_mins(5);
/// How long a request waits for a renewal while what there is is still good.
const RENEWAL_MAX: Duration = Duration::from_secs(5);
/// How long one waits that can do nothing without: enough for the SDK's own retries.
const BEGIN_MAX: Duration = Duration::from_mins(1);
/// Pause after a renewal that failed.
const RENEWED_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Pause after a session that could not be begun: short, because all that its function does waits for it.
const BEGUN_AGAIN_AFTER: Duration = Duration::from_secs(5);

const NO_ANSWER: &str = "STS does not answer";

/// What AWS is asked with: settings, and for each function its credentials.
#[derive(Clone)]
pub struct Identities {
    own: SdkConfig,
    roles: BTreeMap<Function, (SdkConfig, Arc<AssumedRole>)>,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.roles.keys()).finish()
    }
}

impl From<SdkConfig> for Identities {
    /// Everything with the credentials of the process.
    fn from(own: SdkConfig) -> Identities {
        Identities { own, roles: BTreeMap::new() }
    }
}

impl Identities {
    /// The same, with a role for each function that `roles` names. Nothing is asked of AWS before the first request.
    #[must_use]
    pub fn assuming(
        self,
        roles: Roles,
        installation: &InstallationId,
        observer: &RequestObserver,
        clock: &Arc<dyn Clock>,
        reference: &Arc<AwsClock>,
    ) -> Identities {
        // STS answers at once or not at all, and whoever waits for it has patience of another kind.
        let limits = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .operation_attempt_timeout(Duration::from_secs(10))
            .operation_timeout(BEGIN_MAX)
            .build();
        let sts = aws_sdk_sts::config::Builder::from(&self.own)
            .timeout_config(limits)
            .interceptor(CountRequests(Arc::clone(observer)))
            .interceptor(ReadDate(Arc::clone(reference)))
            .build();
        let sts = aws_sdk_sts::Client::from_conf(sts);
        let of_role = |(function, arn)| {
            let role = Arc::new(AssumedRole {
                sts: sts.clone(),
                function,
                arn,
                session: session_name(installation, function),
                clock: Arc::clone(clock),
                reference: Arc::clone(reference),
                held: Mutex::default(),
            });
            let provider = SharedCredentialsProvider::new(Arc::clone(&role) as Arc<dyn ProvideCredentials>);
            let sdk = self.own.to_builder().credentials_provider(provider).identity_cache(IdentityCache::no_cache());
            (function, (sdk.build(), role))
        };
        let roles = roles.into_iter().map(of_role).collect();
        Identities { own: self.own, roles }
    }

    /// The same in another region: credentials are shared.
    #[must_use]
    pub fn in_region(&self, region: &RegionName) -> Identities {
        let there = |(function, (sdk, role)): (&Function, &(SdkConfig, Arc<AssumedRole>))| {
            (*function, (in_region(sdk, region), Arc::clone(role)))
        };
        Identities { own: in_region(&self.own, region), roles: self.roles.iter().map(there).collect() }
    }

    /// Settings with the credentials of a function.
    #[must_use]
    pub fn of(&self, function: Function) -> &SdkConfig {
        self.roles.get(&function).map_or(&self.own, |(sdk, _)| sdk)
    }

    /// Settings with the credentials of the process itself.
    #[must_use]
    pub fn own(&self) -> &SdkConfig {
        &self.own
    }

    /// A client for each of `functions`. Those without a role of their own share one, and so its connections.
    pub(super) fn clients<C: Clone, const N: usize>(
        &self,
        functions: [Function; N],
        client: impl Fn(&SdkConfig) -> C,
    ) -> [C; N] {
        let mut own = None;
        functions.map(|function| match self.roles.get(&function) {
            Some((sdk, _)) => client(sdk),
            None => own.get_or_insert_with(|| client(&self.own)).clone(),
        })
    }

    /// Assumes each role, and tells why those cannot be assumed that cannot.
    pub async fn assume_all(&self) -> Vec<PortError> {
        let assumed = join_all(self.roles.values().map(|(_, role)| role.credentials())).await;
        assumed.into_iter().filter_map(Result::err).collect()
    }
}

/// CloudTrail shows it beside every request, so it tells which installation asked, and what for.
fn session_name(installation: &InstallationId, function: Function) -> String {
    format!("strongroom-{installation}-{}", function.name())
}

/// A role, and what was last got for it. The SDK caches for each client, and not at all for login tokens: this is the cache.
struct AssumedRole {
    sts: aws_sdk_sts::Client,
    function: Function,
    arn: RoleArn,
    session: String,
    clock: Arc<dyn Clock>,
    reference: Arc<AwsClock>,
    held: Mutex<Held>,
}

/// What came of assuming it.
#[derive(Default)]
struct Held {
    session: Option<Session>,
    /// Why there is no newer one, and since when: on a clock that nobody steps.
    failure: Option<(NotAssumed, Instant)>,
}

/// Why there is no session.
#[derive(Debug, Clone)]
struct NotAssumed {
    why: String,
    /// STS has said that it may not be.
    is_denied: bool,
}

impl NotAssumed {
    fn for_now(why: &str) -> NotAssumed {
        NotAssumed { why: why.to_owned(), is_denied: false }
    }
}

impl Held {
    fn begin(&mut self, session: Session) -> Session {
        *self = Held { session: Some(session.clone()), failure: None };
        session
    }
}

#[derive(Clone)]
struct Session {
    credentials: Credentials,
    expires_at: Timestamp,
}

impl fmt::Debug for AssumedRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssumedRole({})", self.arn)
    }
}

impl AssumedRole {
    /// Whoever comes while STS is asked waits for the answer, good or bad, so that it is asked once.
    async fn credentials(&self) -> Result<Credentials, PortError> {
        let mut held = self.held.lock().await;
        let now = self.now();
        let good = held.session.as_ref().filter(|session| now < session.expires_at).cloned();
        let is_fresh = good.as_ref().is_some_and(|session| now < session.expires_at - RENEWED_BEFORE);
        let pause = if good.is_some() { RENEWED_AGAIN_AFTER } else { BEGUN_AGAIN_AFTER };
        let lately =
            held.failure.as_ref().filter(|(_, since)| since.elapsed() < pause).map(|(failure, _)| failure.clone());
        match (good, lately) {
            (Some(good), None) if !is_fresh => Ok(self.renewed(&mut held, good).await.credentials),
            (Some(good), _) => Ok(good.credentials),
            (None, Some(failure)) => Err(self.failed(failure)),
            (None, None) => match self.assume_within(BEGIN_MAX).await {
                Ok(session) => Ok(held.begin(session).credentials),
                Err(failure) => {
                    held.failure = Some((failure.clone(), Instant::now()));
                    Err(self.failed(failure))
                }
            },
        }
    }

    /// A newer session, or the one that is good still.
    async fn renewed(&self, held: &mut Held, good: Session) -> Session {
        // Before it is tried: whoever comes after one that has had no patience is not to wait as well.
        held.failure = Some((NotAssumed::for_now(NO_ANSWER), Instant::now()));
        match self.assume_within(RENEWAL_MAX).await {
            Ok(session) => held.begin(session),
            Err(failure) => {
                tracing::warn!(
                    function = self.function.name(),
                    session.expires_at = %good.expires_at,
                    error = failure.why,
                    "a session of a role cannot be renewed yet: the one before is used until it expires"
                );
                held.failure = Some((failure, Instant::now()));
                good
            }
        }
    }

    /// By AWS's clock, which the end of a session is told by: with ours a day ahead nothing would last.
    fn now(&self) -> Timestamp {
        let ahead = self.reference.ahead().unwrap_or_default();
        self.clock.now().saturating_add(ahead).unwrap_or(Timestamp::MAX)
    }

    /// What becomes of a request that needs the session. It says nothing of what the request would have been about: that it is
    /// missing, or is there already, or was refused to whoever reads it. So of STS's answers only a refusal to act is passed on
    /// as what it is, for runs that would wait in vain.
    fn failed(&self, NotAssumed { why, is_denied }: NotAssumed) -> PortError {
        let acts = match self.function {
            Function::Observe | Function::Verify => false,
            Function::Snapshot
            | Function::Copy
            | Function::DumpWrite
            | Function::Prune
            | Function::Drill
            | Function::Tell => true,
        };
        let kind = if is_denied && acts { ErrorKind::PermissionDenied } else { ErrorKind::Transient };
        PortError::new(format!("assume role {} (`{}`)", self.arn, self.function.key()), kind).because(why)
    }

    /// A session, or why there is none. To give up waiting loses nothing: one that nobody has heard of ends by itself.
    async fn assume_within(&self, patience: Duration) -> Result<Session, NotAssumed> {
        let request = self.sts.assume_role().role_arn(self.arn.as_str()).role_session_name(&self.session);
        let assumed = tokio::time::timeout(patience, request.send()).await;
        let assumed = assumed.map_err(|_| NotAssumed::for_now(NO_ANSWER))?.map_err(|error| NotAssumed {
            why: words_of(&error),
            is_denied: kind_of(&error) == ErrorKind::PermissionDenied,
        })?;
        let incomplete = || NotAssumed::for_now("the answer holds no credentials");
        let got = assumed.credentials.ok_or_else(incomplete)?;
        let expires_at = timestamp(&got.expiration).ok_or_else(incomplete)?;
        let (key, secret, token) = (got.access_key_id, got.secret_access_key, got.session_token);
        let credentials = Credentials::new(key, secret, Some(token), Some(expires_at.into()), "aws.roles");
        Ok(Session { credentials, expires_at })
    }
}

impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        // The SDK passes the error on inside of one of its own, where `port_error` finds it.
        future::ProvideCredentials::new(async { self.credentials().await.map_err(CredentialsError::provider_error) })
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    /// The longest name of a session (AWS STS API reference, AssumeRole).
    const SESSION_NAME_MAX: usize = 64;

    #[test]
    fn the_longest_name_of_a_session_is_one_that_sts_takes() {
        let longest = InstallationId::from_str(&"x".repeat(40)).unwrap();
        for function in Function::ALL {
            assert!(session_name(&longest, function).len() <= SESSION_NAME_MAX);
        }
    }
}
