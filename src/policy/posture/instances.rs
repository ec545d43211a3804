//! Instances: what RDS itself does for them, and what would stand in the way of a restore.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::super::finding::{Check, Finding, Severity};
use super::super::{Policy, SourcePolicy, Task};
use crate::domain::account::{AccountFacts, ParameterGroupName};
use crate::domain::diagnosis::Quota;
use crate::domain::inventory::{Instance, ToolVersion, Unseen};

/// RDS ships the log every five minutes (RDS user guide, "Restoring a DB instance to a specified time"): three that are missing
/// are no hiccup.
const RESTORABLE_LAG_MAX: SignedDuration = SignedDuration::from_mins(15);
/// And after so long whoever needs that way back loses more than a working morning.
const RESTORABLE_LAG_CRITICAL: SignedDuration = SignedDuration::from_hours(4);
/// A certificate takes a maintenance window to be renewed, and clients have to know the new authority first.
const CERTIFICATE_SOON: SignedDuration = SignedDuration::from_hours(60 * 24);
const CERTIFICATE_NOW: SignedDuration = SignedDuration::from_hours(7 * 24);
/// RDS's name of the quota of manual snapshots (RDS API reference, `AccountQuota`).
const SNAPSHOT_QUOTA: &str = "ManualSnapshots";
/// Groups of this name are RDS's own, and there in every region once they are needed.
const DEFAULT_GROUPS: &str = "default.";

/// The parameter groups that sources' instances have, and those that they would be restored with where their snapshots are
/// copied to.
pub fn parameter_groups_in_use<'a>(
    policy: &Policy,
    instance_of: impl Fn(&SourcePolicy) -> Option<&'a Instance>,
) -> BTreeSet<ParameterGroupName> {
    let mut groups = BTreeSet::new();
    for source in policy.sources.values() {
        let Some(instance) = instance_of(source) else { continue };
        let own = instance.protection.parameter_group.clone();
        groups.extend(own.map(|name| ParameterGroupName { region: policy.region.clone(), name }));
        groups.extend(groups_elsewhere(policy, source, instance));
    }
    groups
}

/// Where its snapshots are copied to: the group that an instance is restored with there.
fn groups_elsewhere(policy: &Policy, source: &SourcePolicy, instance: &Instance) -> Vec<ParameterGroupName> {
    let copies = source.obligations.iter().flat_map(|obligation| &obligation.copies);
    let regions: BTreeSet<_> = copies.map(|copies| copies.region.clone()).collect();
    let named = |region: &_| {
        let configured = policy.restore.get(region).and_then(|setup| setup.parameter_group.clone());
        configured.or_else(|| instance.protection.parameter_group.clone())
    };
    let groups = regions.into_iter().filter_map(|region| Some(ParameterGroupName { name: named(&region)?, region }));
    groups.filter(|group| !group.name.starts_with(DEFAULT_GROUPS)).collect()
}

/// Findings about the account as a whole.
#[must_use]
pub fn account_findings(account: &AccountFacts) -> Vec<Finding> {
    let tell = |severity, text| Finding { severity, check: Check::SnapshotQuota, source: None, text };
    let is_short = |quota: &&Quota| quota.name == SNAPSHOT_QUOTA && quota.max > 0 && quota.used * 5 >= quota.max * 4;
    let short = account.quotas.iter().flatten().find(is_short).map(|Quota { used, max, .. }| {
        let severity = if used >= max { Severity::Critical } else { Severity::Warning };
        let text = "manual snapshots of the account are used: at the limit new ones fail; delete what nobody needs, or have the \
                    quota raised in Service Quotas";
        tell(severity, format!("{used} of {max} {text}"))
    });
    let unseen = account.quotas_unseen.as_ref().map(|Unseen(why)| {
        let text = format!("the quotas of the account are not seen: {why}; allow rds:DescribeAccountAttributes");
        Finding { severity: Severity::Info, check: Check::ProtectionUnseen, source: None, text }
    });
    short.into_iter().chain(unseen).collect()
}

