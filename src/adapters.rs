//! The outside world: implementations of the ports. The only place that names an SDK.

pub mod aws;
pub mod aws_account;
pub mod aws_clock;
pub mod aws_cloudwatch;
pub mod aws_connection_secrets;
pub mod aws_credentials;
pub mod aws_diagnostics;
pub mod aws_identities;
pub mod aws_instances;
pub mod aws_kms;
pub mod aws_metric_sink;
pub mod aws_rds;
mod globals;
pub mod host_processes;
pub mod kubernetes;
pub mod notify;
pub mod pg;
pub mod pg_restore;
pub mod pg_tools;
pub mod s3;
pub mod scratch_server;
pub mod system_clock;
pub mod systemd;

#[cfg(test)]
mod tests;
