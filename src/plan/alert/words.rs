//! What each trouble means, how bad it usually is, and what to do about it: one table for alerts and for the status page.

use super::Cause;
use super::command::{backup_command, commands_in};
use crate::domain::alert::{AlertKey, Severity};
use crate::domain::id::SourceId;
use crate::policy::finding::Check;

/// What is said beside the facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What it means.
    pub meaning: &'static str,
    /// What to do, with the commands to type between backticks.
    pub action: String,
    /// The commands alone, in their order.
    pub commands: Vec<String>,
}

/// What is said about a trouble of this cause.
#[must_use]
pub fn advice(cause: Cause, key: &AlertKey) -> Advice {
    let Words { meaning, action, .. } = of_cause(cause);
    let source = key.source.as_ref().map_or("SOURCE", SourceId::as_str);
    let backup = backup_command(key);
    let filled = |text: &str| text.replace("{source}", source).replace("{backup}", &backup);
    // Taken out before names are put in: what stands in a name ends no command.
    let commands = commands_in(action).into_iter().map(filled).collect();
    Advice { meaning, action: filled(action), commands }
}

/// A row of the table.
pub(super) struct Words {
    /// How bad it usually is; the facts say how bad it is this time.
    pub(super) severity: Severity,
    meaning: &'static str,
    /// `{source}` stands for the source's name, `{backup}` for the command that makes the backup in question now.
    action: &'static str,
}

const fn words(severity: Severity, meaning: &'static str, action: &'static str) -> Words {
    Words { severity, meaning, action }
}

/// The words of a cause.
pub(super) fn of_cause(cause: Cause) -> Words {
    use Severity::{Critical, Warning};
    match cause {
        Cause::Overdue => words(
            Critical,
            "there is no good backup as fresh as was promised: a loss today would cost more data than agreed",
            "`strongroom diagnose {source}` says what is wrong with the instance; once that is mended, `{backup}` makes one at \
             once",
        ),
        Cause::Failed => words(
            Warning,
            "this backup has failed as often as it is repeated quickly; from now on it is tried every six hours, and will be \
             overdue",
            "read the error above, run `strongroom diagnose {source}`, mend the cause, and make it at once with `{backup}`",
        ),
        Cause::Missed => words(
            Critical,
            "this backup could not start in its time and is not made any more before the next slot",
            "make it now with `{backup}`",
        ),
        Cause::Late => words(
            Warning,
            "a backup is due and cannot begin: its instance, or the drill that is to make it, does not allow it",
            "do what the line above says; `strongroom diagnose {source}` says what goes on with the instance",
        ),
        Cause::CannotBackUp => words(
            Critical,
            "as things are, no backup of this source can be made, now or at any later slot",
            "do what the line above says, then look at `strongroom plan`",
        ),
        Cause::NotRestorable => words(
            Critical,
            "if this instance were lost now, nothing could bring it back",
            "make a backup now: `{backup}`; then look at `strongroom status`",
        ),
        Cause::Unseen => words(
            Warning,
            "strongroom cannot see a part of what exists, and decides nothing from what it does not see: backups may not be \
             made, and what is wrong may go unseen",
            "`strongroom check --online` tries each right and connection and names the one that fails",
        ),
        Cause::ConfigInvalid => words(
            Warning,
            "the configuration was changed to one that is not valid: the one before is in force, and a restart would fail",
            "`strongroom check` names the file, the line and what to write",
        ),
        Cause::Found(check) => of_check(check),
    }
}

