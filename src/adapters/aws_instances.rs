//! Instances that are restored, through the AWS SDK.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_rds::Client;
use aws_sdk_rds::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_rds::types::{DbInstance, DbInstanceAutomatedBackup};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use secrecy::{ExposeSecret, SecretString};

use super::aws::{date_time, has_code, port_error, timestamp};
use super::aws_clock::AwsClock;
use super::aws_identities::Identities;
use super::aws_rds::{GIB, client, sdk_tags, tags_of, to_instance};
use crate::domain::id::InstanceId;
use crate::domain::inventory::Complete;
use crate::domain::lease::LeaseId;
use crate::domain::new_instance::{
    AutomatedBackups, EmptyInstance, InstanceDetails, InstanceSetup, Network, NewInstance, RestoreFrom,
};
use crate::domain::recovery::ApprovedRename;
use crate::ports::instances::{Instances, Leases, NotRestored, Refusal, Renames};
use crate::ports::roles::Function;
use crate::ports::{ErrorKind, PortError, RequestObserver};

/// Gives a request everything that a new instance is to have. The SDK has one type per kind of restore, with the same methods.
macro_rules! set_up {
    ($request:expr, $setup:expr) => {{
        let setup: &InstanceSetup = $setup;
        $request
            .db_instance_class(&setup.class)
            .set_db_subnet_group_name(setup.network.subnet_group.clone())
            .set_vpc_security_group_ids(Some(setup.network.security_groups.clone()))
            .set_db_parameter_group_name(setup.parameter_group.clone())
            .multi_az(setup.multi_az)
            .publicly_accessible(setup.is_public)
            .enable_iam_database_authentication(setup.iam_login)
            .deletion_protection(setup.deletion_protection)
            .set_backup_retention_period(days(setup))
            .copy_tags_to_snapshot(setup.copies_tags_to_snapshots)
            .auto_minor_version_upgrade(setup.minor_upgrades)
            .set_ca_certificate_identifier(setup.ca.clone())
            .set_enable_cloudwatch_logs_exports(Some(setup.log_exports.clone()))
            .set_engine_lifecycle_support(setup.lifecycle_support.clone())
            .set_storage_type(setup.storage_type.clone())
            .set_iops(signed(setup.iops))
            .set_storage_throughput(signed(setup.storage_throughput))
            .set_tags(Some(sdk_tags(&setup.tags)))
    }};
}

/// Instances of one region.
#[derive(Debug, Clone)]
pub struct AwsInstances {
    observe: Client,
    drill: Client,
}

impl AwsInstances {
    /// Instances in the region of `aws`.
    #[must_use]
    pub fn new(aws: &Identities, observer: &RequestObserver, clock: &Arc<AwsClock>) -> AwsInstances {
        let functions = [Function::Observe, Function::Drill];
        let [observe, drill] = aws.clients(functions, |sdk| client(sdk, observer, clock));
        AwsInstances { observe, drill }
    }

    async fn restore_snapshot(&self, new: &NewInstance, snapshot: &str) -> Result<(), NotRestored> {
        let request = self
            .drill
            .restore_db_instance_from_db_snapshot()
            .db_instance_identifier(new.id.as_str())
            .db_snapshot_identifier(snapshot);
        let request = set_up!(request, &new.setup);
        let what = format!("restore snapshot {snapshot} as instance {}", new.id);
        request.send().await.map(drop).map_err(|error| not_restored(what, error))
    }

    async fn restore_to_moment(
        &self,
        new: &NewInstance,
        backups: &AutomatedBackups,
        to: jiff::Timestamp,
    ) -> Result<(), NotRestored> {
        let request = self.drill.restore_db_instance_to_point_in_time();
        let request = set_up!(request.target_db_instance_identifier(new.id.as_str()), &new.setup);
        // The identity and not the name: somebody may create an instance of that name at this very moment. What was
        // replicated from another region only has an ARN here.
        let is_of_instance_here = backups.status == "active" && !backups.is_replicated;
        let request = match (&backups.arn, is_of_instance_here) {
            (Some(arn), false) => request.source_db_instance_automated_backups_arn(arn),
            (_, _) => request.source_dbi_resource_id(backups.resource.as_str()),
        };
        let request = request.restore_time(date_time(to));
        let what = format!("restore instance {} to a point in time as instance {}", backups.instance, new.id);
        request.send().await.map(drop).map_err(|error| not_restored(what, error))
    }
}

