//! Quotas and parameter groups through the AWS SDK.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_rds::types::Parameter;

use super::aws::{CountRequests, has_code, in_region, port_error};
use crate::domain::account::{ParameterGroup, ParameterGroupName};
use crate::domain::diagnosis::Quota;
use crate::domain::id::RegionName;
use crate::ports::account::Account;
use crate::ports::{PortError, RequestObserver};

/// RDS's most: a group has some four hundred parameters.
const PAGE: i32 = 100;
/// Whether the server refuses connections without TLS (RDS user guide, "Using SSL with a PostgreSQL DB instance").
const FORCE_SSL: &str = "rds.force_ssl";

/// The account, in whatever region is asked about.
#[derive(Clone)]
pub struct AwsAccount {
    aws: SdkConfig,
    home: RegionName,
    observer: RequestObserver,
}

impl fmt::Debug for AwsAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsAccount")
    }
}

impl AwsAccount {
    /// The account of the credentials of `aws`, with its sources in `home`.
    #[must_use]
    pub fn new(aws: &SdkConfig, home: &RegionName, observer: RequestObserver) -> AwsAccount {
        AwsAccount { aws: aws.clone(), home: home.clone(), observer }
    }

    /// Made for each question: there are few, and seldom.
    fn rds(&self, region: &RegionName) -> aws_sdk_rds::Client {
        let config = aws_sdk_rds::config::Builder::from(&in_region(&self.aws, region))
            .interceptor(CountRequests(Arc::clone(&self.observer)))
            .build();
        aws_sdk_rds::Client::from_conf(config)
    }
}

#[async_trait]
impl Account for AwsAccount {
    async fn quotas(&self) -> Result<Vec<Quota>, PortError> {
        let quotas = self.rds(&self.home).describe_account_attributes().send().await;
        let quotas = quotas.map_err(|error| port_error("list the quotas of the account".to_owned(), error))?;
        let count = |number: Option<i64>| u64::try_from(number.unwrap_or(0)).unwrap_or(0);
        let quotas = quotas.account_quotas().iter().filter_map(|quota| {
            let name = quota.account_quota_name()?.to_owned();
            // One of which RDS does not say how much it allows is none to keep to.
            Some(Quota { name, used: count(quota.used()), max: count(Some(quota.max()?)) })
        });
        Ok(quotas.collect())
    }

    async fn parameter_group(&self, group: &ParameterGroupName) -> Result<Option<ParameterGroup>, PortError> {
        let request = self.rds(&group.region).describe_db_parameters().db_parameter_group_name(&group.name);
        let mut parameters = request.max_records(PAGE).into_paginator().items().send();
        let mut forces_tls = false;
        while let Some(parameter) = parameters.next().await {
            match parameter {
                Ok(parameter) => forces_tls |= is_switched_on(&parameter, FORCE_SSL),
                Err(error) if has_code(&error, &["DBParameterGroupNotFound"]) => return Ok(None),
                Err(error) => {
                    let named = format!("read parameter group {} in {}", group.name, group.region);
                    return Err(port_error(named, error));
                }
            }
        }
        Ok(Some(ParameterGroup { forces_tls }))
    }
}

fn is_switched_on(parameter: &Parameter, name: &str) -> bool {
    parameter.parameter_name() == Some(name) && matches!(parameter.parameter_value(), Some("1" | "on" | "true"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::on("rds.force_ssl", Some("1"), true)]
    #[case::off("rds.force_ssl", Some("0"), false)]
    #[case::never_set("rds.force_ssl", None, false)]
    #[case::another_one("ssl", Some("1"), false)]
    fn tls_is_forced_where_its_parameter_says_so(
        #[case] name: &str,
        #[case] value: Option<&str>,
        #[case] forced: bool,
    ) {
        let parameter = Parameter::builder().parameter_name(name).set_parameter_value(value.map(str::to_owned)).build();
        assert_eq!(is_switched_on(&parameter, FORCE_SSL), forced);
    }
}