/// The words of a check.
#[expect(clippy::too_many_lines, reason = "a table: one row for each check, and the compiler misses none")]
fn of_check(check: Check) -> Words {
    use Severity::{Critical, Info, Warning};
    match check {
        Check::ClockSkew => words(
            Critical,
            "this host's clock cannot be trusted: nothing is pruned, and storage fills meanwhile",
            "set the host's clock right (`timedatectl` shows it); nothing else is needed",
        ),
        Check::FutureDated => words(
            Warning,
            "a recovery point was made under a wrong clock: it is kept, and counts as no backup",
            "look at it in `strongroom list {source}`; it counts again once its date has come",
        ),
        Check::PruneHeld => words(
            Info,
            "something that has expired is not deleted: it costs storage, and no backup is at risk",
            "`strongroom prune` says of each what holds it",
        ),
        Check::RetentionShrink => words(
            Critical,
            "the retention would delete far more than usual, as a typing mistake does: nothing at all is deleted",
            "look at `strongroom prune`; if it is meant, `strongroom prune --confirm`, else put the retention \
             right",
        ),
        Check::DumpBad => words(
            Critical,
            "a dump that was counted on is not what its manifest says, and nothing of its source is pruned until \
             a newer one is read back",
            "make another one of the database that is named above: `strongroom backup dump {source}`, with `--database` where \
             the source has several; `strongroom verify {source}` looks again",
        ),
        Check::DumpUnreadable => words(
            Critical,
            "nobody knows whether this dump is good, and as things are nobody could restore it",
            "`strongroom verify {source}` says what refuses: mend the role's rights or the KMS key",
        ),
        Check::VerificationOverdue => words(
            Warning,
            "whether the newest dumps are good is not proven",
            "`strongroom verify {source} --level 2` reads them back now and says what stands in the way",
        ),
        Check::DumpHidden => words(
            Warning,
            "somebody has deleted a dump outside of strongroom; every byte of it is still there, behind a delete \
             marker",
            "find out who it was, then delete the marker that is named above; `strongroom list {source}` shows \
             the dump again",
        ),
        Check::SnapshotCopy => words(
            Warning,
            "the second region lacks a snapshot that it should have: the loss of the first region would cost that \
             data",
            "`strongroom plan` says what the copy waits for; a disabled KMS key or a quota is what is usual",
        ),
        Check::Replication => words(
            Critical,
            "the second region lacks a dump that it should have: the loss of the first region would cost that \
             data",
            "mend what the line above names; `strongroom status` shows when nothing waits any more",
        ),
        Check::DrillFailed => words(
            Critical,
            "what a restore brought back was not what it must be: this backup cannot be relied on",
            "`strongroom evidence` shows what differed; make another backup, then `strongroom drill {source}`",
        ),
        Check::DrillOverdue => words(
            Warning,
            "that this source can be restored has not been proven for too long",
            "`strongroom drill {source}` makes one now and says what stands in the way",
        ),
        Check::DrillObjective => words(
            Warning,
            "a restore would take longer, or lose more, than was promised",
            "`strongroom evidence` has the time of each phase; a larger instance class or a fresher backup \
             shortens it",
        ),
        Check::KeyState => words(
            Critical,
            "the KMS key of these backups cannot be used, so they cannot be restored; once it is deleted they are \
             lost for ever",
            "enable it, or cancel its deletion, in the KMS console: `aws kms cancel-key-deletion`, then `aws kms \
             enable-key`",
        ),
        Check::ManagedKey => words(
            Warning,
            "these snapshots are encrypted under a key that AWS owns: they cannot be shared with, or copied to, \
             another account",
            "encrypt the instance, or its copies, under a key of your own",
        ),
        Check::BucketVersioning => words(
            Critical,
            "whoever overwrites or deletes an object in this bucket takes the backup with it",
            "`aws s3api put-bucket-versioning --versioning-configuration Status=Enabled` on that bucket",
        ),
        Check::BucketEncryption => words(
            Warning,
            "objects may be encrypted under a key that was not meant",
            "set the bucket's default encryption to the key of `destination.kms_key`",
        ),
        Check::BucketLock => words(
            Info,
            "whoever has the right to delete can delete backups before their time",
            "set a default retention of object lock, not longer than the shortest retention of the policies",
        ),
        Check::BucketPublicAccess => words(
            Critical,
            "the bucket can be opened to the public",
            "`aws s3api put-public-access-block` with all four settings on",
        ),
        Check::BucketTls => words(
            Warning,
            "the bucket answers requests without TLS",
            "add a statement to its policy that denies what has `aws:SecureTransport` false",
        ),
        Check::BucketLifecycle => words(
            Warning,
            "a lifecycle rule takes objects that strongroom counts on, or leaves unfinished uploads to be paid \
             for",
            "change the rule that is named above: pruning is strongroom's work",
        ),
        Check::AutomatedBackups => words(
            Warning,
            "RDS does not keep automated backups for as long as the environment asks: there are moments that nothing leads back to",
            "change the instance's backup retention in its Terraform, and see `strongroom status`",
        ),
        Check::RestorableLag => words(
            Warning,
            "RDS does not archive the instance's log: a point-in-time restore would lose what was written since",
            "`strongroom diagnose {source}` shows RDS's events; open a case with AWS if they tell nothing",
        ),
        Check::BackupWindow => words(
            Info,
            "the snapshot will begin later than its slot, for RDS makes its own backup then",
            "move the schedule or the instance's backup window; nothing is lost",
        ),
        Check::StorageEncryption => words(
            Warning,
            "the instance and its snapshots can be read by whoever gets at them",
            "copy a snapshot of it under a KMS key in the same region, restore that copy, and move the application to it in a \
             maintenance window; strongroom does none of this by itself",
        ),
        Check::DeletionProtection => words(
            Warning,
            "a slip of one person deletes the instance, and its automated backups with it",
            "switch deletion protection on in the instance's Terraform",
        ),
        Check::SnapshotQuota => words(
            Warning,
            "the account has nearly as many manual snapshots as it may: soon no backup can be made",
            "`strongroom prune` says what of ours has expired; delete what nobody needs, or raise the quota in Service Quotas",
        ),
        Check::ClientVersion => words(
            Info,
            "dumps fail from the day on which RDS is upgraded to the next major version",
            "install the newer PostgreSQL client beside strongroom before the upgrade",
        ),
        Check::ForceTls => words(
            Warning,
            "passwords and rows can cross the network in the clear",
            "set rds.force_ssl = 1 in the parameter group once all clients use TLS",
        ),
        Check::CertificateExpiry => words(
            Warning,
            "when the certificate ends nobody who checks it can connect, and no dump can be made",
            "choose a newer certificate authority for the instance in RDS, in a maintenance window",
        ),
        Check::Anomaly => words(
            Warning,
            "the dump is whole, and what it was taken of may not be: emptied by a mistake, or encrypted by somebody who means \
             ill. Nothing of the source is pruned meanwhile",
            "ask who changes that database; where it is right, pin the dump with the reason, as the line above says, else \
             `strongroom recover deletion {source}` leads back; `strongroom list {source}` shows the dumps",
        ),
        Check::StorageGrowth => words(
            Warning,
            "dumps cost more and take longer to restore than before",
            "see what has grown in the database; `strongroom list {source}` has the size of each dump",
        ),
        Check::DumpLogin => words(
            Warning,
            "as things are the next dump cannot be made: the server cannot be reached, or refuses the login",
            "put right the password, the network or the CA file that the line above names; `strongroom check --online` tries it",
        ),
        Check::LoginExpiry => words(
            Warning,
            "the login that dumps are made with ends soon, and dumps with it",
            "`ALTER ROLE … VALID UNTIL 'infinity'`, or a new password, in the server and where the configuration finds it",
        ),
        Check::DumpRights => words(
            Warning,
            "the next dump will be refused: one that leaves out what it may not read would be no backup",
            "give the role the right that the line above names; `strongroom check --online` tries it",
        ),
        Check::ProtectionUnseen => words(
            Info,
            "a part of what protects instances could not be asked for: what is wrong there would go unseen",
            "give the role that the line above names the right to it; `strongroom check --online` tries it",
        ),
        Check::ParameterGroup => words(
            Warning,
            "a restore in the second region would be refused",
            "make the parameter group there, or name another one in the configuration, under `restore`",
        ),
        Check::BucketReplication => words(
            Critical,
            "dumps are not replicated as the configuration says, so the second region lacks them",
            "mend the bucket's replication rule as the line above says",
        ),
    }
}
