//! What people are told to type can be typed.

use clap::{CommandFactory, Parser};

use super::Cli;
use crate::domain::alert::AlertKey;
use crate::domain::id::Kind;
use crate::plan::alert::{Cause, advice};
use crate::policy::finding::Check;

/// Causes whose remedy lies outside of strongroom, or is a sentence.
const WITHOUT_COMMAND: [Check; 15] = [
    Check::ClockSkew,
    Check::ManagedKey,
    Check::BucketEncryption,
    Check::BucketLock,
    Check::BucketTls,
    Check::BucketLifecycle,
    Check::BackupWindow,
    Check::DeletionProtection,
    Check::CertificateExpiry,
    Check::LoginExpiry,
    Check::ForceTls,
    Check::ClientVersion,
    Check::StorageEncryption,
    Check::ParameterGroup,
    Check::BucketReplication,
];

fn key(cause: Cause, kind: Option<Kind>) -> AlertKey {
    AlertKey {
        name: cause.name().to_owned(),
        source: cause.is_about_sources().then(|| "accounts".parse().unwrap()),
        detail: kind.map(|kind| kind.as_str().to_owned()),
        database: kind.filter(|kind| *kind == Kind::Dump).map(|_| "accounts".parse().unwrap()),
    }
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_that_an_alert_or_the_page_tells_to_type_is_one() {
    for cause in Cause::all() {
        for kind in [None, Some(Kind::Snapshot), Some(Kind::Dump)] {
            let commands = advice(cause, &key(cause, kind)).commands;
            for command in commands.iter().filter(|command| command.starts_with("strongroom ")) {
                let parsed = Cli::try_parse_from(command.split_whitespace());
                assert!(parsed.is_ok(), "{cause:?}: `{command}`: {}", parsed.unwrap_err());
            }
        }
    }
}

#[test]
fn there_is_a_command_for_whatever_a_command_can_help_with() {
    let without: Vec<Cause> =
        Cause::all().filter(|cause| advice(*cause, &key(*cause, None)).commands.is_empty()).collect();
    let unexpected: Vec<&Cause> =
        without.iter().filter(|cause| !WITHOUT_COMMAND.iter().any(|check| **cause == Cause::Found(*check))).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

#[test]
fn a_backup_that_is_late_is_made_by_the_command_for_that_very_backup() {
    let commands = |kind| advice(Cause::Overdue, &key(Cause::Overdue, Some(kind))).commands;
    assert_eq!(commands(Kind::Snapshot).last().unwrap(), "strongroom backup snapshot accounts");
    assert_eq!(commands(Kind::Dump).last().unwrap(), "strongroom backup dump accounts --database accounts");
}
