//! Findings: what a person should know about, with what it means and what to do.

use std::fmt;

use serde::Serialize;

pub use crate::domain::alert::Severity;
use crate::domain::id::SourceId;

macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident = $label:literal),+ $(,)?) => {
        /// What was checked.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Check {
            $($(#[$doc])* $name),+
        }

        impl Check {
            /// All checks.
            pub const ALL: &[Check] = &[$(Check::$name),+];

            /// The word for it in labels.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Check::$name => $label),+
                }
            }
        }
    };
}

impl Check {
    /// Whether it is about single sources, and not about a bucket or the whole.
    #[must_use]
    pub fn is_about_sources(self) -> bool {
        match self {
            Check::DumpBad
            | Check::DumpUnreadable
            | Check::VerificationOverdue
            | Check::DumpHidden
            | Check::SnapshotCopy
            | Check::DrillFailed
            | Check::DrillOverdue
            | Check::DrillObjective
            | Check::ManagedKey
            | Check::KeyState
            | Check::AutomatedBackups
            | Check::RestorableLag
            | Check::BackupWindow
            | Check::StorageEncryption
            | Check::DeletionProtection
            | Check::ClientVersion
            | Check::ForceTls
            | Check::CertificateExpiry
            | Check::ParameterGroup
            | Check::Anomaly
            | Check::StorageGrowth
            | Check::DumpLogin
            | Check::LoginExpiry
            | Check::DumpRights
            | Check::Replication
            | Check::FutureDated
            | Check::PruneHeld => true,
            Check::ClockSkew
            | Check::SnapshotQuota
            | Check::ProtectionUnseen
            | Check::RetentionShrink
            | Check::BucketVersioning
            | Check::BucketEncryption
            | Check::BucketLock
            | Check::BucketPublicAccess
            | Check::BucketTls
            | Check::BucketLifecycle
            | Check::BucketReplication => false,
        }
    }
}

checks! {
    /// Whether our clock agrees with AWS's.
    ClockSkew = "clock_skew",
    /// Whether what has expired may be deleted.
    PruneHeld = "prune_held",
    /// Whether a retention would delete more than the cap.
    RetentionShrink = "retention_shrink",
    /// Whether dumps are what their manifests say.
    DumpBad = "dump_bad",
    /// Whether dumps can be read.
    DumpUnreadable = "dump_unreadable",
    /// Whether dumps are read back in time.
    VerificationOverdue = "verification_overdue",
    /// Whether somebody has hidden a dump.
    DumpHidden = "dump_hidden",
    /// Whether snapshots are copied to their second region.
    SnapshotCopy = "snapshot_copy",
    /// Whether the keys that backups are encrypted under can be used.
    KeyState = "key_state",
    /// Whether snapshots are encrypted under a key of ours, in one region at least.
    ManagedKey = "managed_key",
    /// Whether dumps arrive in the replica bucket.
    Replication = "replication",
    /// Whether what a restore drill restored was what it must be.
    DrillFailed = "drill_failed",
    /// Whether restore drills are done when they are due.
    DrillOverdue = "drill_overdue",
    /// Whether restores are as fast, and their data as new, as the policy wants.
    DrillObjective = "drill_objective",
    /// Whether RDS keeps its automated backups for as long as the environment asks.
    AutomatedBackups = "automated_backups",
    /// Whether the newest moment that can be restored to is as new as it should be.
    RestorableLag = "restorable_lag",
    /// Whether snapshots are due while RDS makes its own backup.
    BackupWindow = "backup_window",
    /// Whether the instance's storage is encrypted.
    StorageEncryption = "storage_encryption",
    /// Whether one command can delete the instance.
    DeletionProtection = "deletion_protection",
    /// Whether the account may have more snapshots.
    SnapshotQuota = "snapshot_quota",
    /// Whether the dump client would be too old for the next version of the server.
    ClientVersion = "client_version",
    /// Whether the server refuses connections without TLS.
    ForceTls = "force_tls",
    /// Whether the server's certificate is about to end.
    CertificateExpiry = "certificate_expiry",
    /// Whether the second region has what a restore there needs.
    ParameterGroup = "parameter_group",
    /// Whether the newest dump has what the one before it had.
    Anomaly = "anomaly",
    /// Whether dumps grow as they should.
    StorageGrowth = "storage_growth",
    /// Whether one can log in as dumps do.
    DumpLogin = "dump_login",
    /// Whether the password of the dumps' login is about to end.
    LoginExpiry = "login_expiry",
    /// Whether the dumps' login may read everything.
    DumpRights = "dump_rights",
    /// Whether all that protects instances could be seen.
    ProtectionUnseen = "protection_unseen",
    /// Whether recovery points carry dates that can be.
    FutureDated = "future_dated",
    /// Whether the bucket keeps versions.
    BucketVersioning = "bucket_versioning",
    /// Whether the bucket encrypts with the expected key.
    BucketEncryption = "bucket_encryption",
    /// Whether the bucket locks objects, and for how long.
    BucketLock = "bucket_lock",
    /// Whether the bucket is closed to the public.
    BucketPublicAccess = "bucket_public_access",
    /// Whether the bucket refuses requests without TLS.
    BucketTls = "bucket_tls",
    /// Whether the bucket's lifecycle leaves our objects alone, and clears up unfinished uploads.
    BucketLifecycle = "bucket_lifecycle",
    /// Whether the bucket replicates our objects.
    BucketReplication = "bucket_replication",
}

/// Something that a person should know about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was checked.
    pub check: Check,
    /// The source that it is about; absent where it is about all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceId>,
    /// What is the case, what it means, and what to do.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.severity.as_str())?;
        if let Some(source) = &self.source {
            write!(f, "{source}: ")?;
        }
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn severities_and_checks_have_one_word_wherever_they_are_written() {
        for severity in Severity::ALL {
            assert_eq!(serde_json::to_value(severity).unwrap(), severity.as_str());
        }
        for check in Check::ALL {
            assert_eq!(serde_json::to_value(check).unwrap(), check.as_str());
        }
    }

    #[rstest]
    #[case::about_a_source(Some("accounts"), "warning: accounts: no dump was read back; look at it")]
    #[case::about_all(None, "warning: no dump was read back; look at it")]
    fn a_finding_says_how_bad_it_is_and_whom_it_is_about(#[case] source: Option<&str>, #[case] line: &str) {
        let finding = Finding {
            severity: Severity::Warning,
            check: Check::VerificationOverdue,
            source: source.map(|source| source.parse().unwrap()),
            text: "no dump was read back; look at it".to_owned(),
        };
        assert_eq!(finding.to_string(), line);
    }
}
