//! Each weakness of an instance, alone.

use rstest::rstest;

use super::*;
use crate::domain::account::ParameterGroup;
use crate::domain::inventory::{Endpoint, Protection};
use crate::policy::SnapshotCopies;
use crate::policy::restored::RegionSetup;
use crate::policy::retention::Retention;
use crate::testing::{inventory, now, policy};

/// A production instance that nothing is wrong with.
struct Bench {
    policy: Policy,
    instance: Instance,
    account: AccountFacts,
    pg_dump: ToolVersion,
}

const GROUP: &str = "bank-pg15";

fn group(region: &str, name: &str) -> ParameterGroupName {
    ParameterGroupName { region: region.parse().unwrap(), name: name.to_owned() }
}

fn forces(forces_tls: bool) -> Option<ParameterGroup> {
    Some(ParameterGroup { forces_tls })
}

impl Bench {
    fn new() -> Bench {
        let mut policy = policy(&[("accounts", &["accounts"])]);
        let source = policy.sources.values_mut().next().unwrap();
        source.automated_backup_days = Some(7..=35);
        for own in source.obligations.iter_mut().filter(|own| own.task == Task::Snapshot) {
            let region = "us-west-2".parse().unwrap();
            own.copies.push(SnapshotCopies { region, kms_key: None, retention: Retention::KeepAll });
        }
        let mut instance = inventory(&policy).instances.unwrap().iter().next().unwrap().clone();
        instance.status = "available".to_owned();
        instance.endpoint = Some(Endpoint { host: "db".to_owned(), port: 5432 });
        instance.latest_restorable_at = Some(now() - SignedDuration::from_mins(5));
        instance.kms_key = Some("arn:aws:kms:us-east-1:111122223333:key/bank".to_owned());
        instance.protection = Protection {
            from_deletion: true,
            backup_window: Some("05:00-05:30".to_owned()),
            certificate_until: Some(now() + SignedDuration::from_hours(400 * 24)),
            parameter_group: Some(GROUP.to_owned()),
        };
        let quota = |used| Quota { name: SNAPSHOT_QUOTA.to_owned(), used, max: 100 };
        let account = AccountFacts {
            quotas: Some(vec![quota(79)]),
            parameter_groups: [(group("us-east-1", GROUP), forces(true)), (group("us-west-2", GROUP), forces(true))]
                .into(),
            ..AccountFacts::default()
        };
        Bench { policy, instance, account, pg_dump: ToolVersion { major: 17, text: "pg_dump 17.6".to_owned() } }
    }

    fn source(&mut self) -> &mut SourcePolicy {
        self.policy.sources.values_mut().next().unwrap()
    }

    fn findings(&self) -> Vec<Finding> {
        let source = self.policy.sources.values().next().unwrap();
        let known = (&self.account, Some(&self.pg_dump));
        let of_instance = instance_findings(&self.policy, source, &self.instance, known, now());
        account_findings(&self.account).into_iter().chain(of_instance).collect()
    }
}

#[test]
fn an_instance_that_is_as_it_should_be_has_no_findings() {
    assert_eq!(Bench::new().findings(), []);
}

type Change = fn(&mut Bench);

fn lag(bench: &mut Bench, minutes: i64) {
    bench.instance.latest_restorable_at = Some(now() - SignedDuration::from_mins(minutes));
}

fn certificate(bench: &mut Bench, days: i64) {
    bench.instance.protection.certificate_until = Some(now() + SignedDuration::from_hours(days * 24));
}

fn quota(bench: &mut Bench, used: u64) {
    bench.account.quotas = Some(vec![Quota { name: SNAPSHOT_QUOTA.to_owned(), used, max: 100 }]);
}

fn set_group(bench: &mut Bench, region: &str, known: Option<ParameterGroup>) {
    bench.account.parameter_groups.insert(group(region, GROUP), known);
}

fn unseen() -> Unseen {
    Unseen("AccessDenied".to_owned())
}

