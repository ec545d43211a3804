//! Restore drills: when, along which paths, into what, and what must be found.

use jiff::SignedDuration;

use super::retry::RetryPolicy;
use super::schedule::Schedule;
use crate::domain::diagnosis::Quota;
use crate::domain::drill::{Assertion, DrillPath, DrillRecord};
use crate::domain::new_instance::{InstanceDetails, InstanceSetup, Network};
use crate::domain::tags::Tags;

/// The drills of a source.
#[derive(Debug, Clone)]
pub struct DrillPolicy {
    /// When.
    pub schedule: Schedule,
    /// Along which paths.
    pub paths: Vec<DrillPath>,
    /// How failures are repeated.
    pub retry: RetryPolicy,
    /// How long a drill may take. What it has made is gone soon after.
    pub completion_deadline: SignedDuration,
    /// Written down but not carried out for now.
    pub suspended: bool,
    /// How long a restore may take until everything is there.
    pub recovery_time_max: Option<SignedDuration>,
    /// How old the restored data may be.
    pub data_loss_max: Option<SignedDuration>,
    /// How many percent fewer rows a table may have than in the dump before; `None`: any number. Of backups that RDS restores.
    pub fewer_rows_max_percent: Option<u8>,
    /// What must be true of what came back.
    pub assertions: Vec<Assertion>,
}

impl DrillPolicy {
    /// How old the data may be that a path restores, if that path is to be judged by it. Snapshots and dumps are as old as
    /// they are: how much is lost is a matter of the newest way back.
    #[must_use]
    pub fn data_loss_max_by(&self, path: DrillPath) -> Option<SignedDuration> {
        let is_newest = path == DrillPath::Pitr || !self.paths.contains(&DrillPath::Pitr);
        self.data_loss_max.filter(|_| is_newest)
    }

    /// The objectives that a drill has missed, each in a sentence.
    #[must_use]
    pub fn missed_by(&self, record: &DrillRecord) -> Vec<String> {
        let data_loss_max = self.data_loss_max_by(record.path);
        let objectives = [
            ("recovery took", record.recovery_time(), self.recovery_time_max),
            ("the data was older by", record.data_loss(), data_loss_max),
        ];
        let missed = |(what, took, most): (&str, Option<SignedDuration>, Option<SignedDuration>)| {
            let (took, most) = (took?, most?);
            (took > most).then(|| format!("{what} {took:#}, and the policy wants at most {most:#}"))
        };
        objectives.into_iter().filter_map(missed).collect()
    }
}

/// What drills restore into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillSetup {
    /// Where: apart from production.
    pub network: Network,
    /// The parameter group; `None`: that of the source.
    pub parameter_group: Option<String>,
    /// The classes that are tried in turn; none: that of the source.
    pub classes: Vec<String>,
    /// Most instances at once.
    pub instances_max: usize,
}

/// RDS's names of the quotas that an instance takes from (RDS API reference, `AccountQuota`); the second is in GiB.
const INSTANCES_QUOTA: &str = "DBInstances";
const STORAGE_QUOTA: &str = "AllocatedStorage";
const GIB: u64 = 1 << 30;

/// Why a drill must not take an instance of so much storage now, if so: afterwards the account still has to have room for
/// another one like it. Whoever has to restore in earnest may have to do so while the drill is under way.
#[must_use]
pub fn no_room_for_drill(quotas: &[Quota], storage_bytes: u64) -> Option<String> {
    let gib = storage_bytes.div_ceil(GIB);
    let wanted = [(INSTANCES_QUOTA, 1, "instances"), (STORAGE_QUOTA, gib, "GiB of storage")];
    wanted.into_iter().find_map(|(name, own, what)| {
        let quota = quotas.iter().find(|quota| quota.name == name)?;
        let left = quota.max.saturating_sub(quota.used);
        (left < 2 * own).then(|| {
            format!(
                "the account has {} of {} {what}: the drill would take {own}, and as much must be left for a restore in \
                 earnest; delete what nobody needs, or have the quota raised in Service Quotas",
                quota.used, quota.max
            )
        })
    })
}

impl DrillSetup {
    /// How the instance of a drill is set up, and the classes that follow where AWS has no room: like the source, as far as
    /// it bears on what is proven and how long it takes; closed, alone, without backups, and easy to delete.
    #[must_use]
    pub fn of_instance(&self, source: &InstanceDetails, tags: Tags) -> (InstanceSetup, Vec<String>) {
        let mut classes = self.classes.iter().cloned();
        let class = classes.next().unwrap_or_else(|| source.setup.class.clone());
        let setup = InstanceSetup {
            class,
            network: self.network.clone(),
            parameter_group: self.parameter_group.clone().or_else(|| source.setup.parameter_group.clone()),
            multi_az: false,
            is_public: false,
            iam_login: true,
            deletion_protection: false,
            automated_backup_days: 0,
            copies_tags_to_snapshots: false,
            minor_upgrades: false,
            log_exports: Vec::new(),
            tags,
            ..source.setup.clone()
        };
        (setup, classes.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::instance_details;

    #[test]
    fn a_drill_leaves_room_for_a_restore_in_earnest() {
        let quotas = |instances, gib| {
            let quota = |name: &str, used, max| Quota { name: name.to_owned(), used, max };
            vec![quota(INSTANCES_QUOTA, instances, 40), quota(STORAGE_QUOTA, gib, 1_000)]
        };
        let why = |instances, gib| no_room_for_drill(&quotas(instances, gib), 100 * GIB);
        assert_eq!((why(38, 800), no_room_for_drill(&[], GIB)), (None, None));
        assert!(why(39, 0).unwrap().starts_with("the account has 39 of 40 instances: the drill would take 1,"));
        assert!(why(50, 0).is_some(), "a quota that was lowered");
        assert!(
            why(0, 801).unwrap().starts_with("the account has 801 of 1000 GiB of storage: the drill would take 100,")
        );
        assert!(no_room_for_drill(&quotas(0, 998), GIB + 1).is_some(), "RDS counts whole GiB");
    }

    /// Deletion protection would leave the instance behind, automated backups would outlive it, and the source's tags would
    /// have backup plans and reapers take it for production.
    #[test]
    fn the_instance_of_a_drill_is_as_fast_as_its_source_and_nothing_else_of_it() {
        let network = Network { subnet_group: Some("drills".to_owned()), security_groups: vec!["sg-d".to_owned()] };
        let setup =
            DrillSetup { network: network.clone(), parameter_group: None, classes: Vec::new(), instances_max: 1 };
        let mut source = instance_details();
        source.setup.is_public = true;
        source.setup.tags.insert("backup-plan".to_owned(), "gold".to_owned());
        let (made, others) = setup.of_instance(&source, Tags::new());
        assert_eq!(
            (made.class.as_str(), made.iops, made.parameter_group.as_deref()),
            ("db.m6g.xlarge", Some(12_000), Some("bank-pg15"))
        );
        assert_eq!((made.network, made.tags.len(), made.automated_backup_days), (network, 0, 0));
        assert!(!made.is_public && !made.multi_az && !made.deletion_protection && others.is_empty());
        let cheaper = DrillSetup { classes: vec!["db.t4g.large".to_owned(), "db.t3.large".to_owned()], ..setup };
        let (made, others) = cheaper.of_instance(&source, Tags::new());
        assert_eq!((made.class.as_str(), others), ("db.t4g.large", vec!["db.t3.large".to_owned()]));
    }
}
