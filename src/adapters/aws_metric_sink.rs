//! Custom metrics of CloudWatch through the AWS SDK.

use std::fmt;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use jiff::Timestamp;

use super::aws::{CountRequests, date_time, port_error};
use crate::domain::published::{Datum, Unit};
use crate::ports::metric_sink::MetricSink;
use crate::ports::{PortError, RequestObserver};

/// Numbers in one request: CloudWatch's most (API reference, `PutMetricData`). A thousand of ours are far below its megabyte.
const DATA_MAX: usize = 1000;

/// One namespace of CloudWatch.
#[derive(Clone)]
pub struct CloudWatchMetrics {
    client: Client,
    namespace: String,
}

impl fmt::Debug for CloudWatchMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloudWatchMetrics({})", self.namespace)
    }
}

impl CloudWatchMetrics {
    /// A namespace in the region of `aws`.
    #[must_use]
    pub fn new(aws: &SdkConfig, namespace: String, observer: RequestObserver) -> CloudWatchMetrics {
        let config = aws_sdk_cloudwatch::config::Builder::from(aws).interceptor(CountRequests(observer)).build();
        CloudWatchMetrics { client: Client::from_conf(config), namespace }
    }
}

#[async_trait]
impl MetricSink for CloudWatchMetrics {
    async fn put(&self, data: &[Datum], at: Timestamp) -> Result<(), PortError> {
        for some in data.chunks(DATA_MAX) {
            let request = self.client.put_metric_data().namespace(&self.namespace);
            let request = request.set_metric_data(Some(some.iter().map(|datum| to_sdk(datum, at)).collect()));
            let sent = request.send().await;
            sent.map_err(|error| {
                port_error(format!("publish metrics in CloudWatch namespace {}", self.namespace), error)
            })?;
        }
        Ok(())
    }
}

fn to_sdk(datum: &Datum, at: Timestamp) -> MetricDatum {
    let dimension = |name: &str, value: String| Dimension::builder().name(name).value(value).build();
    let source = datum.source.as_ref().map(|source| dimension("Source", source.to_string()));
    let kind = datum.kind.map(|kind| dimension("Kind", kind.to_owned()));
    let unit = match datum.name.unit() {
        Unit::Seconds => StandardUnit::Seconds,
        Unit::Bytes => StandardUnit::Bytes,
        Unit::Count => StandardUnit::Count,
    };
    MetricDatum::builder()
        .metric_name(datum.name.as_str())
        .set_dimensions(Some(source.into_iter().chain(kind).collect()))
        .timestamp(date_time(at))
        .value(datum.value)
        .unit(unit)
        .build()
}