#[rstest]
#[case::off(|b: &mut Bench| b.instance.automated_backup_days = 0, Severity::Critical, Check::AutomatedBackups, "automated backups are off")]
#[case::too_few(|b: &mut Bench| b.instance.automated_backup_days = 6, Severity::Warning, Check::AutomatedBackups, "for 6 days, and the environment asks for 7 to 35")]
#[case::too_many(|b: &mut Bench| b.source().automated_backup_days = Some(3..=3), Severity::Info, Check::AutomatedBackups, "asks for 3: more is kept")]
#[case::behind(|b: &mut Bench| lag(b, 16), Severity::Warning, Check::RestorableLag, "16 minutes ago")]
#[case::far_behind(|b: &mut Bench| lag(b, 241), Severity::Critical, Check::RestorableLag, "strongroom diagnose accounts")]
#[case::window(|b: &mut Bench| b.instance.protection.backup_window = Some("02:45-03:15".to_owned()), Severity::Info, Check::BackupWindow, "02:45-03:15 UTC")]
#[case::window_over_midnight(|b: &mut Bench| b.instance.protection.backup_window = Some("23:30-03:01".to_owned()), Severity::Info, Check::BackupWindow, "has to wait")]
#[case::plain(|b: &mut Bench| b.instance.kms_key = None, Severity::Warning, Check::StorageEncryption, "is not encrypted")]
#[case::unguarded(|b: &mut Bench| b.instance.protection.from_deletion = false, Severity::Warning, Check::DeletionProtection, "switch deletion protection on")]
#[case::client(|b: &mut Bench| b.pg_dump.major = 15, Severity::Info, Check::ClientVersion, "as old as the server")]
#[case::no_tls(|b: &mut Bench| set_group(b, "us-east-1", forces(false)), Severity::Warning, Check::ForceTls, "rds.force_ssl = 1 in parameter group bank-pg15")]
#[case::tls_unseen(|b: &mut Bench| drop(b.account.groups_unseen.insert(group("us-east-1", GROUP), unseen())), Severity::Info, Check::ProtectionUnseen, "AccessDenied")]
#[case::certificate_soon(|b: &mut Bench| certificate(b, 60), Severity::Warning, Check::CertificateExpiry, "choose a newer certificate authority")]
#[case::certificate_now(|b: &mut Bench| certificate(b, 7), Severity::Critical, Check::CertificateExpiry, "nobody who checks it can connect")]
#[case::no_group_elsewhere(|b: &mut Bench| set_group(b, "us-west-2", None), Severity::Warning, Check::ParameterGroup, "us-west-2, where its snapshots are copied to, has no parameter group bank-pg15")]
#[case::group_elsewhere_unseen(|b: &mut Bench| drop(b.account.groups_unseen.insert(group("us-west-2", GROUP), unseen())), Severity::Info, Check::ProtectionUnseen, "is not seen")]
#[case::quota(|b: &mut Bench| quota(b, 80), Severity::Warning, Check::SnapshotQuota, "80 of 100 manual snapshots")]
#[case::no_quota(|b: &mut Bench| quota(b, 100), Severity::Critical, Check::SnapshotQuota, "at the limit new ones fail")]
#[case::quota_unseen(|b: &mut Bench| b.account.quotas_unseen = Some(unseen()), Severity::Info, Check::ProtectionUnseen, "rds:DescribeAccountAttributes")]
fn each_weakness_is_one_finding(
    #[case] change: Change,
    #[case] severity: Severity,
    #[case] check: Check,
    #[case] text: &str,
) {
    let mut bench = Bench::new();
    change(&mut bench);
    let found = bench.findings();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].severity, found[0].check), (severity, check), "{found:?}");
    assert!(found[0].text.contains(text), "{found:?}");
    assert_eq!(found[0].source.is_some(), check.is_about_sources());
}

/// Nobody has asked for its protection: it is told, and no alarm.
#[rstest]
#[case::no_environment(None, Severity::Info)]
#[case::development(Some(0..=0), Severity::Info)]
fn what_nobody_has_asked_to_protect_is_no_alarm(
    #[case] days: Option<std::ops::RangeInclusive<u32>>,
    #[case] of_backups: Severity,
) {
    let mut bench = Bench::new();
    let is_development = days.is_some();
    bench.source().automated_backup_days = days;
    bench.instance.kms_key = None;
    bench.instance.protection.from_deletion = false;
    bench.instance.automated_backup_days = 0;
    let told: Vec<_> = bench.findings().into_iter().map(|own| (own.check, own.severity)).collect();
    let mut expected = vec![(Check::StorageEncryption, Severity::Info), (Check::DeletionProtection, Severity::Info)];
    if !is_development {
        expected.insert(0, (Check::AutomatedBackups, of_backups));
    }
    assert_eq!(told, expected);
}

#[rstest]
#[case::what_does_not_serve_ships_no_log(|b: &mut Bench| { lag(b, 600); b.instance.status = "stopped".to_owned(); })]
#[case::dumps_are_not_made(|b: &mut Bench| { b.pg_dump.major = 15; b.source().dump_settings = None; })]
#[case::before_the_first_look(|b: &mut Bench| b.account = AccountFacts::default())]
#[case::default_groups_are_everywhere(|b: &mut Bench| {
    b.instance.protection.parameter_group = Some("default.postgres15".to_owned());
    b.account.parameter_groups = [(group("us-east-1", "default.postgres15"), forces(true))].into();
})]
#[case::another_group_is_configured_there(|b: &mut Bench| {
    let setup = RegionSetup { parameter_group: Some("dr-pg15".to_owned()), ..RegionSetup::default() };
    b.policy.restore.insert("us-west-2".parse().unwrap(), setup);
    b.account.parameter_groups.insert(group("us-west-2", GROUP), None);
    b.account.parameter_groups.insert(group("us-west-2", "dr-pg15"), forces(true));
})]
fn what_is_no_weakness_is_not_told(#[case] change: Change) {
    let mut bench = Bench::new();
    change(&mut bench);
    assert_eq!(bench.findings(), []);
}

#[test]
fn each_group_is_asked_for_where_it_would_be_used() {
    let bench = Bench::new();
    let groups = parameter_groups_in_use(&bench.policy, |_| Some(&bench.instance));
    assert_eq!(groups.into_iter().collect::<Vec<_>>(), [group("us-east-1", GROUP), group("us-west-2", GROUP)]);
}
