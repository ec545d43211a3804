//! What all AWS clients share: settings, request counting, and the meaning of errors.

use std::fmt;
use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_sdk_s3::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{ConfigBag, Intercept, Region, RuntimeComponents, StalledStreamProtectionConfig};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use aws_smithy_types::date_time::Format;
use jiff::Timestamp;

use crate::domain::id::RegionName;
use crate::ports::{Chain, ErrorKind, PortError, RequestObserver};

/// Settings and credentials from the environment and the usual AWS sources, with a region.
pub async fn load(region: &RegionName) -> SdkConfig {
    // Boxed, because it holds the whole chain of credential providers: callers would carry its size with them.
    Box::pin(loader(region).load()).await
}

/// The same settings for another region: credentials and connections are shared.
#[must_use]
pub fn in_region(config: &SdkConfig, region: &RegionName) -> SdkConfig {
    config.to_builder().region(Region::new(region.to_string())).build()
}

/// Attempts and timeouts are bounded: the SDK's defaults wait for ever on a peer that has gone silent.
pub(super) fn loader(region: &RegionName) -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_string()))
        .retry_config(RetryConfig::standard().with_max_attempts(5))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(5))
                .read_timeout(Duration::from_secs(60))
                .operation_attempt_timeout(Duration::from_secs(90))
                .operation_timeout(Duration::from_mins(5))
                .build(),
        )
        // A healthy link of 100 kB/s must not be taken for a dead one: the default grace of 5 s does.
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled().grace_period(Duration::from_secs(60)).build(),
        )
}

/// Counts attempts.
#[derive(Clone)]
pub(super) struct CountRequests(pub(super) RequestObserver);

impl fmt::Debug for CountRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CountRequests")
    }
}

impl Intercept for CountRequests {
    fn name(&self) -> &'static str {
        "CountRequests"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(operation) = config.load::<Metadata>() {
            let answered_well = context.output_or_error().is_some_and(|answer| answer.is_ok());
            (self.0)(operation.service(), operation.name(), answered_well);
        }
        Ok(())
    }
}

/// An SDK's error as a port's: what was tried, what it means, and AWS's words.
pub(super) fn port_error<E>(operation: impl Into<String>, error: SdkError<E, HttpResponse>) -> PortError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    if let Some(no_credentials) = own_error_within(&error) {
        return PortError::new(operation, no_credentials.kind()).because(Chain(no_credentials).to_string());
    }
    let kind = kind_of(&error);
    PortError::new(operation, kind).because(words_of(&error))
}

/// AWS's words, or why there are none.
pub(super) fn words_of<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        // A server error in HTML has no code: a load balancer or proxy answered, and not AWS's API.
        (None, _) => match error.raw_response() {
            Some(answer) if !answer.status().is_success() => {
                format!("HTTP status {} without an AWS error code", answer.status().as_u16())
            }
            Some(_) | None => Chain(error).to_string(),
        },
    }
}

/// What our own part of the SDK's machinery has to say: why there are no credentials.
pub(super) fn own_error_within<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a PortError> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

/// Whether an error bears one of these codes. RDS spells some with `Fault` at the end and some without.
pub(super) fn has_code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>, codes: &[&str]) -> bool {
    error.code().is_some_and(|code| codes.contains(&code.strip_suffix("Fault").unwrap_or(code)))
}

pub(super) fn kind_of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> ErrorKind {
    match error {
        SdkError::ConstructionFailure(_) => return ErrorKind::Invalid,
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            return ErrorKind::Transient;
        }
        SdkError::ServiceError(_) | _ => {}
    }
    if let Some(kind) = error.code().and_then(kind_of_code) {
        return kind;
    }
    match error.raw_response().map(|answer| answer.status().as_u16()) {
        Some(404) => ErrorKind::NotFound,
        Some(409 | 412) => ErrorKind::AlreadyExists,
        Some(401 | 403) => ErrorKind::PermissionDenied,
        Some(429 | 503) => ErrorKind::Throttled,
        Some(500..) => ErrorKind::Transient,
        Some(400..) => ErrorKind::Invalid,
        _ => ErrorKind::Other,
    }
}

fn kind_of_code(code: &str) -> Option<ErrorKind> {
    let kind = match code.strip_suffix("Fault").unwrap_or(code) {
        "DBInstanceNotFound"
        | "DBSnapshotNotFound"
        | "NoSuchKey"
        | "NoSuchVersion"
        | "NoSuchUpload"
        | "NotFound"
        | "NoSuchBucket"
        | "ResourceNotFoundException" => ErrorKind::NotFound,
        "DBSnapshotAlreadyExists" | "DBInstanceAlreadyExists" | "PreconditionFailed" => ErrorKind::AlreadyExists,
        // Another write was under way; S3 asks for a repetition (Amazon S3 API reference, PutObject).
        "ConditionalRequestConflict" => ErrorKind::Transient,
        // The last one is said of an object that a lifecycle rule has moved to an archive.
        "InvalidDBInstanceState" | "InvalidDBSnapshotState" | "InvalidObjectState" => ErrorKind::WrongState,
        "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "SlowDown" | "TooManyRequestsException" => {
            ErrorKind::Throttled
        }
        // Waiting does not help: a person has to raise the quota or delete snapshots.
        "SnapshotQuotaExceeded" => ErrorKind::Other,
        "AccessDenied"
        | "AccessDeniedException"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "KMSKeyNotAccessible"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => ErrorKind::PermissionDenied,
        // Expired credentials are renewed before the next request, as soon as there are new ones.
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InternalError"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "RequestTimeout" => ErrorKind::Transient,
        "InvalidParameterValue" | "InvalidParameterCombination" | "BadDigest" | "InvalidRequest" => ErrorKind::Invalid,
        _ => return None,
    };
    Some(kind)
}

/// An SDK's time as ours; `None` for what cannot be a time.
pub(super) fn timestamp(time: &aws_smithy_types::DateTime) -> Option<Timestamp> {
    let nanos = i32::try_from(time.subsec_nanos()).ok()?;
    Timestamp::new(time.secs(), nanos).ok()
}

/// Our time as an SDK's.
pub(super) fn date_time(time: Timestamp) -> aws_smithy_types::DateTime {
    let whole = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    aws_smithy_types::DateTime::from_str(&whole, Format::DateTime)
        .unwrap_or_else(|_| aws_smithy_types::DateTime::from_secs(time.as_second()))
}