#[async_trait]
impl Instances for AwsInstances {
    async fn details(&self, id: &InstanceId) -> Result<Option<InstanceDetails>, PortError> {
        match self.observe.describe_db_instances().db_instance_identifier(id.as_str()).send().await {
            Ok(found) => Ok(found.db_instances().first().and_then(to_details)),
            Err(error) if has_code(&error, &["DBInstanceNotFound"]) => Ok(None),
            Err(error) => Err(port_error(format!("describe DB instance {id}"), error)),
        }
    }

    async fn automated_backups(&self, id: &InstanceId) -> Result<Complete<AutomatedBackups>, PortError> {
        let request = self.observe.describe_db_instance_automated_backups().db_instance_identifier(id.as_str());
        let mut pages = request.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(backups) = pages.next().await {
            match backups {
                Ok(backups) => found.extend(to_automated_backups(&backups)),
                // RDS says so where there are none for that instance.
                Err(error) if has_code(&error, &["DBInstanceAutomatedBackupNotFound"]) => break,
                Err(error) => return Err(port_error(format!("list automated backups of instance {id}"), error)),
            }
        }
        Ok(Complete::after_last_page(found))
    }

    async fn restore(&self, new: &NewInstance) -> Result<(), NotRestored> {
        match &new.from {
            RestoreFrom::Snapshot(snapshot) => self.restore_snapshot(new, snapshot.as_str()).await,
            RestoreFrom::Time { backups, to } => self.restore_to_moment(new, backups, *to).await,
        }
    }
}

#[async_trait]
impl Leases for AwsInstances {
    async fn create(&self, new: &EmptyInstance) -> Result<SecretString, NotRestored> {
        let what = format!("create DB instance {}", new.id);
        let password = password().map_err(|error| NotRestored {
            why: None,
            error: PortError::new(what.clone(), ErrorKind::Other).because(error),
        })?;
        let request = self
            .drill
            .create_db_instance()
            .db_instance_identifier(new.id.as_instance().as_str())
            .engine("postgres")
            .engine_version(&new.engine_version)
            .allocated_storage(i32::try_from(new.storage_bytes / GIB).unwrap_or(i32::MAX))
            .storage_encrypted(new.kms_key.is_some())
            .set_kms_key_id(new.kms_key.clone())
            .master_username(&new.master_user)
            .master_user_password(password.expose_secret());
        let made = set_up!(request, &new.setup).send().await;
        made.map_err(|error| not_restored(what, error))?;
        Ok(password)
    }

    async fn reset_master_password(&self, id: &LeaseId) -> Result<SecretString, PortError> {
        let named = || format!("give instance {id} a new master password");
        let password = password().map_err(|error| PortError::new(named(), ErrorKind::Other).because(error))?;
        let request = self.drill.modify_db_instance().db_instance_identifier(id.as_instance().as_str());
        let request = request.master_user_password(password.expose_secret()).apply_immediately(true);
        request.send().await.map_err(|error| port_error(named(), error))?;
        Ok(password)
    }

    async fn delete(&self, id: &LeaseId) -> Result<(), PortError> {
        let request = self.drill.delete_db_instance().db_instance_identifier(id.as_instance().as_str());
        let request = request.skip_final_snapshot(true).delete_automated_backups(true);
        let deleted = request.send().await;
        deleted.map_err(|error| port_error(format!("delete DB instance {id}"), error))?;
        Ok(())
    }
}

#[async_trait]
impl Renames for AwsInstances {
    async fn rename(&self, rename: &ApprovedRename) -> Result<(), PortError> {
        let request = self.drill.modify_db_instance().db_instance_identifier(rename.from().as_str());
        // Without it the rename would wait for the maintenance window.
        let request = request.new_db_instance_identifier(rename.to().as_str()).apply_immediately(true);
        let named = || format!("rename DB instance {} to {}", rename.from(), rename.to());
        request.send().await.map(drop).map_err(|error| port_error(named(), error))
    }
}

