//! What AWS says of an instance that gives trouble, through the AWS SDK.

use std::fmt;

use async_trait::async_trait;
use aws_config::SdkConfig;
use jiff::Timestamp;

use super::aws::{CountRequests, port_error, timestamp};
use super::aws_cloudwatch::CloudWatch;
use crate::domain::diagnosis::Maintenance;
use crate::domain::id::InstanceId;
use crate::ports::diagnostics::Diagnostics;
use crate::ports::{PortError, RequestObserver};

/// Six hours: of a fortnight that makes 56 points, and each is the least that was free in its time.
const PERIOD_S: i32 = 6 * 60 * 60;

/// RDS and CloudWatch of one region.
#[derive(Clone)]
pub struct AwsDiagnostics {
    rds: aws_sdk_rds::Client,
    cloudwatch: CloudWatch,
}

impl fmt::Debug for AwsDiagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsDiagnostics")
    }
}

impl AwsDiagnostics {
    /// Of the region of `config`.
    #[must_use]
    pub fn new(config: &SdkConfig, observer: RequestObserver) -> AwsDiagnostics {
        let cloudwatch = CloudWatch::new(config, RequestObserver::clone(&observer));
        let config = aws_sdk_rds::config::Builder::from(config).interceptor(CountRequests(observer)).build();
        AwsDiagnostics { rds: aws_sdk_rds::Client::from_conf(config), cloudwatch }
    }
}

#[async_trait]
impl Diagnostics for AwsDiagnostics {
    async fn newest_log(&self, instance: &InstanceId) -> Result<Option<String>, PortError> {
        let request = self.rds.describe_db_log_files().db_instance_identifier(instance.as_str());
        let mut pages = request.into_paginator().items().send();
        let mut newest: Option<(i64, String)> = None;
        while let Some(file) = pages.next().await {
            let file = file.map_err(|error| port_error(format!("list log files of instance {instance}"), error))?;
            let written = file.last_written().unwrap_or(0);
            if let Some(name) = file.log_file_name()
                && file.size().unwrap_or(0) > 0
                && newest.as_ref().is_none_or(|(before, _)| *before <= written)
            {
                newest = Some((written, name.to_owned()));
            }
        }
        Ok(newest.map(|(_, name)| name))
    }

    async fn log_tail(&self, instance: &InstanceId, file: &str, lines: u32) -> Result<String, PortError> {
        let request = self.rds.download_db_log_file_portion().db_instance_identifier(instance.as_str());
        // Without a marker RDS gives the end of the file.
        let request = request.log_file_name(file).number_of_lines(i32::try_from(lines).unwrap_or(i32::MAX));
        let portion = request.send().await;
        let portion =
            portion.map_err(|error| port_error(format!("read log file {file} of instance {instance}"), error))?;
        Ok(portion.log_file_data().unwrap_or_default().to_owned())
    }

    async fn maintenance(&self, instance: &InstanceId) -> Result<Vec<Maintenance>, PortError> {
        let filter = aws_sdk_rds::types::Filter::builder().name("db-instance-id").values(instance.as_str()).build();
        let request = self.rds.describe_pending_maintenance_actions().filters(filter);
        let pending = request.send().await;
        let pending = pending.map_err(|error| port_error(format!("list maintenance of instance {instance}"), error))?;
        let resources = pending.pending_maintenance_actions().iter();
        let actions = resources.flat_map(|resource| resource.pending_maintenance_action_details());
        Ok(actions
            .map(|action| Maintenance {
                action: action.action().unwrap_or("maintenance").to_owned(),
                description: action.description().map(str::to_owned),
                forced_at: action.forced_apply_date().and_then(timestamp),
                applied_at: action.current_apply_date().and_then(timestamp),
            })
            .collect())
    }

    async fn free_storage(
        &self,
        instance: &InstanceId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<(Timestamp, u64)>, PortError> {
        self.cloudwatch.free_storage(instance, since, until, PERIOD_S).await
    }
}
