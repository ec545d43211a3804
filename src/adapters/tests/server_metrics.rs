//! What CloudWatch says of servers.

use aws_sdk_cloudwatch::types::{Dimension, MetricDatum};
use jiff::ToSpan as _;
use serde_json::json;

use super::*;
use crate::adapters::aws::date_time;
use crate::adapters::aws_cloudwatch::CloudWatch;
use crate::domain::id::InstanceId;
use crate::ports::server_metrics::ServerMetrics as _;

#[tokio::test]
async fn free_storage_is_the_last_that_was_measured_of_the_instance() {
    let world = World::start(json!({}));
    let sdk = world.sdk(EAST).await;
    let (metrics, client) = (CloudWatch::new(&sdk, observer()), aws_sdk_cloudwatch::Client::new(&sdk));
    let instance = |name: &str| name.parse::<InstanceId>().unwrap();
    let now = SystemClock.now();
    let measured = |name: &str, minutes_ago: i64, bytes: f64| {
        let of = Dimension::builder().name("DBInstanceIdentifier").value(name).build();
        let at = date_time(now - minutes_ago.minutes());
        MetricDatum::builder().metric_name("FreeStorageSpace").dimensions(of).timestamp(at).value(bytes).build()
    };
    let points = [
        measured("bank-ledger", 3, 9e9),
        measured("bank-ledger", 2, 5e9),
        measured("bank-ledger", 5, 7e9),
        measured("bank-cards", 1, 1e9),
        measured("bank-old", 60, 1e9),
    ];
    client.put_metric_data().namespace("AWS/RDS").set_metric_data(Some(points.into())).send().await.unwrap();

    let free = async |name: &str| metrics.free_storage_bytes(&instance(name), now).await.unwrap();
    assert_eq!(free("bank-ledger").await, Some(5_000_000_000));
    assert_eq!(free("bank-cards").await, Some(1_000_000_000));
    assert_eq!(free("bank-old").await, None, "an hour ago says nothing of now");
    assert_eq!(free("bank-nobody").await, None);
}