/// A password of 256 random bits.
fn password() -> Result<SecretString, &'static str> {
    let mut bytes = [0_u8; 32];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| "the system gives no random numbers")?;
    Ok(SecretString::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

fn days(setup: &InstanceSetup) -> Option<i32> {
    signed(Some(setup.automated_backup_days))
}

fn signed(number: Option<u32>) -> Option<i32> {
    number.and_then(|number| i32::try_from(number).ok())
}

fn unsigned(number: Option<i32>) -> Option<u32> {
    number.and_then(|number| u32::try_from(number).ok())
}

fn not_restored<E>(what: String, error: SdkError<E, HttpResponse>) -> NotRestored
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let why = error.code().and_then(|code| refusal(code, error.message().unwrap_or_default()));
    NotRestored { why, error: port_error(what, error) }
}

/// Errors of `RestoreDBInstanceFromDBSnapshot` and `RestoreDBInstanceToPointInTime` (RDS API reference).
fn refusal(code: &str, message: &str) -> Option<Refusal> {
    Some(match code.strip_suffix("Fault").unwrap_or(code) {
        "DBInstanceAlreadyExists" => Refusal::NameTaken,
        "InsufficientDBInstanceCapacity" => Refusal::NoCapacity,
        "InstanceQuotaExceeded" | "StorageQuotaExceeded" => Refusal::Quota,
        "DBSubnetGroupNotFound"
        | "DBSubnetGroupDoesNotCoverEnoughAZs"
        | "InvalidSubnet"
        | "InvalidVPCNetworkState"
        | "DBSecurityGroupNotFound"
        | "NetworkTypeNotSupported" => Refusal::Network,
        "DBParameterGroupNotFound" => Refusal::ParameterGroup,
        "KMSKeyNotAccessible" => Refusal::Key,
        "DBSnapshotNotFound" | "InvalidDBSnapshotState" | "InvalidRestore" | "DBInstanceAutomatedBackupNotFound" => {
            Refusal::Backup
        }
        "PointInTimeRestoreNotEnabled" => Refusal::Moment,
        // One code for all parameters: the words tell which.
        "InvalidParameterValue" | "InvalidParameterCombination" => {
            let message = message.to_ascii_lowercase();
            if message.contains("restor") && message.contains("time") {
                Refusal::Moment
            } else if message.contains("class") {
                Refusal::Class
            } else {
                return None;
            }
        }
        _ => return None,
    })
}

fn to_details(instance: &DbInstance) -> Option<InstanceDetails> {
    let own = |text: Option<&str>| text.map(str::to_owned);
    let setup = InstanceSetup {
        class: own(instance.db_instance_class())?,
        network: Network {
            subnet_group: own(instance.db_subnet_group().and_then(|group| group.db_subnet_group_name())),
            security_groups: instance
                .vpc_security_groups()
                .iter()
                .filter_map(|group| own(group.vpc_security_group_id()))
                .collect(),
        },
        parameter_group: own(instance.db_parameter_groups().first().and_then(|group| group.db_parameter_group_name())),
        multi_az: instance.multi_az().unwrap_or(false),
        is_public: instance.publicly_accessible().unwrap_or(false),
        iam_login: instance.iam_database_authentication_enabled().unwrap_or(false),
        deletion_protection: instance.deletion_protection().unwrap_or(false),
        automated_backup_days: unsigned(instance.backup_retention_period()).unwrap_or(0),
        copies_tags_to_snapshots: instance.copy_tags_to_snapshot().unwrap_or(false),
        minor_upgrades: instance.auto_minor_version_upgrade().unwrap_or(false),
        ca: own(instance.ca_certificate_identifier()),
        log_exports: instance.enabled_cloudwatch_logs_exports().to_vec(),
        lifecycle_support: own(instance.engine_lifecycle_support()),
        storage_type: own(instance.storage_type()),
        iops: provisioned(instance, instance.iops()),
        storage_throughput: provisioned(instance, instance.storage_throughput()),
        tags: tags_of(instance.tag_list()),
    };
    Some(InstanceDetails {
        instance: to_instance(instance)?,
        setup,
        master_user: own(instance.master_username()),
        not_restorable: not_restorable(instance),
    })
}

/// What was provisioned of it. A small gp3 volume has a base that RDS shows and does not take: "You can't specify IOPS or storage
/// throughput for engine postgres and a storage size less than 400" (RDS user guide, gp3 storage).
fn provisioned(instance: &DbInstance, shown: Option<i32>) -> Option<u32> {
    const GP3_PROVISIONED_FROM_GIB: i32 = 400;
    let is_base = instance.storage_type() == Some("gp3")
        && instance.allocated_storage().is_some_and(|gib| gib < GP3_PROVISIONED_FROM_GIB);
    unsigned(shown).filter(|number| *number > 0 && !is_base)
}

