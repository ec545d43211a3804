//! CloudWatch through the AWS SDK.

use std::fmt;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{Dimension, Statistic};
use jiff::{SignedDuration, Timestamp};

use super::aws::{CountRequests, date_time, port_error, timestamp};
use crate::domain::id::InstanceId;
use crate::ports::server_metrics::ServerMetrics;
use crate::ports::{PortError, RequestObserver};

/// Where RDS writes its measurements.
const NAMESPACE: &str = "AWS/RDS";
/// RDS measures once a minute.
const PERIOD_S: i32 = 60;
/// What is older tells nothing of now: measurements come some minutes late.
const OLDEST: SignedDuration = SignedDuration::from_mins(15);

/// CloudWatch in one region.
#[derive(Clone)]
pub struct CloudWatch {
    client: Client,
}

impl fmt::Debug for CloudWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CloudWatch")
    }
}

impl CloudWatch {
    /// CloudWatch in the region of `aws`.
    #[must_use]
    pub fn new(aws: &SdkConfig, observer: RequestObserver) -> CloudWatch {
        let config = aws_sdk_cloudwatch::config::Builder::from(aws).interceptor(CountRequests(observer)).build();
        CloudWatch { client: Client::from_conf(config) }
    }
    /// The least that was free on the volume of an instance in each period of so many seconds, the oldest first.
    pub(super) async fn free_storage(
        &self,
        instance: &InstanceId,
        since: Timestamp,
        until: Timestamp,
        period_s: i32,
    ) -> Result<Vec<(Timestamp, u64)>, PortError> {
        let measured = self
            .client
            .get_metric_statistics()
            .namespace(NAMESPACE)
            .metric_name("FreeStorageSpace")
            .dimensions(Dimension::builder().name("DBInstanceIdentifier").value(instance.as_str()).build())
            .start_time(date_time(since))
            .end_time(date_time(until))
            .period(period_s)
            .statistics(Statistic::Minimum)
            .send()
            .await
            .map_err(|error| port_error(format!("ask CloudWatch for the free storage of {instance}"), error))?;
        let points = measured.datapoints().iter();
        let mut points: Vec<(Timestamp, u64)> = points
            .filter_map(|point| Some((point.timestamp().and_then(timestamp)?, whole_bytes(point.minimum()?))))
            .collect();
        // They come in no order.
        points.sort_unstable();
        Ok(points)
    }
}

#[async_trait]
impl ServerMetrics for CloudWatch {
    async fn free_storage_bytes(&self, instance: &InstanceId, now: Timestamp) -> Result<Option<u64>, PortError> {
        let since = now.saturating_sub(OLDEST).unwrap_or(now);
        let measured = self.free_storage(instance, since, now, PERIOD_S).await?;
        Ok(measured.last().map(|(_, bytes)| *bytes))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates; bytes are far below 2^53")]
fn whole_bytes(bytes: f64) -> u64 {
    bytes as u64
}