/// Findings about the instance of a source.
#[must_use]
pub fn instance_findings(
    policy: &Policy,
    source: &SourcePolicy,
    instance: &Instance,
    (account, pg_dump): (&AccountFacts, Option<&ToolVersion>),
    now: Timestamp,
) -> Vec<Finding> {
    let looked = Looked { policy, source, instance, account, now };
    let found = [
        looked.automated_backups(),
        looked.restorable(),
        looked.backup_window(),
        looked.encryption(),
        looked.deletion_protection(),
        looked.client(pg_dump),
        looked.tls(),
        looked.certificate(),
    ];
    found.into_iter().flatten().chain(looked.parameter_groups()).collect()
}

struct Looked<'a> {
    policy: &'a Policy,
    source: &'a SourcePolicy,
    instance: &'a Instance,
    account: &'a AccountFacts,
    now: Timestamp,
}

impl Looked<'_> {
    fn finding(&self, severity: Severity, check: Check, text: impl Into<String>) -> Option<Finding> {
        Some(Finding { severity, check, source: Some(self.source.id.clone()), text: text.into() })
    }

    /// What nobody could ask is no finding of its check: that one stays as it is until somebody can.
    fn unseen(&self, what: &str) -> Finding {
        let text = format!("source {}: {what}; allow rds:DescribeDBParameters", self.source.id);
        Finding { severity: Severity::Info, check: Check::ProtectionUnseen, source: None, text }
    }

    /// How bad it is that a protection is missing. Where no environment asks for automated backups nobody has said that the
    /// instance is to be protected.
    fn unprotected(&self) -> Severity {
        let is_wanted = self.source.automated_backup_days.as_ref().is_some_and(|days| *days.start() > 0);
        if is_wanted { Severity::Warning } else { Severity::Info }
    }

    fn automated_backups(&self) -> Option<Finding> {
        let days = self.instance.automated_backup_days;
        let wanted = self.source.automated_backup_days.clone();
        if days == 0 && wanted.as_ref().is_none_or(|wanted| *wanted.start() > 0) {
            // Without an environment nobody has said that they are wanted.
            let severity = if wanted.is_some() { Severity::Critical } else { Severity::Info };
            let text = "automated backups are off: no moment between two snapshots can be restored to; switch them on in a \
                        maintenance window, for RDS restarts the instance for it";
            return self.finding(severity, Check::AutomatedBackups, text);
        }
        let wanted = wanted.filter(|wanted| !wanted.contains(&days))?;
        let (min, max) = (wanted.start(), wanted.end());
        let asked = if min == max { format!("{min}") } else { format!("{min} to {max}") };
        let (severity, meaning) = if days < *min {
            (
                Severity::Warning,
                "what was lost earlier than that can be restored from snapshots and dumps only; keep them for longer",
            )
        } else {
            (Severity::Info, "more is kept than is asked for, and paid for; keep less, or ask for it")
        };
        let text =
            format!("RDS keeps automated backups for {days} days, and the environment asks for {asked}: {meaning}");
        self.finding(severity, Check::AutomatedBackups, text)
    }

    fn restorable(&self) -> Option<Finding> {
        // One that is stopped writes nothing. Any other that does not serve may be so for the very reason that holds up its log.
        let is_off = matches!(self.instance.status.as_str(), "stopped" | "stopping" | "starting" | "deleting");
        if self.instance.automated_backup_days == 0 || is_off {
            return None;
        }
        let latest = self.instance.latest_restorable_at?;
        let lag = self.now.duration_since(latest);
        if lag <= RESTORABLE_LAG_MAX {
            return None;
        }
        let severity = if lag > RESTORABLE_LAG_CRITICAL { Severity::Critical } else { Severity::Warning };
        let text = format!(
            "the newest moment that can be restored to is {latest}, {} minutes ago, and RDS should be at most five behind: see its \
             events (`strongroom diagnose {}`), and ask AWS",
            lag.as_mins(),
            self.source.id
        );
        self.finding(severity, Check::RestorableLag, text)
    }

    /// While RDS makes its own backup it takes no other snapshot.
    fn backup_window(&self) -> Option<Finding> {
        let window = self.instance.protection.backup_window.as_deref()?;
        let (begin, end) = window.split_once('-')?;
        let time = |text: &str| Time::strptime("%H:%M", text).ok();
        let (begin, end) = (time(begin)?, time(end)?);
        let mut snapshots = self.source.obligations.iter().filter(|own| own.task == Task::Snapshot && !own.suspended);
        let start = snapshots.find_map(|own| Some(own.schedule.start_of(own.schedule.next_after(self.now)?)))?;
        let at = start.to_zoned(TimeZone::UTC).time();
        let is_inside = if begin <= end { begin <= at && at < end } else { at >= begin || at < end };
        if !is_inside || self.instance.automated_backup_days == 0 {
            return None;
        }
        let text = format!(
            "the next snapshot is due at {start}, in the time in which RDS makes its own backup ({window} UTC): it has to wait for \
             it; move the schedule, or the window"
        );
        self.finding(Severity::Info, Check::BackupWindow, text)
    }

    fn encryption(&self) -> Option<Finding> {
        if self.instance.kms_key.is_some() {
            return None;
        }
        let text = "its storage is not encrypted, and so are none of its snapshots; RDS encrypts only what is restored from a \
                    snapshot that was copied under a key";
        self.finding(self.unprotected(), Check::StorageEncryption, text)
    }

    fn deletion_protection(&self) -> Option<Finding> {
        if self.instance.protection.from_deletion {
            return None;
        }
        let text = "it can be deleted by one command, and its automated backups with it: switch deletion protection on";
        self.finding(self.unprotected(), Check::DeletionProtection, text)
    }

    /// A server that is newer than the client is told where its dump is decided.
    fn client(&self, pg_dump: Option<&ToolVersion>) -> Option<Finding> {
        let client = pg_dump?;
        let server = self.instance.major_version()?;
        let is_dumped = self.source.dump_settings.is_some();
        if !is_dumped || client.major != server {
            return None;
        }
        let text = format!(
            "the client is {}, as old as the server: once that is upgraded dumps fail until there is a newer client; install \
             that first",
            client.text
        );
        self.finding(Severity::Info, Check::ClientVersion, text)
    }

    fn tls(&self) -> Option<Finding> {
        let name = self.instance.protection.parameter_group.clone()?;
        let group = ParameterGroupName { region: self.policy.region.clone(), name };
        let known = self.account.parameter_groups.get(&group).and_then(Option::as_ref);
        if known.is_none_or(|known| known.forces_tls) {
            let unseen = self.account.groups_unseen.get(&group);
            return unseen.map(|why| self.unseen(&format!("whether its server demands TLS is not seen: {}", why.0)));
        }
        let text = format!(
            "its server takes connections without TLS: set rds.force_ssl = 1 in parameter group {}, once every client uses TLS",
            group.name
        );
        self.finding(self.unprotected(), Check::ForceTls, text)
    }

    fn certificate(&self) -> Option<Finding> {
        let until = self.instance.protection.certificate_until?;
        let left = until.duration_since(self.now);
        if left > CERTIFICATE_SOON {
            return None;
        }
        let severity = if left <= CERTIFICATE_NOW { Severity::Critical } else { Severity::Warning };
        let text = format!(
            "its TLS certificate is valid until {until}: from then on nobody who checks it can connect, dumps among them; choose a \
             newer certificate authority for the instance, and see that clients know it"
        );
        self.finding(severity, Check::CertificateExpiry, text)
    }

    /// Nobody wants to find out during a disaster.
    fn parameter_groups(&self) -> Vec<Finding> {
        let lacks = |group: &ParameterGroupName| {
            let ParameterGroupName { region, name } = group;
            if self.account.parameter_groups.get(group).is_none_or(Option::is_some) {
                let unseen = self.account.groups_unseen.get(group);
                return unseen.map(|why| {
                    self.unseen(&format!("whether {region} has parameter group {name} is not seen: {}", why.0))
                });
            }
            let text = format!(
                "{region}, where its snapshots are copied to, has no parameter group {name}: a restore there would be refused; \
                 make it there, or name another one under `restore.{region}`"
            );
            self.finding(Severity::Warning, Check::ParameterGroup, text)
        };
        groups_elsewhere(self.policy, self.source, self.instance).iter().filter_map(lacks).collect()
    }
}