/// What neither kind of restore takes as a parameter, or takes in a form that cannot be read back.
fn not_restorable(instance: &DbInstance) -> Vec<String> {
    let mut parts = Vec::new();
    let replicas = instance.read_replica_db_instance_identifiers();
    if !replicas.is_empty() {
        parts.push(format!("read replicas ({})", replicas.join(", ")));
    }
    if instance.monitoring_interval().is_some_and(|seconds| seconds > 0) {
        parts.push("enhanced monitoring".to_owned());
    }
    if instance.performance_insights_enabled() == Some(true) {
        parts.push("Performance Insights".to_owned());
    }
    if let Some(window) = instance.preferred_maintenance_window() {
        parts.push(format!("the maintenance window ({window})"));
    }
    if instance.max_allocated_storage().is_some_and(|most| Some(most) > instance.allocated_storage()) {
        parts.push("storage autoscaling".to_owned());
    }
    if !instance.associated_roles().is_empty() {
        parts.push("roles for imports and exports".to_owned());
    }
    if instance.master_user_secret().is_some() {
        parts.push("the master password in Secrets Manager, which RDS managed".to_owned());
    }
    if !instance.db_instance_automated_backups_replications().is_empty() {
        parts.push("the replication of automated backups".to_owned());
    }
    if !instance.domain_memberships().is_empty() {
        parts.push("the membership in a domain".to_owned());
    }
    parts
}

fn to_automated_backups(backups: &DbInstanceAutomatedBackup) -> Option<AutomatedBackups> {
    let window = backups.restore_window();
    let region = |arn: Option<&str>| arn.and_then(|arn| arn.split(':').nth(3)).map(str::to_owned);
    let (of_instance, own) = (region(backups.db_instance_arn()), region(backups.db_instance_automated_backups_arn()));
    Some(AutomatedBackups {
        instance: backups.db_instance_identifier()?.parse().ok()?,
        resource: backups.dbi_resource_id()?.parse().ok()?,
        arn: backups.db_instance_automated_backups_arn().map(str::to_owned),
        // RDS calls them active as well.
        is_replicated: of_instance.zip(own).is_some_and(|(of_instance, own)| of_instance != own),
        earliest: window.and_then(|window| window.earliest_time()).and_then(timestamp),
        latest: window.and_then(|window| window.latest_time()).and_then(timestamp),
        kms_key: backups.kms_key_id().map(str::to_owned),
        is_encrypted: backups.encrypted(),
        status: backups.status().unwrap_or("unknown").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("DBInstanceAlreadyExists", "DB instance already exists", Some(Refusal::NameTaken))]
    #[case("InsufficientDBInstanceCapacity", "", Some(Refusal::NoCapacity))]
    #[case("DBSubnetGroupNotFoundFault", "", Some(Refusal::Network))]
    #[case("InvalidParameterValue", "The restore time is before the earliest restorable time.", Some(Refusal::Moment))]
    #[case("InvalidParameterCombination", "RDS does not support this DB instance class", Some(Refusal::Class))]
    #[case("InvalidParameterValue", "Invalid storage type", None)]
    #[case("Throttling", "Rate exceeded", None)]
    fn what_rds_refuses_is_told_by_code_and_words(
        #[case] code: &str,
        #[case] message: &str,
        #[case] why: Option<Refusal>,
    ) {
        assert_eq!(refusal(code, message), why);
    }

    /// RDS finds the instance of another region by no name and no identity.
    #[rstest]
    #[case("us-east-1", false)]
    #[case("us-west-2", true)]
    fn backups_are_replicated_where_their_instance_is_in_another_region(
        #[case] listed_in: &str,
        #[case] expected: bool,
    ) {
        let listed = DbInstanceAutomatedBackup::builder()
            .db_instance_identifier("bank-accounts")
            .dbi_resource_id("db-ABC")
            .db_instance_arn("arn:aws:rds:us-east-1:111122223333:db:bank-accounts")
            .db_instance_automated_backups_arn(format!("arn:aws:rds:{listed_in}:111122223333:auto-backup:ab-abc"))
            .status("active")
            .build();
        assert_eq!(to_automated_backups(&listed).unwrap().is_replicated, expected);
    }
}
