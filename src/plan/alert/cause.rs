//! Everything that strongroom alerts on: what it is called, what it means, and what to do.

use super::words::{Advice, advice, of_cause};
use crate::domain::alert::{Alert, AlertKey, Severity};
use crate::plan::section;
use crate::policy::finding::Check;

/// The cause of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A slot should have been filled by now and is not.
    Overdue,
    /// A backup has failed as often as it is repeated quickly.
    Failed,
    /// It is too late for a slot.
    Missed,
    /// A backup is due, and its instance, or the drill that is to make it, does not let it begin.
    Late,
    /// The source's instance, or its replica, cannot be backed up at all.
    CannotBackUp,
    /// Nothing is left to restore a source from.
    NotRestorable,
    /// A part of what exists could not be seen.
    Unseen,
    /// The configuration was changed to one that cannot be used.
    ConfigInvalid,
    /// A finding.
    Found(Check),
}

impl Cause {
    /// Those that are no findings.
    const OWN: [Cause; 8] = [
        Cause::Overdue,
        Cause::Failed,
        Cause::Missed,
        Cause::Late,
        Cause::CannotBackUp,
        Cause::NotRestorable,
        Cause::Unseen,
        Cause::ConfigInvalid,
    ];

    /// Every cause.
    pub fn all() -> impl Iterator<Item = Cause> {
        Cause::OWN.into_iter().chain(Check::ALL.iter().copied().map(Cause::Found))
    }

    /// The alert's name, as labels have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::Overdue => "overdue",
            Cause::Failed => "failed",
            Cause::Missed => "missed",
            Cause::Late => "late",
            Cause::CannotBackUp => "cannot_back_up",
            Cause::NotRestorable => "not_restorable",
            Cause::Unseen => "unseen",
            Cause::ConfigInvalid => "config_invalid",
            Cause::Found(check) => check.as_str(),
        }
    }

    /// Whether it is about single sources.
    #[must_use]
    pub fn is_about_sources(self) -> bool {
        match self {
            Cause::Overdue
            | Cause::Failed
            | Cause::Missed
            | Cause::Late
            | Cause::CannotBackUp
            | Cause::NotRestorable => true,
            Cause::Unseen | Cause::ConfigInvalid => false,
            Cause::Found(check) => check.is_about_sources(),
        }
    }

    /// How bad it is, where that does not depend on the facts.
    #[must_use]
    pub fn usual_severity(self) -> Severity {
        of_cause(self).severity
    }

    /// How bad it can be: its usual severity, and others that the facts may give it.
    #[must_use]
    pub fn severities(self) -> Vec<Severity> {
        let usual = self.usual_severity();
        let others = self.other_severities().iter().copied().filter(|other| *other != usual);
        std::iter::once(usual).chain(others).collect()
    }

    fn other_severities(self) -> &'static [Severity] {
        match self {
            // Without some parts no backup is begun at all.
            Cause::Unseen => &[Severity::Critical],
            // A newer one may stand.
            Cause::Found(Check::DumpBad | Check::DrillObjective) => &[Severity::Info],
            // The key that is its default may be one that cannot be used.
            Cause::Found(Check::BucketEncryption) => &[Severity::Info, Severity::Critical],
            // It may only be late.
            Cause::Found(Check::Replication) => &[Severity::Warning],
            // It may take what strongroom counts on.
            Cause::Found(Check::BucketLifecycle) => &[Severity::Critical],
            // How bad it is hangs on what the environment asks, and on how far it has gone.
            Cause::Found(Check::AutomatedBackups | Check::SnapshotQuota) => &[Severity::Info, Severity::Critical],
            Cause::Found(Check::RestorableLag | Check::CertificateExpiry | Check::LoginExpiry) => &[Severity::Critical],
            Cause::Found(Check::StorageEncryption | Check::DeletionProtection | Check::ForceTls) => &[Severity::Info],
            Cause::Overdue
            | Cause::Failed
            | Cause::Missed
            | Cause::Late
            | Cause::CannotBackUp
            | Cause::NotRestorable
            | Cause::ConfigInvalid
            | Cause::Found(_) => &[],
        }
    }

    /// The parts of the inventory without which its absence proves nothing.
    #[must_use]
    pub fn rests_on(self) -> &'static [&'static str] {
        match self {
            Cause::Overdue
            | Cause::Failed
            | Cause::Missed
            | Cause::Late
            | Cause::CannotBackUp
            | Cause::NotRestorable => &[section::INSTANCES, section::SNAPSHOTS, section::STORE],
            Cause::Unseen | Cause::ConfigInvalid => &[],
            Cause::Found(check) => match check {
                Check::ClockSkew => &[],
                Check::BucketVersioning
                | Check::BucketEncryption
                | Check::BucketLock
                | Check::BucketPublicAccess
                | Check::BucketTls
                | Check::BucketLifecycle
                | Check::BucketReplication => &[section::BUCKETS],
                Check::SnapshotQuota => &[],
                Check::AutomatedBackups
                | Check::RestorableLag
                | Check::BackupWindow
                | Check::StorageEncryption
                | Check::DeletionProtection
                | Check::ForceTls
                | Check::CertificateExpiry
                | Check::ProtectionUnseen
                | Check::DumpLogin
                | Check::LoginExpiry
                | Check::DumpRights
                | Check::ParameterGroup => &[section::INSTANCES],
                Check::ClientVersion => &[section::INSTANCES, section::PG_DUMP],
                Check::KeyState | Check::ManagedKey => &[section::INSTANCES, section::KEYS],
                Check::SnapshotCopy => &[section::INSTANCES, section::SNAPSHOTS, section::COPIES],
                Check::DumpBad
                | Check::DumpUnreadable
                | Check::DumpHidden
                | Check::VerificationOverdue
                | Check::Replication => &[section::STORE, section::REPLICA],
                Check::DrillFailed
                | Check::DrillOverdue
                | Check::DrillObjective
                | Check::Anomaly
                | Check::StorageGrowth => &[section::STORE],
                Check::FutureDated | Check::PruneHeld | Check::RetentionShrink => {
                    &[section::INSTANCES, section::SNAPSHOTS, section::STORE, section::COPIES, section::REPLICA]
                }
            },
        }
    }

    /// The alert of these facts.
    pub(super) fn alert(self, key: AlertKey, severity: Severity, what: Vec<String>) -> Alert {
        let Advice { meaning, action, .. } = advice(self, &key);
        Alert { key, severity, what, meaning: meaning.to_owned(), action }
    }
}
